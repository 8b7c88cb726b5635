/* Measured configurations correct the composition and give its band (prediction.md 3.5). */
#include "eval/predict_impl.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { K_SPREAD = 3, K_USABLE = 9, K_PRINTED = 19 };

static const double q_uncalibrated = 2.5;
static const double sigma_least = 0.08; /* e0 */
static const double sigma_words = 0.01; /* the same in nats */
static const double likelihood_least = 1e-12;
static const double words_bias = 0.3;
static const double sigma_share = 0.25; /* of the drop */
static const double sigma_alike = 0.9;  /* taken off beside a measured twin: eval/README.md */
static const double z_one_sided = 1.64; /* 95 % of the normal distribution */
static const double kl_least = 1e-9;    /* logarithms of less say nothing */

struct qx_predict_point {
    atomic_int refs;
    struct qx_predict_point_info info;
    int n_layers;
    struct qx_predict_layer *change;
};

/* A point as the table sees it. */
struct anchor {
    struct qx_predict_point *point;
    double drop_true, drop;   /* D_true, D */
    double ln_kl_true, ln_kl; /* NaN: not measured */
    double *k;                /* [sites] single-site KL */
};

struct qx_predict_anchors {
    atomic_int refs;
    struct qx_predict_scale scale;
    int n_sites, n;
    struct anchor *v; /* [n] */
    double q, spread;
};

/* ---- points ---- */

enum qx_status qx_predict_point_new(const struct qx_predict_layer *change, int n_layers,
                                    const struct qx_predict_point_info *info,
                                    struct qx_predict_point **out, struct qx_error *err)
{
    struct qx_predict_point *p = qx_mem_zalloc(sizeof *p);
    struct qx_predict_layer *copy = qx_mem_array((size_t)n_layers + 1, sizeof *copy);
    if (!p || !copy) {
        qx_mem_free(p);
        qx_mem_free(copy);
        return qx_fail_nomem(err, ((size_t)n_layers + 1) * sizeof *copy);
    }
    atomic_init(&p->refs, 1);
    memcpy(copy, change, (size_t)n_layers * sizeof *copy);
    p->change = copy;
    p->n_layers = n_layers;
    p->info = *info;
    *out = p;
    return QX_OK;
}

struct qx_predict_point *qx_predict_point_ref(const struct qx_predict_point *point)
{
    struct qx_predict_point *p = (struct qx_predict_point *)point;
    atomic_fetch_add(&p->refs, 1);
    return p;
}

void qx_predict_point_unref(struct qx_predict_point *p)
{
    if (p && atomic_fetch_sub(&p->refs, 1) == 1) {
        qx_mem_free(p->change);
        qx_mem_free(p);
    }
}

void qx_predict_point_look(const struct qx_predict_point *p, struct qx_predict_point_info *out)
{
    *out = p->info;
}

const struct qx_predict_layer *qx_predict_point_change(const struct qx_predict_point *p)
{
    return p->change;
}

/* ---- formulas ---- */

static double sigma_from(double least, double drop, double rho)
{
    const double wide = sigma_share * drop;
    return sqrt(least * least + wide * wide) * (1.0 - sigma_alike * rho);
}

double qx_predict_sigma(double drop, double rho)
{
    return sigma_from(sigma_least, drop, rho);
}

