/* Error figures element by element. Sums per tile, merged in the order of the tiles, so the result
 * does not depend on the threads. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "quant/blocks.h"
#include "qx/overlay.h"
#include "quant/formulas.h"
#include "quant/scheme.h"
#include "quant/walk.h"

struct tile_sums {
    struct qx_error_sums e;
    uint32_t codes[2][QX_CODES_MAX]; /* two, so that equal neighbours do not wait for each other */
    int64_t n_nonfinite;
};

struct exact {
    const struct qx_walk *walk;
    const struct qx_setting *setting;
    const struct qx_unit *units; /* NULL for FLOAT formats */
    const struct qxk_table *kernels;
    float tensor_scale; /* BLOCK */
    struct tile_sums *tiles;
};

static void errors_add(struct tile_sums *tile, const struct qxk_error *k)
{
    tile->e.n += (double)k->n;
    tile->e.sq_x += k->sxx;
    tile->e.sq_y += k->syy;
    tile->e.xy += k->sxy;
    tile->e.sq_err += k->sse;
    tile->e.abs_err += k->sae;
    tile->e.bias += k->se;
    tile->e.sq_round += k->sse;
    tile->n_nonfinite += k->n_nonfinite;
}

/* Move the error of one value beyond an end from rounding to clipping: `end` is coded as y_end. */
static void clipped_add(struct qx_error_sums *e, double *count, double x, double y, double end,
                        double y_end)
{
    *count += 1.0;
    e->sq_clip += (end - x) * (end - x);
    e->sq_round += (y_end - end) * (y_end - end) - (y - x) * (y - x);
}

static void clips_add(struct qx_error_sums *e, const struct qx_run *run, const struct qx_unit *u)
{
    const struct qx_qparams *q = &u->q;
    double lo = u->clip.lo, hi = u->clip.hi;
    double y_lo = (double)qx_value_of(q, (float)lo), y_hi = (double)qx_value_of(q, (float)hi);

    for (int64_t i = 0; i < run->n; i++) {
        double x = (double)run->x[i];

        if (x >= lo && x <= hi) {
            continue;
        }
        if (isfinite(x)) {
            double y = (double)qx_value_of(q, run->x[i]);

            if (x < lo) {
                clipped_add(e, &e->clipped_low, x, y, lo, y_lo);
            } else {
                clipped_add(e, &e->clipped_high, x, y, hi, y_hi);
            }
        }
    }
}

/* Errors and codes of one run. */
static void affine_errors(const struct exact *exact, const struct qx_qparams *q,
                          const struct qx_run *run, struct qxk_error *errors, uint8_t *codes)
{
    struct qxk_affine affine = qx_affine_of(q);

    exact->kernels->error_affine(run->x, (size_t)run->n, &affine, errors);
    exact->kernels->quantize(run->x, (size_t)run->n, &affine, codes);
}

static void book_errors(const struct exact *exact, const struct qx_qparams *q,
                        const struct qx_run *run, struct qxk_error *errors, uint8_t *codes)
{
    struct qxk_book book = qx_book_of(q->book, q->scale);
    float y[QX_RUN_MAX];

    qx_nearest_of(exact->kernels, q->book)(run->x, (size_t)run->n, &book, y, codes);
    exact->kernels->error_f32(run->x, y, (size_t)run->n, errors);
}

static void scaled_run(void *arg, const struct qx_run *run)
{
    struct exact *exact = arg;
    struct tile_sums *tile = &exact->tiles[run->tile];
    const struct qx_unit *unit = &exact->units[run->unit];
    uint8_t codes[QX_RUN_MAX], base = (uint8_t)unit->q.qmin;
    struct qxk_error errors;

    (unit->q.book ? book_errors : affine_errors)(exact, &unit->q, run, &errors, codes);
    errors_add(tile, &errors);
    for (int64_t i = 0; i < run->n; i++) {
        tile->codes[i & 1][(uint8_t)(codes[i] - base)]++;
    }
    tile->e.codes[unit->q.zero - unit->q.qmin] -= (double)errors.n_nonfinite; /* counted there */
    clips_add(&tile->e, run, unit);
}

static void block_run(void *arg, const struct qx_run *run)
{
    struct exact *exact = arg;
    struct qxk_error errors;
    float y[QX_RUN_MAX];

    const int64_t row = exact->walk->channels.outer * exact->walk->channels.inner;
    const float *w = qx_block_weights(exact->setting, row, qx_block_place(exact->walk, run));

    qx_block_values(exact->setting->format, exact->tensor_scale, run->x, w, run->n, y);
    exact->kernels->error_f32(run->x, y, (size_t)run->n, &errors);
    errors_add(&exact->tiles[run->tile], &errors);
}

