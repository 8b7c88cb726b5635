/* The Layer screen: what does this threshold do to this tensor and to the model. */
#include "layer.h"

#include "figure.h"
#include "layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { REST_MS = 150 };

/* The exact pass is asked for once the setting has rested for one frame: never while it is dragged. */
static void want_exact(struct layer_frame *f)
{
    struct ui_layer *s = f->state;
    uint64_t revision = qx_session_revision(f->app->session);
    bool rested = f->app->now_ms == 0 || (s->seen_revision == revision && s->seen_item == f->index);
    bool asked = s->asked_revision == revision && s->asked_item == f->index;
    if (rested && !asked && !f->app->drag.active && f->has_metrics &&
        f->metrics.basis == QX_BASIS_HISTOGRAM) {
        qx_session_want_exact(f->app->session, f->index);
        s->asked_revision = revision;
        s->asked_item = f->index;
    }
    s->seen_mse = f->has_metrics ? f->metrics.mse : NAN;
    if (!rested) {
        f->app->tick_ms = f->app->now_ms + REST_MS; /* nothing else may come to draw that frame */
    }
    s->seen_revision = revision;
    s->seen_item = f->index;
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct layer_frame f;
    if (!layer_frame_full(&f, app, state)) {
        ui_put(c, r.x + 2, r.y + 2, r.w - 4, UI_STYLE_DIM,
               app->session && app->n_items > 0 ? "No layer is chosen: Esc clears the filter."
                                                : "This model has no tensors.");
        return;
    }
    app->page = 10;
    int panel = ui_layout_panel(r.w);
    layer_draw_title(&f, c, (struct ui_rect){r.x + 1, r.y, r.w - 2, 1});
    if (panel == 0) {
        layer_draw_strip_line(&f, c, (struct ui_rect){r.x + 1, r.y + 1, r.w - 2, 1});
        f.state->ladder_rect.w = 0;
        layer_draw_plots(&f, c, (struct ui_rect){r.x + 1, r.y + 2, r.w - 2, r.h - 2});
    } else {
        int gap = r.w >= 104 ? 3 : 2;
        struct ui_rect left = {r.x + 1, r.y + 1, r.w - 2 - panel - gap, r.h - 1};
        struct ui_rect right = {r.x + r.w - 1 - panel, r.y + 2, panel, r.h - 2};
        layer_draw_plots(&f, c, left);
        layer_draw_panel(&f, c, right);
    }
    want_exact(&f);
}

static const struct qx_advice_choice *choice_of(const struct qx_advice *advice, const char *name)
{
    for (int i = 0; i < advice->n; i++) {
        if (strcmp(advice->choice[i].calib->name, name) == 0) {
            return &advice->choice[i];
        }
    }
    return NULL;
}

/* What the cursor is on: why it cannot be edited, or how far it is from the least error. */
static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct layer_frame f;
    buf[0] = '\0';
    if (!layer_frame_init(&f, app, state)) {
        return;
    }
    if (!f.item->can_quantize) {
        snprintf(buf, cap, "%s", f.item->reason);
        return;
    }
    if (!f.item->has_influence) {
        snprintf(buf, cap, "the network does not use this tensor: no influence on the accuracy");
        return;
    }
    if (!f.is_scaled) {
        snprintf(buf, cap, "%s: 2 to 8 give it that many bits", f.setting->format->title);
        return;
    }
    struct qx_advice advice;
    bool drawn = f.state->seen_item == f.index &&
                 f.state->seen_revision == qx_session_revision(app->session);
    if (!drawn || !(f.state->seen_mse > 0) || !qx_session_advice(app->session, f.index, &advice)) {
        return;
    }
    const struct qx_advice_choice *best = choice_of(&advice, "mse");
    if (best && best->mse > 0) {
        char t[UI_FIG];
        double loss = 10 * log10(f.state->seen_mse / best->mse);
        if (loss < 0.05) {
            snprintf(buf, cap, "no threshold has less squared error than this one");
        } else {
            snprintf(buf, cap,
                     "%.1f dB above the least squared error, which is at %s (O goes there)", loss,
                     ui_fig_real(t, best->range.hi, 3));
        }
    }
}

/* Arrow keys move the threshold here; Enter has nothing further to open. */
static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    (void)state;
    (void)arg;
    if (cmd == UI_CMD_OPEN) {
        ui_toast(app, UI_TOAST_INFO, "this is the layer; Esc goes back to the list");
        return true;
    }
    return false;
}

const struct ui_view ui_view_layer = {
    .id = "layer",
    .title = "Layer",
    .help = "What does this threshold do to this tensor and to the model?",
    .key = 'l',
    .fkey = 3,
    .hints =
        "threshold bits snap optimum calib gran-next sym zoom log-counts residual undo explain",
    .state_size = sizeof(struct ui_layer),
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = layer_mouse,
    .explain = layer_explain,
    .crumb = ui_item_crumb,
};

/* ---- magnets, for `snap` and `optimum` ---- */

int ui_magnets(struct ui_app *app, int64_t item, struct ui_magnet *out, int cap)
{
    struct qx_advice advice;
    int n = 0;
    if (!qx_session_advice(app->session, item, &advice)) {
        return 0;
    }
    for (int i = 0; i < advice.n && n < cap; i++) {
        const struct qx_advice_choice *choice = &advice.choice[i];
        out[n++] = (struct ui_magnet){choice->calib, choice->param, choice->range, choice->mse};
    }
    return n;
}

bool ui_optimum(struct ui_app *app, int64_t item, struct qx_range *out)
{
    struct ui_magnet magnet[QX_ADVICE_CALIBS];
    int n = ui_magnets(app, item, magnet, QX_ADVICE_CALIBS), best = -1;
    for (int i = 0; i < n; i++) {
        if (!isnan(magnet[i].mse) && (best < 0 || magnet[i].mse < magnet[best].mse)) {
            best = i;
        }
    }
    if (best >= 0) {
        *out = magnet[best].range;
    }
    return best >= 0;
}
