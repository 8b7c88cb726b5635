/* The Sensitivity screen: layers x widths, what each layer alone would cost. Ranks first, then predictions,
 * replaced one by one by measurements. */
#include "view.h"

#include "commands.h"
#include "gauge_text.h"
#include "search_text.h"
#include "widget_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    W_CELL = 9,
    W_SIZE = 10,
    W_NAME_LEAST = 16,
    W_NAME_MOST = 34,
    MAX_ROWS = 2048,
    HEAD_ROWS = 2
};

struct sens_state {
    int layer;  /* row of the map under the cursor */
    int column; /* of the map */
    int64_t top;
    bool is_act;    /* inputs instead of weights */
    bool shows_kl;  /* nats instead of points */
    bool by_harm;   /* worst at the cursor's width first, else the network's order */
    int n, n_shown; /* rows listed, and of them on the screen */
    int order[MAX_ROWS];
    struct ui_rect cells; /* as drawn last */
    int shown[QX_SENS_COLUMNS], n_columns;
    int first, n_fit; /* of those, the ones in sight */
};

/* ---- what is on the map ---- */

static const struct qx_sens *map_of(const struct ui_app *app)
{
    return qx_session_map(app->session);
}

static const struct qx_sens_cell *cell_here(const struct ui_app *app, const struct sens_state *s)
{
    const struct qx_sens *map = map_of(app);
    return map && s->n > 0 ? qx_sens_cell_at(map, s->layer, s->column) : NULL;
}

static double harm_of(const struct qx_sens_cell *c)
{
    return isnan(c->kl) ? -1.0 / (1 + c->rank) : c->kl;
}

static void columns_find(struct sens_state *s, const struct qx_sens *map)
{
    const enum qx_site site = s->is_act ? QX_SITE_A : QX_SITE_W;
    bool is_there = false;
    s->n_columns = 0;
    for (int c = 0; c < qx_sens_n_columns(map); c++) {
        if (qx_sens_column_at(map, c)->site == site) {
            is_there = is_there || c == s->column;
            s->shown[s->n_columns++] = c;
        }
    }
    if (!is_there && s->n_columns > 0) {
        s->column = s->shown[s->n_columns / 2];
    }
}

/* Rows that can be quantized; sorted by insertion, for the order rarely changes. */
static void rows_find(struct sens_state *s, const struct qx_sens *map)
{
    bool is_there = false;
    s->n = 0;
    for (int i = 0; i < qx_sens_n_layers(map) && s->n < MAX_ROWS && s->n_columns > 0; i++) {
        const struct qx_sens_cell *c = qx_sens_cell_at(map, i, s->column);
        if (c->basis == QX_SENS_NONE) {
            continue;
        }
        int at = s->n++;
        while (s->by_harm && at > 0 &&
               harm_of(qx_sens_cell_at(map, s->order[at - 1], s->column)) < harm_of(c)) {
            s->order[at] = s->order[at - 1];
            at--;
        }
        s->order[at] = i;
        is_there = is_there || i == s->layer;
    }
    if (!is_there && s->n > 0) {
        s->layer = s->order[0];
    }
}

static int place_of(const struct sens_state *s)
{
    for (int i = 0; i < s->n; i++) {
        if (s->order[i] == s->layer) {
            return i;
        }
    }
    return 0;
}

/* The map as it is now, and the cursor on it; false while there is none. */
static bool look(struct ui_app *app, struct sens_state *s)
{
    qx_session_map_want(app->session);
    const struct qx_sens *map = map_of(app);
    if (!map) {
        s->n = 0;
        return false;
    }
    columns_find(s, map);
    rows_find(s, map);
    return s->n > 0;
}

/* ---- figures ---- */

/* Four steps, light to dark, of the harm on a logarithmic scale: 1e-4 nats is nothing, 1 is ruin. */
static int shade_step(const struct qx_sens_cell *c, int n_rows)
{
    const double x = isnan(c->kl) ? 1.0 - (double)(c->rank - 1) / (n_rows > 1 ? n_rows : 1)
                                  : (log10(fmax(c->kl, 1e-9)) + 4.0) / 4.0;
    return x <= 0 ? 0 : x >= 1 ? 4 : 1 + (int)(x * 3.999);
}

