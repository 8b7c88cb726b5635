/* Text helpers that hosts share with the engine. */
#ifndef QX_TEXT_H
#define QX_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Shell-style match: * and ? and [a-z]; '*' also matches dots and slashes. */
bool qx_str_glob(const char *pattern, const char *s);
/* Natural order: runs of digits compare as numbers ("layer.2" < "layer.10"); ties by bytes. */
int qx_str_natcmp(const char *a, const char *b);
/* Levenshtein distance, at most `limit` + 1. */
int qx_str_distance(const char *a, const char *b, int limit);
/* For "did you mean": the name least different from `text` (by at most a third of its length, at least
 * 2), or NULL. NULL names are skipped. */
const char *qx_nearest(const char *text, const char *const *names, size_t n);

#endif
