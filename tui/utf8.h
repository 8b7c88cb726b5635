/* UTF-8 as the screen needs it: one checked character at a time, and its width in cells. */
#ifndef UI_UTF8_H
#define UI_UTF8_H

#include <stddef.h>

/* Decode the character at s (len bytes are there). *cp gets the code point, or -1 when the bytes are
 * no valid UTF-8 (then 1 is returned). Returns the bytes used, 0 when len is 0. */
int ui_utf8_decode(const char *s, size_t len, int *cp);
/* Encode into out[5], NUL-terminated; returns the bytes. */
int ui_utf8_encode(int cp, char out[5]);
/* Cells of a code point on a terminal: 0 for controls, combining marks and bidi controls, 2 for wide
 * East Asian ones and emoji, else 1. Does not depend on the locale. */
int ui_utf8_width(int cp);

#endif
