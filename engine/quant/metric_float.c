/* Rounding to a floating-point format, from the bins.
 *
 * A half-key bin is at most about as wide as one step of the 16-bit formats, so its box meets one
 * level or two neighbouring ones, with the cut half-way between them. */
#include <math.h>

#include "quant/formulas.h"
#include "quant/grid.h"

/* Mass uniform on [a, b] (a = b: a point) coded as level y; n values in all. */
static void box_add(struct qx_error_sums *out, double n, double a, double b, double y)
{
    double w = b - a, d = 0.5 * (a + b) - y;
    double sq_err = n * (d * d + w * w / 12.0), abs_err = fabs(d);

    if (a < y && y < b) {
        abs_err = ((y - a) * (y - a) + (b - y) * (b - y)) / (2.0 * w);
    }
    out->sq_err += sq_err;
    out->abs_err += n * abs_err;
    out->bias -= n * d;
    out->xy += -n * y * d - sq_err; /* x (y - x), from which y^2 and x y follow without a rift */
}

/* Two values lie at mean +- sd. */
static void pair_add(struct qx_error_sums *out, double mid, double sd,
                     const struct qx_format *format)
{
    for (int sign = -1; sign <= 1; sign += 2) {
        double x = mid + sign * sd;

        box_add(out, 1.0, x, x, (double)format->round((float)x));
    }
}

static void line_add(struct qx_error_sums *out, const struct qx_hist_table *table,
                     const struct qx_hist_line *l, const struct qx_format *format)
{
    int bin = (int)l->bin;
    double near_edge = qx_hist_origin(table, bin);
    double far_edge = qx_hist_origin(table, bin < 32768 ? bin - 1 : bin + 1);
    double n = l[1].n0 - l->n0, r = (double)l->radius, a = l->mean - r, b = l->mean + r;
    double max = (double)format->max, ya, yb, cut;

    /* The error bends with the box's width, so the noisy boxes of a few values would add up to a bias:
     * what is spread over its bin at all counts as spread evenly. */
    if (r > 0.25 * fabs(far_edge - near_edge)) {
        a = fmin(near_edge, far_edge);
        b = fmax(near_edge, far_edge);
    }
    ya = (double)format->round((float)a);
    yb = (double)format->round((float)b);
    cut = 0.5 * (ya + yb);

    if (fabs(l->mean) > max) {
        double beyond = fabs(l->mean) - max;

        *(l->mean < 0.0 ? &out->clipped_low : &out->clipped_high) += n;
        out->sq_clip += n * beyond * beyond;
        out->sq_round -= n * beyond * beyond;
    }
    if (n == 2.0 && r > 0.0) {
        pair_add(out, l->mean, r / sqrt(3.0), format);
    } else if (ya == yb || !(a < cut && cut < b)) {
        box_add(out, n, a, b, (double)format->round((float)l->mean));
    } else {
        box_add(out, n * (cut - a) / (b - a), a, cut, ya);
        box_add(out, n * (b - cut) / (b - a), cut, b, yb);
    }
}

void qx_metric_float_sums(const struct qx_hist *hist, const struct qx_format *format,
                          struct qx_error_sums *sums, bool *has_split)
{
    const struct qx_hist_table *table = &qx_hist_tables(hist)->main;
    const struct qx_hist_line *total = &table->lines[table->n_lines];

    sums->n = total->n0;
    sums->sq_x = total->p2;
    if (format->tolerance == 0.0) { /* holds every float32 */
        sums->sq_y = sums->xy = total->p2;
        return;
    }
    for (int i = 0; i < table->n_lines; i++) {
        line_add(sums, table, &table->lines[i], format);
        *has_split = *has_split || table->lines[i].radius > 0.0f;
    }
    sums->sq_round += sums->sq_err;
    sums->sq_y = sums->sq_x + 2.0 * sums->xy + sums->sq_err;
    sums->xy += sums->sq_x;
}
