/* Characters: decoding, categories, normalization forms (utf8proc behind it). */
#ifndef QX_BASE_UNICODE_H
#define QX_BASE_UNICODE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character at s[0..len), len > 0: its number in *cp, its bytes returned. Text must be valid UTF-8
 * (qx_utf8_valid); a byte that is not is returned as U+FFFD of one byte. */
size_t qx_utf8_next(const char *s, size_t len, uint32_t *cp);
void qx_utf8_put(struct qx_buf *out, uint32_t cp);

bool qx_char_is_space(uint32_t cp);       /* White_Space */
bool qx_char_is_other(uint32_t cp);       /* categories C*: control, format, unassigned, private */
bool qx_char_is_mark(uint32_t cp);        /* Mn: combining, no width */
bool qx_char_is_punctuation(uint32_t cp); /* categories P*, and all ASCII that is neither letter,
                                             digit, space nor control */
bool qx_char_is_number(uint32_t cp);      /* categories N* */
bool qx_char_is_word(uint32_t cp);        /* letters, marks, numbers, connectors (\w) */
uint32_t qx_char_lower(uint32_t cp);      /* simple mapping */

/* Bytes of the first extended grapheme cluster of s[0..len), len > 0 (UAX #29). Valid UTF-8. */
size_t qx_grapheme_next(const char *s, size_t len);

/* The text in NFC, NFD, NFKC or NFKD added to out (out->oom when there is no memory). False when the
 * text is not valid UTF-8. */
enum qx_unicode_form { QX_NFC, QX_NFD, QX_NFKC, QX_NFKD };
bool qx_unicode_normalize(enum qx_unicode_form form, const char *text, size_t len,
                          struct qx_buf *out);

#endif
