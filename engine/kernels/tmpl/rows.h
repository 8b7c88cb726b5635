/* Float32 rows, step for step the portable ones: sixteen lanes are one vector or two. */
#ifndef QXK_TMPL_ROWS_H
#define QXK_TMPL_ROWS_H

#include "kernels/rungs.h"
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

void QXK_FN(layer_norm)(const float *x, int64_t n, const struct qxk_norm *norm, float *y)
{
    if (norm->add) {
        for (int64_t i = 0; i < n; i += VL) {
            vf_store_n(y + i, vf_add(vf_load_n(x + i, n - i), vf_load_n(norm->add + i, n - i)),
                       n - i);
        }
        x = y;
    }
    float mean = (float)(sum_rows(x, n, false, 0.0f) / (double)n);
    double var = sum_rows(x, n, true, mean) / (double)n;
    const vf m = vf_set1(mean);
    const vf inverse = vf_set1((float)(1.0 / __builtin_sqrt(var + (double)norm->eps)));
    const vf one = vf_set1(1.0f), nothing = vf_set1(-0.0f);
    for (int64_t i = 0; i < n; i += VL) {
        vf v = vf_mul(vf_sub(vf_load_n(x + i, n - i), m), inverse);
        vf gamma = norm->gamma ? vf_load_n(norm->gamma + i, n - i) : one;
        vf beta = norm->beta ? vf_load_n(norm->beta + i, n - i) : nothing;
        vf_store_n(y + i, vf_fma(v, gamma, beta), n - i);
    }
}

void QXK_FN(softmax)(const float *x, int64_t n, float scale, const float *mask, float *y)
{
    const vf s = vf_set1(scale);
    struct v16 most = v16_set1(-__builtin_inff());
    for (int64_t i = 0; i < n; i += 16) {
        struct v16 v = v16_load(x + i, n - i, 0.0f), m = v16_set1(0.0f);
        m = mask ? v16_load(mask + i, n - i, 0.0f) : m;
        for (int p = 0; p < PARTS; p++) {
            v.v[p] = vf_mul(v.v[p], s);
            v.v[p] = mask ? vf_add(v.v[p], m.v[p]) : v.v[p];
        }
        v16_store(y + i, v, n - i);
        v = n - i < 16 ? v16_load(y + i, n - i, -__builtin_inff()) : v;
        for (int p = 0; p < PARTS; p++) {
            most.v[p] = vf_max(v.v[p], most.v[p]);
        }
    }
    float lane[16];
    v16_store(lane, most, 16);
    for (int i = 1; i < 16; i++) {
        lane[0] = lane[i] > lane[0] ? lane[i] : lane[0];
    }
    const vf top = vf_set1(lane[0]);
    for (int64_t i = 0; i < n; i += VL) {
        vf_store_n(y + i, v_exp(vf_sub(vf_load_n(y + i, n - i), top)), n - i);
    }
    const vf inverse = vf_set1((float)(1.0 / sum_rows(y, n, false, 0.0f)));
    for (int64_t i = 0; i < n; i += VL) {
        vf_store_n(y + i, vf_mul(vf_load_n(y + i, n - i), inverse), n - i);
    }
}

void QXK_FN(gelu)(const float *x, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i += VL) {
        vf_store_n(y + i, v_gelu(vf_load_n(x + i, n - i)), n - i);
    }
}

void QXK_FN(gelu_tanh)(const float *x, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i += VL) {
        vf_store_n(y + i, v_gelu_tanh(vf_load_n(x + i, n - i)), n - i);
    }
}
#endif
