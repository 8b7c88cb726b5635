#include "act.h"

#include "figure.h"
#include "layout.h"
#include "widget_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- head ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What the plot is of, and what is done with it. */
static void draw_title(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    char left[160], words[96], tokens[64] = "";
    const struct qx_observed *o = f->seen;
    act_words(f, words, sizeof(words));
    if (o && o->layout.outer > 1) {
        snprintf(tokens, sizeof(tokens), " of %lld tokens", (long long)o->layout.outer);
    }
    const int64_t channels = o ? o->layout.count : 0;
    snprintf(left, sizeof(left), "%lld channel%s%s, %lld rows of %.60s", (long long)channels,
             channels == 1 ? "" : "s", tokens, (long long)f->source.n,
             f->source.is_noise ? "noise" : base_name(f->source.source));
    const int w = ui_text_width(words);
    const int used =
        o ? ui_put(c, r.x, r.y, r.w - w - 2, f->source.note[0] ? UI_STYLE_WARN : UI_STYLE_DIM, left)
          : 0;
    if (used + 2 + w <= r.w && (o || f->is_on)) {
        ui_put(c, r.x + r.w - w, r.y, w, f->is_on ? UI_STYLE_BOLD : UI_STYLE_DIM, words);
    }
}

/* ---- strips ---- */

/* Largest of v[n] under each column, as shares of the largest of all. */
static void strip_heights(const float *v, int64_t n, double *out, int columns)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) {
        top = fmax(top, (double)v[i]);
    }
    for (int i = 0; i < columns; i++) {
        const int64_t first = (int64_t)i * n / columns, next = (int64_t)(i + 1) * n / columns;
        double most = 0;
        for (int64_t k = first; k < next || k == first; k++) {
            most = fmax(most, (double)v[k]);
        }
        const bool is_gap = n * 3 <= columns && next > first; /* few bars stand apart */
        out[i] = is_gap || top <= 0 ? 0 : most / top;
    }
}

static void draw_strip(struct act_frame *f, struct ui_canvas *c, struct ui_rect r, const float *v,
                       int64_t n, const struct ui_plot_cell *cells)
{
    double heights[UI_PLOT_COLUMNS];
    const int columns = 2 * r.w < UI_PLOT_COLUMNS ? 2 * r.w : UI_PLOT_COLUMNS;
    if (n > 0 && r.h > 1) {
        strip_heights(v, n, heights, columns);
        ui_plot_bars(c, (struct ui_rect){r.x, r.y + 1, r.w, r.h - 1}, heights, columns, cells,
                     f->app->glyphs);
    }
}

static void draw_tokens(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    const struct qx_observed *o = f->seen;
    char text[120], lo[UI_FIG], hi[UI_FIG];
    double least = INFINITY, most = 0;
    for (int64_t i = 0; i < o->n_strip; i++) {
        least = o->strip[i] > 0 || o->layout.outer == 1 ? fmin(least, (double)o->strip[i]) : least;
        most = fmax(most, (double)o->strip[i]);
    }
    snprintf(text, sizeof(text), "|max| of each %s: %s to %s",
             o->layout.outer > 1 ? "token" : "sample",
             ui_fig_real(lo, isfinite(least) ? least : 0, 3), ui_fig_real(hi, most, 3));
    ui_put(c, r.x, r.y, r.w, UI_STYLE_DIM, text);
    draw_strip(f, c, r, o->strip, o->n_strip, NULL);
}

static void outlier_text(const struct act_frame *f, char *buf, size_t cap, bool brief)
{
    const struct ui_act_state *s = f->state;
    const int64_t n = f->seen->layout.count;
    int at = snprintf(buf, cap, "outlier channel%s", s->channels.n_all > 1 ? "s" : "");
    const int shown = brief && s->channels.n_outliers > 3 ? 3 : s->channels.n_outliers;
    for (int i = 0; i < shown; i++) {
        at += snprintf(buf + at, cap - (size_t)at, "%s %lld", i ? "," : "",
                       (long long)s->channels.outlier[i]);
    }
    if (s->channels.n_all > shown) {
        at += snprintf(buf + at, cap - (size_t)at, " and %lld more",
                       (long long)(s->channels.n_all - shown));
    }
    snprintf(buf + at, cap - (size_t)at, ": %.0f %% of the range for %.1f %% of channels",
             100 * (1 - s->channels.rest_share), 100.0 * (double)s->channels.n_all / (double)n);
}

