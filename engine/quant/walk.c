/* Tiles, blocks and runs; the ranges of the units. */
#include "quant/walk.h"

#include <math.h>
#include <stdatomic.h>

#include "base/error.h"
#include "base/mem.h"
#include "quant/scheme.h"

enum { TILE = 1 << 18, BLOCK = 1 << 12 };

struct qx_walk qx_walk_of(const struct qx_tensor *t, struct qx_channels channels,
                          const struct qx_setting *s)
{
    struct qx_hist_spec spec = qx_setting_spec(s, channels);

    return (struct qx_walk){t, channels, spec.gran, spec.group};
}

int64_t qx_walk_tiles(const struct qx_walk *w)
{
    return (w->tensor->numel + TILE - 1) / TILE;
}

/* Unit of element pos, and how many values from there on (at most n) stay in it. */
static int64_t run_at(const struct qx_walk *w, int64_t pos, int64_t n, int64_t *unit)
{
    int64_t inner = w->channels.inner, i, oc, in_channel, per_channel, run;

    *unit = 0;
    if (w->gran == QX_GRAN_TENSOR) {
        return n;
    }
    i = pos % inner;
    oc = pos / inner;
    *unit = oc % w->channels.count;
    run = inner - i;
    if (w->gran == QX_GRAN_GROUP) {
        in_channel = oc / w->channels.count * inner + i;
        per_channel = w->channels.outer * inner;
        *unit = *unit * ((per_channel + w->group - 1) / w->group) + in_channel / w->group;
        if (run > w->group - in_channel % w->group) {
            run = w->group - in_channel % w->group;
        }
    }
    return run < n ? run : n;
}

struct pass {
    const struct qx_walk *walk;
    struct qx_ctl *ctl;
    qx_run_fn *fn;
    void *arg;
    atomic_int status; /* the first failure; its text is made again by the caller's thread */
};

static void block_runs(const struct pass *p, const float *x, int64_t first, int64_t n, int64_t tile)
{
    struct qx_run run = {.first = first, .tile = tile};

    while (run.first < first + n) {
        run.x = x + (run.first - first);
        run.n = run_at(p->walk, run.first, first + n - run.first, &run.unit);
        p->fn(p->arg, &run);
        run.first += run.n;
    }
}

static void tile_pass(void *arg, int64_t tile, int worker)
{
    struct pass *p = arg;
    int64_t pos = tile * TILE, end = pos + TILE;
    float x[BLOCK];

    (void)worker;
    if (end > p->walk->tensor->numel) {
        end = p->walk->tensor->numel;
    }
    while (pos < end && atomic_load(&p->status) == QX_OK) {
        int64_t n = end - pos < BLOCK ? end - pos : BLOCK;
        enum qx_status st = QX_ECANCELLED;

        if (!qx_cancel_test(p->ctl)) {
            st = qx_tensor_read(p->walk->tensor, pos, n, x, NULL);
        }
        if (st != QX_OK) {
            atomic_store(&p->status, (int)st);
            return;
        }
        block_runs(p, x, pos, n, tile);
        qx_ctl_add(p->ctl, n);
        pos += n;
    }
}

enum qx_status qx_walk_run(const struct qx_walk *w, struct qx_pool *pool, struct qx_ctl *ctl,
                           qx_run_fn *fn, void *arg, struct qx_error *err)
{
    struct pass p = {.walk = w, .ctl = ctl, .fn = fn, .arg = arg};
    enum qx_status st;
    float x;

    if (w->tensor->numel > 0) {
        st = qx_tensor_read(w->tensor, 0, 1, &x, err);
        if (st != QX_OK) {
            return st;
        }
    }
    atomic_init(&p.status, QX_OK);
    qx_pool_for(pool, qx_walk_tiles(w), tile_pass, &p);
    st = (enum qx_status)atomic_load(&p.status);
    if (st == QX_OK) {
        return QX_OK;
    }
    return qx_fail(err, st, "the pass over '%s' stopped: %s", w->tensor->name, qx_status_text(st));
}

/* Range of a unit, shared by the workers. Minimum and maximum do not depend on the order of merging,
 * so the result does not depend on the threads. */
struct unit_range {
    _Atomic float lo, hi;
};

static void atomic_lower(_Atomic float *a, float x)
{
    float old = atomic_load_explicit(a, memory_order_relaxed);

    while (x < old && !atomic_compare_exchange_weak_explicit(a, &old, x, memory_order_relaxed,
                                                             memory_order_relaxed)) {
    }
}

static void atomic_raise(_Atomic float *a, float x)
{
    float old = atomic_load_explicit(a, memory_order_relaxed);

    while (x > old && !atomic_compare_exchange_weak_explicit(a, &old, x, memory_order_relaxed,
                                                             memory_order_relaxed)) {
    }
}

static void range_run(void *arg, const struct qx_run *run)
{
    struct unit_range *range = (struct unit_range *)arg + run->unit;
    float lo = 0.0f, hi = 0.0f; /* every range is widened to contain 0 */

    for (int64_t i = 0; i < run->n; i++) {
        float x = isfinite(run->x[i]) ? run->x[i] : 0.0f;

        lo = x < lo ? x : lo;
        hi = x > hi ? x : hi;
    }
    atomic_lower(&range->lo, lo);
    atomic_raise(&range->hi, hi);
}

enum qx_status qx_setting_ready(const struct qx_setting *s, struct qx_error *err)
{
    enum qx_status st = qx_setting_check(s, err);

    if (st == QX_OK && s->format->kind == QX_FORMAT_AFFINE && !s->has_range) {
        st = qx_fail(err, QX_EDATA,
                     "the setting has no clipping range yet; let its calibrator choose one first");
    }
    return st;
}

static struct qx_unit unit_of(const struct qx_setting *s, float lo, float hi)
{
    return (struct qx_unit){qx_qparams_of(s, lo, hi), qx_clip_range(s, lo, hi)};
}

enum qx_status qx_units_resolve(const struct qx_walk *w, const struct qx_setting *s,
                                struct qx_pool *pool, struct qx_ctl *ctl, struct qx_unit **out,
                                struct qx_error *err)
{
    int64_t n = qx_setting_units(s, w->channels);
    struct unit_range *ranges = NULL;
    struct qx_unit *units = qx_mem_array((size_t)n + 1, sizeof(*units));
    enum qx_status st = QX_OK;

    if (!units) {
        return qx_fail_nomem(err, (size_t)n * sizeof(*units));
    }
    if (w->gran == QX_GRAN_TENSOR) {
        units[0] = unit_of(s, 0.0f, 0.0f);
        *out = units;
        return QX_OK;
    }
    ranges = qx_mem_array((size_t)n + 1, sizeof(*ranges));
    if (!ranges) {
        st = qx_fail_nomem(err, (size_t)n * sizeof(*ranges));
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        atomic_init(&ranges[i].lo, 0.0f);
        atomic_init(&ranges[i].hi, 0.0f);
    }
    st = qx_walk_run(w, pool, ctl, range_run, ranges, err);
    for (int64_t i = 0; st == QX_OK && i < n; i++) {
        units[i] = unit_of(s, atomic_load(&ranges[i].lo), atomic_load(&ranges[i].hi));
    }
out:
    qx_mem_free(ranges);
    if (st != QX_OK) {
        qx_mem_free(units);
        return st;
    }
    *out = units;
    return QX_OK;
}
