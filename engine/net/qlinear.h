/* One product with packed weights: a Conv, Gemm or MatMul on codes, or (weights only) a matrix on float32. */
#ifndef QX_NET_QLINEAR_H
#define QX_NET_QLINEAR_H

#include "net/beside.h"
#include "net/exec.h"
#include "net/packed.h"
#include "net/window.h"

#include "kernels/conv.h"

enum qx_qkind { QX_QMATRIX, QX_QCONV, QX_QDEPTHWISE };

/* Weights [oc][k]: units of `unit` inputs share a scale (unit = k but for groups). */
struct qx_qlinear {
    enum qx_qkind kind;
    const struct qx_node *node;
    struct qx_act act;  /* bits 0: the input stays float32 */
    struct qx_codes in; /* static */
    bool is_out_first;  /* a matrix: the weight is stored [oc][k], else [k][oc] */
    int64_t group;      /* of a convolution; 1 for a matrix */
    int64_t oc, n, k;   /* outputs of all groups and of one; inputs of one */
    int64_t unit, n_units;
    struct qxk_w8 *w8;     /* [group * n_units]; NULL for depthwise and w4 */
    struct qxk_w4 *w4;     /* [group]; codes of at most 4 bits */
    int64_t w4_unit;       /* inputs that share a scale there: 32, 64 or 128 */
    const float *w4_table; /* [16] what codes stand for; NULL: integers */
    bool w4_is_f16;        /* scales are stored in 16 bits, unless something was fused into them */
    float *w4_bias;        /* [oc] bias without the share of the zero point of static inputs */
    uint8_t
        *w4_codes; /* [oc][(k + 1) / 2] until qx_qlinear_finish, 8 added where they are signed */
    struct qx_packed *packed; /* float32 inputs, no kernel for the codes: decoded in blocks */
    struct qxk_dw dw;         /* depthwise, weights without zero points */
    float *taps;              /* depthwise, with: [kh * kw][c] of code minus zero */
    float *w_scale;           /* [n_units][oc] */
    int32_t *w_zero;          /* the same; NULL when all are 0 */
    float *scale, *bias;      /* [oc] of the epilogue: v = sum * a_scale * w_scale * scale + bias */
    float *folded;            /* [oc] w_scale * scale, for n_units = 1 */
    bool is_finished;         /* qx_qlinear_finish has been here */
    enum qxk_act fused;       /* after the bias */
    float act_lo, act_hi;
    /* Beside the codes (qbeside.c): what inputs need first, and the weights of kept ones [oc][n_kept], with
     * all that is multiplied behind; then the activation comes after them: `behind`, and fused is none. */
    struct qx_beside beside;
    uint64_t beside_hash; /* 0: none */
    bool has_factors;     /* the codes alone do not say what the weight is */
    float *kept_values;
    enum qxk_act behind;
    struct qx_codes out; /* where the output value holds codes */
    struct qx_window w;  /* of one row */
};

/* Pack the weights of a node. QX_EUNSUPPORTED: no integer kernel runs it (text: why). */
enum qx_status qx_qlinear_new(const struct qx_weights *w, const struct qx_node *node,
                              struct qx_pool *pool, struct qx_ctl *ctl, struct qx_qlinear **out,
                              struct qx_error *err);
void qx_qlinear_free(struct qx_qlinear *q);          /* NULL allowed */
size_t qx_qlinear_bytes(const struct qx_qlinear *q); /* of weights, with their scales */
/* Multiply the output by scale[oc] and add shift[oc], before anything is fused behind. */
void qx_qlinear_affine(struct qx_qlinear *q, const double *scale, const double *shift);

/* Once finished: can it give back rows of its weight, and row o of it, [k]? The bits of fake quantization. */
bool qx_qlinear_has_rows(const struct qx_qlinear *q);
void qx_qlinear_row(const struct qx_qlinear *q, int64_t o, float *out);

/* Nothing more will be fused: scales are final. */
enum qx_status qx_qlinear_finish(struct qx_qlinear *q, struct qx_error *err);

/* Rows of a matrix, each quantized over its own range. */
struct qx_qtokens {
    uint8_t *codes; /* [m][lda], u8; s8 where sums are needed */
    float *scale;   /* [m] */
    int32_t *zero;  /* [m] */
    int32_t *sums;  /* [m][n_units] -8 times the sum of a unit's codes, for the 4-bit kernel */
    int64_t lda;
};
/* Such rows of one value, kept for the next product that reads it: a worker's. */
struct qx_qkept {
    int value; /* in the net's list; -1: none */
    struct qx_act act;
    int64_t unit; /* that sums are for; 0: no sums, codes are u8 */
    uint64_t beside;
    int64_t n_nonfinite;
    uint8_t *base; /* qx_qkept_bytes of the largest product, 64-byte aligned */
};
size_t qx_qkept_bytes(const struct qx_qlinear *q, const struct qx_room *room);
/* Where the m rows of q's input lie in `base`; returns the bytes they take. */
size_t qx_qrows_cut(const struct qx_qlinear *q, int64_t m, uint8_t *base, struct qx_qtokens *out);
/* Quantize row i (dynamic, a token). Returns the non-finite values. */
int64_t qx_qtokens_row(const struct qx_qlinear *q, const struct qx_qtokens *t, int64_t i,
                       const float *x);