static void draw_channels(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    struct ui_plot_cell cells[UI_PLOT_COLUMNS / 2];
    const struct ui_act_state *s = f->state;
    const int64_t n = f->seen->layout.count;
    char text[240];
    if (s->channels.n_all > 0) {
        outlier_text(f, text, sizeof(text), r.w < 110);
    } else {
        snprintf(text, sizeof(text), "|max| of %lld input channel%s%s", (long long)n,
                 n > 1 ? "s" : "", n > 1 ? ", none above 3 times the median" : "");
    }
    ui_put(c, r.x, r.y, r.w, s->channels.n_all > 0 ? UI_STYLE_WARN : UI_STYLE_DIM, text);
    if (n < 2) {
        return;
    }
    const int w = r.w < UI_PLOT_COLUMNS / 2 ? r.w : UI_PLOT_COLUMNS / 2;
    for (int x = 0; x < w; x++) {
        const int64_t first = (int64_t)x * n / w, next = (int64_t)(x + 1) * n / w;
        bool is_far = false;
        for (int64_t k = first; k < next || k == first; k++) {
            is_far |=
                s->channels.n_all > 0 && (double)f->seen->channel_max[k] > 3 * s->channels.median;
        }
        cells[x] = (struct ui_plot_cell){is_far ? UI_STYLE_CLIPPED : UI_STYLE_BAR, is_far};
    }
    draw_strip(f, c, r, f->seen->channel_max, n, cells);
}

/* ---- ways ---- */

static void way_db(const struct act_frame *f, const struct act_way *w, char *buf, size_t cap)
{
    char db[UI_FIG];
    snprintf(buf, cap, "%s%s", isnan(w->db) ? "" : ui_mark(w->basis, f->app->glyphs),
             ui_fig_db(db, w->db));
}

/* A table: one way a row. */
static void draw_ways(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    struct ui_act_state *s = f->state;
    const int w_range = r.w - 33;
    s->ways_rect = (struct ui_rect){r.x, r.y + 1, r.w, r.h - 1};
    ui_printf(c, r.x, r.y, 24, UI_STYLE_HEADER, "range at %d bits", f->act.bits);
    ui_put_right(c, r.x, r.y, r.w, UI_STYLE_HEADER, "SQNR");
    for (int i = 0; i < s->n_ways && i < r.h - 1; i++) {
        const struct act_way *w = &s->ways[i];
        const int y = r.y + 1 + i;
        const enum ui_style_id style = w->is_current ? UI_STYLE_VALUE : UI_STYLE_NORMAL;
        char text[UI_FIG * 2 + 8], lo[UI_FIG], hi[UI_FIG];
        ui_put(c, r.x, y, 2, UI_STYLE_HANDLE,
               w->is_current ? ui_sym(f->app->glyphs, UI_SYM_CURSOR) : "");
        ui_put(c, r.x + 2, y, 19, style, w->name);
        way_db(f, w, text, sizeof(text));
        ui_put_right(c, r.x, y, r.w, w->is_current ? UI_STYLE_VALUE : ui_fig_style(w->basis), text);
        if (w->has_range && w_range > 12) {
            snprintf(text, sizeof(text), "%s to %s", ui_fig_real(lo, w->range.lo, 3),
                     ui_fig_real(hi, w->range.hi, 3));
            ui_put(c, r.x + 21, y, w_range, UI_STYLE_DIM, text);
        }
    }
    if (s->n_ways < r.h - 1 && !f->has_advice) {
        ui_put(c, r.x + 2, r.y + 1 + s->n_ways, 8, UI_STYLE_PREDICTED,
               f->app->glyphs == UI_GLYPHS_ASCII ? ".." : "…");
    }
}

