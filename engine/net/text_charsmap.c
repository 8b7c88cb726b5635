/* The Precompiled normalizer: SentencePiece's own map of characters (its NFKC with rules of its own, so no
 * Unicode form can stand in for it), as Hugging Face's tokenizers apply it.
 *
 * The map is base64 of: u32 bytes of the trie, the trie, then the new texts, each ended by a zero byte.
 * The trie is a double array (Aoe 1989) in the layout of darts-clone, little-endian units of 32 bits:
 * bits 0-7 and 31 the label, bit 8 "has a value", bits 10-30 the offset to the children, which bit 9 shifts
 * by 8; a value is the place of the new text.
 *
 * A cluster of less than 6 bytes (UAX #29) is looked up whole, then its characters one by one; the
 * shortest entry that begins it is taken, for all of it. */
#include "net/text.h"

#include "base/base64.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/unicode.h"

#include <string.h>

enum { CLUSTER_BYTES = 6 };

static enum qx_status damaged(const char *what, enum qx_status st, struct qx_error *err)
{
    return qx_fail(err, st, "%s: the map of the Precompiled normalizer is damaged", what);
}

static uint32_t unit_at(const struct qx_text_step *s, size_t i)
{
    const unsigned char *p = (const unsigned char *)s->find + 4 * i;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

enum qx_status qx_text_charsmap_open(struct qx_text_step *s, const struct qx_jval *v,
                                     const char *what, struct qx_error *err)
{
    const struct qx_jval *map = qx_jget(v, "precompiled_charsmap");
    const char *text = qx_jstr(map, "");
    struct qx_buf bytes = {0};
    uint32_t n = 0;
    if (text[0] == '\0') { /* none: the text stays as it is */
        return !map || qx_jis_null(map) || qx_jstr(map, NULL) ? QX_OK
                                                              : damaged(what, QX_EFORMAT, err);
    }
    bool is_good = qx_base64_decode(text, strlen(text), &bytes) && !bytes.oom && bytes.len >= 8;
    if (is_good) {
        const unsigned char *p = (const unsigned char *)bytes.data;
        n = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        is_good = n >= 4 && n % 4 == 0 && n <= bytes.len - 4 &&
                  qx_utf8_valid(bytes.data + 4 + n, bytes.len - 4 - n);
    }
    if (is_good) {
        s->find_len = n;
        s->find = qx_mem_alloc(n);
        s->text_len = bytes.len - 4 - n;
        s->text = qx_mem_alloc(s->text_len + 1);
    }
    if (s->find && s->text) {
        memcpy(s->find, bytes.data + 4, n);
        memcpy(s->text, bytes.data + 4 + n, s->text_len);
        s->text[s->text_len] = '\0';
    }
    const bool oom = bytes.oom || (is_good && (!s->find || !s->text));
    qx_buf_release(&bytes);
    return oom       ? qx_fail_nomem(err, strlen(text))
           : is_good ? QX_OK
                     : damaged(what, QX_EFORMAT, err);
}

/* Place of the new text for the shortest entry that text[0..len) begins with; -1: none, -2: the trie
 * leads out of itself. */
static int64_t lookup(const struct qx_text_step *s, const char *text, size_t len)
{
    const size_t n_units = s->find_len / 4;
    uint32_t unit = n_units > 0 ? unit_at(s, 0) : 0;
    size_t at = (size_t)(unit >> 10) << ((unit & 1U << 9) >> 6);
    for (size_t i = 0; i < len && n_units > 0 && text[i] != '\0'; i++) {
        at ^= (unsigned char)text[i];
        if (at >= n_units) {
            return -2;
        }
        unit = unit_at(s, at);
        if ((unit & (1U << 31 | 0xFF)) != (unsigned char)text[i]) {
            return -1;
        }
        at ^= (size_t)(unit >> 10) << ((unit & 1U << 9) >> 6);
        if (unit >> 8 & 1) {
            return at < n_units ? (int64_t)(unit_at(s, at) & 0x7FFFFFFF) : -2;
        }
    }
    return -1;
}

/* 1: its new text was added; 0: it has none; -1: the map is damaged. */
static int replace(const struct qx_text_step *s, const char *text, size_t len, struct qx_buf *out)
{
    const int64_t at = lookup(s, text, len);
    if (at == -1) {
        return 0;
    }
    if (at < 0 || (size_t)at > s->text_len || ((unsigned char)s->text[at] & 0xC0) == 0x80) {
        return -1;
    }
    qx_buf_puts(out, s->text + at);
    return 1;
}

enum qx_status qx_text_charsmap(const struct qx_text_step *s, const char *text, size_t len,
                                struct qx_buf *out, struct qx_error *err)
{
    int is_done = 0;
    for (size_t at = 0, step; at < len && is_done >= 0; at += step) {
        step = qx_grapheme_next(text + at, len - at);
        is_done = step < CLUSTER_BYTES ? replace(s, text + at, step, out) : 0;
        for (size_t i = 0, n; i < step && is_done == 0; i += n) {
            uint32_t c;
            n = qx_utf8_next(text + at + i, step - i, &c);
            const int is_new = replace(s, text + at + i, n, out);
            if (is_new == 0) {
                qx_buf_add(out, text + at + i, n);
            }
            is_done = is_new < 0 ? is_new : 0;
        }
    }
    return is_done < 0 ? damaged("the tokenizer", QX_EDATA, err) : QX_OK;
}
