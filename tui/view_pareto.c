/* The Pareto screen: recipes of mixed precision, the best for every size, and where yours stands. */
#include "view.h"

#include "commands.h"
#include "figure.h"
#include "gauge_text.h"
#include "search_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { W_AXIS = 8, W_PANEL = 44, W_WIDE = 112, X_TICKS = 5, MAX_ROWS = 2048 };

static const char *const x_name[] = {"size", "bits", "latency"};

/* What lies lower in accuracy than this below the best, or is larger than this many times the largest
 * recipe, is drawn as an arrow at the edge. */
static const double window = 0.08, widest = 1.25;

enum x_axis { X_SIZE, X_BITS, X_LATENCY, X_COUNT };

struct pareto_state {
    int cursor;    /* point; -1 = not yet */
    bool is_asked; /* for the first front */
    enum x_axis x; /* horizontal axis */
    bool shows_diff;
    enum qx_mixed_mode mode;
    struct ui_rect plot; /* as drawn last */
    bool keep[MAX_ROWS]; /* rows of the map that stay */
};

/* ---- what the axes mean ---- */

struct axes {
    double x0, x1, y0, y1;
    enum x_axis x;
    bool is_value; /* y: accuracy; else -log10 of the harm */
};

static double x_of(const struct axes *a, const struct qx_point *p)
{
    return a->x == X_BITS      ? p->bits_per_weight
           : a->x == X_LATENCY ? p->latency_ms
                               : (double)p->bytes;
}

static double y_of(const struct axes *a, const struct qx_point *p)
{
    return a->is_value ? p->value : isnan(p->harm) ? p->harm : -log10(fmax(p->harm, 1e-9));
}

static double fp32_value(const struct ui_app *app)
{
    struct qx_gauge g;
    qx_session_gauge(app->session, &g);
    return g.fp32_correct < 0 || g.n == 0 ? (double)NAN
           : g.is_words                   ? 1.0
                                          : (double)g.fp32_correct / (double)g.n;
}

static void axes_find(struct ui_app *app, const struct pareto_state *s, const struct qx_mixed *plan,
                      const struct qx_point *you, struct axes *a)
{
    const int n = qx_mixed_n(plan);
    double low = (double)INFINITY, high = -(double)INFINITY;
    *a = (struct axes){.x = s->x, .is_value = !isnan(qx_mixed_point(plan, n - 1)->value)};
    a->x0 = x_of(a, qx_mixed_point(plan, 0));
    a->x1 = x_of(a, qx_mixed_point(plan, n - 1));
    if (!isnan(x_of(a, you))) {
        a->x1 = fmin(fmax(a->x1, x_of(a, you)), widest * a->x1);
        a->x0 = fmin(a->x0, x_of(a, you));
    }
    for (int i = 0; i < n; i++) {
        const double y = y_of(a, qx_mixed_point(plan, i));
        low = isnan(y) ? low : fmin(low, y);
        high = isnan(y) ? high : fmax(high, y);
    }
    if (a->is_value) {
        const double top = fp32_value(app);
        high = isnan(top) ? high : fmax(high, top);
        low = fmax(low, high - window);
        a->y1 = high + 0.05 * (high - low) + 1e-4;
        a->y0 = low - 0.02 * (high - low) - 1e-4;
    } else {
        a->y1 = high + 0.1;
        a->y0 = low - 0.1;
    }
    a->x1 = a->x1 > a->x0 ? a->x1 : a->x0 + 1;
}

static int column_of(const struct axes *a, struct ui_rect r, double x)
{
    const double share = (x - a->x0) / (a->x1 - a->x0);
    return r.x + (int)lround(fmin(fmax(share, 0), 1) * (r.w - 1));
}

static int row_of(const struct axes *a, struct ui_rect r, double y)
{
    const double share = (y - a->y0) / (a->y1 - a->y0);
    return r.y + (int)lround((1 - fmin(fmax(share, 0), 1)) * (r.h - 1));
}

/* ---- drawing ---- */

/* Of language models the change of perplexity, else what the point holds in percent. */
static void value_text(const struct ui_app *app, const struct axes *a, double y, char *buf,
                       size_t cap)
{
    char change[UI_FIG];
    if (a->is_value && ui_is_words(app)) {
        snprintf(buf, cap, "%s", ui_fig_change(change, true, y - 1));
    } else if (a->is_value) {
        snprintf(buf, cap, "%.1f %%", 100 * y);
    } else {
        snprintf(buf, cap, "%.1e", pow(10, -y));
    }
}

