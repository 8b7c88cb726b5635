/* The rows that change most from snapshot A to the recipe, and what a row says. Host thread. */
#ifndef QX_SESSION_CHANGES_H
#define QX_SESSION_CHANGES_H

#include "qx/session.h"

struct qx_changes_state {
    struct {
        uint64_t key; /* of the two recipes; 0 = nothing is there */
        int64_t n;
        struct qx_eval_change v[QX_CHANGES];
    } of[QX_CHANGES_KL + 1]; /* [order] */
};

#endif
