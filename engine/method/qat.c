#include "method/qat.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"

#include <math.h>
#include <string.h>

/* Share of a batch's extremes in a followed range (Jacob et al. 2017: "smoothing close to 1"). */
#define FOLLOW 0.05f

/* ---- units of a weight: runs of `size` values of a channel whose values lie side by side ---- */

static int64_t fan_in(const struct qx_channels *c)
{
    return c->outer * c->inner;
}

static int64_t unit_size(const struct qx_qat_layer *l)
{
    const struct qx_setting *s = &l->set;
    return s->gran == QX_GRAN_TENSOR    ? l->weight->n
           : s->gran == QX_GRAN_CHANNEL ? fan_in(&l->channels)
                                        : s->group;
}

/* A channel of `from`, side by side: as it lies where outer is 1. */
static const float *channel_read(const struct qx_channels *c, const float *from, int64_t channel,
                                 float *buf)
{
    if (c->outer == 1) {
        return from + channel * c->inner;
    }
    for (int64_t o = 0; o < c->outer; o++) {
        memcpy(buf + o * c->inner, from + (o * c->count + channel) * c->inner,
               (size_t)c->inner * sizeof *buf);
    }
    return buf;
}

static void channel_write(const struct qx_channels *c, const float *buf, int64_t channel, float *to)
{
    for (int64_t o = 0; c->outer > 1 && o < c->outer; o++) {
        memcpy(to + (o * c->count + channel) * c->inner, buf + o * c->inner,
               (size_t)c->inner * sizeof *buf);
    }
}

static void extremes(const float *x, int64_t n, float *lo, float *hi)
{
    float a = 0.0f, b = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        a = x[i] < a ? x[i] : a;
        b = x[i] > b ? x[i] : b;
    }
    *lo = a;
    *hi = b;
}

/* ---- scales ---- */

/* The quantizer of one unit as the engines have it, from its own values. */
static struct qx_qparams stored_params(const struct qx_qat_layer *l, const float *x, int64_t n)
{
    float lo, hi;
    extremes(x, n, &lo, &hi);
    struct qx_setting s = l->set;
    if (s.gran == QX_GRAN_TENSOR && !l->has_step) { /* the range follows the values */
        const double most = l->ratio * fmax(-(double)lo, (double)hi);
        s.range = s.sym ? (struct qx_range){-most, most}
                        : (struct qx_range){l->ratio * (double)lo, l->ratio * (double)hi};
    }
    return qx_qparams_of(&s, lo, hi);
}

/* A learned scale as it is stored. */
static float stored_step(const struct qx_qat_layer *l, float step)
{
    struct qx_setting s = l->set;
    const double top = (double)step * (double)((1 << (s.bits - 1)) - 1);
    s.gran = QX_GRAN_TENSOR;
    s.range = (struct qx_range){-top, top};
    return s.sym ? qx_qparams_of(&s, 0.0f, 0.0f).scale : step;
}

static struct qxk_affine affine_of(const struct qx_qat_layer *l, int64_t unit, const float *x,
                                   int64_t n)
{
    const struct qx_qparams p = stored_params(l, x, n);
    struct qxk_affine a = {p.scale, (float)p.zero, (float)p.qmin, (float)p.qmax};
    if (l->has_step) {
        a.scale = stored_step(l, l->step[unit]);
    }
    return a;
}

/* ---- weights ---- */

/* The quantizer of a unit as it is now. */
struct rounding {
    struct qx_qparams p;
    struct qxk_affine a; /* integers */
    float lo, hi;        /* first and last level */
};

static struct rounding rounding_of(const struct qx_qat_layer *l, int64_t unit, const float *x,
                                   int64_t n)
{
    struct rounding r = {.p = stored_params(l, x, n)};
    if (r.p.book) {
        r.hi = r.p.book->top * r.p.scale;
        r.lo = -r.hi;
    } else {
        r.a = affine_of(l, unit, x, n);
        r.lo = (r.a.qmin - r.a.zero) * r.a.scale;
        r.hi = (r.a.qmax - r.a.zero) * r.a.scale;
    }
    return r;
}

