#include "arch_encoder.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define LAYERS_MAX    1000
#define POSITIONS_MAX 1048576

struct sizes {
    int64_t hidden, layers, heads, inner, vocabulary, positions, types, offset;
    double epsilon;
    const char *act;
};

bool qx_encoder_probe(const struct qx_encoder_family *f, const struct qx_model *model,
                      const struct qx_jval *root)
{
    const char *type = qx_jstr(qx_jget(root, "model_type"), NULL);
    for (int i = 0; type && f->types[i]; i++) {
        if (strcmp(type, f->types[i]) == 0) {
            return true;
        }
    }
    for (int i = 0; !type && f->prefixes[i]; i++) { /* files older than model_type */
        char layer[64], word[256], query[256];
        snprintf(layer, sizeof layer, "%s0.", f->layer);
        snprintf(word, sizeof word, "%s%s.weight", f->prefixes[i], f->word);
        snprintf(query, sizeof query, "%s%s%s.weight", f->prefixes[i], layer, f->query);
        if (qx_model_find(model, word) >= 0 && qx_model_find(model, query) >= 0) {
            return true;
        }
    }
    return false;
}

static struct sizes read_sizes(struct qx_build *b, const struct qx_encoder_family *f)
{
    struct sizes s = {.hidden = qx_build_int(b, f->hidden, 1, 1 << 20),
                      .layers = qx_build_int(b, f->layers, 1, LAYERS_MAX),
                      .heads = qx_build_int(b, f->heads, 1, 65536),
                      .inner = qx_build_int(b, f->inner, 1, 1 << 24),
                      .vocabulary = qx_build_int(b, "vocab_size", 1, 1 << 24),
                      .positions = qx_build_int(b, "max_position_embeddings", 1, POSITIONS_MAX),
                      .epsilon = qx_build_num_or(b, "layer_norm_eps", f->epsilon),
                      .act = qx_build_word(b, b->config, f->act, "gelu")};
    s.types = f->token_type ? qx_build_int_or(b, "type_vocab_size", 2, 1, 1 << 20) : 0;
    s.offset = f->skips_pad ? 1 + qx_build_int_or(b, "pad_token_id", 1, 0, 1 << 20) : 0;
    if (b->st == QX_OK && s.hidden % s.heads != 0) {
        b->st = qx_fail(b->err, QX_EFORMAT, "%s %lld is no multiple of %s %lld", f->hidden,
                        (long long)s.hidden, f->heads, (long long)s.heads);
    }
    if (b->st == QX_OK && s.positions <= s.offset) {
        b->st = qx_fail(b->err, QX_EFORMAT,
                        "max_position_embeddings %lld leaves no position behind pad_token_id",
                        (long long)s.positions);
    }
    static const char absolute[] = "absolute";
    if (strcmp(qx_build_word(b, b->config, "position_embedding_type", absolute), absolute) != 0) {
        qx_build_refuse(b, "its positions are relative");
    }
    if (qx_build_flag(b, "is_decoder", false)) {
        qx_build_refuse(b, "it is used as a decoder");
    }
    return s;
}

/* The sum of word, position and type embeddings, normalized. */
static const char *embeddings(struct qx_build *b, const struct qx_encoder_family *f,
                              const struct sizes *s)
{
    const char *word = qx_build_need(b, qx_build_text(b, "%s.weight", f->word));
    const char *position = qx_build_need(b, qx_build_text(b, "%s.weight", f->position));
    qx_build_check(b, word, "vocab_size", s->vocabulary, f->hidden, s->hidden);
    qx_build_check(b, position, "max_position_embeddings", s->positions, f->hidden, s->hidden);
    const struct qx_shape ids = {
        .rank = 2, .batch = 0, .lead = 1, .dim = {1, s->positions - s->offset}};
    if (b->st == QX_OK) {
        b->st = qx_graph_input(b->net, "input_ids", &ids, true, b->err);
    }
    const char *x =
        qx_build_node(b, "Embedding", "embed.word", NULL, (const char *[3]){"input_ids", word});
    x = qx_build_node(
        b, "Embedding", "embed.position",
        qx_build_text(b, "{\"index\":\"place\",\"offset\":%lld}", (long long)s->offset),
        (const char *[3]){"input_ids", position, x});
    if (f->token_type) {
        const char *type = qx_build_need(b, qx_build_text(b, "%s.weight", f->token_type));
        qx_build_check(b, type, "type_vocab_size", s->types, f->hidden, s->hidden);
        x = qx_build_node(b, "Embedding", "embed.type", "{\"index\":\"constant\"}",
                          (const char *[3]){"input_ids", type, x});
    }
    return qx_build_norm(b, "embed.norm", x, f->norm, s->epsilon);
}

