/* The whole screen: breadcrumb and gauge above, the view, status and hints below, popups over it. */
#include "app.h"
#include "commands.h"
#include "lesson.h"
#include "popup.h"
#include "predict_text.h"
#include "prompt.h"
#include "view.h"

#include <string.h>

enum { TOAST_MS = 4000 };

static void gauge_text(struct ui_app *app, char *buf, size_t cap, enum ui_style_id *style)
{
    char figure[160];
    ui_fmt_gauge(app, figure, sizeof(figure), style, app->w < 76);
    bool word = app->w >= 100 && (figure[0] == '+' || figure[0] == '-' || figure[0] == '0');
    const struct qx_net *net = app->session ? qx_session_net(app->session) : NULL;
    const bool is_words = net && qx_net_is_words(net); /* its figure names itself */
    snprintf(buf, cap, "%s%s", word && !is_words ? "accuracy " : "", figure);
}

bool ui_gauge_hit(struct ui_app *app, int x, int y)
{
    enum ui_style_id style;
    char gauge[180];
    gauge_text(app, gauge, sizeof(gauge), &style);
    const int right = app->w - 1;
    return y == 0 && gauge[0] && x < right && x >= right - ui_text_width(gauge);
}

static void draw_head(struct ui_app *app, struct ui_canvas *c)
{
    const struct ui_view *view = ui_view_at(app->view);
    enum ui_style_id style;
    char gauge[180];
    gauge_text(app, gauge, sizeof(gauge), &style);
    int room = app->w - 1;
    if (gauge[0]) {
        ui_put_right(c, 0, 0, app->w - 1, style, gauge);
        room -= ui_text_width(gauge) + 2;
    }
    char crumb[300];
    const char *sep = ui_sym(app->glyphs, UI_SYM_SEPARATOR);
    const char *deeper = view->crumb ? view->crumb(app, app->state[app->view]) : NULL;
    const char *model = app->session ? qx_model_name(qx_session_model(app->session)) : NULL;
    bool locked = app->session && qx_session_read_only(app->session);
    snprintf(crumb, sizeof(crumb), "%s%s%s %s%s %s%s%s%s%s", app->w >= 100 ? "qexplore " : "",
             app->w >= 100 && model ? sep : "", app->w >= 100 && model ? "" : "",
             model ? model : "", locked ? " (read-only)" : "", model ? sep : "", model ? " " : "",
             view->title, deeper ? " " : "", deeper ? sep : "");
    const char *text = crumb + strspn(crumb, " ");
    int x = 1 + ui_put(c, 1, 0, room, UI_STYLE_TITLE, text);
    if (deeper && x + 2 < room) {
        char name[256];
        ui_put(c, x + 1, 0, room - x, UI_STYLE_BOLD,
               ui_fit_name(name, sizeof(name), deeper, room - x, app->glyphs));
    }
}

/* The key of a hint, as short as people say it. */
static const char *hint_key(struct ui_app *app, enum ui_cmd cmd, char *buf, size_t cap)
{
    bool ascii = app->glyphs == UI_GLYPHS_ASCII;
    switch (cmd) {
    case UI_CMD_BITS:
        return "2-8";
    case UI_CMD_NUDGE:
    case UI_CMD_THRESHOLD:
        return ascii ? "<>" : "\u2190\u2192";
    case UI_CMD_UP:
    case UI_CMD_DOWN:
        return ascii ? "jk" : "\u2191\u2193";
    case UI_CMD_CALIB:
        return "c";
    case UI_CMD_GO:
        return "g";
    case UI_CMD_FORMAT:
        return "f";
    default:
        return ui_keymap_text(&app->keymap, cmd, ui_view_at(app->view)->id, buf, cap);
    }
}