static void x_text(const struct axes *a, double x, char *buf, size_t cap)
{
    if (a->x == X_BITS) {
        snprintf(buf, cap, "%.1f bits", x);
    } else if (a->x == X_LATENCY) {
        snprintf(buf, cap, "%.3g ms", x);
    } else {
        ui_fmt_bytes(buf, cap, x);
    }
}

static void draw_axes(struct ui_app *app, struct ui_canvas *c, const struct axes *a,
                      struct ui_rect r)
{
    char text[32];
    const int steps = r.h >= 12 ? 4 : 2;
    for (int y = r.y; y < r.y + r.h; y++) {
        ui_put(c, r.x - 1, y, 1, UI_STYLE_FRAME, ui_sym(app->glyphs, UI_SYM_VLINE));
    }
    for (int i = 0; i <= steps; i++) {
        const double y = a->y0 + (a->y1 - a->y0) * i / steps;
        value_text(app, a, y, text, sizeof(text));
        ui_put_right(c, r.x - W_AXIS, row_of(a, r, y), W_AXIS - 1, UI_STYLE_DIM, text);
    }
    ui_put(c, r.x - 1, r.y + r.h, 1, UI_STYLE_FRAME, ui_sym(app->glyphs, UI_SYM_BOTTOM_LEFT));
    ui_hline(c, r.x, r.y + r.h, r.w, app->glyphs);
    for (int i = 0; i < X_TICKS; i++) {
        const double x = a->x0 + (a->x1 - a->x0) * i / (X_TICKS - 1);
        x_text(a, x, text, sizeof(text));
        const int at = column_of(a, r, x), w = ui_text_width(text);
        const int left = i == 0 ? r.x : i == X_TICKS - 1 ? r.x + r.w - w : at - w / 2;
        ui_put(c, left, r.y + r.h + 1, -1, UI_STYLE_DIM, text);
    }
}

/* The interval of the point under the cursor. */
static void draw_band(struct ui_app *app, struct ui_canvas *c, const struct axes *a,
                      struct ui_rect r, const struct qx_point *p)
{
    if (!a->is_value || isnan(p->lo)) {
        return;
    }
    const int x = column_of(a, r, x_of(a, p));
    for (int y = row_of(a, r, p->hi); y <= row_of(a, r, p->lo); y++) {
        ui_put(c, x, y, 1, UI_STYLE_PREDICTED, ui_sym(app->glyphs, UI_SYM_VLINE));
    }
}

static void draw_point(struct ui_app *app, struct ui_canvas *c, const struct axes *a,
                       struct ui_rect r, const struct qx_point *p, enum ui_sym sym,
                       enum ui_style_id style)
{
    const double x = x_of(a, p), y = y_of(a, p);
    if (isnan(y) || isnan(x)) {
        return;
    }
    const int at = column_of(a, r, x), row = row_of(a, r, y);
    ui_put(c, at, row, 1, style, ui_sym(app->glyphs, y < a->y0 ? UI_SYM_DOWN : sym));
    if (x > a->x1) {
        ui_put(c, at - 1, row, 1, style, ui_sym(app->glyphs, sym));
        ui_put(c, at, row, 1, style, ui_sym(app->glyphs, UI_SYM_ARROW_RIGHT));
    }
}

static void draw_fp32(struct ui_app *app, struct ui_canvas *c, const struct axes *a,
                      struct ui_rect r)
{
    const double top = fp32_value(app);
    if (a->is_value && !isnan(top)) { /* its size lies beyond the axis: at the edge */
        ui_put(c, r.x + r.w - 1, row_of(a, r, top), 1, UI_STYLE_MEASURED,
               ui_sym(app->glyphs, UI_SYM_STAR));
    }
}

