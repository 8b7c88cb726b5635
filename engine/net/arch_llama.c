/* Llama, Mistral, Qwen2 and Qwen3 as transformers' LlamaForCausalLM: RMS norms before each half of a layer,
 * rotary positions, key heads shared by query heads, SwiGLU; biases and norms of query and key heads
 * where the tensors have them. */
#include "arch_build.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

#define LAYERS_MAX 1000

struct sizes {
    int64_t hidden, layers, heads, kv_heads, head, inner, vocabulary, places;
    double epsilon;
    const char *rotary;  /* attributes, but for the heads */
    bool is_interleaved; /* rows of query and key stand in pairs, as GGUF has them */
    const char *factors; /* by which frequencies are divided: GGUF's form of "llama3"; or NULL */
};

static bool probe(const struct qx_model *model, const struct qx_jval *root)
{
    static const char *const types[] = {"llama", "mistral", "qwen2", "qwen3"};
    const char *type = qx_jstr(qx_jget(root, "model_type"), "");
    (void)model;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* How positions are scaled; config.json of transformers 5 also has rope_theta in there. NULL: not said. */
static const struct qx_jval *scaling_of(struct qx_build *b)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const struct qx_jval *scaling = qx_jget(b->config, keys[i]);
        if (qx_jis_object(scaling)) {
            return scaling;
        }
        if (b->st == QX_OK && scaling && !qx_jis_null(scaling)) {
            b->st = qx_fail(b->err, QX_EFORMAT, "\"%s\" is no object", keys[i]);
        }
    }
    return NULL;
}

/* YaRN's factor of sines and cosines as transformers' _compute_yarn_parameters has it: it is 0.1 m ln(factor) + 1
 * with m = 1, or, where both are there and not 0, the quotient of those of mscale and of mscale_all_dim. */
static double yarn_scale(const struct qx_jval *scaling, double factor)
{
    const double grown = factor > 1.0 ? 0.1 * log(factor) : 0.0;
    const double m = qx_jnum(qx_jget(scaling, "mscale"), 0.0);
    const double all = qx_jnum(qx_jget(scaling, "mscale_all_dim"), 0.0);
    const double usual =
        m != 0.0 && all != 0.0 ? (m * grown + 1.0) / (all * grown + 1.0) : grown + 1.0;
    return qx_jnum(qx_jget(scaling, "attention_factor"), usual);
}

/* YaRN's ramp over the pairs of a head: those that turn beta_fast times or more in the original context are
 * not stretched, those that turn beta_slow times or less are. */
static const char *yarn_of(struct qx_build *b, const struct qx_jval *scaling, double base,
                           double factor, int64_t head)
{
    const double turn = 2.0 * acos(-1.0), d = (double)head;
    const double most = qx_build_num_or(b, "max_position_embeddings", 2048.0);
    const double original = qx_jnum(qx_jget(scaling, "original_max_position_embeddings"), most);
    const double fast = qx_jnum(qx_jget(scaling, "beta_fast"), 32.0);
    const double slow = qx_jnum(qx_jget(scaling, "beta_slow"), 1.0);
    const double scale = yarn_scale(scaling, factor);
    if (b->st == QX_OK && !(original > 0.0 && fast > 0.0 && slow > 0.0 && base > 1.0 &&
                            scale > 0.0 && isfinite(scale))) {
        b->st = qx_fail(b->err, QX_EFORMAT,
                        "the numbers of its rope_scaling (yarn) give no positive factors");
    }
    double from = d * log(original / (fast * turn)) / (2.0 * log(base));
    double to = d * log(original / (slow * turn)) / (2.0 * log(base));
    if (qx_jbool(qx_jget(scaling, "truncate"), true)) {
        from = floor(from);
        to = ceil(to);
    }
    from = from > 0.0 ? from : 0.0;
    to = to < d - 1.0 ? to : d - 1.0;
    to = to > from ? to : from + 0.001;
    return qx_build_text(
        b, "\"base\":%.17g,\"factor\":%.17g,\"from\":%.17g,\"to\":%.17g,\"scale\":%.17g", base,
        factor, from, to, scale);
}

