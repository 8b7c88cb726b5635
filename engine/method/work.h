/* Making and ending the work of one layer. */
#ifndef QX_METHOD_WORK_H
#define QX_METHOD_WORK_H

#include "method/method.h"

/* set, channels, groups, n, m, pool and ctl are filled in; the rest is made here, rounded to nearest. */
enum qx_status qx_work_open(struct qx_method_work *w, const struct qx_tensor *t,
                            struct qx_error *err);
void qx_work_release(struct qx_method_work *w);
/* The overlay of what is there; factors and biases move into it. */
enum qx_status qx_work_take(struct qx_method_work *w, const struct qx_tensor *t,
                            struct qx_overlay **out, struct qx_error *err);

#endif
