/* Tiles, blocks and runs; the ranges of the units. */
#include "quant/walk.h"

#include <math.h>
#include <stdatomic.h>

#include "base/error.h"
#include "base/mem.h"
#include "qx/overlay.h"
#include "quant/scheme.h"

enum {
    TILE = 1 << 18,
    BLOCK = QX_RUN_MAX,
    SIDE = 64,      /* rows and values across of a transposed block */
    SHORT_RUN = 16, /* contiguous runs below this are worth transposing */
};

struct qx_walk qx_walk_of(const struct qx_tensor *t, struct qx_channels channels,
                          const struct qx_setting *s)
{
    struct qx_hist_spec spec = qx_setting_spec(s, channels);
    bool is_transposed = spec.gran != QX_GRAN_TENSOR && t->numel > 0 && channels.count > 1 &&
                         channels.outer > 1 && channels.inner < SHORT_RUN;

    if (s->format && s->format->block) {
        channels = qx_channels_rows(channels);
        is_transposed = channels.outer > 1 && channels.count > 1;
        return (struct qx_walk){t, channels, QX_GRAN_TENSOR, 0, is_transposed, true};
    }
    return (struct qx_walk){t, channels, spec.gran, spec.group, is_transposed, false};
}

/* Tiles of a pass over blocks: whole rows, or (long ones) parts of one; transposed, all of some channels. */
struct block_tiles {
    int64_t row, rows, parts; /* values of a row; rows of a tile; tiles of a row */
    int64_t n;
};

static struct block_tiles block_tiles_of(const struct qx_walk *w)
{
    const struct qx_channels *c = &w->channels;
    struct block_tiles b = {.row = c->outer * c->inner, .rows = 1, .parts = 1};

    if (b.row == 0 || c->count == 0) {
        return b;
    }
    if (w->is_transposed) {
        b.rows = c->inner < SIDE ? SIDE / c->inner : 1;
    } else if (b.row < TILE) {
        b.rows = TILE / b.row;
    } else {
        b.parts = (b.row + TILE - 1) / TILE;
    }
    b.n = (c->count + b.rows - 1) / b.rows * b.parts;
    return b;
}

/* Rows (outer positions) of a tile of a transposed pass. */
static int64_t tile_rows(const struct qx_walk *w)
{
    int64_t row = w->channels.count * w->channels.inner;

    return row > TILE / SIDE ? SIDE : TILE / row / SIDE * SIDE;
}

