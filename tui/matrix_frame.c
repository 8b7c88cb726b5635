/* Which part of the weight is in sight, at which size, and what its colours mean. */
#include "matrix.h"

#include <math.h>

enum { MOST_ACROSS = 6, MOST_DOWN = 4 }; /* dots of a block of a small weight */

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t share(int64_t n, int64_t parts)
{
    return (n + parts - 1) / parts;
}

static int halvings(int64_t n)
{
    int k = 0;
    for (; n > 1; n = share(n, 2)) {
        k++;
    }
    return k;
}

/* A block of one element may take several dots, so that a small weight fills the screen. */
static int dots_of(int64_t block, int64_t n, int room, int most)
{
    const int64_t fit = block > 1 ? 1 : room / n;
    return fit < 1 ? 1 : fit > most ? most : (int)fit;
}

/* First line in sight: whole blocks, the cursor among them, nothing empty at the end. */
static int64_t scroll(int64_t first, int64_t cursor, int64_t n, int64_t block, int64_t blocks)
{
    const int64_t last = share(n, block) - blocks;
    int64_t at = first / block;
    at = cursor / block < at ? cursor / block : at;
    at = cursor / block >= at + blocks ? cursor / block - blocks + 1 : at;
    at = at > last ? last : at;
    return (at < 0 ? 0 : at) * block;
}

/* Room for the picture at most; the margins stand where it ends. */
static struct ui_rect map_room(struct ui_rect r)
{
    const int strip = r.w >= 100 ? 16 : 10, below = r.h >= 18 ? 2 : 1;
    return (struct ui_rect){r.x + 3, r.y + 2, r.w - 5 - strip, r.h - 4 - below};
}

static void place_rects(struct matrix_frame *f, struct ui_rect r)
{
    enum { STRIP_MOST = 30, BELOW_MOST = 5 };
    struct ui_matrix *s = f->state;
    const int w = (int)f->across * f->mx, dots = (int)f->down * f->my;
    const int h = f->is_half ? (dots + 1) / 2 : dots, x = r.x + 3, y = r.y + 2;
    const int strip = r.x + r.w - 1 - x - w, below = r.y + r.h - 1 - y - h;
    s->map = (struct ui_rect){x, y, w, h};
    s->row_strip = (struct ui_rect){x + w, y, strip < STRIP_MOST ? strip : STRIP_MOST, h};
    s->col_strip = (struct ui_rect){x, y + h, w, below < BELOW_MOST ? below : BELOW_MOST};
}

static void forget_places(struct matrix_frame *f)
{
    struct ui_matrix *s = f->state;
    if (s->item != f->index + 1) {
        s->item = f->index + 1;
        s->row = s->col = s->row0 = s->col0 = 0;
        s->zoom = 0;
        s->line = -1;
    }
    s->row = s->row < f->m.rows ? s->row : f->m.rows - 1;
    s->col = s->col < f->m.cols ? s->col : f->m.cols - 1;
}

bool matrix_frame_init(struct matrix_frame *f, struct ui_app *app, struct ui_matrix *state,
                       struct ui_rect r)
{
    const struct qx_item *item = app->session ? ui_item(app) : NULL;
    *f = (struct matrix_frame){.app = app, .state = state, .item = item};
    if (!item || item->tensor->numel == 0) {
        return false;
    }
    f->index = app->cursor;
    f->setting = ui_setting(app);
    f->m = qx_matrix_of(item->tensor, item->channels);
    f->is_half = app->shades && app->glyphs != UI_GLYPHS_ASCII;
    forget_places(f);

    const struct ui_rect map = map_room(r);
    f->px = map.w > 1 ? map.w : 1;
    f->py = (map.h > 1 ? map.h : 1) * (f->is_half ? 2 : 1);
    int64_t across = share(f->m.cols, f->px), down = share(f->m.rows, f->py);
    f->zooms = halvings(across) > halvings(down) ? halvings(across) : halvings(down);
    state->zoom = state->zoom > f->zooms ? f->zooms : state->zoom;
    for (int z = 0; z < state->zoom; z++) {
        across = share(across, 2);
        down = share(down, 2);
    }
    f->mx = dots_of(across, f->m.cols, f->px, MOST_ACROSS);
    f->my = dots_of(down, f->m.rows, f->py, MOST_DOWN);
    f->across = smaller(f->px / f->mx, share(f->m.cols, across));
    f->down = smaller(f->py / f->my, share(f->m.rows, down));
    state->col0 = scroll(state->col0, state->col, f->m.cols, across, f->across);
    state->row0 = scroll(state->row0, state->row, f->m.rows, down, f->down);
    f->part = (struct qx_matrix_part){.row = state->row0,
                                      .col = state->col0,
                                      .rows = smaller(f->down * down, f->m.rows - state->row0),
                                      .cols = smaller(f->across * across, f->m.cols - state->col0),
                                      .down = down,
                                      .across = across};
    place_rects(f, r);
    return true;
}