/* x^; a table of levels goes value by value. */
static void round_values(const struct rounding *r, const float *x, int64_t n, float *out)
{
    if (!r->p.book) {
        qxk_get()->fakequant(x, (size_t)n, &r->a, out);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        out[i] = qx_dequantize(&r->p, qx_quantize(&r->p, x[i]));
    }
}

/* Something for the values of one unit, x to out (which may be x). */
typedef void unit_fn(const struct rounding *r, const float *x, int64_t n, double arg, float *out);

static void unit_quantize(const struct rounding *r, const float *x, int64_t n, double arg,
                          float *out)
{
    (void)arg;
    round_values(r, x, n, out);
}

/* x += pull (x^ - x), where x is not clipped. */
static void unit_dampen(const struct rounding *r, const float *x, int64_t n, double pull,
                        float *out)
{
    enum { BLOCK = 512 };
    float y[BLOCK];
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t m = n - at < BLOCK ? n - at : BLOCK;
        round_values(r, x + at, m, y);
        for (int64_t i = 0; i < m; i++) {
            const float v = x[at + i];
            out[at + i] = v >= r->lo && v <= r->hi ? v + (float)pull * (y[i] - v) : v;
        }
    }
}

/* In units of the last level. */
static void unit_scale(const struct rounding *r, const float *x, int64_t n, double arg, float *out)
{
    const float by = r->hi > 0.0f ? 1.0f / r->hi : 0.0f;
    (void)arg;
    for (int64_t i = 0; i < n; i++) {
        out[i] = x[i] * by;
    }
}

/* fn for every unit of the layer's weight, into `to` in storage order. */
static void units_each(const struct qx_qat_layer *l, unit_fn *fn, double arg, float *to)
{
    const struct qx_channels *c = &l->channels;
    const float *from = l->weight->value;
    if (l->set.gran == QX_GRAN_TENSOR) {
        const struct rounding r = rounding_of(l, 0, from, l->weight->n);
        fn(&r, from, l->weight->n, arg, to);
        return;
    }
    const int64_t n = fan_in(c), size = unit_size(l), units = (n + size - 1) / size;
    for (int64_t i = 0; i < c->count; i++) {
        float *out = c->outer == 1 ? to + i * n : l->gather + n;
        const float *x = channel_read(c, from, i, l->gather);
        for (int64_t u = 0; u < units; u++) {
            const int64_t len = n - u * size < size ? n - u * size : size;
            const struct rounding r = rounding_of(l, i * units + u, x + u * size, len);
            fn(&r, x + u * size, len, arg, out + u * size);
        }
        channel_write(c, out, i, to);
    }
}

static void layer_quantize(void *arg, int64_t i, int worker)
{
    const struct qx_qat *q = arg;
    (void)worker;
    units_each(&q->v[i], unit_quantize, 0.0, q->v[i].weight->used);
}

static void layer_dampen(void *arg, int64_t i, int worker)
{
    const struct qx_qat *q = arg;
    (void)worker;
    units_each(&q->v[i], unit_dampen, q->pull, q->v[i].weight->value);
}

void qx_qat_dampen(struct qx_qat *q, double pull, struct qx_pool *pool)
{
    q->pull = pull;
    qx_pool_for(pool, q->n, layer_dampen, q);
}

void qx_qat_units(const struct qx_qat_layer *l, float *out)
{
    units_each(l, unit_scale, 0.0, out);
}

void qx_qat_quantize(struct qx_qat *q, struct qx_pool *pool)
{
    qx_pool_for(pool, q->n, layer_quantize, q);
}

/* to = d of the values, from d of the quantized ones; to may be d. */
static void unit_back(struct qx_qat_layer *l, int64_t unit, const float *x, const float *d,
                      int64_t n, float *to)
{
    if (!qx_setting_is_int(&l->set)) {
        memmove(to, d, (size_t)n * sizeof *to);
        return;
    }
    const struct qxk_affine a = affine_of(l, unit, x, n);
    const double by_step = l->quantizer->fn->weights(x, d, n, &a, to);
    if (l->has_step) { /* gradient scale: arXiv 1902.08153, section 2.2 */
        l->d_step[unit] = (float)(by_step / sqrt((double)n * (double)a.qmax));
    }
}

