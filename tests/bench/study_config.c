/* Random mixed configurations (prediction study, engine/eval/README.md). */
#include "study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double between(struct qx_rng *rng, double lo, double hi)
{
    return lo + (hi - lo) * qx_rng_uniform(rng);
}

static int bits_between(struct qx_rng *rng, int lo, int hi)
{
    return lo + (int)qx_rng_below(rng, (uint64_t)(hi - lo + 1));
}

struct qx_setting study_weight(const struct study *s, int layer, int bits, bool sym,
                               enum qx_gran gran, double ratio)
{
    struct qx_setting w = qx_setting_int(bits);
    w.sym = sym;
    w.gran = gran;
    w.calib = qx_calib_find("manual");
    w.has_range = true;
    w.range = (struct qx_range){-ratio, ratio};
    if (gran == QX_GRAN_GROUP) {
        w.group = 32;
        w.scale = QX_SCALE_F16;
    } else if (gran == QX_GRAN_TENSOR) {
        const struct qx_range span = s->span[layer];
        const double top = fmax(-span.lo, span.hi);
        w.range = sym ? (struct qx_range){-ratio * top, ratio * top}
                      : (struct qx_range){ratio * span.lo, ratio * span.hi};
    }
    return w;
}

void study_act(const struct study *s, int layer, int bits, double ratio, struct qx_act *out)
{
    const struct qx_observed *o = qx_calibration_layer(s->calib, layer);
    *out = (struct qx_act){.bits = 0};
    const bool is_linear = qx_net_layer(s->net, layer)->role == QX_ROLE_LINEAR;
    if (bits > 0 && is_linear && o->packed && qx_observed_stats(o)->n > 0) {
        const struct qx_stats *st = qx_observed_stats(o);
        *out = qx_act_static(bits);
        out->calib = qx_calib_find("manual");
        out->has_range = true;
        out->range = (struct qx_range){ratio * fmin(st->min, 0.0), ratio * fmax(st->max, 0.0)};
    }
}

static struct qx_setting draw_full(const struct study *s, int layer, struct qx_rng *rng)
{
    static const enum qx_gran grans[] = {QX_GRAN_TENSOR, QX_GRAN_CHANNEL, QX_GRAN_GROUP};
    const int bits = bits_between(rng, 2, 8);
    const bool sym = qx_rng_below(rng, 2);
    const enum qx_gran gran = grans[qx_rng_below(rng, 3)];
    return study_weight(s, layer, bits, sym, gran, between(rng, 0.3, 1.0));
}

static struct qx_setting draw_weight(const struct study *s, enum study_kind kind, int layer,
                                     struct qx_rng *rng)
{
    if (kind == STUDY_FULL) {
        return draw_full(s, layer, rng);
    }
    const int bits = bits_between(rng, kind == STUDY_MILD ? 3 : 2, 8);
    const double ratio = between(rng, kind == STUDY_MILD ? 0.7 : 0.3, 1.0);
    return study_weight(s, layer, bits, true, QX_GRAN_CHANNEL, ratio);
}

static void draw_act(const struct study *s, int layer, struct qx_rng *rng, struct qx_act *out)
{
    const int bits = bits_between(rng, 3, 8);
    study_act(s, layer, bits, between(rng, 0.3, 1.0), out);
}

/* 1 to 4 different layers. */
static void choose_damaged(int n_layers, struct qx_rng *rng, bool *damaged)
{
    const int most = n_layers < 4 ? n_layers : 4;
    for (int left = bits_between(rng, 1, most); left > 0;) {
        bool *d = &damaged[qx_rng_below(rng, (uint64_t)n_layers)];
        left -= !*d;
        *d = true;
    }
}

struct study_config study_draw(const struct study *s, int i, struct qx_rng *rng)
{
    struct study_config c = {.kind = (enum study_kind)(i % STUDY_KINDS),
                             .has_act = i / STUDY_KINDS % 2};
    bool *damaged = study_take((size_t)s->n_layers, sizeof *damaged);
    c.s = study_take((size_t)s->n_layers, sizeof *c.s);
    choose_damaged(s->n_layers, rng, damaged);
    for (int l = 0; l < s->n_layers; l++) {
        const bool is_safe = c.kind == STUDY_FEW && !damaged[l];
        c.s[l] = is_safe ? study_weight(s, l, 8, true, QX_GRAN_CHANNEL, 1.0)
                         : draw_weight(s, c.kind, l, rng);
        if (c.has_act && is_safe) {
            study_act(s, l, 8, 1.0, &c.s[l].act);
        } else if (c.has_act) {
            draw_act(s, l, rng, &c.s[l].act);
        }
    }
    free(damaged);
    return c;
}

void study_redraw(const struct study *s, struct study_config *c, int layer, bool is_act,
                  struct qx_rng *rng)
{
    if (is_act) {
        draw_act(s, layer, rng, &c->s[layer].act);
    } else {
        const struct qx_act act = c->s[layer].act;
        c->s[layer] = draw_weight(s, c->kind, layer, rng);
        c->s[layer].act = act;
    }
}

struct qx_setting study_plain(const struct study *s, int layer, int bits)
{
    struct qx_setting w = qx_setting_int(bits);
    struct qx_hist *hist = NULL;
    struct qx_error err;
    const struct qx_hist_spec spec = qx_setting_spec(&w, qx_net_layer(s->net, layer)->channels);
    study_check(qx_hist_build(study_tensor(s, layer), &spec, 0, s->pool, NULL, &hist, &err), &err);
    study_check(qx_setting_resolve(&w, hist, &err), &err);
    qx_hist_unref(hist);
    return w;
}

struct study_config study_copy(const struct study *s, const struct study_config *c)
{
    struct study_config copy = *c;
    copy.s = study_take((size_t)s->n_layers, sizeof *copy.s);
    memcpy(copy.s, c->s, (size_t)s->n_layers * sizeof *copy.s);
    return copy;
}

void study_config_free(struct study_config *c)
{
    free(c->s);
    c->s = NULL;
}

double study_mean_bits(const struct study *s, const struct study_config *c)
{
    double bits = 0.0, n = 0.0;
    for (int l = 0; l < s->n_layers; l++) {
        const double numel = (double)study_tensor(s, l)->numel;
        bits += numel * (qx_setting_is_fp32(&c->s[l]) ? 32 : c->s[l].bits);
        n += numel;
    }
    return bits / n;
}
