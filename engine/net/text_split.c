/* Splitters: where words end. Types and options are those of Hugging Face's tokenizer.json. */
#include "net/text.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/unicode.h"

#include <string.h>

/* ---- by kind of character ---- */

/* The class of a character: it ends a word where the class changes; SPACE is dropped, SINGLE stands
 * alone. */
enum char_class { WORD, OTHER, SPACE, SINGLE };
typedef enum char_class class_fn(const struct qx_text_step *s, uint32_t c);

static enum qx_status split_class(const struct qx_text_step *s, class_fn *class_of,
                                  const char *word, size_t len, struct qx_words *out)
{
    size_t start = 0;
    enum char_class last = SPACE;
    for (size_t at = 0; at < len;) {
        uint32_t c;
        const size_t n = qx_utf8_next(word + at, len - at, &c);
        const enum char_class now = class_of(s, c);
        if (now != last || now == SINGLE) {
            qx_words_add(out, word + start, last == SPACE ? 0 : at - start);
            start = at;
        }
        last = now;
        at += n;
    }
    qx_words_add(out, word + start, last == SPACE ? 0 : len - start);
    return QX_OK;
}

static enum char_class bert_class(const struct qx_text_step *s, uint32_t c)
{
    (void)s;
    return qx_char_is_space(c) ? SPACE : qx_char_is_punctuation(c) ? SINGLE : WORD;
}

static enum qx_status bert(const struct qx_text_step *s, const char *word, size_t len,
                           bool is_first, struct qx_words *out, struct qx_error *err)
{
    (void)is_first;
    (void)err;
    return split_class(s, bert_class, word, len, out);
}

static enum char_class space_class(const struct qx_text_step *s, uint32_t c)
{
    (void)s;
    return qx_char_is_space(c) ? SPACE : WORD;
}

static enum qx_status whitespace_split(const struct qx_text_step *s, const char *word, size_t len,
                                       bool is_first, struct qx_words *out, struct qx_error *err)
{
    (void)is_first;
    (void)err;
    return split_class(s, space_class, word, len, out);
}

static enum char_class word_class(const struct qx_text_step *s, uint32_t c)
{
    (void)s;
    return qx_char_is_space(c) ? SPACE : qx_char_is_word(c) ? WORD : OTHER;
}

/* The pattern \w+|[^\w\s]+ . */
static enum qx_status whitespace(const struct qx_text_step *s, const char *word, size_t len,
                                 bool is_first, struct qx_words *out, struct qx_error *err)
{
    (void)is_first;
    (void)err;
    return split_class(s, word_class, word, len, out);
}

enum { EACH_DIGIT };

static enum qx_status digits_open(struct qx_text_step *s, const struct qx_jval *v, const char *what,
                                  struct qx_error *err)
{
    (void)what;
    (void)err;
    s->flags[EACH_DIGIT] = qx_jbool(qx_jget(v, "individual_digits"), false);
    return QX_OK;
}

static enum char_class digit_class(const struct qx_text_step *s, uint32_t c)
{
    return !qx_char_is_number(c) ? WORD : s->flags[EACH_DIGIT] ? SINGLE : OTHER;
}

static enum qx_status digits(const struct qx_text_step *s, const char *word, size_t len,
                             bool is_first, struct qx_words *out, struct qx_error *err)
{
    (void)is_first;
    (void)err;
    return split_class(s, digit_class, word, len, out);
}

/* ---- by a pattern ---- */

enum behavior { REMOVED, ISOLATED, WITH_PREVIOUS, WITH_NEXT, CONTIGUOUS };
enum { INVERT, PREFIX_SPACE };

static enum qx_status behavior_read(struct qx_text_step *s, const struct qx_jval *v,
                                    const char *what, struct qx_error *err)
{
    static const char *const names[] = {
        [REMOVED] = "Removed",
        [ISOLATED] = "Isolated",
        [WITH_PREVIOUS] = "MergedWithPrevious",
        [WITH_NEXT] = "MergedWithNext",
        [CONTIGUOUS] = "Contiguous",
    };
    const char *name = qx_jstr(qx_jget(v, "behavior"), "Isolated");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0) {
            s->behavior = (int)i;
            return QX_OK;
        }
    }
    return qx_fail(err, QX_EFORMAT, "%s: '%.40s' is no behavior of a split", what, name);
}

