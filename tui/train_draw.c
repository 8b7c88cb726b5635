/* Drawing of the Train screen: the loss, the figures of PTQ, QAT and FP32, the layers, and the weights of one of
 * them at every step. */
#include "train.h"

#include "figure.h"
#include "gauge_text.h"
#include "widget_hist.h"
#include "widget_plot.h"
#include "widget_table.h"
#include "widget_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LEGEND_ROWS = 4 };

/* ---- words ---- */

const char *train_quantizer(const struct qx_train_options *o)
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

/* A file of the model's folder by its name. */
static const char *below_model(const struct ui_app *app, const char *path)
{
    const char *folder = qx_model_folder(qx_session_model(app->session));
    const size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && path[n] == '/' ? path + n + 1 : path;
}

/* Which rows, in one line. */
static void draw_rows(const struct train_state *s, const struct ui_app *app, struct ui_canvas *c,
                      struct ui_rect r)
{
    const struct qx_training *t = &s->t;
    const bool is_new = t->state == QX_TRAINING_NONE;
    const struct qx_train_options *o = is_new ? &s->options : &t->options;
    const char *path = is_new ? s->data : t->data;
    char text[160] = "", list[64], name[256];
    if (!path[0] || s->reason[0]) {
        return;
    }
    if (t->n_data > 0 && o->epoch_rows > 0 && o->epoch_rows < t->n_data) {
        snprintf(text, sizeof(text), ": %lld an epoch out of %lld", (long long)o->epoch_rows,
                 (long long)t->n_data);
    } else if (t->n_data > 0) {
        snprintf(text, sizeof(text), ": %lld", (long long)t->n_data);
    }
    if (o->augment) {
        const size_t n = strlen(text);
        snprintf(text + n, sizeof(text) - n, ", %s", qx_augment_text(o->augment, list, 64));
    }
    const int room = r.w - 5 - ui_text_width(text);
    const char *last = strrchr(path, '/');
    path = below_model(app, path);
    path = ui_text_width(path) > room && last ? last + 1 : path;
    ui_fit_name(name, sizeof(name), path, room, app->glyphs);
    ui_printf(c, r.x, r.y, r.w, UI_STYLE_DIM, "rows %s%s", name, text);
}

