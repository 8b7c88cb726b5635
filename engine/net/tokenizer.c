/* A folder's tokenizer: which file, what it says, and the road of a text through it. */
#include "net/gguf.h"
#include "net/text.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/unicode.h"

#include <limits.h>
#include <string.h>

/* Llama-3's tokenizer.json has 9 MB; nothing sensible has more than this. */
enum { MAX_FILE = 128 << 20 };

/* ---- tokenizer.json ---- */

static enum qx_status vocab_read(struct qx_tokenizer *t, const struct qx_jval *vocab,
                                 struct qx_error *err)
{
    struct qx_buf bytes = {0};
    enum qx_status st =
        qx_jis_object(vocab) ? QX_OK : qx_fail(err, QX_EFORMAT, "%s has no vocabulary", t->path);
    for (const struct qx_jval *v = st == QX_OK ? qx_jfirst(vocab) : NULL; v && st == QX_OK;
         v = qx_jnext(v)) {
        const char *text = qx_jkey(v);
        size_t len = strlen(text);
        int64_t id;
        bytes.len = 0;
        if (!qx_jint(v, &id) || id < 0 || id >= QX_TOKEN_MAX) {
            st = qx_fail(err, QX_EFORMAT, "%s: the token '%.40s' has no id from 0 to %d", t->path,
                         text, QX_TOKEN_MAX - 1);
        } else if (id < t->vocab.n && t->vocab.tokens[id].text) {
            st = qx_fail(err, QX_EFORMAT, "%s: the token '%.40s' has the id %lld, as another has",
                         t->path, text, (long long)id);
        } else if (t->is_bytes && qx_text_letters_to_bytes(text, len, &bytes) && !bytes.oom) {
            text = bytes.data;
            len = bytes.len;
        }
        if (st == QX_OK && (bytes.oom || !qx_vocab_add(&t->vocab, text ? text : "", len, id))) {
            st = qx_fail_nomem(err, len);
        }
    }
    qx_buf_release(&bytes);
    return st;
}

static enum qx_status around_add(const struct qx_tokenizer *t, const struct qx_jval *ids,
                                 struct qx_ids *out, struct qx_error *err)
{
    for (const struct qx_jval *v = qx_jfirst(ids); v; v = qx_jnext(v)) {
        int64_t id;
        if (!qx_jint(v, &id) || id < 0 || id >= QX_TOKEN_MAX) {
            return qx_fail(err, QX_EFORMAT, "%s: post_processor names an id that is none", t->path);
        }
        if (!qx_ids_add(out, (int32_t)id)) {
            return qx_fail_nomem(err, sizeof(int32_t));
        }
    }
    return QX_OK;
}

/* TemplateProcessing: [CLS] $A [SEP] as a list. */
static enum qx_status template_read(struct qx_tokenizer *t, const struct qx_jval *v,
                                    struct qx_error *err)
{
    const struct qx_jval *known = qx_jget(v, "special_tokens");
    struct qx_ids *out = &t->before;
    enum qx_status st = QX_OK;
    for (const struct qx_jval *c = qx_jfirst(qx_jget(v, "single")); c && st == QX_OK;
         c = qx_jnext(c)) {
        const char *name = qx_jstr(qx_jget(qx_jget(c, "SpecialToken"), "id"), NULL);
        if (!name) {
            out = &t->after;
            continue;
        }
        const struct qx_jval *ids = qx_jget(qx_jget(known, name), "ids");
        st = ids ? around_add(t, ids, out, err)
                 : qx_fail(err, QX_EFORMAT,
                           "%s: post_processor puts '%.40s' around a text, and does not say what "
                           "its id is",
                           t->path, name);
    }
    return st;
}

