/* Encoders without a classifier: do their embeddings say the same as float32's? */
#include "qx/eval.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "eval/score.h"
#include "eval/nonfinite.h"
#include "eval/rows.h"
#include "eval/similarity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Similarities of pairs grow with the square of the rows. */
enum { ROWS_DEFAULT = 1000, CHUNK_ROWS = 64 };

/* Unit vectors [n][d] of the drawn rows. */
static enum qx_status embed(const struct qx_net *net, const struct qx_dataset *data,
                            const struct qx_weights *w, const struct qx_eval_result *drawn,
                            struct qx_net_report *report, float *out, struct qx_pool *pool,
                            struct qx_ctl *ctl, struct qx_error *err)
{
    const int64_t sample = qx_net_sample_size(net);
    const int d = qx_net_n_classes(net);
    float *x = qx_mem_array(CHUNK_ROWS, (size_t)sample * sizeof *x);
    enum qx_status st = x ? QX_OK : qx_fail_nomem(err, CHUNK_ROWS * (size_t)sample * sizeof *x);
    for (int64_t first = 0; st == QX_OK && first < drawn->n; first += CHUNK_ROWS) {
        const int64_t left = drawn->n - first, n = left < CHUNK_ROWS ? left : CHUNK_ROWS;
        st = qx_score_read(data, drawn, first, n, sample, x, err);
        if (st == QX_OK) {
            st = qx_net_run(net, w, x, n, out + first * d, report, pool, ctl, err);
        }
    }
    for (int64_t i = 0; st == QX_OK && i < drawn->n; i++) {
        float *v = out + i * d;
        if (qx_unit_make(v, d)) {
            continue;
        }
        float sum = 0.0f;
        for (int k = 0; k < d; k++) {
            sum += v[k] * v[k];
        }
        if (!isfinite(sum)) {
            st = qx_fail_nonfinite(net, 1, drawn->n, "rows", err);
        }
        if (st == QX_OK) {
            st = qx_fail(
                err, QX_EDATA,
                "%s: the embedding of row %lld is zero or no number, so it is similar to nothing",
                qx_dataset_path(data), (long long)drawn->rows[i]);
        }
    }
    qx_mem_free(x);
    return st;
}

static double dot(const float *a, const float *b, int d)
{
    double sum = 0.0;
    for (int k = 0; k < d; k++) {
        sum += (double)a[k] * (double)b[k];
    }
    return sum;
}

/* Pairs (i, k < i) in row order. */
static void similarities(const float *v, int64_t n, int d, float *out)
{
    for (int64_t i = 1, at = 0; i < n; i++) {
        for (int64_t k = 0; k < i; k++) {
            out[at++] = (float)dot(v + i * d, v + k * d, d);
        }
    }
}

/* The most similar other row of row i, the lowest on a tie. */
static int64_t nearest(const float *pairs, int64_t n, int64_t i)
{
    int64_t best = -1;
    float most = -INFINITY;
    for (int64_t k = 0; k < n; k++) {
        const int64_t hi = i > k ? i : k, lo = i > k ? k : i;
        if (k != i && pairs[hi * (hi - 1) / 2 + lo] > most) {
            most = pairs[hi * (hi - 1) / 2 + lo];
            best = k;
        }
    }
    return best;
}

struct ranked {
    float value;
    int32_t at;
};

static int by_value(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

/* Ranks of the values, equal ones sharing their mean. */
static void ranks_of(const float *values, int64_t n, struct ranked *scratch, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        scratch[i] = (struct ranked){values[i], (int32_t)i};
    }
    qsort(scratch, (size_t)n, sizeof *scratch, by_value);
    for (int64_t from = 0, to; from < n; from = to) {
        to = from + 1;
        while (to < n && scratch[to].value == scratch[from].value) {
            to++;
        }
        for (int64_t i = from; i < to; i++) {
            out[scratch[i].at] = (float)(from + to - 1) / 2.0f;
        }
    }
}

/* Pearson's correlation of ranks, whose mean is (n - 1) / 2; NaN where all values are equal. */
static double correlation(const float *x, const float *y, int64_t n)
{
    const double mean = (double)(n - 1) / 2.0;
    double xy = 0.0, xx = 0.0, yy = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double a = (double)x[i] - mean, b = (double)y[i] - mean;
        xy += a * b;
        xx += a * a;
        yy += b * b;
    }
    return xy / sqrt(xx * yy);
}

