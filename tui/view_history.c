/* The History screen: every state of the recipe, as a tree, with what was predicted and measured of each. */
#include "view.h"

#include "figure.h"
#include "gauge_text.h"
#include "history_graph.h"
#include "list.h"
#include "predict_text.h"
#include "widget_plot.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MOST_ROWS = 128, W_BAR = 12 };
enum column {
    COL_MARK,
    COL_GRAPH,
    COL_TEXT,
    COL_AGE,
    COL_BAR,
    COL_SIZE,
    COL_BITS,
    COL_PREDICTED,
    COL_MEASURED,
    COL_COUNT
};

static const struct ui_column columns[COL_COUNT] = {
    [COL_MARK] = {"", 1, 0, 0, false},
    [COL_GRAPH] = {"", 1, 0, 0, false}, /* as wide as the graph */
    [COL_TEXT] = {"step", 30, 100, 0, false},
    [COL_AGE] = {"when", 7, 0, 3, true},
    [COL_BAR] = {"of FP32", W_BAR, 0, 5, false}, /* drawn over the blanks */
    [COL_SIZE] = {"size", 8, 0, 0, true},
    [COL_BITS] = {"b/w", 5, 0, 4, true},
    [COL_PREDICTED] = {"predicted", 12, 18, 1, true},
    [COL_MEASURED] = {"measured", 9, 28, 0, true},
};

struct history {
    int cursor;
    int64_t top;
    uint64_t revision; /* that the cursor was put on; 0: none yet */
    struct ui_rect table;
    char graph[MOST_ROWS][UI_GRAPH_TEXT];
};

struct history_rows {
    struct ui_app *app;
    const struct history *state;
    bool is_wide; /* figures in full */
    int text_w;   /* cells of COL_TEXT */
};

static void fmt_age(char *buf, size_t cap, int64_t time_s)
{
    const long long age = (long long)time(NULL) - (long long)time_s;
    buf[0] = '\0';
    if (time_s > 0) {
        snprintf(buf, cap,
                 age < 120     ? "now"
                 : age < 3600  ? "%lld min"
                 : age < 86400 ? "%lld h"
                               : "%lld d",
                 age < 3600    ? age / 60
                 : age < 86400 ? age / 3600
                               : age / 86400);
    }
}

static const char *text_of(const struct qx_state *st)
{
    return st->text[0] ? st->text : "as it was first";
}

/* "layer1.weight: bits 8 -> 4" in w cells: what changed stays, the name is shortened. */
static void fit_text(char *buf, size_t cap, const struct qx_state *st, int w, enum ui_glyphs g)
{
    char name[200], fitted[200];
    const char *text = text_of(st), *colon = strstr(text, ": ");
    const int what = colon ? ui_text_width(colon) : 0, least = 12;
    if (!colon || ui_text_width(text) <= w || memchr(text, ' ', (size_t)(colon - text))) {
        snprintf(buf, cap, "%s", text);
        return;
    }
    snprintf(name, sizeof(name), "%.*s", (int)(colon - text), text);
    ui_fit_name(fitted, sizeof(fitted), name, w - what > least ? w - what : least, g);
    snprintf(buf, cap, "%s%s", fitted, colon);
}

static void figure_cell(const struct history_rows *rows, int i, bool is_measured,
                        struct ui_cell_text *out)
{
    struct ui_app *app = rows->app;
    struct qx_gauge g;
    qx_session_state_gauge(app->session, i, &g);
    if (!is_measured) {
        ui_fmt_predicted(out->text, sizeof(out->text), &g, app->glyphs, !rows->is_wide);
        out->style = UI_STYLE_PREDICTED;
    } else if (g.state == QX_GAUGE_MEASURED) {
        ui_fmt_measured(out->text, sizeof(out->text), &g, app->glyphs, !rows->is_wide);
        out->style = UI_STYLE_MEASURED;
    }
}

