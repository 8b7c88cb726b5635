#include "app.h"

#include "view.h"
#include "widget_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static bool items_init(struct ui_app *app, struct qx_session *session)
{
    size_t n = session ? (size_t)qx_session_n_items(session) : 0;
    int64_t *rows = calloc(n + 1, sizeof(*rows));
    int64_t *targets = calloc(n + 1, sizeof(*targets));
    double *key = calloc(n + 1, sizeof(*key));
    bool *marked = calloc(n + 1, sizeof(*marked));
    if (!rows || !targets || !key || !marked) {
        free(rows);
        free(targets);
        free(key);
        free(marked);
        return false;
    }
    free(app->rows);
    free(app->targets);
    free(app->sort_key);
    free(app->marked);
    app->rows = rows;
    app->targets = targets;
    app->sort_key = key;
    app->marked = marked;
    app->n_items = (int64_t)n;
    app->n_marked = 0;
    app->filter[0] = 0;
    app->cursor = -1;
    app->session = session;
    app->file_changed = false;
    app->first_line = session && qx_session_resumed(session) == 0;
    ui_rows_update(app);
    return true;
}

/* The first layer that can be quantized is a better place to begin than a bias. */
static void cursor_start(struct ui_app *app)
{
    for (int64_t r = 0; r < app->n_rows; r++) {
        const struct qx_item *item = qx_session_item(app->session, app->rows[r]);
        if (item->can_quantize && item->role == QX_ROLE_LINEAR) {
            ui_rows_move(app, r);
            return;
        }
    }
    ui_rows_move(app, 0);
}

bool ui_app_init(struct ui_app *app, struct qx_session *session, int w, int h)
{
    memset(app, 0, sizeof(*app));
    app->w = w;
    app->h = h;
    app->glyphs = app->most_glyphs = UI_GLYPHS_BRAILLE;
    app->shades = app->animate = true;
    app->explain = -1;
    app->log_seen = qx_log_next_seq();
    app->page = h > 6 ? h - 6 : 1;
    app->log_counts = true;
    app->diff_only = true;
    snprintf(app->theme, sizeof(app->theme), "dark");
    for (int i = 0; i < ui_view_count(); i++) {
        size_t size = ui_view_at(i)->state_size;
        app->state[i] = calloc(1, size ? size : 1);
        if (!app->state[i]) {
            ui_app_release(app);
            return false;
        }
    }
    ui_keymap_init(&app->keymap);
    return ui_app_set_session(app, session);
}

bool ui_app_set_session(struct ui_app *app, struct qx_session *session)
{
    struct qx_session *old = app->session;
    if (!items_init(app, session)) {
        return false;
    }
    qx_session_close(&old);
    for (int i = 0; i < ui_view_count(); i++) {
        memset(app->state[i], 0, ui_view_at(i)->state_size);
    }
    app->depth = 0;
    app->view = ui_view_find(session ? "model" : "open");
    if (session) {
        cursor_start(app);
    }
    const struct ui_view *view = ui_view_at(app->view);
    if (view->open) {
        view->open(app, app->state[app->view]);
    }
    return true;
}

void ui_app_release(struct ui_app *app)
{
    qx_session_close(&app->session);
    if (app->found) {
        qx_found_free(app->found);
    }
    for (int i = 0; i < UI_MAX_VIEWS; i++) {
        free(app->state[i]);
    }
    free(app->rows);
    free(app->targets);
    free(app->sort_key);
    free(app->marked);
    if (app->record) {
        fclose(app->record);
    }
    memset(app, 0, sizeof(*app));
}

void ui_app_resize(struct ui_app *app, int w, int h)
{
    app->w = w < 1 ? 1 : w;
    app->h = h < 1 ? 1 : h;
    app->drag.active = false;
}

void ui_toast(struct ui_app *app, enum ui_toast_kind kind, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(app->toast, sizeof(app->toast), fmt, ap);
    va_end(ap);
    app->toast_kind = kind;
    app->toast_ms = app->now_ms;
}

const struct qx_item *ui_item(const struct ui_app *app)
{
    if (!app->session || app->cursor < 0) {
        return NULL;
    }
    return qx_session_item(app->session, app->cursor);
}

const struct qx_setting *ui_setting(const struct ui_app *app)
{
    if (!app->session || app->cursor < 0) {
        return NULL;
    }
    return qx_session_setting(app->session, app->cursor);
}

bool ui_edits_marks(const struct ui_app *app)
{
    return app->n_marked > 0 && app->cursor >= 0 &&
           (app->marked[app->cursor] || strcmp(ui_view_at(app->view)->id, "model") == 0);
}

const int64_t *ui_targets(struct ui_app *app, int64_t *n)
{
    *n = 0;
    if (!ui_edits_marks(app)) {
        if (app->cursor >= 0) {
            app->targets[(*n)++] = app->cursor;
        }
        return app->targets;
    }
    for (int64_t i = 0; i < app->n_items; i++) {
        if (app->marked[i]) {
            app->targets[(*n)++] = i;
        }
    }
    return app->targets;
}

double ui_threshold_max(struct ui_app *app, int64_t item)
{
    const struct qx_setting *s = qx_session_setting(app->session, item);
    if (s->gran != QX_GRAN_TENSOR) {
        return 1;
    }
    enum qx_hist_state state;
    const struct qx_hist *h = qx_session_hist(app->session, item, s, &state);
    return h && qx_hist_stats(h)->n > 0 ? qx_hist_stats(h)->absmax : 0;
}

double ui_threshold(const struct ui_app *app, int64_t item)
{
    const struct qx_setting *s = qx_session_setting(app->session, item);
    if (!s->has_range || !qx_format_is_scaled(s->format)) {
        return NAN;
    }
    return app->handle && !s->sym && s->gran == QX_GRAN_TENSOR ? s->range.lo : s->range.hi;
}

void ui_explain_add(struct ui_explain *e, const char *fmt, ...)
{
    char text[1024];
    const char *rest = text;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    do { /* what is longer than a line goes on in the next one */
        const size_t fits = strlen(rest) < UI_EXPLAIN_WIDTH
                                ? strlen(rest)
                                : (size_t)ui_text_fit(rest, UI_EXPLAIN_CELLS);
        if (e->n == UI_EXPLAIN_LINES) {
            return;
        }
        snprintf(e->line[e->n++], UI_EXPLAIN_WIDTH, "%.*s", (int)fits, rest);
        rest += fits;
        rest += *rest == ' ';
    } while (*rest);
}

const char *ui_item_crumb(struct ui_app *app, void *state)
{
    (void)state;
    const struct qx_item *item = app->session ? ui_item(app) : NULL;
    return item ? item->tensor->name : NULL;
}
