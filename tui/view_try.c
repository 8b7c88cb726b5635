/* The Try screen: typed sentences, and which of them breaks first as the recipe changes; of a language
 * model typed texts, and how far it goes on with them as before. */
#include "view.h"

#include "commands.h"
#include "figure.h"
#include "list.h"
#include "said_text.h"
#include "widget_plot.h"
#include "widget_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum column { COL_MARK, COL_TEXT, COL_FP32, COL_A, COL_B, COL_LEAD, COL_COUNT };
static const struct ui_column columns[COL_COUNT] = {
    [COL_MARK] = {"", 1, 0, 0, false},       [COL_TEXT] = {"sentence", 14, 90, 0, false},
    [COL_FP32] = {"FP32", 15, 20, 0, false}, [COL_A] = {"A", 15, 20, 2, false},
    [COL_B] = {"now", 15, 20, 0, false},     [COL_LEAD] = {"lead", 7, 0, 1, true},
};
enum { MIN_DETAIL = 6 };

struct try_state {
    int cursor; /* serial of the sentence under it */
    int64_t top;
    struct ui_rect table;
    struct qx_try row[QX_TRY_SENTENCES]; /* as drawn last, the one nearest to a change first */
    int n, at;                           /* at: row of the cursor */
};

static bool is_words(const struct ui_app *app)
{
    return qx_net_is_words(qx_session_net(app->session));
}

/* Lead of FP32's class under the recipe, or tokens that are FP32's: what changes first has the least;
 * unknown ones last. */
static float lead_of(const struct qx_try *t)
{
    const struct qx_try_answer *b = &t->answer[QX_WHICH_B];
    if (b->is_there && b->text) {
        return (float)b->n_same;
    }
    return b->is_there ? b->margin : INFINITY;
}

static void rows_take(struct ui_app *app, struct try_state *s)
{
    s->n = 0;
    while (s->n < QX_TRY_SENTENCES && qx_session_try_at(app->session, s->n, &s->row[s->n])) {
        s->n++;
    }
    for (int i = 1; i < s->n; i++) {
        const struct qx_try row = s->row[i];
        int k = i;
        for (; k > 0 && lead_of(&row) < lead_of(&s->row[k - 1]); k--) {
            s->row[k] = s->row[k - 1];
        }
        s->row[k] = row;
    }
    s->at = 0;
    for (int i = 0; i < s->n; i++) {
        s->at = s->row[i].serial == s->cursor ? i : s->at;
    }
    s->cursor = s->n ? s->row[s->at].serial : 0;
}

static bool is_flipped(const struct qx_try *t, enum qx_which which)
{
    const struct qx_try_answer *a = &t->answer[which], *fp32 = &t->answer[QX_WHICH_FP32];
    if (a->is_there && a->text && fp32->text) {
        return a->n_same < a->n_new || a->n_new != fp32->n_new;
    }
    return a->is_there && fp32->is_there && a->top != fp32->top;
}

static float share_of(const struct qx_try_answer *a)
{
    return a->top < QX_TRY_CLASSES ? a->p[a->top] : NAN;
}

static void answer_cell(const struct ui_app *app, const struct qx_try *t, enum qx_which which,
                        struct ui_cell_text *out)
{
    const struct qx_try_answer *a = &t->answer[which];
    const bool has_a = which != QX_WHICH_A || qx_session_has_snapshot(app->session);
    if (!a->is_there || !has_a) {
        snprintf(out->text, sizeof(out->text), "%s",
                 !has_a                           ? ""
                 : app->glyphs == UI_GLYPHS_ASCII ? ".."
                                                  : "…");
        out->style = UI_STYLE_DIM;
        return;
    }
    char share[16] = "";
    if (!isnan(share_of(a))) {
        snprintf(share, sizeof(share), " %.2f", share_of(a));
    }
    if (a->text && which == QX_WHICH_FP32) {
        snprintf(out->text, sizeof(out->text), "%lld tokens", (long long)a->n_new);
    } else if (a->text) {
        snprintf(out->text, sizeof(out->text), "%s%lld the same", is_flipped(t, which) ? "! " : "",
                 (long long)a->n_same);
    } else {
        snprintf(out->text, sizeof(out->text), "%s%.200s%s", is_flipped(t, which) ? "! " : "",
                 qx_net_class_name(qx_session_net(app->session), a->top), share);
    }
    out->style = is_flipped(t, which) ? UI_STYLE_BAD
                 : a->is_known        ? UI_STYLE_MEASURED
                                      : UI_STYLE_DIM;
}

/* What a row shows: no A without a snapshot, and no lead of a text that goes on, which has no class. */
struct shown {
    struct ui_app *app;
    const struct try_state *s;
    struct ui_column columns[COL_COUNT];
    enum column which[COL_COUNT];
    int n;
};

