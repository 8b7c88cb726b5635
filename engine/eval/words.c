#include "eval/words.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "eval/dataset.h"
#include "eval/score.h"

#include <math.h>
#include <string.h>

enum { CHUNK_ROWS = 32 };

/* Documents of a chunk: what is fed, and which of the result's rows their places are. */
struct chunk {
    const struct qx_dataset *data;
    struct qx_eval_result *r;
    int n_classes;
    int64_t sample;
    float *x, *counts;          /* [CHUNK_ROWS][sample] */
    int64_t at[CHUNK_ROWS + 1]; /* row of each document's first token */
};

static enum qx_status tokens_read(const struct qx_net *net, const struct qx_dataset *d,
                                  int64_t document, float *next, float *counts,
                                  struct qx_eval_result *r, struct qx_error *err)
{
    const int64_t n = qx_documents_places(d, document);
    const int vocabulary = qx_net_n_classes(net);
    enum qx_status st = qx_documents_next(d, document, next, counts, err);
    for (int64_t i = 0; st == QX_OK && i < n; i++) {
        if (!(next[i] >= 0.0f && next[i] < (float)vocabulary)) {
            return qx_fail_at(err, QX_EDATA, d->path, "input_ids", -1,
                              "%s: document %lld holds the id %.9g; the vocabulary has %d entries",
                              d->path, (long long)document, (double)next[i], vocabulary);
        }
        if (counts[i] != 0.0f) {
            r->rows[r->n] = d->first[2 * document] + 1 + i;
            r->label[r->n++] = (int32_t)next[i];
        }
    }
    return st;
}

enum qx_status qx_words_new(const struct qx_net *net, const struct qx_dataset *d,
                            int64_t n_documents, struct qx_eval_result **out, struct qx_error *err)
{
    const int64_t all = qx_dataset_n(d),
                  n = n_documents > 0 && n_documents < all ? n_documents : all;
    const size_t sample = (size_t)qx_net_sample_size(net);
    struct qx_eval_result *r = NULL;
    int64_t places = 0;
    for (int64_t i = 0; i < n; i++) {
        places += qx_documents_places(d, i);
    }
    float *next = qx_mem_array(sample, 2 * sizeof *next);
    enum qx_status st = next ? qx_score_new(places, &r, err) : qx_fail_nomem(err, sample);
    if (st == QX_OK) {
        r->n = 0;
        r->macro_f1 = NAN;
        r->nll = qx_mem_array((size_t)places, sizeof *r->nll);
        st = r->nll ? QX_OK : qx_fail_nomem(err, (size_t)places * sizeof *r->nll);
    }
    for (int64_t i = 0; st == QX_OK && i < n; i++) {
        st = tokens_read(net, d, i, next, next + sample, r, err);
    }
    if (st == QX_OK && r->n == 0) {
        st = qx_fail(err, QX_EDATA, "%s: loss_mask leaves no token to count", d->path);
    }
    qx_mem_free(next);
    if (st != QX_OK) {
        qx_eval_result_free(r);
        return st;
    }
    *out = r;
    return QX_OK;
}

/* log sum exp - z of the target; the largest logit is taken out first, so nothing overflows. */
static float nll_of(const float *z, int n, float top, int32_t target)
{
    double sum = 0.0;
    for (int c = 0; c < n; c++) {
        sum += (double)expf(z[c] - top);
    }
    return (float)((double)top - (double)z[target] + log(sum));
}

static void score(void *arg, int64_t row, int64_t first, int64_t n, float *logits)
{
    const struct chunk *c = arg;
    struct qx_eval_result *r = c->r;
    const float *counts = c->counts + row * c->sample, *z = logits;
    int64_t at = c->at[row];
    for (int64_t i = 0; i < first; i++) {
        at += counts[i] != 0.0f;
    }
    for (int64_t i = first; i < first + n && at < c->at[row + 1]; i++, z += c->n_classes) {
        if (counts[i] != 0.0f) {
            r->predicted[at] = qx_score_class(z, c->n_classes);
            r->margin[at] = qx_score_margin(z, c->n_classes, r->label[at]);
            r->nll[at] = nll_of(z, c->n_classes, z[r->predicted[at]], r->label[at]);
            at++;
        }
    }
}

