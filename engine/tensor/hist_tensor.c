/* Second pass for granularity tensor: half-key bins of x * 2^k, and linear bins of |x|. All sums are
 * integers, so tiles may go to any thread. */
#include "base/error.h"
#include "base/fp16.h"
#include "base/mem.h"
#include "tensor/hist_priv.h"

#include <float.h>

enum { TILE = 1 << 20 };

/* What one worker owns. 16-bit dtypes only count their patterns. */
struct worker {
    struct qxk_hist_work *work;
    struct qxk_hist *acc;
    struct qxk_hist_u16_work *work16;
    uint64_t *acc16;
    uint64_t n_pending; /* elements in work16 */
    float *buffer;
};

struct pass {
    const struct qx_hist_job *job;
    struct worker *workers;
    int n_workers;
    bool is_counted; /* 16-bit path */
    float scale, lin_scale;
};

/* 2^k that brings absmax into [2^15, 2^16), as far as float32 can; 1 for F16 files: lossless. */
float qx_hist_key_scale(enum qx_dtype dtype, double absmax)
{
    if (dtype == QX_DTYPE_F16 || !(absmax > 0.0)) {
        return 1.0f;
    }
    int k = 15 - ilogb(absmax);
    return ldexpf(1.0f, k > 127 ? 127 : k);
}

float qx_hist_lin_scale(double absmax)
{
    double scale = absmax > 0.0 ? QX_HIST_LIN / absmax : 0.0;
    return scale > (double)FLT_MAX ? FLT_MAX : (float)scale;
}

static int lin_bin(float x, float lin_scale)
{
    float p = fabsf(x) * lin_scale;
    return p < (float)QX_HIST_LIN ? (int)p : QX_HIST_LIN - 1;
}

static void add_counted(struct worker *w, const uint8_t *x, size_t n)
{
    if (w->n_pending + n > UINT32_MAX) {
        qxk_hist_u16_flush(w->work16, w->acc16);
        w->n_pending = 0;
    }
    qxk_get()->hist_u16(w->work16, x, n);
    w->n_pending += n;
}

static void add_floats(const struct pass *p, struct worker *w, const void *x, size_t n)
{
    if (w->work->n_pending + n > QXK_HIST_MAX) {
        qxk_hist_flush(w->work, w->acc);
    }
    qxk_get()->hist_f32(w->work, x, n, p->scale, p->lin_scale);
}

static void hist_tile(void *arg, int64_t tile, int worker)
{
    struct pass *p = arg;
    struct worker *w = &p->workers[worker];
    const struct qx_tensor *t = p->job->t;
    int64_t end = tile * TILE + TILE < t->numel ? tile * TILE + TILE : t->numel;
    for (int64_t at = tile * TILE; at < end; at += QX_HIST_BLOCK) {
        int64_t n = end - at < QX_HIST_BLOCK ? end - at : QX_HIST_BLOCK;
        if (qx_cancel_test(p->job->ctl)) {
            return;
        }
        if (p->is_counted) {
            add_counted(w, t->data + 2 * at, (size_t)n);
        } else if (t->dtype == QX_DTYPE_F32) {
            add_floats(p, w, t->data + 4 * at, (size_t)n);
        } else if (qx_tensor_read(t, at, n, w->buffer, NULL) == QX_OK) {
            add_floats(p, w, w->buffer, (size_t)n);
        }
        qx_ctl_add(p->job->ctl, n);
    }
    qx_tensor_passed(t, tile * TILE, end - tile * TILE);
}

/* ---- from counts of 16-bit patterns ---- */

static void acc_counted(const void *arg, uint32_t index, double step, struct qx_hist_acc *out)
{
    (void)step;
    *out = ((const struct qx_hist_acc *)arg)[index];
}

