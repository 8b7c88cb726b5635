/* config.json: the transformer families, recognised but not run yet. */
#include "graph.h"

#include "base/error.h"

static enum qx_status build(struct qx_net *net, const char *path, struct qx_error *err)
{
    (void)net;
    struct qx_json *json = NULL;
    enum qx_status st = qx_json_load(path, (size_t)4 << 20, &json, err);
    if (st != QX_OK) {
        return st;
    }
    const char *type = qx_jstr(qx_jget(qx_json_root(json), "model_type"), NULL);
    if (type) {
        st = qx_fail(err, QX_EUNSUPPORTED,
                     "%s: a network of type '%.60s'; transformers are not run yet, so there is no "
                     "accuracy, but the weights can be explored and quantized",
                     path, type);
    } else {
        st = qx_fail(
            err, QX_EUNSUPPORTED,
            "%s names no model_type, and there is no graph.json: the network cannot be run, "
            "but the weights can be explored and quantized",
            path);
    }
    qx_json_free(json);
    return st;
}

const struct qx_arch qx_arch_config = {.name = "config", .file = "config.json", .build = build};
