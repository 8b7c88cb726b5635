#include "compare_changes.h"

#include "list.h"
#include "qx/try.h"
#include "utf8.h"
#include "widget_table.h"
#include "widget_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BELOW = 3 }; /* lines for the whole text of the row under the cursor */

enum column {
    COL_MARK,
    COL_ROW,
    COL_A,
    COL_B,
    COL_BEFORE,
    COL_AFTER,
    COL_CONTEXT,
    COL_TOKEN,
    COL_TEXT
};

static const struct ui_column row_columns[] = {
    {"", 1, 0, 0, false},       {"row", 6, 9, 0, true},      {"A", 10, 18, 0, false},
    {"B", 10, 18, 0, false},    {"margin A", 8, 0, 0, true}, {"margin B", 8, 0, 0, true},
    {"text", 12, 200, 1, false}};
static const enum column row_what[] = {COL_MARK,   COL_ROW,   COL_A,   COL_B,
                                       COL_BEFORE, COL_AFTER, COL_TEXT};
static const struct ui_column token_columns[] = {
    {"", 1, 0, 0, false},        {"token", 7, 9, 1, true},  {"after", 16, 90, 0, true},
    {"comes", 10, 16, 0, false}, {"p in A", 8, 0, 0, true}, {"p in B", 8, 0, 0, true}};
static const enum column token_what[] = {COL_MARK,  COL_ROW,    COL_CONTEXT,
                                         COL_TOKEN, COL_BEFORE, COL_AFTER};
enum { N_ROW_COLUMNS = 7, N_TOKEN_COLUMNS = 6 };

struct shown {
    struct ui_app *app;
    struct ui_changes *state;
    const struct qx_changes *changes;
    bool is_words;
    int context; /* cells of COL_CONTEXT */
};

/* Line breaks as spaces; "" where rows are no texts. */
static const char *text_of(struct ui_app *app, struct ui_changes *s, int64_t row)
{
    const int at = (int)(row % UI_CHANGES_TEXTS);
    char *text = s->kept[at].text;
    if (s->kept[at].session == app->session && s->kept[at].row == row) {
        return text;
    }
    if (!qx_session_row_text(app->session, row, text, UI_CHANGES_TEXT)) {
        text[0] = '\0';
    }
    for (char *p = text; *p; p++) {
        *p = *p == '\n' || *p == '\t' || *p == '\r' ? ' ' : *p;
    }
    s->kept[at].session = app->session;
    s->kept[at].row = row;
    return text;
}

/* The end of a text, in w cells. */
static void put_end(char *out, size_t cap, const char *text, int w, enum ui_glyphs g)
{
    const char *dots = ui_sym(g, UI_SYM_DOTS);
    int left = ui_text_width(text), cp;
    if (left <= w) {
        snprintf(out, cap, "%s", text);
        return;
    }
    while (*text && left > w - 1) {
        text += ui_utf8_decode(text, strlen(text), &cp);
        left = ui_text_width(text);
    }
    snprintf(out, cap, "%s%s", dots, text);
}

static void put_figure(struct shown *w, const struct qx_eval_change *c, bool is_after,
                       struct ui_cell_text *out)
{
    const double x = (double)(is_after ? c->after : c->before);
    const bool is_flip = !w->is_words && c->top_a != c->top_b;
    out->style = !is_after                         ? UI_STYLE_SIDE_A
                 : is_flip || c->after < c->before ? UI_STYLE_BAD
                                                   : UI_STYLE_GOOD;
    if (w->is_words) {
        snprintf(out->text, sizeof(out->text), "%.2f %%", 100 * x);
    } else {
        snprintf(out->text, sizeof(out->text), "%+.2f", x);
    }
}

static void row_cell(void *arg, int64_t at, int column, struct ui_cell_text *out)
{
    struct shown *w = arg;
    const struct qx_eval_change *c = &w->changes->v[at];
    const struct qx_net *net = qx_session_net(w->app->session);
    switch (w->is_words ? token_what[column] : row_what[column]) {
    case COL_MARK:
        snprintf(out->text, sizeof(out->text), "%s",
                 at == w->state->cursor ? ui_sym(w->app->glyphs, UI_SYM_CURSOR) : "");
        break;
    case COL_ROW:
        snprintf(out->text, sizeof(out->text), "%lld", (long long)c->row);
        break;
    case COL_A:
        snprintf(out->text, sizeof(out->text), "%.200s", qx_net_class_name(net, c->top_a));
        out->style = c->top_a == c->label ? UI_STYLE_NORMAL : UI_STYLE_DIM;
        break;
    case COL_B:
        snprintf(out->text, sizeof(out->text), "%s%.200s", c->top_a != c->top_b ? "! " : "",
                 qx_net_class_name(net, c->top_b));
        out->style = c->top_a != c->top_b ? UI_STYLE_BAD : UI_STYLE_DIM;
        break;
    case COL_BEFORE:
    case COL_AFTER:
        put_figure(w, c, (w->is_words ? token_what : row_what)[column] == COL_AFTER, out);
        break;
    case COL_CONTEXT:
        put_end(out->text, sizeof(out->text), text_of(w->app, w->state, c->row), w->context,
                w->app->glyphs);
        out->style = UI_STYLE_DIM;
        break;
    case COL_TOKEN:
        qx_session_token(w->app->session, c->label, out->text, sizeof(out->text));
        out->style = UI_STYLE_BOLD;
        break;
    case COL_TEXT:
        snprintf(out->text, sizeof(out->text), "%s", text_of(w->app, w->state, c->row));
        break;
    }
}