/* None, "linear", "llama3", "yarn"; "dynamic" stretches beyond max_position_embeddings only, where no row goes. */
static const char *rotary_of(struct qx_build *b, int64_t head)
{
    const struct qx_jval *scaling = scaling_of(b);
    const double base =
        qx_build_num_or(b, "rope_theta", qx_jnum(qx_jget(scaling, "rope_theta"), 10000.0));
    const char *type =
        qx_build_word(b, scaling, "rope_type", qx_build_word(b, scaling, "type", "default"));
    const double factor = qx_jnum(qx_jget(scaling, "factor"), 1.0);
    const double low = qx_jnum(qx_jget(scaling, "low_freq_factor"), 1.0);
    const double high = qx_jnum(qx_jget(scaling, "high_freq_factor"), 4.0);
    const double original = qx_jnum(qx_jget(scaling, "original_max_position_embeddings"), 8192.0);
    if (strcmp(type, "default") == 0 || strcmp(type, "dynamic") == 0) {
        return qx_build_text(b, "\"base\":%.17g", base);
    }
    if (strcmp(type, "linear") == 0) {
        return qx_build_text(b, "\"base\":%.17g,\"factor\":%.17g", base, factor);
    }
    if (strcmp(type, "llama3") == 0 && low > 0.0 && high > low) {
        return qx_build_text(
            b, "\"base\":%.17g,\"factor\":%.17g,\"low\":%.17g,\"high\":%.17g,\"original\":%.17g",
            base, factor, low, high, original);
    }
    if (strcmp(type, "yarn") == 0 && factor > 0.0) {
        return yarn_of(b, scaling, base, factor, head);
    }
    qx_build_refuse(b, qx_build_text(b, "its positions are scaled by '%.40s'", type));
    return NULL;
}

static struct sizes read_sizes(struct qx_build *b)
{
    struct sizes s = {.hidden = qx_build_int(b, "hidden_size", 1, 1 << 20),
                      .layers = qx_build_int(b, "num_hidden_layers", 1, LAYERS_MAX),
                      .heads = qx_build_int(b, "num_attention_heads", 1, 65536),
                      .inner = qx_build_int(b, "intermediate_size", 1, 1 << 24),
                      .vocabulary = qx_build_int(b, "vocab_size", 1, 1 << 24),
                      .epsilon = qx_build_num_or(b, "rms_norm_eps", 1e-6),
                      .is_interleaved = qx_build_flag(b, "rope_interleaved", false)};
    static const char factors[] = "rope_freqs.weight";
    s.factors = qx_model_find(b->net->model, factors) >= 0 ? factors : NULL;
    s.kv_heads = qx_build_int_or(b, "num_key_value_heads", s.heads, 1, 65536);
    static const char places[] = "max_position_embeddings";
    s.places = qx_build_context(b, places, qx_build_int_or(b, places, 2048, 1, 1 << 28));
    s.head = qx_build_int_or(b, "head_dim", s.hidden / s.heads, 1, 1 << 20);
    s.rotary = rotary_of(b, s.head);
    if (b->st == QX_OK && (s.head < 1 || s.heads % s.kv_heads != 0)) {
        b->st = qx_fail(b->err, QX_EFORMAT,
                        "hidden_size %lld, num_attention_heads %lld and num_key_value_heads %lld "
                        "do not divide each other",
                        (long long)s.hidden, (long long)s.heads, (long long)s.kv_heads);
    }
    const char *act = qx_build_word(b, b->config, "hidden_act", "silu");
    if (strcmp(act, "silu") != 0) {
        qx_build_refuse(b, qx_build_text(b, "its activation is '%.40s' and not silu", act));
    }
    return s;
}