static void row_cell(void *arg, int64_t at, int column, struct ui_cell_text *out)
{
    const struct history_rows *rows = arg;
    struct qx_state st;
    if (!qx_session_state(rows->app->session, (int)at, &st)) {
        return;
    }
    out->style = st.is_now ? UI_STYLE_BOLD : st.is_done ? UI_STYLE_NORMAL : UI_STYLE_DIM;
    switch ((enum column)column) {
    case COL_MARK:
        snprintf(out->text, sizeof(out->text), "%s",
                 at == rows->state->cursor ? ui_sym(rows->app->glyphs, UI_SYM_CURSOR) : "");
        break;
    case COL_GRAPH:
        snprintf(out->text, sizeof(out->text), "%s", rows->state->graph[at - rows->state->top]);
        out->style = st.is_now ? UI_STYLE_VALUE : out->style;
        break;
    case COL_TEXT:
        fit_text(out->text, sizeof(out->text), &st, rows->text_w, rows->app->glyphs);
        break;
    case COL_AGE:
        fmt_age(out->text, sizeof(out->text), st.time_s);
        out->style = UI_STYLE_DIM;
        break;
    case COL_SIZE:
        if (st.bytes > 0) {
            ui_fmt_bytes(out->text, sizeof(out->text), (double)st.bytes);
        }
        break;
    case COL_BITS:
        if (st.bytes > 0) {
            snprintf(out->text, sizeof(out->text), "%.2f", st.bits_per_weight);
        }
        break;
    case COL_PREDICTED:
    case COL_MEASURED:
        figure_cell(rows, (int)at, column == COL_MEASURED, out);
        break;
    case COL_BAR:
    case COL_COUNT:
        break;
    }
}

/* Size as a share of the model in FP32: the trail of the edits at a glance. */
static void draw_bars(struct ui_app *app, const struct history *s, const int *x, const int *width,
                      struct ui_canvas *c)
{
    struct qx_totals totals;
    struct qx_state st;
    qx_session_totals(app->session, &totals);
    for (int k = 0; width[COL_BAR] > 0 && k < app->page; k++) {
        if (!qx_session_state(app->session, (int)s->top + k, &st)) {
            break;
        }
        if (st.bytes > 0) {
            ui_bar(c, s->table.x + x[COL_BAR], s->table.y + 1 + k, W_BAR,
                   (double)st.bytes / (double)totals.bytes_fp32,
                   st.is_done ? UI_STYLE_BAR : UI_STYLE_DIM, UI_STYLE_FRAME, app->glyphs);
        }
    }
}

