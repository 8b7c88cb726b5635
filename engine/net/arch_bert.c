/* BERT (IndoBERT, MiniLM and others of the type), as transformers' BertModel. */
#include "arch_encoder.h"

static const char *const types[] = {"bert", NULL};
static const char *const prefixes[] = {"bert.", "", NULL};

static const struct qx_encoder_family family = {
    .types = types,
    .prefixes = prefixes,
    .hidden = "hidden_size",
    .layers = "num_hidden_layers",
    .heads = "num_attention_heads",
    .inner = "intermediate_size",
    .act = "hidden_act",
    .epsilon = 1e-12,
    .word = "embeddings.word_embeddings",
    .position = "embeddings.position_embeddings",
    .token_type = "embeddings.token_type_embeddings",
    .norm = "embeddings.LayerNorm",
    .layer = "encoder.layer.",
    .query = "attention.self.query",
    .key = "attention.self.key",
    .value = "attention.self.value",
    .out = "attention.output.dense",
    .out_norm = "attention.output.LayerNorm",
    .up = "intermediate.dense",
    .down = "output.dense",
    .down_norm = "output.LayerNorm",
    .dense = "pooler.dense",
    .dense_act = "Tanh",
    .classes = "classifier",
    .dense_has_prefix = true,
};

static bool probe(const struct qx_model *model, const struct qx_jval *root)
{
    return qx_encoder_probe(&family, model, root);
}

static enum qx_status build(struct qx_net *net, const struct qx_jval *root, struct qx_error *err)
{
    return qx_encoder_build(&family, net, root, err);
}

const struct qx_arch qx_arch_bert = {
    .name = "bert", .file = "config.json", .probe = probe, .build = build};
