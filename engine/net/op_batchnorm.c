#include "op.h"
#include "vec.h"

#include "base/error.h"

#include <math.h>

enum { EPSILON, MOMENTUM, TRAINING_MODE, N_ATTRS };

static const struct qx_attr_spec attrs[N_ATTRS] = {
    [EPSILON] = {.name = "epsilon", .type = QX_ATTR_FLOAT, .fallback = 1e-5},
    [MOMENTUM] = {.name = "momentum", .type = QX_ATTR_FLOAT, .fallback = 0.9},
    [TRAINING_MODE] = {.name = "training_mode", .type = QX_ATTR_INT, .min = 0, .max = 0}};

static enum qx_status batch_norm_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_shape *x = &g->node->in[0]->shape;
    enum qx_status st = qx_op_rank(g->node, 0, 2, 4, err);
    if (st == QX_OK) {
        st = qx_shape_keep_batch(x, 1, "normalizing", err);
    }
    for (int i = 1; st == QX_OK && i < 5; i++) {
        const struct qx_shape *s = &g->node->in[i]->shape;
        if (s->rank != 1 || s->batch >= 0 || s->dim[0] != x->dim[1]) {
            char text[QX_SHAPE_TEXT];
            return qx_fail(err, QX_EFORMAT,
                           "input '%s' is %s; one value for each of %lld channels is needed",
                           g->node->in[i]->name, qx_shape_text(s, text), (long long)x->dim[1]);
        }
    }
    return st == QX_OK ? qx_op_same_shape(g, err) : st;
}

/* The inference form: x * scale / sqrt(var + epsilon) + (bias - mean * scale / sqrt(...)). */
static enum qx_status batch_norm(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const struct qx_shape *x = &r->in_shape[0];
    const int64_t n = x->dim[0], channels = x->dim[1], plane = qx_shape_span(x, 2, x->rank);
    const double epsilon = r->node->attr[EPSILON].f;
    for (int64_t c = 0; c < channels; c++) {
        const double s = (double)r->in[1][c] / sqrt((double)r->in[4][c] + epsilon);
        const float scale = (float)s;
        const float shift = (float)((double)r->in[2][c] - (double)r->in[3][c] * s);
        for (int64_t b = 0; b < n; b++) {
            const float *from = r->in[0] + (b * channels + c) * plane;
            float *to = r->out + (b * channels + c) * plane;
            qx_vec_affine(from, plane, scale, shift, to);
        }
    }
    return QX_OK;
}

const struct qx_op qx_op_batch_normalization = {.name = "BatchNormalization",
                                                .min_in = 5,
                                                .max_in = 5,
                                                .attrs = attrs,
                                                .n_attrs = N_ATTRS,
                                                .is_inplace = true,
                                                .weight = -1,
                                                .shape = batch_norm_shape,
                                                .forward = batch_norm};
