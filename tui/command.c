#include "command.h"

#include "commands.h"
#include "lesson.h"
#include "prompt.h"
#include "script.h"
#include "view.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ui_command table[UI_CMD_COUNT] = {
#define X(id, name, keys, scope, argument, help, verb) \
    [UI_CMD_##id] = {name, keys, scope, argument, help, verb, NULL},
#include "commands.def"
#undef X
};

static bool (*const runs[UI_CMD_COUNT])(struct ui_app *, const char *) = {
    [UI_CMD_QUIT] = cmd_quit,
    [UI_CMD_BACK] = cmd_back,
    [UI_CMD_OPEN] = cmd_open,
    [UI_CMD_UP] = cmd_up,
    [UI_CMD_DOWN] = cmd_down,
    [UI_CMD_PAGE_UP] = cmd_page_up,
    [UI_CMD_PAGE_DOWN] = cmd_page_down,
    [UI_CMD_TOP] = cmd_top,
    [UI_CMD_BOTTOM] = cmd_bottom,
    [UI_CMD_GO] = cmd_go,
    [UI_CMD_NEXT_SCREEN] = cmd_next_screen,
    [UI_CMD_PREV_SCREEN] = cmd_prev_screen,
    [UI_CMD_SELECT] = cmd_select,
    [UI_CMD_FILTER] = cmd_filter,
    [UI_CMD_NEXT_MATCH] = cmd_next_match,
    [UI_CMD_PREV_MATCH] = cmd_prev_match,
    [UI_CMD_SORT] = cmd_sort,
    [UI_CMD_MARK] = cmd_mark,
    [UI_CMD_MARK_ALL] = cmd_mark_all,
    [UI_CMD_UNMARK] = cmd_unmark,
    [UI_CMD_PALETTE] = cmd_palette,
    [UI_CMD_HELP] = cmd_help,
    [UI_CMD_EXPLAIN] = cmd_explain,
    [UI_CMD_REPRODUCE] = cmd_reproduce,
    [UI_CMD_UNDO] = cmd_undo,
    [UI_CMD_REDO] = cmd_redo,
    [UI_CMD_STATE] = cmd_state,
    [UI_CMD_BITS] = cmd_bits,
    [UI_CMD_ENDS] = cmd_ends,
    [UI_CMD_FORMAT] = cmd_format,
    [UI_CMD_ALGO] = cmd_algo,
    [UI_CMD_PRESET] = cmd_preset,
    [UI_CMD_GRAN] = cmd_gran,
    [UI_CMD_GRAN_NEXT] = cmd_gran_next,
    [UI_CMD_GRAN_PREV] = cmd_gran_prev,
    [UI_CMD_SYM] = cmd_sym,
    [UI_CMD_CALIB] = cmd_calib,
    [UI_CMD_SCALE] = cmd_scale,
    [UI_CMD_RANGE] = cmd_range,
    [UI_CMD_THRESHOLD] = cmd_threshold,
    [UI_CMD_NUDGE] = cmd_threshold,
    [UI_CMD_SNAP] = cmd_snap,
    [UI_CMD_OPTIMUM] = cmd_optimum,
    [UI_CMD_HANDLE] = cmd_handle,
    [UI_CMD_ACT] = cmd_act,
    [UI_CMD_ACT_BITS] = cmd_act_bits,
    [UI_CMD_ACT_METHOD] = cmd_act_method,
    [UI_CMD_ACT_DYNAMIC] = cmd_act_dynamic,
    [UI_CMD_ACT_GRAN] = cmd_act_gran,
    [UI_CMD_ACT_SYM] = cmd_act_sym,
    [UI_CMD_ACT_RANGE] = cmd_act_range,
    [UI_CMD_ACT_NUDGE] = cmd_act_range,
    [UI_CMD_ACT_HANDLE] = cmd_act_handle,
    [UI_CMD_ACT_OPTIMUM] = cmd_act_optimum,
    [UI_CMD_CALIBRATE] = cmd_calibrate,
    [UI_CMD_RELEASE] = cmd_release,
    [UI_CMD_LOG_COUNTS] = cmd_log_counts,
    [UI_CMD_ZOOM] = cmd_zoom,
    [UI_CMD_RESIDUAL] = cmd_residual,
    [UI_CMD_MATRIX] = cmd_matrix,
    [UI_CMD_FORMATS] = cmd_formats,
    [UI_CMD_MEASURE] = cmd_measure,
    [UI_CMD_MEASURE_NEXT] = cmd_measure_next,
    [UI_CMD_AUTO_MEASURE] = cmd_auto_measure,
    [UI_CMD_BENCH] = cmd_bench,
    [UI_CMD_TRY] = cmd_try,
    [UI_CMD_TRADE] = cmd_trade,
    [UI_CMD_CANCEL] = cmd_cancel,
    [UI_CMD_CLEAR_JOBS] = cmd_clear_jobs,
    [UI_CMD_SNAPSHOT] = cmd_snapshot,
    [UI_CMD_FLIP] = cmd_flip,
    [UI_CMD_DIFF_ONLY] = cmd_diff_only,
    [UI_CMD_TAKE_A] = cmd_take_a,
    [UI_CMD_SAVE] = cmd_save,
    [UI_CMD_LOAD] = cmd_load,
    [UI_CMD_WRITE] = cmd_write,
    [UI_CMD_LESSON] = cmd_lesson,
    [UI_CMD_LESSON_NEXT] = cmd_lesson_next,
    [UI_CMD_LESSON_BACK] = cmd_lesson_back,
    [UI_CMD_LESSON_HINT] = cmd_lesson_hint,
    [UI_CMD_GUESS] = cmd_guess,
    [UI_CMD_LESSON_LEAVE] = cmd_lesson_leave,
    [UI_CMD_LESSON_LANG] = cmd_lesson_lang,
    [UI_CMD_PRESENT] = cmd_present,
    [UI_CMD_OPTIONS] = cmd_options,
    [UI_CMD_THEME] = cmd_theme,
    [UI_CMD_GLYPHS] = cmd_glyphs,
    [UI_CMD_RELOAD] = cmd_reload,
    [UI_CMD_DUMP] = cmd_dump,
    [UI_CMD_REDRAW] = cmd_redraw,
    [UI_CMD_SUSPEND] = cmd_suspend,
};

