/* A growing byte buffer, always NUL-terminated. */
#ifndef QX_BASE_BUF_H
#define QX_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialised struct is empty. After an allocation failure `oom` is set and additions are
 * ignored: check once at the end. */
struct qx_buf {
    char *data; /* NULL while empty */
    size_t len, cap;
    bool oom;
};

void qx_buf_add(struct qx_buf *b, const void *bytes, size_t n);
void qx_buf_puts(struct qx_buf *b, const char *s);
void qx_buf_printf(struct qx_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void qx_buf_release(struct qx_buf *b);
char *qx_buf_take(struct qx_buf *b); /* NULL after oom; free with qx_mem_free; b is empty again */

#endif