static void columns_choose(struct shown *rows)
{
    for (int k = 0; k < COL_COUNT; k++) {
        if ((k != COL_A || qx_session_has_snapshot(rows->app->session)) &&
            (k != COL_LEAD || !is_words(rows->app))) {
            rows->columns[rows->n] = columns[k];
            rows->which[rows->n++] = (enum column)k;
        }
    }
}

static void row_cell(void *arg, int64_t at, int column, struct ui_cell_text *out)
{
    const struct shown *rows = arg;
    const struct qx_try *t = &rows->s->row[at];
    switch (rows->which[column]) {
    case COL_MARK:
        snprintf(out->text, sizeof(out->text), "%s",
                 at == rows->s->at ? ui_sym(rows->app->glyphs, UI_SYM_CURSOR) : "");
        break;
    case COL_TEXT:
        snprintf(out->text, sizeof(out->text), "%.250s", t->text);
        break;
    case COL_FP32:
        answer_cell(rows->app, t, QX_WHICH_FP32, out);
        break;
    case COL_A:
        answer_cell(rows->app, t, QX_WHICH_A, out);
        break;
    case COL_B:
        answer_cell(rows->app, t, QX_WHICH_B, out);
        break;
    case COL_LEAD:
        if (t->answer[QX_WHICH_B].is_there) {
            snprintf(out->text, sizeof(out->text), "%+.2f", (double)lead_of(t));
            out->style = lead_of(t) < 0 ? UI_STYLE_BAD : UI_STYLE_VALUE;
        }
        break;
    case COL_COUNT:
        break;
    }
}

/* ---- the sentence under the cursor: every class, side by side ---- */

static void draw_classes(struct ui_app *app, const struct qx_try *t, struct ui_canvas *c,
                         struct ui_rect r)
{
    static const char *const titles[] = {"FP32", "A", "now"};
    static const enum ui_style_id styles[] = {UI_STYLE_BAR, UI_STYLE_SIDE_A, UI_STYLE_SIDE_B};
    const struct qx_net *net = qx_session_net(app->session);
    const bool has_a = qx_session_has_snapshot(app->session);
    const int n = qx_net_n_classes(net) < QX_TRY_CLASSES ? qx_net_n_classes(net) : QX_TRY_CLASSES;
    const int name_w = r.w >= 100 ? 24 : 14, w = (r.w - name_w) / (has_a ? 3 : 2);
    int x = r.x + name_w;
    for (int k = 0; k < QX_TRY_WHICH; k++) {
        if (k == QX_WHICH_A && !has_a) {
            continue;
        }
        ui_put(c, x, r.y, w, k == QX_WHICH_FP32 ? UI_STYLE_HEADER : styles[k], titles[k]);
        const struct qx_try_answer *a = &t->answer[k];
        for (int i = 0; i < n && i + 1 < r.h && a->is_there; i++) {
            const int y = r.y + 1 + i, bar = w - 8 > 30 ? 30 : w - 8;
            ui_bar(c, x, y, bar, (double)a->p[i], styles[k], UI_STYLE_FRAME, app->glyphs);
            ui_printf(c, x + bar + 1, y, 5, i == a->top ? UI_STYLE_BOLD : UI_STYLE_DIM, "%.2f",
                      (double)a->p[i]);
        }
        x += w;
    }
    for (int i = 0; i < n && i + 1 < r.h; i++) {
        ui_put_cut(c, r.x, r.y + 1 + i, name_w - 1, UI_STYLE_NORMAL, qx_net_class_name(net, i),
                   app->glyphs);
    }
}

