/* GPTQ (Frantar et al. 2022, arXiv 2210.17323): weights are rounded one input after the other, and those
 * not yet rounded take up the error, as the inverse of the inputs' second moments says.
 *
 * With H = X X' and H^-1 = R' R (Cholesky), rounding column j of a row leaves e = (w_j - q_j) / R_jj, and
 * the columns behind become w - e R_j,. (section 3.3, "Cholesky reformulation"). Inside a block of columns
 * that is done at once, for the columns behind by one matrix product a block ("lazy batch updates").
 * Columns come in the order of falling diagonal of H (the reference's act-order); scales are those of the
 * setting, fixed beforehand (its static groups), so that the codes stay on the grid shown. */
#include "method/method.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 128, BAND = 64, TRIES = 4 };

struct gptq {
    struct qx_method_work *w;
    int64_t group;
    int32_t *order; /* [k] columns as they are rounded */
    float *factor;  /* [k][k] R, in that order */
    atomic_bool has_failed;
};

struct ranked {
    float weight;
    int32_t column;
};

static int by_weight(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->weight != y->weight) {
        return x->weight > y->weight ? -1 : 1;
    }
    return x->column < y->column ? -1 : 1;
}

/* The moment of columns i and j of the scaled inputs: x / s meets w s. */
static double moment(const struct qx_method_work *w, int64_t group, int64_t i, int64_t j)
{
    const double h = (double)w->m->second[(group * w->k + i) * w->k + j];
    const int64_t row = group * w->n;
    return w->in_scale ? h / ((double)qx_work_in(w, row, i) * (double)qx_work_in(w, row, j)) : h;
}

static bool order_make(struct gptq *g)
{
    const struct qx_method_work *w = g->w;
    struct ranked *r = qx_mem_array((size_t)w->k, sizeof *r);
    for (int64_t i = 0; r && i < w->k; i++) {
        r[i] = (struct ranked){(float)moment(w, g->group, i, i), (int32_t)i};
    }
    if (r) {
        qsort(r, (size_t)w->k, sizeof *r, by_weight);
        for (int64_t i = 0; i < w->k; i++) {
            g->order[i] = r[i].column;
        }
    }
    qx_mem_free(r);
    return r != NULL;
}

/* H in order, damped; columns without any input stand alone. */
static void moments_fill(struct gptq *g, double damp)
{
    const struct qx_method_work *w = g->w;
    for (int64_t i = 0; i < w->k; i++) {
        float *row = g->factor + i * w->k;
        for (int64_t j = i; j < w->k; j++) {
            row[j] = (float)moment(w, g->group, g->order[i], g->order[j]);
        }
        row[i] = row[i] > 0.0f ? row[i] + (float)damp : 1.0f;
    }
}

/* R, damping more until it exists; false when it does not. */
static bool factor_make(struct gptq *g)
{
    const struct qx_method_work *w = g->w;
    double mean = 0.0, share = 0.01; /* of the mean of the diagonal, as in section 4 */
    for (int64_t i = 0; i < w->k; i++) {
        mean += moment(w, g->group, i, i) / (double)w->k;
    }
    for (int t = 0; t < TRIES && isfinite(mean); t++, share *= 10.0) {
        moments_fill(g, share * mean);
        if (qxk_cholesky(w->k, g->factor) && qxk_cholesky_inverse(w->k, g->factor) &&
            qxk_cholesky(w->k, g->factor)) {
            bool is_sound = true;
            for (int64_t i = 0; i < w->k; i++) {
                is_sound &= isfinite(g->factor[i * w->k + i]) && g->factor[i * w->k + i] > 0.0f;
            }
            if (is_sound) {
                return true;
            }
        }
    }
    return false;
}

