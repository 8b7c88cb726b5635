/* The left side of the Layer screen: title, histogram, valley, magnets; residual and channels. */
#include "layer.h"

#include "figure.h"
#include "widget_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *gran_words(const struct qx_setting *s, char *buf, size_t cap)
{
    if (s->gran == QX_GRAN_GROUP) {
        snprintf(buf, cap, "group %lld", (long long)s->group);
        return buf;
    }
    return s->gran == QX_GRAN_CHANNEL ? "channel" : "tensor";
}

static void setting_words(const struct layer_frame *f, char *buf, size_t cap)
{
    const struct qx_setting *s = f->setting;
    const char *dot = f->app->glyphs == UI_GLYPHS_ASCII ? "," : " ·";
    char room[32];
    if (!f->is_scaled) {
        snprintf(buf, cap, "%s", f->item->can_quantize ? s->format->title : "not quantized");
        return;
    }
    const char *calib = s->calib ? s->calib->title : "by hand";
    const char *gran = gran_words(s, room, sizeof(room));
    char format[24];
    if (f->is_int) {
        snprintf(buf, cap, "%s %s %s%s %s%s%s", ui_fmt_format(format, sizeof(format), s),
                 s->sym ? "sym" : "asym", gran, dot, calib, s->algo[0] ? " + " : "", s->algo);
    } else {
        snprintf(buf, cap, "%s %s%s %s%s%s", s->format->title, gran, dot, calib,
                 s->algo[0] ? " + " : "", s->algo);
    }
}

void layer_draw_title(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    enum ui_glyphs g = f->app->glyphs;
    char shape[64], count[40], left[200], setting[192], threshold[80];
    const struct qx_tensor *t = f->item->tensor;
    ui_fmt_shape(shape, sizeof(shape), t, g);
    ui_fmt_count(count, sizeof(count), t->numel);
    snprintf(left, sizeof(left), "%s  %s  %s value%s", shape, qx_dtype_get(t->dtype)->name, count,
             t->numel == 1 ? "" : "s");
    setting_words(f, setting, sizeof(setting));
    layer_threshold_text(f, threshold, sizeof(threshold));
    int used = ui_put(c, r.x, r.y, r.w, UI_STYLE_DIM, left) + 3;
    int w_setting = ui_text_width(setting), room = r.w - used - w_setting - 3;
    if (ui_text_width(threshold) > room && f->in_units && f->setting->has_range) {
        char value[UI_FIG];
        snprintf(threshold, sizeof(threshold), "T %s of max",
                 ui_fig_real(value, f->setting->range.hi, 3));
    }
    int w_threshold = ui_text_width(threshold), x = r.x + r.w;
    if (f->is_scaled && w_threshold <= room) {
        x -= w_threshold;
        ui_put(c, x, r.y, w_threshold, UI_STYLE_VALUE, threshold);
        x -= 3;
    }
    if (x - w_setting >= r.x + used) {
        ui_put(c, x - w_setting, r.y, w_setting, UI_STYLE_BOLD, setting);
    }
}

/* Place on the axis of a threshold of that size. */
static double place_of_flip(const struct layer_frame *f, const struct qx_flip *flip)
{
    const bool is_low = f->app->handle == 1 && f->state->hist.has_lo;
    const double t = flip->place;
    return is_low ? layer_place_lo(f, (struct qx_range){-t, f->setting->range.hi})
           : f->setting->sym || f->in_units
               ? layer_place_hi(f, (struct qx_range){-t, t})
               : layer_place_hi(f, (struct qx_range){f->setting->range.lo, t});
}

/* "◆ row 17 goes at ≈0.083": the one that is nearer, in ratio. Once replay was there the row is measured; the
 * place still lies somewhere between two replays. */
