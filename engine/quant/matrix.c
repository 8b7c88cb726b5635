/* Pictures of a weight, block by block. */
#include "qx/matrix.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "quant/blocks.h"
#include "quant/scheme.h"
#include "qx/overlay.h"
#include "quant/walk.h"

enum { READ = 4096 }; /* values read at a time */

/* ---- what an element becomes ---- */

static int64_t unit_of_element(const struct qx_setting *s, const struct qx_channels *c,
                               int64_t element)
{
    int64_t line = element / c->inner, channel = line % c->count;
    if (!qx_format_is_scaled(s->format) || s->gran != QX_GRAN_GROUP) {
        return qx_format_is_scaled(s->format) && s->gran == QX_GRAN_CHANNEL ? channel : 0;
    }
    int64_t pos = line / c->count * c->inner + element % c->inner;
    int64_t groups = (c->outer * c->inner + s->group - 1) / s->group;
    return channel * groups + pos / s->group;
}

static bool fits(const struct qx_matrix *m, const struct qx_setting *s, const struct qx_hist *hist)
{
    if (s->gran == QX_GRAN_TENSOR) {
        return true;
    }
    return hist && qx_hist_units(hist)->n == qx_setting_units(s, m->channels);
}

static struct qx_qparams params_of(const struct qx_setting *s, const struct qx_hist *hist,
                                   const float *nested, int64_t unit)
{
    const struct qx_units *u = s->gran == QX_GRAN_TENSOR ? NULL : qx_hist_units(hist);

    struct qx_qparams p = qx_qparams_of(s, u ? u->lo[unit] : 0.0f, u ? u->hi[unit] : 0.0f);
    p.scale = nested ? nested[unit] : p.scale;
    return p;
}

static struct qx_range clip_of(const struct qx_setting *s, const struct qx_hist *hist, int64_t unit)
{
    const struct qx_units *u = s->gran == QX_GRAN_TENSOR ? NULL : qx_hist_units(hist);

    return qx_clip_range(s, u ? u->lo[unit] : 0.0f, u ? u->hi[unit] : 0.0f);
}

static bool beyond(const struct qx_range *clip, float x)
{
    return (double)x < clip->lo || (double)x > clip->hi;
}

enum qx_status qx_matrix_look(const struct qx_matrix *m, const struct qx_setting *s,
                              const struct qx_hist *hist, int64_t element,
                              struct qx_matrix_value *out, struct qx_error *err)
{
    struct qx_matrix_value v = {.unit = unit_of_element(s, &m->channels, element)};
    enum qx_status st = qx_tensor_read(m->tensor, element, 1, &v.x, err);

    if (st != QX_OK) {
        return st;
    }
    v.approx = v.x;
    if (qx_matrix_block(m, s)) {
        st = qx_block_look(m, s, hist, element, &v, err);
    } else if (!qx_format_is_scaled(s->format)) {
        v.approx = isfinite(v.x) ? s->format->round(v.x) : 0.0f;
    } else if (s->has_range && fits(m, s, hist)) {
        struct qx_range clip = clip_of(s, hist, v.unit);
        float *nested = NULL;
        if (s->scale == QX_SCALE_NESTED) {
            st = qx_scales_of_hist(s, hist, &nested, err);
        }
        v.has_code = true;
        v.params = params_of(s, hist, nested, v.unit);
        qx_mem_free(nested);
        v.code = qx_quantize(&v.params, v.x);
        v.approx = qx_dequantize(&v.params, v.code);
        v.is_clipped = beyond(&clip, v.x);
    }
    if (st == QX_OK) {
        *out = v;
    }
    return st;
}

/* ---- the map ---- */

struct qx_matrix_map {
    atomic_int refs;
    struct qx_matrix m;
    enum qx_matrix_what what;
    struct qx_setting setting;
    const struct qx_block *block; /* NULL: of other codes */
    struct qx_hist *hist;
    float *nested; /* scales, where they depend on each other */
    struct qx_matrix_part part;
    int64_t height, width;
    bool by_columns; /* tiles are columns of blocks, else rows of them: along the storage */
    struct qx_matrix_cell *cells;
    atomic_uchar *done; /* [tiles] */
    atomic_int_least64_t n_done;
    struct qx_ctl *ctl; /* while it runs */
    atomic_int status;
};