static enum qx_status split_open(struct qx_text_step *s, const struct qx_jval *v, const char *what,
                                 struct qx_error *err)
{
    s->flags[INVERT] = qx_jbool(qx_jget(v, "invert"), false);
    const enum qx_status st = behavior_read(s, v, what, err);
    return st == QX_OK ? qx_text_pattern(s, v, what, err) : st;
}

/* Stretches of a word come in turn, matched or not; `pending` waits for what joins it. */
struct cutter {
    const struct qx_text_step *step;
    const char *word;
    size_t from, to; /* pending */
    bool was_match;  /* the stretch before was matched */
    struct qx_words *out;
};

static void cutter_flush(struct cutter *c)
{
    qx_words_add(c->out, c->word + c->from, c->to - c->from);
    c->from = c->to;
}

static void cutter_take(struct cutter *c, size_t from, size_t to, bool is_match)
{
    if (to == from) {
        return;
    }
    is_match = is_match != c->step->flags[INVERT];
    const enum behavior how = (enum behavior)c->step->behavior;
    const bool joins = (how == WITH_PREVIOUS && is_match && !c->was_match) ||
                       (how == WITH_NEXT && c->was_match && !is_match) ||
                       (how == CONTIGUOUS && is_match && c->was_match);
    if (!joins) {
        cutter_flush(c);
    }
    c->from = joins ? c->from : from;
    c->to = how == REMOVED && is_match ? c->from : to;
    c->was_match = is_match;
}

static enum qx_status split(const struct qx_text_step *s, const char *word, size_t len,
                            bool is_first, struct qx_words *out, struct qx_error *err)
{
    (void)is_first;
    struct qx_regex_scan *scan = s->regex ? qx_regex_begin(s->regex, word, len) : NULL;
    if (s->regex && !scan) {
        return qx_fail_nomem(err, len);
    }
    struct cutter c = {.step = s, .word = word, .out = out};
    size_t done = 0, at = 0, from, to;
    int hit;
    while ((hit = qx_text_match(s, scan, word, len, &at, &from, &to)) > 0) {
        cutter_take(&c, done, from, false);
        cutter_take(&c, from, to, true);
        done = to;
    }
    qx_regex_end(scan);
    cutter_take(&c, done, len, false);
    cutter_flush(&c);
    return hit == 0 ? QX_OK
                    : qx_fail(err, QX_EDATA, "a pattern of the tokenizer gives up on this text");
}

static enum qx_status punctuation_open(struct qx_text_step *s, const struct qx_jval *v,
                                       const char *what, struct qx_error *err)
{
    return behavior_read(s, v, what, err);
}

static enum qx_status punctuation(const struct qx_text_step *s, const char *word, size_t len,
                                  bool is_first, struct qx_words *out, struct qx_error *err)
{
    (void)is_first;
    (void)err;
    struct cutter c = {.step = s, .word = word, .out = out};
    size_t done = 0;
    for (size_t at = 0; at < len;) {
        uint32_t ch;
        const size_t n = qx_utf8_next(word + at, len - at, &ch);
        if (qx_char_is_punctuation(ch)) {
            cutter_take(&c, done, at, false);
            cutter_take(&c, at, at + n, true);
            done = at + n;
        }
        at += n;
    }
    cutter_take(&c, done, len, false);
    cutter_flush(&c);
    return QX_OK;
}

/* ---- bytes, as GPT-2 has them ---- */

