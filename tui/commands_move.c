/* Commands that move: rows, screens, filter, marks. */
#include "commands.h"
#include "view.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

bool ui_refuse(struct ui_app *app, const char *fmt, ...)
{
    char text[sizeof(app->toast)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    ui_toast(app, UI_TOAST_WARN, "%s", text);
    return false;
}

static bool enter(struct ui_app *app, int view)
{
    const struct ui_view *v = ui_view_at(view);
    app->view = view;
    app->explain = -1;
    app->drag.active = false;
    if (v->open) {
        v->open(app, app->state[view]);
    }
    return true;
}

bool cmd_go(struct ui_app *app, const char *arg)
{
    int view = ui_view_find(arg);
    if (view < 0) {
        return ui_refuse(app, "no screen '%s'; g shows them", arg);
    }
    if (!app->session && strcmp(arg, "open") != 0 && strcmp(arg, "help") != 0 &&
        strcmp(arg, "log") != 0 && strcmp(arg, "lessons") != 0) {
        return ui_refuse(app, "no model is open: choose one here first");
    }
    if (view == app->view) {
        return true;
    }
    if (app->depth == UI_STACK) {
        memmove(app->stack, app->stack + 1, (UI_STACK - 1) * sizeof(app->stack[0]));
        app->depth--;
    }
    app->stack[app->depth++] = app->view;
    return enter(app, view);
}

bool cmd_back(struct ui_app *app, const char *arg)
{
    (void)arg;
    if (app->explain >= 0) {
        app->explain = -1;
    } else if (app->filter[0] && strcmp(ui_view_at(app->view)->id, "model") == 0) {
        app->filter[0] = 0;
        ui_rows_update(app);
    } else if (app->depth > 0) {
        return enter(app, app->stack[--app->depth]);
    } else if (app->tour.lesson) {
        return cmd_lesson_leave(app, "");
    } else {
        ui_toast(app, UI_TOAST_INFO, "this is the first screen; q quits");
    }
    return true;
}

bool cmd_open(struct ui_app *app, const char *arg)
{
    (void)arg;
    return cmd_go(app, "layer");
}

/* Screens with a key, in the order of the table. */
static bool cycle(struct ui_app *app, int step)
{
    int n = ui_view_count();
    int at = app->view;
    do {
        at = (at + step + n) % n;
    } while (ui_view_at(at)->key == 0 && at != app->view);
    return cmd_go(app, ui_view_at(at)->id);
}

bool cmd_next_screen(struct ui_app *app, const char *arg)
{
    (void)arg;
    return cycle(app, 1);
}

bool cmd_prev_screen(struct ui_app *app, const char *arg)
{
    (void)arg;
    return cycle(app, -1);
}

static bool move(struct ui_app *app, int64_t by)
{
    ui_rows_move(app, app->row + by);
    return true;
}

static int64_t count_of(const char *arg)
{
    int64_t n = atoll(arg);
    return n > 0 ? n : 1;
}

bool cmd_up(struct ui_app *app, const char *arg)
{
    return move(app, -count_of(arg));
}

bool cmd_down(struct ui_app *app, const char *arg)
{
    return move(app, count_of(arg));
}

bool cmd_page_up(struct ui_app *app, const char *arg)
{
    (void)arg;
    return move(app, -app->page);
}

bool cmd_page_down(struct ui_app *app, const char *arg)
{
    (void)arg;
    return move(app, app->page);
}

bool cmd_top(struct ui_app *app, const char *arg)
{
    (void)arg;
    ui_rows_move(app, 0);
    return true;
}

bool cmd_bottom(struct ui_app *app, const char *arg)
{
    (void)arg;
    ui_rows_move(app, app->n_rows - 1);
    return true;
}

bool cmd_select(struct ui_app *app, const char *arg)
{
    struct qx_error err;
    int64_t i = qx_session_find(app->session, arg, &err);
    if (i < 0) {
        return ui_refuse(app, "%s", err.text);
    }
    app->cursor = i;
    ui_rows_update(app);
    if (app->cursor != i) { /* hidden by the filter: a layer asked for by name is shown */
        app->filter[0] = 0;
        app->cursor = i;
        ui_rows_update(app);
    }
    return true;
}

bool cmd_filter(struct ui_app *app, const char *arg)
{
    snprintf(app->filter, sizeof(app->filter), "%s", arg);
    ui_rows_update(app);
    if (app->n_rows == 0) {
        ui_toast(app, UI_TOAST_WARN, "no layer holds '%s'; Esc clears the filter", arg);
    }
    return true;
}

static bool match(struct ui_app *app, int step)
{
    if (app->n_rows == 0) {
        return ui_refuse(app, "no layer matches the filter");
    }
    ui_rows_move(app, (app->row + step + app->n_rows) % app->n_rows);
    return true;
}

bool cmd_next_match(struct ui_app *app, const char *arg)
{
    (void)arg;
    return match(app, 1);
}

bool cmd_prev_match(struct ui_app *app, const char *arg)
{
    (void)arg;
    return match(app, -1);
}

bool cmd_sort(struct ui_app *app, const char *arg)
{
    static const char *const name[UI_SORT_COUNT] = {"name", "size", "bits", "sqnr", "error"};
    static const char *const said[UI_SORT_COUNT] = {"by place in the model", "largest first",
                                                    "fewest bits first", "lowest SQNR first",
                                                    "largest error first"};
    int sort = ((int)app->sort + 1) % UI_SORT_COUNT;
    if (arg[0]) {
        for (sort = 0; sort < UI_SORT_COUNT && strcmp(name[sort], arg) != 0; sort++) {
        }
        if (sort == UI_SORT_COUNT) {
            return ui_refuse(app, "no order '%s': name, size, bits, sqnr, error", arg);
        }
    }
    app->sort = (enum ui_sort)sort;
    ui_rows_update(app);
    ui_toast(app, UI_TOAST_INFO, "sorted: %s", said[sort]);
    return true;
}

static void say_marked(struct ui_app *app)
{
    if (app->n_marked == 0) {
        ui_toast(app, UI_TOAST_INFO, "no layer is marked: edits apply to the one under the cursor");
    } else {
        ui_toast(app, UI_TOAST_INFO, "%lld marked: edits apply to all of them",
                 (long long)app->n_marked);
    }
}

bool cmd_mark(struct ui_app *app, const char *arg)
{
    (void)arg;
    const struct qx_item *item = ui_item(app);
    if (!item || !item->can_quantize) {
        return ui_refuse(app, "cannot be marked: %s", item ? item->reason : "no layer here");
    }
    app->marked[app->cursor] = !app->marked[app->cursor];
    app->n_marked += app->marked[app->cursor] ? 1 : -1;
    say_marked(app);
    return move(app, 1);
}

/* The weights of linear layers, as --scope linear says; with `all`, whatever can be quantized. */
bool cmd_mark_all(struct ui_app *app, const char *arg)
{
    bool all = strcmp(arg, "all") == 0;
    int64_t shown = 0;
    if (arg[0] && !all) {
        return ui_refuse(app, "mark-all takes nothing (weights) or `all`, not '%s'", arg);
    }
    for (int64_t r = 0; r < app->n_rows; r++) {
        int64_t i = app->rows[r];
        const struct qx_item *item = qx_session_item(app->session, i);
        if (!item->can_quantize || (!all && item->role != QX_ROLE_LINEAR)) {
            continue;
        }
        shown++;
        app->n_marked += !app->marked[i];
        app->marked[i] = true;
    }
    if (shown == 0) {
        return ui_refuse(app, "no weight of a linear layer is shown%s",
                         all ? " that can be quantized" : "; `mark-all all` marks the others");
    }
    say_marked(app);
    return true;
}

bool cmd_unmark(struct ui_app *app, const char *arg)
{
    (void)arg;
    memset(app->marked, 0, (size_t)app->n_items * sizeof(app->marked[0]));
    app->n_marked = 0;
    say_marked(app);
    return true;
}
