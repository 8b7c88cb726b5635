/* The Help screen: what works on the screen you came from, searchable, with the reason when it does
 * not work now. Generated from commands.def, the keymap and the tables of views, calibrators and
 * formats. */
#include "view.h"

#include "cli.h"
#include "list.h"
#include "widget_text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ROWS = 256, MAX_ABOUT = 4096, W_KEYS = 16 };

struct help_row {
    enum ui_cmd cmd;
    const struct ui_binding *binding; /* one choice of a command with many (go, calib, format) */
};

struct help_state {
    int origin; /* view it explains */
    char filter[64];
    int cursor, n;
    int64_t top;
    struct ui_rect table;
    struct help_row row[MAX_ROWS];
    char about[MAX_ABOUT]; /* assets/help/<view>.txt */
};

enum column { COL_MARK, COL_KEYS, COL_NAME, COL_HELP, COL_COUNT };
static const struct ui_column columns[COL_COUNT] = {
    [COL_MARK] = {"", 1, 0, 0, false},
    [COL_KEYS] = {"keys", W_KEYS, 0, 0, false},
    [COL_NAME] = {"command", 16, 0, 1, false},
    [COL_HELP] = {"what it does", 30, 110, 0, false},
};

/* open(2) rather than stdio: hooks do not allocate. */
static void read_about(struct help_state *s)
{
    char path[4096];
    const char *assets = ui_path_assets();
    s->about[0] = '\0';
    snprintf(path, sizeof(path), "%s/help/%s.txt", assets ? assets : "", ui_view_at(s->origin)->id);
    int fd = assets ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        ssize_t n = read(fd, s->about, sizeof(s->about) - 1);
        s->about[n > 0 ? n : 0] = '\0';
        for (char *p = s->about; *p; p++) {
            *p = *p == '\n' ? ' ' : *p; /* one paragraph, broken anew for the width at hand */
        }
        close(fd);
    }
}

static void open_help(struct ui_app *app, void *state)
{
    struct help_state *s = state;
    int self = ui_view_find("help");
    int origin = app->depth > 0 ? app->stack[app->depth - 1] : ui_view_find("model");
    s->origin = origin == self || origin < 0 ? ui_view_find("model") : origin;
    s->filter[0] = '\0';
    s->cursor = 0;
    s->top = 0;
    read_about(s);
}

static bool holds(const char *text, const char *part)
{
    return part[0] == '\0' || strcasestr(text, part) != NULL;
}

/* Why the command does not work on the screen in question; NULL when it does. The check asks for the
 * current view, which is this one: put the other in its place meanwhile. */
static const char *disabled_there(struct ui_app *app, const struct help_state *s, enum ui_cmd cmd)
{
    int here = app->view;
    app->view = s->origin;
    const char *why = ui_command_disabled(app, cmd);
    app->view = here;
    return why;
}

static bool has_choices(enum ui_cmd cmd)
{
    return cmd == UI_CMD_GO || cmd == UI_CMD_CALIB || cmd == UI_CMD_FORMAT || cmd == UI_CMD_ALGO ||
           cmd == UI_CMD_PRESET;
}

static void binding_text(const struct ui_binding *b, char *buf, size_t cap)
{
    size_t at = 0;
    buf[0] = '\0';
    for (int i = 0; i < b->n && at < cap; i++) {
        char key[16];
        at += (size_t)snprintf(buf + at, cap - at, "%s%s", i ? " " : "",
                               ui_key_text(b->keys[i], key, sizeof(key)));
    }
}

/* All keys of a command, as many as fit. */
static void keys_text(struct ui_app *app, enum ui_cmd cmd, const char *view, char *buf, size_t cap)
{
    size_t at = 0;
    buf[0] = '\0';
    for (int i = 0; i < app->keymap.n; i++) {
        const struct ui_binding *b = &app->keymap.binding[i];
        char text[48];
        if (b->cmd != cmd || !ui_binding_on(&app->keymap, b, view)) {
            continue;
        }
        binding_text(b, text, sizeof(text));
        if (at > 0 && at + 1 + strlen(text) > W_KEYS) {
            break;
        }
        at += (size_t)snprintf(buf + at, cap - at, "%s%s", at ? " " : "", text);
    }
}

