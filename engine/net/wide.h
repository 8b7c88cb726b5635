/* Stored 16- and 64-bit floats as float32: one copy for all weights of a network, kept while any reads it. */
#ifndef QX_NET_WIDE_H
#define QX_NET_WIDE_H

#include "net/graph.h"

/* For a network's n values. */
enum qx_status qx_wide_new(int n, struct qx_wide **out, struct qx_error *err);
void qx_wide_free(struct qx_wide *w); /* NULL allowed; nothing is taken any more */
/* The values of initializer v, until dropped as often as taken. Any thread. QX_ENOMEM, what qx_tensor_read
 * returns. */
enum qx_status qx_wide_take(const struct qx_net *net, const struct qx_value *v, const float **out,
                            struct qx_error *err);
void qx_wide_drop(const struct qx_net *net, const struct qx_value *v);

#endif