/* BertProcessing, RobertaProcessing: "cls" and "sep" are [token, id]. */
static enum qx_status pair_read(struct qx_tokenizer *t, const struct qx_jval *v,
                                struct qx_error *err)
{
    int64_t cls, sep;
    if (!qx_jint(qx_jat(qx_jget(v, "cls"), 1), &cls) ||
        !qx_jint(qx_jat(qx_jget(v, "sep"), 1), &sep) || cls < 0 || cls >= QX_TOKEN_MAX || sep < 0 ||
        sep >= QX_TOKEN_MAX) {
        return qx_fail(err, QX_EFORMAT, "%s: post_processor lacks the ids of cls and sep", t->path);
    }
    return qx_ids_add(&t->before, (int32_t)cls) && qx_ids_add(&t->after, (int32_t)sep)
               ? QX_OK
               : qx_fail_nomem(err, sizeof(int32_t));
}

static enum qx_status around_read(struct qx_tokenizer *t, const struct qx_jval *v, int depth,
                                  struct qx_error *err)
{
    const char *type = qx_jstr(qx_jget(v, "type"), NULL);
    if (!type) {
        return qx_fail(err, QX_EFORMAT, "%s: a post_processor has no type", t->path);
    }
    if (strcmp(type, "ByteLevel") == 0) { /* concerns offsets only */
        return QX_OK;
    }
    if (strcmp(type, "TemplateProcessing") == 0) {
        return template_read(t, v, err);
    }
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
        return pair_read(t, v, err);
    }
    if (strcmp(type, "Sequence") == 0 && depth == 0) {
        enum qx_status st = QX_OK;
        for (const struct qx_jval *c = qx_jfirst(qx_jget(v, "processors")); c && st == QX_OK;
             c = qx_jnext(c)) {
            st = around_read(t, c, 1, err);
        }
        return st;
    }
    return qx_fail(err, QX_EUNSUPPORTED, "%s: a post_processor of type '%.40s' is not known here",
                   t->path, type);
}

/* Does a decoder turn U+2581 into spaces? */
static bool is_spaced(const struct qx_jval *decoder)
{
    if (strcmp(qx_jstr(qx_jget(decoder, "type"), ""), "Metaspace") == 0 ||
        strcmp(qx_jstr(qx_jget(qx_jget(decoder, "pattern"), "String"), ""), "\xE2\x96\x81") == 0) {
        return true;
    }
    const struct qx_jval *list = qx_jget(decoder, "decoders");
    for (const struct qx_jval *c = qx_jfirst(list); c; c = qx_jnext(c)) {
        if (strcmp(qx_jstr(qx_jget(qx_jget(c, "pattern"), "String"), ""), "\xE2\x96\x81") == 0 ||
            strcmp(qx_jstr(qx_jget(c, "type"), ""), "Metaspace") == 0) {
            return true;
        }
    }
    return false;
}

static enum qx_status model_read(struct qx_tokenizer *t, const struct qx_jval *root,
                                 struct qx_error *err)
{
    static const struct qx_text_model *const rows[] = {&qx_text_wordpiece, &qx_text_bpe,
                                                       &qx_text_unigram};
    const struct qx_jval *model = qx_jget(root, "model");
    /* files of 2020 do not say it */
    const struct qx_jval *named = qx_jget(model, "type");
    const char *type = qx_jstr(named, !named && qx_jget(model, "merges") ? "BPE" : "?");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i]->type, type) == 0) {
            t->model = rows[i];
        }
    }
    if (!t->model) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "%s: tokenizers of type '%.40s' are not read (WordPiece, BPE and Unigram "
                       "are); give token ids instead (eval.safetensors with input_ids)",
                       t->path, type);
    }
    enum qx_status st =
        t->model->has_own_vocabulary ? QX_OK : vocab_read(t, qx_jget(model, "vocab"), err);
    return st == QX_OK ? t->model->open(t, model, err) : st;
}

