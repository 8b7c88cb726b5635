/* The right side of the Layer screen: figures, ladder, residual, channels, history. */
#include "layer.h"

#include "gauge_text.h"
#include "layout.h"
#include "predict_text.h"
#include "replay_text.h"
#include "row_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- figures ---- */

enum figure {
    FIG_CLIPPED,
    FIG_SQNR,
    FIG_BITS,
    FIG_SIZE,
    FIG_ACCURACY,
    FIG_MSE,
    FIG_CLIPPING,
    FIG_ROUNDING,
    FIG_MAE,
    FIG_COSINE,
    FIG_ENTROPY,
    FIG_LEVELS,
    FIG_COUNT
};

static const char *const figure_name[FIG_COUNT] = {
    "clipped",  "SQNR",     "bits/weight", "size",   "accuracy", "MSE",
    "clipping", "rounding", "MAE",         "cosine", "entropy",  "levels used",
};

/* One figure of m as text; *better: sign that an improvement has (0: neither way is better). */
static void figure_text(enum figure fig, const struct qx_metrics *m, char *buf, size_t cap)
{
    char value[UI_FIG];
    double n = m->n > 0 ? (double)m->n : 1;
    switch (fig) {
    case FIG_CLIPPED:
        ui_fig_share(value, (m->clipped_low + m->clipped_high) / n);
        break;
    case FIG_SQNR:
        ui_fig_db(value, m->sqnr_db);
        break;
    case FIG_BITS:
        snprintf(value, sizeof(value), "%.2f", m->bits_per_weight);
        break;
    case FIG_SIZE:
        ui_fmt_bytes(value, sizeof(value), (double)m->bytes);
        break;
    case FIG_MSE:
        ui_fig_real(value, m->mse, 3);
        break;
    case FIG_CLIPPING:
        ui_fig_real(value, m->mse_clip, 3);
        break;
    case FIG_ROUNDING:
        ui_fig_real(value, m->mse_round, 3);
        break;
    case FIG_MAE:
        ui_fig_real(value, m->mae, 3);
        break;
    case FIG_COSINE:
        snprintf(value, sizeof(value), isnan(m->cosine) ? "n/a" : "%.6f", m->cosine);
        break;
    case FIG_ENTROPY:
        snprintf(value, sizeof(value), isnan(m->entropy_bits) ? "n/a" : "%.2f bits",
                 m->entropy_bits);
        break;
    case FIG_LEVELS:
        if (m->levels > 0) {
            snprintf(value, sizeof(value), "%d of %d", m->levels_used, m->levels);
        } else {
            snprintf(value, sizeof(value), "n/a");
        }
        break;
    case FIG_ACCURACY:
    case FIG_COUNT:
        value[0] = '\0';
        break;
    }
    snprintf(buf, cap, "%s", value);
}

/* Smaller is better for errors, larger for SQNR and cosine; 0 where there is no better. */
static double goodness(enum figure fig, const struct qx_metrics *m)
{
    switch (fig) {
    case FIG_SQNR:
        return isnan(m->sqnr_db) ? INFINITY : m->sqnr_db;
    case FIG_COSINE:
        return m->cosine;
    case FIG_MSE:
        return -m->mse;
    case FIG_CLIPPING:
        return -m->mse_clip;
    case FIG_ROUNDING:
        return -m->mse_round;
    case FIG_MAE:
        return -m->mae;
    case FIG_SIZE:
        return -(double)m->bytes;
    default:
        return 0;
    }
}

static bool has_mark(enum figure fig)
{
    return fig != FIG_BITS && fig != FIG_SIZE && fig != FIG_ACCURACY;
}

static void accuracy_row(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    const struct qx_gauge *g = &f->gauge;
    struct qx_replay_result replay;
    char text[UI_FIG];
    if (ui_gauge_is_none(g)) {
        ui_put_right(c, r.x, r.y, r.w, UI_STYLE_DIM, "n/a");
    } else if (ui_replay_now(f->app, g, &replay)) {
        ui_put_right(c, r.x, r.y, r.w, UI_STYLE_MEASURED, ui_fig_pair(text, &replay.pair));
    } else if (g->guess == QX_GUESS_PREDICTED && g->state != QX_GAUGE_MEASURED) {
        ui_fmt_predicted(text, sizeof(text), g, f->app->glyphs, true);
        ui_put_right(c, r.x, r.y, r.w, UI_STYLE_PREDICTED, text);
    } else if (g->correct < 0 || g->fp32_correct < 0) {
        ui_put_right(c, r.x, r.y, r.w, UI_STYLE_PREDICTED, "measuring");
    } else {
        bool stale = g->edits_since > 0;
        ui_fig_pair(text, &g->pair);
        ui_put_right(c, r.x, r.y, r.w, stale ? UI_STYLE_PREDICTED : UI_STYLE_MEASURED, text);
    }
}

