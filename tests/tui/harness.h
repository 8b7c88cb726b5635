/* A headless explorer for tests: a session on a sample, one thread, nothing kept on disk. */
#ifndef HARNESS_H
#define HARNESS_H

#include "app.h"
#include "command.h"
#include "view.h"

#include <stdbool.h>

/* "samples/NAME" below the source folder. */
const char *sample_path(const char *name);
/* Open a model; fails the test when it cannot be opened. measure: keep the accuracy jobs. */
void app_open(struct ui_app *app, const char *path, int w, int h, bool measure);
/* The weights of a real network without the network (what BLAS computes is no golden figure), under the
 * name of this link, without the first line of help. */
void app_open_weights(struct ui_app *app, const char *link, int w, int h);
void app_close(struct ui_app *app);
/* A folder made on the spot: one layer on pictures of 6 x 6, whole numbers throughout, so that sums are exact in
 * any order and what comes out of the network may be golden. */
const char *exact_folder(void);
/* The same for a language model: twelve words, what comes next depends on the last one alone. */
const char *exact_words_folder(void);
/* First cell of a text on the screen as drawn now; fails the test when it is not there. */
void app_find(struct ui_app *app, const char *text, int *x, int *y);
void app_mouse(struct ui_app *app, enum ui_mouse_kind kind, int x, int y, int wheel);
/* Wait for the background work, several rounds: drawing asks for more. */
void app_settle(struct ui_app *app);
/* Play a line of a command log; fails the test when it is refused. */
void app_line(struct ui_app *app, const char *line);
/* The recipe as text; static storage, two buffers in turn. */
/* Is the text on one row of the screen as drawn now? */
bool app_shows(struct ui_app *app, const char *text);
const char *app_recipe(struct ui_app *app);
/* Next pseudo-random number below n. */
unsigned next_random(unsigned *seed, unsigned n);

#endif