static enum qx_status map_check(const struct qx_matrix *m, enum qx_matrix_what what,
                                const struct qx_setting *s, const struct qx_hist *hist,
                                struct qx_error *err)
{
    if (what == QX_MATRIX_VALUE ||
        (what == QX_MATRIX_ERROR && !qx_format_is_scaled(s->format) && !s->format->block)) {
        return QX_OK;
    }
    if (qx_matrix_block(m, s) && what != QX_MATRIX_CLIPPED) {
        return s->format->block && m->channels.outer > 1 && m->channels.count > 1
                   ? qx_fail(err, QX_EUNSUPPORTED,
                             "blocks of %s lie across the rows of this weight: look at single ones",
                             s->format->title)
                   : QX_OK;
    }
    if (!qx_format_is_scaled(s->format)) {
        return qx_fail(err, QX_EDATA, "%s has no codes and clips nothing", s->format->title);
    }
    enum qx_status st = qx_setting_ready(s, err);
    if (st == QX_OK && !fits(m, s, hist)) {
        st = qx_fail(err, QX_EDATA, "the ranges of the units are not known yet");
    }
    return st;
}

enum qx_status qx_matrix_map_new(const struct qx_matrix *m, enum qx_matrix_what what,
                                 const struct qx_setting *s, struct qx_hist *hist,
                                 const struct qx_matrix_part *part, struct qx_matrix_map **out,
                                 struct qx_error *err)
{
    enum qx_status st = map_check(m, what, s, hist, err);

    if (st != QX_OK) {
        return st;
    }
    struct qx_matrix_map *map = qx_mem_zalloc(sizeof(*map));
    if (!map) {
        return qx_fail_nomem(err, sizeof(*map));
    }
    atomic_init(&map->refs, 1);
    map->m = *m;
    map->what = what;
    map->setting = *s;
    map->block = qx_matrix_block(m, s);
    map->hist = hist ? qx_hist_ref(hist) : NULL;
    if (s->scale == QX_SCALE_NESTED && qx_format_is_scaled(s->format) && hist &&
        (st = qx_scales_of_hist(s, hist, &map->nested, err)) != QX_OK) {
        qx_matrix_map_unref(map);
        return st;
    }
    map->part = *part;
    map->height = (part->rows + part->down - 1) / part->down;
    map->width = (part->cols + part->across - 1) / part->across;
    map->by_columns = m->channels.outer > 1 || m->rows == 1;

    int64_t n = 0, tiles = map->by_columns ? map->width : map->height;
    if (qx_i64_mul(map->height, map->width, &n)) {
        map->cells = qx_mem_array((size_t)n, sizeof(*map->cells));
        map->done = qx_mem_array((size_t)tiles, sizeof(*map->done));
    }
    if (!map->cells || !map->done) {
        qx_matrix_map_unref(map);
        return qx_fail_nomem(err, (size_t)n * sizeof(*map->cells));
    }
    for (int64_t i = 0; i < tiles; i++) {
        atomic_init(&map->done[i], 0);
    }
    *out = map;
    return QX_OK;
}

struct qx_matrix_map *qx_matrix_map_ref(struct qx_matrix_map *map)
{
    atomic_fetch_add(&map->refs, 1);
    return map;
}

