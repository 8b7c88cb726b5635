/* What calibrators would choose and what theory allows: computed in the background, the last few kept. */
#ifndef QX_SESSION_ADVICE_H
#define QX_SESSION_ADVICE_H

#include "session/lane.h"

enum { QX_ADVICE_KEPT = 16 };

/* Parts of an advice, made one task after the other. */
enum { QX_ADVICE_CHOICES = 1, QX_ADVICE_LADDER = 2, QX_ADVICE_BEST = 4 };

struct qx_advice_slot {
    bool is_used;
    int64_t item;
    struct qx_setting key; /* bits, sym, gran, group, scale; calib and param for the ladder */
    bool is_sampled;       /* from a sample of the values */
    unsigned known;
    struct qx_advice advice;
    struct qx_task *task;
    uint64_t used;
};

struct qx_advisor {
    struct qx_advice_slot slot[QX_ADVICE_KEPT];
    uint64_t clock;
};

#endif
