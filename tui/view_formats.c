/* The Formats screen: every number format on one tensor, by bits per weight. */
#include "view.h"

#include "commands.h"
#include "figure.h"
#include "gauge_text.h"
#include "list.h"
#include "predict_text.h"
#include "widget_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLOT_MOST = 64, PLOT_LEAST = 36, PLOT_TICKS = 4, W_TICK = 7, WIDE = 112 };

enum column {
    COL_CURSOR,
    COL_NAME,
    COL_BITS,
    COL_BYTES,
    COL_DB,
    COL_OUTPUT,
    COL_PREDICTED,
    COL_MEASURED,
    COL_COUNT
};
static const struct ui_column columns[COL_COUNT] = {
    [COL_CURSOR] = {"", 2, 0, 0, false},
    [COL_NAME] = {"format", 7, 24, 0, false},
    [COL_BITS] = {"b/w", 6, 7, 0, true},
    [COL_BYTES] = {"size", 8, 9, 3, true},
    [COL_DB] = {"SQNR dB", 7, 8, 0, true},
    [COL_OUTPUT] = {"output dB", 9, 9, 1, true},
    [COL_PREDICTED] = {"predicted", 15, 18, 0, true},
    [COL_MEASURED] = {"measured", 8, 10, 2, true},
};

enum order { BY_BITS, BY_DB, BY_OUTPUT, BY_VALUE, N_ORDERS };
static const struct {
    const char *arg, *words;
} orders[N_ORDERS] = {
    [BY_BITS] = {"bits", "bits per weight"},
    [BY_DB] = {"sqnr", "the weights' error"},
    [BY_OUTPUT] = {"output", "the outputs' error"},
    [BY_VALUE] = {"accuracy", "what the network does"},
};

struct formats_state {
    int row; /* of the table under the cursor; -1 = what the layer has */
    int64_t item;
    enum order order;
    int64_t top;
    struct ui_rect table;
    int at[QX_FORMATS_MOST]; /* rows as listed */
};

struct shown {
    struct ui_app *app;
    const struct qx_formats_row *rows;
    int n;
    struct formats_state *s;
    int cursor; /* of those listed */
    struct qx_gauge gauge;
    struct qx_formats_state state;
};

/* ---- order ---- */

/* Smaller first; what is not known last. */
static double key_of(const struct qx_formats_row *r, enum order order)
{
    const double db = isnan(r->metrics.sqnr_db) ? (double)INFINITY : r->metrics.sqnr_db;
    if (order == BY_OUTPUT) {
        return isnan(r->output) ? (double)INFINITY : r->output;
    }
    if (order == BY_VALUE) {
        const struct qx_prediction *p = &r->predicted;
        return !r->has_prediction ? (double)INFINITY : p->has_value ? -p->value : p->kl;
    }
    if (!r->has_metrics) {
        return (double)INFINITY;
    }
    return order == BY_DB ? -db : (double)r->metrics.bytes - fmin(db, 1000) / 2000;
}

static void rows_order(struct shown *w)
{
    int now = -1;
    w->cursor = -1;
    for (int i = 0; i < w->n; i++) {
        int k = i;
        const double key = key_of(&w->rows[i], w->s->order);
        for (; k > 0 && key_of(&w->rows[w->s->at[k - 1]], w->s->order) > key; k--) {
            w->s->at[k] = w->s->at[k - 1];
        }
        w->s->at[k] = i;
    }
    for (int k = 0; k < w->n; k++) {
        w->cursor = w->s->at[k] == w->s->row ? k : w->cursor;
        now = w->rows[w->s->at[k]].is_now ? k : now;
    }
    w->cursor = w->cursor >= 0 ? w->cursor : now >= 0 ? now : 0;
}

static bool look(struct ui_app *app, struct formats_state *s, struct shown *w)
{
    *w = (struct shown){.app = app, .s = s};
    if (!app->session || app->cursor < 0) {
        return false;
    }
    if (s->item != app->cursor) {
        s->item = app->cursor;
        s->row = -1;
        s->top = 0;
    }
    w->rows = qx_session_formats(app->session, app->cursor, &w->n);
    qx_session_gauge(app->session, &w->gauge);
    qx_session_formats_state(app->session, &w->state);
    rows_order(w);
    return w->n > 0;
}

static const struct qx_formats_row *row_here(const struct shown *w)
{
    return &w->rows[w->s->at[w->cursor]];
}

/* ---- figures ---- */

static double output_db(const struct qx_formats_row *r)
{
    return -10 * log10(r->output);
}

