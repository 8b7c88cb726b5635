/* Mixed precision: true KL of what each way of searching finds at the same mean number of bits. */
#include "study.h"

#include "qx/allocate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHOICES = 6 };
static const int bits_of[CHOICES] = {2, 3, 4, 5, 6, 8};
static const double mean_bits[] = {2.5, 3.0, 4.0};

struct mixed {
    struct study_predictor *p;
    struct study *s;
    int n_layers;
    struct qx_setting *set;          /* [n_layers, CHOICES] */
    struct qx_predict_layer *change; /* [n_layers, CHOICES] */
    struct qx_predict_table *table;  /* with all of them measured */
    struct qx_predict_mix *mix;
    double *cost;                      /* [n_layers, CHOICES] bits */
    double *measured, *higgs, *fisher; /* scores */
    double n_weights;
};

/* Every layer at every width: the setting, its single-site KL on P, and what the baselines think. */
static void mixed_fill(struct mixed *m, const struct study_baselines *b)
{
    struct study *s = m->s;
    struct qx_error err;
    struct study_config c = {.s = study_take((size_t)m->n_layers, sizeof *c.s)};
    double *t2 = study_take((size_t)m->n_layers, sizeof *t2);
    double *none = study_take((size_t)m->n_layers, sizeof *none);
    for (int k = 0; k < CHOICES; k++) {
        for (int l = 0; l < m->n_layers; l++) {
            c.s[l] = study_plain(s, l, bits_of[k]);
        }
        struct qx_predict_table *next = study_exact_table(m->p, m->table, &c);
        qx_predict_table_unref(m->table);
        m->table = next;
        study_site_errors(s, &c, t2, none);
        for (int l = 0; l < m->n_layers; l++) {
            const int i = l * CHOICES + k;
            m->set[i] = c.s[l];
            study_change(m->p, l, &c.s[l], &m->change[i]);
            m->cost[i] = bits_of[k] * (double)study_tensor(s, l)->numel;
            m->higgs[i] = b->higgs.weight[l] * t2[l];
            m->fisher[i] = b->fisher.weight[l] * t2[l];
        }
    }
    const struct qx_predict_mix_options options = {.members = 1};
    study_check(qx_predict_mix_new(m->table, &options, &m->mix, &err), &err);
    for (int i = 0; i < m->n_layers * CHOICES; i++) {
        qx_predict_mix_set(m->mix, i / CHOICES, &m->change[i]);
        m->measured[i] = qx_predict_mix_site_kl(m->mix, i / CHOICES, QX_SITE_W);
    }
    free(t2);
    free(none);
    study_config_free(&c);
}

static struct study_config config_of(const struct mixed *m, const uint8_t *choice)
{
    struct study_config c = {.s = study_take((size_t)m->n_layers, sizeof *c.s)};
    for (int l = 0; l < m->n_layers; l++) {
        c.s[l] = m->set[l * CHOICES + choice[l]];
    }
    return c;
}

/* True KL on E; *bits: what it spends. */
static double true_kl(const struct mixed *m, const uint8_t *choice, double *bits)
{
    struct study_config c = config_of(m, choice);
    const double kl = study_measure(m->s, &c).kl;
    *bits = study_mean_bits(m->s, &c);
    study_config_free(&c);
    return kl;
}

static void print_kl(const struct mixed *m, const uint8_t *choice)
{
    double bits;
    const double kl = true_kl(m, choice, &bits);
    printf(" %.4f (%.2f) |", kl, bits);
}

static struct qx_alloc alloc_of(const struct mixed *m, const double *score)
{
    return (struct qx_alloc){
        .n_sites = m->n_layers, .n_choices = CHOICES, .cost = m->cost, .score = score};
}

/* The best sum of scores within the budget. */
static void best_sum(const struct mixed *m, const double *score, double budget, uint8_t *choice)
{
    struct qx_error err;
    struct qx_front *front = NULL;
    const struct qx_alloc a = alloc_of(m, score);
    study_check(qx_front_find(&a, budget, NULL, &front, &err), &err);
    const int at = qx_front_at(front, budget);
    if (at < 0) {
        study_die("a budget that nothing fits");
    }
    memcpy(choice, qx_front_choice(front, at), (size_t)m->n_layers);
    qx_front_free(front);
}

static void judge_set(void *arg, int site, int choice)
{
    struct mixed *m = arg;
    qx_predict_mix_set(m->mix, site, &m->change[site * CHOICES + choice]);
}

static double judge_score(void *arg)
{
    struct mixed *m = arg;
    struct qx_predict_sum sum;
    qx_predict_mix_sum(m->mix, &sum);
    return sum.kl;
}

static void print_budget(struct mixed *m, double mean)
{
    struct qx_error err;
    const double budget = mean * m->n_weights;
    const struct qx_alloc a = alloc_of(m, m->measured);
    const struct qx_alloc_judge judge = {judge_set, judge_score, m};
    uint8_t *choice = study_take((size_t)m->n_layers, 1);
    printf("| %s %.1f |", m->s->name, mean);
    if (mean == floor(mean)) {
        memset(choice, mean == 3.0 ? 1 : 2, (size_t)m->n_layers);
        print_kl(m, choice);
    } else {
        printf(" - |");
    }
    best_sum(m, m->higgs, budget, choice);
    print_kl(m, choice);
    best_sum(m, m->fisher, budget, choice);
    print_kl(m, choice);
    study_check(qx_alloc_greedy(&a, budget, choice, NULL, 0, NULL, &err), &err);
    print_kl(m, choice);
    best_sum(m, m->measured, budget, choice);
    print_kl(m, choice);
    study_check(qx_alloc_improve(&a, &judge, budget, 0, 0, NULL, choice, NULL, &err), &err);
    print_kl(m, choice);
    printf("\n");
    free(choice);
}

void study_mixed(struct study_predictor *p, const struct study_baselines *b)
{
    struct study *s = study_of(p);
    const size_t n = (size_t)s->n_layers * CHOICES;
    struct mixed m = {.p = p, .s = s, .n_layers = s->n_layers};
    m.set = study_take(n, sizeof *m.set);
    m.change = study_take(n, sizeof *m.change);
    m.cost = study_take(n, sizeof *m.cost);
    m.measured = study_take(n, sizeof *m.measured);
    m.higgs = study_take(n, sizeof *m.higgs);
    m.fisher = study_take(n, sizeof *m.fisher);
    for (int l = 0; l < s->n_layers; l++) {
        m.n_weights += (double)study_tensor(s, l)->numel;
    }
    mixed_fill(&m, b);
    for (size_t i = 0; i < sizeof mean_bits / sizeof *mean_bits; i++) {
        print_budget(&m, mean_bits[i]);
    }
    qx_predict_mix_free(m.mix);
    qx_predict_table_unref(m.table);
    free(m.set);
    free(m.change);
    free(m.cost);
    free(m.measured);
    free(m.higgs);
    free(m.fisher);
}
