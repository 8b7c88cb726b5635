/* What may be done to the images of a batch: one row each (augment_table.c). */
#ifndef QX_METHOD_AUGMENT_H
#define QX_METHOD_AUGMENT_H

#include "base/rng.h"
#include "qx/train.h"

/* One image in place: planes of h lines of w values. */
typedef void qx_augment_apply(float *x, int64_t planes, int64_t h, int64_t w, struct qx_rng *rng);

struct qx_augment_fn {
    qx_augment_apply *apply;
};

extern const struct qx_augment qx_augment_shift, qx_augment_flip;

/* Can rows of the network be augmented? Images [channels, height, width], or their planes alone. QX_EUNSUPPORTED. */
enum qx_status qx_augment_check(const struct qx_net *net, struct qx_error *err);
/* n rows x [n][row of the network] in place, by the rows of the table that are chosen, in its order. */
void qx_augment_rows(const struct qx_net *net, unsigned chosen, struct qx_rng *rng, float *x,
                     int64_t n);

#endif
