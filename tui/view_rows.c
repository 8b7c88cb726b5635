/* The Rows screen: the rows of the data that the recipe loses next, the one nearest to another class
 * first, with the picture or the text of the one under the cursor. */
#include "view.h"

#include "figure.h"
#include "list.h"
#include "row_text.h"
#include "widget_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const source_words[] = {
    [QX_LEADS_MEASURED] = "measured on all rows",
    [QX_LEADS_REPLAYED] = "measured on rows drawn by seed",
    [QX_LEADS_PREDICTED] = "predicted, on rows drawn by seed",
};

enum column { COL_MARK, COL_ROW, COL_FP32, COL_NOW, COL_BEFORE, COL_LEAD, COL_COUNT };
static const struct ui_column columns[COL_COUNT] = {
    [COL_MARK] = {"", 1, 0, 0, false},           [COL_ROW] = {"row", 6, 9, 0, true},
    [COL_FP32] = {"FP32", 10, 20, 0, false},     [COL_NOW] = {"now", 10, 20, 0, false},
    [COL_BEFORE] = {"lead FP32", 9, 0, 2, true}, [COL_LEAD] = {"lead now", 9, 0, 0, true},
};

struct rows_state {
    int64_t row; /* of the data, under the cursor; -1 = the next one to go */
    bool is_chosen;
    int64_t top;
    struct ui_rect table;
    struct ui_row_picture picture;
};

/* Index of the cursor: the chosen row, else the first one that has not changed class. */
static int64_t cursor_of(const struct rows_state *s, const struct qx_leads *l)
{
    for (int64_t i = 0; s->is_chosen && i < l->n; i++) {
        if (l->v[i].row == s->row) {
            return i;
        }
    }
    return l->n_flipped < l->n ? l->n_flipped : l->n - 1;
}

struct shown {
    struct ui_app *app;
    const struct qx_leads *leads;
    int64_t cursor;
};

static void row_cell(void *arg, int64_t at, int column, struct ui_cell_text *out)
{
    const struct shown *w = arg;
    const struct qx_lead *l = &w->leads->v[at];
    const struct qx_net *net = qx_session_net(w->app->session);
    const bool is_flipped = l->top != l->top0;
    const enum ui_style_id figure =
        w->leads->source != QX_LEADS_PREDICTED ? UI_STYLE_MEASURED : UI_STYLE_PREDICTED;
    const char *about =
        w->leads->source != QX_LEADS_PREDICTED ? "" : ui_mark(QX_BASIS_HISTOGRAM, w->app->glyphs);
    switch ((enum column)column) {
    case COL_MARK:
        snprintf(out->text, sizeof(out->text), "%s",
                 at == w->cursor ? ui_sym(w->app->glyphs, UI_SYM_CURSOR) : "");
        break;
    case COL_ROW:
        snprintf(out->text, sizeof(out->text), "%lld", (long long)l->row);
        break;
    case COL_FP32:
        snprintf(out->text, sizeof(out->text), "%.200s", qx_net_class_name(net, l->top0));
        break;
    case COL_NOW:
        snprintf(out->text, sizeof(out->text), "%s%.200s", is_flipped ? "! " : "",
                 qx_net_class_name(net, l->top));
        out->style = is_flipped ? UI_STYLE_BAD : figure;
        break;
    case COL_BEFORE:
        snprintf(out->text, sizeof(out->text), "%+.2f", (double)l->before);
        out->style = UI_STYLE_DIM;
        break;
    case COL_LEAD:
        snprintf(out->text, sizeof(out->text), "%s%+.2f", about, (double)l->now);
        out->style = is_flipped ? UI_STYLE_BAD : figure;
        break;
    case COL_COUNT:
        break;
    }
}

static void draw_empty(struct ui_app *app, struct ui_canvas *c, struct ui_rect r)
{
    const struct qx_net *net = qx_session_net(app->session);
    const bool has_data = net && qx_session_data(app->session);
    const bool has_class = net && strcmp(qx_net_task(net), "classification") == 0;
    ui_put(c, r.x + 2, r.y + 2, r.w - 4, UI_STYLE_BOLD,
           has_data && has_class ? "No row is answered yet." : "There are no rows here.");
    ui_text_draw(
        c, (struct ui_rect){r.x + 2, r.y + 4, r.w - 4, 4}, UI_STYLE_DIM,
        !net        ? qx_session_net_reason(app->session)
        : !has_data ? qx_session_data_reason(app->session)
        : has_class
            ? "Rows stand here once the effect of single layers is measured, or this recipe is."
        : qx_net_is_words(net) ? "Each place of a language model's text has its next token, and "
                                 "none has a class to lose. Compare (g c) lists with r the tokens "
                                 "that change most; Try (g y) goes on with a text of yours."
                               : "This network gives embeddings: its rows have no class to lose. "
                                 "Compare (g c) sets them beside FP32's.");
}

