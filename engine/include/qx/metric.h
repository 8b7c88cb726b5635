/* What a setting does to a tensor: error metrics, from the histogram in O(levels) or element-wise. */
#ifndef QX_METRIC_H
#define QX_METRIC_H

#include "qx/hist.h"
#include "qx/quant.h"

/* How a figure is known; every shown figure carries one. */
enum qx_basis {
    QX_BASIS_EXACT,     /* every element, or lossless histogram: shown plain */
    QX_BASIS_HISTOGRAM, /* bounded approximation */
    QX_BASIS_SAMPLED,   /* from a sample, or still building */
    QX_BASIS_UNKNOWN    /* ? */
};
const char *qx_basis_name(enum qx_basis basis); /* "exact", "histogram", "sampled", "unknown" */

struct qx_metrics {
    int64_t n; /* finite values */
    int64_t n_nonfinite;
    double clipped_low, clipped_high; /* counts of values beyond lo, hi */
    double mse, mae;
    double sqnr_db;             /* 10 log10(sum x^2 / sum err^2); NaN when the error is zero */
    double cosine;              /* NaN when either vector is zero */
    double mse_clip, mse_round; /* mean (C-x)^2 and mean (Q-C)^2, C = clamp(x, lo, hi) */
    double bias;                /* mean(x^ - x) */
    double entropy_bits;        /* of the codes; NaN for FLOAT and BLOCK formats */
    int levels_used, levels;
    double sum_sq; /* sum x^2 */
    double scale_min,
        scale_max;          /* over the units that hold a non-zero value; NaN for FLOAT and BLOCK */
    double bits_per_weight; /* with scales and zero points */
    uint64_t bytes;
    enum qx_basis basis;
};

/* From the histogram; the setting's range must be resolved and the histogram match qx_setting_spec.
 * O(levels) (times 64 classes for asymmetric channel/group with ratio < 1), no allocation, pure: safe
 * on the UI thread. FLOAT formats: fp32 gives zero error; fp16 and bf16 use the bins, O(bins), with
 * basis HISTOGRAM unless the histogram is lossless; what saturates counts as clipped. BLOCK formats quantize
 * the histogram's pieces, at most 16,384 values (Q8_0 0.1 ms, Q4_K 2 ms), with basis SAMPLED unless these are
 * all: the error is that of the pieces relative to their squares. */
enum qx_status qx_metric_hist(const struct qx_hist *hist, const struct qx_setting *s,
                              struct qx_metrics *out, struct qx_error *err);
/* Only the mean squared error (for valleys and searches), about half the cost. */
double qx_metric_hist_mse(const struct qx_hist *hist, const struct qx_setting *s);
/* Element-wise over the whole tensor (background). */
struct qx_pool;
enum qx_status qx_metric_exact(const struct qx_tensor *t, struct qx_channels channels,
                               const struct qx_setting *s, struct qx_pool *pool, struct qx_ctl *ctl,
                               struct qx_metrics *out, struct qx_error *err);

/* Theory beside the bit ladder. */
/* 6.02 b + c for this histogram at this setting's clipping: the uniform-noise SQNR in dB; NaN but
 * for integers. */
double qx_metric_theory_db(const struct qx_hist *hist, const struct qx_setting *s);
/* Best SQNR in dB that ANY codebook of 2^bits levels reaches on this histogram (Lloyd-Max on the
 * folded bins, Lloyd 1982; Max 1960). O(iterations * bins): background, any thread. */
enum qx_status qx_metric_lloyd_max_db(const struct qx_hist *hist, int bits, struct qx_ctl *ctl,
                                      double *out_db, struct qx_error *err);

/* Residual x - x^ in n_cells equal cells over [-limit, limit] (display), O(bins), no allocation. */
void qx_metric_residual(const struct qx_hist *hist, const struct qx_setting *s, double limit,
                        int n_cells, double *out);

/* Where values lie among the levels of their blocks: (x + min) / scale of their part, counted in n equal cells
 * over [lo, hi] (what lies beyond is left out). Of a BLOCK setting from the histogram's pieces; under fp32 of a
 * tensor stored in blocks from those, all on levels then. At most 16,384 values, drawn evenly; scaled up to all.
 * False: neither is there. O(16,384), no allocation: as qx_metric_hist of BLOCK formats. */
bool qx_metric_block_places(const struct qx_tensor *t, const struct qx_setting *s,
                            const struct qx_hist *hist, double lo, double hi, int n,
                            double *counts);

#endif
