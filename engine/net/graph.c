#include "graph.h"

#include "wide.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

/* Room for one more pointer in a list. False when out of memory. */
static bool reserve(void **list, int n, int *cap)
{
    if (n < *cap) {
        return true;
    }
    int wanted = *cap ? 2 * *cap : 64;
    void *p = qx_mem_realloc(*list, (size_t)wanted * sizeof(void *));
    if (!p) {
        return false;
    }
    *list = p;
    *cap = wanted;
    return true;
}

static enum qx_status value_add(struct qx_net *net, const char *name, struct qx_value **out,
                                struct qx_error *err)
{
    struct qx_value *v = qx_arena_alloc(&net->arena, sizeof *v);
    char *copy = qx_arena_strdup(&net->arena, name);
    if (!v || !copy || !reserve((void **)&net->values, net->n_values, &net->cap_values) ||
        !qx_names_add(&net->value_names, copy, net->n_values)) {
        return qx_fail_nomem(err, sizeof *v);
    }
    *v = (struct qx_value){.name = copy, .tensor = -1, .index = net->n_values};
    v->shape.batch = -1;
    net->values[net->n_values++] = v;
    *out = v;
    return QX_OK;
}

/* A new value that no tensor hides. */
static enum qx_status value_new(struct qx_net *net, const char *name, struct qx_value **out,
                                struct qx_error *err)
{
    if (name[0] == '\0') {
        return qx_fail(err, QX_EFORMAT, "the output has no name");
    }
    if (qx_model_find(net->model, name) >= 0) {
        return qx_fail(err, QX_EFORMAT, "the value '%.100s' has the name of a tensor", name);
    }
    if (qx_names_find(&net->value_names, name) >= 0) {
        return qx_fail(err, QX_EFORMAT, "the value '%.100s' is defined twice", name);
    }
    return value_add(net, name, out, err);
}

/* First use of a tensor of the model as an initializer. */
static enum qx_status value_of_tensor(struct qx_net *net, int64_t index, struct qx_value **out,
                                      struct qx_error *err)
{
    const struct qx_tensor *t = qx_model_tensor(net->model, index);
    const struct qx_dtype_info *info = qx_dtype_get(t->dtype);
    if (!info->is_readable || t->reason) {
        return qx_fail(err, QX_EUNSUPPORTED, "the tensor '%.100s' of dtype %s cannot be used: %s",
                       t->name, info->name, t->reason ? t->reason : "its values cannot be read");
    }
    if (t->rank > QX_SHAPE_RANK) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "the tensor '%.100s' has %d axes; at most %d are possible", t->name, t->rank,
                       QX_SHAPE_RANK);
    }
    struct qx_shape shape = {.rank = t->rank, .batch = -1};
    if (t->rank > 0) {
        memcpy(shape.dim, t->shape, (size_t)t->rank * sizeof shape.dim[0]);
    }
    enum qx_status st = qx_shape_check_axes(&shape, err);
    if (st != QX_OK) {
        qx_error_context(err, "the tensor '%.100s'", t->name);
        return st;
    }
    st = value_add(net, t->name, out, err);
    if (st == QX_OK) {
        (*out)->shape = shape;
        (*out)->is_ids = !info->is_float;
        (*out)->tensor = index;
        net->value_of_tensor[index] = (*out)->index;
    }
    return st;
}

static enum qx_status find_input(struct qx_net *net, const char *name, struct qx_value **out,
                                 struct qx_error *err)
{
    const int known = qx_names_find(&net->value_names, name);
    if (known >= 0) {
        *out = net->values[known];
        return QX_OK;
    }
    const int64_t tensor = qx_model_find(net->model, name);
    if (tensor >= 0) {
        return value_of_tensor(net, tensor, out, err);
    }
    return qx_fail(err, QX_EFORMAT,
                   "the input '%.100s' is neither the graph's input, nor the output of an earlier "
                   "node, nor a tensor of the model",
                   name);
}

enum qx_status qx_graph_input(struct qx_net *net, const char *name, const struct qx_shape *shape,
                              bool is_ids, struct qx_error *err)
{
    enum qx_status st = qx_shape_check(shape, err);
    if (st == QX_OK) {
        st = value_new(net, name, &net->input, err);
    }
    if (st == QX_OK) {
        net->input->shape = *shape;
        net->input->is_ids = is_ids;
    } else {
        qx_error_context(err, "graph input");
    }
    return st;
}

