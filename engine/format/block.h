/* Numbers in blocks: a fixed count of neighbours in a row shares its scales and takes a fixed count of bytes,
 * as the tensor types of ggml do (ggml-org/ggml, docs/gguf.md, include/ggml.h, src/ggml-common.h). One row per
 * layout; the file's tensors (floor 3) and the number formats are made of them. */
#ifndef QX_FORMAT_BLOCK_H
#define QX_FORMAT_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qx/format.h"

/* Decode n_blocks blocks to n_blocks * b->n values: scale * level - min, each operation rounded to float32
 * as ggml's portable code does it. Pure; any thread. */
void qx_block_decode(const struct qx_block *b, const uint8_t *data, size_t n_blocks, float *out);

extern const struct qx_block qx_block_q4_0, qx_block_q4_1, qx_block_q5_0, qx_block_q5_1,
    qx_block_q8_0, qx_block_q8_1, qx_block_q2_k, qx_block_q3_k, qx_block_q4_k, qx_block_q5_k,
    qx_block_q6_k, qx_block_q8_k, qx_block_iq4_nl, qx_block_iq4_xs, qx_block_mxfp4, qx_block_nvfp4,
    qx_block_tq1_0, qx_block_tq2_0, qx_block_q1_0;

/* A binary16 in the file's byte order. */
float qx_block_half(const uint8_t *p);
void qx_block_half_put(uint8_t *p, float x);
/* Six-bit scale and minimum i of the 12 bytes in Q4_K and Q5_K. */
void qx_block_scale_min(const uint8_t *s, int i, int *scale, int *min);
void qx_block_scale_min_put(uint8_t *s, int i, int scale, int min);

/* The quantizers (struct qx_block). */
void qx_encode_q4_0(const float *x, const float *weight, size_t n_blocks, uint8_t *out);
void qx_encode_q4_1(const float *x, const float *weight, size_t n_blocks, uint8_t *out);
void qx_encode_q5_0(const float *x, const float *weight, size_t n_blocks, uint8_t *out);
void qx_encode_q5_1(const float *x, const float *weight, size_t n_blocks, uint8_t *out);
void qx_encode_q8_0(const float *x, const float *weight, size_t n_blocks, uint8_t *out);
void qx_encode_q4_k(const float *x, const float *weight, size_t n_blocks, uint8_t *out);
void qx_encode_q6_k(const float *x, const float *weight, size_t n_blocks, uint8_t *out);
void qx_encode_mxfp4(const float *x, const float *weight, size_t n_blocks, uint8_t *out);
void qx_encode_nvfp4(const float *x, const float *weight, size_t n_blocks, uint8_t *out);

/* The line x^ = scale code - min, codes 0..top, with the least weighted squared error among those that steps around
 * the ends of n values lead to (block_fit.c). is_low: min must not be below 0 (and lo is at most 0). Returns false, and
 * scale 0, where all values are the same. */
struct qx_fit {
    float scale, min;
};
bool qx_fit_line(const float *x, const float *weight, int n, int top, bool is_low,
                 struct qx_fit *out);
/* The scale of x^ = scale code, codes -zero..zero - 1, found the same way, of either sign; 0 when all are 0. */
float qx_fit_scale(const float *x, const float *weight, int n, int zero);
/* The whole number nearest to q within lo..hi, ties to even; |lo|, |hi| < 2^22. */
static inline int qx_fit_code(float q, float lo, float hi)
{
    const float magic = 0x1.8p23f; /* adding it rounds */

    q = q > lo ? q : lo;
    q = q < hi ? q : hi;
    return (int)((q + magic) - magic);
}
/* 1 / scale, 0 where that is not finite. */
float qx_fit_inverse(float scale);

#endif