/* One way in the flowing form: "percentile 99.99 ≈33.0". */
static void way_words(const struct act_frame *f, const struct act_way *w, char *buf, size_t cap)
{
    const char *mark = isnan(w->db) ? "" : ui_mark(w->basis, f->app->glyphs);
    char db[UI_FIG] = "exact";
    if (!isnan(w->db)) {
        snprintf(db, sizeof(db), "%.1f", w->db);
    }
    snprintf(buf, cap, "%s%s %s%s", w->is_current ? ui_sym(f->app->glyphs, UI_SYM_CURSOR) : "",
             w->name, mark, db);
}

/* The same in lines of text, for narrow screens; only counts the lines where c is NULL. */
static int flow_ways(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    enum { INDENT = 9 };
    const struct ui_act_state *s = f->state;
    int x = 0, y = -1, last_dynamic = -1;
    for (int i = 0; i < s->n_ways; i++) {
        const struct act_way *w = &s->ways[i];
        const int is_dynamic = w->kind >= ACT_WAY_SAMPLE;
        char text[96];
        way_words(f, w, text, sizeof(text));
        const int width = ui_text_width(text);
        if (is_dynamic != last_dynamic || x + width > r.w) {
            y++;
            x = INDENT;
        }
        if (c && y < r.h) {
            if (is_dynamic != last_dynamic) {
                ui_put(c, r.x, r.y + y, INDENT, UI_STYLE_HEADER, is_dynamic ? "dynamic" : "static");
            }
            ui_put(c, r.x + x, r.y + y, r.w - x,
                   w->is_current ? UI_STYLE_VALUE : ui_fig_style(w->basis), text);
        }
        x += width + 3;
        last_dynamic = is_dynamic;
    }
    if (c && y >= 0 && y < r.h && x < r.w) {
        ui_put(c, r.x + x - 2, r.y + y, 2, UI_STYLE_DIM, "dB");
    }
    return y + 1;
}

static void draw_ways_flow(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    flow_ways(f, c, r);
}

/* ---- figures ---- */

enum { FACTS = 9 };

/* Name and value of the k-th figure; false when there is none. */
static bool fact(const struct act_frame *f, int k, char name[32], char value[96])
{
    const struct qx_stats *st = f->stats;
    const struct qx_observed *o = f->seen;
    char a[UI_FIG], b[UI_FIG];
    double lo_least = INFINITY, lo_most = -INFINITY, hi_least = INFINITY, hi_most = -INFINITY;
    switch (k) {
    case 0:
        snprintf(name, 32, "SQNR");
        if (f->is_on && f->act.dynamic) {
            snprintf(value, 96, "%s%s", ui_mark(act_dynamic_basis(f), f->app->glyphs),
                     ui_fig_db(a, qx_act_dynamic_db(&f->act, o)));
            return true;
        }
        snprintf(value, 96, "%s%s", ui_mark(f->metrics.basis, f->app->glyphs),
                 ui_fig_db(a, f->metrics.sqnr_db));
        return f->has_metrics;
    case 1:
        snprintf(name, 32, "clipped");
        snprintf(value, 96, "%s%s", ui_mark(f->metrics.basis, f->app->glyphs),
                 ui_fig_share(a, (f->metrics.clipped_low + f->metrics.clipped_high) /
                                     (st->n > 0 ? (double)st->n : 1)));
        return f->has_metrics;
    case 2:
        snprintf(name, 32, "all values");
        snprintf(value, 96, "%s to %s", ui_fig_real(a, st->min, 3), ui_fig_real(b, st->max, 3));
        return true;
    case 3:
    case 4:
        for (int64_t i = 0; i < o->n_batches; i++) {
            if (o->lo[i] <= o->hi[i]) {
                lo_least = fmin(lo_least, (double)o->lo[i]);
                lo_most = fmax(lo_most, (double)o->lo[i]);
                hi_least = fmin(hi_least, (double)o->hi[i]);
                hi_most = fmax(hi_most, (double)o->hi[i]);
            }
        }
        snprintf(name, 32, k == 3 ? "batches begin" : "batches end");
        snprintf(value, 96, "%s to %s", ui_fig_real(a, k == 3 ? lo_least : hi_least, 3),
                 ui_fig_real(b, k == 3 ? lo_most : hi_most, 3));
        return isfinite(lo_least);
    case 5:
        snprintf(name, 32, "mean, std");
        snprintf(value, 96, "%s, %s", ui_fig_real(a, st->mean, 3), ui_fig_real(b, st->std, 3));
        return true;
    case 6:
        snprintf(name, 32, "zeros");
        snprintf(value, 96, "%s",
                 ui_fig_share(a, (double)st->n_zero / (st->n > 0 ? (double)st->n : 1)));
        return true;
    case 7:
        snprintf(name, 32, "values");
        ui_fmt_count(value, 96, st->n);
        return true;
    case 8:
        snprintf(name, 32, "NaN, infinite");
        snprintf(value, 96, "%lld, %lld", (long long)st->n_nan, (long long)st->n_inf);
        return true;
    default:
        return false;
    }
}

