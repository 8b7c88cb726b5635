#include "op.h"

#include <math.h>

static const struct qx_attr_spec attrs[] = {
    {.name = "axis", .type = QX_ATTR_INT, .fallback = -1, .min = -8, .max = 7}};

static enum qx_status softmax_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_shape *x = &g->node->in[0]->shape;
    int axis;
    enum qx_status st = qx_shape_axis(x, g->node->attr[0].i, &axis, err);
    if (st == QX_OK) {
        st = qx_shape_keep_batch(x, axis, "the sum", err);
    }
    return st == QX_OK ? qx_op_same_shape(g, err) : st;
}

/* n values, `step` apart. */
static void softmax_run(const float *x, float *out, int64_t n, int64_t step)
{
    float top = x[0];
    double sum = 0.0;
    for (int64_t i = 1; i < n; i++) {
        top = x[i * step] > top ? x[i * step] : top;
    }
    for (int64_t i = 0; i < n; i++) {
        float e = expf(x[i * step] - top);
        out[i * step] = e;
        sum += (double)e;
    }
    const float scale = (float)(1.0 / sum);
    for (int64_t i = 0; i < n; i++) {
        out[i * step] *= scale;
    }
}

static enum qx_status softmax(const struct qx_run *r, struct qx_error *err)
{
    int axis = 0;
    enum qx_status st = qx_shape_axis(&r->out_shape, r->node->attr[0].i, &axis, err);
    const int64_t outer = qx_shape_span(&r->out_shape, 0, axis), n = r->out_shape.dim[axis];
    const int64_t inner = qx_shape_span(&r->out_shape, axis + 1, r->out_shape.rank);
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t i = 0; i < inner; i++) {
            softmax_run(r->in[0] + o * n * inner + i, r->out + o * n * inner + i, n, inner);
        }
    }
    return st;
}

/* d_x = y (d_y - sum(d_y y)) */
static void softmax_back_run(const float *y, const float *d_y, float *d_x, int64_t n, int64_t step)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)y[i * step] * (double)d_y[i * step];
    }
    for (int64_t i = 0; i < n; i++) {
        d_x[i * step] += y[i * step] * (d_y[i * step] - (float)sum);
    }
}

static void softmax_back(const struct qx_back *b)
{
    int axis = 0;
    const struct qx_shape *s = &b->run->out_shape;
    if (qx_shape_axis(s, b->run->node->attr[0].i, &axis, NULL) != QX_OK) {
        return; /* the forward pass would have failed */
    }
    const int64_t outer = qx_shape_span(s, 0, axis), n = s->dim[axis];
    const int64_t inner = qx_shape_span(s, axis + 1, s->rank);
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t i = 0; i < inner; i++) {
            const int64_t at = o * n * inner + i;
            softmax_back_run(b->run->out + at, b->d_out + at, b->d_in[0] + at, n, inner);
        }
    }
}

const struct qx_op qx_op_softmax = {.name = "Softmax",
                                    .min_in = 1,
                                    .max_in = 1,
                                    .attrs = attrs,
                                    .n_attrs = 1,
                                    .is_inplace = true,
                                    .weight = -1,
                                    .shape = softmax_shape,
                                    .forward = softmax,
                                    .backward = softmax_back};
