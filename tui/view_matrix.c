/* The Matrix screen: where in this weight are the large values, the errors, the dead lines? */
#include "matrix.h"

#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const what_names[] = {"value", "code", "error", "clipped"};
static const char *const pick_names[MATRIX_PICKS] = {"element", "row", "column", "group"};

static struct ui_rect view_rect(const struct ui_app *app)
{
    return (struct ui_rect){0, 1, app->w, app->h - 3};
}

static void draw(struct ui_app *app, void *state, struct ui_canvas *c, struct ui_rect r)
{
    enum { STREAM_MS = 100 };
    struct matrix_frame f;
    if (!matrix_frame_init(&f, app, state, r)) {
        ui_put(c, r.x + 2, r.y + 2, r.w - 4, UI_STYLE_DIM,
               f.item ? "This tensor has no values."
                      : "No layer is chosen: Esc clears the filter.");
        return;
    }
    matrix_frame_full(&f);
    matrix_draw(&f, c, r);
    if (f.map && !qx_matrix_map_done(f.map)) {
        app->tick_ms = app->now_ms + STREAM_MS; /* more of it will be there */
    }
}

static void status(struct ui_app *app, void *state, char *buf, size_t cap)
{
    struct matrix_frame f;
    buf[0] = 0;
    if (!matrix_frame_init(&f, app, state, view_rect(app))) {
        return;
    }
    matrix_frame_full(&f);
    if (!f.reason) {
        matrix_status(&f, buf, cap);
    }
}

static bool explain(struct ui_app *app, void *state, int n, struct ui_explain *out)
{
    struct matrix_frame f;
    if (!matrix_frame_init(&f, app, state, view_rect(app))) {
        return false;
    }
    matrix_frame_full(&f);
    return matrix_explain(&f, n, out);
}

/* ---- moving ---- */

static int64_t clamp(int64_t v, int64_t n)
{
    return v < 0 ? 0 : v >= n ? n - 1 : v;
}

/* By blocks, so that a key press moves what is seen. */
static void move(struct matrix_frame *f, int64_t down, int64_t across)
{
    struct ui_matrix *s = f->state;
    s->row = clamp(s->row + down * f->part.down, f->m.rows);
    s->col = clamp(s->col + across * f->part.across, f->m.cols);
}

static bool move_command(struct matrix_frame *f, enum ui_cmd cmd, const char *arg)
{
    const int64_t n = atoll(arg) > 0 ? atoll(arg) : 1;
    switch (cmd) {
    case UI_CMD_UP:
        move(f, -n, 0);
        return true;
    case UI_CMD_DOWN:
        move(f, n, 0);
        return true;
    case UI_CMD_LEFT:
        move(f, 0, -n);
        return true;
    case UI_CMD_RIGHT:
        move(f, 0, n);
        return true;
    case UI_CMD_PAGE_UP:
        move(f, -f->down, 0);
        return true;
    case UI_CMD_PAGE_DOWN:
        move(f, f->down, 0);
        return true;
    case UI_CMD_TOP:
        f->state->row = f->state->col = 0;
        return true;
    case UI_CMD_BOTTOM:
        f->state->row = f->m.rows - 1;
        f->state->col = f->m.cols - 1;
        return true;
    default:
        return false;
    }
}

/* The cursor stays where it is on the screen, as far as it can; unless a row or column is picked, it
 * goes to the element that its block shows. */
static bool zoom(struct matrix_frame *f, int by)
{
    struct ui_matrix *s = f->state;
    const int64_t y = (s->row - f->part.row) / f->part.down;
    const int64_t x = (s->col - f->part.col) / f->part.across;
    if (s->zoom + by < 0 || s->zoom + by > f->zooms) {
        return ui_refuse(f->app, by > 0 ? "a dot is one element already: there is nothing finer"
                                        : "the whole weight is in sight");
    }
    if (by > 0 && s->pick == MATRIX_ELEMENT) {
        matrix_frame_full(f);
        qx_matrix_place(&f->m, matrix_element_here(f), &s->row, &s->col);
    }
    s->zoom += by;
    struct matrix_frame now;
    matrix_frame_init(&now, f->app, s, view_rect(f->app));
    s->row0 = (s->row / now.part.down - y) * now.part.down;
    s->col0 = (s->col / now.part.across - x) * now.part.across;
    s->row0 = s->row0 < 0 ? 0 : s->row0;
    s->col0 = s->col0 < 0 ? 0 : s->col0;
    return true;
}

