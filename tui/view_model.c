/* The Model screen: what is in here, how many bits each, what does it cost. */
#include "view.h"

#include "gauge_text.h"
#include "predict_text.h"
#include "replay_text.h"
#include "widget_plot.h"
#include "widget_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum column {
    COL_MARK,
    COL_NAME,
    COL_SHAPE,
    COL_FORMAT,
    COL_GRAN,
    COL_CALIB,
    COL_SIZE,
    COL_SQNR,
    COL_CLIPPED,
    COL_SPARK,
    COL_NOTES,
    COL_COUNT
};

enum { W_SPARK = 11, FOOTER = 3, CACHE_ROWS = 256 };

static const struct ui_column columns[COL_COUNT] = {
    [COL_MARK] = {"", 1, 0, 0, false},          [COL_NAME] = {"tensor", 22, 46, 0, false},
    [COL_SHAPE] = {"shape", 11, 20, 6, false},  [COL_FORMAT] = {"format", 6, 0, 0, false},
    [COL_GRAN] = {"scale", 7, 9, 3, false},     [COL_CALIB] = {"threshold", 10, 0, 8, false},
    [COL_SIZE] = {"size", 8, 0, 1, true},       [COL_SQNR] = {"SQNR dB", 7, 8, 0, true},
    [COL_CLIPPED] = {"clipped", 8, 0, 7, true}, [COL_SPARK] = {"values", W_SPARK, 0, 2, false},
    [COL_NOTES] = {"notes", 12, 60, 5, false},
};

/* What a row shows of its histogram; a plot is folded once, not in every frame. */
struct row_cache {
    const struct qx_hist *hist;
    int64_t item, n;
    struct qx_setting setting;
    char spark[3 * W_SPARK + 1];
    enum ui_glyphs glyphs;
    bool has_metrics;
    struct qx_metrics metrics;
};

struct model_state {
    int64_t top;
    struct ui_rect table;
    struct row_cache cache[CACHE_ROWS];
};

struct model_rows {
    struct ui_app *app;
    struct model_state *state;
    int w_name;
};

static void fill_spark(struct row_cache *row, enum ui_glyphs glyphs)
{
    double counts[4 * W_SPARK], below, beyond, top = 0;
    enum { N = 4 * W_SPARK };
    double end = qx_hist_quantile_abs(row->hist, 0.999);
    if (!(end > 0)) {
        end = 1;
    }
    qx_hist_fold(row->hist, -end, end, N, counts, &below, &beyond);
    for (int i = 0; i < N; i++) {
        top = counts[i] > top ? counts[i] : top;
    }
    ui_spark(row->spark, counts, N, W_SPARK, top, glyphs);
    row->glyphs = glyphs;
}

/* The row's histogram figures, or NULL while there is no histogram. */
static const struct row_cache *row_figures(struct model_rows *rows, int64_t item)
{
    struct ui_app *app = rows->app;
    struct row_cache *row = &rows->state->cache[item % CACHE_ROWS];
    const struct qx_setting *setting = qx_session_setting(app->session, item);
    enum qx_hist_state state;
    const struct qx_hist *hist = qx_session_hist(app->session, item, setting, &state);
    if (!hist) {
        return NULL;
    }
    int64_t n = qx_hist_stats(hist)->n;
    bool same_hist = row->hist == hist && row->item == item && row->n == n;
    if (!same_hist || row->glyphs != app->glyphs) {
        row->hist = hist;
        row->item = item;
        row->n = n;
        fill_spark(row, app->glyphs);
    }
    /* Once per setting: asymmetric groups and float formats cost a millisecond each. */
    if (!same_hist || !row->has_metrics || !qx_setting_equal(&row->setting, setting)) {
        row->has_metrics = qx_session_metrics(app->session, item, &row->metrics);
        row->setting = *setting;
    }
    return row;
}

/* The status line has the sentence. */
static void note_reason(const struct qx_item *item, struct ui_cell_text *out)
{
    const struct qx_dtype_info *dtype = qx_dtype_get(item->tensor->dtype);
    const char *note = item->tensor->numel == 0 ? "empty"
                       : !dtype->is_readable    ? "cannot be shown"
                       : !dtype->is_float       ? "whole numbers"
                                                : item->reason;
    snprintf(out->text, sizeof(out->text), "%s", note);
}

