/* The arithmetic of a quantizer in training, whole arrays at a time. */
#ifndef QX_METHOD_QUANTIZER_H
#define QX_METHOD_QUANTIZER_H

#include "kernels/kernels.h"
#include "qx/train.h"

/* d_x[i] = what d_y[i] brings to x[i]; d_x may be d_y. Returns the gradient by the scale (0 where it is not learned).
 * q: even steps. n = 0 allowed. */
typedef double qx_quantizer_back(const float *x, const float *d_y, int64_t n,
                                 const struct qxk_affine *q, float *d_x);
struct qx_quantizer_fn {
    qx_quantizer_back *weights, *inputs;
};

extern const struct qx_quantizer qx_quantizer_lsq, qx_quantizer_pact, qx_quantizer_ema,
    qx_quantizer_ste;

/* quantizer_ste.c */
qx_quantizer_back qx_quantizer_through;

#endif
