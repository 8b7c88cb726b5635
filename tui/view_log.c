/* The Log screen: messages with their time, errors in full. */
#include "view.h"

#include "widget_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { W_HEAD = 19 }; /* time and level */

struct log_state {
    int64_t back; /* rows scrolled back from the newest */
    int page;
};

static enum ui_style_id level_style(enum qx_log_level level)
{
    switch (level) {
    case QX_LOG_ERROR:
        return UI_STYLE_BAD;
    case QX_LOG_WARN:
        return UI_STYLE_WARN;
    case QX_LOG_DEBUG:
        return UI_STYLE_DIM;
    case QX_LOG_INFO:
        break;
    }
    return UI_STYLE_NORMAL;
}

static const char *level_word(enum qx_log_level level)
{
    static const char *const word[] = {"debug", "info", "warning", "error"};
    return word[level];
}

static void draw_entry(struct ui_canvas *c, struct ui_rect r, int y, const struct qx_log_entry *e)
{
    time_t seconds = (time_t)(e->time_ms / 1000);
    struct tm tm;
    char when[16] = "";
    if (localtime_r(&seconds, &tm)) {
        strftime(when, sizeof(when), "%H:%M:%S", &tm);
    }
    if (y >= r.y) {
        ui_put(c, r.x, y, 8, UI_STYLE_DIM, when);
        ui_put(c, r.x + 10, y, 8, level_style(e->level), level_word(e->level));
    }
    /* The first message may begin above the screen. */
    int skip = y < r.y ? r.y - y : 0;
    const char *text = e->text;
    for (; skip > 0 && *text; skip--, y++) {
        text += ui_text_fit(text, r.w - W_HEAD);
        text += *text == ' ';
    }
    ui_text_draw(c, (struct ui_rect){r.x + W_HEAD, y, r.w - W_HEAD, r.y + r.h - y},
                 level_style(e->level), text);
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct log_state *s = state;
    struct qx_log_entry e;
    struct ui_rect text = {r.x + 1, r.y, r.w - 2, r.h};
    int64_t newest = qx_log_next_seq() - 1;
    app->page = s->page = r.h;
    if (newest < 0) {
        ui_put(c, r.x + 2, r.y + 2, r.w - 4, UI_STYLE_DIM, "Nothing has been logged.");
        return;
    }
    int64_t most = newest;
    while (most > 0 && newest - most < 4096 && qx_log_get(most - 1, &e)) {
        most--;
    }
    s->back = s->back > newest - most ? newest - most : s->back < 0 ? 0 : s->back;
    /* From the bottom up: the newest message stands last; few messages stand at the top. */
    int64_t seq = newest - s->back;
    int used = 0;
    while (seq >= most && used < text.h && qx_log_get(seq, &e)) {
        used += ui_text_rows(e.text, text.w - W_HEAD);
        seq--;
    }
    int y = used < text.h ? text.y : text.y + text.h - used;
    for (seq++; seq <= newest - s->back && qx_log_get(seq, &e); seq++) {
        draw_entry(c, text, y, &e);
        y += ui_text_rows(e.text, text.w - W_HEAD);
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct log_state *s = state;
    (void)app;
    if (s->back > 0) {
        snprintf(buf, cap, "%lld newer messages below", (long long)s->back);
    } else {
        snprintf(buf, cap, "%lld messages since the start", (long long)qx_log_next_seq());
    }
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct log_state *s = state;
    int count = atoi(arg) > 0 ? atoi(arg) : 1;
    (void)app;
    switch (cmd) {
    case UI_CMD_UP:
        s->back += count;
        break;
    case UI_CMD_DOWN:
        s->back -= count;
        break;
    case UI_CMD_PAGE_UP:
        s->back += s->page / 2;
        break;
    case UI_CMD_PAGE_DOWN:
        s->back -= s->page / 2;
        break;
    case UI_CMD_TOP:
        s->back = INT32_MAX;
        break;
    case UI_CMD_BOTTOM:
        s->back = 0;
        break;
    default:
        return false;
    }
    s->back = s->back < 0 ? 0 : s->back;
    return true;
}

const struct ui_view ui_view_log = {
    .id = "log",
    .title = "Log",
    .help = "What has been said: messages and errors in full.",
    .key = 'o',
    .hints = "up down top bottom",
    .state_size = sizeof(struct log_state),
    .draw = draw,
    .status = status,
    .command = command,
};