static enum qx_status json_read(struct qx_tokenizer *t, const struct qx_jval *root,
                                struct qx_error *err)
{
    t->is_spaced = is_spaced(qx_jget(root, "decoder"));
    enum qx_status st =
        qx_text_steps_read(qx_jget(root, "normalizer"), false, t->path, &t->normalizers, err);
    if (st == QX_OK) {
        st = qx_text_steps_read(qx_jget(root, "pre_tokenizer"), true, t->path, &t->splitters, err);
    }
    t->is_bytes = qx_text_is_bytes(&t->splitters);
    if (st == QX_OK) {
        st = model_read(t, root, err);
    }
    if (st == QX_OK) {
        st = qx_text_added_read(t, qx_jget(root, "added_tokens"), err);
    }
    const struct qx_jval *around = qx_jget(root, "post_processor");
    return st == QX_OK && around && !qx_jis_null(around) ? around_read(t, around, 0, err) : st;
}

/* ---- vocab.txt: a token a line; the rest of a tokenizer.json is BERT's, written here ---- */

static enum qx_status lines_write(struct qx_jw *w, const char *path, const char *text, size_t len,
                                  struct qx_error *err)
{
    int64_t id = 0;
    for (size_t at = 0; at < len; id++) {
        const char *end = memchr(text + at, '\n', len - at);
        const size_t stop = end ? (size_t)(end - text) : len;
        size_t n = stop - at;
        n -= n > 0 && text[at + n - 1] == '\r';
        if (id == QX_TOKEN_MAX || memchr(text + at, '\0', n) || !qx_utf8_valid(text + at, n)) {
            return qx_fail_at(err, QX_EFORMAT, path, NULL, (int64_t)at,
                              "%s: line %lld is no token of UTF-8 text", path, (long long)id + 1);
        }
        char *key = qx_mem_alloc(n + 1);
        if (!key) {
            return qx_fail_nomem(err, n + 1);
        }
        memcpy(key, text + at, n);
        key[n] = '\0';
        if (n > 0) {
            qx_jw_key(w, key);
            qx_jw_int(w, id);
        }
        qx_mem_free(key);
        at = stop + 1;
    }
    return QX_OK;
}

static void specials_write(struct qx_jw *w, const char *text, size_t len)
{
    static const char *const names[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    int64_t id = 0;
    qx_jw_key(w, "added_tokens");
    qx_jw_array(w);
    for (size_t at = 0; at < len; id++) {
        const char *end = memchr(text + at, '\n', len - at);
        const size_t stop = end ? (size_t)(end - text) : len;
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            const size_t n = strlen(names[i]);
            const bool is_whole = stop - at == n || (stop - at == n + 1 && text[at + n] == '\r');
            if (is_whole && memcmp(text + at, names[i], n) == 0) {
                qx_jw_object(w);
                qx_jw_key(w, "id");
                qx_jw_int(w, id);
                qx_jw_key(w, "content");
                qx_jw_str(w, names[i]);
                qx_jw_key(w, "special");
                qx_jw_bool(w, true);
                qx_jw_end(w);
            }
        }
        at = stop + 1;
    }
    qx_jw_end(w);
}

static void type_write(struct qx_jw *w, const char *key, const char *type)
{
    qx_jw_key(w, key);
    qx_jw_object(w);
    qx_jw_key(w, "type");
    qx_jw_str(w, type);
}

static void bert_write(struct qx_jw *w, const struct qx_jval *config)
{
    type_write(w, "normalizer", "BertNormalizer");
    qx_jw_key(w, "lowercase");
    qx_jw_bool(w, qx_jbool(qx_jget(config, "do_lower_case"), true));
    if (qx_jis_bool(qx_jget(config, "strip_accents"))) {
        qx_jw_key(w, "strip_accents");
        qx_jw_bool(w, qx_jbool(qx_jget(config, "strip_accents"), true));
    }
    qx_jw_key(w, "handle_chinese_chars");
    qx_jw_bool(w, qx_jbool(qx_jget(config, "tokenize_chinese_chars"), true));
    qx_jw_end(w);
    type_write(w, "pre_tokenizer", "BertPreTokenizer");
    qx_jw_end(w);
}

