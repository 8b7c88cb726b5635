/* Factors between layers, written into their tensors. */
#include "qx/links.h"

#include "net/exec.h"
#include "net/weights.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

struct qx_rewrite {
    const struct qx_net *net;
    int64_t n;
    float **v; /* [n] tensors; NULL: as stored */
};

enum qx_status qx_rewrite_new(const struct qx_net *net, struct qx_rewrite **out,
                              struct qx_error *err)
{
    struct qx_rewrite *r = qx_mem_zalloc(sizeof *r);
    const int64_t n = qx_model_n_tensors(net->model);
    if (!r || !(r->v = qx_mem_zalloc(((size_t)n + 1) * sizeof *r->v))) {
        qx_mem_free(r);
        return qx_fail_nomem(err, (size_t)n * sizeof *r->v);
    }
    r->net = net;
    r->n = n;
    *out = r;
    return QX_OK;
}

void qx_rewrite_free(struct qx_rewrite *r)
{
    for (int64_t i = 0; r && i < r->n; i++) {
        qx_mem_free(r->v[i]);
    }
    if (r) {
        qx_mem_free(r->v);
    }
    qx_mem_free(r);
}

const float *qx_rewrite_get(const struct qx_rewrite *r, int64_t tensor)
{
    return tensor >= 0 && tensor < r->n ? r->v[tensor] : NULL;
}

/* The values of a tensor so far, to be changed. */
static enum qx_status take(struct qx_rewrite *r, int64_t tensor, float **out, struct qx_error *err)
{
    const struct qx_tensor *t = qx_model_tensor(r->net->model, tensor);
    if (!r->v[tensor]) {
        float *x = qx_mem_array((size_t)t->numel + 1, sizeof *x);
        enum qx_status st = x ? qx_tensor_read(t, 0, t->numel, x, err)
                              : qx_fail_nomem(err, (size_t)t->numel * sizeof *x);
        if (st != QX_OK) {
            qx_mem_free(x);
            return st;
        }
        r->v[tensor] = x;
    }
    *out = r->v[tensor];
    return QX_OK;
}

enum qx_status qx_rewrite_put(struct qx_rewrite *r, int64_t tensor, const float *values,
                              struct qx_error *err)
{
    const size_t n = (size_t)qx_model_tensor(r->net->model, tensor)->numel;
    float *x = r->v[tensor] ? r->v[tensor] : qx_mem_array(n + 1, sizeof *x);
    if (!x) {
        return qx_fail_nomem(err, n * sizeof *x);
    }
    memcpy(x, values, n * sizeof *x);
    r->v[tensor] = x;
    return QX_OK;
}

enum qx_status qx_rewrite_bias(struct qx_rewrite *r, int layer, const float *bias,
                               struct qx_error *err)
{
    double by;
    float *v = NULL;
    const int64_t tensor = qx_net_layer_bias(r->net, layer, &by);
    if (tensor < 0) {
        return qx_fail(err, QX_EUNSUPPORTED, "layer '%.100s' has no bias that could take it",
                       r->net->layers[layer].name);
    }
    enum qx_status st = take(r, tensor, &v, err);
    for (int64_t o = 0; st == QX_OK && o < r->net->layers[layer].channels.count; o++) {
        v[o] = (float)((double)v[o] + (double)bias[o] / by);
    }
    return st;
}

/* Stored vector of n values of a node's input; NULL in *out where the node has none. */
static enum qx_status vector_take(struct qx_rewrite *r, const struct qx_node *node, int input,
                                  int64_t n, float **out, struct qx_error *err)
{
    const struct qx_value *v = input < node->n_in ? node->in[input] : NULL;
    *out = NULL;
    if (!v) {
        return QX_OK;
    }
    if (v->tensor < 0 || qx_shape_numel(&v->shape, 1) != n) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "input %d of node '%.100s' has no value of an output each", input,
                       node->name);
    }
    return take(r, v->tensor, out, err);
}

/* Rows of a layer's weight times f. */
static enum qx_status rows_scale(struct qx_rewrite *r, int layer, const double *f,
                                 struct qx_error *err)
{
    const struct qx_layer *l = &r->net->layers[layer];
    const struct qx_channels c = l->channels;
    float *w;
    enum qx_status st = take(r, l->tensor, &w, err);
    for (int64_t i = 0; st == QX_OK && i < c.outer * c.count * c.inner; i++) {
        w[i] = (float)((double)w[i] * f[i / c.inner % c.count]);
    }
    return st;
}

/* x (scaled by 1 / f already), through the normalization y = (x - mean) gamma / deviation + beta, becomes one
 * shift: the weight takes gamma / deviation / f, the bias the rest. Afterwards it leaves values alone. */
