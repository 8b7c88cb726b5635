/* The road of a text to ids, and of ids to text. */
#include "net/text.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/unicode.h"

#include <string.h>

struct road {
    const struct qx_tokenizer *t;
    bool is_literal;
    struct qx_ids *out;
    struct qx_error *err;
};

/* Text between tokens that were found. */
static enum qx_status words_encode(struct road *r, const char *text, size_t len, bool is_first)
{
    struct qx_words words = {0};
    enum qx_status st = qx_text_split(&r->t->splitters, text, len, is_first, &words, r->err);
    for (size_t i = 0; i < qx_words_n(&words) && st == QX_OK; i++) {
        size_t n;
        const char *word = qx_words_at(&words, i, &n);
        st = r->t->model->word(r->t, word, n, r->out, r->err);
    }
    qx_words_release(&words);
    return st;
}

static enum qx_status stretch_encode(struct road *r, bool is_normalized, const char *text,
                                     size_t len, bool is_first);

static enum qx_status rest_encode(struct road *r, bool is_normalized, const char *text, size_t len,
                                  bool is_first)
{
    if (len == 0) {
        return QX_OK;
    }
    if (is_normalized) {
        return words_encode(r, text, len, is_first);
    }
    struct qx_buf normal = {0};
    enum qx_status st = qx_text_normalize(&r->t->normalizers, text, len, &normal, r->err);
    if (st == QX_OK && normal.len > 0) {
        st = stretch_encode(r, true, normal.data, normal.len, is_first);
    }
    qx_buf_release(&normal);
    return st;
}

/* Text with the tokens in it that are looked for before (after) it is normalized. */
static enum qx_status stretch_encode(struct road *r, bool is_normalized, const char *text,
                                     size_t len, bool is_first)
{
    struct qx_added_match m;
    enum qx_status st = QX_OK;
    size_t at = 0;
    while (st == QX_OK &&
           qx_text_added_next(r->t, is_normalized, r->is_literal, text, len, at, &m)) {
        st = rest_encode(r, is_normalized, text + at, m.from - at, is_first && at == 0);
        if (st == QX_OK && !qx_ids_add(r->out, m.id)) {
            st = qx_fail_nomem(r->err, len);
        }
        at = m.to;
    }
    return st == QX_OK ? rest_encode(r, is_normalized, text + at, len - at, is_first && at == 0)
                       : st;
}

static enum qx_status utf8_check(const char *text, size_t len, struct qx_error *err)
{
    if (qx_utf8_valid(text, len)) {
        return QX_OK;
    }
    size_t at = 0;
    for (uint32_t c = 0; at < len;) {
        const size_t n = qx_utf8_next(text + at, len - at, &c);
        if (c == 0xFFFD && n == 1) {
            break;
        }
        at += n;
    }
    return qx_fail_at(err, QX_EDATA, NULL, NULL, (int64_t)at,
                      "the text is not valid UTF-8 (byte %zu of it); convert it with iconv", at);
}

static bool ids_append(struct qx_ids *out, const struct qx_ids *more)
{
    for (int64_t i = 0; i < more->n; i++) {
        if (!qx_ids_add(out, more->id[i])) {
            return false;
        }
    }
    return true;
}

enum qx_status qx_tokenizer_encode(const struct qx_tokenizer *t, const char *text, size_t len,
                                   unsigned flags, int64_t max_ids, struct qx_ids *out,
                                   struct qx_error *err)
{
    const bool is_bare = (flags & QX_TOKENIZE_BARE) != 0;
    const int64_t first = out->n, around = is_bare ? 0 : t->before.n + t->after.n;
    struct road r = {t, (flags & QX_TOKENIZE_LITERAL) != 0, out, err};
    enum qx_status st = utf8_check(text, len, err);
    if (st == QX_OK && max_ids > 0 && max_ids < around) {
        st = qx_fail(err, QX_EDATA, "%lld tokens leave no room for the %lld around every text",
                     (long long)max_ids, (long long)around);
    }
    if (st == QX_OK && !is_bare && !ids_append(out, &t->before)) {
        st = qx_fail_nomem(err, len);
    }
    if (st == QX_OK) {
        st = stretch_encode(&r, false, text, len, true);
    }
    const int64_t room = max_ids - (is_bare ? 0 : t->after.n);
    if (st == QX_OK && max_ids > 0 && out->n - first > room) {
        out->n = first + room;
    }
    if (st == QX_OK && !is_bare && !ids_append(out, &t->after)) {
        st = qx_fail_nomem(err, len);
    }
    if (st != QX_OK) {
        out->n = first;
    }
    return st;
}