static enum qx_status lines_to_json(const char *path, const struct qx_jval *config,
                                    struct qx_json **out, struct qx_error *err)
{
    char *text = NULL;
    size_t len = 0;
    enum qx_status st = qx_fs_read(path, MAX_FILE, &text, &len, err);
    struct qx_jw *w = st == QX_OK ? qx_jw_new(false) : NULL;
    if (st == QX_OK) {
        qx_jw_object(w);
        bert_write(w, config);
        specials_write(w, text, len);
        type_write(w, "model", "WordPiece");
        qx_jw_key(w, "vocab");
        qx_jw_object(w);
        st = lines_write(w, path, text, len, err);
        qx_jw_end(w);
        qx_jw_end(w);
        qx_jw_end(w);
    }
    size_t n = 0;
    char *made = qx_jw_take(w, &n);
    if (st == QX_OK) {
        st = made ? qx_json_parse(made, n, path, out, err) : qx_fail_nomem(err, len);
    }
    qx_free_text(made);
    qx_mem_free(text);
    return st;
}

static enum qx_status lines_read(struct qx_tokenizer *t, const char *folder, struct qx_error *err)
{
    char *config_path = qx_fs_join(folder, "tokenizer_config.json");
    struct qx_json *config = NULL, *json = NULL;
    enum qx_status st = config_path ? QX_OK : qx_fail_nomem(err, strlen(folder));
    if (st == QX_OK && qx_fs_exists(config_path)) {
        st = qx_json_load(config_path, MAX_FILE, &config, err);
    }
    if (st == QX_OK) {
        st = lines_to_json(t->path, config ? qx_json_root(config) : NULL, &json, err);
    }
    if (st == QX_OK) {
        st = json_read(t, qx_json_root(json), err);
    }
    const int32_t cls = qx_vocab_find(&t->vocab, "[CLS]", 5);
    const int32_t sep = qx_vocab_find(&t->vocab, "[SEP]", 5);
    if (st == QX_OK && (cls < 0 || sep < 0)) {
        st = qx_fail(err, QX_EFORMAT, "%s lacks [CLS] or [SEP], which BERT puts around a text",
                     t->path);
    }
    if (st == QX_OK && (!qx_ids_add(&t->before, cls) || !qx_ids_add(&t->after, sep))) {
        st = qx_fail_nomem(err, sizeof(int32_t));
    }
    qx_json_free(json);
    qx_json_free(config);
    qx_mem_free(config_path);
    return st;
}

/* ---- which file ---- */

static enum qx_status file_json(struct qx_tokenizer *t, const char *folder, struct qx_error *err)
{
    (void)folder;
    struct qx_json *json = NULL;
    enum qx_status st = qx_json_load(t->path, MAX_FILE, &json, err);
    st = st == QX_OK ? json_read(t, qx_json_root(json), err) : st;
    qx_json_free(json);
    return st;
}

static enum qx_status file_llama2c(struct qx_tokenizer *t, const char *folder, struct qx_error *err)
{
    (void)folder;
    char *data = NULL;
    size_t len = 0;
    enum qx_status st = qx_fs_read(t->path, MAX_FILE, &data, &len, err);
    st = st == QX_OK ? qx_text_llama2c_read(t, data, len, err) : st;
    qx_mem_free(data);
    return st;
}

static enum qx_status file_gguf(struct qx_tokenizer *t, const char *folder, struct qx_error *err)
{
    (void)folder;
    struct qx_model *m = NULL;
    struct qx_json *json = NULL;
    char *data = NULL;
    size_t len = 0;
    enum qx_status st = qx_model_open(t->path, &m, err);
    if (st != QX_OK) {
        return st;
    }
    const char *kind = qx_gguf_tokenizer(m);
    if (strcmp(kind, "gpt2") == 0) {
        char *text = NULL;
        st = qx_gguf_bpe(m, &text, &len, err);
        st = st == QX_OK ? qx_json_parse(text, len, qx_model_name(m), &json, err) : st;
        st = st == QX_OK ? json_read(t, qx_json_root(json), err) : st;
        qx_free_text(text);
    } else if (strcmp(kind, "llama") == 0) {
        st = qx_gguf_pieces(m, &data, &len, err);
        st = st == QX_OK ? qx_text_llama2c_read(t, data, len, err) : st;
    } else {
        st = qx_fail(err, QX_EUNSUPPORTED,
                     "%s: a tokenizer of type '%.40s' is not read (gpt2 and llama are); give the "
                     "model's tokenizer.json with --tokenizer",
                     t->path, kind);
    }
    qx_json_free(json);
    qx_mem_free(data);
    qx_model_close(&m);
    return st;
}

