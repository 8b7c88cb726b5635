/* The strict check that runs before cJSON sees a text, and before tensor/jscan.c reads one without a
 * tree. */
#ifndef QX_BASE_JSON_CHECK_H
#define QX_BASE_JSON_CHECK_H

#include "base/buf.h"
#include "qx/status.h"

#include <stdbool.h>
#include <stddef.h>

/* True when text is one JSON value; false with QX_EFORMAT and the offset in err. Appends the offset
 * (size_t) of every object key to `keys`, in document order (keys->oom is the caller's to test).
 * UTF-8 is not checked here. */
bool qx_json_check(const char *text, size_t len, const char *what, struct qx_buf *keys,
                   struct qx_error *err);

#endif
