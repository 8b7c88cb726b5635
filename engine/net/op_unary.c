/* Element-wise functions of one input. */
#include "op.h"

#include "base/pool.h"
#include "base/vec.h"
#include "kernels/kernels.h"

#include <math.h>

#define ROW(id, op_name, fn, back_fn, writes)                   \
    const struct qx_op qx_op_##id = {.name = op_name,           \
                                     .min_in = 1,               \
                                     .max_in = 1,               \
                                     .takes_places = true,      \
                                     .is_inplace = true,        \
                                     .weight = -1,              \
                                     .shape = qx_op_same_shape, \
                                     .forward = fn,             \
                                     .backward = back_fn,       \
                                     .writes_first = writes}

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

static void relu_back(const struct qx_back *b)
{
    const float *out = b->run->out, *d_out = b->d_out;
    float *d_x = b->d_in[0];
    const int64_t n = size_of(b->run);
    int64_t i = 0;
    for (; b->is_first && i + QX_VEC <= n; i += QX_VEC) {
        const qx_vec_mask is_through = qx_vec_load(out + i) > qx_vec_all(0.0f);
        qx_vec_store(d_x + i, (qx_vec)((qx_vec_mask)qx_vec_load(d_out + i) & is_through));
    }
    for (; i + QX_VEC <= n; i += QX_VEC) {
        const qx_vec_mask is_through = qx_vec_load(out + i) > qx_vec_all(0.0f);
        const qx_vec d = (qx_vec)((qx_vec_mask)qx_vec_load(d_out + i) & is_through);
        qx_vec_store(d_x + i, qx_vec_load(d_x + i) + d);
    }
    for (; i < n; i++) {
        d_x[i] = (b->is_first ? 0.0f : d_x[i]) + (out[i] > 0.0f ? d_out[i] : 0.0f);
    }
}
ROW(relu, "Relu", relu, relu_back, true);

static enum qx_status sigmoid(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    for (int64_t i = 0, n = size_of(r); i < n; i++) {
        r->out[i] = 1.0f / (1.0f + expf(-r->in[0][i]));
    }
    return QX_OK;
}

static void sigmoid_back(const struct qx_back *b)
{
    const float *out = b->run->out;
    for (int64_t i = 0, n = size_of(b->run); i < n; i++) {
        b->d_in[0][i] += b->d_out[i] * out[i] * (1.0f - out[i]);
    }
}
ROW(sigmoid, "Sigmoid", sigmoid, sigmoid_back, false);

/* Values of a function of several nanoseconds that are worth another thread. */
enum { SHARED_VALUES = 1024 };

static void swish_part(void *arg, int64_t part, int worker)
{
    const struct qx_run *r = arg;
    const int64_t n = size_of(r), first = part * SHARED_VALUES;
    (void)worker;
    for (int64_t i = first; i < first + SHARED_VALUES && i < n; i++) {
        const float x = r->in[0][i];
        r->out[i] = x / (1.0f + expf(-x));
    }
}

/* x sigmoid(x), as in opset 24. */
static enum qx_status swish(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    struct qx_run all = *r;
    qx_pool_for(r->pool, (size_of(r) + SHARED_VALUES - 1) / SHARED_VALUES, swish_part, &all);
    return QX_OK;
}

/* With s = sigmoid(x): d/dx x s = s + x s (1 - s). */
static void swish_back(const struct qx_back *b)
{
    for (int64_t i = 0, n = size_of(b->run); i < n; i++) {
        const float x = b->run->in[0][i], s = 1.0f / (1.0f + expf(-x));
        b->d_in[0][i] += b->d_out[i] * s * (1.0f + x * (1.0f - s));
    }
}
ROW(swish, "Swish", swish, swish_back, false);

static enum qx_status hyperbolic_tangent(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    for (int64_t i = 0, n = size_of(r); i < n; i++) {
        r->out[i] = tanhf(r->in[0][i]);
    }
    return QX_OK;
}

static void hyperbolic_tangent_back(const struct qx_back *b)
{
    const float *out = b->run->out;
    for (int64_t i = 0, n = size_of(b->run); i < n; i++) {
        b->d_in[0][i] += b->d_out[i] * (1.0f - out[i] * out[i]);
    }
}
ROW(tanh, "Tanh", hyperbolic_tangent, hyperbolic_tangent_back, false);

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

static void leaky_relu_back(const struct qx_back *b)
{
    const float alpha = (float)b->run->node->attr[0].f;
    const float *x = b->run->in[0];
    for (int64_t i = 0, n = size_of(b->run); i < n; i++) {
        b->d_in[0][i] += x[i] > 0.0f ? b->d_out[i] : alpha * b->d_out[i];
    }
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
                                       .forward = leaky_relu,
                                       .backward = leaky_relu_back};

static const struct qx_attr_spec gelu_attrs[] = {
    {.name = "approximate", .type = QX_ATTR_CHOICE, .choices = "none tanh"}};

static enum qx_status gelu(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const struct qxk_table *k = qxk_get();
    (r->node->attr[0].i == 1 ? k->gelu_tanh : k->gelu)(r->in[0], size_of(r), r->out);
    return QX_OK;
}

/* Derivative of x Phi(x), and of 0.5 x (1 + tanh(c (x + 0.044715 x^3))), c = sqrt(2 / pi)
 * (Hendrycks and Gimpel, arXiv 1606.08415). */
static float gelu_slope(float x, bool is_tanh)
{
    if (!is_tanh) {
        const float phi = 0.39894228f * expf(-0.5f * x * x);
        return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * phi;
    }
    const float c = 0.79788456f, t = tanhf(c * (x + 0.044715f * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * c * (1.0f + 0.134145f * x * x);
}

static void gelu_back(const struct qx_back *b)
{
    const bool is_tanh = b->run->node->attr[0].i == 1;
    const float *x = b->run->in[0];
    for (int64_t i = 0, n = size_of(b->run); i < n; i++) {
        b->d_in[0][i] += b->d_out[i] * gelu_slope(x[i], is_tanh);
    }
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
                                 .forward = gelu,
                                 .backward = gelu_back};
