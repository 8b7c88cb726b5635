/* Least Kullback-Leibler divergence, as TensorRT defines it (Migacz, GTC 2017).
 *
 * On the 2,048 bins of |u|: P = the first i bins with the clipped mass added to the last of them; Q =
 * the same bins without it, their mass per code level spread evenly over the level's non-empty bins.
 * The mismatch of the last bin is what penalises clipping. Values of exactly 0 are left out: they have a code
 * of their own whatever the threshold is, and the spike that a ReLU makes of them would hide the rest (NVIDIA's
 * tools overwrite the first bin for that). i runs from where more bins than levels, 2^(bits-1), hold a value, for
 * fewer would all be kept exactly, as pixels of 8 bits are; ties take the largest. */
#include <math.h>
#include <string.h>

#include "quant/calib.h"

struct prefix {
    double mass[QX_HIST_LIN + 1], used[QX_HIST_LIN + 1], mlog[QX_HIST_LIN + 1];
};

void qx_bins_nonzero(const struct qx_hist *hist, double bins[QX_HIST_LIN], double *top)
{
    memcpy(bins, qx_hist_linear(hist, top), QX_HIST_LIN * sizeof *bins);
    bins[0] = fmax(bins[0] - (double)qx_hist_stats(hist)->n_zero, 0.0);
}

static double xlogx(double x)
{
    return x > 0.0 ? x * log(x) : 0.0;
}

/* First bin behind a level when i bins are kept. Integers: bin j belongs to level floor(j n_levels / i);
 * of a table, to the one in whose cell its centre lies, the end (and a hair beyond) included. */
static int level_end(const struct qx_scheme *scheme, int n_levels, int i, int level)
{
    if (scheme->format && scheme->format->book) {
        return (int)(qx_scheme_cell_end(scheme, level) * i + 0.501);
    }
    return ((level + 1) * i + n_levels - 1) / n_levels;
}

/* Divergence of i bins over n_levels, from prefix sums: sum P log P - sum P log Q, O(levels). */
static double divergence(const struct prefix *pre, const double *bins, int i,
                         const struct qx_scheme *scheme, int n_levels)
{
    double total = pre->mass[QX_HIST_LIN], kept = pre->mass[i], out = total - kept;
    double last = bins[i - 1], kl;

    if (!(kept > 0.0) || (last == 0.0 && out > 0.0)) {
        return INFINITY;
    }
    kl = pre->mlog[i] - xlogx(last) + xlogx(last + out);
    for (int level = 0, from = 0, to; level < n_levels; level++, from = to) {
        to = level_end(scheme, n_levels, i, level);
        double m = pre->mass[to] - pre->mass[from], used = pre->used[to] - pre->used[from];

        if (m > 0.0) {
            kl -= (level == n_levels - 1 ? m + out : m) * log(m / used);
        }
    }
    return kl / total - log(total) + log(kept);
}

static enum qx_status range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                            double param, struct qx_range *out, struct qx_error *err)
{
    double top, least = INFINITY, bins[QX_HIST_LIN];
    int n_levels = qx_scheme_n_levels(scheme), best = QX_HIST_LIN;
    struct prefix pre;

    (void)param;
    (void)err;
    qx_bins_nonzero(hist, bins, &top);
    pre.mass[0] = pre.used[0] = pre.mlog[0] = 0.0;
    for (int j = 0; j < QX_HIST_LIN; j++) {
        pre.mass[j + 1] = pre.mass[j] + bins[j];
        pre.used[j + 1] = pre.used[j] + (bins[j] > 0.0);
        pre.mlog[j + 1] = pre.mlog[j] + xlogx(bins[j]);
    }
    for (int i = n_levels; i <= QX_HIST_LIN; i++) {
        double kl = pre.used[i] > n_levels ? divergence(&pre, bins, i, scheme, n_levels) : INFINITY;

        if (kl <= least) {
            least = kl;
            best = i;
        }
    }
    *out = qx_range_cut(hist, scheme, top * best / QX_HIST_LIN);
    return QX_OK;
}

const struct qx_calibrator qx_calib_kl = {
    .name = "kl",
    .title = "KL",
    .help = "The threshold that keeps most information, as TensorRT's entropy calibrator sees it.",
    .key = 'k',
    .mark = 'K',
    .range = range,
};