const struct ui_command *ui_command_get(enum ui_cmd cmd)
{
    table[cmd].run = runs[cmd];
    return &table[cmd];
}

enum ui_cmd ui_command_find(const char *name, size_t len)
{
    for (int i = 0; i < UI_CMD_COUNT; i++) {
        if (strlen(table[i].name) == len && strncmp(table[i].name, name, len) == 0) {
            return (enum ui_cmd)i;
        }
    }
    return UI_CMD_NONE;
}

bool ui_command_in(enum ui_cmd cmd, const char *view_id)
{
    const char *p = table[cmd].scope;
    size_t n = strlen(view_id);
    if (*p == 0) {
        return true;
    }
    while (*p) {
        size_t len = strcspn(p, " ");
        if (len == n && strncmp(p, view_id, n) == 0) {
            return true;
        }
        p += len + strspn(p + len, " ");
    }
    return false;
}

/* Commands that change the setting of layers. */
static bool is_edit(enum ui_cmd cmd)
{
    switch (cmd) {
    case UI_CMD_BITS:
    case UI_CMD_FORMAT:
    case UI_CMD_GRAN:
    case UI_CMD_GRAN_NEXT:
    case UI_CMD_GRAN_PREV:
    case UI_CMD_SYM:
    case UI_CMD_CALIB:
    case UI_CMD_ALGO:
    case UI_CMD_SCALE:
    case UI_CMD_RANGE:
    case UI_CMD_THRESHOLD:
    case UI_CMD_NUDGE:
    case UI_CMD_SNAP:
    case UI_CMD_OPTIMUM:
    case UI_CMD_HANDLE:
        return true;
    default:
        return false;
    }
}

/* Edits that need an integer format first. */
static bool needs_int(enum ui_cmd cmd)
{
    return is_edit(cmd) && cmd != UI_CMD_BITS && cmd != UI_CMD_FORMAT;
}