static void figure_row(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r,
                       enum figure fig, const struct qx_metrics *other, int w_now)
{
    enum ui_glyphs g = f->app->glyphs;
    char text[UI_FIG], marked[UI_FIG + 8];
    int w_name = 12;
    const bool is_words = fig == FIG_ACCURACY && f->gauge.is_words;
    ui_put(c, r.x, r.y, w_name, UI_STYLE_NORMAL, is_words ? "perplexity" : figure_name[fig]);
    struct ui_rect now = {r.x + w_name, r.y, w_now, 1};
    if (fig == FIG_ACCURACY) {
        accuracy_row(f, c, now);
        return;
    }
    if (!f->has_metrics) {
        ui_put_right(c, now.x, now.y, now.w, UI_STYLE_PREDICTED, g == UI_GLYPHS_ASCII ? ".." : "…");
        return;
    }
    figure_text(fig, &f->metrics, text, sizeof(text));
    snprintf(marked, sizeof(marked), "%s%s", has_mark(fig) ? ui_mark(f->metrics.basis, g) : "",
             text);
    ui_put_right(c, now.x, now.y, now.w, ui_fig_style(f->metrics.basis), marked);
    if (other) {
        figure_text(fig, other, text, sizeof(text));
        ui_put_right(c, now.x + now.w, r.y, w_now, UI_STYLE_DIM, text);
        double gain = goodness(fig, &f->metrics) - goodness(fig, other);
        int x = now.x + 2 * w_now + 2;
        if (gain > 0 && x + 6 <= r.x + r.w) {
            ui_put(c, x, r.y, 6, UI_STYLE_GOOD, "better");
        } else if (gain < 0 && x + 5 <= r.x + r.w) {
            ui_put(c, x, r.y, 5, UI_STYLE_BAD, "worse");
        }
    }
}

/* What the second column compares with: A when there is one, min-max otherwise. */
static bool other_setting(const struct layer_frame *f, struct qx_metrics *out, const char **name)
{
    struct qx_session *s = f->app->session;
    if (qx_session_has_snapshot(s)) {
        *name = "A";
        return layer_metrics_of(f, qx_session_setting_a(s, f->index), out);
    }
    if (!f->is_scaled || !f->hist || f->stats->n == 0) {
        return false;
    }
    struct qx_setting minmax = *f->setting;
    double t = f->in_units ? 1 : f->stats->absmax;
    minmax.range = f->setting->sym || f->in_units
                       ? (struct qx_range){-t, t}
                       : (struct qx_range){fmin(f->stats->min, 0), fmax(f->stats->max, 0)};
    minmax.has_range = true;
    *name = "min-max";
    return layer_metrics_of(f, &minmax, out);
}

static void draw_figures(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r, bool header)
{
    if (!f->item->can_quantize) {
        char size[UI_FIG];
        ui_fmt_bytes(size, sizeof(size), (double)f->item->tensor->bytes);
        ui_put(c, r.x, r.y, 12, UI_STYLE_NORMAL, "stored as");
        ui_put_right(c, r.x + 12, r.y, 13, UI_STYLE_NORMAL,
                     qx_dtype_get(f->item->tensor->dtype)->name);
        ui_put(c, r.x, r.y + 1, 12, UI_STYLE_NORMAL, "size");
        ui_put_right(c, r.x + 12, r.y + 1, 13, UI_STYLE_NORMAL, size);
        return;
    }
    struct qx_metrics other;
    const char *name = "";
    int w_now = r.w >= 40 ? 13 : r.w - 12;
    bool has_other = r.w >= 40 && other_setting(f, &other, &name);
    int y = r.y;
    if (header) {
        ui_put_right(c, r.x + 12, y, w_now, UI_STYLE_HEADER, "now");
        if (has_other) {
            ui_put_right(c, r.x + 12 + w_now, y, w_now, UI_STYLE_HEADER, name);
        }
        y++;
    }
    for (int fig = 0; fig < FIG_COUNT && y < r.y + r.h; fig++, y++) {
        figure_row(f, c, (struct ui_rect){r.x, y, r.w, 1}, (enum figure)fig,
                   has_other ? &other : NULL, w_now);
    }
}

void layer_draw_strip_line(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    enum ui_glyphs g = f->app->glyphs;
    static const enum figure shown[] = {FIG_CLIPPED, FIG_SQNR, FIG_BITS};
    int x = r.x;
    for (int i = 0; i < 3 && f->has_metrics; i++) {
        char text[UI_FIG];
        figure_text(shown[i], &f->metrics, text, sizeof(text));
        x += ui_printf(c, x, r.y, r.x + r.w - x, UI_STYLE_DIM, "%s ", figure_name[shown[i]]);
        x += ui_printf(c, x, r.y, r.x + r.w - x, ui_fig_style(f->metrics.basis), "%s%s",
                       has_mark(shown[i]) ? ui_mark(f->metrics.basis, g) : "", text);
        x += 3;
    }
}

