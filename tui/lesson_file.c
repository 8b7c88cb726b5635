/* Lesson files: read, checked once, then trusted. */
#include "lesson_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MOST = 1 << 20, NAME_MOST = 40 };

static const char *const langs[] = {"en", "id", "ko"};
enum { N_LANGS = sizeof(langs) / sizeof(langs[0]) };

bool ui_lesson_lang_known(const char *lang)
{
    for (int i = 0; i < N_LANGS; i++) {
        if (strcmp(langs[i], lang) == 0) {
            return true;
        }
    }
    return false;
}

const char *ui_lesson_lang_default(void)
{
    static const char *const vars[] = {"LC_ALL", "LC_MESSAGES", "LANG"};
    for (size_t i = 0; i < sizeof(vars) / sizeof(vars[0]); i++) {
        const char *value = getenv(vars[i]);
        if (value && value[0]) {
            for (int k = 0; k < N_LANGS; k++) {
                if (strncmp(value, langs[k], 2) == 0) {
                    return langs[k];
                }
            }
            return langs[0];
        }
    }
    return langs[0];
}

const char *ui_lesson_text(const struct qx_jval *text, const char *lang)
{
    const char *english = qx_jstr(qx_jget(text, langs[0]), "");
    return qx_jstr(qx_jget(text, lang), english);
}

/* ---- checks ---- */

struct checker {
    const char *path;
    int step; /* -1: the head */
    struct qx_error *err;
};

__attribute__((format(printf, 2, 3))) static bool wrong(const struct checker *k, const char *fmt,
                                                        ...)
{
    char what[160], where[24] = "";
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (k->step >= 0) {
        snprintf(where, sizeof(where), ", step %d", k->step + 1);
    }
    k->err->status = QX_EFORMAT;
    k->err->offset = -1;
    snprintf(k->err->text, sizeof(k->err->text), "lesson '%.100s'%s: %s", k->path, where, what);
    return false;
}

/* An object of texts by language, English among them, with figures that exist. */
static bool text_ok(const struct checker *k, const struct qx_jval *text, const char *name)
{
    if (!qx_jis_string(qx_jget(text, langs[0]))) {
        return wrong(k, "\"%s\" needs a text under \"en\"", name);
    }
    for (const struct qx_jval *t = qx_jfirst(text); t; t = qx_jnext(t)) {
        if (!ui_lesson_lang_known(qx_jkey(t)) || !qx_jis_string(t)) {
            return wrong(k, "\"%s\" has '%.20s', which is no text in en, id or ko", name,
                         qx_jkey(t));
        }
        for (const char *p = strchr(qx_jstr(t, ""), '{'); p; p = strchr(p + 1, '{')) {
            char figure[NAME_MOST] = "";
            size_t len = strcspn(p + 1, "}");
            snprintf(figure, sizeof(figure), "%.*s", (int)(len < NAME_MOST ? len : NAME_MOST - 1),
                     p + 1);
            if (p[1 + len] != '}' || !ui_lesson_figure_known(figure)) {
                return wrong(k, "\"%s\" speaks of {%.30s}, which is no figure", name, figure);
            }
        }
    }
    return true;
}

static bool commands_ok(const struct checker *k, const struct qx_jval *list, const char *name)
{
    if (list && !qx_jis_array(list)) {
        return wrong(k, "\"%s\" is no list of commands", name);
    }
    for (const struct qx_jval *c = qx_jfirst(list); c; c = qx_jnext(c)) {
        const char *line = qx_jstr(c, "");
        if (ui_command_find(line, strcspn(line, " ")) == UI_CMD_NONE) {
            return wrong(k, "\"%s\" has '%.60s', which is no command", name, line);
        }
    }
    return true;
}

