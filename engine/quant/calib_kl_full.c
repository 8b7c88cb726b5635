/* Kullback-Leibler divergence over the full support.
 *
 * Comparing only the kept bins and giving Q the clipped mass too would make the finest grid always
 * win. Here P is all 2,048 bins of |u|; Q is the mass of each code (the top code's with what is
 * clipped) spread evenly over the code's cell, and 1e-6 in every bin beyond the threshold. Values of exactly 0 are
 * left out, as in calib_kl.c. */
#include <math.h>

#include "quant/calib.h"

#define OUTSIDE 1e-6

/* Mass below position p (in bins), a bin's mass being even within it. */
static double mass_below(const double *pre, double p)
{
    int j = (int)p;

    return j >= QX_HIST_LIN ? pre[QX_HIST_LIN] : pre[j] + (p - j) * (pre[j + 1] - pre[j]);
}

/* Where the cell of a code ends, in bins, for the threshold at bin i. */
static double code_end(const struct qx_scheme *scheme, int i, int q_max, int code)
{
    if (code == q_max) {
        return (double)i;
    }
    if (scheme->format && scheme->format->book) {
        return qx_scheme_cell_end(scheme, code) * i;
    }
    return (code + 0.5) * ((double)i / q_max);
}

/* Spread each code's mass over its cell: q[0 .. i-1], for the threshold at bin i. */
static void cells_spread(const double *pre, int i, const struct qx_scheme *scheme, int q_max,
                         double *q)
{
    double from = 0.0, to;

    for (int j = 0; j < i; j++) {
        q[j] = 0.0;
    }
    for (int code = 0; code <= q_max; code++, from = to) {
        to = code_end(scheme, i, q_max, code);
        double end = code == q_max ? pre[QX_HIST_LIN] : mass_below(pre, to);
        double density = (end - mass_below(pre, from)) / (to - from);

        for (int j = (int)from; j < i && j < to; j++) {
            double left = from > j ? from : j, right = to < j + 1 ? to : j + 1;

            q[j] += density * (right - left);
        }
    }
}

/* Sum of -P log Q, both normalised: the divergence but for a constant. total = mass of P. */
static double cross_entropy(const double *bins, const double *pre, int i,
                            const struct qx_scheme *scheme, int q_max, double *q)
{
    double total = pre[QX_HIST_LIN], sum_q = 1.0 + OUTSIDE * (QX_HIST_LIN - i);
    double sum = (total - pre[i]) * log(OUTSIDE), last = -1.0, log_q = 0.0;

    cells_spread(pre, i, scheme, q_max, q);
    for (int j = 0; j < i; j++) {
        if (bins[j] == 0.0) {
            continue;
        }
        if (q[j] != last) { /* bins within one cell share their density */
            last = q[j];
            log_q = log(last / total);
        }
        sum += bins[j] * log_q;
    }
    return log(sum_q) - sum / total;
}

static enum qx_status range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                            double param, struct qx_range *out, struct qx_error *err)
{
    double top, least = INFINITY, pre[QX_HIST_LIN + 1], q[QX_HIST_LIN], bins[QX_HIST_LIN];
    int n_levels = qx_scheme_n_levels(scheme), best = QX_HIST_LIN;

    (void)param;
    (void)err;
    qx_bins_nonzero(hist, bins, &top);
    pre[0] = 0.0;
    for (int j = 0; j < QX_HIST_LIN; j++) {
        pre[j + 1] = pre[j] + bins[j];
    }
    for (int i = n_levels; i <= QX_HIST_LIN; i++) {
        double h = cross_entropy(bins, pre, i, scheme, n_levels - 1, q);

        if (h <= least) {
            least = h;
            best = i;
        }
    }
    *out = qx_range_cut(hist, scheme, top * best / QX_HIST_LIN);
    return QX_OK;
}

const struct qx_calibrator qx_calib_kl_full = {
    .name = "kl-full",
    .title = "KL full",
    .help = "Divergence over the full range, clipped values included: the sound form of KL.",
    .key = 'f',
    .mark = 'F',
    .range = range,
};
