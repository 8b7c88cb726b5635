/* The largest magnitude of every row and column of a weight, in one pass. */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "qx/matrix.h"

enum { READ = 4096, TILE = 1 << 18 };
static const int64_t lines_max = INT64_C(1) << 24;

/* A tile is a run of the storage, whatever lines it crosses: every thread has margins of its own. */
struct pass {
    const struct qx_matrix *m;
    struct qx_ctl *ctl;
    float *lines;         /* [threads][rows + cols] */
    int64_t *n_nonfinite; /* [threads] */
    atomic_int status;
};

static float larger(float a, float b)
{
    return a > b ? a : b;
}

/* Values of one line that lie together, each of another line across. Returns the non-finite ones. */
static int64_t run_add(const float *x, int64_t n, float *line, float *across)
{
    float top = *line;
    int64_t bad = 0;

    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);

        if (!isfinite(a)) {
            bad++;
            a = 0.0f;
        }
        top = larger(a, top);
        across[i] = larger(a, across[i]);
    }
    *line = top;
    return bad;
}

/* The values at the front of x[n] that lie along one line; returns how many. */
static int64_t runs_add(const struct pass *p, int64_t element, const float *x, int64_t n,
                        float *rows, float *cols, int64_t *n_nonfinite)
{
    const struct qx_matrix *m = p->m;
    int64_t row, col, left, inner = m->rows == 1 ? m->cols : m->channels.inner;
    bool is_down = inner == 1; /* [in, out] weights: a column lies together */

    qx_matrix_place(m, element, &row, &col);
    left = is_down ? m->rows - row : inner - col % inner;
    left = left < n ? left : n;
    *n_nonfinite += is_down ? run_add(x, left, &cols[col], &rows[row])
                            : run_add(x, left, &rows[row], &cols[col]);
    return left;
}

static void pass_tile(void *arg, int64_t tile, int worker)
{
    struct pass *p = arg;
    const struct qx_matrix *m = p->m;
    float *rows = p->lines + worker * (m->rows + m->cols), *cols = rows + m->rows, x[READ];
    int64_t end = tile * TILE + TILE < m->tensor->numel ? tile * TILE + TILE : m->tensor->numel;

    for (int64_t at = tile * TILE, n; at < end; at += n) {
        n = end - at < READ ? end - at : READ;
        if (atomic_load(&p->status) != QX_OK) {
            return;
        }
        enum qx_status st =
            qx_cancel_test(p->ctl) ? QX_ECANCELLED : qx_tensor_read(m->tensor, at, n, x, NULL);
        if (st != QX_OK) {
            atomic_store(&p->status, (int)st);
            return;
        }
        for (int64_t i = 0, k; i < n; i += k) {
            k = runs_add(p, at + i, x + i, n - i, rows, cols, &p->n_nonfinite[worker]);
        }
        qx_ctl_add(p->ctl, n);
    }
    qx_tensor_passed(m->tensor, tile * TILE, end - tile * TILE);
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Median of the lines that are not dead, how many are, and how many stand out. scratch: [n] */
static double weigh(const float *line, int64_t n, float *scratch, int64_t *dead, int64_t *outliers)
{
    int64_t k = 0;

    for (int64_t i = 0; i < n; i++) {
        if (line[i] > 0.0f) {
            scratch[k++] = line[i];
        }
    }
    *dead = n - k;
    *outliers = 0;
    if (k == 0) {
        return 0;
    }
    qsort(scratch, (size_t)k, sizeof(*scratch), compare);
    for (int64_t i = 0; i < k; i++) {
        *outliers += (double)scratch[i] > QX_MATRIX_OUTLIER * (double)scratch[k / 2];
    }
    return (double)scratch[k / 2];
}

static void merge(const struct pass *p, size_t threads, struct qx_margins *out)
{
    int64_t n = out->rows + out->cols;

    for (size_t t = 0; t < threads; t++) {
        const float *from = p->lines + (int64_t)t * n;

        for (int64_t i = 0; i < n; i++) {
            out->row_max[i] = t == 0 ? from[i] : larger(from[i], out->row_max[i]);
        }
        out->n_nonfinite += p->n_nonfinite[t];
    }
    out->row_median =
        weigh(out->row_max, out->rows, p->lines, &out->n_dead_rows, &out->n_outlier_rows);
    out->col_median =
        weigh(out->col_max, out->cols, p->lines, &out->n_dead_cols, &out->n_outlier_cols);
}

static enum qx_status pass_run(struct pass *p, struct qx_pool *pool, size_t threads,
                               struct qx_margins *out, struct qx_error *err)
{
    const struct qx_matrix *m = p->m;
    enum qx_status st;

    qx_ctl_total(p->ctl, m->tensor->numel);
    qx_pool_for(pool, (m->tensor->numel + TILE - 1) / TILE, pass_tile, p);
    st = (enum qx_status)atomic_load(&p->status);
    if (st == QX_OK) {
        merge(p, threads, out);
        return QX_OK;
    }
    return st == QX_ECANCELLED
               ? qx_fail(err, st, "the margins were cancelled")
               : qx_fail(err, st, "the values of '%.100s' cannot be read", m->tensor->name);
}

enum qx_status qx_margins_make(const struct qx_matrix *m, struct qx_pool *pool, struct qx_ctl *ctl,
                               struct qx_margins **out, struct qx_error *err)
{
    size_t threads = pool ? (size_t)qx_pool_threads(pool) : 1;
    struct pass p = {.m = m, .ctl = ctl};
    int64_t n = m->rows + m->cols;

    if (m->rows > lines_max || m->cols > lines_max) {
        return qx_fail(err, QX_EUNSUPPORTED, "more than %lld rows or columns have no margins",
                       (long long)lines_max);
    }
    struct qx_margins *all = qx_mem_zalloc(sizeof(*all));
    float *lines = qx_mem_zalloc(((size_t)n + 1) * sizeof(*lines));
    p.lines = qx_mem_zalloc(((size_t)n * threads + 1) * sizeof(*p.lines));
    p.n_nonfinite = qx_mem_zalloc(threads * sizeof(*p.n_nonfinite));
    enum qx_status st = all && lines && p.lines && p.n_nonfinite
                            ? QX_OK
                            : qx_fail_nomem(err, (size_t)n * threads * sizeof(*lines));
    if (st == QX_OK) {
        all->rows = m->rows;
        all->cols = m->cols;
        all->row_max = lines;
        all->col_max = lines + m->rows;
        st = pass_run(&p, pool, threads, all, err);
    }
    qx_mem_free(p.lines);
    qx_mem_free(p.n_nonfinite);
    if (st != QX_OK) {
        qx_mem_free(lines);
        qx_mem_free(all);
        return st;
    }
    *out = all;
    return QX_OK;
}

void qx_margins_free(struct qx_margins *m)
{
    if (m) {
        qx_mem_free(m->row_max); /* both margins are one piece */
        qx_mem_free(m);
    }
}
