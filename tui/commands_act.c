/* Commands on the inputs of layers. A range belongs to one layer; everything else to the marked ones too. */
#include "commands.h"
#include "view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool ui_has_input(const struct ui_app *app, int64_t item)
{
    const struct qx_net *net = app->session ? qx_session_net(app->session) : NULL;
    struct qx_channels layout;
    return net && item >= 0 && qx_session_item(app->session, item)->can_quantize &&
           qx_net_layer_input(net, qx_net_layer_of_tensor(net, item), &layout);
}

const struct qx_act *ui_act(const struct ui_app *app, int64_t item)
{
    static const struct qx_act none = {0};
    const struct qx_setting *s = item >= 0 ? qx_session_setting(app->session, item) : NULL;
    return s && qx_setting_is_int(s) ? &s->act : &none;
}

/* The layers an edit reaches: those of ui_targets that have inputs, or all. */
static const int64_t *targets(struct ui_app *app, bool all, int64_t *n)
{
    int64_t *items = app->targets, kept = 0;
    *n = app->n_items;
    if (!all) {
        ui_targets(app, n);
    }
    for (int64_t i = 0; i < *n; i++) {
        const int64_t item = all ? i : items[i];
        if (ui_has_input(app, item)) {
            items[kept++] = item;
        }
    }
    *n = kept;
    return items;
}

static bool edit(struct ui_app *app, bool all, unsigned fields, const struct qx_act *act,
                 const char *what)
{
    const struct qx_patch patch = {.fields = fields, .value = {.act = *act}};
    int64_t n, made_int = 0;
    const int64_t *items = targets(app, all, &n);
    for (int64_t i = 0; i < n && (fields & QX_PATCH_ACT_BITS) && act->bits; i++) {
        const struct qx_setting *s = qx_session_setting(app->session, items[i]);
        made_int += !qx_format_is_scaled(s->format);
    }
    if (!ui_edit(app, items, n, &patch, false)) {
        return false;
    }
    if (made_int > 0) {
        ui_toast(app, UI_TOAST_INFO, "%s; weights of %lld layer%s became INT8 for it, u undoes it",
                 what, (long long)made_int, made_int > 1 ? "s" : "");
    } else if (n > 1) {
        ui_toast(app, UI_TOAST_INFO, "%s for %lld layers, u undoes it", what, (long long)n);
    }
    return true;
}

const char *ui_act_disabled(struct ui_app *app, enum ui_cmd cmd)
{
    if (!qx_session_net(app->session)) {
        return qx_session_net_reason(app->session);
    }
    if (cmd == UI_CMD_CALIBRATE) {
        return NULL;
    }
    if (!ui_has_input(app, app->cursor) && !ui_edits_marks(app)) {
        return "this tensor multiplies no input of its own: j and k go to other layers";
    }
    const struct qx_act *act = ui_act(app, app->cursor);
    const bool needs_on = cmd != UI_CMD_ACT && cmd != UI_CMD_ACT_BITS;
    if (needs_on && act->bits == 0 && !ui_edits_marks(app)) {
        return "these inputs stay in float32: a or 8 quantizes them";
    }
    if (cmd == UI_CMD_ACT_HANDLE && act->sym) {
        return "a symmetric range has one handle: S makes it asymmetric";
    }
    if ((cmd == UI_CMD_ACT_HANDLE || cmd == UI_CMD_ACT_NUDGE) && act->dynamic) {
        return "dynamic ranges follow the values: d fixes one";
    }
    return NULL;
}

bool cmd_act(struct ui_app *app, const char *arg)
{
    const bool all = strcmp(arg, "all") == 0 || strcmp(arg, "none") == 0;
    bool on = strcmp(arg, "on") == 0 || strcmp(arg, "all") == 0;
    if (arg[0] == 0) {
        on = ui_act(app, app->cursor)->bits == 0;
    } else if (!on && strcmp(arg, "off") != 0 && strcmp(arg, "none") != 0) {
        return ui_refuse(app, "activations are on, off, all or none, not '%s'", arg);
    }
    const struct qx_act act = on ? qx_act_static(8) : (struct qx_act){0};
    return edit(app, all, QX_PATCH_ACT_BITS, &act, on ? "8-bit inputs" : "float32 inputs");
}

