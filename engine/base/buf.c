#include "base/buf.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for n more bytes and the NUL. */
static bool reserve(struct qx_buf *b, size_t n)
{
    size_t need;
    if (b->oom) {
        return false;
    }
    if (!qx_size_add(b->len, n, &need) || !qx_size_add(need, 1, &need)) {
        b->oom = true;
        return false;
    }
    if (need <= b->cap) {
        return true;
    }
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need) {
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    }
    char *data = qx_mem_realloc(b->data, cap);
    if (!data) {
        b->oom = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void qx_buf_add(struct qx_buf *b, const void *bytes, size_t n)
{
    if (!reserve(b, n)) {
        return;
    }
    if (n > 0) {
        memcpy(b->data + b->len, bytes, n);
    }
    b->len += n;
    b->data[b->len] = '\0';
}

void qx_buf_puts(struct qx_buf *b, const char *s)
{
    qx_buf_add(b, s, strlen(s));
}

void qx_buf_printf(struct qx_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !reserve(b, (size_t)n)) {
        b->oom = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void qx_buf_release(struct qx_buf *b)
{
    qx_mem_free(b->data);
    *b = (struct qx_buf){0};
}

char *qx_buf_take(struct qx_buf *b)
{
    char *data = NULL;
    if (!b->oom) {
        qx_buf_add(b, "", 0); /* an empty buffer yields "" */
    }
    if (!b->oom) {
        data = b->data;
        b->data = NULL;
    }
    qx_buf_release(b);
    return data;
}
