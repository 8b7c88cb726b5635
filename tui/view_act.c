/* The Activations screen: which range do a layer's inputs get, and what does it cost. */
#include "act.h"

#include "commands.h"
#include "figure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Row of the list that has inputs, from `row` on in that direction; -1 = none. */
static int64_t next_row(const struct ui_app *app, int64_t row, int step)
{
    while (row >= 0 && row < app->n_rows && !ui_has_input(app, app->rows[row])) {
        row += step;
    }
    return row >= 0 && row < app->n_rows ? row : -1;
}

/* A bias or norm under the cursor has no inputs of its own: show the layer after it. */
static void open_view(struct ui_app *app, void *state)
{
    (void)state;
    if (!app->session || app->row < 0 || ui_has_input(app, app->cursor)) {
        return;
    }
    const int64_t row = next_row(app, app->row, 1);
    if (row >= 0) {
        ui_do(app, UI_CMD_SELECT, qx_session_item(app->session, app->rows[row])->tensor->name);
    }
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct act_frame f;
    app->page = 10;
    if (act_frame_init(&f, app, state)) {
        act_draw(&f, c, r);
    } else {
        ui_put(c, r.x + 2, r.y + 2, r.w - 4, UI_STYLE_DIM,
               app->session && app->n_items > 0 ? "No layer is chosen: Esc clears the filter."
                                                : "This model has no tensors.");
    }
}

static const struct act_way *best_static(const struct ui_act_state *s)
{
    const struct act_way *best = NULL;
    for (int i = 0; i < s->n_ways; i++) {
        if (s->ways[i].kind == ACT_WAY_CALIB && (!best || s->ways[i].db > best->db)) {
            best = &s->ways[i];
        }
    }
    return best;
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct ui_act_state *s = state;
    struct act_frame f;
    buf[0] = '\0';
    if (!act_frame_init(&f, app, state) || !f.seen) {
        return;
    }
    const struct act_way *best = best_static(s);
    if (f.source.note[0] && app->w < 104) {
        snprintf(buf, cap, "%s", f.source.note);
    } else if (f.has_metrics && best && !isnan(best->db) && !isnan(f.metrics.sqnr_db)) {
        const double loss = best->db - f.metrics.sqnr_db;
        if (loss < 0.05) {
            snprintf(buf, cap, "no static range of the calibrators is better on these rows");
        } else {
            snprintf(buf, cap, "%.1f dB below %s, the best static range on these rows (O takes it)",
                     loss, best->name);
        }
    } else if (!f.is_on) {
        snprintf(buf, cap, "inputs stay in float32; figures tell what 8 bits would do");
    }
}

static bool step(struct ui_app *app, int direction)
{
    int64_t row = next_row(app, app->row + direction, direction);
    if (row < 0 || app->row < 0) {
        return false; /* the table's command says where the list ends */
    }
    ui_rows_move(app, row);
    return true;
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct ui_act_state *s = state;
    switch (cmd) {
    case UI_CMD_UP:
        return arg[0] == 0 && step(app, -1);
    case UI_CMD_DOWN:
        return arg[0] == 0 && step(app, 1);
    case UI_CMD_MARK: /* and on to the next layer that has inputs */
        return cmd_mark(app, arg) &&
               (ui_has_input(app, app->cursor) || step(app, 1) || step(app, -1));
    case UI_CMD_LOG_COUNTS:
        s->is_linear = !s->is_linear;
        ui_toast(app, UI_TOAST_INFO, s->is_linear ? "linear counts" : "logarithmic counts");
        return true;
    case UI_CMD_OPEN:
        return ui_do(app, UI_CMD_GO, "layer");
    default:
        return false;
    }
}

/* ---- hands ---- */

static bool put_end(struct ui_app *app, struct ui_act_state *s, double x)
{
    s->drag_at = fmin(fmax(x, s->axis.lo), s->axis.hi);
    return ui_dof(app, UI_CMD_ACT_RANGE, "%.7g", s->drag_at);
}

