#include "script.h"

#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_MS = 600000 };

bool ui_record_open(struct ui_app *app, const char *path)
{
    app->record = fopen(path, "w");
    if (!app->record) {
        return false;
    }
    app->record_ms = -1;
    return true;
}

/* Commands that only open a prompt or end the program say nothing when replayed. */
static bool is_silent(enum ui_cmd cmd, const char *arg)
{
    return cmd == UI_CMD_PALETTE || cmd == UI_CMD_OPTIONS || cmd == UI_CMD_QUIT ||
           cmd == UI_CMD_SUSPEND || cmd == UI_CMD_REDRAW ||
           (arg[0] == 0 && ui_command_get(cmd)->argument[0] != 0 &&
            ui_command_get(cmd)->argument[0] != '[');
}

void ui_record(struct ui_app *app, enum ui_cmd cmd, const char *arg)
{
    if (!app->record || is_silent(cmd, arg)) {
        return;
    }
    if (app->record_ms < 0) { /* now the size of the terminal is known */
        fprintf(app->record, "# qexplore command log 1\nresize %dx%d\n", app->w, app->h);
        app->record_ms = app->now_ms;
    }
    int64_t gap = app->now_ms - app->record_ms;
    if (gap >= 50) {
        fprintf(app->record, "wait %.2f\n", (double)gap / 1000);
    }
    app->record_ms = app->now_ms;
    fprintf(app->record, "%s%s%s\n", ui_command_get(cmd)->name, arg[0] ? " " : "", arg);
    fflush(app->record);
}

static bool play_keys(struct ui_app *app, const char *text)
{
    int keys[256];
    int n = ui_keys_parse(text, strlen(text), keys, 256);
    for (int i = 0; i < n; i++) {
        ui_key(app, keys[i]);
    }
    return n > 0;
}

static bool play_mouse(struct ui_app *app, const char *text)
{
    static const char *const kind[] = {"press", "drag", "release", "wheel-up", "wheel-down"};
    char word[16];
    int x, y, button = 0;
    if (sscanf(text, "%15s %d %d %d", word, &x, &y, &button) < 3) {
        return false;
    }
    for (int i = 0; i < 5; i++) {
        if (strcmp(word, kind[i]) == 0) {
            struct ui_mouse m = {.kind = i < 3 ? (enum ui_mouse_kind)i : UI_MOUSE_WHEEL,
                                 .x = x,
                                 .y = y,
                                 .button = button,
                                 .wheel = i == 3 ? -1 : i == 4};
            ui_mouse_event(app, &m);
            return true;
        }
    }
    return false;
}

static bool play_resize(struct ui_app *app, const char *text)
{
    int w, h;
    if (sscanf(text, "%dx%d", &w, &h) != 2 || w < 1 || h < 1 || w > 1000 || h > 1000) {
        return false;
    }
    ui_app_resize(app, w, h);
    return true;
}

bool ui_script_line(struct ui_app *app, const char *line, char *why, size_t cap)
{
    char text[400];
    snprintf(text, sizeof(text), "%s", line + strspn(line, " \t"));
    text[strcspn(text, "\r\n")] = 0;
    size_t len = strcspn(text, " \t");
    const char *arg = text + len + strspn(text + len, " \t");
    if (text[0] == 0 || text[0] == '#' || strncmp(text, "wait ", 5) == 0) {
        return true;
    }
    snprintf(why, cap, "'%.100s' cannot be read", text);
    if (len == 3 && strncmp(text, "key", len) == 0) {
        return play_keys(app, arg);
    }
    if (len == 5 && strncmp(text, "mouse", len) == 0) {
        return play_mouse(app, arg);
    }
    if (len == 6 && strncmp(text, "resize", len) == 0) {
        return play_resize(app, arg);
    }
    if (len == 6 && strncmp(text, "settle", len) == 0) {
        if (app->session) {
            qx_session_settle(app->session, SETTLE_MS);
            ui_news(app, ~0u);
        }
        return true;
    }
    if (!ui_do_line(app, text)) {
        snprintf(why, cap, "%s", app->toast);
        return false;
    }
    return true;
}

bool ui_script_patient(struct ui_app *app, const char *line, char *why, size_t cap)
{
    if (ui_script_line(app, line, why, cap)) {
        return true;
    }
    if (!app->session || qx_session_idle(app->session)) {
        return false;
    }
    qx_session_settle(app->session, SETTLE_MS);
    ui_news(app, ~0u);
    return ui_script_line(app, line, why, cap);
}

enum qx_status ui_script_play(struct ui_app *app, const char *path, struct qx_error *err)
{
    FILE *f = fopen(path, "r");
    struct qx_error e = {.status = QX_EIO, .offset = -1};
    snprintf(e.file, sizeof(e.file), "%s", path);
    if (!f) {
        snprintf(e.text, sizeof(e.text), "cannot open the command log '%.300s': %s", path,
                 strerror(errno));
        *err = e;
        return e.status;
    }
    char line[512], why[300];
    enum qx_status status = QX_OK;
    for (int number = 1; status == QX_OK && fgets(line, sizeof(line), f); number++) {
        if (!ui_script_patient(app, line, why, sizeof(why))) {
            e.status = status = QX_EFORMAT;
            e.line = number;
            snprintf(e.text, sizeof(e.text), "command log '%.150s', line %d: %.280s", path, number,
                     why);
            *err = e;
        }
    }
    fclose(f);
    return status;
}
