/* Attention of one head: keys transposed once into panels, then blocks of queries whose scores stay in the
 * first-level cache from the product with the keys to the product with the values.
 * The including file defines VECS, the vectors of a row of a block (6 VECS sums in registers). */
#ifndef QXK_TMPL_ATTENTION_H
#define QXK_TMPL_ATTENTION_H

#include "kernels/rungs.h"
#include "kernels/tmpl/vec.h"

enum { PANEL = QXK_ATTENTION_PANEL, QUERIES = QXK_ATTENTION_QUERIES };

/* c[n_rows][ldc] = a[n_rows][lda] b[k][ldb], n_vecs vectors wide; the last has `lanes` values. */
INLINE void block(const int n_rows, const int n_vecs, const float *a, int64_t lda, const float *b,
                  int64_t ldb, int64_t k, float *c, int64_t ldc, const int64_t lanes)
{
    vf s[QUERIES][VECS];
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            s[i][j] = vf_set1(0.0f);
        }
    }
    for (int64_t x = 0; x < k; x++, b += ldb) {
        vf v[VECS];
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            v[j] =
                j < n_vecs - 1 || lanes == VL ? vf_load(b + VL * j) : vf_load_n(b + VL * j, lanes);
        }
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++) {
            const vf u = vf_set1(a[i * lda + x]);
#pragma GCC unroll 8
            for (int j = 0; j < n_vecs; j++) {
                s[i][j] = vf_fma(u, v[j], s[i][j]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            vf_store_n(c + i * ldc + VL * j, s[i][j], j < n_vecs - 1 ? VL : lanes);
        }
    }
}

#define BLOCK(n)                                            \
    case n:                                                 \
        block(n, n_vecs, a, lda, b, ldb, k, c, ldc, lanes); \
        break;

INLINE void block_rows(int n_rows, const int n_vecs, const float *a, int64_t lda, const float *b,
                       int64_t ldb, int64_t k, float *c, int64_t ldc, const int64_t lanes)
{
    switch (n_rows) {
        BLOCK(1)
        BLOCK(2)
        BLOCK(3)
        BLOCK(4)
        BLOCK(5)
        BLOCK(6)
    }
}

/* c[n_rows][n] = a[n_rows][k] b[k][n] */
static void product(int n_rows, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t k,
                    float *c, int64_t ldc, int64_t n)
{
    int64_t j = 0;
    for (; j + VECS * VL <= n; j += VECS * VL) {
        block_rows(n_rows, VECS, a, lda, b + j, ldb, k, c + j, ldc, VL);
    }
    for (; j < n; j += VL) {
        block_rows(n_rows, 1, a, lda, b + j, ldb, k, c + j, ldc, n - j < VL ? n - j : VL);
    }
}

/* n_keys by n values from key to to[c * PANEL], one by one. */
INLINE void turn_part(const float *key, int64_t ld, int64_t n_keys, int64_t n, float *to)
{
    for (int64_t j = 0; j < n_keys; j++) {
        for (int64_t c = 0; c < n; c++) {
            to[c * PANEL + j] = key[j * ld + c];
        }
    }
}

/* keys[n_k][d] to [panel][d][64], four by four; what is past the last key is not read. */
static void turn_keys(const struct qxk_attention *a, float *panels)
{
    for (int64_t j = 0; j < a->n_k; j += 4) {
        const float *key = a->k + j * a->ld_kv;
        float *to = panels + j / PANEL * PANEL * a->d + j % PANEL;
        int64_t c = 0;
        for (; j + 4 <= a->n_k && c + 4 <= a->d; c += 4) {
            __m128 r0 = _mm_loadu_ps(key + c), r1 = _mm_loadu_ps(key + a->ld_kv + c);
            __m128 r2 = _mm_loadu_ps(key + 2 * a->ld_kv + c);
            __m128 r3 = _mm_loadu_ps(key + 3 * a->ld_kv + c);
            _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
            _mm_storeu_ps(to + c * PANEL, r0);
            _mm_storeu_ps(to + (c + 1) * PANEL, r1);
            _mm_storeu_ps(to + (c + 2) * PANEL, r2);
            _mm_storeu_ps(to + (c + 3) * PANEL, r3);
        }
        turn_part(key + c, a->ld_kv, a->n_k - j < 4 ? a->n_k - j : 4, a->d - c, to + c * PANEL);
    }
}

void QXK_FN(attention)(const struct qxk_attention *a)
{
    const int64_t wide = (a->n_k + PANEL - 1) / PANEL * PANEL;
    const int64_t n_blocks = (a->n_q + QUERIES - 1) / QUERIES;
    float *panels = a->scratch, *scores = panels + wide * a->d;
    turn_keys(a, panels);
    for (int64_t b = 0; b < n_blocks; b++) { /* blocks of rows as equal as possible */
        const int64_t first = b * a->n_q / n_blocks, end = (b + 1) * a->n_q / n_blocks;
        const int n_rows = (int)(end - first);
        const float *q = a->q + first * a->ld_q;
        const int64_t n = a->seen && a->seen + end - 1 < a->n_k ? a->seen + end - 1 : a->n_k;
        for (int64_t j = 0; j < n; j += PANEL) {
            product(n_rows, q, a->ld_q, panels + j * a->d, PANEL, a->d, scores + j, wide,
                    n - j < PANEL ? n - j : PANEL);
        }
        for (int i = 0; i < n_rows; i++) {
            float *row = scores + i * wide;
            const int64_t seen = a->seen && a->seen + first + i < n ? a->seen + first + i : n;
            QXK_FN(softmax)(row, seen, a->scale, NULL, row);
            for (int64_t j = seen; j < n; j++) {
                row[j] = 0.0f;
            }
        }
        product(n_rows, scores, wide, a->v, a->ld_kv, n, a->out + first * a->ld_q, a->ld_q, a->d);
    }
}
#endif