static bool go_to(struct matrix_frame *f, const char *arg)
{
    long long row, col;
    char rest;
    if (sscanf(arg, "%lld,%lld%c", &row, &col, &rest) != 2 || row < 0 || row >= f->m.rows ||
        col < 0 || col >= f->m.cols) {
        return ui_refuse(f->app, "at takes ROW,COLUMN with rows 0-%lld and columns 0-%lld",
                         (long long)f->m.rows - 1, (long long)f->m.cols - 1);
    }
    f->state->row = row;
    f->state->col = col;
    return true;
}

/* The next line, rows first and then columns, that is dead (or an outlier). */
static bool jump(struct matrix_frame *f, int step, bool is_dead)
{
    struct ui_matrix *s = f->state;
    matrix_frame_full(f);
    const struct qx_margins *m = f->margins;
    if (!m) {
        return ui_refuse(f->app, "%s",
                         f->margins_reason ? f->margins_reason
                         : f->m.rows > 1   ? "the margins are still being computed"
                                           : "a single row has no margins");
    }
    const int64_t n = m->rows + m->cols;
    int64_t at = s->line >= 0 ? s->line : step > 0 ? -1 : n;
    for (int64_t tried = 0; tried < n; tried++) {
        at = (at + step + n) % n;
        const bool is_row = at < m->rows;
        const float max = is_row ? m->row_max[at] : m->col_max[at - m->rows];
        const double median = is_row ? m->row_median : m->col_median;
        if (is_dead ? matrix_is_dead(max) : matrix_is_outlier(max, median)) {
            s->line = at;
            s->pick = is_row ? MATRIX_ROW : MATRIX_COLUMN;
            *(is_row ? &s->row : &s->col) = is_row ? at : at - m->rows;
            return true;
        }
    }
    return ui_refuse(f->app, is_dead ? "no row or column is dead"
                                     : "no row or column stands out (twice the median)");
}

/* ---- what is shown ---- */

static int find(const char *const *names, int n, const char *arg)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(names[i], arg) == 0) {
            return i;
        }
    }
    return -1;
}

static bool show(struct matrix_frame *f, const char *arg)
{
    const bool is_scaled = qx_format_is_scaled(f->setting->format);
    const bool has_codes = is_scaled || qx_matrix_block(&f->m, f->setting);
    int what = arg[0] ? find(what_names, 4, arg) : ((int)f->state->what + 1) % 4;
    if (what < 0) {
        return ui_refuse(f->app, "show takes value, code, error or clipped, not '%s'", arg);
    }
    if (!has_codes && !arg[0]) {
        what = f->state->what == QX_MATRIX_VALUE ? QX_MATRIX_ERROR : QX_MATRIX_VALUE;
    } else if (!is_scaled && !arg[0]) { /* blocks clip nothing */
        what = ((int)f->state->what + 1) % 3;
    }
    f->state->what = (enum qx_matrix_what)what;
    return true;
}

static bool blocks(struct matrix_frame *f, const char *arg)
{
    static const char *const names[] = {"largest", "mean"};
    const int to = arg[0] ? find(names, 2, arg) : !f->state->is_mean;
    if (to < 0) {
        return ui_refuse(f->app, "blocks takes largest or mean, not '%s'", arg);
    }
    f->state->is_mean = to == 1;
    return true;
}

static bool pick(struct matrix_frame *f, const char *arg)
{
    const int to =
        arg[0] ? find(pick_names, MATRIX_PICKS, arg) : ((int)f->state->pick + 1) % MATRIX_PICKS;
    if (to < 0) {
        return ui_refuse(f->app, "pick takes element, row, column or group, not '%s'", arg);
    }
    f->state->pick = (enum matrix_pick)to;
    ui_toast(f->app, UI_TOAST_INFO, "picked: the %s under the cursor", pick_names[to]);
    return true;
}

