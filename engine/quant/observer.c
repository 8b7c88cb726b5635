/* Watching the inputs of one layer go by, twice: ranges first, then everything that needs them. Sums
 * are kept per batch and maxima per worker, so the outcome does not depend on the threads. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "quant/scheme.h"

struct batch_sums {
    double sq_x;
    double sq_err[2][2][QX_ACT_WIDTHS];
};

struct qx_observer {
    struct qx_hist_stream *stream;
    struct qx_channels layout;
    int64_t n_rows, n_batches, n_tokens, n_strip, error_step;
    int n_workers;
    float *channel_max; /* [n_workers][channels] */
    float *strip;       /* [n_workers][n_strip] */
    struct batch_sums *sums;
};

enum { BITS_LEAST = 2, BITS_MOST = 8 };

/* Values per layer that the errors of dynamic scales are measured on: 28 passes over each. */
static const int64_t error_values = (int64_t)1 << 21;

enum qx_status qx_observer_new(struct qx_channels layout, int64_t n_rows, int64_t n_batches,
                               int n_workers, struct qx_observer **out, struct qx_error *err)
{
    struct qx_observer *o = qx_mem_zalloc(sizeof *o);
    if (!o) {
        return qx_fail_nomem(err, sizeof *o);
    }
    const int64_t row = layout.outer * layout.count * layout.inner;
    o->layout = layout;
    o->n_rows = n_rows;
    o->n_batches = n_batches;
    o->n_workers = n_workers;
    o->n_tokens = n_rows * layout.outer;
    o->n_strip = o->n_tokens < QX_STRIP_MOST ? o->n_tokens : QX_STRIP_MOST;
    o->error_step = row > 0 && n_rows > error_values / row ? n_rows * row / error_values + 1 : 1;
    o->channel_max = qx_mem_zalloc(((size_t)(n_workers * layout.count) + 1) * sizeof(float));
    o->strip = qx_mem_zalloc(((size_t)(n_workers * o->n_strip) + 1) * sizeof(float));
    o->sums = qx_mem_zalloc(((size_t)n_batches + 1) * sizeof *o->sums);
    enum qx_status st = o->channel_max && o->strip && o->sums
                            ? qx_hist_stream_new(n_batches, &o->stream, err)
                            : qx_fail_nomem(err, (size_t)n_batches * sizeof *o->sums);
    if (st != QX_OK) {
        qx_observer_free(o);
        return st;
    }
    *out = o;
    return QX_OK;
}

void qx_observer_free(struct qx_observer *o)
{
    if (o) {
        qx_hist_stream_free(o->stream);
        qx_mem_free(o->channel_max);
        qx_mem_free(o->strip);
        qx_mem_free(o->sums);
        qx_mem_free(o);
    }
}

void qx_observer_ranges(struct qx_observer *o, const struct qx_observation *at)
{
    qx_hist_stream_stats(o->stream, at->batch, at->x, at->begin[at->rows]);
}

void qx_observer_turn(struct qx_observer *o)
{
    qx_hist_stream_turn(o->stream);
}

/* ---- maxima ---- */

static float max_of(const float *x, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++) {
        const float a = fabsf(x[i]);
        most = a > most && a <= FLT_MAX ? a : most; /* NaN fails both */
    }
    return most;
}

static void channels_see(struct qx_observer *o, int worker, const float *x, int64_t n)
{
    const struct qx_channels *l = &o->layout;
    float *max = o->channel_max + worker * l->count;
    for (int64_t i = 0; i + l->inner <= n; i += l->inner) {
        float *m = &max[i / l->inner % l->count];
        const float a = max_of(x + i, l->inner);
        *m = a > *m ? a : *m;
    }
}

static void strip_see(struct qx_observer *o, int worker, int64_t token, float max)
{
    const int64_t at = token < o->n_tokens ? token * o->n_strip / o->n_tokens : o->n_strip - 1;
    float *m = &o->strip[worker * o->n_strip + at];
    *m = max > *m ? max : *m;
}

/* ---- errors of dynamic scales ---- */

