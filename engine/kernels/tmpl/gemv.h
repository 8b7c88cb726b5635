/* Weights only: float32 activations times packed weights, a panel at a time, one sum per output. */
#ifndef QXK_TMPL_GEMV_H
#define QXK_TMPL_GEMV_H

#include "kernels/rungs.h"
#include "kernels/tmpl/finish.h"
#include "kernels/tmpl/lanes.h"

enum { PANEL_VECS = QXK_PANEL / VL };

INLINE vi load_codes(const void *panel, int64_t step, int j)
{
    return vi_load((const char *)panel + step * 4 * QXK_PANEL + 4 * VL * j);
}

/* Four inputs of int8 weights; n of them count. */
INLINE void add_step8(const float *x, const int64_t n, const int8_t *panel, int64_t step, vf *s)
{
#pragma GCC unroll 8
    for (int j = 0; j < PANEL_VECS; j++) {
        vi c = load_codes(panel, step, j);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            if (i < n) {
                vi w = vi_sar(i < 3 ? vi_shl(c, 24 - 8 * i) : c, 24);
                s[j] = vf_fma(vf_set1(x[i]), vf_of(w), s[j]);
            }
        }
    }
}

INLINE void clear(vf *s)
{
#pragma GCC unroll 8
    for (int j = 0; j < PANEL_VECS; j++) {
        s[j] = vf_set1(0.0f);
    }
}

/* Scales, bias and activation; scale NULL: already scaled. */
static __attribute__((noinline)) void finish_vector(const struct qxk_epilogue *e, bool is_scaled,
                                                    float x_sum, const vf *f, int64_t n0,
                                                    int64_t n_all, float *y)
{
    int64_t n = n_all - n0 < QXK_PANEL ? n_all - n0 : QXK_PANEL;
    for (int64_t j = 0; j < n; j += VL) {
        int64_t at = n0 + j, left = n - j;
        vf v = f[j / VL];
        if (!is_scaled && e->w_zero) {
            vf zero = vf_of(epilogue_s32(e->w_zero, e->w_zero_step, at, left));
            v = vf_fnma(zero, vf_set1(x_sum), v);
        }
        v = is_scaled ? v : vf_mul(v, epilogue_f32(e->w_scale, e->w_scale_step, at, left));
        v = e->bias ? vf_add(v, vf_load_n(e->bias + at, left)) : v;
        vf_store_n(y + at, activate(v, e->act, e), left);
    }
}

void QXK_FN(gemv_f32w8)(const struct qxk_gemv *g, int64_t p0, int64_t n_panels)
{
    const struct qxk_w8 *w = g->w8;
    float x_sum = g->ep.w_zero ? (float)sum_rows(g->x, w->k, false, 0.0f) : 0.0f;
    for (int64_t p = p0; p < p0 + n_panels; p++) {
        const int8_t *panel = w->data + p * w->k_steps * 4 * QXK_PANEL;
        vf f[PANEL_VECS], s[PANEL_VECS];
        clear(f);
        for (int64_t k0 = 0; k0 < w->k; k0 += QXK_F32_PART) {
            int64_t end = w->k - k0 < QXK_F32_PART ? w->k : k0 + QXK_F32_PART, k = k0;
            clear(s);
            for (; k + 4 <= end; k += 4) {
                add_step8(g->x + k, 4, panel, k / 4, s);
            }
            if (k < end) {
                add_step8(g->x + k, end - k, panel, k / 4, s);
            }
#pragma GCC unroll 8
            for (int j = 0; j < PANEL_VECS; j++) {
                f[j] = vf_add(f[j], s[j]);
            }
        }
        finish_vector(&g->ep, false, x_sum, f, p * QXK_PANEL, w->n, g->y);
    }
}

/* Eight inputs of 4-bit codes in order; n of them count. Input i is nibble 2i, or 2i - 7 from 4 on. */
INLINE void add_block4(struct table16 t, const float *x, const int64_t n, const uint8_t *record,
                       int64_t block, vf *s)
{
#pragma GCC unroll 8
    for (int j = 0; j < PANEL_VECS; j++) {
        vi c = load_codes(record, block, j);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            if (i < n) {
                vf w = table_get(t, vi_shr(c, 4 * (i < 4 ? 2 * i : 2 * i - 7)));
                s[j] = vf_fma(vf_set1(x[i]), w, s[j]);
            }
        }
    }
}

INLINE vf scale4(const uint8_t *scales, bool is_f16, int at)
{
    return is_f16 ? vf_load_f16(scales + 2 * at)
                  : vf_load((const float *)(const void *)scales + at);
}

void QXK_FN(gemv_f32w4)(const struct qxk_gemv *g, int64_t p0, int64_t n_panels)
{
    const struct qxk_w4 *w = g->w4;
    float integers[16];
    for (int i = 0; i < 16; i++) {
        integers[i] = (float)(w->has_zeros ? i : i - 8);
    }
    const struct table16 t = table_load(g->table ? g->table : integers);
    for (int64_t p = p0; p < p0 + n_panels; p++) {
        const uint8_t *record = w->data + p * w->n_groups * w->group_bytes;
        vf f[PANEL_VECS], s[PANEL_VECS];
        clear(f);
        for (int64_t b = 0; b < w->n_groups; b++, record += w->group_bytes) {
            const float *x = g->x + b * w->group;
            int64_t size = w->k - b * w->group < w->group ? w->k - b * w->group : w->group, k = 0;
            clear(s);
            for (; k + 8 <= size; k += 8) {
                add_block4(t, x + k, 8, record, k / 8, s);
            }
            if (k < size) {
                add_block4(t, x + k, size - k, record, k / 8, s);
            }
            vf x_sum = vf_set1(w->has_zeros ? (float)sum_rows(x, size, false, 0.0f) : 0.0f);
#pragma GCC unroll 8
            for (int j = 0; j < PANEL_VECS; j++) {
                if (w->has_zeros) {
                    const uint8_t *zeros = record + w->group_bytes - QXK_PANEL;
                    s[j] = vf_fnma(vf_of(vi_of_u8(zeros + VL * j)), x_sum, s[j]);
                }
                vf scale = scale4(record + w->group * (QXK_PANEL / 2), w->is_f16, VL * j);
                f[j] = vf_fma(s[j], scale, f[j]);
            }
        }
        finish_vector(&g->ep, true, 0.0f, f, p * QXK_PANEL, w->n, g->y);
    }
}
#endif