static int draw_flip_words(struct layer_frame *f, struct ui_canvas *c, int x, int y, int room)
{
    const struct qx_flip *a = &f->flip[0], *b = &f->flip[1];
    const double here = fabs(f->app->handle == 1 && f->state->hist.has_lo ? f->setting->range.lo
                                                                          : f->setting->range.hi);
    char value[UI_FIG], text[96];
    if (!f->has_flips || (!a->is_there && !b->is_there) || !(here > 0)) {
        return 0;
    }
    const bool is_up =
        !a->is_there || (b->is_there && b->place / here < here / fmax(a->place, 1e-30));
    const struct qx_flip *next = is_up ? b : a;
    snprintf(text, sizeof(text), " row %lld goes at %s%s", (long long)next->row,
             ui_mark(QX_BASIS_HISTOGRAM, f->app->glyphs), ui_fig_real(value, next->place, 3));
    const int w = ui_text_width(text) + 1;
    if (w + 2 > room) {
        return 0;
    }
    ui_put(c, x + 2, y, 1, UI_STYLE_BAD, ui_sym(f->app->glyphs, UI_SYM_DIAMOND));
    return 2 + 1 +
           ui_put(c, x + 3, y, w, next->is_measured ? UI_STYLE_MEASURED : UI_STYLE_PREDICTED, text);
}

/* "M mse 0.104 · P percentile 0.140": as many as fit. */
static void draw_legend(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    enum ui_glyphs g = f->app->glyphs;
    int x = r.x;
    char value[UI_FIG];
    double here =
        f->app->handle == 1 && f->state->hist.has_lo ? f->setting->range.lo : f->setting->range.hi;
    x += ui_put(c, x, r.y, r.w, UI_STYLE_HANDLE, g == UI_GLYPHS_ASCII ? "^ " : "▲ ");
    x += ui_printf(c, x, r.y, r.x + r.w - x, UI_STYLE_VALUE, "you %s", ui_fig_real(value, here, 3));
    x += draw_flip_words(f, c, x, r.y, r.x + r.w - x);
    for (int i = 0; f->has_advice && i < f->advice.n; i++) {
        const struct qx_advice_choice *choice = &f->advice.choice[i];
        char text[64];
        double at = here < 0 ? choice->range.lo : choice->range.hi;
        snprintf(text, sizeof(text), " %s %s", choice->calib->title, ui_fig_real(value, at, 3));
        int w = ui_text_width(text) + 1;
        if (x + 2 + w > r.x + r.w) {
            break;
        }
        x += 2;
        x += ui_printf(c, x, r.y, 1, UI_STYLE_MAGNET, "%c", choice->calib->mark);
        x += ui_put(c, x, r.y, w, UI_STYLE_DIM, text);
    }
    if (f->is_scaled && (!f->has_advice || !f->advice.is_complete)) {
        const char *more = g == UI_GLYPHS_ASCII ? "  .." : "  …";
        if (x + 3 <= r.x + r.w) {
            ui_put(c, x, r.y, 4, UI_STYLE_PREDICTED, more);
        }
    }
}

static void draw_message(struct ui_canvas *c, struct ui_rect r, char lines[4][160], int n)
{
    int w = r.w < 60 ? r.w : 60, x = r.x + (r.w - w) / 2, y = r.y + r.h / 3;
    for (int i = 0; i < n; i++) {
        struct ui_rect at = {x, y, w, r.y + r.h - y};
        y += ui_text_draw(c, at, i == 0 ? UI_STYLE_BOLD : UI_STYLE_DIM, lines[i]) + (i == 0);
    }
}

/* Below the histogram: the error valley of a threshold, or the levels of blocks. */
static int lower_rows(const struct layer_frame *f, int h)
{
    if (h >= 10 && layer_block(f)) {
        return h / 3 + 1;
    }
    if (!f->is_scaled || !f->setting->has_range || h < 10) {
        return 0;
    }
    int rows = h / 4;
    return rows < 3 ? 3 : rows > 11 ? 11 : rows;
}

/* Sampling and non-finite values are said in the plot's free corner. */
static void draw_notes(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    char note[160] = "";
    if (f->hist_state == QX_HIST_SAMPLED) {
        snprintf(note, sizeof(note), "%s from a sample",
                 f->app->glyphs == UI_GLYPHS_ASCII ? ".." : "…");
    } else if (f->stats->n_nan + f->stats->n_inf > 0) {
        snprintf(note, sizeof(note), "%lld NaN, %lld infinite left out; first at %lld",
                 (long long)f->stats->n_nan, (long long)f->stats->n_inf,
                 (long long)f->stats->first_nonfinite);
    } else if (qx_model_torn(qx_session_model(f->app->session), f->item->tensor)) {
        snprintf(note, sizeof(note), "the file was cut short while open: zeros stand in");
    }
    ui_put(c, r.x, r.y + 1, r.w, UI_STYLE_WARN, note);
}