static void draw_empty(struct ui_app *app, struct ui_canvas *c, struct ui_rect r)
{
    struct qx_error err;
    if (qx_session_try_check(app->session, &err) != QX_OK) {
        ui_put(c, r.x + 2, r.y + 2, r.w - 4, UI_STYLE_BOLD, "No sentence can be tried here.");
        ui_text_draw(c, (struct ui_rect){r.x + 2, r.y + 4, r.w - 4, 4}, UI_STYLE_DIM, err.text);
        return;
    }
    ui_put(c, r.x + 2, r.y + 2, r.w - 4, UI_STYLE_BOLD, "No sentence yet: t types one.");
    ui_text_draw(c, (struct ui_rect){r.x + 2, r.y + 4, r.w - 4, 4}, UI_STYLE_DIM,
                 is_words(app)
                     ? "FP32 and the recipe as it is now go on with each, again after every edit. "
                       "The one whose words change first stands first."
                     : "Each is answered by FP32 and by the recipe as it is now, again after every "
                       "edit. The one nearest to another class stands first.");
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct try_state *s = state;
    rows_take(app, s);
    s->table.h = 0;
    if (s->n == 0) {
        draw_empty(app, c, r);
        return;
    }
    const int classes = qx_net_n_classes(qx_session_net(app->session));
    int detail = (classes < QX_TRY_CLASSES ? classes : QX_TRY_CLASSES) + 5;
    detail = is_words(app) ? 2 * r.h / 3 : detail;
    detail = detail > r.h / 2 && !is_words(app) ? r.h / 2 : detail;
    detail = detail < MIN_DETAIL ? 0 : detail;
    s->table = (struct ui_rect){r.x + 1, r.y, r.w - 2, r.h - detail};
    app->page = ui_table_page(s->table);
    s->top = ui_table_scroll(s->top, s->at, s->n, app->page);
    struct shown rows = {.app = app, .s = s};
    columns_choose(&rows);
    struct ui_table table = {rows.columns, rows.n, s->n, s->at, s->top, row_cell, &rows};
    ui_table_draw(c, s->table, &table, app->glyphs);
    if (detail) {
        const struct qx_try *t = &s->row[s->at];
        const int y = r.y + r.h - detail;
        ui_hline(c, r.x, y, r.w, app->glyphs);
        const int used =
            ui_text_draw(c, (struct ui_rect){r.x + 1, y + 1, r.w - 2, 2}, UI_STYLE_NORMAL, t->text);
        const struct ui_rect below = {r.x + 1, y + 2 + used, r.w - 2, detail - 2 - used};
        if (is_words(app)) {
            ui_said_draw(app, t, c, below);
        } else {
            draw_classes(app, t, c, below);
        }
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct try_state *s = state;
    buf[0] = '\0';
    if (s->n == 0) {
        return;
    }
    if (qx_session_try_reason(app->session)[0]) {
        snprintf(buf, cap, "%s", qx_session_try_reason(app->session));
        return;
    }
    int n_flipped = 0;
    for (int i = 0; i < s->n; i++) {
        n_flipped += is_flipped(&s->row[i], QX_WHICH_B);
    }
    const struct qx_try *t = &s->row[s->at];
    snprintf(buf, cap, "%d of %d %s; this one: %lld tokens%s", n_flipped, s->n,
             is_words(app) ? "texts go on differently" : "sentences change class",
             (long long)t->n_tokens, t->is_cut ? ", cut to what the network takes" : "");
}

bool cmd_try(struct ui_app *app, const char *arg)
{
    struct qx_error err;
    if (qx_session_try(app->session, arg, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    const int view = ui_view_find("try");
    struct qx_try newest;
    if (qx_session_try_at(app->session, 0, &newest)) {
        ((struct try_state *)app->state[view])->cursor = newest.serial;
    }
    return app->view == view || ui_do(app, UI_CMD_GO, "try");
}

static void move(struct try_state *s, int to)
{
    to = to >= s->n ? s->n - 1 : to;
    to = to < 0 ? 0 : to;
    s->cursor = s->n ? s->row[to].serial : 0;
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct try_state *s = state;
    rows_take(app, s);
    int to = s->at;
    if (ui_list_move(cmd, arg, app->page, s->n, &to)) {
        move(s, to);
        return true;
    }
    if (cmd != UI_CMD_FORGET) {
        return false;
    }
    if (s->n == 0) {
        return ui_refuse(app, "there is no sentence");
    }
    qx_session_try_forget(app->session, s->row[s->at].serial);
    move(s, s->at + (s->at + 1 < s->n ? 1 : -1));
    return true;
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct try_state *s = state;
    (void)r;
    struct ui_table table = {.n_rows = s->n, .top = s->top};
    return ui_list_press(app, m, s->table, &table, s->at, false);
}

static bool explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    struct try_state *s = state;
    rows_take(app, s);
    if (n > 0 || s->n == 0) {
        return false;
    }
    const struct qx_try *t = &s->row[s->at];
    const struct qx_try_answer *fp32 = &t->answer[QX_WHICH_FP32], *b = &t->answer[QX_WHICH_B];
    if (is_words(app)) {
        snprintf(out->title, sizeof(out->title), "tokens that are the same");
        ui_explain_add(out, "Each step takes the likeliest token, with what came before kept.");
        ui_explain_add(out, "Counted are tokens from the first on that are FP32's; one that");
        ui_explain_add(out, "differs changes all that follow, so it tells where, not how much.");
        return true;
    }
    snprintf(out->title, sizeof(out->title), "lead of FP32's class");
    if (fp32->is_there && b->is_there) {
        const char *name = qx_net_class_name(qx_session_net(app->session), fp32->top);
        ui_explain_add(out, "logit of '%s' minus the largest other logit:", name);
        ui_explain_add(out, "  %+.4f in FP32, %+.4f now.", (double)fp32->margin, (double)b->margin);
        ui_explain_add(out, "Below zero another class wins. Both were run here, on this");
        ui_explain_add(out, "sentence alone; shares are the softmax of the logits.");
    } else {
        ui_explain_add(out, "not answered yet");
    }
    return true;
}

const struct ui_view ui_view_try = {
    .id = "try",
    .title = "Try",
    .help = "Which of my sentences changes its class first?",
    .key = 'y',
    .hints = "try forget snapshot undo explain",
    .state_size = sizeof(struct try_state),
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .explain = explain,
};
