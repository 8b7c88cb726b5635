/* A table whose columns drop out by priority when it gets narrow; cells never wrap. Only the rows that
 * are seen are asked for. Pure, no allocation. */
#ifndef UI_WIDGET_TABLE_H
#define UI_WIDGET_TABLE_H

#include "canvas.h"

#include <stdint.h>

enum { UI_TABLE_COLUMNS = 16, UI_TABLE_GAP = 2 };

struct ui_column {
    const char *title;
    int width;     /* least width */
    int grow;      /* up to this width when there is room; 0 = fixed */
    int priority;  /* 0 stays always; the largest drops first */
    bool is_right; /* right-aligned */
};

/* What one cell shows. */
struct ui_cell_text {
    char text[256];
    enum ui_style_id style;
};

struct ui_table {
    const struct ui_column *columns;
    int n_columns;
    int64_t n_rows;
    int64_t cursor; /* row drawn selected, -1 = none */
    int64_t top;    /* first row shown; ui_table_scroll keeps the cursor in sight */
    /* Fill out->text and style (preset: "", NORMAL). */
    void (*cell)(void *arg, int64_t row, int column, struct ui_cell_text *out);
    void *arg;
};

/* Where the columns stand in w cells: x[i], width[i]; width 0 = dropped. */
void ui_table_layout(const struct ui_column *columns, int n, int w, int *x, int *width);
/* Header row, then rows. A scroll bar stands at the right edge when not all rows fit. */
void ui_table_draw(struct ui_canvas *c, struct ui_rect r, const struct ui_table *t,
                   enum ui_glyphs glyphs);
/* Rows that fit below the header. */
int ui_table_page(struct ui_rect r);
/* First row to show so that the cursor is seen, changing `top` as little as possible. */
int64_t ui_table_scroll(int64_t top, int64_t cursor, int64_t n_rows, int page);
/* Row at (x, y), -1 = none. */
int64_t ui_table_hit(struct ui_rect r, const struct ui_table *t, int x, int y);

#endif