static void channel_back(struct qx_qat_layer *l, int64_t channel)
{
    const struct qx_channels *c = &l->channels;
    const int64_t n = fan_in(c), size = unit_size(l), units = (n + size - 1) / size;
    float *buf = l->gather, *d = buf + n, *to = d + n;
    const float *x = channel_read(c, l->weight->value, channel, buf);
    const float *given = channel_read(c, l->weight->grad, channel, d);
    for (int64_t u = 0; u < units; u++) {
        const int64_t len = n - u * size < size ? n - u * size : size;
        unit_back(l, channel * units + u, x + u * size, given + u * size, len, to + u * size);
    }
    if (c->outer == 1) {
        memcpy(l->weight->grad + channel * n, to, (size_t)n * sizeof *to);
    } else {
        channel_write(c, to, channel, l->weight->grad);
    }
}

static void layer_back(void *arg, int64_t i, int worker)
{
    struct qx_qat *q = arg;
    struct qx_qat_layer *l = &q->v[i];
    (void)worker;
    if (l->set.gran == QX_GRAN_TENSOR) {
        unit_back(l, 0, l->weight->value, l->weight->grad, l->weight->n, l->weight->grad);
    } else {
        for (int64_t c = 0; c < l->channels.count; c++) {
            channel_back(l, c);
        }
    }
    double sum = 0.0;
    for (int k = 0; k < QX_TAPE_LANES; k++) {
        sum += l->sum[k];
    }
    l->d_act_step = (float)(sum * (double)l->act_share);
}

void qx_qat_back(struct qx_qat *q, struct qx_pool *pool)
{
    qx_pool_for(pool, q->n, layer_back, q);
}

/* ---- inputs ---- */

static struct qxk_affine act_affine(const struct qx_qat_layer *l)
{
    struct qxk_affine a = l->act;
    a.scale = l->has_act_step ? l->act_step : a.scale;
    return a;
}

static void act_forward(void *arg, int lane, const float *x, int64_t n, float *y)
{
    struct qx_qat_layer *l = arg;
    const struct qxk_affine a = act_affine(l);
    if (l->follows) {
        float lo, hi;
        extremes(x, n, &lo, &hi);
        l->lo[lane] = lo < l->lo[lane] ? lo : l->lo[lane];
        l->hi[lane] = hi > l->hi[lane] ? hi : l->hi[lane];
    }
    qxk_get()->fakequant(x, (size_t)n, &a, y);
}

static void act_backward(void *arg, int lane, const float *x, int64_t n, float *d)
{
    struct qx_qat_layer *l = arg;
    const struct qxk_affine a = act_affine(l);
    l->sum[lane] += l->quantizer->fn->inputs(x, d, n, &a, d);
}

void qx_qat_begin(struct qx_qat *q)
{
    for (int i = 0; i < q->n; i++) {
        memset(q->v[i].sum, 0, sizeof q->v[i].sum);
        memset(q->v[i].lo, 0, sizeof q->v[i].lo);
        memset(q->v[i].hi, 0, sizeof q->v[i].hi);
    }
}

/* ---- after a step ---- */

/* A scale beyond the largest value wastes levels, and could not be found again from the values. */
static void unit_bound(struct qx_qat_layer *l, int64_t unit, const float *x, int64_t n)
{
    const float top = (float)((1 << (l->set.bits - 1)) - 1);
    float lo, hi;
    extremes(x, n, &lo, &hi);
    const float most = fmaxf(-lo, hi), least = most / top * 1e-3f;
    /* so that the largest value still gets the last code */
    const float limit = l->set.gran == QX_GRAN_TENSOR ? most / top * 4.0f : most / (top - 0.4f);
    l->step[unit] = fminf(fmaxf(l->step[unit], fmaxf(least, 1e-30f)), fmaxf(limit, 1e-30f));
}

static void steps_bound(struct qx_qat_layer *l)
{
    const struct qx_channels *c = &l->channels;
    const int64_t n = fan_in(c), size = unit_size(l);
    if (l->set.gran == QX_GRAN_TENSOR) {
        if (l->set.sym) {
            unit_bound(l, 0, l->weight->value, l->weight->n);
        }
        l->step[0] = fmaxf(l->step[0], 1e-30f);
        return;
    }
    const int64_t units = (n + size - 1) / size;
    for (int64_t i = 0; i < c->count; i++) {
        const float *x = channel_read(c, l->weight->value, i, l->gather);
        for (int64_t u = 0; u < units; u++) {
            const int64_t len = n - u * size < size ? n - u * size : size;
            unit_bound(l, i * units + u, x + u * size, len);
        }
    }
}

