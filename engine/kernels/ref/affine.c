#include "kernels/rungs.h"

#include <math.h>
#include <stdbool.h>

enum { LANES = 8 };

/* The code before clamping, as float. */
static float code_of(float x, const struct qxk_affine *q)
{
    return rintf(x / q->scale) + q->zero;
}

static float clamp(float v, const struct qxk_affine *q)
{
    v = v < q->qmin ? q->qmin : v;
    return v > q->qmax ? q->qmax : v;
}

int64_t qxk_fakequant_ref(const float *x, size_t n, const struct qxk_affine *q, float *out)
{
    int64_t n_nonfinite = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_finite = isfinite(x[i]);
        n_nonfinite += !is_finite;
        out[i] = is_finite ? (clamp(code_of(x[i], q), q) - q->zero) * q->scale : 0.0f;
    }
    return n_nonfinite;
}

int64_t qxk_quantize_ref(const float *x, size_t n, const struct qxk_affine *q, void *out)
{
    uint8_t *codes = out;
    int64_t n_nonfinite = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_finite = isfinite(x[i]);
        n_nonfinite += !is_finite;
        float v = is_finite ? code_of(x[i], q) : q->zero;
        codes[i] = (uint8_t)(int32_t)clamp(v, q);
    }
    return n_nonfinite;
}

/* Element i goes to lane i % 8; every rung keeps this order, so all give the same bits. */
struct lanes {
    double sse[LANES], sae[LANES], se[LANES], sxx[LANES], sxy[LANES], syy[LANES];
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

static void add(struct lanes *l, struct qxk_error *r, size_t lane, double x, double y)
{
    double e = y - x;
    l->sse[lane] += e * e;
    l->sae[lane] += fabs(e);
    l->se[lane] += e;
    l->sxx[lane] += x * x;
    l->sxy[lane] += x * y;
    l->syy[lane] += y * y;
    r->max_abs = fabs(e) > r->max_abs ? fabs(e) : r->max_abs;
    r->n++;
}

static void finish(struct lanes *l, struct qxk_error *r)
{
    r->sse = fold(l->sse);
    r->sae = fold(l->sae);
    r->se = fold(l->se);
    r->sxx = fold(l->sxx);
    r->sxy = fold(l->sxy);
    r->syy = fold(l->syy);
}

void qxk_error_f32_ref(const float *x, const float *y, size_t n, struct qxk_error *out)
{
    struct lanes l = {0};
    struct qxk_error r = {0};
    for (size_t i = 0; i < n; i++) {
        if (isfinite(x[i]) && isfinite(y[i])) {
            add(&l, &r, i % LANES, (double)x[i], (double)y[i]);
        } else {
            r.n_nonfinite++;
        }
    }
    finish(&l, &r);
    *out = r;
}

void qxk_error_affine_ref(const float *x, size_t n, const struct qxk_affine *q,
                          struct qxk_error *out)
{
    struct lanes l = {0};
    struct qxk_error r = {0};
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            r.n_nonfinite++;
            continue;
        }
        float v = code_of(x[i], q);
        r.n_low += v < q->qmin;
        r.n_high += v > q->qmax;
        float y = (clamp(v, q) - q->zero) * q->scale;
        add(&l, &r, i % LANES, (double)x[i], (double)y);
    }
    finish(&l, &r);
    *out = r;
}
