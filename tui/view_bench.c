/* The Bench screen: the network in the formats one would ship it in, measured here and now. */
#include "view.h"

#include "bench_text.h"
#include "commands.h"
#include "gauge_text.h"
#include "list.h"
#include "widget_plot.h"
#include "widget_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum column {
    COL_MARK,
    COL_NAME,
    COL_SIZE,
    COL_BITS,
    COL_LATENCY,
    COL_SPREAD,
    COL_SPEED,
    COL_ACCURACY,
    COL_CHANGE,
    COL_THROUGHPUT,
    COL_ENERGY,
    COL_MOVED,
    COL_ENGINE,
    COL_KERNEL,
    COL_COUNT
};
enum { MAX_ROWS = 17, TEXT_ROWS = 4 };

static const struct ui_column columns[COL_COUNT] = {
    [COL_MARK] = {"", 1, 0, 0, false},
    [COL_NAME] = {"variant", 12, 0, 0, false},
    [COL_SIZE] = {"size", 9, 0, 0, true},
    [COL_BITS] = {"bits", 5, 0, 4, true},
    [COL_LATENCY] = {"ms", 8, 0, 0, true},
    [COL_SPREAD] = {"[p5 p95]", 15, 0, 3, false},
    [COL_SPEED] = {"speed", 6, 0, 0, true},
    [COL_ACCURACY] = {"acc %", 6, 0, 0, true},
    [COL_CHANGE] = {"against FP32", 12, 0, 2, true},
    [COL_THROUGHPUT] = {"samples/s", 10, 0, 5, true},
    [COL_ENERGY] = {"J/sample", 9, 0, 6, true},
    [COL_MOVED] = {"moved", 8, 0, 9, true},
    [COL_ENGINE] = {"engine", 9, 0, 8, false},
    [COL_KERNEL] = {"kernel", 20, 30, 7, false},
};

struct bench_state {
    int cursor;
    int64_t top;
    struct ui_rect table;
    struct qx_bench_row row[MAX_ROWS]; /* as drawn last */
    int n;
};

static void rows_take(struct ui_app *app, struct bench_state *s)
{
    s->n = 0;
    while (s->n < MAX_ROWS && qx_session_bench_row(app->session, s->n, &s->row[s->n])) {
        s->n++;
    }
}

static const char *state_word(const struct qx_bench_row *r)
{
    switch (r->state) {
    case QX_BENCH_NONE:
        return "not measured";
    case QX_BENCH_QUEUED:
        return "queued";
    case QX_BENCH_RUNNING:
        return "running";
    case QX_BENCH_FAILED:
        return "cannot run";
    case QX_BENCH_CANCELLED:
        return "cancelled";
    case QX_BENCH_DONE:
        break;
    }
    return "";
}

static enum ui_style_id state_style(const struct qx_bench_row *r)
{
    return r->state == QX_BENCH_RUNNING  ? UI_STYLE_VALUE
           : r->state == QX_BENCH_FAILED ? UI_STYLE_BAD
                                         : UI_STYLE_DIM;
}

static void latency_cell(const struct qx_bench_row *r, struct ui_cell_text *out)
{
    char a[UI_FIG];
    snprintf(out->text, sizeof(out->text), "%s",
             ui_fig_real(a, qx_latency_ms(&r->figures.latency), 3));
    out->style = UI_STYLE_MEASURED;
}

static void spread_cell(const struct qx_latency *l, struct ui_cell_text *out)
{
    out->style = UI_STYLE_DIM;
    if (l->n_runs >= QX_LATENCY_RUNS) {
        char a[UI_FIG], b[UI_FIG];
        const int digits = l->p95_ms < 0.1 ? 2 : 3; /* as many as the column holds */
        snprintf(out->text, sizeof(out->text), "[%s %s]", ui_fig_real(a, l->p5_ms, digits),
                 ui_fig_real(b, l->p95_ms, digits));
    } else {
        snprintf(out->text, sizeof(out->text), "mean of %d", l->n_runs);
    }
}

