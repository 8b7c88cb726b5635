/* A lesson in progress: its commands, its checks, its guesses. */
#include "lesson_impl.h"

#include "commands.h"
#include "prompt.h"
#include "view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct qx_jval *ui_lesson_step(const struct ui_app *app)
{
    const struct ui_tour *t = &app->tour;
    return t->lesson ? t->lesson->step[t->step] : NULL;
}

bool ui_lesson_solved(const struct ui_app *app)
{
    const struct ui_tour *t = &app->tour;
    const struct qx_jval *s = ui_lesson_step(app);
    return s && (qx_jget(s, "check") ? t->is_solved : !qx_jget(s, "guess") || t->is_revealed);
}

/* ---- steps ---- */

static void step_begin(struct ui_app *app, int step)
{
    struct ui_tour *t = &app->tour;
    const int last = t->lesson->n_steps - 1;
    t->step = step < 0 ? 0 : step > last ? last : step;
    t->n_done = t->n_then = 0;
    t->is_solved = t->is_revealed = t->has_guess = t->has_hint = false;
    t->has_text = t->has_done = false;
    t->wrong = NULL;
    if (!t->is_rehearsed) {
        ui_lesson_reached(t->lesson, t->step, false);
    }
    ui_lesson_look(app);
}

bool ui_lesson_start(struct ui_app *app, const struct ui_lesson *l, int step)
{
    struct ui_tour *t = &app->tour;
    char path[sizeof(t->path)];
    if (!ui_lesson_model_path(l, path, sizeof(path))) {
        return ui_refuse(app, "the samples that the lessons use are not installed");
    }
    if (!t->lesson) {
        t->before[0] = 0;
        if (app->session) {
            snprintf(t->before, sizeof(t->before), "%s",
                     qx_model_path(qx_session_model(app->session)));
        }
    }
    memcpy(t->path, path, sizeof(path));
    t->lesson = l;
    t->step = step;
    t->is_opening = true;
    if (!t->lang[0]) {
        snprintf(t->lang, sizeof(t->lang), "%s", ui_lesson_lang_default());
    }
    app->want_model = t->path;
    return true;
}

void ui_lesson_enter(struct ui_app *app)
{
    app->tour.is_opening = false;
    step_begin(app, app->tour.step);
}

void ui_lesson_leave(struct ui_app *app)
{
    struct ui_tour *t = &app->tour;
    t->lesson = NULL;
    t->is_opening = false;
    if (t->before[0]) {
        memcpy(t->path, t->before, sizeof(t->path));
        app->want_model = t->path;
        return;
    }
    ui_app_set_session(app, NULL);
    if (!app->found) {
        app->found = qx_model_discover(".", ui_path_samples(), getenv("HOME"));
    }
}

/* ---- what happens by itself ---- */

/* The commands of a list from *at on, as far as they go. False: one waits for work in the background. */
static bool commands_run(struct ui_app *app, const struct qx_jval *list, int *at)
{
    for (; *at < (int)qx_jlen(list); ++*at) {
        const char *line = qx_jstr(qx_jat(list, (size_t)*at), "");
        if (ui_do_line(app, line)) {
            continue;
        }
        if (!qx_session_idle(app->session)) {
            app->toast[0] = 0;
            return false;
        }
        char text[600];
        snprintf(text, sizeof(text), "lesson '%.40s', step %d: '%.100s' was refused: %s",
                 ui_lesson_id(app->tour.lesson), app->tour.step + 1, line, app->toast);
        qx_log_put(QX_LOG_ERROR, text);
    }
    return true;
}

static void guess_look(struct ui_app *app, const struct qx_jval *s)
{
    struct ui_tour *t = &app->tour;
    const struct qx_jval *guess = qx_jget(s, "guess");
    const char *figure = qx_jstr(qx_jget(guess, "figure"), NULL);
    struct ui_lesson_value v = {.number = qx_jnum(qx_jget(guess, "answer"), NAN)};
    if (!t->has_guess || t->is_revealed || !commands_run(app, qx_jget(s, "then"), &t->n_then) ||
        (figure && (!ui_lesson_figure(app, figure, &v) || v.is_text))) {
        return;
    }
    t->truth = v.number;
    t->is_revealed = true;
    if (!t->is_rehearsed) {
        ui_lesson_guessed(t->lesson, t->step, t->guess, t->truth);
    }
}

static void check_look(struct ui_app *app, const struct qx_jval *s)
{
    struct ui_tour *t = &app->tour;
    t->wrong = NULL;
    if (t->is_solved) {
        return;
    }
    t->is_solved = ui_lesson_holds(app, qx_jget(s, "check"));
    for (const struct qx_jval *w = qx_jfirst(qx_jget(s, "wrong")); w && !t->is_solved;
         w = qx_jnext(w)) {
        if (ui_lesson_holds(app, qx_jget(w, "when"))) {
            t->wrong = qx_jget(w, "text");
            return;
        }
    }
}

