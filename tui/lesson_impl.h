/* What the files of the lessons share. */
#ifndef UI_LESSON_IMPL_H
#define UI_LESSON_IMPL_H

#include "cli.h"
#include "lesson.h"

struct ui_lesson {
    struct qx_json *json;
    const struct qx_jval *root;
    const struct qx_jval *step[UI_LESSON_STEPS];
    int n_steps;
};

/* A text in a language, English where it is missing. */
const char *ui_lesson_text(const struct qx_jval *text, const char *lang);

/* The step under way. Borrowed. */
const struct qx_jval *ui_lesson_step(const struct ui_app *app);

/* lesson_progress.c: written to the state folder at once; failures are logged. */
void ui_lesson_reached(const struct ui_lesson *l, int step, bool is_done);
void ui_lesson_guessed(const struct ui_lesson *l, int step, double guess, double truth);

#endif
