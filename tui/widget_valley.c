#include "widget_hist.h"
#include "widget_plot.h"

#include <math.h>

enum { MAX_MAGNETS = 16 };
static const double span_db =
    36; /* deeper valleys are cut: the flanks matter less than the floor */

static void scale_to_db(const struct ui_valley *v, double *out, int n)
{
    double least = INFINITY, most = 0;
    for (int i = 0; i < n; i++) {
        if (v->mse[i] > 0) {
            least = v->mse[i] < least ? v->mse[i] : least;
            most = v->mse[i] > most ? v->mse[i] : most;
        }
    }
    double top = most > 0 ? 10 * log10(most) : 0, bottom = most > 0 ? 10 * log10(least) : 0;
    if (top - bottom > span_db) {
        top = bottom + span_db;
    }
    for (int i = 0; i < n; i++) {
        if (isnan(v->mse[i])) {
            out[i] = NAN;
        } else if (!(v->mse[i] > 0) || !(top > bottom)) {
            out[i] = 0;
        } else {
            out[i] = (10 * log10(v->mse[i]) - bottom) / (top - bottom);
        }
    }
}

/* Cells of the letters: each at its own place, or the nearest free one within three cells. */
static void place_magnets(const struct ui_valley *v, int w, int *cells)
{
    int n = v->n_magnets < MAX_MAGNETS ? v->n_magnets : MAX_MAGNETS;
    for (int i = 0; i < n; i++) {
        int at = ui_axis_handle(&v->axis, w, v->magnets[i].at);
        cells[i] = -1;
        for (int k = 0; k < 7 && at >= 0 && at < w && cells[i] < 0; k++) {
            int try_at = at + (k & 1 ? (k + 1) / 2 : -k / 2);
            bool is_free = try_at >= 0 && try_at < w;
            for (int j = 0; j < i && is_free; j++) {
                is_free = cells[j] != try_at;
            }
            cells[i] = is_free ? try_at : -1;
        }
    }
}

static void draw_position(struct ui_canvas *c, struct ui_rect r, const struct ui_valley *v,
                          double at, enum ui_glyphs glyphs)
{
    int x = ui_axis_handle(&v->axis, r.w, at);
    if (isnan(at) || x < 0 || x >= r.w) {
        return;
    }
    bool ascii = glyphs == UI_GLYPHS_ASCII;
    for (int y = 0; y < r.h - 1; y++) {
        struct ui_cell *cell = ui_canvas_at(c, r.x + x, r.y + y);
        if (cell && cell->glyph[0] == ' ') {
            ui_put(c, r.x + x, r.y + y, 1, UI_STYLE_HANDLE, ascii ? ":" : "╎");
        } else if (cell) {
            cell->style = UI_STYLE_HANDLE;
        }
    }
    struct ui_cell *foot = ui_canvas_at(c, r.x + x, r.y + r.h - 1);
    if (foot && foot->glyph[0] == ' ') {
        ui_put(c, r.x + x, r.y + r.h - 1, 1, UI_STYLE_HANDLE, ascii ? "^" : "▲");
    } else if (foot) {
        foot->style = UI_STYLE_HANDLE; /* you stand on a magnet: its letter lights up */
    }
}

void ui_valley_draw(struct ui_canvas *c, struct ui_rect r, const struct ui_valley *v,
                    enum ui_glyphs glyphs)
{
    if (r.w < 8 || r.h < 2) {
        return;
    }
    double heights[UI_PLOT_COLUMNS];
    int n = v->n < UI_PLOT_COLUMNS ? v->n : UI_PLOT_COLUMNS;
    scale_to_db(v, heights, n);
    ui_plot_line(c, (struct ui_rect){r.x, r.y, r.w, r.h - 1}, heights, n, UI_STYLE_CURVE, glyphs);
    int cells[MAX_MAGNETS];
    place_magnets(v, r.w, cells);
    for (int i = 0; i < v->n_magnets && i < MAX_MAGNETS; i++) {
        if (cells[i] >= 0) {
            char letter[2] = {v->magnets[i].letter, 0};
            ui_put(c, r.x + cells[i], r.y + r.h - 1, 1, UI_STYLE_MAGNET, letter);
        }
    }
    draw_position(c, r, v, v->t_hi, glyphs);
    draw_position(c, r, v, v->t_lo, glyphs);
}

int ui_valley_hit(struct ui_rect r, const struct ui_valley *v, int x, int y)
{
    if (y != r.y + r.h - 1) {
        return -1;
    }
    int cells[MAX_MAGNETS];
    place_magnets(v, r.w, cells);
    for (int i = 0; i < v->n_magnets && i < MAX_MAGNETS; i++) {
        if (cells[i] >= 0 && r.x + cells[i] == x) {
            return i;
        }
    }
    return -1;
}
