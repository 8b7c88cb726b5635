/* graph.json: the network as a list of nodes (schema qexplore.graph/1). Hostile until checked. */
#include "graph.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

#define LABELS_MAX ((size_t)16 << 20)

/* A member that must be a non-empty text. */
static enum qx_status get_text(const struct qx_jval *object, const char *key, const char **out,
                               struct qx_error *err)
{
    const char *text = qx_jstr(qx_jget(object, key), NULL);
    if (!text || text[0] == '\0') {
        return qx_fail(err, QX_EFORMAT, "\"%s\" is missing or no text", key);
    }
    *out = text;
    return QX_OK;
}

/* A member that must be a list of texts: *out [*n], free with qx_mem_free. */
static enum qx_status get_texts(const struct qx_jval *object, const char *key, size_t max,
                                const char ***out, int *n, struct qx_error *err)
{
    const struct qx_jval *list = qx_jget(object, key);
    const size_t len = qx_jlen(list);
    if (!qx_jis_array(list) || len > max) {
        return qx_fail(err, QX_EFORMAT, "\"%s\" must be a list of at most %zu names", key, max);
    }
    const char **texts = qx_mem_array(len + 1, sizeof *texts);
    if (!texts) {
        return qx_fail_nomem(err, len * sizeof *texts);
    }
    *n = 0;
    for (const struct qx_jval *v = qx_jfirst(list); v; v = qx_jnext(v)) {
        if (!qx_jis_string(v)) {
            qx_mem_free(texts);
            return qx_fail(err, QX_EFORMAT, "\"%s\" holds something that is no name", key);
        }
        texts[(*n)++] = qx_jstr(v, "");
    }
    *out = texts;
    return QX_OK;
}

/* The single element of a list member. */
static enum qx_status get_single(const struct qx_jval *object, const char *key,
                                 const struct qx_jval **out, struct qx_error *err)
{
    const struct qx_jval *list = qx_jget(object, key);
    if (!qx_jis_array(list) || qx_jlen(list) != 1) {
        return qx_fail(err, QX_EFORMAT, "\"%s\" must be a list of exactly one", key);
    }
    *out = qx_jfirst(list);
    return QX_OK;
}

static enum qx_status read_shape(const struct qx_jval *list, struct qx_shape *out,
                                 struct qx_error *err)
{
    const size_t n = qx_jlen(list);
    if (!qx_jis_array(list) || n < 1 || n > QX_SHAPE_RANK) {
        return qx_fail(err, QX_EFORMAT, "\"shape\" must be a list of 1 to %d axes", QX_SHAPE_RANK);
    }
    if (strcmp(qx_jstr(qx_jfirst(list), ""), "N") != 0) {
        return qx_fail(err, QX_EFORMAT, "the first axis of \"shape\" must be \"N\", the batch");
    }
    *out = (struct qx_shape){.rank = (int)n, .batch = 0, .lead = 1, .dim = {1}};
    int i = 1;
    for (const struct qx_jval *v = qx_jnext(qx_jfirst(list)); v; v = qx_jnext(v), i++) {
        if (!qx_jint(v, &out->dim[i])) {
            return qx_fail(err, QX_EFORMAT, "axis %d of \"shape\" is no whole number", i);
        }
    }
    return QX_OK;
}

static enum qx_status read_input(struct qx_net *net, const struct qx_jval *root,
                                 struct qx_error *err)
{
    const struct qx_jval *input = NULL;
    const char *name = NULL, *dtype = NULL;
    struct qx_shape shape;
    enum qx_status st = get_single(root, "inputs", &input, err);
    if (st != QX_OK) {
        return st;
    }
    st = get_text(input, "name", &name, err);
    if (st == QX_OK) {
        st = get_text(input, "dtype", &dtype, err);
    }
    if (st == QX_OK && strcmp(dtype, "F32") != 0 && strcmp(dtype, "I64") != 0) {
        st = qx_fail(err, QX_EFORMAT, "\"dtype\" is '%.20s'; F32 or I64 is possible", dtype);
    }
    if (st == QX_OK) {
        st = read_shape(qx_jget(input, "shape"), &shape, err);
    }
    if (st != QX_OK) {
        qx_error_context(err, "graph input");
        return st;
    }
    return qx_graph_input(net, name, &shape, dtype[0] == 'I', err);
}

/* A misspelt key would silently change the network. */
static enum qx_status check_keys(const struct qx_jval *node, struct qx_error *err)
{
    static const char *const known[] = {"op", "name", "inputs", "outputs", "attrs"};
    for (const struct qx_jval *v = qx_jfirst(node); v; v = qx_jnext(v)) {
        size_t k = 0;
        while (k < sizeof known / sizeof *known && strcmp(known[k], qx_jkey(v)) != 0) {
            k++;
        }
        if (k == sizeof known / sizeof *known) {
            return qx_fail(err, QX_EFORMAT, "unknown key \"%.60s\"", qx_jkey(v));
        }
    }
    const struct qx_jval *attrs = qx_jget(node, "attrs");
    return attrs && !qx_jis_object(attrs) ? qx_fail(err, QX_EFORMAT, "\"attrs\" must be an object")
                                          : QX_OK;
}

/* Fills the spec but for its inputs. */
static enum qx_status read_spec(const struct qx_jval *node, struct qx_node_spec *spec,
                                struct qx_error *err)
{
    const struct qx_jval *output = NULL;
    enum qx_status st = get_text(node, "op", &spec->op, err);
    if (st == QX_OK) {
        st = get_text(node, "name", &spec->name, err);
    }
    if (st == QX_OK) {
        st = check_keys(node, err);
    }
    if (st == QX_OK) {
        st = get_single(node, "outputs", &output, err);
    }
    if (st == QX_OK && !qx_jis_string(output)) {
        st = qx_fail(err, QX_EFORMAT, "\"outputs\" holds something that is no name");
    }
    if (st == QX_OK) {
        spec->output = qx_jstr(output, "");
        spec->attrs = qx_jget(node, "attrs");
    }
    return st;
}

