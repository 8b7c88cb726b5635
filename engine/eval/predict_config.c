/* Whole configurations: what they do to every layer, and random ones. */
#include "eval/predict_impl.h"

#include "base/error.h"
#include "base/rng.h"

#include <math.h>

enum qx_status qx_predict_probe_change(struct qx_predict_probe *p, const struct qx_setting *set,
                                       struct qx_pool *pool, struct qx_ctl *ctl,
                                       struct qx_predict_layer *change, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(p->net); i++) {
        if (!qx_setting_is_fp32(&set[i])) {
            st = qx_probe_hist(p, i, &set[i], pool, ctl, err);
        }
        if (st == QX_OK) {
            st = qx_predict_layer_of(
                &set[i], p->hist, p->calibration ? qx_calibration_layer(p->calibration, i) : NULL,
                &change[i], err);
        }
    }
    return st;
}

/* ---- random configurations ---- */

static int bits_in(struct qx_rng *r, int lo, int hi)
{
    return lo + (int)qx_rng_below(r, (uint64_t)(hi - lo + 1));
}

static double ratio_in(struct qx_rng *r, double lo)
{
    return lo + (1.0 - lo) * qx_rng_uniform(r);
}

/* The tensor's own range times the ratio. */
static enum qx_status tensor_range(const struct qx_tensor *t, double ratio, bool is_sym,
                                   struct qx_range *out, struct qx_error *err)
{
    enum { BLOCK = 4096 };
    float x[BLOCK], lo = 0.0f, hi = 0.0f;
    for (int64_t first = 0; first < t->numel; first += BLOCK) {
        const int64_t n = t->numel - first < BLOCK ? t->numel - first : BLOCK;
        enum qx_status st = qx_tensor_read(t, first, n, x, err);
        if (st != QX_OK) {
            return st;
        }
        for (int64_t i = 0; i < n; i++) {
            lo = isfinite(x[i]) && x[i] < lo ? x[i] : lo;
            hi = isfinite(x[i]) && x[i] > hi ? x[i] : hi;
        }
    }
    const double top = fmax((double)hi, -(double)lo);
    *out = is_sym ? (struct qx_range){-ratio * top, ratio * top}
                  : (struct qx_range){ratio * (double)lo, ratio * (double)hi};
    return QX_OK;
}

static enum qx_status draw_weight(const struct qx_predict_probe *p, int layer, struct qx_rng *r,
                                  int bits, double ratio, bool is_wild, struct qx_setting *out,
                                  struct qx_error *err)
{
    struct qx_setting s = qx_setting_int(bits);
    s.calib = qx_calib_find("manual");
    if (is_wild) {
        s.sym = qx_rng_below(r, 2) == 0;
        s.gran = (enum qx_gran)qx_rng_below(r, 3);
        s.group = 32;
        s.scale = s.gran == QX_GRAN_GROUP ? QX_SCALE_F16 : QX_SCALE_F32;
    }
    s.has_range = true;
    s.range = (struct qx_range){-ratio, ratio};
    *out = s;
    if (s.gran != QX_GRAN_TENSOR) {
        return QX_OK;
    }
    const struct qx_tensor *t =
        qx_model_tensor(qx_net_model(p->net), qx_net_layer(p->net, layer)->tensor);
    return tensor_range(t, ratio, s.sym, &out->range, err);
}

static void draw_input(const struct qx_predict_probe *p, int layer, int bits, double ratio,
                       struct qx_setting *s)
{
    const struct qx_observed *o = qx_calibration_layer(p->calibration, layer);
    if (!o || !o->packed || qx_observed_stats(o)->n == 0) {
        return;
    }
    const struct qx_stats *st = qx_observed_stats(o);
    s->act = qx_act_static(bits);
    s->act.calib = qx_calib_find("manual");
    s->act.has_range = true;
    s->act.range = (struct qx_range){ratio * fmin(st->min, 0.0), ratio * fmax(st->max, 0.0)};
}

enum qx_status qx_predict_probe_draw(struct qx_predict_probe *p, enum qx_predict_kind kind,
                                     uint64_t seed, struct qx_setting *set, struct qx_error *err)
{
    const int n = qx_net_n_layers(p->net);
    const bool is_few = kind == QX_PREDICT_FEW;
    const int least = kind == QX_PREDICT_MILD ? 3 : 2;
    const double narrow = kind == QX_PREDICT_MILD ? 0.7 : 0.3;
    struct qx_rng r;
    enum qx_status st = QX_OK;
    qx_rng_init(&r, seed);
    const bool has_act = p->calibration && qx_rng_below(&r, 2) == 0;
    int left = is_few ? bits_in(&r, 1, n < 4 ? (n < 1 ? 1 : n) : 4) : n, seen = 0;
    for (int i = 0; st == QX_OK && i < n; i++) {
        set[i] = qx_setting_fp32();
        if (qx_net_layer(p->net, i)->role != QX_ROLE_LINEAR) {
            seen++;
            continue;
        }
        /* of the layers to come, `left` are damaged */
        const bool is_hit = !is_few || qx_rng_below(&r, (uint64_t)(n - seen)) < (uint64_t)left;
        seen++;
        left -= is_few && is_hit && left > 0;
        st =
            draw_weight(p, i, &r, is_hit ? bits_in(&r, least, 8) : 8,
                        is_hit ? ratio_in(&r, narrow) : 1.0, kind == QX_PREDICT_WILD, &set[i], err);
        if (st == QX_OK && has_act) {
            draw_input(p, i, is_hit ? bits_in(&r, 3, 8) : 8, is_hit ? ratio_in(&r, narrow) : 1.0,
                       &set[i]);
        }
    }
    return st;
}
