/* Optimizers: one row each. */
#ifndef QX_METHOD_OPTIM_H
#define QX_METHOD_OPTIM_H

#include "qx/train.h"

/* One array that learns. */
struct qx_slot {
    float *value, *grad; /* [n] */
    int64_t n;
    bool has_decay;
    double rate_share; /* of the learning rate: qx_scale_rate for scales, else 1 */
    float *moment[2];  /* [n] those that the optimizer keeps */
};
struct qx_optim_step {
    double rate, weight_decay;
    int64_t step; /* 1.. */
};
struct qx_optimizer_fn {
    int n_moments;
    double scale_share; /* see qx_scale_rate */
    void (*step)(struct qx_slot *s, const struct qx_optim_step *o);
};
/* Share of the learning rate for a scale that starts at `scale`: in proportion to it, so that 8 bits learn as
 * steadily as 2. Adam's steps of rate 1e-3 then move it by about 1 %. */
double qx_scale_rate(const struct qx_optimizer *o, float scale);

extern const struct qx_optimizer qx_optimizer_adamw, qx_optimizer_sgd;

#endif
