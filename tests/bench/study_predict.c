/* The predictor under test, asked as the program asks it: amplitudes from histograms, a mix per recipe. */
#include "study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Histograms of a layer's weight, one for every granularity and symmetry that is asked for. */
enum { HISTS = 8 };
struct hist_cache {
    int n;
    struct qx_hist_spec spec[HISTS];
    struct qx_hist *hist[HISTS];
};

struct study_predictor {
    struct study *s;
    struct qx_predict_table *table;
    struct qx_predict_mix *mix;
    struct hist_cache *hists; /* [n_layers] */
};

static bool is_equal_spec(const struct qx_hist_spec *a, const struct qx_hist_spec *b)
{
    return a->gran == b->gran && a->sym == b->sym && a->group == b->group;
}

static const struct qx_hist *hist_get(struct study_predictor *p, int layer,
                                      const struct qx_setting *setting)
{
    struct hist_cache *c = &p->hists[layer];
    struct qx_error err;
    const struct qx_hist_spec spec =
        qx_setting_spec(setting, qx_net_layer(p->s->net, layer)->channels);
    for (int i = 0; i < c->n; i++) {
        if (is_equal_spec(&c->spec[i], &spec)) {
            return c->hist[i];
        }
    }
    if (c->n == HISTS) {
        study_die("more kinds of histograms than expected");
    }
    c->spec[c->n] = spec;
    study_check(
        qx_hist_build(study_tensor(p->s, layer), &spec, 0, p->s->pool, NULL, &c->hist[c->n], &err),
        &err);
    return c->hist[c->n++];
}

void study_change(struct study_predictor *p, int layer, const struct qx_setting *setting,
                  struct qx_predict_layer *out)
{
    struct qx_error err;
    study_check(qx_predict_layer_of(setting, hist_get(p, layer, setting),
                                    qx_calibration_layer(p->s->calib, layer), out, &err),
                &err);
}

/* Measure all entries of the table, as the program does when it is idle. */
static void table_fill(struct study_predictor *p)
{
    struct qx_error err;
    struct qx_predict_spec spec;
    const struct qx_predict_want want = {.level = QX_PREDICT_FULL, .has_act = true, .first = -1};
    while (qx_predict_next(p->table, p->s->net, &want, &spec)) {
        struct qx_predict_entry *entry = NULL;
        struct qx_predict_table *table = NULL;
        study_check(qx_predict_probe_entry(p->s->probe, &spec, p->s->pool, NULL, &entry, &err),
                    &err);
        study_check(qx_predict_table_add(p->table, entry, &table, &err), &err);
        qx_predict_entry_unref(entry);
        qx_predict_table_unref(p->table);
        p->table = table;
    }
}

struct study_predictor *study_predictor_make(struct study *s)
{
    struct qx_error err;
    struct study_predictor *p = study_take(1, sizeof *p);
    p->s = s;
    p->hists = study_take((size_t)s->n_layers, sizeof *p->hists);
    study_check(qx_predict_table_new(qx_predict_probe_base(s->probe), s->n_layers, &p->table, &err),
                &err);
    table_fill(p);
    study_check(qx_predict_mix_new(p->table, NULL, &p->mix, &err), &err);
    if (!s->is_words) {
        qx_predict_mix_expect(p->mix, s->e.accuracy0, 0.0);
    }
    return p;
}

struct study *study_of(const struct study_predictor *p)
{
    return p->s;
}

void study_predictor_free(struct study_predictor *p)
{
    for (int l = 0; l < p->s->n_layers; l++) {
        for (int i = 0; i < p->hists[l].n; i++) {
            qx_hist_unref(p->hists[l].hist[i]);
        }
    }
    qx_predict_mix_free(p->mix);
    qx_predict_table_unref(p->table);
    free(p->hists);
    free(p);
}

double study_plain_drop(const struct study_predictor *p, const struct qx_predict_sum *sum)
{
    const struct qx_predict_base *base = qx_predict_table_base(p->table);
    const struct qx_predict_scale scale = qx_predict_scale_of(base);
    return p->s->is_words ? 100.0 * expm1(qx_predict_drop(base, &scale, sum))
                          : 100.0 * (sum->accuracy0 - sum->accuracy);
}

