/* The straight-through estimator: rounding has slope 1 inside the range, 0 outside. Scales do not learn:
 * those of weights follow their largest values, those of inputs stay as calibrated. */
#include "method/quantizer.h"

double qx_quantizer_through(const float *x, const float *d_y, int64_t n, const struct qxk_affine *q,
                            float *d_x)
{
    /* rint(x / s) + z is within qmin..qmax: half a step more on each side than the range itself */
    const float lo = (q->qmin - q->zero - 0.5f) * q->scale;
    const float hi = (q->qmax - q->zero + 0.5f) * q->scale;
    for (int64_t i = 0; i < n; i++) {
        d_x[i] = x[i] >= lo && x[i] <= hi ? d_y[i] : 0.0f;
    }
    return 0.0;
}

static const struct qx_quantizer_fn fn = {.weights = qx_quantizer_through,
                                          .inputs = qx_quantizer_through};

const struct qx_quantizer qx_quantizer_ste = {
    .name = "ste",
    .title = "STE",
    .help = "Straight-through gradient; scales of weights follow their largest values, ranges of "
            "inputs stay as calibrated.",
    .fn = &fn,
};
