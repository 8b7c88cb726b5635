/* Scales of a few values by least squares on the codes that tries give (ggml's quantizers search so too): codes
 * follow from a try, the best scale for these codes from their sums, and how much of sum w x^2 it explains says which
 * try was best. */
#include <math.h>

#include "format/block.h"
#include "kernels/kernels.h"

float qx_fit_inverse(float scale)
{
    const float inv = scale != 0.0f ? 1.0f / scale : 0.0f;

    return isfinite(inv) ? inv : 0.0f;
}

/* sum w and sum w x */
struct plain_sums {
    float w, x;
};

static struct plain_sums plain_sums(const float *x, const float *w, int n)
{
    struct plain_sums s = {0.0f, 0.0f};

    for (int j = 0; j < n; j++) {
        s.w += w ? w[j] : 1.0f;
        s.x += w ? w[j] * x[j] : x[j];
    }
    return s;
}

/* What a line explains is gain / det: fractions are compared crosswise. */
struct best {
    float gain, det;
    int at;
    bool is_flat; /* without a minimum */
};

static void consider(struct best *b, float gain, float det, int at, bool is_flat)
{
    if (det > 0.0f && gain > 0.0f &&
        (b->at < 0 || (double)gain * (double)b->det > (double)b->gain * (double)det)) {
        *b = (struct best){gain, det, at, is_flat};
    }
}

static struct qx_fit line_of(const struct qxk_code_sums *c, const struct plain_sums *s,
                             const struct best *b)
{
    const float q1 = c->q1[b->at], q2 = c->q2[b->at], xq = c->xq[b->at];

    if (b->is_flat) {
        return (struct qx_fit){xq / q2, 0.0f};
    }
    return (struct qx_fit){(s->w * xq - s->x * q1) / b->det, (q1 * xq - q2 * s->x) / b->det};
}

bool qx_fit_line(const float *x, const float *weight, int n, int top, bool is_low,
                 struct qx_fit *out)
{
    struct qxk_tries t = {.lo = 0.0f, .hi = (float)top};
    struct qxk_code_sums c;
    struct best best = {.at = -1};
    float lo = is_low ? 0.0f : x[0], hi = x[0];

    for (int j = 0; j < n; j++) {
        lo = x[j] < lo ? x[j] : lo;
        hi = x[j] > hi ? x[j] : hi;
    }
    *out = (struct qx_fit){(hi - lo) / (float)top, 0.0f - lo};
    const float whole = qx_fit_inverse(hi - lo);
    if (!(out->scale > 0.0f) || whole == 0.0f) {
        out->scale = 0.0f;
        return false;
    }
    for (int i = 0; i < QXK_TRIES; i++) {
        t.inv[i] = ((float)top * 0.8f + (float)top / 60.0f * (float)i) * whole;
        t.shift[i] = (0.0f - lo) * t.inv[i];
    }
    qxk_get()->code_sums(x, weight, n, &t, &c);
    const struct plain_sums s = plain_sums(x, weight, n);
    for (int i = 0; i < QXK_TRIES; i++) {
        const float det = s.w * c.q2[i] - c.q1[i] * c.q1[i];
        const float down = c.q1[i] * c.xq[i] - c.q2[i] * s.x;

        if (is_low && down < 0.0f) { /* a minimum above 0 cannot be stored */
            consider(&best, c.xq[i] > 0.0f ? c.xq[i] * c.xq[i] : 0.0f, c.q2[i], i, true);
        } else if (s.w * c.xq[i] > s.x * c.q1[i]) { /* the scale is above 0 */
            consider(&best, (s.w * c.xq[i] - s.x * c.q1[i]) * c.xq[i] - down * s.x, det, i, false);
        }
    }
    if (best.at >= 0) {
        *out = line_of(&c, &s, &best);
    }
    return true;
}

float qx_fit_scale(const float *x, const float *weight, int n, int zero)
{
    struct qxk_tries t = {.lo = (float)-zero, .hi = (float)(zero - 1)};
    struct qxk_code_sums c;
    struct best best = {.at = -1};
    float most = 0.0f;

    for (int j = 0; j < n; j++) {
        most = fabsf(x[j]) > fabsf(most) ? x[j] : most;
    }
    const float whole = qx_fit_inverse(most);
    for (int i = 0; i < QXK_TRIES;
         i++) { /* the value that is largest takes the code -zero, about */
        t.inv[i] = -((float)zero + 0.125f * (float)(i - QXK_TRIES / 2)) * whole;
        t.shift[i] = 0.0f;
    }
    qxk_get()->code_sums(x, weight, n, &t, &c);
    for (int i = 0; i < QXK_TRIES; i++) {
        consider(&best, c.xq[i] * c.xq[i], c.q2[i], i, true);
    }
    return best.at >= 0 ? c.xq[best.at] / c.q2[best.at] : most / (float)-zero;
}
