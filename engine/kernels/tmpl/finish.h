/* The epilogue of gemm.h on a row of 64 sums, for vectors of either length. */
#ifndef QXK_TMPL_FINISH_H
#define QXK_TMPL_FINISH_H

#include "kernels/gemm.h"
#include "kernels/tmpl/vmath.h"

/* n lanes of a value that is one for all (step 0) or one per output. */
INLINE vf epilogue_f32(const float *p, int step, int64_t at, int64_t n)
{
    return step ? vf_load_n(p + at, n) : vf_set1(*p);
}

INLINE vi epilogue_s32(const int32_t *p, int step, int64_t at, int64_t n)
{
    return step ? vi_load_n(p + at, n) : vi_set1(*p);
}

INLINE vf activate(vf v, const struct qxk_epilogue *e)
{
    switch (e->act) {
    case QXK_ACT_RELU:
        return vf_max(v, vf_set1(0.0f));
    case QXK_ACT_GELU:
        return v_gelu(v);
    case QXK_ACT_GELU_TANH:
        return v_gelu_tanh(v);
    case QXK_ACT_CLIP:
        return vf_min(vf_max(v, vf_set1(e->act_lo)), vf_set1(e->act_hi));
    case QXK_ACT_NONE:
        break;
    }
    return v;
}

/* From scaled sums to the output: bias, activation, storing. at: first output, n: how many. */
INLINE void emit(vf v, const struct qxk_epilogue *e, void *y, int64_t at, int64_t n)
{
    if (e->bias) {
        v = vf_add(v, vf_load_n(e->bias + at, n));
    }
    v = activate(v, e);
    if (e->out == QXK_OUT_F32) {
        vf_store_n((float *)y + at, v, n);
        return;
    }
    v = vf_add(vf_rint(vf_mul(v, vf_set1(e->y_inv_scale))), vf_set1(e->y_zero));
    v = vf_min(vf_max(v, vf_set1(e->y_min)), vf_set1(e->y_max));
    store_bytes((int8_t *)y + at, vi_of(v), n);
}

/* acc[64] are sums over (a + a_shift) w of row m, outputs n0..n0+n-1, n <= 64. */
INLINE void finish_row(const struct qxk_w8 *w, const struct qxk_epilogue *e, const int32_t *acc,
                       int32_t a_shift, int64_t m, void *y, int64_t n0, int64_t n)
{
    int32_t zero = a_shift + (e->a_zero ? e->a_zero[e->a_zero_step * m] : 0);
    int32_t rest = e->w_zero ? e->a_sum[m] - (int32_t)w->k * (zero - a_shift) : 0;
    vf a_scale = vf_set1(e->out == QXK_OUT_S32 ? 0.0f : e->a_scale[e->a_scale_step * m]);
    for (int64_t j = 0; j < n; j += VL) {
        int64_t at = n0 + j, left = n - j < VL ? n - j : VL;
        vi s = vi_load(acc + j);
        if (zero != 0) {
            s = vi_sub(s, vi_mul(vi_set1(zero), vi_load(w->col_sum + at)));
        }
        if (e->w_zero) {
            vi z = epilogue_s32(e->w_zero, e->w_zero_step, at, left);
            s = vi_sub(s, vi_mul(z, vi_set1(rest)));
        }
        if (e->out == QXK_OUT_S32) {
            vi_store_n((int32_t *)y + at, s, left);
            continue;
        }
        vf scale = vf_mul(a_scale, epilogue_f32(e->w_scale, e->w_scale_step, at, left));
        emit(vf_mul(vf_of(s), scale), e, y, at, left);
    }
}

/* Bytes of one output element. */
INLINE int64_t out_bytes(const struct qxk_epilogue *e)
{
    return e->out == QXK_OUT_S32 || e->out == QXK_OUT_F32 ? 4 : 1;
}
#endif
