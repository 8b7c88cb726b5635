/* Opening a network: one row per way a model folder can describe one, best first. */
#include "graph.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

static const struct qx_arch *const rows[] = {&qx_arch_graph, &qx_arch_config};

static enum qx_status fail_none(const struct qx_model *model, struct qx_error *err)
{
    return qx_fail(
        err, QX_EUNSUPPORTED,
        "'%s' comes without graph.json, so the network cannot be run; the weights can be "
        "explored and quantized (the scripts in assets/convert make a model folder from "
        "an ONNX file or a torch module)",
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

static enum qx_status build(struct qx_net *net, const struct qx_arch *row, const char *path,
                            struct qx_error *err)
{
    net->arch = row->name;
    enum qx_status st = tensors_init(net, err);
    if (st == QX_OK) {
        st = row->build(net, path, err);
    }
    if (st != QX_OK && err) {
        qx_str_copy(err->file, sizeof err->file, path);
    }
    return st;
}

enum qx_status qx_net_open(const struct qx_model *model, struct qx_net **out, struct qx_error *err)
{
    const struct qx_arch *row = NULL;
    char *path = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && !row; i++) {
        qx_mem_free(path);
        path = qx_fs_join(qx_model_folder(model), rows[i]->file);
        if (!path) {
            return qx_fail_nomem(err, 64);
        }
        row = qx_fs_exists(path) ? rows[i] : NULL;
    }
    if (!row) {
        qx_mem_free(path);
        return fail_none(model, err);
    }
    struct qx_net *net = qx_mem_zalloc(sizeof *net);
    enum qx_status st = net ? QX_OK : qx_fail_nomem(err, sizeof *net);
    if (st == QX_OK) {
        net->model = model;
        st = build(net, row, path, err);
    }
    qx_mem_free(path);
    if (st != QX_OK) {
        qx_net_close(&net);
        return st;
    }
    *out = net;
    return QX_OK;
}