/* ---- statistics ---- */

enum { STAT_ROWS = 6 };

static void draw_stats(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    const struct qx_stats *st = f->stats;
    static const char *const name[STAT_ROWS] = {"smallest",  "largest",       "mean",
                                                "std. dev.", "99.9 % within", "zeros"};
    double value[STAT_ROWS] = {st->min, st->max, st->mean, st->std, st->p999, 0};
    int w = r.w < 25 ? r.w : 25, y = 0;
    for (int i = 0; i < STAT_ROWS && y < r.h; i++) {
        char text[UI_FIG];
        if (i == STAT_ROWS - 1) {
            ui_fmt_count(text, sizeof(text), st->n_zero);
        } else {
            ui_fig_real(text, value[i], 3);
        }
        if (!isnan(value[i])) {
            ui_put(c, r.x, r.y + y, w, UI_STYLE_DIM, name[i]);
            ui_put_right(c, r.x, r.y + y++, w, UI_STYLE_NORMAL, text);
        }
    }
}

/* ---- ladder ---- */

/* The theory in words: the line of uniform rounding noise, the gap to the best codebook. */
static void draw_theory(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    if (!f->is_scaled) {
        ui_put(c, r.x, r.y, r.w, UI_STYLE_DIM, "what integers would reach");
        ui_put(c, r.x, r.y + 1, r.w, UI_STYLE_DIM, "by channel, T by MSE");
        return;
    }
    if (!f->hist || !f->setting->has_range) {
        return;
    }
    char line[2][96];
    double theory = qx_metric_theory_db(f->hist, f->setting);
    double c_db = theory - 6.02 * f->setting->bits;
    bool ascii = f->app->glyphs == UI_GLYPHS_ASCII;
    snprintf(line[0], sizeof(line[0]), "theory 6.02 b %s %.1f dB",
             c_db < 0 ? (ascii ? "-" : "−") : "+", fabs(c_db));
    if (!isfinite(theory)) {
        line[0][0] = '\0';
    }
    ui_put(c, r.x, r.y, r.w, UI_STYLE_DIM, line[0]);
    double best = layer_best_db(f, f->setting->bits);
    if (!isnan(best) && f->has_metrics && !isnan(f->metrics.sqnr_db)) {
        double gap = best - f->metrics.sqnr_db;
        snprintf(line[0], sizeof(line[0]), "%.1f dB from the best any", gap > 0 ? gap : 0);
        snprintf(line[1], sizeof(line[1]), "%d-bit codebook can do", f->setting->bits);
        int y = r.y + 1;
        if ((int)(strlen(line[0]) + strlen(line[1])) < r.w) {
            ui_printf(c, r.x, y, r.w, UI_STYLE_NORMAL, "%s %s", line[0], line[1]);
        } else {
            ui_put(c, r.x, y, r.w, UI_STYLE_NORMAL, line[0]);
            ui_put(c, r.x, y + 1, r.w, UI_STYLE_NORMAL, line[1]);
        }
    }
}

static void draw_ladder(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    struct ui_layer *s = f->state;
    s->ladder_rect = r;
    layer_update_ladder(f);
    struct ui_ladder ladder = {s->ladder, s->n_ladder, f->is_int ? f->setting->bits : 0};
    ui_ladder_draw(c, r, &ladder, f->app->glyphs);
}

/* ---- methods ---- */

/* The error of the layer's output on the calibration rows: rounded to nearest, by the method, the gain. */
static void draw_algo(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    const bool ascii = f->app->glyphs == UI_GLYPHS_ASCII;
    const struct qx_overlay *o = qx_setting_overlay(f->setting);
    char line[96];
    ui_printf(c, r.x, r.y, r.w, UI_STYLE_HEADER, "%s", f->setting->algo);
    if (!o) {
        ui_put(c, r.x, r.y + 1, r.w, UI_STYLE_PREDICTED,
               ascii ? "runs or waits.." : "runs or waits…");
        return;
    }
    if (!isnan(o->before)) {
        snprintf(line, sizeof(line), "%.3g %s %.3g %%", 100 * o->before, ascii ? "->" : "→",
                 100 * o->after);
        ui_put(c, r.x, r.y + 1, 10, UI_STYLE_NORMAL, "output off");
        ui_put_right(c, r.x + 11, r.y + 1, 14, UI_STYLE_MEASURED, line);
        const double gain = o->before > 0 ? 100 * (o->after / o->before - 1) : 0;
        snprintf(line, sizeof(line), "%s%.0f %%", gain > 0 ? "+" : ascii ? "-" : "−", fabs(gain));
        ui_put(c, r.x + 27, r.y + 1, r.w - 27, gain > 0 ? UI_STYLE_BAD : UI_STYLE_GOOD, line);
    }
    if (r.h > 2 && o->note[0]) {
        ui_put(c, r.x, r.y + 2, r.w, UI_STYLE_DIM, o->note);
    }
}