static void range_follow(struct qx_qat_layer *l)
{
    float lo = 0.0f, hi = 0.0f;
    for (int k = 0; k < QX_TAPE_LANES; k++) {
        lo = fminf(lo, l->lo[k]);
        hi = fmaxf(hi, l->hi[k]);
    }
    struct qx_range *r = &l->set.act.range;
    r->lo += (double)FOLLOW * ((double)lo - r->lo);
    r->hi += (double)FOLLOW * ((double)hi - r->hi);
    const struct qx_qparams p = qx_act_qparams(&l->set.act, 0.0f, 0.0f);
    l->act = (struct qxk_affine){p.scale, (float)p.zero, (float)p.qmin, (float)p.qmax};
}

void qx_qat_follow(struct qx_qat *q, bool is_frozen)
{
    for (int i = 0; i < q->n; i++) {
        struct qx_qat_layer *l = &q->v[i];
        if (l->has_step) {
            steps_bound(l);
        }
        if (l->has_act_step) {
            l->act_step = fmaxf(l->act_step, 1e-3f * l->act.scale);
        }
        if (l->follows && !is_frozen) {
            range_follow(l);
        }
    }
}

/* Snapped weights of a channel or group reach their last level, so all of their range is the range. */
struct qx_setting qx_qat_setting(const struct qx_qat_layer *l)
{
    struct qx_setting s = l->set;
    s.calib = qx_calib_find("manual");
    s.param = 0.0;
    s.range = (struct qx_range){-1.0, 1.0};
    if (s.gran == QX_GRAN_TENSOR) {
        const struct qx_qparams p = stored_params(l, l->weight->value, l->weight->n);
        const double step = (double)(l->has_step ? stored_step(l, l->step[0]) : p.scale);
        const double lo = p.book ? -(double)p.book->top : p.qmin - p.zero;
        const double hi = p.book ? (double)p.book->top : p.qmax - p.zero;
        s.range = (struct qx_range){step * lo, step * hi};
    }
    if (l->has_act) {
        const struct qxk_affine a = act_affine(l);
        s.act.calib = s.calib;
        s.act.param = 0.0;
        s.act.range = (struct qx_range){(double)a.scale * (double)(a.qmin - a.zero),
                                        (double)a.scale * (double)(a.qmax - a.zero)};
    }
    return s;
}

/* ---- building ---- */

/* Which of the layer's setting can be trained. */
static enum qx_status layer_check(const struct qx_layer *layer, const struct qx_setting *s,
                                  struct qx_error *err)
{
    if (s->gran != QX_GRAN_TENSOR && !s->sym) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "layer '%.100s': training takes weights with zero points per tensor only; "
                       "make them symmetric",
                       layer->name);
    }
    if (qx_format_is_scaled(s->format) && s->scale == QX_SCALE_NESTED) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "layer '%.100s': training learns scales one by one, and these are quantized "
                       "together; store them as f16",
                       layer->name);
    }
    if (qx_setting_is_int(s) && s->act.bits > 0 && s->act.dynamic) {
        return qx_fail(
            err, QX_EUNSUPPORTED,
            "layer '%.100s': training takes static ranges of inputs; leave --dynamic out",
            layer->name);
    }
    if (!s->has_range || (qx_setting_is_int(s) && qx_act_open(&s->act))) {
        return qx_fail(err, QX_EDATA, "layer '%.100s' has no range yet", layer->name);
    }
    return QX_OK;
}

static void steps_init(struct qx_qat_layer *l)
{
    const struct qx_channels *c = &l->channels;
    const int64_t n = fan_in(c), size = unit_size(l);
    if (l->set.gran == QX_GRAN_TENSOR) {
        l->step[0] = qx_qparams_of(&l->set, 0.0f, 0.0f).scale;
        return;
    }
    const int64_t units = (n + size - 1) / size;
    for (int64_t i = 0; i < c->count; i++) {
        const float *x = channel_read(c, l->weight->value, i, l->gather);
        for (int64_t u = 0; u < units; u++) {
            const int64_t len = n - u * size < size ? n - u * size : size;
            l->step[i * units + u] = stored_params(l, x + u * size, len).scale;
        }
    }
}