/* The text of the row under the cursor, all of it. */
static void draw_whole(struct ui_app *app, struct ui_changes *s,
                       const struct qx_eval_change *change, bool is_words, struct ui_canvas *c,
                       struct ui_rect r)
{
    char line[UI_CHANGES_TEXT + 64], token[40] = "";
    if (is_words) {
        qx_session_token(app->session, change->label, token, sizeof token);
    }
    snprintf(line, sizeof(line), "%s%s%s", text_of(app, s, change->row), is_words ? " > " : "",
             token);
    ui_hline(c, r.x, r.y, r.w, app->glyphs);
    ui_text_draw(c, (struct ui_rect){r.x, r.y + 1, r.w, r.h - 1}, UI_STYLE_NORMAL, line);
}

void ui_changes_draw(struct ui_app *app, struct ui_changes *s, struct ui_canvas *c,
                     struct ui_rect r)
{
    struct qx_changes changes;
    const struct qx_net *net = qx_session_net(app->session);
    s->table.h = 0;
    if (r.h < 2) {
        return;
    }
    if (!qx_session_changes(app->session, &changes)) {
        ui_put(c, r.x, r.y, r.w, UI_STYLE_DIM,
               "The rows stand here once A and B are measured on them.");
        return;
    }
    if (changes.n == 0) {
        ui_put(c, r.x, r.y, r.w, UI_STYLE_DIM, "A and B answer every row alike.");
        return;
    }
    struct shown shown = {app, s, &changes, qx_net_is_words(net), 0};
    const struct ui_column *columns = shown.is_words ? token_columns : row_columns;
    const int n = shown.is_words ? N_TOKEN_COLUMNS : N_ROW_COLUMNS;
    const int below = r.h >= 9 && text_of(app, s, changes.v[0].row)[0] ? BELOW : 0;
    int x[UI_TABLE_COLUMNS], width[UI_TABLE_COLUMNS];
    s->cursor = s->cursor < (int)changes.n ? s->cursor : (int)changes.n - 1;
    s->table = (struct ui_rect){r.x, r.y, r.w, r.h - below};
    app->page = ui_table_page(s->table);
    s->top = ui_table_scroll(s->top, s->cursor, changes.n, app->page);
    ui_table_layout(columns, n, r.w - 2, x, width);
    shown.context = width[2];
    struct ui_table table = {columns, n, changes.n, s->cursor, s->top, row_cell, &shown};
    ui_table_draw(c, s->table, &table, app->glyphs);
    if (below) {
        draw_whole(app, s, &changes.v[s->cursor], shown.is_words, c,
                   (struct ui_rect){r.x, r.y + r.h - below, r.w, below});
    }
}

void ui_changes_status(struct ui_app *app, char *buf, size_t cap)
{
    struct qx_changes changes;
    const struct qx_net *net = qx_session_net(app->session);
    if (net && qx_session_changes(app->session, &changes)) {
        snprintf(buf, cap, "%s that change most from A to B: %lld",
                 qx_net_is_words(net) ? "tokens" : "rows", (long long)changes.n);
    }
}

bool ui_changes_command(struct ui_app *app, struct ui_changes *s, enum ui_cmd cmd, const char *arg)
{
    struct qx_changes changes = {0};
    if (cmd == UI_CMD_BACK) {
        s->is_on = false;
        return true;
    }
    return qx_session_changes(app->session, &changes) &&
           ui_list_move(cmd, arg, app->page, changes.n, &s->cursor);
}

bool ui_changes_mouse(struct ui_app *app, const struct ui_changes *s, const struct ui_mouse *m)
{
    struct qx_changes changes;
    if (!qx_session_changes(app->session, &changes)) {
        return false;
    }
    struct ui_table table = {.n_rows = changes.n, .top = s->top};
    return ui_list_press(app, m, s->table, &table, s->cursor, false);
}
