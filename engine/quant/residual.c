/* Histogram of x - x^, for display. */
#include <math.h>

#include "quant/blocks.h"
#include "quant/grid.h"
#include "quant/scheme.h"

struct cells {
    double limit;
    int n;
    double *out;
};

/* n values whose residuals are uniform on [a, b]; what lies outside the cells is not drawn. */
static void cells_add(const struct cells *c, double n, double a, double b)
{
    double scale = c->n / (2.0 * c->limit), last = c->n;
    double pa = (a + c->limit) * scale, pb = (b + c->limit) * scale, density;

    if (pb < 0.0 || pa > last) {
        return;
    }
    if (pb - pa < 1e-9) { /* a point; the very end belongs to the last cell */
        c->out[pa < 0.0 ? 0 : pa >= last ? c->n - 1 : (int)pa] += n;
        return;
    }
    density = n / (pb - pa);
    pa = pa < 0.0 ? 0.0 : pa;
    pb = pb > last ? last : pb;
    for (int i = (int)pa; i < pb; i++) {
        double left = pa > i ? pa : i, right = pb < i + 1 ? pb : i + 1;

        c->out[i] += density * (right - left);
    }
}

static double level_of(const struct qx_grid *g, double x)
{
    if (g->book) {
        struct qxk_book b = qx_book_of(g->book, g->s32);

        return qx_grid_level(g, qxk_book_code(&b, (float)x) + g->kmin);
    }
    float k = (float)x / g->s32, low = (float)g->kmin, high = (float)g->kmax;

    k = k < low ? low : k > high ? high : k;
    /* Rounds to even as rintf does, without a call: this runs for every bin of every frame. */
    return qx_grid_level(g, (int)(((double)k + 0x1.8p52) - 0x1.8p52));
}

/* One bin: its box meets one level, or two neighbours with the cut between them. A box across more
 * levels (bins are narrow, so: none that matters) goes by its ends. */
static void bin_add(const struct cells *c, double n, double a, double b, double ya, double yb)
{
    double cut = 0.5 * (ya + yb);

    if (ya == yb || !(a < cut && cut < b)) {
        cells_add(c, n, a - ya, b - ya);
        return;
    }
    cells_add(c, n * (cut - a) / (b - a), a - ya, cut - ya);
    cells_add(c, n * (b - cut) / (b - a), cut - yb, b - yb);
}

static void part_add(const struct cells *c, const struct qx_grid_part *part)
{
    const struct qx_hist_table *t = part->table;

    for (int i = 0; i < t->n_lines; i++) {
        const struct qx_hist_line *l = &t->lines[i];
        double r = (double)l->radius, a = l->mean - r, b = l->mean + r;

        bin_add(c, l[1].n0 - l->n0, a, b, level_of(&part->grid, a), level_of(&part->grid, b));
    }
}

static void float_add(const struct cells *c, const struct qx_hist_table *t,
                      const struct qx_format *format)
{
    for (int i = 0; i < t->n_lines; i++) {
        const struct qx_hist_line *l = &t->lines[i];
        double r = (double)l->radius, a = l->mean - r, b = l->mean + r;

        bin_add(c, l[1].n0 - l->n0, a, b, (double)format->round((float)a),
                (double)format->round((float)b));
    }
}

/* The pieces stand for all values. */
static void block_add(const struct cells *c, const struct qx_hist *hist, const struct qx_setting *s)
{
    const struct qx_hist_pieces *p = qx_hist_pieces(hist);
    const struct qx_stats *stats = qx_hist_stats(hist);
    const float scale = qx_block_tensor_scale(s->format, stats->absmax);
    double n = 0.0;

    for (int64_t i = 0; i < p->n; i++) {
        n += (double)p->len[i];
    }
    for (int64_t i = 0; i < p->n; i++) {
        const float *x = p->x + i * QX_HIST_PIECE;
        float y[QX_HIST_PIECE];

        qx_block_values(s->format, scale, x, qx_block_piece_weights(s, hist, i), p->len[i], y);
        for (int64_t k = 0; k < p->len[i]; k++) {
            double e = (double)x[k] - (double)y[k];

            if (isfinite(e)) {
                cells_add(c, (double)stats->n / n, e, e);
            }
        }
    }
}

void qx_metric_residual(const struct qx_hist *hist, const struct qx_setting *s, double limit,
                        int n_cells, double *out)
{
    struct cells cells = {limit, n_cells, out};
    int n_parts;

    for (int i = 0; i < n_cells; i++) {
        out[i] = 0.0;
    }
    if (!(limit > 0.0)) {
        return;
    }
    if (s->format->block) {
        block_add(&cells, hist, s);
        return;
    }
    if (!qx_format_is_scaled(s->format)) {
        float_add(&cells, &qx_hist_tables(hist)->main, s->format);
        return;
    }
    n_parts = qx_grid_n_parts(hist, s);
    for (int i = 0; i < n_parts; i++) {
        struct qx_grid_part part = qx_grid_part(hist, s, i);

        part_add(&cells, &part);
    }
}
