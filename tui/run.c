/* Entry points: the explorer on a terminal, and its headless twin for render and play. */
#include "ui.h"

#include "app.h"
#include "config.h"
#include "file.h"
#include "lesson.h"
#include "loop.h"
#include "out.h"
#include "script.h"
#include "verb.h"
#include "view.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((format(printf, 3, 4))) static int fail(const struct ui_args *args,
                                                      enum qx_status status, const char *fmt, ...)
{
    struct qx_error err = {.status = status, .offset = -1};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err.text, sizeof(err.text), fmt, ap);
    va_end(ap);
    return ui_report(args, &err);
}

static bool parse_glyphs(const char *name, enum ui_glyphs *out)
{
    static const char *const names[] = {"ascii", "block", "braille"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum ui_glyphs)i;
            return true;
        }
    }
    return strcmp(name, "auto") == 0;
}

/* Glyphs, theme, keys, mouse as the flags and the user's files say. */
static bool app_options(struct ui_app *app, const struct ui_args *args)
{
    if (args->glyphs && !parse_glyphs(args->glyphs, &app->glyphs)) {
        ui_usage_error(args, "--glyphs is braille, block, ascii or auto, not '%s'", args->glyphs);
        return false;
    }
    struct ui_theme theme;
    if (args->theme && strcmp(args->theme, "auto") != 0) {
        if (!ui_theme_load(&theme, args->theme)) {
            ui_usage_error(args, "no theme '%s': dark, light, mono or contrast", args->theme);
            return false;
        }
        snprintf(app->theme, sizeof(app->theme), "%s", args->theme);
    }
    app->animate = !args->no_animation;
    app->mouse = !args->no_mouse;
    app->model_arg = args->n_positional ? args->positional[0] : NULL;
    const char *config = ui_path_config();
    if (config && !args->json) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/keys.conf", config);
        if (access(path, R_OK) == 0) {
            ui_keymap_load(&app->keymap, path);
        }
    }
    return true;
}

/* ---- on a terminal ---- */

static const struct ui_terminal *terminal;

void ui_use_terminal(const struct ui_terminal *t)
{
    terminal = t;
}

/* Can screens be shown here? */
static bool has_terminal(void)
{
    const char *name = getenv("TERM");
    return terminal && isatty(1) && name && name[0] && strcmp(name, "dumb") != 0;
}

static int no_terminal(const struct ui_args *args)
{
    const char *model = args->n_positional ? args->positional[0] : "MODEL";
    const char *term = getenv("TERM");
    if (!isatty(1)) {
        return ui_usage_error(
            args,
            "standard output is no terminal, so nothing can be explored; `qexplore render %s "
            "--screen model` draws a screen, `qexplore info %s` prints text",
            model, model);
    }
    fprintf(stderr, "qexplore: TERM=%s cannot show screens; this is `qexplore info`\n",
            term ? term : "");
    const struct ui_verb *info = ui_verb_find("info");
    if (!args->n_positional) {
        return ui_usage_error(args, "name a model: qexplore info MODEL");
    }
    struct ui_args as_info = *args;
    as_info.verb = info->name;
    return info->run(&as_info);
}

static int explore(struct ui_loop *l, struct ui_app *app, const struct ui_args *args)
{
    struct ui_term_options options = {
        .color = args->color, .no_color = args->no_color, .mouse = app->mouse};
    char why[200];
    struct ui_term *term = terminal->open(&options, why, sizeof(why));
    if (!term) {
        return fail(args, QX_EIO, "%s", why);
    }
    ui_loop_guard(terminal->emergency);
    ui_app_resize(app, term->w, term->h);
    bool explicit_glyphs = args->glyphs && strcmp(args->glyphs, "auto") != 0;
    if (explicit_glyphs && app->glyphs > term->glyphs && term->glyphs == UI_GLYPHS_BLOCK) {
        term->glyphs = app->glyphs; /* the user knows the console's font better */
    }
    const char *theme = args->theme && strcmp(args->theme, "auto") != 0 ? args->theme : NULL;
    if (ui_loop_begin(l, app, term, theme)) {
        while (ui_loop_turn(l, -1)) {
        }
    }
    ui_loop_end(l);
    return app->exit_code;
}