bool cmd_act_bits(struct ui_app *app, const char *arg)
{
    char *end, what[32];
    const long bits = strtol(arg, &end, 10);
    if (*end != 0 || end == arg || (bits != 0 && bits < 2) || bits > 8) {
        return ui_refuse(app, "activations take 2 to 8 bits (0: float32), not '%s'", arg);
    }
    const struct qx_act act = {.bits = (int)bits};
    snprintf(what, sizeof(what), "%ld-bit inputs", bits);
    return edit(app, false, QX_PATCH_ACT_BITS, &act, bits ? what : "float32 inputs");
}

bool cmd_act_method(struct ui_app *app, const char *arg)
{
    struct qx_act act = qx_act_static(8);
    struct qx_error err;
    if (qx_act_method(&act, arg, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    return edit(app, false, act.has_range ? QX_PATCH_ACT_RANGE : QX_PATCH_ACT_CALIB, &act,
                act.calib->title);
}

/* "[on|off]"; "" flips what is now. False when it is neither. */
static bool parse_switch(const char *arg, bool now, bool *out)
{
    *out = arg[0] == 0 ? !now : strcmp(arg, "on") == 0;
    return arg[0] == 0 || *out || strcmp(arg, "off") == 0;
}

bool cmd_act_dynamic(struct ui_app *app, const char *arg)
{
    const struct qx_act *now = ui_act(app, app->cursor);
    struct qx_act act = {.gran = QX_ACT_TOKEN};
    if (!parse_switch(arg, now->dynamic, &act.dynamic)) {
        return ui_refuse(app, "dynamic is on or off, not '%s'", arg);
    }
    return edit(app, false, QX_PATCH_ACT_GRAN, &act,
                act.dynamic ? "each token's own range" : "a fixed range");
}

bool cmd_act_gran(struct ui_app *app, const char *arg)
{
    const struct qx_act *now = ui_act(app, app->cursor);
    struct qx_act act = {.dynamic = true};
    const bool by_token = strcmp(arg, "token") == 0;
    if (arg[0] == 0) {
        act.gran = now->dynamic && now->gran == QX_ACT_TOKEN ? QX_ACT_TENSOR : QX_ACT_TOKEN;
    } else if (by_token || strcmp(arg, "tensor") == 0) {
        act.gran = by_token ? QX_ACT_TOKEN : QX_ACT_TENSOR;
    } else {
        return ui_refuse(app, "dynamic ranges are of a tensor or a token, not '%s'", arg);
    }
    return edit(app, false, QX_PATCH_ACT_GRAN, &act,
                act.gran == QX_ACT_TOKEN ? "each token's own range" : "each sample's own range");
}

bool cmd_act_sym(struct ui_app *app, const char *arg)
{
    struct qx_act act = {0};
    if (!parse_switch(arg, ui_act(app, app->cursor)->sym, &act.sym)) {
        return ui_refuse(app, "symmetric is on or off, not '%s'", arg);
    }
    app->act_handle = 0;
    return edit(app, false, QX_PATCH_ACT_SYM, &act, act.sym ? "symmetric" : "asymmetric");
}

/* ---- the range ---- */

static bool set_range(struct ui_app *app, double lo, double hi, bool merge)
{
    struct qx_patch patch = {.fields = QX_PATCH_ACT_RANGE};
    patch.value.act.range = (struct qx_range){lo, hi};
    if (!ui_edit(app, &app->cursor, 1, &patch, merge)) {
        return false;
    }
    if (!app->told_undo) {
        app->told_undo = true;
        ui_toast(app, UI_TOAST_INFO, "range changed, u undoes it");
    }
    return true;
}

/* Put the held end at t; both when symmetric. */
static bool set_end(struct ui_app *app, double t, bool merge)
{
    const struct qx_act *act = ui_act(app, app->cursor);
    struct qx_range r = act->has_range ? act->range : (struct qx_range){0, 0};
    if (act->sym) {
        r = (struct qx_range){-fabs(t), fabs(t)};
    } else if (app->act_handle) {
        r.lo = fmin(t, 0);
    } else {
        r.hi = fmax(t, 0);
    }
    return set_range(app, r.lo, r.hi, merge);
}

/* A step of the held end along the axis: a share of its size, +1 % goes to the right. */
static bool step_end(struct ui_app *app, double share)
{
    const struct qx_act *act = ui_act(app, app->cursor);
    const struct qx_observed *o = qx_session_observed(app->session, app->cursor);
    if (!o || !act->has_range) {
        return ui_refuse(app, "the calibration is still to come");
    }
    const double most = qx_observed_stats(o)->absmax;
    const double t = app->act_handle ? act->range.lo : act->range.hi;
    const double size = fabs(t) > most * 1e-4 ? fabs(t) : most * 1e-2;
    double next = t + share * size;
    next = app->act_handle ? fmin(next, 0) : fmax(next, most * 1e-4);
    return set_end(app, copysign(fmin(fabs(next), most), app->act_handle ? -1 : 1), true);
}

static bool typed_pair(struct ui_app *app, const char *arg)
{
    char *end;
    const double lo = strtod(arg, &end), hi = *end == ',' ? strtod(end + 1, &end) : (double)NAN;
    if (*end != 0 || !isfinite(lo) || !isfinite(hi) || lo > 0 || hi < 0 || lo == hi) {
        return ui_refuse(app, "range '%s': type LO,HI with LO <= 0 <= HI, as -0.5,4.1", arg);
    }
    return set_range(app, lo, hi, false);
}

bool cmd_act_range(struct ui_app *app, const char *arg)
{
    char *unit, name[48];
    if (strchr(arg, ',')) {
        return typed_pair(app, arg);
    }
    const double value = strtod(arg, &unit);
    unit += strspn(unit, " ");
    const bool is_share = strcmp(unit, "%") == 0, is_max = strcmp(unit, "max") == 0;
    if (unit == arg || !isfinite(value) || (*unit && !is_share && !is_max)) {
        return ui_refuse(app, "range '%s': type 4.1, -0.5,4.1, 99.9%%, 0.7max or +1%%", arg);
    }
    if (is_share && (arg[0] == '+' || arg[0] == '-')) {
        return step_end(app, value / 100);
    }
    if (is_share) {
        snprintf(name, sizeof(name), "percentile:%.9g", value);
        return cmd_act_method(app, name);
    }
    if (!is_max) {
        return set_end(app, value, true);
    }
    const struct qx_observed *o = qx_session_observed(app->session, app->cursor);
    if (!o || !(value > 0)) {
        return ui_refuse(app, o ? "the share must be above 0" : "the calibration is still to come");
    }
    const struct qx_stats *st = qx_observed_stats(o);
    const double end = ui_act(app, app->cursor)->sym ? st->absmax
                       : app->act_handle             ? st->min
                                                     : st->max;
    return set_end(app, value * end, false);
}

bool cmd_act_handle(struct ui_app *app, const char *arg)
{
    (void)arg;
    app->act_handle = !app->act_handle;
    ui_toast(app, UI_TOAST_INFO, "holding the %s end", app->act_handle ? "low" : "high");
    return true;
}

bool cmd_act_optimum(struct ui_app *app, const char *arg)
{
    (void)arg;
    const struct qx_act *now = ui_act(app, app->cursor);
    struct qx_act_advice advice;
    int best = -1;
    if (!qx_session_act_advice(app->session, app->cursor, now->bits, now->sym, &advice)) {
        return ui_refuse(app, "the calibration is still to come");
    }
    for (int i = 0; i < advice.n; i++) {
        best = best < 0 || advice.choice[i].db > advice.choice[best].db ? i : best;
    }
    if (best < 0) {
        return ui_refuse(app, "calibration saw no finite value here");
    }
    const struct qx_act act = {.calib = advice.choice[best].calib,
                               .param = advice.choice[best].param};
    struct qx_patch patch = {.fields = QX_PATCH_ACT_CALIB, .value = {.act = act}};
    if (!ui_edit(app, &app->cursor, 1, &patch, false)) {
        return false;
    }
    ui_toast(app, UI_TOAST_INFO, "%s has the least error here", act.calib->title);
    return true;
}

/* Ranges that calibrators chose from other rows are chosen anew, as one edit. */
static void choose_anew(struct ui_app *app)
{
    const struct qx_patch patch = {.fields = QX_PATCH_ACT_CALIB};
    int64_t n = 0;
    for (int64_t i = 0; i < app->n_items; i++) {
        const struct qx_act *act = ui_act(app, i);
        if (act->bits && !act->dynamic && act->has_range && act->calib != qx_calib_find("manual")) {
            app->targets[n++] = i;
        }
    }
    if (n > 0) {
        ui_edit(app, app->targets, n, &patch, false);
    }
}

bool cmd_calibrate(struct ui_app *app, const char *arg)
{
    struct qx_error err;
    if (qx_session_calibrate(app->session, arg, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    choose_anew(app);
    ui_toast(app, UI_TOAST_INFO, "calibrating on %.200s; x cancels",
             arg[0] ? arg : "the folder's own rows");
    return true;
}
