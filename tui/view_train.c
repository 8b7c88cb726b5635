/* The Train screen: quantization-aware training, watched: the loss, the accuracy of PTQ, QAT and FP32, and
 * the weights of a layer at every step. */
#include "view.h"

#include "commands.h"
#include "figure.h"
#include "gauge_text.h"
#include "widget_hist.h"
#include "widget_plot.h"
#include "widget_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEGEND_ROWS = 4 };

struct train_state {
    struct qx_training t; /* as drawn last */
    struct qx_train_options options;
    int frame; /* shown; -1 = the newest */
    char reason[512];
};

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
    }
}

/* ---- words ---- */

static const char *quantizer_title(const struct qx_train_options *o)
{
    return (o->quantizer ? o->quantizer : qx_quantizer_at(0))->title;
}

static const char *optimizer_title(const struct qx_train_options *o)
{
    return (o->optimizer ? o->optimizer : qx_optimizer_at(0))->title;
}

static const char *state_word(const struct qx_training *t)
{
    static const char *const ends[] = {[QX_TRAIN_DONE] = "done",
                                       [QX_TRAIN_EARLY] = "done: no epoch was better for a while",
                                       [QX_TRAIN_STOPPED] = "stopped, the best is kept",
                                       [QX_TRAIN_DIVERGED] =
                                           "the loss was no number: stopped, the best is kept"};
    switch (t->state) {
    case QX_TRAINING_NONE:
        return "not started";
    case QX_TRAINING_QUEUED:
        return "waits for the jobs before it";
    case QX_TRAINING_RUNNING:
        return t->is_stopping ? "stopping" : t->is_paused ? "paused" : "running";
    case QX_TRAINING_FAILED:
        return "failed";
    case QX_TRAINING_DONE:
        break;
    }
    return ends[t->end];
}

static void draw_head(const struct train_state *s, struct ui_canvas *c, struct ui_rect r)
{
    const struct qx_training *t = &s->t;
    const struct qx_train_options *o = t->state == QX_TRAINING_NONE ? &s->options : &t->options;
    char time[UI_FIG] = "", loss[UI_FIG] = "";
    int x = ui_printf(c, r.x, r.y, r.w, UI_STYLE_BOLD, "%s  ", state_word(t));
    if (t->state == QX_TRAINING_NONE) {
        ui_printf(c, r.x + x, r.y, r.w - x, UI_STYLE_DIM, "%s, %s, %d epochs, batches of %lld",
                  quantizer_title(o), optimizer_title(o), o->epochs, (long long)o->batch);
        return;
    }
    ui_fig_time(time, t->time_s);
    if (t->step > 0) {
        snprintf(loss, sizeof(loss), ", loss %.4f", t->loss);
    }
    ui_printf(c, r.x + x, r.y, r.w - x, UI_STYLE_NORMAL, "step %lld of %lld%s, %s  %s, %s, %s",
              (long long)t->step, (long long)t->n_steps, loss, time, quantizer_title(o),
              optimizer_title(o), t->setting);
}

/* ---- loss ---- */

static void draw_loss(struct ui_app *app, const struct train_state *s, struct ui_canvas *c,
                      struct ui_rect r)
{
    double v[UI_PLOT_COLUMNS], lo = INFINITY, hi = 0.0;
    const int n = 2 * r.w < UI_PLOT_COLUMNS ? 2 * r.w : UI_PLOT_COLUMNS;
    struct qx_training_point p;
    char a[UI_FIG], b[UI_FIG];
    for (int i = 0; qx_session_training_point(app->session, i, &p); i++) {
        lo = p.loss < lo ? p.loss : lo;
        hi = p.loss > hi ? p.loss : hi;
    }
    ui_put(c, r.x, r.y, r.w, UI_STYLE_HEADER, "loss of the batches");
    if (s->t.n_points == 0 || r.h < 3) {
        return;
    }
    ui_put_right(c, r.x, r.y, r.w, UI_STYLE_DIM, ui_fig_real(a, hi, 3));
    ui_put_right(c, r.x, r.y + r.h - 1, r.w, UI_STYLE_DIM, ui_fig_real(b, lo, 3));
    for (int i = 0; i < n; i++) {
        v[i] = NAN;
    }
    for (int i = 0; qx_session_training_point(app->session, i, &p); i++) {
        const int at = (int)((p.step - 1) * n / (s->t.n_steps > 0 ? s->t.n_steps : 1));
        v[at < n ? at : n - 1] = hi > lo ? (p.loss - lo) / (hi - lo) : 0.5;
    }
    for (int i = 1, from = -1; i < n; i++) { /* a line between points that are columns apart */
        from = isfinite(v[i - 1]) ? i - 1 : from;
        if (isfinite(v[i]) && from >= 0) {
            for (int k = from + 1; k < i; k++) {
                v[k] = v[from] + (v[i] - v[from]) * (k - from) / (i - from);
            }
        }
    }
    ui_plot_line(c, (struct ui_rect){r.x, r.y + 1, r.w, r.h - 2}, v, n, UI_STYLE_CURVE,
                 app->glyphs);
}