static void draw_plot(struct ui_app *app, struct pareto_state *s, struct ui_canvas *c,
                      struct ui_rect r)
{
    const struct qx_mixed *plan = qx_session_mixed(app->session);
    struct qx_point you;
    struct axes a;
    qx_session_mixed_now(app->session, &you);
    axes_find(app, s, plan, &you, &a);
    s->plot = (struct ui_rect){r.x + W_AXIS, r.y, r.w - W_AXIS, r.h - 2};
    draw_axes(app, c, &a, s->plot);
    draw_band(app, c, &a, s->plot, qx_mixed_point(plan, s->cursor));
    for (int i = 0; i < qx_mixed_n(plan); i++) {
        const struct qx_point *p = qx_mixed_point(plan, i);
        draw_point(app, c, &a, s->plot, p,
                   p->basis == QX_SENS_MEASURED ? UI_SYM_MARK : UI_SYM_CIRCLE,
                   p->basis == QX_SENS_MEASURED ? UI_STYLE_MEASURED : UI_STYLE_PREDICTED);
    }
    draw_fp32(app, c, &a, s->plot);
    draw_point(app, c, &a, s->plot, &you, UI_SYM_DIAMOND, UI_STYLE_HANDLE);
    const struct qx_point *at = qx_mixed_point(plan, s->cursor);
    const struct ui_rect cell = {column_of(&a, s->plot, x_of(&a, at)),
                                 row_of(&a, s->plot, y_of(&a, at)), 1, 1};
    ui_restyle(c, cell, UI_STYLE_SELECTED);
}

/* Layers, your width and the point's; those that differ first meet the eye. */
static void draw_panel(struct ui_app *app, const struct pareto_state *s, struct ui_canvas *c,
                       struct ui_rect r)
{
    const struct qx_mixed *plan = qx_session_mixed(app->session);
    const struct qx_sens *map = qx_session_mixed_map(app->session);
    int y = r.y + 1;
    ui_put(c, r.x, r.y, r.w - 14, UI_STYLE_HEADER, "layer");
    ui_put_right(c, r.x, r.y, r.w - 7, UI_STYLE_HEADER, "yours");
    ui_put_right(c, r.x, r.y, r.w, UI_STYLE_HEADER, "this");
    for (int i = 0; i < qx_sens_n_layers(map) && y < r.y + r.h; i++) {
        const int column = qx_mixed_column(plan, s->cursor, i);
        const int64_t item = qx_session_map_item(app->session, i);
        char now[16], then[16], name[96];
        if (column < 0 || item < 0) {
            continue;
        }
        ui_width_text(qx_session_setting(app->session, item), now, sizeof(now));
        ui_width_text(qx_sens_setting(map, i, column), then, sizeof(then));
        const bool differs = strcmp(now, then) != 0;
        if (s->shows_diff && !differs) {
            continue;
        }
        const enum ui_style_id style = differs ? UI_STYLE_VALUE : UI_STYLE_DIM;
        ui_put(c, r.x, y, r.w - 14, differs ? UI_STYLE_NORMAL : UI_STYLE_DIM,
               ui_fit_name(name, sizeof(name), qx_session_item(app->session, item)->alias, r.w - 14,
                           app->glyphs));
        ui_put_right(c, r.x, y, r.w - 7, style, now);
        ui_put_right(c, r.x, y, r.w, style, then);
        y++;
    }
    if (y == r.y + 1) {
        ui_put(c, r.x, y, r.w, UI_STYLE_DIM, "this is your recipe");
    }
}

static void head_text(struct ui_app *app, const struct pareto_state *s, char *buf, size_t cap)
{
    const struct qx_mixed *plan = qx_session_mixed(app->session);
    const struct qx_point *p = qx_mixed_point(plan, 0);
    const bool is_rank = p->basis == QX_SENS_RANK;
    const char *words = ui_is_words(app) ? "perplexity" : "accuracy";
    const char *what = is_rank ? "relative error" : isnan(p->value) ? "KL" : words;
    const char *fp32 = is_rank ? "" : app->glyphs == UI_GLYPHS_ASCII ? " F FP32" : " ★ FP32";
    const int n = qx_mixed_n(plan);
    snprintf(buf, cap, "%s against %s: %d recipe%s, %s (%s measured %s %s %s you%s)", what,
             x_name[s->x], n, n == 1 ? "" : "s", qx_mixed_mode_name(s->mode),
             ui_sym(app->glyphs, UI_SYM_MARK), ui_sym(app->glyphs, UI_SYM_CIRCLE),
             is_rank ? "ranked" : "predicted", ui_sym(app->glyphs, UI_SYM_DIAMOND), fp32);
}