/* A picture beside the table where there is room, a text below it. */
static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct rows_state *s = state;
    struct qx_leads leads;
    s->table.w = s->table.h = 0;
    if (!app->session || !qx_session_leads(app->session, &leads) || leads.n == 0) {
        draw_empty(app, c, r);
        return;
    }
    const int64_t cursor = cursor_of(s, &leads);
    ui_row_picture_take(&s->picture, app->session, leads.v[cursor].row);
    const int side = ui_row_picture_width(&s->picture, app, r.w - 48, r.h - 2);
    const int below = s->picture.is_text && r.h >= 14 ? 4 : 0;
    s->table = (struct ui_rect){r.x + 1, r.y, r.w - 2 - (side ? side + 3 : 0), r.h - below};
    app->page = ui_table_page(s->table);
    s->top = ui_table_scroll(s->top, cursor, leads.n, app->page);
    struct shown shown = {app, &leads, cursor};
    struct ui_table table = {columns, COL_COUNT, leads.n, cursor, s->top, row_cell, &shown};
    ui_table_draw(c, s->table, &table, app->glyphs);
    if (side) {
        ui_row_picture_draw(&s->picture, app, c,
                            (struct ui_rect){r.x + r.w - 1 - side, r.y + 1, side, r.h - 2});
    }
    if (below) {
        ui_hline(c, r.x, r.y + r.h - below, r.w, app->glyphs);
        ui_text_draw(c, (struct ui_rect){r.x + 1, r.y + r.h - below + 1, r.w - 2, below - 1},
                     UI_STYLE_NORMAL, s->picture.text);
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct qx_leads leads;
    (void)state;
    buf[0] = '\0';
    if (app->session && qx_session_leads(app->session, &leads)) {
        if (leads.source == QX_LEADS_PREDICTED) { /* how many are lost is what the gauge predicts */
            snprintf(buf, cap, "%s nearest to another class first: %s",
                     ui_mark(QX_BASIS_HISTOGRAM, app->glyphs), source_words[leads.source]);
            return;
        }
        snprintf(buf, cap, "%lld of %lld rows that FP32 has right are lost: %s",
                 (long long)leads.n_flipped, (long long)leads.n, source_words[leads.source]);
    }
}

static void move(struct rows_state *s, const struct qx_leads *l, int64_t to)
{
    to = to >= l->n ? l->n - 1 : to;
    to = to < 0 ? 0 : to;
    s->row = l->v[to].row;
    s->is_chosen = true;
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct rows_state *s = state;
    struct qx_leads leads;
    if (!app->session || !qx_session_leads(app->session, &leads) || leads.n == 0) {
        return false;
    }
    int at = (int)cursor_of(s, &leads);
    if (ui_list_move(cmd, arg, app->page, leads.n, &at)) {
        move(s, &leads, at);
        return true;
    }
    if (cmd != UI_CMD_BACK || !s->is_chosen) {
        return false;
    }
    s->is_chosen = false; /* follow the next one to go again */
    return true;
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct rows_state *s = state;
    struct qx_leads leads;
    (void)r;
    if (!app->session || !qx_session_leads(app->session, &leads) || leads.n == 0) {
        return false;
    }
    if (m->kind == UI_MOUSE_WHEEL) {
        return ui_do(app, m->wheel > 0 ? UI_CMD_DOWN : UI_CMD_UP, "3");
    }
    struct ui_table table = {.n_rows = leads.n, .top = s->top};
    return ui_list_press(app, m, s->table, &table, cursor_of(s, &leads), false);
}

static bool explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    struct rows_state *s = state;
    struct qx_leads leads;
    if (n > 0 || !app->session || !qx_session_leads(app->session, &leads) || leads.n == 0) {
        return false;
    }
    const struct qx_lead *l = &leads.v[cursor_of(s, &leads)];
    const struct qx_net *net = qx_session_net(app->session);
    snprintf(out->title, sizeof(out->title), "row %lld", (long long)l->row);
    ui_explain_add(out, "lead: logit of FP32's class, '%s', minus the largest other one.",
                   qx_net_class_name(net, l->top0));
    ui_explain_add(
        out, "  %+.4f in FP32, %s%+.4f now: below zero another class wins.", (double)l->before,
        leads.source != QX_LEADS_PREDICTED ? "" : ui_mark(QX_BASIS_HISTOGRAM, app->glyphs),
        (double)l->now);
    ui_explain_add(out, "%lld rows that FP32 has right%s, nearest to another class first.",
                   (long long)leads.n,
                   leads.source == QX_LEADS_MEASURED ? "" : ", of those drawn by seed");
    ui_explain_add(out, "%s",
                   leads.source != QX_LEADS_PREDICTED
                       ? "Measured: this recipe was run on these rows."
                       : "Predicted: composed of measured effects of single layers.");
    return true;
}

const struct ui_view ui_view_rows = {
    .id = "rows",
    .title = "Rows",
    .help = "Which rows of the data does this recipe lose next?",
    .key = 'r',
    .hints = "explain measure snapshot flip undo go",
    .state_size = sizeof(struct rows_state),
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .explain = explain,
};
