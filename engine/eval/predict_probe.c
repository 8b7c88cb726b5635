/* Measuring sites and configurations on P. The network's weights are float32 between the calls. */
#include "eval/predict_impl.h"
#include "eval/places.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

/* Clipping without rounding: steps of 2^-16 of the range, 2^-8 of those of the finest entry. */
enum { FINE_BITS = 16 };
#define CUT_MOST_BYTES ((uint64_t)256 << 20)

/* ---- P ---- */

/* base: kept from earlier, NULL = float32 is run. */
static enum qx_status probe_fill(struct qx_predict_probe *p, const struct qx_predict_base *base,
                                 struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    const size_t n = (size_t)p->places->n;
    p->z = qx_mem_array(n, (size_t)p->places->n_classes * sizeof *p->z);
    if (!p->z) {
        return qx_fail_nomem(err, n * (size_t)p->places->n_classes * sizeof *p->z);
    }
    enum qx_status st = qx_weights_new(p->net, &p->weights, err);
    if (st == QX_OK && base) {
        p->base = qx_predict_base_ref(base);
    } else if (st == QX_OK) {
        st = qx_places_run(p->places, p->weights, NULL, p->z, pool, ctl, err);
        st = st == QX_OK ? qx_base_of_places(p->places, p->z, &p->base, err) : st;
    }
    return st;
}

enum qx_status qx_predict_probe_new(const struct qx_net *net, const struct qx_dataset *data,
                                    const struct qx_calibration *calibration,
                                    const struct qx_predict_base *base, int64_t n_rows,
                                    uint64_t seed, struct qx_pool *pool, struct qx_ctl *ctl,
                                    struct qx_predict_probe **out, struct qx_error *err)
{
    const bool is_words = qx_net_is_words(net);
    const int64_t usual = is_words ? QX_PREDICT_PLACES : QX_PREDICT_ROWS;
    const int64_t n = base ? base->n : n_rows > 0 ? n_rows : usual;
    base = is_words ? NULL : base; /* the run that makes it chooses the tokens that are kept */
    const bool is_embedding = strcmp(qx_net_task(net), "embedding") == 0;
    const int64_t n_classes = is_embedding ? n : qx_net_n_classes(net); /* see places.h */
    if (base && (base->rows[n - 1] >= qx_dataset_n(data) || base->n_classes != n_classes ||
                 base->width != qx_net_n_classes(net))) {
        return qx_fail(err, QX_EDATA, "the rows kept from earlier are not of these data");
    }
    struct qx_predict_probe *p = qx_mem_zalloc(sizeof *p);
    if (!p) {
        return qx_fail_nomem(err, sizeof *p);
    }
    p->net = net;
    p->calibration = calibration;
    p->layer = -1;
    enum qx_status st = qx_places_new(net, data, base ? base->rows : NULL, n, QX_PREDICT_SPREAD,
                                      seed, &p->places, err);
    if (st == QX_OK) {
        st = probe_fill(p, base, pool, ctl, err);
    }
    if (st != QX_OK) {
        qx_predict_probe_free(p);
        return st;
    }
    *out = p;
    return QX_OK;
}

void qx_predict_probe_free(struct qx_predict_probe *p)
{
    if (p) {
        qx_predict_base_unref(p->base);
        qx_weights_free(p->weights);
        qx_hist_unref(p->hist);
        qx_net_cut_free(p->cut);
        qx_places_free(p->places);
        qx_mem_free(p->z);
        qx_mem_free(p);
    }
}

void qx_predict_probe_calibrate(struct qx_predict_probe *probe,
                                const struct qx_calibration *calibration)
{
    probe->calibration = calibration;
}

const struct qx_predict_base *qx_predict_probe_base(const struct qx_predict_probe *probe)
{
    return probe->base;
}

/* ---- settings of the families ---- */

static const struct qx_tensor *tensor_of(const struct qx_predict_probe *p, int layer)
{
    return qx_model_tensor(qx_net_model(p->net), qx_net_layer(p->net, layer)->tensor);
}

