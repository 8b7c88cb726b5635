/* Compressed files (zlib behind it). */
#ifndef QX_BASE_GUNZIP_H
#define QX_BASE_GUNZIP_H

#include "qx/status.h"

#include <stdbool.h>
#include <stddef.h>

bool qx_is_gzip(const void *data, size_t len); /* by its first two bytes */
/* All members of a gzip file, one behind the other, into a fresh NUL-terminated buffer (free with qx_mem_free).
 * path: of the messages. QX_EFORMAT (damaged, cut short, other bytes behind it), QX_ERANGE (more than max_bytes
 * come out), QX_ENOMEM. */
enum qx_status qx_gunzip(const char *path, const void *data, size_t len, size_t max_bytes,
                         char **out, size_t *out_len, struct qx_error *err);

#endif