static const char *shade_glyph(int step, enum ui_glyphs g)
{
    static const char *const utf8[] = {" ", "\u2591", "\u2592", "\u2593", "\u2588"};
    static const char *const ascii[] = {" ", ".", ":", "+", "#"};
    return (g == UI_GLYPHS_ASCII ? ascii : utf8)[step];
}

/* Six cells at most: "0.487", "2e-4". */
static void kl_text(double kl, char *buf, size_t cap)
{
    const int power = kl > 1e-9 ? (int)floor(log10(kl) + 0.0223) : -9; /* 9.5 is written 1e+1 */
    if (kl >= 0.00095) {
        snprintf(buf, cap, "%.3f", kl);
    } else {
        snprintf(buf, cap, "%.0fe-%d", kl / pow(10, power), -power);
    }
}

static void figure_text(const struct ui_app *app, const struct sens_state *s,
                        const struct qx_sens_cell *c, char *buf, size_t cap)
{
    if (c->basis == QX_SENS_RANK) {
        snprintf(buf, cap, "%d", c->rank);
    } else if (s->shows_kl || isnan(c->delta)) {
        kl_text(c->kl, buf, cap);
    } else {
        const double p = 100 * (ui_is_words(app) ? 1 / c->accuracy - 1 : c->delta);
        snprintf(buf, cap, "%+.*f",
                 fabs(p) < 9.995    ? 2
                 : fabs(p) < 999.95 ? 1
                                    : 0,
                 fabs(p) < 0.005 ? 0.0 : p);
    }
}

static const char *mark_of(enum qx_sens_basis basis, enum ui_glyphs g)
{
    return basis == QX_SENS_PREDICTED ? ui_sym(g, UI_SYM_APPROX)
           : basis == QX_SENS_RANK    ? "?"
                                      : " ";
}

/* Is this the width that the layer has now? */
static bool is_current(const struct ui_app *app, const struct qx_sens_column *c, int64_t item)
{
    const struct qx_setting *now = qx_session_setting(app->session, item);
    if (c->site == QX_SITE_A) {
        return now->act.bits == c->bits;
    }
    return now->format == c->format && (!qx_setting_is_int(now) || now->bits == c->bits);
}

/* ---- drawing ---- */

static void draw_cell(struct ui_app *app, const struct sens_state *s, struct ui_canvas *c, int x,
                      int y, int layer, int column)
{
    const struct qx_sens *map = map_of(app);
    const struct qx_sens_cell *cell = qx_sens_cell_at(map, layer, column);
    const int64_t item = qx_session_map_item(app->session, layer);
    const bool is_now = is_current(app, qx_sens_column_at(map, column), item);
    const bool is_here = layer == s->layer && column == s->column;
    char text[24];
    if (cell->basis == QX_SENS_NONE) {
        ui_put_right(c, x, y, W_CELL - 1, UI_STYLE_DIM, "-");
        return;
    }
    const int step = shade_step(cell, s->n);
    const enum ui_style_id style = is_here                           ? UI_STYLE_SELECTED
                                   : cell->basis == QX_SENS_MEASURED ? UI_STYLE_MEASURED
                                   : cell->basis == QX_SENS_RANK     ? UI_STYLE_DIM
                                                                     : UI_STYLE_PREDICTED;
    figure_text(app, s, cell, text, sizeof(text));
    ui_put(c, x, y, 1, UI_STYLE_BAR, shade_glyph(step, app->glyphs));
    struct ui_cell *glyph = ui_canvas_at(c, x, y);
    if (glyph && step > 0) {
        glyph->ink = (unsigned char)ui_shade_sequential(step / 4.0);
    }
    ui_fill(c, (struct ui_rect){x + 1, y, W_CELL - 2, 1}, style, " ");
    ui_put_right(c, x + 1, y, W_CELL - 3, style, text);
    ui_put(c, x + W_CELL - 2, y, 1, style, mark_of(cell->basis, app->glyphs));
    if (is_now) {
        ui_put(c, x + W_CELL - 1, y, 1, UI_STYLE_HANDLE,
               app->glyphs == UI_GLYPHS_ASCII ? "<" : "\u25c2");
    }
}

