/* Search of the clipping ratio with the least error, shared by mse and mae.
 *
 * The error over the ratio is jagged at 8 bits (the grid slides over the values), so a bracket search
 * would stop in the first dent: a grid finds the valley, two finer grids its floor. Below 1/128 the
 * grid is geometric, for tensors with a single enormous value. */
#include <math.h>

#include "quant/calib.h"

enum { COARSE = 128, TAIL = 40, FINE = 16, ROUNDS = 2 };

struct qx_setting qx_setting_on(const struct qx_hist *hist, const struct qx_scheme *scheme,
                                struct qx_range range)
{
    const struct qx_hist_spec *spec = qx_hist_spec(hist);
    struct qx_setting s = qx_setting_int(scheme->bits);

    s.format = scheme->format ? scheme->format : s.format;
    s.sym = scheme->sym;
    s.gran = spec->gran;
    s.group = spec->group;
    s.range = range;
    s.has_range = true;
    return s;
}

int qx_scheme_n_levels(const struct qx_scheme *scheme)
{
    const struct qx_book *book = scheme->format ? scheme->format->book : NULL;

    return book ? book->n - book->zero : 1 << (scheme->bits - 1);
}

double qx_scheme_cell_end(const struct qx_scheme *scheme, int level)
{
    const struct qx_book *book = scheme->format->book;
    int code = book->zero + level;

    return code + 1 < book->n ? (double)book->edge[code] / (double)book->top : 1.0;
}

struct qx_range qx_range_at(const struct qx_hist *hist, const struct qx_scheme *scheme, double r)
{
    const struct qx_stats *st = qx_hist_stats(hist);

    if (qx_hist_spec(hist)->gran != QX_GRAN_TENSOR) {
        return (struct qx_range){-r, r};
    }
    if (scheme->sym) {
        return (struct qx_range){-r * st->absmax, r * st->absmax};
    }
    return (struct qx_range){r * fmin(st->min, 0.0), r * fmax(st->max, 0.0)};
}

struct qx_range qx_range_cut(const struct qx_hist *hist, const struct qx_scheme *scheme, double t)
{
    const struct qx_stats *st = qx_hist_stats(hist);

    if (qx_hist_spec(hist)->gran != QX_GRAN_TENSOR) {
        double top = scheme->sym ? 1.0 : qx_hist_quantile_abs(hist, 1.0);
        double r = top > 0.0 && t > 0.0 ? fmin(t / top, 1.0) : 1.0; /* all zero: clip nothing */

        return (struct qx_range){-r, r};
    }
    t = fmin(t, st->absmax);
    if (scheme->sym) {
        return (struct qx_range){-t, t};
    }
    return (struct qx_range){fmax(fmin(st->min, 0.0), -t), fmin(fmax(st->max, 0.0), t)};
}

/* Candidate i, descending from 1: 128 even steps, then four per octave. */
static double coarse_ratio(int i)
{
    return i < COARSE ? (double)(COARSE - i) / COARSE : exp2(-(i - COARSE + 1) / 4.0) / COARSE;
}

static double error_at(const struct qx_hist *hist, const struct qx_scheme *scheme,
                       qx_search_fn *error, double r)
{
    struct qx_setting s = qx_setting_on(hist, scheme, qx_range_at(hist, scheme, r));

    return error(hist, &s);
}

struct qx_range qx_search_range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                                qx_search_fn *error)
{
    double best = 1.0, least = INFINITY, low = 0.0, high = 1.0;

    for (int i = 0; i < COARSE + TAIL; i++) {
        double e = error_at(hist, scheme, error, coarse_ratio(i));

        if (e < least) {
            least = e;
            best = coarse_ratio(i);
            high = coarse_ratio(i > 0 ? i - 1 : 0);
            low = coarse_ratio(i + 1);
        }
    }
    for (int round = 0; round < ROUNDS; round++) {
        double centre = best, up = (high - best) / FINE, down = (best - low) / FINE;

        /* Descending, so that of equal errors the largest ratio stays. */
        least = INFINITY;
        for (int j = FINE; j >= -FINE; j--) {
            double r = centre + j * (j > 0 ? up : down);
            double e = r > 0.0 ? error_at(hist, scheme, error, r) : INFINITY;

            if (e < least) {
                least = e;
                best = r;
            }
        }
        high = fmin(best + up, 1.0);
        low = best - down;
    }
    return qx_range_at(hist, scheme, best);
}
