/* Commands on the program itself: screens' switches, files, help, jobs. */
#include "commands.h"

#include "flags_text.h"
#include "predict_text.h"
#include "out.h"
#include "popup.h"
#include "prompt.h"
#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool cmd_quit(struct ui_app *app, const char *arg)
{
    struct qx_training t = {.job = 0};
    (void)arg;
    if (app->session) {
        qx_session_training(app->session, &t);
    }
    const bool is_writing = app->session && qx_session_writing(app->session);
    app->asks_quit = is_writing || t.job != 0;
    app->quit = !app->asks_quit;
    if (app->asks_quit) {
        ui_toast(app, UI_TOAST_WARN, "%s: y quits and cancels it, any other key stays",
                 is_writing ? "a model folder is being written" : "a training runs");
    }
    return true;
}

bool cmd_palette(struct ui_app *app, const char *arg)
{
    (void)arg;
    ui_prompt_ask(app, UI_CMD_PALETTE);
    return true;
}

bool cmd_options(struct ui_app *app, const char *arg)
{
    (void)arg;
    const char *id = ui_view_at(app->view)->id;
    bool any = false;
    for (int c = 0; c < UI_CMD_COUNT; c++) {
        any |= ui_command_get((enum ui_cmd)c)->scope[0] && ui_command_in((enum ui_cmd)c, id);
    }
    if (!any) {
        return ui_refuse(app, "this screen has no commands of its own; : lists all");
    }
    ui_prompt_ask(app, UI_CMD_PALETTE);
    app->prompt.scope = id;
    return true;
}

bool cmd_help(struct ui_app *app, const char *arg)
{
    (void)arg;
    return cmd_go(app, "help");
}

bool cmd_explain(struct ui_app *app, const char *arg)
{
    static struct ui_explain e;
    int next = app->explain + 1;
    if (strcmp(arg, "gauge") == 0) { /* it comes last on every screen */
        while (ui_explain_get(app, next + 1, &e)) {
            next++;
        }
    }
    if (ui_explain_get(app, next, &e)) {
        app->explain = next;
        return true;
    }
    if (next == 0) {
        return ui_refuse(app, "there is no number to explain on this screen");
    }
    app->explain = -1;
    return true;
}

/* The same layer with the same setting, on the command line. */
static void reproduce_layer(struct ui_app *app, char *out, size_t cap)
{
    const struct qx_setting *s = ui_setting(app);
    struct qx_session_calib calib;
    ui_flag_add(out, cap, "--layers", ui_item(app)->tensor->name);
    ui_flags_of_setting(out, cap, s);
    if (qx_format_is_scaled(s->format) && s->act.bits && !s->act.dynamic &&
        qx_session_calib(app->session, &calib) && calib.is_named) {
        ui_flag_add(out, cap, "--calib", calib.source);
    }
}

bool cmd_reproduce(struct ui_app *app, const char *arg)
{
    (void)arg;
    char *out = app->copy;
    size_t cap = sizeof(app->copy);
    const char *view = ui_view_at(app->view)->id;
    out[0] = 0;
    ui_word_add(out, cap, "qexplore");
    if (!app->session) {
        ui_toast(app, UI_TOAST_INFO, "%s", out);
        return true;
    }
    bool act = strcmp(view, "act") == 0;
    bool layer = (act || strcmp(view, "layer") == 0) && ui_item(app) && ui_item(app)->can_quantize;
    const char *recipe = qx_session_recipe_path(app->session);
    bool can_eval = qx_session_net(app->session) && qx_session_data(app->session);
    ui_word_add(out, cap, layer && !act ? "quantize" : can_eval ? "eval" : "quantize");
    ui_word_add(out, cap,
                app->model_arg ? app->model_arg : qx_model_path(qx_session_model(app->session)));
    if (layer) {
        reproduce_layer(app, out, cap);
    } else if (recipe[0] && qx_session_n_edits(app->session) > 0) {
        ui_flag_add(out, cap, "--recipe", recipe);
    }
    ui_toast(app, UI_TOAST_INFO, "%.300s", out);
    return true;
}

bool cmd_log_counts(struct ui_app *app, const char *arg)
{
    (void)arg;
    app->log_counts = !app->log_counts;
    ui_toast(app, UI_TOAST_INFO, app->log_counts ? "logarithmic counts" : "linear counts");
    return true;
}

bool cmd_zoom(struct ui_app *app, const char *arg)
{
    (void)arg;
    app->zoom = !app->zoom;
    return true;
}

