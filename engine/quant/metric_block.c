/* Errors of formats in blocks, from the pieces that a histogram carries. */
#include <math.h>

#include "quant/blocks.h"
#include "quant/formulas.h"
#include "quant/grid.h"

static void piece_add(struct qx_error_sums *sums, const float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(x[i])) {
            double a = (double)x[i], b = (double)y[i], e = b - a;

            sums->n += 1.0;
            sums->sq_x += a * a;
            sums->sq_y += b * b;
            sums->xy += a * b;
            sums->sq_err += e * e;
            sums->abs_err += fabs(e);
            sums->bias += e;
        }
    }
}

void qx_metric_block_sums(const struct qx_hist *hist, const struct qx_format *format,
                          struct qx_error_sums *sums)
{
    const struct qx_hist_pieces *p = qx_hist_pieces(hist);
    const struct qx_stats *stats = qx_hist_stats(hist);
    const struct qx_hist_table *table = &qx_hist_tables(hist)->main;
    const float scale = qx_block_tensor_scale(format, stats->absmax);
    double squares, values;

    for (int64_t i = 0; i < p->n; i++) {
        const float *x = p->x + i * QX_HIST_PIECE;
        float y[QX_HIST_PIECE];

        qx_block_values(format, scale, x, p->len[i], y);
        piece_add(sums, x, y, p->len[i]);
    }
    if (p->is_whole || !(sums->n > 0.0)) {
        sums->sq_round = sums->sq_err;
        return;
    }
    values = (double)stats->n / sums->n;
    squares = sums->sq_x > 0.0 ? table->lines[table->n_lines].p2 / sums->sq_x : values;
    sums->n = (double)stats->n;
    sums->sq_x *= squares;
    sums->sq_y *= squares;
    sums->xy *= squares;
    sums->sq_err *= squares;
    sums->abs_err *= sqrt(values * squares);
    sums->bias *= sqrt(values * squares);
    sums->sq_round = sums->sq_err;
}
