/* The Compare screen: what changed between snapshot A and the current recipe B. */
#include "view.h"

#include "compare_changes.h"
#include "compare_figures.h"
#include "gauge_text.h"
#include "said_text.h"
#include "widget_plot.h"
#include "widget_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool differs(const struct ui_app *app, int64_t item)
{
    return !qx_setting_equal(qx_session_setting(app->session, item),
                             qx_session_setting_a(app->session, item));
}

static bool is_listed(const struct ui_app *app, int64_t item)
{
    return !app->diff_only || differs(app, item);
}

/* Next listed row from `row` in direction step; -1 = none. */
static int64_t listed_from(const struct ui_app *app, int64_t row, int step)
{
    for (int64_t i = row; i >= 0 && i < app->n_rows; i += step) {
        if (is_listed(app, app->rows[i])) {
            return i;
        }
    }
    return -1;
}

/* Count the listed rows, scroll, remember which ones are seen. */
static void find_window(struct ui_app *app, struct ui_compare *s, int page)
{
    s->n_rows = 0;
    s->cursor = -1;
    for (int64_t i = 0; i < app->n_rows; i++) {
        if (is_listed(app, app->rows[i])) {
            s->cursor = i == app->row ? s->n_rows : s->cursor;
            s->n_rows++;
        }
    }
    page = page > UI_COMPARE_WINDOW ? UI_COMPARE_WINDOW : page;
    s->top = ui_table_scroll(s->top, s->cursor, s->n_rows, page);
    int64_t at = 0;
    for (int64_t i = 0; i < app->n_rows && at < s->top + page; i++) {
        if (is_listed(app, app->rows[i])) {
            if (at >= s->top) {
                s->window[at - s->top] = i;
            }
            at++;
        }
    }
}

/* ---- the two histograms ---- */

/* Put the mass of every column on its level: the comb that quantization makes. */
static void to_comb(const struct qx_setting *s, double lo, double hi, const double *counts, int n,
                    double *comb)
{
    double levels[256];
    int n_levels = qx_setting_levels(s, levels, 256);
    if (n_levels < 2) {
        memcpy(comb, counts, (size_t)n * sizeof(*comb));
        return;
    }
    memset(comb, 0, (size_t)n * sizeof(*comb));
    for (int i = 0, k = 0; i < n; i++) {
        double x = lo + (hi - lo) * (i + 0.5) / n;
        while (k + 1 < n_levels && 2 * x > levels[k] + levels[k + 1]) {
            k++;
        }
        int column = (int)floor((levels[k] - lo) / (hi - lo) * n);
        if (column >= 0 && column < n) {
            comb[column] += counts[i];
        }
    }
}

static void draw_side(struct ui_app *app, struct ui_canvas *c, struct ui_rect r,
                      const struct qx_setting *s, bool is_a)
{
    char text[96], line[128];
    enum ui_style_id style = is_a ? UI_STYLE_SIDE_A : UI_STYLE_SIDE_B;
    snprintf(line, sizeof(line), "%s  %s", is_a ? "A" : "B",
             qx_setting_text(s, text, sizeof(text)));
    ui_put(c, r.x, r.y, r.w, style, line);
    enum qx_hist_state state;
    const struct qx_hist *hist = qx_session_hist(app->session, app->cursor, s, &state);
    bool open = qx_format_is_scaled(s->format) && !s->has_range;
    if (open) {
        ui_put(c, r.x, r.y + 1, r.w, UI_STYLE_DIM, "choosing the threshold");
        return;
    }
    if (!hist || qx_hist_stats(hist)->n == 0 || r.h < 3) {
        ui_put(c, r.x, r.y + 1, r.w, UI_STYLE_DIM,
               hist                      ? "no finite values"
               : state == QX_HIST_FAILED ? "not readable"
                                         : "reading");
        return;
    }
    double counts[UI_PLOT_COLUMNS], comb[UI_PLOT_COLUMNS], below, beyond, top = 0;
    struct ui_plot_cell cells[UI_PLOT_COLUMNS / 2];
    int n = 2 * r.w < UI_PLOT_COLUMNS ? 2 * r.w : UI_PLOT_COLUMNS;
    double end = qx_hist_quantile_abs(hist, 0.9995);
    end = s->has_range && s->range.hi > end ? s->range.hi : end;
    end = end > 0 ? 1.05 * end : 1;
    qx_hist_fold(hist, -end, end, n, counts, &below, &beyond);
    to_comb(s, -end, end, counts, n, comb);
    for (int i = 0; i < n; i++) {
        top = comb[i] > top ? comb[i] : top;
        cells[i / 2] = (struct ui_plot_cell){.style = (unsigned char)style};
    }
    for (int i = 0; i < n; i++) {
        comb[i] = top <= 0 ? 0 : app->log_counts ? log1p(comb[i]) / log1p(top) : comb[i] / top;
    }
    ui_plot_bars(c, (struct ui_rect){r.x, r.y + 1, r.w, r.h - 1}, comb, n, cells, app->glyphs);
}

