/* WordPiece: a word becomes the longest tokens that fit, from its start on (Schuster and Nakajima 2012,
 * as BERT has it); a word that cannot be built whole is unknown. */
#include "net/text.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/unicode.h"

#include <string.h>

static enum qx_status open(struct qx_tokenizer *t, const struct qx_jval *v, struct qx_error *err)
{
    const char *unknown = qx_jstr(qx_jget(v, "unk_token"), "[UNK]");
    const char *prefix = qx_jstr(qx_jget(v, "continuing_subword_prefix"), "##");
    t->kind = "WordPiece";
    t->unknown = qx_vocab_find(&t->vocab, unknown, strlen(unknown));
    if (t->unknown < 0) {
        return qx_fail(err, QX_EFORMAT, "%s: the vocabulary lacks its unknown token '%.40s'",
                       t->path, unknown);
    }
    if (strlen(prefix) >= sizeof t->piece.prefix) {
        return qx_fail(err, QX_EFORMAT, "%s: continuing_subword_prefix has more than %zu bytes",
                       t->path, sizeof t->piece.prefix - 1);
    }
    memcpy(t->piece.prefix, prefix, strlen(prefix) + 1);
    t->piece.prefix_len = strlen(prefix);
    if (!qx_jint(qx_jget(v, "max_input_chars_per_word"), &t->piece.max_chars)) {
        t->piece.max_chars = 100;
    }
    return QX_OK;
}

static int64_t chars(const char *word, size_t len)
{
    int64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n += ((unsigned char)word[i] & 0xC0) != 0x80;
    }
    return n;
}

/* The longest token that begins at word[at]; its bytes of the word in *take. */
static int32_t longest(const struct qx_tokenizer *t, const char *word, size_t len, size_t at,
                       struct qx_buf *key, size_t *take)
{
    const size_t prefix = at > 0 ? t->piece.prefix_len : 0;
    key->len = 0;
    qx_buf_add(key, t->piece.prefix, prefix);
    qx_buf_add(key, word + at, len - at);
    for (size_t n = key->oom ? 0 : len - at; n > 0; n--) {
        const bool is_whole = at + n == len || ((unsigned char)word[at + n] & 0xC0) != 0x80;
        const int32_t id = is_whole ? qx_vocab_find(&t->vocab, key->data, prefix + n) : -1;
        if (id >= 0) {
            *take = n;
            return id;
        }
    }
    return -1;
}

static enum qx_status word(const struct qx_tokenizer *t, const char *word, size_t len,
                           struct qx_ids *out, struct qx_error *err)
{
    struct qx_buf key = {0};
    const int64_t first = out->n;
    bool is_known = chars(word, len) <= t->piece.max_chars, is_full = false;
    for (size_t at = 0; at < len && is_known && !is_full;) {
        size_t take = 0;
        const int32_t id = longest(t, word, len, at, &key, &take);
        is_known = id >= 0;
        is_full = is_known && !qx_ids_add(out, id);
        at += take;
    }
    if (!is_known && !key.oom) {
        out->n = first;
        is_full = !qx_ids_add(out, t->unknown);
    }
    const bool oom = is_full || key.oom;
    qx_buf_release(&key);
    return oom ? qx_fail_nomem(err, len) : QX_OK;
}

const struct qx_text_model qx_text_wordpiece = {.type = "WordPiece", .open = open, .word = word};