static bool guess_ok(const struct checker *k, const struct qx_jval *guess)
{
    const struct qx_jval *choices = qx_jget(guess, "choices");
    const char *figure = qx_jstr(qx_jget(guess, "figure"), NULL);
    int64_t answer = 0;
    if (!text_ok(k, qx_jget(guess, "ask"), "ask")) {
        return false;
    }
    if (!choices && !qx_jis_number(qx_jget(guess, "answer")) &&
        !(figure && ui_lesson_figure_known(figure))) {
        return wrong(k, "the guess needs choices, a figure that exists, or a number as answer");
    }
    if (choices) {
        const int64_t n = (int64_t)qx_jlen(choices);
        if (!qx_jint(qx_jget(guess, "answer"), &answer) || answer < 1 || answer > n || n > 9) {
            return wrong(k, "the answer of a choice is its number, 1 to %lld", (long long)n);
        }
        for (const struct qx_jval *c = qx_jfirst(choices); c; c = qx_jnext(c)) {
            if (!text_ok(k, c, "choices")) {
                return false;
            }
        }
    }
    return true;
}

static bool step_ok(struct checker *k, const struct qx_jval *s)
{
    static const char *const lists[] = {"do", "then", "answer"};
    char why[120];
    const struct qx_jval *check = qx_jget(s, "check"), *guess = qx_jget(s, "guess");
    if (!text_ok(k, qx_jget(s, "text"), "text") ||
        (qx_jget(s, "hint") && !text_ok(k, qx_jget(s, "hint"), "hint")) ||
        (qx_jget(s, "done") && !text_ok(k, qx_jget(s, "done"), "done"))) {
        return false;
    }
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (!commands_ok(k, qx_jget(s, lists[i]), lists[i])) {
            return false;
        }
    }
    if (check && !ui_lesson_conditions_check(check, why, sizeof(why))) {
        return wrong(k, "\"check\": %s", why);
    }
    if (check && (guess || !qx_jget(s, "answer"))) {
        return wrong(k, "a step with a check has an answer and no guess");
    }
    for (const struct qx_jval *w = qx_jfirst(qx_jget(s, "wrong")); w; w = qx_jnext(w)) {
        if (!ui_lesson_conditions_check(qx_jget(w, "when"), why, sizeof(why))) {
            return wrong(k, "\"wrong\": %s", why);
        }
        if (!text_ok(k, qx_jget(w, "text"), "text")) {
            return false;
        }
    }
    return !guess || guess_ok(k, guess);
}

static bool lesson_ok(struct ui_lesson *l, const char *path, struct qx_error *err)
{
    struct checker k = {.path = path, .step = -1, .err = err};
    const struct qx_jval *steps = qx_jget(l->root, "steps");
    if (strcmp(qx_jstr(qx_jget(l->root, "schema"), ""), "qexplore.lesson/1") != 0) {
        return wrong(&k, "\"schema\" must be qexplore.lesson/1");
    }
    if (!ui_lesson_id(l)[0] || !ui_lesson_model(l)[0]) {
        return wrong(&k, "\"id\" and \"model\" must be there");
    }
    const struct qx_jval *about = qx_jget(l->root, "about");
    if (!text_ok(&k, qx_jget(l->root, "title"), "title") ||
        (about && !text_ok(&k, about, "about"))) {
        return false;
    }
    if (!qx_jis_array(steps) || qx_jlen(steps) < 1 || qx_jlen(steps) > UI_LESSON_STEPS) {
        return wrong(&k, "\"steps\" must be a list of 1 to %d", UI_LESSON_STEPS);
    }
    for (const struct qx_jval *s = qx_jfirst(steps); s; s = qx_jnext(s)) {
        k.step++;
        if (!step_ok(&k, s)) {
            return false;
        }
        l->step[l->n_steps++] = s;
    }
    return true;
}

/* ---- one lesson ---- */

enum qx_status ui_lesson_load(const char *path, struct ui_lesson **out, struct qx_error *err)
{
    struct ui_lesson *l = calloc(1, sizeof(*l));
    if (!l) {
        *err = (struct qx_error){.status = QX_ENOMEM, .offset = -1};
        snprintf(err->text, sizeof(err->text), "no memory for a lesson");
        return QX_ENOMEM;
    }
    enum qx_status st = qx_json_load(path, FILE_BYTES_MOST, &l->json, err);
    if (st == QX_OK) {
        l->root = qx_json_root(l->json);
        st = lesson_ok(l, path, err) ? QX_OK : err->status;
    }
    if (st != QX_OK) {
        ui_lesson_free(l);
        return st;
    }
    *out = l;
    return QX_OK;
}

