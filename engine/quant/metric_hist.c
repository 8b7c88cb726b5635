/* Error figures from prefix sums, O(levels): ux.md 4.1 and 4.2.
 *
 * Between two cell edges every value goes to the same level y, so the figures are sums over cells of y
 * and the sums N_k of x^k in the cell, such as sum y N_1. Summed by parts from level 0 outwards, with
 * F_k(t) = sum of x^k below t, each edge counts on its own, and little mass makes little noise:
 *   sum y N_1 = sum over edges above 0 of (y_right - y_left) (F_1(oo) - F_1(t))
 *             - sum over edges below 0 of (y_right - y_left) F_1(t)
 * Only a bin that holds an edge is split, by the two-moment box model. A point mass on an edge goes
 * where the element-wise path's float32 arithmetic sends it. */
#include "qx/metric.h"

#include <math.h>

#include "base/error.h"
#include "quant/blocks.h"
#include "quant/formulas.h"
#include "quant/grid.h"
#include "qx/overlay.h"
#include "quant/scheme.h"

/* What a pass gathers; constant at every call, so that unneeded sums are never computed. */
enum { WANT_SQ = 1, WANT_ABS = 2, WANT_CODES = 4, WANT_REST = 8 };

enum { TIE_BELOW, TIE_ABOVE, TIE_CODE }; /* a point mass exactly on the cut */

struct sums {
    double n, p0, p1, p2, m0, m1;
};

#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE struct sums line_sums(const struct qx_hist_line *l)
{
    return (struct sums){l->n0, l->p0, l->p1, l->p2, l->m0, l->m1};
}

ALWAYS_INLINE struct sums sums_minus(struct sums a, struct sums b)
{
    return (struct sums){a.n - b.n,   a.p0 - b.p0, a.p1 - b.p1,
                         a.p2 - b.p2, a.m0 - b.m0, a.m1 - b.m1};
}

/* Does the element-wise path send x to level k or one below? */
static bool codes_below(double x, const struct qx_grid *g, int k)
{
    float u = (float)x / g->s32;

    return g->book ? u <= g->book->edge[k - g->kmin] : rintf(u) <= (float)k;
}

ALWAYS_INLINE bool point_below(double x, double t, int tie, int k, const struct qx_grid *g)
{
    if (tie == TIE_CODE && fabs(x - t) <= 0x1p-20 * fabs(t)) {
        return codes_below(x, g, k);
    }
    return tie == TIE_BELOW ? x <= t : x < t;
}

/* Sums over all values below t. k and g serve TIE_CODE: below means level k or one below. */
ALWAYS_INLINE struct sums sums_below(const struct qx_hist_table *table, double t, int tie, int k,
                                     const struct qx_grid *g, bool *is_split)
{
    /* A hair beyond t, away from zero: a point mass at the bin's inner edge may tie with t. */
    int bin = qx_hist_bin(table, t * (1.0 + 0x1p-22));
    const struct qx_hist_line *l = &table->lines[table->first[bin]];
    double r = (double)l->radius, a = l->mean - r, f, mid;
    struct sums s;

    if (r == 0.0) {
        return line_sums(l + point_below(l->mean, t, tie, k, g));
    }
    if (t <= a) {
        return line_sums(l);
    }
    if (t >= a + 2.0 * r) {
        return line_sums(l + 1);
    }
    *is_split = true;
    f = (t - a) / (2.0 * r);
    mid = 0.5 * (a + t);
    s = line_sums(l);
    s.n += f * (l[1].n0 - l->n0);
    s.p0 += f * (l[1].p0 - l->p0);
    s.p1 += f * (l[1].p0 - l->p0) * mid;
    s.p2 += f * (l[1].p0 - l->p0) * (a * a + a * t + t * t) * (1.0 / 3.0);
    s.m0 += f * (l[1].m0 - l->m0);
    s.m1 += f * (l[1].m0 - l->m0) * mid;
    return s;
}

static double square_about(struct sums c, double y)
{
    return c.p2 - 2.0 * y * c.p1 + y * y * c.p0;
}

/* Move the clipped values, which lie beyond `end` and are coded as level y, from rounding to clipping. */
static void clip_sums(struct sums beyond, double end, double y, double *count,
                      struct qx_error_sums *out)
{
    *count += beyond.n;
    if (beyond.n > 0.0) {
        out->sq_clip += square_about(beyond, end);
        out->sq_round += beyond.p0 * (y - end) * (y - end) - square_about(beyond, y);
    }
}

