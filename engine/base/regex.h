/* Regular expressions over UTF-8 (PCRE2 behind it). */
#ifndef QX_BASE_REGEX_H
#define QX_BASE_REGEX_H

#include "qx/status.h"

#include <stddef.h>

struct qx_regex; /* immutable; any thread */

/* Classes are Unicode's. `what` names the source in messages. QX_EFORMAT (text: what is wrong and
 * where in the pattern), QX_ENOMEM. */
enum qx_status qx_regex_new(const char *pattern, const char *what, struct qx_regex **out,
                            struct qx_error *err);
void qx_regex_free(struct qx_regex *re); /* NULL allowed */

/* All matches in a text of valid UTF-8, in order, none empty: begin, then next until it says no. */
struct qx_regex_scan;
struct qx_regex_scan *qx_regex_begin(const struct qx_regex *re, const char *text, size_t len);
/* 1: the next match is text[*from, *to); 0: no more; -1: the pattern ran into its limit (backtracking,
 * memory). */
int qx_regex_next(struct qx_regex_scan *scan, size_t *from, size_t *to);
void qx_regex_end(struct qx_regex_scan *scan); /* NULL allowed */

#endif