bool matrix_is_signed(const struct matrix_frame *f)
{
    return !f->state->is_mean && f->state->what != QX_MATRIX_CLIPPED;
}

double matrix_figure(const struct matrix_frame *f, const struct qx_matrix_cell *cell)
{
    return f->state->is_mean ? (double)cell->mean : (double)cell->largest;
}

/* The largest figure takes the full colour; where few blocks are far above all others, those others'
 * largest does (99 of 100 that are not 0), so that an outlier does not darken the rest. */
static void scale_find(struct matrix_frame *f)
{
    enum { BINS = 256 };
    int64_t count[BINS] = {0}, n = 0, beyond = 0;
    const int64_t h = qx_matrix_map_height(f->map), w = qx_matrix_map_width(f->map);
    double most = 0;
    for (int64_t i = 0; i < h * w; i++) {
        const struct qx_matrix_cell *cell = qx_matrix_map_cell(f->map, i / w, i % w);
        most = cell ? fmax(most, fabs(matrix_figure(f, cell))) : most;
    }
    f->top = most;
    if (f->state->what == QX_MATRIX_CODE || f->state->what == QX_MATRIX_CLIPPED || most == 0) {
        return;
    }
    for (int64_t i = 0; i < h * w; i++) {
        const struct qx_matrix_cell *cell = qx_matrix_map_cell(f->map, i / w, i % w);
        if (cell && matrix_figure(f, cell) != 0) {
            count[(int)(fabs(matrix_figure(f, cell)) / most * (BINS - 1))]++;
            n++;
        }
    }
    int bin = BINS - 1;
    for (; bin > 0 && (beyond + count[bin]) * 100 <= n; bin--) {
        beyond += count[bin];
    }
    if (bin < BINS * 2 / 3) {
        f->top = most * (bin + 1) / (BINS - 1);
        f->is_beyond = true;
    }
}

void matrix_frame_full(struct matrix_frame *f)
{
    struct ui_matrix *s = f->state;
    f->map = qx_session_matrix(f->app->session, f->index, s->what, &f->part, &f->reason);
    f->margins =
        f->m.rows > 1 ? qx_session_margins(f->app->session, f->index, &f->margins_reason) : NULL;
    if (f->map) {
        scale_find(f);
    }
}

const struct qx_matrix_cell *matrix_cell_here(const struct matrix_frame *f)
{
    const struct ui_matrix *s = f->state;
    return f->map ? qx_matrix_map_cell(f->map, (s->row - f->part.row) / f->part.down,
                                       (s->col - f->part.col) / f->part.across)
                  : NULL;
}

int64_t matrix_element_here(const struct matrix_frame *f)
{
    const struct qx_matrix_cell *cell = matrix_cell_here(f);
    const bool is_one = f->part.down == 1 && f->part.across == 1;
    return !is_one && cell && cell->element >= 0
               ? cell->element
               : qx_matrix_element(&f->m, f->state->row, f->state->col);
}

bool matrix_look(const struct matrix_frame *f, int64_t element, struct qx_matrix_value *out)
{
    enum qx_hist_state state;
    const struct qx_hist *hist =
        qx_format_is_scaled(f->setting->format)
            ? qx_session_hist(f->app->session, f->index, f->setting, &state)
            : NULL;
    if (hist && state != QX_HIST_READY) {
        hist = NULL;
    }
    return qx_matrix_look(&f->m, f->setting, hist, element, out, NULL) == QX_OK;
}

bool matrix_is_dead(float max)
{
    return !(max > 0);
}

bool matrix_is_outlier(float max, double median)
{
    return (double)max > QX_MATRIX_OUTLIER * median;
}

void matrix_group(const struct matrix_frame *f, int64_t *first, int64_t *n)
{
    const bool is_grouped =
        qx_format_is_scaled(f->setting->format) && f->setting->gran == QX_GRAN_GROUP;
    const int64_t size = is_grouped ? f->setting->group : f->m.cols;
    *first = f->state->col / size * size;
    *n = smaller(size, f->m.cols - *first);
}