static bool works_without_model(enum ui_cmd cmd)
{
    switch (cmd) {
    case UI_CMD_QUIT:
    case UI_CMD_BACK:
    case UI_CMD_OPEN:
    case UI_CMD_UP:
    case UI_CMD_DOWN:
    case UI_CMD_LEFT:
    case UI_CMD_RIGHT:
    case UI_CMD_PAGE_UP:
    case UI_CMD_PAGE_DOWN:
    case UI_CMD_TOP:
    case UI_CMD_BOTTOM:
    case UI_CMD_GO:
    case UI_CMD_PALETTE:
    case UI_CMD_HELP:
    case UI_CMD_LESSON:
    case UI_CMD_LESSON_LANG:
    case UI_CMD_PRESENT:
    case UI_CMD_THEME:
    case UI_CMD_GLYPHS:
    case UI_CMD_REPRODUCE:
    case UI_CMD_DUMP:
    case UI_CMD_REDRAW:
    case UI_CMD_SUSPEND:
        return true;
    default:
        return false;
    }
}

/* A threshold belongs to the one layer under the cursor, whatever is marked. */
static bool is_of_one(enum ui_cmd cmd)
{
    switch (cmd) {
    case UI_CMD_RANGE:
    case UI_CMD_THRESHOLD:
    case UI_CMD_NUDGE:
    case UI_CMD_SNAP:
    case UI_CMD_OPTIMUM:
    case UI_CMD_HANDLE:
        return true;
    default:
        return false;
    }
}

static const char *edit_disabled(struct ui_app *app, enum ui_cmd cmd)
{
    const struct qx_item *item = ui_item(app);
    const struct qx_setting *setting = ui_setting(app);
    bool marks = ui_edits_marks(app) && !is_of_one(cmd);
    if (!item) {
        return "this model has no layers";
    }
    if (!item->can_quantize && !marks) {
        return item->reason;
    }
    if (needs_int(cmd) && !marks && setting && !qx_format_is_scaled(setting->format)) {
        snprintf(app->reason, sizeof(app->reason),
                 "this layer is %s, which has no threshold: give it 2-8 bits first",
                 setting->format->title);
        return app->reason;
    }
    if ((cmd == UI_CMD_SYM || cmd == UI_CMD_HANDLE) && !marks && setting &&
        setting->format->kind == QX_FORMAT_TABLE) {
        snprintf(app->reason, sizeof(app->reason), "the levels of %s lie around 0: it has one T",
                 setting->format->title);
        return app->reason;
    }
    if (cmd == UI_CMD_HANDLE && setting && setting->sym) {
        return "a symmetric range has one handle: S makes it asymmetric";
    }
    return NULL;
}

const char *ui_command_disabled(struct ui_app *app, enum ui_cmd cmd)
{
    const char *id = ui_view_at(app->view)->id;
    if (!ui_command_in(cmd, id)) {
        snprintf(app->reason, sizeof(app->reason), "works on the screens: %s", table[cmd].scope);
        return app->reason;
    }
    if (!app->session) {
        return works_without_model(cmd) ? NULL : "no model is open";
    }
    if (is_edit(cmd)) {
        return edit_disabled(app, cmd);
    }
    if (cmd >= UI_CMD_ACT && cmd <= UI_CMD_CALIBRATE) {
        return ui_act_disabled(app, cmd);
    }
    switch (cmd) {
    case UI_CMD_LESSON_NEXT:
    case UI_CMD_LESSON_BACK:
    case UI_CMD_LESSON_HINT:
    case UI_CMD_GUESS:
    case UI_CMD_LESSON_LEAVE:
        return app->tour.lesson ? NULL : "no lesson is under way: g e lists them";
    case UI_CMD_UNDO:
        return qx_session_n_edits(app->session) ? NULL : "nothing to undo";
    case UI_CMD_FLIP:
    case UI_CMD_TAKE_A:
        return qx_session_has_snapshot(app->session)
                   ? NULL
                   : "there is no A yet: m keeps this recipe as A";
    case UI_CMD_CHANGES:
        if (!qx_session_has_snapshot(app->session)) {
            return "there is no A yet: m keeps this recipe as A";
        }
        if (qx_session_net(app->session) &&
            strcmp(qx_net_task(qx_session_net(app->session)), "embedding") == 0) {
            return "an encoder without a classifier answers no row";
        }
        /* fall through */
    case UI_CMD_MEASURE:
    case UI_CMD_AUTO_MEASURE:
        if (!qx_session_net(app->session)) {
            return qx_session_net_reason(app->session);
        }
        return qx_session_data(app->session) ? NULL : qx_session_data_reason(app->session);
    default:
        return NULL;
    }
}

