/* How far lessons came and what was guessed, in the state folder. */
#include "lesson_impl.h"

#include "file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GUESSES_MOST = 512, FILE_BYTES_MOST = 1 << 20, ID_MOST = 48 };

struct reached {
    char id[ID_MOST];
    struct ui_lesson_progress at;
};

struct guessed {
    char id[ID_MOST];
    int step;
    double guess, truth;
};

/* UI thread only. */
static struct {
    bool is_read;
    struct reached reached[UI_LESSONS];
    int n_reached;
    struct guessed guessed[GUESSES_MOST];
    int n_guessed;
} state;

static void warn(const char *what, const char *why)
{
    char text[400];
    snprintf(text, sizeof(text), "%s: %.300s", what, why);
    qx_log_put(QX_LOG_WARN, text);
}

static bool state_path(char *buf, size_t cap)
{
    const char *folder = ui_path_state();
    if (folder) {
        snprintf(buf, cap, "%s/lessons.json", folder);
    }
    return folder != NULL;
}

static struct reached *reached_of(const char *id)
{
    for (int i = 0; i < state.n_reached; i++) {
        if (strcmp(state.reached[i].id, id) == 0) {
            return &state.reached[i];
        }
    }
    if (state.n_reached == UI_LESSONS) {
        return NULL;
    }
    struct reached *r = &state.reached[state.n_reached++];
    snprintf(r->id, sizeof(r->id), "%s", id);
    return r;
}

static void guess_keep(const char *id, int step, double guess, double truth)
{
    if (state.n_guessed == GUESSES_MOST) { /* the oldest goes */
        memmove(state.guessed, state.guessed + 1, (GUESSES_MOST - 1) * sizeof(state.guessed[0]));
        state.n_guessed--;
    }
    struct guessed *g = &state.guessed[state.n_guessed++];
    snprintf(g->id, sizeof(g->id), "%s", id);
    g->step = step;
    g->guess = guess;
    g->truth = truth;
}

static void read_lesson(const struct qx_jval *lesson)
{
    struct reached *r = reached_of(qx_jkey(lesson));
    if (r) {
        const double step = qx_jnum(qx_jget(lesson, "step"), 0);
        r->at.step = step > 0 && step < UI_LESSON_STEPS ? (int)step : 0;
        r->at.is_done = qx_jbool(qx_jget(lesson, "done"), false);
    }
    const struct qx_jval *list = qx_jget(lesson, "guesses");
    for (const struct qx_jval *g = qx_jfirst(list); g; g = qx_jnext(g)) {
        int64_t step = 0;
        if (qx_jint(qx_jget(g, "step"), &step) && step >= 0 && step < UI_LESSON_STEPS) {
            guess_keep(qx_jkey(lesson), (int)step, qx_jnum(qx_jget(g, "guess"), NAN),
                       qx_jnum(qx_jget(g, "truth"), NAN));
        }
    }
}

static void state_read(void)
{
    char path[4200];
    struct qx_json *json = NULL;
    struct qx_error err;
    if (state.is_read) {
        return;
    }
    state.is_read = true;
    if (!state_path(path, sizeof(path)) || access(path, F_OK) != 0) {
        return;
    }
    if (qx_json_load(path, FILE_BYTES_MOST, &json, &err) != QX_OK) {
        warn("the progress of the lessons cannot be read", err.text);
        return;
    }
    const struct qx_jval *lessons = qx_jget(qx_json_root(json), "lessons");
    for (const struct qx_jval *l = qx_jfirst(lessons); l; l = qx_jnext(l)) {
        read_lesson(l);
    }
    qx_json_free(json);
}

static char *state_text(size_t *len)
{
    struct qx_jw *w = qx_jw_new(true);
    qx_jw_object(w);
    qx_jw_key(w, "schema");
    qx_jw_str(w, "qexplore.lessons/1");
    qx_jw_key(w, "lessons");
    qx_jw_object(w);
    for (int i = 0; i < state.n_reached; i++) {
        const struct reached *r = &state.reached[i];
        qx_jw_key(w, r->id);
        qx_jw_object(w);
        qx_jw_key(w, "step");
        qx_jw_int(w, r->at.step);
        qx_jw_key(w, "done");
        qx_jw_bool(w, r->at.is_done);
        qx_jw_key(w, "guesses");
        qx_jw_array(w);
        for (int k = 0; k < state.n_guessed; k++) {
            const struct guessed *g = &state.guessed[k];
            if (strcmp(g->id, r->id) == 0) {
                qx_jw_object(w);
                qx_jw_key(w, "step");
                qx_jw_int(w, g->step);
                qx_jw_key(w, "guess");
                qx_jw_num(w, g->guess);
                qx_jw_key(w, "truth");
                qx_jw_num(w, g->truth);
                qx_jw_end(w);
            }
        }
        qx_jw_end(w);
        qx_jw_end(w);
    }
    qx_jw_end(w);
    qx_jw_end(w);
    return qx_jw_take(w, len);
}

static void state_write(void)
{
    char path[4200];
    size_t len;
    if (!state_path(path, sizeof(path))) {
        return;
    }
    char *text = state_text(&len);
    if (!text || !ui_file_write(path, text, len)) {
        warn("the progress of the lessons is not kept", strerror(errno));
    }
    qx_free_text(text);
}

struct ui_lesson_progress ui_lesson_progress(const char *id)
{
    state_read();
    for (int i = 0; i < state.n_reached; i++) {
        if (strcmp(state.reached[i].id, id) == 0) {
            return state.reached[i].at;
        }
    }
    return (struct ui_lesson_progress){0};
}

void ui_lesson_reached(const struct ui_lesson *l, int step, bool is_done)
{
    state_read();
    struct reached *r = reached_of(ui_lesson_id(l));
    if (r && (step > r->at.step || (is_done && !r->at.is_done))) {
        r->at.step = step > r->at.step ? step : r->at.step;
        r->at.is_done = r->at.is_done || is_done;
        state_write();
    }
}

void ui_lesson_guessed(const struct ui_lesson *l, int step, double guess, double truth)
{
    state_read();
    if (reached_of(ui_lesson_id(l))) {
        guess_keep(ui_lesson_id(l), step, guess, truth);
        state_write();
    }
}

void ui_lesson_scores(FILE *out)
{
    state_read();
    fprintf(out, "lesson,step,guess,truth\n");
    for (int k = 0; k < state.n_guessed; k++) {
        const struct guessed *g = &state.guessed[k];
        fprintf(out, "%s,%d,%.6g,%.6g\n", g->id, g->step + 1, g->guess, g->truth);
    }
}
