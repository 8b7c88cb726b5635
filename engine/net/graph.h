/* The network as a graph, and how architectures build it node by node. */
#ifndef QX_NET_GRAPH_H
#define QX_NET_GRAPH_H

#include "net/names.h"
#include "net/op.h"
#include "net/plan.h"

#include "base/arena.h"

#define QX_GRAPH_NODES_MAX 8192
#define QX_NET_ENDS        8
/* Tokens that rows of language models have at least, where the model has positions for them. */
#define QX_CONTEXT_LEAST INT64_C(1024)

struct qx_wide;
struct qx_net {
    const struct qx_model *model;
    struct qx_arena arena; /* values, nodes, layers, texts */
    const char *name, *arch, *task;
    struct qx_names value_names, node_names;
    struct qx_value **values;
    struct qx_node **nodes;
    int n_values, cap_values, n_nodes, cap_nodes;
    struct qx_value *input, *output;
    int *value_of_tensor; /* [n_tensors], -1 = not used */
    int *layer_of_tensor; /* [n_tensors], -1 = none */
    struct qx_layer *layers;
    int n_layers;
    const char **class_names; /* [n_classes] */
    int n_classes;
    const char *train_data, *train_augment; /* NULL: not said */
    int32_t ends[QX_NET_ENDS];              /* [n_ends] ids that end a text */
    int n_ends;
    bool has_places; /* some values are sequences, whose lengths the input tells */
    /* Language models: places asked for (0: nobody did), those of a row at most, and whether it is being tried
     * how many fit. */
    int64_t asked_context, most_context;
    bool is_probing;
    struct qx_plan plan;
    struct qx_wide *wide; /* float32 copies of stored values (wide.h) */
};

/* ---- building (arch_*.c); messages get the node's name, and the caller's file, in front ---- */

/* The one input. shape->batch is 0. QX_EFORMAT when the name is a tensor's. */
enum qx_status qx_graph_input(struct qx_net *net, const char *name, const struct qx_shape *shape,
                              bool is_ids, struct qx_error *err);

/* A node: its inputs are looked up among the values so far and the model's tensors ("" = left out),
 * its shape is inferred and checked. Texts are copied. */
struct qx_node_spec {
    const char *op, *name, *output;
    const char *const *inputs;
    int n_inputs;
    const struct qx_jval *attrs; /* JSON object or NULL */
};
enum qx_status qx_graph_node(struct qx_net *net, const struct qx_node_spec *spec,
                             struct qx_error *err);

/* The output, then layers and memory plan. names: [n_names] classes, 0 = unnamed. */
enum qx_status qx_graph_finish(struct qx_net *net, const char *output, const char *const *names,
                               int n_names, struct qx_error *err);

/* ---- architectures: one row each (arch_table.c) ---- */

struct qx_arch {
    const char *name; /* "graph", "bert" */
    const char *file; /* in the model's folder */
    /* Does the file (its root) speak of this one? NULL: whatever it says. */
    bool (*probe)(const struct qx_model *model, const struct qx_jval *root);
    /* Fill an empty net. Messages get the path of the file in front. */
    enum qx_status (*build)(struct qx_net *net, const struct qx_jval *root, struct qx_error *err);
};
extern const struct qx_arch qx_arch_graph, qx_arch_bert, qx_arch_roberta, qx_arch_distilbert,
    qx_arch_llama, qx_arch_gpt2, qx_arch_config;

#endif