static bool press(struct ui_app *app, struct act_frame *f, const struct ui_mouse *m)
{
    struct ui_act_state *s = f->state;
    const enum ui_hist_part part =
        s->hist_rect.w > 0 ? ui_hist_hit(s->hist_rect, &s->hist, m->x, m->y) : UI_HIST_NONE;
    if (part == UI_HIST_NONE || isnan(f->t_hi)) {
        return false;
    }
    const double at = ui_axis_value(&s->axis, s->hist_rect.w, m->x - s->hist_rect.x);
    const bool low = part == UI_HIST_LO || (part == UI_HIST_PLOT && at < 0);
    if (!f->act.sym && (app->act_handle == 1) != low) {
        ui_do(app, UI_CMD_ACT_HANDLE, "");
    }
    ui_do(app, UI_CMD_RELEASE, ""); /* a step of its own, whatever was typed before */
    app->drag = (struct ui_drag){.active = true, .what = low, .x0 = m->x, .y0 = m->y};
    app->drag.last = m->x;
    app->drag.start = s->drag_at = low ? f->t_lo : f->t_hi;
    return part == UI_HIST_PLOT ? put_end(app, s, at) : true;
}

static bool drag(struct ui_app *app, struct ui_act_state *s, const struct ui_mouse *m)
{
    const double cell = (s->axis.hi - s->axis.lo) / (s->hist_rect.w > 0 ? s->hist_rect.w : 1);
    const double moved = (m->x - app->drag.last) * cell * ui_hist_fineness(s->hist_rect, m->y);
    app->drag.last = m->x;
    if (moved == 0) {
        return true;
    }
    /* The high end stays above zero; the low one may reach it. */
    const double x = s->drag_at + moved;
    return put_end(app, s, app->drag.what ? fmin(x, 0) : fmax(x, cell / 16));
}

static bool click_way(struct ui_app *app, struct ui_act_state *s, const struct ui_mouse *m)
{
    const struct ui_rect *r = &s->ways_rect;
    const int i = m->y - r->y;
    if (r->w <= 0 || m->x < r->x || m->x >= r->x + r->w || i < 0 || i >= s->n_ways) {
        return false;
    }
    const struct act_way *w = &s->ways[i];
    switch (w->kind) {
    case ACT_WAY_CALIB:
        return w->calib->takes_param
                   ? ui_dof(app, UI_CMD_ACT_METHOD, "%s:%.9g", w->calib->name, w->param)
                   : ui_do(app, UI_CMD_ACT_METHOD, w->calib->name);
    case ACT_WAY_SAMPLE:
        return ui_do(app, UI_CMD_ACT_GRAN, "tensor");
    case ACT_WAY_TOKEN:
        return ui_do(app, UI_CMD_ACT_GRAN, "token");
    case ACT_WAY_HAND:
        break;
    }
    return true;
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    (void)r;
    struct ui_act_state *s = state;
    struct act_frame f;
    if (!act_frame_init(&f, app, s)) {
        return false;
    }
    switch (m->kind) {
    case UI_MOUSE_PRESS:
        return m->button == 0 && (click_way(app, s, m) || press(app, &f, m));
    case UI_MOUSE_DRAG:
        return app->drag.active && drag(app, s, m);
    case UI_MOUSE_RELEASE:
        if (!app->drag.active) {
            return false;
        }
        app->drag.active = false;
        return ui_do(app, UI_CMD_RELEASE, "");
    case UI_MOUSE_WHEEL:
        return s->hist_rect.w > 0 && !isnan(f.t_hi) &&
               ui_hist_hit(s->hist_rect, &s->hist, m->x, m->y) != UI_HIST_NONE &&
               ui_do(app, UI_CMD_ACT_NUDGE, m->wheel < 0 ? "+0.5%" : "-0.5%");
    }
    return false;
}

const struct ui_view ui_view_act = {
    .id = "act",
    .title = "Activations",
    .help = "Which range do a layer's inputs get, and what does it cost?",
    .key = 'a',
    .fkey = 6,
    .hints = "act-bits act act-nudge act-dynamic act-method act-optimum act-gran act-sym "
             "act-handle calibrate undo explain",
    .state_size = sizeof(struct ui_act_state),
    .open = open_view,
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .explain = act_explain,
    .crumb = ui_item_crumb,
};
