/* Operations on one row of float32: dynamic quantization, soft maximum, norms, activations. */
#ifndef QXK_ROWS_H
#define QXK_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- dynamic quantization ---- */

struct qxk_row_codes {
    void *q; /* [k] codes */
    int32_t
        *sums; /* [k / group rounded up] or NULL: sum of the codes of a group times sum_factor */
    int64_t group; /* a multiple of 32; 0: one group */
    int32_t sum_factor;
    float scale;  /* out */
    int32_t zero; /* out */
};

/* Quantize x[k], k >= 1, to `bits` (2..8) over its own finite range, as qx_quant does (q = rint(x /
 * scale) + zero, ties to even, true division). Symmetric: codes -Q..Q; is_u8 adds 128 to each and gives
 * zero 128, the form that gemm_u8s8 takes fastest; sums are of the codes without the 128. Asymmetric:
 * u8 codes 0..2^bits - 1. Non-finite elements get the code of 0; returns their number. */
typedef int64_t qxk_quant_row_fn(const float *x, int64_t k, int bits, bool is_u8,
                                 struct qxk_row_codes *out);
typedef int64_t qxk_quant_row_asym_fn(const float *x, int64_t k, int bits,
                                      struct qxk_row_codes *out);

/* ---- float32 rows ---- */

/* Sums run over 16 interleaved lanes in parts of QXK_ROW_PART elements, parts in double: the same bits
 * on every rung. NaN stays NaN. y may be x. n >= 1. */
#define QXK_ROW_PART 8192

/* y = (v - mean(v)) / sqrt(var(v) + eps) * gamma + beta with v = x, or x + add when add is given.
 * gamma, beta: [n] or NULL (1, 0). */
struct qxk_norm {
    const float *add, *gamma, *beta;
    float eps;
};
typedef void qxk_layer_norm_fn(const float *x, int64_t n, const struct qxk_norm *norm, float *y);

/* y = exp(v - max v) / sum of them with v = x * scale, or x * scale + mask when mask is given. Terms
 * below exp(-87) of the largest count as 1.6e-38. */
typedef void qxk_softmax_fn(const float *x, int64_t n, float scale, const float *mask, float *y);

/* y = x/2 (1 + erf(x / sqrt 2)), absolute error below 3e-7 |x|; gelu_tanh: x / (1 + exp(-2u)) with
 * u = sqrt(2/pi) (x + 0.044715 x^3), which is x/2 (1 + tanh u), below 2e-7 |x|. */
typedef void qxk_gelu_fn(const float *x, int64_t n, float *y);

#endif
