/* From the inputs of a layer back to where each of them comes from. */
#include "qx/links.h"

#include "net/exec.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

struct walk {
    const struct qx_net *net;
    struct qx_net_link *link;
    const struct qx_value *at; /* whose channels link->channel names ... */
    int axis;                  /* ... along this axis */
    const char *why;           /* it ends here; NULL: it goes on */
};

static int filler_of(const struct qx_net *net, const struct qx_value *v)
{
    for (int i = 0; i < net->n_nodes; i++) {
        if (net->nodes[i]->out == v) {
            return i;
        }
    }
    return -1;
}

/* How many inputs of nodes (and the output) a value is; *linear: those that are layers' inputs. */
static int readers_of(const struct qx_net *net, const struct qx_value *v, int *linear)
{
    int n = v == net->output;
    *linear = 0;
    for (int i = 0; i < net->n_nodes; i++) {
        for (int k = 0; k < net->nodes[i]->n_in; k++) {
            if (net->nodes[i]->in[k] == v) {
                n++;
                *linear += k == 0 && qx_node_is_tapped(net->nodes[i]);
            }
        }
    }
    return n;
}

static bool is_one_of(const struct qx_node *node, const char *const *names)
{
    for (; *names; names++) {
        if (qx_node_is(node, *names)) {
            return true;
        }
    }
    return false;
}

/* A view from [1, c, ...] to [1, c ...]: each channel is a run of places. */
static bool is_flatten(const struct qx_node *node)
{
    const struct qx_shape *x = &node->in[0]->shape, *y = &node->out->shape;
    return x->batch == 0 && x->dim[0] == 1 && x->lead == 1 && y->batch == 0 && y->dim[0] == 1 &&
           y->lead == 1 && x->rank >= 2 && y->rank == 2;
}

static void flatten(struct walk *w, const struct qx_node *node)
{
    const struct qx_shape *x = &node->in[0]->shape;
    const int64_t places = qx_shape_span(x, 2, x->rank);
    for (int64_t j = 0; j < w->link->n_in; j++) {
        w->link->channel[j] = (int32_t)(w->link->channel[j] / places);
    }
    w->at = node->in[0];
}

/* Each head of the queries reads the values of its group's head. */
static void attend(struct walk *w, const struct qx_node *node)
{
    const int64_t heads = qx_node_attr(node, "q_num_heads")->i;
    const int64_t per = heads / qx_node_attr(node, "kv_num_heads")->i;
    const struct qx_shape *v = &node->in[2]->shape;
    const int64_t d = v->dim[v->rank - 1] * per / heads;
    for (int64_t j = 0; j < w->link->n_in; j++) {
        const int64_t c = w->link->channel[j];
        w->link->channel[j] = (int32_t)(c / d / per * d + c % d);
    }
    w->at = node->in[2];
}

static bool is_layer(const struct qx_net *net, const struct qx_node *node)
{
    return qx_node_is_tapped(node) && net->layer_of_tensor[node->in[1]->tensor] >= 0;
}

static int channel_axis(const struct qx_node *node, const struct qx_value *v)
{
    return qx_node_is(node, "Conv") ? 1 : v->shape.rank - 1;
}

/* Does the operation add or multiply one stored value for each channel along the axis? */
static bool is_affine(const struct qx_node *node, const struct qx_value *at, int axis)
{
    if (qx_node_is(node, "BatchNormalization")) {
        return axis == 1;
    }
    const struct qx_value *c = qx_node_is(node, "Add") ? node->in[1] : NULL;
    const int64_t n = at->shape.dim[at->shape.rank - 1];
    return axis == at->shape.rank - 1 && c && c->tensor >= 0 && c->shape.rank >= 1 &&
           c->shape.dim[c->shape.rank - 1] == n && qx_shape_numel(&c->shape, 1) == n;
}

static int weight_readers(const struct qx_net *net, const struct qx_node *node)
{
    int linear;
    return readers_of(net, node->in[1], &linear);
}

