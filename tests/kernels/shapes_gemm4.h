/* Operands of products with 4-bit weights. */
#ifndef SHAPES_GEMM4_H
#define SHAPES_GEMM4_H

#include "shapes.h"

enum { MAX_M = 16, MAX_N = 260, MAX_K = 1100 };

struct data4 {
    int8_t codes[MAX_N * MAX_K];
    uint8_t zeros[MAX_N * (MAX_K / 32 + 1)];
    float scales[MAX_N * (MAX_K / 32 + 1)];
    int32_t sums[MAX_M * (MAX_K / 32 + 1)];
    float a_scale[MAX_M], bias[MAX_N];
};

/* Packs random weights of d, of any group and kind of scale. */
void make_weights(struct shape_test *t, enum byte_fill fill, int64_t n, int64_t k, bool is_table,
                  struct qxk_w4 *w, struct data4 *d);

#endif
