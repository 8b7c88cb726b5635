/* Float32 rows, step for step the portable ones. */
#ifndef QXK_TMPL_ROWS_H
#define QXK_TMPL_ROWS_H

#include "kernels/rungs.h"
#include "kernels/tmpl/lanes.h"

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