static void draw_head(const struct train_state *s, struct ui_canvas *c, struct ui_rect r)
{
    const struct qx_training *t = &s->t;
    const struct qx_train_options *o = t->state == QX_TRAINING_NONE ? &s->options : &t->options;
    char time[UI_FIG] = "", loss[UI_FIG] = "", left[UI_FIG + 16] = "";
    int x = ui_printf(c, r.x, r.y, r.w, UI_STYLE_BOLD, "%s  ", state_word(t));
    if (t->state == QX_TRAINING_NONE) {
        ui_printf(c, r.x + x, r.y, r.w - x, UI_STYLE_DIM, "%s, %s, %d epochs, batches of %lld",
                  train_quantizer(o), optimizer_title(o), o->epochs, (long long)o->batch);
        return;
    }
    ui_fig_time(time, t->time_s);
    if (t->step > 0) {
        snprintf(loss, sizeof(loss), ", loss %.4f", t->loss);
    }
    if (t->state == QX_TRAINING_RUNNING && !t->is_paused && t->step > 0 && t->step < t->n_steps) {
        char more[UI_FIG];
        const double done = (double)t->step / (double)t->n_steps;
        snprintf(left, sizeof(left), ", ≈ %s left",
                 ui_fig_time(more, t->time_s * (1.0 - done) / done));
    }
    ui_printf(c, r.x + x, r.y, r.w - x, UI_STYLE_NORMAL, "step %lld of %lld%s, %s%s  %s, %s, %s",
              (long long)t->step, (long long)t->n_steps, loss, time, left, train_quantizer(o),
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
    int x = ui_printf(c, r.x, r.y, r.w, style, "%-5s", name);
    x += ui_printf(c, r.x + x, r.y, r.w - x, UI_STYLE_MEASURED, " %8s %8s ", text, change);
    if (ui_text_width(note) <= r.w - x) {
        ui_put(c, r.x + x, r.y, r.w - x, UI_STYLE_MEASURED, note);
    }
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

static void draw_figures(struct ui_app *app, const struct train_state *s, struct ui_canvas *c,
                         struct ui_rect r)
{
    const struct figures f = figures_of(app);
    char note[32] = "";
    double v[UI_PLOT_COLUMNS];
    const int n = 2 * r.w < UI_PLOT_COLUMNS ? 2 * r.w : UI_PLOT_COLUMNS;
    struct qx_train_epoch e;
    if (f.best > 0) {
        snprintf(note, sizeof(note), r.w < 40 ? "ep. %d" : "epoch %d", f.best);
    }
    ui_put(c, r.x, r.y, r.w, UI_STYLE_HEADER,
           r.w < 31     ? (f.is_words ? "perplexity" : "accuracy")
           : f.is_words ? "perplexity, evaluation text"
                        : "accuracy on the evaluation rows");
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

int train_frame(const struct train_state *s)
{
    return s->frame < 0 || s->frame >= s->t.n_frames ? s->t.n_frames - 1 : s->frame;
}

int train_frame_at(int x, int w, int n_frames)
{
    return w > 1 ? x * (n_frames - 1) / (w - 1) : 0;
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

/* The share on a level, frame by frame: a row of bars to click on. */
static void draw_time(struct ui_app *app, const struct train_state *s, struct ui_canvas *c)
{
    double v[UI_PLOT_COLUMNS];
    char bars[3 * UI_PLOT_COLUMNS + 1];
    struct qx_training_frame f;
    const struct ui_rect r = s->time;
    const int n = s->t.n_frames, w = r.w < UI_PLOT_COLUMNS ? r.w : UI_PLOT_COLUMNS;
    for (int i = 0; i < w; i++) {
        v[i] = qx_session_training_frame(app->session, app->cursor, train_frame_at(i, w, n), &f)
                   ? f.on_level
                   : 0.0;
    }
    ui_spark(bars, v, w, w, 1.0, app->glyphs);
    ui_put(c, r.x, r.y, w, UI_STYLE_CURVE, bars);
    for (int i = 0; i < w; i++) {
        struct ui_cell *cell = ui_canvas_at(c, r.x + i, r.y);
        if (cell && train_frame_at(i, w, n) == train_frame(s)) {
            cell->style = UI_STYLE_SELECTED;
        }
    }
}

static void draw_weights(struct ui_app *app, struct train_state *s, struct ui_canvas *c,
                         struct ui_rect r)
{
    struct qx_training_frame f;
    double counts[UI_PLOT_COLUMNS], levels[256];
    char name[96], where[96];
    const struct qx_item *item = ui_item(app);
    const int frame = train_frame(s);
    ui_fit_name(name, sizeof(name), item ? item->tensor->name : "", r.w - 2, app->glyphs);
    ui_put(c, r.x, r.y, r.w, UI_STYLE_HEADER, name);
    if (!item || !qx_session_training_frame(app->session, app->cursor, frame, &f)) {
        ui_put(c, r.x, r.y + 1, r.w, UI_STYLE_DIM,
               s->t.n_frames > 0 ? "this layer is not quantized: j k choose another"
                                 : "its weights appear here as they move");
        return;
    }
    snprintf(where, sizeof(where), "step %lld, frame %d of %d, %.0f %% on a level",
             (long long)f.step, frame + 1, s->t.n_frames, 100 * f.on_level);
    ui_put(c, r.x, r.y + 1, r.w, UI_STYLE_DIM, where);
    const int n = 2 * r.w < UI_PLOT_COLUMNS ? 2 * r.w : UI_PLOT_COLUMNS;
    const bool is_tensor = f.setting.gran == QX_GRAN_TENSOR;
    const int n_levels = qx_setting_levels(&f.setting, levels, 256);
    columns_of(&f, counts, n);
    const struct ui_hist h = {.axis = {f.axis_lo, f.axis_hi},
                              .counts = counts,
                              .n = n,
                              .min = NAN,
                              .max = NAN,
                              .unit = "",
                              .t_lo = is_tensor ? f.setting.range.lo : -1.0,
                              .t_hi = is_tensor ? f.setting.range.hi : 1.0,
                              .log = app->log_counts,
                              .levels = n_levels > 0 ? levels : NULL,
                              .n_levels = n_levels};
    ui_hist_draw(c, (struct ui_rect){r.x, r.y + 2, r.w, r.h - 3}, &h, app->glyphs);
    s->weights = r;
    s->time = (struct ui_rect){r.x, r.y + r.h - 1, r.w, 1};
    draw_time(app, s, c);
}

/* ---- layers ---- */

struct layers {
    struct ui_app *app;
    const struct train_state *s;
};

static void layer_cell(void *arg, int64_t row, int column, struct ui_cell_text *out)
{
    const struct layers *l = arg;
    const int64_t item = l->s->item[row];
    const int at = train_frame(l->s);
    struct qx_training_frame from, now;
    if (!qx_session_training_frame(l->app->session, item, 0, &from) ||
        !qx_session_training_frame(l->app->session, item, at, &now)) {
        return;
    }
    if (column == 0) {
        ui_fit_name(out->text, sizeof(out->text),
                    qx_session_item(l->app->session, item)->tensor->name, l->s->layers.w - 34,
                    l->app->glyphs);
    } else if (column < 3) {
        ui_fmt_value(out->text, sizeof(out->text), column == 1 ? from.last : now.last);
    } else {
        snprintf(out->text, sizeof(out->text), "%.0f %%", 100 * now.on_level);
    }
}

/* The layers that are trained, and where the one under the cursor stands among them. */
static int layers_find(struct ui_app *app, struct train_state *s)
{
    struct qx_training_frame f;
    int row = -1;
    s->n_items = 0;
    for (int64_t i = 0; i < qx_session_n_items(app->session) && s->n_items < TRAIN_LAYERS; i++) {
        if (qx_session_training_frame(app->session, i, 0, &f)) {
            row = i == app->cursor ? s->n_items : row;
            s->item[s->n_items++] = i;
        }
    }
    return row;
}

static void draw_layers(struct ui_app *app, struct train_state *s, struct ui_canvas *c,
                        struct ui_rect r, int row)
{
    static const struct ui_column columns[] = {
        {.title = "layer", .width = 12, .grow = 60},
        {.title = "last level", .width = 10, .is_right = true},
        {.title = "now", .width = 8, .is_right = true},
        {.title = "on levels", .width = 9, .is_right = true}};
    struct layers l = {app, s};
    if (r.h < 3 || s->n_items == 0) {
        return;
    }
    s->layers = r;
    s->top = ui_table_scroll(s->top, row, s->n_items, ui_table_page(r));
    const struct ui_table t = {.columns = columns,
                               .n_columns = 4,
                               .n_rows = s->n_items,
                               .cursor = row,
                               .top = s->top,
                               .cell = layer_cell,
                               .arg = &l};
    ui_table_draw(c, r, &t, app->glyphs);
}

/* ---- all ---- */

/* Rows from which on the layers have room on the left. */
enum { TALL = 34, LOSS_ROWS = 10, FIGURE_ROWS = 14 };

void train_draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct train_state *s = state;
    const struct ui_rect in = {r.x + 1, r.y, r.w - 2, r.h};
    qx_session_training(app->session, &s->t);
    s->time.w = s->weights.w = s->layers.w = 0;
    draw_head(s, c, in);
    draw_rows(s, app, c, (struct ui_rect){in.x, in.y + 1, in.w, 1});
    if (s->reason[0] || s->t.reason[0]) {
        ui_text_draw(c, (struct ui_rect){in.x, in.y + 2, in.w, 4}, UI_STYLE_WARN,
                     s->t.reason[0] ? s->t.reason : s->reason);
        return;
    }
    const int row = layers_find(app, s), body = in.h - 2, left = in.w * 2 / 5;
    const bool is_tall = body >= TALL && s->n_items > 0;
    const int loss = is_tall ? LOSS_ROWS : body * 2 / 5;
    const int figures = is_tall ? FIGURE_ROWS : body - loss - 1, under = in.y + 3 + loss;
    draw_loss(app, s, c, (struct ui_rect){in.x, in.y + 2, left, loss});
    draw_figures(app, s, c, (struct ui_rect){in.x, under, left, figures});
    if (is_tall) {
        const int rest = body - loss - figures - 2;
        draw_layers(app, s, c, (struct ui_rect){in.x, under + figures + 1, left, rest}, row);
    }
    draw_weights(app, s, c, (struct ui_rect){in.x + left + 3, in.y + 2, in.w - left - 3, body});
}