/* A layer, a normalization, or a node that scales with the layer before it. */
static bool arrives(struct walk *w, int i)
{
    static const char *const norms[] = {"LayerNormalization", "RMSNormalization", NULL};
    const struct qx_node *node = w->net->nodes[i];
    struct qx_net_link *link = w->link;
    const struct qx_shape *s = &node->out->shape;
    if (is_layer(w->net, node)) {
        link->producer = w->net->layer_of_tensor[node->in[1]->tensor];
        link->n_out = w->net->layers[link->producer].channels.count;
        w->why = weight_readers(w->net, node) > 1 ? "the weight before it is used elsewhere too"
                 : channel_axis(node, w->at) != w->axis
                     ? "the layer before it has its outputs along another axis"
                     : NULL;
    } else if (is_one_of(node, norms) && link->n_affine == 0 && !link->is_rectified) {
        const int64_t axis = qx_node_attr(node, "axis")->i;
        link->n_out = s->dim[s->rank - 1];
        w->why = (axis == -1 || axis == s->rank - 1) && w->axis == s->rank - 1
                     ? NULL
                     : "what normalizes before it has other axes";
        if (!w->why && weight_readers(w->net, node) > 1) {
            w->why = "the factors of what normalizes before it are used elsewhere too";
        }
    } else {
        return false;
    }
    link->node = i;
    return true;
}

/* Before the operation that fills w->at. */
static void step(struct walk *w, const struct qx_node *node, int i)
{
    static const char *const passing[] = {
        "Relu",          "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool",
        "GlobalMaxPool", "Identity",  NULL};
    struct qx_net_link *link = w->link;
    if (is_affine(node, w->at, w->axis) && link->n_affine < QX_LINK_AFFINE) {
        link->affine[link->n_affine++] = i;
        w->at = node->in[0];
    } else if (link->n_affine > 0) {
        w->why = "something stands between a layer and its batch normalization";
    } else if (is_one_of(node, passing)) {
        link->is_rectified |= qx_node_is(node, "Relu");
        link->is_direct &= qx_node_is(node, "Relu") || qx_node_is(node, "Identity");
        w->at = node->in[0];
    } else if (qx_node_is(node, "Flatten") && w->axis == 1 && is_flatten(node)) {
        flatten(w, node);
    } else if (qx_node_is(node, "Attention")) {
        link->is_direct = false;
        attend(w, node);
    } else if (qx_node_is(node, "Mul") && node->in[0]->tensor < 0 && node->in[1]->tensor < 0 &&
               qx_shape_equal(&node->in[0]->shape, &node->in[1]->shape)) {
        const int first = filler_of(w->net, node->in[0]);
        link->is_direct = false;
        w->at = node->in[first >= 0 && is_layer(w->net, w->net->nodes[first]) ? 0 : 1];
    } else {
        w->why = "what lies before it does not pass factors of channels on";
    }
}

static void walk(struct walk *w)
{
    int linear;
    while (!w->why) {
        const int i = filler_of(w->net, w->at);
        const int n = readers_of(w->net, w->at, &linear);
        if (i < 0) {
            w->why = "its inputs are those of the network";
        } else if (arrives(w, i)) {
            if (!w->why && n > 1 && (w->link->producer >= 0 || n > linear)) {
                w->why = "others read its inputs too";
            }
            return;
        } else if (n > 1) {
            w->why = "others read its inputs too";
        } else {
            step(w, w->net->nodes[i], i);
        }
    }
}

static bool is_in_bounds(const struct qx_net_link *link)
{
    for (int64_t j = 0; j < link->n_in; j++) {
        if (link->channel[j] >= link->n_out) {
            return false;
        }
    }
    return true;
}

enum qx_status qx_net_link(const struct qx_net *net, int layer, struct qx_net_link *out,
                           struct qx_error *err)
{
    struct qx_net_link link = {.consumer = layer, .producer = -1, .is_direct = true};
    struct walk w = {.net = net, .link = &link};
    struct qx_net_product p;
    const int i = qx_net_layer_node(net, layer);
    if (i < 0 || !qx_net_layer_product(net, layer, &p)) {
        return qx_fail(err, QX_EUNSUPPORTED, "it multiplies no inputs that could be looked at");
    }
    link.n_in = p.groups * p.k / p.taps;
    link.channel = qx_mem_array((size_t)link.n_in + 1, sizeof *link.channel);
    if (!link.channel) {
        return qx_fail_nomem(err, (size_t)link.n_in * sizeof *link.channel);
    }
    for (int64_t j = 0; j < link.n_in; j++) {
        link.channel[j] = (int32_t)j;
    }
    w.at = net->nodes[i]->in[0];
    w.axis = channel_axis(net->nodes[i], w.at);
    w.why = weight_readers(net, net->nodes[i]) > 1 ? "its weight is used elsewhere too" : NULL;
    walk(&w);
    if (!w.why && !is_in_bounds(&link)) {
        w.why = "what lies before it does not pass factors of channels on";
    }
    if (w.why) {
        qx_net_link_release(&link);
        return qx_fail(err, QX_EUNSUPPORTED, "%s", w.why);
    }
    *out = link;
    return QX_OK;
}

