/* A grid of cells that views draw on. Knows nothing of terminals.
 * Drawing never allocates and never fails: what does not fit is clipped. UI thread only. */
#ifndef UI_CANVAS_H
#define UI_CANVAS_H

#include "style.h"

#include <stdbool.h>

struct ui_rect {
    int x, y, w, h;
};
bool ui_rect_has(struct ui_rect r, int x, int y);

struct ui_cell {
    char glyph[7];             /* one UTF-8 character, NUL-padded; "" = right half of a wide one */
    unsigned char style;       /* enum ui_style_id */
    unsigned char ink, ground; /* shades of a heat map instead of the style's colours; 0 = none */
};

struct ui_canvas {
    int w, h;
    struct ui_cell *cells; /* [h * w] row-major */
};

/* How rich the glyphs may be. */
enum ui_glyphs { UI_GLYPHS_ASCII, UI_GLYPHS_BLOCK, UI_GLYPHS_BRAILLE };

/* Symbols with their twins. Columns: id, UTF-8 (levels braille and block), ASCII. All one cell. */
#define UI_SYM_LIST(X)             \
    X(CURSOR, "\u25b8", ">")       \
    X(MARK, "\u25cf", "*")         \
    X(ARROW_LEFT, "\u2190", "<")   \
    X(ARROW_RIGHT, "\u2192", ">")  \
    X(ARROW_UP, "\u2191", "^")     \
    X(ARROW_DOWN, "\u2193", "v")   \
    X(UP, "\u25b2", "^")           \
    X(DOWN, "\u25bc", "v")         \
    X(HANDLE, "\u2503", "|")       \
    X(HLINE, "\u2500", "-")        \
    X(VLINE, "\u2502", "|")        \
    X(TICK_UP, "\u2534", "+")      \
    X(CROSS, "\u253c", "+")        \
    X(TOP_LEFT, "\u250c", "+")     \
    X(TOP_RIGHT, "\u2510", "+")    \
    X(BOTTOM_LEFT, "\u2514", "+")  \
    X(BOTTOM_RIGHT, "\u2518", "+") \
    X(APPROX, "\u2248", "~")       \
    X(DOTS, "\u2026", "_")         \
    X(TIMES, "\u00d7", "x")        \
    X(PLUSMINUS, "\u00b1", "~")    \
    X(CHECK, "\u2713", "+")        \
    X(CROSS_OUT, "\u00d7", "x")    \
    X(DELTA, "\u0394", "d")        \
    X(SEPARATOR, "\u203a", ">")    \
    X(DOT, "\u00b7", ".")          \
    X(FULL, "\u2588", "#")         \
    X(SHADE, "\u2591", ".")        \
    X(HATCH, "\u2592", "=")        \
    X(CIRCLE, "\u25cb", "o")       \
    X(DIAMOND, "\u25c6", "@")      \
    X(STAR, "\u2605", "F")

enum ui_sym {
#define UI_SYM_ENUM(id, utf8, ascii) UI_SYM_##id,
    UI_SYM_LIST(UI_SYM_ENUM)
#undef UI_SYM_ENUM
        UI_SYM_COUNT
};
const char *ui_sym(enum ui_glyphs g, enum ui_sym s);
const char *ui_plus_minus(enum ui_glyphs g); /* in front of an error: two cells in ASCII */

bool ui_canvas_init(struct ui_canvas *c, int w, int h); /* false: out of memory */
void ui_canvas_release(struct ui_canvas *c);
void ui_canvas_clear(struct ui_canvas *c); /* spaces, UI_STYLE_NORMAL */

struct ui_cell *ui_canvas_at(struct ui_canvas *c, int x, int y); /* NULL outside */
/* Text at (x, y), at most max_w cells (negative: to the right edge). Returns cells used. Control
 * characters and invalid UTF-8 (tensor names are hostile) become '?' cells. */
int ui_put(struct ui_canvas *c, int x, int y, int max_w, enum ui_style_id style, const char *text);
/* The same in max_w cells, with dots at the end when something is left out. */
int ui_put_cut(struct ui_canvas *c, int x, int y, int max_w, enum ui_style_id style,
               const char *text, enum ui_glyphs g);
int ui_printf(struct ui_canvas *c, int x, int y, int max_w, enum ui_style_id style, const char *fmt,
              ...) __attribute__((format(printf, 6, 7)));
/* Right-aligned so that the text ends before x + w. */
void ui_put_right(struct ui_canvas *c, int x, int y, int w, enum ui_style_id style,
                  const char *text);
void ui_fill(struct ui_canvas *c, struct ui_rect r, enum ui_style_id style, const char *glyph);
/* A half block: one shade above, one below; 0 = the ground of the screen, not both. */
void ui_put_shades(struct ui_canvas *c, int x, int y, int above, int below);
/* Change only the style of cells (selection bars). */
void ui_restyle(struct ui_canvas *c, struct ui_rect r, enum ui_style_id style);
/* Frame around r with an optional title (NULL = none); the inside is cleared with UI_STYLE_POPUP. */
void ui_box(struct ui_canvas *c, struct ui_rect r, enum ui_glyphs g, enum ui_style_id style,
            const char *title);
void ui_hline(struct ui_canvas *c, int x, int y, int w, enum ui_glyphs g);
/* Width in cells of a UTF-8 text as ui_put would draw it. */
int ui_text_width(const char *text);

#endif
