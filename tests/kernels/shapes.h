/* Checks of operations with shapes (products, rows, convolutions): one function per operation, called
 * with the table under test. */
#ifndef SHAPES_H
#define SHAPES_H

#include "checkkern.h"

struct shape_test {
    const struct qxk_table *ref, *rung;
    const char *op, *isa;
    uint64_t seed;
    struct qx_rng rng;
    struct guard a, b, y; /* inputs and outputs between unmapped pages */
    unsigned char *y_ref;
    int n_bad;
};

enum { SHAPE_BYTES = 1 << 22 };

/* Fills bytes within lo..hi: all equal, extremes, alternating signs, random, one hot, small. */
enum byte_fill {
    BYTES_ZERO,
    BYTES_SMALL,
    BYTES_EXTREME,
    BYTES_TOP,
    BYTES_BOTTOM,
    BYTES_ALTERNATE,
    BYTES_RANDOM,
    BYTES_ONE_HOT,
    BYTES_FILLS
};
void fill_bytes(struct qx_rng *r, enum byte_fill fill, int lo, int hi, void *p, size_t n);
int pick(struct qx_rng *r, int lo, int hi); /* uniform, both ends included */

/* Room for n bytes of input or output: at the front or flush against the page behind. */
void *place_input(struct shape_test *t, size_t n);
void *place_output(struct shape_test *t, size_t n); /* filled with a canary, and so is y_ref */
/* Runs call(arg) catching crashes; counts and prints a failure when it crashes, when outputs of n bytes
 * at y differ from y_ref, or (prefix why) as the caller says. what describes the case. */
bool run_case(struct shape_test *t, void (*call)(void *), void *arg, const void *y, size_t n,
              const char *what);

void check_gemm_u8s8(struct shape_test *t);
void check_gemm_s8s8(struct shape_test *t);
void check_gemm_s8s4(struct shape_test *t);
void check_quant_row(struct shape_test *t);
void check_quant_row_asym(struct shape_test *t);
void check_layer_norm(struct shape_test *t);
void check_softmax(struct shape_test *t);
void check_gelu(struct shape_test *t);
void check_gelu_tanh(struct shape_test *t);
void check_attention(struct shape_test *t);
void check_split_row(struct shape_test *t);
void check_gemm_f32s8(struct shape_test *t);
void check_gemm_f32s4(struct shape_test *t);
void check_gemv_f16(struct shape_test *t);
void check_gemv_bf16(struct shape_test *t);
void check_dwconv_u8s8(struct shape_test *t);
void check_turn_u8(struct shape_test *t);
void check_sums_s8(struct shape_test *t);
void check_s8_to_f32(struct shape_test *t);
void check_u4_to_f32(struct shape_test *t);
void check_plain_blocks(struct shape_test *t);
void check_code_sums(struct shape_test *t);
void check_code_errors(struct shape_test *t);

#endif