static void change_cell(const struct bench_state *s, const struct qx_bench_row *r,
                        struct ui_cell_text *out)
{
    const struct qx_bench_row *fp32 = ui_bench_done(s->row, s->n, "fp32");
    if (fp32 && fp32 != r) {
        char a[UI_FIG];
        snprintf(out->text, sizeof(out->text), "%s",
                 isnan(r->perplexity) ? ui_fig_points(a, r->accuracy - fp32->accuracy)
                                      : ui_fig_increase(a, r->perplexity / fp32->perplexity - 1));
    }
}

static void figure_cell(const struct bench_state *s, const struct qx_bench_row *r,
                        enum column column, struct ui_cell_text *out)
{
    const struct qx_bench_figures *f = &r->figures;
    char a[UI_FIG];
    switch (column) {
    case COL_SIZE:
        ui_fmt_bytes(out->text, sizeof(out->text), (double)r->bytes);
        break;
    case COL_BITS:
        snprintf(out->text, sizeof(out->text), "%.2f", r->bits_per_weight);
        break;
    case COL_LATENCY:
        latency_cell(r, out);
        break;
    case COL_SPREAD:
        spread_cell(&f->latency, out);
        break;
    case COL_SPEED:
        if (!isnan(r->speedup)) {
            snprintf(out->text, sizeof(out->text), "%.2f", r->speedup);
        }
        break;
    case COL_ACCURACY:
        if (isnan(r->perplexity)) {
            snprintf(out->text, sizeof(out->text), "%.2f", 100 * r->accuracy);
        } else {
            ui_fig_real(out->text, r->perplexity, 4);
        }
        out->style = UI_STYLE_MEASURED;
        break;
    case COL_CHANGE:
        change_cell(s, r, out);
        break;
    case COL_THROUGHPUT:
        snprintf(out->text, sizeof(out->text), "%.0f", f->throughput);
        break;
    case COL_ENERGY:
        snprintf(out->text, sizeof(out->text), "%s",
                 isnan(f->energy_j) ? "none" : ui_fig_real(a, f->energy_j, 3));
        out->style = isnan(f->energy_j) ? UI_STYLE_DIM : UI_STYLE_NORMAL;
        break;
    case COL_MOVED:
        ui_fmt_bytes(out->text, sizeof(out->text), r->bytes_moved);
        out->style = UI_STYLE_DIM;
        break;
    case COL_ENGINE:
        snprintf(out->text, sizeof(out->text), "%s", ui_bench_engine(r));
        out->style = UI_STYLE_DIM;
        break;
    case COL_KERNEL:
        snprintf(out->text, sizeof(out->text), "%s", f->kernel);
        out->style = UI_STYLE_DIM;
        break;
    default:
        break;
    }
}

struct cell_arg {
    struct ui_app *app;
    const struct bench_state *s;
};

static void row_cell(void *arg, int64_t at, int column, struct ui_cell_text *out)
{
    const struct cell_arg *c = arg;
    const struct qx_bench_row *r = &c->s->row[at];
    if (column == COL_MARK) {
        snprintf(out->text, sizeof(out->text), "%s",
                 at == c->s->cursor ? ui_sym(c->app->glyphs, UI_SYM_CURSOR) : "");
    } else if (column == COL_NAME) {
        snprintf(out->text, sizeof(out->text), "%s", r->variant->title);
    } else if (r->state == QX_BENCH_DONE) {
        figure_cell(c->s, r, (enum column)column, out);
        out->style = r->is_stale ? UI_STYLE_PREDICTED : out->style;
    }
}

/* Rows without figures say across their columns why. */
static void draw_states(const struct bench_state *s, struct ui_canvas *c, enum ui_glyphs glyphs)
{
    int x[COL_COUNT], width[COL_COUNT];
    ui_table_layout(columns, COL_COUNT, s->table.w - 2, x, width);
    for (int k = 0; k < ui_table_page(s->table) && s->top + k < s->n; k++) {
        const struct qx_bench_row *r = &s->row[s->top + k];
        char text[320];
        if (r->state != QX_BENCH_DONE) {
            snprintf(text, sizeof(text), "%s%s%s", state_word(r), r->reason[0] ? ": " : "",
                     r->reason);
            ui_put_cut(c, s->table.x + x[COL_SIZE], s->table.y + 1 + k,
                       s->table.w - x[COL_SIZE] - 2,
                       s->top + k == s->cursor ? UI_STYLE_SELECTED : state_style(r), text, glyphs);
        }
    }
}

