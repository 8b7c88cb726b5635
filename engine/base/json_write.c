/* Writing JSON: commas, quoting and number text. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/json.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

struct qx_jw {
    struct qx_buf buf;
    bool is_pretty;
    bool has_key; /* a key was written, its value comes next */
    int depth;
    char close[MAX_DEPTH];   /* '}' or ']' of each open list */
    bool has_any[MAX_DEPTH]; /* something was written in it */
};

struct qx_jw *qx_jw_new(bool pretty)
{
    struct qx_jw *w = qx_mem_zalloc(sizeof *w);
    if (w) {
        w->is_pretty = pretty;
    }
    return w;
}

static void newline(struct qx_jw *w)
{
    if (w->is_pretty) {
        qx_buf_puts(&w->buf, "\n");
        for (int i = 0; i < w->depth; i++) {
            qx_buf_puts(&w->buf, "  ");
        }
    }
}

/* Comma and line break before a key or an array element. */
static void separate(struct qx_jw *w)
{
    if (w->has_key) {
        w->has_key = false;
        return;
    }
    if (w->depth > 0) {
        if (w->has_any[w->depth - 1]) {
            qx_buf_puts(&w->buf, ",");
        }
        w->has_any[w->depth - 1] = true;
        newline(w);
    }
}

static void put_text(struct qx_jw *w, const char *text)
{
    if (w) {
        separate(w);
        qx_buf_puts(&w->buf, text);
    }
}

static void begin(struct qx_jw *w, const char *open, char close)
{
    if (!w) {
        return;
    }
    separate(w);
    qx_buf_puts(&w->buf, open);
    if (w->depth == MAX_DEPTH) { /* our own documents are shallow: refuse as if memory ran out */
        w->buf.oom = true;
        return;
    }
    w->close[w->depth] = close;
    w->has_any[w->depth] = false;
    w->depth++;
}

void qx_jw_object(struct qx_jw *w)
{
    begin(w, "{", '}');
}

void qx_jw_array(struct qx_jw *w)
{
    begin(w, "[", ']');
}

void qx_jw_end(struct qx_jw *w)
{
    if (!w || w->depth == 0) {
        return;
    }
    w->depth--;
    if (w->has_any[w->depth]) {
        newline(w);
    }
    qx_buf_add(&w->buf, &w->close[w->depth], 1);
}

/* Length of the valid UTF-8 sequence at s (before end), 0 when there is none. */
static size_t sequence(const char *s, const char *end)
{
    for (size_t n = 1; n <= 4 && n <= (size_t)(end - s); n++) {
        if (qx_utf8_valid(s, n)) {
            return n;
        }
    }
    return 0;
}

static void put_quoted(struct qx_buf *b, const char *s)
{
    const char *end = s + strlen(s);
    qx_buf_puts(b, "\"");
    while (s < end) {
        unsigned char c = (unsigned char)*s;
        size_t n = c < 0x80 ? 1 : sequence(s, end);
        if (n == 0) {
            qx_buf_puts(b, "\xEF\xBF\xBD"); /* U+FFFD, the replacement character */
            n = 1;
        } else if (c == '"' || c == '\\') {
            qx_buf_printf(b, "\\%c", c);
        } else if (c == '\n') {
            qx_buf_puts(b, "\\n");
        } else if (c == '\t') {
            qx_buf_puts(b, "\\t");
        } else if (c < 0x20 || c == 0x7F) {
            qx_buf_printf(b, "\\u%04x", c);
        } else {
            qx_buf_add(b, s, n);
        }
        s += n;
    }
    qx_buf_puts(b, "\"");
}

void qx_jw_key(struct qx_jw *w, const char *key)
{
    if (!w) {
        return;
    }
    separate(w);
    put_quoted(&w->buf, key);
    qx_buf_puts(&w->buf, w->is_pretty ? ": " : ":");
    w->has_key = true;
}

void qx_jw_str(struct qx_jw *w, const char *s)
{
    if (!s) {
        qx_jw_null(w);
    } else if (w) {
        separate(w);
        put_quoted(&w->buf, s);
    }
}

/* Replaces the locale's decimal separator (any bytes) with a point. */
static void use_point(char *text)
{
    char *p = text + strspn(text, "+-0123456789");
    size_t n = strcspn(p, "+-0123456789eE");
    if (n > 0) {
        *p = '.';
        memmove(p + 1, p + n, strlen(p + n) + 1);
    }
}

void qx_jw_num(struct qx_jw *w, double v)
{
    char text[40];
    if (!isfinite(v)) {
        qx_jw_null(w);
        return;
    }
    int first = fabs(v) < DBL_MIN ? 1 : 15; /* any 15 digits survive, but for subnormals */
    for (int digits = first; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) {
            break;
        }
    }
    use_point(text);
    put_text(w, text);
}

void qx_jw_float(struct qx_jw *w, float v)
{
    char text[40];
    if (!isfinite(v)) {
        qx_jw_null(w);
        return;
    }
    int first = fabsf(v) < FLT_MIN ? 1 : 6;
    for (int digits = first; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v) {
            break;
        }
    }
    use_point(text);
    put_text(w, text);
}

void qx_jw_int(struct qx_jw *w, int64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, v);
    put_text(w, text);
}

void qx_jw_bool(struct qx_jw *w, bool v)
{
    put_text(w, v ? "true" : "false");
}

void qx_jw_null(struct qx_jw *w)
{
    put_text(w, "null");
}

void qx_jw_put_num(struct qx_jw *w, const char *key, double v)
{
    qx_jw_key(w, key);
    qx_jw_num(w, v);
}

void qx_jw_put_int(struct qx_jw *w, const char *key, int64_t v)
{
    qx_jw_key(w, key);
    qx_jw_int(w, v);
}

void qx_jw_put_bool(struct qx_jw *w, const char *key, bool v)
{
    qx_jw_key(w, key);
    qx_jw_bool(w, v);
}

void qx_jw_put_str(struct qx_jw *w, const char *key, const char *s)
{
    qx_jw_key(w, key);
    qx_jw_str(w, s);
}

char *qx_jw_take(struct qx_jw *w, size_t *len)
{
    if (!w) {
        return NULL;
    }
    qx_buf_puts(&w->buf, "\n");
    size_t n = w->buf.len;
    char *text = qx_buf_take(&w->buf);
    if (text && len) {
        *len = n;
    }
    qx_mem_free(w);
    return text;
}

void qx_jw_free(struct qx_jw *w)
{
    if (w) {
        qx_buf_release(&w->buf);
        qx_mem_free(w);
    }
}

void qx_free_text(char *text)
{
    qx_mem_free(text);
}
