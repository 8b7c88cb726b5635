/* config.json of a network that no other row knows: what still works with it. */
#include "graph.h"

#include "base/error.h"

static enum qx_status build(struct qx_net *net, const struct qx_jval *root, struct qx_error *err)
{
    (void)net;
    const char *type = qx_jstr(qx_jget(root, "model_type"), NULL);
    if (type) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "a network of type '%.60s', which is not run (bert, roberta, xlm-roberta, "
                       "distilbert, gpt2, llama, mistral, qwen2 and qwen3 are), so there is no "
                       "accuracy, but the weights can be explored and quantized",
                       type);
    }
    return qx_fail(err, QX_EUNSUPPORTED,
                   "it names no model_type, and there is no graph.json: the network cannot be run, "
                   "but the weights can be explored and quantized");
}

const struct qx_arch qx_arch_config = {.name = "config", .file = "config.json", .build = build};