static enum ui_style_id fact_style(const struct act_frame *f, int k)
{
    return k == 8 && f->stats->n_nan + f->stats->n_inf > 0 ? UI_STYLE_WARN
           : k == 0 && f->is_on && f->act.dynamic          ? ui_fig_style(act_dynamic_basis(f))
           : k <= 1 && f->has_metrics                      ? ui_fig_style(f->metrics.basis)
                                                           : UI_STYLE_NORMAL;
}

static void draw_facts(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    char name[32], value[96];
    int y = 0;
    for (int k = 0; k < FACTS && y < r.h; k++) {
        if (fact(f, k, name, value)) {
            ui_put(c, r.x, r.y + y, 15, UI_STYLE_DIM, name);
            ui_put_right(c, r.x + 14, r.y + y, r.w < 40 ? r.w - 14 : 26, fact_style(f, k), value);
            y++;
        }
    }
}

static void draw_facts_flow(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    static const int order[FACTS] = {8, 0, 1, 3, 4, 6, 2, 5, 7};
    char name[32], value[96];
    int x = 0;
    for (int i = 0; i < FACTS; i++) {
        const bool is_quiet = order[i] == 8 && f->stats->n_nan + f->stats->n_inf == 0;
        if (is_quiet || !fact(f, order[i], name, value)) {
            continue;
        }
        const int width = ui_text_width(name) + 1 + ui_text_width(value);
        if (x + width > r.w) {
            break;
        }
        x += ui_put(c, r.x + x, r.y, r.w - x, UI_STYLE_DIM, name) + 1;
        x += ui_put(c, r.x + x, r.y, r.w - x, fact_style(f, order[i]), value) + 3;
    }
}

/* ---- the screen ---- */

static void draw_note(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    if (f->source.note[0]) {
        ui_text_draw(c, r, UI_STYLE_WARN, f->source.note);
    }
}

static void draw_hist(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    f->state->hist_rect = r;
    ui_hist_draw(c, r, &f->state->hist, f->app->glyphs);
    if (!f->is_on) {
        ui_put_right(c, r.x, r.y, r.w, UI_STYLE_DIM, "a or 8 quantizes these inputs");
    } else if (f->act.dynamic) {
        ui_put_right(c, r.x, r.y, r.w, UI_STYLE_DIM,
                     f->act.gran == QX_ACT_TOKEN && f->seen->layout.outer > 1
                         ? "each token has its own range"
                         : "each sample has its own range");
    }
}

enum block { BLOCK_HIST, BLOCK_WAYS, BLOCK_FACTS, BLOCK_TOKENS, BLOCK_CHANNELS, BLOCK_COUNT };

