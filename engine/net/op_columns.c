/* Columns: some neighbouring values of every place, [T N, d] to [T N, count]. Not an ONNX operation. */
#include "op.h"

#include "base/error.h"

#include <string.h>

enum { FIRST, COUNT, N_ATTRS };

static const struct qx_attr_spec attrs[N_ATTRS] = {
    [FIRST] = {.name = "first", .type = QX_ATTR_INT, .max = INT32_MAX},
    [COUNT] = {
        .name = "count", .type = QX_ATTR_INT, .min = 1, .max = INT32_MAX, .is_required = true}};

static enum qx_status columns_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_node *node = g->node;
    enum qx_status st = qx_op_sequence(node, 0, err);
    if (st != QX_OK) {
        return st;
    }
    const int64_t width = node->in[0]->shape.dim[1], count = node->attr[COUNT].i;
    if (node->attr[FIRST].i + count > width) {
        return qx_fail(err, QX_EFORMAT, "values %lld to %lld of %lld are asked for",
                       (long long)node->attr[FIRST].i, (long long)(node->attr[FIRST].i + count - 1),
                       (long long)width);
    }
    node->out->shape = node->in[0]->shape;
    node->out->shape.dim[1] = count;
    return QX_OK;
}

static enum qx_status columns(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const int64_t n = r->out_shape.dim[0], count = r->out_shape.dim[1];
    const float *from = r->in[0] + r->node->attr[FIRST].i;
    for (int64_t i = 0; i < n; i++, from += r->in_shape[0].dim[1]) {
        memcpy(r->out + i * count, from, (size_t)count * sizeof *from);
    }
    return QX_OK;
}

static void columns_back(const struct qx_back *b)
{
    const struct qx_run *r = b->run;
    const int64_t n = r->out_shape.dim[0], count = r->out_shape.dim[1];
    float *to = b->d_in[0] + r->node->attr[FIRST].i;
    for (int64_t i = 0; i < n; i++, to += r->in_shape[0].dim[1]) {
        for (int64_t k = 0; k < count; k++) {
            to[k] += b->d_out[i * count + k];
        }
    }
}

const struct qx_op qx_op_columns = {.name = "Columns",
                                    .min_in = 1,
                                    .max_in = 1,
                                    .attrs = attrs,
                                    .n_attrs = N_ATTRS,
                                    .takes_places = true,
                                    .weight = -1,
                                    .shape = columns_shape,
                                    .forward = columns,
                                    .backward = columns_back};