static const char *choice_help(const struct ui_binding *b)
{
    const struct qx_calibrator *calib;
    const struct qx_format *format;
    const struct qx_preset *preset;
    int view;
    switch (b->cmd) {
    case UI_CMD_GO:
        view = ui_view_find(b->arg);
        return view >= 0 ? ui_view_at(view)->help : "";
    case UI_CMD_CALIB:
        calib = qx_calib_find(b->arg);
        return calib ? calib->help : "";
    case UI_CMD_FORMAT:
        format = qx_format_find(b->arg);
        return format ? format->help : "";
    case UI_CMD_ALGO:
        return qx_method_find(b->arg) ? qx_method_find(b->arg)->help
                                      : "Rounds every weight to the nearest code.";
    case UI_CMD_PRESET:
        return qx_preset_find(b->arg, &preset, NULL) == QX_OK ? preset->help : "";
    default:
        return "";
    }
}

static void row_texts(struct ui_app *app, const struct help_state *s, const struct help_row *row,
                      char keys[64], char name[64], const char **help)
{
    const struct ui_command *command = ui_command_get(row->cmd);
    if (row->binding) {
        binding_text(row->binding, keys, 64);
        snprintf(name, 64, "%s %s", command->name, row->binding->arg);
        *help = choice_help(row->binding);
    } else {
        keys_text(app, row->cmd, ui_view_at(s->origin)->id, keys, 64);
        snprintf(name, 64, "%s", command->name);
        *help = command->help;
    }
}

static void add_row(struct ui_app *app, struct help_state *s, struct help_row row)
{
    char keys[64], name[64];
    const char *help;
    row_texts(app, s, &row, keys, name, &help);
    if (s->n < MAX_ROWS &&
        (holds(keys, s->filter) || holds(name, s->filter) || holds(help, s->filter))) {
        s->row[s->n++] = row;
    }
}

/* Commands of the screen itself first, then those that work everywhere. */
static void collect(struct ui_app *app, struct help_state *s)
{
    const char *view = ui_view_at(s->origin)->id;
    s->n = 0;
    for (int everywhere = 0; everywhere < 2; everywhere++) {
        for (int i = 0; i < UI_CMD_COUNT; i++) {
            enum ui_cmd cmd = (enum ui_cmd)i;
            bool global = ui_command_get(cmd)->scope[0] == '\0';
            if (global != (everywhere == 1) || !ui_command_in(cmd, view)) {
                continue;
            }
            if (!has_choices(cmd)) {
                add_row(app, s, (struct help_row){cmd, NULL});
            }
            for (int k = 0; has_choices(cmd) && k < app->keymap.n; k++) {
                const struct ui_binding *b = &app->keymap.binding[k];
                if (b->cmd == cmd && b->keys[0] < UI_KEY_F0) { /* function keys are aliases */
                    add_row(app, s, (struct help_row){cmd, b});
                }
            }
        }
    }
}

struct help_rows {
    struct ui_app *app;
    struct help_state *state;
};

static void row_cell(void *arg, int64_t at, int column, struct ui_cell_text *out)
{
    struct help_rows *rows = arg;
    const struct help_row *row = &rows->state->row[at];
    char keys[64], name[64];
    const char *help;
    const char *why = disabled_there(rows->app, rows->state, row->cmd);
    row_texts(rows->app, rows->state, row, keys, name, &help);
    switch ((enum column)column) {
    case COL_MARK:
        snprintf(out->text, sizeof(out->text), "%s",
                 at == rows->state->cursor ? ui_sym(rows->app->glyphs, UI_SYM_CURSOR) : "");
        break;
    case COL_KEYS:
        snprintf(out->text, sizeof(out->text), "%s", keys);
        out->style = why ? UI_STYLE_DISABLED : UI_STYLE_KEY;
        break;
    case COL_NAME:
        snprintf(out->text, sizeof(out->text), "%s", name);
        out->style = why ? UI_STYLE_DISABLED : UI_STYLE_DIM;
        break;
    case COL_HELP:
        if (why) {
            snprintf(out->text, sizeof(out->text), "%s Not now: %s", help, why);
        } else {
            snprintf(out->text, sizeof(out->text), "%s", help);
        }
        out->style = why ? UI_STYLE_DISABLED : UI_STYLE_NORMAL;
        break;
    case COL_COUNT:
        break;
    }
}

