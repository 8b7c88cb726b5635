/* How a language model's distributions over the next token differ from another's, token by token. */
#include "qx/eval.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct mean {
    double mean, error; /* error: standard deviation / sqrt(n) */
};

static struct mean mean_of(const float *x, int64_t n)
{
    struct mean m = {0};
    double squares = 0.0;
    for (int64_t i = 0; i < n; i++) {
        m.mean += (double)x[i];
    }
    m.mean /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        squares += ((double)x[i] - m.mean) * ((double)x[i] - m.mean);
    }
    m.error = sqrt(squares) / (double)n;
    return m;
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Linear between the order statistics around (n - 1) p. */
static double quantile(const float *sorted, int64_t n, double p)
{
    const double at = (double)(n - 1) * p;
    const int64_t i = (int64_t)at, k = i + 1 < n ? i + 1 : i;
    return (double)sorted[i] + (at - (double)i) * ((double)sorted[k] - (double)sorted[i]);
}

enum qx_status qx_eval_divergence(const struct qx_eval_result *a, const struct qx_eval_result *b,
                                  struct qx_divergence *out, struct qx_error *err)
{
    struct qx_eval_pair pair;
    struct qx_divergence d = {.n = b->n};
    if (!a->nll || !b->kl) {
        return qx_fail(err, QX_EDATA,
                       "the two measurements were not made side by side, so their distributions "
                       "cannot be compared");
    }
    enum qx_status st = qx_eval_compare(a, b, &pair, err);
    float *x = st == QX_OK ? qx_mem_array((size_t)b->n + 1, sizeof *x) : NULL;
    if (!x) {
        return st != QX_OK ? st : qx_fail_nomem(err, (size_t)b->n * sizeof *x);
    }
    const struct mean kl = mean_of(b->kl, b->n);
    memcpy(x, b->kl, (size_t)b->n * sizeof *x);
    qsort(x, (size_t)b->n, sizeof *x, by_value);
    d.kld_mean = kl.mean;
    d.kld_error = kl.error;
    d.kld_p99 = quantile(x, b->n, 0.99);
    d.kld_max = (double)x[b->n - 1];
    for (int64_t i = 0; i < b->n; i++) {
        x[i] = expf(-b->nll[i]) - expf(-a->nll[i]);
        d.delta_p += (double)x[i] / (double)b->n;
        x[i] *= x[i];
    }
    const struct mean square = mean_of(x, b->n);
    d.rms_delta_p = sqrt(square.mean);
    d.rms_delta_p_error = square.mean > 0.0 ? square.error / (2.0 * d.rms_delta_p) : 0.0;
    d.same_top = pair.agreement;
    d.same_top_error = sqrt(d.same_top * (1.0 - d.same_top) / (double)b->n);
    qx_mem_free(x);
    *out = d;
    return QX_OK;
}