/* ---- back ---- */

static bool is_byte_token(const struct qx_token *token, unsigned char *byte)
{
    unsigned value = 0;
    if (token->len != 6 || memcmp(token->text, "<0x", 3) != 0 || token->text[5] != '>') {
        return false;
    }
    for (int i = 3; i < 5; i++) {
        const char c = token->text[i];
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) {
            return false;
        }
        value = value * 16 + (unsigned)digit;
    }
    *byte = (unsigned char)value;
    return true;
}

static void token_decode(const struct qx_tokenizer *t, const struct qx_token *token,
                         struct qx_buf *out)
{
    unsigned char byte;
    if (t->model == &qx_text_wordpiece) {
        const bool is_inside = token->len > t->piece.prefix_len && t->piece.prefix_len > 0 &&
                               memcmp(token->text, t->piece.prefix, t->piece.prefix_len) == 0;
        const size_t skip = is_inside ? t->piece.prefix_len : 0;
        qx_buf_add(out, " ", out->len > 0 && !is_inside);
        qx_buf_add(out, token->text + skip, token->len - skip);
    } else if (!t->is_bytes && is_byte_token(token, &byte)) {
        qx_buf_add(out, &byte, 1);
    } else if (t->is_spaced) {
        for (uint32_t i = 0; i < token->len; i++) {
            if (token->len - i >= 3 && memcmp(token->text + i, "\xE2\x96\x81", 3) == 0) {
                qx_buf_add(out, " ", 1);
                i += 2;
            } else {
                qx_buf_add(out, token->text + i, 1);
            }
        }
    } else {
        qx_buf_add(out, token->text, token->len);
    }
}

/* A text of UTF-8 whatever the bytes are. */
static void text_clean(const char *bytes, size_t len, struct qx_buf *out)
{
    for (size_t at = 0; at < len;) {
        uint32_t c;
        at += qx_utf8_next(bytes + at, len - at, &c);
        qx_utf8_put(out, c == 0 ? 0xFFFD : c);
    }
}

enum qx_status qx_tokenizer_decode(const struct qx_tokenizer *t, const int32_t *ids, int64_t n,
                                   char **text, struct qx_error *err)
{
    struct qx_buf bytes = {0}, clean = {0};
    enum qx_status st = QX_OK;
    for (int64_t i = 0; i < n && st == QX_OK; i++) {
        const bool is_known = ids[i] >= 0 && ids[i] < t->vocab.n && t->vocab.tokens[ids[i]].text;
        if (!is_known) {
            st = qx_fail(err, QX_ERANGE, "token id %d (number %lld) is not in %s", ids[i],
                         (long long)i, t->path);
        } else if (!t->vocab.tokens[ids[i]].is_special) {
            token_decode(t, &t->vocab.tokens[ids[i]], &bytes);
        }
    }
    if (st == QX_OK) {
        /* the space that encoding puts before a text */
        const bool has_space =
            bytes.len > 0 && bytes.data[0] == ' ' && (t->is_spaced || t->model == &qx_text_llama2c);
        text_clean(bytes.data + has_space, bytes.len - has_space, &clean);
        qx_buf_add(&clean, "", 0);
        st = bytes.oom || clean.oom ? qx_fail_nomem(err, bytes.len) : QX_OK;
    }
    if (st == QX_OK) {
        *text = clean.data ? qx_buf_take(&clean) : qx_mem_strdup("");
        st = *text ? QX_OK : qx_fail_nomem(err, clean.len + 1);
    }
    qx_buf_release(&bytes);
    qx_buf_release(&clean);
    return st;
}