/* ---- layers that differ ---- */

enum column { COL_MARK, COL_NAME, COL_A, COL_B, COL_SQNR, COL_BYTES, COL_COUNT };
static const struct ui_column columns[COL_COUNT] = {
    [COL_MARK] = {"", 1, 0, 0, false},
    [COL_NAME] = {"tensor", 18, 44, 0, false},
    [COL_A] = {"A", 17, 26, 0, false},
    [COL_B] = {"B", 17, 26, 0, false},
    [COL_SQNR] = {"SQNR B - A", 10, 12, 1, true},
    [COL_BYTES] = {"size B - A", 10, 12, 2, true},
};

struct compare_rows {
    struct ui_app *app;
    const struct ui_compare *state;
};

static bool sqnr_of(struct ui_app *app, int64_t item, const struct qx_setting *s, double *db)
{
    struct qx_metrics m;
    enum qx_hist_state state;
    const struct qx_hist *hist = qx_session_hist(app->session, item, s, &state);
    if (qx_setting_is_fp32(s)) {
        *db = INFINITY;
        return true;
    }
    if (!hist || qx_hist_stats(hist)->n == 0 || qx_metric_hist(hist, s, &m, NULL) != QX_OK) {
        return false;
    }
    *db = isnan(m.sqnr_db) ? INFINITY : m.sqnr_db;
    return true;
}

static void sqnr_change(struct ui_app *app, int64_t item, struct ui_cell_text *out)
{
    double a, b;
    out->style = UI_STYLE_DIM;
    if (!sqnr_of(app, item, qx_session_setting_a(app->session, item), &a) ||
        !sqnr_of(app, item, qx_session_setting(app->session, item), &b)) {
        snprintf(out->text, sizeof(out->text), "%s", app->glyphs == UI_GLYPHS_ASCII ? ".." : "…");
    } else if (isfinite(a) && isfinite(b)) {
        snprintf(out->text, sizeof(out->text), "%+.1f dB", b - a);
        out->style = b > a ? UI_STYLE_GOOD : b < a ? UI_STYLE_BAD : UI_STYLE_DIM;
    } else if (isfinite(b)) {
        snprintf(out->text, sizeof(out->text), "%.1f dB", b);
    } else if (isfinite(a)) {
        snprintf(out->text, sizeof(out->text), "exact");
        out->style = UI_STYLE_GOOD;
    }
}

/* Narrow screens leave out who chose the threshold. */
static void setting_cell(const struct ui_app *app, const struct qx_setting *s,
                         enum ui_style_id style, struct ui_cell_text *out)
{
    char text[sizeof(out->text)], format[24];
    qx_setting_text(s, text, sizeof(text));
    out->style = style;
    char *p = strchr(text, ',');
    if (p) {
        *p = '\0'; /* the inputs stand in the format's name */
    }
    p = text;
    for (int words = 0; app->w < 100 && *p; p++) {
        if (*p == ' ' && ++words == 3) {
            *p = '\0';
            break;
        }
    }
    const size_t name = strcspn(text, " ");
    snprintf(out->text, sizeof(out->text), "%s%s", ui_fmt_format(format, sizeof(format), s),
             text + name);
}

static void row_cell(void *arg, int64_t at, int column, struct ui_cell_text *out)
{
    struct compare_rows *rows = arg;
    struct ui_app *app = rows->app;
    int64_t index = app->rows[rows->state->window[at - rows->state->top]];
    const struct qx_item *item = qx_session_item(app->session, index);
    const struct qx_setting *a = qx_session_setting_a(app->session, index);
    const struct qx_setting *b = qx_session_setting(app->session, index);
    char text[40];
    switch ((enum column)column) {
    case COL_MARK:
        snprintf(out->text, sizeof(out->text), "%s",
                 at == rows->state->cursor ? ui_sym(app->glyphs, UI_SYM_CURSOR) : "");
        break;
    case COL_NAME:
        snprintf(out->text, sizeof(out->text), "%s", item->tensor->name);
        break;
    case COL_A:
        setting_cell(app, a, UI_STYLE_SIDE_A, out);
        break;
    case COL_B:
        setting_cell(app, b, UI_STYLE_SIDE_B, out);
        break;
    case COL_SQNR:
        sqnr_change(app, index, out);
        break;
    case COL_BYTES:
        if (item->can_quantize) {
            double change = (double)qx_setting_tensor_bytes(b, item->tensor, item->channels) -
                            (double)qx_setting_tensor_bytes(a, item->tensor, item->channels);
            snprintf(out->text, sizeof(out->text), "%s%s",
                     change < 0   ? "-"
                     : change > 0 ? "+"
                                  : "",
                     ui_fmt_bytes(text, sizeof(text), fabs(change)));
            out->style = UI_STYLE_DIM;
        }
        break;
    case COL_COUNT:
        break;
    }
}