/* Latencies side by side. Returns the rows used. */
static int draw_bars(struct ui_app *app, const struct bench_state *s, struct ui_canvas *c,
                     struct ui_rect r)
{
    enum { W_NAME = 14, W_FIGURE = 12 };
    double most = 0;
    int n = 0;
    for (int i = 0; i < s->n; i++) {
        const double t = qx_latency_ms(&s->row[i].figures.latency);
        most = s->row[i].state == QX_BENCH_DONE && t > most ? t : most;
    }
    const int w = r.w - W_NAME - W_FIGURE;
    for (int i = 0; i < s->n && n < r.h && w > 8 && most > 0; i++) {
        if (s->row[i].state == QX_BENCH_DONE) {
            const double t = qx_latency_ms(&s->row[i].figures.latency);
            char text[UI_FIG + 4], ms[UI_FIG];
            snprintf(text, sizeof(text), "%s ms", ui_fig_real(ms, t, 3));
            ui_put(c, r.x, r.y + n, W_NAME, UI_STYLE_NORMAL, s->row[i].variant->title);
            ui_bar(c, r.x + W_NAME, r.y + n, w, t / most, UI_STYLE_MEASURED, UI_STYLE_FRAME,
                   app->glyphs);
            ui_put(c, r.x + W_NAME + w + 1, r.y + n, W_FIGURE - 1, UI_STYLE_DIM, text);
            n++;
        }
    }
    return n;
}

