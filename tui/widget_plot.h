/* Bars and lines in braille, eighth blocks or ASCII: the common ground of histogram, valley, residual,
 * channel strip and sparkline. Two columns per cell, so a plot over a rectangle takes 2 * w values
 * whatever the glyphs. Pure, no allocation; what does not fit is clipped. */
#ifndef UI_WIDGET_PLOT_H
#define UI_WIDGET_PLOT_H

#include "canvas.h"

enum { UI_PLOT_COLUMNS = 800 }; /* most columns a plot has: 400 cells */

/* How the columns of one cell are drawn. */
struct ui_plot_cell {
    unsigned char style; /* enum ui_style_id */
    bool hatched;        /* every other dot only: distinct without colour */
};

/* Vertical bars from the bottom of `r`.
 *   v      [n] heights in 0..1, n <= 2 * r.w; any positive height shows at least one dot
 *   cells  [r.w] looks, or NULL: UI_STYLE_BAR */
void ui_plot_bars(struct ui_canvas *c, struct ui_rect r, const double *v, int n,
                  const struct ui_plot_cell *cells, enum ui_glyphs glyphs);

/* A line through the heights (0 bottom .. 1 top); NaN leaves a gap. Without braille the area below is
 * filled lightly, which reads better than scattered dots. */
void ui_plot_line(struct ui_canvas *c, struct ui_rect r, const double *v, int n,
                  enum ui_style_id style, enum ui_glyphs glyphs);

/* One row of bars as text: out gets at most w glyphs (w * 3 + 1 bytes). v [n] in any unit >= 0, folded
 * to w columns by their largest; top = full height. */
void ui_spark(char *out, const double *v, int n, int w, double top, enum ui_glyphs glyphs);

/* A horizontal bar of w cells, `share` 0..1 of them filled, in eighths where blocks exist. */
void ui_bar(struct ui_canvas *c, int x, int y, int w, double share, enum ui_style_id full,
            enum ui_style_id track, enum ui_glyphs glyphs);

#endif
