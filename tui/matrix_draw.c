/* The picture of a weight with its margins and its legend. */
#include "matrix.h"

#include "figure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- one dot ---- */

/* Shade of the block at a dot; 0 where there is none, or not yet. */
static int shade_at(const struct matrix_frame *f, int dot_x, int dot_y)
{
    const int64_t x = dot_x / f->mx, y = dot_y / f->my;
    const struct ui_matrix *s = f->state;
    if (x >= f->across || y >= f->down) {
        return 0;
    }
    if (x == (s->col - f->part.col) / f->part.across &&
        y == (s->row - f->part.row) / f->part.down) {
        return UI_SHADE_CURSOR;
    }
    const struct qx_matrix_cell *cell = f->map ? qx_matrix_map_cell(f->map, y, x) : NULL;
    if (!cell) {
        return 0;
    }
    const double v = f->top > 0 ? matrix_figure(f, cell) / f->top : 0;
    return matrix_is_signed(f) ? ui_shade_diverging(v) : ui_shade_sequential(v);
}

/* Glyph for a magnitude of 0..1. */
static const char *ramp(enum ui_glyphs g, double x)
{
    static const char *const block[] = {" ", "\u2591", "\u2592", "\u2593", "\u2588"};
    static const char *const ascii[] = {" ", ".", ":", "-", "=", "+", "*", "#", "%", "@"};
    const int n = g == UI_GLYPHS_ASCII ? 10 : 5;
    x = x > 0 ? (x < 1 ? x : 1) : 0;
    int i = (int)ceil(x * (n - 1) - 1e-9); /* only 0 is empty */
    return g == UI_GLYPHS_ASCII ? ascii[i] : block[i];
}

static enum ui_style_id sign_style(const struct matrix_frame *f, double v)
{
    return !matrix_is_signed(f) ? UI_STYLE_NORMAL : v < 0 ? UI_STYLE_KEPT : UI_STYLE_CLIPPED;
}

static void draw_ramp_dot(const struct matrix_frame *f, struct ui_canvas *c, int x, int y)
{
    const struct ui_rect map = f->state->map;
    const struct ui_matrix *s = f->state;
    const int64_t bx = x / f->mx, by = y / f->my;
    const struct qx_matrix_cell *cell = f->map ? qx_matrix_map_cell(f->map, by, bx) : NULL;
    const bool is_here = bx == (s->col - f->part.col) / f->part.across &&
                         by == (s->row - f->part.row) / f->part.down;
    const double v = cell && f->top > 0 ? matrix_figure(f, cell) / f->top : 0;
    const char *glyph = cell ? ramp(f->app->glyphs, fabs(v)) : ui_sym(f->app->glyphs, UI_SYM_DOT);
    ui_put(c, map.x + x, map.y + y, 1,
           is_here ? UI_STYLE_SELECTED
           : cell  ? sign_style(f, v)
                   : UI_STYLE_DIM,
           glyph);
}

static void draw_half_dots(const struct matrix_frame *f, struct ui_canvas *c, int x, int y)
{
    const struct ui_rect map = f->state->map;
    const int above = shade_at(f, x, 2 * y), below = shade_at(f, x, 2 * y + 1);
    if (above || below) {
        ui_put_shades(c, map.x + x, map.y + y, above, below);
    } else {
        ui_put(c, map.x + x, map.y + y, 1, UI_STYLE_DIM, ui_sym(f->app->glyphs, UI_SYM_DOT));
    }
}

static void draw_map(const struct matrix_frame *f, struct ui_canvas *c)
{
    const int w = (int)f->across * f->mx, h = (int)f->down * f->my;
    for (int y = 0; y < (f->is_half ? (h + 1) / 2 : h); y++) {
        for (int x = 0; x < w; x++) {
            if (f->is_half) {
                draw_half_dots(f, c, x, y);
            } else {
                draw_ramp_dot(f, c, x, y);
            }
        }
    }
}

