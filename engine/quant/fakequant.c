/* Quantize-dequantize a whole tensor. */
#include <math.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "kernels/kernels.h"
#include "quant/blocks.h"
#include "qx/overlay.h"
#include "quant/scheme.h"
#include "quant/walk.h"

struct fakequant {
    const struct qx_walk *walk;
    const struct qx_setting *setting;
    const struct qx_unit *units; /* NULL for FLOAT formats */
    const struct qxk_table *kernels;
    float *out;
    float tensor_scale; /* BLOCK */
    int16_t *codes;
    atomic_int_least64_t n_nonfinite;
};

static int64_t values_make(const struct fakequant *f, const struct qx_qparams *q,
                           const struct qx_run *run, float *y)
{
    if (q->book) {
        struct qxk_book book = qx_book_of(q->book, q->scale);

        return qx_nearest_of(f->kernels, q->book)(run->x, (size_t)run->n, &book, y, NULL);
    }
    struct qxk_affine affine = qx_affine_of(q);

    return f->kernels->fakequant(run->x, (size_t)run->n, &affine, y);
}

static void scaled_run(void *arg, const struct qx_run *run)
{
    struct fakequant *f = arg;
    const struct qx_qparams *q = &f->units[run->unit].q;
    float buf[QX_RUN_MAX], *y = f->walk->is_transposed ? buf : f->out + run->first;
    int64_t bad = values_make(f, q, run, y);

    for (int64_t i = 0; y == buf && i < run->n; i++) {
        f->out[qx_run_index(f->walk, run, i)] = y[i];
    }
    for (int64_t i = 0; f->codes && i < run->n; i++) {
        f->codes[qx_run_index(f->walk, run, i)] = (int16_t)qx_quantize(q, run->x[i]);
    }
    if (bad > 0) {
        atomic_fetch_add(&f->n_nonfinite, bad);
    }
}

static void float_run(void *arg, const struct qx_run *run)
{
    struct fakequant *f = arg;
    float buf[QX_RUN_MAX], *out = f->walk->is_transposed ? buf : f->out + run->first;
    int64_t bad = 0;

    if (f->setting->format->block) {
        const int64_t row = f->walk->channels.outer * f->walk->channels.inner;
        const float *w = qx_block_weights(f->setting, row, qx_block_place(f->walk, run));
        bad = qx_block_values(f->setting->format, f->tensor_scale, run->x, w, run->n, out);
    }
    for (int64_t i = 0; out == buf && i < run->n; i++) {
        f->out[qx_run_index(f->walk, run, i)] = out[i];
    }
    for (int64_t i = 0; !f->setting->format->block && i < run->n; i++) {
        bool is_bad = !isfinite(run->x[i]);

        bad += is_bad;
        out[i] = is_bad ? 0.0f : f->setting->format->round(run->x[i]);
    }
    if (bad > 0) {
        atomic_fetch_add(&f->n_nonfinite, bad);
    }
}

/* The values of a method instead, channel by channel. */
struct put {
    const struct qx_overlay *overlay;
    struct qx_ctl *ctl;
    float *out;
    int16_t *codes;
};

static void channel_put(void *arg, int64_t channel, int worker)
{
    const struct put *p = arg;
    const struct qx_channels *c = &p->overlay->channels;
    const struct qx_book *book = p->overlay->setting.format->book;
    const int up = p->overlay->setting.sym ? 0 : 1 << (p->overlay->setting.bits - 1);

    (void)worker;
    for (int64_t pos = 0; pos < c->outer * c->inner; pos++) {
        int64_t i = (pos / c->inner * c->count + channel) * c->inner + pos % c->inner;

        p->out[i] = qx_overlay_value(p->overlay, channel, pos);
        if (p->codes) {
            p->codes[i] =
                (int16_t)(book ? (uint8_t)p->overlay->codes[i] : p->overlay->codes[i] + up);
        }
    }
    qx_ctl_add(p->ctl, 2 * c->outer * c->inner);
}

enum qx_status qx_fakequant(const struct qx_tensor *t, struct qx_channels channels,
                            const struct qx_setting *s, struct qx_pool *pool, struct qx_ctl *ctl,
                            float *out, int16_t *codes, int64_t *n_nonfinite, struct qx_error *err)
{
    struct qx_walk walk = qx_walk_of(t, channels, s);
    struct fakequant f = {
        .walk = &walk, .setting = s, .kernels = qxk_get(), .out = out, .codes = codes};
    struct qx_unit *units = NULL;
    enum qx_status st = qx_setting_ready(s, err);

    if (st == QX_OK && s->overlay) {
        struct put put = {s->overlay, ctl, out, codes};

        qx_pool_for(pool, channels.count, channel_put, &put);
        if (n_nonfinite) {
            *n_nonfinite = s->overlay->metrics.n_nonfinite;
        }
        return QX_OK;
    }
    atomic_init(&f.n_nonfinite, 0);
    if (st == QX_OK && qx_format_is_scaled(s->format)) {
        st = qx_units_resolve(&walk, s, pool, ctl, &units, err);
    } else if (st == QX_OK && s->format->block) {
        st = qx_block_scale_find(&walk, s->format, pool, ctl, &f.tensor_scale, err);
    }
    if (st == QX_OK) {
        f.units = units;
        st = qx_walk_run(&walk, pool, ctl, units ? scaled_run : float_run, &f, err);
    }
    if (st == QX_OK && n_nonfinite) {
        *n_nonfinite = atomic_load(&f.n_nonfinite);
    }
    qx_mem_free(units);
    return st;
}
