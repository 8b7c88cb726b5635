/* Opening a network: one row per way a model folder can describe one, best first. */
#include "gguf.h"
#include "graph.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

#define FILE_BYTES_MAX ((size_t)16 << 20)

static const struct qx_arch *const rows[] = {&qx_arch_graph,      &qx_arch_bert,  &qx_arch_roberta,
                                             &qx_arch_distilbert, &qx_arch_llama, &qx_arch_gpt2,
                                             &qx_arch_config};

static enum qx_status fail_none(const struct qx_model *model, struct qx_error *err)
{
    return qx_fail(err, QX_EUNSUPPORTED,
                   "'%s' comes without graph.json or config.json, so the network cannot be run; "
                   "the weights can be explored and quantized (the scripts in assets/convert make "
                   "a model folder from an ONNX file or a torch module)",
                   qx_model_name(model));
}

static enum qx_status tensors_init(struct qx_net *net, struct qx_error *err)
{
    const size_t n = (size_t)qx_model_n_tensors(net->model);
    net->value_of_tensor = qx_arena_array(&net->arena, n + 1, sizeof(int));
    net->layer_of_tensor = qx_arena_array(&net->arena, n + 1, sizeof(int));
    if (!net->value_of_tensor || !net->layer_of_tensor) {
        return qx_fail_nomem(err, n * sizeof(int));
    }
    for (size_t i = 0; i < n; i++) {
        net->value_of_tensor[i] = -1;
        net->layer_of_tensor[i] = -1;
    }
    return QX_OK;
}

static enum qx_status build(struct qx_net *net, const struct qx_arch *row,
                            const struct qx_jval *root, struct qx_error *err)
{
    net->arch = row->name;
    enum qx_status st = tensors_init(net, err);
    return st == QX_OK ? row->build(net, root, err) : st;
}

/* The metadata of a GGUF file, whatever lies beside it. */
static enum qx_status choose_gguf(const struct qx_model *model, const struct qx_arch **row,
                                  char **path, struct qx_json **json, struct qx_error *err)
{
    *path = qx_mem_strdup(qx_model_file(model, 0));
    enum qx_status st = *path ? qx_gguf_config(model, json, err) : qx_fail_nomem(err, 64);
    for (size_t i = 0; st == QX_OK && !*row && i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i]->file, "config.json") == 0 &&
            (!rows[i]->probe || rows[i]->probe(model, qx_json_root(*json)))) {
            *row = rows[i];
        }
    }
    return st;
}

/* The first row whose file is there and speaks of it; its file is read. NULL: none. */
static enum qx_status choose(const struct qx_model *model, const struct qx_arch **row, char **path,
                             struct qx_json **json, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    *row = NULL;
    if (qx_gguf_is(model)) {
        return choose_gguf(model, row, path, json, err);
    }
    for (size_t i = 0; st == QX_OK && !*row && i < sizeof rows / sizeof *rows; i++) {
        const bool is_same = i > 0 && strcmp(rows[i]->file, rows[i - 1]->file) == 0;
        if (!is_same) {
            qx_json_free(*json);
            qx_mem_free(*path);
            *json = NULL;
            *path = qx_fs_join(qx_model_folder(model), rows[i]->file);
            st = !*path                ? qx_fail_nomem(err, 64)
                 : qx_fs_exists(*path) ? qx_json_load(*path, FILE_BYTES_MAX, json, err)
                                       : QX_OK;
        }
        if (*json && (!rows[i]->probe || rows[i]->probe(model, qx_json_root(*json)))) {
            *row = rows[i];
        }
    }
    return st;
}

/* An empty net is made and built. *out = NULL on failure. */
static enum qx_status net_make(const struct qx_model *model, const struct qx_arch *row,
                               const struct qx_jval *root, const struct qx_net *wanted,
                               struct qx_net **out, struct qx_error *err)
{
    struct qx_net *net = qx_mem_zalloc(sizeof *net);
    if (!net) {
        return qx_fail_nomem(err, sizeof *net);
    }
    net->model = model;
    net->asked_context = wanted->asked_context;
    net->most_context = wanted->most_context;
    net->is_probing = wanted->is_probing;
    const enum qx_status st = build(net, row, root, err);
    if (st != QX_OK) {
        qx_net_close(&net);
    }
    *out = net;
    return st;
}

/* With rows as long as is asked for, or as fit. */
static enum qx_status net_fit(const struct qx_model *model, const struct qx_arch *row,
                              const struct qx_jval *root, int64_t context, struct qx_net **out,
                              struct qx_error *err)
{
    struct qx_net wanted = {
        .asked_context = context, .most_context = QX_CONTEXT_MOST, .is_probing = context == 0};
    enum qx_status st = net_make(model, row, root, &wanted, out, err);
    while (st == QX_OK && (*out)->is_probing && (*out)->plan.whole.floats > QX_WORKSPACE_CONTEXT) {
        const int64_t places = qx_net_sample_size(*out);
        wanted.most_context = places / 2 > QX_CONTEXT_LEAST ? places / 2 : QX_CONTEXT_LEAST;
        wanted.is_probing = qx_net_is_words(*out) && places > QX_CONTEXT_LEAST;
        qx_net_close(out);
        st = net_make(model, row, root, &wanted, out, err);
    }
    return st;
}

enum qx_status qx_net_open_with(const struct qx_model *model, int64_t context, struct qx_net **out,
                                struct qx_error *err)
{
    const struct qx_arch *row = NULL;
    struct qx_net *net = NULL;
    struct qx_json *json = NULL;
    char *path = NULL;
    if (context < 0 || context > QX_CONTEXT_MOST) {
        return qx_fail(err, QX_ERANGE, "a context of %lld tokens: 1 to %d are possible",
                       (long long)context, QX_CONTEXT_MOST);
    }
    enum qx_status st = choose(model, &row, &path, &json, err);
    if (st == QX_OK && !row) {
        st = fail_none(model, err);
        goto out;
    }
    if (st == QX_OK) {
        st = net_fit(model, row, qx_json_root(json), context, &net, err);
        if (st != QX_OK) {
            qx_error_context(err, "%s", path);
        }
    }
    if (st != QX_OK && err && path) {
        qx_str_copy(err->file, sizeof err->file, path);
    }
out:
    if (st == QX_OK) {
        *out = net;
    }
    qx_json_free(json);
    qx_mem_free(path);
    return st;
}

enum qx_status qx_net_open(const struct qx_model *model, struct qx_net **out, struct qx_error *err)
{
    return qx_net_open_with(model, 0, out, err);
}
