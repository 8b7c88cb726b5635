/* config.json and tensor names of a GGUF file (ggml-org/ggml, docs/gguf.md; gguf-py's tensor names). */
#include "net/gguf.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool qx_gguf_is(const struct qx_model *model)
{
    return strcmp(qx_model_format(model), "GGUF") == 0;
}

/* ---- names ---- */

static const struct {
    const char *here, *there;
} wholes[] = {{"embed_tokens.weight", "token_embd.weight"},
              {"norm.weight", "output_norm.weight"},
              {"lm_head.weight", "output.weight"}},
  parts[] = {{"input_layernorm", "attn_norm"},    {"post_attention_layernorm", "ffn_norm"},
             {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
             {"self_attn.v_proj", "attn_v"},      {"self_attn.o_proj", "attn_output"},
             {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
             {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
             {"mlp.down_proj", "ffn_down"}};

/* "layers.3.mlp.up_proj.weight": the block 3, the part between, the kind ".weight". */
struct block_part {
    long layer;
    const char *part, *kind;
};

static bool block_split(const char *name, const char *before, struct block_part *out)
{
    const size_t n = strlen(before);
    char *rest;
    if (strncmp(name, before, n) != 0) {
        return false;
    }
    out->layer = strtol(name + n, &rest, 10);
    out->part = rest + 1;
    out->kind = strrchr(rest, '.');
    return *rest == '.' && out->kind > rest;
}

static bool is_part(const struct block_part *b, const char *part)
{
    const size_t n = strlen(part);
    return (size_t)(b->kind - b->part) == n && strncmp(b->part, part, n) == 0;
}

bool qx_gguf_name(const char *name, char *out, size_t cap)
{
    static const char prefix[] = "model.";
    if (strncmp(name, prefix, sizeof prefix - 1) == 0) {
        name += sizeof prefix - 1;
    }
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
        if (strcmp(name, wholes[i].here) == 0) {
            snprintf(out, cap, "%s", wholes[i].there);
            return true;
        }
    }
    struct block_part b;
    if (!block_split(name, "layers.", &b)) {
        return false;
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (is_part(&b, parts[i].here)) {
            snprintf(out, cap, "blk.%ld.%s%s", b.layer, parts[i].there, b.kind);
            return true;
        }
    }
    return false;
}

bool qx_gguf_name_there(const char *name, char *out, size_t cap)
{
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
        if (strcmp(name, wholes[i].there) == 0) {
            const bool is_head = strcmp(wholes[i].here, "lm_head.weight") == 0;
            snprintf(out, cap, "%s%s", is_head ? "" : "model.", wholes[i].here);
            return true;
        }
    }
    struct block_part b;
    if (!block_split(name, "blk.", &b)) {
        return false;
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (is_part(&b, parts[i].there)) {
            snprintf(out, cap, "model.layers.%ld.%s%s", b.layer, parts[i].here, b.kind);
            return true;
        }
    }
    return false;
}

/* ---- numbers ---- */

static const char *const numbers[][2] = {
    {"hidden_size", "embedding_length"},
    {"num_hidden_layers", "block_count"},
    {"num_attention_heads", "attention.head_count"},
    {"num_key_value_heads", "attention.head_count_kv"},
    {"intermediate_size", "feed_forward_length"},
    {"max_position_embeddings", "context_length"},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon"},
    {"rope_theta", "rope.freq_base"},
    {"head_dim", "attention.key_length"},
};

const char *qx_gguf_key(const char *key)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(numbers[i][0], key) == 0) {
            return numbers[i][1];
        }
    }
    return NULL;
}

struct source {
    const struct qx_model *model;
    const char *arch;
    struct qx_jw *w;
};

static const char *meta(const struct source *s, const char *key)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%s", s->arch, key);
    return qx_model_metadata(s->model, full);
}

int64_t qx_gguf_number_of(const struct qx_model *model, const char *key, int64_t fallback)
{
    const char *arch = qx_model_metadata(model, "general.architecture");
    const struct source s = {model, arch ? arch : "", NULL};
    const char *text = meta(&s, key);
    return text ? strtoll(text, NULL, 10) : fallback;
}

