/* Base64 (RFC 4648 section 4). */
#ifndef QX_BASE_BASE64_H
#define QX_BASE_BASE64_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

/* Add the bytes of text[0..len) to out (out->oom when there is no memory). False when a character is none
 * of the alphabet's or the padding is wrong; out then holds what came before. */
bool qx_base64_decode(const char *text, size_t len, struct qx_buf *out);

#endif
