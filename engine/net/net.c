/* What others see of a network. */
#include "exec.h"
#include "graph.h"
#include "wide.h"

#include "base/mem.h"

#include <stddef.h>

void qx_net_close(struct qx_net **net)
{
    if (!net || !*net) {
        return;
    }
    qx_wide_free((*net)->wide);
    qx_names_release(&(*net)->value_names);
    qx_names_release(&(*net)->node_names);
    qx_mem_free((*net)->values);
    qx_mem_free((*net)->nodes);
    qx_arena_release(&(*net)->arena);
    qx_mem_free(*net);
    *net = NULL;
}

const struct qx_model *qx_net_model(const struct qx_net *net)
{
    return net->model;
}

const char *qx_net_name(const struct qx_net *net)
{
    return net->name;
}

const char *qx_net_arch(const struct qx_net *net)
{
    return net->arch;
}

const char *qx_net_task(const struct qx_net *net)
{
    return net->task;
}

int qx_net_n_layers(const struct qx_net *net)
{
    return net->n_layers;
}

const struct qx_layer *qx_net_layer(const struct qx_net *net, int i)
{
    return i >= 0 && i < net->n_layers ? &net->layers[i] : NULL;
}

static bool is_tensor(const struct qx_net *net, int64_t tensor)
{
    return tensor >= 0 && tensor < qx_model_n_tensors(net->model);
}

int qx_net_layer_beside(const struct qx_net *net, int64_t tensor)
{
    const int value = is_tensor(net, tensor) ? net->value_of_tensor[tensor] : -1;
    int last = -1;
    for (int i = 0; value >= 0 && i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        const int w = node->op->weight;
        if (w >= 0 && node->in[w] && node->in[w]->tensor >= 0) {
            const int layer = net->layer_of_tensor[node->in[w]->tensor];
            last = layer >= 0 ? layer : last;
        }
        for (int k = 0; k < node->n_in; k++) {
            if (node->in[k] == net->values[value]) {
                return last;
            }
        }
    }
    return -1;
}

int qx_net_layer_of_tensor(const struct qx_net *net, int64_t tensor)
{
    return is_tensor(net, tensor) ? net->layer_of_tensor[tensor] : -1;
}

bool qx_node_is_tapped(const struct qx_node *node)
{
    return node->op->weight == 1 && node->op->role == QX_ROLE_LINEAR && node->in[1]->tensor >= 0 &&
           node->in[0]->tensor < 0;
}

bool qx_node_feeds(const struct qx_net *net, const struct qx_node *node, int layer)
{
    return layer >= 0 && qx_node_is_tapped(node) &&
           net->layer_of_tensor[node->in[1]->tensor] == layer;
}

bool qx_net_layer_is_end(const struct qx_net *net, int layer, bool is_last)
{
    const struct qx_node *end = NULL;
    for (int i = 0; i < net->n_nodes; i++) {
        if (qx_node_is_tapped(net->nodes[i]) && (!end || is_last)) {
            end = net->nodes[i];
        }
    }
    for (int i = 0; end && i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        if (qx_node_feeds(net, node, layer) &&
            (node == end || (!is_last && node->in[0] == end->in[0]))) {
            return true;
        }
    }
    return false;
}

void qx_node_begins(const struct qx_node *node, const struct qx_extent *e, int64_t *begin)
{
    begin[0] = 0;
    for (int64_t r = 0; r < e->rows; r++) {
        const int64_t start[2] = {0, e->start ? e->start[r + 1] - e->start[r] : 0};
        const struct qx_extent one = {1, e->start ? start : NULL};
        begin[r + 1] = begin[r] + qx_shape_count(&node->in[0]->shape, &one);
    }
}

int64_t qx_net_tile_rows(const struct qx_net *net)
{
    return net->plan.tile_rows;
}

bool qx_net_layer_input(const struct qx_net *net, int layer, struct qx_channels *out)
{
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        if (!qx_node_feeds(net, node, layer)) {
            continue;
        }
        const struct qx_shape *s = &node->in[0]->shape;
        const int64_t n = qx_shape_numel(s, 1);
        const bool is_conv = qx_node_is(node, "Conv");
        const int64_t count = s->dim[is_conv ? 1 : s->rank - 1];
        if (count < 1) {
            return false;
        }
        *out = (struct qx_channels){is_conv ? 1 : n / count, count, is_conv ? n / count : 1};
        return true;
    }
    return false;
}

int qx_net_layer_reads(const struct qx_net *net, int layer)
{
    int value = -1;
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        if (qx_node_feeds(net, node, layer)) {
            if (value >= 0 && value != node->in[0]->index) {
                return -1;
            }
            value = node->in[0]->index;
        }
    }
    return value;
}

int64_t qx_net_places(const struct qx_net *net, const float *row)
{
    const int64_t most = qx_shape_numel(&net->input->shape, 1);
    int64_t n = 0;
    for (int64_t i = 0; i < most; i++) {
        n += row[i] != -1.0f;
    }
    return n;
}

bool qx_net_uses_tensor(const struct qx_net *net, int64_t tensor)
{
    return is_tensor(net, tensor) && net->value_of_tensor[tensor] >= 0;
}

int qx_net_n_classes(const struct qx_net *net)
{
    return net->n_classes;
}

const char *qx_net_class_name(const struct qx_net *net, int c)
{
    return c >= 0 && c < net->n_classes ? net->class_names[c] : "?";
}

const char *qx_net_train_data(const struct qx_net *net)
{
    return net->train_data;
}

const char *qx_net_train_augment(const struct qx_net *net)
{
    return net->train_augment;
}

int64_t qx_net_window(const struct qx_net *net)
{
    const int64_t places = qx_net_sample_size(net);
    return net->asked_context > 0 || places < QX_CONTEXT_LEAST ? places : QX_CONTEXT_LEAST;
}

int64_t qx_net_sample_size(const struct qx_net *net)
{
    return qx_shape_numel(&net->input->shape, 1);
}

int qx_net_input_shape(const struct qx_net *net, const int64_t **dim)
{
    *dim = net->input->shape.dim + 1;
    return net->input->shape.rank - 1;
}

bool qx_net_input_is_ids(const struct qx_net *net)
{
    return net->input->is_ids;
}

bool qx_net_is_words(const struct qx_net *net)
{
    return net->output->shape.is_ragged;
}

bool qx_net_ends_text(const struct qx_net *net, int32_t id)
{
    for (int i = 0; i < net->n_ends; i++) {
        if (net->ends[i] == id) {
            return true;
        }
    }
    return false;
}

bool qx_net_input_is_sequence(const struct qx_net *net)
{
    return net->has_places;
}

int64_t qx_net_macs(const struct qx_net *net)
{
    int64_t sum = 0;
    for (int i = 0; i < net->n_nodes; i++) {
        sum += net->nodes[i]->macs;
    }
    return sum;
}