static void float_run(void *arg, const struct qx_run *run)
{
    struct exact *exact = arg;
    struct tile_sums *tile = &exact->tiles[run->tile];
    const struct qx_format *format = exact->setting->format;
    double max = (double)format->max;
    struct qxk_error errors;
    float y[QX_RUN_MAX];

    for (int64_t i = 0; i < run->n; i++) {
        y[i] = isfinite(run->x[i]) ? format->round(run->x[i]) : 0.0f;
    }
    exact->kernels->error_f32(run->x, y, (size_t)run->n, &errors);
    errors_add(tile, &errors);
    for (int64_t i = 0; i < run->n; i++) {
        double x = (double)run->x[i];

        if (x > max && isfinite(x)) {
            clipped_add(&tile->e, &tile->e.clipped_high, x, max, max, max);
        } else if (x < -max && isfinite(x)) {
            clipped_add(&tile->e, &tile->e.clipped_low, x, -max, -max, -max);
        }
    }
}

/* Over the units that hold a non-zero value; when none does, the scale that all of them have. */
static void scale_extremes(const struct qx_unit *units, int64_t n, struct qx_metrics *out)
{
    double low = INFINITY, high = 0.0;

    for (int64_t i = 0; i < n; i++) {
        if (units[i].clip.hi > units[i].clip.lo) {
            low = fmin(low, (double)units[i].q.scale);
            high = fmax(high, (double)units[i].q.scale);
        }
    }
    out->scale_min = high > 0.0 ? low : 1.0;
    out->scale_max = high > 0.0 ? high : 1.0;
}

enum qx_status qx_metric_exact(const struct qx_tensor *t, struct qx_channels channels,
                               const struct qx_setting *s, struct qx_pool *pool, struct qx_ctl *ctl,
                               struct qx_metrics *out, struct qx_error *err)
{
    struct qx_walk walk = qx_walk_of(t, channels, s);
    int64_t n_tiles = qx_walk_tiles(&walk);
    struct exact exact = {.walk = &walk, .setting = s, .kernels = qxk_get()};
    struct qx_unit *units = NULL;
    struct tile_sums total = {0};
    enum qx_status st = qx_setting_ready(s, err);

    if (st != QX_OK) {
        return st;
    }
    if (qx_setting_overlay(s)) {
        *out = s->overlay->metrics;
        return QX_OK;
    }
    exact.tiles = qx_mem_array((size_t)n_tiles + 1, sizeof(*exact.tiles));
    if (!exact.tiles) {
        return qx_fail_nomem(err, ((size_t)n_tiles + 1) * sizeof(*exact.tiles));
    }
    memset(exact.tiles, 0, ((size_t)n_tiles + 1) * sizeof(*exact.tiles));
    if (qx_format_is_scaled(s->format)) {
        st = qx_units_resolve(&walk, s, pool, ctl, &units, err);
        exact.units = units;
    } else if (s->format->block) {
        st = qx_block_scale_find(&walk, s->format, pool, ctl, &exact.tensor_scale, err);
    }
    if (st == QX_OK) {
        qx_run_fn *fn = units ? scaled_run : s->format->block ? block_run : float_run;

        st = qx_walk_run(&walk, pool, ctl, fn, &exact, err);
    }
    if (st == QX_OK) {
        for (int64_t i = 0; i < n_tiles; i++) {
            struct tile_sums *tile = &exact.tiles[i];

            for (int q = 0; q < QX_CODES_MAX; q++) {
                tile->e.codes[q] += (double)tile->codes[0][q] + (double)tile->codes[1][q];
            }
            qx_error_sums_add(&total.e, &tile->e);
            total.n_nonfinite += tile->n_nonfinite;
        }
        total.e.sq_round = fmax(total.e.sq_round, 0.0);
        qx_error_sums_finish(&total.e, units ? qx_setting_n_codes(s) : 0, out);
        if (units) {
            scale_extremes(units, qx_setting_units(s, channels), out);
        }
        qx_metrics_size(s, channels, out);
        out->n_nonfinite = total.n_nonfinite;
        out->basis = QX_BASIS_EXACT;
    }
    qx_mem_free(units);
    qx_mem_free(exact.tiles);
    return st;
}
