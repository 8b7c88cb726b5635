#include "widget_hist.h"

#include "figure.h"
#include "widget_plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int ui_axis_cell(const struct ui_axis *axis, int w, double value)
{
    double span = axis->hi - axis->lo;
    if (isnan(value) || !(span > 0)) {
        return w;
    }
    double at = (value - axis->lo) / span * w;
    return at < 0 ? -1 : at >= w ? (value <= axis->hi ? w - 1 : w) : (int)at;
}

int ui_axis_handle(const struct ui_axis *axis, int w, double value)
{
    int cell = ui_axis_cell(axis, w, value);
    if (cell < 0 || cell >= w) {
        return cell;
    }
    double at = (value - axis->lo) / (axis->hi - axis->lo) * w;
    int edge = (int)lround(at);
    int outside = value <= 0 ? edge - 1 : edge;
    return outside < 0 ? 0 : outside >= w ? w - 1 : outside;
}

double ui_axis_value(const struct ui_axis *axis, int w, int cell)
{
    return axis->lo + (axis->hi - axis->lo) * (cell + 0.5) / (w > 0 ? w : 1);
}

double ui_axis_end(double t, double bulk, double extreme)
{
    double end = isnan(t) ? bulk : fmax(1.5 * t, bulk);
    if (!(end > 0) || end > 1.03 * extreme) {
        end = 1.03 * extreme;
    }
    return !isnan(t) && end < 1.06 * t ? 1.06 * t : end;
}

static int plot_rows(struct ui_rect r)
{
    return r.h - 2;
}

/* Cells between neighbouring levels. */
static double level_spacing(const struct ui_hist *h, int w)
{
    if (h->n_levels < 2) {
        return 0;
    }
    double step = (h->levels[h->n_levels - 1] - h->levels[0]) / (h->n_levels - 1);
    return step / (h->axis.hi - h->axis.lo) * w;
}

static void mark_cells(const struct ui_hist *h, int w, struct ui_plot_cell *cells)
{
    int lo = isnan(h->t_lo) ? -1 : ui_axis_handle(&h->axis, w, h->t_lo);
    int hi = isnan(h->t_hi) ? w : ui_axis_handle(&h->axis, w, h->t_hi);
    for (int x = 0; x < w; x++) {
        bool clipped = x < lo || x > hi;
        cells[x].style = clipped ? UI_STYLE_CLIPPED : UI_STYLE_KEPT;
        cells[x].hatched = clipped;
    }
    /* The comb: teeth in the mass where levels stand, when they can be told apart. */
    if (level_spacing(h, w) >= 2.5) {
        for (int i = 0; i < h->n_levels; i++) {
            int x = ui_axis_cell(&h->axis, w, h->levels[i]);
            if (x >= 0 && x < w && x > lo && x < hi) {
                cells[x].style = UI_STYLE_LEVEL;
            }
        }
    }
}

/* Teeth are dashed: they move with every drag step, and whole ones would triple what is written to
 * the terminal. */
static void dash_teeth(struct ui_canvas *c, struct ui_rect r)
{
    for (int y = 0; y < r.h; y++) {
        for (int x = 0; x < r.w && y % 3 != 1; x++) {
            struct ui_cell *cell = ui_canvas_at(c, r.x + x, r.y + y);
            if (cell && cell->style == UI_STYLE_LEVEL) {
                cell->style = UI_STYLE_KEPT;
            }
        }
    }
}

static void draw_bars(struct ui_canvas *c, struct ui_rect r, const struct ui_hist *h,
                      enum ui_glyphs glyphs)
{
    double heights[UI_PLOT_COLUMNS];
    struct ui_plot_cell cells[UI_PLOT_COLUMNS / 2];
    int n = h->n < UI_PLOT_COLUMNS ? h->n : UI_PLOT_COLUMNS;
    int w = r.w < UI_PLOT_COLUMNS / 2 ? r.w : UI_PLOT_COLUMNS / 2;
    double top = 0;
    for (int i = 0; i < n; i++) {
        top = h->counts[i] > top ? h->counts[i] : top;
    }
    if (!(top > 0)) {
        return;
    }
    for (int i = 0; i < n; i++) {
        heights[i] = h->log ? log1p(h->counts[i]) / log1p(top) : h->counts[i] / top;
    }
    mark_cells(h, w, cells);
    struct ui_rect plot = {r.x, r.y, w, plot_rows(r)};
    ui_plot_bars(c, plot, heights, n, cells, glyphs);
    dash_teeth(c, plot);
}

