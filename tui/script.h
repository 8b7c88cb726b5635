/* Command logs: recorded, replayed; reproducible bug reports, tests and demonstrations. */
#ifndef UI_SCRIPT_H
#define UI_SCRIPT_H

#include "app.h"

/* Start recording into path (--record). False when it cannot be written. */
bool ui_record_open(struct ui_app *app, const char *path);
/* Write a command that was done. Called by ui_do only. */
void ui_record(struct ui_app *app, enum ui_cmd cmd, const char *arg);

/* One line of a log:
 *   NAME ARG         a command record
 *   key KEYS         keys as if typed, vim spelling
 *   mouse KIND X Y [BUTTON]   press, drag, release, wheel-up, wheel-down
 *   resize WxH       another size
 *   settle           wait until the background work is done
 *   wait SECONDS     pause (only when played on a terminal)
 *   # ...            comment
 * Returns false with `why` (at most cap bytes) when the line is wrong or its command was refused. */
bool ui_script_line(struct ui_app *app, const char *line, char *why, size_t cap);
/* The same; a line that is refused while histograms are built gets a second chance when they are
 * there (blocks until then). */
bool ui_script_patient(struct ui_app *app, const char *line, char *why, size_t cap);
/* Play a whole log headless; stops at the first wrong line: QX_EFORMAT with file and line. */
enum qx_status ui_script_play(struct ui_app *app, const char *path, struct qx_error *err);

#endif
