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

void qx_metric_block_sums(const struct qx_hist *hist, const struct qx_setting *s,
                          struct qx_error_sums *sums)
{
    const struct qx_hist_pieces *p = qx_hist_pieces(hist);
    const struct qx_stats *stats = qx_hist_stats(hist);
    const struct qx_hist_table *table = &qx_hist_tables(hist)->main;
    const float scale = qx_block_tensor_scale(s->format, stats->absmax);
    double squares, values;

    for (int64_t i = 0; i < p->n; i++) {
        const float *x = p->x + i * QX_HIST_PIECE;
        float y[QX_HIST_PIECE];

        qx_block_values(s->format, scale, x, qx_block_piece_weights(s, hist, i), p->len[i], y);
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

/* ---- places among the levels ---- */

struct places {
    double lo, hi, *counts;
    int n;
    int64_t seen;
};

static void place_add(struct places *p, double x)
{
    const double at = (x - p->lo) / (p->hi - p->lo) * p->n;

    p->seen++;
    if (at >= 0.0 && at < (double)p->n) {
        p->counts[(int)at] += 1.0;
    }
}

/* n values of a row from the start of a block on. */
static void piece_places(const struct qx_format *f, float scale, const float *x,
                         const float *weight, int64_t n, struct places *p)
{
    const struct qx_block *b = f->block;
    const int64_t part = b->n / b->n_sub;
    uint8_t stored[QX_BLOCK_STORED];

    qx_block_store(f, scale, x, weight, n, stored);
    for (int64_t i = 0; i < n; i += b->n) {
        struct qx_block_parts parts;

        b->unpack(stored + i / b->n * b->bytes, &parts);
        for (int64_t j = 0; j < b->n && i + j < n; j++) {
            const double d = (double)parts.scale[j / part] * (double)scale;
            const double min = (double)parts.min[j / part] * (double)scale;

            if (d != 0.0 && isfinite(x[i + j])) {
                place_add(p, ((double)x[i + j] + min) / d);
            }
        }
    }
}

static void stored_places(const struct qx_tensor *t, const struct qx_block *b, struct places *p)
{
    const int64_t blocks = t->numel / b->n, most = QX_HIST_PIECE * QX_HIST_PIECES / b->n;
    const int64_t n = blocks < most ? blocks : most;

    for (int64_t i = 0; i < n; i++) {
        struct qx_block_parts parts;

        b->unpack(t->data + (size_t)(i * blocks / n) * (size_t)b->bytes, &parts);
        for (int j = 0; j < b->n; j++) {
            place_add(p, (double)parts.level[j]);
        }
    }
}

bool qx_metric_block_places(const struct qx_tensor *t, const struct qx_setting *s,
                            const struct qx_hist *hist, double lo, double hi, int n, double *counts)
{
    const struct qx_matrix m = {.tensor = t};
    const struct qx_block *b = qx_matrix_block(&m, s);
    struct places p = {lo, hi, counts, n, 0};

    for (int i = 0; i < n; i++) {
        counts[i] = 0.0;
    }
    if (!b || !hist) {
        return false;
    }
    if (s->format->block) {
        const struct qx_hist_pieces *pieces = qx_hist_pieces(hist);
        const float scale = qx_block_scale_of(s, hist);

        for (int64_t i = 0; i < pieces->n; i++) {
            piece_places(s->format, scale, pieces->x + i * QX_HIST_PIECE,
                         qx_block_piece_weights(s, hist, i), pieces->len[i], &p);
        }
    } else {
        stored_places(t, b, &p);
    }
    for (int i = 0; i < n && p.seen > 0; i++) {
        counts[i] *= (double)qx_hist_stats(hist)->n / (double)p.seen;
    }
    return p.seen > 0;
}