/* base.weight must be [rows, columns], as config.json has it under the keys. */
static const char *linear(struct qx_build *b, int i, const char *alias, const char *base,
                          const char *x, const char *row_key, int64_t rows, const char *column_key,
                          int64_t columns)
{
    const char *full = qx_build_text(b, "layers.%d.%s", i, base);
    const char *weight = qx_build_need(b, qx_build_text(b, "%s.weight", full));
    qx_build_check(b, weight, row_key, rows, column_key, columns);
    return qx_build_linear(b, qx_build_text(b, "L%d.%s", i, alias), x, full);
}

static const char *norm(struct qx_build *b, const char *alias, const char *x, const char *base,
                        double epsilon)
{
    const char *weight = qx_build_need(b, qx_build_text(b, "%s.weight", base));
    return qx_build_node(b, "RMSNormalization", alias,
                         qx_build_text(b, "{\"epsilon\":%.17g}", epsilon),
                         (const char *[3]){x, weight});
}

/* Normalized, if there is a norm, and turned. */
static const char *turned(struct qx_build *b, const struct sizes *s, int i, const char *alias,
                          const char *base, const char *x, int64_t heads)
{
    const char *weight = qx_build_find(b, qx_build_text(b, "layers.%d.%s.weight", i, base));
    if (weight) {
        x = qx_build_node(b, "HeadNormalization", qx_build_text(b, "L%d.%s.norm", i, alias),
                          qx_build_text(b, "{\"num_heads\":%lld,\"epsilon\":%.17g}",
                                        (long long)heads, s->epsilon),
                          (const char *[3]){x, weight});
    }
    alias = qx_build_text(b, "L%d.%s.turn", i, alias);
    return qx_build_node(b, "RotaryEmbedding", alias,
                         qx_build_text(b, "{\"num_heads\":%lld,\"interleaved\":%d,%s}",
                                       (long long)heads, s->is_interleaved, s->rotary),
                         (const char *[3]){x, s->factors});
}

/* Places that layer i looks back at, with its own; 0: all. Mistral names a window for all layers, Qwen for those
 * from max_window_layers on where use_sliding_window says so; "layer_types" for each. */
static int64_t window_of(struct qx_build *b, int i)
{
    const int64_t window = qx_build_int_or(b, "sliding_window", 0, 0, INT64_C(1) << 31);
    const struct qx_jval *types = qx_jget(b->config, "layer_types"),
                         *type = qx_jat(types, (size_t)i);
    if (b->st == QX_OK && types && !qx_jis_null(types) && !qx_jis_string(type)) {
        b->st = qx_fail(b->err, QX_EFORMAT, "\"layer_types\" names no type of layer %d", i);
    }
    if (type) {
        return strcmp(qx_jstr(type, ""), "sliding_attention") == 0 ? window : 0;
    }
    if (strcmp(qx_jstr(qx_jget(b->config, "model_type"), ""), "mistral") == 0) {
        return window;
    }
    return qx_build_flag(b, "use_sliding_window", false) &&
                   i >= qx_build_int_or(b, "max_window_layers", 28, 0, 1 << 20)
               ? window
               : 0;
}

static const char *attention(struct qx_build *b, const struct sizes *s, int i, const char *x)
{
    const int64_t d = s->hidden, wide = s->head * s->heads, kv = s->head * s->kv_heads;
    const char *key = "hidden_size", *kv_key = "the width of num_key_value_heads";
    const char *q_key = "the width of num_attention_heads";
    const char *q = linear(b, i, "attn.query", "self_attn.q_proj", x, q_key, wide, key, d);
    const char *k = linear(b, i, "attn.key", "self_attn.k_proj", x, kv_key, kv, key, d);
    const char *v = linear(b, i, "attn.value", "self_attn.v_proj", x, kv_key, kv, key, d);
    q = turned(b, s, i, "attn.query", "self_attn.q_norm", q, s->heads);
    k = turned(b, s, i, "attn.key", "self_attn.k_norm", k, s->kv_heads);
    const char *y = qx_build_node(
        b, "Attention", qx_build_text(b, "L%d.attn", i),
        qx_build_text(
            b, "{\"q_num_heads\":%lld,\"kv_num_heads\":%lld,\"is_causal\":1,\"window\":%lld}",
            (long long)s->heads, (long long)s->kv_heads, (long long)window_of(b, i)),
        (const char *[3]){q, k, v});
    return linear(b, i, "attn.out", "self_attn.o_proj", y, key, d, q_key, wide);
}