void qx_net_link_release(struct qx_net_link *link)
{
    qx_mem_free(link->channel);
    link->channel = NULL;
}

static bool batchnorm_fill(const struct qx_net *net, int i, struct qx_net_batchnorm *out)
{
    const struct qx_node *node = net->nodes[i];
    int64_t *const tensor[4] = {&out->gamma, &out->beta, &out->mean, &out->variance};
    out->node = i;
    out->n = node->in[1]->shape.rank == 1 ? node->in[1]->shape.dim[0] : -1;
    out->epsilon = qx_node_attr(node, "epsilon")->f;
    for (int k = 0; k < 4; k++) {
        const struct qx_value *v = node->in[k + 1];
        *tensor[k] = v->tensor;
        if (v->tensor < 0 || v->shape.rank != 1 || v->shape.dim[0] != out->n) {
            return false;
        }
    }
    return true;
}

bool qx_net_layer_batchnorm(const struct qx_net *net, int layer, struct qx_net_batchnorm *out)
{
    const int first = qx_net_layer_node(net, layer);
    const struct qx_value *v = first >= 0 ? net->nodes[first]->out : NULL;
    int linear;
    for (int i = first + 1; v && i < net->n_nodes && readers_of(net, v, &linear) == 1; i++) {
        const struct qx_node *node = net->nodes[i];
        if (node->n_in == 0 || node->in[0] != v) {
            continue;
        }
        if (qx_node_is(node, "BatchNormalization")) {
            return batchnorm_fill(net, i, out) && out->n == net->layers[layer].channels.count;
        }
        v = is_affine(node, v, channel_axis(net->nodes[first], v)) ? node->out : NULL;
    }
    return false;
}

/* Stored values of input `in` of a node, [n], read there alone. */
static int64_t own_vector(const struct qx_net *net, const struct qx_node *node, int in, int64_t n)
{
    const struct qx_value *v = in < node->n_in ? node->in[in] : NULL;
    int linear;
    return v && v->tensor >= 0 && qx_shape_numel(&v->shape, 1) == n &&
                   readers_of(net, v, &linear) == 1
               ? v->tensor
               : -1;
}

int64_t qx_net_layer_bias(const struct qx_net *net, int layer, double *by)
{
    const int i = qx_net_layer_node(net, layer);
    const struct qx_node *node = i >= 0 ? net->nodes[i] : NULL;
    const int64_t n = net->layers[layer].channels.count;
    struct qx_net_batchnorm b;
    int linear;
    *by = 1.0;
    if (!node) {
        return -1;
    }
    if (node->n_in > 2 && node->in[2]) {
        *by = qx_node_is(node, "Gemm") ? qx_node_attr(node, "beta")->f : 1.0;
        return *by != 0.0 ? own_vector(net, node, 2, n) : -1;
    }
    if (readers_of(net, node->out, &linear) != 1) {
        return -1;
    }
    for (int k = i + 1; k < net->n_nodes; k++) {
        const struct qx_node *next = net->nodes[k];
        if (next->n_in > 1 && next->in[0] == node->out && qx_node_is(next, "Add") &&
            is_affine(next, node->out, channel_axis(node, node->out))) {
            return own_vector(net, next, 1, n);
        }
    }
    if (!qx_net_layer_batchnorm(net, layer, &b) || net->nodes[b.node]->in[0] != node->out) {
        return -1;
    }
    *by = -1.0;
    return own_vector(net, net->nodes[b.node], 3, n);
}
