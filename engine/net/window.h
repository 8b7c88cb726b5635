/* The sliding window of Conv, MaxPool and AveragePool. 1-D is 2-D of height 1. */
#ifndef QX_NET_WINDOW_H
#define QX_NET_WINDOW_H

#include "net/op.h"

/* The first attributes of the three operations, in this order. */
enum { QX_WIN_KERNEL, QX_WIN_STRIDES, QX_WIN_PADS, QX_WIN_DILATIONS, QX_WIN_AUTO_PAD, QX_WIN_N };
#define QX_WIN_MAX 65536
#define QX_WINDOW_ATTRS(kernel_required, max_dilation)                                        \
    [QX_WIN_KERNEL] = {.name = "kernel_shape",                                                \
                       .type = QX_ATTR_INTS_LIST,                                             \
                       .min = 1,                                                              \
                       .max = QX_WIN_MAX,                                                     \
                       .is_required = kernel_required},                                       \
    [QX_WIN_STRIDES] = {.name = "strides",                                                    \
                        .type = QX_ATTR_INTS_LIST,                                            \
                        .min = 1,                                                             \
                        .max = QX_WIN_MAX},                                                   \
    [QX_WIN_PADS] = {.name = "pads", .type = QX_ATTR_INTS_LIST, .min = 0, .max = QX_WIN_MAX}, \
    [QX_WIN_DILATIONS] = {.name = "dilations",                                                \
                          .type = QX_ATTR_INTS_LIST,                                          \
                          .min = 1,                                                           \
                          .max = max_dilation},                                               \
    [QX_WIN_AUTO_PAD] = {.name = "auto_pad", .type = QX_ATTR_CHOICE, .choices = "NOTSET"}

struct qx_window {
    int64_t n, c, h, w;               /* input planes; n is 1 for one row until put in */
    int64_t kh, kw, sh, sw;           /* kernel, stride */
    int64_t top, left, bottom, right; /* zero padding */
    int64_t dh, dw;                   /* dilation */
    int64_t oh, ow;                   /* output plane */
};

/* From the input shape (rank 3 or 4, batch on axis 0 or none) and the attributes. `kernel` [rank - 2]
 * stands for a kernel_shape left out, NULL when it is required. QX_EFORMAT. */
enum qx_status qx_window_of(const struct qx_node *node, const struct qx_shape *x,
                            const int64_t *kernel, struct qx_window *out, struct qx_error *err);
/* Output shape [n, channels, (oh,) ow] like x. */
struct qx_shape qx_window_shape(const struct qx_window *w, const struct qx_shape *x,
                                int64_t channels);

#endif