static void grid_clips(const struct qx_grid_part *part, struct sums total,
                       struct qx_error_sums *out, bool *is_split)
{
    const struct qx_grid *g = &part->grid;
    struct sums s;

    if (isfinite(g->lo)) {
        s = sums_below(part->table, g->lo, TIE_ABOVE, 0, g, is_split);
        clip_sums(s, g->lo, qx_grid_level(g, g->kmin), &out->clipped_low, out);
        s = sums_below(part->table, g->hi, TIE_BELOW, 0, g, is_split);
        clip_sums(sums_minus(total, s), g->hi, qx_grid_level(g, g->kmax), &out->clipped_high, out);
    }
}

/* Add the figures of one part. Every grid has the level 0. Absolute errors change sign at the level
 * inside each cell, so they need one more look there. */
ALWAYS_INLINE void grid_sums(const struct qx_grid_part *part, int want, struct qx_error_sums *out,
                             bool *is_split)
{
    const struct qx_hist_table *table = part->table;
    const struct qx_grid *g = &part->grid;
    const struct sums total = line_sums(&table->lines[table->n_lines]);
    double y = qx_grid_level(g, g->kmin), right, n = 0.0;
    double sq_y = 0.0, xy = 0.0, abs_err = total.m1, bias = -total.m1;
    struct sums s, d;

    for (int k = g->kmin;; k++, y = right) {
        if (want & WANT_ABS) {
            s = sums_below(table, y, TIE_ABOVE, 0, g, is_split);
            d = k > 0 ? sums_minus(s, total) : s;
            abs_err += 2.0 * (y * d.m0 - d.m1);
        }
        if (k == g->kmax) {
            break;
        }
        right = qx_grid_level(g, k + 1);
        s = sums_below(table, qx_grid_edge(g, k), TIE_CODE, k, g, is_split);
        d = k >= 0 ? sums_minus(s, total) : s;
        if (want & WANT_SQ) {
            xy -= (right - y) * d.p1;
            sq_y -= (right - y) * (right + y) * d.p0;
        }
        if (want & WANT_ABS) {
            abs_err += 2.0 * d.m1 - (right + y) * d.m0;
        }
        if (want & WANT_CODES) {
            out->codes[k - g->kmin] += s.n - n;
            n = s.n;
        }
        if (want & WANT_REST) {
            bias -= (right - y) * d.m0;
        }
    }
    if (want & WANT_SQ) {
        out->xy += xy;
        out->sq_y += sq_y;
        out->sq_err += total.p2 - 2.0 * xy + sq_y;
    }
    if (want & WANT_ABS) {
        out->abs_err += abs_err;
    }
    if (want & WANT_CODES) {
        out->codes[g->kmax - g->kmin] += total.n - n;
    }
    if (want & WANT_REST) {
        out->bias += bias;
        out->n += total.n;
        out->sq_x += total.p2;
        out->sq_round += total.p2 - 2.0 * xy + sq_y;
        grid_clips(part, total, out, is_split);
    }
}

/* Everything, over all parts. */
static void setting_sums(const struct qx_hist *hist, const struct qx_setting *s,
                         struct qx_error_sums *out, bool *is_split)
{
    int n_parts = qx_grid_n_parts(hist, s);

    for (int i = 0; i < n_parts; i++) {
        struct qx_grid_part part = qx_grid_part(hist, s, i);

        if (part.grid.has_codes) {
            grid_sums(&part, WANT_SQ | WANT_ABS | WANT_CODES | WANT_REST, out, is_split);
            continue;
        }
        grid_sums(&part, WANT_SQ | WANT_ABS | WANT_REST, out, is_split);
        for (int c = 0; c < qx_hist_tables(hist)->n_classes; c++) {
            struct qx_grid_part by_class = qx_grid_class(hist, s, c);

            grid_sums(&by_class, WANT_CODES, out, is_split);
        }
    }
    out->sq_err = fmax(out->sq_err, 0.0);
    out->abs_err = fmax(out->abs_err, 0.0);
    out->sq_clip = fmax(out->sq_clip, 0.0);
    out->sq_round = fmax(out->sq_round, 0.0);
}

/* scale_min, scale_max from the extreme units: the scale grows with a unit's range. */
static void scale_extremes(const struct qx_hist *hist, const struct qx_setting *s,
                           struct qx_metrics *out)
{
    const struct qx_hist_tables *tables = qx_hist_tables(hist);