static enum qx_status batchnorm_take(struct qx_rewrite *r, const struct qx_node *node,
                                     const float *factor, int64_t n, double *f,
                                     struct qx_error *err)
{
    float *v[5] = {NULL};
    const double epsilon = qx_node_attr(node, "epsilon")->f;
    enum qx_status st = QX_OK;
    for (int k = 1; st == QX_OK && k < 5; k++) {
        st = vector_take(r, node, k, n, &v[k], err);
    }
    if (st != QX_OK || !v[1] || !v[2] || !v[3] || !v[4]) {
        return st == QX_OK ? QX_EUNSUPPORTED : st;
    }
    for (int64_t c = 0; c < n; c++) {
        const double g = (double)v[1][c] / sqrt((double)v[4][c] + epsilon);
        f[c] = g / (double)factor[c];
        v[2][c] = (float)(((double)v[2][c] - (double)v[3][c] * g) / (double)factor[c]);
        v[1][c] = 1.0f;
        v[3][c] = 0.0f;
        v[4][c] = (float)(1.0 - epsilon);
    }
    return QX_OK;
}

/* Shifts of the producer's outputs before the normalization: they scale as the weight does. */
static enum qx_status shift_scale(struct qx_rewrite *r, const struct qx_node *node, int input,
                                  const double *f, int64_t n, struct qx_error *err)
{
    float *v;
    enum qx_status st = vector_take(r, node, input, n, &v, err);
    for (int64_t c = 0; st == QX_OK && v && c < n; c++) {
        v[c] = (float)((double)v[c] * f[c]);
    }
    return st;
}

static enum qx_status layer_divide(struct qx_rewrite *r, const struct qx_net_link *link,
                                   const float *factor, double *f, struct qx_error *err)
{
    const struct qx_net *net = r->net;
    const int64_t n = link->n_out;
    enum qx_status st = QX_OK;
    bool is_inside = true; /* before the batch normalization, counted from the output's side */
    for (int64_t c = 0; c < n; c++) {
        f[c] = 1.0 / (double)factor[c];
    }
    for (int i = 0; st == QX_OK && i < link->n_affine; i++) { /* the last of them comes first */
        const struct qx_node *node = net->nodes[link->affine[i]];
        if (!qx_node_is(node, "BatchNormalization")) {
            st = shift_scale(r, node, 1, f, n, err);
        } else if (is_inside) {
            st = batchnorm_take(r, node, factor, n, f, err);
            is_inside = false;
        } else {
            st = qx_fail(err, QX_EUNSUPPORTED, "two batch normalizations follow each other");
        }
    }
    if (st == QX_OK) {
        st = shift_scale(r, net->nodes[link->node], 2, f, n, err);
    }
    return st == QX_OK ? rows_scale(r, link->producer, f, err) : st;
}

enum qx_status qx_rewrite_outputs(struct qx_rewrite *r, const struct qx_net_link *link,
                                  const float *factor, struct qx_error *err)
{
    double *f = qx_mem_array((size_t)link->n_out + 1, sizeof *f);
    enum qx_status st = f ? QX_OK : qx_fail_nomem(err, (size_t)link->n_out * sizeof *f);
    if (st == QX_OK && link->producer >= 0) {
        st = layer_divide(r, link, factor, f, err);
    } else if (st == QX_OK) {
        for (int64_t c = 0; c < link->n_out; c++) {
            f[c] = 1.0 / (double)factor[c];
        }
        for (int k = 1; st == QX_OK && k < 3; k++) {
            st = shift_scale(r, r->net->nodes[link->node], k, f, link->n_out, err);
        }
    }
    qx_mem_free(f);
    return st;
}

enum qx_status qx_rewrite_inputs(struct qx_rewrite *r, int layer, const float *factor,
                                 struct qx_error *err)
{
    const struct qx_layer *l = &r->net->layers[layer];
    const struct qx_channels c = l->channels;
    struct qx_net_product p;
    float *w = NULL;
    if (!qx_net_layer_product(r->net, layer, &p)) {
        return qx_fail(err, QX_EUNSUPPORTED, "'%.100s' multiplies no inputs", l->name);
    }
    enum qx_status st = take(r, l->tensor, &w, err);
    for (int64_t i = 0; st == QX_OK && i < c.outer * c.count * c.inner; i++) {
        const int64_t row = i / c.inner % c.count;
        const int64_t j = i / (c.inner * c.count) * c.inner + i % c.inner;
        w[i] *= factor[row / p.n * (p.k / p.taps) + j / p.taps];
    }
    return st;
}

enum qx_status qx_weights_rewrite(struct qx_weights *w, const struct qx_rewrite *r,
                                  struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < w->net->n_values; i++) {
        const int64_t tensor = w->net->values[i]->tensor;
        const float *x = tensor >= 0 && r ? r->v[tensor] : NULL;
        if (tensor >= 0 && w->net->layer_of_tensor[tensor] >= 0) {
            st = qx_weights_put(w, w->net->layer_of_tensor[tensor], x, NULL, err);
        } else if (tensor >= 0) {
            w->values[i].data = x ? x : w->values[i].stored;
        }
    }
    return st;
}