/* Columns first .. end of some rows, x [rows][k] in order; e [rows][BLOCK] errors. */
static void block_round(const struct gptq *g, int64_t row, int64_t rows, int64_t first, int64_t end,
                        float *x, float *e)
{
    struct qx_method_work *w = g->w;
    for (int64_t r = 0; r < rows; r++) {
        float *v = x + r * w->k;
        for (int64_t i = first; i < end; i++) {
            const int64_t j = g->order[i];
            const float *factor = g->factor + i * w->k;
            const struct qx_qparams *u = qx_work_unit(w, row + r, j);
            const int8_t code = qx_work_code(u, v[i]);
            const float d = (v[i] - qx_work_value(u, code)) / factor[i];
            w->codes[(row + r) * w->k + j] = code;
            e[r * BLOCK + i - first] = d;
            for (int64_t c = i + 1; c < end; c++) {
                v[c] -= d * factor[c];
            }
        }
    }
}

static void band_run(void *arg, int64_t band, int worker)
{
    struct gptq *g = arg;
    const struct qx_method_work *w = g->w;
    const int64_t o = band * BAND, row = g->group * w->n + o;
    const int64_t rows = BAND < w->n - o ? BAND : w->n - o;
    float *x = qx_mem_array((size_t)rows, (size_t)(w->k + BLOCK) * sizeof *x);
    (void)worker;
    if (!x) {
        atomic_store(&g->has_failed, true);
        return;
    }
    float *e = x + rows * w->k;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < w->k; i++) {
            x[r * w->k + i] = qx_work_aim(w, row + r, g->order[i]);
        }
    }
    for (int64_t i = 0; i < w->k && !qx_cancel_test(w->ctl); i += BLOCK) {
        const int64_t end = i + BLOCK < w->k ? i + BLOCK : w->k;
        block_round(g, row, rows, i, end, x, e);
        if (end < w->k) {
            qxk_sgemm(0, 0, rows, w->k - end, end - i, -1.0f, e, BLOCK, g->factor + i * w->k + end,
                      w->k, 1.0f, x + end, w->k);
        }
    }
    qx_mem_free(x);
}

static enum qx_status group_run(struct gptq *g, bool *is_done, struct qx_error *err)
{
    const struct qx_method_work *w = g->w;
    if (!order_make(g)) {
        return qx_fail_nomem(err, (size_t)w->k * sizeof(struct ranked));
    }
    *is_done = factor_make(g);
    if (!*is_done) {
        return QX_OK;
    }
    qx_pool_for(w->pool, (w->n + BAND - 1) / BAND, band_run, g);
    if (qx_cancel_test(w->ctl)) {
        return qx_fail(err, QX_ECANCELLED, "GPTQ was cancelled");
    }
    return atomic_load(&g->has_failed) ? qx_fail_nomem(err, (size_t)(BAND * w->k) * sizeof(float))
                                       : QX_OK;
}

static enum qx_status run(struct qx_method_work *w, double param, struct qx_error *err)
{
    struct gptq g = {.w = w};
    int64_t n_skipped = 0;
    (void)param;
    atomic_init(&g.has_failed, false);
    g.order = qx_mem_array((size_t)w->k + 1, sizeof *g.order);
    g.factor = qx_mem_array((size_t)w->k + 1, (size_t)w->k * sizeof *g.factor);
    enum qx_status st =
        g.order && g.factor ? QX_OK : qx_fail_nomem(err, (size_t)(w->k * w->k) * sizeof *g.factor);
    for (; st == QX_OK && g.group < w->groups; g.group++) {
        bool is_done = true;
        st = group_run(&g, &is_done, err);
        n_skipped += !is_done;
    }
    if (st == QX_OK && n_skipped > 0) {
        qx_work_note(w, "GPTQ skipped%s: its inputs' moments stay singular",
                     n_skipped < w->groups ? " some channels" : "");
    }
    qx_mem_free(g.order);
    qx_mem_free(g.factor);
    return st;
}

const struct qx_method qx_method_gptq = {
    .name = "gptq",
    .title = "GPTQ",
    .help = "Rounds one input after the other; what is left takes up the error (2210.17323).",
    .key = 'g',
    .stage = QX_STAGE_CODES,
    .claims = QX_CLAIM_CODES,
    .needs_inputs = true,
    .refuse = qx_refuse_no_inputs,
    .run = run,
};
