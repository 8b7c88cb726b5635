#include "kernels/rungs.h"

#include <math.h>
#include <string.h>

static float load_f32(const void *x, size_t i)
{
    float v;
    memcpy(&v, (const char *)x + 4 * i, 4);
    return v;
}

/* Bin of y (see kernels.h) and the offset inside it. */
static uint32_t half_key(float y, uint32_t *offset)
{
    const uint32_t last = ((uint32_t)0x7C00 << 13) - 1; /* the end of the largest finite bin */
    uint32_t bits, mag, v;
    memcpy(&bits, &y, 4);
    mag = bits & 0x7FFFFFFF;
    if (mag >= 0x38800000) { /* 2^-14: a normal half; rebias the exponent, keep 13 more bits */
        v = mag - 0x38000000;
        v = v < last ? v : last;
    } else {
        v = (uint32_t)(fabsf(y) * 0x1p37f); /* in 8192nds of the smallest half, 2^-24 */
    }
    *offset = v & 0x1FFF;
    return v >> 13 | (mag ? bits >> 16 & 0x8000 : 0);
}

void qxk_hist_f32_ref(struct qxk_hist_work *work, const void *x, size_t n, float scale,
                      float lin_scale)
{
    for (size_t i = 0; i < n; i++) {
        float v = load_f32(x, i);
        if (!isfinite(v)) {
            work->n_nonfinite++;
            continue;
        }
        uint32_t o, key = half_key(v * scale, &o);
        work->half[key].n_s1 += (uint64_t)1 << 40 | o;
        work->half[key].s2 += (uint64_t)o * o;
        float t = fabsf(v) * lin_scale;
        work->lin[0][t < QXK_LIN_BINS ? (uint32_t)t : QXK_LIN_BINS - 1]++;
    }
    work->n_pending += n;
}

/* Two tables, so that equal neighbours do not wait for each other's store. */
void qxk_hist_u16_ref(struct qxk_hist_u16_work *work, const void *x, size_t n)
{
    const char *p = x;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint64_t four;
        memcpy(&four, p + 2 * i, 8);
        work->n[0][four & 0xFFFF]++;
        work->n[1][four >> 16 & 0xFFFF]++;
        work->n[0][four >> 32 & 0xFFFF]++;
        work->n[1][four >> 48]++;
    }
    for (; i < n; i++) {
        uint16_t one;
        memcpy(&one, p + 2 * i, 2);
        work->n[0][one]++;
    }
}

void qxk_hist_weighted_ref(struct qxk_wbin *bins, const void *x, size_t n, float inv_a, float scale,
                           double a)
{
    const double aa = a * a;
    for (size_t i = 0; i < n; i++) {
        float v = load_f32(x, i);
        if (!isfinite(v)) {
            continue;
        }
        uint32_t o;
        struct qxk_wbin *b = &bins[half_key(v * inv_a * scale, &o)];
        double d = (double)o;
        b->n += 1.0;
        b->a0 += aa;
        b->a1 += aa * d;
        b->a2 += aa * (d * d);
        b->m0 += a;
        b->m1 += a * d;
    }
}
