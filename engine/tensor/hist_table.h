/* Prefix sums over the bins of a histogram: what floor 4 reads to answer any threshold in O(levels).
 * Private to the engine. tensor/hist.c builds the tables (with the three fill functions below);
 * quant/metric_hist.c and the calibrators look things up in them.
 *
 * u is the normalised value (qx/hist.h). Every value carries a weight a: 1 for granularity tensor,
 * its unit's absmax (symmetric) or max(hi,0) - min(lo,0) (asymmetric) for channel and group, so that
 * x = a u. A unit whose a is 0 counts its values at u = 0 with weight 0.
 *
 * Bins in value order: half-key tables have 65,536 bins, bin = 32768 + mag for u >= 0 and 32767 - mag
 * for u < 0, mag = FP16 pattern, rounded toward zero, of |u| * key_scale (key_scale = 2^k). Negative
 * values that truncate to zero stay in bin 32767; -0 itself counts as +0 (bin 32768). A bin's origin
 * is its edge nearest to zero (the truncated value itself), so 16-bit data gives point masses with
 * d1 = d2 = 0 exactly. Class tables are linear: bin = (u - lin_lo) * lin_inv.
 *
 * Only non-empty bins have a line; first[bin] finds the line of the bin or the next one above. */
#ifndef QX_TENSOR_HIST_TABLE_H
#define QX_TENSOR_HIST_TABLE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "qx/hist.h"

/* One non-empty bin, one cache line. Sums run over everything strictly below the bin; the bin's own
 * sums are the next line's minus this one's. */
struct qx_hist_line {
    double n0;         /* values */
    double p0, p1, p2; /* sum of a^2 u^k */
    double m0, m1;     /* sum of a u^k */
    double mean;       /* of this bin, weighted by a^2, in u */
    float radius;      /* sqrt(3) sd of the bin: its mass is uniform on mean +- radius; 0 = point */
    uint32_t bin;
};
_Static_assert(sizeof(struct qx_hist_line) == 64, "one cache line");

struct qx_hist_table {
    int n_bins;                       /* 65536, or of a linear table */
    int n_lines;                      /* non-empty bins; < 65535 */
    const uint16_t *first;            /* [n_bins]; n_lines when nothing lies at or above */
    const struct qx_hist_line *lines; /* [n_lines + 1], 64-byte aligned; the last holds the totals
                                         (mean = +infinity, radius 0) */
    double key_scale;                 /* half-key tables */
    bool is_linear;
    double lin_lo, lin_inv;
    double rho; /* class tables: mean of -lo / (hi - lo) over the class's units */
};

/* main: all values. classes: for asymmetric channel and group histograms only, values again, split by
 * their unit's rho = -lo / (hi - lo) (0 when hi = lo) into 64 uniform classes, each a linear table of
 * 2,048 or more bins over [-rho_max, 1 - rho_min] of the class; empty classes are left out. */
struct qx_hist_tables {
    struct qx_hist_table main;
    int n_classes;
    const struct qx_hist_table *classes; /* [n_classes] or NULL */
    float a_min, a_max; /* smallest and largest a over the units with a > 0; 0 when there is none */
};

/* Borrowed from the histogram; all of a shared histogram's readers may use it at once. h->n may be 0:
 * then main has no lines but its totals. Implemented by tensor/hist.c. */
const struct qx_hist_tables *qx_hist_tables(const struct qx_hist *h);

/* FP16 pattern (round toward zero, at most 0x7bff) of a >= 0. */
static inline uint32_t qx_half_key(double a)
{
    uint64_t b;

    if (a < 0x1p-14) {
        return (uint32_t)(a * 0x1p24);
    }
    if (!(a < 65504.0)) {
        return 0x7bff;
    }
    memcpy(&b, &a, sizeof(b));
    return (uint32_t)((b - ((uint64_t)(1023 - 15) << 52)) >> 42);
}