bool cmd_residual(struct ui_app *app, const char *arg)
{
    (void)arg;
    app->show_error = !app->show_error;
    return true;
}

bool cmd_diff_only(struct ui_app *app, const char *arg)
{
    (void)arg;
    app->diff_only = !app->diff_only;
    return true;
}

bool cmd_measure(struct ui_app *app, const char *arg)
{
    (void)arg;
    qx_session_measure(app->session);
    return true;
}

bool cmd_measure_next(struct ui_app *app, const char *arg)
{
    (void)arg;
    char text[160];
    ui_fmt_next(text, sizeof(text), app->session, app->glyphs);
    if (qx_session_measure_next(app->session) == QX_NEXT_NONE) {
        return ui_refuse(app, "nothing that could be measured now would narrow the band");
    }
    ui_toast(app, UI_TOAST_INFO, "%s", text);
    return true;
}

bool cmd_auto_measure(struct ui_app *app, const char *arg)
{
    (void)arg;
    bool on = !qx_session_auto_measure(app->session);
    qx_session_set_auto_measure(app->session, on);
    ui_toast(app, UI_TOAST_INFO, on ? "measures when the hand rests" : "measures on e only");
    return true;
}

bool cmd_cancel(struct ui_app *app, const char *arg)
{
    (void)arg;
    if (!qx_session_cancel_top(app->session)) {
        return ui_refuse(app, "no job is running");
    }
    ui_toast(app, UI_TOAST_INFO, "job cancelled");
    return true;
}

bool cmd_clear_jobs(struct ui_app *app, const char *arg)
{
    (void)arg;
    qx_session_clear_jobs(app->session);
    return true;
}

bool cmd_save(struct ui_app *app, const char *arg)
{
    struct qx_error err;
    if (qx_session_save_recipe(app->session, arg, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    ui_toast(app, UI_TOAST_GOOD, "recipe saved as %s", arg);
    return true;
}

bool cmd_load(struct ui_app *app, const char *arg)
{
    struct qx_error err;
    if (qx_session_load_recipe(app->session, arg, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    ui_toast(app, UI_TOAST_GOOD, "recipe loaded from %s, u undoes it", arg);
    return true;
}

bool cmd_write(struct ui_app *app, const char *arg)
{
    struct qx_error err;
    if (qx_session_write(app->session, arg, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    ui_toast(app, UI_TOAST_INFO, "writing %.200s; x cancels, g j shows how far it is", arg);
    return true;
}

bool cmd_theme(struct ui_app *app, const char *arg)
{
    struct ui_theme theme;
    if (!ui_theme_load(&theme, arg)) {
        return ui_refuse(app, "no theme '%s': dark, light, mono, contrast", arg);
    }
    snprintf(app->theme, sizeof(app->theme), "%s", arg);
    app->redraw = true;
    return true;
}

bool cmd_glyphs(struct ui_app *app, const char *arg)
{
    static const char *const name[] = {"ascii", "block", "braille"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(arg, name[i]) == 0) {
            if (i > (int)app->most_glyphs) {
                return ui_refuse(app, "this terminal's locale has no UTF-8: ascii only");
            }
            app->glyphs = (enum ui_glyphs)i;
            return true;
        }
    }
    return ui_refuse(app, "glyphs are braille, block or ascii, not '%s'", arg);
}

bool cmd_reload(struct ui_app *app, const char *arg)
{
    (void)arg;
    app->reload = true;
    return true;
}

bool cmd_dump(struct ui_app *app, const char *arg)
{
    struct ui_canvas c;
    struct ui_theme theme;
    ui_theme_load(&theme, app->theme);
    if (!ui_canvas_init(&c, app->w, app->h)) {
        return ui_refuse(app, "no memory to draw the screen");
    }
    ui_draw(app, &c);
    bool written = ui_out_file(arg, &c, &theme, UI_COLOUR_TRUE, ui_view_at(app->view)->title);
    int why = errno;
    ui_canvas_release(&c);
    if (!written) {
        return ui_refuse(app, "cannot write '%s': %s", arg, strerror(why));
    }
    ui_toast(app, UI_TOAST_GOOD, "screen written to %s", arg);
    return true;
}

bool cmd_redraw(struct ui_app *app, const char *arg)
{
    (void)arg;
    app->redraw = true;
    return true;
}

bool cmd_suspend(struct ui_app *app, const char *arg)
{
    (void)arg;
    app->suspend = true;
    return true;
}
