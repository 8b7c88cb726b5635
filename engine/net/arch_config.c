/* config.json of a network that no other row knows: what is missing, and what still works with it. */
#include "graph.h"

#include "base/error.h"

#include <string.h>

#define CONVERT \
    "; assets/convert/torch_to_folder.py makes a folder that runs where its operators do"

/* Part of a model_type, and what such networks need that is not there; the first that fits. */
static const struct {
    const char *part, *missing;
} unknown[] = {
    {"moe", "layers that choose among experts"},
    {"mixtral", "layers that choose among experts"},
    {"deepseek", "attention through compressed keys and values"},
    {"gemma", "norms that add one to their weights, scaled embeddings, capped logits"},
    {"phi3", "query, key and value in one tensor, gate and up in one"},
    {"phi", "attention and feed-forward side by side, and positions in a part of each head"},
    {"falcon", "attention and feed-forward side by side"},
    {"gpt_neox", "attention and feed-forward side by side"},
    {"gptj", "attention and feed-forward side by side"},
    {"bloom", "positions as a slope on the attention"},
    {"mpt", "positions as a slope on the attention"},
    {"t5", "an encoder and a decoder with attention between them"},
    {"bart", "an encoder and a decoder with attention between them"},
    {"marian", "an encoder and a decoder with attention between them"},
    {"whisper", "an encoder and a decoder with attention between them"},
    {"mamba", "layers with a state in the place of attention"},
    {"rwkv", "layers with a state in the place of attention"},
    {"deberta", "attention to contents and positions apart"},
    {"albert", "one layer's weights used by all"},
    {"electra", "embeddings narrower than the layers"},
    {"clip", "two networks, for images and for texts"},
    {"vit", "a picture cut into patches" CONVERT},
    {"deit", "a picture cut into patches" CONVERT},
    {"swin", "a picture cut into patches" CONVERT},
    {"resnet", "the graph of its convolutions, which config.json does not hold" CONVERT},
    {"convnext", "the graph of its convolutions, which config.json does not hold" CONVERT},
    {"mobilenet", "the graph of its convolutions, which config.json does not hold" CONVERT},
    {"efficientnet", "the graph of its convolutions, which config.json does not hold" CONVERT},
};

static const char *missing_of(const char *type)
{
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        if (strstr(type, unknown[i].part)) {
            return unknown[i].missing;
        }
    }
    return NULL;
}

static enum qx_status build(struct qx_net *net, const struct qx_jval *root, struct qx_error *err)
{
    (void)net;
    const char *type = qx_jstr(qx_jget(root, "model_type"), NULL);
    const char *missing = type ? missing_of(type) : NULL;
    if (type && *type) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "a network of type '%.60s', which is not run (%s%s), so there is no "
                       "accuracy, but the weights can be explored and quantized",
                       type, missing ? "missing: " : "",
                       missing ? missing
                               : "bert, roberta, xlm-roberta, distilbert, gpt2, llama, mistral, "
                                 "qwen2 and qwen3 are");
    }
    return qx_fail(err, QX_EUNSUPPORTED,
                   "it names no model_type, and there is no graph.json: the network cannot be run, "
                   "but the weights can be explored and quantized");
}

const struct qx_arch qx_arch_config = {.name = "config", .file = "config.json", .build = build};
