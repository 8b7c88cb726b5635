/* A convolution with its geometry, and the two ways to run it. */
#ifndef QX_NET_CONV_H
#define QX_NET_CONV_H

#include "net/window.h"

/* Values under one window and group, at most. */
#define QX_CONV_K_MAX (INT64_C(1) << 18)

/* From fixed or per-row shapes. */
struct qx_conv {
    struct qx_window w;
    int64_t group, oc;   /* output channels of all groups */
    int64_t icg, ocg, k; /* of one group; k = icg * kh * kw */
    int64_t places;      /* oh * ow */
};

/* Width of a line with its zero padding. */
static inline int64_t qx_conv_width(const struct qx_window *w)
{
    return w->w + w->left + w->right;
}

/* One input channel per group, directly (conv_direct.c). bias NULL = none; scratch: as many floats. */
int64_t qx_conv_direct_scratch(const struct qx_conv *c);
void qx_conv_direct(const struct qx_conv *c, const float *x, const float *weight, const float *bias,
                    float *scratch, float *out);

/* d_weight += its gradient; stride 1. */
int64_t qx_conv_direct_back_scratch(const struct qx_conv *c);
void qx_conv_direct_back(const struct qx_conv *c, const float *x, const float *d_out,
                         float *scratch, float *d_weight);

/* As matrix products [ocg, k] x [k, places] (conv_columns.c): 1x1 windows straight on the planes, others
 * from an unrolled copy of the input (im2col). */
int64_t qx_conv_columns_scratch(const struct qx_conv *c);
void qx_conv_columns(const struct qx_conv *c, const float *x, const float *weight,
                     const float *bias, float *scratch, float *out);

/* One input channel per group? */
static inline bool qx_conv_is_direct(const struct qx_conv *c)
{
    return c->icg == 1 && c->group > 1;
}

/* Those columns of n samples and one group, [k, n * places], and qx_conv_unroll_floats in all. */
int64_t qx_conv_unroll_floats(const struct qx_conv *c, int64_t n);
int64_t qx_conv_unroll_scratch(const struct qx_conv *c, int64_t n);
void qx_conv_unroll(const struct qx_conv *c, const float *x, int64_t n, float *scratch,
                    float *columns);

/* Gradients (conv_back.c), added to, d_x written where is_first; NULL = not wanted. */
struct qx_conv_back {
    const float *x, *weight, *d_out;
    float *d_x, *d_weight, *d_bias;
    float *scratch;
    bool is_first;
};
int64_t qx_conv_back_scratch(const struct qx_conv *c);
void qx_conv_back(const struct qx_conv *c, const struct qx_conv_back *b);

#endif
