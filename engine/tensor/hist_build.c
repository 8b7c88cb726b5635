/* Building a histogram: sample or everything, statistics, bins. */
#include "base/error.h"
#include "base/mem.h"
#include "tensor/hist_priv.h"

/* Distance of neighbouring values of a dtype, relative to their power of two. */
static double spacing_of(enum qx_dtype dtype)
{
    switch (dtype) {
    case QX_DTYPE_F16:
        return 0x1p-10;
    case QX_DTYPE_BF16:
        return 0x1p-7;
    case QX_DTYPE_F8_E4M3:
        return 0x1p-3;
    case QX_DTYPE_F8_E5M2:
        return 0x1p-2;
    default:
        return 0.0;
    }
}

static enum qx_status check(const struct qx_tensor *t, const struct qx_hist_spec *spec,
                            struct qx_error *err)
{
    const struct qx_channels *c = &spec->channels;
    if (!qx_dtype_get(t->dtype)->is_readable) {
        return qx_fail_at(err, QX_EUNSUPPORTED, NULL, t->name, -1,
                          "no histogram of '%.150s': values of dtype %s are not decoded", t->name,
                          qx_dtype_get(t->dtype)->name);
    }
    if (spec->gran == QX_GRAN_GROUP && spec->group < 1) {
        return qx_fail_at(err, QX_ERANGE, NULL, t->name, -1,
                          "no histogram of '%.150s': a group holds at least 1 value, not %lld",
                          t->name, (long long)spec->group);
    }
    int64_t numel;
    if (spec->gran != QX_GRAN_TENSOR &&
        (c->outer < 0 || c->count < 0 || c->inner < 0 || !qx_i64_mul(c->outer, c->count, &numel) ||
         !qx_i64_mul(numel, c->inner, &numel) || numel != t->numel)) {
        return qx_fail_at(
            err, QX_ERANGE, NULL, t->name, -1,
            "no histogram of '%.150s': %lld x %lld x %lld channels do not make its %lld values",
            t->name, (long long)c->outer, (long long)c->count, (long long)c->inner,
            (long long)t->numel);
    }
    return QX_OK;
}

/* The one unit of granularity tensor. */
bool qx_hist_whole_unit(struct qx_hist *h)
{
    const struct qx_stats *s = &h->f.stats;
    if (!qx_hist_units_new(h, 1)) {
        return false;
    }
    if (s->n > 0) {
        *(float *)(uintptr_t)h->units.lo = (float)s->min;
        *(float *)(uintptr_t)h->units.hi = (float)s->max;
        *(float *)(uintptr_t)h->units.absmax = (float)s->absmax;
        h->f.a_min = h->f.a_max = 1.0f;
    }
    return true;
}

static enum qx_status build_all(const struct qx_hist_job *job)
{
    struct qx_hist *h = job->h;
    bool is_tensor = h->f.spec.gran == QX_GRAN_TENSOR;
    qx_ctl_total(job->ctl, job->t->numel * (is_tensor ? 2 : 3));
    enum qx_status st = qx_hist_pass_stats(job);
    if (st != QX_OK) {
        return st;
    }
    if (is_tensor) {
        st = qx_hist_whole_unit(h) ? qx_hist_pass_tensor(job)
                                   : qx_fail_nomem(job->err, sizeof(float));
    } else {
        st = qx_hist_pass_units(job);
    }
    h->f.lin_top = is_tensor ? (h->f.stats.n > 0 ? h->f.stats.absmax : 0.0) : 1.0;
    h->f.stats.p999 = is_tensor && st == QX_OK ? qx_hist_quantile_abs(h, 0.999) : NAN;
    h->tables.a_min = h->f.a_min;
    h->tables.a_max = h->f.a_max;
    return st;
}

/* Ranges of the sample's units into the place they have in the whole tensor; the others stay 0. */
static bool scatter_units(struct qx_hist *h, const struct qx_hist_sample *s)
{
    const struct qx_hist_spec *spec = &h->f.spec;
    struct qx_rows whole =
        qx_rows_of(&s->t, spec->channels, spec->gran == QX_GRAN_GROUP ? spec->group : 0);
    struct qx_units part = h->units;
    if (!s->unit_of) {
        return true;
    }
    if (!qx_hist_units_new(h, whole.per_row * spec->channels.count)) {
        return false;
    }
    float *lo = (float *)(uintptr_t)h->units.lo, *hi = (float *)(uintptr_t)h->units.hi;
    float *absmax = (float *)(uintptr_t)h->units.absmax;
    for (int64_t u = 0; u < part.n; u++) {
        lo[s->unit_of[u]] = part.lo[u];
        hi[s->unit_of[u]] = part.hi[u];
        absmax[s->unit_of[u]] = part.absmax[u];
    }
    return true;
}

static enum qx_status build_sampled(struct qx_hist_job *job, int64_t n_sample)
{
    struct qx_hist_sample sample;
    const struct qx_tensor *whole = job->t;
    enum qx_status st = qx_hist_sample_take(whole, &job->h->f.spec, n_sample, &sample, job->err);
    if (st != QX_OK) {
        return st;
    }
    job->t = &sample.t;
    job->channels = sample.channels;
    st = build_all(job);
    if (st == QX_OK && !scatter_units(job->h, &sample)) {
        st = qx_fail_nomem(job->err, sizeof(float));
    }
    job->h->f.stats.first_nonfinite = -1; /* its place in the sample says nothing */
    job->h->f.stats.is_exact = false;
    job->t = whole;
    qx_hist_sample_release(&sample);
    return st;
}

enum qx_status qx_hist_build(const struct qx_tensor *t, const struct qx_hist_spec *spec,
                             int64_t n_sample, struct qx_pool *pool, struct qx_ctl *ctl,
                             struct qx_hist **out, struct qx_error *err)
{
    enum qx_status st = check(t, spec, err);
    if (st != QX_OK) {
        return st;
    }
    struct qx_hist *h = qx_hist_new();
    if (!h) {
        return qx_fail_nomem(err, sizeof *h);
    }
    struct qx_hist_job job = {t, spec->channels, pool, ctl, h, err};
    h->f.spec = *spec;
    h->f.spacing = spacing_of(t->dtype);
    h->f.is_rounded = !qx_dtype_get(t->dtype)->is_exact;
    h->f.stats.is_exact = true;
    st = n_sample > 0 && n_sample < t->numel ? build_sampled(&job, n_sample) : build_all(&job);
    st = st == QX_OK ? qx_hist_pieces_take(h, t, err) : st;
    if (st != QX_OK) {
        qx_hist_unref(h);
        return st;
    }
    *out = h;
    return QX_OK;
}
