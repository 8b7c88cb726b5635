/* One row of activations times weights of 16-bit floats. The including file defines ROWS16, the outputs that are summed
 * at once, whose weights are as many streams. */
#ifndef QXK_TMPL_GEMV16_H
#define QXK_TMPL_GEMV16_H

#include "kernels/rungs.h"
#include "kernels/tmpl/lanes.h"

enum { LANES16 = 32, VECS16 = LANES16 / VL };

INLINE vf widen16(const unsigned char *p, const bool is_bf16)
{
    return is_bf16 ? vf_load_bf16(p) : vf_load_f16(p);
}

/* Adds 32 inputs of rows that are `row` bytes apart. */
INLINE void add16(vf (*s)[VECS16], const int rows, const bool is_bf16, const unsigned char *w,
                  int64_t row, const float *x)
{
#pragma GCC unroll 4
    for (int j = 0; j < VECS16; j++) {
        const vf v = vf_load(x + VL * j);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            s[i][j] = vf_fma(v, widen16(w + i * row + 2 * VL * j, is_bf16), s[i][j]);
        }
    }
}

/* The last n < 32 inputs, filled up with zeros. */
static void add16_tail(vf (*s)[VECS16], const int rows, const bool is_bf16, const unsigned char *w,
                       int64_t row, const float *x, int64_t n)
{
    unsigned char codes[ROWS16][2 * LANES16] = {{0}};
    float values[LANES16] = {0};
    memcpy(values, x, (size_t)n * sizeof *x);
    for (int i = 0; i < rows; i++) {
        memcpy(codes[i], w + i * row, 2 * (size_t)n);
    }
    for (int i = 0; i < rows; i++) {
        add16(s + i, 1, is_bf16, codes[i], 0, values);
    }
}

INLINE float fold16(const vf *s)
{
    struct v16 a;
#pragma GCC unroll 2
    for (int p = 0; p < PARTS; p++) {
        a.v[p] = vf_add(s[p], s[p + PARTS]);
    }
    return v16_fold(a);
}

/* Sums of one part of the inputs, added to y. */
INLINE void part16(const int rows, const bool is_bf16, const unsigned char *w, int64_t row,
                   const float *x, int64_t n, float *y)
{
    vf s[ROWS16][VECS16];
    int64_t k = 0;
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < VECS16; j++) {
            s[i][j] = vf_set1(0.0f);
        }
    }
    for (; k + LANES16 <= n; k += LANES16) {
        for (int i = 0; i < rows;
             i++) { /* the rows behind these: streams stop at the end of a page */
            _mm_prefetch((const char *)w + (rows + i) * row + 2 * k, _MM_HINT_T0);
        }
        add16(s, rows, is_bf16, w + 2 * k, row, x + k);
    }
    if (k < n) {
        add16_tail(s, rows, is_bf16, w + 2 * k, row, x + k, n - k);
    }
    for (int i = 0; i < rows; i++) {
        y[i] += fold16(s[i]);
    }
}

INLINE void rows16(const int rows, const bool is_bf16, const unsigned char *w, int64_t k,
                   const float *x, float *y)
{
    for (int i = 0; i < rows; i++) {
        y[i] = 0.0f;
    }
    for (int64_t first = 0; first < k; first += QXK_GEMV_PART) {
        const int64_t left = k - first, part = left < QXK_GEMV_PART ? left : QXK_GEMV_PART;
        part16(rows, is_bf16, w + 2 * first, 2 * k, x + first, part, y);
    }
}

INLINE void gemv16(const bool is_bf16, const void *w, int64_t n, int64_t k, const float *x,
                   float *y)
{
    const unsigned char *at = w;
    int64_t o = 0;
    for (; o + ROWS16 <= n; o += ROWS16) {
        rows16(ROWS16, is_bf16, at + 2 * k * o, k, x, y + o);
    }
    for (; o < n; o++) {
        rows16(1, is_bf16, at + 2 * k * o, k, x, y + o);
    }
}

void QXK_FN(gemv_f16)(const void *w, int64_t n, int64_t k, const float *x, float *y)
{
    gemv16(false, w, n, k, x, y);
}

void QXK_FN(gemv_bf16)(const void *w, int64_t n, int64_t k, const float *x, float *y)
{
    gemv16(true, w, n, k, x, y);
}
#endif
