/* The predictors to beat: one scalar per site, times its relative squared error, summed.
 *
 * HIGGS (arXiv 2411.17525): alpha from Gaussian noise of 10 and 20 % of a weight's norm, regression of
 * KL on t^2 through the origin. Fisher (FIT, arXiv 2210.08502; HAWQ-V2): tr F / 2 of a layer times the
 * mean square of its error. There is no backward pass here, so the trace is sampled by finite
 * differences: noise of 1 % has KL = 1/2 d' F d, in expectation tr(F) sigma^2 / 2. Inputs get the noise
 * of quantization without clipping instead: 5 and 4 bits for HIGGS, 8 bits for Fisher. */
#include "study.h"

#include "base/mem.h"
#include "net/weights.h"
#include "qx/metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 2, CURVE_POINTS = 16, CURVE_SEEDS = 4 };

static struct qx_weight *weight_of(struct study *s, int layer)
{
    return &s->weights->values[s->net->value_of_tensor[qx_net_layer(s->net, layer)->tensor]];
}

/* Add noise of relative size t to a layer that is at its stored values; t = 0 takes it away. */
static void noise_put(struct study *s, int layer, double t, struct qx_rng *rng)
{
    struct qx_weight *w = weight_of(s, layer);
    const int64_t n = study_tensor(s, layer)->numel;
    double norm = 0.0, noise = 0.0;
    w->data = w->stored;
    if (t == 0.0) {
        return;
    }
    if (!w->changed) {
        w->changed = qx_mem_aligned((size_t)n * sizeof *w->changed);
        if (!w->changed) {
            study_die("out of memory");
        }
    }
    for (int64_t i = 0; i < n; i++) {
        w->changed[i] = (float)qx_rng_normal(rng);
        noise += (double)w->changed[i] * w->changed[i];
        norm += (double)w->stored[i] * w->stored[i];
    }
    const double scale = t * sqrt(norm / noise);
    for (int64_t i = 0; i < n; i++) {
        w->changed[i] = (float)(w->stored[i] + scale * w->changed[i]);
    }
    w->data = w->changed;
}

/* Regression of KL on t^2 through the origin. */
struct slope {
    double xy, xx;
};

static void slope_add(struct slope *f, double t2, double kl)
{
    f->xy += t2 * kl;
    f->xx += t2 * t2;
}

static double weight_alpha(struct study *s, int layer, const double *sizes, int n)
{
    struct slope f = {0};
    struct qx_rng rng;
    qx_rng_init(&rng, 77 + (uint64_t)layer);
    for (int i = 0; i < n * SEEDS; i++) {
        const double t = sizes[i % n];
        noise_put(s, layer, t, &rng);
        slope_add(&f, t * t, study_run(s, &s->p).kl);
    }
    noise_put(s, layer, 0.0, &rng);
    return f.xy / f.xx;
}

static double act_error(const struct study *s, int layer, const struct qx_act *act)
{
    struct qx_metrics m;
    struct qx_error err;
    const struct qx_observed *o = qx_calibration_layer(s->calib, layer);
    if (act->bits == 0) {
        return 0.0;
    }
    struct qx_setting as = qx_setting_int(act->bits);
    as.sym = act->sym;
    as.gran = QX_GRAN_TENSOR;
    as.has_range = true;
    as.range = act->range;
    struct qx_hist *h = NULL;
    study_check(qx_observed_hist(o, &h, &err), &err);
    study_check(qx_metric_hist(h, &as, &m, &err), &err);
    qx_hist_unref(h);
    return m.mse * (double)m.n / m.sum_sq;
}

/* The input of one layer quantized. Its weight must be an integer one then: at 8 bits, whose own share is
 * measured and taken off. */
static double act_alpha(struct study *s, int layer, const int *bits, int n)
{
    struct slope f = {0};
    struct qx_error err;
    const struct qx_setting fp32 = qx_setting_fp32();
    struct qx_setting as = study_weight(s, layer, 8, true, QX_GRAN_CHANNEL, 1.0);
    study_check(qx_weights_apply(s->weights, layer, &as, s->pool, NULL, &err), &err);
    const double own = study_run(s, &s->p).kl;
    for (int i = 0; i < n; i++) {
        study_act(s, layer, bits[i], 1.0, &as.act);
        study_check(qx_weights_apply(s->weights, layer, &as, s->pool, NULL, &err), &err);
        slope_add(&f, act_error(s, layer, &as.act), fmax(study_run(s, &s->p).kl - own, 0.0));
    }
    study_check(qx_weights_apply(s->weights, layer, &fp32, s->pool, NULL, &err), &err);
    return f.xx > 0.0 ? f.xy / f.xx : 0.0;
}

