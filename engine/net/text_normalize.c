/* Normalizers: text to text. Types and options are those of Hugging Face's tokenizer.json. */
#include "net/text.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/unicode.h"

#include <string.h>

static enum qx_status form_run(enum qx_unicode_form form, const char *text, size_t len,
                               struct qx_buf *out, struct qx_error *err)
{
    return qx_unicode_normalize(form, text, len, out)
               ? QX_OK
               : qx_fail(err, QX_EDATA, "the text is not valid UTF-8");
}

static enum qx_status form_open(struct qx_text_step *s, const struct qx_jval *v, const char *what,
                                struct qx_error *err)
{
    static const char *const names[] = {
        [QX_NFC] = "NFC", [QX_NFD] = "NFD", [QX_NFKC] = "NFKC", [QX_NFKD] = "NFKD"};
    (void)v;
    (void)what;
    (void)err;
    while (strcmp(names[s->behavior], s->kind->type) != 0) {
        s->behavior++;
    }
    return QX_OK;
}

static enum qx_status form(const struct qx_text_step *s, const char *text, size_t len,
                           struct qx_buf *out, struct qx_error *err)
{
    return form_run((enum qx_unicode_form)s->behavior, text, len, out, err);
}

static enum qx_status lowercase(const struct qx_text_step *s, const char *text, size_t len,
                                struct qx_buf *out, struct qx_error *err)
{
    (void)s;
    (void)err;
    for (size_t at = 0; at < len;) {
        uint32_t c;
        at += qx_utf8_next(text + at, len - at, &c);
        if (c == 0x130) { /* the one letter whose lower case is two characters */
            qx_buf_puts(out, "i\xCC\x87");
        } else {
            qx_utf8_put(out, qx_char_lower(c));
        }
    }
    return QX_OK;
}

static enum qx_status strip_accents(const struct qx_text_step *s, const char *text, size_t len,
                                    struct qx_buf *out, struct qx_error *err)
{
    (void)s;
    (void)err;
    for (size_t at = 0; at < len;) {
        uint32_t c;
        at += qx_utf8_next(text + at, len - at, &c);
        if (!qx_char_is_mark(c)) {
            qx_utf8_put(out, c);
        }
    }
    return QX_OK;
}

/* ---- BertNormalizer ---- */

enum { CLEAN, CHINESE, ACCENTS, LOWER };

static enum qx_status bert_open(struct qx_text_step *s, const struct qx_jval *v, const char *what,
                                struct qx_error *err)
{
    (void)what;
    (void)err;
    s->flags[CLEAN] = qx_jbool(qx_jget(v, "clean_text"), true);
    s->flags[CHINESE] = qx_jbool(qx_jget(v, "handle_chinese_chars"), true);
    s->flags[LOWER] = qx_jbool(qx_jget(v, "lowercase"), true);
    s->flags[ACCENTS] = qx_jbool(qx_jget(v, "strip_accents"), s->flags[LOWER]);
    return QX_OK;
}

/* The blocks that BERT calls Chinese characters: each becomes a word of its own. */
static bool is_chinese(uint32_t c)
{
    static const uint32_t blocks[][2] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF},
                                         {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF},
                                         {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        if (c >= blocks[i][0] && c <= blocks[i][1]) {
            return true;
        }
    }
    return false;
}

static void bert_clean(const struct qx_text_step *s, const char *text, size_t len,
                       struct qx_buf *out)
{
    for (size_t at = 0; at < len;) {
        uint32_t c;
        at += qx_utf8_next(text + at, len - at, &c);
        const bool is_space = qx_char_is_space(c);
        if (s->flags[CLEAN]) {
            const bool is_kept = c == '\t' || c == '\n' || c == '\r' || !qx_char_is_other(c);
            if (c == 0 || c == 0xFFFD || !is_kept) {
                continue;
            }
            c = is_space ? ' ' : c;
        }
        if (s->flags[CHINESE] && is_chinese(c)) {
            qx_buf_puts(out, " ");
            qx_utf8_put(out, c);
            qx_buf_puts(out, " ");
        } else {
            qx_utf8_put(out, c);
        }
    }
}