static int name_width(const struct sens_state *s, int w)
{
    const int left = w - 2 - s->n_fit * W_CELL - W_SIZE;
    return left < W_NAME_LEAST ? W_NAME_LEAST : left > W_NAME_MOST ? W_NAME_MOST : left;
}

/* As many columns as there is room for, the cursor's among them. */
static void columns_fit(struct sens_state *s, int w)
{
    const int room = (w - 2 - W_NAME_LEAST) / W_CELL;
    int here = 0;
    for (int k = 0; k < s->n_columns; k++) {
        here = s->shown[k] == s->column ? k : here;
    }
    s->n_fit = s->n_columns < room ? s->n_columns : room < 1 ? 1 : room;
    s->first = here < s->first               ? here
               : here >= s->first + s->n_fit ? here - s->n_fit + 1
                                             : s->first;
    s->first = s->first + s->n_fit > s->n_columns ? s->n_columns - s->n_fit : s->first;
}

static void draw_row(struct ui_app *app, const struct sens_state *s, struct ui_canvas *c,
                     struct ui_rect r, int y, int layer)
{
    const int64_t item = qx_session_map_item(app->session, layer);
    const struct qx_item *it = qx_session_item(app->session, item);
    const int w = name_width(s, r.w);
    char name[128], size[32];
    if (app->marked[item]) {
        ui_put(c, r.x, y, 1, UI_STYLE_MARKED, ui_sym(app->glyphs, UI_SYM_MARK));
    }
    if (layer == s->layer) {
        ui_put(c, r.x + (app->marked[item] ? 1 : 0), y, 1, UI_STYLE_HANDLE,
               ui_sym(app->glyphs, UI_SYM_CURSOR));
    }
    ui_put(c, r.x + 2, y, w, layer == s->layer ? UI_STYLE_BOLD : UI_STYLE_NORMAL,
           ui_fit_name(name, sizeof(name), it->alias, w - 1, app->glyphs));
    for (int k = 0; k < s->n_fit; k++) {
        draw_cell(app, s, c, r.x + 2 + w + k * W_CELL, y, layer, s->shown[s->first + k]);
    }
    const int x = r.x + 2 + w + s->n_fit * W_CELL;
    if (!s->is_act && x + W_SIZE <= r.x + r.w) {
        const struct qx_setting *set = qx_sens_setting(map_of(app), layer, s->column);
        ui_fmt_bytes(size, sizeof(size),
                     (double)qx_setting_tensor_bytes(set, it->tensor, it->channels));
        ui_put_right(c, x, y, W_SIZE, UI_STYLE_DIM, size);
    }
}

static void head_texts(struct ui_app *app, const struct sens_state *s, char *what, size_t cap,
                       char *how, size_t how_cap)
{
    struct qx_map_state m;
    char eta[UI_FIG];
    qx_session_map_state(app->session, &m);
    const bool has_points = m.n_rows >= QX_PREDICT_ROWS_LEAST && !s->shows_kl;
    const bool is_rank = m.n_measured + m.n_predicted == 0;
    const char *unit = is_rank ? "rank by relative error (1 = worst)"
                       : has_points
                           ? ui_is_words(app) ? "perplexity, change in %" : "accuracy, points"
                           : "KL, nats";
    snprintf(what, cap, "%s, only this layer %s%s", unit,
             s->is_act ? "with quantized inputs" : "quantized", is_rank ? "" : ", on P");
    if (m.reason[0] && is_rank) {
        snprintf(how, how_cap, "nothing is run: %s", m.reason);
    } else if (m.n_left > 0) {
        snprintf(how, how_cap, "measuring: %d to go%s%s; x stops", m.n_left,
                 isnan(m.cell_s) ? "" : ", ", ui_fig_time(eta, m.cell_s * m.n_left));
    } else if (m.n_cells == 0 || m.is_building) {
        snprintf(how, how_cap, "settings are being prepared");
    } else {
        snprintf(how, how_cap, "%d of %d cells measured, %d predicted%s, %lld rows", m.n_measured,
                 m.n_cells, m.n_predicted,
                 m.n_predicted + m.n_measured < m.n_cells ? ", the rest ranked" : "",
                 (long long)m.n_rows);
    }
}

