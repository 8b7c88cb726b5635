/* Hands on the Layer screen: handles, magnets, ladder. Everything becomes a command. */
#include "layer.h"

#include <math.h>
#include <stdio.h>

/* Put the held threshold at place x of the axis. */
static bool put_threshold(struct layer_frame *f, double x)
{
    const struct ui_axis *axis = &f->state->axis;
    x = fmin(fmax(x, axis->lo), axis->hi);
    f->state->drag_at = x;
    struct qx_range range = layer_range_at(f, x);
    bool low = f->state->hist.has_lo && x < 0;
    return ui_dof(f->app, UI_CMD_THRESHOLD, "%.7g", low ? range.lo : range.hi);
}

static bool hold(struct layer_frame *f, bool low)
{
    if (f->state->hist.has_lo && (f->app->handle == 1) != low) {
        return ui_do(f->app, UI_CMD_HANDLE, "");
    }
    return true;
}

static bool press(struct layer_frame *f, const struct ui_mouse *m)
{
    struct ui_layer *s = f->state;
    enum ui_hist_part part = ui_hist_hit(s->hist_rect, &s->hist, m->x, m->y);
    if (part == UI_HIST_NONE || isnan(f->t_hi)) {
        return false;
    }
    double at = ui_axis_value(&s->axis, s->hist_rect.w, m->x - s->hist_rect.x);
    bool low = part == UI_HIST_LO || (part == UI_HIST_PLOT && at < 0);
    if (!hold(f, low)) {
        return true;
    }
    f->app->drag = (struct ui_drag){.active = true, .what = low, .x0 = m->x, .y0 = m->y};
    s->drag_at = low ? f->t_lo : f->t_hi;
    f->app->drag.start = s->drag_at;
    f->app->drag.last = m->x;
    return part == UI_HIST_PLOT ? put_threshold(f, at) : true;
}

static bool drag(struct layer_frame *f, const struct ui_mouse *m)
{
    struct ui_layer *s = f->state;
    double cell = (s->axis.hi - s->axis.lo) / (s->hist_rect.w > 0 ? s->hist_rect.w : 1);
    double moved = (m->x - f->app->drag.last) * cell * ui_hist_fineness(s->hist_rect, m->y);
    f->app->drag.last = m->x;
    if (moved == 0) {
        return true;
    }
    /* A handle stays on its side of zero. */
    double x = s->drag_at + moved, least = cell / 16;
    x = f->app->drag.what ? fmin(x, -least) : fmax(x, least);
    return put_threshold(f, x);
}

static bool click_magnet(struct layer_frame *f, const struct ui_mouse *m)
{
    struct ui_layer *s = f->state;
    struct ui_valley v = {.axis = s->axis, .magnets = s->magnets, .n_magnets = s->n_magnets};
    int i = s->valley_rect.w > 0 ? ui_valley_hit(s->valley_rect, &v, m->x, m->y) : -1;
    if (i < 0) {
        return false;
    }
    const struct qx_calibrator *calib = s->magnet_calib[i];
    if (calib->takes_param) {
        return ui_dof(f->app, UI_CMD_CALIB, "%s:%.9g", calib->name, calib->param_default);
    }
    return ui_do(f->app, UI_CMD_CALIB, calib->name);
}

static bool click_ladder(struct layer_frame *f, const struct ui_mouse *m)
{
    struct ui_layer *s = f->state;
    struct ui_ladder ladder = {s->ladder, s->n_ladder, f->setting->bits};
    int bits = s->ladder_rect.w > 0 ? ui_ladder_hit(s->ladder_rect, &ladder, m->x, m->y) : 0;
    return bits > 0 && ui_dof(f->app, UI_CMD_BITS, "%d", bits);
}

static bool wheel(struct layer_frame *f, const struct ui_mouse *m)
{
    struct ui_layer *s = f->state;
    if (ui_rect_has(s->ladder_rect, m->x, m->y)) {
        int bits = f->setting->bits + (m->wheel > 0 ? 1 : -1);
        return bits >= 2 && bits <= 8 && ui_dof(f->app, UI_CMD_BITS, "%d", bits);
    }
    if (ui_rect_has(s->hist_rect, m->x, m->y) || ui_rect_has(s->valley_rect, m->x, m->y)) {
        return ui_do(f->app, UI_CMD_THRESHOLD, m->wheel < 0 ? "+0.5%" : "-0.5%");
    }
    return false;
}

bool layer_mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    (void)r;
    struct layer_frame f;
    if (!layer_frame_init(&f, app, state)) {
        return false;
    }
    switch (m->kind) {
    case UI_MOUSE_PRESS:
        return m->button == 0 && (click_magnet(&f, m) || click_ladder(&f, m) || press(&f, m));
    case UI_MOUSE_DRAG:
        return app->drag.active && drag(&f, m);
    case UI_MOUSE_RELEASE:
        if (!app->drag.active) {
            return false;
        }
        app->drag.active = false;
        return ui_do(app, UI_CMD_RELEASE, "");
    case UI_MOUSE_WHEEL:
        return wheel(&f, m);
    }
    return false;
}
