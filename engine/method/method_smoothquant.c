/* SmoothQuant (Xiao et al. 2022, arXiv 2211.10438): inputs with outliers are divided by a factor, their
 * weights multiplied by it, s_j = max|x_j|^alpha / max|w_j|^(1 - alpha) (eq. 4): in float32 the product
 * stays what it was. Without a number alpha is searched: the error of the rounded weights, by the moments,
 * plus that of the rounded inputs, whose step^2 / 12 meets the squares of the weights. Layers that read the same
 * inputs (query, key, value) and all name it get the same factors, so that what comes before can take them up:
 * w_j is the largest weight of all of them, alpha the one that serves them together. */
#include "method/equal.h"
#include "method/work.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { STEPS = 20, PEERS = 16 };

/* The layers that share their inputs; the first is the one at hand, the others' works are owned. */
struct peers {
    int n;
    int layer[PEERS];
    struct qx_method_work *w[PEERS];
    struct qx_moments moments[PEERS]; /* the same, but for the product */
    struct qx_method_work own[PEERS];
};

static bool is_peer(const struct qx_method_work *w, int layer, struct qx_net_product *p)
{
    const struct qx_setting *own = w->set, *s = &w->all[layer];
    struct qx_algo a, b;
    if (layer == w->target->layer || !s->has_range || !qx_setting_names(s, "smoothquant") ||
        !qx_net_layer_product(w->target->net, layer, p) || p->input < 0 ||
        p->input != w->target->product.input || p->k != w->k || s->act.bits != own->act.bits ||
        s->act.sym != own->act.sym || qx_algo_parse(s->algo, &a, NULL, NULL) != QX_OK ||
        qx_algo_parse(own->algo, &b, NULL, NULL) != QX_OK) {
        return false;
    }
    double param[2] = {0.0, 0.0};
    for (int i = 0; i < QX_ALGO_METHODS; i++) {
        param[0] = i < a.n && a.v[i].method == &qx_method_smoothquant ? a.v[i].param : param[0];
        param[1] = i < b.n && b.v[i].method == &qx_method_smoothquant ? b.v[i].param : param[1];
    }
    return param[0] == param[1] || (isnan(param[0]) && isnan(param[1]));
}

static enum qx_status peer_open(struct peers *p, const struct qx_method_work *w, int layer,
                                const struct qx_net_product *product, struct qx_error *err)
{
    const struct qx_net *net = w->target->net;
    const struct qx_layer *l = qx_net_layer(net, layer);
    struct qx_method_work *to = &p->own[p->n];
    p->moments[p->n] = *w->m;
    p->moments[p->n].product = *product;
    *to = (struct qx_method_work){.set = &w->all[layer],
                                  .channels = l->channels,
                                  .groups = 1,
                                  .n = product->n,
                                  .taps = 1,
                                  .m = &p->moments[p->n],
                                  .pool = w->pool,
                                  .ctl = w->ctl};
    p->layer[p->n] = layer;
    p->w[p->n++] = to;
    enum qx_status st = qx_work_open(to, qx_model_tensor(qx_net_model(net), l->tensor), err);
    to->in_scale = st == QX_OK ? qx_mem_array((size_t)w->k + 1, sizeof *to->in_scale) : NULL;
    return st == QX_OK && !to->in_scale ? qx_fail_nomem(err, (size_t)w->k * sizeof(float)) : st;
}

static enum qx_status peers_open(struct peers *p, struct qx_method_work *w, struct qx_error *err)
{
    struct qx_net_product product;
    enum qx_status st = QX_OK;
    p->n = 1;
    p->w[0] = w;
    p->layer[0] = w->target->layer;
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(w->target->net) && p->n < PEERS; i++) {
        if (is_peer(w, i, &product)) {
            st = peer_open(p, w, i, &product, err);
        }
    }
    return st;
}

static void peers_close(struct peers *p)
{
    for (int i = 1; i < p->n; i++) {
        qx_work_release(p->w[i]);
    }
}

static float input_most(const struct qx_method_work *w, int64_t j)
{
    return fmaxf(-w->m->lo[j], w->m->hi[j]);
}

static void factors_fill(struct qx_method_work *w, const float *weight_most, double alpha)
{
    for (int64_t j = 0; j < w->k; j++) {
        const double x = (double)input_most(w, j), v = (double)weight_most[j];
        const double s = x > 0.0 && v > 0.0 ? pow(x, alpha) / pow(v, 1.0 - alpha) : 1.0;
        w->in_scale[j] = (float)fmin(fmax(s, 1e-5), 1e5);
    }
}

/* Squared error that rounding the divided inputs adds to the outputs. */
static double inputs_error(const struct qx_method_work *w)
{
    const struct qx_range r = qx_work_input_range(w);
    const struct qx_act *a = &w->set->act;
    const double span = a->sym ? 2.0 * fmax(-r.lo, r.hi) : r.hi - r.lo;
    const double step = span / (double)((1 << a->bits) - 1);
    double sum = 0.0;
    for (int64_t i = 0; i < w->n * w->k; i++) {
        const double v = (double)w->w[i] * (double)w->in_scale[i % w->k];
        sum += v * v;
    }
    return step * step / 12.0 * sum;
}