/* "INT4", "NF4", and methods where the row is of what they chose. */
static void name_text(const struct qx_formats_row *r, char *buf, size_t cap)
{
    ui_fmt_format(buf, cap, &r->set);
    if (r->set.algo[0]) {
        const size_t n = strlen(buf);
        snprintf(buf + n, cap - n, " %s", r->set.algo);
    } else if (r->set.has_range && strcmp(r->set.calib->name, "manual") == 0) {
        const size_t n = strlen(buf);
        snprintf(buf + n, cap - n, " by hand");
    }
}

static void predicted_text(const struct shown *w, const struct qx_formats_row *r, char *buf,
                           size_t cap)
{
    struct qx_gauge g = w->gauge;
    g.guess = r->has_prediction ? QX_GUESS_PREDICTED : QX_GUESS_NONE;
    g.predicted = r->predicted;
    ui_fmt_predicted(buf, cap, &g, w->app->glyphs, false);
}

static double fp32_value(const struct qx_gauge *g)
{
    const bool has_labels = !g->is_words && g->fp32_correct >= 0 && g->n > 0;
    return has_labels ? (double)g->fp32_correct / (double)g->n : 1;
}

static void db_text(double db, char *buf, size_t cap)
{
    snprintf(buf, cap, isinf(db) ? "exact" : "%.2f", db);
}

static void row_cell(void *arg, int64_t at, int column, struct ui_cell_text *out)
{
    const struct shown *w = arg;
    const struct qx_formats_row *r = &w->rows[w->s->at[at]];
    const enum ui_glyphs g = w->app->glyphs;
    const struct qx_metrics *m = &r->metrics;
    char fig[UI_FIG];
    if (column == COL_CURSOR) {
        snprintf(out->text, sizeof(out->text), "%s%s",
                 at == w->cursor ? ui_sym(g, UI_SYM_CURSOR) : " ",
                 r->is_front ? ui_sym(g, UI_SYM_MARK) : "");
    } else if (column == COL_NAME) {
        name_text(r, out->text, sizeof(out->text));
        out->style = r->is_now ? UI_STYLE_HANDLE : UI_STYLE_NORMAL;
    } else if (column == COL_PREDICTED) {
        predicted_text(w, r, out->text, sizeof(out->text));
        out->style = UI_STYLE_PREDICTED;
    } else if (column == COL_MEASURED && !isnan(r->measured)) {
        snprintf(out->text, sizeof(out->text), "%s",
                 ui_fig_change(fig, w->gauge.is_words, r->measured - fp32_value(&w->gauge)));
        out->style = UI_STYLE_MEASURED;
    } else if (column == COL_OUTPUT && !isnan(r->output)) {
        db_text(output_db(r), fig, sizeof(fig));
        snprintf(out->text, sizeof(out->text), "%s%s",
                 w->state.is_diagonal ? ui_sym(g, UI_SYM_APPROX) : "", fig);
        out->style = w->state.is_diagonal ? UI_STYLE_PREDICTED : UI_STYLE_NORMAL;
    } else if (r->has_metrics && column == COL_BITS) {
        snprintf(out->text, sizeof(out->text), "%.3f", m->bits_per_weight);
    } else if (r->has_metrics && column == COL_BYTES) {
        ui_fmt_bytes(out->text, sizeof(out->text), (double)m->bytes);
        out->style = UI_STYLE_DIM;
    } else if (r->has_metrics && column == COL_DB) {
        db_text(isnan(m->sqnr_db) ? (double)INFINITY : m->sqnr_db, out->text, sizeof(out->text));
    }
}

/* ---- the plane of size and error ---- */

struct plane {
    struct ui_rect r;
    double x1, y0, y1;
};

static bool is_plotted(const struct qx_formats_row *r)
{
    return r->has_metrics && !isnan(r->metrics.sqnr_db);
}

static struct plane plane_of(const struct shown *w, struct ui_rect r)
{
    struct plane p = {.r = r, .x1 = 8.5, .y0 = 0, .y1 = 10};
    for (int i = 0; i < w->n; i++) {
        const struct qx_metrics *m = &w->rows[i].metrics;
        if (is_plotted(&w->rows[i]) && m->bits_per_weight < 12) { /* 16 bits are beyond the edge */
            p.x1 = fmax(p.x1, m->bits_per_weight);
            p.y1 = fmax(p.y1, m->sqnr_db + 1);
            p.y0 = fmin(p.y0, m->sqnr_db);
        }
    }
    return p;
}