static const char *hint_word(enum ui_cmd cmd)
{
    switch (cmd) {
    case UI_CMD_NUDGE:
        return "threshold";
    case UI_CMD_UP:
    case UI_CMD_DOWN:
        return "move";
    case UI_CMD_GO:
        return "screens";
    case UI_CMD_FORMAT:
        return "FP16";
    case UI_CMD_GRAN_NEXT:
        return "granularity";
    case UI_CMD_SYM:
        return "symmetry";
    case UI_CMD_REPRODUCE:
        return "command line";
    default:
        return ui_command_get(cmd)->name;
    }
}

static int draw_hint(struct ui_app *app, struct ui_canvas *c, int x, int limit, enum ui_cmd cmd)
{
    char buf[24];
    const char *key = hint_key(app, cmd, buf, sizeof(buf));
    const char *word = hint_word(cmd);
    int width = ui_text_width(key) + 1 + ui_text_width(word);
    if (key[0] == 0 || x + width > limit) {
        return x;
    }
    x += ui_put(c, x, app->h - 1, -1, UI_STYLE_KEY, key) + 1;
    return x + ui_put(c, x, app->h - 1, -1, UI_STYLE_HINT, word) + 2;
}

static void draw_hints(struct ui_app *app, struct ui_canvas *c)
{
    int right = app->w - 19;
    int x = 1;
    bool moves = false; /* up and down are one hint */
    const char *p = ui_view_at(app->view)->hints;
    while (p && *p) {
        size_t len = strcspn(p, " ");
        enum ui_cmd cmd = ui_command_find(p, len);
        bool move = cmd == UI_CMD_UP || cmd == UI_CMD_DOWN;
        if (cmd != UI_CMD_NONE && !(move && moves)) {
            x = draw_hint(app, c, x, right - 2, cmd);
        }
        moves = moves || move;
        p += len + strspn(p + len, " ");
    }
    ui_put(c, right, app->h - 1, -1, UI_STYLE_KEY, ":");
    ui_put(c, right + 2, app->h - 1, -1, UI_STYLE_HINT, "command");
    ui_put(c, right + 11, app->h - 1, -1, UI_STYLE_KEY, "?");
    ui_put(c, right + 13, app->h - 1, -1, UI_STYLE_HINT, "help");
}

bool ui_toast_is_up(const struct ui_app *app)
{
    return app->toast[0] && (app->asks_quit || app->now_ms - app->toast_ms < TOAST_MS);
}

/* Long texts (a command line to copy, an error with its remedy) take more rows, upwards. */
static void draw_line(struct ui_app *app, struct ui_canvas *c, enum ui_style_id style,
                      const char *text)
{
    enum { MOST_ROWS = 4 };
    const char *start[MOST_ROWS + 1] = {text};
    int room = app->w - 2, n = 0;
    while (n < MOST_ROWS && *start[n]) {
        const char *p = start[n], *space = NULL;
        int used = 0;
        while (*p && used < room) {
            space = *p == ' ' ? p : space;
            used += (*p & 0xc0) != 0x80;
            p++;
        }
        start[n + 1] = *p && space ? space + 1 : p;
        n++;
    }
    for (int i = 0; i < n; i++) {
        char row[400];
        int y = app->h - 1 - n + i;
        snprintf(row, sizeof(row), "%.*s", (int)(start[i + 1] - start[i]), start[i]);
        ui_fill(c, (struct ui_rect){0, y, app->w, 1}, style, " ");
        ui_put(c, 1, y, room, style, row);
    }
}

/* The recipe is predicted, and nothing but the user's key measures it. */
static bool waits_for_measurement(const struct ui_app *app)
{
    struct qx_next next = {.kind = QX_NEXT_NONE};
    if (app->session) {
        qx_session_next(app->session, &next);
    }
    return next.kind == QX_NEXT_RECIPE;
}

static void put_advice(struct ui_app *app, char *text, size_t cap)
{
    char what[160];
    if (app->session && ui_fmt_next(what, sizeof(what), app->session, app->glyphs)[0]) {
        snprintf(text, cap, "I %s", what);
    }
}