void ui_lesson_free(struct ui_lesson *l)
{
    if (l) {
        qx_json_free(l->json);
        free(l);
    }
}

const char *ui_lesson_id(const struct ui_lesson *l)
{
    return qx_jstr(qx_jget(l->root, "id"), "");
}

const char *ui_lesson_model(const struct ui_lesson *l)
{
    return qx_jstr(qx_jget(l->root, "model"), "");
}

const char *ui_lesson_about(const struct ui_lesson *l, const char *lang)
{
    const struct qx_jval *about = qx_jget(l->root, "about");
    return about ? ui_lesson_text(about, lang) : "";
}

const char *ui_lesson_title(const struct ui_lesson *l, const char *lang)
{
    return ui_lesson_text(qx_jget(l->root, "title"), lang);
}

int ui_lesson_n_steps(const struct ui_lesson *l)
{
    return l->n_steps;
}

bool ui_lesson_model_path(const struct ui_lesson *l, char *buf, size_t cap)
{
    const char *samples = ui_path_samples(), *model = ui_lesson_model(l);
    if (strchr(model, '/')) {
        snprintf(buf, cap, "%s", model);
    } else if (samples) {
        snprintf(buf, cap, "%s/%s", samples, model);
    }
    return strchr(model, '/') || samples;
}

/* ---- the course ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void course_add(struct ui_course *course, const char *path)
{
    struct qx_error err;
    struct ui_lesson *l;
    if (ui_lesson_load(path, &l, &err) != QX_OK) {
        qx_log_put(QX_LOG_WARN, err.text);
        return;
    }
    for (int i = 0; i < course->n; i++) {
        if (strcmp(ui_lesson_id(course->lesson[i]), ui_lesson_id(l)) == 0) {
            snprintf(err.text, sizeof(err.text), "lesson '%.150s': its id '%.60s' is taken", path,
                     ui_lesson_id(l));
            qx_log_put(QX_LOG_WARN, err.text);
            ui_lesson_free(l);
            return;
        }
    }
    course->lesson[course->n++] = l;
}

static void folder_add(struct ui_course *course, const char *folder)
{
    char *names[UI_LESSONS];
    int n = 0;
    DIR *dir = folder ? opendir(folder) : NULL;
    for (struct dirent *e = dir ? readdir(dir) : NULL; e && n < UI_LESSONS; e = readdir(dir)) {
        const char *end = strrchr(e->d_name, '.');
        if (end && strcmp(end, ".json") == 0 && (names[n] = strdup(e->d_name))) {
            n++;
        }
    }
    if (dir) {
        closedir(dir);
    }
    qsort(names, (size_t)n, sizeof(names[0]), by_name);
    for (int i = 0; i < n; i++) {
        char path[4400];
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        if (course->n < UI_LESSONS) {
            course_add(course, path);
        }
        free(names[i]);
    }
}

const struct ui_course *ui_course_get(void)
{
    static struct ui_course course;
    static bool is_read;
    if (!is_read) {
        char path[4200];
        const char *assets = ui_path_assets(), *data = ui_path_data();
        is_read = true;
        if (assets) {
            snprintf(path, sizeof(path), "%s/lessons", assets);
            folder_add(&course, path);
        }
        if (data) {
            snprintf(path, sizeof(path), "%s/lessons", data);
            folder_add(&course, path);
        }
    }
    return &course;
}

const struct ui_lesson *ui_course_find(const char *id)
{
    const struct ui_course *course = ui_course_get();
    char number[16];
    for (int i = 0; i < course->n; i++) {
        snprintf(number, sizeof(number), "%d", i + 1);
        if (strcmp(number, id) == 0 || strcmp(ui_lesson_id(course->lesson[i]), id) == 0) {
            return course->lesson[i];
        }
    }
    return NULL;
}
