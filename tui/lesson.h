/* Guided lessons: steps that run on the live program. A lesson is a data file (assets/lessons, or
 * $XDG_DATA_HOME/qexplore/lessons for a teacher's own); its form is in assets/lessons/README.md.
 * UI thread only. */
#ifndef UI_LESSON_H
#define UI_LESSON_H

#include "app.h"

/* ---- files ---- */

enum { UI_LESSON_STEPS = 24, UI_LESSONS = 64 };

struct ui_lesson; /* one file, checked; immutable */

/* Reads and checks a file: every command, figure and text it names must be there. QX_EFORMAT names file
 * and step; QX_EIO, QX_ENOMEM. */
enum qx_status ui_lesson_load(const char *path, struct ui_lesson **out, struct qx_error *err);
void ui_lesson_free(struct ui_lesson *l); /* NULL allowed */
const char *ui_lesson_id(const struct ui_lesson *l);
const char *ui_lesson_model(const struct ui_lesson *l); /* a sample's name, or a path */
const char *ui_lesson_title(const struct ui_lesson *l, const char *lang);
const char *ui_lesson_about(const struct ui_lesson *l,
                            const char *lang); /* "" when the file has none */
int ui_lesson_n_steps(const struct ui_lesson *l);

/* All lessons of both folders by file name; those that cannot be read are logged and left out. Kept for
 * the life of the program. */
struct ui_course {
    struct ui_lesson *lesson[UI_LESSONS];
    int n;
};
const struct ui_course *ui_course_get(void);
/* By its id, or its number from 1. NULL when unknown. */
const struct ui_lesson *ui_course_find(const char *id);

/* Texts are in English (always there), Indonesian and Korean. */
bool ui_lesson_lang_known(const char *lang); /* "en", "id", "ko" */
const char *ui_lesson_lang_default(void);    /* LC_ALL, LC_MESSAGES, LANG: one of these */

/* ---- figures that steps speak of: one row each in lesson_figure.c ---- */

struct ui_lesson_value {
    bool is_text;
    double number;
    char text[64];
};
/* False while it is not known (being measured, no such thing here). `name` is known. */
bool ui_lesson_figure(struct ui_app *app, const char *name, struct ui_lesson_value *out);
bool ui_lesson_figure_known(const char *name);
/* All conditions of a list hold: [{"figure": "bits", "is": 4}, {"figure": "mse", "at_most": 0.1}]. */
struct qx_jval;
bool ui_lesson_holds(struct ui_app *app, const struct qx_jval *conditions);
/* Is the list well formed? `why` says what is not. */
bool ui_lesson_conditions_check(const struct qx_jval *conditions, char *why, size_t cap);
/* Text with every {figure} replaced by its value, "…" while unknown. False when one is unknown. */
bool ui_lesson_expand(struct ui_app *app, const char *text, char *buf, size_t cap);

/* ---- a lesson in progress (app->tour) ---- */

/* Begin at a step (clamped): asks for the lesson's model, opened apart from the user's recipes. */
bool ui_lesson_start(struct ui_app *app, const struct ui_lesson *l, int step);
/* The model is there (the loop, or whoever runs without a terminal, calls it once). */
void ui_lesson_enter(struct ui_app *app);
/* Something changed: goes on with the step's commands, sees whether it is solved. Cheap. */
void ui_lesson_look(struct ui_app *app);
/* Back to the model that was open before. */
void ui_lesson_leave(struct ui_app *app);
bool ui_lesson_solved(const struct ui_app *app); /* `>` leads on */
/* Path of a lesson's model. False when there is none. */
bool ui_lesson_model_path(const struct ui_lesson *l, char *buf, size_t cap);

/* What was reached, kept between runs in the state folder. */
struct ui_lesson_progress {
    int step;     /* furthest, from 0 */
    bool is_done; /* to the end */
};
struct ui_lesson_progress ui_lesson_progress(const char *id);
/* Guesses as comma-separated values: lesson, step, guess, truth. */
void ui_lesson_scores(FILE *out);

/* Rows the panel takes on a screen of this size, 0 without a lesson; it lies above the status line. */
int ui_lesson_rows(struct ui_app *app, int w, int h);
void ui_lesson_draw(struct ui_app *app, struct ui_canvas *c);

/* Play a lesson without a terminal, with its own answers: every step that asks for something must be
 * unsolved before its answer and solved after it. said: gets the texts as shown, NULL = nobody. False: *why
 * says which step is wrong. Blocks. */
bool ui_lesson_check(struct ui_app *app, const struct ui_lesson *l, FILE *said, char *why,
                     size_t cap);

#endif