static const struct {
    const char *file, *ending;
    enum qx_status (*read)(struct qx_tokenizer *t, const char *folder, struct qx_error *err);
} files[] = {{"tokenizer.json", ".json", file_json},
             {"vocab.txt", ".txt", lines_read},
             {"tokenizer.bin", ".bin", file_llama2c},
             {"metadata.gguf", ".gguf", file_gguf}};

static enum qx_status none_found(const char *folder, struct qx_error *err)
{
    static const char *const others[] = {"tokenizer.model", "spiece.model", "vocab.json"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char *path = qx_fs_join(folder, others[i]);
        const bool is_there = path && qx_fs_exists(path);
        qx_mem_free(path);
        if (is_there) {
            return qx_fail(
                err, QX_EUNSUPPORTED,
                "%s holds %s only, which is not read; save the tokenizer as tokenizer.json "
                "(AutoTokenizer.from_pretrained(..., use_fast=True).save_pretrained(...))",
                folder, others[i]);
        }
    }
    return qx_fail(err, QX_EUNSUPPORTED,
                   "%s holds no tokenizer (tokenizer.json, vocab.txt or tokenizer.bin): text "
                   "cannot become token ids; copy the one of the model's own folder there",
                   folder);
}

/* The first file that is there, in the folder or, by its ending, the path itself; t->file stays NULL
 * without one. */
static enum qx_status files_read(struct qx_tokenizer *t, const char *path, struct qx_error *err)
{
    const bool is_dir = qx_fs_is_dir(path);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (!is_dir && !qx_str_ends(path, files[i].ending)) {
            continue;
        }
        t->path = is_dir ? qx_fs_join(path, files[i].file) : qx_mem_strdup(path);
        if (!t->path) {
            return qx_fail_nomem(err, strlen(path));
        }
        if (qx_fs_exists(t->path)) {
            t->file = files[i].file;
            return files[i].read(t, path, err);
        }
        qx_mem_free(t->path);
        t->path = NULL;
    }
    return none_found(path, err);
}

enum qx_status qx_tokenizer_open(const char *path, struct qx_tokenizer **out, struct qx_error *err)
{
    struct qx_tokenizer *t = qx_mem_zalloc(sizeof *t);
    if (!t) {
        return qx_fail_nomem(err, sizeof *t);
    }
    t->unknown = -1;
    const enum qx_status st = files_read(t, path, err);
    if (st != QX_OK) {
        qx_tokenizer_close(&t);
        return st;
    }
    *out = t;
    return QX_OK;
}

void qx_tokenizer_close(struct qx_tokenizer **tokenizer)
{
    struct qx_tokenizer *t = *tokenizer;
    if (!t) {
        return;
    }
    qx_vocab_release(&t->vocab);
    qx_text_steps_release(&t->normalizers);
    qx_text_steps_release(&t->splitters);
    qx_ids_release(&t->before);
    qx_ids_release(&t->after);
    qx_mem_free(t->added);
    qx_mem_free(t->bpe.slots);
    qx_mem_free(t->unigram.pieces);
    qx_mem_free(t->unigram.score);
    qx_mem_free(t->score);
    qx_mem_free(t->path);
    qx_mem_free(t);
    *tokenizer = NULL;
}

const char *qx_tokenizer_file(const struct qx_tokenizer *t)
{
    return t->file;
}

const char *qx_tokenizer_kind(const struct qx_tokenizer *t)
{
    return t->kind;
}

int64_t qx_tokenizer_size(const struct qx_tokenizer *t)
{
    return t->vocab.n;
}

int32_t qx_tokenizer_id(const struct qx_tokenizer *t, const char *token)
{
    return qx_vocab_find(&t->vocab, token, strlen(token));
}
