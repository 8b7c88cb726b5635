/* Entry points of the interactive program and of its headless twin. */
#ifndef UI_UI_H
#define UI_UI_H

#include "cli.h"
#include "style.h"

struct ui_terminal;
/* The terminal to use (main.c: the one of curses; none = headless only). Before all else. */
void ui_use_terminal(const struct ui_terminal *terminal);
/* The explorer on a terminal; args->positional[0] is the model, or none for the chooser.
 * Returns the exit code. Without a terminal on stdout: exit code 2 naming `render`. */
int ui_run(const struct ui_args *args);

/* `render` and `play` without a terminal: open the model, replay args->play (a command log), settle
 * the background work, draw one screen.
 *   args->screen "model" by default; args->size "100x30" by default; args->theme, glyphs, color
 *   args->output "-" or NULL: stdout; the ending picks text (.txt), ANSI (.ansi) or SVG (.svg)
 * Returns the exit code; reports errors. */
int ui_render(const struct ui_args *args);
/* Play a lesson without a terminal with its own answers (ui_lesson_check). False: *why. */
struct ui_lesson;
bool ui_rehearse(const struct ui_args *args, const struct ui_lesson *lesson, char *why, size_t cap);
/* Replay args->play (or positional[1]) headless with all its `dump` lines; or on the terminal when
 * stdout is one, at args->speed. */
int ui_play(const struct ui_args *args);

#endif
