/* GPT-2 as transformers' GPT2LMHeadModel: learned positions, layer norms before each half of a layer,
 * weights stored [in, out] (Conv1D), query, key and value in one. */
#include "arch_build.h"

#include "base/error.h"

#include <string.h>

#define LAYERS_MAX 1000

struct sizes {
    int64_t hidden, layers, heads, inner, vocabulary, positions;
    double epsilon;
    const char *act;
};

static bool probe(const struct qx_model *model, const struct qx_jval *root)
{
    (void)model;
    return strcmp(qx_jstr(qx_jget(root, "model_type"), ""), "gpt2") == 0;
}

static struct sizes read_sizes(struct qx_build *b)
{
    struct sizes s = {.hidden = qx_build_int(b, "n_embd", 1, 1 << 20),
                      .layers = qx_build_int(b, "n_layer", 1, LAYERS_MAX),
                      .heads = qx_build_int(b, "n_head", 1, 65536),
                      .vocabulary = qx_build_int(b, "vocab_size", 1, 1 << 24),
                      .positions = qx_build_int(b, "n_positions", 1, 1 << 28),
                      .epsilon = qx_build_num_or(b, "layer_norm_epsilon", 1e-5),
                      .act = qx_build_word(b, b->config, "activation_function", "gelu_new")};
    s.inner = qx_build_int_or(b, "n_inner", 4 * s.hidden, 1, 1 << 24);
    if (b->st == QX_OK && s.hidden % s.heads != 0) {
        b->st = qx_fail(b->err, QX_EFORMAT, "n_embd %lld is no multiple of n_head %lld",
                        (long long)s.hidden, (long long)s.heads);
    }
    const bool is_usual = qx_build_flag(b, "scale_attn_weights", true) &&
                          !qx_build_flag(b, "scale_attn_by_inverse_layer_idx", false);
    if (b->st == QX_OK && !is_usual) {
        b->st = qx_fail(b->err, QX_EUNSUPPORTED,
                        "its attention is scaled in another way, which is not run; the weights can "
                        "be explored and quantized");
    }
    return s;
}

/* Gemm with a weight [in, out] and its bias. */
static const char *conv1d(struct qx_build *b, int i, const char *alias, const char *base,
                          const char *x, const char *in_key, int64_t in, const char *out_key,
                          int64_t out)
{
    const char *full = qx_build_text(b, "h.%d.%s", i, base);
    const char *weight = qx_build_need(b, qx_build_text(b, "%s.weight", full));
    const char *bias = qx_build_need(b, qx_build_text(b, "%s.bias", full));
    qx_build_check(b, weight, in_key, in, out_key, out);
    return qx_build_node(b, "Gemm", qx_build_text(b, "L%d.%s", i, alias), NULL,
                         (const char *[3]){x, weight, bias});
}

static const char *columns(struct qx_build *b, int i, const char *alias, const char *x,
                           int64_t first, int64_t count)
{
    return qx_build_node(
        b, "Columns", qx_build_text(b, "L%d.%s", i, alias),
        qx_build_text(b, "{\"first\":%lld,\"count\":%lld}", (long long)first, (long long)count),
        (const char *[3]){x});
}

static const char *decoder_layer(struct qx_build *b, const struct sizes *s, int i, const char *x)
{
    const int64_t d = s->hidden;
    const char *key = "n_embd";
    const char *y = qx_build_norm(b, qx_build_text(b, "L%d.attn.norm", i), x,
                                  qx_build_text(b, "h.%d.ln_1", i), s->epsilon);
    y = conv1d(b, i, "attn.qkv", "attn.c_attn", y, key, d, "three times n_embd,", 3 * d);
    const char *q = columns(b, i, "attn.query", y, 0, d);
    const char *k = columns(b, i, "attn.key", y, d, d);
    const char *v = columns(b, i, "attn.value", y, 2 * d, d);
    y = qx_build_node(b, "Attention", qx_build_text(b, "L%d.attn", i),
                      qx_build_text(b,
                                    "{\"q_num_heads\":%lld,\"kv_num_heads\":%lld,\"is_causal\":1}",
                                    (long long)s->heads, (long long)s->heads),
                      (const char *[3]){q, k, v});
    y = conv1d(b, i, "attn.out", "attn.c_proj", y, key, d, key, d);
    x = qx_build_node(b, "Add", qx_build_text(b, "L%d.attn.add", i), NULL, (const char *[3]){y, x});
    y = qx_build_norm(b, qx_build_text(b, "L%d.ffn.norm", i), x, qx_build_text(b, "h.%d.ln_2", i),
                      s->epsilon);
    y = conv1d(b, i, "ffn.up", "mlp.c_fc", y, key, d, "n_inner", s->inner);
    y = qx_build_act(b, qx_build_text(b, "L%d.ffn.act", i), s->act, y);
    y = conv1d(b, i, "ffn.down", "mlp.c_proj", y, "n_inner", s->inner, key, d);
    return qx_build_node(b, "Add", qx_build_text(b, "L%d.ffn.add", i), NULL,
                         (const char *[3]){y, x});
}

static enum qx_status build(struct qx_net *net, const struct qx_jval *root, struct qx_error *err)
{
    static const char *const prefixes[] = {"transformer.", "", NULL};
    struct qx_build b = {.net = net, .config = root, .prefix = "", .st = QX_OK, .err = err};
    (void)qx_build_prefix(&b, prefixes, "wte.weight"); /* or the first tensor is missed */
    net->name = qx_build_text(&b, "%s", qx_model_name(net->model));
    const struct sizes s = read_sizes(&b);
    const char *table = qx_build_need(&b, "wte.weight"), *places = qx_build_need(&b, "wpe.weight");
    qx_build_check(&b, table, "vocab_size", s.vocabulary, "n_embd", s.hidden);
    qx_build_check(&b, places, "n_positions", s.positions, "n_embd", s.hidden);
    const int64_t context = qx_build_context(&b, "n_positions", s.positions);
    const struct qx_shape ids = {.rank = 2, .batch = 0, .lead = 1, .dim = {1, context}};
    if (b.st == QX_OK) {
        b.st = qx_graph_input(net, "input_ids", &ids, true, err);
    }
    const char *x =
        qx_build_node(&b, "Embedding", "embed.word", NULL, (const char *[3]){"input_ids", table});
    x = qx_build_node(&b, "Embedding", "embed.position", "{\"index\":\"place\"}",
                      (const char *[3]){"input_ids", places, x});
    for (int i = 0; b.st == QX_OK && i < s.layers; i++) {
        x = decoder_layer(&b, &s, i, x);
    }
    x = qx_build_norm(&b, "norm", x, "ln_f", s.epsilon);
    const char *prefix = b.prefix;
    b.prefix = "";
    const char *head = qx_build_find(&b, "lm_head.weight");
    b.prefix = prefix;
    head = head ? head : table;
    qx_build_check(&b, head, "vocab_size", s.vocabulary, "n_embd", s.hidden);
    qx_build_end(&b, "language-modelling",
                 qx_build_node(&b, "Gemm", "head", "{\"transB\":1}", (const char *[3]){x, head}));
    return b.st;
}

const struct qx_arch qx_arch_gpt2 = {
    .name = "gpt2", .file = "config.json", .probe = probe, .build = build};
