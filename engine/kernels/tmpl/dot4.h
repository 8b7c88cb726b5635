/* Products of 4-bit codes and signed bytes. The including file defines first:
 *   dot4(sum, w, a) adds products of codes 0..15 and signed activations to the sums
 *   SUMS_16         1 when these sums are pairs of 16 bits: dot4 then may run for 32 inputs
 *                   (32,767 >= 8 * 2 * 15 * 128), and widen(sum) makes int32 of them */
#ifndef QXK_TMPL_DOT4_H
#define QXK_TMPL_DOT4_H

#include "kernels/kernels.h"
#include "kernels/tmpl/vec.h"

enum { GROUP4 = 32, VECS_MOST = 4 };

/* Adds 32 inputs; w points at the first vector of outputs in a panel of `width`, a at the first input. */
INLINE void dot_group(const int n_rows, const int n_vecs, const int width, const uint8_t *w,
                      const int8_t *a, int64_t lda, vi (*sum)[VECS_MOST])
{
    const vi low = vi_set1(0x0F0F0F0F);
#pragma GCC unroll 4
    for (int b = 0; b < 4; b++) {
        vi w0[VECS_MOST], w1[VECS_MOST];
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            vi x = vi_load(w + b * 4 * width + 4 * VL * j);
            w0[j] = vi_and(x, low);
            w1[j] = vi_and(vi_shr4(x), low);
        }
#pragma GCC unroll 12
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

/* Adds a group to sums of 32 bits. */
INLINE void dot_inputs(const int n_rows, const int n_vecs, const int width, const int group,
                       const uint8_t *w, const int8_t *a, int64_t lda, vi (*sum)[VECS_MOST])
{
    for (int k = 0; k < group; k += GROUP4, w += GROUP4 / 2 * width) {
#if SUMS_16
        vi s[12][VECS_MOST];
#pragma GCC unroll 12
        for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 4
            for (int j = 0; j < n_vecs; j++) {
                s[i][j] = vi_set1(0);
            }
        }
        dot_group(n_rows, n_vecs, width, w, a + k, lda, s);
#pragma GCC unroll 12
        for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 4
            for (int j = 0; j < n_vecs; j++) {
                sum[i][j] = vi_add(sum[i][j], widen(s[i][j]));
            }
        }
#else
        dot_group(n_rows, n_vecs, width, w, a + k, lda, sum);
#endif
    }
}

INLINE vf load_scale(const uint8_t *scales, const bool is_f16, int at)
{
    return is_f16 ? vf_load_f16(scales + 2 * at)
                  : vf_load((const float *)(const void *)scales + at);
}

#endif
