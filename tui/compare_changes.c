#include "compare_changes.h"

#include "commands.h"
#include "list.h"
#include "qx/try.h"
#include "search_text.h"
#include "utf8.h"
#include "widget_table.h"
#include "widget_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* lines for the row under the cursor: a rule, its text, and of tokens what is likeliest */
enum { BELOW = 3, BELOW_WORDS = 4 };

enum column {
    COL_MARK,
    COL_ROW,
    COL_A,
    COL_B,
    COL_LABEL,
    COL_FP32,
    COL_BEFORE,
    COL_AFTER,
    COL_KL_A,
    COL_KL_B,
    COL_CONTEXT,
    COL_TOKEN,
    COL_TEXT
};

/* One list: its columns, and what each of them is. */
struct layout {
    int n, context; /* context: the one that is cut in front; -1: none */
    struct ui_column column[10];
    enum column what[10];
};
static const struct layout rows_layout = {
    8,
    -1,
    {{"", 1, 0, 0, false},
     {"row", 6, 9, 0, true},
     {"A", 10, 18, 0, false},
     {"B", 10, 18, 0, false},
     {"label", 8, 16, 2, false},
     {"margin A", 8, 0, 0, true},
     {"margin B", 8, 0, 0, true},
     {"text", 12, 200, 1, false}},
    {COL_MARK, COL_ROW, COL_A, COL_B, COL_LABEL, COL_BEFORE, COL_AFTER, COL_TEXT}};
static const struct layout plain_layout = {
    7,
    -1,
    {{"", 1, 0, 0, false},
     {"row", 6, 9, 0, true},
     {"A", 10, 18, 0, false},
     {"B", 10, 18, 0, false},
     {"label", 8, 16, 1, false},
     {"margin A", 8, 0, 0, true},
     {"margin B", 8, 0, 0, true}},
    {COL_MARK, COL_ROW, COL_A, COL_B, COL_LABEL, COL_BEFORE, COL_AFTER}};
static const struct layout tokens_layout = {
    6,
    2,
    {{"", 1, 0, 0, false},
     {"token", 7, 9, 1, true},
     {"after", 16, 90, 0, true},
     {"comes", 10, 16, 0, false},
     {"p in A", 8, 0, 0, true},
     {"p in B", 8, 0, 0, true}},
    {COL_MARK, COL_ROW, COL_CONTEXT, COL_TOKEN, COL_BEFORE, COL_AFTER}};
static const struct layout kl_layout = {9,
                                        2,
                                        {{"", 1, 0, 0, false},
                                         {"token", 7, 9, 3, true},
                                         {"after", 12, 90, 0, true},
                                         {"comes", 9, 16, 0, false},
                                         {"KL of A", 8, 0, 0, true},
                                         {"KL of B", 8, 0, 0, true},
                                         {"p FP32", 8, 0, 2, true},
                                         {"p in A", 8, 0, 1, true},
                                         {"p in B", 8, 0, 1, true}},
                                        {COL_MARK, COL_ROW, COL_CONTEXT, COL_TOKEN, COL_KL_A,
                                         COL_KL_B, COL_FP32, COL_BEFORE, COL_AFTER}};

struct shown {
    struct ui_app *app;
    struct ui_changes *state;
    const struct qx_changes *changes;
    const struct qx_eval_result *fp32; /* NULL: not measured */
    const struct layout *layout;
    bool is_words;
    int context; /* cells of COL_CONTEXT */
};

/* The list that is shown; false until it is there. */
static bool list_of(struct ui_app *app, const struct ui_changes *s, struct qx_changes *out)
{
    return qx_session_changes(app->session, s->order, out);
}

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

static bool is_kl(const struct shown *w)
{
    return w->layout == &kl_layout;
}

/* Of the side that is farther the divergence stands out; float32's own is 0. */
static void put_kl(float kl, float other, enum ui_style_id style, struct ui_cell_text *out)
{
    const bool is_more = !isnan(kl) && !(kl < other);
    out->style = is_more ? UI_STYLE_BAD : style;
    snprintf(out->text, sizeof(out->text), isnan(kl) ? "0" : "%.5f", (double)kl);
}

