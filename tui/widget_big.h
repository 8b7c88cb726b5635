/* Figures in large digits, for an audience: 3 columns and 3 rows a character (5 rows of '#' in ASCII).
 * Pure, no allocation. */
#ifndef UI_WIDGET_BIG_H
#define UI_WIDGET_BIG_H

#include "canvas.h"

int ui_big_width(const char *text); /* cells */
int ui_big_height(enum ui_glyphs glyphs);
/* Digits, + - . , % and blanks are drawn large; other characters in their own size on the last row. Clipped to
 * the canvas. */
void ui_big_draw(struct ui_canvas *c, int x, int y, enum ui_style_id style, enum ui_glyphs glyphs,
                 const char *text);

#endif
