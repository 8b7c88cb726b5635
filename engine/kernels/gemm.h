/* Integer matrix products: packed weights, what happens to the sums on their way out, and the drivers
 * that cut a product into tiles for the pool. README.md draws the packed formats.
 *
 * Notation: y[m][n] = sum over k of a[m][k] * w[n][k]; m token or pixel, n output, k input. */
#ifndef QXK_GEMM_H
#define QXK_GEMM_H

#include "qx/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qx_pool;

/* ---- 8-bit weights ---- */

#define QXK_PANEL   64 /* outputs per panel, at most */
#define QXK_K_ALIGN 4  /* inputs per step; rows of activations are read up to a multiple of it */
/* int32 holds 2^31 / (255 * 255) = 33,025 products of codes with their zero points taken off: a longer
 * sum is cut here and the parts are added as int64. */
#define QXK_K_SPLIT 32768
#define QXK_K_MAX   ((int64_t)1 << 23) /* column sums stay in int32 */

/* Outputs per panel of weights with n outputs: 16 or 32 where a wider panel would be mostly padding. */
static inline int qxk_panel_of(int64_t n)
{
    return n <= 16 ? 16 : n <= 32 ? 32 : QXK_PANEL;
}

/* Weights of 2 to 8 bits as int8, in panels of `panel` outputs (README.md). Owns its memory. */
struct qxk_w8 {
    int64_t n, k;
    int panel;
    int64_t n_panels, k_steps; /* k rounded up to steps of 4; padding is zero */
    int8_t *data;              /* [n_panels][k_steps][panel][4] */
    int32_t *col_sum;          /* [n_panels * panel]: sum over k of w */
    void *memory;
};

/* Pack codes[n][k] (row-major). n >= 1, 1 <= k <= QXK_K_MAX. QX_ERANGE, QX_ENOMEM. O(n k). */
enum qx_status qxk_w8_pack(struct qxk_w8 *w, const int8_t *codes, int64_t n, int64_t k,
                           struct qx_error *err);
void qxk_w8_release(struct qxk_w8 *w); /* zeroed struct allowed */

/* ---- what happens to a sum ---- */

enum qxk_act { QXK_ACT_NONE, QXK_ACT_RELU, QXK_ACT_GELU, QXK_ACT_GELU_TANH, QXK_ACT_CLIP };
enum qxk_out { QXK_OUT_S32, QXK_OUT_F32, QXK_OUT_U8, QXK_OUT_S8 };

/* acc = sum (a - a_zero)(w - w_zero), exact, then for all but S32
 *   v = (float)acc * (a_scale * w_scale) + bias;  v = act(v);
 *   F32: y = v;  U8, S8: y = clamp(rint(v * y_inv_scale) + y_zero, y_min, y_max), ties to even.
 * Arrays with step 0 hold one value for all, with step 1 one per row (a_) or output (w_). Zeros NULL
 * mean 0. Every rung gives the same bits. NaN cannot arise from finite scales and biases; a NaN v
 * (scales infinite) becomes y_min. */
struct qxk_epilogue {
    enum qxk_out out;
    enum qxk_act act;
    const float *a_scale, *w_scale, *bias; /* bias [n] or NULL */
    const int32_t *a_zero, *w_zero;
    const int32_t *a_sum; /* [m] sum over k of a, needed when w_zero is given */
    int a_scale_step, w_scale_step, a_zero_step, w_zero_step;
    float act_lo, act_hi; /* for CLIP */
    float y_inv_scale, y_zero, y_min, y_max;
};

/* ---- 8-bit products ---- */

/* One product. a: [m][lda] bytes, u8 or s8; each row is readable up to k rounded up to 4, whatever is
 * there. y: [m][ldy] of int32, float or bytes. Nothing overlaps. */
struct qxk_gemm8 {
    const struct qxk_w8 *w;
    const void *a;
    void *y;
    int64_t m, lda, ldy;
    struct qxk_epilogue ep;
};

/* Rows m0..m0+m-1 of panels p0..p0+n_panels-1. Any cut gives the same result. Rows 1 to 8 are read in
 * one or two passes over a panel, which then are as fast as the memory. */
