/* Perplexity of a language model over documents. */
#include "eval/dataset.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "kernels/kernels.h"

#include <math.h>

#define CHUNK_ROWS 32

/* What one document adds. */
struct share {
    double nll, squares; /* sums over counted tokens, nats */
    int64_t n, hits, n_nan;
};

struct pass {
    int n_classes;
    int64_t sample;
    float *x, *next, *counts; /* [CHUNK_ROWS][sample] */
    struct share *shares;     /* [CHUNK_ROWS] */
};

/* -log p of the target: the largest logit's share of the soft maximum is 1 / sum, without underflow. */
static double nll_of(float *logits, int n, int64_t target, int64_t *best)
{
    int top = 0;
    for (int c = 1; c < n; c++) {
        top = logits[c] > logits[top] || isnan(logits[top]) ? c : top;
    }
    const double below = (double)logits[top] - (double)logits[target];
    qxk_get()->softmax(logits, n, 1.0f, NULL, logits);
    *best = top;
    return below - log((double)logits[top]);
}

static void score(void *arg, int64_t row, int64_t first, int64_t n, float *logits)
{
    struct pass *p = arg;
    struct share *s = &p->shares[row];
    const float *next = p->next + row * p->sample, *counts = p->counts + row * p->sample;
    for (int64_t i = first; i < first + n; i++, logits += p->n_classes) {
        const int64_t target = (int64_t)next[i];
        int64_t best;
        if (counts[i] == 0.0f) {
            continue;
        }
        const double nll = nll_of(logits, p->n_classes, target, &best);
        s->n_nan += isnan(nll);
        s->nll += nll;
        s->squares += nll * nll;
        s->hits += best == target;
        s->n++;
    }
}

/* Rows first .. first+n-1 into the pass; targets must be ids of the vocabulary. */
static enum qx_status read_chunk(struct pass *p, const struct qx_dataset *d, int64_t first,
                                 int64_t n, struct qx_error *err)
{
    enum qx_status st = qx_dataset_read(d, first, n, p->x, err);
    for (int64_t r = 0; st == QX_OK && r < n; r++) {
        float *next = p->next + r * p->sample;
        p->shares[r] = (struct share){0};
        st = qx_documents_next(d, first + r, next, p->counts + r * p->sample, err);
        for (int64_t i = 0; st == QX_OK && i < qx_documents_places(d, first + r); i++) {
            if (!(next[i] >= 0.0f && next[i] < (float)p->n_classes)) {
                st =
                    qx_fail_at(err, QX_EDATA, d->path, "input_ids", -1,
                               "%s: document %lld holds the id %.9g; the vocabulary has %d entries",
                               d->path, (long long)(first + r), (double)next[i], p->n_classes);
            }
        }
    }
    return st;
}

static enum qx_status pass_new(struct pass *p, const struct qx_net *net, struct qx_error *err)
{
    const size_t n = (size_t)(CHUNK_ROWS * qx_net_sample_size(net));
    p->n_classes = qx_net_n_classes(net);
    p->sample = qx_net_sample_size(net);
    p->x = qx_mem_array(n, sizeof *p->x);
    p->next = qx_mem_array(n, sizeof *p->next);
    p->counts = qx_mem_array(n, sizeof *p->counts);
    p->shares = qx_mem_array(CHUNK_ROWS, sizeof *p->shares);
    return p->x && p->next && p->counts && p->shares ? QX_OK : qx_fail_nomem(err, n * sizeof *p->x);
}

static void pass_free(struct pass *p)
{
    qx_mem_free(p->x);
    qx_mem_free(p->next);
    qx_mem_free(p->counts);
    qx_mem_free(p->shares);
}

static enum qx_status finish(const struct share *all, const struct qx_dataset *d,
                             struct qx_perplexity *out, struct qx_error *err)
{
    if (all->n == 0) {
        return qx_fail(err, QX_EDATA, "%s: loss_mask leaves no token to count", d->path);
    }
    if (all->n_nan > 0) {
        return qx_fail(err, QX_EDATA,
                       "%lld of %lld tokens have logits that are no numbers, so there is no "
                       "perplexity: look for NaN in the weights",
                       (long long)all->n_nan, (long long)all->n);
    }
    const double n = (double)all->n, mean = all->nll / n;
    const double var = all->squares / n - mean * mean;
    out->n_tokens = all->n;
    out->nll = mean;
    out->perplexity = exp(mean);
    out->error = out->perplexity * sqrt((var > 0.0 ? var : 0.0) / n);
    out->top1 = (double)all->hits / n;
    return QX_OK;
}

enum qx_status qx_perplexity_run(const struct qx_net *net, const struct qx_dataset *data,
                                 struct qx_weights *w, const struct qx_eval_options *options,
                                 struct qx_pool *pool, struct qx_ctl *ctl,
                                 struct qx_perplexity *out, struct qx_error *err)
{
    const double start = qx_clock_s();
    const int64_t most = options ? options->max_samples : 0, all = qx_dataset_n(data);
    struct qx_perplexity r = {.n_documents = most > 0 && most < all ? most : all};
    struct pass p = {0};
    struct share sum = {0};
    if (!data->is_documents) {
        return qx_fail(err, QX_EDATA, "%s holds no documents of tokens", qx_dataset_path(data));
    }
    qx_ctl_total(ctl, r.n_documents);
    enum qx_status st =
        qx_weights_prepare(w, options ? options->engine : QX_ENGINE_AUTO, pool, ctl, err);
    r.engine = qx_weights_engine(w);
    if (st == QX_OK) {
        st = pass_new(&p, net, err);
    }
    for (int64_t first = 0; st == QX_OK && first < r.n_documents; first += CHUNK_ROWS) {
        const int64_t left = r.n_documents - first, n = left < CHUNK_ROWS ? left : CHUNK_ROWS;
        st = read_chunk(&p, data, first, n, err);
        if (st == QX_OK) {
            st = qx_net_run_places(net, w, p.x, n, score, &p, &r.report, pool, ctl, err);
        }
        for (int64_t i = 0; st == QX_OK && i < n; i++) {
            sum.nll += p.shares[i].nll;
            sum.squares += p.shares[i].squares;
            sum.n += p.shares[i].n;
            sum.hits += p.shares[i].hits;
            sum.n_nan += p.shares[i].n_nan;
        }
    }
    pass_free(&p);
    if (st == QX_OK) {
        st = finish(&sum, data, &r, err);
    }
    if (st == QX_OK) {
        r.time_s = qx_clock_s() - start;
        *out = r;
    }
    return st;
}