/* Smallest value of the half-key bin with this FP16 pattern, before the division by key_scale. */
static inline double qx_half_value(uint32_t key)
{
    uint32_t e = key >> 10, m = key & 0x3ff;

    return e == 0 ? (double)m * 0x1p-24 : ldexp((double)(m | 0x400), (int)e - 25);
}

/* Bin of u, in value order. u may lie anywhere, infinities too; not NaN. */
static inline int qx_hist_bin(const struct qx_hist_table *t, double u)
{
    if (t->is_linear) {
        double p = (u - t->lin_lo) * t->lin_inv;

        return p <= 0.0 ? 0 : p >= (double)t->n_bins ? t->n_bins - 1 : (int)p;
    }
    return u < 0.0 ? 32767 - (int)qx_half_key(-u * t->key_scale)
                   : 32768 + (int)qx_half_key(u * t->key_scale);
}

/* Origin of a bin in u: the edge nearest to zero (half-key), the centre (linear). */
static inline double qx_hist_origin(const struct qx_hist_table *t, int bin)
{
    if (t->is_linear) {
        return t->lin_lo + (bin + 0.5) / t->lin_inv;
    }
    return bin < 32768 ? -qx_half_value((uint32_t)(32767 - bin)) / t->key_scale
                       : qx_half_value((uint32_t)(bin - 32768)) / t->key_scale;
}

/* What the builder accumulates (in double) per bin; d = u - origin. With a = 1: p0 = m0 = n. */
struct qx_hist_acc {
    double n;          /* values */
    double p0, d1, d2; /* sum of a^2, a^2 d, a^2 d^2 */
    double m0, md1;    /* sum of a, a d */
};

/* Running totals while lines are added in ascending bin order; zero-initialise. */
struct qx_hist_fill {
    long double n0, p0, p1, p2, m0, m1;
};

static inline void qx_hist_line_prefix(struct qx_hist_line *line, const struct qx_hist_fill *f)
{
    line->n0 = (double)f->n0;
    line->p0 = (double)f->p0;
    line->p1 = (double)f->p1;
    line->p2 = (double)f->p2;
    line->m0 = (double)f->m0;
    line->m1 = (double)f->m1;
}

/* Write the line of one non-empty bin (acc->n > 0) and advance the totals. */
static inline void qx_hist_line_set(struct qx_hist_line *line, struct qx_hist_fill *f, int bin,
                                    double origin, const struct qx_hist_acc *acc)
{
    double d1 = acc->p0 > 0.0 ? acc->d1 / acc->p0 : 0.0;
    double var = acc->p0 > 0.0 ? acc->d2 / acc->p0 - d1 * d1 : 0.0;

    qx_hist_line_prefix(line, f);
    line->mean = origin + d1;
    /* Below this the variance is rounding noise of equal values. */
    line->radius = var > 1e-12 * d1 * d1 ? (float)sqrt(3.0 * var) : 0.0f;
    line->bin = (uint32_t)bin;
    f->n0 += acc->n;
    f->p0 += acc->p0;
    f->p1 += (long double)origin * acc->p0 + acc->d1;
    f->p2 += (long double)origin * origin * acc->p0 + 2.0L * origin * acc->d1 + acc->d2;
    f->m0 += acc->m0;
    f->m1 += (long double)origin * acc->m0 + acc->md1;
}

/* Totals line and index: lines[0 .. n_lines-1] are set; first has n_bins entries. */
static inline void qx_hist_table_finish(const struct qx_hist_fill *f, struct qx_hist_line *lines,
                                        int n_lines, uint16_t *first, int n_bins)
{
    int line = n_lines;

    qx_hist_line_prefix(&lines[n_lines], f);
    lines[n_lines].mean = INFINITY;
    lines[n_lines].radius = 0.0f;
    lines[n_lines].bin = (uint32_t)n_bins;
    for (int bin = n_bins - 1; bin >= 0; bin--) {
        if (line > 0 && lines[line - 1].bin == (uint32_t)bin) {
            line--;
        }
        first[bin] = (uint16_t)line;
    }
}

#endif