static void draw_columns(struct ui_app *app, const struct sens_state *s, struct ui_canvas *c,
                         struct ui_rect r, int y)
{
    const int w = name_width(s, r.w);
    char title[24], text[32];
    ui_put(c, r.x + 2, y, w, UI_STYLE_HEADER, "layer");
    for (int k = 0; k < s->n_fit; k++) {
        const int at = s->shown[s->first + k];
        const struct qx_sens_column *col = qx_sens_column_at(map_of(app), at);
        qx_sens_column_text(col, title, sizeof(title));
        snprintf(text, sizeof(text), "%s%s", title,
                 col->format->kind == QX_FORMAT_AFFINE ? " bit" : "");
        ui_put_right(c, r.x + 2 + w + k * W_CELL, y, W_CELL - 2,
                     at == s->column ? UI_STYLE_BOLD : UI_STYLE_HEADER, text);
    }
    const int x = r.x + 2 + w + s->n_fit * W_CELL;
    if (!s->is_act && x + W_SIZE <= r.x + r.w) {
        ui_put_right(c, x, y, W_SIZE, UI_STYLE_HEADER, "size");
    }
}

/* What the marks mean, in the last row. */
static void draw_legend(struct ui_app *app, struct ui_canvas *c, struct ui_rect r)
{
    char text[160];
    snprintf(text, sizeof(text),
             "%s%s%s%s harm, 1e-4 to 1 nat   %s predicted, plain measured, ? rank   %s now",
             shade_glyph(1, app->glyphs), shade_glyph(2, app->glyphs), shade_glyph(3, app->glyphs),
             shade_glyph(4, app->glyphs), ui_sym(app->glyphs, UI_SYM_APPROX),
             app->glyphs == UI_GLYPHS_ASCII ? "<" : "\u25c2");
    ui_put(c, r.x, r.y + r.h - 1, r.w, UI_STYLE_DIM, text);
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    struct sens_state *s = state;
    char what[160], how[320];
    const struct ui_rect in = {r.x + 1, r.y, r.w - 2, r.h};
    const bool is_there = look(app, s);
    head_texts(app, s, what, sizeof(what), how, sizeof(how));
    const int used = ui_put(c, in.x, in.y, in.w, UI_STYLE_TITLE, what);
    if (used + 3 + ui_text_width(how) <= in.w) {
        ui_put_right(c, in.x, in.y, in.w, UI_STYLE_DIM, how);
    } else {
        ui_put_cut(c, in.x, in.y + 1, in.w, UI_STYLE_DIM, how, app->glyphs);
    }
    if (!is_there) {
        return;
    }
    columns_fit(s, in.w);
    draw_columns(app, s, c, in, in.y + HEAD_ROWS);
    const int page = in.h - HEAD_ROWS - 2;
    app->page = page < 1 ? 1 : page;
    s->top = ui_table_scroll(s->top, place_of(s), s->n, app->page);
    s->cells = (struct ui_rect){in.x, in.y + HEAD_ROWS + 1, in.w, app->page};
    for (int k = 0; k < app->page && s->top + k < s->n; k++) {
        draw_row(app, s, c, in, s->cells.y + k, s->order[s->top + k]);
    }
    draw_legend(app, c, in);
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct sens_state *s = state;
    const struct qx_sens_cell *c = cell_here(app, s);
    char column[24], a[UI_FIG], b[UI_FIG], d[UI_FIG];
    if (!c) {
        return;
    }
    const int64_t item = qx_session_map_item(app->session, s->layer);
    qx_sens_column_text(qx_sens_column_at(map_of(app), s->column), column, sizeof(column));
    int at =
        snprintf(buf, cap, "%s alone at %s: ", qx_session_item(app->session, item)->alias, column);
    at = at < 0 || (size_t)at >= cap ? (int)cap - 1 : at;
    if (c->basis == QX_SENS_RANK) {
        snprintf(buf + at, cap - (size_t)at, "number %d of %d by relative error %s", c->rank, s->n,
                 ui_fig_real(a, sqrt(c->proxy), 2));
    } else if (isnan(c->accuracy)) {
        snprintf(buf + at, cap - (size_t)at, "KL %s%s nats", ui_fig_real(a, c->kl, 3),
                 c->basis == QX_SENS_PREDICTED ? ui_sym(app->glyphs, UI_SYM_APPROX) : "");
    } else {
        const double low = ui_is_words(app) ? c->hi : c->lo, high = c->lo + c->hi - low;
        snprintf(buf + at, cap - (size_t)at, "%s%s (%s to %s), KL %.3g, %s",
                 ui_fig_change(a, ui_is_words(app), c->delta),
                 c->basis == QX_SENS_PREDICTED ? ui_sym(app->glyphs, UI_SYM_APPROX) : "",
                 ui_fig_change(b, ui_is_words(app), c->delta + low - c->accuracy),
                 ui_fig_change(d, ui_is_words(app), c->delta + high - c->accuracy), c->kl,
                 qx_sens_basis_name(c->basis));
    }
}