static void note_nonfinite(const struct qx_stats *st, struct ui_cell_text *out)
{
    int n = 0;
    if (st->n_nan > 0) {
        n = snprintf(out->text, sizeof(out->text), "%lld NaN", (long long)st->n_nan);
    }
    if (st->n_inf > 0) {
        snprintf(out->text + n, sizeof(out->text) - (size_t)n, "%s%lld Inf", n ? ", " : "",
                 (long long)st->n_inf);
    }
}

static void notes_text(const struct ui_app *app, const struct qx_item *item,
                       const struct row_cache *row, struct ui_cell_text *out)
{
    const struct qx_stats *st = row ? qx_hist_stats(row->hist) : NULL;
    out->style = UI_STYLE_DIM;
    if (item->reason[0]) {
        note_reason(item, out);
    } else if (qx_model_torn(qx_session_model(app->session), item->tensor)) {
        out->style = UI_STYLE_BAD;
        snprintf(out->text, sizeof(out->text), "cut short");
    } else if (!item->has_influence) {
        snprintf(out->text, sizeof(out->text), "no influence");
    } else if (st && st->n_nan + st->n_inf > 0) {
        out->style = UI_STYLE_WARN;
        note_nonfinite(st, out);
    } else if (st && st->absmax == 0) {
        snprintf(out->text, sizeof(out->text), "all zeros");
    } else if (st && st->n >= 1000 && st->absmax > 3 * st->p999) {
        out->style = UI_STYLE_WARN;
        snprintf(out->text, sizeof(out->text), "outliers: max %.1f%s p99.9", st->absmax / st->p999,
                 app->glyphs == UI_GLYPHS_ASCII ? "x" : "×");
    }
}

static void gran_text(const struct qx_setting *s, char *buf, size_t cap)
{
    buf[0] = '\0';
    if (!qx_format_is_scaled(s->format)) {
        return;
    }
    if (s->gran == QX_GRAN_GROUP) {
        snprintf(buf, cap, "g%lld", (long long)s->group);
    } else {
        snprintf(buf, cap, "%s", s->gran == QX_GRAN_CHANNEL ? "channel" : "tensor");
    }
    if (!s->sym) {
        size_t len = strlen(buf);
        snprintf(buf + len, cap - len, " a");
    }
}

/* What the recipe leaves alone is stored as it was. */
static bool is_as_stored(const struct qx_item *item, const struct qx_setting *s)
{
    return !item->can_quantize || (qx_setting_is_fp32(s) && item->tensor->dtype != QX_DTYPE_F32);
}

static void format_text(const struct qx_item *item, const struct qx_setting *s,
                        struct ui_cell_text *out)
{
    if (is_as_stored(item, s)) {
        snprintf(out->text, sizeof(out->text), "%s", qx_dtype_get(item->tensor->dtype)->name);
        out->style = item->can_quantize ? UI_STYLE_DIM : out->style;
    } else if (qx_setting_is_int(s)) {
        ui_fmt_format(out->text, sizeof(out->text), s);
        out->style = UI_STYLE_VALUE;
    } else {
        snprintf(out->text, sizeof(out->text), "%s", s->format->title);
        out->style = qx_setting_is_fp32(s) ? UI_STYLE_DIM : UI_STYLE_VALUE;
    }
}

static uint64_t stored_bytes(const struct qx_item *item, const struct qx_setting *s)
{
    return is_as_stored(item, s) ? item->tensor->bytes
                                 : qx_setting_tensor_bytes(s, item->tensor, item->channels);
}

static void sqnr_text(const struct ui_app *app, const struct qx_setting *s,
                      const struct row_cache *row, struct ui_cell_text *out)
{
    if (qx_setting_is_fp32(s)) {
        out->style = UI_STYLE_DIM;
        snprintf(out->text, sizeof(out->text), "%s", app->glyphs == UI_GLYPHS_ASCII ? "-" : "–");
    } else if (!row || !row->has_metrics) {
        out->style = UI_STYLE_PREDICTED;
        snprintf(out->text, sizeof(out->text), "%s", app->glyphs == UI_GLYPHS_ASCII ? ".." : "…");
    } else if (row->metrics.n == 0) {
        out->style = UI_STYLE_DIM;
        snprintf(out->text, sizeof(out->text), "n/a");
    } else if (isnan(row->metrics.sqnr_db)) {
        snprintf(out->text, sizeof(out->text), "exact");
    } else {
        bool sampled = row->metrics.basis == QX_BASIS_SAMPLED;
        out->style = ui_fig_style(row->metrics.basis);
        snprintf(out->text, sizeof(out->text), "%s%.1f",
                 sampled ? ui_mark(row->metrics.basis, app->glyphs) : "", row->metrics.sqnr_db);
    }
}

