/* Clip a fixed share of the values: nearest rank. */
#include <math.h>

#include "quant/calib.h"
#include "tensor/hist_table.h"

/* Values a class of asymmetric units clips at ratio r, from its prefix sums. */
static double clipped_in(const struct qx_hist_table *table, double r)
{
    const struct qx_hist_line *l = table->lines;
    double lo = -r * table->rho, hi = r * (1.0 - table->rho), n = 0.0;

    for (int i = 0; i < table->n_lines && l[i].mean < lo; i++) {
        n = l[i + 1].n0;
    }
    for (int i = table->n_lines - 1; i >= 0 && l[i].mean > hi; i--) {
        n += l[i + 1].n0 - l[i].n0;
    }
    return n;
}

/* Smallest ratio that clips no more than its share. Asymmetric units are anchored at zero, so the
 * share at a ratio is known per class of zero points only. */
static double ratio_asym(const struct qx_hist *hist, double share)
{
    const struct qx_hist_tables *tables = qx_hist_tables(hist);
    double low = 0.0, high = 1.0, allowed = share * (double)qx_hist_stats(hist)->n;

    while (high - low > 1e-6) {
        double mid = 0.5 * (low + high), n = 0.0;

        for (int c = 0; c < tables->n_classes; c++) {
            n += clipped_in(&tables->classes[c], mid);
        }
        *(n <= allowed ? &high : &low) = mid;
    }
    return high;
}

/* When more values are zero than the percentile clips, the threshold is the smallest other value: a
 * range of nothing but zero has no grid. */
static double smallest_nonzero(const struct qx_hist *hist)
{
    const struct qx_stats *st = qx_hist_stats(hist);
    double n = (double)st->n;

    return st->n_zero < st->n ? qx_hist_quantile_abs(hist, ((double)st->n_zero + 1.0) / n) : 0.0;
}

static enum qx_status range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                            double param, struct qx_range *out, struct qx_error *err)
{
    double p = param / 100.0, cut = (1.0 - p) / 2.0;
    const struct qx_stats *st = qx_hist_stats(hist);

    (void)err;
    if (p >= 1.0) {
        *out = qx_range_at(hist, scheme, 1.0);
    } else if (scheme->sym) {
        double t = qx_hist_quantile_abs(hist, p);

        *out = qx_range_cut(hist, scheme, t > 0.0 ? t : smallest_nonzero(hist));
    } else if (qx_hist_spec(hist)->gran != QX_GRAN_TENSOR) {
        double r = ratio_asym(hist, 1.0 - p);

        *out = (struct qx_range){-r, r};
    } else {
        out->lo = fmin(fmax(qx_hist_quantile(hist, cut), st->min), 0.0);
        out->hi = fmax(fmin(qx_hist_quantile(hist, 1.0 - cut), st->max), 0.0);
        if (out->lo == out->hi) {
            *out = qx_range_cut(hist, scheme, smallest_nonzero(hist));
        }
    }
    return QX_OK;
}

const struct qx_calibrator qx_calib_percentile = {
    .name = "percentile",
    .title = "percentile",
    .help = "Clips a fixed share of the values: percentile:99.9 keeps 99.9 % of them.",
    .key = 'p',
    .mark = 'P',
    .takes_param = true,
    .param_default = 99.99,
    .range = range,
};
