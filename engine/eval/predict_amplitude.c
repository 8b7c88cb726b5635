/* Amplitudes t: how much a setting disturbs a layer's weights and inputs (prediction.md 3.1, 3.2). */
#include "eval/predict_impl.h"

#include "base/error.h"
#include "base/str.h"

#include <math.h>

struct qx_amplitude qx_amplitude_of(const struct qx_metrics *m)
{
    if (!(m->sum_sq > 0.0)) {
        return (struct qx_amplitude){0.0, 0.0};
    }
    const double n = (double)m->n;
    /* t_round = ||Q - C|| / ||x||, t_clip = ||C - x|| / ||x|| */
    return (struct qx_amplitude){sqrt(fmax(m->mse_round, 0.0) * n / m->sum_sq),
                                 sqrt(fmax(m->mse_clip, 0.0) * n / m->sum_sq)};
}

/* An activation's quantizer in the words of a weight's: one range for the tensor. */
static struct qx_setting act_as_setting(const struct qx_act *act, struct qx_range range)
{
    struct qx_setting s = qx_setting_int(act->bits);
    s.sym = act->sym;
    s.gran = QX_GRAN_TENSOR;
    s.has_range = true;
    s.range = (struct qx_range){fmin(range.lo, 0.0), fmax(range.hi, 0.0)};
    return s;
}

/* The step of a dynamic range follows each batch: mean square over the batches, relative to the square
 * of the step that the whole range has. */
static double dynamic_share(const struct qx_observed *o, const struct qx_act *act, double whole)
{
    double sum = 0.0;
    int64_t n = 0;
    for (int64_t b = 0; b < o->n_batches; b++) {
        if (o->lo[b] <= o->hi[b]) {
            const double lo = fmin((double)o->lo[b], 0.0), hi = fmax((double)o->hi[b], 0.0);
            const double span = act->sym ? 2.0 * fmax(-lo, hi) : hi - lo;
            sum += span * span;
            n++;
        }
    }
    return n > 0 && whole > 0.0 ? fmin(sum / (double)n / (whole * whole), 1.0) : 1.0;
}

enum qx_status qx_amplitude_of_act(const struct qx_act *act, const struct qx_observed *o,
                                   struct qx_amplitude *out, struct qx_error *err)
{
    if (!o || !o->packed) {
        return qx_fail(err, QX_EDATA, "the inputs of the layer have not been observed yet");
    }
    if (qx_act_open(act)) {
        return qx_fail(err, QX_EDATA, "the inputs of the layer have no range yet");
    }
    const struct qx_stats *st = qx_observed_stats(o);
    if (st->n == 0) {
        *out = (struct qx_amplitude){0.0, 0.0};
        return QX_OK;
    }
    const struct qx_range all = {fmin(st->min, 0.0), fmax(st->max, 0.0)};
    struct qx_setting s = act_as_setting(act, act->dynamic ? all : act->range);
    struct qx_metrics m;
    struct qx_hist *h = NULL;
    enum qx_status status = qx_observed_hist(o, &h, err);
    status = status == QX_OK ? qx_metric_hist(h, &s, &m, err) : status;
    qx_hist_unref(h);
    if (status != QX_OK) {
        return status;
    }
    *out = qx_amplitude_of(&m);
    if (act->dynamic) {
        const double whole = act->sym ? 2.0 * fmax(-all.lo, all.hi) : all.hi - all.lo;
        out->round *= sqrt(dynamic_share(o, act, whole));
        out->clip = 0.0;
    }
    return QX_OK;
}

static uint64_t hash_double(double v, uint64_t h)
{
    v = v == 0.0 ? 0.0 : v; /* -0 */
    return qx_hash64(&v, sizeof v, h);
}

static uint64_t weight_key(const struct qx_setting *s)
{
    uint64_t h = 0;
    for (const char *p = s->format->name; *p; p++) {
        h = qx_hash64(p, 1, h);
    }
    if (qx_format_is_scaled(s->format)) {
        const int64_t v[5] = {s->bits, s->sym, s->gran, s->gran == QX_GRAN_GROUP ? s->group : 0,
                              s->scale};
        h = hash_double(s->range.hi, hash_double(s->range.lo, qx_hash64(v, sizeof v, h)));
        h = s->algo[0] ? qx_setting_hash(s, h) : h;
    }
    const uint64_t heeded = qx_importance_key(s);
    return heeded ? qx_hash64(&heeded, sizeof heeded, h) : h;
}

uint64_t qx_predict_key(const struct qx_setting *s, enum qx_site site)
{
    uint64_t h;
    if (qx_setting_is_fp32(s)) {
        return 0;
    }
    if (site == QX_SITE_W) {
        h = weight_key(s);
    } else if (!qx_setting_is_int(s) || s->act.bits == 0) {
        return 0;
    } else {
        const struct qx_act *a = &s->act;
        const int64_t v[4] = {a->bits, a->sym, a->gran, a->dynamic};
        h = qx_hash64(v, sizeof v, 1);
        h = a->dynamic ? h : hash_double(a->range.hi, hash_double(a->range.lo, h));
    }
    return h ? h : 1;
}

enum qx_status qx_predict_layer_of(const struct qx_setting *s, const struct qx_hist *hist,
                                   const struct qx_observed *observed, struct qx_predict_layer *out,
                                   struct qx_error *err)
{
    struct qx_predict_layer l = {0};
    if (qx_format_is_scaled(s->format) && s->algo[0]) {
        /* what a method leaves is not spread evenly over the inputs: its size says little */
        return qx_fail(err, QX_EUNSUPPORTED, "what %s does to a layer is measured, not predicted",
                       s->algo);
    }
    if (!qx_setting_is_fp32(s)) {
        struct qx_metrics m;
        if (!hist || (qx_format_is_scaled(s->format) && !s->has_range)) {
            return qx_fail(err, QX_EDATA, "the layer's %s has not been %s yet",
                           hist ? "range" : "histogram", hist ? "chosen" : "built");
        }
        enum qx_status status = qx_metric_hist(hist, s, &m, err);
        if (status != QX_OK) {
            return status;
        }
        l.t[QX_SITE_W] = qx_amplitude_of(&m);
    }
    for (int site = 0; site < QX_SITE_COUNT; site++) {
        l.key[site] = qx_predict_key(s, site);
    }
    if (l.key[QX_SITE_A]) {
        enum qx_status status = qx_amplitude_of_act(&s->act, observed, &l.t[QX_SITE_A], err);
        if (status != QX_OK) {
            return status;
        }
    }
    *out = l;
    return QX_OK;
}
