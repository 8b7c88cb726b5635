#include "window.h"

#include "base/error.h"

/* Output length of one axis, 0 when the kernel does not fit. */
static int64_t out_length(int64_t len, int64_t pad, int64_t k, int64_t dilation, int64_t stride)
{
    int64_t span = dilation * (k - 1) + 1;
    return len + pad < span ? 0 : (len + pad - span) / stride + 1;
}

enum qx_status qx_window_of(const struct qx_node *node, const struct qx_shape *x,
                            const int64_t *kernel, struct qx_window *out, struct qx_error *err)
{
    const int d = x->rank - 2; /* spatial axes: 1 or 2 */
    int64_t k[2], s[2], p[4], l[2];
    const bool is_kernel_given = node->attr[QX_WIN_KERNEL].is_given;
    enum qx_status st = qx_attr_list(node, QX_WIN_KERNEL, d, 0, k, err);
    if (st == QX_OK) {
        st = qx_attr_list(node, QX_WIN_STRIDES, d, 1, s, err);
    }
    if (st == QX_OK) {
        st = qx_attr_list(node, QX_WIN_PADS, 2 * d, 0, p, err);
    }
    if (st == QX_OK) {
        st = qx_attr_list(node, QX_WIN_DILATIONS, d, 1, l, err);
    }
    if (st != QX_OK) {
        return st;
    }
    const bool is_2d = d == 2;
    if (!is_kernel_given) {
        k[0] = kernel[0];
        k[d - 1] = kernel[d - 1];
    }
    struct qx_window w = {.n = x->dim[0],
                          .c = x->dim[1],
                          .h = is_2d ? x->dim[2] : 1,
                          .w = x->dim[d + 1],
                          .kh = is_2d ? k[0] : 1,
                          .kw = k[d - 1],
                          .sh = is_2d ? s[0] : 1,
                          .sw = s[d - 1],
                          .top = is_2d ? p[0] : 0,
                          .left = p[d - 1],
                          .bottom = is_2d ? p[2] : 0,
                          .right = p[2 * d - 1],
                          .dh = is_2d ? l[0] : 1,
                          .dw = l[d - 1]};
    w.oh = out_length(w.h, w.top + w.bottom, w.kh, w.dh, w.sh);
    w.ow = out_length(w.w, w.left + w.right, w.kw, w.dw, w.sw);
    if (w.oh < 1 || w.ow < 1) {
        return qx_fail(err, QX_EFORMAT,
                       "the window of %lld x %lld does not fit the input of %lld x %lld",
                       (long long)w.kh, (long long)w.kw, (long long)w.h, (long long)w.w);
    }
    *out = w;
    return QX_OK;
}

struct qx_shape qx_window_shape(const struct qx_window *w, const struct qx_shape *x,
                                int64_t channels)
{
    struct qx_shape out = {
        .rank = x->rank, .batch = x->batch, .lead = x->lead, .dim = {x->dim[0], channels}};
    if (x->rank == 4) {
        out.dim[2] = w->oh;
    }
    out.dim[x->rank - 1] = w->ow;
    return out;
}
