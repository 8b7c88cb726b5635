#include "base/fp16.h"
#include "kernels/rungs.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 };

/* Element i goes to lane i % 16; every rung keeps this order, so all give the same bits. */
struct lanes {
    double sum[LANES], sumsq[LANES];
};

static double fold(double *v)
{
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            v[i] += v[i + half];
        }
    }
    return v[0];
}

static void add(struct lanes *l, struct qxk_stats *s, size_t i, float x)
{
    double v = 0.0;
    if (isfinite(x)) {
        v = (double)x;
        s->min = x < s->min ? x : s->min;
        s->max = x > s->max ? x : s->max;
        s->n_finite++;
        s->n_zero += x == 0.0f;
    } else if (isnan(x)) {
        s->n_nan++;
    } else if (x > 0.0f) {
        s->n_posinf++;
    } else {
        s->n_neginf++;
    }
    l->sum[i % LANES] += v;
    l->sumsq[i % LANES] += v * v;
}

static void finish(struct lanes *l, struct qxk_stats *s, struct qxk_stats *out)
{
    s->sum = fold(l->sum);
    s->sumsq = fold(l->sumsq);
    if (s->n_finite > 0) {
        s->absmax = fmaxf(fabsf(s->min), fabsf(s->max));
    }
    *out = *s;
}

void qxk_stats_f32_ref(const void *x, size_t n, struct qxk_stats *out)
{
    struct lanes l = {0};
    struct qxk_stats s = qxk_stats_zero();
    for (size_t i = 0; i < n; i++) {
        float v;
        memcpy(&v, (const char *)x + 4 * i, 4);
        add(&l, &s, i, v);
    }
    finish(&l, &s, out);
}

void qxk_stats_f16_ref(const void *x, size_t n, struct qxk_stats *out)
{
    struct lanes l = {0};
    struct qxk_stats s = qxk_stats_zero();
    for (size_t i = 0; i < n; i++) {
        uint16_t v;
        memcpy(&v, (const char *)x + 2 * i, 2);
        add(&l, &s, i, qx_f16_to_f32(v));
    }
    finish(&l, &s, out);
}

void qxk_stats_bf16_ref(const void *x, size_t n, struct qxk_stats *out)
{
    struct lanes l = {0};
    struct qxk_stats s = qxk_stats_zero();
    for (size_t i = 0; i < n; i++) {
        uint16_t v;
        memcpy(&v, (const char *)x + 2 * i, 2);
        add(&l, &s, i, qx_bf16_to_f32(v));
    }
    finish(&l, &s, out);
}