/* ---- margins ---- */

/* Lines that a cell of the margin stands for: the largest of them, and whether any is dead. */
struct lines {
    float max;
    bool is_dead, is_outlier, is_here;
};

static struct lines lines_of(const float *max, int64_t first, int64_t end, double median,
                             int64_t here)
{
    struct lines l = {.is_here = here >= first && here < end};
    for (int64_t i = first; max && i < end; i++) {
        l.max = max[i] > l.max ? max[i] : l.max;
        l.is_dead |= matrix_is_dead(max[i]);
        l.is_outlier |= matrix_is_outlier(max[i], median);
    }
    return l;
}

static void draw_mark(const struct matrix_frame *f, struct ui_canvas *c, int x, int y,
                      const struct lines *l)
{
    if (l->is_dead) {
        ui_put(c, x, y, 1, UI_STYLE_BAD, ui_sym(f->app->glyphs, UI_SYM_CROSS_OUT));
    } else if (l->is_outlier) {
        ui_put(c, x, y, 1, UI_STYLE_CLIPPED, "!");
    }
}

static float most_of(const float *max, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++) {
        most = max[i] > most ? max[i] : most;
    }
    return most;
}

/* A bar of `eighths` eighths of a cell, growing to the right or upwards. */
static const char *eighth(enum ui_glyphs g, int eighths, bool is_up)
{
    static const char *const across[] = {" ",      "\u258f", "\u258e", "\u258d", "\u258c",
                                         "\u258b", "\u258a", "\u2589", "\u2588"};
    static const char *const up[] = {" ",      "\u2581", "\u2582", "\u2583", "\u2584",
                                     "\u2585", "\u2586", "\u2587", "\u2588"};
    eighths = eighths < 0 ? 0 : eighths > 8 ? 8 : eighths;
    if (g == UI_GLYPHS_ASCII) {
        return eighths >= 5 ? "#" : eighths > 0 ? (is_up ? "." : "-") : " ";
    }
    return is_up ? up[eighths] : across[eighths];
}

static void draw_row_strip(const struct matrix_frame *f, struct ui_canvas *c)
{
    const struct ui_rect s = f->state->row_strip;
    const struct qx_margins *m = f->margins;
    const int per_cell = f->is_half ? 2 : 1, w = s.w - 3;
    const float most = m ? most_of(m->row_max, m->rows) : 0;
    for (int y = 0; y * per_cell < (int)f->down * f->my; y++) {
        const int64_t end_block = ((y + 1) * per_cell - 1) / f->my + 1;
        int64_t first = f->part.row + y * per_cell / f->my * f->part.down;
        int64_t end = f->part.row + end_block * f->part.down;
        end = end < f->part.row + f->part.rows ? end : f->part.row + f->part.rows;
        const struct lines l =
            lines_of(m ? m->row_max : NULL, first, end, m ? m->row_median : 0, f->state->row);
        if (l.is_here) {
            ui_put(c, f->state->map.x - 2, s.y + y, 1, UI_STYLE_HANDLE,
                   ui_sym(f->app->glyphs, UI_SYM_CURSOR));
        }
        if (!m) {
            continue;
        }
        draw_mark(f, c, s.x + 1, s.y + y, &l);
        const int len = most > 0 ? (int)ceil((double)l.max / (double)most * w * 8) : 0;
        for (int x = 0; x < w; x++) {
            ui_put(c, s.x + 3 + x, s.y + y, 1, l.is_outlier ? UI_STYLE_CLIPPED : UI_STYLE_BAR,
                   eighth(f->app->glyphs, len - x * 8, false));
        }
    }
}

