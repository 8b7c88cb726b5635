/* Error figures element by element. Sums per tile, merged in the order of the tiles, so the result
 * does not depend on the threads. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "quant/formulas.h"
#include "quant/scheme.h"
#include "quant/walk.h"

struct tile_sums {
    struct qx_error_sums e;
    int64_t n_nonfinite;
};

struct exact {
    const struct qx_setting *setting;
    const struct qx_unit *units; /* NULL for FLOAT formats */
    struct tile_sums *tiles;
};

/* x coded as y, clamped to lo..hi first for the clipping share; y_lo, y_hi: codes of the ends. */
static inline void value_add(struct qx_error_sums *e, double x, double y, struct qx_range clip,
                             double y_lo, double y_hi)
{
    double err = y - x, round = err;

    e->sq_x += x * x;
    e->sq_y += y * y;
    e->xy += x * y;
    e->sq_err += err * err;
    e->abs_err += fabs(err);
    e->bias += err;
    if (x < clip.lo) {
        e->clipped_low += 1.0;
        e->sq_clip += (clip.lo - x) * (clip.lo - x);
        round = y_lo - clip.lo;
    } else if (x > clip.hi) {
        e->clipped_high += 1.0;
        e->sq_clip += (x - clip.hi) * (x - clip.hi);
        round = y_hi - clip.hi;
    }
    e->sq_round += round * round;
}

static void affine_run(void *arg, const struct qx_run *run)
{
    struct exact *exact = arg;
    struct tile_sums *tile = &exact->tiles[run->tile];
    const struct qx_unit *unit = &exact->units[run->unit];
    const struct qx_qparams *q = &unit->q;
    double y_lo = (double)(qx_offset_code(q, (float)unit->clip.lo) * q->scale);
    double y_hi = (double)(qx_offset_code(q, (float)unit->clip.hi) * q->scale);
    double *codes = tile->e.codes + (q->zero - q->qmin);

    for (int64_t i = 0; i < run->n; i++) {
        float x = run->x[i], k;

        if (!isfinite(x)) {
            tile->n_nonfinite++;
            continue;
        }
        k = qx_offset_code(q, x);
        codes[(int)k] += 1.0;
        tile->e.n += 1.0;
        value_add(&tile->e, (double)x, (double)(k * q->scale), unit->clip, y_lo, y_hi);
    }
}

static void float_run(void *arg, const struct qx_run *run)
{
    struct exact *exact = arg;
    struct tile_sums *tile = &exact->tiles[run->tile];
    const struct qx_format *format = exact->setting->format;
    double max = (double)format->max;
    struct qx_range clip = {-max, max};

    for (int64_t i = 0; i < run->n; i++) {
        float x = run->x[i];

        if (!isfinite(x)) {
            tile->n_nonfinite++;
            continue;
        }
        tile->e.n += 1.0;
        value_add(&tile->e, (double)x, (double)format->round(x), clip, -max, max);
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
    struct exact exact = {.setting = s};
    struct qx_unit *units = NULL;
    struct tile_sums total = {0};
    enum qx_status st = qx_setting_ready(s, err);

    if (st != QX_OK) {
        return st;
    }
    exact.tiles = qx_mem_array((size_t)n_tiles + 1, sizeof(*exact.tiles));
    if (!exact.tiles) {
        return qx_fail_nomem(err, ((size_t)n_tiles + 1) * sizeof(*exact.tiles));
    }
    memset(exact.tiles, 0, ((size_t)n_tiles + 1) * sizeof(*exact.tiles));
    if (s->format->kind == QX_FORMAT_AFFINE) {
        st = qx_units_resolve(&walk, s, pool, ctl, &units, err);
        exact.units = units;
    }
    if (st == QX_OK) {
        st = qx_walk_run(&walk, pool, ctl, units ? affine_run : float_run, &exact, err);
    }
    if (st == QX_OK) {
        for (int64_t i = 0; i < n_tiles; i++) {
            qx_error_sums_add(&total.e, &exact.tiles[i].e);
            total.n_nonfinite += exact.tiles[i].n_nonfinite;
        }
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