static void draw_handle(struct ui_canvas *c, struct ui_rect r, const struct ui_hist *h, double at,
                        bool held, enum ui_glyphs glyphs)
{
    int x = ui_axis_handle(&h->axis, r.w, at);
    if (x < 0 || x >= r.w) {
        return;
    }
    bool ascii = glyphs == UI_GLYPHS_ASCII;
    for (int y = 0; y < plot_rows(r); y++) {
        ui_put(c, r.x + x, r.y + y, 1, UI_STYLE_HANDLE, ascii ? "|" : held ? "┃" : "│");
    }
    ui_put(c, r.x + x, r.y + plot_rows(r), 1, UI_STYLE_HANDLE, ascii ? "|" : held ? "╋" : "┼");
    if (held && plot_rows(r) >= 3) {
        int y = r.y + 1;
        if (x > 0) {
            ui_put(c, r.x + x - 1, y, 1, UI_STYLE_HANDLE, ascii ? "<" : "◀");
        }
        if (x + 1 < r.w) {
            ui_put(c, r.x + x + 1, y, 1, UI_STYLE_HANDLE, ascii ? ">" : "▶");
        }
    }
}

static void draw_axis(struct ui_canvas *c, struct ui_rect r, const struct ui_hist *h,
                      enum ui_glyphs glyphs)
{
    int y = r.y + plot_rows(r);
    bool ascii = glyphs == UI_GLYPHS_ASCII;
    ui_fill(c, (struct ui_rect){r.x, y, r.w, 1}, UI_STYLE_FRAME, ascii ? "-" : "─");
    int last = -1;
    for (int i = 0; i < h->n_levels; i++) {
        int x = ui_axis_cell(&h->axis, r.w, h->levels[i]);
        if (x >= 0 && x < r.w && x != last) {
            ui_put(c, r.x + x, y, 1, UI_STYLE_LEVEL, ascii ? "+" : "┴");
            last = x;
        }
    }
}

static void draw_ticks(struct ui_canvas *c, struct ui_rect r, const struct ui_hist *h,
                       enum ui_glyphs glyphs)
{
    for (int i = 0; i < h->n_ticks; i++) {
        const int x = ui_axis_cell(&h->axis, r.w, h->tick[i]);
        if (x >= 0 && x < r.w) {
            ui_put(c, r.x + x, r.y + plot_rows(r), 1, UI_STYLE_BAD, ui_sym(glyphs, UI_SYM_DIAMOND));
        }
    }
}

/* Writes text from cell x unless something stands there already; true when written. */
static bool put_label(struct ui_canvas *c, struct ui_rect r, int y, int x, enum ui_style_id style,
                      const char *text)
{
    int len = ui_text_width(text);
    x = x + len > r.w ? r.w - len : x;
    x = x < 0 ? 0 : x;
    if (len > r.w) {
        return false;
    }
    for (int i = x - 1; i <= x + len; i++) {
        if (i >= 0 && i < r.w) {
            const struct ui_cell *cell = ui_canvas_at(c, r.x + i, y);
            if (!cell || cell->glyph[0] != ' ') {
                return false;
            }
        }
    }
    ui_put(c, r.x + x, y, len, style, text);
    return true;
}

/* On the inner side of its handle: the outside belongs to what lies beyond. */
static void label_threshold(struct ui_canvas *c, struct ui_rect r, const struct ui_hist *h,
                            double at, bool held)
{
    int x = ui_axis_handle(&h->axis, r.w, at);
    if (isnan(at) || x < 0 || x >= r.w) {
        return;
    }
    char text[UI_FIG];
    ui_fig_signed(text, at, 3);
    int start = at > 0 ? x + 1 - ui_text_width(text) : x;
    put_label(c, r, r.y + plot_rows(r) + 1, start, held ? UI_STYLE_HANDLE : UI_STYLE_DIM, text);
}

