/* Measured configurations as anchors: coverage of the band, single edits, walks of a tuning hand. */
#include "study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SPLITS = 60, BASES = 16, EDITS = 3, WALKS = 6, STEPS = 16, MEASURE_EVERY = 3, DRAWN = 19 };

/* Answers to one kind of question. */
struct tally {
    int n, inside;
    double width; /* half the band, points */
    double *anchored, *plain, *truth, *ratio;
};

static struct tally tally_new(int cap)
{
    const size_t n = (size_t)cap;
    return (struct tally){.anchored = study_take(n, sizeof(double)),
                          .plain = study_take(n, sizeof(double)),
                          .truth = study_take(n, sizeof(double)),
                          .ratio = study_take(n, sizeof(double))};
}

static void tally_release(struct tally *t)
{
    free(t->anchored);
    free(t->plain);
    free(t->truth);
    free(t->ratio);
}

static bool is_inside(const struct qx_prediction *p, double accuracy)
{
    return accuracy >= p->lo - 1e-9 && accuracy <= p->hi + 1e-9;
}

static void tally_add(struct tally *t, const struct study_predictor *predictor,
                      const struct qx_prediction *p, const struct study_outcome *truth)
{
    const struct study *s = study_of(predictor);
    t->inside += is_inside(p, truth->accuracy);
    t->width += 50.0 * (p->hi - p->lo);
    t->anchored[t->n] = study_drop_of(s, p->value, p->change);
    t->plain[t->n] = study_plain_drop(predictor, &p->sum);
    t->ratio[t->n] = fabs(log10(fmax(p->kl, 1e-9) / fmax(truth->kl, 1e-9)));
    t->truth[t->n++] = study_drop(&s->e, truth);
}

static void tally_print(const char *what, struct tally *t)
{
    const struct study_errors plain = study_mae(t->plain, t->truth, t->n);
    const struct study_errors anchored = study_mae(t->anchored, t->truth, t->n);
    printf("| %s | %d | %.2f |", what, t->n, (double)t->inside / t->n);
    printf(" %.2f |", t->width / t->n);
    for (int r = 0; r < STUDY_REGIMES; r++) {
        printf(" %.2f -> %.2f (%d) |", plain.mae[r], anchored.mae[r], plain.n[r]);
    }
    printf(" %.3f |\n", study_median(t->ratio, t->n));
}

