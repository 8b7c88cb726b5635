/* The stored numbers of a quantized tensor, for execution. */
#include "base/mem.h"
#include "quant/scheme.h"
#include "quant/walk.h"

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