static void draw_status(struct ui_app *app, struct ui_canvas *c)
{
    static const enum ui_style_id kind[] = {UI_STYLE_TOAST, UI_STYLE_TOAST, UI_STYLE_WARN,
                                            UI_STYLE_BAD};
    const struct ui_view *view = ui_view_at(app->view);
    char text[400] = "";
    if (app->prompt.active) {
        ui_draw_prompt(app, c);
    } else if (ui_toast_is_up(app)) {
        draw_line(app, c, kind[app->toast_kind], app->toast);
    } else if (app->file_changed) {
        draw_line(app, c, UI_STYLE_WARN,
                  "the model changed on disk while it is open: R opens it anew");
    } else if (app->first_line && app->session &&
               (strcmp(view->id, "layer") == 0 || strcmp(view->id, "model") == 0)) {
        snprintf(text, sizeof(text), "%s%s, 4 sets 4 bits, u undoes, ? help",
                 strcmp(view->id, "layer") != 0   ? "Enter opens a layer"
                 : app->glyphs == UI_GLYPHS_ASCII ? "left/right"
                                                  : "\u2190\u2192",
                 strcmp(view->id, "layer") != 0 ? "" : " move the threshold");
        draw_line(app, c, UI_STYLE_BOLD, text);
    } else {
        if (view->status) {
            view->status(app, app->state[app->view], text, sizeof(text));
        }
        if (text[0] == '\0' || waits_for_measurement(app)) {
            put_advice(app, text, sizeof(text));
        }
        draw_line(app, c, UI_STYLE_NORMAL, text);
    }
}

/* On a terminal without UTF-8 no other character may slip through (tensor names hold anything). */
static void force_ascii(struct ui_canvas *c)
{
    for (int i = 0; i < c->w * c->h; i++) {
        struct ui_cell *cell = &c->cells[i];
        if (cell->glyph[0] == 0 || (unsigned char)cell->glyph[0] >= 0x80) {
            memset(cell->glyph, 0, sizeof(cell->glyph));
            cell->glyph[0] = '?';
        }
    }
}

static void draw_too_small(struct ui_app *app, struct ui_canvas *c)
{
    ui_printf(c, 0, app->h / 2, app->w, UI_STYLE_BOLD, "resize to %dx%d (now %dx%d)", UI_MIN_W,
              UI_MIN_H, app->w, app->h);
    ui_put(c, 0, app->h / 2 + 1, app->w, UI_STYLE_DIM, "q quits, nothing is lost");
}

struct ui_rect ui_view_rect(struct ui_app *app)
{
    return (struct ui_rect){0, 1, app->w, app->h - 3 - ui_lesson_rows(app, app->w, app->h)};
}

void ui_draw(struct ui_app *app, struct ui_canvas *c)
{
    ui_canvas_clear(c);
    if (app->w < UI_MIN_W || app->h < UI_MIN_H) {
        draw_too_small(app, c);
        return;
    }
    const struct ui_view *view = ui_view_at(app->view);
    struct ui_rect r = ui_view_rect(app);
    view->draw(app, app->state[app->view], c, r);
    ui_lesson_draw(app, c);
    draw_head(app, c);
    draw_status(app, c);
    draw_hints(app, c);
    ui_draw_popups(app, c);
    if (app->glyphs == UI_GLYPHS_ASCII) {
        force_ascii(c);
    }
}

int ui_timeout_ms(const struct ui_app *app)
{
    int64_t tick = app->tick_ms ? app->tick_ms - app->now_ms : -1;
    tick = app->tick_ms && tick < 0 ? 0 : tick;
    if (!ui_toast_is_up(app) || app->asks_quit) { /* a question stays until it is answered */
        return (int)tick;
    }
    int64_t toast = TOAST_MS - (app->now_ms - app->toast_ms) + 1;
    return (int)(tick >= 0 && tick < toast ? tick : toast);
}