/* down(silu(gate(x)) * up(x)) */
static const char *swiglu(struct qx_build *b, const struct sizes *s, int i, const char *x)
{
    const char *key = "hidden_size", *inner = "intermediate_size";
    const char *gate =
        linear(b, i, "ffn.gate", "mlp.gate_proj", x, inner, s->inner, key, s->hidden);
    const char *up = linear(b, i, "ffn.up", "mlp.up_proj", x, inner, s->inner, key, s->hidden);
    gate = qx_build_node(b, "Swish", qx_build_text(b, "L%d.ffn.act", i), NULL,
                         (const char *[3]){gate});
    gate = qx_build_node(b, "Mul", qx_build_text(b, "L%d.ffn.mul", i), NULL,
                         (const char *[3]){gate, up});
    return linear(b, i, "ffn.down", "mlp.down_proj", gate, key, s->hidden, inner, s->inner);
}

static const char *decoder_layer(struct qx_build *b, const struct sizes *s, int i, const char *x)
{
    const char *y = norm(b, qx_build_text(b, "L%d.attn.norm", i), x,
                         qx_build_text(b, "layers.%d.input_layernorm", i), s->epsilon);
    y = attention(b, s, i, y);
    x = qx_build_node(b, "Add", qx_build_text(b, "L%d.attn.add", i), NULL, (const char *[3]){y, x});
    y = norm(b, qx_build_text(b, "L%d.ffn.norm", i), x,
             qx_build_text(b, "layers.%d.post_attention_layernorm", i), s->epsilon);
    y = swiglu(b, s, i, y);
    return qx_build_node(b, "Add", qx_build_text(b, "L%d.ffn.add", i), NULL,
                         (const char *[3]){y, x});
}

/* lm_head.weight, or the embeddings again. */
static const char *head(struct qx_build *b, const struct sizes *s, const char *x, const char *table)
{
    const bool is_tied = qx_build_flag(b, "tie_word_embeddings", false);
    const char *prefix = b->prefix;
    b->prefix = "";
    const char *weight = is_tied ? table : qx_build_need(b, "lm_head.weight");
    b->prefix = prefix;
    qx_build_check(b, weight, "vocab_size", s->vocabulary, "hidden_size", s->hidden);
    return qx_build_node(b, "Gemm", "head", "{\"transB\":1}", (const char *[3]){x, weight});
}

static enum qx_status build(struct qx_net *net, const struct qx_jval *root, struct qx_error *err)
{
    static const char *const prefixes[] = {"model.", "", NULL};
    struct qx_build b = {.net = net, .config = root, .prefix = "", .st = QX_OK, .err = err};
    (void)qx_build_prefix(&b, prefixes, "embed_tokens.weight"); /* or the first tensor is missed */
    net->name = qx_build_text(&b, "%s", qx_model_name(net->model));
    const struct sizes s = read_sizes(&b);
    const char *table = qx_build_need(&b, "embed_tokens.weight");
    qx_build_check(&b, table, "vocab_size", s.vocabulary, "hidden_size", s.hidden);
    const struct qx_shape ids = {.rank = 2, .batch = 0, .lead = 1, .dim = {1, s.places}};
    if (b.st == QX_OK) {
        b.st = qx_graph_input(net, "input_ids", &ids, true, err);
    }
    const char *x =
        qx_build_node(&b, "Embedding", "embed.word", NULL, (const char *[3]){"input_ids", table});
    for (int i = 0; b.st == QX_OK && i < s.layers; i++) {
        x = decoder_layer(&b, &s, i, x);
    }
    x = norm(&b, "norm", x, "norm", s.epsilon);
    qx_build_end(&b, "language-modelling", head(&b, &s, x, table));
    return b.st;
}

const struct qx_arch qx_arch_llama = {
    .name = "llama", .file = "config.json", .probe = probe, .build = build};