/* ---- moving and doing ---- */

/* The screen's own cursor, and the layer under it for the digits. */
static bool go_to(struct ui_app *app, struct sens_state *s, int place, int column)
{
    place = place < 0 ? 0 : place >= s->n ? s->n - 1 : place;
    s->layer = s->order[place];
    for (int k = 0; k < s->n_columns; k++) {
        if (s->shown[k] == s->column && column != 0) {
            const int to = k + column;
            s->column = s->shown[to < 0 ? 0 : to >= s->n_columns ? s->n_columns - 1 : to];
            break;
        }
    }
    const int64_t item = qx_session_map_item(app->session, s->layer);
    if (item != app->cursor) {
        cmd_select(app, qx_session_item(app->session, item)->tensor->name);
    }
    return true;
}

static void open_view(struct ui_app *app, void *state)
{
    struct sens_state *s = state;
    if (look(app, s)) {
        const int layer = qx_session_map_layer(app->session, app->cursor);
        s->layer = layer >= 0 ? layer : s->layer;
        look(app, s);
        go_to(app, s, place_of(s), 0);
    }
}

/* Enter: the layer takes what the cell shows. */
static bool apply(struct ui_app *app, const struct sens_state *s)
{
    const struct qx_sens *map = map_of(app);
    const struct qx_sens_column *c = qx_sens_column_at(map, s->column);
    if (c->site == QX_SITE_A) {
        const int64_t item = qx_session_map_item(app->session, s->layer);
        struct qx_patch patch = {.fields = QX_PATCH_ACT};
        patch.value.act = qx_sens_setting(map, s->layer, s->column)->act;
        return ui_edit(app, &item, 1, &patch, false);
    }
    return c->format->kind == QX_FORMAT_AFFINE ? ui_dof(app, UI_CMD_BITS, "%d", c->bits)
                                               : ui_do(app, UI_CMD_FORMAT, c->format->name);
}

static bool measure_cell(struct ui_app *app, const struct sens_state *s)
{
    const struct qx_sens_cell *c = cell_here(app, s);
    if (!ui_can_run(app) || !c) {
        return false;
    }
    if (c->basis == QX_SENS_MEASURED) {
        return ui_refuse(app, "this cell is measured already");
    }
    qx_session_map_measure(app->session, s->layer, s->column);
    return true;
}

/* A again stops; what is done stays. */
static bool measure_all(struct ui_app *app, const char *arg)
{
    struct qx_map_state m;
    char eta[UI_FIG];
    qx_session_map_state(app->session, &m);
    if (!ui_can_run(app)) {
        return false;
    }
    const int open = m.n_cells - m.n_measured;
    const int n = atoi(arg) > 0 ? atoi(arg) : m.n_left > 1 ? 0 : open;
    if (open == 0) {
        return ui_refuse(app, "every cell is measured");
    }
    qx_session_map_measure_all(app->session, n);
    if (n == 0) {
        ui_toast(app, UI_TOAST_INFO, "stopped; what is measured stays");
    } else {
        ui_toast(app, UI_TOAST_INFO, "measuring %d cells, the most telling first%s%s; A stops", n,
                 isnan(m.cell_s) ? "" : ", about ", ui_fig_time(eta, m.cell_s * n));
    }
    return true;
}