/* GPT-2's words (Radford et al. 2019; the pattern is part of the format). */
static const char gpt2_words[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"
    "\\s+(?!\\S)|\\s+";

static enum qx_status bytes_open(struct qx_text_step *s, const struct qx_jval *v, const char *what,
                                 struct qx_error *err)
{
    s->flags[PREFIX_SPACE] = qx_jbool(qx_jget(v, "add_prefix_space"), true);
    s->behavior = ISOLATED;
    return qx_jbool(qx_jget(v, "use_regex"), true) ? qx_regex_new(gpt2_words, what, &s->regex, err)
                                                   : QX_OK;
}

static enum qx_status bytes(const struct qx_text_step *s, const char *word, size_t len,
                            bool is_first, struct qx_words *out, struct qx_error *err)
{
    uint32_t c;
    qx_utf8_next(word, len, &c);
    struct qx_buf prefixed = {0};
    if (s->flags[PREFIX_SPACE] && !qx_char_is_space(c)) {
        qx_buf_puts(&prefixed, " ");
        qx_buf_add(&prefixed, word, len);
        if (prefixed.oom) {
            qx_buf_release(&prefixed);
            return qx_fail_nomem(err, len);
        }
        word = prefixed.data;
        len = prefixed.len;
    }
    enum qx_status st = QX_OK;
    if (s->regex) {
        st = split(s, word, len, is_first, out, err);
    } else {
        qx_words_add(out, word, len);
    }
    qx_buf_release(&prefixed);
    return st;
}

bool qx_text_is_bytes(const struct qx_text_steps *s)
{
    for (int i = 0; i < s->n; i++) {
        if (s->step[i].kind->split == bytes) {
            return true;
        }
    }
    return false;
}

/* ---- a mark for spaces, as SentencePiece has it ---- */

enum { ALWAYS, FIRST_ONLY, SPLITS };

static enum qx_status metaspace_open(struct qx_text_step *s, const struct qx_jval *v,
                                     const char *what, struct qx_error *err)
{
    const char *scheme = qx_jstr(qx_jget(v, "prepend_scheme"), NULL);
    const bool adds = qx_jbool(qx_jget(v, "add_prefix_space"), true);
    s->flags[ALWAYS] = scheme ? strcmp(scheme, "always") == 0 : adds;
    s->flags[FIRST_ONLY] = scheme && strcmp(scheme, "first") == 0;
    s->flags[SPLITS] = qx_jbool(qx_jget(v, "split"), true);
    return qx_text_string(v, "replacement", what, &s->text, &s->text_len, err);
}

static enum qx_status metaspace(const struct qx_text_step *s, const char *word, size_t len,
                                bool is_first, struct qx_words *out, struct qx_error *err)
{
    struct qx_buf marked = {0};
    const bool is_marked = len >= s->text_len && memcmp(word, s->text, s->text_len) == 0;
    if ((s->flags[ALWAYS] || (s->flags[FIRST_ONLY] && is_first)) && word[0] != ' ' && !is_marked) {
        qx_buf_add(&marked, s->text, s->text_len);
    }
    for (size_t i = 0; i < len; i++) {
        if (word[i] == ' ') {
            qx_buf_add(&marked, s->text, s->text_len);
        } else {
            qx_buf_add(&marked, word + i, 1);
        }
    }
    size_t from = 0;
    for (size_t at = 1; s->flags[SPLITS] && at < marked.len && s->text_len > 0; at++) {
        if (marked.len - at >= s->text_len && memcmp(marked.data + at, s->text, s->text_len) == 0) {
            qx_words_add(out, marked.data + from, at - from);
            from = at;
        }
    }
    if (!marked.oom) {
        qx_words_add(out, marked.data + from, marked.len - from);
    }
    const bool oom = marked.oom;
    qx_buf_release(&marked);
    return oom ? qx_fail_nomem(err, len) : QX_OK;
}

const struct qx_text_kind qx_text_splitters[] = {
    {.type = "BertPreTokenizer", .split = bert},
    {.type = "ByteLevel", .open = bytes_open, .split = bytes},
    {.type = "Split", .open = split_open, .split = split},
    {.type = "Metaspace", .open = metaspace_open, .split = metaspace},
    {.type = "Whitespace", .split = whitespace},
    {.type = "WhitespaceSplit", .split = whitespace_split},
    {.type = "Digits", .open = digits_open, .split = digits},
    {.type = "Punctuation", .open = punctuation_open, .split = punctuation},
};
const int qx_text_n_splitters = sizeof qx_text_splitters / sizeof qx_text_splitters[0];

/* GPT-2 writes bytes as letters: printable ones of Latin-1 stand for themselves, the others, in order,
 * for U+0100 on. */
bool qx_text_letters_to_bytes(const char *text, size_t len, struct qx_buf *out)
{
    static const unsigned char unprintable[68] = {
        0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,  13,  14,  15,  16,
        17,  18,  19,  20,  21,  22,  23,  24,  25,  26,  27,  28,  29,  30,  31,  32,  127,
        128, 129, 130, 131, 132, 133, 134, 135, 136, 137, 138, 139, 140, 141, 142, 143, 144,
        145, 146, 147, 148, 149, 150, 151, 152, 153, 154, 155, 156, 157, 158, 159, 160, 173};
    for (size_t at = 0; at < len;) {
        uint32_t c;
        at += qx_utf8_next(text + at, len - at, &c);
        unsigned char byte = (unsigned char)c;
        if (c >= 256 && c < 256 + sizeof unprintable) {
            byte = unprintable[c - 256];
        } else if (c >= 256 || memchr(unprintable, (int)c, sizeof unprintable)) {
            return false;
        }
        qx_buf_add(out, &byte, 1);
    }
    return true;
}
