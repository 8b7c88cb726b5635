/* Blocks of W4A8 products. The including file defines first what dot4.h wants, and
 *   ROWS4           rows of activations per block
 *   VECS4(n_rows)   vectors of outputs per pass over a panel of 64, dividing 64 / VL */
#ifndef QXK_TMPL_GEMM4_H
#define QXK_TMPL_GEMM4_H

#include "kernels/rungs.h"
#include "kernels/tmpl/dot4.h"
#include "kernels/tmpl/finish.h"

/* f[i][c..] of one pass over all groups. */
INLINE void pass4(const int n_rows, const int n_vecs, const int width, const bool is_f16,
                  const bool has_zeros, const struct qxk_w4 *w, const uint8_t *panel, int c,
                  const int8_t *a, int64_t lda, const int32_t *group_sum, float (*out)[QXK_PANEL])
{
    vf f[ROWS4][VECS_MOST];
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            f[i][j] = vf_set1(0.0f);
        }
    }
    for (int64_t g = 0; g < w->n_groups; g++, panel += w->group_bytes, a += w->group) {
        vi t[ROWS4][VECS_MOST];
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
        dot_inputs(n_rows, n_vecs, width, w->group, panel + 4 * c, a, lda, t);
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
