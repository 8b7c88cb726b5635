/* First pass: statistics of all values at memory speed. Blocks of fixed size are merged in order, so
 * the result does not depend on the number of threads. */
#include "base/error.h"
#include "base/mem.h"
#include "tensor/hist_priv.h"

enum { ROUND = 4096, PASSED = 16 }; /* blocks whose results wait to be merged; given back at once */

struct pass {
    const struct qx_hist_job *job;
    int64_t first_block; /* of this round */
    struct qxk_stats *blocks;
    float **buffers; /* [threads], for dtypes without a kernel of their own */
};

/* Mean and sum of squared deviations, updated block by block (Chan et al. 1979, pairwise update). */
void qx_hist_merge_moments(struct qx_hist_moments *m, const struct qxk_stats *b)
{
    double n = (double)b->n_finite;
    if (n == 0.0) {
        return;
    }
    double mean = b->sum / n, m2 = fmax(0.0, b->sumsq - b->sum * mean);
    double total = m->n + n, delta = mean - m->mean;
    m->m2 += m2 + delta * delta * m->n * n / total;
    m->mean += delta * n / total;
    m->n = total;
}

static int64_t block_len(const struct qx_tensor *t, int64_t block)
{
    int64_t left = t->numel - block * QX_HIST_BLOCK;
    return left < QX_HIST_BLOCK ? left : QX_HIST_BLOCK;
}

static void stats_block(void *arg, int64_t i, int worker)
{
    struct pass *p = arg;
    const struct qx_tensor *t = p->job->t;
    const struct qxk_table *k = qxk_get();
    int64_t block = p->first_block + i, n = block_len(t, block), at = block * QX_HIST_BLOCK;
    struct qxk_stats *out = &p->blocks[i];
    if (qx_cancel_test(p->job->ctl)) {
        return;
    }
    const uint8_t *x = t->data + at * (qx_dtype_get(t->dtype)->bits / 8);
    if (t->dtype == QX_DTYPE_F32) {
        k->stats_f32(x, (size_t)n, out);
    } else if (t->dtype == QX_DTYPE_F16) {
        k->stats_f16(x, (size_t)n, out);
    } else if (t->dtype == QX_DTYPE_BF16) {
        k->stats_bf16(x, (size_t)n, out);
    } else if (qx_tensor_read(t, at, n, p->buffers[worker], NULL) == QX_OK) {
        k->stats_f32(p->buffers[worker], (size_t)n, out);
    }
    if (block % PASSED == PASSED - 1) { /* neighbours still read come again */
        int64_t first = (block - PASSED + 1) * QX_HIST_BLOCK;
        qx_tensor_passed(t, first, at + n - first);
    }
    qx_ctl_add(p->job->ctl, n);
}

static int64_t find_nonfinite(const struct pass *p, int64_t block)
{
    const struct qx_tensor *t = p->job->t;
    float *x = p->buffers[0];
    int64_t n = block_len(t, block), i = 0;
    if (qx_tensor_read(t, block * QX_HIST_BLOCK, n, x, NULL) != QX_OK) {
        return -1;
    }
    while (i < n && isfinite(x[i])) {
        i++;
    }
    return i < n ? block * QX_HIST_BLOCK + i : -1;
}

void qx_hist_finish_stats(struct qx_stats *s, const struct qxk_stats *total,
                          const struct qx_hist_moments *m)
{
    bool any = total->n_finite > 0;
    s->n = total->n_finite;
    s->n_nan = total->n_nan;
    s->n_inf = total->n_posinf + total->n_neginf;
    s->n_zero = total->n_zero;
    s->min = any ? (double)total->min + 0.0 : NAN; /* + 0.0: never -0 */
    s->max = any ? (double)total->max + 0.0 : NAN;
    s->absmax = any ? (double)total->absmax : NAN;
    s->mean = any ? m->mean : NAN;
    s->std = any ? sqrt(m->m2 / m->n) : NAN;
    s->p999 = NAN;
}

static enum qx_status run(struct pass *p)
{
    struct qxk_stats total = qxk_stats_zero();
    struct qx_stats *s = &p->job->h->f.stats;
    struct qx_hist_moments m = {0};
    int64_t n_blocks = (p->job->t->numel + QX_HIST_BLOCK - 1) / QX_HIST_BLOCK;
    s->first_nonfinite = -1;
    for (int64_t b = 0; b < n_blocks; b += ROUND) {
        int64_t n = n_blocks - b < ROUND ? n_blocks - b : ROUND;
        p->first_block = b;
        qx_pool_for(p->job->pool, n, stats_block, p);
        if (qx_cancel_test(p->job->ctl)) {
            return qx_fail(p->job->err, QX_ECANCELLED, "the histogram was cancelled");
        }
        for (int64_t i = 0; i < n; i++) {
            const struct qxk_stats *block = &p->blocks[i];
            if (s->first_nonfinite < 0 && block->n_finite < block_len(p->job->t, b + i)) {
                s->first_nonfinite = find_nonfinite(p, b + i);
            }
            qx_hist_merge_moments(&m, block);
            qxk_stats_merge(&total, block);
        }
    }
    qx_hist_finish_stats(s, &total, &m);
    return QX_OK;
}

enum qx_status qx_hist_pass_stats(const struct qx_hist_job *job)
{
    int n_threads = qx_pool_threads(job->pool);
    struct qx_arena arena = {0};
    struct pass p = {.job = job};
    int64_t n_blocks = (job->t->numel + QX_HIST_BLOCK - 1) / QX_HIST_BLOCK;
    enum qx_status st = QX_OK;
    p.blocks =
        qx_arena_array(&arena, n_blocks < ROUND ? (size_t)n_blocks : ROUND, sizeof *p.blocks);
    p.buffers = qx_arena_array(&arena, (size_t)n_threads, sizeof *p.buffers);
    bool ok = p.blocks && p.buffers;
    for (int i = 0; ok && i < n_threads; i++) {
        int64_t n = block_len(job->t, 0);
        p.buffers[i] = qx_arena_array(&arena, n > 0 ? (size_t)n : 1, sizeof(float));
        ok = p.buffers[i] != NULL;
    }
    st = ok ? run(&p) : qx_fail_nomem(job->err, QX_HIST_BLOCK * sizeof(float));
    qx_arena_release(&arena);
    return st;
}