bool qx_qkept_is(const struct qx_qkept *kept, const struct qx_qlinear *q);
void qx_qkept_set(struct qx_qkept *kept, const struct qx_qlinear *q, int64_t n_nonfinite);

/* One tile. */
struct qx_qrun {
    const struct qx_qlinear *q;
    const struct qx_exec_value *in_value, *out_value;
    const void *in;
    void *out;
    int64_t rows;         /* samples */
    const int64_t *start; /* [rows + 1] places of their sequences; NULL without */
    uint8_t *scratch;     /* qx_qlinear_scratch bytes, 64-byte aligned */
    struct qx_qkept *kept;
    struct qx_pool *pool; /* one product is shared out on it; NULL: this thread alone */
    uint8_t *record;      /* codes of the input as the shape says, for comparisons; NULL = none */
    int64_t n_nonfinite;
};
void qx_qlinear_run(struct qx_qrun *r);
/* is_codes: the output value holds codes. */
size_t qx_qlinear_scratch(const struct qx_qlinear *q, const struct qx_room *room, bool is_codes);

/* ---- inside ---- */

/* Scratch cut into 64-byte aligned pieces. size only: base NULL. */
struct qx_cut {
    uint8_t *base;
    size_t used;
};
void *qx_cut_take(struct qx_cut *c, size_t bytes);

/* What the rows of a product share, or have each (step 1). */
struct qx_qrows {
    const float *scale;
    const int32_t *zero;
    int step;
};
/* The epilogue of group g, without the zeros of weights. step: 0 = one scale and zero for all rows. */
struct qxk_epilogue qx_qepilogue(const struct qx_qlinear *q, int64_t g, const float *a_scale,
                                 const int32_t *a_zero, int step, bool is_codes);
/* The product of group g: a [m][lda] to outputs g * n .. of y [m][oc] in the out value's form.
 * scratch: qx_qproduct_scratch bytes. */
struct qx_qproduct {
    const struct qx_qlinear *q;
    int64_t g, m, lda;
    const uint8_t *a;
    bool is_signed; /* 4 bits: a is s8, lda the units' inputs, zeros behind the last one */
    /* 4 bits: a is s8, and [m][n_units] -8 times the sum of each unit; NULL: not known yet */
    const int32_t *sums;
    struct qx_qrows rows;
    bool is_codes;
    void *y; /* [m][oc] of float or u8 */
    uint8_t *scratch;
    struct qx_pool *pool; /* as in qx_qrun */
};
void qx_qproduct_run(const struct qx_qproduct *p);
size_t qx_qproduct_scratch(const struct qx_qlinear *q, int64_t m);
/* An activation of n values, in place; the limits of a Clip are q's. */
void qx_qact_row(const struct qx_qlinear *q, enum qxk_act act, int64_t n, float *v);
/* v[m * oc] behind bias and fused activation, to the form asked for. */
void qx_qfinish(const struct qx_qlinear *q, const float *v, int64_t n, bool is_codes, void *y);

/* Quantize n values under the act: dynamic over these values. Returns the non-finite ones. */
int64_t qx_qinput(const struct qx_qlinear *q, const float *x, int64_t n, uint8_t *codes,
                  struct qx_codes *used);
/* Scale and zero point for n values under an act. */
struct qx_qparams qx_qinput_params(const struct qx_act *act, const float *x, int64_t n);
/* [c][places] to [places][c], bytes. */
void qx_bytes_turn(const uint8_t *x, int64_t c, int64_t places, uint8_t *out);

/* ---- qbeside.c ---- */

/* q gets what the overlay keeps beside the codes. */
enum qx_status qx_qbeside_set(struct qx_qlinear *q, const struct qx_overlay *o,
                              struct qx_error *err);
void qx_qbeside_fold(struct qx_qlinear *q); /* its inputs come divided from now on */
bool qx_qbeside_is(const struct qx_qlinear *q);
/* One tile of a matrix. */
struct qx_qmatrix {
    float *x;      /* [m][k] inputs to be multiplied as codes; NULL: as they are */
    float *kept;   /* [m][n_kept]; NULL: none */
    float *y;      /* [m][oc] where the product goes when something is kept; NULL: to its place */
    uint8_t *rest; /* scratch behind */
    size_t used;
};
void qx_qbeside_begin(const struct qx_qlinear *q, const float *x, int64_t m, uint8_t *scratch,
                      struct qx_qmatrix *out);
/* Kept columns added to at->y, the activation, and the form asked for. */
void qx_qbeside_end(const struct qx_qlinear *q, const struct qx_qmatrix *at, int64_t m,
                    bool is_codes, void *y);
size_t qx_qbeside_scratch(const struct qx_qlinear *q, int64_t m);

/* Matrices on float32 (qfloat.c): products r[n] of the same input, 1 to QXK_TOGETHER, where
 * qx_qfloat_goes_with(r, r + i) holds for all. */
void qx_qfloat_run(struct qx_qrun *r, int n);
bool qx_qfloat_goes_with(const struct qx_qrun *a, const struct qx_qrun *b);
/* m rows; is_codes: they become codes. */
size_t qx_qfloat_scratch(const struct qx_qlinear *q, int64_t m, bool is_codes);

void qx_qconv_run(struct qx_qrun *r);
size_t qx_qconv_scratch(const struct qx_qlinear *q);

#endif
