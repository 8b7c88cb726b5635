/* Sixteen lanes, one vector or two: sums in the order of the portable rows. */
#ifndef QXK_TMPL_LANES_H
#define QXK_TMPL_LANES_H

#include "kernels/kernels.h"
#include "kernels/tmpl/vmath.h"

#define PARTS (16 / VL) /* vectors of sixteen lanes */

struct v16 {
    vf v[PARTS];
};

INLINE struct v16 v16_set1(float x)
{
    struct v16 r;
    for (int i = 0; i < PARTS; i++) {
        r.v[i] = vf_set1(x);
    }
    return r;
}

/* The lanes from n on are `rest`. */
INLINE struct v16 v16_load(const float *p, int64_t n, float rest)
{
    float padded[16];
    struct v16 r;
    if (n < 16) {
        for (int i = 0; i < 16; i++) {
            padded[i] = i < n ? p[i] : rest;
        }
        p = padded;
    }
    for (int i = 0; i < PARTS; i++) {
        r.v[i] = vf_load(p + VL * i);
    }
    return r;
}

INLINE void v16_store(float *p, struct v16 a, int64_t n)
{
    for (int i = 0; i < PARTS && VL * i < n; i++) {
        vf_store_n(p + VL * i, a.v[i], n - VL * i);
    }
}

/* Lanes i and i+8, then i+4, i+2, i+1. */
INLINE float v16_fold(struct v16 a)
{
#if VL == 16
    __m256 v = _mm256_add_ps(_mm512_castps512_ps256(a.v[0]), _mm512_extractf32x8_ps(a.v[0], 1));
#else
    __m256 v = _mm256_add_ps(a.v[0], a.v[1]);
#endif
    __m128 u = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    u = _mm_add_ps(u, _mm_movehl_ps(u, u));
    return _mm_cvtss_f32(_mm_add_ss(u, _mm_movehdup_ps(u)));
}

INLINE double sum_rows(const float *v, int64_t n, const bool is_square, float mean)
{
    double total = 0.0;
    const vf m = vf_set1(mean);
    for (int64_t i = 0; i < n; i += QXK_ROW_PART) {
        int64_t end = n - i < QXK_ROW_PART ? n : i + QXK_ROW_PART;
        struct v16 lanes = v16_set1(0.0f);
        for (int64_t j = i; j < end; j += 16) {
            struct v16 x = v16_load(v + j, end - j, is_square ? mean : 0.0f);
            for (int p = 0; p < PARTS; p++) {
                vf d = is_square ? vf_sub(x.v[p], m) : x.v[p];
                lanes.v[p] = is_square ? vf_fma(d, d, lanes.v[p]) : vf_add(lanes.v[p], d);
            }
        }
        total += (double)v16_fold(lanes);
    }
    return total;
}
#endif
