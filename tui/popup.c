#include "popup.h"

#include "commands.h"
#include "gauge_text.h"
#include "predict_text.h"
#include "replay_text.h"
#include "prompt.h"
#include "view.h"
#include "widget_text.h"

#include <stdlib.h>
#include <string.h>

/* ---- prompt ---- */

static void draw_candidates(struct ui_app *app, struct ui_canvas *c)
{
    struct ui_candidate list[UI_CANDIDATES];
    int room = app->h - 5 < UI_CANDIDATES ? app->h - 5 : UI_CANDIDATES;
    int n = ui_prompt_candidates(app, list, room);
    if (n == 0) {
        return;
    }
    int w = app->w < 84 ? app->w : 84, widest = 8;
    for (int i = 0; i < n; i++) {
        int width = ui_text_width(list[i].text);
        widest = width > widest ? width : widest;
    }
    widest = widest > w / 2 ? w / 2 : widest;
    struct ui_rect r = {0, app->h - 4 - n, w, n + 2};
    ui_box(c, r, app->glyphs, UI_STYLE_FRAME, NULL);
    for (int i = 0; i < n; i++) {
        int y = r.y + 1 + i;
        bool here = i == app->prompt.pick || (app->prompt.pick < 0 && i == 0 &&
                                              app->prompt.cmd == UI_CMD_PALETTE && app->prompt.len);
        enum ui_style_id style = here ? UI_STYLE_SELECTED : UI_STYLE_POPUP;
        const char *why = NULL;
        char key[24] = "";
        if (list[i].is_command) {
            enum ui_cmd cmd = ui_command_find(list[i].text, strlen(list[i].text));
            why = ui_command_disabled(app, cmd);
            ui_keymap_text(&app->keymap, cmd, ui_view_at(app->view)->id, key, sizeof(key));
        }
        ui_fill(c, (struct ui_rect){1, y, w - 2, 1}, style, " ");
        ui_put(c, 2, y, widest, why && !here ? UI_STYLE_DISABLED : style, list[i].text);
        ui_put(c, 4 + widest, y, w - widest - 14, here ? style : UI_STYLE_POPUP,
               why ? why : list[i].help);
        ui_put_right(c, w - 10, y, 8, here ? style : UI_STYLE_KEY, key);
    }
}

void ui_draw_prompt(struct ui_app *app, struct ui_canvas *c)
{
    const struct ui_prompt *p = &app->prompt;
    const struct ui_command *row = ui_command_get(p->cmd);
    int y = app->h - 2;
    ui_fill(c, (struct ui_rect){0, y, app->w, 1}, UI_STYLE_PROMPT, " ");
    int x = 1;
    if (p->cmd == UI_CMD_PALETTE || p->cmd == UI_CMD_FILTER) {
        x += ui_put(c, x, y, 2, UI_STYLE_PROMPT, p->cmd == UI_CMD_FILTER ? "/" : ":");
    } else {
        x += ui_printf(c, x, y, app->w / 2, UI_STYLE_PROMPT, "%s: ", row->name);
    }
    int start = x;
    x += ui_put(c, x, y, app->w - x - 1, UI_STYLE_PROMPT, p->text);
    char before[sizeof(p->text)];
    snprintf(before, sizeof(before), "%.*s", p->cursor, p->text);
    struct ui_cell *cell = ui_canvas_at(c, start + ui_text_width(before), y);
    if (cell) {
        cell->style = UI_STYLE_SELECTED;
    }
    char rest[160];
    const struct ui_view *view = ui_view_at(app->view);
    if (p->cmd == UI_CMD_FILTER && strcmp(view->id, "help") == 0) {
        view->status(app, app->state[app->view], rest, sizeof(rest)); /* it searches commands */
    } else if (p->cmd == UI_CMD_FILTER) {
        snprintf(rest, sizeof(rest), "%lld of %lld layers", (long long)app->n_rows,
                 (long long)app->n_items);
    } else {
        snprintf(rest, sizeof(rest), "%s", p->len == 0 ? row->argument : "");
    }
    if (x + 4 + ui_text_width(rest) < app->w) {
        ui_put_right(c, 0, y, app->w - 1, UI_STYLE_PROMPT, rest);
    }
    draw_candidates(app, c);
}

/* ---- which-key ---- */

static int continuations(struct ui_app *app, const struct ui_binding **out, int cap)
{
    const char *view = ui_view_at(app->view)->id;
    int n = 0;
    for (int i = 0; i < app->keymap.n && n < cap; i++) {
        const struct ui_binding *b = &app->keymap.binding[i];
        if (b->n > app->n_pending && ui_binding_on(&app->keymap, b, view) &&
            memcmp(b->keys, app->pending, (size_t)app->n_pending * sizeof(int)) == 0) {
            out[n++] = b;
        }
    }
    return n;
}

/* What a key of the sequence leads to, in the words of the row it names. */
static const char *meaning(const struct ui_binding *b)
{
    const struct qx_calibrator *calib;
    const struct qx_format *format;
    const struct qx_method *method;
    const struct qx_preset *preset;
    int view;
    if (b->cmd == UI_CMD_ALGO) {
        method = qx_method_find(b->arg);
        return method ? method->help : "Rounds every weight to the nearest code.";
    }
    if (b->cmd == UI_CMD_PRESET && qx_preset_find(b->arg, &preset, NULL) == QX_OK) {
        return preset->help;
    }
    if (b->cmd == UI_CMD_GO && (view = ui_view_find(b->arg)) >= 0) {
        return ui_view_at(view)->help;
    }
    if ((b->cmd == UI_CMD_CALIB || b->cmd == UI_CMD_ACT_METHOD) &&
        (calib = qx_calib_find(b->arg))) {
        return calib->help;
    }
    if (b->cmd == UI_CMD_ACT_METHOD) {
        return qx_calib_ema.help;
    }
    if (b->cmd == UI_CMD_FORMAT && (format = qx_format_find(b->arg))) {
        return format->help;
    }
    return ui_command_get(b->cmd)->help;
}

