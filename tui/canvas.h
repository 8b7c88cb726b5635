/* A grid of cells that views draw on. Knows nothing of terminals.
 * Drawing never allocates and never fails: what does not fit is clipped. UI thread only. */
#ifndef UI_CANVAS_H
#define UI_CANVAS_H

#include "style.h"

#include <stdbool.h>

struct ui_rect {
    int x, y, w, h;
};

struct ui_cell {
    char glyph[7];      /* one UTF-8 character, NUL-padded; "" = right half of a wide one */
    unsigned char style; /* enum ui_style_id */
};

struct ui_canvas {
    int w, h;
    struct ui_cell *cells; /* [h * w] row-major */
};

/* How rich the glyphs may be. */
enum ui_glyphs { UI_GLYPHS_ASCII, UI_GLYPHS_BLOCK, UI_GLYPHS_BRAILLE };

bool ui_canvas_init(struct ui_canvas *c, int w, int h); /* false: out of memory */
void ui_canvas_release(struct ui_canvas *c);
void ui_canvas_clear(struct ui_canvas *c); /* spaces, UI_STYLE_NORMAL */

struct ui_cell *ui_canvas_at(struct ui_canvas *c, int x, int y); /* NULL outside */
/* Text at (x, y), at most max_w cells (negative: to the right edge). Returns cells used. Control
 * characters and invalid UTF-8 (tensor names are hostile) become '?' cells. */
int ui_put(struct ui_canvas *c, int x, int y, int max_w, enum ui_style_id style, const char *text);
int ui_printf(struct ui_canvas *c, int x, int y, int max_w, enum ui_style_id style, const char *fmt,
              ...) __attribute__((format(printf, 6, 7)));
/* Right-aligned so that the text ends before x + w. */
void ui_put_right(struct ui_canvas *c, int x, int y, int w, enum ui_style_id style,
                  const char *text);
void ui_fill(struct ui_canvas *c, struct ui_rect r, enum ui_style_id style, const char *glyph);
/* Change only the style of cells (selection bars). */
void ui_restyle(struct ui_canvas *c, struct ui_rect r, enum ui_style_id style);
/* Width in cells of a UTF-8 text as ui_put would draw it. */
int ui_text_width(const char *text);

#endif
