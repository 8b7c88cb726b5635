/* Blocks of W4A8 products. The including file defines first:
 *   ROWS4           rows of activations per block
 *   VECS4(n_rows)   vectors of outputs per pass over a panel of 64, dividing 64 / VL
 *   dot4(sum, w, a) adds products of codes 0..15 and signed activations to the sums
 *   SUMS_16         1 when these sums are pairs of 16 bits: dot4 then may run for 32 inputs
 *                   (32,767 >= 8 * 2 * 15 * 128), and widen(sum) makes int32 of them */
#ifndef QXK_TMPL_GEMM4_H
#define QXK_TMPL_GEMM4_H

#include "kernels/rungs.h"
#include "kernels/tmpl/finish.h"

enum { GROUP4 = 32 };

/* Adds 32 inputs; w points at the first vector of outputs in a panel of `width`, a at the first input. */
INLINE void dot_group(const int n_rows, const int n_vecs, const int width, const uint8_t *w,
                      const int8_t *a, int64_t lda, vi (*sum)[VECS4(1)])
{
    const vi low = vi_set1(0x0F0F0F0F);
#pragma GCC unroll 4
    for (int b = 0; b < 4; b++) {
        vi w0[VECS4(1)], w1[VECS4(1)];
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            vi x = vi_load(w + b * 4 * width + 4 * VL * j);
            w0[j] = vi_and(x, low);
            w1[j] = vi_and(vi_shr4(x), low);
        }
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++) {
            vi a0 = vi_set1(load32(a + i * lda + 8 * b)),
               a1 = vi_set1(load32(a + i * lda + 8 * b + 4));
#pragma GCC unroll 4
            for (int j = 0; j < n_vecs; j++) {
                dot4(sum[i][j], w0[j], a0);
            }
#pragma GCC unroll 4
            for (int j = 0; j < n_vecs; j++) {
                dot4(sum[i][j], w1[j], a1);
            }
        }
    }
}

INLINE vf load_scale(const uint8_t *scales, const bool is_f16, int at)
{
    return is_f16 ? vf_load_f16(scales + 2 * at)
                  : vf_load((const float *)(const void *)scales + at);
}

/* f[i][c..] of one pass over all groups. */
INLINE void pass4(const int n_rows, const int n_vecs, const int width, const bool is_f16,
                  const bool has_zeros, const struct qxk_w4 *w, const uint8_t *panel, int c,
                  const int8_t *a, int64_t lda, const int32_t *group_sum, float (*out)[QXK_PANEL])
{
    vf f[ROWS4][VECS4(1)];
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            f[i][j] = vf_set1(0.0f);
        }
    }
    for (int64_t g = 0; g < w->n_groups; g++, panel += w->group_bytes, a += w->group) {
        vi t[ROWS4][VECS4(1)];
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 4
            for (int j = 0; j < n_vecs; j++) {
                t[i][j] = vi_set1(group_sum[i * w->n_groups + g]);
                if (has_zeros) { /* a zero of 8 is what group_sum stands for */
                    const uint8_t *zeros = panel + w->group_bytes - width;
                    vi zero = vi_of_u8(zeros + c + VL * j);
                    t[i][j] = vi_mul(zero, vi_set1(group_sum[i * w->n_groups + g] / 8));
                }
            }
        }
        for (int k = 0; k < w->group; k += GROUP4) {
            const uint8_t *codes = panel + k / 8 * 4 * width + 4 * c;
#if SUMS_16
            vi s[ROWS4][VECS4(1)];
#pragma GCC unroll 8
            for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 4
                for (int j = 0; j < n_vecs; j++) {
                    s[i][j] = vi_set1(0);
                }
            }
            dot_group(n_rows, n_vecs, width, codes, a + k, lda, s);
#pragma GCC unroll 8
            for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 4
                for (int j = 0; j < n_vecs; j++) {
                    t[i][j] = vi_add(t[i][j], widen(s[i][j]));
                }
            }