static void act_init(struct qx_qat_layer *l, const struct qx_net *net)
{
    struct qx_channels in;
    const struct qx_qparams p = qx_act_qparams(&l->set.act, 0.0f, 0.0f);
    l->has_act = true;
    l->act = (struct qxk_affine){p.scale, (float)p.zero, (float)p.qmin, (float)p.qmax};
    l->act_step = p.scale;
    l->has_act_step = l->quantizer->learns_inputs;
    l->follows = l->quantizer->follows_inputs;
    /* arXiv 1902.08153, section 2.2: N is the number of features */
    const double features =
        qx_net_layer_input(net, l->layer, &in) ? (double)(in.outer * in.count * in.inner) : 1.0;
    l->act_share = (float)(1.0 / sqrt(features * (double)p.qmax));
}

static enum qx_status layer_init(struct qx_qat *q, struct qx_qat_layer *l, const struct qx_net *net,
                                 int layer, const struct qx_setting *set,
                                 const struct qx_quantizer *quantizer, struct qx_error *err)
{
    const struct qx_layer *info = qx_net_layer(net, layer);
    enum qx_status st = layer_check(info, set, err);
    if (st != QX_OK) {
        return st;
    }
    *l = (struct qx_qat_layer){.layer = layer,
                               .set = *set,
                               .weight = qx_tape_weight(q->tape, layer),
                               .channels = info->channels,
                               .quantizer = quantizer};
    l->n_units = qx_setting_units(set, info->channels);
    l->has_step = quantizer->learns_weights && qx_setting_is_int(set);
    const size_t wide =
        set->gran == QX_GRAN_TENSOR ? (size_t)l->weight->n : 3 * (size_t)fan_in(&l->channels);
    l->step = qx_mem_zalloc((size_t)l->n_units * sizeof *l->step);
    l->d_step = qx_mem_zalloc((size_t)l->n_units * sizeof *l->d_step);
    l->gather = qx_mem_array(wide, sizeof *l->gather);
    if (!l->step || !l->d_step || !l->gather) {
        return qx_fail_nomem(err, wide * sizeof *l->gather);
    }
    if (l->has_step) {
        l->has_step = false; /* as the calibrator chose */
        steps_init(l);
        l->has_step = true;
    }
    float lo, hi;
    extremes(l->weight->value, l->weight->n, &lo, &hi);
    const double most = fmax(-(double)lo, (double)hi);
    l->ratio = most > 0.0 ? fmax(-set->range.lo, set->range.hi) / most : 1.0;
    if (qx_setting_is_int(set) && set->act.bits > 0) {
        act_init(l, net);
        qx_tape_act(q->tape, layer, &(struct qx_tape_act){l, act_forward, act_backward});
    }
    return qx_tape_split(q->tape, l->weight, err);
}

enum qx_status qx_qat_init(struct qx_qat *q, struct qx_tape *tape, const struct qx_net *net,
                           const struct qx_setting *set, const struct qx_quantizer *quantizer,
                           struct qx_error *err)
{
    const int n = qx_net_n_layers(net);
    *q = (struct qx_qat){.tape = tape};
    q->v = qx_mem_zalloc(((size_t)n + 1) * sizeof *q->v);
    enum qx_status st = q->v ? QX_OK : qx_fail_nomem(err, (size_t)n * sizeof *q->v);
    for (int i = 0; st == QX_OK && i < n; i++) {
        if (qx_format_is_scaled(set[i].format)) {
            st = layer_init(q, &q->v[q->n++], net, i, &set[i], quantizer, err);
        }
    }
    if (st == QX_OK && q->n == 0) {
        st = qx_fail(err, QX_ERANGE, "no layer is quantized: say how, such as --bits 4");
    }
    return st;
}

void qx_qat_release(struct qx_qat *q)
{
    for (int i = 0; q->v && i < q->n; i++) {
        qx_mem_free(q->v[i].step);
        qx_mem_free(q->v[i].d_step);
        qx_mem_free(q->v[i].gather);
    }
    qx_mem_free(q->v);
    q->v = NULL;
}
