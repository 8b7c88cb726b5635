/* Losses of classes, with their gradients by the logits. */
#ifndef QX_METHOD_LOSS_H
#define QX_METHOD_LOSS_H

#include <stdint.h>

/* One row: scale ((1 - share) CE(label) + share t^2 KL(q || softmax(logits / t))) in nats, q the teacher's
 * softmax(logits / t) (Hinton et al., arXiv 1503.02531, section 2). */
struct qx_loss {
    int classes;
    double share, temperature, scale;
};
/* What a teacher says, once for many steps: q [classes] from its logits (may be the same memory); returns
 * sum of q log q. */
double qx_loss_teacher(const float *logits, int classes, double temperature, float *q);
/* d [classes] is set to the gradient; NULL = not wanted. q and q_log_q are of no meaning when share is 0, label
 * when it is 1. NaN where a logit is. */
double qx_loss_row(const struct qx_loss *l, const float *logits, int32_t label, const float *q,
                   double q_log_q, float *d);

#endif
