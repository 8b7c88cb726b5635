/* The loop over blocks of 8-bit products. The including file defines first:
 *   ROWS                    rows of activations per block
 *   A_SHIFT_U8, A_SHIFT_S8  what block8_any adds to every activation
 *   block8_any(n_rows, is_signed, a, lda, w, panel, k_steps, acc): acc[i][0..63] = sums of rows
 *   i < n_rows <= ROWS over k_steps steps; a and panel point at the first of them */
#ifndef QXK_TMPL_GEMM8_H
#define QXK_TMPL_GEMM8_H

#include "kernels/rungs.h"
#include "kernels/tmpl/finish.h"

struct block_out {
    const struct qxk_gemm8 *g;
    int32_t a_shift;
    int64_t n0, n; /* outputs of the panel */
};

/* Sums longer than int32 holds: parts of k one after the other. */
static void block8_long(const struct block_out *o, bool is_signed, const int8_t *panel, int64_t i0,
                        int n_rows)
{
    const struct qxk_gemm8 *g = o->g;
    int64_t part = QXK_K_SPLIT / QXK_K_ALIGN, elem = out_bytes(&g->ep);
    int64_t sum[ROWS][QXK_PANEL] = {{0}};
    int32_t acc[ROWS][QXK_PANEL];
    for (int64_t k = 0; k < g->w->k_steps; k += part) {
        int64_t steps = g->w->k_steps - k < part ? g->w->k_steps - k : part;
        const uint8_t *a = (const uint8_t *)g->a + i0 * g->lda + QXK_K_ALIGN * k;
        block8_any(n_rows, is_signed, a, g->lda, g->w, panel + 4 * QXK_PANEL * k, steps, acc);
        for (int i = 0; i < n_rows; i++) {
            for (int j = 0; j < QXK_PANEL; j++) {
                sum[i][j] += acc[i][j];
            }
        }
    }
    for (int64_t i = i0; i < i0 + n_rows; i++) {
        qxk_finish_long(g->w, &g->ep, sum[i - i0], o->a_shift, i, (char *)g->y + i * g->ldy * elem,
                        o->n0, o->n);
    }
}

INLINE void block8_short(const struct block_out *o, bool is_signed, const int8_t *panel, int64_t i0,
                         int n_rows)
{
    const struct qxk_gemm8 *g = o->g;
    const int64_t row_bytes = g->ldy * out_bytes(&g->ep);
    int32_t acc[ROWS][QXK_PANEL];
    block8_any(n_rows, is_signed, (const uint8_t *)g->a + i0 * g->lda, g->lda, g->w, panel,
               g->w->k_steps, acc);
    for (int64_t i = i0; i < i0 + n_rows; i++) {
        finish_row(g->w, &g->ep, acc[i - i0], o->a_shift, i, (char *)g->y + i * row_bytes, o->n0,
                   o->n);
    }
}

INLINE void gemm8(const struct qxk_gemm8 *g, bool is_signed, int64_t m0, int64_t m, int64_t p0,
                  int64_t n_panels)
{
    const struct qxk_w8 *w = g->w;
    const int64_t n_blocks = (m + ROWS - 1) / ROWS;
    struct block_out o = {.g = g, .a_shift = is_signed ? A_SHIFT_S8 : A_SHIFT_U8};
    for (int64_t p = p0; p < p0 + n_panels; p++) {
        const int8_t *panel = w->data + p * w->k_steps * 4 * QXK_PANEL;
        o.n0 = p * QXK_PANEL;
        o.n = w->n - o.n0 < QXK_PANEL ? w->n - o.n0 : QXK_PANEL;
        for (int64_t b = 0; b < n_blocks; b++) { /* blocks of rows as equal as possible */
            int64_t i0 = m0 + b * m / n_blocks, i1 = m0 + (b + 1) * m / n_blocks;
            if (w->k > QXK_K_SPLIT) {
                block8_long(&o, is_signed, panel, i0, (int)(i1 - i0));
            } else {
                block8_short(&o, is_signed, panel, i0, (int)(i1 - i0));
            }
        }
    }
}

void QXK_FN(gemm_u8s8)(const struct qxk_gemm8 *g, int64_t m0, int64_t m, int64_t p0,
                       int64_t n_panels)
{
    gemm8(g, false, m0, m, p0, n_panels);
}

void QXK_FN(gemm_s8s8)(const struct qxk_gemm8 *g, int64_t m0, int64_t m, int64_t p0,
                       int64_t n_panels)
{
    gemm8(g, true, m0, m, p0, n_panels);
}
#endif