/* next: room for `sample` floats. */
static enum qx_status chunk_read(struct chunk *c, int64_t first, int64_t n, float *next,
                                 struct qx_error *err)
{
    enum qx_status st = qx_dataset_read(c->data, first, n, c->x, err);
    c->at[0] = first == 0 ? 0 : c->at[CHUNK_ROWS];
    for (int64_t k = 0; st == QX_OK && k < n; k++) {
        float *counts = c->counts + k * c->sample;
        st = qx_documents_next(c->data, first + k, next, counts, err);
        c->at[k + 1] = c->at[k];
        for (int64_t i = 0; i < qx_documents_places(c->data, first + k); i++) {
            c->at[k + 1] += counts[i] != 0.0f;
        }
    }
    return st;
}

enum qx_status qx_words_finish(struct qx_eval_result *r, struct qx_error *err)
{
    const double n = (double)r->n;
    double sum = 0.0, squares = 0.0;
    int64_t n_nan = 0;
    for (int64_t i = 0; i < r->n; i++) {
        n_nan += isnan(r->nll[i]);
        sum += (double)r->nll[i];
    }
    if (n_nan > 0) {
        return qx_fail(err, QX_EDATA,
                       "%lld of %lld tokens have logits that are no numbers, so there is no "
                       "perplexity: look for NaN in the weights",
                       (long long)n_nan, (long long)r->n);
    }
    r->ce = sum / n;
    for (int64_t i = 0; i < r->n; i++) {
        squares += ((double)r->nll[i] - r->ce) * ((double)r->nll[i] - r->ce);
    }
    r->perplexity = exp(r->ce);
    r->perplexity_error = r->perplexity * sqrt(squares) / n;
    return QX_OK;
}

enum qx_status qx_words_run(const struct qx_net *net, const struct qx_dataset *d,
                            struct qx_weights *w, const struct qx_eval_options *options,
                            struct qx_pool *pool, struct qx_ctl *ctl, struct qx_eval_result **out,
                            struct qx_error *err)
{
    const double start = qx_clock_s();
    const int64_t all = qx_dataset_n(d), most = options ? options->max_samples : 0;
    const int64_t n_documents = most > 0 && most < all ? most : all;
    const size_t sample = (size_t)qx_net_sample_size(net);
    struct chunk c = {.data = d, .n_classes = qx_net_n_classes(net), .sample = (int64_t)sample};
    c.x = qx_mem_array(CHUNK_ROWS * sample, sizeof *c.x);
    c.counts = qx_mem_array(CHUNK_ROWS * sample, sizeof *c.counts);
    float *next = qx_mem_array(sample, sizeof *next);
    enum qx_status st = c.x && c.counts && next
                            ? qx_words_new(net, d, n_documents, &c.r, err)
                            : qx_fail_nomem(err, CHUNK_ROWS * sample * sizeof *c.x);
    qx_ctl_total(ctl, n_documents);
    if (st == QX_OK) {
        st = qx_weights_prepare(w, options ? options->engine : QX_ENGINE_AUTO, pool, ctl, err);
    }
    for (int64_t first = 0; st == QX_OK && first < n_documents; first += CHUNK_ROWS) {
        const int64_t left = n_documents - first, n = left < CHUNK_ROWS ? left : CHUNK_ROWS;
        st = chunk_read(&c, first, n, next, err);
        if (st == QX_OK) {
            st = qx_net_run_places(net, w, c.x, n, score, &c, &c.r->report, pool, ctl, err);
        }
    }
    if (st == QX_OK) {
        st = qx_eval_result_finish(c.r, err);
    }
    qx_mem_free(c.x);
    qx_mem_free(c.counts);
    qx_mem_free(next);
    if (st != QX_OK) {
        qx_eval_result_free(c.r);
        return st;
    }
    c.r->engine = qx_weights_engine(w);
    c.r->time_s = qx_clock_s() - start;
    *out = c.r;
    return QX_OK;
}
