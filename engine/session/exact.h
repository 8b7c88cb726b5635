/* Exact element-wise metrics: the last few results, and the one job that makes them. */
#ifndef QX_SESSION_EXACT_H
#define QX_SESSION_EXACT_H

#include "session/lane.h"

enum { QX_EXACT_KEPT = 64 };

struct qx_exact {
    struct qx_exact_slot {
        bool is_used;
        int64_t item;
        struct qx_setting setting;
        struct qx_metrics metrics;
        uint64_t used;
    } slot[QX_EXACT_KEPT];
    uint64_t clock;
    int64_t wanted;       /* item asked for, -1 = none */
    struct qx_task *task; /* newest one that is out, NULL = none */
};

/* Result for just this setting of the item; NULL when there is none. */
const struct qx_metrics *qx_exact_find(struct qx_exact *x, int64_t item,
                                       const struct qx_setting *setting);
void qx_exact_put(struct qx_exact *x, int64_t item, const struct qx_setting *setting,
                  const struct qx_metrics *metrics);
/* Start the wanted job when its setting has a range. Called by qx_session_poll. */
void qx_exact_work(struct qx_session *s);

/* The running job makes way for something the user waits for, and starts again after it. */
void qx_exact_preempt(struct qx_session *s);

#endif
