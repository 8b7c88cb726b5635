/* A cursor over NUL-terminated JSON text that qx_json_check has accepted: values are taken where they stand, without
 * a tree of nodes. For headers of many thousand entries, where building the tree is most of the time
 * of opening a file. */
#ifndef QX_TENSOR_JSCAN_H
#define QX_TENSOR_JSCAN_H

#include "base/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At the first byte of a value, or anywhere a caller may go on from. */
struct qx_jscan {
    const char *p;
};

/* Some bytes of the text; or of the arena, when the text has escapes. Not NUL-terminated. */
struct qx_jslice {
    const char *p; /* NULL: out of memory */
    size_t n;
};

/* Step into an object or array; false when it is empty. Then `next` after each member: false at the
 * end, which is passed. The cursor stands at the member's key (object) or value (array). */
bool qx_jscan_open(struct qx_jscan *s);
bool qx_jscan_next(struct qx_jscan *s);
/* The key, and the cursor moves to its value. */
struct qx_jslice qx_jscan_key(struct qx_jscan *s, struct qx_arena *arena);
/* The value under the cursor, which moves past it. */
struct qx_jslice qx_jscan_string(struct qx_jscan *s, struct qx_arena *arena);
void qx_jscan_skip(struct qx_jscan *s);
/* False, and the cursor stays, for anything but a plain integer 0 .. 2^53. */
bool qx_jscan_integer(struct qx_jscan *s, int64_t *out);

#endif