/* The first front is searched without being asked for. */
static const struct qx_mixed *look(struct ui_app *app, struct pareto_state *s)
{
    const struct qx_mixed *plan = qx_session_mixed(app->session);
    if (!plan && !s->is_asked) {
        const struct qx_mixed_options o = qx_mixed_options_default();
        s->is_asked = true;
        s->cursor = -1;
        qx_session_mixed_want(app->session, &o);
    }
    if (plan && s->x == X_LATENCY && isnan(qx_mixed_point(plan, 0)->latency_ms)) {
        return NULL; /* on its way */
    }
    if (plan && (s->cursor < 0 || s->cursor >= qx_mixed_n(plan))) {
        s->cursor = qx_mixed_best(plan);
    }
    return plan;
}

static void draw_empty(struct ui_app *app, struct ui_canvas *c, struct ui_rect r)
{
    struct qx_map_state m;
    const char *reason = qx_session_mixed_reason(app->session);
    char text[400], more[60];
    qx_session_map_state(app->session, &m);
    if (reason[0]) {
        snprintf(text, sizeof(text), "no front: %s", reason);
    } else if (m.n_cells > 0 && m.n_predicted + m.n_measured < m.n_cells && !m.reason[0]) {
        snprintf(text, sizeof(text), "%d of %d single layers are predicted; the front follows",
                 m.n_predicted + m.n_measured, m.n_cells);
    } else {
        snprintf(text, sizeof(text), "the front is being searched%s",
                 ui_fmt_job(app, more, sizeof(more), "front of recipes"));
    }
    ui_put_cut(c, r.x, r.y, r.w, UI_STYLE_DIM, text, app->glyphs);
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct pareto_state *s = state;
    char text[240];
    const struct ui_rect in = {r.x + 1, r.y, r.w - 2, r.h};
    if (!look(app, s)) {
        draw_empty(app, c, in);
        return;
    }
    head_text(app, s, text, sizeof(text));
    ui_put_cut(c, in.x, in.y, in.w, UI_STYLE_DIM, text, app->glyphs);
    const bool is_wide = in.w >= W_WIDE;
    struct ui_rect plot = {in.x, in.y + 1, in.w - (is_wide ? W_PANEL + 2 : 0), in.h - 2};
    if (is_wide || !s->shows_diff) {
        draw_plot(app, s, c, plot);
    }
    if (is_wide) {
        draw_panel(app, s, c, (struct ui_rect){in.x + in.w - W_PANEL, in.y + 2, W_PANEL, in.h - 3});
    } else if (s->shows_diff) {
        draw_panel(app, s, c, (struct ui_rect){in.x, in.y + 2, in.w, in.h - 3});
    }
    ui_point_text(app, qx_mixed_point(qx_session_mixed(app->session), s->cursor), text,
                  sizeof(text));
    ui_printf(c, in.x, in.y + in.h - 1, in.w, UI_STYLE_BOLD, "%s %d of %d: %s",
              ui_sym(app->glyphs, UI_SYM_CURSOR), s->cursor + 1,
              qx_mixed_n(qx_session_mixed(app->session)), text);
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    const struct pareto_state *s = state;
    const struct qx_mixed *plan = qx_session_mixed(app->session);
    struct qx_point you;
    char size[32], points[UI_FIG];
    if (!plan || s->cursor < 0 || s->cursor >= qx_mixed_n(plan)) {
        return;
    }
    const struct qx_point *p = qx_mixed_point(plan, s->cursor);
    qx_session_mixed_now(app->session, &you);
    const double more = (double)p->bytes - (double)you.bytes;
    if (more == 0 && (p->value == you.value || p->harm == you.harm)) {
        snprintf(buf, cap, "this is your recipe");
        return;
    }
    ui_fmt_bytes(size, sizeof(size), fabs(more));
    int at = snprintf(buf, cap, "against you: %s%s", more < 0 ? "-" : "+", size);
    at = at < 0 || (size_t)at >= cap ? (int)cap - 1 : at;
    if (!isnan(p->value) && !isnan(you.value)) {
        const double gain = p->value - you.value;
        const bool is_noise = fabs(gain) <= (p->hi - p->lo + you.hi - you.lo) / 2 &&
                              (p->basis == QX_SENS_PREDICTED || you.basis == QX_SENS_PREDICTED);
        snprintf(buf + at, cap - (size_t)at, ", %s%s; Enter loads it",
                 ui_is_words(app) ? ui_fig_increase(points, you.value / p->value - 1)
                                  : ui_fig_points(points, gain),
                 is_noise ? ", within the bands" : "");
    } else {
        snprintf(buf + at, cap - (size_t)at, "; Enter loads it");
    }
}