static void plane_axes(const struct plane *p, struct ui_app *app, struct ui_canvas *c)
{
    char text[24];
    const struct ui_rect r = p->r;
    for (int y = 0; y < r.h; y++) {
        ui_put(c, r.x - 1, r.y + y, 1, UI_STYLE_FRAME, ui_sym(app->glyphs, UI_SYM_VLINE));
    }
    for (int i = 0; i <= PLOT_TICKS; i++) {
        snprintf(text, sizeof(text), "%.0f", p->y0 + (p->y1 - p->y0) * i / PLOT_TICKS);
        ui_put_right(c, r.x - W_TICK, r.y + (r.h - 1) * (PLOT_TICKS - i) / PLOT_TICKS, W_TICK - 2,
                     UI_STYLE_DIM, text);
    }
    ui_put(c, r.x - 1, r.y + r.h, 1, UI_STYLE_FRAME, ui_sym(app->glyphs, UI_SYM_BOTTOM_LEFT));
    ui_hline(c, r.x, r.y + r.h, r.w, app->glyphs);
    for (int bits = 0; bits <= (int)p->x1; bits += 2) {
        const int x = (int)lround(bits / p->x1 * (r.w - 1));
        snprintf(text, sizeof(text), "%d", bits);
        if (x + 6 < r.w) { /* the unit stands there */
            ui_put(c, r.x + x, r.y + r.h + 1, 2, UI_STYLE_DIM, text);
        }
    }
    ui_put(c, r.x - W_TICK + 1, r.y - 1, -1, UI_STYLE_HEADER, "SQNR dB");
    ui_put_right(c, r.x, r.y + r.h + 1, r.w, UI_STYLE_HEADER, "b/w");
}

static void plane_draw(const struct shown *w, struct ui_canvas *c, struct ui_rect r)
{
    const struct plane p =
        plane_of(w, (struct ui_rect){r.x + W_TICK, r.y + 1, r.w - W_TICK, r.h - 3});
    plane_axes(&p, w->app, c);
    for (int pass = 0; pass < 2; pass++) { /* the front over what it beats, the cursor over both */
        for (int k = 0; k < w->n; k++) {
            const struct qx_formats_row *row = &w->rows[w->s->at[k]];
            const bool is_over = row->is_front || row->is_now || k == w->cursor;
            const double x = row->metrics.bits_per_weight / p.x1;
            const double y = (row->metrics.sqnr_db - p.y0) / (p.y1 - p.y0);
            if (!is_plotted(row) || is_over != (pass == 1) || x > 1 || y > 1) {
                continue;
            }
            ui_put(c, p.r.x + (int)lround(x * (p.r.w - 1)),
                   p.r.y + (int)lround((1 - y) * (p.r.h - 1)), 1,
                   k == w->cursor  ? UI_STYLE_SELECTED
                   : row->is_now   ? UI_STYLE_HANDLE
                   : row->is_front ? UI_STYLE_MEASURED
                                   : UI_STYLE_DIM,
                   ui_sym(w->app->glyphs, row->is_now     ? UI_SYM_DIAMOND
                                          : row->is_front ? UI_SYM_MARK
                                                          : UI_SYM_CIRCLE));
        }
    }
}

/* ---- drawing ---- */