typedef void qxk_gemm8_fn(const struct qxk_gemm8 *g, int64_t m0, int64_t m, int64_t p0,
                          int64_t n_panels);

/* The whole product on the pool (NULL: this thread). is_signed: a is s8. QX_ERANGE: S32 asked for
 * with k > QXK_K_SPLIT, where the sums may not fit. Integer results do not depend on the number of
 * threads, nor do the others. */
enum qx_status qxk_gemm8(struct qx_pool *pool, const struct qxk_gemm8 *g, bool is_signed,
                         struct qx_error *err);

/* ---- 4-bit weights in groups, 8-bit activations (W4A8) ---- */

/* Codes of 4 bits with one scale per output and group of inputs, in panels (README.md). Owns its
 * memory. */
struct qxk_w4 {
    int64_t n, k;
    int panel; /* outputs per panel */
    int64_t n_panels, n_groups;
    int group;   /* 32, 64 or 128 inputs; the last group is padded with zeros */
    bool is_f16; /* scales: float16, else float32 */
    bool has_zeros;
    int64_t group_bytes; /* of a panel: codes, its scales, its zeros when there are any */
    uint8_t *data;       /* [n_panels][n_groups][group_bytes] */
    void *memory;
};

/* What is packed. Without zeros codes are -8..7 and a weight is code * scale; with zeros both are 0..15
 * and a weight is (code - zero) * scale. Indices into a table of 16 values are 0..15 with zeros NULL and
 * is_table set. */
struct qxk_w4_source {
    const int8_t *codes;  /* [n][k] */
    const float *scales;  /* [n][n_groups]; for is_f16 values of float16, or they are rounded */
    const uint8_t *zeros; /* [n][n_groups] or NULL */
    int64_t n, k;
    int group;
    bool is_f16, is_table;
};

/* QX_ERANGE (shape, group, a code or zero out of range), QX_ENOMEM. O(n k). */
enum qx_status qxk_w4_pack(struct qxk_w4 *w, const struct qxk_w4_source *from,
                           struct qx_error *err);
/* The same an output at a time, so that no more than one row need be there. Of the source qxk_w4_new looks at
 * the shape, the group and which zeros there are; qxk_w4_put reads row 0 of its arrays: output o, once. */
enum qx_status qxk_w4_new(struct qxk_w4 *w, const struct qxk_w4_source *from, struct qx_error *err);
enum qx_status qxk_w4_put(struct qxk_w4 *w, int64_t o, const struct qxk_w4_source *row,
                          struct qx_error *err);
void qxk_w4_release(struct qxk_w4 *w);

/* y = act(a_scale * sum over groups of scale * (float)(sum over the group of a w) + bias), the inner
 * sums exact, the outer one by fma in order of the groups: the same bits on every rung. a: [m][lda]
 * s8, rows readable up to n_groups * group bytes, whatever is past k. group_sum: [m][n_groups] of -8
 * times the sum of a over the group (qxk_quant_row makes both). Of the epilogue w_scale, the zeros
 * and S32 do not apply. */
struct qxk_gemm4 {
    const struct qxk_w4 *w;
    const int8_t *a;
    const int32_t *group_sum;
    void *y;
    int64_t m, lda, ldy;
    struct qxk_epilogue ep;
};

typedef void qxk_gemm4_fn(const struct qxk_gemm4 *g, int64_t m0, int64_t m, int64_t p0,
                          int64_t n_panels);

/* The whole product on the pool (NULL: this thread). */
void qxk_gemm4(struct qx_pool *pool, const struct qxk_gemm4 *g);

/* ---- weights only: float32 activations ---- */

/* A row as integers, whose products with codes are exact. In each part of the inputs x = X * scale with
 * X = rint(x / scale) and the power of two that puts the largest |X| between 2^21 and 2^22 (but at least
 * 2^-126): x is rounded 22 bits below the largest of its part, as in a float32 sum over the part.
 * X = 65536 d2 + 256 d1 + d0 in signed bytes. A part with a NaN or an infinity has a NaN for scale and
 * digits 0, so that it reaches y. */