/* Of the unit vectors a and b [n][d]. */
static enum qx_status compare(const float *a, const float *b, int64_t n, int d,
                              struct qx_agreement *out, struct qx_error *err)
{
    const int64_t n_pairs = n * (n - 1) / 2;
    float *pairs = qx_mem_array((size_t)n_pairs + 1, 4 * sizeof *pairs);
    struct ranked *scratch = qx_mem_array((size_t)n_pairs + 1, sizeof *scratch);
    int64_t n_same = 0;
    if (!pairs || !scratch) {
        qx_mem_free(pairs);
        qx_mem_free(scratch);
        return qx_fail_nomem(err, (size_t)n_pairs * 4 * sizeof *pairs);
    }
    float *of_b = pairs + n_pairs, *rank_a = of_b + n_pairs, *rank_b = rank_a + n_pairs;
    similarities(a, n, d, pairs);
    similarities(b, n, d, of_b);
    ranks_of(pairs, n_pairs, scratch, rank_a);
    ranks_of(of_b, n_pairs, scratch, rank_b);
    out->cosine_least = 1.0;
    for (int64_t i = 0; i < n; i++) {
        const double cosine = dot(a + i * d, b + i * d, d);
        out->cosine += cosine / (double)n;
        out->cosine_least = cosine < out->cosine_least ? cosine : out->cosine_least;
        n_same += nearest(pairs, n, i) == nearest(of_b, n, i);
    }
    out->spearman = correlation(rank_a, rank_b, n_pairs);
    out->same_top = (double)n_same / (double)n;
    qx_wilson(n_same, n, &out->same_top_lo, &out->same_top_hi);
    qx_mem_free(pairs);
    qx_mem_free(scratch);
    return QX_OK;
}

enum qx_status qx_agreement_run(const struct qx_net *net, const struct qx_dataset *data,
                                struct qx_weights *wa, struct qx_weights *wb,
                                const struct qx_eval_options *options, struct qx_pool *pool,
                                struct qx_ctl *ctl, struct qx_agreement *out, struct qx_error *err)
{
    const double start = qx_clock_s();
    const int64_t all = qx_dataset_n(data), asked = options ? options->max_samples : 0;
    const int64_t most = asked > 0 && asked < ROWS_DEFAULT ? asked : ROWS_DEFAULT;
    const int d = qx_net_n_classes(net);
    struct qx_agreement g = {.n = most < all ? most : all};
    struct qx_eval_result *drawn = NULL;
    if (strcmp(qx_net_task(net), "embedding") != 0) {
        return qx_fail(err, QX_EUNSUPPORTED, "the network gives no embeddings");
    }
    if (g.n < 3) {
        return qx_fail(err, QX_EDATA,
                       "%s: %lld rows are too few to compare similarities; 3 are needed",
                       qx_dataset_path(data), (long long)g.n);
    }
    enum qx_status st = qx_score_new(g.n, &drawn, err);
    float *a = qx_mem_array((size_t)g.n, 2 * (size_t)d * sizeof *a);
    if (st == QX_OK && !a) {
        st = qx_fail_nomem(err, (size_t)g.n * 2 * (size_t)d * sizeof *a);
    }
    float *b = a ? a + g.n * d : NULL;
    qx_ctl_total(ctl, 2 * g.n * QX_ROW_STEPS);
    if (st == QX_OK) {
        qx_rows_draw(all, g.n, options ? options->seed : 0, drawn->rows);
        st = qx_weights_prepare(wa, QX_ENGINE_AUTO, pool, ctl, err);
    }
    if (st == QX_OK) {
        st = qx_weights_prepare(wb, options ? options->engine : QX_ENGINE_AUTO, pool, ctl, err);
    }
    if (st == QX_OK) {
        struct qx_net_report plain = {0};
        g.engine = qx_weights_engine(wb);
        st = embed(net, data, wa, drawn, &plain, a, pool, ctl, err);
    }
    if (st == QX_OK) {
        st = embed(net, data, wb, drawn, &g.report, b, pool, ctl, err);
    }
    if (st == QX_OK) {
        st = compare(a, b, g.n, d, &g, err);
    }
    qx_eval_result_free(drawn);
    qx_mem_free(a);
    if (st == QX_OK) {
        g.time_s = qx_clock_s() - start;
        *out = g;
    }
    return st;
}