static int by_kl(const void *a, const void *b)
{
    const struct study_outcome *x = a, *y = b;
    return (x->kl > y->kl) - (x->kl < y->kl);
}

/* Noise in all weights at once, from 1 to 100 % of the norm: mean KL and points lost of each size, in
 * rising order; the loss never falls. */
static void curve_make(struct study *s, struct study_baselines *b)
{
    struct study_outcome point[CURVE_POINTS] = {0};
    struct qx_rng rng;
    qx_rng_init(&rng, 99);
    for (int i = 0; i < CURVE_POINTS; i++) {
        const double t = pow(10.0, -2.0 + 2.0 * i / (CURVE_POINTS - 1));
        for (int seed = 0; seed < CURVE_SEEDS; seed++) {
            for (int l = 0; l < s->n_layers; l++) {
                noise_put(s, l, t, &rng);
            }
            const struct study_outcome o = study_run(s, &s->p);
            point[i].kl += o.kl / CURVE_SEEDS;
            point[i].accuracy += o.accuracy / CURVE_SEEDS;
        }
    }
    for (int l = 0; l < s->n_layers; l++) {
        noise_put(s, l, 0.0, &rng);
    }
    qsort(point, CURVE_POINTS, sizeof *point, by_kl);
    b->n_curve = CURVE_POINTS + 1; /* and the origin */
    b->curve_kl = study_take(CURVE_POINTS + 1, sizeof *b->curve_kl);
    b->curve_drop = study_take(CURVE_POINTS + 1, sizeof *b->curve_drop);
    for (int i = 0; i < CURVE_POINTS; i++) {
        b->curve_kl[i + 1] = point[i].kl;
        b->curve_drop[i + 1] = fmax(b->curve_drop[i], study_drop(&s->p, &point[i]));
    }
}

double study_curve_drop(const struct study_baselines *b, double kl)
{
    for (int i = 1; i < b->n_curve; i++) {
        if (kl <= b->curve_kl[i]) {
            const double w = (kl - b->curve_kl[i - 1]) / (b->curve_kl[i] - b->curve_kl[i - 1]);
            return (1.0 - w) * b->curve_drop[i - 1] + w * b->curve_drop[i];
        }
    }
    return b->curve_drop[b->n_curve - 1];
}

static struct study_scores scores_make(struct study *s, const double *sizes, int n_sizes,
                                       const int *bits, int n_bits)
{
    struct study_scores scores = {study_take((size_t)s->n_layers, sizeof(double)),
                                  study_take((size_t)s->n_layers, sizeof(double))};
    for (int l = 0; l < s->n_layers; l++) {
        scores.weight[l] = weight_alpha(s, l, sizes, n_sizes);
        scores.act[l] = act_alpha(s, l, bits, n_bits);
    }
    return scores;
}

struct study_baselines *study_baselines_make(struct study *s)
{
    static const double medium[] = {0.1, 0.2}, small[] = {0.01};
    static const int coarse[] = {5, 4}, fine[] = {8};
    struct study_baselines *b = study_take(1, sizeof *b);
    study_apply_fp32(s);
    b->higgs = scores_make(s, medium, 2, coarse, 2);
    b->fisher = scores_make(s, small, 1, fine, 1);
    curve_make(s, b);
    return b;
}

void study_baselines_free(struct study_baselines *b)
{
    free(b->higgs.weight);
    free(b->higgs.act);
    free(b->fisher.weight);
    free(b->fisher.act);
    free(b->curve_kl);
    free(b->curve_drop);
    free(b);
}

void study_site_errors(struct study *s, const struct study_config *c, double *weight, double *act)
{
    study_apply(s, c);
    for (int l = 0; l < s->n_layers; l++) {
        const struct qx_weight *w = weight_of(s, l);
        const int64_t n = study_tensor(s, l)->numel;
        double error = 0.0, norm = 0.0;
        for (int64_t i = 0; i < n; i++) {
            const double x = w->stored[i], d = w->data[i] - x;
            error += d * d;
            norm += x * x;
        }
        weight[l] = error / norm;
        act[l] = act_error(s, l, &c->s[l].act);
    }
}

double study_scalar_kl(const struct study *s, const struct study_scores *scores,
                       const double *weight, const double *act)
{
    double kl = 0.0;
    for (int l = 0; l < s->n_layers; l++) {
        kl += scores->weight[l] * weight[l] + scores->act[l] * act[l];
    }
    return kl;
}
