/* Private to floor 4: a setting's uniform grid in the units of a histogram table. */
#ifndef QX_QUANT_GRID_H
#define QX_QUANT_GRID_H

#include "qx/metric.h"
#include "tensor/hist_table.h"

/* Levels k s for kmin <= k <= kmax, cell edges (k + 1/2) s, ties to even k; or those of a table, level 0
 * being k = 0. Code of level k: k - kmin. In real units (granularity tensor) levels are float32
 * products, as the engine makes them. */
struct qx_grid {
    const struct qx_book *book; /* NULL: even steps */
    double s;
    float s32; /* s as the element-wise path divides by it */
    bool is_unit;
    bool has_codes; /* false: the zero point differs by unit, so k - kmin is no code */
    int kmin, kmax;
    double lo, hi; /* clipping range; infinite where no value is ever clipped */
};

static inline double qx_grid_level(const struct qx_grid *g, int k)
{
    if (g->book) {
        float level = g->book->level[k - g->kmin];

        return g->is_unit ? (double)level * g->s : (double)(level * g->s32);
    }
    return g->is_unit ? (double)k * g->s : (double)((float)k * g->s32);
}

static inline double qx_grid_edge(const struct qx_grid *g, int k)
{
    return g->book ? (double)g->book->edge[k - g->kmin] * g->s : ((double)k + 0.5) * g->s;
}

/* A table and its grid. A setting on a histogram is the sum of its parts: one for all values, or one
 * per class of zero points (asymmetric channel and group with ratio < 1, ux.md 4.3). */
struct qx_grid_part {
    const struct qx_hist_table *table;
    struct qx_grid grid;
};
int qx_grid_n_parts(const struct qx_hist *hist, const struct qx_setting *s);
struct qx_grid_part qx_grid_part(const struct qx_hist *hist, const struct qx_setting *s, int i);
/* Grid of zero-point class i, whatever the ratio (for the distribution of codes). */
struct qx_grid_part qx_grid_class(const struct qx_hist *hist, const struct qx_setting *s, int i);

/* Only the mean absolute error; cost as qx_metric_hist_mse, twice the look-ups. */
double qx_metric_hist_mae(const struct qx_hist *hist, const struct qx_setting *s);
/* FLOAT formats: figures of rounding every bin, O(bins). *has_split: some bin was more than a point. */
struct qx_error_sums;
void qx_metric_float_sums(const struct qx_hist *hist, const struct qx_format *format,
                          struct qx_error_sums *sums, bool *has_split);
/* BLOCK formats: figures of quantizing the histogram's pieces, for all values. */
void qx_metric_block_sums(const struct qx_hist *hist, const struct qx_setting *s,
                          struct qx_error_sums *sums);

#endif