/* ---- history ---- */

static void draw_history(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    int n = qx_session_n_edits(f->app->session);
    ui_put(c, r.x, r.y, r.w, UI_STYLE_HEADER, n > 0 ? "edits, newest first" : "no edits yet");
    for (int k = 0; k < r.h - 1 && k < n; k++) {
        const char *text = qx_session_edit_text(f->app->session, k);
        text = text ? text : "";
        size_t len = strlen(f->item->tensor->name);
        bool here = strncmp(text, f->item->tensor->name, len) == 0 && text[len] == ':';
        ui_put(c, r.x, r.y + 1 + k, r.w, here ? UI_STYLE_NORMAL : UI_STYLE_DIM,
               here ? text + len + 2 : text);
    }
}

/* ---- the stack ---- */

enum block {
    BLOCK_FIGURES,
    BLOCK_ALGO,
    BLOCK_LADDER,
    BLOCK_THEORY,
    BLOCK_RESIDUAL,
    BLOCK_CHANNELS,
    BLOCK_ROWS,
    BLOCK_HISTORY,
    BLOCK_STATS,
    BLOCK_COUNT
};

void layer_draw_panel(struct layer_frame *f, struct ui_canvas *c, struct ui_rect r)
{
    bool wide = r.w >= 40;
    bool has_levels = f->is_scaled && f->setting->has_range && f->hist && f->stats->n > 0;
    int figures = !wide ? 5 : f->is_scaled ? FIG_COUNT + 1 : FIG_COUNT - 1;
    int least = !wide ? 5 : r.h >= 34 ? figures : 6;
    if (!f->item->can_quantize) {
        figures = least = 2;
    }
    int ladder = f->item->can_quantize ? UI_LADDER_ROWS + 1 + layer_has_own_row(f) : 0;
    int algo = f->is_scaled && f->setting->algo[0] ? 2 + (wide || r.h > 16) : 0;
    int stats = f->hist && f->stats->n > 0 ? STAT_ROWS : 0;
    int theory = has_levels ? (r.w >= 46 ? 2 : 3) : ladder > 0 && !f->is_scaled ? 2 : 0;
    struct qx_leads leads;
    int rows = wide && qx_session_leads(f->app->session, &leads) ? 4 : 0;
    struct ui_block blocks[BLOCK_COUNT] = {
        [BLOCK_FIGURES] = {least, figures, 0, 0, 0},
        [BLOCK_ALGO] = {algo, algo, 0, 0, 0},
        [BLOCK_LADDER] = {ladder, ladder, 1, 0, 0},
        [BLOCK_THEORY] = {theory, theory, 2, 0, 0},
        [BLOCK_RESIDUAL] = {has_levels && wide ? 4 : 0, has_levels && wide ? 6 : 0, 5, 0, 0},
        [BLOCK_CHANNELS] = {wide ? 4 : 0, wide ? 5 : 0, 3, 0, 0},
        [BLOCK_ROWS] = {rows, rows, 3, 0, 0}, /* all of it changes with every step of a drag */
        [BLOCK_HISTORY] = {wide ? 2 : 0, wide ? 6 : 0, 4, 0, 0},
        [BLOCK_STATS] = {stats, stats, f->is_scaled ? 6 : 2, 0, 0},
    };
    ui_layout_stack(blocks, BLOCK_COUNT, r.h, 1);
    f->state->ladder_rect.w = 0;
    for (int i = 0; i < BLOCK_COUNT; i++) {
        struct ui_rect at = {r.x, r.y + blocks[i].y, r.w, blocks[i].h};
        if (blocks[i].h == 0) {
            continue;
        }
        switch ((enum block)i) {
        case BLOCK_FIGURES:
            draw_figures(f, c, at, wide);
            break;
        case BLOCK_ALGO:
            draw_algo(f, c, at);
            break;
        case BLOCK_LADDER:
            draw_ladder(f, c, at);
            break;
        case BLOCK_THEORY:
            draw_theory(f, c, at);
            break;
        case BLOCK_RESIDUAL:
            layer_draw_residual(f, c, at);
            break;
        case BLOCK_CHANNELS:
            layer_draw_channels(f, c, at);
            break;
        case BLOCK_ROWS:
            ui_rows_next_draw(f->app, c, at);
            break;
        case BLOCK_HISTORY:
            draw_history(f, c, at);
            break;
        case BLOCK_STATS:
            draw_stats(f, c, at);
            break;
        case BLOCK_COUNT:
            break;
        }
    }
}