/* Texts keep the figures they were first shown with: the reader goes on playing with the layer. */
static void texts_look(struct ui_app *app, const struct qx_jval *s, bool is_set_up)
{
    struct ui_tour *t = &app->tour;
    if (!t->has_text) {
        t->has_text = ui_lesson_expand(app, ui_lesson_text(qx_jget(s, "text"), t->lang), t->text,
                                       sizeof(t->text)) &&
                      is_set_up;
    }
    if (!t->has_done && (t->is_solved || t->is_revealed)) {
        t->has_done = ui_lesson_expand(app, ui_lesson_text(qx_jget(s, "done"), t->lang), t->done,
                                       sizeof(t->done));
    }
}

void ui_lesson_look(struct ui_app *app)
{
    struct ui_tour *t = &app->tour;
    const struct qx_jval *s = ui_lesson_step(app);
    if (!s || t->is_busy || t->is_opening || !app->session) {
        return;
    }
    t->is_busy = true; /* commands of the step come back here */
    const bool is_set_up = commands_run(app, qx_jget(s, "do"), &t->n_done);
    texts_look(app, s, is_set_up);
    if (is_set_up && qx_jget(s, "check")) {
        check_look(app, s);
    } else if (is_set_up && qx_jget(s, "guess")) {
        guess_look(app, s);
    }
    texts_look(app, s, is_set_up);
    t->is_busy = false;
}

/* ---- commands ---- */

bool cmd_lesson(struct ui_app *app, const char *arg)
{
    char id[64] = "";
    int step = 1;
    sscanf(arg, "%63s %d", id, &step);
    const struct ui_lesson *l = ui_course_find(id);
    return l ? ui_lesson_start(app, l, step - 1)
             : ui_refuse(app, "there is no lesson '%s'; g e lists them", id);
}

bool cmd_lesson_next(struct ui_app *app, const char *arg)
{
    struct ui_tour *t = &app->tour;
    (void)arg;
    if (qx_jget(ui_lesson_step(app), "guess") && !t->has_guess) {
        ui_prompt_ask(app, UI_CMD_GUESS);
        return true;
    }
    if (!ui_lesson_solved(app)) {
        return ui_refuse(app, t->has_guess ? "the answer is being measured"
                                           : "not there yet; H gives a hint, H again does it");
    }
    if (t->step + 1 < t->lesson->n_steps) {
        step_begin(app, t->step + 1);
        return true;
    }
    ui_lesson_reached(t->lesson, t->step, true);
    ui_lesson_leave(app);
    ui_toast(app, UI_TOAST_GOOD, "the lesson is done; g e has the next one");
    return true;
}

bool cmd_lesson_back(struct ui_app *app, const char *arg)
{
    (void)arg;
    if (app->tour.step == 0) {
        return ui_refuse(app, "this is the first step");
    }
    step_begin(app, app->tour.step - 1);
    return true;
}

bool cmd_lesson_leave(struct ui_app *app, const char *arg)
{
    (void)arg;
    ui_lesson_leave(app);
    ui_toast(app, UI_TOAST_INFO, "left the lesson; g e goes on with it");
    return true;
}

bool cmd_guess(struct ui_app *app, const char *arg)
{
    struct ui_tour *t = &app->tour;
    const struct qx_jval *guess = qx_jget(ui_lesson_step(app), "guess");
    const struct qx_jval *choices = qx_jget(guess, "choices");
    char *end;
    const double v = strtod(arg, &end);
    const bool is_number = end != arg && end[strspn(end, " %")] == 0 && isfinite(v);
    if (!guess) {
        return ui_refuse(app, "this step asks for no guess");
    }
    if (!is_number || (choices && !(v >= 1 && v <= (double)qx_jlen(choices) && v == floor(v)))) {
        return choices ? ui_refuse(app, "type the number of a choice, 1 to %zu", qx_jlen(choices))
                       : ui_refuse(app, "type a number");
    }
    if (t->has_guess) {
        return ui_refuse(app, "you guessed %.4g; < and > begin the step anew", t->guess);
    }
    t->guess = v;
    t->has_guess = true;
    ui_lesson_look(app);
    return true;
}