static bool run(struct matrix_frame *f, enum ui_cmd cmd, const char *arg, bool *is_done)
{
    *is_done = true;
    switch (cmd) {
    case UI_CMD_SHOW:
        return show(f, arg);
    case UI_CMD_BLOCKS:
        return blocks(f, arg);
    case UI_CMD_PICK:
        return pick(f, arg);
    case UI_CMD_ZOOM_IN:
        return zoom(f, 1);
    case UI_CMD_ZOOM_OUT:
        return zoom(f, -1);
    case UI_CMD_AT:
        return go_to(f, arg);
    case UI_CMD_NEXT_OUTLIER:
        return jump(f, 1, false);
    case UI_CMD_PREV_OUTLIER:
        return jump(f, -1, false);
    case UI_CMD_NEXT_DEAD:
        return jump(f, 1, true);
    case UI_CMD_PREV_DEAD:
        return jump(f, -1, true);
    case UI_CMD_OPEN:
        return cmd_go(f->app, "layer");
    default:
        *is_done = move_command(f, cmd, arg);
        return *is_done;
    }
}

static bool command(struct ui_app *app, void *state, enum ui_cmd cmd, const char *arg)
{
    struct matrix_frame f;
    bool is_done;
    if (!matrix_frame_init(&f, app, state, view_rect(app))) {
        return false;
    }
    return run(&f, cmd, arg, &is_done) || is_done;
}

bool cmd_matrix(struct ui_app *app, const char *arg)
{
    (void)arg;
    return cmd_go(app, "matrix");
}

/* ---- mouse ---- */

static bool inside(struct ui_rect r, const struct ui_mouse *m)
{
    return m->x >= r.x && m->x < r.x + r.w && m->y >= r.y && m->y < r.y + r.h;
}

static bool mouse(struct ui_app *app, void *state, const struct ui_mouse *m, struct ui_rect r)
{
    struct ui_matrix *s = state;
    struct matrix_frame f;
    if (!matrix_frame_init(&f, app, state, r)) {
        return false;
    }
    const bool on_map = inside(s->map, m);
    if ((!on_map && !inside(s->row_strip, m) && !inside(s->col_strip, m)) ||
        (m->kind != UI_MOUSE_PRESS && m->kind != UI_MOUSE_WHEEL)) {
        return false;
    }
    const int64_t x = (m->x - s->map.x) / f.mx;
    const int64_t y = (int64_t)(m->y - s->map.y) * (f.is_half ? 2 : 1) / f.my;
    const bool is_row = inside(s->row_strip, m), is_col = inside(s->col_strip, m);
    const int64_t row = is_col ? s->row : f.part.row + y * f.part.down;
    const int64_t col = is_row ? s->col : f.part.col + x * f.part.across;
    if (row >= f.part.row + f.part.rows || col >= f.part.col + f.part.cols) {
        return false;
    }
    ui_dof(app, UI_CMD_AT, "%lld,%lld", (long long)row, (long long)col);
    if (m->kind == UI_MOUSE_WHEEL) {
        ui_do(app, m->wheel < 0 ? UI_CMD_ZOOM_IN : UI_CMD_ZOOM_OUT, "");
    } else if (!on_map) {
        ui_do(app, UI_CMD_PICK, is_row ? "row" : "column");
    }
    return true;
}

const struct ui_view ui_view_matrix = {
    .id = "matrix",
    .title = "Matrix",
    .help = "Where in this weight are the large values, the errors, the dead rows and columns?",
    .key = 'w',
    .hints = "show up zoom-in next-outlier pick blocks next-dead bits next-match explain",
    .state_size = sizeof(struct ui_matrix),
    .draw = draw,
    .status = status,
    .command = command,
    .mouse = mouse,
    .explain = explain,
    .crumb = ui_item_crumb,
};