/* Everything below one another. */
static void draw_narrow(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    const int ways = flow_ways(f, NULL, r);
    const int channels = f->seen->layout.count > 1 ? 3 : 1;
    struct ui_block b[BLOCK_COUNT] = {[BLOCK_HIST] = {5, 60, 0, 0, 0},
                                      [BLOCK_TOKENS] = {2, 3, 3, 0, 0},
                                      [BLOCK_CHANNELS] = {channels > 2 ? 2 : 1, channels, 4, 0, 0},
                                      [BLOCK_WAYS] = {ways, ways, 1, 0, 0},
                                      [BLOCK_FACTS] = {1, 1, 2, 0, 0}};
    static const enum block order[] = {BLOCK_HIST, BLOCK_TOKENS, BLOCK_CHANNELS, BLOCK_WAYS,
                                       BLOCK_FACTS};
    typedef void draw_fn(struct act_frame *, struct ui_canvas *, struct ui_rect);
    static draw_fn *const draws[] = {draw_hist, draw_tokens, draw_channels, draw_ways_flow,
                                     draw_facts_flow};
    struct ui_block sorted[BLOCK_COUNT];
    for (int i = 0; i < BLOCK_COUNT; i++) {
        sorted[i] = b[order[i]];
    }
    sorted[0].want = r.h > 16 ? r.h - ways - 1 - 3 - channels : 60;
    ui_layout_stack(sorted, BLOCK_COUNT, r.h, 0);
    for (int i = 0; i < BLOCK_COUNT; i++) {
        if (sorted[i].h > 0) {
            draws[i](f, c, (struct ui_rect){r.x, r.y + sorted[i].y, r.w, sorted[i].h});
        }
    }
}

/* Plots to the left, figures to the right. */
static void draw_wide(struct act_frame *f, struct ui_canvas *c, struct ui_rect r, int panel)
{
    const int gap = 3, strip = r.h >= 40 ? 6 : 4, channels = f->seen->layout.count > 1 ? strip : 1;
    const struct ui_rect left = {r.x, r.y, r.w - panel - gap, r.h};
    const struct ui_rect right = {r.x + r.w - panel, r.y, panel, r.h};
    const int hist = left.h - strip - channels - 2;
    draw_hist(f, c, (struct ui_rect){left.x, left.y, left.w, hist});
    draw_tokens(f, c, (struct ui_rect){left.x, left.y + hist + 1, left.w, strip});
    draw_channels(f, c, (struct ui_rect){left.x, left.y + hist + strip + 2, left.w, channels});
    const int ways = f->state->n_ways + 1;
    draw_ways(f, c, (struct ui_rect){right.x, right.y, right.w, ways});
    draw_facts(f, c, (struct ui_rect){right.x, right.y + ways + 1, right.w, FACTS});
    const int y = right.y + ways + FACTS + 2;
    draw_note(f, c, (struct ui_rect){right.x, y, right.w, right.y + right.h - y});
}

static void draw_message(struct ui_canvas *c, struct ui_rect r, char lines[3][240], int n)
{
    const int w = r.w < 64 ? r.w : 64, x = r.x + (r.w - w) / 2;
    int y = r.y + r.h / 4;
    for (int i = 0; i < n; i++) {
        const struct ui_rect at = {x, y, w, r.y + r.h - y};
        y += ui_text_draw(c, at, i == 0 ? UI_STYLE_BOLD : UI_STYLE_DIM, lines[i]) + 1;
    }
}

void act_draw(struct act_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    char lines[3][240];
    const struct ui_rect in = {r.x + 1, r.y, r.w - 2, r.h};
    const struct ui_rect body = {in.x, in.y + 1, in.w, in.h - 1};
    const int n = act_message(f, lines), panel = r.w >= 104 ? ui_layout_panel(r.w) : 0;
    f->state->hist_rect.w = f->state->ways_rect.w = 0;
    draw_title(f, c, (struct ui_rect){in.x, in.y, in.w, 1});
    if (n > 0) {
        draw_message(c, body, lines, n);
        return;
    }
    act_update(f, panel ? in.w - panel - 3 : in.w);
    if (panel) {
        draw_wide(f, c, body, panel);
    } else {
        draw_narrow(f, c, body);
    }
}
