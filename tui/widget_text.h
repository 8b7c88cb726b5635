/* Text broken at spaces into a rectangle. Pure, no allocation. */
#ifndef UI_WIDGET_TEXT_H
#define UI_WIDGET_TEXT_H

#include "canvas.h"

/* Bytes of the first line of `text` in w cells: up to the last space that fits, or as much as fits. */
int ui_text_fit(const char *text, int w);
/* Lines that the text takes in w cells, at least 1. */
int ui_text_rows(const char *text, int w);
/* Draw it; returns the rows it would take. What does not fit is left out; r.y may be above the canvas. */
int ui_text_draw(struct ui_canvas *c, struct ui_rect r, enum ui_style_id style, const char *text);

#endif