/* k of the points, each set equally likely, moved to the front. */
static void shuffle(int *order, int n, int k, struct qx_rng *rng)
{
    for (int i = 0; i < k; i++) {
        const int j = i + (int)qx_rng_below(rng, (uint64_t)(n - i)), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void study_bands(struct study_predictor *p, const struct study_config *configs, int n, int k)
{
    struct study *s = study_of(p);
    struct qx_predict_point **points = study_take((size_t)n, sizeof(struct qx_predict_point *));
    struct qx_predict_point **some = study_take((size_t)k, sizeof(struct qx_predict_point *));
    int *order = study_take((size_t)n, sizeof *order), inside = 0, small = 0, small_n = 0;
    double *coverage = study_take(SPLITS, sizeof *coverage), width = 0.0;
    struct qx_rng rng;
    qx_rng_init(&rng, 31 + (uint64_t)k);
    for (int i = 0; i < n; i++) {
        points[i] = study_point(p, &configs[i], true);
        order[i] = i;
    }
    for (int split = 0; split < SPLITS; split++) {
        int hits = 0;
        shuffle(order, n, k, &rng);
        for (int i = 0; i < k; i++) {
            some[i] = points[order[i]];
        }
        struct qx_predict_anchors *a = study_anchors(p, NULL, some, k);
        for (int i = k; i < n; i++) {
            const struct study_outcome truth = study_measure(s, &configs[order[i]]);
            const struct qx_prediction q = study_ask(p, NULL, a, &configs[order[i]]);
            hits += is_inside(&q, truth.accuracy);
            if (study_regime(study_drop(&s->e, &truth)) == 0) {
                small += is_inside(&q, truth.accuracy);
                width += 50.0 * (q.hi - q.lo);
                small_n++;
            }
        }
        inside += hits;
        coverage[split] = (double)hits / (n - k);
        qx_predict_anchors_unref(a);
    }
    qsort(coverage, SPLITS, sizeof *coverage, ascending);
    printf("| %d | %.3f | %.2f | %.2f | %.2f |\n", k, (double)inside / (SPLITS * (n - k)),
           coverage[SPLITS / 20], (double)small / small_n, width / small_n);
    for (int i = 0; i < n; i++) {
        qx_predict_point_unref(points[i]);
    }
    free(points);
    free(some);
    free(order);
    free(coverage);
}

/* ---- edits ---- */

/* The first DRAWN configurations are measured and do not serve as bases. */
void study_edits(struct study_predictor *p, const struct study_config *configs, int n)
{
    struct study *s = study_of(p);
    struct qx_predict_point *points[DRAWN + 1];
    struct tally t = tally_new(BASES * EDITS);
    struct qx_rng rng;
    qx_rng_init(&rng, 41);
    for (int i = 0; i < DRAWN; i++) {
        points[i] = study_point(p, &configs[i], true);
    }
    for (int b = 0; b < BASES && DRAWN + b < n; b++) {
        const struct study_config *base = &configs[DRAWN + b];
        struct qx_predict_table *before = study_exact_table(p, NULL, base);
        points[DRAWN] = study_point(p, base, false);
        for (int e = 0; e < EDITS; e++) {
            struct study_config c = study_copy(s, base);
            const bool is_act = c.has_act && qx_rng_below(&rng, 2);
            study_redraw(s, &c, (int)qx_rng_below(&rng, (uint64_t)s->n_layers), is_act, &rng);
            struct qx_predict_table *table = study_exact_table(p, before, &c);
            struct qx_predict_anchors *a = study_anchors(p, table, points, DRAWN + 1);
            const struct qx_prediction q = study_ask(p, table, a, &c);
            const struct study_outcome truth = study_measure(s, &c);
            tally_add(&t, p, &q, &truth);
            qx_predict_anchors_unref(a);
            qx_predict_table_unref(table);
            study_config_free(&c);
        }
        qx_predict_point_unref(points[DRAWN]);
        qx_predict_table_unref(before);
    }
    tally_print("single edits", &t);
    for (int i = 0; i < DRAWN; i++) {
        qx_predict_point_unref(points[i]);
    }
    tally_release(&t);
}

/* ---- walks ---- */

struct hand {
    int layer;     /* under the hand */
    double *ratio; /* [n_layers] of the threshold */
    int *bits;
};

static void hand_apply(const struct study *s, const struct hand *h, bool has_act,
                       struct study_config *c)
{
    for (int l = 0; l < s->n_layers; l++) {
        c->s[l] = study_weight(s, l, h->bits[l], true, QX_GRAN_CHANNEL, h->ratio[l]);
        if (has_act) {
            study_act(s, l, 8, 1.0, &c->s[l].act);
        }
    }
}

/* Drag the threshold of the layer at hand or of another, or change the bits of one or two layers. */
static void hand_move(const struct study *s, struct hand *h, struct qx_rng *rng)
{
    if (qx_rng_uniform(rng) < 0.4) {
        h->layer = (int)qx_rng_below(rng, (uint64_t)s->n_layers);
    }
    if (qx_rng_uniform(rng) < 0.6) {
        const double by = 0.75 + 0.4 * qx_rng_uniform(rng);
        h->ratio[h->layer] = fmin(fmax(h->ratio[h->layer] * by, 0.2), 1.0);
        return;
    }
    for (int n = 1 + (int)qx_rng_below(rng, 2); n > 0; n--) {
        const int by = 1 + (int)qx_rng_below(rng, 2);
        int *bits = &h->bits[h->layer];
        *bits += qx_rng_below(rng, 2) ? by : -by;
        *bits = *bits < 2 ? 2 : *bits > 8 ? 8 : *bits;
        h->layer = (int)qx_rng_below(rng, (uint64_t)s->n_layers);
    }
}

struct walk {
    struct qx_predict_point *points[DRAWN + STEPS];
    int n_points;
    struct qx_predict_table *table;
};

/* What is said of a step: with its sites measured alone, while the hand is still on it (only the steps
 * before it are exact), and from the sizes of the errors alone. */
enum { STEP_RESTED, STEP_MOVING, STEP_TABLE, STEP_KINDS };

static void step_ask(struct study_predictor *p, const struct walk *w,
                     const struct qx_predict_table *table, const struct study_config *c,
                     const struct study_outcome *truth, struct tally *t)
{
    struct qx_predict_anchors *a = study_anchors(p, table, w->points, w->n_points);
    const struct qx_prediction q = study_ask(p, table, a, c);
    tally_add(t, p, &q, truth);
    qx_predict_anchors_unref(a);
}

/* One walk: every step is predicted before it is measured; every third is measured and becomes an
 * anchor. A step that loses more than 15 points is taken back, as a hand would. */
static void walk_go(struct study_predictor *p, struct walk *w, bool has_act, struct qx_rng *rng,
                    struct tally t[STEP_KINDS])
{
    struct study *s = study_of(p);
    const size_t n = (size_t)s->n_layers;
    struct hand h = {0, study_take(n, sizeof(double)), study_take(n, sizeof(int))};
    struct study_config c = {
        .kind = STUDY_MILD, .has_act = has_act, .s = study_take(n, sizeof *c.s)};
    double *ratio = study_take(n, sizeof *ratio);
    int *bits = study_take(n, sizeof *bits);
    for (size_t l = 0; l < n; l++) {
        h.ratio[l] = 1.0;
        h.bits[l] = has_act ? 8 : 5;
    }
    for (int step = 0; step < STEPS; step++) {
        memcpy(ratio, h.ratio, n * sizeof *ratio);
        memcpy(bits, h.bits, n * sizeof *bits);
        if (step > 0) {
            hand_move(s, &h, rng);
        }
        hand_apply(s, &h, has_act, &c);
        const struct study_outcome truth = study_measure(s, &c);
        step_ask(p, w, w->table, &c, &truth, &t[STEP_MOVING]);
        step_ask(p, w, NULL, &c, &truth, &t[STEP_TABLE]);
        struct qx_predict_table *table = study_exact_table(p, w->table, &c);
        qx_predict_table_unref(w->table);
        w->table = table;
        step_ask(p, w, table, &c, &truth, &t[STEP_RESTED]);
        if (step % MEASURE_EVERY == 0) {
            w->points[w->n_points++] = study_point(p, &c, false);
        }
        if (study_drop(&s->e, &truth) > 15.0) {
            memcpy(h.ratio, ratio, n * sizeof *ratio);
            memcpy(h.bits, bits, n * sizeof *bits);
        }
    }
    study_config_free(&c);
    free(h.ratio);
    free(h.bits);
    free(ratio);
    free(bits);
}

void study_walks(struct study_predictor *p, const struct study_config *configs)
{
    static const char *const names[STEP_KINDS] = {"steps of a hand", "while it moves",
                                                  "without exact entries"};
    struct tally t[STEP_KINDS];
    struct qx_rng rng;
    qx_rng_init(&rng, 51);
    for (int k = 0; k < STEP_KINDS; k++) {
        t[k] = tally_new(WALKS * STEPS);
    }
    for (int i = 0; i < WALKS; i++) {
        struct walk w = {.table = study_exact_table(p, NULL, &configs[0])};
        for (; w.n_points < DRAWN; w.n_points++) {
            w.points[w.n_points] = study_point(p, &configs[w.n_points], true);
        }
        walk_go(p, &w, i % 2, &rng, t);
        for (int k = 0; k < w.n_points; k++) {
            qx_predict_point_unref(w.points[k]);
        }
        qx_predict_table_unref(w.table);
    }
    for (int k = 0; k < STEP_KINDS; k++) {
        tally_print(names[k], &t[k]);
        tally_release(&t[k]);
    }
}

/* One layer at 4 bits, its threshold pulled down step by step from the largest value to a tenth of it; the hand
 * rests at each step, which is measured then and an anchor of the next. Nothing random is measured. */
void study_pulls(struct study_predictor *p)
{
    enum { PULL_STEPS = 11 };
    struct study *s = study_of(p);
    struct study_config c = {.s = study_take((size_t)s->n_layers, sizeof *c.s)};
    struct tally t = tally_new(s->n_layers * PULL_STEPS);
    for (int layer = 0; layer < s->n_layers; layer++) {
        struct walk w = {.table = NULL};
        for (int step = 0; step < PULL_STEPS && qx_net_layer(s->net, layer)->role == QX_ROLE_LINEAR;
             step++) {
            for (int l = 0; l < s->n_layers; l++) {
                c.s[l] = qx_setting_fp32();
            }
            c.s[layer] = study_weight(s, layer, 4, true, QX_GRAN_CHANNEL, pow(0.8, step));
            const struct study_outcome truth = study_measure(s, &c);
            step_ask(p, &w, NULL, &c, &truth, &t);
            w.points[w.n_points++] = study_point(p, &c, false);
        }
        for (int k = 0; k < w.n_points; k++) {
            qx_predict_point_unref(w.points[k]);
        }
    }
    tally_print("a threshold pulled down", &t);
    tally_release(&t);
    free(c.s);
}