/* What went wrong while saving, on the terminal that is given back. False when there was an error. */
static bool report_log(int64_t seq)
{
    struct qx_log_entry e;
    bool is_kept = true;
    for (; seq < qx_log_next_seq(); seq++) {
        if (qx_log_get(seq, &e) && e.level >= QX_LOG_WARN) {
            fprintf(stderr, "qexplore: %s\n", e.text);
            is_kept = is_kept && e.level != QX_LOG_ERROR;
        }
    }
    return is_kept;
}

int ui_run(const struct ui_args *given)
{
    struct ui_args with = *given;
    const struct ui_args *args = &with;
    const char *config = ui_path_config();
    if (config) {
        char path[4200];
        snprintf(path, sizeof(path), "%s/config.json", config);
        ui_config_load(path, &with);
    }
    if (!has_terminal()) {
        return no_terminal(args);
    }
    static struct ui_app app;
    static struct ui_loop loop;
    if (!ui_loop_prepare(&loop)) {
        return fail(args, QX_EIO, "cannot watch for signals: %s", strerror(errno));
    }
    struct qx_error err;
    if (args->isa && qx_cpu_limit(args->isa, &err) != QX_OK) {
        return ui_report(args, &err);
    }
    loop.options = ui_session_options(args);
    loop.options.recipe_path = args->recipe;
    if (args->verb) { /* play: like a picture, it neither resumes nor leaves anything */
        loop.options.state_dir = NULL;
        loop.options.fresh = true;
    }
    loop.options.predict = true;
    loop.options.wake = ui_loop_wake;
    loop.options.wake_arg = &loop;
    struct qx_session *session = NULL;
    if (args->n_positional &&
        qx_session_open(args->positional[0], &loop.options, &session, &err) != QX_OK) {
        return ui_report(args, &err);
    }
    if (!ui_app_init(&app, session, 80, 24)) {
        qx_session_close(&session);
        return fail(args, QX_ENOMEM, "no memory to begin");
    }
    if (!session) {
        app.found = qx_model_discover(".", ui_path_samples(), getenv("HOME"));
    }
    int code = UI_EXIT_USAGE;
    app.now_ms = ui_now_ms();
    if (!app_options(&app, args)) {
        /* reported */
    } else if (args->record && !ui_record_open(&app, args->record)) {
        code = fail(args, ui_file_status(errno), "cannot write the command log '%s': %s",
                    args->record, strerror(errno));
    } else {
        if (session && qx_session_resumed(session) > 0) {
            int n = qx_session_resumed(session);
            ui_toast(&app, UI_TOAST_INFO, "resumed %d edit%s; --fresh starts without them", n,
                     n == 1 ? "" : "s");
        }
        if (session && !loop.options.state_dir && !args->recipe && !args->verb) {
            qx_log_put(QX_LOG_WARN, "edits are not saved: neither HOME nor XDG_STATE_HOME is set");
        }
        app.log_seen = 0;
        ui_log_news(&app);
        app.tour.is_presented = args->present;
        if (args->lesson) {
            snprintf(app.tour.lang, sizeof(app.tour.lang), "%s",
                     args->lang ? args->lang : ui_lesson_lang_default());
            ui_dof(&app, UI_CMD_LESSON, "%s", args->lesson);
        }
        const char *log = args->verb ? args->positional[1] : args->play;
        loop.script = log ? fopen(log, "r") : NULL;
        loop.speed = args->speed;
        if (log && !loop.script) {
            ui_toast(&app, UI_TOAST_BAD, "cannot open the command log '%s': %s", log,
                     strerror(errno));
        }
        code = explore(&loop, &app, args);
    }
    int64_t seq = qx_log_next_seq();
    ui_app_release(&app);
    bool is_kept = report_log(seq);
    return is_kept || code != UI_EXIT_OK ? code : UI_EXIT_RESOURCES;
}

