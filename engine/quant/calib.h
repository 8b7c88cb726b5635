/* The rows of the calibrator table, one file each, and what they share. */
#ifndef QX_QUANT_CALIB_H
#define QX_QUANT_CALIB_H

#include "qx/quant.h"

extern const struct qx_calibrator qx_calib_minmax, qx_calib_percentile, qx_calib_mse, qx_calib_mae,
    qx_calib_kl, qx_calib_kl_full, qx_calib_manual;

/* Range that keeps the fraction r of the values' own range: 0 < r <= 1; 1 clips nothing. */
struct qx_range qx_range_at(const struct qx_hist *hist, const struct qx_scheme *scheme, double r);
/* Range that clips |u| at t (granularity tensor: in real units). */
struct qx_range qx_range_cut(const struct qx_hist *hist, const struct qx_scheme *scheme, double t);
/* Codes of |u|, from that of 0 up, and where the cell of one ends as a share of the threshold; for
 * tables only. */
int qx_scheme_n_levels(const struct qx_scheme *scheme);
double qx_scheme_cell_end(const struct qx_scheme *scheme, int level);
/* The linear bins of |u| without the values of exactly 0; calib_kl.c. */
void qx_bins_nonzero(const struct qx_hist *hist, double bins[QX_HIST_LIN], double *top);
/* Setting with this scheme and range on the histogram's own layout. */
struct qx_setting qx_setting_on(const struct qx_hist *hist, const struct qx_scheme *scheme,
                                struct qx_range range);
/* Range of least error: a coarse grid of r, then two rounds of refinement; ties take the largest. */
typedef double qx_search_fn(const struct qx_hist *hist, const struct qx_setting *s);
struct qx_range qx_search_range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                                qx_search_fn *error);

#endif