enum qx_status qx_probe_hist(struct qx_predict_probe *p, int layer, const struct qx_setting *s,
                             struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    const struct qx_hist_spec spec = qx_setting_spec(s, qx_net_layer(p->net, layer)->channels);
    if (p->layer == layer && spec.gran == p->spec.gran && spec.sym == p->spec.sym &&
        spec.group == p->spec.group) {
        return QX_OK;
    }
    struct qx_hist *h = NULL;
    struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
    enum qx_status st = qx_hist_build(tensor_of(p, layer), &spec, 0, pool, &quiet, &h, err);
    if (st == QX_OK) {
        qx_hist_unref(p->hist);
        p->hist = h;
        p->layer = layer;
        p->spec = spec;
    }
    return st;
}

/* Symmetric per channel, each channel's own largest value times the ratio. */
static struct qx_setting weight_setting(int bits, double ratio)
{
    struct qx_setting s = qx_setting_int(bits);
    s.calib = qx_calib_find("manual");
    s.has_range = true;
    s.range = (struct qx_range){-ratio, ratio};
    return s;
}

/* Asymmetric, the observed range times the ratio. */
static struct qx_setting input_setting(const struct qx_observed *o, int bits, double ratio)
{
    const struct qx_stats *st = qx_observed_stats(o);
    struct qx_setting s = weight_setting(8, 1.0);
    s.act = qx_act_static(bits);
    s.act.has_range = true;
    s.act.range = (struct qx_range){ratio * fmin(st->min, 0.0), ratio * fmax(st->max, 0.0)};
    return s;
}

/* C = clamp(x, -T, T), T the ratio times the channel's largest value. Not finite: 0, as when rounded. */
static enum qx_status clip_weights(const struct qx_predict_probe *p, int layer, double ratio,
                                   float *out, struct qx_error *err)
{
    const struct qx_tensor *t = tensor_of(p, layer);
    const struct qx_channels ch = qx_net_layer(p->net, layer)->channels;
    const struct qx_units *units = qx_hist_units(p->hist);
    enum qx_status st = qx_tensor_read(t, 0, t->numel, out, err);
    for (int64_t i = 0; st == QX_OK && i < t->numel; i++) {
        const float top = (float)(ratio * (double)units->absmax[i / ch.inner % ch.count]);
        out[i] = !isfinite(out[i]) ? 0.0f : out[i] > top ? top : out[i] < -top ? -top : out[i];
    }
    return st;
}

/* ---- one site ---- */

/* What lies before the layer is run once for all its entries, unless it is too large to keep. */
static enum qx_status cut_ready(struct qx_predict_probe *p, int layer, struct qx_pool *pool,
                                struct qx_ctl *ctl, struct qx_error *err)
{
    uint64_t bytes;
    if (p->cut && p->cut_layer == layer) {
        return QX_OK;
    }
    qx_net_cut_free(p->cut);
    p->cut = NULL;
    enum qx_status st =
        qx_net_cut_bytes(p->net, p->weights, layer, p->places->n_inputs, &bytes, err);
    if (st == QX_OK && bytes <= CUT_MOST_BYTES) {
        st = qx_net_cut_new(p->net, p->weights, layer, p->places->x, p->places->n_inputs, NULL,
                            &p->cut, pool, ctl, err);
        p->cut_layer = layer;
    }
    return st;
}

static enum qx_status run_rest(struct qx_predict_probe *p, struct qx_pool *pool, struct qx_ctl *ctl,
                               struct qx_error *err)
{
    return qx_places_run(p->places, p->weights, p->cut, p->z, pool, ctl, err);
}

static enum qx_status restore(struct qx_predict_probe *p, int layer, struct qx_error *err)
{
    const struct qx_setting fp32 = qx_setting_fp32();
    return qx_weights_apply(p->weights, layer, &fp32, NULL, NULL, err);
}

/* Run P as the weights are, make the entry, and leave the layer at float32. */
static enum qx_status finish(struct qx_predict_probe *p, const struct qx_predict_spec *spec,
                             uint64_t key, struct qx_amplitude t, enum qx_status st,
                             struct qx_pool *pool, struct qx_ctl *ctl,
                             struct qx_predict_entry **out, struct qx_error *err)
{
    struct qx_predict_entry *e = NULL;
    if (st == QX_OK) {
        st = run_rest(p, pool, ctl, err);
    }
    if (st == QX_OK) {
        st = qx_entry_make(p->base, spec, key, t, p->z, p->places->embeddings, &e, err);
    }
    const enum qx_status back = restore(p, spec->layer, st == QX_OK ? err : NULL);
    if (st != QX_OK || back != QX_OK) {
        qx_predict_entry_unref(e);
        return st != QX_OK ? st : back;
    }
    *out = e;
    return QX_OK;
}