/* Moves that may be one undo step together. */
static bool joins(enum ui_cmd cmd)
{
    return cmd == UI_CMD_THRESHOLD || cmd == UI_CMD_NUDGE || cmd == UI_CMD_ACT_RANGE ||
           cmd == UI_CMD_ACT_NUDGE;
}

bool ui_do(struct ui_app *app, enum ui_cmd cmd, const char *arg)
{
    const struct ui_command *row = ui_command_get(cmd);
    const struct ui_view *view = ui_view_at(app->view);
    const char *why = ui_command_disabled(app, cmd);
    if (why) {
        return ui_refuse(app, "%s: %s", row->name, why);
    }
    if (arg[0] == 0 && row->argument[0] != 0 && row->argument[0] != '[') {
        ui_prompt_ask(app, cmd);
        return true;
    }
    if (app->session && !joins(cmd)) {
        qx_session_seal(app->session);
    }
    app->toast[0] = 0;
    app->n_commands++;
    const bool closes_popup =
        cmd == UI_CMD_BACK && app->explain >= 0; /* before what lies under it */
    bool done =
        !closes_popup && view->command && view->command(app, app->state[app->view], cmd, arg);
    if (!done && !app->toast[0]) { /* a view that refuses has said why */
        done = row->run ? row->run(app, arg) : ui_refuse(app, "%s does nothing here", row->name);
    }
    if (done) {
        ui_record(app, cmd, arg);
        snprintf(app->tour.said, sizeof(app->tour.said), "%s%s%.40s", row->name, arg[0] ? " " : "",
                 arg);
    }
    ui_lesson_look(app);
    return done;
}

bool ui_dof(struct ui_app *app, enum ui_cmd cmd, const char *fmt, ...)
{
    char arg[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(arg, sizeof(arg), fmt, ap);
    va_end(ap);
    return ui_do(app, cmd, arg);
}

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Edit distance of two short words (Levenshtein 1966), for "did you mean". */
static int distance(const char *a, size_t na, const char *b)
{
    int row[64];
    size_t nb = strlen(b);
    if (nb >= 63) {
        return 99;
    }
    for (size_t j = 0; j <= nb; j++) {
        row[j] = (int)j;
    }
    for (size_t i = 0; i < na; i++) {
        int diagonal = row[0];
        row[0] = (int)i + 1;
        for (size_t j = 0; j < nb; j++) {
            int old = row[j + 1];
            row[j + 1] = min3(old + 1, row[j] + 1, diagonal + (a[i] != b[j]));
            diagonal = old;
        }
    }
    return row[nb];
}

bool ui_do_line(struct ui_app *app, const char *line)
{
    line += strspn(line, " \t:");
    size_t len = strcspn(line, " \t");
    enum ui_cmd cmd = ui_command_find(line, len);
    if (cmd != UI_CMD_NONE) {
        char arg[256];
        snprintf(arg, sizeof(arg), "%s", line + len + strspn(line + len, " \t"));
        for (size_t n = strlen(arg); n > 0 && (arg[n - 1] == ' ' || arg[n - 1] == '\n'); n--) {
            arg[n - 1] = 0;
        }
        return ui_do(app, cmd, arg);
    }
    int best = 0, best_distance = 99;
    for (int i = 0; i < UI_CMD_COUNT; i++) {
        int d = distance(line, len, table[i].name);
        if (d < best_distance) {
            best = i;
            best_distance = d;
        }
    }
    if (best_distance <= 3) {
        return ui_refuse(app, "no command '%.*s'; did you mean '%s'?", (int)len, line,
                         table[best].name);
    }
    return ui_refuse(app, "no command '%.*s'; ? lists what works here", (int)len, line);
}