static void row_cell(void *arg, int64_t at, int column, struct ui_cell_text *out)
{
    struct model_rows *rows = arg;
    struct ui_app *app = rows->app;
    int64_t index = app->rows[at];
    const struct qx_item *item = qx_session_item(app->session, index);
    const struct qx_setting *s = qx_session_setting(app->session, index);
    const struct row_cache *row = item->tensor->reason ? NULL : row_figures(rows, index);
    bool is_quantized = item->can_quantize && !qx_setting_is_fp32(s);
    /* Norms and biases stay as they are in most recipes: quieter than the weights. */
    out->style = !item->can_quantize                            ? UI_STYLE_DISABLED
                 : item->role == QX_ROLE_OTHER && !is_quantized ? UI_STYLE_DIM
                                                                : UI_STYLE_NORMAL;
    switch ((enum column)column) {
    case COL_MARK:
        snprintf(out->text, sizeof(out->text), "%s",
                 app->marked[index] ? ui_sym(app->glyphs, UI_SYM_MARK)
                 : at == app->row   ? ui_sym(app->glyphs, UI_SYM_CURSOR)
                                    : "");
        out->style = app->marked[index] ? UI_STYLE_MARKED : UI_STYLE_HANDLE;
        break;
    case COL_NAME:
        ui_fit_name(out->text, sizeof(out->text), item->tensor->name, rows->w_name, app->glyphs);
        out->style = app->marked[index] ? UI_STYLE_MARKED : out->style;
        break;
    case COL_SHAPE:
        ui_fmt_shape(out->text, sizeof(out->text), item->tensor, app->glyphs);
        out->style = UI_STYLE_DIM;
        break;
    case COL_FORMAT:
        format_text(item, s, out);
        break;
    case COL_GRAN:
        gran_text(s, out->text, sizeof(out->text));
        break;
    case COL_CALIB:
        if (is_quantized && s->calib && qx_format_is_scaled(s->format)) {
            snprintf(out->text, sizeof(out->text), "%s", s->calib->title);
        }
        break;
    case COL_SIZE:
        ui_fmt_bytes(out->text, sizeof(out->text), (double)stored_bytes(item, s));
        break;
    case COL_SQNR:
        if (item->can_quantize) {
            sqnr_text(app, s, row, out);
        }
        break;
    case COL_CLIPPED:
        if (is_quantized && row && row->has_metrics && row->metrics.n > 0) {
            ui_fig_share(out->text, (row->metrics.clipped_low + row->metrics.clipped_high) /
                                        (double)row->metrics.n);
        }
        break;
    case COL_SPARK:
        snprintf(out->text, sizeof(out->text), "%s", row ? row->spark : "");
        out->style = is_quantized ? UI_STYLE_KEPT : UI_STYLE_DIM;
        break;
    case COL_NOTES:
        notes_text(app, item, row, out);
        break;
    case COL_COUNT:
        break;
    }
}

/* ---- totals ---- */

static void draw_size(struct ui_app *app, struct ui_canvas *c, struct ui_rect r)
{
    struct qx_totals t;
    char now[40], fp32[40], text[160];
    qx_session_totals(app->session, &t);
    ui_fmt_bytes(now, sizeof(now), (double)t.bytes);
    ui_fmt_bytes(fp32, sizeof(fp32), (double)t.bytes_fp32);
    double share = t.bytes_fp32 > 0 ? (double)t.bytes / (double)t.bytes_fp32 : 0;
    int w_bar = r.w >= 120 ? 40 : r.w >= 76 ? 18 : 10;
    ui_put(c, r.x, r.y, 9, UI_STYLE_DIM, "size");
    ui_bar(c, r.x + 10, r.y, w_bar, share, UI_STYLE_BAR, UI_STYLE_FRAME, app->glyphs);
    int x = r.x + 10 + w_bar + 2;
    x += ui_put(c, x, r.y, r.x + r.w - x, UI_STYLE_VALUE, now);
    snprintf(text, sizeof(text), " of %s as FP32", fp32);
    if (t.bytes != t.bytes_fp32) {
        size_t len = strlen(text);
        const char *sign = share > 1 ? "+" : app->glyphs == UI_GLYPHS_ASCII ? "-" : "−";
        snprintf(text + len, sizeof(text) - len, " (%s%.1f %%)", sign, fabs(1 - share) * 100);
    }
    x += ui_put(c, x, r.y, r.x + r.w - x, UI_STYLE_DIM, text);
    snprintf(text, sizeof(text), "%.2f bits/weight", t.bits_per_weight);
    int w = ui_text_width(text);
    if (x + 2 + w <= r.x + r.w) {
        ui_put_right(c, r.x, r.y, r.w, UI_STYLE_NORMAL, text);
    }
}