/* ---- without a terminal ---- */

static bool parse_size(const char *text, int *w, int *h)
{
    char rest;
    return sscanf(text, "%dx%d%c", w, h, &rest) == 2 && *w >= 1 && *h >= 1 && *w <= 1000 &&
           *h <= 1000;
}

static enum ui_colour parse_colour(const struct ui_args *args)
{
    const char *name = args->color ? args->color : "auto";
    const char *env = getenv("NO_COLOR");
    if (args->no_color || strcmp(name, "never") == 0 ||
        (env && env[0] && strcmp(name, "auto") == 0)) {
        return UI_COLOUR_NONE;
    }
    return strcmp(name, "16") == 0    ? UI_COLOUR_16
           : strcmp(name, "256") == 0 ? UI_COLOUR_256
                                      : UI_COLOUR_TRUE;
}

/* Session and app for drawing; background work runs until settled. NULL session: *code set. */
static bool headless_open(struct ui_app *app, const struct ui_args *args, int *code)
{
    int w = 100, h = 30;
    if (args->size && !parse_size(args->size, &w, &h)) {
        *code = ui_usage_error(args, "--size is WIDTHxHEIGHT in cells, as 100x30, not '%s'",
                               args->size);
        return false;
    }
    struct qx_session *session;
    struct qx_error err;
    if (args->isa && qx_cpu_limit(args->isa, &err) != QX_OK) {
        *code = ui_report(args, &err);
        return false;
    }
    struct qx_session_options options = ui_session_options(args);
    options.state_dir = NULL; /* a picture neither resumes nor leaves anything */
    options.fresh = true;
    if (qx_session_open(args->positional[0], &options, &session, &err) != QX_OK) {
        *code = ui_report(args, &err);
        return false;
    }
    if (!ui_app_init(app, session, w, h)) {
        qx_session_close(&session);
        *code = fail(args, QX_ENOMEM, "no memory to draw a screen");
        return false;
    }
    if (args->recipe && qx_session_load_recipe(session, args->recipe, &err) != QX_OK) {
        *code = ui_report(args, &err);
        return false;
    }
    if (!app_options(app, args)) {
        *code = UI_EXIT_USAGE;
        return false;
    }
    app->animate = false;
    app->shades = parse_colour(args) >= UI_COLOUR_256;
    return true;
}

static int write_screen(struct ui_app *app, const struct ui_args *args)
{
    struct ui_canvas c;
    struct ui_theme theme;
    enum ui_colour colour = parse_colour(args);
    ui_theme_load(&theme, colour == UI_COLOUR_NONE ? "mono" : app->theme);
    if (!ui_canvas_init(&c, app->w, app->h)) {
        return fail(args, QX_ENOMEM, "no memory to draw a screen");
    }
    ui_draw(app, &c);
    int code = UI_EXIT_OK;
    const char *out = args->output;
    if (out && strcmp(out, "-") != 0) {
        if (!ui_out_file(out, &c, &theme, colour, ui_view_at(app->view)->title)) {
            code = fail(args, ui_file_status(errno), "cannot write '%s': %s", out, strerror(errno));
        }
    } else {
        bool asked =
            args->color && strcmp(args->color, "never") != 0 && strcmp(args->color, "auto") != 0;
        if (colour != UI_COLOUR_NONE && (asked || isatty(1))) {
            ui_out_ansi(stdout, &c, &theme, colour);
        } else {
            ui_out_text(stdout, &c);
        }
    }
    ui_canvas_release(&c);
    return code;
}

static void settle(struct ui_app *app)
{
    qx_session_settle(app->session, 600000);
    ui_rows_update(app);
    app->first_line = false;
    app->toast[0] = 0;
}