/* ---- what is measured: accuracy, or perplexity ---- */

struct figures {
    bool is_words;
    double fp32, ptq, qat; /* NaN = unknown; qat: of the best epoch so far */
    int best;
};

static double figure_of(const struct qx_train_epoch *e)
{
    return isnan(e->perplexity) ? e->accuracy : e->perplexity;
}

static struct figures figures_of(struct ui_app *app)
{
    struct figures f = {false, NAN, NAN, NAN, 0};
    struct qx_gauge g;
    struct qx_train_epoch e;
    qx_session_gauge(app->session, &g);
    f.is_words = g.is_words;
    if (g.is_words) {
        f.fp32 = g.fp32_perplexity;
    } else if (g.fp32_correct >= 0 && g.n > 0) {
        f.fp32 = (double)g.fp32_correct / (double)g.n;
    }
    for (int i = 0; qx_session_training_epoch(app->session, i, &e); i++) {
        if (i == 0) {
            f.ptq = figure_of(&e);
        } else if (e.is_best || isnan(f.qat)) {
            f.qat = figure_of(&e);
            f.best = e.epoch;
        }
    }
    return f;
}

static void legend_row(struct ui_canvas *c, struct ui_rect r, enum ui_style_id style,
                       const char *name, double value, const struct figures *f, const char *note)
{
    char change[UI_FIG] = "", text[UI_FIG];
    if (isnan(value)) {
        ui_printf(c, r.x, r.y, r.w, UI_STYLE_DIM, "%-5s not measured yet", name);
        return;
    }
    if (value != f->fp32 && !isnan(f->fp32)) {
        if (f->is_words) {
            ui_fig_increase(change, value / f->fp32 - 1);
        } else {
            ui_fig_points(change, value - f->fp32);
        }
    }
    if (f->is_words) {
        ui_fig_real(text, value, 4);
    } else {
        snprintf(text, sizeof(text), "%.2f %%", 100 * value);
    }
    const int x = ui_printf(c, r.x, r.y, r.w, style, "%-5s", name);
    ui_printf(c, r.x + x, r.y, r.w - x, UI_STYLE_MEASURED, " %8s %9s %s", text, change, note);
}

/* Where a figure lies between the ends of the plot. */
struct scale {
    double lo, hi;
};

static double height_of(const struct scale *s, double figure)
{
    return (figure - s->lo) / (s->hi - s->lo);
}

/* One height for each column between epochs; n_epochs of them fill the width. */
static void curve(struct ui_app *app, int n_epochs, const struct scale *s, double *v, int n)
{
    struct qx_train_epoch a, b;
    for (int i = 0; i < n; i++) {
        const double at = (double)i * n_epochs / (n > 1 ? n - 1 : 1);
        const int k = (int)at;
        v[i] = NAN;
        if (!qx_session_training_epoch(app->session, k, &a)) {
            continue;
        }
        const double part = at - k, from = figure_of(&a);
        if (part < 1e-9) {
            v[i] = height_of(s, from);
        } else if (qx_session_training_epoch(app->session, k + 1, &b)) {
            v[i] = height_of(s, from + part * (figure_of(&b) - from));
        }
    }
}

static void level(double *v, int n, double height)
{
    for (int i = 0; i < n; i++) {
        v[i] = i % 6 < 3 ? height : NAN;
    }
}