/* A linear layer of encoder layer i, which config.json gives a size: [rows, columns]. */
static const char *linear(struct qx_build *b, const struct qx_encoder_family *f, int i,
                          const char *alias, const char *base, const char *x, const char *row_key,
                          int64_t rows, const char *column_key, int64_t columns)
{
    char layer[64];
    snprintf(layer, sizeof layer, "%s%d.", f->layer, i);
    const char *full = qx_build_text(b, "%s%s", layer, base);
    const char *weight = qx_build_need(b, qx_build_text(b, "%s.weight", full));
    qx_build_check(b, weight, row_key, rows, column_key, columns);
    return qx_build_linear(b, qx_build_text(b, "L%d.%s", i, alias), x, full);
}

/* norm(x + y) */
static const char *add_norm(struct qx_build *b, const struct qx_encoder_family *f, int i,
                            const char *half, const char *x, const char *y, const char *base,
                            double epsilon)
{
    char layer[64];
    snprintf(layer, sizeof layer, "%s%d.", f->layer, i);
    const char *sum = qx_build_node(b, "Add", qx_build_text(b, "L%d.%s.add", i, half), NULL,
                                    (const char *[3]){y, x});
    return qx_build_norm(b, qx_build_text(b, "L%d.%s.norm", i, half), sum,
                         qx_build_text(b, "%s%s", layer, base), epsilon);
}

static const char *encoder_layer(struct qx_build *b, const struct qx_encoder_family *f,
                                 const struct sizes *s, int i, const char *x)
{
    const int64_t d = s->hidden;
    const char *q = linear(b, f, i, "attn.query", f->query, x, f->hidden, d, f->hidden, d);
    const char *k = linear(b, f, i, "attn.key", f->key, x, f->hidden, d, f->hidden, d);
    const char *v = linear(b, f, i, "attn.value", f->value, x, f->hidden, d, f->hidden, d);
    const char *mixed =
        qx_build_node(b, "Attention", qx_build_text(b, "L%d.attn", i),
                      qx_build_text(b, "{\"q_num_heads\":%lld,\"kv_num_heads\":%lld}",
                                    (long long)s->heads, (long long)s->heads),
                      (const char *[3]){q, k, v});
    const char *y = linear(b, f, i, "attn.out", f->out, mixed, f->hidden, d, f->hidden, d);
    x = add_norm(b, f, i, "attn", x, y, f->out_norm, s->epsilon);
    y = linear(b, f, i, "ffn.up", f->up, x, f->inner, s->inner, f->hidden, d);
    y = qx_build_act(b, qx_build_text(b, "L%d.ffn.act", i), s->act, y);
    y = linear(b, f, i, "ffn.down", f->down, y, f->hidden, d, f->inner, s->inner);
    return add_norm(b, f, i, "ffn", x, y, f->down_norm, s->epsilon);
}

/* Is this a classifier of whole sequences, with all its weights? */
static bool has_head(struct qx_build *b, const struct qx_encoder_family *f)
{
    const char *name = qx_jstr(qx_jat(qx_jget(b->config, "architectures"), 0), "");
    const char *prefix = b->prefix;
    b->prefix = f->dense_has_prefix ? prefix : "";
    const char *dense = qx_build_find(b, qx_build_text(b, "%s.weight", f->dense));
    b->prefix = "";
    const char *classes = qx_build_find(b, qx_build_text(b, "%s.weight", f->classes));
    b->prefix = prefix;
    return dense && classes && (!name[0] || strstr(name, "ForSequenceClassification"));
}

static void head(struct qx_build *b, const struct qx_encoder_family *f, const char *x)
{
    const bool is_classifier = has_head(b, f);
    const char *pooled =
        qx_build_node(b, "SequencePool", "pool", is_classifier ? NULL : "{\"mode\":\"mean\"}",
                      (const char *[3]){x});
    if (!is_classifier) {
        qx_build_end(b, "embedding", pooled);
        return;
    }
    b->prefix = f->dense_has_prefix ? b->prefix : "";
    const char *y = qx_build_linear(b, "pooler", pooled, f->dense);
    y = qx_build_node(b, f->dense_act, "pooler.act", NULL, (const char *[3]){y});
    b->prefix = "";
    qx_build_end(b, "classification", qx_build_linear(b, "classifier", y, f->classes));
}

enum qx_status qx_encoder_build(const struct qx_encoder_family *f, struct qx_net *net,
                                const struct qx_jval *root, struct qx_error *err)
{
    struct qx_build b = {.net = net, .config = root, .prefix = "", .st = QX_OK, .err = err};
    char word[128];
    snprintf(word, sizeof word, "%s.weight", f->word);
    (void)qx_build_prefix(&b, f->prefixes, word); /* or the first tensor is missed */
    net->name = qx_build_text(&b, "%s", qx_model_name(net->model));
    const struct sizes s = read_sizes(&b, f);
    const char *x = embeddings(&b, f, &s);
    for (int i = 0; b.st == QX_OK && i < s.layers; i++) {
        x = encoder_layer(&b, f, &s, i, x);
    }
    if (b.st == QX_OK) {
        head(&b, f, x);
    }
    return b.st;
}
