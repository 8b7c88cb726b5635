/* What the inputs of a layer are on average, without any data: what a batch normalization gives out is taken for
 * normal with mean beta and deviation |gamma|; a Relu or a Clip behind it cuts that (Nagel et al. 2019,
 * arXiv 1906.04721, section 4.2.1 and appendix C). */
#include "qx/links.h"

#include "net/exec.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>

struct back {
    const struct qx_net *net;
    const struct qx_value *at;
    int64_t places; /* inputs next to each other that are one channel of `at` */
    double lo, hi;  /* what lies behind `at` keeps values between these */
};

static const struct qx_node *filler_of(const struct qx_net *net, const struct qx_value *v)
{
    for (int i = 0; i < net->n_nodes; i++) {
        if (net->nodes[i]->out == v) {
            return net->nodes[i];
        }
    }
    return NULL;
}

/* One bound of a Clip; false when it is no stored value. */
static bool bound_read(const struct qx_net *net, const struct qx_node *node, int input, double *out)
{
    const struct qx_value *v = input < node->n_in ? node->in[input] : NULL;
    float x;
    if (!v) {
        return true;
    }
    if (v->tensor < 0 ||
        qx_tensor_read(qx_model_tensor(net->model, v->tensor), 0, 1, &x, NULL) != QX_OK) {
        return false;
    }
    *out = (double)x;
    return true;
}

/* Before a node that cuts: averages do not pass it. */
static bool cut_by(struct back *b, const struct qx_node *node)
{
    double lo = 0.0, hi = INFINITY;
    if (qx_node_is(node, "Clip")) {
        lo = -INFINITY;
        if (!bound_read(b->net, node, 1, &lo) || !bound_read(b->net, node, 2, &hi)) {
            return false;
        }
    }
    lo = fmin(fmax(lo, b->lo), b->hi);
    b->hi = fmin(fmax(hi, b->lo), b->hi);
    b->lo = lo;
    return true;
}

/* Before the node that fills b->at; false: it says nothing of averages. */
static bool step(struct back *b, const struct qx_node *node)
{
    const bool is_cut = b->lo > -INFINITY || b->hi < INFINITY;
    if (qx_node_is(node, "Relu") || qx_node_is(node, "Clip")) {
        if (!cut_by(b, node)) {
            return false;
        }
    } else if (qx_node_is(node, "Flatten") && node->in[0]->shape.rank >= 2) {
        b->places *= qx_shape_span(&node->in[0]->shape, 2, node->in[0]->shape.rank);
    } else if (!qx_node_is(node, "Identity") &&
               !(qx_node_is(node, "GlobalAveragePool") && !is_cut)) {
        return false;
    }
    b->at = node->in[0];
    return true;
}

/* Back to the batch normalization; NULL: there is none. */
static const struct qx_node *normalization_of(struct back *b)
{
    const struct qx_node *node = filler_of(b->net, b->at);
    while (node && !qx_node_is(node, "BatchNormalization")) {
        node = step(b, node) ? filler_of(b->net, b->at) : NULL;
    }
    return node;
}

static double below(double z)
{
    return 0.5 * erfc(-z / sqrt(2.0));
}

static double density(double z)
{
    return exp(-0.5 * z * z) / sqrt(2.0 * acos(-1.0));
}

double qx_clipped_normal_mean(double mean, double deviation, double lo, double hi)
{
    if (!(deviation > 0.0)) {
        return fmin(fmax(mean, lo), hi);
    }
    const double a = (lo - mean) / deviation, b = (hi - mean) / deviation;
    const double at_lo = isinf(lo) ? 0.0 : lo * below(a);
    const double at_hi = isinf(hi) ? 0.0 : hi * below(-b);
    return at_lo + at_hi + mean * (below(b) - below(a)) + deviation * (density(a) - density(b));
}

enum qx_status qx_net_layer_expected(const struct qx_net *net, int layer, float *mean,
                                     struct qx_error *err)
{
    struct back b = {.net = net, .places = 1, .lo = -INFINITY, .hi = INFINITY};
    struct qx_net_product p;
    const int i = qx_net_layer_node(net, layer);
    if (i < 0 || !qx_net_layer_product(net, layer, &p)) {
        return qx_fail(err, QX_EUNSUPPORTED, "it multiplies no inputs that could be looked at");
    }
    b.at = net->nodes[i]->in[0];
    const struct qx_node *node = normalization_of(&b);
    const int64_t n = p.groups * p.k / p.taps, channels = n / b.places;
    const struct qx_value *gamma = node ? node->in[1] : NULL, *beta = node ? node->in[2] : NULL;
    if (!node || gamma->tensor < 0 || beta->tensor < 0 || channels * b.places != n ||
        qx_shape_numel(&gamma->shape, 1) != channels ||
        qx_shape_numel(&beta->shape, 1) != channels) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "no batch normalization in front of it says what its inputs are");
    }
    float *v = qx_mem_array((size_t)channels + 1, 2 * sizeof *v);
    const struct qx_model *model = net->model;
    enum qx_status st =
        v ? qx_tensor_read(qx_model_tensor(model, gamma->tensor), 0, channels, v, err)
          : qx_fail_nomem(err, (size_t)channels * 2 * sizeof *v);
    if (st == QX_OK) {
        st = qx_tensor_read(qx_model_tensor(model, beta->tensor), 0, channels, v + channels, err);
    }
    for (int64_t j = 0; st == QX_OK && j < n; j++) {
        const int64_t c = j / b.places;
        mean[j] =
            (float)qx_clipped_normal_mean((double)v[channels + c], fabs((double)v[c]), b.lo, b.hi);
    }
    qx_mem_free(v);
    return st;
}