static void draw_col_strip(const struct matrix_frame *f, struct ui_canvas *c)
{
    const struct ui_rect s = f->state->col_strip;
    const struct qx_margins *m = f->margins;
    const int h = s.h - 1;
    const float most = m ? most_of(m->col_max, m->cols) : 0;
    for (int x = 0; x < (int)f->across * f->mx; x++) {
        const int64_t first = f->part.col + x / f->mx * f->part.across;
        int64_t end = first + f->part.across;
        end = end < f->part.col + f->part.cols ? end : f->part.col + f->part.cols;
        const struct lines l =
            lines_of(m ? m->col_max : NULL, first, end, m ? m->col_median : 0, f->state->col);
        if (l.is_here) {
            ui_put(c, s.x + x, s.y, 1, UI_STYLE_HANDLE, ui_sym(f->app->glyphs, UI_SYM_UP));
        } else if (m) {
            draw_mark(f, c, s.x + x, s.y, &l);
        }
        const int len = most > 0 ? (int)ceil((double)l.max / (double)most * h * 8) : 0;
        for (int y = 0; m && y < h; y++) {
            ui_put(c, s.x + x, s.y + h - y, 1, l.is_outlier ? UI_STYLE_CLIPPED : UI_STYLE_BAR,
                   eighth(f->app->glyphs, len - y * 8, true));
        }
    }
}

/* The columns of the picked group, as a line in the row of marks. */
static void draw_group(const struct matrix_frame *f, struct ui_canvas *c)
{
    const struct ui_rect s = f->state->col_strip;
    int64_t first, n;
    if (f->state->pick != MATRIX_GROUP) {
        return;
    }
    matrix_group(f, &first, &n);
    for (int x = 0; x < (int)f->across * f->mx; x++) {
        const int64_t col = f->part.col + x / f->mx * f->part.across;
        if (col + f->part.across > first && col < first + n) {
            ui_put(c, s.x + x, s.y, 1, UI_STYLE_HANDLE, ui_sym(f->app->glyphs, UI_SYM_HLINE));
        }
    }
}

/* ---- words around it ---- */

static void count_text(char *buf, size_t cap, int64_t n, const char *what)
{
    if (n > 0) {
        char count[40];
        const size_t used = strlen(buf);
        snprintf(buf + used, cap - used, "%s%s %s%s", used ? ", " : "",
                 ui_fmt_count(count, sizeof(count), n), what, n == 1 ? "" : "s");
    }
}

static void draw_title(const struct matrix_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    char block[80], found[160] = "", shape[80];
    const struct qx_margins *m = f->margins;
    const bool streams = !f->reason && (!f->map || !qx_matrix_map_done(f->map));
    int x = r.x + 1;
    if (m) {
        count_text(found, sizeof(found), m->n_outlier_cols, "outlier column");
        count_text(found, sizeof(found), m->n_outlier_rows, "outlier row");
        count_text(found, sizeof(found), m->n_dead_cols, "dead column");
        count_text(found, sizeof(found), m->n_dead_rows, "dead row");
    }
    x += ui_put(c, x, r.y, r.w - 2, UI_STYLE_BOLD, matrix_what_text(f));
    x += ui_put(c, x, r.y, r.w - 2, UI_STYLE_NORMAL, ", ");
    x += ui_put(c, x, r.y, r.w - 2, UI_STYLE_NORMAL, matrix_block_text(f, block, sizeof(block)));
    if (streams) {
        ui_put(c, x, r.y, 2, UI_STYLE_PREDICTED, ui_mark(QX_BASIS_SAMPLED, f->app->glyphs));
    }
    const int room = r.x + r.w - 1 - x - 3;
    if (room > ui_text_width(found)) {
        ui_put_right(
            c, r.x, r.y, r.w - 1,
            m && (m->n_dead_rows || m->n_dead_cols) ? UI_STYLE_WARN : UI_STYLE_DIM,
            found[0] ? found : ui_fmt_shape(shape, sizeof(shape), f->item->tensor, f->app->glyphs));
    } else {
        ui_put_cut(c, x + 3, r.y, room, UI_STYLE_WARN, found, f->app->glyphs);
    }
}

