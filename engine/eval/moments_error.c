/* What the outputs of a layer lose when other weights stand for its own. */
#include "qx/moments.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"

enum { BAND = 64 };

struct error_run {
    const struct qx_moments *m;
    qx_moments_row *row;
    void *arg;
    struct qx_ctl *ctl;
    int64_t bands;     /* of a group */
    double *err, *ref; /* [groups * bands] */
    atomic_bool has_failed;
};

/* sum of x H x' over the rows of a band */
static double form(const float *x, int64_t rows, int64_t k, const float *h, float *product)
{
    double sum = 0.0;
    qxk_sgemm(0, 0, rows, k, k, 1.0f, x, k, h, k, 0.0f, product, k);
    for (int64_t i = 0; i < rows * k; i++) {
        sum += (double)x[i] * (double)product[i];
    }
    return sum;
}

static void band_error(void *arg, int64_t at, int worker)
{
    struct error_run *r = arg;
    const struct qx_net_product *p = &r->m->product;
    const int64_t group = at / r->bands, o = at % r->bands * BAND, k = p->k;
    const int64_t rows = BAND < p->n - o ? BAND : p->n - o;
    const float *h = r->m->second + group * k * k;
    (void)worker;
    if (qx_cancel_test(r->ctl)) {
        return;
    }
    float *w = qx_mem_array((size_t)(3 * rows), (size_t)k * sizeof *w);
    if (!w) {
        atomic_store(&r->has_failed, true);
        return;
    }
    float *e = w + rows * k, *product = e + rows * k;
    for (int64_t i = 0; i < rows; i++) {
        r->row(r->arg, group * p->n + o + i, w + i * k, e + i * k);
    }
    r->err[at] = form(e, rows, k, h, product);
    r->ref[at] = form(w, rows, k, h, product);
    qx_mem_free(w);
}

enum qx_status qx_moments_error(const struct qx_moments *m, qx_moments_row *row, void *arg,
                                struct qx_pool *pool, struct qx_ctl *ctl, double *out,
                                struct qx_error *err)
{
    const struct qx_net_product *p = &m->product;
    struct error_run r = {.m = m, .row = row, .arg = arg, .ctl = ctl};
    r.bands = (p->n + BAND - 1) / BAND;
    const int64_t n = p->groups * r.bands;
    atomic_init(&r.has_failed, false);
    r.err = qx_mem_zalloc(((size_t)n + 1) * 2 * sizeof *r.err);
    if (!r.err) {
        return qx_fail_nomem(err, ((size_t)n + 1) * 2 * sizeof *r.err);
    }
    r.ref = r.err + n + 1;
    qx_pool_for(pool, n, band_error, &r);
    double e = 0.0, ref = 0.0;
    for (int64_t i = 0; i < n; i++) {
        e += r.err[i];
        ref += r.ref[i];
    }
    qx_mem_free(r.err);
    if (atomic_load(&r.has_failed)) {
        return qx_fail_nomem(err, (size_t)(3 * BAND * p->k) * sizeof(float));
    }
    if (qx_cancel_test(ctl)) {
        return qx_fail(err, QX_ECANCELLED, "the error of the outputs was cancelled");
    }
    e = e > 0.0 ? e : 0.0; /* rounding of sums that are all but zero */
    *out = ref > 0.0 ? e / ref : 0.0;
    return QX_OK;
}
