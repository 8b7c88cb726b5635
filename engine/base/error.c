#include "base/error.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* vsnprintf cut at a UTF-8 boundary. */
QX_PRINTF(3, 0) static void format_cut(char *dst, size_t cap, const char *fmt, va_list ap)
{
    char full[1024];
    vsnprintf(full, sizeof full, fmt, ap);
    qx_str_copy(dst, cap, full);
}

QX_PRINTF(6, 0)
static void fill(struct qx_error *err, enum qx_status status, const char *file, const char *tensor,
                 int64_t offset, const char *fmt, va_list ap)
{
    char text[sizeof err->text];
    format_cut(text, sizeof text, fmt, ap);
    char file_copy[sizeof err->file], tensor_copy[sizeof err->tensor];
    qx_str_copy(file_copy, sizeof file_copy, file ? file : "");
    qx_str_copy(tensor_copy, sizeof tensor_copy, tensor ? tensor : "");
    err->status = status;
    memcpy(err->text, text, sizeof text);
    memcpy(err->file, file_copy, sizeof file_copy);
    memcpy(err->tensor, tensor_copy, sizeof tensor_copy);
    err->offset = offset;
    err->line = 0;
}

enum qx_status qx_fail(struct qx_error *err, enum qx_status status, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        fill(err, status, NULL, NULL, -1, fmt, ap);
        va_end(ap);
    }
    return status;
}

enum qx_status qx_fail_at(struct qx_error *err, enum qx_status status, const char *file,
                          const char *tensor, int64_t offset, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        fill(err, status, file, tensor, offset, fmt, ap);
        va_end(ap);
    }
    return status;
}

void qx_error_context(struct qx_error *err, const char *fmt, ...)
{
    if (!err) {
        return;
    }
    char context[sizeof err->text], joined[2 * sizeof err->text + 2];
    va_list ap;
    va_start(ap, fmt);
    format_cut(context, sizeof context, fmt, ap);
    va_end(ap);
    snprintf(joined, sizeof joined, "%s: %s", context, err->text);
    qx_str_copy(err->text, sizeof err->text, joined);
}

enum qx_status qx_fail_nomem(struct qx_error *err, size_t bytes)
{
    return qx_fail(err, QX_ENOMEM,
                   "out of memory: %zu bytes were refused; close other programs or lower --mem",
                   bytes);
}
