/* Every change of the app from outside passes through here: keys, mouse, news of the session. */
#include "app.h"
#include "commands.h"
#include "lesson.h"
#include "prompt.h"
#include "view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HELD_MS = 120, HELD_MOST = 5 };

/* A held key moves the threshold faster: +1% becomes +2% .. +5%. */
static void nudge(struct ui_app *app, const struct ui_binding *b)
{
    int key = b->keys[0];
    bool held =
        key == app->repeat_key && app->now_ms - app->repeat_ms < HELD_MS && app->now_ms != 0;
    app->repeat_n = held ? app->repeat_n + 1 : 0;
    app->repeat_key = key;
    app->repeat_ms = app->now_ms;
    int times = 1 + app->repeat_n / 8;
    times = times > HELD_MOST ? HELD_MOST : times;
    ui_dof(app, b->cmd, "%+g%%", times * strtod(b->arg, NULL));
}

static void run_binding(struct ui_app *app, const struct ui_binding *b)
{
    if (b->cmd == UI_CMD_NUDGE || b->cmd == UI_CMD_ACT_NUDGE) {
        nudge(app, b);
    } else {
        app->repeat_key = 0;
        ui_do(app, b->cmd, b->arg);
    }
}

/* Unknown keys: say what they do elsewhere, if they do. */
static void refuse_keys(struct ui_app *app, int n, int key)
{
    char text[24];
    const char *name = n > 1 ? "this sequence" : ui_key_text(key, text, sizeof(text));
    for (int i = 0; i < app->keymap.n; i++) {
        const struct ui_binding *b = &app->keymap.binding[i];
        if (b->n == n && memcmp(b->keys, app->pending, (size_t)n * sizeof(b->keys[0])) == 0) {
            const struct ui_command *row = ui_command_get(b->cmd);
            ui_refuse(app, "%s is %s, which works on: %s", name, row->name, row->scope);
            return;
        }
    }
    ui_refuse(app, "%s does nothing here; ? lists what works", name);
}

static bool pending_key(struct ui_app *app, int key)
{
    if (app->n_pending > 0 && key == UI_KEY_ESC) {
        app->n_pending = 0;
        return true;
    }
    bool longer;
    app->pending[app->n_pending++] = key;
    const struct ui_binding *b = ui_keymap_find(&app->keymap, ui_view_at(app->view)->id,
                                                app->pending, app->n_pending, &longer);
    if (b || !longer || app->n_pending == UI_KEYS_MAX) {
        int n = app->n_pending;
        app->n_pending = 0;
        if (b) {
            run_binding(app, b);
        } else if (key != UI_KEY_OTHER) {
            refuse_keys(app, n, key);
        }
    }
    return true;
}

bool ui_key(struct ui_app *app, int key)
{
    if (key == UI_KEY_NONE || key == UI_KEY_OTHER) {
        return false;
    }
    if (app->asks_quit) {
        app->asks_quit = false;
        app->toast[0] = 0;
        app->quit = key == 'y';
        return true;
    }
    if (app->prompt.active) {
        ui_prompt_key(app, key);
        return true;
    }
    return pending_key(app, key);
}

bool ui_mouse_event(struct ui_app *app, const struct ui_mouse *m)
{
    const struct ui_view *view = ui_view_at(app->view);
    struct ui_rect r = ui_view_rect(app);
    if (app->w < UI_MIN_W || app->h < UI_MIN_H) {
        return false;
    }
    if (app->prompt.active || app->n_pending > 0) {
        if (m->kind == UI_MOUSE_PRESS) {
            app->prompt.active = false;
            app->n_pending = 0;
        }
        return true;
    }
    if (app->explain >= 0 && m->kind == UI_MOUSE_PRESS) {
        app->explain = -1;
        return true;
    }
    if (m->kind == UI_MOUSE_PRESS && ui_gauge_hit(app, m->x, m->y)) {
        return ui_do(app, UI_CMD_EXPLAIN, "gauge");
    }
    bool inside = m->y >= r.y && m->y < r.y + r.h;
    bool used = false;
    if (view->mouse && (inside || app->drag.active)) {
        used = view->mouse(app, app->state[app->view], m, r);
    }
    if (m->kind == UI_MOUSE_RELEASE && app->drag.active) {
        ui_do(app, UI_CMD_RELEASE, "");
        app->drag.active = false;
    }
    if (!used && m->kind == UI_MOUSE_WHEEL && inside) {
        ui_do(app, m->wheel < 0 ? UI_CMD_UP : UI_CMD_DOWN, "3");
        used = true;
    }
    return used;
}

void ui_news(struct ui_app *app, unsigned news)
{
    if (!app->session) {
        return;
    }
    if (news & QX_NEWS_FILE) {
        app->file_changed = qx_model_changed(qx_session_model(app->session));
    }
    struct qx_job_info end;
    if ((news & QX_NEWS_WRITTEN) && qx_session_written(app->session, &end)) {
        app->asks_quit = false; /* there is nothing left to cancel */
        ui_toast(app,
                 end.state == QX_JOB_DONE        ? UI_TOAST_GOOD
                 : end.state == QX_JOB_CANCELLED ? UI_TOAST_INFO
                                                 : UI_TOAST_BAD,
                 "%s", end.message);
    }
    ui_lesson_look(app);
    bool by_error = app->sort == UI_SORT_SQNR || app->sort == UI_SORT_ERROR;
    if ((news & (QX_NEWS_HIST | QX_NEWS_METRICS)) && by_error && !app->drag.active) {
        ui_rows_update(app);
    }
}

bool ui_log_news(struct ui_app *app)
{
    struct qx_log_entry e;
    bool any = false;
    for (int64_t next = qx_log_next_seq(); app->log_seen < next; app->log_seen++) {
        if (qx_log_get(app->log_seen, &e) && e.level >= QX_LOG_WARN) {
            ui_toast(app, e.level == QX_LOG_ERROR ? UI_TOAST_BAD : UI_TOAST_WARN, "%s", e.text);
            any = true;
        }
    }
    return any;
}