static enum qx_status finish_counted(const struct pass *p, const uint64_t *counts)
{
    struct qx_hist *h = p->job->h;
    struct qx_hist_acc *bins = qx_mem_zalloc(QX_HIST_BINS * sizeof *bins); /* kernel order */
    double key_scale = (double)p->scale;
    bool is_f16 = p->job->t->dtype == QX_DTYPE_F16;
    if (!bins) {
        return qx_fail_nomem(p->job->err, QX_HIST_BINS * sizeof *bins);
    }
    for (uint32_t i = 0; i < QX_HIST_BINS; i++) {
        float x = is_f16 ? qx_f16_to_f32((uint16_t)i) : qx_bf16_to_f32((uint16_t)i);
        if (counts[i] == 0 || !isfinite(x)) {
            continue;
        }
        double n = (double)counts[i], a = fabs((double)x);
        uint32_t mag = qx_half_key(a * key_scale);
        double d = a - qx_half_value(mag) / key_scale;
        d = x < 0 ? -d : d;
        struct qx_hist_acc *acc = &bins[x < 0 ? 0x8000u | mag : mag];
        acc->n += n;
        acc->p0 += n;
        acc->d1 += n * d;
        acc->d2 += n * d * d;
        acc->m0 += n;
        acc->md1 += n * d;
        h->f.lin[lin_bin(x, p->lin_scale)] += n;
    }
    bool ok = qx_hist_fill_main(h, key_scale, acc_counted, bins);
    qx_mem_free(bins);
    return ok ? QX_OK : qx_fail_nomem(p->job->err, QX_HIST_BINS * sizeof(struct qx_hist_line));
}

/* ---- from float32 sums ---- */

static void acc_floats(const void *arg, uint32_t index, double step, struct qx_hist_acc *out)
{
    const struct qxk_halfbin *b = &((const struct qxk_hist *)arg)->half[index];
    double n = (double)b->n;
    double d1 = step * (double)b->s1, d2 = step * step * (double)b->s2;
    *out = (struct qx_hist_acc){.n = n, .p0 = n, .d1 = d1, .d2 = d2, .m0 = n, .md1 = d1};
}

/* 2,048 / absmax overflows float32 where all values are nearly denormal: fold the lines instead. */
static void fold_tiny(struct qx_hist *h)
{
    const struct qx_hist_table *t = &h->tables.main;
    double absmax = h->f.stats.absmax;
    memset(h->f.lin, 0, sizeof h->f.lin);
    for (int i = 0; i < t->n_lines; i++) {
        int bin = (int)(fabs(t->lines[i].mean) / absmax * QX_HIST_LIN);
        h->f.lin[bin < QX_HIST_LIN ? bin : QX_HIST_LIN - 1] += t->lines[i + 1].n0 - t->lines[i].n0;
    }
}

bool qx_hist_fill_floats(struct qx_hist *h, float key_scale, float lin_scale,
                         const struct qxk_hist *acc)
{
    for (int i = 0; i < QX_HIST_LIN; i++) {
        h->f.lin[i] = (double)acc->lin[i];
    }
    if (!qx_hist_fill_main(h, (double)key_scale, acc_floats, acc)) {
        return false;
    }
    if (lin_scale == FLT_MAX) {
        fold_tiny(h);
    }
    return true;
}

static enum qx_status finish_floats(const struct pass *p, const struct qxk_hist *acc)
{
    return qx_hist_fill_floats(p->job->h, p->scale, p->lin_scale, acc)
               ? QX_OK
               : qx_fail_nomem(p->job->err, QX_HIST_BINS * sizeof(struct qx_hist_line));
}

static void merge(struct pass *p)
{
    struct worker *first = &p->workers[0];
    for (int i = 0; i < p->n_workers; i++) {
        struct worker *w = &p->workers[i];
        if (p->is_counted) {
            qxk_hist_u16_flush(w->work16, first->acc16);
            for (int b = 0; i > 0 && b < QX_HIST_BINS; b++) {
                first->acc16[b] += w->acc16[b];
            }
            continue;
        }
        qxk_hist_flush(w->work, first->acc);
        for (int b = 0; i > 0 && b < QX_HIST_BINS; b++) {
            first->acc->half[b].n += w->acc->half[b].n;
            first->acc->half[b].s1 += w->acc->half[b].s1;
            first->acc->half[b].s2 += w->acc->half[b].s2;
        }
        for (int b = 0; i > 0 && b < QX_HIST_LIN; b++) {
            first->acc->lin[b] += w->acc->lin[b];
        }
    }
}

