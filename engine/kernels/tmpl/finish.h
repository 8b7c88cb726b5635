/* The epilogue of gemm.h on a row of 64 sums, for vectors of either length. */
#ifndef QXK_TMPL_FINISH_H
#define QXK_TMPL_FINISH_H

#include "kernels/kernels.h"
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

INLINE vf activate(vf v, const enum qxk_act act, const struct qxk_epilogue *e)
{
    switch (act) {
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

/* Bytes of one output element. */
INLINE int64_t out_bytes(const struct qxk_epilogue *e)
{
    return e->out == QXK_OUT_S32 || e->out == QXK_OUT_F32 ? 4 : 1;
}

/* A block of rows on its way out. y: first row, row_bytes between rows. */
struct block_out {
    const struct qxk_epilogue *e;
    char *y;
    int64_t row_bytes;
    int64_t m, n0; /* first row and output */
    int n_rows;
};

/* Scaled and biased sums of row i, outputs at..at+left-1. */
INLINE void emit(const struct block_out *o, const enum qxk_act act, const bool is_f32, vf v, int i,
                 int64_t at, int64_t left)
{
    const struct qxk_epilogue *e = o->e;
    char *y = o->y + i * o->row_bytes;
    v = activate(v, act, e);
    if (is_f32) {
        vf_store_n((float *)(void *)y + at, v, left);
        return;
    }
    v = vf_add(vf_rint(vf_mul(v, vf_set1(e->y_inv_scale))), vf_set1(e->y_zero));
    v = vf_min(vf_max(v, vf_set1(e->y_min)), vf_set1(e->y_max));
    store_bytes(y + at, vi_of(v), left);
}

/* A zero point that is the same for all rows goes into `zero` (with the shift of the activations) and is
 * taken off on the fly; anything else is taken off the sums here. Returns that zero. */
static int32_t take_zeros(const struct block_out *o, const struct qxk_w8 *w, int32_t a_shift,
                          int64_t n, int32_t (*acc)[QXK_PANEL])
{
    const struct qxk_epilogue *e = o->e;
    if (!e->w_zero && (!e->a_zero || e->a_zero_step == 0)) {
        return a_shift + (e->a_zero ? *e->a_zero : 0);
    }
    for (int64_t j = 0; j < n; j += VL) {
        int64_t at = o->n0 + j, left = n - j;
        vi col = vi_load(w->col_sum + at);
        vi w_zero = e->w_zero ? epilogue_s32(e->w_zero, e->w_zero_step, at, left) : vi_set1(0);
        for (int i = 0; i < o->n_rows; i++) {
            int64_t m = o->m + i;
            int32_t zero = e->a_zero ? e->a_zero[e->a_zero_step * m] : 0;
            vi s = vi_sub(vi_load(acc[i] + j), vi_mul(vi_set1(zero + a_shift), col));
            if (e->w_zero) {
                int32_t rest = e->a_sum[m] - (int32_t)w->k * zero;
                s = vi_sub(s, vi_mul(w_zero, vi_set1(rest)));
            }
            vi_store(acc[i] + j, s);
        }
    }
    return 0;
}

INLINE void scale_rows(const struct block_out *o, const struct qxk_w8 *w, int32_t zero,
                       const enum qxk_act act, const bool is_f32, const int64_t n,
                       int32_t (*acc)[QXK_PANEL])
{
    const struct qxk_epilogue *e = o->e;
    for (int64_t j = 0; j < n; j += VL) {
        int64_t at = o->n0 + j, left = n - j;
        vi off = vi_mul(vi_set1(zero), vi_load(w->col_sum + at));
        vf w_scale = epilogue_f32(e->w_scale, e->w_scale_step, at, left);
        vf bias = e->bias ? vf_load_n(e->bias + at, left) : vf_set1(-0.0f); /* x + -0 is x */
        const float *a_scale = e->a_scale + e->a_scale_step * o->m;
        for (int i = 0; i < o->n_rows; i++, a_scale += e->a_scale_step) {
            vf v = vf_of(vi_sub(vi_load(acc[i] + j), off));
            v = vf_mul(v, vf_mul(vf_set1(*a_scale), w_scale));
            emit(o, act, is_f32, vf_add(v, bias), i, at, left);
        }
    }
}

INLINE void finish_act(const struct block_out *o, const struct qxk_w8 *w, int32_t zero,
                       const bool is_f32, const int64_t n, int32_t (*acc)[QXK_PANEL])
{
    switch (o->e->act) {
    case QXK_ACT_NONE:
        scale_rows(o, w, zero, QXK_ACT_NONE, is_f32, n, acc);
        break;
    case QXK_ACT_RELU:
        scale_rows(o, w, zero, QXK_ACT_RELU, is_f32, n, acc);
        break;
    case QXK_ACT_GELU:
        scale_rows(o, w, zero, QXK_ACT_GELU, is_f32, n, acc);
        break;
    case QXK_ACT_GELU_TANH:
        scale_rows(o, w, zero, QXK_ACT_GELU_TANH, is_f32, n, acc);
        break;
    case QXK_ACT_CLIP:
        scale_rows(o, w, zero, QXK_ACT_CLIP, is_f32, n, acc);
        break;
    }
}

INLINE void store_sums(const struct block_out *o, const struct qxk_w8 *w, int32_t zero,
                       const int64_t n, int32_t (*acc)[QXK_PANEL])
{
    for (int64_t j = 0; j < n; j += VL) {
        vi off = vi_mul(vi_set1(zero), vi_load(w->col_sum + o->n0 + j));
        char *y = o->y + 4 * (o->n0 + j);
        for (int i = 0; i < o->n_rows; i++, y += o->row_bytes) {
            vi_store_n((int32_t *)(void *)y, vi_sub(vi_load(acc[i] + j), off), n - j);
        }
    }
}

INLINE void finish_n(const struct block_out *o, const struct qxk_w8 *w, int32_t zero,
                     const int64_t n, int32_t (*acc)[QXK_PANEL])
{
    if (o->e->out == QXK_OUT_S32) {
        store_sums(o, w, zero, n, acc);
    } else if (o->e->out == QXK_OUT_F32) {
        finish_act(o, w, zero, true, n, acc);
    } else {
        finish_act(o, w, zero, false, n, acc);
    }
}

/* acc are sums over (a + a_shift) w of outputs n0..n0+n-1, n <= 64. */
static __attribute__((noinline, unused)) void finish_block(const struct block_out *o,
                                                           const struct qxk_w8 *w, int32_t a_shift,
                                                           int64_t n, int32_t (*acc)[QXK_PANEL])
{
    int32_t zero = take_zeros(o, w, a_shift, n, acc);
    if (n == QXK_PANEL) { /* no masks */
        finish_n(o, w, zero, QXK_PANEL, acc);
    } else {
        finish_n(o, w, zero, n, acc);
    }
}

INLINE void scale_floats(const struct block_out *o, const enum qxk_act act, const bool is_f32,
                         int64_t n, float (*f)[QXK_PANEL])
{
    const struct qxk_epilogue *e = o->e;
    for (int64_t j = 0; j < n; j += VL) {
        int64_t at = o->n0 + j, left = n - j;
        vf bias = e->bias ? vf_load_n(e->bias + at, left) : vf_set1(-0.0f);
        for (int i = 0; i < o->n_rows; i++) {
            vf scale = vf_set1(e->a_scale[e->a_scale_step * (o->m + i)]);
            vf v = vf_add(vf_mul(vf_load(f[i] + j), scale), bias);
            emit(o, act, is_f32, v, i, at, left);
        }
    }
}

/* As finish_block for sums that are already floats, but for the scale of the activations. */
static __attribute__((noinline, unused)) void finish_floats(const struct block_out *o, int64_t n,
                                                            float (*f)[QXK_PANEL])
{
    const bool is_f32 = o->e->out == QXK_OUT_F32;
    switch (o->e->act) {
    case QXK_ACT_NONE:
        scale_floats(o, QXK_ACT_NONE, is_f32, n, f);
        break;
    case QXK_ACT_RELU:
        scale_floats(o, QXK_ACT_RELU, is_f32, n, f);
        break;
    case QXK_ACT_GELU:
        scale_floats(o, QXK_ACT_GELU, is_f32, n, f);
        break;
    case QXK_ACT_GELU_TANH:
        scale_floats(o, QXK_ACT_GELU_TANH, is_f32, n, f);
        break;
    case QXK_ACT_CLIP:
        scale_floats(o, QXK_ACT_CLIP, is_f32, n, f);
        break;
    }
}
#endif