int64_t qx_walk_tiles(const struct qx_walk *w)
{
    if (w->is_blocked) {
        return block_tiles_of(w).n;
    }
    if (w->is_transposed) {
        return (w->channels.outer + tile_rows(w) - 1) / tile_rows(w);
    }
    return (w->tensor->numel + TILE - 1) / TILE;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Unit of value pos of a channel, and how many values from there on (at most n) stay in it. */
static int64_t unit_run(const struct qx_walk *w, int64_t channel, int64_t pos, int64_t n,
                        int64_t *unit)
{
    int64_t per_channel = w->channels.outer * w->channels.inner;

    if (w->gran != QX_GRAN_GROUP) {
        *unit = channel;
        return n;
    }
    *unit = channel * ((per_channel + w->group - 1) / w->group) + pos / w->group;
    return smaller(n, w->group - pos % w->group);
}

/* The same for element `first` of the tensor and the elements after it in storage. */
static int64_t run_at(const struct qx_walk *w, int64_t first, int64_t n, int64_t *unit)
{
    int64_t inner = w->channels.inner, i, oc;

    *unit = 0;
    if (w->gran == QX_GRAN_TENSOR) {
        return n;
    }
    i = first % inner;
    oc = first / inner;
    return unit_run(w, oc % w->channels.count, oc / w->channels.count * inner + i,
                    smaller(n, inner - i), unit);
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

/* Read n values from `first`; false when the pass is over (cancelled or failed). */
static bool pass_read(struct pass *p, int64_t first, int64_t n, float *x)
{
    enum qx_status st = QX_ECANCELLED;

    if (atomic_load(&p->status) != QX_OK) {
        return false;
    }
    if (!qx_cancel_test(p->ctl)) {
        st = qx_tensor_read(p->walk->tensor, first, n, x, NULL);
    }
    if (st != QX_OK) {
        atomic_store(&p->status, (int)st);
        return false;
    }
    qx_ctl_add(p->ctl, n);
    return true;
}

/* The same where the values need not be kept: aligned float32 ones are looked at where they lie. NULL: over. */
static const float *pass_look(struct pass *p, int64_t first, int64_t n, float *room)
{
    const struct qx_tensor *t = p->walk->tensor;

    if (t->dtype == QX_DTYPE_F32 && (uintptr_t)t->data % _Alignof(float) == 0) {
        if (atomic_load(&p->status) != QX_OK) {
            return NULL;
        }
        if (qx_cancel_test(p->ctl)) {
            atomic_store(&p->status, (int)QX_ECANCELLED);
            return NULL;
        }
        qx_ctl_add(p->ctl, n);
        return (const float *)(const void *)t->data + first;
    }
    return pass_read(p, first, n, room) ? room : NULL;
}

static void tile_contiguous(struct pass *p, int64_t tile)
{
    int64_t pos = tile * TILE, end = smaller(pos + TILE, p->walk->tensor->numel);
    float room[BLOCK];

    while (pos < end) {
        int64_t n = smaller(end - pos, BLOCK);
        const float *x = pass_look(p, pos, n, room);

        if (!x) {
            return;
        }
        block_runs(p, x, pos, n, tile);
        pos += n;
    }
    qx_tensor_passed(p->walk->tensor, tile * TILE, end - tile * TILE);
}

/* A block of n_rows rows of n_channels channels from row, channel; false when the pass is over. */
static bool block_transposed(struct pass *p, int64_t row, int64_t n_rows, int64_t channel,
                             int64_t n_channels, int64_t tile)
{
    const struct qx_walk *w = p->walk;
    int64_t inner = w->channels.inner, across = n_channels * inner;
    float block[SIDE * SIDE], x[SIDE * SHORT_RUN];

    for (int64_t r = 0; r < n_rows; r++) {
        int64_t first = ((row + r) * w->channels.count + channel) * inner;

        if (!pass_read(p, first, across, block + r * across)) {
            return false;
        }
    }
    for (int64_t c = 0; c < n_channels; c++) {
        struct qx_run run = {.channel = channel + c, .tile = tile};

        for (int64_t k = 0; k < n_rows * inner; k++) {
            x[k] = block[k / inner * across + c * inner + k % inner];
        }
        for (int64_t k = 0; k < n_rows * inner; k += run.n) {
            run.x = x + k;
            run.pos = row * inner + k;
            run.n = unit_run(w, run.channel, run.pos, n_rows * inner - k, &run.unit);
            p->fn(p->arg, &run);
        }
    }
    return true;
}

static void tile_transposed(struct pass *p, int64_t tile)
{
    const struct qx_channels *c = &p->walk->channels;
    int64_t row = tile * tile_rows(p->walk);
    int64_t end = smaller(row + tile_rows(p->walk), c->outer), width = SIDE / c->inner;

    for (; row < end; row += SIDE) {
        for (int64_t ch = 0; ch < c->count; ch += width) {
            if (!block_transposed(p, row, smaller(SIDE, end - row), ch,
                                  smaller(width, c->count - ch), tile)) {
                return;
            }
        }
    }
}

/* ---- blocks ---- */

static void rows_blocked(struct pass *p, const struct block_tiles *b, int64_t tile)
{
    int64_t top = tile / b->parts * b->rows, first = tile % b->parts * TILE;
    int64_t end = smaller(top + b->rows, p->walk->channels.count);
    int64_t last = b->parts > 1 ? smaller(first + TILE, b->row) : b->row;
    float room[BLOCK];

    for (int64_t row = top; row < end; row++) {
        for (int64_t at = first; at < last; at += BLOCK) {
            struct qx_run run = {
                .n = smaller(BLOCK, last - at), .first = row * b->row + at, .tile = tile};

            run.x = pass_look(p, run.first, run.n, room);
            if (!run.x) {
                return;
            }
            p->fn(p->arg, &run);
        }
    }
    qx_tensor_passed(p->walk->tensor, top * b->row + first,
                     (end - top - 1) * b->row + last - first);
}

/* The next QX_BLOCK_MOST rows of storage of the tile's channels, then each channel's values of them. */
static void columns_blocked(struct pass *p, const struct block_tiles *b, int64_t tile)
{
    const struct qx_channels *c = &p->walk->channels;
    const int64_t channel = tile * b->rows, width = smaller(b->rows, c->count - channel);
    const int64_t across = width * c->inner;
    float *block = qx_mem_array((size_t)(across * QX_BLOCK_MOST), sizeof(*block));
    float *x = qx_mem_array((size_t)(c->inner * QX_BLOCK_MOST), sizeof(*x));

    if (!block || !x) {
        atomic_store(&p->status, (int)QX_ENOMEM);
    }
    for (int64_t row = 0; block && x && row < c->outer; row += QX_BLOCK_MOST) {
        const int64_t n = smaller(QX_BLOCK_MOST, c->outer - row), values = n * c->inner;

        for (int64_t r = 0; r < n; r++) {
            if (!pass_read(p, ((row + r) * c->count + channel) * c->inner, across,
                           block + r * across)) {
                goto out;
            }
        }
        for (int64_t k = 0; k < width; k++) {
            struct qx_run run = {.channel = channel + k, .tile = tile};

            for (int64_t i = 0; i < values; i++) {
                x[i] = block[i / c->inner * across + k * c->inner + i % c->inner];
            }
            for (int64_t i = 0; i < values; i += run.n) {
                run.x = x + i;
                run.pos = row * c->inner + i;
                run.n = smaller(BLOCK, values - i);
                p->fn(p->arg, &run);
            }
        }
    }
out:
    qx_mem_free(block);
    qx_mem_free(x);
}

static void tile_blocked(struct pass *p, int64_t tile)
{
    struct block_tiles b = block_tiles_of(p->walk);

    (p->walk->is_transposed ? columns_blocked : rows_blocked)(p, &b, tile);
}

static void tile_pass(void *arg, int64_t tile, int worker)
{
    struct pass *p = arg;

    (void)worker;
    if (p->walk->is_blocked) {
        tile_blocked(p, tile);
    } else if (p->walk->is_transposed) {
        tile_transposed(p, tile);
    } else {
        tile_contiguous(p, tile);
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

    if (st == QX_OK && qx_format_is_scaled(s->format) && !s->has_range) {
        st = qx_fail(err, QX_EDATA,
                     "the setting has no clipping range yet; let its calibrator choose one first");
    }
    if (st == QX_OK && qx_format_is_scaled(s->format) && s->overlay && !qx_setting_overlay(s)) {
        st = qx_fail(err, QX_EBUG, "the weights of %s were made for another setting", s->algo);
    }
    if (st == QX_OK && qx_setting_awaits(s)) {
        st = qx_fail(err, QX_EDATA, "%s has not run yet on these weights", s->algo);
    }
    return st;
}

static struct qx_unit unit_of(const struct qx_setting *s, float lo, float hi)
{
    return (struct qx_unit){qx_qparams_of(s, lo, hi), qx_clip_range(s, lo, hi)};
}

static enum qx_status units_nest(struct qx_unit *units, int64_t n, struct qx_error *err)
{
    float *scale = qx_mem_array((size_t)n + 1, sizeof(*scale));

    if (!scale) {
        return qx_fail_nomem(err, (size_t)n * sizeof(*scale));
    }
    for (int64_t i = 0; i < n; i++) {
        scale[i] = units[i].q.scale;
    }
    qx_scales_nest(scale, n);
    for (int64_t i = 0; i < n; i++) {
        units[i].q.scale = scale[i];
    }
    qx_mem_free(scale);
    return QX_OK;
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
    if (st == QX_OK && s->scale == QX_SCALE_NESTED) {
        st = units_nest(units, n, err);
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
