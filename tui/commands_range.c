/* Commands that move thresholds. A threshold belongs to one layer: marks do not matter here.
 * Moves and plain values join into one undo step until `release` or any other command. */
#include "commands.h"
#include "view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* "threshold changed" is said once; the figures say the rest. */
static bool set_range(struct ui_app *app, double lo, double hi, bool merge)
{
    struct qx_patch patch = {.fields = QX_PATCH_RANGE};
    patch.value.range = (struct qx_range){lo, hi};
    patch.value.has_range = true;
    if (!ui_edit(app, &app->cursor, 1, &patch, merge)) {
        return false;
    }
    if (ui_edits_marks(app) && app->n_marked > 1 && !app->told_marks) {
        app->told_marks = true;
        ui_toast(app, UI_TOAST_INFO,
                 "the threshold of this layer alone: marked ones share bits, scale and calibrator");
    } else if (!app->told_undo) {
        app->told_undo = true;
        ui_toast(app, UI_TOAST_INFO, "threshold changed, u undoes it");
    }
    return true;
}

/* Put the held end of the range at t; both ends when symmetric or a ratio. */
static bool set_threshold(struct ui_app *app, double t, bool merge)
{
    const struct qx_setting *s = ui_setting(app);
    if (s->sym || s->gran != QX_GRAN_TENSOR) {
        t = fabs(t);
        return set_range(app, -t, t, merge);
    }
    struct qx_range r = s->has_range ? s->range : (struct qx_range){0, 0};
    if (app->handle) {
        r.lo = t > 0 ? 0 : t;
    } else {
        r.hi = t < 0 ? 0 : t;
    }
    return set_range(app, r.lo, r.hi, merge);
}

static double clamp_threshold(double t, double most)
{
    double least = most * 1e-4;
    double size = fabs(t) < least ? least : fabs(t) > most ? most : fabs(t);
    return copysign(size, t);
}

/* A step along the axis, relative to the threshold: +1 % goes to the right. */
static bool step_threshold(struct ui_app *app, double share)
{
    double t = ui_threshold(app, app->cursor);
    double most = ui_threshold_max(app, app->cursor);
    if (isnan(t) || most <= 0) {
        return ui_refuse(app, "the histogram is still being built");
    }
    double size = fabs(t) < most * 1e-4 ? most * 1e-2 : fabs(t);
    double next = t + share * size;
    if (t != 0 && next * t <= 0) {
        next = t * 0.5;
    }
    next = app->handle && next >= 0 ? 0 : next;
    return set_threshold(app, next == 0 ? 0 : clamp_threshold(next, most), true);
}

/* "99.9%": the percentile calibrator. "3s": standard deviations. "0.7max": of the largest value. */
static bool typed_threshold(struct ui_app *app, double value, const char *unit)
{
    const struct qx_setting *s = ui_setting(app);
    enum qx_hist_state state;
    const struct qx_hist *h = qx_session_hist(app->session, app->cursor, s, &state);
    if (strcmp(unit, "%") == 0) {
        char name[48];
        snprintf(name, sizeof(name), "percentile:%.9g", value);
        return cmd_calib(app, name);
    }
    double scale = 1;
    if (*unit) {
        if (!h || qx_hist_stats(h)->n == 0) {
            return ui_refuse(app, "the histogram is still being built");
        }
        const struct qx_stats *st = qx_hist_stats(h);
        double most = s->gran == QX_GRAN_TENSOR ? st->absmax : 1;
        scale = strcmp(unit, "max") == 0 ? most : st->absmax > 0 ? most * st->std / st->absmax : 1;
    }
    double t = value * scale;
    if (s->gran != QX_GRAN_TENSOR && t > 1) {
        return ui_refuse(app, "a ratio of each %s's own range lies in 0..1, not %g",
                         s->gran == QX_GRAN_CHANNEL ? "channel" : "group", t);
    }
    return set_threshold(app, app->handle ? -t : t, false);
}

