/* Operations that only give the same values another shape. */
#include "op.h"

#include "base/error.h"
#include "qx/model.h"

#include <string.h>

/* Put the batch of x into `out`, whose axes hold the same number of values a row: axis `axis` is the
 * one that grows. As many values must lie before the batch as did, those that its axis leads with
 * included; else rows would be torn apart. */
static enum qx_status set_batch(const struct qx_shape *x, struct qx_shape *out, int axis,
                                struct qx_error *err)
{
    const int64_t before = qx_shape_span(x, 0, x->batch) * x->lead;
    const int64_t span = qx_shape_span(out, 0, axis);
    out->batch = axis;
    out->lead = before / span;
    if (before % span == 0 && out->dim[axis] % out->lead == 0) {
        return QX_OK;
    }
    char from[QX_SHAPE_TEXT], to[QX_SHAPE_TEXT];
    return qx_fail(err, QX_EUNSUPPORTED, "%s as %s would tear the rows of the batch apart",
                   qx_shape_text(x, from), qx_shape_text(out, to));
}

static const struct qx_attr_spec flatten_attrs[] = {
    {.name = "axis", .type = QX_ATTR_INT, .fallback = 1, .min = -8, .max = 8}};

static enum qx_status flatten_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_shape *x = &g->node->in[0]->shape;
    int64_t axis = g->node->attr[0].i;
    axis += axis < 0 ? x->rank : 0;
    if (axis < 0 || axis > x->rank) {
        return qx_fail(err, QX_EFORMAT, "axis %lld is outside the input's rank of %d",
                       (long long)g->node->attr[0].i, x->rank);
    }
    struct qx_shape out = {.rank = 2, .batch = -1};
    out.dim[0] = qx_shape_span(x, 0, (int)axis);
    out.dim[1] = qx_shape_span(x, (int)axis, x->rank);
    g->node->out->shape = out;
    return x->batch < 0 ? QX_OK : set_batch(x, &g->node->out->shape, x->batch < axis ? 0 : 1, err);
}

const struct qx_op qx_op_flatten = {.name = "Flatten",
                                    .min_in = 1,
                                    .max_in = 1,
                                    .attrs = flatten_attrs,
                                    .n_attrs = 1,
                                    .any_type = true,
                                    .is_view = true,
                                    .weight = -1,
                                    .shape = flatten_shape};

const struct qx_op qx_op_identity = {.name = "Identity",
                                     .min_in = 1,
                                     .max_in = 1,
                                     .any_type = true,
                                     .is_view = true,
                                     .weight = -1,
                                     .shape = qx_op_same_shape};

/* The target of a Reshape: an I64 initializer of one axis. */
static enum qx_status reshape_target(const struct qx_infer *g, struct qx_shape *out,
                                     struct qx_error *err)
{
    const struct qx_value *v = g->node->in[1];
    const struct qx_tensor *t = v->tensor < 0 ? NULL : qx_model_tensor(g->model, v->tensor);
    if (!t || t->dtype != QX_DTYPE_I64 || t->rank != 1) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "the shape '%s' must be an initializer of dtype I64 and one axis", v->name);
    }
    if (t->numel > QX_SHAPE_RANK) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "the shape '%s' has %lld axes; at most %d are possible", v->name,
                       (long long)t->numel, QX_SHAPE_RANK);
    }
    *out = (struct qx_shape){.rank = (int)t->numel, .batch = -1};
    if (out->rank > 0) {
        memcpy(out->dim, t->data, (size_t)out->rank * sizeof out->dim[0]);
    }
    return QX_OK;
}

/* Fill 0 and -1 of `out`. *open: the axis of -1 or -1; *copied: the axis that copies the batch. */
static enum qx_status reshape_fill(const struct qx_shape *x, bool copies_zero, struct qx_shape *out,
                                   int *open, int *copied, struct qx_error *err)
{
    for (int i = 0; i < out->rank; i++) {
        if (out->dim[i] == 0 && copies_zero && i < x->rank) {
            out->dim[i] = x->dim[i];
            *copied = i == x->batch ? i : *copied;
        } else if (out->dim[i] == -1 && *open < 0) {
            *open = i;
            out->dim[i] = 1;
        } else if (out->dim[i] < 1) {
            return qx_fail(err, QX_EFORMAT, "axis %d of the shape is %lld", i,
                           (long long)out->dim[i]);
        }
    }
    return qx_shape_check(out, err);
}

static enum qx_status reshape_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_shape *x = &g->node->in[0]->shape;
    struct qx_shape out;
    int open = -1, copied = -1;
    enum qx_status st = reshape_target(g, &out, err);
    if (st == QX_OK) {
        st = reshape_fill(x, g->node->attr[0].i == 0, &out, &open, &copied, err);
    }
    if (st != QX_OK) {
        return st;
    }
    const int64_t have = qx_shape_span(x, 0, x->rank), want = qx_shape_span(&out, 0, out.rank);
    const int grows = copied >= 0 ? copied : open;
    char from[QX_SHAPE_TEXT], to[QX_SHAPE_TEXT];
    if (x->batch >= 0 && grows < 0) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "the shape %s fixes the batch of %s; use 0 or -1 for its axis",
                       qx_shape_text(&out, to), qx_shape_text(x, from));
    }
    if (open >= 0 && have % want == 0) {
        out.dim[open] = have / want;
    } else if (have != want) {
        return qx_fail(err, QX_EFORMAT, "%s does not reshape to %s", qx_shape_text(x, from),
                       qx_shape_text(&out, to));
    }
    g->node->out->shape = out;
    return x->batch < 0 ? QX_OK : set_batch(x, &g->node->out->shape, grows, err);
}

static const struct qx_attr_spec reshape_attrs[] = {
    {.name = "allowzero", .type = QX_ATTR_INT, .fallback = 0, .min = 0, .max = 1}};

const struct qx_op qx_op_reshape = {.name = "Reshape",
                                    .min_in = 2,
                                    .max_in = 2,
                                    .attrs = reshape_attrs,
                                    .n_attrs = 1,
                                    .ids = 2,
                                    .constant = 2,
                                    .any_type = true,
                                    .is_view = true,
                                    .weight = -1,
                                    .shape = reshape_shape};