static enum qx_status weight_entry(struct qx_predict_probe *p, const struct qx_predict_spec *spec,
                                   struct qx_pool *pool, struct qx_ctl *ctl,
                                   struct qx_predict_entry **out, struct qx_error *err)
{
    const bool is_clip = spec->family == QX_FAMILY_W_CLIP;
    const struct qx_setting s =
        is_clip ? weight_setting(8, spec->param) : weight_setting((int)spec->param, 1.0);
    struct qx_metrics m;
    float *clipped = NULL;
    enum qx_status st = cut_ready(p, spec->layer, pool, ctl, err);
    if (st == QX_OK) {
        st = qx_probe_hist(p, spec->layer, &s, pool, ctl, err);
    }
    if (st == QX_OK) {
        st = qx_metric_hist(p->hist, &s, &m, err);
    }
    if (st != QX_OK) {
        return st;
    }
    if (is_clip) {
        const size_t n = (size_t)tensor_of(p, spec->layer)->numel;
        clipped = qx_mem_array(n, sizeof *clipped);
        st = clipped ? clip_weights(p, spec->layer, spec->param, clipped, err)
                     : qx_fail_nomem(err, n * sizeof *clipped);
        if (st == QX_OK) {
            st = qx_weights_put(p->weights, spec->layer, clipped, NULL, err);
        }
        qx_mem_free(clipped);
    } else {
        st = qx_weights_apply(p->weights, spec->layer, &s, pool, ctl, err);
    }
    return finish(p, spec, 0, qx_amplitude_of(&m), st, pool, ctl, out, err);
}

static enum qx_status input_entry(struct qx_predict_probe *p, const struct qx_predict_spec *spec,
                                  struct qx_pool *pool, struct qx_ctl *ctl,
                                  struct qx_predict_entry **out, struct qx_error *err)
{
    const bool is_clip = spec->family == QX_FAMILY_A_CLIP;
    const struct qx_observed *o =
        p->calibration ? qx_calibration_layer(p->calibration, spec->layer) : NULL;
    if (!o || !o->packed || qx_observed_stats(o)->n == 0) {
        return qx_fail(err, QX_EDATA, "the inputs of layer '%.100s' have not been observed",
                       qx_net_layer(p->net, spec->layer)->name);
    }
    const struct qx_setting s =
        is_clip ? input_setting(o, 8, spec->param) : input_setting(o, (int)spec->param, 1.0);
    struct qx_amplitude t = {0.0, 0.0};
    enum qx_status st = cut_ready(p, spec->layer, pool, ctl, err);
    if (st == QX_OK) {
        st = qx_amplitude_of_act(&s.act, o, &t, err);
    }
    if (st == QX_OK) {
        struct qx_act act = s.act;
        act.bits = is_clip ? FINE_BITS : act.bits;
        st = qx_weights_put(p->weights, spec->layer, NULL, &act, err);
    }
    return finish(p, spec, 0, t, st, pool, ctl, out, err);
}

static enum qx_status check_layer(const struct qx_predict_probe *p, int layer, struct qx_error *err)
{
    return qx_net_layer(p->net, layer) ? QX_OK
                                       : qx_fail(err, QX_ERANGE, "there is no layer %d", layer);
}

enum qx_status qx_predict_probe_entry(struct qx_predict_probe *p,
                                      const struct qx_predict_spec *spec, struct qx_pool *pool,
                                      struct qx_ctl *ctl, struct qx_predict_entry **out,
                                      struct qx_error *err)
{
    enum qx_status st = check_layer(p, spec->layer, err);
    if (st != QX_OK) {
        return st;
    }
    return qx_family_site(spec->family) == QX_SITE_W ? weight_entry(p, spec, pool, ctl, out, err)
                                                     : input_entry(p, spec, pool, ctl, out, err);
}