/* The about text in at most `most` lines; returns rows used, with an empty one below. */
static int draw_about(const struct help_state *s, struct ui_canvas *c, struct ui_rect r, int most)
{
    r.h = most;
    int y = ui_text_draw(c, r, UI_STYLE_NORMAL, s->about);
    return y > most ? most + 1 : y > 0 ? y + 1 : 0;
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct help_state *s = state;
    const struct ui_view *view = ui_view_at(s->origin);
    int y = r.y;
    y += 1;
    char title[200];
    snprintf(title, sizeof(title), "%s: %s", view->title, view->help);
    ui_put_cut(c, r.x + 1, r.y, r.w - 2, UI_STYLE_BOLD, title, app->glyphs);
    if (s->filter[0] == '\0' && r.h >= 18) {
        y += draw_about(s, c, (struct ui_rect){r.x + 1, y, r.w - 2, r.h}, r.h / 2);
    }
    collect(app, s);
    s->cursor = s->cursor >= s->n ? s->n - 1 : s->cursor;
    s->cursor = s->cursor < 0 ? 0 : s->cursor;
    s->table = (struct ui_rect){r.x + 1, y, r.w - 2, r.y + r.h - y};
    app->page = ui_table_page(s->table);
    s->top = ui_table_scroll(s->top, s->cursor, s->n, app->page);
    struct help_rows rows = {app, s};
    struct ui_table table = {columns, COL_COUNT, s->n, s->cursor, s->top, row_cell, &rows};
    ui_table_draw(c, s->table, &table, app->glyphs);
    if (s->n == 0) {
        ui_printf(c, r.x + 3, y + 1, r.w - 4, UI_STYLE_DIM,
                  "Nothing here is called '%s'. Esc shows everything.", s->filter);
    }
}

/* The whole sentence of the row under the cursor: columns cut it. */
static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct help_state *s = state;
    char keys[64], name[64];
    const char *help, *why;
    if (s->cursor >= s->n) {
        snprintf(buf, cap, "/ searches; Enter runs the command where you came from");
        return;
    }
    const struct help_row *row = &s->row[s->cursor];
    row_texts(app, s, row, keys, name, &help);
    why = disabled_there(app, s, row->cmd);
    snprintf(buf, cap, "%s %s%s", help, why ? "Not now: " : "Enter does it there.", why ? why : "");
}

/* Back to the screen in question, then the command, as if typed there. */
static bool run_chosen(struct ui_app *app, struct help_state *s)
{
    if (s->cursor >= s->n) {
        return true;
    }
    struct help_row row = s->row[s->cursor];
    char arg[UI_ARG_MAX] = "";
    if (row.binding) {
        snprintf(arg, sizeof(arg), "%s", row.binding->arg);
    }
    return ui_do(app, UI_CMD_BACK, "") && ui_do(app, row.cmd, arg);
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct help_state *s = state;
    if (ui_list_move(cmd, arg, app->page, s->n, &s->cursor)) {
        return true;
    }
    switch (cmd) {
    case UI_CMD_FILTER:
        snprintf(s->filter, sizeof(s->filter), "%s", arg);
        s->cursor = 0;
        return true;
    case UI_CMD_BACK:
        if (s->filter[0] == '\0') {
            return false;
        }
        s->filter[0] = '\0';
        return true;
    case UI_CMD_OPEN:
        return run_chosen(app, s);
    default:
        return false;
    }
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct help_state *s = state;
    (void)r;
    struct ui_table table = {.n_rows = s->n, .top = s->top};
    return ui_list_press(app, m, s->table, &table, s->cursor, true);
}

static const char *crumb(struct ui_app *app, void *state)
{
    struct help_state *s = state;
    (void)app;
    return ui_view_at(s->origin)->title;
}

const struct ui_view ui_view_help = {
    .id = "help",
    .title = "Help",
    .help = "What works here, and why something does not.",
    .key = '?',
    .fkey = 1,
    .hints = "filter open back",
    .state_size = sizeof(struct help_state),
    .open = open_help,
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .crumb = crumb,
};
