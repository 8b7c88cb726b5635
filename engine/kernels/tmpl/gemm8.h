/* The loop over blocks of 8-bit products. The including file defines first:
 *   ROWS                    rows of activations per block
 *   A_SHIFT_U8, A_SHIFT_S8  what block8_any adds to every activation
 *   block8_any(n_rows, width, is_signed, a, lda, panel, k_steps, acc): acc[i][0..width-1] = sums of
 *   rows i < n_rows <= ROWS over k_steps steps; a and panel point at the first of them */
#ifndef QXK_TMPL_GEMM8_H
#define QXK_TMPL_GEMM8_H

#include "kernels/rungs.h"
#include "kernels/tmpl/finish.h"

/* Sums longer than int32 holds: parts of k one after the other. */
static void block8_long(const struct qxk_gemm8 *g, const struct block_out *o, bool is_signed,
                        const int8_t *panel, int64_t n)
{
    const int64_t part = QXK_K_SPLIT / QXK_K_ALIGN;
    const int width = g->w->panel;
    int64_t sum[ROWS][QXK_PANEL] = {{0}};
    int32_t acc[ROWS][QXK_PANEL];
    for (int64_t k = 0; k < g->w->k_steps; k += part) {
        int64_t steps = g->w->k_steps - k < part ? g->w->k_steps - k : part;
        const uint8_t *a = (const uint8_t *)g->a + o->m * g->lda + QXK_K_ALIGN * k;
        block8_any(o->n_rows, width, is_signed, a, g->lda, panel + 4 * width * k, steps, acc);
        for (int i = 0; i < o->n_rows; i++) {
            for (int j = 0; j < width; j++) {
                sum[i][j] += acc[i][j];
            }
        }
    }
    for (int i = 0; i < o->n_rows; i++) {
        qxk_finish_long(g->w, &g->ep, sum[i], is_signed ? A_SHIFT_S8 : A_SHIFT_U8, o->m + i,
                        o->y + i * o->row_bytes, o->n0, n);
    }
}

INLINE void gemm8(const struct qxk_gemm8 *g, bool is_signed, int64_t m0, int64_t m, int64_t p0,
                  int64_t n_panels)
{
    const struct qxk_w8 *w = g->w;
    const int64_t n_blocks = (m + ROWS - 1) / ROWS;
    const int width = w->panel;
    struct block_out o = {.e = &g->ep, .row_bytes = g->ldy * out_bytes(&g->ep)};
    for (int64_t p = p0; p < p0 + n_panels; p++) {
        const int8_t *panel = w->data + p * w->k_steps * 4 * width;
        o.n0 = p * width;
        int64_t n = w->n - o.n0 < width ? w->n - o.n0 : width;
        for (int64_t b = 0; b < n_blocks; b++) { /* blocks of rows as equal as possible */
            o.m = m0 + b * m / n_blocks;
            o.n_rows = (int)(m0 + (b + 1) * m / n_blocks - o.m);
            o.y = (char *)g->y + o.m * o.row_bytes;
            if (w->k > QXK_K_SPLIT) {
                block8_long(g, &o, is_signed, panel, n);
                continue;
            }
            int32_t acc[ROWS][QXK_PANEL] __attribute__((aligned(64)));
            block8_any(o.n_rows, width, is_signed, (const uint8_t *)g->a + o.m * g->lda, g->lda,
                       panel, w->k_steps, acc);
            if (b == n_blocks - 1) {
                prefetch_next(panel + w->k_steps * 4 * width);
            }
            finish_block(&o, w, is_signed ? A_SHIFT_S8 : A_SHIFT_U8, n, acc);
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
