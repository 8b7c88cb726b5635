/* The tokenizer in a GGUF file's metadata: byte-level BPE as a tokenizer.json, pieces with scores as llama2.c
 * keeps them. */
#include "net/gguf.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_CONTROL = 3, TYPE_USER = 4 };

static enum qx_status array_of(const struct qx_model *m, const char *key, bool is_text,
                               struct qx_model_array *out, struct qx_error *err)
{
    if (!qx_model_array(m, key, out) || out->is_text != is_text) {
        return qx_fail(err, QX_EFORMAT, "%s holds no list '%s'", qx_model_name(m), key);
    }
    return QX_OK;
}

static bool is_true(const struct qx_model *m, const char *key, bool fallback)
{
    const char *v = qx_model_metadata(m, key);
    return v ? strcmp(v, "true") == 0 : fallback;
}

/* ---- byte-level BPE ---- */

/* How texts are cut before merging, by the name of the cut: those of GPT-2, Llama 3 and Qwen 2. */
static const char *pattern_of(const char *pre)
{
    static const struct {
        const char *name, *pattern;
    } rows[] = {
        {"gpt-2", ""},
        {"default", ""},
        {"llama-bpe", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                      "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
        {"qwen2", "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                  "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(pre, rows[i].name) == 0) {
            return rows[i].pattern;
        }
    }
    return NULL;
}

static void bytes_put(struct qx_jw *w, bool uses_regex)
{
    qx_jw_object(w);
    qx_jw_key(w, "type");
    qx_jw_str(w, "ByteLevel");
    qx_jw_key(w, "add_prefix_space");
    qx_jw_bool(w, false);
    qx_jw_key(w, "use_regex");
    qx_jw_bool(w, uses_regex);
    qx_jw_end(w);
}

static void cut_put(struct qx_jw *w, const char *pattern)
{
    qx_jw_key(w, "pre_tokenizer");
    if (!*pattern) {
        bytes_put(w, true);
        return;
    }
    qx_jw_object(w);
    qx_jw_key(w, "type");
    qx_jw_str(w, "Sequence");
    qx_jw_key(w, "pretokenizers");
    qx_jw_array(w);
    qx_jw_object(w);
    qx_jw_key(w, "type");
    qx_jw_str(w, "Split");
    qx_jw_key(w, "pattern");
    qx_jw_object(w);
    qx_jw_key(w, "Regex");
    qx_jw_str(w, pattern);
    qx_jw_end(w);
    qx_jw_key(w, "behavior");
    qx_jw_str(w, "Isolated");
    qx_jw_end(w);
    bytes_put(w, false);
    qx_jw_end(w);
    qx_jw_end(w);
}

/* Each string of the list with its place: NUL-terminated for the time of the call. */
typedef void text_fn(struct qx_jw *w, const char *text, int64_t i, const void *arg);

static enum qx_status each_text(struct qx_jw *w, struct qx_model_array a, text_fn *fn,
                                const void *arg, struct qx_error *err)
{
    const char *text;
    size_t len;
    struct qx_buf b = {0};
    for (int64_t i = 0; qx_model_array_text(&a, &text, &len); i++) {
        b.len = 0;
        qx_buf_add(&b, text, len);
        if (b.oom) {
            break;
        }
        fn(w, b.data ? b.data : "", i, arg);
    }
    const bool oom = b.oom;
    qx_buf_release(&b);
    return oom ? qx_fail_nomem(err, 0) : QX_OK;
}

static void vocabulary_put(struct qx_jw *w, const char *text, int64_t i, const void *arg)
{
    const double *types = arg;
    if (*text && types[i] != TYPE_CONTROL && types[i] != TYPE_USER) {
        qx_jw_key(w, text);
        qx_jw_int(w, i);
    }
}

static void added_put(struct qx_jw *w, const char *text, int64_t i, const void *arg)
{
    const double *types = arg;
    if (*text && (types[i] == TYPE_CONTROL || types[i] == TYPE_USER)) {
        qx_jw_object(w);
        qx_jw_key(w, "id");
        qx_jw_int(w, i);
        qx_jw_key(w, "content");
        qx_jw_str(w, text);
        qx_jw_key(w, "special");
        qx_jw_bool(w, types[i] == TYPE_CONTROL);
        qx_jw_end(w);
    }
}

static void merge_put(struct qx_jw *w, const char *text, int64_t i, const void *arg)
{
    (void)i;
    (void)arg;
    qx_jw_str(w, text);
}

/* What stands before every text. */
static void around_put(const struct qx_model *m, struct qx_jw *w)
{
    const char *bos = qx_model_metadata(m, "tokenizer.ggml.bos_token_id");
    if (!bos || !is_true(m, "tokenizer.ggml.add_bos_token", false)) {
        return;
    }
    qx_jw_key(w, "post_processor");
    qx_jw_object(w);
    qx_jw_key(w, "type");
    qx_jw_str(w, "TemplateProcessing");
    qx_jw_key(w, "single");
    qx_jw_array(w);
    qx_jw_object(w);
    qx_jw_key(w, "SpecialToken");
    qx_jw_object(w);
    qx_jw_key(w, "id");
    qx_jw_str(w, "bos");
    qx_jw_end(w);
    qx_jw_end(w);
    qx_jw_end(w);
    qx_jw_key(w, "special_tokens");
    qx_jw_object(w);
    qx_jw_key(w, "bos");
    qx_jw_object(w);
    qx_jw_key(w, "ids");
    qx_jw_array(w);
    qx_jw_int(w, strtoll(bos, NULL, 10));
    qx_jw_end(w);
    qx_jw_end(w);
    qx_jw_end(w);
    qx_jw_end(w);
}

/* The type of every token; 1, normal, without a list. */
static enum qx_status types_read(const struct qx_model *m, int64_t n, double **out,
                                 struct qx_error *err)
{
    struct qx_model_array a;
    double *types = qx_mem_array((size_t)n + 1, sizeof *types);
    if (!types) {
        return qx_fail_nomem(err, (size_t)n * sizeof *types);
    }
    bool has_types = qx_model_array(m, "tokenizer.ggml.token_type", &a);
    for (int64_t i = 0; i < n; i++) {
        types[i] = 1.0;
        has_types = has_types && qx_model_array_number(&a, &types[i]);
    }
    *out = types;
    return QX_OK;
}

const char *qx_gguf_tokenizer(const struct qx_model *m)
{
    const char *kind = qx_model_metadata(m, "tokenizer.ggml.model");
    return kind ? kind : "none";
}

enum qx_status qx_gguf_bpe(const struct qx_model *m, char **out, size_t *len, struct qx_error *err)
{
    const char *pre = qx_model_metadata(m, "tokenizer.ggml.pre");
    const char *pattern = pattern_of(pre ? pre : "default");
    struct qx_model_array tokens, merges;
    double *types = NULL;
    enum qx_status st = array_of(m, "tokenizer.ggml.tokens", true, &tokens, err);
    st = st == QX_OK ? array_of(m, "tokenizer.ggml.merges", true, &merges, err) : st;
    if (st == QX_OK && !pattern) {
        st = qx_fail(err, QX_EUNSUPPORTED,
                     "%s cuts texts as '%.40s', which is not known here (gpt-2, llama-bpe and "
                     "qwen2 are); give the model's tokenizer.json with --tokenizer",
                     qx_model_name(m), pre);
    }
    st = st == QX_OK ? types_read(m, tokens.n, &types, err) : st;
    if (st != QX_OK) {
        return st;
    }
    struct qx_jw *w = qx_jw_new(false);
    qx_jw_object(w);
    cut_put(w, pattern);
    around_put(m, w);
    qx_jw_key(w, "added_tokens");
    qx_jw_array(w);
    st = each_text(w, tokens, added_put, types, err);
    qx_jw_end(w);
    qx_jw_key(w, "model");
    qx_jw_object(w);
    qx_jw_key(w, "type");
    qx_jw_str(w, "BPE");
    qx_jw_key(w, "vocab");
    qx_jw_object(w);
    st = st == QX_OK ? each_text(w, tokens, vocabulary_put, types, err) : st;
    qx_jw_end(w);
    qx_jw_key(w, "merges");
    qx_jw_array(w);
    st = st == QX_OK ? each_text(w, merges, merge_put, NULL, err) : st;
    qx_jw_end(w);
    qx_jw_end(w);
    qx_jw_end(w);
    qx_mem_free(types);
    char *text = qx_jw_take(w, len);
    if (st == QX_OK && !text) {
        st = qx_fail_nomem(err, 0);
    }
    if (st == QX_OK) {
        *out = text;
    } else {
        qx_free_text(text);
    }
    return st;
}

/* ---- pieces with scores ---- */

static void word_put(struct qx_buf *b, int32_t v)
{
    qx_buf_add(b, &v, sizeof v);
}

/* U+2581 stands for a space. */
static void piece_put(struct qx_buf *b, const char *text, size_t len)
{
    const size_t at = b->len;
    word_put(b, 0);
    for (size_t i = 0; i < len;) {
        const bool is_space = len - i >= 3 && memcmp(text + i, "\xE2\x96\x81", 3) == 0;
        qx_buf_add(b, is_space ? " " : text + i, 1);
        i += is_space ? 3 : 1;
    }
    const int32_t n = (int32_t)(b->len - at - sizeof n);
    if (!b->oom) {
        memcpy(b->data + at, &n, sizeof n);
    }
}

enum qx_status qx_gguf_pieces(const struct qx_model *m, char **out, size_t *len,
                              struct qx_error *err)
{
    struct qx_model_array tokens, scores;
    struct qx_buf b = {0};
    const char *text;
    size_t n;
    enum qx_status st = array_of(m, "tokenizer.ggml.tokens", true, &tokens, err);
    st = st == QX_OK ? array_of(m, "tokenizer.ggml.scores", false, &scores, err) : st;
    if (st != QX_OK) {
        return st;
    }
    word_put(&b, 256); /* the longest */
    for (int64_t i = 0; qx_model_array_text(&tokens, &text, &n); i++) {
        char byte[8];
        double score = 0.0;
        snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)(i - 3) & 255);
        if (i >= 3 && i < 259 && (n != 6 || memcmp(text, byte, 6) != 0)) {
            st = qx_fail(err, QX_EUNSUPPORTED,
                         "%s has no bytes as tokens 3 to 258, as Llama's pieces have; give the "
                         "model's tokenizer.json with --tokenizer",
                         qx_model_name(m));
            break;
        }
        qx_model_array_number(&scores, &score);
        const float f = (float)score;
        qx_buf_add(&b, &f, sizeof f);
        piece_put(&b, text, n);
    }
    if (st == QX_OK && b.oom) {
        st = qx_fail_nomem(err, b.cap);
    }
    if (st == QX_OK) {
        *len = b.len;
        *out = qx_buf_take(&b);
    }
    qx_buf_release(&b);
    return st;
}
