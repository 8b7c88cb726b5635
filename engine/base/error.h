/* Filling struct qx_error. First error wins; callers add context in front. */
#ifndef QX_BASE_ERROR_H
#define QX_BASE_ERROR_H

#include "qx/status.h"

#include <stddef.h>

#define QX_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Set err (NULL allowed) and return status. Clears file, tensor; offset -1, line 0. */
enum qx_status qx_fail(struct qx_error *err, enum qx_status status, const char *fmt, ...)
    QX_PRINTF(3, 4);
/* As qx_fail, with the place; file and tensor may be NULL, offset -1 for none. */
enum qx_status qx_fail_at(struct qx_error *err, enum qx_status status, const char *file,
                          const char *tensor, int64_t offset, const char *fmt, ...) QX_PRINTF(6, 7);
/* Put "context: " in front of the text already there. */
void qx_error_context(struct qx_error *err, const char *fmt, ...) QX_PRINTF(2, 3);
/* QX_ENOMEM with the number of bytes asked for. */
enum qx_status qx_fail_nomem(struct qx_error *err, size_t bytes);

#endif
