/* What a method keeps beside the codes of a product: factors of its inputs, and inputs that are not
 * quantized. */
#ifndef QX_NET_BESIDE_H
#define QX_NET_BESIDE_H

#include "qx/overlay.h"

/* Channel c of n inputs: values c * inner + i of every channels * inner. */
struct qx_beside {
    const float *sub; /* [channels] what is taken off inputs first; NULL: nothing */
    const float *div; /* [channels] what they are divided by; NULL: nothing */
    int64_t channels, inner;
    const int32_t *kept; /* [n_kept] inputs of a row that are not quantized; inner is 1 then */
    int64_t n_kept;
};
/* y = x shifted and divided, 0 where it is kept; y may be x. */
void qx_beside_apply(const struct qx_beside *b, const float *x, int64_t n, float *y);
/* y multiplied and shifted back, and x where it is kept. */
void qx_beside_restore(const struct qx_beside *b, const float *x, int64_t n, float *y);

#endif