/* ---- commands ---- */

static bool load(struct ui_app *app, const struct pareto_state *s)
{
    struct qx_error err;
    char text[160];
    if (qx_session_mixed_load(app->session, s->cursor, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    ui_point_text(app, qx_mixed_point(qx_session_mixed(app->session), s->cursor), text,
                  sizeof(text));
    ui_toast(app, UI_TOAST_GOOD, "loaded: %s; u undoes it", text);
    return true;
}

static bool measure(struct ui_app *app, const struct pareto_state *s)
{
    if (!ui_can_run(app) || !load(app, s)) {
        return false;
    }
    qx_session_measure(app->session);
    return true;
}

/* Marked layers stay as they are. */
static bool search(struct ui_app *app, struct pareto_state *s, const char *arg)
{
    struct qx_mixed_options o = qx_mixed_options_default();
    struct qx_error err;
    int n_kept = 0;
    if (*arg && qx_mixed_mode_find(arg, &s->mode, &err) != QX_OK) {
        return ui_refuse(app, "%s", err.text);
    }
    o.mode = s->mode;
    o.by_latency = s->x == X_LATENCY;
    for (int i = 0; i < MAX_ROWS; i++) {
        const int64_t item = qx_session_map_item(app->session, i);
        s->keep[i] = item >= 0 && app->marked[item];
        n_kept += s->keep[i];
    }
    o.keep = qx_session_map_item(app->session, MAX_ROWS) < 0 ? s->keep : NULL;
    s->is_asked = true;
    s->cursor = -1;
    qx_session_mixed_want(app->session, &o);
    if (n_kept > 0) {
        ui_toast(app, UI_TOAST_INFO, "searching: %s; %d marked layer%s as now",
                 qx_mixed_mode_name(s->mode), n_kept, n_kept == 1 ? " stays" : "s stay");
    } else {
        ui_toast(app, UI_TOAST_INFO, "searching: %s", qx_mixed_mode_name(s->mode));
    }
    return true;
}

/* "64kB", "3b", "33%" of the float32 size, as bytes or bits; 0 = neither. */
static double target_parse(struct ui_app *app, const char *arg, bool *is_bits)
{
    struct qx_totals t;
    char *end;
    const double v = strtod(arg, &end);
    end += strspn(end, " ");
    *is_bits = *end == 'b' && end[1] == 0;
    if (end == arg || !(v > 0)) {
        return 0;
    }
    if (*end == '%') {
        qx_session_totals(app->session, &t);
        return v / 100 * (double)t.bytes_fp32;
    }
    const char *const unit = "kKmMgG", *at = *end ? strchr(unit, *end) : NULL;
    return *is_bits || *end == 0 ? v : at ? v * pow(1000, (double)((at - unit) / 2 + 1)) : 0;
}

static bool target(struct ui_app *app, struct pareto_state *s, const char *arg)
{
    const struct qx_mixed *plan = qx_session_mixed(app->session);
    bool is_bits;
    const double want = target_parse(app, arg, &is_bits);
    if (!plan) {
        return ui_refuse(app, "there is no front yet");
    }
    if (!(want > 0)) {
        return ui_refuse(app, "a size (64kB), bits per weight (3b) or a share (33%%), not '%s'",
                         arg);
    }
    int best = -1;
    for (int i = 0; i < qx_mixed_n(plan); i++) {
        const struct qx_point *p = qx_mixed_point(plan, i);
        best = (is_bits ? p->bits_per_weight : (double)p->bytes) <= want ? i : best;
    }
    if (best < 0) {
        return ui_refuse(app, "no recipe is that small");
    }
    s->cursor = best;
    return true;
}

/* Latency wants a front of its own: the least harm for every time, not for every size. */
static bool axis(struct ui_app *app, struct pareto_state *s, const char *arg)
{
    enum x_axis x = (enum x_axis)((s->x + 1) % X_COUNT);
    for (int i = 0; *arg && i < X_COUNT; i++) {
        x = strcmp(arg, x_name[i]) == 0 ? (enum x_axis)i : x;
    }
    const bool is_new = (x == X_LATENCY) != (s->x == X_LATENCY);
    if (x == X_LATENCY && !ui_can_run(app)) {
        return false;
    }
    s->x = x;
    return !is_new || search(app, s, "");
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct pareto_state *s = state;
    const struct qx_mixed *plan = look(app, s);
    const int count = atoi(arg) > 0 ? atoi(arg) : 1, last = plan ? qx_mixed_n(plan) - 1 : 0;
    if (cmd == UI_CMD_FRONT) {
        search(app, s, arg);
        return true;
    }
    if (!plan) {
        return false;
    }
    switch (cmd) {
    case UI_CMD_LEFT:
    case UI_CMD_DOWN:
        s->cursor -= count;
        break;
    case UI_CMD_RIGHT:
    case UI_CMD_UP:
        s->cursor += count;
        break;
    case UI_CMD_TOP:
        s->cursor = 0;
        break;
    case UI_CMD_BOTTOM:
        s->cursor = last;
        break;
    case UI_CMD_OPEN:
        load(app, s);
        return true;
    case UI_CMD_FRONT_TARGET:
        target(app, s, arg);
        return true;
    case UI_CMD_FRONT_MEASURE:
        measure(app, s);
        return true;
    case UI_CMD_FRONT_AXIS:
        axis(app, s, arg);
        return true;
    case UI_CMD_FRONT_DIFF:
        s->shows_diff = !s->shows_diff;
        return true;
    default:
        return false;
    }
    s->cursor = s->cursor < 0 ? 0 : s->cursor > last ? last : s->cursor;
    return true;
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct pareto_state *s = state;
    const struct qx_mixed *plan = qx_session_mixed(app->session);
    struct qx_point you;
    struct axes a;
    int best = -1, nearest = 0;
    (void)r;
    if (!plan || (m->kind != UI_MOUSE_PRESS && m->kind != UI_MOUSE_DRAG) || s->plot.w == 0) {
        return false;
    }
    qx_session_mixed_now(app->session, &you);
    axes_find(app, s, plan, &you, &a);
    for (int i = 0; i < qx_mixed_n(plan); i++) {
        const int d = abs(column_of(&a, s->plot, x_of(&a, qx_mixed_point(plan, i))) - m->x);
        if (best < 0 || d < nearest) {
            best = i;
            nearest = d;
        }
    }
    return best == s->cursor ||
           ui_dof(app, best > s->cursor ? UI_CMD_RIGHT : UI_CMD_LEFT, "%d", abs(best - s->cursor));
}

static bool explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    struct pareto_state *s = state;
    const struct qx_mixed *plan = qx_session_mixed(app->session);
    char text[160];
    if (n > 0 || !plan || s->cursor < 0) {
        return false;
    }
    const struct qx_point *p = qx_mixed_point(plan, s->cursor);
    ui_point_text(app, p, text, sizeof(text));
    snprintf(out->title, sizeof(out->title), "recipe %d of %d", s->cursor + 1, qx_mixed_n(plan));
    ui_explain_add(out, "%s", text);
    if (!isnan(p->value)) {
        char lo[64], hi[64];
        ui_point_figure(app, ui_is_words(app) ? p->hi : p->lo, lo, sizeof(lo));
        ui_point_figure(app, ui_is_words(app) ? p->lo : p->hi, hi, sizeof(hi));
        ui_explain_add(out, "between %s and %s", lo, hi);
    }
    ui_explain_add(out, "%s = %.5g",
                   p->basis == QX_SENS_RANK ? "sum of squared relative errors"
                                            : "KL of the whole, nats on P",
                   p->harm);
    ui_explain_add(out, " ");
    ui_explain_add(out, "Found by %s over what each layer alone does at each width;",
                   qx_mixed_mode_name(s->mode));
    ui_explain_add(out, "the whole is then judged together%s.",
                   s->mode == QX_MIXED_DP ? " and improved by exchanges" : "");
    if (p->basis == QX_SENS_MEASURED) {
        ui_explain_add(out, "Measured on all %lld rows.", (long long)p->n_rows);
    } else if (p->basis == QX_SENS_PREDICTED) {
        ui_explain_add(out, "Predicted; M loads and measures it.");
    }
    return true;
}

const struct ui_view ui_view_pareto = {
    .id = "pareto",
    .title = "Pareto",
    .help = "Is my recipe any good, and what else can be had for its size?",
    .key = 'p',
    .fkey = 5,
    .hints = "open target measure-point diff trade axis front undo explain",
    .state_size = sizeof(struct pareto_state),
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .explain = explain,
};
