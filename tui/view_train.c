/* The Train screen: quantization-aware training, watched: the loss, the accuracy of PTQ, QAT and FP32, and
 * the weights of a layer at every step. */
#include "train.h"

#include "commands.h"
#include "widget_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_bits(const struct ui_app *app)
{
    for (int64_t i = 0; i < app->n_items; i++) {
        if (qx_format_is_scaled(qx_session_setting(app->session, i)->format)) {
            return true;
        }
    }
    return false;
}

static void open_view(struct ui_app *app, void *state)
{
    struct train_state *s = state;
    struct qx_error err;
    if (s->options.epochs == 0) {
        s->options = qx_train_defaults(app->session ? qx_session_net(app->session) : NULL);
        s->frame = -1;
    }
    s->reason[0] = 0;
    if (app->session && qx_session_train_check(app->session, NULL, NULL, &err) != QX_OK) {
        snprintf(s->reason, sizeof(s->reason), "%s", err.text);
    } else if (app->session) {
        qx_session_train_data(app->session, NULL, s->data, sizeof(s->data), NULL);
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct train_state *s = state;
    qx_session_training(app->session, &s->t);
    if (s->reason[0]) {
        return;
    }
    if (s->t.state == QX_TRAINING_NONE && !has_bits(app)) {
        snprintf(buf, cap, "b gives every layer 4 bits, weights and inputs, and trains under them");
    } else if (s->t.state == QX_TRAINING_NONE) {
        snprintf(buf, cap,
                 "b starts: every layer that has bits is trained under its quantizer, the others "
                 "in float32");
    } else if (s->t.state == QX_TRAINING_DONE) {
        snprintf(buf, cap,
                 "T takes the best into the recipe, W writes it as a model folder; b trains again");
    } else if (s->t.state == QX_TRAINING_RUNNING) {
        snprintf(buf, cap,
                 "p %s, x stops and keeps the best; left and right go through time, j k through "
                 "the layers",
                 s->t.is_paused ? "goes on" : "pauses");
    }
}

/* ---- commands ---- */

/* Every linear layer at 4 bits with one scale: inputs at 4 bits as well, of networks of sequences at 8. What
 * training is there to save. */
static bool give_bits(struct ui_app *app)
{
    const int act_bits = qx_net_input_is_sequence(qx_session_net(app->session)) ? 8 : 4;
    const struct qx_patch patch = {
        .fields = QX_PATCH_BITS | QX_PATCH_GRAN | QX_PATCH_ACT_BITS,
        .value = {.bits = 4, .gran = QX_GRAN_TENSOR, .act = {.bits = act_bits}}};
    int64_t n = 0;
    for (int64_t i = 0; i < app->n_items; i++) {
        const struct qx_item *item = qx_session_item(app->session, i);
        if (item->can_quantize && item->role == QX_ROLE_LINEAR) {
            app->targets[n++] = i;
        }
    }
    return n > 0 && ui_edit(app, app->targets, n, &patch, false);
}

static bool start(struct ui_app *app, struct train_state *s, const char *arg)
{
    struct qx_error err;
    if (*arg) {
        char *end;
        const long epochs = strtol(arg, &end, 10);
        if (*end || epochs < 1 || epochs > 100000) {
            return ui_refuse(app, "train takes a number of epochs, not '%s'", arg);
        }
        s->options.epochs = (int)epochs;
    }
    const bool is_plain = !has_bits(app);
    if (!s->reason[0] && is_plain && !give_bits(app)) {
        return app->toast[0] ? false : ui_refuse(app, "there is no linear layer to quantize");
    }
    if (qx_session_train(app->session, NULL, &s->options, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    s->frame = -1;
    ui_toast(app, UI_TOAST_INFO, "%straining starts from the stored weights; x stops it",
             is_plain ? "4 bits for every layer (u takes them back), and " : "");
    return true;
}

/* The next row of a table, or the one named. */
static bool quantizer(struct ui_app *app, struct train_state *s, const char *arg)
{
    struct qx_error err;
    const struct qx_quantizer *q = s->options.quantizer;
    if (*arg) {
        if (qx_quantizer_find(arg, &q, &err) != QX_OK) {
            return ui_refuse(app, "%s", err.text);
        }
    } else {
        int i = 0;
        while (q && qx_quantizer_at(i) != q) {
            i++;
        }
        q = qx_quantizer_at((i + 1) % qx_quantizer_count());
    }
    s->options.quantizer = q;
    ui_toast(app, UI_TOAST_INFO, "%s: %s", q->title, q->help);
    return true;
}

static bool show_frame(struct train_state *s, int frame)
{
    const int last = s->t.n_frames - 1;
    frame = frame < 0 ? 0 : frame;
    s->frame = frame >= last ? -1 : frame;
    return true;
}

/* The next layer that is trained; without any the table's command moves. */
static bool step(struct ui_app *app, const struct train_state *s, int direction)
{
    struct qx_training_frame f;
    if (s->t.n_frames == 0) {
        return false;
    }
    for (int64_t row = app->row + direction; row >= 0 && row < app->n_rows; row += direction) {
        if (qx_session_training_frame(app->session, app->rows[row], 0, &f)) {
            ui_rows_move(app, row);
            return true;
        }
    }
    ui_refuse(app, "no other layer is trained there");
    return true; /* it stays here */
}

/* PTQ as A beside QAT as B. */
static bool take(struct ui_app *app)
{
    struct qx_error err;
    if (!qx_session_has_snapshot(app->session)) {
        qx_session_snapshot(app->session);
    }
    const enum qx_status st = qx_session_train_take(app->session, &err);
    if (st != QX_OK) {
        return ui_refuse(app, "%s%s",
                         st == QX_EUNSUPPORTED ? "W writes a folder with all of it. " : "",
                         err.text);
    }
    ui_toast(app, UI_TOAST_INFO,
             "the recipe has the trained weights; A is the one before: ` flips, g c compares");
    return true;
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct train_state *s = state;
    struct qx_error err;
    qx_session_training(app->session, &s->t);
    const bool is_live = s->t.job != 0;
    switch (cmd) {
    case UI_CMD_TRAIN:
        return start(app, s, arg);
    case UI_CMD_TRAIN_PAUSE:
        if (!is_live) {
            return ui_refuse(app, "no training runs");
        }
        qx_session_train_pause(app->session, !s->t.is_paused);
        return true;
    case UI_CMD_TRAIN_QUANTIZER:
        return quantizer(app, s, arg);
    case UI_CMD_LEFT:
        return show_frame(s, train_frame(s) - 1);
    case UI_CMD_RIGHT:
        return show_frame(s, train_frame(s) + 1);
    case UI_CMD_TRAIN_FRAME:
        return show_frame(s, (int)strtol(arg, NULL, 10) - 1);
    case UI_CMD_UP:
        return step(app, s, -1);
    case UI_CMD_DOWN:
        return step(app, s, 1);
    case UI_CMD_CANCEL:
        if (!is_live) {
            return false;
        }
        qx_session_train_stop(app->session);
        ui_toast(app, UI_TOAST_INFO, "stopping: what is best so far is kept");
        return true;
    case UI_CMD_TRAIN_TAKE:
        return take(app);
    case UI_CMD_WRITE:
        if (s->t.state != QX_TRAINING_DONE) {
            return ui_refuse(app, "nothing was trained yet: b starts");
        }
        if (qx_session_train_keep(app->session, arg, &err) != QX_OK) {
            return ui_refuse(app, "%s", err.text);
        }
        ui_toast(app, UI_TOAST_INFO, "writing the trained model into %s", arg);
        return true;
    default:
        return false;
    }
}

/* ---- hands ---- */

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct train_state *s = state;
    (void)r;
    if (m->kind == UI_MOUSE_WHEEL) {
        return ui_rect_has(s->weights, m->x, m->y) &&
               ui_do(app, m->wheel < 0 ? UI_CMD_LEFT : UI_CMD_RIGHT, "");
    }
    if (m->kind == UI_MOUSE_RELEASE || m->button != 0) {
        return false;
    }
    if (ui_rect_has(s->time, m->x, m->y)) {
        return ui_dof(app, UI_CMD_TRAIN_FRAME, "%d",
                      train_frame_at(m->x - s->time.x, s->time.w, s->t.n_frames) + 1);
    }
    const struct ui_table t = {.n_rows = s->n_items, .top = s->top};
    const int64_t row = m->kind == UI_MOUSE_PRESS && ui_rect_has(s->layers, m->x, m->y)
                            ? ui_table_hit(s->layers, &t, m->x, m->y)
                            : -1;
    return row >= 0 &&
           ui_do(app, UI_CMD_SELECT, qx_session_item(app->session, s->item[row])->tensor->name);
}

static bool explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    struct train_state *s = state;
    qx_session_training(app->session, &s->t);
    const struct qx_train_options *o = s->t.state == QX_TRAINING_NONE ? &s->options : &s->t.options;
    if (n > 0) {
        return false;
    }
    snprintf(out->title, sizeof(out->title), "training with quantization in the loop");
    ui_explain_add(out, "Forwards the network sees rounded weights and inputs; backwards the");
    ui_explain_add(out, "gradient passes the rounding as if it were not there, within the range.");
    ui_explain_add(out, " ");
    ui_explain_add(out, "%s: %s", train_quantizer(o),
                   (o->quantizer ? o->quantizer : qx_quantizer_at(0))->help);
    ui_explain_add(out, "loss = %.2g x KL against float32 (T = %.2g) + %.2g x cross entropy",
                   o->distill, o->temperature, 1 - o->distill);
    ui_explain_add(out, "One row in twenty is held out; its loss decides which epoch is best.");
    ui_explain_add(out, "Figures: all evaluation rows, simulated quantization, measured.");
    ui_explain_add(out, " ");
    ui_explain_add(out, "The histogram shows the weights before rounding, with the levels of that");
    ui_explain_add(out,
                   "step; with scales for channels or groups, in shares of their last levels.");
    ui_explain_add(out, "On a level: within a tenth of a step; weights anywhere: 20 %%.");
    ui_explain_add(out, "What is written lies on the levels.");
    return true;
}

const struct ui_view ui_view_train = {
    .id = "train",
    .title = "Train",
    .help = "What does training with quantization in the loop win back?",
    .key = 't',
    .fkey = 8,
    .hints = "train pause cancel take-trained write quantizer explain",
    .state_size = sizeof(struct train_state),
    .open = open_view,
    .draw = train_draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .explain = explain,
};
