/* What theory allows: the uniform-noise rule and the best codebook of a given size. */
#include <math.h>

#include "base/error.h"
#include "base/mem.h"
#include "quant/grid.h"
#include "quant/scheme.h"

/* Round-off uniform in half a step either side has variance s^2 / 12 (Bennett 1948), so that every
 * bit is worth 6.02 dB. */
double qx_metric_theory_db(const struct qx_hist *hist, const struct qx_setting *s)
{
    const struct qx_hist_table *table = &qx_hist_tables(hist)->main;
    const struct qx_hist_line *total = &table->lines[table->n_lines];
    struct qx_grid_part part;

    if (!qx_setting_is_int(s) || !s->has_range || !(total->p2 > 0.0)) {
        return NAN;
    }
    part = qx_grid_part(hist, s, 0);
    return 10.0 * log10(total->p2 / (total->p0 * part.grid.s * part.grid.s / 12.0));
}

/* Lloyd's iteration works on bins as points: a codebook of at most 256 levels cannot see inside bins
 * of relative width 2^-10. */
struct lloyd {
    const struct qx_hist_table *table;
    int n;
    double *level; /* [n], ascending */
    double *next;  /* [n] */
};

/* First line whose mean is at least t. Means ascend with the bins. */
static int line_from(const struct qx_hist_table *table, double t)
{
    int i = table->first[qx_hist_bin(table, t)];

    while (i > 0 && table->lines[i - 1].mean >= t) {
        i--;
    }
    while (i < table->n_lines && table->lines[i].mean < t) {
        i++;
    }
    return i;
}

/* Start where the point density is proportional to the cube root of the density (Panter and Dite
 * 1951): the optimum for many levels. */
static void lloyd_start(struct lloyd *q)
{
    const struct qx_hist_line *l = q->table->lines;
    double total = 0.0, sum = 0.0;
    int j = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < q->table->n_lines; i++) {
            double left = i > 0 ? l[i - 1].mean : l[i].mean;
            double right = i + 1 < q->table->n_lines ? l[i + 1].mean : l[i].mean;
            double width = 0.5 * (right - left);
            double share = cbrt((l[i + 1].p0 - l[i].p0) * width * width);

            if (pass == 0) {
                total += share;
                continue;
            }
            sum += share;
            while (j < q->n && (j + 0.5) * total <= sum * q->n) {
                q->level[j++] = l[i].mean;
            }
        }
    }
    while (j < q->n) {
        q->level[j++] = l[q->table->n_lines > 0 ? q->table->n_lines - 1 : 0].mean;
    }
}

/* Move every level to the mean of its cell. Returns the squared error before the move, within bins
 * included. */
static double lloyd_step(struct lloyd *q)
{
    const struct qx_hist_table *t = q->table;
    double err = 0.0;
    int from = 0, to;

    for (int j = 0; j < q->n; j++, from = to) {
        const struct qx_hist_line *a = &t->lines[from], *b;
        double y = q->level[j], p0, p1, p2;

        to = j + 1 < q->n ? line_from(t, 0.5 * (y + q->level[j + 1])) : t->n_lines;
        to = to < from ? from : to;
        b = &t->lines[to];
        p0 = b->p0 - a->p0;
        p1 = b->p1 - a->p1;
        p2 = b->p2 - a->p2;
        err += p2 - 2.0 * y * p1 + y * y * p0;
        q->next[j] = p0 > 0.0 ? p1 / p0 : y;
    }
    for (int j = 0; j < q->n; j++) {
        q->level[j] = q->next[j];
    }
    return err;
}

enum qx_status qx_metric_lloyd_max_db(const struct qx_hist *hist, int bits, struct qx_ctl *ctl,
                                      double *out_db, struct qx_error *err)
{
    enum { MAX_STEPS = 20000, PATIENCE = 100 };
    const struct qx_hist_table *table = &qx_hist_tables(hist)->main;
    double sq_x = table->lines[table->n_lines].p2, last, sq;
    struct lloyd q = {.table = table, .n = 1 << bits};
    enum qx_status st = QX_OK;

    q.level = qx_mem_array((size_t)q.n * 2, sizeof(*q.level));
    if (!q.level) {
        return qx_fail_nomem(err, (size_t)q.n * 2 * sizeof(*q.level));
    }
    q.next = q.level + q.n;
    lloyd_start(&q);
    sq = last = lloyd_step(&q);
    for (int i = 1; i <= MAX_STEPS; i++) {
        sq = lloyd_step(&q);
        if (i % PATIENCE == 0) {
            if (qx_cancel_test(ctl)) {
                st = qx_fail(err, QX_ECANCELLED, "the search for the best codebook was cancelled");
                break;
            }
            if (!(sq < last * (1.0 - 1e-6))) {
                break;
            }
            last = sq;
        }
    }
    qx_mem_free(q.level);
    if (st == QX_OK) {
        /* An error this small is the rounding noise of prefix differences: every value has a level. */
        *out_db = sq > 1e-14 * sq_x ? 10.0 * log10(sq_x / sq) : NAN;
    }
    return st;
}