static enum qx_status check_arity(const struct qx_op *op, const struct qx_node_spec *spec,
                                  struct qx_error *err)
{
    const int n = spec->n_inputs;
    if (n >= op->min_in && n <= op->max_in) {
        return QX_OK;
    }
    if (op->min_in == op->max_in) {
        return qx_fail(err, QX_EFORMAT, "it has %d inputs; %d are needed", n, op->min_in);
    }
    return qx_fail(err, QX_EFORMAT, "it has %d inputs; %d to %d are needed", n, op->min_in,
                   op->max_in);
}

/* Look up the inputs and check presence and type of each. */
static enum qx_status connect(struct qx_net *net, struct qx_node *node,
                              const struct qx_node_spec *spec, struct qx_error *err)
{
    const struct qx_op *op = node->op;
    node->in = qx_arena_array(&net->arena, (size_t)spec->n_inputs, sizeof *node->in);
    if (!node->in) {
        return qx_fail_nomem(err, (size_t)spec->n_inputs * sizeof *node->in);
    }
    node->n_in = spec->n_inputs;
    for (int i = 0; i < spec->n_inputs; i++) {
        struct qx_value *v = NULL;
        if (spec->inputs[i][0] == '\0') {
            if (i < op->min_in || op->max_in == QX_NODE_INPUTS) {
                return qx_fail(err, QX_EFORMAT, "input %d is left out but needed", i);
            }
            continue;
        }
        enum qx_status st = find_input(net, spec->inputs[i], &v, err);
        if (st != QX_OK) {
            return st;
        }
        const bool needs_ids = i < 32 && (op->ids >> i & 1);
        if ((needs_ids || !op->any_type) && v->is_ids != needs_ids) {
            return qx_fail(err, QX_EFORMAT, "the input '%.100s' holds %s; %s are needed", v->name,
                           v->is_ids ? "integers" : "real numbers",
                           needs_ids ? "integers" : "real numbers");
        }
        if (i > 0 && op->any_type && !needs_ids && v->is_ids != node->in[0]->is_ids) {
            return qx_fail(err, QX_EFORMAT, "the inputs mix integers and real numbers");
        }
        node->in[i] = v;
    }
    return QX_OK;
}

/* Everything of a node whose operation is known. */
static enum qx_status node_fill(struct qx_net *net, struct qx_node *node,
                                const struct qx_node_spec *spec, struct qx_error *err)
{
    enum qx_status st = check_arity(node->op, spec, err);
    if (st == QX_OK) {
        st = connect(net, node, spec, err);
    }
    if (st != QX_OK) {
        return st;
    }
    const size_t n = node->op->n_attrs ? (size_t)node->op->n_attrs : 1;
    node->attr = qx_arena_array(&net->arena, n, sizeof *node->attr);
    if (!node->attr) {
        return qx_fail_nomem(err, n * sizeof *node->attr);
    }
    st = qx_attr_parse(node->op, spec->attrs, node->attr, err);
    if (st == QX_OK) {
        st = value_new(net, spec->output, &node->out, err);
    }
    if (st == QX_OK) {
        node->out->is_ids = node->op->any_type && node->in[0]->is_ids;
        st = node->op->shape(&(struct qx_infer){.node = node, .model = net->model}, err);
    }
    for (int i = 0; st == QX_OK && i < node->n_in; i++) {
        if (node->in[i] && node->in[i]->shape.is_ragged && !node->op->takes_places) {
            st = qx_fail(err, QX_EUNSUPPORTED,
                         "the input '%.100s' holds sequences, which it cannot take",
                         node->in[i]->name);
        }
    }
    if (st == QX_OK && node->out->shape.is_ragged && node->out->shape.batch != 0) {
        st = qx_fail(err, QX_EUNSUPPORTED, "its result would hold sequences along axis %d",
                     node->out->shape.batch);
    }
    net->has_places |= st == QX_OK && node->out->shape.is_ragged;
    return st == QX_OK ? qx_shape_check(&node->out->shape, err) : st;
}

/* "did you mean" for an operation. */
static enum qx_status fail_op(const char *op, struct qx_error *err)
{
    for (int i = 0; i < qx_op_count(); i++) {
        const char *name = qx_op_at(i)->name;
        if (qx_str_distance(op, name, 2) <= 2) {
            return qx_fail(err, QX_EUNSUPPORTED, "there is no operation '%.60s'; did you mean %s?",
                           op, name);
        }
    }
    return qx_fail(err, QX_EUNSUPPORTED, "the operation '%.60s' is not supported", op);
}

