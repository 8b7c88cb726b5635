/* Which grid a setting lays over a histogram. */
#include "quant/grid.h"

#include <math.h>

#include "quant/scheme.h"

static bool is_unit_asym(const struct qx_setting *s)
{
    return s->gran != QX_GRAN_TENSOR && !s->sym;
}

static struct qx_grid grid_tensor(const struct qx_setting *s)
{
    struct qx_qparams p = qx_qparams_of(s, 0.0f, 0.0f);
    struct qx_range r = qx_clip_range(s, 0.0f, 0.0f);

    return (struct qx_grid){.book = p.book,
                            .s = (double)p.scale,
                            .s32 = p.scale,
                            .has_codes = true,
                            .kmin = p.qmin - p.zero,
                            .kmax = p.qmax - p.zero,
                            .lo = r.lo,
                            .hi = r.hi};
}

static struct qx_grid grid_unit(double ratio, int n_steps, int kmin, int kmax, double lo, double hi)
{
    double s = ratio / n_steps;

    return (struct qx_grid){.s = s,
                            .s32 = (float)s,
                            .is_unit = true,
                            .has_codes = true,
                            .kmin = kmin,
                            .kmax = kmax,
                            .lo = lo,
                            .hi = hi};
}

static struct qx_grid grid_unit_book(double r, const struct qx_book *book)
{
    struct qx_grid g = grid_unit(r, 1, -book->zero, book->n - 1 - book->zero, -r, r);

    g.book = book;
    g.s = r / (double)book->top;
    g.s32 = (float)g.s;
    return g;
}

struct qx_grid_part qx_grid_class(const struct qx_hist *hist, const struct qx_setting *s, int i)
{
    const struct qx_hist_table *table = &qx_hist_tables(hist)->classes[i];
    double r = s->range.hi;
    int n = (1 << s->bits) - 1;
    int z = (int)rint(table->rho * n);

    return (struct qx_grid_part){
        table, grid_unit(r, n, -z, n - z, -r * table->rho, r * (1.0 - table->rho))};
}

int qx_grid_n_parts(const struct qx_hist *hist, const struct qx_setting *s)
{
    return is_unit_asym(s) && s->range.hi < 1.0 ? qx_hist_tables(hist)->n_classes : 1;
}

struct qx_grid_part qx_grid_part(const struct qx_hist *hist, const struct qx_setting *s, int i)
{
    const struct qx_hist_table *table = &qx_hist_tables(hist)->main;
    double r = s->range.hi;
    int q = (1 << (s->bits - 1)) - 1;
    struct qx_grid_part part = {.table = table};

    if (s->gran == QX_GRAN_TENSOR) {
        part.grid = grid_tensor(s);
    } else if (s->format->book) {
        part.grid = grid_unit_book(r, s->format->book);
    } else if (s->sym) {
        part.grid = grid_unit(r, q, -q, q, -r, r);
    } else if (r < 1.0) {
        part = qx_grid_class(hist, s, i);
    } else {
        /* Nothing is clipped, and clamping never binds beyond half a step: the grid anchored at zero
         * needs no end, so the zero points of the units do not matter. */
        int n = (1 << s->bits) - 1;

        part.grid = grid_unit(1.0, n, -n, n, -INFINITY, INFINITY);
        part.grid.has_codes = false;
    }
    return part;
}
