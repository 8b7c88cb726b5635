/* DistilBERT: no token types, as transformers' DistilBertModel. */
#include "arch_encoder.h"

static const char *const types[] = {"distilbert", NULL};
static const char *const prefixes[] = {"distilbert.", "", NULL};

static const struct qx_encoder_family family = {
    .types = types,
    .prefixes = prefixes,
    .hidden = "dim",
    .layers = "n_layers",
    .heads = "n_heads",
    .inner = "hidden_dim",
    .act = "activation",
    .epsilon = 1e-12,
    .word = "embeddings.word_embeddings",
    .position = "embeddings.position_embeddings",
    .norm = "embeddings.LayerNorm",
    .layer = "transformer.layer.",
    .query = "attention.q_lin",
    .key = "attention.k_lin",
    .value = "attention.v_lin",
    .out = "attention.out_lin",
    .out_norm = "sa_layer_norm",
    .up = "ffn.lin1",
    .down = "ffn.lin2",
    .down_norm = "output_layer_norm",
    .dense = "pre_classifier",
    .dense_act = "Relu",
    .classes = "classifier",
};

static bool probe(const struct qx_model *model, const struct qx_jval *root)
{
    return qx_encoder_probe(&family, model, root);
}

static enum qx_status build(struct qx_net *net, const struct qx_jval *root, struct qx_error *err)
{
    return qx_encoder_build(&family, net, root, err);
}

const struct qx_arch qx_arch_distilbert = {
    .name = "distilbert", .file = "config.json", .probe = probe, .build = build};
