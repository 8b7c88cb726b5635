/* Weights that a method chose: their values and the error figures of those. overlay_file.c has the file. */
#include "qx/overlay.h"

#include "base/error.h"
#include "base/mem.h"
#include "quant/formulas.h"
#include "quant/scheme.h"

#include <math.h>

enum qx_status qx_overlay_new(struct qx_channels channels, const struct qx_setting *s,
                              struct qx_overlay **out, struct qx_error *err)
{
    const int64_t n_units = qx_setting_units(s, channels);
    const size_t n = (size_t)(channels.outer * channels.count * channels.inner);
    struct qx_overlay *o = qx_mem_zalloc(sizeof *o);
    if (!o) {
        return qx_fail_nomem(err, sizeof *o);
    }
    o->setting = *s;
    o->setting.overlay = NULL;
    o->setting.overlay_key = 0;
    o->channels = channels;
    o->n_units = n_units;
    o->groups = o->taps = 1;
    o->codes = qx_mem_zalloc(n + 1);
    o->scale = qx_mem_zalloc(((size_t)n_units + 1) * sizeof *o->scale);
    o->zero = qx_mem_zalloc(((size_t)n_units + 1) * sizeof *o->zero);
    o->before = o->after = (double)NAN;
    if (!o->codes || !o->scale || !o->zero) {
        qx_overlay_free(o);
        return qx_fail_nomem(err, n);
    }
    *out = o;
    return QX_OK;
}

void qx_overlay_free(struct qx_overlay *o)
{
    if (!o) {
        return;
    }
    qx_mem_free(o->codes);
    qx_mem_free(o->scale);
    qx_mem_free(o->zero);
    qx_mem_free(o->in_scale);
    qx_mem_free(o->in_shift);
    qx_mem_free(o->out_scale);
    qx_mem_free(o->bias);
    qx_mem_free(o->kept);
    qx_mem_free(o->kept_values);
    qx_mem_free(o->others);
    qx_mem_free(o->other_values);
    qx_mem_free(o);
}

bool qx_overlay_has_inputs(const struct qx_overlay *o)
{
    return o->in_scale || o->in_shift || o->n_kept > 0;
}

bool qx_overlay_serves(const struct qx_overlay *o, const struct qx_act *act)
{
    const bool is_static = act->bits > 0 && !act->dynamic;
    return (o->has_in_range || !is_static || !qx_overlay_has_inputs(o)) &&
           (o->act_bits == 0 || (o->act_bits == act->bits && o->act_sym == act->sym));
}

struct qx_act qx_overlay_act(const struct qx_overlay *o, const struct qx_act *act)
{
    struct qx_act own = *act;
    if (qx_overlay_has_inputs(o)) {
        const double most = fmax(-o->in_range.lo, o->in_range.hi);
        own.range = act->sym ? (struct qx_range){-most, most} : o->in_range;
    }
    return own;
}

uint64_t qx_overlay_extra_bytes(const struct qx_overlay *o)
{
    const int64_t n_in = o->groups * o->channels.outer * o->channels.inner / o->taps;
    const int64_t n_out = o->channels.count;
    const uint64_t factors =
        (uint64_t)(o->in_scale ? n_in : 0) + (uint64_t)(o->out_scale ? n_out : 0);
    return 2 * (o->is_folded ? 0 : factors) + 2 * (uint64_t)(o->in_shift ? n_in : 0) +
           4 * (uint64_t)(o->bias ? n_out : 0) + 2 * (uint64_t)(o->n_kept * n_out);
}

/* Input channel of value `pos` of a channel. */
static int64_t input_of(const struct qx_overlay *o, int64_t channel, int64_t pos)
{
    const int64_t k = o->channels.outer * o->channels.inner;
    return channel / (o->channels.count / o->groups) * (k / o->taps) + pos / o->taps;
}