static void put_figure(struct shown *w, const struct qx_eval_change *c, bool is_after,
                       struct ui_cell_text *out)
{
    const double x = (double)(is_after ? c->after : c->before);
    const bool is_flip = !w->is_words && c->top_a != c->top_b;
    out->style = is_kl(w)                          ? is_after ? UI_STYLE_SIDE_B : UI_STYLE_SIDE_A
                 : !is_after                       ? UI_STYLE_SIDE_A
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
    switch (w->layout->what[column]) {
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
    case COL_LABEL:
        snprintf(out->text, sizeof(out->text), "%.200s",
                 c->label >= 0 ? qx_net_class_name(net, c->label) : "");
        out->style = UI_STYLE_DIM;
        break;
    case COL_FP32:
        if (w->fp32 && w->fp32->nll && c->at < w->fp32->n) {
            snprintf(out->text, sizeof(out->text), "%.2f %%",
                     100 * exp(-(double)w->fp32->nll[c->at]));
        }
        break;
    case COL_KL_A:
        put_kl(c->kl_a, c->kl_b, UI_STYLE_SIDE_A, out);
        break;
    case COL_KL_B:
        put_kl(c->kl_b, c->kl_a, UI_STYLE_SIDE_B, out);
        break;
    case COL_BEFORE:
    case COL_AFTER:
        put_figure(w, c, w->layout->what[column] == COL_AFTER, out);
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

/* "likeliest: FP32 ' the'  A ' a'  B ' the'" */
static void draw_tops(const struct shown *w, const struct qx_eval_change *change,
                      struct ui_canvas *c, struct ui_rect r)
{
    char token[40];
    const bool has_fp32 = w->fp32 && change->at < w->fp32->n;
    const int32_t top[] = {has_fp32 ? w->fp32->predicted[change->at] : -1, change->top_a,
                           change->top_b};
    static const char *const title[] = {"FP32", "A", "B"};
    static const enum ui_style_id style[] = {UI_STYLE_HEADER, UI_STYLE_SIDE_A, UI_STYLE_SIDE_B};
    int x = ui_put(c, r.x, r.y, r.w, UI_STYLE_DIM, "likeliest");
    for (int i = 0; i < 3; i++) {
        if (top[i] >= 0) {
            qx_session_token(w->app->session, top[i], token, sizeof token);
            x += ui_printf(c, r.x + x, r.y, r.w - x, style[i], "  %s", title[i]);
            const enum ui_style_id what = top[i] == top[0] ? UI_STYLE_NORMAL : UI_STYLE_BAD;
            x += token[0] ? ui_printf(c, r.x + x, r.y, r.w - x, what, " '%s'", token)
                          : ui_printf(c, r.x + x, r.y, r.w - x, what, " id %d", (int)top[i]);
        }
    }
}

/* The row under the cursor: its text, as much as there is room for, and of a token what is likeliest there. */
static void draw_whole(const struct shown *w, const struct qx_eval_change *change,
                       struct ui_canvas *c, struct ui_rect r)
{
    char line[UI_CHANGES_TEXT + 64], token[40] = "";
    const int text_h = r.h - 1 - w->is_words;
    if (w->is_words) {
        qx_session_token(w->app->session, change->label, token, sizeof token);
        draw_tops(w, change, c, (struct ui_rect){r.x, r.y + r.h - 1, r.w, 1});
    }
    snprintf(line, sizeof(line), "%s%s%s", text_of(w->app, w->state, change->row),
             w->is_words ? " > " : "", token);
    ui_hline(c, r.x, r.y, r.w, w->app->glyphs);
    ui_text_draw(c, (struct ui_rect){r.x, r.y + 1, r.w, text_h}, UI_STYLE_NORMAL, line);
}

/* The row under the cursor beside the list, where it is an image and there is room; returns the cells taken. */
static int draw_picture(const struct shown *w, struct ui_canvas *c, struct ui_rect r)
{
    struct ui_row_picture *p = &w->state->picture;
    ui_row_picture_take(p, w->app->session, w->changes->v[w->state->cursor].row);
    const int side = ui_row_picture_width(p, w->app, r.w - 62, r.h - 1);
    if (side > 0) {
        ui_row_picture_draw(p, w->app, c,
                            (struct ui_rect){r.x + r.w - side, r.y + 1, side, r.h - 1});
    }
    return side > 0 ? side + 2 : 0;
}

/* What stands in place of a list. */
static void draw_none(struct ui_app *app, const struct ui_changes *s, bool is_there,
                      struct ui_canvas *c, struct ui_rect r)
{
    const bool is_kl = s->order == QX_CHANGES_KL;
    char text[160], more[60];
    snprintf(text, sizeof(text), "%s%s",
             !is_there && is_kl ? "The tokens stand here once A and B are measured beside FP32"
             : !is_there        ? "The rows stand here once A and B are measured on them"
             : is_kl            ? "A and B are FP32: nothing diverges"
                                : "A and B answer every row alike",
             is_there ? "" : ui_fmt_job(app, more, sizeof(more), is_kl ? "divergence of " : ""));
    ui_put_cut(c, r.x, r.y, r.w, UI_STYLE_DIM, text, app->glyphs);
}

void ui_changes_draw(struct ui_app *app, struct ui_changes *s, struct ui_canvas *c,
                     struct ui_rect r)
{
    struct qx_changes changes;
    const bool is_words = ui_is_words(app);
    s->table.h = 0;
    if (r.h < 2) {
        return;
    }
    const bool is_there = list_of(app, s, &changes);
    if (!is_there || changes.n == 0) {
        draw_none(app, s, is_there, c, r);
        return;
    }
    const bool has_text = text_of(app, s, changes.v[0].row)[0] != '\0';
    struct shown shown = {.app = app,
                          .state = s,
                          .changes = &changes,
                          .fp32 = qx_session_result(app->session, QX_WHICH_FP32),
                          .layout = s->order == QX_CHANGES_KL ? &kl_layout
                                    : is_words                ? &tokens_layout
                                    : has_text                ? &rows_layout
                                                              : &plain_layout,
                          .is_words = is_words};
    const struct layout *l = shown.layout;
    const int lines = is_words ? BELOW_WORDS : BELOW;
    const int below = r.h >= 6 + lines && has_text ? lines : 0;
    int x[UI_TABLE_COLUMNS], width[UI_TABLE_COLUMNS];
    s->cursor = s->cursor < (int)changes.n ? s->cursor : (int)changes.n - 1;
    const int side = has_text ? 0 : draw_picture(&shown, c, r);
    s->table = (struct ui_rect){r.x, r.y, r.w - side, r.h - below};
    app->page = ui_table_page(s->table);
    s->top = ui_table_scroll(s->top, s->cursor, changes.n, app->page);
    ui_table_layout(l->column, l->n, s->table.w - 2, x, width);
    shown.context = l->context >= 0 ? width[l->context] : 0;
    struct ui_table table = {l->column, l->n, changes.n, s->cursor, s->top, row_cell, &shown};
    ui_table_draw(c, s->table, &table, app->glyphs);
    if (below) {
        draw_whole(&shown, &changes.v[s->cursor], c,
                   (struct ui_rect){r.x, r.y + r.h - below, r.w, below});
    }
}

void ui_changes_status(struct ui_app *app, const struct ui_changes *s, char *buf, size_t cap)
{
    struct qx_changes changes;
    if (list_of(app, s, &changes)) {
        snprintf(buf, cap,
                 s->order == QX_CHANGES_KL ? "tokens farthest from FP32 in A or B: %lld"
                 : ui_is_words(app)        ? "tokens that change most from A to B: %lld"
                                           : "rows that change most from A to B: %lld",
                 (long long)changes.n);
    }
}

bool ui_changes_switch(struct ui_app *app, struct ui_changes *s, const char *arg)
{
    const bool is_words = ui_is_words(app), is_kl = strcmp(arg, "kl") == 0;
    if (is_kl && !is_words) {
        return ui_refuse(app, "KL divergence is measured token by token, of language models");
    }
    const bool has_next = arg[0] || !s->is_on || (is_words && s->order == QX_CHANGES_ANSWERS);
    s->order = is_kl || (!arg[0] && s->is_on && has_next) ? QX_CHANGES_KL : QX_CHANGES_ANSWERS;
    s->is_on = has_next && strcmp(arg, "off") != 0;
    s->cursor = 0;
    return true;
}

bool ui_changes_explain(struct ui_app *app, const struct ui_changes *s, struct ui_explain *out)
{
    struct qx_changes changes;
    const struct qx_eval_result *fp32 = qx_session_result(app->session, QX_WHICH_FP32);
    if (!ui_is_words(app) || !list_of(app, s, &changes) || changes.n == 0) {
        return false;
    }
    char token[40];
    const struct qx_eval_change *c = &changes.v[s->cursor < changes.n ? s->cursor : 0];
    snprintf(out->title, sizeof(out->title), "Token %lld of the data, '%s'", (long long)c->row,
             qx_session_token(app->session, c->label, token, sizeof token));
    if (fp32 && c->at < fp32->n) {
        ui_explain_add(
            out, "It came. Its probability was %.3f %% in FP32, %.3f %% in A, %.3f %% in B.",
            100 * exp(-(double)fp32->nll[c->at]), 100 * (double)c->before, 100 * (double)c->after);
    }
    ui_explain_add(
        out, "KL = sum over the vocabulary of p ln(p / q): p FP32's next token, q A's or B's.");
    for (int k = 0; k < 2; k++) {
        const float kl = k ? c->kl_b : c->kl_a;
        if (!isnan(kl)) {
            ui_explain_add(out, "%s: %.5f nats, measured", k ? "B" : "A", (double)kl);
        }
    }
    ui_explain_add(
        out,
        "0: the same distribution. It says what the token that came cannot: all others moved.");
    return true;
}

bool ui_changes_command(struct ui_app *app, struct ui_changes *s, enum ui_cmd cmd, const char *arg)
{
    struct qx_changes changes = {0};
    if (cmd == UI_CMD_BACK) {
        s->is_on = false;
        return true;
    }
    return list_of(app, s, &changes) && ui_list_move(cmd, arg, app->page, changes.n, &s->cursor);
}

bool ui_changes_mouse(struct ui_app *app, const struct ui_changes *s, const struct ui_mouse *m)
{
    struct qx_changes changes;
    if (!list_of(app, s, &changes)) {
        return false;
    }
    struct ui_table table = {.n_rows = changes.n, .top = s->top};
    return ui_list_press(app, m, s->table, &table, s->cursor, false);
}
