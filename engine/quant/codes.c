/* The stored numbers of a quantized tensor, for execution. */
#include "base/error.h"
#include "base/mem.h"
#include "quant/blocks.h"
#include "qx/overlay.h"
#include "quant/scheme.h"
#include "quant/walk.h"

#include <string.h>

struct codes {
    const struct qx_walk *walk;
    const struct qx_unit *units;
    int8_t *codes;
    int shift; /* asymmetric codes to signed bytes */
};

static void code_run(void *arg, const struct qx_run *run)
{
    const struct codes *c = arg;
    const struct qx_qparams *q = &c->units[run->unit].q;
    for (int64_t i = 0; i < run->n; i++) {
        c->codes[qx_run_index(c->walk, run, i)] = (int8_t)(qx_quantize(q, run->x[i]) - c->shift);
    }
}

static void overlay_copy(const struct qx_overlay *o, int8_t *codes, float *scale, int32_t *zero)
{
    memcpy(codes, o->codes, (size_t)(o->channels.outer * o->channels.count * o->channels.inner));
    memcpy(scale, o->scale, (size_t)o->n_units * sizeof *scale);
    memcpy(zero, o->zero, (size_t)o->n_units * sizeof *zero);
}

enum qx_status qx_quantize_tensor(const struct qx_tensor *t, struct qx_channels channels,
                                  const struct qx_setting *s, struct qx_pool *pool,
                                  struct qx_ctl *ctl, int8_t *codes, float *scale, int32_t *zero,
                                  struct qx_error *err)
{
    struct qx_walk walk = qx_walk_of(t, channels, s);
    struct qx_unit *units = NULL;
    const int shift =
        s->sym ? 0 : 1 << (s->bits - 1); /* of a table: 0, and the byte holds any code */
    enum qx_status st = qx_setting_ready(s, err);
    if (st == QX_OK && s->overlay) {
        overlay_copy(s->overlay, codes, scale, zero);
        return QX_OK;
    }
    if (st == QX_OK) {
        st = qx_units_resolve(&walk, s, pool, ctl, &units, err);
    }
    if (st == QX_OK) {
        struct codes c = {&walk, units, codes, shift};
        st = qx_walk_run(&walk, pool, ctl, code_run, &c, err);
    }
    const int64_t n_units = qx_setting_units(s, channels);
    for (int64_t i = 0; st == QX_OK && i < n_units; i++) {
        scale[i] = units[i].q.scale;
        zero[i] = units[i].q.book ? 0 : units[i].q.zero - shift;
    }
    qx_mem_free(units);
    return st;
}

struct stored {
    const struct qx_walk *walk;
    const struct qx_setting *setting;
    float scale;
    uint8_t *data;
};

static void store_run(void *arg, const struct qx_run *run)
{
    const struct stored *s = arg;
    const struct qx_format *f = s->setting->format;
    const struct qx_block *b = f->block;
    const int64_t row = s->walk->channels.outer * s->walk->channels.inner;
    const int64_t channel = s->walk->is_transposed ? run->channel : run->first / row;
    const int64_t pos = qx_block_place(s->walk, run);
    const int64_t block = channel * ((row + b->n - 1) / b->n) + pos / b->n;
    qx_block_store(f, s->scale, run->x, qx_block_weights(s->setting, row, pos), run->n,
                   s->data + (size_t)block * (size_t)b->bytes);
}

enum qx_status qx_encode_tensor(const struct qx_tensor *t, struct qx_channels channels,
                                const struct qx_setting *s, struct qx_pool *pool,
                                struct qx_ctl *ctl, uint8_t *data, float *scale,
                                struct qx_error *err)
{
    struct qx_walk walk = qx_walk_of(t, channels, s);
    struct stored stored = {&walk, s, 1.0f, data};
    enum qx_status st = qx_block_scale_find(&walk, s->format, pool, ctl, &stored.scale, err);
    st = st == QX_OK ? qx_walk_run(&walk, pool, ctl, store_run, &stored, err) : st;
    if (st == QX_OK) {
        *scale = stored.scale;
    }
    return st;
}