    out->scale_min = (double)qx_qparams_of(s, 0.0f, tables->a_min).scale;
    out->scale_max = (double)qx_qparams_of(s, 0.0f, tables->a_max).scale;
}

static enum qx_status setting_match(const struct qx_hist *hist, const struct qx_setting *s,
                                    struct qx_error *err)
{
    const struct qx_hist_spec *have = qx_hist_spec(hist);
    struct qx_hist_spec need = qx_setting_spec(s, have->channels);

    if (qx_format_is_scaled(s->format) && !s->has_range) {
        return qx_fail(
            err, QX_EDATA,
            "the setting has no clipping range yet; let its calibrator choose one first");
    }
    if (have->gran != need.gran || (need.gran != QX_GRAN_TENSOR && (have->sym != need.sym)) ||
        (need.gran == QX_GRAN_GROUP && have->group != need.group)) {
        return qx_fail(err, QX_EBUG,
                       "the histogram was built for another granularity or symmetry than the "
                       "setting asks for; build it again from the setting");
    }
    return QX_OK;
}

static enum qx_basis basis_of(const struct qx_hist *hist, const struct qx_setting *s, bool is_split)
{
    if (!qx_hist_stats(hist)->is_exact || (s->format->block && !qx_hist_pieces(hist)->is_whole)) {
        return QX_BASIS_SAMPLED;
    }
    if (qx_format_is_scaled(s->format) && s->gran != QX_GRAN_TENSOR) {
        return QX_BASIS_HISTOGRAM;
    }
    return is_split || qx_hist_rounded(hist) ? QX_BASIS_HISTOGRAM : QX_BASIS_EXACT;
}

enum qx_status qx_metric_hist(const struct qx_hist *hist, const struct qx_setting *s,
                              struct qx_metrics *out, struct qx_error *err)
{
    const struct qx_stats *stats = qx_hist_stats(hist);
    struct qx_error_sums sums = {0};
    bool is_split = false;
    enum qx_status st = setting_match(hist, s, err);

    if (st != QX_OK) {
        return st;
    }
    if (qx_setting_overlay(s)) {
        *out = s->overlay->metrics;
        return QX_OK;
    }
    if (s->format->block) {
        qx_metric_block_sums(hist, s, &sums);
        qx_error_sums_finish(&sums, 0, out);
    } else if (!qx_format_is_scaled(s->format)) {
        qx_metric_float_sums(hist, s->format, &sums, &is_split);
        qx_error_sums_finish(&sums, 0, out);
    } else {
        setting_sums(hist, s, &sums, &is_split);
        qx_error_sums_finish(&sums, qx_setting_n_codes(s), out);
        scale_extremes(hist, s, out);
    }
    qx_metrics_size(s, qx_hist_spec(hist)->channels, out);
    out->n_nonfinite = stats->n_nan + stats->n_inf;
    out->basis = basis_of(hist, s, is_split);
    return QX_OK;
}

double qx_metric_hist_mse(const struct qx_hist *hist, const struct qx_setting *s)
{
    struct qx_error_sums sums = {0};
    double n = (double)qx_hist_stats(hist)->n;
    bool is_split = false;

    if (qx_setting_overlay(s)) {
        return s->overlay->metrics.mse;
    }
    if (s->format->block) {
        qx_metric_block_sums(hist, s, &sums);
    } else if (!qx_format_is_scaled(s->format)) {
        qx_metric_float_sums(hist, s->format, &sums, &is_split);
    } else {
        int n_parts = qx_grid_n_parts(hist, s);

        for (int i = 0; i < n_parts; i++) {
            struct qx_grid_part part = qx_grid_part(hist, s, i);

            grid_sums(&part, WANT_SQ, &sums, &is_split);
        }
    }
    return n > 0.0 ? fmax(sums.sq_err, 0.0) / n : 0.0;
}

double qx_metric_hist_mae(const struct qx_hist *hist, const struct qx_setting *s)
{
    struct qx_error_sums sums = {0};
    double n = (double)qx_hist_stats(hist)->n;
    int n_parts = qx_grid_n_parts(hist, s);
    bool is_split = false;

    for (int i = 0; i < n_parts; i++) {
        struct qx_grid_part part = qx_grid_part(hist, s, i);

        grid_sums(&part, WANT_ABS, &sums, &is_split);
    }
    return n > 0.0 ? fmax(sums.abs_err, 0.0) / n : 0.0;
}

const char *qx_basis_name(enum qx_basis basis)
{
    static const char *const names[] = {"exact", "histogram", "sampled", "unknown"};

    return names[basis];
}