/* As much of a sentence as fits, cut where it may end. */
static void put_sentence(struct ui_canvas *c, int x, int y, int w, const char *text)
{
    char part[240];
    snprintf(part, sizeof(part), "%s", text);
    if (ui_text_width(part) > w) {
        for (int i = w < (int)sizeof(part) ? w : (int)sizeof(part) - 1; i > 8; i--) {
            if (strchr(":;,.", part[i]) && part[i] && part[i + 1] == ' ') {
                part[i] = 0;
                break;
            }
        }
    }
    ui_put(c, x, y, w, UI_STYLE_POPUP, part);
}

static void draw_which_key(struct ui_app *app, struct ui_canvas *c)
{
    const struct ui_binding *list[32];
    int n = continuations(app, list, 32);
    int room = app->h - 6;
    n = n > room ? room : n;
    int w = app->w < 90 ? app->w : 90;
    char title[24];
    ui_key_text(app->pending[0], title, sizeof(title));
    struct ui_rect r = {app->w - w, app->h - 4 - n, w, n + 2};
    int wide = 12;
    for (int i = 0; i < n; i++) {
        const int width = ui_text_width(list[i]->arg);
        wide = width > wide ? width : wide;
    }
    ui_box(c, r, app->glyphs, UI_STYLE_FRAME, title);
    for (int i = 0; i < n; i++) {
        char key[16];
        ui_key_text(list[i]->keys[app->n_pending], key, sizeof(key));
        const char *name = list[i]->arg[0] ? list[i]->arg : ui_command_get(list[i]->cmd)->name;
        ui_put(c, r.x + 2, r.y + 1 + i, 6, UI_STYLE_KEY, key);
        ui_put(c, r.x + 6, r.y + 1 + i, wide, UI_STYLE_POPUP, name);
        put_sentence(c, r.x + 7 + wide, r.y + 1 + i, w - 9 - wide, meaning(list[i]));
    }
}

/* ---- explanations ---- */

static void explain_accuracy(struct ui_app *app, struct ui_explain *e)
{
    struct qx_gauge g;
    qx_session_gauge(app->session, &g);
    snprintf(e->title, sizeof(e->title), "%s", g.is_words ? "perplexity" : "accuracy");
    e->n = 0;
    if (g.reason[0]) {
        ui_explain_add(e, "%s", g.reason);
    }
    ui_explain_measured(e, &g, app->glyphs);
    ui_explain_replay(e, app, &g);
    ui_explain_predicted(e, app->session, &g, -1, app->glyphs);
    if (g.engine == QX_ENGINE_INTEGER) {
        ui_explain_add(e,
                       "measured by the integer engine: codes, exact integer sums, one scaling.");
    } else {
        ui_explain_add(e, "weights are rounded and the network runs in float32: simulated.");
    }
    ui_explain_add(e, "e measures now; E switches measuring by itself %s.",
                   qx_session_auto_measure(app->session) ? "off" : "on");
}

bool ui_explain_get(struct ui_app *app, int n, struct ui_explain *out)
{
    const struct ui_view *view = ui_view_at(app->view);
    memset(out, 0, sizeof(*out));
    if (view->explain && view->explain(app, app->state[app->view], n, out)) {
        return true;
    }
    bool first_beyond =
        n == 0 || (view->explain && view->explain(app, app->state[app->view], n - 1, out));
    memset(out, 0, sizeof(*out));
    if (!app->session || !first_beyond) {
        return false;
    }
    explain_accuracy(app, out);
    return true;
}

static void draw_explain(struct ui_app *app, struct ui_canvas *c)
{
    static struct ui_explain e; /* UI thread only; too large for comfort on the stack */
    if (!ui_explain_get(app, app->explain, &e)) {
        return;
    }
    int w = ui_text_width(e.title) + 8;
    for (int i = 0; i < e.n; i++) {
        int width = ui_text_width(e.line[i]) + 4;
        w = width > w ? width : w;
    }
    w = w < 36 ? 36 : w;
    w = w > app->w - 2 ? app->w - 2 : w;
    int h = 3; /* what is too long goes on in the next row */
    for (int i = 0; i < e.n; i++) {
        h += ui_text_rows(e.line[i], w - 4);
    }
    h = h > app->h - 3 ? app->h - 3 : h;
    struct ui_rect r = {(app->w - w) / 2, (app->h - h) / 2, w, h};
    ui_box(c, r, app->glyphs, UI_STYLE_FRAME, e.title);
    for (int i = 0, y = 0; i < e.n && y < h - 3; i++) {
        const struct ui_rect room = {r.x + 2, r.y + 1 + y, w - 4, h - 3 - y};
        y += ui_text_draw(c, room, UI_STYLE_POPUP, e.line[i]);
    }
    ui_put_right(c, r.x, r.y + h - 2, w - 2, UI_STYLE_DIM, "i next   Esc close");
    ui_restyle(c, (struct ui_rect){r.x + 1, r.y + h - 2, w - 2, 1}, UI_STYLE_POPUP);
}

void ui_draw_popups(struct ui_app *app, struct ui_canvas *c)
{
    if (app->n_pending > 0) {
        draw_which_key(app, c);
    } else if (app->explain >= 0) {
        draw_explain(app, c);
    }
}
