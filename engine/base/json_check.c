/* The strict JSON grammar (RFC 8259) over raw bytes. What passes here, cJSON reads as written: it
 * accepts much that this refuses (control characters, \u0000, numbers such as "01"). */
#include "base/json_check.h"
#include "base/error.h"

#include <stdbool.h>
#include <string.h>

enum { MAX_DEPTH = 64, MAX_NUMBER = 60 }; /* cJSON reads at most 63 characters of a number */

struct scan {
    const char *text, *what;
    size_t len, at;
    int depth;
    struct qx_buf *keys;
    struct qx_error *err;
};

static bool fail(struct scan *s, size_t at, const char *why)
{
    qx_fail_at(s->err, QX_EFORMAT, s->what, NULL, (int64_t)at,
               "cannot read '%s' as JSON: %s at byte %zu", s->what, why, at);
    return false;
}

static int peek(const struct scan *s)
{
    return s->at < s->len ? (unsigned char)s->text[s->at] : -1;
}

static void skip_space(struct scan *s)
{
    int c = peek(s);
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        s->at++;
        c = peek(s);
    }
}

/* Four hexadecimal digits at s->at, or -1. */
static int hex4(const struct scan *s)
{
    int value = 0;
    if (s->len - s->at < 4) {
        return -1;
    }
    for (size_t i = 0; i < 4; i++) {
        char c = s->text[s->at + i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* s->at is just after a backslash. */
static bool check_escape(struct scan *s)
{
    size_t start = s->at - 1;
    int c = peek(s);
    if (c <= 0 || !strchr("\"\\/bfnrtu", c)) { /* strchr finds NUL in any string */
        return fail(s, start, "unknown escape");
    }
    s->at++;
    if (c != 'u') {
        return true;
    }
    int unit = hex4(s);
    if (unit < 0) {
        return fail(s, start, "\\u needs four hexadecimal digits");
    }
    if (unit == 0) {
        return fail(s, start, "a NUL character is not allowed");
    }
    s->at += 4;
    if (unit >= 0xDC00 && unit <= 0xDFFF) {
        return fail(s, start, "lone surrogate");
    }
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        if (s->len - s->at < 6 || s->text[s->at] != '\\' || s->text[s->at + 1] != 'u') {
            return fail(s, start, "lone surrogate");
        }
        s->at += 2;
        int low = hex4(s);
        if (low < 0xDC00 || low > 0xDFFF) {
            return fail(s, start, "lone surrogate");
        }
        s->at += 4;
    }
    return true;
}

static bool check_string(struct scan *s)
{
    size_t start = s->at++;
    for (;;) {
        int c = peek(s);
        if (c < 0) {
            return fail(s, start, "unterminated string");
        }
        if (c < 0x20) {
            return fail(s, s->at, "control character inside a string");
        }
        s->at++;
        if (c == '"') {
            return true;
        }
        if (c == '\\' && !check_escape(s)) {
            return false;
        }
    }
}

static size_t skip_digits(struct scan *s)
{
    size_t start = s->at;
    while (peek(s) >= '0' && peek(s) <= '9') {
        s->at++;
    }
    return s->at - start;
}

static bool check_number(struct scan *s)
{
    size_t start = s->at;
    if (peek(s) == '-') {
        s->at++;
    }
    bool has_zero = peek(s) == '0';
    size_t n = skip_digits(s);
    if (n == 0 || (has_zero && n > 1)) {
        return fail(s, start, "malformed number");
    }
    if (peek(s) == '.') {
        s->at++;
        if (skip_digits(s) == 0) {
            return fail(s, start, "malformed number");
        }
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-') {
            s->at++;
        }
        if (skip_digits(s) == 0) {
            return fail(s, start, "malformed number");
        }
    }
    if (s->at - start > MAX_NUMBER) {
        return fail(s, start, "number of more than 60 characters");
    }
    return true;
}

static bool check_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if (s->len - s->at < n || memcmp(s->text + s->at, word, n) != 0) {
        return fail(s, s->at, "unexpected character");
    }
    s->at += n;
    return true;
}

static bool check_value(struct scan *s);

/* Object or array; s->at is at the opening bracket. */
static bool check_list(struct scan *s)
{
    bool is_object = s->text[s->at] == '{';
    int close = is_object ? '}' : ']';
    if (++s->depth > MAX_DEPTH) {
        return fail(s, s->at, "nesting deeper than 64");
    }
    s->at++;
    skip_space(s);
    if (peek(s) == close) {
        s->at++;
        s->depth--;
        return true;
    }
    for (;;) {
        if (is_object) {
            size_t key = s->at;
            if (peek(s) != '"') {
                return fail(s, s->at, "expected a key in quotes");
            }
            qx_buf_add(s->keys, &key, sizeof key);
            if (!check_string(s)) {
                return false;
            }
            skip_space(s);
            if (peek(s) != ':') {
                return fail(s, s->at, "expected ':'");
            }
            s->at++;
            skip_space(s);
        }
        if (!check_value(s)) {
            return false;
        }
        skip_space(s);
        int c = peek(s);
        if (c != ',' && c != close) {
            return fail(s, s->at, c < 0 ? "the text ends too early" : "expected ',' or a bracket");
        }
        s->at++;
        if (c == close) {
            s->depth--;
            return true;
        }
        skip_space(s);
    }
}

static bool check_value(struct scan *s)
{
    int c = peek(s);
    switch (c) {
    case '{':
    case '[':
        return check_list(s);
    case '"':
        return check_string(s);
    case 't':
        return check_word(s, "true");
    case 'f':
        return check_word(s, "false");
    case 'n':
        return check_word(s, "null");
    case -1:
        return fail(s, s->at, "the text ends too early");
    default:
        if (c == '-' || (c >= '0' && c <= '9')) {
            return check_number(s);
        }
        return fail(s, s->at, "unexpected character");
    }
}

bool qx_json_check(const char *text, size_t len, const char *what, struct qx_buf *keys,
                   struct qx_error *err)
{
    struct scan s = {.text = text, .what = what, .len = len, .keys = keys, .err = err};
    skip_space(&s);
    if (!check_value(&s)) {
        return false;
    }
    skip_space(&s);
    if (s.at < s.len) {
        return fail(&s, s.at, "text after the end of the value");
    }
    return true;
}
