/* Element-wise functions of one input. */
#include "op.h"
#include "vec.h"

#include "kernels/kernels.h"

#include <math.h>

#define ROW(id, op_name, fn)                                    \
    const struct qx_op qx_op_##id = {.name = op_name,           \
                                     .min_in = 1,               \
                                     .max_in = 1,               \
                                     .takes_places = true,      \
                                     .is_inplace = true,        \
                                     .weight = -1,              \
                                     .shape = qx_op_same_shape, \
                                     .forward = fn}

static int64_t size_of(const struct qx_run *r)
{
    return qx_shape_numel(&r->out_shape, 1);
}

/* The comparisons of Relu and LeakyRelu let a NaN through, so that it shows in the logits. */
static enum qx_status relu(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const float *x = r->in[0];
    float *out = r->out;
    const int64_t n = size_of(r);
    int64_t i = 0;
    for (; i + QX_VEC <= n; i += QX_VEC) {
        const qx_vec v = qx_vec_load(x + i);
        const qx_vec_mask is_negative = v < qx_vec_all(0.0f);
        qx_vec_store(out + i, (qx_vec)((qx_vec_mask)v & ~is_negative));
    }
    for (; i < n; i++) {
        out[i] = x[i] < 0.0f ? 0.0f : x[i];
    }
    return QX_OK;
}
ROW(relu, "Relu", relu);

static enum qx_status sigmoid(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    for (int64_t i = 0, n = size_of(r); i < n; i++) {
        r->out[i] = 1.0f / (1.0f + expf(-r->in[0][i]));
    }
    return QX_OK;
}
ROW(sigmoid, "Sigmoid", sigmoid);

/* x sigmoid(x), as in opset 24. */
static enum qx_status swish(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    for (int64_t i = 0, n = size_of(r); i < n; i++) {
        const float x = r->in[0][i];
        r->out[i] = x / (1.0f + expf(-x));
    }
    return QX_OK;
}
ROW(swish, "Swish", swish);

static enum qx_status hyperbolic_tangent(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    for (int64_t i = 0, n = size_of(r); i < n; i++) {
        r->out[i] = tanhf(r->in[0][i]);
    }
    return QX_OK;
}
ROW(tanh, "Tanh", hyperbolic_tangent);

static const struct qx_attr_spec leaky_attrs[] = {
    {.name = "alpha", .type = QX_ATTR_FLOAT, .fallback = 0.01}};

static enum qx_status leaky_relu(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const float alpha = (float)r->node->attr[0].f;
    const float *x = r->in[0];
    for (int64_t i = 0, n = size_of(r); i < n; i++) {
        r->out[i] = x[i] < 0.0f ? alpha * x[i] : x[i];
    }
    return QX_OK;
}

const struct qx_op qx_op_leaky_relu = {.name = "LeakyRelu",
                                       .min_in = 1,
                                       .max_in = 1,
                                       .attrs = leaky_attrs,
                                       .n_attrs = 1,
                                       .takes_places = true,
                                       .is_inplace = true,
                                       .weight = -1,
                                       .shape = qx_op_same_shape,
                                       .forward = leaky_relu};

static const struct qx_attr_spec gelu_attrs[] = {
    {.name = "approximate", .type = QX_ATTR_CHOICE, .choices = "none tanh"}};

static enum qx_status gelu(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const struct qxk_table *k = qxk_get();
    (r->node->attr[0].i == 1 ? k->gelu_tanh : k->gelu)(r->in[0], size_of(r), r->out);
    return QX_OK;
}

const struct qx_op qx_op_gelu = {.name = "Gelu",
                                 .min_in = 1,
                                 .max_in = 1,
                                 .attrs = gelu_attrs,
                                 .n_attrs = 1,
                                 .takes_places = true,
                                 .is_inplace = true,
                                 .weight = -1,
                                 .shape = qx_op_same_shape,
                                 .forward = gelu};
