/* Second moments of what a layer multiplies: all that calibration-based methods need of its inputs. */
#ifndef QX_MOMENTS_H
#define QX_MOMENTS_H

#include "qx/eval.h"

/* Of one layer; means over its columns (struct qx_net_product). */
struct qx_moments {
    struct qx_net_product product;
    int64_t n_columns;      /* seen, of each group */
    int64_t n_nonfinite;    /* values that counted as 0 */
    float *second;          /* [groups][k][k] mean of x x', symmetric */
    float *mean, *mean_abs; /* [groups][k] */
    float *lo, *hi;         /* [groups][k] smallest and largest value, and 0 */
};
/* Run n_rows rows from first_row on (all that are left, if fewer) under the weights, in float32, and gather the
 * moments of one layer: sums in the order of the rows, so the result does not depend on threads. Memory: the result, and
 * 32 MiB for a part of the rows. Progress counts rows.
 * QX_EUNSUPPORTED: the layer multiplies no float32 input; QX_EDATA: no rows; QX_ENOMEM, QX_ECANCELLED. */
enum qx_status qx_moments_run(const struct qx_net *net, const struct qx_weights *w,
                              const struct qx_dataset *data, int64_t first_row, int64_t n_rows,
                              int layer, struct qx_pool *pool, struct qx_ctl *ctl,
                              struct qx_moments **out, struct qx_error *err);
/* ||(W - V) X||^2 / ||W X||^2 over the columns that were seen: what a layer's outputs lose when V stands for
 * its weights W. row: writes the k values of a row of W and of W - V, finite; any thread. 0 / 0 = 0.
 * O(groups n k^2), memory 192 k floats a thread. QX_ENOMEM, QX_ECANCELLED. */
typedef void qx_moments_row(void *arg, int64_t row, float *w, float *error);
enum qx_status qx_moments_error(const struct qx_moments *m, qx_moments_row *row, void *arg,
                                struct qx_pool *pool, struct qx_ctl *ctl, double *out,
                                struct qx_error *err);
void qx_moments_free(struct qx_moments *m); /* NULL allowed */

#endif