static void label_end(struct ui_canvas *c, struct ui_rect r, const struct ui_hist *h, bool right,
                      enum ui_glyphs glyphs)
{
    bool ascii = glyphs == UI_GLYPHS_ASCII;
    double end = right ? h->axis.hi : h->axis.lo, extreme = right ? h->max : h->min;
    char here[UI_FIG], there[UI_FIG], text[2 * UI_FIG + 24];
    ui_fig_signed(here, end, 2);
    int y = r.y + plot_rows(r) + 1;
    double slack = 1e-6 * (h->axis.hi - h->axis.lo);
    if (!isnan(extreme) && (right ? extreme > end + slack : extreme < end - slack)) {
        ui_fig_signed(there, extreme, 2);
        if (right) {
            snprintf(text, sizeof text, "%s to %s %s", here, there, ascii ? ">" : "▶");
        } else {
            snprintf(text, sizeof text, "%s %s to %s", ascii ? "<" : "◀", there, here);
        }
        if (put_label(c, r, y, right ? r.w - ui_text_width(text) : 0, UI_STYLE_WARN, text)) {
            return;
        }
        if (right) {
            snprintf(text, sizeof(text), "%s %s", there, ascii ? ">" : "▶");
        } else {
            snprintf(text, sizeof(text), "%s %s", ascii ? "<" : "◀", there);
        }
        if (put_label(c, r, y, right ? r.w - ui_text_width(text) : 0, UI_STYLE_WARN, text)) {
            return;
        }
    }
    put_label(c, r, y, right ? r.w - ui_text_width(here) : 0, UI_STYLE_DIM, here);
}

void ui_hist_draw(struct ui_canvas *c, struct ui_rect r, const struct ui_hist *h,
                  enum ui_glyphs glyphs)
{
    if (r.w < 8 || plot_rows(r) < 1 || !(h->axis.hi > h->axis.lo)) {
        return;
    }
    draw_bars(c, r, h, glyphs);
    draw_axis(c, r, h, glyphs);
    bool lo_held = h->has_lo ? h->held == 1 : true;
    draw_handle(c, r, h, h->t_lo, h->has_lo && h->held == 1, glyphs);
    draw_handle(c, r, h, h->t_hi, !h->has_lo || h->held == 0, glyphs);
    draw_ticks(c, r, h, glyphs);
    label_threshold(c, r, h, h->t_hi, !h->has_lo || h->held == 0);
    label_threshold(c, r, h, h->t_lo, lo_held);
    label_end(c, r, h, true, glyphs);
    label_end(c, r, h, false, glyphs);
    int zero = ui_axis_cell(&h->axis, r.w, 0);
    int y = r.y + plot_rows(r) + 1;
    if (zero > 0 && zero < r.w - 1) {
        put_label(c, r, y, zero, UI_STYLE_DIM, "0");
    }
    ui_put(c, r.x, r.y, r.w, UI_STYLE_DIM, h->log ? "log count" : "count");
    if (h->unit[0]) {
        ui_put(c, r.x + r.w - ui_text_width(h->unit) - 1, r.y, 1, UI_STYLE_DIM, " ");
        ui_put_right(c, r.x, r.y, r.w, UI_STYLE_DIM, h->unit);
    }
}

enum ui_hist_part ui_hist_hit(struct ui_rect r, const struct ui_hist *h, int x, int y)
{
    if (x < r.x || x >= r.x + r.w || y < r.y || y >= r.y + r.h) {
        return UI_HIST_NONE;
    }
    int cell = x - r.x;
    int to_hi = abs(cell - ui_axis_handle(&h->axis, r.w, h->t_hi));
    int to_lo = abs(cell - ui_axis_handle(&h->axis, r.w, h->t_lo));
    if (isnan(h->t_hi)) {
        return UI_HIST_PLOT;
    }
    if (to_hi <= 2 && to_hi <= to_lo) {
        return UI_HIST_HI;
    }
    return to_lo <= 2 ? UI_HIST_LO : UI_HIST_PLOT;
}

double ui_hist_fineness(struct ui_rect r, int y)
{
    int axis = r.y + plot_rows(r);
    int distance = axis - y > 0 ? axis - y : y - axis;
    int near = plot_rows(r) / 2 > 2 ? plot_rows(r) / 2 : 2;
    double fine = 1;
    for (int d = distance - near; d > 0 && fine > 1.0 / 16; d -= 2) {
        fine /= 2;
    }
    return fine;
}