#else
            dot_group(n_rows, n_vecs, width, codes, a + k, lda, t);
#endif
        }
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            vf scale = load_scale(panel + w->group * (width / 2), is_f16, c + VL * j);
#pragma GCC unroll 8
            for (int i = 0; i < n_rows; i++) {
                f[i][j] = vf_fma(vf_of(t[i][j]), scale, f[i][j]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            vf_store(out[i] + c + VL * j, f[i][j]);
        }
    }
}

INLINE int vecs4_of(const int n_rows, const int width)
{
    return VECS4(n_rows) * VL < width ? VECS4(n_rows) : width / VL;
}

#define BLOCK4_ROWS(rows)                                                                   \
    case rows:                                                                              \
        for (int c = 0; c < width; c += vecs4_of(rows, width) * VL) {                       \
            pass4(rows, vecs4_of(rows, width), width, is_f16, has_zeros, g->w, panel, c, a, \
                  g->lda, group_sum, out);                                                  \
        }                                                                                   \
        break;

INLINE void block4_width(const struct qxk_gemm4 *g, const int width, const bool is_f16,
                         const bool has_zeros, int n_rows, int64_t m, const uint8_t *panel,
                         float (*out)[QXK_PANEL])
{
    const int8_t *a = g->a + m * g->lda;
    const int32_t *group_sum = g->group_sum + m * g->w->n_groups;
    switch (n_rows) {
        BLOCK4_ROWS(1)
        BLOCK4_ROWS(2)
        BLOCK4_ROWS(3)
        BLOCK4_ROWS(4)
#if ROWS4 > 4
        BLOCK4_ROWS(5)
        BLOCK4_ROWS(6)
#endif
    }
}

INLINE void block4(const struct qxk_gemm4 *g, const bool is_f16, const bool has_zeros, int n_rows,
                   int64_t m, const uint8_t *panel, float (*out)[QXK_PANEL])
{
    switch (g->w->panel) {
    case 16:
        block4_width(g, 16, is_f16, has_zeros, n_rows, m, panel, out);
        break;
    case 32:
        block4_width(g, 32, is_f16, has_zeros, n_rows, m, panel, out);
        break;
    default:
        block4_width(g, QXK_PANEL, is_f16, has_zeros, n_rows, m, panel, out);
    }
}

void QXK_FN(gemm_s8s4)(const struct qxk_gemm4 *g, int64_t m0, int64_t m, int64_t p0,
                       int64_t n_panels)
{
    const struct qxk_w4 *w = g->w;
    const int64_t n_blocks = (m + ROWS4 - 1) / ROWS4;
    struct block_out o = {.e = &g->ep, .row_bytes = g->ldy * out_bytes(&g->ep)};
    for (int64_t p = p0; p < p0 + n_panels; p++) {
        const uint8_t *panel = w->data + p * w->n_groups * w->group_bytes;
        o.n0 = p * w->panel;
        int64_t n = w->n - o.n0 < w->panel ? w->n - o.n0 : w->panel;
        for (int64_t b = 0; b < n_blocks; b++) {
            float out[ROWS4][QXK_PANEL] __attribute__((aligned(64)));
            o.m = m0 + b * m / n_blocks;
            o.n_rows = (int)(m0 + (b + 1) * m / n_blocks - o.m);
            o.y = (char *)g->y + o.m * o.row_bytes;
            if (w->has_zeros) {
                block4(g, w->is_f16, true, o.n_rows, o.m, panel, out);
            } else if (w->is_f16) {
                block4(g, true, false, o.n_rows, o.m, panel, out);
            } else {
                block4(g, false, false, o.n_rows, o.m, panel, out);
            }
            if (b == n_blocks - 1) {
                prefetch_next(panel + w->n_groups * w->group_bytes);
            }
            finish_floats(&o, n, out);
        }
    }
}
#endif