enum { QXK_DIGITS = 3 };
struct qxk_split_part {
    float scale;
    int32_t high, low; /* sums of 256 d2 + d1 and of d0 */
};
/* x[k] to digits [QXK_DIGITS][ld], d2 first, and one entry of parts for each `part` inputs, a multiple of
 * 32 up to QXK_F32_PART. ld: inputs rounded up to whole parts; digits behind x are 0. */
typedef void qxk_split_row_fn(const float *x, int64_t k, int64_t part, int8_t *digits,
                              struct qxk_split_part *parts);

/* y[m][n] = act(sum over k of x[m][k] * weight[n][k] + bias[n]), from either kind of packed weights.
 * With integers for codes, x comes split; parts are QXK_F32_PART inputs (w8) or a group (w4). Of each part
 *   v = fma((float)(sum of (code - zero) (256 d2 + d1)), 256, (float)(sum of (code - zero) d0))
 * where both sums are exact, then f = fma(v, part scale, f), and at last f * w_scale (w8); or
 * f = fma(v * part scale, group's scale, f) (w4). v * part scale overflows where |x| code does.
 * With a table of 16 values (w4), codes are looked up and each group is summed by fma, then scaled and
 * added by fma.
 * The same bits on every rung. NaN and infinities of x reach y: without a table either makes all outputs of its row
 * NaN, where float32 gives infinities for an infinity times weights other than 0. Of the epilogue w_scale, w_zero (w8), bias
 * and act apply. */
#define QXK_F32_PART 128
struct qxk_gemmf {
    const struct qxk_w8 *w8;
    const struct qxk_w4 *w4;
    const float *table; /* [16] or NULL */
    const float *x;     /* [m][ldx] */
    float *y;           /* [m][ldy] */
    int64_t m, ldx, ldy;
    struct qxk_epilogue ep;
    const int8_t *digits;               /* [m][QXK_DIGITS][qxk_split_ld] without a table */
    const struct qxk_split_part *parts; /* [m][qxk_split_ld / part] */
};

/* Inputs of a part, and digits of one kind of a row. */
static inline int64_t qxk_split_part_of(const struct qxk_gemmf *g)
{
    return g->w8 ? QXK_F32_PART : g->w4->group;
}
static inline int64_t qxk_split_ld(const struct qxk_gemmf *g)
{
    const int64_t k = g->w8 ? g->w8->k : g->w4->k, part = qxk_split_part_of(g);
    return (k + part - 1) / part * part;
}

typedef void qxk_gemmf_fn(const struct qxk_gemmf *g, int64_t m0, int64_t m, int64_t p0,
                          int64_t n_panels);

/* One row of activations times weights of 16-bit floats as they are stored, [n][k], unaligned:
 * y[o] = sum over k of x[k] * w[o][k], widened exactly. Parts of QXK_GEMV_PART inputs are summed by fma in 32
 * interleaved lanes, added pairwise (i and i + 16, then 8, 4, 2, 1), and then added. */
#define QXK_GEMV_PART 16384
typedef void qxk_gemv16_fn(const void *w, int64_t n, int64_t k, const float *x, float *y);

/* Codes to float32, for what no product above reads: (q - zero) * scale; or entries of table[16] by
 * 4-bit codes, the first of a byte in its low half. The bits of fake quantization. */
typedef void qxk_s8_to_f32_fn(const int8_t *q, size_t n, int32_t zero, float scale, float *out);
typedef void qxk_u4_to_f32_fn(const uint8_t *q, size_t n, const float *table, float *out);

/* Whole products of the same x, g[n], in one loop of the pool (NULL: this thread): n is 1 to QXK_TOGETHER, and
 * qxk_gemmf_goes_with(g, g + i) holds for all. digits and parts are made in `room`, of qxk_gemmf_room(g) bytes,
 * 64-byte aligned. */
enum { QXK_TOGETHER = 4 };
void qxk_gemmf(struct qx_pool *pool, const struct qxk_gemmf *g, int n, void *room);
size_t qxk_gemmf_room(const struct qxk_gemmf *g);
bool qxk_gemmf_goes_with(const struct qxk_gemmf *a, const struct qxk_gemmf *b);

#endif