/* The hint first, then the answer itself. */
bool cmd_lesson_hint(struct ui_app *app, const char *arg)
{
    struct ui_tour *t = &app->tour;
    const struct qx_jval *s = ui_lesson_step(app), *answer = qx_jget(s, "answer");
    (void)arg;
    if (!qx_jget(s, "check")) {
        return ui_refuse(app, "there is nothing to do in this step; > goes on");
    }
    if (!t->has_hint && qx_jget(s, "hint") && !t->is_solved) {
        t->has_hint = true;
        return true;
    }
    for (const struct qx_jval *c = qx_jfirst(answer); c; c = qx_jnext(c)) {
        if (!ui_do_line(app, qx_jstr(c, ""))) {
            return false;
        }
    }
    return true;
}

bool cmd_lesson_lang(struct ui_app *app, const char *arg)
{
    if (!ui_lesson_lang_known(arg)) {
        return ui_refuse(app, "lessons speak en, id and ko");
    }
    snprintf(app->tour.lang, sizeof(app->tour.lang), "%s", arg);
    app->tour.has_text = app->tour.has_done = false;
    return true;
}

bool cmd_present(struct ui_app *app, const char *arg)
{
    app->tour.is_presented = strcmp(arg, "on") == 0    ? true
                             : strcmp(arg, "off") == 0 ? false
                                                       : !app->tour.is_presented;
    return true;
}

/* ---- without a terminal ---- */

enum { SETTLE_MS = 600000 };

/* Screens ask for what they show when they are drawn. */
static void settle(struct ui_app *app, struct ui_canvas *c)
{
    for (int i = 0; i < 3; i++) {
        qx_session_settle(app->session, SETTLE_MS);
        ui_news(app, ~0u);
        ui_lesson_look(app);
        ui_draw(app, c);
    }
}

static bool answer_check(struct ui_app *app, struct ui_canvas *c, const struct qx_jval *s,
                         char *why, size_t cap)
{
    char line_why[300];
    if (app->tour.is_solved) {
        snprintf(why, cap, "its check holds before anything is done");
        return false;
    }
    for (const struct qx_jval *a = qx_jfirst(qx_jget(s, "answer")); a; a = qx_jnext(a)) {
        if (!ui_do_line(app, qx_jstr(a, ""))) {
            snprintf(line_why, sizeof(line_why), "%.250s", app->toast);
            snprintf(why, cap, "its answer '%s' is refused: %s", qx_jstr(a, ""), line_why);
            return false;
        }
        settle(app, c);
    }
    ui_do(app, UI_CMD_MEASURE, "");
    settle(app, c);
    snprintf(why, cap, "its check does not hold after its answer");
    return app->tour.is_solved;
}

static bool guess_check(struct ui_app *app, struct ui_canvas *c, const struct qx_jval *s, char *why,
                        size_t cap)
{
    const struct qx_jval *guess = qx_jget(s, "guess");
    ui_dof(app, UI_CMD_GUESS, "%g", qx_jget(guess, "choices") ? 1.0 : 50.0);
    settle(app, c);
    ui_do(app, UI_CMD_MEASURE, "");
    settle(app, c);
    snprintf(why, cap, "its guess is never answered");
    return app->tour.is_revealed;
}

static bool steps_check(struct ui_app *app, struct ui_canvas *c, FILE *said, char *why, size_t cap)
{
    const struct ui_tour *t = &app->tour;
    char text[400] = "";
    for (int i = 0; i < t->lesson->n_steps; i++) {
        const struct qx_jval *s = t->lesson->step[i];
        step_begin(app, i);
        settle(app, c);
        const bool ok = qx_jget(s, "check")   ? answer_check(app, c, s, text, sizeof(text))
                        : qx_jget(s, "guess") ? guess_check(app, c, s, text, sizeof(text))
                                              : true;
        if (said) {
            fprintf(said, "  %d. %s\n     %s\n", i + 1, t->text, t->done);
        }
        if (!ok) {
            snprintf(why, cap, "step %d: %s", i + 1, text);
            return false;
        }
    }
    return true;
}

bool ui_lesson_check(struct ui_app *app, const struct ui_lesson *l, FILE *said, char *why,
                     size_t cap)
{
    struct ui_tour *t = &app->tour;
    const int64_t seq = qx_log_next_seq();
    struct qx_log_entry e;
    struct ui_canvas canvas;
    if (!ui_canvas_init(&canvas, app->w, app->h)) {
        snprintf(why, cap, "no memory to draw a screen");
        return false;
    }
    t->lesson = l;
    t->is_rehearsed = true;
    ui_lesson_enter(app);
    const bool ok = steps_check(app, &canvas, said, why, cap);
    ui_canvas_release(&canvas);
    for (int64_t k = seq; ok && k < qx_log_next_seq(); k++) {
        if (qx_log_get(k, &e) && e.level == QX_LOG_ERROR) {
            snprintf(why, cap, "%s", e.text);
            return false;
        }
    }
    return ok;
}