/* Adds what every width and both kinds of symmetry lose when these n values share one scale. */
static void errors_add(struct batch_sums *sums, enum qx_act_gran gran, const float *x, int64_t n)
{
    float lo = FLT_MAX, hi = -FLT_MAX;
    for (int64_t i = 0; i < n; i++) {
        if (fabsf(x[i]) <= FLT_MAX) {
            lo = x[i] < lo ? x[i] : lo;
            hi = x[i] > hi ? x[i] : hi;
        }
    }
    for (int k = 0; k < 2 * (BITS_MOST - BITS_LEAST + 1); k++) {
        const int sym = k % 2, bits = BITS_LEAST + k / 2;
        const struct qx_act act = {.bits = bits, .sym = sym, .dynamic = true};
        const struct qx_qparams p = qx_act_qparams(&act, lo, hi);
        const struct qxk_affine q = qx_affine_of(&p);
        for (int64_t i = 0; i < n; i += QXK_STATS_BLOCK) {
            struct qxk_error e;
            const int64_t len = n - i < QXK_STATS_BLOCK ? n - i : QXK_STATS_BLOCK;
            qxk_get()->error_affine(x + i, (size_t)len, &q, &e);
            sums->sq_err[gran][sym][bits] += e.sse;
            sums->sq_x += k == 0 && gran == QX_ACT_TENSOR ? e.sxx : 0.0;
        }
    }
}

static void row_see(struct qx_observer *o, const struct qx_observation *at, int64_t row,
                    const float *x, int64_t n)
{
    struct batch_sums *sums = &o->sums[at->batch];
    /* a row of a convolution is one token */
    const int64_t token = o->layout.inner > 1 ? n : o->layout.count, tokens = n / token;
    channels_see(o, at->worker, x, n);
    for (int64_t t = 0; t < tokens; t++) {
        strip_see(o, at->worker, row * o->layout.outer + t, max_of(x + t * token, token));
    }
    if (row % o->error_step != 0) {
        return;
    }
    errors_add(sums, QX_ACT_TENSOR, x, n);
    for (int64_t t = 0; o->layout.outer > 1 && t < tokens; t++) {
        errors_add(sums, QX_ACT_TOKEN, x + t * token, token);
    }
}

void qx_observer_values(struct qx_observer *o, const struct qx_observation *at,
                        struct qx_hist_stream_work *work)
{
    qx_hist_stream_bins(o->stream, work, at->x, at->begin[at->rows]);
    for (int64_t r = 0; r < at->rows; r++) {
        const int64_t n = at->begin[r + 1] - at->begin[r];
        if (n >= o->layout.count * o->layout.inner && n > 0) {
            row_see(o, at, at->first_row + r, at->x + at->begin[r], n);
        }
    }
}

/* ---- the outcome ---- */

/* out[n] = largest over the workers. */
static float *maxima_take(const float *v, int64_t n, int n_workers)
{
    float *out = qx_mem_zalloc(((size_t)n + 1) * sizeof *out);
    for (int w = 0; out && w < n_workers; w++) {
        for (int64_t i = 0; i < n; i++) {
            out[i] = v[w * n + i] > out[i] ? v[w * n + i] : out[i];
        }
    }
    return out;
}

static void sums_take(const struct qx_observer *o, struct qx_observed *out)
{
    double *to = &out->sq_err[0][0][0];
    for (int64_t b = 0; b < o->n_batches; b++) {
        const double *from = &o->sums[b].sq_err[0][0][0];
        out->sq_x += o->sums[b].sq_x;
        for (size_t k = 0; k < sizeof out->sq_err / sizeof *to; k++) {
            to[k] += from[k];
        }
    }
    if (o->layout.outer == 1) { /* a row is one token */
        memcpy(out->sq_err[QX_ACT_TOKEN], out->sq_err[QX_ACT_TENSOR], sizeof out->sq_err[0]);
    }
}

enum qx_status qx_observer_take(struct qx_observer *o, struct qx_observed *out,
                                struct qx_error *err)
{
    struct qx_observed r = {.n_batches = o->n_batches,
                            .layout = o->layout,
                            .n_rows = o->n_rows,
                            .n_tokens = o->n_tokens,
                            .n_strip = o->n_strip,
                            .n_error_rows = (o->n_rows + o->error_step - 1) / o->error_step};
    r.lo = qx_mem_array((size_t)o->n_batches + 1, sizeof *r.lo);
    r.hi = qx_mem_array((size_t)o->n_batches + 1, sizeof *r.hi);
    r.channel_max = maxima_take(o->channel_max, o->layout.count, o->n_workers);
    r.strip = maxima_take(o->strip, o->n_strip, o->n_workers);
    enum qx_status st = r.lo && r.hi && r.channel_max && r.strip
                            ? qx_hist_stream_take(o->stream, &r.packed, err)
                            : qx_fail_nomem(err, (size_t)o->n_batches * sizeof *r.lo);
    if (st != QX_OK) {
        qx_observed_release(&r);
        return st;
    }
    for (int64_t b = 0; b < o->n_batches; b++) {
        qx_hist_stream_range(o->stream, b, &r.lo[b], &r.hi[b]);
    }
    sums_take(o, &r);
    *out = r;
    return QX_OK;
}