void layer_draw_plots(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    struct ui_layer *s = f->state;
    char lines[4][160];
    int n = layer_message(f, lines);
    s->hist_rect.w = s->valley_rect.w = 0;
    if (n > 0) {
        draw_message(c, r, lines, n);
        return;
    }
    bool legend = f->is_scaled && f->setting->has_range && r.h >= 8;
    int valley = lower_rows(f, r.h);
    bool residual = valley > 0 && r.w < 84 && f->app->show_error;
    int gap = valley > 0 && r.h >= 18 ? 1 : 0;
    s->hist_rect = (struct ui_rect){r.x, r.y, r.w, r.h - legend - valley - gap};
    layer_update_plots(f, r.w);
    for (int i = 0; f->has_flips && i < 2; i++) {
        if (f->flip[i].is_there) {
            s->hist.tick[s->hist.n_ticks++] = place_of_flip(f, &f->flip[i]);
        }
    }
    if (gap) {
        s->hist.unit = "";
        ui_put_right(c, r.x, r.y + s->hist_rect.h, r.w, UI_STYLE_DIM, layer_unit(f));
    }
    ui_hist_draw(c, s->hist_rect, &s->hist, f->app->glyphs);
    draw_notes(f, c, s->hist_rect);
    struct ui_rect below = {r.x, r.y + s->hist_rect.h + gap, r.w, valley};
    if (layer_block(f)) {
        layer_draw_blocks(f, c, below);
    } else if (residual) {
        layer_draw_residual(f, c, below);
    } else if (valley > 0) {
        struct ui_valley v = {s->axis, s->mse,     s->hist.n,   f->t_lo,
                              f->t_hi, s->magnets, s->n_magnets};
        s->valley_rect = below;
        ui_valley_draw(c, below, &v, f->app->glyphs);
        if (gap) {
            ui_put(c, r.x, below.y - 1, r.w, UI_STYLE_DIM, "error if T stood there");
        }
    }
    if (legend) {
        draw_legend(f, c, (struct ui_rect){r.x, r.y + r.h - 1, r.w, 1});
    }
}

/* ---- residual, or error by value ---- */

/* Of uneven levels the widest step. */
static double step_of(const struct layer_frame *f)
{
    if (!f->is_int) {
        double level[256], widest = 0;
        int n = qx_setting_levels(f->setting, level, 256);
        for (int i = 1; i < n; i++) {
            widest = fmax(widest, level[i] - level[i - 1]);
        }
        return widest;
    }
    int levels = f->setting->sym ? (1 << f->setting->bits) - 2 : (1 << f->setting->bits) - 1;
    return (f->setting->range.hi - f->setting->range.lo) / levels;
}

static void residual_heights(struct layer_frame *f, double *v, int n, double limit)
{
    double top = 0;
    qx_metric_residual(f->hist, f->setting, limit, n, v);
    for (int i = 0; i < n; i++) {
        top = v[i] > top ? v[i] : top;
    }
    for (int i = 0; i < n; i++) {
        v[i] = top > 0 ? v[i] / top : 0;
    }
}

/* Squared error that the values of each column cause, from the counts as drawn. */
static void error_heights(struct layer_frame *f, double *v, int n)
{
    const struct ui_layer *s = f->state;
    double top = 0, step = step_of(f), level[256];
    int n_levels = f->is_int ? 0 : qx_setting_levels(f->setting, level, 256), k = 1;
    for (int i = 0; i < n; i++) {
        int column = (int)((int64_t)i * s->hist.n / n);
        double x = s->axis.lo + (s->axis.hi - s->axis.lo) * (column + 0.5) / s->hist.n;
        double clamped = fmin(fmax(x, f->t_lo), f->t_hi);
        while (k + 1 < n_levels && x > level[k]) {
            k++;
        }
        step = n_levels > 0 ? level[k] - level[k - 1] : step;
        double outside = x - clamped;
        v[i] = s->counts[column] * (outside * outside + step * step / 12);
        top = v[i] > top ? v[i] : top;
    }
    for (int i = 0; i < n; i++) {
        v[i] = top > 0 ? v[i] / top : 0;
    }
}

