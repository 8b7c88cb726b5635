/* Losses of classes, with their gradients by the logits. */
#ifndef QX_METHOD_LOSS_H
#define QX_METHOD_LOSS_H

#include <stdint.h>

/* Mean over n rows of (1 - share) CE(label) + share t^2 KL(softmax(teacher / t) || softmax(logits / t))
 * (Hinton et al., arXiv 1503.02531, section 2), in nats. d_logits [n, classes] is set; NULL = not wanted.
 * teacher [n, classes]: NULL when share is 0. labels: NULL when share is 1. */
struct qx_loss {
    int64_t n;
    int classes;
    const float *logits, *teacher;
    const int32_t *labels;
    double share, temperature;
};
double qx_loss(const struct qx_loss *l, float *d_logits);

#endif