enum qx_status qx_graph_node(struct qx_net *net, const struct qx_node_spec *spec,
                             struct qx_error *err)
{
    if (net->n_nodes == QX_GRAPH_NODES_MAX) {
        return qx_fail(err, QX_EUNSUPPORTED, "more than %d nodes", QX_GRAPH_NODES_MAX);
    }
    struct qx_node *node = qx_arena_alloc(&net->arena, sizeof *node);
    char *name = qx_arena_strdup(&net->arena, spec->name);
    if (!node || !name || !reserve((void **)&net->nodes, net->n_nodes, &net->cap_nodes)) {
        return qx_fail_nomem(err, sizeof *node);
    }
    enum qx_status st = QX_OK;
    node->name = name;
    node->op = qx_op_find(spec->op);
    if (qx_names_find(&net->node_names, name) >= 0) {
        st = qx_fail(err, QX_EFORMAT, "another node has this name");
    } else if (!qx_names_add(&net->node_names, name, net->n_nodes)) {
        st = qx_fail_nomem(err, sizeof *node);
    } else {
        st = node->op ? node_fill(net, node, spec, err) : fail_op(spec->op, err);
    }
    if (st != QX_OK) {
        qx_error_context(err, "node '%.100s' (%.40s)", name, spec->op);
        return st;
    }
    net->nodes[net->n_nodes++] = node;
    return QX_OK;
}

/* ---- layers ---- */

/* The weight of a node, as a layer: a new one, or the one that already owns the tensor. */
static void layer_add(struct qx_net *net, const struct qx_node *node)
{
    const struct qx_op *op = node->op;
    const struct qx_value *v = op->weight >= 0 ? node->in[op->weight] : NULL;
    if (!v || v->tensor < 0 || v->is_ids) {
        return;
    }
    const int old = net->layer_of_tensor[v->tensor];
    struct qx_layer *layer = &net->layers[old < 0 ? net->n_layers : old];
    if (old < 0) {
        net->layer_of_tensor[v->tensor] = net->n_layers++;
        *layer = (struct qx_layer){.name = node->name,
                                   .op = op->name,
                                   .tensor = v->tensor,
                                   .role = op->role,
                                   .axis = op->weight_axis(node)};
    } else if (op->role == QX_ROLE_EMBEDDING) {
        /* A tied head is an embedding (model-folder.md section 5). */
        layer->role = op->role;
        layer->axis = op->weight_axis(node);
    }
    layer->macs += node->macs;
    layer->channels = qx_channels_of(qx_model_tensor(net->model, v->tensor), layer->axis);
}

static enum qx_status layers_find(struct qx_net *net, struct qx_error *err)
{
    const size_t n = (size_t)net->n_nodes + 1;
    net->layers = qx_arena_array(&net->arena, n, sizeof *net->layers);
    if (!net->layers) {
        return qx_fail_nomem(err, n * sizeof *net->layers);
    }
    for (int i = 0; i < net->n_nodes; i++) {
        layer_add(net, net->nodes[i]);
    }
    return QX_OK;
}

/* ---- output and classes ---- */

static enum qx_status set_classes(struct qx_net *net, const char *const *names, int n_names,
                                  struct qx_error *err)
{
    const struct qx_shape *s = &net->output->shape;
    if (net->output->is_ids || s->rank != 2 || s->batch != 0 || s->lead != 1 ||
        (s->dim[0] != 1 && !s->is_ragged)) {
        char text[QX_SHAPE_TEXT];
        return qx_fail(err, QX_EFORMAT, "the graph's output '%.100s' is %s; [N, classes] is needed",
                       net->output->name, qx_shape_text(s, text));
    }
    net->n_classes = (int)s->dim[1];
    if (n_names != 0 && n_names != net->n_classes) {
        return qx_fail(err, QX_EFORMAT, "there are %d labels for an output of %d classes", n_names,
                       net->n_classes);
    }
    const size_t n = (size_t)net->n_classes;
    net->class_names = qx_arena_array(&net->arena, n, sizeof *net->class_names);
    for (size_t c = 0; net->class_names && c < n; c++) {
        net->class_names[c] = n_names ? qx_arena_strdup(&net->arena, names[c])
                                      : qx_arena_printf(&net->arena, "%zu", c);
        if (!net->class_names[c]) {
            return qx_fail_nomem(err, 16);
        }
    }
    return net->class_names ? QX_OK : qx_fail_nomem(err, n * sizeof *net->class_names);
}

enum qx_status qx_graph_finish(struct qx_net *net, const char *output, const char *const *names,
                               int n_names, struct qx_error *err)
{
    const int i = qx_names_find(&net->value_names, output);
    if (i < 0) {
        return qx_fail(err, QX_EFORMAT, "no node gives the graph's output '%.100s'", output);
    }
    net->output = net->values[i];
    enum qx_status st = set_classes(net, names, n_names, err);
    if (st == QX_OK) {
        st = layers_find(net, err);
    }
    if (st == QX_OK) {
        st = qx_wide_new(net->n_values, &net->wide, err);
    }
    return st == QX_OK ? qx_plan_make(net, err) : st;
}