static enum qx_status bert(const struct qx_text_step *s, const char *text, size_t len,
                           struct qx_buf *out, struct qx_error *err)
{
    struct qx_buf clean = {0}, parts = {0}, bare = {0};
    enum qx_status st = QX_OK;
    bert_clean(s, text, len, &clean);
    const struct qx_buf *last = &clean;
    if (s->flags[ACCENTS] && clean.len > 0) {
        st = form_run(QX_NFD, clean.data, clean.len, &parts, err);
        strip_accents(s, parts.data, parts.len, &bare, err);
        last = &bare;
    }
    if (st == QX_OK && last->len > 0 && s->flags[LOWER]) {
        lowercase(s, last->data, last->len, out, err);
    } else if (st == QX_OK) {
        qx_buf_add(out, last->data, last->len);
    }
    out->oom = out->oom || clean.oom || parts.oom || bare.oom;
    qx_buf_release(&clean);
    qx_buf_release(&parts);
    qx_buf_release(&bare);
    return st;
}

/* ---- texts put in front, replaced, taken off ---- */

static enum qx_status prepend_open(struct qx_text_step *s, const struct qx_jval *v,
                                   const char *what, struct qx_error *err)
{
    return qx_text_string(v, "prepend", what, &s->text, &s->text_len, err);
}

static enum qx_status prepend(const struct qx_text_step *s, const char *text, size_t len,
                              struct qx_buf *out, struct qx_error *err)
{
    (void)err;
    qx_buf_add(out, s->text, s->text_len);
    qx_buf_add(out, text, len);
    return QX_OK;
}

static enum qx_status replace_open(struct qx_text_step *s, const struct qx_jval *v,
                                   const char *what, struct qx_error *err)
{
    const enum qx_status st = qx_text_string(v, "content", what, &s->text, &s->text_len, err);
    return st == QX_OK ? qx_text_pattern(s, v, what, err) : st;
}

static enum qx_status replace(const struct qx_text_step *s, const char *text, size_t len,
                              struct qx_buf *out, struct qx_error *err)
{
    struct qx_regex_scan *scan = s->regex ? qx_regex_begin(s->regex, text, len) : NULL;
    if (s->regex && !scan) {
        return qx_fail_nomem(err, len);
    }
    size_t done = 0, at = 0, from, to;
    int hit;
    while ((hit = qx_text_match(s, scan, text, len, &at, &from, &to)) > 0) {
        qx_buf_add(out, text + done, from - done);
        qx_buf_add(out, s->text, s->text_len);
        done = to;
    }
    qx_regex_end(scan);
    qx_buf_add(out, text + done, len - done);
    return hit == 0 ? QX_OK
                    : qx_fail(err, QX_EDATA, "a pattern of the tokenizer gives up on this text");
}

enum { LEFT, RIGHT };

static enum qx_status strip_open(struct qx_text_step *s, const struct qx_jval *v, const char *what,
                                 struct qx_error *err)
{
    (void)what;
    (void)err;
    s->flags[LEFT] = qx_jbool(qx_jget(v, "strip_left"), true);
    s->flags[RIGHT] = qx_jbool(qx_jget(v, "strip_right"), true);
    return QX_OK;
}

static enum qx_status strip(const struct qx_text_step *s, const char *text, size_t len,
                            struct qx_buf *out, struct qx_error *err)
{
    (void)err;
    size_t from = len, to = 0;
    for (size_t at = 0; at < len;) {
        uint32_t c;
        const size_t n = qx_utf8_next(text + at, len - at, &c);
        if (!qx_char_is_space(c)) {
            from = from == len ? at : from;
            to = at + n;
        }
        at += n;
    }
    from = s->flags[LEFT] ? from : 0;
    to = s->flags[RIGHT] ? to : len;
    qx_buf_add(out, text + from, to > from ? to - from : 0);
    return QX_OK;
}

const struct qx_text_kind qx_text_normalizers[] = {
    {.type = "BertNormalizer", .open = bert_open, .normalize = bert},
    {.type = "NFC", .open = form_open, .normalize = form},
    {.type = "NFD", .open = form_open, .normalize = form},
    {.type = "NFKC", .open = form_open, .normalize = form},
    {.type = "NFKD", .open = form_open, .normalize = form},
    {.type = "Lowercase", .normalize = lowercase},
    {.type = "StripAccents", .normalize = strip_accents},
    {.type = "Strip", .open = strip_open, .normalize = strip},
    {.type = "Prepend", .open = prepend_open, .normalize = prepend},
    {.type = "Replace", .open = replace_open, .normalize = replace},
    {.type = "Precompiled", .open = qx_text_charsmap_open, .normalize = qx_text_charsmap},
};
const int qx_text_n_normalizers = sizeof qx_text_normalizers / sizeof qx_text_normalizers[0];
