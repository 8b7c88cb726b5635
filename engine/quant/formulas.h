/* Private to floor 4: the sums from which every error figure follows, whether they were gathered from
 * a histogram or element by element. Both paths fill the same struct and call the same finish, so
 * they cannot disagree on a definition. */
#ifndef QX_QUANT_FORMULAS_H
#define QX_QUANT_FORMULAS_H

#include "qx/metric.h"

enum { QX_CODES_MAX = 256 };

/* Sums over all finite values x, y = x^ its reconstruction, C = clamp(x, lo, hi). */
struct qx_error_sums {
    double n;
    double sq_x;                      /* x^2 */
    double sq_y;                      /* y^2 */
    double xy;                        /* x y */
    double sq_err, abs_err;           /* (y - x)^2, |y - x| */
    double bias;                      /* y - x */
    double clipped_low, clipped_high; /* values */
    double sq_clip, sq_round;         /* (C - x)^2, (Q(C) - C)^2 */
    double codes[QX_CODES_MAX];       /* values per code, from the lowest code; unused for FLOAT */
};

/* dst += src, in the order of the calls. */
void qx_error_sums_add(struct qx_error_sums *dst, const struct qx_error_sums *src);
/* Figures that follow from the sums: everything but counts of non-finite values, scales, sizes and
 * basis. n_codes 0: FLOAT format. */
void qx_error_sums_finish(const struct qx_error_sums *sums, int n_codes, struct qx_metrics *out);
/* Stored size of the whole tensor under the setting. */
void qx_metrics_size(const struct qx_setting *s, struct qx_channels channels,
                     struct qx_metrics *out);

#endif
