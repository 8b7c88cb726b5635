/* Encoders without a classifier: what is predicted of the similarities of P's rows, beside what they are on the same
 * rows, for one layer, four and all at the same width, and for random configurations. */
#include "study.h"

#include <math.h>
#include <stdlib.h>

enum { BITS_FIRST = 2, BITS_LAST = 6, FOUR = 4 };

/* Answers to one kind of configuration: KL and the share of rows with the same most similar row. */
struct group {
    int n;
    double *kl;                            /* true */
    double *table_kl, *exact_kl;           /* predicted */
    double table_off, exact_off, none_off; /* sums of |same-top - true| */
};

static struct group group_new(int cap)
{
    const size_t n = (size_t)cap;
    return (struct group){.kl = study_take(n, sizeof(double)),
                          .table_kl = study_take(n, sizeof(double)),
                          .exact_kl = study_take(n, sizeof(double))};
}

static void group_release(struct group *g)
{
    free(g->kl);
    free(g->table_kl);
    free(g->exact_kl);
}

static void group_add(struct group *g, struct study_predictor *p, const struct study_config *c)
{
    struct study *s = study_of(p);
    struct qx_predict_truth t;
    struct qx_error err;
    study_check(
        qx_predict_probe_run(s->probe, c->s, QX_ENGINE_SIMULATED, s->pool, NULL, &t, NULL, &err),
        &err);
    const struct study_guess table = study_predict(p, c), exact = study_predict_exact(p, c);
    g->kl[g->n] = t.kl;
    g->table_kl[g->n] = table.kl;
    g->exact_kl[g->n] = exact.kl;
    g->table_off += fabs(table.same_top - t.same_top);
    g->exact_off += fabs(exact.same_top - t.same_top);
    g->none_off += 1.0 - t.same_top;
    g->n++;
}

static void group_print(const char *what, struct group *g)
{
    const double points = 100.0 / g->n;
    printf("| %s | %d | %.3f, %.3f, %.2f | %.3f, %.3f, %.2f | %.2f |\n", what, g->n,
           study_spearman(g->table_kl, g->kl, g->n), study_r2_log10(g->table_kl, g->kl, g->n),
           g->table_off * points, study_spearman(g->exact_kl, g->kl, g->n),
           study_r2_log10(g->exact_kl, g->kl, g->n), g->exact_off * points, g->none_off * points);
    group_release(g);
}

/* `many` linear layers from the k-th on at these bits, all others float32. */
static struct study_config alike(const struct study *s, int k, int many, int bits)
{
    struct study_config c = {.s = study_take((size_t)s->n_layers, sizeof *c.s)};
    int at = 0;
    for (int l = 0; l < s->n_layers; l++) {
        const bool is_linear = qx_net_layer(s->net, l)->role == QX_ROLE_LINEAR;
        const bool is_in = is_linear && at >= k && at < k + many;
        c.s[l] = is_in ? study_plain(s, l, bits) : qx_setting_fp32();
        at += is_linear;
    }
    return c;
}

static void alike_print(struct study_predictor *p, const char *what, int many)
{
    const struct study *s = study_of(p);
    int n_linear = 0;
    for (int l = 0; l < s->n_layers; l++) {
        n_linear += qx_net_layer(s->net, l)->role == QX_ROLE_LINEAR;
    }
    struct group g = group_new(n_linear * (BITS_LAST - BITS_FIRST + 1));
    for (int bits = BITS_FIRST; bits <= BITS_LAST; bits++) {
        for (int k = 0; k + many <= n_linear || k == 0; k += many) {
            struct study_config c = alike(s, k, many, bits);
            group_add(&g, p, &c);
            study_config_free(&c);
        }
    }
    group_print(what, &g);
}

void study_similar(struct study *s, int n_configs, uint64_t seed)
{
    struct study_predictor *p = study_predictor_make(s);
    struct group g = group_new(n_configs);
    struct qx_rng rng;
    qx_rng_init(&rng, seed);
    printf("\n## %s\n\n%d layers; P %lld rows\n\n", s->name, s->n_layers, (long long)s->p.n);
    printf("| layers | n | table: rank, R2, points | exact sites | no change "
           "|\n|---|---|---|---|---|\n");
    alike_print(p, "one", 1);
    alike_print(p, "four", FOUR);
    alike_print(p, "all", s->n_layers);
    for (int i = 0; i < n_configs; i++) {
        struct study_config c = study_draw(s, i, &rng);
        group_add(&g, p, &c);
        study_config_free(&c);
    }
    group_print("random", &g);
    study_predictor_free(p);
}