struct study_guess study_predict(struct study_predictor *p, const struct study_config *c)
{
    struct qx_predict_layer change;
    struct qx_predict_sum sum;
    for (int l = 0; l < p->s->n_layers; l++) {
        study_change(p, l, &c->s[l], &change);
        qx_predict_mix_set(p->mix, l, &change);
    }
    qx_predict_mix_sum(p->mix, &sum);
    if (sum.n_missing > 0) {
        study_die("a site that the whole table does not cover");
    }
    const double ce0 = qx_predict_base_ce(qx_predict_table_base(p->table));
    return (struct study_guess){.kl = sum.kl,
                                .drop = study_plain_drop(p, &sum),
                                .same_top = sum.same_top,
                                .by_tokens = 100.0 * expm1(sum.ce - ce0),
                                .by_kl = 100.0 * expm1(sum.kl)};
}

struct qx_predict_table *study_exact_table(struct study_predictor *p,
                                           const struct qx_predict_table *from,
                                           const struct study_config *c)
{
    struct qx_error err;
    struct qx_predict_table *table = qx_predict_table_ref(from ? from : p->table);
    for (int i = 0; i < QX_SITE_COUNT * p->s->n_layers; i++) {
        const int layer = i / QX_SITE_COUNT;
        const enum qx_site site = (enum qx_site)(i % QX_SITE_COUNT);
        const uint64_t key = qx_predict_key(&c->s[layer], site);
        if (key == 0 || qx_predict_table_has_exact(table, layer, site, key)) {
            continue;
        }
        struct qx_predict_entry *entry = NULL;
        struct qx_predict_table *next = NULL;
        study_check(qx_predict_probe_exact(p->s->probe, layer, site, &c->s[layer], p->s->pool, NULL,
                                           &entry, &err),
                    &err);
        study_check(qx_predict_table_add(table, entry, &next, &err), &err);
        qx_predict_entry_unref(entry);
        qx_predict_table_unref(table);
        table = next;
    }
    return table;
}

struct study_guess study_predict_exact(struct study_predictor *p, const struct study_config *c)
{
    struct qx_error err;
    struct qx_predict_table *table = study_exact_table(p, NULL, c);
    study_check(qx_predict_mix_rebase(p->mix, table, &err), &err);
    const struct study_guess g = study_predict(p, c);
    study_check(qx_predict_mix_rebase(p->mix, p->table, &err), &err);
    qx_predict_table_unref(table);
    return g;
}

struct qx_predict_point *study_point(struct study_predictor *p, const struct study_config *c,
                                     bool is_drawn)
{
    struct qx_error err;
    struct qx_predict_point *point = NULL;
    const int n = p->s->n_layers;
    struct qx_predict_layer *change = study_take((size_t)n, sizeof *change);
    const struct qx_predict_point_info info = {.key = study_key(p->s, c),
                                               .value = study_measure(p->s, c).accuracy,
                                               .kl = study_measure_p(p->s, c).kl,
                                               .is_drawn = is_drawn};
    for (int l = 0; l < n; l++) {
        study_change(p, l, &c->s[l], &change[l]);
    }
    study_check(qx_predict_point_new(change, n, &info, &point, &err), &err);
    free(change);
    return point;
}

struct qx_predict_anchors *study_anchors(struct study_predictor *p,
                                         const struct qx_predict_table *table,
                                         struct qx_predict_point *const *points, int n)
{
    struct qx_error err;
    struct qx_predict_anchors *a = NULL;
    const struct qx_predict_scale scale = {p->s->e.accuracy0, p->s->e.n, p->s->is_words};
    study_check(
        qx_predict_anchors_new(table ? table : p->table, NULL, &scale, points, n, NULL, &a, &err),
        &err);
    return a;
}

struct qx_prediction study_ask(struct study_predictor *p, const struct qx_predict_table *table,
                               const struct qx_predict_anchors *anchors,
                               const struct study_config *c)
{
    struct qx_error err;
    struct qx_prediction out;
    if (qx_predict_mix_table(p->mix) != (table ? table : p->table)) {
        study_check(qx_predict_mix_rebase(p->mix, table ? table : p->table, &err), &err);
    }
    study_predict(p, c);
    qx_predict_anchors_ask(anchors, p->mix, &out);
    return out;
}
