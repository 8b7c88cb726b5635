/* Blocks of 8-bit products by vpdpbusd. The including file defines first:
 *   ROWS             rows of activations per block
 *   COLS(n_rows)     outputs per pass over a panel of 64, a divisor of it; one row takes all 64 at once,
 *                    so that the weights stream
 *   dot_step(sum, u8 of a repeated, s8 of w): adds four products per lane, wrapping
 * Activations reach the product as u8: s8 ones have 128 added by flipping the sign bit, which the
 * epilogue takes off again through the column sums. */
#ifndef QXK_TMPL_VNNI8_H
#define QXK_TMPL_VNNI8_H

#include "kernels/kernels.h"
#include "kernels/tmpl/vec.h"

#define A_SHIFT_U8 0
#define A_SHIFT_S8 128

/* acc[i][0..width-1] = sums of rows i < n_rows; a points at the first row. n_rows and width are constants
 * after inlining: the sums must stay in registers. */
INLINE void block8(const int n_rows, const int width, const bool is_signed, const uint8_t *a,
                   int64_t lda, const int8_t *panel, int64_t k_steps, int32_t (*acc)[QXK_PANEL])
{
    const vi flip = vi_set1((int32_t)0x80808080);
    const int cols = COLS(n_rows) < width ? COLS(n_rows) : width, n_vecs = cols / VL;
    for (int c = 0; c < width; c += cols) {
        vi s[ROWS][QXK_PANEL / VL];
        const int8_t *w = panel + 4 * c;
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 8
            for (int j = 0; j < n_vecs; j++) {
                s[i][j] = vi_set1(0);
            }
        }
        for (int64_t k = 0; k < k_steps; k++, w += 4 * width) {
            vi b[QXK_PANEL / VL];
#pragma GCC unroll 8
            for (int j = 0; j < n_vecs; j++) {
                b[j] = vi_load(w + 4 * VL * j);
            }
#pragma GCC unroll 8
            for (int i = 0; i < n_rows; i++) {
                vi x = vi_set1(load32(a + i * lda + 4 * k));
                x = is_signed ? vi_xor(x, flip) : x;
#pragma GCC unroll 8
                for (int j = 0; j < n_vecs; j++) {
                    dot_step(s[i][j], x, b[j]);
                }
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 8
            for (int j = 0; j < n_vecs; j++) {
                vi_store(acc[i] + c + VL * j, s[i][j]);
            }
        }
    }
}

#define BLOCK8(n)                                                 \
    case n:                                                       \
        block8(n, width, is_signed, a, lda, panel, k_steps, acc); \
        break;

INLINE void block8_rows(int n_rows, const int width, bool is_signed, const uint8_t *a, int64_t lda,
                        const int8_t *panel, int64_t k_steps, int32_t (*acc)[QXK_PANEL])
{
    switch (n_rows) {
        BLOCK8(1)
        BLOCK8(2)
        BLOCK8(3)
        BLOCK8(4)
#if ROWS > 4
        BLOCK8(5)
        BLOCK8(6)
#endif
    }
}

INLINE void block8_any(int n_rows, int width, bool is_signed, const uint8_t *a, int64_t lda,
                       const int8_t *panel, int64_t k_steps, int32_t (*acc)[QXK_PANEL])
{
    switch (width) {
    case 16:
        block8_rows(n_rows, 16, is_signed, a, lda, panel, k_steps, acc);
        break;
    case 32:
        block8_rows(n_rows, 32, is_signed, a, lda, panel, k_steps, acc);
        break;
    default:
        block8_rows(n_rows, QXK_PANEL, is_signed, a, lda, panel, k_steps, acc);
    }
}
#endif