/* ---- the newest text, continued by a language model ---- */

static int draw_text(struct ui_app *app, struct ui_canvas *c, struct ui_rect r)
{
    struct qx_try t;
    const struct qx_net *net = qx_session_net(app->session);
    if (!net || !qx_net_is_words(net) || r.h < 4) {
        return 0;
    }
    if (!qx_session_try_at(app->session, 0, &t)) {
        ui_put(c, r.x, r.y, r.w, UI_STYLE_DIM, "t types a text that FP32, A and B go on with");
        return 2;
    }
    ui_put_cut(c, r.x, r.y, r.w, UI_STYLE_BOLD, t.text, app->glyphs);
    return 2 + ui_said_draw(app, &t, c, (struct ui_rect){r.x, r.y + 1, r.w, r.h - 2});
}

/* ---- the screen ---- */

static void draw_empty(struct ui_canvas *c, struct ui_rect r)
{
    static const char *const lines[] = {"Nothing to compare yet.", "",
                                        "m keeps the recipe as it is now as A.",
                                        "Edit on: A then stands here beside B, the recipe of now.",
                                        "` swaps them, on every screen."};
    int n = (int)(sizeof(lines) / sizeof(lines[0]));
    int y = r.y + (r.h - n) / 3;
    int x = r.x + (r.w > 70 ? (r.w - 64) / 2 : 2);
    for (int i = 0; i < n; i++) {
        ui_put(c, x, y + i, r.w - 4, i == 0 ? UI_STYLE_BOLD : UI_STYLE_DIM, lines[i]);
    }
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct ui_compare *s = state;
    s->table.h = 0;
    if (!qx_session_has_snapshot(app->session)) {
        draw_empty(c, r);
        return;
    }
    int y = r.y, plot = s->changes.is_on ? 0 : r.h >= 34 ? 10 : r.h >= 20 ? 6 : 0;
    const struct qx_item *item = ui_item(app);
    if (plot > 0 && item && !item->tensor->reason) {
        int w = (r.w - 5) / 2;
        draw_side(app, c, (struct ui_rect){r.x + 1, y, w, plot},
                  qx_session_setting_a(app->session, app->cursor), true);
        draw_side(app, c, (struct ui_rect){r.x + r.w - 1 - w, y, w, plot},
                  qx_session_setting(app->session, app->cursor), false);
        y += plot + 1;
    }
    y += ui_compare_figures(app, c, (struct ui_rect){r.x + 1, y, r.w - 2, r.y + r.h - y}) + 1;
    if (!s->changes.is_on) {
        y += draw_text(app, c, (struct ui_rect){r.x + 1, y, r.w - 2, (r.y + r.h - y) / 2});
    }
    s->table = (struct ui_rect){r.x + 1, y, r.w - 2, r.y + r.h - y};
    if (s->changes.is_on) {
        ui_changes_draw(app, &s->changes, c, s->table);
        return;
    }
    app->page = ui_table_page(s->table);
    find_window(app, s, app->page);
    struct compare_rows rows = {app, s};
    struct ui_table table = {columns, COL_COUNT, s->n_rows, s->cursor, s->top, row_cell, &rows};
    ui_table_draw(c, s->table, &table, app->glyphs);
    if (s->n_rows == 0) {
        ui_put(c, s->table.x + 3, y + 1, r.w, UI_STYLE_DIM, "A and B are the same recipe.");
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct ui_compare *s = state;
    buf[0] = '\0';
    if (s->changes.is_on) {
        ui_changes_status(app, &s->changes, buf, cap);
    } else if (qx_session_has_snapshot(app->session) && s->table.h > 0) {
        snprintf(buf, cap, app->diff_only ? "%lld of %lld tensors differ" : "%lld of %lld tensors",
                 (long long)s->n_rows, (long long)app->n_items);
    }
}

static bool move(struct ui_app *app, int64_t count, int step)
{
    int64_t at = app->row, best = -1;
    for (; count > 0; count--) {
        at = listed_from(app, at + step, step);
        if (at < 0) {
            break;
        }
        best = at;
    }
    if (best >= 0) {
        ui_rows_move(app, best);
    }
    return true;
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct ui_compare *s = state;
    long count = 0;
    if (!qx_session_has_snapshot(app->session)) {
        return false;
    }
    if (cmd == UI_CMD_CHANGES) {
        return ui_changes_switch(app, &s->changes, arg);
    }
    if (s->changes.is_on) {
        return ui_changes_command(app, &s->changes, cmd, arg);
    }
    sscanf(arg, "%ld", &count);
    count = count < 1 ? 1 : count;
    int64_t edge;
    switch (cmd) {
    case UI_CMD_UP:
        return move(app, count, -1);
    case UI_CMD_DOWN:
        return move(app, count, 1);
    case UI_CMD_PAGE_UP:
        return move(app, app->page, -1);
    case UI_CMD_PAGE_DOWN:
        return move(app, app->page, 1);
    case UI_CMD_TOP:
    case UI_CMD_BOTTOM:
        edge = cmd == UI_CMD_TOP ? listed_from(app, 0, 1) : listed_from(app, app->n_rows - 1, -1);
        if (edge >= 0) {
            ui_rows_move(app, edge);
        }
        return true;
    default:
        return false;
    }
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct ui_compare *s = state;
    (void)r;
    if (m->kind == UI_MOUSE_WHEEL) {
        return ui_do(app, m->wheel > 0 ? UI_CMD_DOWN : UI_CMD_UP, "3");
    }
    if (s->changes.is_on) {
        return ui_changes_mouse(app, &s->changes, m);
    }
    struct ui_table table = {.n_rows = s->n_rows, .top = s->top};
    int64_t row = m->kind == UI_MOUSE_PRESS && s->table.h > 0
                      ? ui_table_hit(s->table, &table, m->x, m->y)
                      : -1;
    if (row < 0 || row - s->top >= UI_COMPARE_WINDOW) {
        return false;
    }
    int64_t item = app->rows[s->window[row - s->top]];
    return ui_do(app, UI_CMD_SELECT, qx_session_item(app->session, item)->tensor->name);
}

static bool pair_of(const struct qx_eval_result *a, const struct qx_eval_result *b,
                    struct qx_eval_pair *out)
{
    return a && b && qx_eval_compare(a, b, out, NULL) == QX_OK;
}

static bool explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    const struct ui_compare *s = state;
    struct qx_eval_pair pair;
    const struct qx_eval_result *a = qx_session_result(app->session, QX_WHICH_A);
    const struct qx_eval_result *b = qx_session_result(app->session, QX_WHICH_B);
    const bool has_row = s->changes.is_on && ui_changes_explain(app, &s->changes, out);
    if (n > has_row) {
        return false;
    }
    if (has_row && n == 0) {
        return true;
    }
    *out = (struct ui_explain){0};
    snprintf(out->title, sizeof(out->title), "A against B, on the same rows");
    if (ui_compare_explain_embedding(app, out)) {
        return true;
    }
    if (!pair_of(a, b, &pair)) {
        ui_explain_add(out, "Both are measured on every row of the evaluation data; not done yet.");
        return true;
    }
    if (a->nll) {
        ui_explain_add(out, "A: perplexity %.5f, B: %.5f over %lld tokens", a->perplexity,
                       b->perplexity, (long long)pair.n);
        ui_explain_add(out, "-log p differs by %+.5f ±%.5f a token (one standard error),",
                       pair.nll_delta, pair.nll_error);
        ui_explain_add(out, "perplexity by %+.3f %% ±%.3f.", 100 * pair.increase,
                       100 * pair.increase_error);
        ui_compare_explain_words(app, a, b, out);
        return true;
    }
    ui_explain_add(out, "A: %lld of %lld right, 95 %% interval %.1f to %.1f %%",
                   (long long)a->correct, (long long)a->n, 100 * a->ci_lo, 100 * a->ci_hi);
    ui_explain_add(out, "B: %lld of %lld right, 95 %% interval %.1f to %.1f %%",
                   (long long)b->correct, (long long)b->n, 100 * b->ci_lo, 100 * b->ci_hi);
    ui_explain_add(out, "right in A and wrong in B: %lld; wrong in A and right in B: %lld",
                   (long long)pair.lost, (long long)pair.gained);
    ui_explain_add(out, "a difference like this by chance: p = %.2g (exact McNemar test)",
                   pair.mcnemar_p);
    return true;
}

const struct ui_view ui_view_compare = {
    .id = "compare",
    .title = "Compare",
    .help = "What changed between recipe A and this one, and which rows flip?",
    .key = 'c',
    .fkey = 7,
    .hints = "snapshot flip changes take-a diff-only open measure explain",
    .state_size = sizeof(struct ui_compare),
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .explain = explain,
};