/* "/long/path/config.json: why" reads better as "config.json: why". */
static const char *without_folder(const char *reason)
{
    const char *colon = strstr(reason, ": "), *start = reason;
    for (const char *p = reason; reason[0] == '/' && colon && p < colon; p++) {
        start = *p == '/' ? p + 1 : start;
    }
    return start;
}

static const char *fp32_text(const struct qx_gauge *g, char *buf, size_t cap)
{
    if (g->is_words) {
        return ui_fmt_fp32(buf, cap, g, false);
    }
    snprintf(buf, cap, "FP32 %lld of %lld right", (long long)g->fp32_correct, (long long)g->n);
    return buf;
}

static void accuracy_text(const struct ui_app *app, const struct qx_gauge *g, char *buf, size_t cap,
                          bool *is_live)
{
    struct qx_totals totals;
    struct qx_replay_result replay;
    qx_session_totals(app->session, &totals);
    *is_live = true;
    if (ui_gauge_is_none(g)) {
        *is_live = false;
        snprintf(buf, cap, "%s", without_folder(g->reason));
    } else if (g->fp32_correct < 0) {
        char said[64];
        ui_fmt_predicted(said, sizeof(said), g, app->glyphs, false);
        int n = snprintf(buf, cap, "%s%smeasuring FP32, %.0f %%", said,
                         said[0] ? " predicted; " : "", g->progress * 100);
        if (g->n > 0) {
            snprintf(buf + n, cap - (size_t)n, " of %lld rows", (long long)g->n);
        }
    } else if (totals.n_quantized == 0 && g->n > 0) {
        if (g->is_words) {
            snprintf(buf, cap, "perplexity %.5f over %lld tokens with every tensor in FP32",
                     g->fp32_perplexity, (long long)g->n);
            return;
        }
        snprintf(buf, cap, "%lld of %lld right (%.2f %%) with every tensor in FP32",
                 (long long)g->fp32_correct, (long long)g->n,
                 100 * (double)g->fp32_correct / (double)g->n);
    } else if (ui_replay_now(app, g, &replay)) {
        char said[96], fp32[96];
        snprintf(buf, cap, "%s, %s", ui_fmt_replay_long(said, sizeof(said), &replay, app->glyphs),
                 fp32_text(g, fp32, sizeof(fp32)));
    } else if (g->guess == QX_GUESS_PREDICTED && g->state != QX_GAUGE_MEASURED) {
        char said[64], fp32[96];
        ui_fmt_predicted(said, sizeof(said), g, app->glyphs, false);
        snprintf(buf, cap, "%s predicted, %s", said, fp32_text(g, fp32, sizeof(fp32)));
    } else if (g->correct < 0) {
        char fp32[96];
        snprintf(buf, cap, "%s; this recipe is not measured yet", fp32_text(g, fp32, sizeof(fp32)));
    } else {
        const size_t n = strlen(ui_fmt_measured_long(buf, cap, g, app->glyphs));
        if (g->edits_since > 0) {
            snprintf(buf + n, cap - n, ", %d edit%s ago", g->edits_since,
                     g->edits_since > 1 ? "s" : "");
        }
    }
}

/* Leave out clauses from the end until the text fits. */
static void cut_clauses(char *text, int w)
{
    while (ui_text_width(text) > w) {
        char *comma = NULL;
        for (char *p = text; *p; p++) {
            comma = (*p == ',' || *p == ';' || *p == ':') && p[1] == ' ' ? p : comma;
        }
        if (!comma) {
            return;
        }
        *comma = '\0';
    }
}