void layer_draw_residual(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    if (r.h < 3 || r.w < 12 || !f->hist || !f->setting->has_range || !f->is_scaled) {
        return;
    }
    double v[UI_PLOT_COLUMNS];
    int n = 2 * r.w < UI_PLOT_COLUMNS ? 2 * r.w : UI_PLOT_COLUMNS;
    double step = step_of(f);
    bool by_value = f->app->show_error && f->app->w >= 120;
    if (by_value) {
        error_heights(f, v, n);
    } else if (f->in_units && !f->setting->sym && f->app->drag.active) {
        /* 64 classes of bins are too many for every step of a drag. */
        ui_put(c, r.x, r.y + r.h / 2, r.w, UI_STYLE_DIM, "the residual comes when you let go");
        return;
    } else {
        residual_heights(f, v, n, step);
    }
    ui_plot_bars(c, (struct ui_rect){r.x, r.y, r.w, r.h - 1}, v, n, NULL, f->app->glyphs);
    char a[UI_FIG], b[UI_FIG];
    int y = r.y + r.h - 1;
    ui_put(c, r.x, y, r.w, UI_STYLE_DIM, ui_fig_signed(a, by_value ? f->state->axis.lo : -step, 2));
    ui_put_right(c, r.x, y, r.w, UI_STYLE_DIM,
                 ui_fig_signed(b, by_value ? f->state->axis.hi : step, 2));
    const char *title = by_value ? "squared error by value" : "residual x - q(x)";
    int w = ui_text_width(title);
    ui_put(c, r.x + (r.w - w) / 2, y, w, UI_STYLE_DIM, title);
}

/* ---- channels ---- */

static void put_outliers(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    const struct ui_layer *s = f->state;
    char line[160];
    if (s->strip.n_outliers == 0) {
        char count[40];
        ui_fmt_count(count, sizeof(count), s->strip.n_channels);
        snprintf(line, sizeof(line), "%s channels, none above twice the median", count);
    } else {
        int at = snprintf(line, sizeof(line), "channel");
        for (int k = 0; k < s->strip.n_outliers && k < 3 && at < 120; k++) {
            at += snprintf(line + at, sizeof(line) - (size_t)at, "%s %lld (%.1f%s)", k ? "," : "",
                           (long long)s->strip.outlier[k], s->strip.ratio[k],
                           f->app->glyphs == UI_GLYPHS_ASCII ? "x" : "×");
        }
        snprintf(line + at, sizeof(line) - (size_t)at, " the median");
    }
    ui_put(c, r.x, r.y, r.w, s->strip.n_outliers ? UI_STYLE_WARN : UI_STYLE_DIM, line);
}

void layer_draw_channels(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    const struct qx_units *u;
    if (r.h < 2 || !layer_update_strip(f, &u)) {
        ui_put(c, r.x, r.y, r.w, UI_STYLE_DIM,
               f->item->channels.count < 2 ? "one channel only" : "reading the channels");
        return;
    }
    double v[UI_PLOT_COLUMNS];
    int n = 2 * r.w < UI_PLOT_COLUMNS ? 2 * r.w : UI_PLOT_COLUMNS;
    for (int i = 0; i < n; i++) {
        int64_t first = (int64_t)i * u->n / n, next = (int64_t)(i + 1) * u->n / n;
        int64_t last = next > first ? next : first + 1;
        double largest = 0;
        for (int64_t k = first; k < last && k < u->n; k++) {
            largest = u->absmax[k] > largest ? u->absmax[k] : largest;
        }
        bool is_gap = u->n * 3 <= n && next > first; /* few channels: bars with gaps */
        v[i] = is_gap || f->state->strip.top <= 0 ? 0 : largest / f->state->strip.top;
    }
    ui_plot_bars(c, (struct ui_rect){r.x, r.y, r.w, r.h - 1}, v, n, NULL, f->app->glyphs);
    put_outliers(f, c, (struct ui_rect){r.x, r.y + r.h - 1, r.w, 1});
}
