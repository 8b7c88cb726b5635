#include "eval/words.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"
#include "eval/dataset.h"
#include "eval/nonfinite.h"
#include "eval/score.h"

#include <math.h>
#include <string.h>

enum { CHUNK_ROWS = 32 };
/* Logits of the first of two sets of weights that are kept for the second: as many as this, or of a tile
 * for each thread up to the most, or of one document. */
enum { KEPT_FLOATS = 16 << 20, KEPT_MOST = 128 << 20 };

/* Documents of a chunk: what is fed, and which of the result's rows their places are. */
struct chunk {
    const struct qx_dataset *data;
    struct qx_eval_result *r; /* that is being filled */
    int n_classes;
    int64_t sample;
    float *x, *counts, *next;   /* [CHUNK_ROWS][sample]; next: [sample] scratch */
    int64_t at[CHUNK_ROWS + 1]; /* row of each document's first token */
    float *kept;                /* logits of the chunk's rows; NULL: one set of weights only */
    int64_t kept_floats;
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
            return qx_fail_at(
                err, QX_EDATA, d->path, "input_ids", -1,
                "%s: document %lld, token %lld holds the id %.9g; the vocabulary has %d entries",
                d->path, (long long)document, (long long)i + 1, (double)next[i], vocabulary);
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
        r->n_documents = n;
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

/* log sum exp; the largest logit is taken out first, so nothing overflows. */
static double log_sum(const float *z, int n, float top)
{
    double sum = 0.0;
    for (int c = 0; c < n; c++) {
        sum += (double)expf(z[c] - top);
    }
    return (double)top + log(sum);
}

/* KL(softmax(a) || softmax(b)) = E_a[a - b] + lse(b) - lse(a). */
static float kl_of(const float *a, const float *b, int n, float top_a, double lse_b)
{
    double sum = 0.0, difference = 0.0;
    for (int c = 0; c < n; c++) {
        const double p = (double)expf(a[c] - top_a);
        sum += p;
        difference += p * ((double)a[c] - (double)b[c]);
    }
    const double kl = difference / sum + lse_b - ((double)top_a + log(sum));
    return kl > 0.0 ? (float)kl : isnan(kl) ? NAN : 0.0f;
}

void qx_words_score(struct qx_eval_result *r, int64_t at, const float *z, int n_classes,
                    float *kept)
{
    r->predicted[at] = qx_score_class(z, n_classes);
    r->margin[at] = qx_score_margin(z, n_classes, r->label[at]);
    const double lse = log_sum(z, n_classes, z[r->predicted[at]]);
    r->nll[at] = (float)(lse - (double)z[r->label[at]]);
    if (kept && r->kl) {
        const int32_t top = qx_score_class(kept, n_classes);
        r->kl[at] = kl_of(kept, z, n_classes, kept[top], lse);
    } else if (kept) {
        memcpy(kept, z, (size_t)n_classes * sizeof *z);
    }
}

/* One place whose token counts: row `at` of the result. */
static void score_place(const struct chunk *c, int64_t at, const float *z)
{
    float *kept = c->kept ? c->kept + (at - c->at[0]) * c->n_classes : NULL;
    qx_words_score(c->r, at, z, c->n_classes, kept);
}

static void score(void *arg, int64_t row, int64_t first, int64_t n, float *logits)
{
    const struct chunk *c = arg;
    const float *counts = c->counts + row * c->sample, *z = logits;
    int64_t at = c->at[row];
    for (int64_t i = 0; i < first; i++) {
        at += counts[i] != 0.0f;
    }
    for (int64_t i = first; i < first + n && at < c->at[row + 1]; i++, z += c->n_classes) {
        if (counts[i] != 0.0f) {
            score_place(c, at++, z);
        }
    }
}

/* Documents first .. first+n-1, whose first token is row `at`. */
static enum qx_status chunk_read(struct chunk *c, int64_t first, int64_t n, int64_t at,
                                 struct qx_error *err)
{
    enum qx_status st = qx_dataset_read(c->data, first, n, c->x, err);
    c->at[0] = at;
    for (int64_t k = 0; st == QX_OK && k < n; k++) {
        float *counts = c->counts + k * c->sample;
        st = qx_documents_next(c->data, first + k, c->next, counts, err);
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

/* Documents of the chunk that begins at `first`. */
static int64_t chunk_rows(const struct chunk *c, int64_t first, int64_t n_documents, int64_t least)
{
    int64_t n = 0, places = 0;
    while (n < CHUNK_ROWS && first + n < n_documents) {
        places += qx_documents_places(c->data, first + n);
        if (c->kept && n > 0 && places * c->n_classes > (n < least ? KEPT_MOST : KEPT_FLOATS)) {
            break;
        }
        n++;
    }
    return n;
}

/* Room for the logits of a chunk's rows. */
static enum qx_status chunk_keep(struct chunk *c, int64_t n, struct qx_error *err)
{
    const int64_t need = (c->at[n] - c->at[0]) * c->n_classes;
    if (need > c->kept_floats) {
        qx_mem_free(c->kept);
        c->kept = qx_mem_array((size_t)need, sizeof *c->kept);
        c->kept_floats = c->kept ? need : 0;
    }
    return c->kept ? QX_OK : qx_fail_nomem(err, (size_t)need * sizeof *c->kept);
}

/* The chunk's documents under w, scored into r. */
static enum qx_status chunk_run(struct chunk *c, const struct qx_net *net,
                                const struct qx_weights *w, int64_t n, struct qx_eval_result *r,
                                struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    const double start = qx_clock_s();
    c->r = r;
    const enum qx_status st =
        qx_net_run_places(net, w, c->x, n, score, c, &r->report, pool, ctl, err);
    r->time_s += qx_clock_s() - start;
    return st;
}

static enum qx_status chunk_new(struct chunk *c, const struct qx_net *net,
                                const struct qx_dataset *d, bool is_pair, struct qx_error *err)
{
    const size_t sample = (size_t)qx_net_sample_size(net);
    *c = (struct chunk){
        .data = d, .n_classes = qx_net_n_classes(net), .sample = (int64_t)sample, .kept_floats = 1};
    c->x = qx_mem_array(CHUNK_ROWS * sample, sizeof *c->x);
    c->counts = qx_mem_array(CHUNK_ROWS * sample, sizeof *c->counts);
    c->next = qx_mem_array(sample, sizeof *c->next);
    c->kept = is_pair ? qx_mem_array(1, sizeof *c->kept) : NULL;
    return c->x && c->counts && c->next && (!is_pair || c->kept)
               ? QX_OK
               : qx_fail_nomem(err, CHUNK_ROWS * sample * sizeof *c->x);
}

static void chunk_release(struct chunk *c)
{
    qx_mem_free(c->x);
    qx_mem_free(c->counts);
    qx_mem_free(c->next);
    qx_mem_free(c->kept);
}

/* What is run: one set of weights, or two side by side. */
struct words {
    int n; /* 1 or 2 */
    struct qx_weights *w[2];
    enum qx_engine engine[2];
    struct qx_eval_result *r[2];
};

static enum qx_status words_new(struct words *m, const struct qx_net *net,
                                const struct qx_dataset *d, int64_t n_documents,
                                struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int k = 0; k < m->n && st == QX_OK; k++) {
        st = qx_words_new(net, d, n_documents, &m->r[k], err);
        if (st == QX_OK) {
            st = qx_weights_prepare(m->w[k], m->engine[k], pool, ctl, err);
        }
        if (st == QX_OK) {
            m->r[k]->engine = qx_weights_engine(m->w[k]);
        }
    }
    if (st == QX_OK && m->n == 2) {
        m->r[1]->kl = qx_mem_array((size_t)m->r[1]->n, sizeof *m->r[1]->kl);
        st = m->r[1]->kl ? QX_OK : qx_fail_nomem(err, (size_t)m->r[1]->n * sizeof(float));
    }
    return st;
}

static int64_t count_nan(const struct qx_eval_result *r)
{
    int64_t n = 0;
    for (int64_t i = 0; i < r->n; i++) {
        n += isnan(r->nll[i]);
    }
    return n;
}

static enum qx_status words_run(struct words *m, const struct qx_net *net,
                                const struct qx_dataset *d, const struct qx_eval_options *options,
                                struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    const int64_t all = qx_dataset_n(d), most = options ? options->max_samples : 0;
    const int64_t n_documents = most > 0 && most < all ? most : all;
    const int64_t least = qx_net_tile_rows(net) * (pool ? qx_pool_threads(pool) : 1);
    struct chunk c;
    enum qx_status st = chunk_new(&c, net, d, m->n == 2, err);
    qx_ctl_total(ctl, n_documents * m->n * QX_ROW_STEPS);
    if (st == QX_OK) {
        st = words_new(m, net, d, n_documents, pool, ctl, err);
    }
    for (int64_t first = 0, at = 0, n; st == QX_OK && first < n_documents; first += n) {
        n = chunk_rows(&c, first, n_documents, least);
        st = chunk_read(&c, first, n, at, err);
        if (st == QX_OK && m->n == 2) {
            st = chunk_keep(&c, n, err);
        }
        for (int k = 0; k < m->n && st == QX_OK; k++) {
            st = chunk_run(&c, net, m->w[k], n, m->r[k], pool, ctl, err);
        }
        at = c.at[n];
    }
    for (int k = 0; k < m->n && st == QX_OK; k++) {
        st = qx_fail_nonfinite(net, count_nan(m->r[k]), m->r[k]->n, "tokens", err);
        st = st == QX_OK ? qx_eval_result_finish(m->r[k], err) : st;
    }
    chunk_release(&c);
    for (int k = 0; k < m->n && st != QX_OK; k++) {
        qx_eval_result_free(m->r[k]);
    }
    return st;
}

enum qx_status qx_words_run(const struct qx_net *net, const struct qx_dataset *d,
                            struct qx_weights *w, const struct qx_eval_options *options,
                            struct qx_pool *pool, struct qx_ctl *ctl, struct qx_eval_result **out,
                            struct qx_error *err)
{
    struct words m = {.n = 1, .w = {w}, .engine = {options ? options->engine : QX_ENGINE_AUTO}};
    const enum qx_status st = words_run(&m, net, d, options, pool, ctl, err);
    *out = st == QX_OK ? m.r[0] : *out;
    return st;
}

enum qx_status qx_eval_run_pair(const struct qx_net *net, const struct qx_dataset *d,
                                struct qx_weights *wa, struct qx_weights *wb,
                                const struct qx_eval_options *options, struct qx_pool *pool,
                                struct qx_ctl *ctl, struct qx_eval_result **a,
                                struct qx_eval_result **b, struct qx_error *err)
{
    struct words m = {.n = 2,
                      .w = {wa, wb},
                      .engine = {QX_ENGINE_AUTO, options ? options->engine : QX_ENGINE_AUTO}};
    if (!d->is_documents) {
        return qx_fail(err, QX_EUNSUPPORTED, "%s holds no documents of tokens", d->path);
    }
    const enum qx_status st = words_run(&m, net, d, options, pool, ctl, err);
    if (st == QX_OK) {
        *a = m.r[0];
        *b = m.r[1];
    }
    return st;
}