void qx_matrix_map_unref(struct qx_matrix_map *map)
{
    if (map && atomic_fetch_sub(&map->refs, 1) == 1) {
        qx_hist_unref(map->hist);
        qx_mem_free(map->cells);
        qx_mem_free(map->done);
        qx_mem_free(map->nested);
        qx_mem_free(map);
    }
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A block being summed. */
struct sum {
    double total;
    int64_t n;
    float largest, magnitude; /* magnitude -1: no finite value yet */
    int64_t element, n_nonfinite;
};

static struct sum sum_empty(void)
{
    return (struct sum){.magnitude = -1.0f, .element = -1};
}

/* The first value of this magnitude, unless an equal one stands before it. */
static void largest_take(struct sum *s, const float *x, float magnitude, int64_t element)
{
    int64_t i = 0;

    while (fabsf(x[i]) != magnitude) {
        i++;
    }
    if (magnitude > s->magnitude || element + i < s->element) {
        s->magnitude = magnitude;
        s->largest = x[i];
        s->element = element + i;
    }
}

/* n values that lie together, all of one block: by lanes, so that the compiler has vectors. */
static void sum_add(struct sum *s, const float *x, int64_t n, int64_t element)
{
    enum { LANES = 8 };
    float top[LANES] = {0}, most = 0;
    double total[LANES] = {0};
    int bad[LANES] = {0}, n_bad = 0;

    for (int64_t i = 0; i < n; i += LANES) {
        const int k = n - i < LANES ? (int)(n - i) : LANES;

        for (int l = 0; l < k; l++) {
            float a = fabsf(x[i + l]);
            const bool is_finite = a <= FLT_MAX;

            a = is_finite ? a : 0.0f;
            bad[l] += !is_finite;
            top[l] = a > top[l] ? a : top[l];
            total[l] += (double)a;
        }
    }
    for (int l = 0; l < LANES; l++) {
        most = top[l] > most ? top[l] : most;
        s->total += total[l];
        n_bad += bad[l];
    }
    s->n += n - n_bad;
    s->n_nonfinite += n_bad;
    if (n > n_bad && most >= s->magnitude) {
        largest_take(s, x, most, element);
    }
}

/* The unit that the last value had, with its numbers, and the elements that are its own. */
struct unit_now {
    int64_t from, to;
    struct qx_qparams params;
    struct qx_range clip;
    struct qx_block_at block;
};

/* The block in which the values of a row lie together. What cannot be read is 0. */
static void block_find(const struct qx_matrix_map *map, struct unit_now *u, int64_t element)
{
    const struct qx_channels c = qx_channels_rows(map->m.channels);
    const float scale = qx_block_scale_of(&map->setting, map->hist);

    if (qx_block_find(map->m.tensor, c, &map->setting, scale, element, &u->block, NULL) != QX_OK) {
        u->block = (struct qx_block_at){.n = 1};
    }
    u->from = u->block.channel * c.outer * c.inner + u->block.first;
    u->to = u->from + u->block.n;
}

static float shown_block(const struct qx_matrix_map *map, struct unit_now *u, float x,
                         int64_t element)
{
    if (element < u->from || element >= u->to) {
        block_find(map, u, element);
    }
    const int64_t at = element - u->from;
    return map->what == QX_MATRIX_CODE ? (float)u->block.parts.level[at] : x - u->block.y[at];
}

static void unit_find(const struct qx_matrix_map *map, struct unit_now *u, int64_t element)
{
    const struct qx_setting *s = &map->setting;
    const struct qx_channels *c = &map->m.channels;
    const int64_t unit = unit_of_element(s, c, element), at = element % c->inner;
    int64_t left = map->m.tensor->numel - element;

    if (s->gran != QX_GRAN_TENSOR) {
        left = c->inner - at;
    }
    if (s->gran == QX_GRAN_GROUP) {
        const int64_t pos = element / c->inner / c->count * c->inner + at;

        left = smaller(left, s->group - pos % s->group);
    }
    *u = (struct unit_now){element, element + left, params_of(s, map->hist, map->nested, unit),
                           clip_of(s, map->hist, unit)};
}

static float shown(const struct qx_matrix_map *map, struct unit_now *u, float x, int64_t element)
{
    if (!isfinite(x)) {
        return x;
    }
    if (map->block) {
        return shown_block(map, u, x, element);
    }
    if (!qx_format_is_scaled(map->setting.format)) {
        return x - map->setting.format->round(x);
    }
    if (map->setting.overlay && map->what != QX_MATRIX_CLIPPED) {
        return qx_overlay_shown(map->setting.overlay, map->what == QX_MATRIX_ERROR, x, element);
    }
    if (element < u->from || element >= u->to) {
        unit_find(map, u, element);
    }
    if (map->what == QX_MATRIX_CLIPPED) {
        return beyond(&u->clip, x) ? 1.0f : 0.0f;
    }
    if (map->what == QX_MATRIX_ERROR) {
        return x - qx_value_of(&u->params, x);
    }
    return u->params.book ? (float)(qx_quantize(&u->params, x) - u->params.zero)
                          : qx_offset_code(&u->params, x);
}

/* n <= READ values that lie together, all of one block. */
static void block_add(const struct qx_matrix_map *map, struct unit_now *u, const float *x,
                      int64_t n, int64_t element, struct sum *s)
{
    float y[READ];
    if (map->what == QX_MATRIX_VALUE) {
        sum_add(s, x, n, element);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        y[i] = shown(map, u, x[i], element + i);
    }
    sum_add(s, y, n, element);
}

static bool map_read(struct qx_matrix_map *map, int64_t element, int64_t n, float *x)
{
    enum qx_status st = QX_ECANCELLED;

    if (atomic_load(&map->status) != QX_OK) {
        return false;
    }
    if (!qx_cancel_test(map->ctl)) {
        st = qx_tensor_read(map->m.tensor, element, n, x, NULL);
    }
    if (st != QX_OK) {
        atomic_store(&map->status, (int)st);
    }
    return st == QX_OK;
}

/* One row of the part, which lies together in storage, to the blocks across. */
static bool row_add(struct qx_matrix_map *map, struct unit_now *u, int64_t row, struct sum *sums)
{
    const struct qx_matrix_part *p = &map->part;
    float x[READ];

    for (int64_t at = 0, n; at < p->cols; at += n) {
        int64_t first = qx_matrix_element(&map->m, row, p->col + at);

        n = smaller(READ, p->cols - at);
        if (!map_read(map, first, n, x)) {
            return false;
        }
        for (int64_t i = 0, k; i < n; i += k) {
            k = smaller(p->across - (at + i) % p->across, n - i);
            block_add(map, u, x + i, k, first + i, &sums[(at + i) / p->across]);
        }
    }
    return true;
}

/* Columns outer * inner + from .. + to - 1 of all rows of the part, to the blocks down: for [in, out]
 * weights (inner 1) a run of the storage, else pieces of one. */
static bool column_add(struct qx_matrix_map *map, struct unit_now *u, int64_t outer, int64_t from,
                       int64_t to, struct sum *sums)
{
    const struct qx_matrix_part *p = &map->part;
    int64_t inner = map->m.channels.inner, whole = inner <= READ ? inner : 0;
    float x[READ];

    for (int64_t r = 0, n; r < p->rows; r += n) {
        int64_t row = (outer * map->m.channels.count + p->row + r) * inner;

        n = whole ? smaller(READ / inner, p->rows - r) : 1;
        if (whole && !map_read(map, row, n * inner, x)) {
            return false;
        }
        for (int64_t i = 0, k; inner == 1 && i < n; i += k) { /* [in, out]: the run is the column */
            k = smaller(p->down - (r + i) % p->down, n - i);
            block_add(map, u, x + i, k, row + i, &sums[(r + i) / p->down]);
        }
        for (int64_t k = 0; whole && inner > 1 && k < n; k++) {
            block_add(map, u, x + k * inner + from, to - from, row + k * inner + from,
                      &sums[(r + k) / p->down]);
        }
        for (int64_t i = from, k; !whole && i < to; i += k) {
            k = smaller(READ, to - i);
            if (!map_read(map, row + i, k, x)) {
                return false;
            }
            block_add(map, u, x, k, row + i, &sums[r / p->down]);
        }
    }
    return true;
}

/* n values of the only row from column c on. */
static bool stretch_add(struct qx_matrix_map *map, struct unit_now *u, int64_t c, int64_t n,
                        struct sum *sum)
{
    float x[READ];

    for (int64_t k; n > 0; c += k, n -= k) {
        k = smaller(READ, n);
        if (!map_read(map, c, k, x)) {
            return false;
        }
        block_add(map, u, x, k, c, sum);
    }
    return true;
}

struct map_run {
    struct qx_matrix_map *map;
    struct sum *sums; /* [threads][blocks of a tile] */
    int64_t n_sums;
};

/* A tile's values; false when the run is over. */
static bool tile_add(struct qx_matrix_map *map, int64_t tile, struct sum *sums)
{
    const struct qx_matrix_part *p = &map->part;
    struct unit_now u = {.to = -1};

    if (!map->by_columns) {
        int64_t end = smaller((tile + 1) * p->down, p->rows);

        for (int64_t r = tile * p->down; r < end; r++) {
            if (!row_add(map, &u, p->row + r, sums)) {
                return false;
            }
        }
        return true;
    }
    int64_t c = p->col + tile * p->across, inner = map->m.channels.inner;
    int64_t end = p->col + smaller((tile + 1) * p->across, p->cols);
    if (map->m.rows == 1) { /* the storage is the row */
        return stretch_add(map, &u, c, end - c, sums);
    }
    for (int64_t n; c < end; c += n) {
        n = smaller(inner - c % inner, end - c);
        if (!column_add(map, &u, c / inner, c % inner, c % inner + n, sums)) {
            return false;
        }
    }
    return true;
}

static void map_tile(void *arg, int64_t tile, int worker)
{
    struct map_run *run = arg;
    struct qx_matrix_map *map = run->map;
    struct sum *sums = run->sums + worker * run->n_sums;

    for (int64_t i = 0; i < run->n_sums; i++) {
        sums[i] = sum_empty();
    }
    if (!tile_add(map, tile, sums)) {
        return;
    }
    for (int64_t i = 0; i < run->n_sums; i++) {
        const struct sum *s = &sums[i];
        int64_t at = map->by_columns ? i * map->width + tile : tile * map->width + i;

        map->cells[at] = (struct qx_matrix_cell){
            .largest = s->largest,
            .mean = s->n > 0 ? (float)(s->total / (double)s->n) : 0.0f,
            .element = s->element,
            .n_nonfinite = s->n_nonfinite,
        };
        qx_ctl_add(map->ctl, s->n + s->n_nonfinite);
    }
    atomic_store_explicit(&map->done[tile], 1, memory_order_release);
    atomic_fetch_add(&map->n_done, 1);
}

enum qx_status qx_matrix_map_run(struct qx_matrix_map *map, struct qx_pool *pool,
                                 struct qx_ctl *ctl, struct qx_error *err)
{
    size_t threads = pool ? (size_t)qx_pool_threads(pool) : 1;
    struct map_run run = {.map = map, .n_sums = map->by_columns ? map->height : map->width};

    run.sums = qx_mem_array((size_t)run.n_sums * threads, sizeof(*run.sums));
    if (!run.sums) {
        return qx_fail_nomem(err, (size_t)run.n_sums * threads * sizeof(*run.sums));
    }
    map->ctl = ctl;
    qx_ctl_total(ctl, map->part.rows * map->part.cols);
    qx_pool_for(pool, map->by_columns ? map->width : map->height, map_tile, &run);
    map->ctl = NULL;
    qx_mem_free(run.sums);

    enum qx_status st = (enum qx_status)atomic_load(&map->status);
    if (st == QX_ECANCELLED) {
        return qx_fail(err, st, "the picture was cancelled");
    }
    return st == QX_OK
               ? QX_OK
               : qx_fail(err, st, "the values of '%.100s' cannot be read", map->m.tensor->name);
}

const struct qx_matrix_part *qx_matrix_map_part(const struct qx_matrix_map *map)
{
    return &map->part;
}

int64_t qx_matrix_map_height(const struct qx_matrix_map *map)
{
    return map->height;
}

int64_t qx_matrix_map_width(const struct qx_matrix_map *map)
{
    return map->width;
}

const struct qx_matrix_cell *qx_matrix_map_cell(const struct qx_matrix_map *map, int64_t y,
                                                int64_t x)
{
    atomic_uchar *done = &map->done[map->by_columns ? x : y];

    return atomic_load_explicit(done, memory_order_acquire) ? &map->cells[y * map->width + x]
                                                            : NULL;
}

bool qx_matrix_map_done(const struct qx_matrix_map *map)
{
    struct qx_matrix_map *m =
        (struct qx_matrix_map *)map; /* atomics are loaded from what may change */

    return atomic_load(&m->n_done) == (m->by_columns ? m->width : m->height);
}
