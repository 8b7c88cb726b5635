/* Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2). */
#include "method/optim.h"

#include <math.h>

#define BETA1   0.9f
#define BETA2   0.999f
#define EPSILON 1e-8f

static void step(struct qx_slot *s, const struct qx_optim_step *o)
{
    const double first = 1.0 - pow((double)BETA1, (double)o->step);
    const double second = 1.0 - pow((double)BETA2, (double)o->step);
    const float rate = (float)(o->rate * s->rate_share / first), root = (float)(1.0 / sqrt(second));
    const float keep = s->has_decay ? (float)(1.0 - o->rate * o->weight_decay) : 1.0f;
    float *m = s->moment[0], *v = s->moment[1];
    for (int64_t i = 0; i < s->n; i++) {
        const float g = s->grad[i];
        m[i] += (1.0f - BETA1) * (g - m[i]);
        v[i] += (1.0f - BETA2) * (g * g - v[i]);
        s->value[i] = keep * s->value[i] - rate * m[i] / (sqrtf(v[i]) * root + EPSILON);
    }
}

static const struct qx_optimizer_fn fn = {.n_moments = 2, .scale_share = 10.0, .step = step};

const struct qx_optimizer qx_optimizer_adamw = {
    .name = "adamw",
    .title = "AdamW",
    .help = "Adam with decoupled weight decay, beta 0.9 and 0.999.",
    .rate = 2.5e-4,
    .fn = &fn,
};