/* ---- the pass ---- */

static bool worker_init(struct worker *w, bool is_counted)
{
    if (is_counted) {
        w->work16 = qx_mem_zalloc(sizeof *w->work16);
        w->acc16 = qx_mem_zalloc(QX_HIST_BINS * sizeof *w->acc16);
        return w->work16 && w->acc16;
    }
    w->work = qx_mem_aligned(sizeof *w->work);
    w->acc = qx_mem_zalloc(sizeof *w->acc);
    w->buffer = qx_mem_array(QX_HIST_BLOCK, sizeof *w->buffer);
    if (w->work) {
        memset(w->work, 0, sizeof *w->work);
    }
    return w->work && w->acc && w->buffer;
}

static void worker_release(struct worker *w)
{
    qx_mem_free(w->work);
    qx_mem_free(w->acc);
    qx_mem_free(w->work16);
    qx_mem_free(w->acc16);
    qx_mem_free(w->buffer);
}

/* All sums over this table are exact: points only, and none in the bins below 2^-14 of the key scale,
 * where the kernel drops low bits. */
static bool is_lossless(const struct qx_hist *h, bool is_counted)
{
    const struct qx_hist_table *t = &h->tables.main;
    for (int i = 0; i < t->n_lines; i++) {
        const struct qx_hist_line *line = &t->lines[i];
        int mag = line->bin >= 32768 ? (int)line->bin - 32768 : 32767 - (int)line->bin;
        bool is_zeros =
            mag == 0 && line[1].n0 - line->n0 == (double)h->f.stats.n_zero && line->bin == 32768;
        if (line->radius != 0.0f || (!is_counted && mag < 0x400 && !is_zeros)) {
            return false;
        }
    }
    return true;
}

enum qx_status qx_hist_pass_tensor(const struct qx_hist_job *job)
{
    const struct qx_tensor *t = job->t;
    int64_t n_tiles = (t->numel + TILE - 1) / TILE;
    struct pass p = {.job = job};
    enum qx_status st = QX_OK;
    p.n_workers = n_tiles > 1 ? qx_pool_threads(job->pool) : 1;
    p.is_counted = t->dtype == QX_DTYPE_F16 || t->dtype == QX_DTYPE_BF16;
    p.scale = qx_hist_key_scale(t->dtype, job->h->f.stats.absmax);
    p.lin_scale = qx_hist_lin_scale(job->h->f.stats.absmax);
    p.workers = qx_mem_zalloc((size_t)p.n_workers * sizeof *p.workers);
    bool ok = p.workers != NULL;
    for (int i = 0; ok && i < p.n_workers; i++) {
        ok = worker_init(&p.workers[i], p.is_counted);
    }
    if (!ok) {
        st = qx_fail_nomem(job->err, sizeof(struct qxk_hist));
        goto out;
    }
    qx_pool_for(job->pool, n_tiles, hist_tile, &p);
    if (qx_cancel_test(job->ctl)) {
        st = qx_fail(job->err, QX_ECANCELLED, "the histogram was cancelled");
        goto out;
    }
    merge(&p);
    st =
        p.is_counted ? finish_counted(&p, p.workers[0].acc16) : finish_floats(&p, p.workers[0].acc);
    job->h->f.is_lossless = st == QX_OK && is_lossless(job->h, p.is_counted);
    if (st == QX_OK && p.is_counted && p.lin_scale == FLT_MAX) {
        fold_tiny(job->h);
    }
out:
    for (int i = 0; p.workers && i < p.n_workers; i++) {
        worker_release(&p.workers[i]);
    }
    qx_mem_free(p.workers);
    return st;
}
