#include "op.h"

#include "base/error.h"

#include <string.h>

static const struct qx_attr_spec attrs[] = {
    {.name = "axis", .type = QX_ATTR_INT, .min = -8, .max = 7, .is_required = true}};

static enum qx_status concat_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_node *node = g->node;
    struct qx_shape out = node->in[0]->shape;
    int axis;
    enum qx_status st = qx_shape_axis(&out, node->attr[0].i, &axis, err);
    if (st == QX_OK) {
        st = qx_shape_keep_batch(&out, axis, "joining", err);
    }
    for (int i = 1; st == QX_OK && i < node->n_in; i++) {
        struct qx_shape s = node->in[i]->shape;
        if (s.rank == out.rank) {
            int64_t d = s.dim[axis];
            s.dim[axis] = out.dim[axis];
            if (qx_shape_equal(&s, &out)) {
                out.dim[axis] += d;
                continue;
            }
        }
        char a[QX_SHAPE_TEXT], b[QX_SHAPE_TEXT];
        st = qx_fail(err, QX_EFORMAT, "input '%s' %s does not join '%s' %s along axis %d",
                     node->in[i]->name, qx_shape_text(&node->in[i]->shape, a), node->in[0]->name,
                     qx_shape_text(&node->in[0]->shape, b), axis);
    }
    node->out->shape = out;
    return st;
}

static enum qx_status concat(const struct qx_run *r, struct qx_error *err)
{
    int axis = 0;
    enum qx_status st = qx_shape_axis(&r->out_shape, r->node->attr[0].i, &axis, err);
    const int rank = r->out_shape.rank;
    const int64_t outer = qx_shape_span(&r->out_shape, 0, axis);
    const int64_t run = qx_shape_span(&r->out_shape, axis, rank);
    float *to = r->out;
    for (int i = 0; i < r->node->n_in; i++) {
        const int64_t part = qx_shape_span(&r->in_shape[i], axis, rank);
        for (int64_t o = 0; o < outer; o++) {
            memcpy(to + o * run, r->in[i] + o * part, (size_t)part * sizeof *to);
        }
        to += part;
    }
    return st;
}

static void concat_back(const struct qx_back *b)
{
    int axis = 0;
    const struct qx_run *r = b->run;
    if (qx_shape_axis(&r->out_shape, r->node->attr[0].i, &axis, NULL) != QX_OK) {
        return; /* the forward pass would have failed */
    }
    const int rank = r->out_shape.rank;
    const int64_t outer = qx_shape_span(&r->out_shape, 0, axis);
    const int64_t run = qx_shape_span(&r->out_shape, axis, rank);
    const float *from = b->d_out;
    for (int i = 0; i < r->node->n_in; i++) {
        const int64_t part = qx_shape_span(&r->in_shape[i], axis, rank);
        for (int64_t o = 0; b->d_in[i] && o < outer; o++) {
            for (int64_t k = 0; k < part; k++) {
                b->d_in[i][o * part + k] += from[o * run + k];
            }
        }
        from += part;
    }
}

const struct qx_op qx_op_concat = {.name = "Concat",
                                   .min_in = 1,
                                   .max_in = QX_NODE_INPUTS,
                                   .attrs = attrs,
                                   .n_attrs = 1,
                                   .any_type = true,
                                   .weight = -1,
                                   .shape = concat_shape,
                                   .forward = concat,
                                   .backward = concat_back};