float qx_overlay_in(const struct qx_overlay *o, int64_t channel, int64_t pos)
{
    return o->in_scale ? o->in_scale[input_of(o, channel, pos)] : 1.0f;
}

static int64_t unit_of(const struct qx_overlay *o, int64_t channel, int64_t pos)
{
    const struct qx_setting *s = &o->setting;
    if (s->gran == QX_GRAN_TENSOR) {
        return 0;
    }
    return s->gran == QX_GRAN_CHANNEL ? channel
                                      : channel * (o->n_units / o->channels.count) + pos / s->group;
}

/* Place among the kept inputs, -1 when it is none. */
static int64_t kept_find(const struct qx_overlay *o, int64_t pos)
{
    int64_t lo = 0, hi = o->n_kept;
    while (lo < hi) {
        const int64_t mid = (lo + hi) / 2;
        if (o->kept[mid] < pos) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < o->n_kept && o->kept[lo] == pos ? lo : -1;
}

static int64_t element_of(const struct qx_overlay *o, int64_t channel, int64_t pos)
{
    const int64_t inner = o->channels.inner;
    return (pos / inner * o->channels.count + channel) * inner + pos % inner;
}

float qx_overlay_value(const struct qx_overlay *o, int64_t channel, int64_t pos)
{
    const struct qx_setting *s = &o->setting;
    const int64_t kept = o->n_kept > 0 ? kept_find(o, pos) : -1;
    if (kept >= 0) {
        return o->kept_values[channel * o->n_kept + kept];
    }
    const int64_t unit = unit_of(o, channel, pos);
    const int8_t code = o->codes[element_of(o, channel, pos)];
    const float step =
        s->format->book ? s->format->book->level[(uint8_t)code] : (float)(code - o->zero[unit]);
    float value = step * o->scale[unit];
    value = o->in_scale ? value / qx_overlay_in(o, channel, pos) : value;
    return o->out_scale ? value * o->out_scale[channel] : value;
}

double qx_overlay_shifted(const struct qx_overlay *o, int64_t channel)
{
    double sum = 0.0;
    for (int64_t pos = 0; o->in_shift && pos < o->channels.outer * o->channels.inner; pos++) {
        if (o->n_kept == 0 || kept_find(o, pos) < 0) {
            sum += (double)qx_overlay_value(o, channel, pos) *
                   (double)o->in_shift[input_of(o, channel, pos)];
        }
    }
    return sum;
}

/* Channel and position of an element. */
static int64_t channel_of(const struct qx_overlay *o, int64_t element, int64_t *pos)
{
    const int64_t inner = o->channels.inner, row = o->channels.count * inner;
    *pos = element / row * inner + element % inner;
    return element % row / inner;
}

float qx_overlay_element(const struct qx_overlay *o, int64_t element)
{
    int64_t pos;
    const int64_t channel = channel_of(o, element, &pos);
    return qx_overlay_value(o, channel, pos);
}

int qx_overlay_step(const struct qx_overlay *o, int64_t element)
{
    int64_t pos;
    const int64_t channel = channel_of(o, element, &pos);
    const struct qx_book *book = o->setting.format->book;
    return book ? (uint8_t)o->codes[element] - book->zero
                : o->codes[element] - o->zero[unit_of(o, channel, pos)];
}

float qx_overlay_shown(const struct qx_overlay *o, bool is_error, float x, int64_t element)
{
    return is_error ? x - qx_overlay_element(o, element) : (float)qx_overlay_step(o, element);
}

const float *qx_overlay_other(const struct qx_overlay *o, int64_t tensor)
{
    const float *at = o->other_values;
    for (int64_t i = 0; i < o->n_others; at += o->others[i].n, i++) {
        if (o->others[i].tensor == tensor) {
            return at;
        }
    }
    return NULL;
}

const struct qx_overlay *qx_setting_overlay(const struct qx_setting *s)
{
    struct qx_setting plain = *s;
    plain.overlay = NULL;
    plain.overlay_key = 0;
    return s->overlay && qx_setting_equal_weight(&plain, &s->overlay->setting) ? s->overlay : NULL;
}

/* The ends of a unit's range, and where its codes begin: those of signed bytes, or of a table. */
static void unit_range(const struct qx_overlay *o, int64_t unit, double *lo, double *hi)
{
    const struct qx_setting *s = &o->setting;
    const double scale = (double)o->scale[unit];
    if (s->format->book) {
        *lo = -(double)s->format->book->top * scale;
        *hi = (double)s->format->book->top * scale;
        return;
    }
    const int most = (1 << (s->bits - 1)) - 1, least = s->sym ? -most : -most - 1;
    *lo = (double)(least - o->zero[unit]) * scale;
    *hi = (double)(most - o->zero[unit]) * scale;
}

static void value_add(const struct qx_overlay *o, int64_t channel, int64_t pos, double x,
                      struct qx_error_sums *e)
{
    const struct qx_setting *s = &o->setting;
    const double y = (double)qx_overlay_value(o, channel, pos), d = y - x;
    double lo, hi;
    e->n += 1.0;
    e->sq_x += x * x;
    e->sq_y += y * y;
    e->xy += x * y;
    e->sq_err += d * d;
    e->abs_err += fabs(d);
    e->bias += d;
    if (o->n_kept > 0 && kept_find(o, pos) >= 0) {
        e->sq_round += d * d;
        return;
    }
    unit_range(o, unit_of(o, channel, pos), &lo, &hi);
    const double f = (double)qx_overlay_in(o, channel, pos) /
                     (o->out_scale ? (double)o->out_scale[channel] : 1.0);
    const double c = fmin(fmax(x, lo / f), hi / f);
    e->clipped_low += x < lo / f;
    e->clipped_high += x > hi / f;
    e->sq_clip += (c - x) * (c - x);
    e->sq_round += (y - c) * (y - c);
    const int first = s->format->book ? 0
                      : s->sym        ? 1 - (1 << (s->bits - 1))
                                      : -(1 << (s->bits - 1));
    const int8_t code = o->codes[element_of(o, channel, pos)];
    e->codes[(s->format->book ? (int)(uint8_t)code : (int)code) - first] += 1.0;
}

enum qx_status qx_overlay_finish(struct qx_overlay *o, const struct qx_tensor *t,
                                 struct qx_error *err)
{
    enum { READ = 4096 };
    struct qx_error_sums e = {0};
    int64_t n_nonfinite = 0;
    float x[READ];
    for (int64_t at = 0, n; at < t->numel; at += n) {
        n = READ < t->numel - at ? READ : t->numel - at;
        enum qx_status st = qx_tensor_read(t, at, n, x, err);
        if (st != QX_OK) {
            return st;
        }
        for (int64_t i = 0; i < n; i++) {
            int64_t pos;
            const int64_t channel = channel_of(o, at + i, &pos);
            if (isfinite(x[i])) {
                value_add(o, channel, pos, (double)x[i], &e);
            } else {
                n_nonfinite++;
            }
        }
    }
    struct qx_metrics *m = &o->metrics;
    qx_error_sums_finish(&e, qx_setting_n_codes(&o->setting), m);
    m->scale_min = m->scale_max = o->n_units > 0 ? (double)o->scale[0] : 1.0;
    for (int64_t u = 1; u < o->n_units; u++) {
        m->scale_min = fmin(m->scale_min, (double)o->scale[u]);
        m->scale_max = fmax(m->scale_max, (double)o->scale[u]);
    }
    qx_metrics_size(&o->setting, o->channels, m);
    m->bytes += qx_overlay_extra_bytes(o);
    m->bits_per_weight = t->numel > 0 ? 8.0 * (double)m->bytes / (double)t->numel : 0.0;
    m->n_nonfinite = n_nonfinite;
    m->basis = QX_BASIS_EXACT;
    return QX_OK;
}
