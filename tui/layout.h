/* Splitting a screen: blocks stacked by importance. */
#ifndef UI_LAYOUT_H
#define UI_LAYOUT_H

#include "canvas.h"

/* One block of a column. want 0 = not shown. Filled in: y, h (h 0 = left out). */
struct ui_block {
    int least, want; /* rows */
    int priority;    /* 0 first; the largest is left out first */
    int y, h;
};

/* Give `rows` rows to the blocks, `gap` empty ones between them: by priority each gets its least
 * height, then they grow towards what they want in the same order. Pure. */
void ui_layout_stack(struct ui_block *blocks, int n, int rows, int gap);

/* Widths of the side panel for a screen of w columns: 0 = no room for one. */
int ui_layout_panel(int w);

#endif
