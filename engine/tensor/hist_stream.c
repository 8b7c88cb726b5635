/* A histogram of values that come in blocks, twice: activations are never whole in memory. */
#include "base/error.h"
#include "base/mem.h"
#include "tensor/hist_priv.h"

#include <pthread.h>

struct qx_hist_stream_work {
    struct qxk_hist_work bins;
};

struct qx_hist_stream {
    int64_t n_blocks;
    struct qxk_stats *blocks;
    struct qxk_stats total;
    struct qx_hist_moments moments;
    float key_scale, lin_scale;
    pthread_mutex_t lock; /* of what follows */
    struct qx_hist_sums sums;
    uint64_t lin[QXK_LIN_BINS];
    bool is_short; /* of memory: sums are missing */
};

enum qx_status qx_hist_stream_new(int64_t n_blocks, struct qx_hist_stream **out,
                                  struct qx_error *err)
{
    struct qx_hist_stream *s = qx_mem_zalloc(sizeof *s);
    if (!s) {
        return qx_fail_nomem(err, sizeof *s);
    }
    pthread_mutex_init(&s->lock, NULL);
    s->n_blocks = n_blocks;
    s->blocks = qx_mem_array((size_t)n_blocks + 1, sizeof *s->blocks);
    if (!s->blocks) {
        qx_hist_stream_free(s);
        return qx_fail_nomem(err, (size_t)n_blocks * sizeof *s->blocks);
    }
    for (int64_t i = 0; i < n_blocks; i++) {
        s->blocks[i] = qxk_stats_zero();
    }
    *out = s;
    return QX_OK;
}

void qx_hist_stream_free(struct qx_hist_stream *s)
{
    if (s) {
        pthread_mutex_destroy(&s->lock);
        qx_mem_free(s->blocks);
        qx_hist_sums_release(&s->sums);
        qx_mem_free(s);
    }
}

void qx_hist_stream_stats(struct qx_hist_stream *s, int64_t block, const float *x, int64_t n)
{
    for (int64_t at = 0; at < n; at += QXK_STATS_BLOCK) {
        struct qxk_stats part;
        const int64_t len = n - at < QXK_STATS_BLOCK ? n - at : QXK_STATS_BLOCK;
        qxk_get()->stats_f32(x + at, (size_t)len, &part);
        qxk_stats_merge(&s->blocks[block], &part);
    }
}

void qx_hist_stream_range(const struct qx_hist_stream *s, int64_t block, float *lo, float *hi)
{
    *lo = s->blocks[block].min;
    *hi = s->blocks[block].max;
}

void qx_hist_stream_turn(struct qx_hist_stream *s)
{
    s->total = qxk_stats_zero();
    s->moments = (struct qx_hist_moments){0};
    for (int64_t i = 0; i < s->n_blocks; i++) {
        qx_hist_merge_moments(&s->moments, &s->blocks[i]);
        qxk_stats_merge(&s->total, &s->blocks[i]);
    }
    s->key_scale = qx_hist_key_scale(QX_DTYPE_F32, (double)s->total.absmax);
    s->lin_scale = qx_hist_lin_scale((double)s->total.absmax);
}

struct qx_hist_stream_work *qx_hist_stream_work_new(void)
{
    struct qx_hist_stream_work *work = qx_mem_aligned(sizeof *work);
    if (work) {
        memset(work, 0, sizeof *work);
    }
    return work;
}

void qx_hist_stream_work_free(struct qx_hist_stream_work *work)
{
    qx_mem_free(work);
}

void qx_hist_stream_bins(struct qx_hist_stream *s, struct qx_hist_stream_work *work, const float *x,
                         int64_t n)
{
    for (int64_t at = 0; at < n; at += (int64_t)QXK_HIST_MAX) {
        const int64_t len = n - at < (int64_t)QXK_HIST_MAX ? n - at : (int64_t)QXK_HIST_MAX;
        qxk_get()->hist_f32(&work->bins, x + at, (size_t)len, s->key_scale, s->lin_scale);
        pthread_mutex_lock(&s->lock); /* the sums are whole numbers: their order does not matter */
        s->is_short = !qx_hist_sums_add(&s->sums, &work->bins) || s->is_short;
        qxk_hist_flush_rest(&work->bins, s->lin);
        pthread_mutex_unlock(&s->lock);
    }
}

enum qx_status qx_hist_stream_take(struct qx_hist_stream *s, struct qx_hist_packed **out,
                                   struct qx_error *err)
{
    struct qx_hist *h = NULL;
    struct qx_hist_packed *p =
        s->is_short ? NULL : qx_hist_pack(&s->sums, s->lin, s->key_scale, s->lin_scale);
    if (!p) {
        return qx_fail_nomem(err, s->sums.bytes);
    }
    qx_hist_sums_release(&s->sums);
    qx_hist_finish_stats(&p->stats, &s->total, &s->moments);
    p->stats.is_exact = true;
    p->stats.first_nonfinite = -1;
    enum qx_status st = qx_hist_unpack(p, &h, err);
    if (st != QX_OK) {
        qx_hist_packed_free(p);
        return st;
    }
    p->stats.p999 = qx_hist_quantile_abs(h, 0.999);
    qx_hist_unref(h);
    *out = p;
    return QX_OK;
}
