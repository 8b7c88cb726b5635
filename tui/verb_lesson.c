/* qexplore lesson: list the lessons, begin one, or play them as tests. */
#include "lesson.h"
#include "ui.h"
#include "verb.h"

#include <stdio.h>
#include <stdlib.h>

static const char *lang_of(const struct ui_args *args)
{
    return args->lang ? args->lang : ui_lesson_lang_default();
}

static int list_json(const struct ui_args *args, const struct ui_course *course)
{
    struct qx_jw *w = ui_json_begin(args, "lesson");
    qx_jw_key(w, "lessons");
    qx_jw_array(w);
    for (int i = 0; i < course->n; i++) {
        const struct ui_lesson *l = course->lesson[i];
        const struct ui_lesson_progress at = ui_lesson_progress(ui_lesson_id(l));
        qx_jw_object(w);
        qx_jw_key(w, "id");
        qx_jw_str(w, ui_lesson_id(l));
        qx_jw_key(w, "title");
        qx_jw_str(w, ui_lesson_title(l, lang_of(args)));
        qx_jw_key(w, "model");
        qx_jw_str(w, ui_lesson_model(l));
        qx_jw_key(w, "steps");
        qx_jw_int(w, ui_lesson_n_steps(l));
        qx_jw_key(w, "reached");
        qx_jw_int(w, at.step + 1);
        qx_jw_key(w, "done");
        qx_jw_bool(w, at.is_done);
        qx_jw_end(w);
    }
    qx_jw_end(w);
    return ui_json_print(w);
}

static int list(const struct ui_args *args)
{
    const struct ui_course *course = ui_course_get();
    if (args->json) {
        return list_json(args, course);
    }
    for (int i = 0; i < course->n; i++) {
        const struct ui_lesson *l = course->lesson[i];
        const struct ui_lesson_progress at = ui_lesson_progress(ui_lesson_id(l));
        printf("%2d  %-12s %2d steps  %s%s\n", i + 1, ui_lesson_id(l), ui_lesson_n_steps(l),
               ui_lesson_title(l, lang_of(args)), at.is_done ? "  (done)" : "");
    }
    return ui_stdout_done(args, UI_EXIT_OK);
}

static int unknown(const struct ui_args *args, const char *id)
{
    return ui_usage_error(args, "no lesson '%s'; `qexplore lesson` lists them", id);
}

/* One lesson, or all. */
static int check(const struct ui_args *args)
{
    const struct ui_course *course = ui_course_get();
    const char *only = args->n_positional ? args->positional[0] : NULL;
    int n_failed = 0;
    if (only && !ui_course_find(only)) {
        return unknown(args, only);
    }
    for (int i = 0; i < course->n; i++) {
        const struct ui_lesson *l = course->lesson[i];
        char why[600];
        if (only && l != ui_course_find(only)) {
            continue;
        }
        const bool ok = ui_rehearse(args, l, why, sizeof(why));
        printf("%-12s %s%s\n", ui_lesson_id(l), ok ? "ok" : "FAILED: ", ok ? "" : why);
        n_failed += !ok;
    }
    return ui_stdout_done(args, n_failed ? UI_EXIT_FAILED : UI_EXIT_OK);
}

static int run(const struct ui_args *args)
{
    const char *id = args->n_positional ? args->positional[0] : NULL;
    if (args->scores) {
        ui_lesson_scores(stdout);
        return ui_stdout_done(args, UI_EXIT_OK);
    }
    if (args->check) {
        return check(args);
    }
    if (!id) {
        return list(args);
    }
    if (!ui_course_find(id)) {
        return unknown(args, id);
    }
    struct ui_args with = *args;
    with.verb = NULL;
    with.n_positional = 0;
    with.lesson = id;
    return ui_run(&with);
}

const struct ui_verb ui_verb_lesson = {
    .name = "lesson",
    .usage = "[ID] [--lang L] [--present] [--check] [--scores]",
    .help = "List the guided lessons, or begin one on the live program.",
    .example = "qexplore lesson outlier",
    .groups = UI_FLAGS_COMMON | UI_FLAGS_SCREEN | UI_FLAGS_LESSON,
    .min_positional = 0,
    .max_positional = 1,
    .run = run,
};
