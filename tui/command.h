/* Commands: everything a key, the mouse, the palette or a script can do is one record of these. */
#ifndef UI_COMMAND_H
#define UI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

struct ui_app;

enum ui_cmd {
    UI_CMD_NONE = -1,
#define X(id, name, keys, scope, argument, help, verb) UI_CMD_##id,
#include "commands.def"
#undef X
    UI_CMD_COUNT
};

struct ui_command {
    const char *name, *keys, *scope, *argument, *help, *verb;
    /* False: refused, and the reason was put up as a toast. NULL: only views implement it. */
    bool (*run)(struct ui_app *app, const char *arg);
};

const struct ui_command *ui_command_get(enum ui_cmd cmd);
enum ui_cmd ui_command_find(const char *name, size_t len); /* UI_CMD_NONE when unknown */
/* Does the command exist on the view with this id? */
bool ui_command_in(enum ui_cmd cmd, const char *view_id);
/* NULL when it works now, else the reason (one sentence, static or in app->reason). */
const char *ui_command_disabled(struct ui_app *app, enum ui_cmd cmd);

/* Run one command record: the only way state changes. Recorded when --record is on. The current
 * view's hook is asked first, then the table. arg "" = none. No allocation. */
bool ui_do(struct ui_app *app, enum ui_cmd cmd, const char *arg);
bool ui_dof(struct ui_app *app, enum ui_cmd cmd, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Parse "NAME ARG" and run it. Unknown names give a toast with the nearest one. */
bool ui_do_line(struct ui_app *app, const char *line);

#endif
