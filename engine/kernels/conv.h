/* Integer convolutions on channels-last images of u8 codes: unrolling for the products of gemm.h, other
 * orders of bytes, and the depthwise kernel. Signed codes are used as u8 with 128 added and zero point 128. */
#ifndef QXK_CONV_H
#define QXK_CONV_H

#include "kernels/gemm.h"

/* One image x[h][w][c] and its output places [oh][ow]. Output place (y, x) sees inputs
 * (y * stride_y - pad_y + i * dilation_y, ..) for i < kernel_y. */
struct qxk_image {
    int64_t h, w, c, oh, ow;
    int64_t kernel_y, kernel_x, stride_y, stride_x, dilation_y, dilation_x, pad_y, pad_x;
};

/* Rows of activations for places p0..p0+n-1 (row by row): out[n][ld], each kernel_y * kernel_x * c codes
 * in that order, places outside the image filled with `pad` (the zero point). ld >= that length. */
void qxk_im2col_u8(const struct qxk_image *s, const uint8_t *x, uint8_t pad, int64_t p0, int64_t n,
                   uint8_t *out, int64_t ld);

/* y[oh * ow][ldy] = the product of unrolled x and w (k = kernel_y * kernel_x * c, in that order), with
 * the epilogue of gemm.h: a_zero (one for all rows) is also what the padding holds. The unrolled rows
 * of a tile stay in the cache; a 1 x 1 kernel of stride 1 reads x itself, which then must be readable
 * up to 3 bytes past its end. QX_ENOMEM, QX_ERANGE as qxk_gemm8. */
enum qx_status qxk_conv8(struct qx_pool *pool, const struct qxk_image *s, const uint8_t *x,
                         const struct qxk_w8 *w, const struct qxk_epilogue *ep, void *y,
                         int64_t ldy, struct qx_error *err);

/* out[column][row] = x[row][column], bytes: images between channels last and planes, columns between the
 * order of the places and of the inputs. ldx, ldo: bytes between the rows of x and of out. */
typedef void qxk_turn_u8_fn(const uint8_t *x, int64_t rows, int64_t columns, int64_t ldx,
                            uint8_t *out, int64_t ldo);

/* out[i] = factor * sum of x[i * group ..][group]; group is a multiple of 32 and at most 2^20. */
typedef void qxk_sums_s8_fn(const int8_t *x, int64_t n, int64_t group, int32_t factor,
                            int32_t *out);

/* Depthwise weights codes[c][kernel_y * kernel_x] as pairs of taps. Owns its memory. */
struct qxk_dw {
    struct qxk_w8 sums; /* n = c, k = taps and col_sum only */
    int64_t tap_pairs;
    int16_t *data; /* [tap_pairs][c rounded up to 64][2] */
};
enum qx_status qxk_dw_pack(struct qxk_dw *w, const int8_t *codes, int64_t c, int64_t taps,
                           struct qx_error *err);
void qxk_dw_release(struct qxk_dw *w);

/* taps <= QXK_DW_TAPS. pad_row: [c] codes of the zero point. y: [oh][ow][ldy]. */
#define QXK_DW_TAPS 256
struct qxk_dwconv {
    struct qxk_image s;
    const struct qxk_dw *w;
    const uint8_t *x, *pad_row;
    void *y;
    int64_t ldy;
    struct qxk_epilogue ep; /* a_zero, a_scale: one for all */
};

/* Output rows row0..row0+n_rows-1. */
typedef void qxk_dwconv_fn(const struct qxk_dwconv *d, int64_t row0, int64_t n_rows);

#endif