bool cmd_threshold(struct ui_app *app, const char *arg)
{
    if (strchr(arg, ',')) {
        return cmd_range(app, arg);
    }
    char *unit;
    double value = strtod(arg, &unit);
    unit += strspn(unit, " ");
    bool known =
        *unit == 0 || strcmp(unit, "%") == 0 || strcmp(unit, "s") == 0 || strcmp(unit, "max") == 0;
    if (unit == arg || !known || !isfinite(value)) {
        return ui_refuse(app, "threshold '%s': type 0.131, 99.9%%, 3s (sigma), 0.7max or +1%%",
                         arg);
    }
    if ((arg[0] == '+' || arg[0] == '-') && strcmp(unit, "%") == 0) {
        return step_threshold(app, value / 100);
    }
    if (*unit == 0) {
        const struct qx_setting *s = ui_setting(app);
        if (value == 0 && (s->sym || s->gran != QX_GRAN_TENSOR)) {
            return ui_refuse(app, "a threshold of 0 would clip everything");
        }
        if (s->gran == QX_GRAN_TENSOR) {
            return set_threshold(app, value, true);
        }
        return fabs(value) <= 1 ? set_threshold(app, value, true)
                                : typed_threshold(app, value, unit);
    }
    if (value <= 0) {
        return ui_refuse(app, "the threshold must be above 0");
    }
    return typed_threshold(app, value, unit);
}

bool cmd_range(struct ui_app *app, const char *arg)
{
    char *end;
    double lo = strtod(arg, &end);
    double hi = *end == ',' ? strtod(end + 1, &end) : NAN;
    if (*end != 0 || !isfinite(lo) || !isfinite(hi) || lo > 0 || hi < 0 || lo == hi) {
        return ui_refuse(app, "range '%s': type LO,HI with LO <= 0 <= HI, as -0.1,0.2", arg);
    }
    if (ui_setting(app)->gran != QX_GRAN_TENSOR) {
        return ui_refuse(app, "a range in values needs one scale per tensor (v); type a ratio");
    }
    return set_range(app, lo, hi, false);
}

static double magnet_at(const struct ui_app *app, const struct ui_magnet *m)
{
    return app->handle ? m->range.lo : m->range.hi;
}

bool cmd_snap(struct ui_app *app, const char *arg)
{
    (void)arg;
    struct ui_magnet magnet[16];
    int n = ui_magnets(app, app->cursor, magnet, 16);
    double t = ui_threshold(app, app->cursor);
    int best = -1;
    for (int i = 0; i < n; i++) {
        double d = fabs(magnet_at(app, &magnet[i]) - t);
        if (best < 0 || d < fabs(magnet_at(app, &magnet[best]) - t)) {
            best = i;
        }
    }
    if (best < 0 || isnan(t)) {
        return ui_refuse(app, "no magnet is known yet: the histogram is still being built");
    }
    struct qx_patch patch = {.fields = QX_PATCH_CALIB};
    patch.value.calib = magnet[best].calib;
    patch.value.param = magnet[best].param;
    if (!ui_edit(app, &app->cursor, 1, &patch, false)) {
        return false;
    }
    ui_toast(app, UI_TOAST_INFO, "threshold at the %s magnet", magnet[best].calib->title);
    return true;
}

bool cmd_optimum(struct ui_app *app, const char *arg)
{
    (void)arg;
    struct qx_range r;
    if (!ui_optimum(app, app->cursor, &r)) {
        return ui_refuse(app, "no optimum is known yet: the histogram is still being built");
    }
    return set_range(app, r.lo, r.hi, false);
}

bool cmd_handle(struct ui_app *app, const char *arg)
{
    (void)arg;
    if (ui_setting(app)->gran != QX_GRAN_TENSOR) {
        return ui_refuse(app, "a ratio moves both ends: one scale per tensor (v) has two handles");
    }
    app->handle = !app->handle;
    ui_toast(app, UI_TOAST_INFO, "holding the %s end", app->handle ? "low" : "high");
    return true;
}

bool cmd_release(struct ui_app *app, const char *arg)
{
    (void)arg;
    app->drag.active = false;
    return true;
}
