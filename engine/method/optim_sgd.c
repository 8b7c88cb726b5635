/* Stochastic gradient descent with momentum 0.9 (as torch.optim.SGD: b = 0.9 b + g, x -= rate b). */
#include "method/optim.h"

#define MOMENTUM 0.9f

static void step(struct qx_slot *s, const struct qx_optim_step *o)
{
    const float rate = (float)(o->rate * s->rate_share),
                decay = s->has_decay ? (float)o->weight_decay : 0.0f;
    float *b = s->moment[0];
    for (int64_t i = 0; i < s->n; i++) {
        b[i] = MOMENTUM * b[i] + s->grad[i] + decay * s->value[i];
        s->value[i] -= rate * b[i];
    }
}

static const struct qx_optimizer_fn fn = {.n_moments = 1, .scale_share = 1.0, .step = step};

const struct qx_optimizer qx_optimizer_sgd = {
    .name = "sgd",
    .title = "SGD",
    .help = "Stochastic gradient descent with momentum 0.9.",
    .rate = 0.005,
    .fn = &fn,
};