static enum qx_status read_node(struct qx_net *net, const struct qx_jval *node, int index,
                                struct qx_error *err)
{
    struct qx_node_spec spec = {0};
    const char **inputs = NULL;
    if (!qx_jis_object(node)) {
        return qx_fail(err, QX_EFORMAT, "node %d is no object", index);
    }
    enum qx_status st = read_spec(node, &spec, err);
    if (st == QX_OK) {
        st = get_texts(node, "inputs", QX_NODE_INPUTS, &inputs, &spec.n_inputs, err);
    }
    if (st != QX_OK) {
        if (spec.name) {
            qx_error_context(err, "node '%.100s'", spec.name);
        } else {
            qx_error_context(err, "node %d", index);
        }
        return st;
    }
    spec.inputs = inputs;
    st = qx_graph_node(net, &spec, err);
    qx_mem_free(inputs);
    return st;
}

static enum qx_status read_nodes(struct qx_net *net, const struct qx_jval *root,
                                 struct qx_error *err)
{
    const struct qx_jval *nodes = qx_jget(root, "nodes");
    if (!qx_jis_array(nodes) || qx_jlen(nodes) == 0) {
        return qx_fail(err, QX_EFORMAT, "\"nodes\" must be a list of at least one node");
    }
    int i = 0;
    for (const struct qx_jval *v = qx_jfirst(nodes); v; v = qx_jnext(v), i++) {
        enum qx_status st = read_node(net, v, i, err);
        if (st != QX_OK) {
            return st;
        }
    }
    return QX_OK;
}

static enum qx_status read_end(struct qx_net *net, const struct qx_jval *root, struct qx_error *err)
{
    const struct qx_jval *output = NULL;
    const char **labels = NULL;
    int n_labels = 0;
    enum qx_status st = get_single(root, "outputs", &output, err);
    if (st == QX_OK && !qx_jis_string(output)) {
        st = qx_fail(err, QX_EFORMAT, "\"outputs\" holds something that is no name");
    }
    if (st == QX_OK && qx_jget(root, "labels")) {
        st = get_texts(root, "labels", LABELS_MAX, &labels, &n_labels, err);
    }
    if (st == QX_OK) {
        st = qx_graph_finish(net, qx_jstr(output, ""), labels, n_labels, err);
    }
    qx_mem_free(labels);
    return st;
}

static enum qx_status read_head(struct qx_net *net, const struct qx_jval *root,
                                struct qx_error *err)
{
    const char *schema = qx_jstr(qx_jget(root, "schema"), "");
    const char *name = qx_jstr(qx_jget(root, "name"), qx_model_name(net->model));
    const char *task = qx_jstr(qx_jget(root, "task"), "classification");
    if (strcmp(schema, "qexplore.graph/1") != 0) {
        return qx_fail(err, QX_EUNSUPPORTED, "\"schema\" is '%.60s'; qexplore.graph/1 is needed",
                       schema);
    }
    if (strcmp(task, "classification") != 0) {
        return qx_fail(err, QX_EUNSUPPORTED, "\"task\" is '%.60s'; only classification can be run",
                       task);
    }
    net->name = qx_arena_strdup(&net->arena, name);
    net->task = "classification";
    return net->name ? QX_OK : qx_fail_nomem(err, strlen(name) + 1);
}

/* A text of "train"; *out stays NULL without it. */
static enum qx_status get_train(struct qx_net *net, const struct qx_jval *train, const char *key,
                                const char **out, struct qx_error *err)
{
    const char *text = "";
    if (!qx_jget(train, key)) {
        return QX_OK;
    }
    const enum qx_status st = get_text(train, key, &text, err);
    if (st != QX_OK) {
        return st;
    }
    *out = qx_arena_strdup(&net->arena, text);
    return *out ? QX_OK : qx_fail_nomem(err, strlen(text) + 1);
}

/* Nothing but a file below the folder of data sets: a stranger's graph opens no other one. */
static bool is_below(const char *path)
{
    return path[0] != '/' && path[0] != 0 && !strstr(path, "..");
}

static enum qx_status read_train(struct qx_net *net, const struct qx_jval *root,
                                 struct qx_error *err)
{
    const struct qx_jval *train = qx_jget(root, "train");
    if (!train) {
        return QX_OK;
    }
    enum qx_status st = qx_jis_object(train)
                            ? get_train(net, train, "data", &net->train_data, err)
                            : qx_fail(err, QX_EFORMAT, "\"train\" must be an object");
    if (st == QX_OK) {
        st = get_train(net, train, "augment", &net->train_augment, err);
    }
    if (st == QX_OK && net->train_data && !is_below(net->train_data)) {
        st = qx_fail(err, QX_EFORMAT,
                     "\"data\" of \"train\" is '%.100s'; a path below the folder of data sets is "
                     "needed, such as \"fashion-mnist/train-images-idx3-ubyte.gz\"",
                     net->train_data);
    }
    return st;
}

static enum qx_status build(struct qx_net *net, const struct qx_jval *root, struct qx_error *err)
{
    enum qx_status st = read_head(net, root, err);
    if (st == QX_OK) {
        st = read_input(net, root, err);
    }
    if (st == QX_OK) {
        st = read_nodes(net, root, err);
    }
    if (st == QX_OK) {
        st = read_train(net, root, err);
    }
    if (st == QX_OK) {
        st = read_end(net, root, err);
    }
    return st;
}

const struct qx_arch qx_arch_graph = {.name = "graph", .file = "graph.json", .build = build};
