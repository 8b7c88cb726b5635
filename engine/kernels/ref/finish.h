/* The epilogue of gemm.h for one sum: the definition. */
#ifndef QXK_REF_FINISH_H
#define QXK_REF_FINISH_H

#include "kernels/gemm.h"
#include "kernels/ref/math.h"

static inline float activate_ref(float v, const struct qxk_epilogue *e)
{
    switch (e->act) {
    case QXK_ACT_RELU:
        return larger(v, 0.0f);
    case QXK_ACT_GELU:
        return gelu_ref(v);
    case QXK_ACT_GELU_TANH:
        return gelu_tanh_ref(v);
    case QXK_ACT_CLIP:
        return smaller(larger(v, e->act_lo), e->act_hi);
    case QXK_ACT_NONE:
        break;
    }
    return v;
}

/* v is the scaled sum of output n; y its row. */
static inline void emit_ref(float v, const struct qxk_epilogue *e, void *y, int64_t n)
{
    v = e->bias ? v + e->bias[n] : v;
    v = activate_ref(v, e);
    if (e->out == QXK_OUT_F32) {
        ((float *)y)[n] = v;
        return;
    }
    v = rintf(v * e->y_inv_scale) + e->y_zero;
    v = smaller(larger(v, e->y_min), e->y_max);
    ((uint8_t *)y)[n] = (uint8_t)(int32_t)v;
}

/* sum over (a + a_shift) w of row m and output n. */
static inline void finish_ref(const struct qxk_w8 *w, const struct qxk_epilogue *e, int64_t sum,
                              int32_t a_shift, int64_t m, void *y, int64_t n)
{
    int64_t a_zero = e->a_zero ? e->a_zero[e->a_zero_step * m] : 0;
    sum -= (a_zero + a_shift) * w->col_sum[n];
    if (e->w_zero) {
        sum -= e->w_zero[e->w_zero_step * n] * (e->a_sum[m] - w->k * a_zero);
    }
    if (e->out == QXK_OUT_S32) {
        ((int32_t *)y)[n] = (int32_t)sum;
        return;
    }
    float scale = e->a_scale[e->a_scale_step * m] * e->w_scale[e->w_scale_step * n];
    emit_ref((float)sum * scale, e, y, n);
}
#endif