static void head_draw(const struct shown *w, struct ui_canvas *c, struct ui_rect r)
{
    const struct qx_item *item = ui_item(w->app);
    char text[240], base[96];
    const struct qx_formats_row *last = NULL;
    for (int i = 0; i < w->n && !last; i++) {
        last = qx_setting_is_int(&w->rows[i].set) && !w->rows[i].set.algo[0] ? &w->rows[i] : NULL;
    }
    char eta[UI_FIG];
    if (w->state.n_left > 0) {
        snprintf(text, sizeof(text), "measuring: %d to go%s%s; A stops", w->state.n_left,
                 isnan(w->state.row_s) ? "" : ", about ",
                 ui_fig_time(eta, w->state.row_s * w->state.n_left));
    } else if (w->state.n_known < w->state.n) {
        snprintf(text, sizeof(text), "%d of %d formats compared", w->state.n_known, w->state.n);
    } else {
        const char *from =
            last ? strchr(qx_setting_text(&last->set, base, sizeof(base)), ' ') : NULL;
        const int n =
            snprintf(text, sizeof(text), "%d formats by %s (s)%s%s%s; %s ", w->n,
                     orders[w->s->order].words, from ? "; integers:" : "", from ? from : "",
                     item && item->importance ? "; blocks: imatrix" : "",
                     ui_sym(w->app->glyphs, UI_SYM_MARK));
        const char *front = "no other is as good and as small";
        front = ui_text_width(text) + ui_text_width(front) <= r.w ? front : "unbeaten";
        snprintf(text + n, sizeof(text) - (size_t)n, "%s", front);
    }
    ui_put_cut(c, r.x, r.y, r.w, UI_STYLE_DIM, text, w->app->glyphs);
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct formats_state *s = state;
    struct shown w;
    s->table.h = 0;
    if (!look(app, s, &w)) {
        const struct qx_item *item = app->session ? ui_item(app) : NULL;
        ui_put(c, r.x + 2, r.y + 2, r.w - 4, UI_STYLE_DIM,
               item ? item->reason : "No layer is chosen: Esc clears the filter.");
        return;
    }
    const struct ui_rect in = {r.x + 1, r.y, r.w - 2, r.h};
    int plot = in.w >= WIDE ? in.w - WIDE + PLOT_LEAST : 0;
    plot = plot > PLOT_MOST ? PLOT_MOST : plot;
    head_draw(&w, c, in);
    s->table = (struct ui_rect){in.x, in.y + 1, in.w - (plot ? plot + 3 : 0), in.h - 1};
    app->page = ui_table_page(s->table);
    s->top = ui_table_scroll(s->top, w.cursor, w.n, app->page);
    const struct ui_table table = {columns, COL_COUNT, w.n, w.cursor, s->top, row_cell, &w};
    ui_table_draw(c, s->table, &table, app->glyphs);
    if (plot) {
        plane_draw(&w, c, (struct ui_rect){in.x + in.w - plot, in.y + 1, plot, in.h - 2});
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct shown w;
    struct qx_metrics now;
    char name[48], fig[UI_FIG];
    buf[0] = '\0';
    if (!look(app, state, &w)) {
        return;
    }
    const struct qx_formats_row *r = row_here(&w);
    name_text(r, name, sizeof(name));
    if (r->is_now) {
        snprintf(buf, cap, "%s is what the layer has%s", name,
                 w.state.output_reason[0] ? "; its outputs are not known (i: why)" : "");
    } else if (r->has_metrics && qx_session_metrics(app->session, app->cursor, &now) &&
               !isnan(now.sqnr_db) && !isnan(r->metrics.sqnr_db)) {
        snprintf(buf, cap, "%s: %+.2f bits and %s dB beside what the layer has; Enter applies it",
                 name, r->metrics.bits_per_weight - now.bits_per_weight,
                 ui_fig_signed(fig, r->metrics.sqnr_db - now.sqnr_db, 3));
    } else {
        snprintf(buf, cap, "%s: %s Enter applies it", name, r->set.format->help);
    }
}

/* ---- commands ---- */

static bool apply(struct ui_app *app, const struct shown *w)
{
    const struct qx_formats_row *r = row_here(w);
    if (r->is_now) {
        ui_toast(app, UI_TOAST_INFO, "the layer has this format; Esc goes back");
        return true;
    }
    return qx_setting_is_int(&r->set) ? ui_dof(app, UI_CMD_BITS, "%d", r->set.bits)
                                      : ui_do(app, UI_CMD_FORMAT, r->set.format->name);
}

static bool measure(struct ui_app *app, const struct shown *w, int at)
{
    struct qx_error err;
    if (at >= 0 && !isnan(w->rows[at].measured)) {
        return ui_refuse(app, "this format is measured already");
    }
    return qx_session_formats_measure(app->session, at, &err) == QX_OK ||
           ui_refuse(app, "%s", err.text);
}

/* A again stops; what is done stays. */
static bool measure_all(struct ui_app *app, const struct shown *w)
{
    int n = 0;
    for (int i = 0; i < w->n; i++) {
        n += isnan(w->rows[i].measured);
    }
    if (w->state.n_left > 0) {
        qx_session_formats_stop(app->session);
        ui_toast(app, UI_TOAST_INFO, "stopped; what is measured stays");
        return true;
    }
    return n > 0 ? measure(app, w, -1) : ui_refuse(app, "every format is measured");
}

static bool sort(struct ui_app *app, struct formats_state *s, const char *arg)
{
    int to = (s->order + 1) % N_ORDERS;
    for (int i = 0; arg[0] && i < N_ORDERS; i++) {
        to = strcmp(arg, orders[i].arg) == 0 ? i : to;
    }
    if (arg[0] && strcmp(arg, orders[to].arg) != 0) {
        ui_toast(app, UI_TOAST_BAD, "formats are sorted by bits, sqnr, output or accuracy");
        return true;
    }
    s->order = (enum order)to;
    s->top = 0;
    ui_toast(app, UI_TOAST_INFO, "sorted by %s", orders[to].words);
    return true;
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct formats_state *s = state;
    struct shown w;
    if (!look(app, s, &w)) {
        return false;
    }
    if (ui_list_move(cmd, arg, app->page, w.n, &w.cursor)) {
        s->row = s->at[w.cursor];
        return true;
    }
    switch (cmd) {
    case UI_CMD_SORT:
        return sort(app, s, arg);
    case UI_CMD_OPEN:
        return apply(app, &w);
    case UI_CMD_FORMATS_MEASURE:
        return measure(app, &w, s->at[w.cursor]);
    case UI_CMD_FORMATS_ALL:
        return measure_all(app, &w);
    default:
        return false;
    }
}

/* A click takes the cursor there; on the row that has it, the format is applied. */
static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct formats_state *s = state;
    struct shown w;
    (void)r;
    if (!look(app, s, &w)) {
        return false;
    }
    if (m->kind == UI_MOUSE_WHEEL) {
        return ui_do(app, m->wheel > 0 ? UI_CMD_DOWN : UI_CMD_UP, "");
    }
    const struct ui_table table = {.n_rows = w.n, .top = s->top};
    return ui_list_press(app, m, s->table, &table, w.cursor, true);
}

