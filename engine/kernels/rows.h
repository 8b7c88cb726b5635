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

#endif