/* What is no finite number stays what it is, for the reader to refuse. */
static void number_put(const struct source *s, const char *key, const char *from)
{
    const char *text = meta(s, from);
    struct qx_model_array array;
    char full[128], *end = NULL;
    const double x = text ? strtod(text, &end) : 0.0;
    snprintf(full, sizeof full, "%s.%s", s->arch, from);
    if (!text && !qx_model_array(s->model, full, &array)) {
        return;
    }
    qx_jw_key(s->w, key);
    if (text && end > text && *end == '\0' && isfinite(x)) {
        qx_jw_num(s->w, x);
    } else {
        qx_jw_str(s->w, text ? text : "an array");
    }
}

static void id_put(const struct source *s, const char *key, const char *from)
{
    const char *text = qx_model_metadata(s->model, from);
    if (text) {
        qx_jw_key(s->w, key);
        qx_jw_int(s->w, strtoll(text, NULL, 10));
    }
}

static void scaling_put(const struct source *s)
{
    const char *type = meta(s, "rope.scaling.type");
    if (type && strcmp(type, "none") != 0) {
        qx_jw_key(s->w, "rope_scaling");
        qx_jw_object(s->w);
        qx_jw_key(s->w, "type");
        qx_jw_str(s->w, type);
        number_put(s, "factor", "rope.scaling.factor");
        qx_jw_end(s->w);
    }
}

struct known {
    const char *arch, *title; /* in GGUF; in "architectures" */
};

static const struct known *known_find(const char *arch)
{
    static const struct known known[] = {{"llama", "LlamaForCausalLM"},
                                         {"qwen2", "Qwen2ForCausalLM"},
                                         {"qwen3", "Qwen3ForCausalLM"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(arch, known[i].arch) == 0) {
            return &known[i];
        }
    }
    return NULL;
}

static void config_put(const struct source *s, int64_t vocabulary, bool for_others)
{
    qx_jw_key(s->w, "model_type");
    qx_jw_str(s->w, s->arch);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        number_put(s, numbers[i][0], numbers[i][1]);
    }
    qx_jw_key(s->w, "vocab_size");
    qx_jw_int(s->w, vocabulary);
    scaling_put(s);
    id_put(s, "bos_token_id", "tokenizer.ggml.bos_token_id");
    id_put(s, "eos_token_id", "tokenizer.ggml.eos_token_id");
    qx_jw_key(s->w, "tie_word_embeddings");
    qx_jw_bool(s->w, qx_model_find(s->model, "output.weight") < 0);
    if (!for_others) {
        qx_jw_key(s->w, "rope_interleaved");
        qx_jw_bool(s->w, strcmp(s->arch, "llama") == 0);
        return;
    }
    qx_jw_key(s->w, "hidden_act");
    qx_jw_str(s->w, "silu");
    qx_jw_key(s->w, "architectures");
    qx_jw_array(s->w);
    qx_jw_str(s->w, known_find(s->arch)->title);
    qx_jw_end(s->w);
}

enum qx_status qx_gguf_config_text(const struct qx_model *model, bool for_others, char **out,
                                   size_t *len, struct qx_error *err)
{
    const char *arch = qx_model_metadata(model, "general.architecture");
    const int64_t at = qx_model_find(model, "token_embd.weight");
    const struct qx_tensor *table = at >= 0 ? qx_model_tensor(model, at) : NULL;
    if (!arch || !known_find(arch)) {
        return qx_fail(
            err, QX_EUNSUPPORTED,
            "it holds a network of type '%.60s', which is not run (llama, qwen2 and qwen3 are), so "
            "there is no accuracy, but the weights can be explored and quantized",
            arch ? arch : "unknown");
    }
    struct source s = {model, arch, NULL};
    const char *experts = meta(&s, "expert_count");
    if (experts && strtoll(experts, NULL, 10) > 0) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "its layers choose among %.20s experts, which is not run; the weights can "
                       "be explored and quantized",
                       experts);
    }
    if (!table || table->rank != 2) {
        return qx_fail(err, QX_EFORMAT,
                       "it holds no table 'token_embd.weight', so the network cannot be run");
    }
    s.w = qx_jw_new(for_others);
    qx_jw_object(s.w);
    config_put(&s, table->shape[0], for_others);
    qx_jw_end(s.w);
    *out = qx_jw_take(s.w, len);
    return *out ? QX_OK : qx_fail_nomem(err, 1024);
}

enum qx_status qx_gguf_config(const struct qx_model *model, struct qx_json **out,
                              struct qx_error *err)
{
    char *text = NULL;
    size_t len = 0;
    enum qx_status st = qx_gguf_config_text(model, false, &text, &len, err);
    st = st == QX_OK ? qx_json_parse(text, len, "metadata", out, err) : st;
    qx_free_text(text);
    return st;
}
