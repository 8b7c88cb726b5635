#include "widget_table.h"

#include <string.h>

static int total_width(const int *width, int n)
{
    int w = 0;
    for (int i = 0; i < n; i++) {
        if (width[i] > 0) {
            w += width[i] + (w > 0 ? UI_TABLE_GAP : 0);
        }
    }
    return w;
}

void ui_table_layout(const struct ui_column *columns, int n, int w, int *x, int *width)
{
    for (int i = 0; i < n; i++) {
        width[i] = columns[i].width;
    }
    while (total_width(width, n) > w) {
        int worst = -1;
        for (int i = 0; i < n; i++) {
            if (width[i] > 0 && columns[i].priority > 0 &&
                (worst < 0 || columns[i].priority >= columns[worst].priority)) {
                worst = i;
            }
        }
        if (worst < 0) {
            break;
        }
        width[worst] = 0;
    }
    for (int i = 0; i < n; i++) {
        int spare = w - total_width(width, n);
        if (width[i] > 0 && columns[i].grow > width[i] && spare > 0) {
            int more = columns[i].grow - width[i];
            width[i] += more < spare ? more : spare;
        }
    }
    int at = 0;
    for (int i = 0; i < n; i++) {
        x[i] = at;
        at += width[i] > 0 ? width[i] + UI_TABLE_GAP : 0;
    }
}

static void put_cell(struct ui_canvas *c, int x, int y, int w, bool is_right,
                     enum ui_style_id style, const char *text, enum ui_glyphs g)
{
    if (is_right && ui_text_width(text) <= w) {
        ui_put_right(c, x, y, w, style, text);
    } else {
        ui_put_cut(c, x, y, w, style, text, g);
    }
}

static void draw_scroll_bar(struct ui_canvas *c, struct ui_rect r, const struct ui_table *t,
                            int page, enum ui_glyphs glyphs)
{
    if (t->n_rows <= page || page < 3) {
        return;
    }
    int length = (int)((int64_t)page * page / t->n_rows);
    length = length < 1 ? 1 : length;
    int64_t span = t->n_rows - page;
    int at = (int)(t->top * (page - length) / (span > 0 ? span : 1));
    bool ascii = glyphs == UI_GLYPHS_ASCII;
    for (int i = 0; i < page; i++) {
        bool thumb = i >= at && i < at + length;
        ui_put(c, r.x + r.w - 1, r.y + 1 + i, 1, thumb ? UI_STYLE_DIM : UI_STYLE_FRAME,
               thumb ? (ascii ? "#" : "┃") : (ascii ? "|" : "│"));
    }
}

void ui_table_draw(struct ui_canvas *c, struct ui_rect r, const struct ui_table *t,
                   enum ui_glyphs glyphs)
{
    int x[UI_TABLE_COLUMNS], width[UI_TABLE_COLUMNS];
    int n = t->n_columns < UI_TABLE_COLUMNS ? t->n_columns : UI_TABLE_COLUMNS;
    if (r.w <= 2 || r.h <= 0) {
        return;
    }
    ui_table_layout(t->columns, n, r.w - 2, x, width);
    for (int i = 0; i < n; i++) {
        width[i] = x[i] + width[i] > r.w - 2 ? r.w - 2 - x[i] : width[i];
        if (width[i] > 0) {
            put_cell(c, r.x + x[i], r.y, width[i], t->columns[i].is_right, UI_STYLE_HEADER,
                     t->columns[i].title, glyphs);
        }
    }
    int page = ui_table_page(r);
    for (int k = 0; k < page && t->top + k < t->n_rows; k++) {
        int64_t row = t->top + k;
        int y = r.y + 1 + k;
        for (int i = 0; i < n; i++) {
            if (width[i] > 0) {
                struct ui_cell_text cell = {.style = UI_STYLE_NORMAL};
                t->cell(t->arg, row, i, &cell);
                put_cell(c, r.x + x[i], y, width[i], t->columns[i].is_right, cell.style, cell.text,
                         glyphs);
            }
        }
        if (row == t->cursor) {
            ui_restyle(c, (struct ui_rect){r.x, y, r.w - 1, 1}, UI_STYLE_SELECTED);
        }
    }
    draw_scroll_bar(c, r, t, page, glyphs);
}

int ui_table_page(struct ui_rect r)
{
    return r.h > 1 ? r.h - 1 : 0;
}

int64_t ui_table_scroll(int64_t top, int64_t cursor, int64_t n_rows, int page)
{
    if (page <= 0) {
        return 0;
    }
    if (cursor >= 0 && cursor < top) {
        top = cursor;
    }
    if (cursor >= top + page) {
        top = cursor - page + 1;
    }
    if (top > n_rows - page) {
        top = n_rows - page;
    }
    return top < 0 ? 0 : top;
}

int64_t ui_table_hit(struct ui_rect r, const struct ui_table *t, int x, int y)
{
    int row = y - r.y - 1;
    if (x < r.x || x >= r.x + r.w || row < 0 || row >= ui_table_page(r) ||
        t->top + row >= t->n_rows) {
        return -1;
    }
    return t->top + row;
}