static void draw_labels(const struct matrix_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    const struct ui_rect map = f->state->map, strip = f->state->row_strip;
    char a[40], b[40], d[40], e[40], text[120];
    snprintf(text, sizeof(text), "rows %s-%s, columns %s-%s",
             ui_fmt_count(a, sizeof(a), f->part.row),
             ui_fmt_count(b, sizeof(b), f->part.row + f->part.rows - 1),
             ui_fmt_count(d, sizeof(d), f->part.col),
             ui_fmt_count(e, sizeof(e), f->part.col + f->part.cols - 1));
    ui_put(c, map.x, r.y + 1, map.w, UI_STYLE_DIM, text);
    if (f->m.rows > 1) {
        ui_put(c, strip.x + 1, r.y + 1, strip.w - 1, UI_STYLE_DIM,
               strip.w > 14 ? "largest in row" : "row max");
        if (!f->margins && !f->margins_reason) {
            ui_put(c, strip.x + 3, strip.y, 2, UI_STYLE_PREDICTED,
                   ui_mark(QX_BASIS_SAMPLED, f->app->glyphs));
        }
    }
}

/* The scale of colours, with numbers. */
static void draw_legend(const struct matrix_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    enum { STEPS = 16 };
    const int y = r.y + r.h - 1;
    char low[UI_FIG] = "0", high[UI_FIG];
    const bool is_signed = matrix_is_signed(f);
    int x = r.x + 3;
    if (!(f->top > 0)) {
        ui_put(c, x, y, -1, UI_STYLE_DIM, f->map ? "all that is in sight is 0" : "");
        return;
    }
    if (f->state->what == QX_MATRIX_CLIPPED && !f->state->is_mean) {
        snprintf(low, sizeof(low), "none");
        snprintf(high, sizeof(high), "clipped");
    } else if (f->state->what == QX_MATRIX_CLIPPED) {
        ui_fig_share(high, f->top);
    } else {
        ui_fig_real(high, f->top, 3);
        if (is_signed) {
            ui_fig_real(low, -f->top, 3);
        }
    }
    x += ui_put(c, x, y, -1, UI_STYLE_DIM, low) + 1;
    for (int i = 0; i < STEPS; i++, x++) {
        const double at = i / (STEPS - 1.0), v = is_signed ? 2 * at - 1 : at;
        const int shade = is_signed ? ui_shade_diverging(v) : ui_shade_sequential(v);
        if (f->is_half) {
            ui_put_shades(c, x, y, shade, shade);
        } else {
            ui_put(c, x, y, 1, sign_style(f, v), ramp(f->app->glyphs, fabs(v)));
        }
    }
    x += 1 + ui_printf(c, x + 1, y, -1, UI_STYLE_DIM, "%s%s", is_signed ? "+" : "", high);
    x += ui_put(c, x, y, -1, UI_STYLE_DIM, f->is_beyond ? " and beyond" : "");
    if (f->margins && r.x + r.w - x > 36) {
        x += ui_put(c, x + 3, y, 1, UI_STYLE_CLIPPED, "!") + 3;
        x += ui_put(c, x + 1, y, -1, UI_STYLE_DIM, "2 x the median") + 1;
        x += ui_put(c, x + 3, y, 1, UI_STYLE_BAD, ui_sym(f->app->glyphs, UI_SYM_CROSS_OUT)) + 3;
        ui_put(c, x + 1, y, -1, UI_STYLE_DIM, "all zero");
    }
}

void matrix_draw(struct matrix_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    draw_title(f, c, r);
    if (f->reason) {
        ui_put_cut(c, r.x + 3, r.y + 3, r.w - 6, UI_STYLE_WARN, f->reason, f->app->glyphs);
        return;
    }
    draw_labels(f, c, r);
    draw_map(f, c);
    draw_row_strip(f, c);
    draw_col_strip(f, c);
    draw_group(f, c);
    draw_legend(f, c, r);
}
