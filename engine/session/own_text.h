/* Text that a language model writes itself, for want of data or because the host says so: a job of the session, so
 * that the screen is there first. Everything that looks at rows waits until it has ended well. Host thread only. */
#ifndef QX_SESSION_OWN_TEXT_H
#define QX_SESSION_OWN_TEXT_H

#include "session/lane.h"

struct qx_own_text {
    char *name; /* "self", "self:N"; NULL: the data are a file, or there are none */
    struct qx_task *task;
};

/* To be written once the lanes run. QX_EDATA: this network cannot; QX_ENOMEM. */
enum qx_status qx_own_text_want(struct qx_session *s, const char *name, struct qx_error *err);
/* Nothing where none is wanted, it is under way or there are data. */
void qx_own_text_start(struct qx_session *s);
static inline bool qx_own_text_waits(const struct qx_own_text *t)
{
    return t->task;
}
void qx_own_text_release(struct qx_own_text *t);

#endif
