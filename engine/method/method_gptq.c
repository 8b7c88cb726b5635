/* GPTQ (Frantar et al. 2022, arXiv 2210.17323): weights are rounded one input after the other, and those
 * not yet rounded take up the error, as the inputs' second moments H say.
 *
 * In the form of LDLQ (Chee et al. 2023, arXiv 2307.13304, theorem 6: the same codes), which needs neither
 * the inverse of H nor its factor: with H = M M', M upper triangular, and T = M without the sizes of its
 * columns' diagonal, a row's error e H e' is the sum over columns j of M_jj^2 (e_j + sum over i < j of
 * e_i T_ij)^2. So column j becomes Q(w_j + sum of e_i T_ij), e = w - q. Blocks of columns take up the errors
 * of all columns before them by one matrix product, pieces of a block those of the block before them.
 * Columns come in the order of falling diagonal of H (the reference's act-order); scales are those of the
 * setting, fixed beforehand (its static groups), so that the codes stay on the grid shown.
 *
 * Memory has the columns in the opposite order, the first to be rounded last: there M' is the usual
 * Cholesky factor. Rows lie side by side, so that all loops run over them. */
#include "method/method.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Columns of a block and of its pieces; rows of a band, for few and many of them, and their multiple. */
enum { BLOCK = 128, PIECE = 32, BAND_FEW = 64, BAND_MANY = 256, LANES = 16, TRIES = 4 };

struct gptq {
    struct qx_method_work *w;
    int64_t group;
    double damp;
    int64_t band;
    int32_t *order; /* [k] columns, the last one to be rounded first */
    float *factor;  /* [k][k] moments, then T', in that order */
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
            g->order[w->k - 1 - i] = r[i].column;
        }
    }
    qx_mem_free(r);
    return r != NULL;
}

/* A row of H in order, damped; columns without any input stand alone. */
static void moments_row(void *arg, int64_t i, int worker)
{
    const struct gptq *g = arg;
    const struct qx_method_work *w = g->w;
    float *row = g->factor + i * w->k;
    (void)worker;
    for (int64_t j = i; j < w->k; j++) {
        row[j] = (float)moment(w, g->group, g->order[i], g->order[j]);
    }
    row[i] = row[i] > 0.0f ? row[i] + (float)g->damp : 1.0f;
}

static void factor_row(void *arg, int64_t i, int worker)
{
    const struct gptq *g = arg;
    float *row = g->factor + i * g->w->k;
    const float size = row[i];
    (void)worker;
    for (int64_t j = i + 1; j < g->w->k; j++) {
        row[j] /= size;
    }
}

/* T', damping more until it exists; false when it does not. */
static bool factor_make(struct gptq *g)
{
    const struct qx_method_work *w = g->w;
    double mean = 0.0, share = 0.01; /* of the mean of the diagonal, as in section 4 */
    for (int64_t i = 0; i < w->k; i++) {
        mean += moment(w, g->group, i, i) / (double)w->k;
    }
    for (int t = 0; t < TRIES && isfinite(mean); t++, share *= 10.0) {
        g->damp = share * mean;
        qx_pool_for(w->pool, w->k, moments_row, g);
        bool is_sound = qxk_cholesky(w->pool, w->k, g->factor);
        for (int64_t i = 0; i < w->k; i++) {
            is_sound &= isfinite(g->factor[i * w->k + i]) && g->factor[i * w->k + i] > 0.0f;
        }
        if (is_sound) {
            qx_pool_for(w->pool, w->k, factor_row, g);
            return true;
        }
    }
    return false;
}

/* ---- rows ---- */

/* Rows first .. first + rows - 1, side by side in lines of ld, a multiple of LANES. */
struct band {
    const struct gptq *g;
    int64_t first, rows, ld;
    float *error;           /* [k][ld] of the columns that are rounded */
    float *x;               /* [BLOCK][ld] what is aimed at */
    float *back;            /* [BLOCK][ld] what the columns before add to it */
    int8_t *code;           /* [BLOCK][ld] */
    float *scale, *lo, *hi; /* [units of a row][ld]; codes less their zero, smallest and largest */
};

static bool band_take(struct band *b)
{
    const struct qx_method_work *w = b->g->w;
    const int64_t units = w->row_units ? w->row_units : 1, lines = w->k + 2 * BLOCK + 3 * units;
    b->error = qx_mem_aligned((size_t)(b->ld * lines) * sizeof *b->error);
    b->code = qx_mem_aligned((size_t)(b->ld * BLOCK));
    if (!b->error || !b->code) {
        return false;
    }
    b->x = b->error + w->k * b->ld;
    b->back = b->x + BLOCK * b->ld;
    b->scale = b->back + BLOCK * b->ld;
    b->lo = b->scale + units * b->ld;
    b->hi = b->lo + units * b->ld;
    for (int64_t i = 0; i < units * b->ld; i++) {
        const int64_t r = i % b->ld < b->rows ? i % b->ld : 0;
        const struct qx_qparams *p = qx_work_unit(w, b->first + r, i / b->ld * w->unit_len);
        b->scale[i] = p->scale;
        b->lo[i] = (float)(p->qmin - p->zero);
        b->hi[i] = (float)(p->qmax - p->zero);
    }
    return true;
}

static void band_release(struct band *b)
{
    qx_mem_free(b->error);
    qx_mem_free(b->code);
}

static void block_fill(struct band *b, int64_t first, int64_t end)
{
    const struct gptq *g = b->g;
    memset(b->x, 0, (size_t)((end - first) * b->ld) * sizeof *b->x);
    for (int64_t r = 0; r < b->rows; r++) {
        for (int64_t i = first; i < end; i++) {
            b->x[(i - first) * b->ld + r] = qx_work_aim(g->w, b->first + r, g->order[i]);
        }
    }
}