static void draw_accuracy(struct ui_app *app, struct ui_canvas *c, struct ui_rect r)
{
    struct qx_gauge g;
    char text[320];
    bool is_live;
    qx_session_gauge(app->session, &g);
    accuracy_text(app, &g, text, sizeof(text), &is_live);
    const char *name = g.is_own_text ? "own text" : g.is_words ? "change" : "accuracy";
    ui_put(c, r.x, r.y, 9, UI_STYLE_DIM, name);
    bool fresh = g.state == QX_GAUGE_MEASURED && g.edits_since == 0;
    int x = r.x + 10;
    cut_clauses(text, r.w - 10);
    x += ui_put_cut(c, x, r.y, r.w - 10,
                    fresh     ? UI_STYLE_MEASURED
                    : is_live ? UI_STYLE_PREDICTED
                              : UI_STYLE_DIM,
                    text, app->glyphs);
    bool running = g.state == QX_GAUGE_RUNNING || g.state == QX_GAUGE_BASELINE;
    if (running && x + 14 <= r.x + r.w) {
        ui_bar(c, r.x + r.w - 12, r.y, 12, g.progress, UI_STYLE_MEASURED, UI_STYLE_FRAME,
               app->glyphs);
    }
}

/* The longest name in sight, within a third of the screen. */
static int name_width(const struct ui_app *app, const struct model_state *s, int w)
{
    int longest = columns[COL_NAME].width;
    for (int64_t i = s->top; i < s->top + app->page && i < app->n_rows; i++) {
        int len = (int)strlen(qx_session_item(app->session, app->rows[i])->tensor->name);
        longest = len > longest ? len : longest;
    }
    return longest <= w / 3                  ? longest
           : w / 3 > columns[COL_NAME].width ? w / 3
                                             : columns[COL_NAME].width;
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct model_state *s = state;
    int footer = r.h >= 9 ? FOOTER : 0;
    s->table = (struct ui_rect){r.x + 1, r.y, r.w - 2, r.h - footer};
    app->page = ui_table_page(s->table);
    s->top = ui_table_scroll(s->top, app->row, app->n_rows, app->page);
    int x[COL_COUNT], width[COL_COUNT];
    struct ui_column fitted[COL_COUNT];
    memcpy(fitted, columns, sizeof(fitted));
    fitted[COL_NAME].width = name_width(app, s, r.w);
    ui_table_layout(fitted, COL_COUNT, s->table.w - 2, x, width);
    struct model_rows rows = {app, s, width[COL_NAME]};
    struct ui_table table = {.columns = fitted,
                             .n_columns = COL_COUNT,
                             .n_rows = app->n_rows,
                             .cursor = app->row,
                             .top = s->top,
                             .cell = row_cell,
                             .arg = &rows};
    ui_table_draw(c, s->table, &table, app->glyphs);
    if (app->n_rows == 0) {
        ui_printf(c, r.x + 2, r.y + 2, r.w - 4, UI_STYLE_DIM,
                  app->n_items == 0 ? "This file holds no tensors."
                                    : "No tensor matches '%s'. Esc clears the filter.",
                  app->filter);
    }
    if (footer) {
        int y = r.y + r.h - footer;
        ui_hline(c, r.x, y, r.w, app->glyphs);
        draw_size(app, c, (struct ui_rect){r.x + 1, y + 1, r.w - 2, 1});
        draw_accuracy(app, c, (struct ui_rect){r.x + 1, y + 2, r.w - 2, 1});
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    (void)state;
    const struct qx_item *item = ui_item(app);
    buf[0] = '\0';
    if (!item) {
        return;
    }
    if (app->n_marked > 0) {
        snprintf(buf, cap, "%lld marked: edits apply to all of them", (long long)app->n_marked);
    } else if (!item->can_quantize) {
        snprintf(buf, cap, "%s: %s", item->tensor->name, item->reason);
    } else if (app->filter[0]) {
        snprintf(buf, cap, "%lld of %lld tensors hold '%s'", (long long)app->n_rows,
                 (long long)app->n_items, app->filter);
    } else {
        char text[96];
        snprintf(buf, cap, "%s  %s", item->tensor->name,
                 qx_setting_text(ui_setting(app), text, sizeof(text)));
    }
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct model_state *s = state;
    (void)r;
    if (m->kind == UI_MOUSE_WHEEL) {
        return ui_do(app, m->wheel > 0 ? UI_CMD_DOWN : UI_CMD_UP, "3");
    }
    struct ui_table table = {.n_rows = app->n_rows, .top = s->top};
    int64_t row = m->kind == UI_MOUSE_PRESS ? ui_table_hit(s->table, &table, m->x, m->y) : -1;
    if (row < 0) {
        return false;
    }
    if (row == app->row) {
        return ui_do(app, UI_CMD_OPEN, "");
    }
    return ui_do(app, UI_CMD_SELECT, qx_session_item(app->session, app->rows[row])->tensor->name);
}

static void explain_totals(struct ui_app *app, struct ui_explain *out)
{
    struct qx_totals t;
    char a[40], b[40];
    qx_session_totals(app->session, &t);
    snprintf(out->title, sizeof(out->title), "size of the model");
    ui_explain_add(out, "%s now, %s with every float tensor as FP32.",
                   (ui_fmt_bytes(a, sizeof(a), (double)t.bytes), a),
                   (ui_fmt_bytes(b, sizeof(b), (double)t.bytes_fp32), b));
    ui_explain_add(out,
                   "%.3f bits per weight: codes, scales and zero points over all float values.",
                   t.bits_per_weight);
    ui_explain_add(out, "%lld of %lld tensors that can be quantized are.", (long long)t.n_quantized,
                   (long long)t.n_quantizable);
}

static void explain_accuracy(struct ui_app *app, struct ui_explain *out)
{
    struct qx_gauge g;
    char text[320];
    bool is_live;
    double lo, hi;
    qx_session_gauge(app->session, &g);
    accuracy_text(app, &g, text, sizeof(text), &is_live);
    snprintf(out->title, sizeof(out->title), "%s: change against FP32",
             g.is_words ? "perplexity" : "accuracy");
    ui_explain_add(out, "%.190s", text);
    ui_explain_predicted(out, app->session, &g, -1, app->glyphs);
    if (g.is_words) {
        ui_explain_measured(out, &g, app->glyphs);
    } else if (is_live && g.correct >= 0 && g.n > 0) {
        qx_wilson(g.correct, g.n, &lo, &hi);
        ui_explain_add(out, "accuracy %.2f %%, 95 %% interval %.2f to %.2f %% (Wilson)",
                       100 * (double)g.correct / (double)g.n, 100 * lo, 100 * hi);
        ui_explain_add(out, "agreement with FP32: %.2f %%, %lld rows flip", 100 * g.pair.agreement,
                       (long long)g.pair.flips);
        ui_explain_add(out, "such a change by chance: p = %.2g (McNemar)", g.pair.mcnemar_p);
    }
}

static bool explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    struct model_state *s = state;
    const struct qx_item *item = ui_item(app);
    if (n == 0 && item) {
        struct model_rows rows = {app, s, 0};
        const struct row_cache *row = item->tensor->reason ? NULL : row_figures(&rows, app->cursor);
        char db[UI_FIG];
        snprintf(out->title, sizeof(out->title), "%.70s", item->tensor->name);
        if (!row || !row->has_metrics) {
            ui_explain_add(out, "%s",
                           item->reason[0] ? item->reason : "Its values are being read.");
            return true;
        }
        if (row->metrics.n == 0) {
            ui_explain_add(out, "It holds no finite value: there is nothing to measure.");
            return true;
        }
        if (isnan(row->metrics.sqnr_db)) {
            ui_explain_add(out, "Every value is stored exactly: there is no error to measure.");
        } else {
            ui_explain_add(out, "SQNR = 10 log10( sum x^2 / sum (x - q(x))^2 )");
            ui_explain_add(out, "     = 10 log10( %.4g / %.4g ) = %s", row->metrics.sum_sq,
                           row->metrics.mse * (double)row->metrics.n,
                           ui_fig_db(db, row->metrics.sqnr_db));
        }
        ui_explain_add(out, "Enter opens the layer with its threshold and error.");
        return true;
    }
    if (n == 1 || (n == 0 && !item)) {
        explain_totals(app, out);
        return true;
    }
    if (n == 2) {
        explain_accuracy(app, out);
        return true;
    }
    return false;
}

const struct ui_view ui_view_model = {
    .id = "model",
    .title = "Model",
    .help = "What is in here, how many bits each, what does it cost?",
    .key = 'm',
    .fkey = 2,
    .hints = "open bits format mark filter sort undo measure explain snapshot",
    .state_size = sizeof(struct model_state),
    .draw = draw,
    .status = status,
    .mouse = mouse,
    .explain = explain,
};
