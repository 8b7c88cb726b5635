/* The text is known to be valid and NUL-terminated: nothing here looks for its end. */
#include "tensor/jscan.h"

#include <string.h>

static void space(struct qx_jscan *s)
{
    while (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r') {
        s->p++;
    }
}

bool qx_jscan_open(struct qx_jscan *s)
{
    s->p++;
    space(s);
    bool is_empty = *s->p == '}' || *s->p == ']';
    s->p += is_empty;
    return !is_empty;
}

bool qx_jscan_next(struct qx_jscan *s)
{
    space(s);
    bool more = *s->p == ',';
    s->p++;
    if (more) {
        space(s);
    }
    return more;
}

static unsigned hex4(const char *p)
{
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        v = v * 16 + (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return v;
}

static char *put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        *out++ = (char)c;
        return out;
    }
    if (c < 0x800) {
        *out++ = (char)(0xC0 | c >> 6);
    } else if (c < 0x10000) {
        *out++ = (char)(0xE0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 63));
    } else {
        *out++ = (char)(0xF0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 63));
        *out++ = (char)(0x80 | (c >> 6 & 63));
    }
    *out++ = (char)(0x80 | (c & 63));
    return out;
}

/* text[0..n) has escapes: \uXXXX, pairs of them beyond U+FFFF, or a letter. */
static struct qx_jslice unescape(const char *text, size_t n, struct qx_arena *arena)
{
    static const char letters[] = "b\bf\fn\nr\rt\t";
    char *copy = qx_arena_alloc(arena, n + 1), *out = copy;
    for (size_t i = 0; copy && i < n; i++) {
        if (text[i] != '\\') {
            *out++ = text[i];
            continue;
        }
        char c = text[++i];
        if (c == 'u') {
            unsigned unit = hex4(text + i + 1);
            i += 4;
            if (unit >= 0xD800 && unit < 0xDC00) {
                unit = 0x10000 + ((unit - 0xD800) << 10) + (hex4(text + i + 3) - 0xDC00);
                i += 6;
            }
            out = put_utf8(out, unit);
        } else {
            const char *letter = strchr(letters, c);
            *out++ = letter ? letter[1] : c; /* quote, backslash and slash stand for themselves */
        }
    }
    return (struct qx_jslice){copy, copy ? (size_t)(out - copy) : 0};
}

/* Past the string under the cursor; true when it has escapes. */
static bool skip_string(struct qx_jscan *s)
{
    const char *start = s->p + 1, *end = strchr(start, '"');
    bool has_escape = memchr(start, '\\', (size_t)(end - start)) != NULL;
    if (has_escape) { /* the quote found may be an escaped one */
        end = start;
        while (*end != '"') {
            end += *end == '\\' ? 2 : 1;
        }
    }
    s->p = end + 1;
    return has_escape;
}

struct qx_jslice qx_jscan_string(struct qx_jscan *s, struct qx_arena *arena)
{
    const char *start = s->p + 1;
    bool has_escape = skip_string(s);
    size_t n = (size_t)(s->p - 1 - start);
    return has_escape ? unescape(start, n, arena) : (struct qx_jslice){start, n};
}

struct qx_jslice qx_jscan_key(struct qx_jscan *s, struct qx_arena *arena)
{
    struct qx_jslice key = qx_jscan_string(s, arena);
    space(s);
    s->p++; /* colon */
    space(s);
    return key;
}

void qx_jscan_skip(struct qx_jscan *s)
{
    int depth = 0;
    do {
        char c = *s->p;
        if (c == '"') {
            skip_string(s);
        } else if (c == '{' || c == '[') {
            depth++;
            s->p++;
        } else if (c == '}' || c == ']') {
            depth--;
            s->p++;
        } else if (depth > 0) {
            s->p++;
        } else { /* a number or a word: up to what may follow a value */
            s->p += strcspn(s->p, ",]} \t\r\n");
        }
    } while (depth > 0);
}

bool qx_jscan_integer(struct qx_jscan *s, int64_t *out)
{
    const char *p = s->p;
    int64_t v = 0;
    while (*p >= '0' && *p <= '9' && v <= (INT64_C(1) << 53)) {
        v = v * 10 + (*p++ - '0');
    }
    if (p == s->p || v > (INT64_C(1) << 53) || strchr("0123456789.eE", *p)) {
        return false;
    }
    s->p = p;
    *out = v;
    return true;
}