static double sigma_of(const struct qx_predict_anchors *a, double drop, double rho)
{
    return sigma_from(a->scale.is_words ? sigma_words : sigma_least, drop, rho);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double qx_predict_quantile(double *residuals, int n)
{
    if (n < K_USABLE) {
        return q_uncalibrated;
    }
    qsort(residuals, (size_t)n, sizeof *residuals, ascending);
    const int rank = (9 * (n + 1) + 9) / 10; /* ceil((K + 1) 0.9) */
    return residuals[(rank > n ? n : rank) - 1];
}

static double fp32_share(const struct qx_predict_scale *s)
{
    return isnan(s->fp32_accuracy) || s->is_words ? 1.0 : s->fp32_accuracy;
}

struct qx_predict_scale qx_predict_scale_of(const struct qx_predict_base *base)
{
    return (struct qx_predict_scale){base->is_words ? 1.0 : qx_predict_base_accuracy(base), base->n,
                                     base->is_words, base->ce, true};
}

struct qx_predict_scale qx_predict_scale_measured(const struct qx_eval_result *fp32)
{
    const bool is_words = fp32->nll != NULL;
    return (struct qx_predict_scale){is_words ? 1.0 : fp32->accuracy, fp32->n, is_words, fp32->ce,
                                     false};
}

double qx_predict_value(const struct qx_predict_scale *scale, const struct qx_eval_result *r)
{
    return scale->is_words ? exp(scale->fp32_ce - r->ce) : r->accuracy;
}

/* Shares by their logits; what is left of a likelihood by its logarithm. */
static double drop_to(const struct qx_predict_scale *s, double share)
{
    const double n = (double)s->n;
    if (s->is_words) {
        return -log(fmax(share, likelihood_least));
    }
    return qx_logit(fp32_share(s), n) - qx_logit(fmin(fmax(share, 0.0), 1.0), n);
}

/* Tokens that float32 had drawn itself would lose KL nats on average. P's few tokens lose another amount:
 * partly by chance (variance 2 KL / n), partly because the data are not what float32 expects (taken to be
 * words_bias KL either way). The mean of what is left to believe: Bayes' rule for two normals. */
static double words_drop(const struct qx_predict_base *base, const struct qx_predict_sum *sum)
{
    const double by_chance = 2.0 * sum->kl / (double)base->n;
    const double by_data = words_bias * words_bias * sum->kl * sum->kl;
    const double believed = sum->kl > 0.0 ? by_data / (by_data + by_chance) : 0.0;
    return sum->kl + believed * (sum->ce - base->ce - sum->kl);
}

double qx_predict_drop(const struct qx_predict_base *base, const struct qx_predict_scale *scale,
                       const struct qx_predict_sum *sum)
{
    const bool is_labelled = !isnan(scale->fp32_accuracy) && base->labels;
    if (scale->is_words) {
        return words_drop(base, sum);
    }
    return drop_to(scale, is_labelled ? scale->fp32_accuracy + sum->accuracy - sum->accuracy0
                                      : sum->same_top);
}

/* Of E's rows, those that are P's. */
static double share_known(const struct qx_predict_scale *s, const struct qx_predict_base *base)
{
    return s->holds_p && s->n > 0 ? fmin((double)base->n / (double)s->n, 1.0) : 0.0;
}

static void expect(struct qx_predict_mix *mix, const struct qx_predict_scale *s)
{
    if (!isnan(s->fp32_accuracy) && !s->is_words) {
        qx_predict_mix_expect(mix, s->fp32_accuracy,
                              share_known(s, qx_predict_table_base(qx_predict_mix_table(mix))));
    }
}

/* The share of E that lies `drop` logits below float32's. */
static double share_after(const struct qx_predict_scale *s, double drop)
{
    const double n = (double)s->n, logit = qx_logit(fp32_share(s), n) - drop;
    if (s->is_words) {
        return exp(-drop);
    }
    const double p = ((n + 1.0) / (1.0 + exp(-logit)) - 0.5) / n;
    return fmin(fmax(p, 0.0), 1.0);
}

/* rho = sum_p min(k_p, k*_p) / sum_p max(k_p, k*_p) */
static double likeness(const double *k, const double *other, int n)
{
    double both = 0.0, any = 0.0;
    for (int i = 0; i < n; i++) {
        both += fmin(k[i], other[i]);
        any += fmax(k[i], other[i]);
    }
    return any > 0.0 ? both / any : 0.0;
}

/* The nearest of the anchors but `skip`; -1 when float32 (rho = 0, no correction) is as near. */
static int nearest(const struct qx_predict_anchors *a, const double *k, int skip, double *rho)
{
    int best = -1;
    *rho = 0.0;
    for (int i = 0; i < a->n; i++) {
        const double r = i == skip ? 0.0 : likeness(k, a->v[i].k, a->n_sites);
        if (r > *rho) {
            *rho = r;
            best = i;
        }
    }
    return best;
}

/* D^ = D(c) + rho (D_true(c*) - D(c*)) */
static double anchored_drop(const struct qx_predict_anchors *a, double drop, int anchor, double rho)
{
    return anchor < 0 ? drop : drop + rho * (a->v[anchor].drop_true - a->v[anchor].drop);
}

/* ---- anchors ---- */

/* Takes the point in when the table covers it. */
static enum qx_status anchor_add(struct qx_predict_anchors *a, struct qx_predict_mix *mix,
                                 const struct qx_predict_point *p, struct qx_error *err)
{
    const struct qx_predict_table *table = qx_predict_mix_table(mix);
    struct anchor *to = &a->v[a->n];
    struct qx_predict_sum sum;
    for (int l = 0; l < p->n_layers; l++) {
        qx_predict_mix_set(mix, l, &p->change[l]);
    }
    qx_predict_mix_sum(mix, &sum);
    if (sum.n_missing > 0) {
        return QX_OK;
    }
    to->k = qx_mem_array((size_t)a->n_sites + 1, sizeof *to->k);
    if (!to->k) {
        return qx_fail_nomem(err, (size_t)a->n_sites * sizeof *to->k);
    }
    memcpy(to->k, qx_mix_all_k(mix), (size_t)a->n_sites * sizeof *to->k);
    to->point = qx_predict_point_ref(p);
    to->drop = qx_predict_drop(table->base, &a->scale, &sum);
    to->drop_true = drop_to(&a->scale, p->info.value);
    to->ln_kl = log(fmax(sum.kl, kl_least));
    to->ln_kl_true = log(fmax(p->info.kl, kl_least));
    if (isnan(p->info.kl)) {
        to->ln_kl_true = NAN;
    }
    a->n++;
    return QX_OK;
}

/* u_j = |D_true - D^| / sigma, each point predicted without itself as anchor. */
static enum qx_status calibrate(struct qx_predict_anchors *a, struct qx_error *err)
{
    double *u = qx_mem_array((size_t)a->n + 1, sizeof *u);
    if (!u) {
        return qx_fail_nomem(err, (size_t)a->n * sizeof *u);
    }
    for (int j = 0; j < a->n; j++) {
        double rho;
        const int anchor = nearest(a, a->v[j].k, j, &rho);
        u[j] = fabs(a->v[j].drop_true - anchored_drop(a, a->v[j].drop, anchor, rho)) /
               sigma_of(a, a->v[j].drop, rho);
    }
    double sum = 0.0;
    for (int j = 0; j < a->n; j++) {
        sum += u[j] * u[j];
    }
    a->spread = a->n < K_SPREAD ? NAN : z_one_sided * sqrt(sum / a->n);
    a->q = qx_predict_quantile(u, a->n);
    qx_mem_free(u);
    return QX_OK;
}

static enum qx_status fill(struct qx_predict_anchors *a, const struct qx_predict_table *table,
                           const struct qx_predict_mix_options *options,
                           struct qx_predict_point *const *points, int n, struct qx_ctl *ctl,
                           struct qx_error *err)
{
    struct qx_predict_mix *mix = NULL;
    enum qx_status st = n > 0 ? qx_predict_mix_new(table, options, &mix, err) : QX_OK;
    if (mix) {
        expect(mix, &a->scale);
    }
    for (int i = 0; st == QX_OK && i < n; i++) {
        if (qx_cancel_test(ctl)) {
            st = qx_fail(err, QX_ECANCELLED, "the prediction was cancelled");
        } else if (points[i]->n_layers == table->n_layers) {
            st = anchor_add(a, mix, points[i], err);
        }
    }
    qx_predict_mix_free(mix);
    return st == QX_OK ? calibrate(a, err) : st;
}

enum qx_status qx_predict_anchors_new(const struct qx_predict_table *table,
                                      const struct qx_predict_mix_options *options,
                                      const struct qx_predict_scale *scale,
                                      struct qx_predict_point *const *points, int n,
                                      struct qx_ctl *ctl, struct qx_predict_anchors **out,
                                      struct qx_error *err)
{
    struct qx_predict_anchors *a = qx_mem_zalloc(sizeof *a);
    if (!a) {
        return qx_fail_nomem(err, sizeof *a);
    }
    atomic_init(&a->refs, 1);
    a->scale = *scale;
    a->n_sites = table->n_layers * QX_SITE_COUNT;
    a->v = qx_mem_zalloc(((size_t)n + 1) * sizeof *a->v);
    enum qx_status st =
        a->v ? fill(a, table, options, points, n, ctl, err) : qx_fail_nomem(err, sizeof *a->v);
    if (st != QX_OK) {
        qx_predict_anchors_unref(a);
        return st;
    }
    *out = a;
    return QX_OK;
}

struct qx_predict_anchors *qx_predict_anchors_ref(const struct qx_predict_anchors *anchors)
{
    struct qx_predict_anchors *a = (struct qx_predict_anchors *)anchors;
    atomic_fetch_add(&a->refs, 1);
    return a;
}

void qx_predict_anchors_unref(struct qx_predict_anchors *a)
{
    if (a && atomic_fetch_sub(&a->refs, 1) == 1) {
        for (int i = 0; a->v && i < a->n; i++) {
            qx_predict_point_unref(a->v[i].point);
            qx_mem_free(a->v[i].k);
        }
        qx_mem_free(a->v);
        qx_mem_free(a);
    }
}

double qx_predict_anchors_spread(const struct qx_predict_anchors *a)
{
    return a->spread;
}

int qx_predict_anchors_n(const struct qx_predict_anchors *a)
{
    return a->n;
}

const char *qx_predict_coverage_name(enum qx_predict_coverage c)
{
    static const char *const names[] = {"uncalibrated", "rough", "90 %"};
    return names[c];
}

/* ---- asking ---- */

/* The least change that E can show. */
static double floor_of(const struct qx_predict_scale *s, const struct qx_predict_base *base,
                       const struct qx_prediction *p)
{
    /* P may show none of the rows that flip: Pinsker's bound says how many they are at most */
    const double unseen = fmin(1.0 / (double)base->n, sqrt(p->sum.kl / 2.0));
    const double flip = 1.0 - p->same_top + (1.0 - share_known(s, base)) * unseen;
    return z_one_sided * sqrt((p->is_words ? 2.0 * p->kl : flip) / (double)s->n);
}

/* lo, hi: the drop -+ q sigma, never narrower than what E can tell apart, between chance and float32
 * plus noise. */
static void band(const struct qx_predict_anchors *a, int n_classes, struct qx_prediction *p)
{
    const double whole = fp32_share(&a->scale);
    const double chance = fmin(1.0 / n_classes, p->value);
    p->lo = fmin(share_after(&a->scale, p->drop + p->q * p->sigma), p->value - p->floor);
    p->hi = fmax(share_after(&a->scale, p->drop - p->q * p->sigma), p->value + p->floor);
    if (p->is_words) {
        p->lo = fmax(p->lo, 0.0);
        return; /* other weights may fit E better by chance */
    }
    p->lo = fmax(p->lo, chance);
    p->hi = fmin(fmin(p->hi, 1.0), fmax(whole + p->floor, p->value));
}

void qx_predict_anchors_ask(const struct qx_predict_anchors *a, struct qx_predict_mix *mix,
                            struct qx_prediction *out)
{
    const struct qx_predict_table *table = qx_predict_mix_table(mix);
    struct qx_prediction p = {
        .is_labelled = !isnan(a->scale.fp32_accuracy), .anchor = -1, .q = a->q, .n_points = a->n};
    p.is_words = a->scale.is_words;
    expect(mix, &a->scale);
    qx_predict_mix_sum(mix, &p.sum);
    p.anchor = nearest(a, qx_mix_all_k(mix), -1, &p.rho);
    p.drop_plain = qx_predict_drop(table->base, &a->scale, &p.sum);
    p.drop = anchored_drop(a, p.drop_plain, p.anchor, p.rho);
    p.sigma = sigma_of(a, p.drop_plain, p.rho);
    p.kl = p.sum.kl;
    if (p.anchor >= 0) {
        const struct anchor *at = &a->v[p.anchor];
        p.anchor_key = at->point->info.key;
        if (!isnan(at->ln_kl_true)) { /* ln KL^ = ln KL(c) + rho (ln KL_true(c*) - ln KL(c*)) */
            p.kl = p.sum.kl * exp(p.rho * (at->ln_kl_true - at->ln_kl));
        }
    }
    p.same_top = p.sum.same_top;
    p.coverage = a->n >= K_PRINTED  ? QX_PREDICT_90
                 : a->n >= K_USABLE ? QX_PREDICT_ROUGH
                                    : QX_PREDICT_UNCALIBRATED;
    p.has_value = p.sum.n_missing == 0 && table->base->n >= QX_PREDICT_ROWS_LEAST;
    p.value = share_after(&a->scale, p.drop);
    p.change = p.value - fp32_share(&a->scale);
    p.floor = floor_of(&a->scale, table->base, &p);
    p.is_within_noise = fabs(p.change) <= p.floor;
    band(a, table->base->n_classes, &p);
    *out = p;
}