static void explain_row(const struct shown *w, struct ui_explain *out)
{
    const struct qx_formats_row *r = row_here(w);
    const struct qx_metrics *m = &r->metrics;
    char text[96];
    ui_explain_add(out, "%s", r->set.format->help);
    if (!r->has_metrics) {
        return;
    }
    ui_explain_add(out, "b/w = 8 x %llu bytes / %lld values = %.4f, scales included",
                   (unsigned long long)m->bytes, (long long)m->n, m->bits_per_weight);
    ui_explain_add(out, "SQNR = 10 log10(sum x^2 / sum (x - x^)^2) = %.3f dB, every value",
                   m->sqnr_db);
    if (!isnan(r->output)) {
        ui_explain_add(out, "output = -10 log10(|(W - W^) X|^2 / |W X|^2) = -10 log10(%.4g) = %.3f",
                       r->output, output_db(r));
        ui_explain_add(out,
                       w->state.is_diagonal
                           ? "  X: by the imatrix's mean squares, as if inputs did not go together."
                           : "  X: what the layer gets from the calibration rows in FP32.");
    }
    predicted_text(w, r, text, sizeof(text));
    if (text[0]) {
        ui_explain_add(out, "predicted: %s; the other layers are as the recipe has them.", text);
    }
    if (!isnan(r->measured) && w->gauge.is_words) {
        ui_explain_add(out, "measured: perplexity %.4g / %.5f = %.4g on %lld tokens",
                       w->gauge.fp32_perplexity, r->measured,
                       w->gauge.fp32_perplexity / r->measured, (long long)w->gauge.n);
    } else if (!isnan(r->measured)) {
        ui_explain_add(out, "measured: %.0f of %lld %s", r->measured * (double)w->gauge.n,
                       (long long)w->gauge.n, w->gauge.fp32_correct < 0 ? "as FP32" : "right");
    }
}

static void explain_unknown(const struct qx_formats_state *s, struct ui_explain *out)
{
    const char *why = s->measure_reason;
    if (why[0] && strcmp(why, s->output_reason) == 0 && strcmp(why, s->predict_reason) == 0) {
        ui_explain_add(out, "no outputs, no predictions, no measurements: %s", why);
        return;
    }
    if (s->output_reason[0]) {
        ui_explain_add(out, "no outputs: %s", s->output_reason);
    }
    if (s->predict_reason[0]) {
        ui_explain_add(out, "no predictions: %s", s->predict_reason);
    }
    if (why[0]) {
        ui_explain_add(out, "not measured: %s", why);
    }
}

static bool explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    struct shown w;
    if (n > 0 || !look(app, state, &w)) {
        return false;
    }
    name_text(row_here(&w), out->title, sizeof(out->title));
    explain_row(&w, out);
    explain_unknown(&w.state, out);
    return true;
}

bool cmd_formats(struct ui_app *app, const char *arg)
{
    (void)arg;
    return ui_do(app, UI_CMD_GO, "formats");
}

const struct ui_view ui_view_formats = {
    .id = "formats",
    .title = "Formats",
    .help = "Which number format suits this tensor?",
    .key = 'f',
    .hints = "open measure-format measure-formats sort undo bits explain",
    .state_size = sizeof(struct formats_state),
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .explain = explain,
    .crumb = ui_item_crumb,
};