static double outputs_of(const struct qx_method_work *w)
{
    double sum = 0.0;
    for (int64_t o = 0; o < w->n; o++) {
        const float *v = w->w + o * w->k;
        for (int64_t i = 0; i < w->k; i++) {
            double dot = 0.0;
            for (int64_t j = 0; j < w->k; j++) {
                dot += (double)w->m->second[i * w->k + j] * (double)v[j];
            }
            sum += dot * (double)v[i];
        }
    }
    return sum;
}

static void scaled_round(struct qx_method_work *w, const float *weight_most, double alpha)
{
    factors_fill(w, weight_most, alpha);
    qx_work_units(w);
    qx_work_round(w);
}

/* outputs: squares of each peer's. */
static enum qx_status try_alpha(struct peers *p, const float *weight_most, double alpha,
                                const double *outputs, double *out, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    double sum = 0.0;
    for (int i = 0; st == QX_OK && i < p->n; i++) {
        double share;
        scaled_round(p->w[i], weight_most, alpha);
        st = qx_work_error(p->w[i], &share, err);
        sum += share * outputs[i] + inputs_error(p->w[i]);
    }
    *out = sum;
    return st;
}

static enum qx_status search(struct peers *p, const float *weight_most, double *best,
                             struct qx_error *err)
{
    double least = INFINITY, outputs[PEERS];
    enum qx_status st = QX_OK;
    for (int i = 0; i < p->n; i++) {
        outputs[i] = outputs_of(p->w[i]);
    }
    for (int i = 0; st == QX_OK && i <= STEPS; i++) {
        double e = INFINITY;
        st = qx_cancel_test(p->w[0]->ctl)
                 ? qx_fail(err, QX_ECANCELLED, "SmoothQuant was cancelled")
                 : try_alpha(p, weight_most, (double)i / STEPS, outputs, &e, err);
        if (e < least) {
            least = e;
            *best = (double)i / STEPS;
        }
    }
    return st;
}

/* The number that was asked for; else the one found for a peer before; else searched. */
static enum qx_status alpha_choose(struct peers *p, const float *weight_most, double *alpha,
                                   struct qx_error *err)
{
    const struct qx_method_work *w = p->w[0];
    if (isnan(*alpha) && w->alphas && !isnan(w->alphas[p->layer[0]])) {
        *alpha = w->alphas[p->layer[0]];
    }
    if (!isnan(*alpha)) {
        return QX_OK;
    }
    *alpha = 0.5;
    const enum qx_status st = search(p, weight_most, alpha, err);
    for (int i = 0; st == QX_OK && w->alphas && i < p->n; i++) {
        w->alphas[p->layer[i]] = *alpha;
    }
    return st;
}

static enum qx_status run(struct qx_method_work *w, double param, struct qx_error *err)
{
    double alpha = param;
    struct peers *p = qx_mem_zalloc(sizeof *p);
    float *weight_most = qx_mem_zalloc(((size_t)w->k + 1) * sizeof *weight_most);
    w->in_scale = qx_mem_array((size_t)w->k + 1, sizeof *w->in_scale);
    enum qx_status st = p && weight_most && w->in_scale
                            ? peers_open(p, w, err)
                            : qx_fail_nomem(err, (size_t)w->k * sizeof *w->in_scale);
    for (int k = 0; st == QX_OK && k < p->n; k++) {
        for (int64_t i = 0; i < p->w[k]->n * w->k; i++) {
            weight_most[i % w->k] = fmaxf(weight_most[i % w->k], fabsf(p->w[k]->w[i]));
        }
    }
    st = st == QX_OK ? alpha_choose(p, weight_most, &alpha, err) : st;
    if (st == QX_OK) {
        scaled_round(w, weight_most, alpha);
        qx_work_note(w, "SmoothQuant alpha %.2f%s", alpha, p->n > 1 ? " with its peers" : "");
    }
    if (p) {
        peers_close(p);
    }
    qx_mem_free(p);
    qx_mem_free(weight_most);
    return st;
}

static const char *refuse(const struct qx_method_target *t)
{
    const char *why = qx_refuse_undivided(t);
    return why ? why
           : t->set->act.bits == 0
               ? "its inputs stay float32: quantize them too (--act-bits 8 or --dynamic)"
               : NULL;
}

const struct qx_method qx_method_smoothquant = {
    .name = "smoothquant",
    .title = "SmoothQuant",
    .help =
        "Moves outliers of the inputs into the weights, so that both can be rounded (2211.10438).",
    .key = 's',
    .stage = QX_STAGE_SCALE,
    .claims = QX_CLAIM_INPUTS,
    .heeds_act = true,
    .needs_inputs = true,
    .param = "alpha",
    .param_default = (double)NAN,
    .param_lo = 0.0,
    .param_hi = 1.0,
    .refuse = refuse,
    .run = run,
};