static void block_codes(const struct band *b, int64_t first, int64_t end)
{
    const struct gptq *g = b->g;
    for (int64_t r = 0; r < b->rows; r++) {
        int8_t *codes = g->w->codes + (b->first + r) * g->w->k;
        for (int64_t i = first; i < end; i++) {
            codes[g->order[i]] = b->code[(i - first) * b->ld + r];
        }
    }
}

/* Lanes of a line: what columns i+1 .. end add to column i; T' is their factors. */
static void lanes_back(const float *factor, int64_t n, const float *error, int64_t ld,
                       const float *back, float *out)
{
    float sum[LANES];
    memcpy(sum, back, sizeof sum);
    for (int64_t c = 0; c < n; c++) {
        for (int l = 0; l < LANES; l++) {
            sum[l] += factor[c] * error[c * ld + l];
        }
    }
    memcpy(out, sum, sizeof sum);
}

/* To nearest in even steps, as qx_quantize rounds: a float beyond 2^23 has no fraction. */
static void lanes_round(const float *x, const float *back, const float *scale, const float *lo,
                        const float *hi, int qmin, int8_t *code, float *error)
{
    const float whole = 12582912.0f;
    for (int l = 0; l < LANES; l++) {
        const float v = x[l] + back[l];
        float q = (fabsf(v) <= FLT_MAX ? v : 0.0f) / scale[l];
        q = q < lo[l] ? lo[l] : q;
        q = q > hi[l] ? hi[l] : q;
        q = q + whole - whole;
        code[l] = (int8_t)((int)(q - lo[l]) + qmin);
        error[l] = x[l] - q * scale[l];
    }
}

/* Uneven steps. */
static void rows_round(struct band *b, int64_t i, const float *x, const float *back, int8_t *code,
                       float *error)
{
    const struct qx_method_work *w = b->g->w;
    memset(error, 0, (size_t)b->ld * sizeof *error);
    for (int64_t r = 0; r < b->rows; r++) {
        const struct qx_qparams *u = qx_work_unit(w, b->first + r, b->g->order[i]);
        code[r] = qx_work_code(u, x[r] + back[r]);
        error[r] = x[r] - qx_work_value(u, code[r]);
    }
}

/* Columns from .. end - 1 of the block that starts at `first`, back to front. */
static void piece_round(struct band *b, int64_t first, int64_t from, int64_t end)
{
    const struct qx_method_work *w = b->g->w;
    for (int64_t i = end - 1; i >= from; i--) {
        const int64_t at = (i - first) * b->ld;
        const int64_t unit = w->row_units ? b->g->order[i] / w->unit_len * b->ld : 0;
        const struct qx_qparams *u = qx_work_unit(w, b->first, b->g->order[i]);
        const float *factor = b->g->factor + i * w->k + i + 1;
        float *error = b->error + i * b->ld;
        for (int64_t r = 0; r < b->ld; r += LANES) {
            float *back = b->back + at + r;
            lanes_back(factor, end - i - 1, error + b->ld + r, b->ld, back, back);
            if (!u->book) {
                lanes_round(b->x + at + r, back, b->scale + unit + r, b->lo + unit + r,
                            b->hi + unit + r, u->qmin, b->code + at + r, error + r);
            }
        }
        if (u->book) {
            rows_round(b, i, b->x + at, b->back + at, b->code + at, error);
        }
    }
}

/* Columns first .. first + n - 1 of a block take up the errors of columns from .. end - 1; back is theirs. */
static void take_up(const struct band *b, int64_t first, int64_t n, int64_t from, int64_t end,
                    float *back)
{
    const int64_t k = b->g->w->k;
    qxk_sgemm(0, 0, n, b->ld, end - from, 1.0f, b->g->factor + first * k + from, k,
              b->error + from * b->ld, b->ld, 1.0f, back, b->ld);
}

static void block_run(struct band *b, int64_t first, int64_t end)
{
    const int64_t k = b->g->w->k;
    block_fill(b, first, end);
    memset(b->back, 0, (size_t)((end - first) * b->ld) * sizeof *b->back);
    if (end < k) {
        take_up(b, first, end - first, end, k, b->back);
    }
    for (int64_t last = end; last > first;) {
        const int64_t from = last - first > PIECE ? last - PIECE : first;
        if (last < end) {
            take_up(b, from, last - from, last, end, b->back + (from - first) * b->ld);
        }
        piece_round(b, first, from, last);
        last = from;
    }
    block_codes(b, first, end);
}

static void band_run(void *arg, int64_t i, int worker)
{
    struct gptq *g = arg;
    const struct qx_method_work *w = g->w;
    const int64_t o = i * g->band, rows = g->band < w->n - o ? g->band : w->n - o;
    struct band b = {.g = g,
                     .first = g->group * w->n + o,
                     .rows = rows,
                     .ld = (rows + LANES - 1) / LANES * LANES};
    (void)worker;
    if (band_take(&b)) {
        for (int64_t end = w->k; end > 0 && !qx_cancel_test(w->ctl);) {
            const int64_t first = end > BLOCK ? end - BLOCK : 0;
            block_run(&b, first, end);
            end = first;
        }
    } else {
        atomic_store(&g->has_failed, true);
    }
    band_release(&b);
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
    g->band = w->n < 8 * BAND_MANY ? BAND_FEW : BAND_MANY;
    qx_pool_for(w->pool, (w->n + g->band - 1) / g->band, band_run, g);
    if (qx_cancel_test(w->ctl)) {
        return qx_fail(err, QX_ECANCELLED, "GPTQ was cancelled");
    }
    return atomic_load(&g->has_failed)
               ? qx_fail_nomem(err, (size_t)(g->band * w->k) * sizeof(float))
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