static void draw_accuracy(struct ui_app *app, const struct train_state *s, struct ui_canvas *c,
                          struct ui_rect r)
{
    const struct figures f = figures_of(app);
    char note[32] = "";
    double v[UI_PLOT_COLUMNS];
    const int n = 2 * r.w < UI_PLOT_COLUMNS ? 2 * r.w : UI_PLOT_COLUMNS;
    struct qx_train_epoch e;
    if (f.best > 0) {
        snprintf(note, sizeof(note), "epoch %d", f.best);
    }
    ui_put(c, r.x, r.y, r.w, UI_STYLE_HEADER,
           f.is_words ? "perplexity on the evaluation text" : "accuracy on the evaluation rows");
    legend_row(c, (struct ui_rect){r.x, r.y + 1, r.w, 1}, UI_STYLE_NORMAL, "FP32", f.fp32, &f, "");
    legend_row(c, (struct ui_rect){r.x, r.y + 2, r.w, 1}, UI_STYLE_SIDE_A, "PTQ", f.ptq, &f, "");
    legend_row(c, (struct ui_rect){r.x, r.y + 3, r.w, 1}, UI_STYLE_SIDE_B, "QAT", f.qat, &f, note);
    const struct ui_rect plot = {r.x, r.y + LEGEND_ROWS, r.w, r.h - LEGEND_ROWS};
    if (plot.h < 2 || isnan(f.ptq)) {
        return;
    }
    const double fp32 = isnan(f.fp32) ? f.ptq : f.fp32;
    struct scale scale = {fmin(f.ptq, fp32), fmax(f.ptq, fp32)};
    for (int i = 0; qx_session_training_epoch(app->session, i, &e); i++) {
        scale.lo = fmin(scale.lo, figure_of(&e));
        scale.hi = fmax(scale.hi, figure_of(&e));
    }
    const double room = fmax(0.05 * (scale.hi - scale.lo), 1e-4);
    scale.lo -= room;
    scale.hi += room;
    if (!isnan(f.fp32)) {
        level(v, n, height_of(&scale, f.fp32));
        ui_plot_line(c, plot, v, n, UI_STYLE_DIM, app->glyphs);
    }
    level(v, n, height_of(&scale, f.ptq));
    ui_plot_line(c, plot, v, n, UI_STYLE_SIDE_A, app->glyphs);
    curve(app, s->t.options.epochs, &scale, v, n);
    ui_plot_line(c, plot, v, n, UI_STYLE_SIDE_B, app->glyphs);
}

/* ---- weights ---- */

static int frame_at(const struct train_state *s)
{
    return s->frame < 0 || s->frame >= s->t.n_frames ? s->t.n_frames - 1 : s->frame;
}

/* The frame's columns as n others over the same axis. */
static void columns_of(const struct qx_training_frame *f, double *out, int n)
{
    for (int i = 0; i < n; i++) {
        const double a = (double)i * QX_TRAINING_COLUMNS / n;
        const double b = (double)(i + 1) * QX_TRAINING_COLUMNS / n;
        out[i] = 0.0;
        for (int k = (int)a; k < QX_TRAINING_COLUMNS && k < b; k++) {
            const double from = fmax(a, k), to = fmin(b, k + 1);
            out[i] += (double)f->count[k] * (to - from);
        }
    }
}