static bool show_site(struct ui_app *app, struct sens_state *s, const char *arg)
{
    const bool is_act = *arg ? strcmp(arg, "activations") == 0 : !s->is_act;
    struct qx_sens_column columns[QX_SENS_COLUMNS];
    int n = 0;
    if (is_act && !ui_can_run(app)) {
        return false;
    }
    qx_sens_columns_parse(is_act ? "2,3,4,5,6,8,a3,a4,a5,a6,a8" : "2,3,4,5,6,8", columns, &n, NULL);
    if (is_act && map_of(app) && qx_sens_n_columns(map_of(app)) < n) {
        qx_session_map_columns(app->session, columns, n);
    }
    s->is_act = is_act;
    ui_toast(app, UI_TOAST_INFO, is_act ? "inputs of the layers" : "weights of the layers");
    return true;
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct sens_state *s = state;
    const int count = atoi(arg) > 0 ? atoi(arg) : 1;
    if (!look(app, s)) {
        return false;
    }
    const int at = place_of(s);
    switch (cmd) {
    case UI_CMD_UP:
        return go_to(app, s, at - count, 0);
    case UI_CMD_DOWN:
        return go_to(app, s, at + count, 0);
    case UI_CMD_PAGE_UP:
        return go_to(app, s, at - app->page, 0);
    case UI_CMD_PAGE_DOWN:
        return go_to(app, s, at + app->page, 0);
    case UI_CMD_TOP:
        return go_to(app, s, 0, 0);
    case UI_CMD_BOTTOM:
        return go_to(app, s, s->n - 1, 0);
    case UI_CMD_LEFT:
        return go_to(app, s, at, -count);
    case UI_CMD_RIGHT:
        return go_to(app, s, at, count);
    case UI_CMD_OPEN:
        apply(app, s);
        return true;
    case UI_CMD_SORT:
        s->by_harm = !s->by_harm;
        ui_toast(app, UI_TOAST_INFO,
                 s->by_harm ? "the worst at this width first" : "in the network's order");
        return true;
    case UI_CMD_SENS_MEASURE:
        measure_cell(app, s);
        return true;
    case UI_CMD_SENS_ALL:
        measure_all(app, arg);
        return true;
    case UI_CMD_SENS_SITE:
        show_site(app, s, arg);
        return true;
    case UI_CMD_SENS_FIGURE:
        s->shows_kl = !s->shows_kl;
        return true;
    case UI_CMD_PURSE:
        ui_purse(app, s->layer, s->column);
        return true;
    default:
        return false;
    }
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct sens_state *s = state;
    if (m->kind == UI_MOUSE_WHEEL) {
        return ui_do(app, m->wheel > 0 ? UI_CMD_DOWN : UI_CMD_UP, "3");
    }
    const int row = m->y - s->cells.y, x = m->x - (r.x + 3 + name_width(s, r.w - 2));
    if (m->kind != UI_MOUSE_PRESS || row < 0 || row >= s->cells.h || s->top + row >= s->n) {
        return false;
    }
    const int by = (int)(s->top + row) - place_of(s);
    if (by != 0) {
        ui_dof(app, by > 0 ? UI_CMD_DOWN : UI_CMD_UP, "%d", abs(by));
    }
    if (x >= 0 && x / W_CELL < s->n_fit) {
        int here = 0;
        while (s->shown[here] != s->column) {
            here++;
        }
        const int step = s->first + x / W_CELL - here;
        return step == 0 || ui_dof(app, step > 0 ? UI_CMD_RIGHT : UI_CMD_LEFT, "%d", abs(step));
    }
    return true;
}

static bool explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    struct sens_state *s = state;
    return n == 0 && look(app, s) && ui_sens_explain(app, s->layer, s->column, s->n, out);
}

const struct ui_view ui_view_sens = {
    .id = "sens",
    .title = "Sensitivity",
    .help = "Where do bits matter: what would each layer alone cost at each width?",
    .key = 's',
    .fkey = 4,
    .hints = "open measure-cell measure-all trade purse inputs kl sort undo explain",
    .state_size = sizeof(struct sens_state),
    .open = open_view,
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .explain = explain,
};
