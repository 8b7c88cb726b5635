/* Tokens that are found in the text before all else: special ones, and words added to a vocabulary. */
#include "net/text.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/unicode.h"

#include <stdlib.h>
#include <string.h>

static int by_first_byte(const void *a, const void *b)
{
    const struct qx_added *x = a, *y = b;
    const int first = (unsigned char)x->text[0] - (unsigned char)y->text[0];
    if (first != 0) {
        return first;
    }
    return x->len != y->len ? (x->len < y->len ? 1 : -1) : x->id - y->id;
}

static enum qx_status token_read(struct qx_tokenizer *t, const struct qx_jval *v,
                                 struct qx_error *err)
{
    const char *text = qx_jstr(qx_jget(v, "content"), "");
    int64_t id;
    if (text[0] == '\0') {
        return QX_OK; /* nothing that could be found */
    }
    if (!qx_jint(qx_jget(v, "id"), &id) || id < 0 || id >= QX_TOKEN_MAX) {
        return qx_fail(err, QX_EFORMAT, "%s: the added token '%.40s' has no id", t->path, text);
    }
    if (!qx_vocab_add(&t->vocab, text, strlen(text), id)) {
        return qx_fail_nomem(err, strlen(text));
    }
    t->vocab.tokens[id].is_special = qx_jbool(qx_jget(v, "special"), false);
    struct qx_added *a = &t->added[t->n_added++];
    *a = (struct qx_added){.text = t->vocab.tokens[id].text,
                           .len = strlen(text),
                           .id = (int32_t)id,
                           .is_special = t->vocab.tokens[id].is_special,
                           .is_normalized = qx_jbool(qx_jget(v, "normalized"), false),
                           .is_single = qx_jbool(qx_jget(v, "single_word"), false),
                           .strips_left = qx_jbool(qx_jget(v, "lstrip"), false),
                           .strips_right = qx_jbool(qx_jget(v, "rstrip"), false)};
    if (!a->is_normalized) {
        return QX_OK;
    }
    struct qx_buf normal = {0};
    const enum qx_status st = qx_text_normalize(&t->normalizers, text, a->len, &normal, err);
    if (st == QX_OK && normal.len > 0) {
        a->text = qx_arena_strndup(&t->vocab.arena, normal.data, normal.len);
        a->len = normal.len;
    }
    qx_buf_release(&normal);
    return st == QX_OK && !a->text ? qx_fail_nomem(err, a->len) : st;
}

enum qx_status qx_text_added_read(struct qx_tokenizer *t, const struct qx_jval *list,
                                  struct qx_error *err)
{
    if (list && !qx_jis_null(list) && !qx_jis_array(list)) {
        return qx_fail(err, QX_EFORMAT, "%s: added_tokens is no list", t->path);
    }
    const size_t n = qx_jlen(list);
    t->added = qx_mem_zalloc((n + 1) * sizeof *t->added);
    if (!t->added) {
        return qx_fail_nomem(err, n * sizeof *t->added);
    }
    enum qx_status st = QX_OK;
    for (const struct qx_jval *v = n ? qx_jfirst(list) : NULL; v && st == QX_OK; v = qx_jnext(v)) {
        st = token_read(t, v, err);
    }
    qsort(t->added, (size_t)t->n_added, sizeof *t->added, by_first_byte);
    int64_t at = 0;
    for (int byte = 0; byte <= 256; byte++) {
        while (at < t->n_added && (unsigned char)t->added[at].text[0] < byte) {
            at++;
        }
        t->added_first[byte] = (int32_t)at;
    }
    return st;
}

/* Is there no letter or digit just before (after) the place? */
static bool is_edge(const char *text, size_t len, size_t from, size_t to)
{
    uint32_t c;
    if (to < len) {
        qx_utf8_next(text + to, len - to, &c);
        if (qx_char_is_word(c)) {
            return false;
        }
    }
    size_t before = from;
    while (before > 0 && ((unsigned char)text[--before] & 0xC0) == 0x80) {
    }
    if (from > 0) {
        qx_utf8_next(text + before, from - before, &c);
        return !qx_char_is_word(c);
    }
    return true;
}

static void widen(const struct qx_added *a, const char *text, size_t len, size_t floor,
                  struct qx_added_match *m)
{
    uint32_t c;
    while (a->strips_right && m->to < len) {
        const size_t n = qx_utf8_next(text + m->to, len - m->to, &c);
        if (!qx_char_is_space(c)) {
            break;
        }
        m->to += n;
    }
    while (a->strips_left && m->from > floor) {
        size_t before = m->from - 1;
        while (before > floor && ((unsigned char)text[before] & 0xC0) == 0x80) {
            before--;
        }
        qx_utf8_next(text + before, m->from - before, &c);
        if (!qx_char_is_space(c)) {
            break;
        }
        m->from = before;
    }
}

bool qx_text_added_next(const struct qx_tokenizer *t, bool is_normalized, bool is_literal,
                        const char *text, size_t len, size_t at, struct qx_added_match *out)
{
    for (size_t i = at; t->n_added > 0 && i < len; i++) {
        const int byte = (unsigned char)text[i];
        for (int32_t k = t->added_first[byte]; k < t->added_first[byte + 1]; k++) {
            const struct qx_added *a = &t->added[k];
            if (a->is_normalized != is_normalized || (is_literal && a->is_special) ||
                a->len > len - i || memcmp(text + i, a->text, a->len) != 0 ||
                (a->is_single && !is_edge(text, len, i, i + a->len))) {
                continue;
            }
            *out = (struct qx_added_match){i, i + a->len, a->id};
            widen(a, text, len, at, out);
            return true;
        }
    }
    return false;
}
