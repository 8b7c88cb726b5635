/* Small string helpers. */
#ifndef QX_BASE_STR_H
#define QX_BASE_STR_H

#include "qx/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool qx_str_starts(const char *s, const char *prefix);
bool qx_str_ends(const char *s, const char *suffix);
/* Copies at most cap-1 bytes, cut at a UTF-8 boundary, NUL-terminated. Returns dst. */
char *qx_str_copy(char *dst, size_t cap, const char *src);
bool qx_utf8_valid(const char *s, size_t len);
uint64_t qx_hash64(const void *bytes, size_t n, uint64_t seed); /* stable across runs and hosts */

#endif