static void draw_weights(struct ui_app *app, const struct train_state *s, struct ui_canvas *c,
                         struct ui_rect r)
{
    struct qx_training_frame f;
    double counts[UI_PLOT_COLUMNS], levels[256];
    char name[96], where[96];
    const struct qx_item *item = ui_item(app);
    const int frame = frame_at(s);
    ui_fit_name(name, sizeof(name), item ? item->tensor->name : "", r.w - 2, app->glyphs);
    ui_put(c, r.x, r.y, r.w, UI_STYLE_HEADER, name);
    if (!item || !qx_session_training_frame(app->session, app->cursor, frame, &f)) {
        ui_put(c, r.x, r.y + 1, r.w, UI_STYLE_DIM,
               s->t.n_frames > 0 ? "this layer is not quantized: j k choose another"
                                 : "its weights appear here as they move");
        return;
    }
    int x = snprintf(where, sizeof(where), "step %lld, frame %d of %d", (long long)f.step,
                     frame + 1, s->t.n_frames);
    if (!isnan(f.on_level)) {
        snprintf(where + x, sizeof(where) - (size_t)x, ", %.0f %% on a level", 100 * f.on_level);
    }
    ui_put(c, r.x, r.y + 1, r.w, UI_STYLE_DIM, where);
    const int n = 2 * r.w < UI_PLOT_COLUMNS ? 2 * r.w : UI_PLOT_COLUMNS;
    const bool is_tensor = f.setting.gran == QX_GRAN_TENSOR;
    const int n_levels = is_tensor ? qx_setting_levels(&f.setting, levels, 256) : 0;
    columns_of(&f, counts, n);
    const struct ui_hist h = {.axis = {f.axis_lo, f.axis_hi},
                              .counts = counts,
                              .n = n,
                              .min = NAN,
                              .max = NAN,
                              .unit = "",
                              .t_lo = is_tensor ? f.setting.range.lo : NAN,
                              .t_hi = is_tensor ? f.setting.range.hi : NAN,
                              .log = app->log_counts,
                              .levels = n_levels > 0 ? levels : NULL,
                              .n_levels = n_levels};
    ui_hist_draw(c, (struct ui_rect){r.x, r.y + 2, r.w, r.h - 2}, &h, app->glyphs);
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct train_state *s = state;
    const struct ui_rect in = {r.x + 1, r.y, r.w - 2, r.h};
    qx_session_training(app->session, &s->t);
    draw_head(s, c, in);
    if (s->reason[0] || s->t.reason[0]) {
        ui_text_draw(c, (struct ui_rect){in.x, in.y + 2, in.w, 4}, UI_STYLE_WARN,
                     s->t.reason[0] ? s->t.reason : s->reason);
        return;
    }
    const int left = in.w * 2 / 5, body = in.h - 2, loss = body * 2 / 5;
    const struct ui_rect a = {in.x, in.y + 2, left, loss};
    const struct ui_rect b = {in.x, in.y + 3 + loss, left, body - loss - 1};
    const struct ui_rect w = {in.x + left + 3, in.y + 2, in.w - left - 3, body};
    draw_loss(app, s, c, a);
    draw_accuracy(app, s, c, b);
    draw_weights(app, s, c, w);
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct train_state *s = state;
    qx_session_training(app->session, &s->t);
    if (s->reason[0]) {
        return;
    }
    if (s->t.state == QX_TRAINING_NONE) {
        snprintf(buf, cap,
                 "b starts: every layer that has bits is trained under its quantizer, the "
                 "others in float32");
    } else if (s->t.state == QX_TRAINING_DONE) {
        snprintf(buf, cap,
                 "W writes the best as a model folder; b trains again from the stored "
                 "weights");
    } else if (s->t.state == QX_TRAINING_RUNNING) {
        snprintf(buf, cap,
                 "p %s, x stops and keeps the best; left and right go through time, j k "
                 "through the layers",
                 s->t.is_paused ? "goes on" : "pauses");
    }
}

/* ---- commands ---- */

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
    if (qx_session_train(app->session, NULL, &s->options, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    s->frame = -1;
    ui_toast(app, UI_TOAST_INFO, "training starts from the stored weights; x stops it");
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

static bool scrub(struct train_state *s, int by)
{
    const int last = s->t.n_frames - 1;
    int at = frame_at(s) + by;
    at = at < 0 ? 0 : at;
    s->frame = at >= last ? -1 : at;
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
        return scrub(s, -1);
    case UI_CMD_RIGHT:
        return scrub(s, 1);
    case UI_CMD_CANCEL:
        if (!is_live) {
            return false;
        }
        qx_session_train_stop(app->session);
        ui_toast(app, UI_TOAST_INFO, "stopping: what is best so far is kept");
        return true;
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
    ui_explain_add(out, "%s: %s", quantizer_title(o),
                   (o->quantizer ? o->quantizer : qx_quantizer_at(0))->help);
    ui_explain_add(out, "loss = %.2g x KL against float32 (T = %.2g) + %.2g x cross entropy",
                   o->distill, o->temperature, 1 - o->distill);
    ui_explain_add(out, "One row in twenty is held out; its loss decides which epoch is best.");
    ui_explain_add(out, "Figures: all evaluation rows, simulated quantization, measured.");
    ui_explain_add(out, " ");
    ui_explain_add(out, "The histogram shows the weights before rounding, with the levels of that");
    ui_explain_add(out, "step (one scale per tensor only). What is written lies on the levels.");
    return true;
}

const struct ui_view ui_view_train = {
    .id = "train",
    .title = "Train",
    .help = "What does training with quantization in the loop win back?",
    .key = 't',
    .fkey = 8,
    .hints = "train pause cancel quantizer write explain",
    .state_size = sizeof(struct train_state),
    .open = open_view,
    .draw = draw,
    .status = status,
    .command = command,
    .explain = explain,
};