static void head_text(struct ui_app *app, const struct bench_state *s, char *buf, size_t cap)
{
    const struct qx_latency *l = NULL;
    for (int i = 0; i < s->n && !l; i++) {
        l = s->row[i].state == QX_BENCH_DONE ? &s->row[i].figures.latency : NULL;
    }
    const int threads = qx_session_threads(app->session);
    int at = snprintf(buf, cap, "one sample, %d thread%s, %s", threads, threads > 1 ? "s" : "",
                      qx_isa_name(qx_cpu_get()->isa));
    if (l && at > 0 && (size_t)at < cap) {
        at += snprintf(buf + at, cap - (size_t)at, ", median [p5 p95] of %d runs after %d",
                       l->n_runs, l->n_warmup);
    }
    const struct qx_net *net = qx_session_net(app->session);
    if (net && app->w >= 110 && (size_t)at < cap) {
        char macs[UI_FIG];
        snprintf(buf + at, cap - (size_t)at, "; %s multiply-adds",
                 ui_fig_short(macs, qx_net_macs(net)));
    }
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct bench_state *s = state;
    char head[200], half[UI_BENCH_TEXT];
    const struct ui_rect in = {r.x + 1, r.y, r.w - 2, r.h};
    rows_take(app, s);
    head_text(app, s, head, sizeof(head));
    ui_put(c, in.x, in.y, in.w, UI_STYLE_DIM, head);
    const int table_h = s->n + 1 < r.h - 1 ? s->n + 1 : r.h - 1;
    s->table = (struct ui_rect){in.x, in.y + 1, in.w, table_h};
    app->page = ui_table_page(s->table);
    s->top = ui_table_scroll(s->top, s->cursor, s->n, app->page);
    struct cell_arg arg = {app, s};
    struct ui_column shown[COL_COUNT];
    const struct qx_net *net = qx_session_net(app->session);
    memcpy(shown, columns, sizeof(shown));
    shown[COL_ACCURACY].title = net && qx_net_is_words(net) ? "ppl" : columns[COL_ACCURACY].title;
    struct ui_table table = {shown, COL_COUNT, s->n, s->cursor, s->top, row_cell, &arg};
    ui_table_draw(c, s->table, &table, app->glyphs);
    draw_states(s, c, app->glyphs);
    int y = s->table.y + s->table.h + 1;
    const int end = r.y + r.h;
    if (ui_bench_half_text(half, s->row, s->n) && y + 1 < end) {
        const struct ui_rect text = {in.x, y, in.w, end - y < TEXT_ROWS ? end - y : TEXT_ROWS};
        y += ui_text_draw(c, text, UI_STYLE_NORMAL, half) + 1;
    }
    if (y < end) {
        draw_bars(app, s, c, (struct ui_rect){in.x, y, in.w, end - y});
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    const struct bench_state *s = state;
    struct qx_bench_row r;
    if (qx_session_bench_row(app->session, s->cursor, &r) && r.is_stale) {
        snprintf(buf, cap, "the recipe was edited since: Enter measures it as it stands now");
    } else if (qx_session_bench_row(app->session, s->cursor, &r)) {
        snprintf(buf, cap, "%s%s%s", r.reason[0] ? r.reason : r.variant->help,
                 r.state == QX_BENCH_DONE ? " Engine: " : "",
                 r.state == QX_BENCH_DONE ? ui_bench_engine(&r) : "");
    }
}

/* ---- commands ---- */

static bool measure(struct ui_app *app, int i)
{
    if (!qx_session_net(app->session)) {
        return ui_refuse(app, "%s", qx_session_net_reason(app->session));
    }
    if (!qx_session_data(app->session)) {
        return ui_refuse(app, "%s", qx_session_data_reason(app->session));
    }
    qx_session_bench(app->session, i);
    return true;
}

bool cmd_bench(struct ui_app *app, const char *arg)
{
    const struct qx_variant *v;
    struct qx_error err;
    if (!*arg) {
        return measure(app, -1);
    }
    if (qx_variant_find(arg, strlen(arg), &v, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    int i = 0;
    while (i < qx_variant_count() && qx_variant_at(i) != v) {
        i++;
    }
    return measure(app, i); /* the recipe's row is behind the table's */
}

static bool cancel(struct ui_app *app, const struct bench_state *s)
{
    struct qx_bench_row r;
    if (!qx_session_bench_row(app->session, s->cursor, &r) || r.job == 0) {
        return false;
    }
    qx_session_cancel(app->session, r.job);
    ui_toast(app, UI_TOAST_INFO, "cancelled: %s", r.variant->title);
    return true;
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct bench_state *s = state;
    if (ui_list_move(cmd, arg, app->page, qx_variant_count() + 1, &s->cursor)) {
        return true;
    }
    switch (cmd) {
    case UI_CMD_OPEN:
        measure(app, s->cursor);
        return true;
    case UI_CMD_CANCEL:
        return cancel(app, s);
    default:
        return false;
    }
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct bench_state *s = state;
    (void)r;
    struct ui_table table = {.n_rows = s->n, .top = s->top};
    return ui_list_press(app, m, s->table, &table, s->cursor, false);
}

/* ---- how each figure came about ---- */

static void explain_latency(const struct qx_bench_row *r, struct ui_explain *out)
{
    const struct qx_latency *l = &r->figures.latency;
    snprintf(out->title, sizeof(out->title), "%s: latency", r->variant->title);
    ui_explain_add(out, "One sample, again and again: %d passes that warm up, then", l->n_warmup);
    ui_explain_add(out, "%d with the clock running (wall time).", l->n_runs);
    if (l->n_runs >= QX_LATENCY_RUNS) {
        ui_explain_add(out, "p5 %.4f, median %.4f, p95 %.4f ms (nearest rank);", l->p5_ms,
                       l->p50_ms, l->p95_ms);
    } else {
        ui_explain_add(out, "Fewer than %d runs have no percentiles;", QX_LATENCY_RUNS);
    }
    ui_explain_add(out, "fastest %.4f, mean %.4f ms.", l->best_ms, l->mean_ms);
    if (!isnan(r->speedup)) {
        ui_explain_add(out, "speed = FP32's median / this median = %.3f", r->speedup);
    }
    ui_explain_add(out, " ");
    ui_explain_add(out, "Products: %s", r->figures.kernel);
}

static void explain_size(const struct qx_bench_row *r, struct ui_explain *out)
{
    char bytes[40], macs[40], moved[40];
    ui_fmt_bytes(bytes, sizeof(bytes), (double)r->bytes);
    ui_fmt_count(macs, sizeof(macs), r->macs);
    ui_fmt_bytes(moved, sizeof(moved), r->bytes_moved);
    snprintf(out->title, sizeof(out->title), "%s: size and traffic", r->variant->title);
    ui_explain_add(out, "The whole model with scales: %s, %.3f bits per weight.", bytes,
                   r->bits_per_weight);
    ui_explain_add(out, " ");
    ui_explain_add(out, "A sample takes %s multiply-adds, and moves at least %s:", macs, moved);
    ui_explain_add(out, "weights once in the form the kernels read, outputs written and");
    ui_explain_add(out, "read once. Counted from the shapes, not measured.");
}

static void explain_accuracy(const struct qx_bench_row *r, struct ui_explain *out)
{
    double lo, hi;
    qx_wilson(r->correct, r->n, &lo, &hi);
    snprintf(out->title, sizeof(out->title), "%s: %s", r->variant->title,
             isnan(r->perplexity) ? "accuracy" : "perplexity");
    ui_explain_add(out, "Measured with the arithmetic that is timed (%s):", ui_bench_engine(r));
    if (isnan(r->perplexity)) {
        ui_explain_add(out, "%lld of %lld rows right, 95 %% interval %.2f to %.2f %% (Wilson).",
                       (long long)r->correct, (long long)r->n, 100 * lo, 100 * hi);
    } else {
        ui_explain_add(out, "perplexity %.5f over %lld tokens; next token right %.2f %%.",
                       r->perplexity, (long long)r->n, 100 * r->accuracy);
    }
    ui_explain_add(out, " ");
    ui_explain_add(out, "%s", r->variant->help);
    if (r->is_stale) {
        ui_explain_add(out, "It was edited since.");
    }
}

static void explain_batches(const struct qx_bench_row *r, struct ui_explain *out)
{
    const struct qx_bench_figures *f = &r->figures;
    snprintf(out->title, sizeof(out->title), "%s: throughput and energy", r->variant->title);
    ui_explain_add(out, "Batches of %lld rows for half a second or longer: %.0f samples/s.",
                   (long long)f->batch, f->throughput);
    if (isnan(f->energy_j)) {
        ui_explain_add(out, "No energy: %s.",
                       f->energy_reason[0] ? f->energy_reason : "the counter cannot be read");
    } else {
        ui_explain_add(out, "%.4g J a sample: the CPU packages' counters (RAPL) meanwhile,",
                       f->energy_j);
        ui_explain_add(out, "with all that other programs used.");
    }
}

/* A paragraph, broken at spaces. */
static void explain_text(struct ui_explain *out, const char *text)
{
    enum { WIDTH = 66 };
    while (*text) {
        const int n = ui_text_fit(text, WIDTH);
        ui_explain_add(out, "%.*s", n, text);
        text += n;
        text += strspn(text, " ");
    }
}

static bool explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    typedef void explain_fn(const struct qx_bench_row *, struct ui_explain *);
    static explain_fn *const parts[] = {explain_latency, explain_size, explain_accuracy,
                                        explain_batches};
    enum { N_PARTS = sizeof(parts) / sizeof(parts[0]) };
    struct bench_state *s = state;
    char half[UI_BENCH_TEXT];
    rows_take(app, s);
    const struct qx_bench_row *r = &s->row[s->cursor];
    const bool is_done = r->state == QX_BENCH_DONE;
    if (!is_done && n == 0) {
        snprintf(out->title, sizeof(out->title), "%s: %s", r->variant->title, state_word(r));
        explain_text(out, r->reason[0] ? r->reason : r->variant->help);
        return true;
    }
    if (is_done && n < N_PARTS) {
        parts[n](r, out);
        return true;
    }
    if (n != (is_done ? N_PARTS : 1) || !ui_bench_half_text(half, s->row, s->n)) {
        return false;
    }
    snprintf(out->title, sizeof(out->title), "16 bits here: slower or faster?");
    explain_text(out, half);
    return true;
}

const struct ui_view ui_view_bench = {
    .id = "bench",
    .title = "Bench",
    .help = "How small, how fast, how accurate is each number format here?",
    .key = 'b',
    .fkey = 9,
    .hints = "bench open cancel explain measure",
    .state_size = sizeof(struct bench_state),
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .explain = explain,
};