/* The histograms of the shown layer are asked for by drawing, so draw, settle, and draw again. */
static bool settle_screen(struct ui_app *app)
{
    struct ui_canvas c;
    if (!ui_canvas_init(&c, app->w, app->h)) {
        return false;
    }
    for (int i = 0; i < 3; i++) {
        settle(app);
        ui_draw(app, &c);
    }
    settle(app);
    ui_canvas_release(&c);
    return true;
}

static int no_screen(const struct ui_args *args, const char *name)
{
    char list[200] = "";
    for (int i = 0; i < ui_view_count(); i++) {
        if (ui_view_at(i)->key) {
            size_t n = strlen(list);
            snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "", ui_view_at(i)->id);
        }
    }
    return ui_usage_error(args, "no screen '%s'; there are %s", name, list);
}

int ui_render(const struct ui_args *args)
{
    static struct ui_app app;
    int code = UI_EXIT_OK;
    struct qx_error err;
    const char *screen = args->screen;
    if (screen && (ui_view_find(screen) < 0 || strcmp(screen, "open") == 0)) {
        return no_screen(args, screen);
    }
    if (!headless_open(&app, args, &code)) {
        ui_app_release(&app);
        return code;
    }
    qx_session_settle(app.session, 600000);
    if (args->play && ui_script_play(&app, args->play, &err) != QX_OK) {
        code = ui_report(args, &err);
    } else {
        if (screen || !args->play) {
            ui_do(&app, UI_CMD_GO, screen ? screen : "model");
        }
        if (args->size) {
            int w, h;
            parse_size(args->size, &w, &h); /* over what the log's own resize lines say */
            ui_app_resize(&app, w, h);
        }
        code = settle_screen(&app) ? write_screen(&app, args) : UI_EXIT_RESOURCES;
    }
    ui_app_release(&app);
    return code;
}

bool ui_rehearse(const struct ui_args *args, const struct ui_lesson *lesson, char *why, size_t cap)
{
    static struct ui_app app;
    char path[4400];
    struct ui_args with = *args;
    int code;
    if (!ui_lesson_model_path(lesson, path, sizeof(path))) {
        snprintf(why, cap, "the samples are not installed");
        return false;
    }
    with.positional[0] = path;
    with.n_positional = 1;
    bool ok = headless_open(&app, &with, &code);
    if (!ok) {
        snprintf(why, cap, "its model cannot be opened");
    } else {
        qx_session_settle(app.session, 600000);
        snprintf(app.tour.lang, sizeof(app.tour.lang), "%s",
                 args->lang ? args->lang : ui_lesson_lang_default());
        ok = ui_lesson_check(&app, lesson, args->verbose ? stdout : NULL, why, cap);
    }
    ui_app_release(&app);
    return ok;
}

int ui_play(const struct ui_args *args)
{
    static struct ui_app app;
    int code = UI_EXIT_OK;
    struct qx_error err;
    const char *log = args->n_positional > 1 ? args->positional[1] : args->play;
    if (!log) {
        return ui_usage_error(args, "name the command log: qexplore play MODEL LOG");
    }
    if (has_terminal() && !args->screen && !args->output && !args->size) {
        return ui_run(args);
    }
    if (!headless_open(&app, args, &code)) {
        ui_app_release(&app);
        return code;
    }
    qx_session_settle(app.session, 600000);
    if (ui_script_play(&app, log, &err) != QX_OK) {
        code = ui_report(args, &err);
    } else if (args->screen || args->output) {
        if (args->screen) {
            ui_do(&app, UI_CMD_GO, args->screen);
        }
        code = settle_screen(&app) ? write_screen(&app, args) : UI_EXIT_RESOURCES;
    } else {
        qx_session_settle(app.session, 600000); /* a model folder may still be being written */
    }
    ui_app_release(&app);
    return code;
}
