/* The bit ladder: what every width reaches under the same rule, with the theory beside it.
 * Pure, no allocation. */
#ifndef UI_WIDGET_LADDER_H
#define UI_WIDGET_LADDER_H

#include "canvas.h"

struct ui_ladder_row {
    int bits;
    double db;        /* SQNR; NaN: not known yet; INFINITY: no error */
    double theory_db; /* 6.02 b + c; NaN = leave out */
    double best_db;   /* of any codebook of that size; NaN = leave out */
    const char *name; /* NULL: integers of these bits; else another format, the one in use */
};
struct ui_ladder {
    const struct ui_ladder_row *rows;
    int n;
    int current; /* bits in use, 0 = none, or of a row with a name */
};

/* One row per width; columns drop out from the right when r is narrow. With a header when
 * r.h > n. */
void ui_ladder_draw(struct ui_canvas *c, struct ui_rect r, const struct ui_ladder *l,
                    enum ui_glyphs glyphs);
/* Bits of the row of integers at (x, y), 0 = none. */
int ui_ladder_hit(struct ui_rect r, const struct ui_ladder *l, int x, int y);

#endif
