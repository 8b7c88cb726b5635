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
    double w = b - a, mid = 0.5 * (a + b), d = mid - y;
    double abs_err = fabs(d);

    if (a < y && y < b) {
        abs_err = ((y - a) * (y - a) + (b - y) * (b - y)) / (2.0 * w);
    }
    out->sq_err += n * (d * d + w * w / 12.0);
    out->abs_err += n * abs_err;
    out->sq_y += n * y * y;
    out->xy += n * y * mid;
    out->bias -= n * d;
}

static void line_add(struct qx_error_sums *out, const struct qx_hist_line *l,
                     const struct qx_format *format)
{
    double n = l[1].n0 - l->n0, r = (double)l->radius, a = l->mean - r, b = l->mean + r;
    double ya = (double)format->round((float)a), yb = (double)format->round((float)b);
    double max = (double)format->max, cut = 0.5 * (ya + yb);

    if (fabs(l->mean) > max) {
        double beyond = fabs(l->mean) - max;

        *(l->mean < 0.0 ? &out->clipped_low : &out->clipped_high) += n;
        out->sq_clip += n * beyond * beyond;
        out->sq_round -= n * beyond * beyond;
    }
    if (ya == yb || !(a < cut && cut < b)) {
        double y = (double)format->round((float)l->mean);

        box_add(out, n, a, b, y);
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
        line_add(sums, &table->lines[i], format);
        *has_split = *has_split || table->lines[i].radius > 0.0f;
    }
    sums->sq_round += sums->sq_err;
}