/* The cursor goes where an edit, an undo or a jump went. */
static void follow(struct ui_app *app, struct history *s)
{
    struct qx_state st;
    const uint64_t revision = qx_session_revision(app->session) + 1;
    const int n = qx_session_n_states(app->session);
    for (int i = 0; s->revision != revision && qx_session_state(app->session, i, &st); i++) {
        s->cursor = st.is_now ? i : s->cursor;
    }
    s->revision = revision;
    s->cursor = s->cursor < n ? s->cursor : n - 1;
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct history *s = state;
    struct ui_column shown[COL_COUNT];
    memcpy(shown, columns, sizeof(shown));
    follow(app, s);
    const int n = qx_session_n_states(app->session);
    s->table = (struct ui_rect){r.x + 1, r.y, r.w - 2, r.h < MOST_ROWS ? r.h : MOST_ROWS};
    app->page = ui_table_page(s->table);
    s->top = ui_table_scroll(s->top, s->cursor, n, app->page);
    shown[COL_GRAPH].width = ui_graph_rows(app, s->top, app->page, s->graph);
    const bool is_wide = r.w >= 120;
    int x[COL_COUNT], width[COL_COUNT];
    shown[COL_TEXT].width = r.w < 70 ? 18 : shown[COL_TEXT].width;
    for (int k = COL_PREDICTED; k <= COL_MEASURED && is_wide; k++) {
        shown[k].width = shown[k].grow;
    }
    ui_table_layout(shown, COL_COUNT, s->table.w - 2, x, width);
    struct history_rows rows = {app, s, is_wide, width[COL_TEXT]};
    struct ui_table table = {shown, COL_COUNT, n, s->cursor, s->top, row_cell, &rows};
    ui_table_draw(c, s->table, &table, app->glyphs);
    draw_bars(app, s, x, width, c);
    if (n == 1 && r.h > 4) {
        ui_put(c, r.x + 3, r.y + 3, r.w - 4, UI_STYLE_DIM,
               "Nothing is edited yet. Enter will go back to any edit.");
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    const struct history *s = state;
    struct qx_state st;
    int back, forward;
    if (!qx_session_state(app->session, s->cursor, &st) ||
        !qx_session_way(app->session, st.id, &back, &forward)) {
        return;
    }
    if (st.is_now) {
        snprintf(buf, cap, "this is the recipe: state %d of %d", st.id,
                 qx_session_n_states(app->session) - 1);
    } else {
        snprintf(buf, cap, "state %d: Enter makes it the recipe (%d undone, %d redone)", st.id,
                 back, forward);
    }
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct history *s = state;
    struct qx_state st;
    if (ui_list_move(cmd, arg, app->page, qx_session_n_states(app->session), &s->cursor)) {
        return true;
    }
    return cmd == UI_CMD_OPEN && qx_session_state(app->session, s->cursor, &st) &&
           ui_dof(app, UI_CMD_STATE, "%d", st.id);
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct history *s = state;
    (void)r;
    if (m->kind == UI_MOUSE_WHEEL) {
        return ui_do(app, m->wheel > 0 ? UI_CMD_DOWN : UI_CMD_UP, "3");
    }
    struct ui_table table = {.n_rows = qx_session_n_states(app->session), .top = s->top};
    return ui_list_press(app, m, s->table, &table, s->cursor, true);
}

static void explain_figures(struct ui_app *app, const struct qx_gauge *g, struct ui_explain *out)
{
    char text[200];
    if (g->state == QX_GAUGE_MEASURED) {
        ui_fmt_measured(text, sizeof(text), g, app->glyphs, false);
        ui_explain_add(out, "measured on all %lld %s against FP32: %s", (long long)g->n,
                       g->is_words ? "tokens" : "rows", text);
    }
    if (g->guess == QX_GUESS_PREDICTED) {
        ui_fmt_predicted(text, sizeof(text), g, app->glyphs, false);
        ui_explain_add(out, "predicted last while it was the recipe: %s, KL %s%.3g nats", text,
                       ui_mark(QX_BASIS_HISTOGRAM, app->glyphs), g->predicted.kl);
    }
    if (g->state != QX_GAUGE_MEASURED && g->guess != QX_GUESS_PREDICTED) {
        ui_explain_add(
            out, "Its accuracy is not known: nothing was said of it while it was the recipe.");
    }
}

static bool explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    const struct history *s = state;
    struct qx_state st;
    struct qx_gauge g;
    char bytes[40];
    if (n > 0 || !qx_session_state(app->session, s->cursor, &st) ||
        !qx_session_state_gauge(app->session, s->cursor, &g)) {
        return false;
    }
    snprintf(out->title, sizeof(out->title), "State %d: %.60s", st.id, text_of(&st));
    if (st.bytes > 0) {
        ui_explain_add(out, "the model is then %s, %.2f bits a weight",
                       ui_fmt_bytes(bytes, sizeof(bytes), (double)st.bytes), st.bits_per_weight);
    }
    explain_figures(app, &g, out);
    ui_explain_add(out, "%s",
                   st.is_now    ? "It is the recipe of now."
                   : st.is_done ? "u leads there, step by step; Enter at once."
                   : st.is_line
                       ? "U leads there, step by step; Enter at once."
                       : "It lies on another branch: Enter leads there, u and U then follow it.");
    return true;
}

const struct ui_view ui_view_history = {
    .id = "history",
    .title = "History",
    .help = "What did each edit do, and how do I get back to any state?",
    .key = 'u',
    .hints = "open undo redo snapshot measure explain",
    .state_size = sizeof(struct history),
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .explain = explain,
};
