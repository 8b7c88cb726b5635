/* What a linear layer multiplies, as the columns of a matrix product. */
#include "net/exec.h"
#include "net/graph.h"
#include "net/window.h"

#include "qx/net.h"

#include <string.h>

int qx_net_layer_node(const struct qx_net *net, int layer)
{
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        if (qx_node_feeds(net, node, layer)) {
            return i;
        }
    }
    return -1;
}

static bool window_of(const struct qx_node *node, struct qx_window *w)
{
    const struct qx_shape *x = &node->in[0]->shape;
    return x->batch == 0 && x->dim[0] == 1 && x->lead == 1 &&
           qx_window_of(node, x, &node->in[1]->shape.dim[2], w, NULL) == QX_OK;
}

bool qx_net_layer_product(const struct qx_net *net, int layer, struct qx_net_product *out)
{
    const int at = layer >= 0 && layer < net->n_layers ? qx_net_layer_node(net, layer) : -1;
    const struct qx_node *node = at >= 0 ? net->nodes[at] : NULL;
    struct qx_channels input;
    struct qx_window w;
    if (!node || !qx_net_layer_input(net, layer, &input)) {
        return false;
    }
    const struct qx_channels *c = &net->layers[layer].channels;
    *out = (struct qx_net_product){.groups = 1,
                                   .n = c->count,
                                   .k = c->outer * c->inner,
                                   .places = input.outer,
                                   .taps = 1,
                                   .input = node->in[0]->index};
    if (!qx_node_is(node, "Conv")) {
        return input.count == out->k && input.inner == 1;
    }
    if (!window_of(node, &w)) {
        return false;
    }
    out->groups = qx_node_attr(node, "group")->i;
    out->n = c->count / out->groups;
    out->places = w.oh * w.ow;
    out->taps = w.kh * w.kw;
    out->input = -1 - layer; /* another window makes other columns */
    out->is_padded = w.top > 0 || w.left > 0 || w.bottom > 0 || w.right > 0;
    return true;
}

static int64_t window_columns(const struct qx_window *w, const float *x, int64_t icg, float *out)
{
    for (int64_t y = 0; y < w->oh; y++) {
        for (int64_t z = 0; z < w->ow; z++) {
            for (int64_t c = 0; c < icg; c++) {
                for (int64_t i = 0; i < w->kh; i++) {
                    for (int64_t j = 0; j < w->kw; j++) {
                        const int64_t h = y * w->sh - w->top + i * w->dh;
                        const int64_t v = z * w->sw - w->left + j * w->dw;
                        const bool is_inside = h >= 0 && h < w->h && v >= 0 && v < w->w;
                        *out++ = is_inside ? x[(c * w->h + h) * w->w + v] : 0.0f;
                    }
                }
            }
        }
    }
    return w->oh * w->ow;
}

int64_t qx_net_layer_columns(const struct qx_net *net, const struct qx_net_seen *seen, int64_t row,
                             int64_t group, float *out)
{
    const struct qx_node *node = net->nodes[qx_net_layer_node(net, seen->layer)];
    const struct qx_channels *c = &net->layers[seen->layer].channels;
    const float *x = seen->x + seen->begin[row];
    const int64_t n = seen->begin[row + 1] - seen->begin[row], k = c->outer * c->inner;
    struct qx_window w;
    if (!qx_node_is(node, "Conv")) {
        memcpy(out, x, (size_t)n * sizeof *out);
        return n / k;
    }
    if (!window_of(node, &w)) {
        return 0;
    }
    const int64_t icg = k / (w.kh * w.kw);
    return window_columns(&w, x + group * icg * w.h * w.w, icg, out);
}