/* Of one site of a setting; zero where its inputs were not observed. */
static enum qx_status exact_amplitude(struct qx_predict_probe *p, int layer, enum qx_site site,
                                      const struct qx_setting *s, struct qx_pool *pool,
                                      struct qx_ctl *ctl, struct qx_amplitude *out,
                                      struct qx_error *err)
{
    const struct qx_observed *o =
        p->calibration ? qx_calibration_layer(p->calibration, layer) : NULL;
    struct qx_metrics m;
    *out = (struct qx_amplitude){0.0, 0.0};
    if (site == QX_SITE_A) {
        return o && o->packed ? qx_amplitude_of_act(&s->act, o, out, err) : QX_OK;
    }
    enum qx_status st = qx_probe_hist(p, layer, s, pool, ctl, err);
    if (st == QX_OK) {
        st = qx_metric_hist(p->hist, s, &m, err);
    }
    if (st == QX_OK) {
        *out = qx_amplitude_of(&m);
    }
    return st;
}

enum qx_status qx_predict_probe_exact(struct qx_predict_probe *p, int layer, enum qx_site site,
                                      const struct qx_setting *s, struct qx_pool *pool,
                                      struct qx_ctl *ctl, struct qx_predict_entry **out,
                                      struct qx_error *err)
{
    const struct qx_predict_spec spec = {
        .layer = layer, .family = site == QX_SITE_W ? QX_FAMILY_W_ROUND : QX_FAMILY_A_ROUND};
    const uint64_t key = qx_predict_key(s, site);
    struct qx_amplitude t;
    enum qx_status st = check_layer(p, layer, err);
    if (st != QX_OK) {
        return st;
    }
    if (key == 0) {
        return qx_fail(err, QX_ERANGE, "the setting leaves this site of layer '%.100s' alone",
                       qx_net_layer(p->net, layer)->name);
    }
    st = exact_amplitude(p, layer, site, s, pool, ctl, &t, err);
    if (st == QX_OK) {
        st = cut_ready(p, layer, pool, ctl, err);
    }
    if (st == QX_OK && site == QX_SITE_A) {
        st = qx_weights_put(p->weights, layer, NULL, &s->act, err);
    } else if (st == QX_OK) {
        struct qx_setting weight_only = *s;
        weight_only.act.bits = 0;
        st = qx_weights_apply(p->weights, layer, &weight_only, pool, ctl, err);
    }
    return finish(p, &spec, key, t, st, pool, ctl, out, err);
}

/* ---- a whole configuration ---- */

enum qx_status qx_predict_probe_run(struct qx_predict_probe *p, const struct qx_setting *set,
                                    enum qx_engine engine, struct qx_pool *pool, struct qx_ctl *ctl,
                                    struct qx_predict_truth *truth, float *z, struct qx_error *err)
{
    const int n_layers = qx_net_n_layers(p->net);
    const int64_t cells = p->base->n * p->base->n_classes;
    enum qx_status st = QX_OK, back = QX_OK;
    for (int i = 0; st == QX_OK && i < n_layers; i++) {
        st = qx_weights_apply(p->weights, i, &set[i], pool, ctl, err);
    }
    if (st == QX_OK) {
        st = qx_weights_prepare(p->weights, engine, pool, ctl, err);
    }
    if (st == QX_OK) {
        st = qx_places_run(p->places, p->weights, NULL, p->z, pool, ctl, err);
    }
    for (int i = 0; i < n_layers; i++) {
        const enum qx_status one = restore(p, i, st == QX_OK ? err : NULL);
        back = back == QX_OK ? one : back;
    }
    if (st != QX_OK || back != QX_OK) {
        return st != QX_OK ? st : back;
    }
    for (int64_t i = 0; i < cells; i++) {
        if (!isfinite(p->z[i])) {
            return qx_fail(err, QX_EDATA, "the quantized network's answer is not finite");
        }
    }
    for (int64_t i = 0; z && i < cells; i++) {
        z[i] = p->z[i];
    }
    if (truth) {
        qx_predict_compare(p->base, p->z, truth);
    }
    return QX_OK;
}
