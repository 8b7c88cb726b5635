/* How good is the prediction of accuracy? Random mixed configurations and hand-made edits of several
 * models, measured on rows that the predictor never sees, beside what it said; and simpler predictors.
 * Prints Markdown; nothing is asserted. What the tables mean: engine/eval/README.md.
 *
 *   predict_study [--configs N] [--exact N] [--seed N] [--p N] [--rows N] [--cache FILE] [FOLDER...]
 *   predict_study --configs 0 ...: the drags alone
 *
 * Without folders: the bundled networks, and the shared data's where present (QX_SHARED). */
#include "study.h"

#include "base/fs.h"
#include "restart.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_LEAST = 40 };

struct options {
    int n_configs;
    int n_exact; /* configurations that are also predicted from exact sites */
    int64_t p_rows, max_rows;
    uint64_t seed; /* of the configurations */
    const char *cache;
};

/* One predictor's answers for every configuration. */
struct answers {
    const char *name;
    double *kl, *drop; /* kl NULL: it says nothing of it */
};

struct trial {
    int n;
    struct study_config *configs;
    double *kl, *drop; /* true, on E */
    bool is_words;
};

/* n configurations, and more (up to three times as many) until SMALL_LEAST lose less than 5 points. */
static void trial_make(struct study *s, int n, uint64_t seed, struct trial *t)
{
    const size_t cap = (size_t)n * 3;
    struct qx_rng rng;
    qx_rng_init(&rng, seed);
    *t = (struct trial){.is_words = s->is_words,
                        .configs = study_take(cap, sizeof *t->configs),
                        .kl = study_take(cap, sizeof *t->kl),
                        .drop = study_take(cap, sizeof *t->drop)};
    for (int n_small = 0; t->n < n || (n_small < SMALL_LEAST && t->n < 3 * n); t->n++) {
        t->configs[t->n] = study_draw(s, t->n, &rng);
        const struct study_outcome o = study_measure(s, &t->configs[t->n]);
        t->kl[t->n] = o.kl;
        t->drop[t->n] = study_drop(&s->e, &o);
        n_small += study_regime(t->drop[t->n]) == 0;
    }
}

static void trial_release(struct trial *t)
{
    for (int i = 0; i < t->n; i++) {
        study_config_free(&t->configs[i]);
    }
    free(t->configs);
    free(t->kl);
    free(t->drop);
}

static struct answers answers_new(const char *name, int n)
{
    return (struct answers){name, study_take((size_t)n, sizeof(double)),
                            study_take((size_t)n, sizeof(double))};
}

static void answers_release(struct answers *a)
{
    free(a->kl);
    free(a->drop);
}

static void print_header(void)
{
    printf(
        "| predictor | rank | R2 log10 KL | MAE < 5 points | 5 to 15 | > 15 | bias < 5 | 5 to 15 "
        "| > 15 |\n|---|---|---|---|---|---|---|---|---|\n");
}

/* Of language models: how far the perplexity is off where it grows by less than 20 %: mean, and the share
 * within 3 %. */
static void print_perplexity(const struct answers *a, const struct trial *t)
{
    double sum = 0.0;
    int n = 0, near = 0;
    for (int i = 0; i < t->n; i++) {
        if (t->drop[i] < 20.0) {
            const double off = 100.0 * fabs((100.0 + a->drop[i]) / (100.0 + t->drop[i]) - 1.0);
            sum += off;
            near += off <= 3.0;
            n++;
        }
    }
    printf(" %.2f %%, %d of %d |", sum / n, near, n);
}

static void print_answers(const struct answers *a, const struct trial *t)
{
    const struct study_errors e = study_mae(a->drop, t->drop, t->n);
    if (a->kl) {
        printf("| %s | %.3f | %.3f |", a->name, study_spearman(a->kl, t->kl, t->n),
               study_r2_log10(a->kl, t->kl, t->n));
    } else {
        printf("| %s | - | - |", a->name);
    }
    for (int r = 0; r < STUDY_REGIMES; r++) {
        printf(" %.2f |", e.mae[r]);
    }
    for (int r = 0; r < STUDY_REGIMES; r++) {
        printf(" %+.2f |", e.bias[r]);
    }
    if (t->is_words) {
        print_perplexity(a, t);
    }
    printf("\n");
}

static void baselines_print(struct study *s, const struct study_baselines *b, const struct trial *t)
{
    struct answers none = {.name = "no drop", .drop = study_take((size_t)t->n, sizeof(double))};
    struct answers higgs = answers_new("HIGGS", t->n), fisher = answers_new("Fisher", t->n);
    double *weight = study_take((size_t)s->n_layers, sizeof *weight);
    double *act = study_take((size_t)s->n_layers, sizeof *act);
    for (int i = 0; i < t->n; i++) {
        study_site_errors(s, &t->configs[i], weight, act);
        higgs.kl[i] = study_scalar_kl(s, &b->higgs, weight, act);
        fisher.kl[i] = study_scalar_kl(s, &b->fisher, weight, act);
        higgs.drop[i] = study_curve_drop(b, higgs.kl[i]);
        fisher.drop[i] = study_curve_drop(b, fisher.kl[i]);
    }
    print_answers(&none, t);
    print_answers(&higgs, t);
    print_answers(&fisher, t);
    answers_release(&none);
    answers_release(&higgs);
    answers_release(&fisher);
    free(weight);
    free(act);
}

/* The table's answer of a language model in its two parts. */
static void print_parts(struct study_predictor *p, const struct trial *t)
{
    struct answers tokens = answers_new("by P's tokens alone", t->n),
                   kl = answers_new("by KL alone", t->n);
    for (int i = 0; i < t->n; i++) {
        const struct study_guess g = study_predict(p, &t->configs[i]);
        tokens.kl[i] = kl.kl[i] = g.kl;
        tokens.drop[i] = g.by_tokens;
        kl.drop[i] = g.by_kl;
    }
    print_answers(&tokens, t);
    print_answers(&kl, t);
    answers_release(&tokens);
    answers_release(&kl);
}

static void print_anchored_header(void)
{
    printf("\n| anchored | n | coverage | half width | MAE < 5 points | 5 to 15 | > 15 | "
           "median abs log10 KL ratio |\n|---|---|---|---|---|---|---|---|\n");
}

static void drags_print(struct study_predictor *p)
{
    printf("\n| threshold | .45 to 1 | .3 to .45 | below |\n|---|---|---|---|\n");
    study_drags(p);
}

static void drags_folder(const char *folder, const struct options *o, struct study_truth *truth)
{
    struct study *s = study_open(folder, o->p_rows, o->max_rows, truth);
    struct study_predictor *p = study_predictor_make(s);
    printf("\n## %s\n", s->name);
    drags_print(p);
    print_anchored_header();
    study_pulls(p);
    study_predictor_free(p);
    study_close(s);
}

static void study_folder(const char *folder, const struct options *o, struct study_truth *truth)
{
    if (o->n_configs == 0) {
        drags_folder(folder, o, truth);
        return;
    }
    struct study *s = study_open(folder, o->p_rows, o->max_rows, truth);
    if (strcmp(qx_net_task(s->net), "embedding") == 0) {
        study_similar(s, o->n_configs, o->seed);
        study_close(s);
        return;
    }
    struct trial t;
    trial_make(s, o->n_configs, o->seed, &t);
    const struct study_errors size = study_mae(t.drop, t.drop, t.n);
    printf("\n## %s\n\n", s->name);
    if (s->is_words) {
        printf(
            "%d layers; P %lld places of documents with %lld, float32's perplexity %.3f there; E "
            "%lld places, %.3f; points are per cent of perplexity, and the last column says how "
            "far it is off where it grows by less than 20 %%: on average, and how often within "
            "3 %%.\n\n",
            s->n_layers, (long long)qx_predict_base_n(qx_predict_probe_base(s->probe)),
            (long long)s->p.n, exp(s->p.ce0), (long long)s->e.n, exp(s->e.ce0));
    } else {
        printf("%d layers; P %lld rows, float32 %.2f %% right; E %lld rows, %.2f %%.\n\n",
               s->n_layers, (long long)s->p.n, 100.0 * s->p.accuracy0, (long long)s->e.n,
               100.0 * s->e.accuracy0);
    }
    printf("%d configurations: %d lose less than 5 points, %d 5 to 15, %d more.\n\n", t.n,
           size.n[0], size.n[1], size.n[2]);
    print_header();
    struct study_predictor *p = study_predictor_make(s);
    struct study_baselines *b = study_baselines_make(s);
    struct answers table = answers_new("GSR, table", t.n),
                   exact = answers_new("GSR, exact sites", t.n);
    for (int i = 0; i < t.n; i++) {
        const struct study_guess g = study_predict(p, &t.configs[i]);
        table.kl[i] = g.kl;
        table.drop[i] = g.drop;
    }
    print_answers(&table, &t);
    if (t.is_words) {
        print_parts(p, &t);
    }
    struct trial head = t;
    head.n = t.n < o->n_exact ? t.n : o->n_exact;
    for (int i = 0; i < head.n; i++) {
        const struct study_guess g = study_predict_exact(p, &t.configs[i]);
        exact.kl[i] = g.kl;
        exact.drop[i] = g.drop;
    }
    print_answers(&exact, &head);
    baselines_print(s, b, &t);
    drags_print(p);
    printf("\n| mean bits | uniform | HIGGS | Fisher | greedy | best sum | and local search |\n"
           "|---|---|---|---|---|---|---|\n");
    study_mixed(p, b);
    printf("\n| measured | coverage | worst 5 %% of choices | below 5 points | half width |\n"
           "|---|---|---|---|---|\n");
    study_bands(p, t.configs, t.n, 19);
    study_bands(p, t.configs, t.n, 39);
    print_anchored_header();
    study_edits(p, t.configs, t.n);
    study_walks(p, t.configs);
    study_pulls(p);
    study_baselines_free(b);
    study_predictor_free(p);
    fflush(stdout);
    trial_release(&t);
    study_close(s);
}

static void shared_folders(const struct options *o, struct study_truth *truth)
{
    static const char *const shared[] = {"mnist-cnn", "mlperf-kws"};
    const char *root = getenv("QX_SHARED");
    char path[1024];
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        snprintf(path, sizeof path, "%s/%s", root ? root : QX_SOURCE_ROOT "/../shared/data",
                 shared[i]);
        if (qx_fs_is_dir(path)) {
            study_folder(path, o, truth);
        } else {
            fprintf(stderr, "predict_study: %s is absent: set QX_SHARED to the shared data\n",
                    path);
        }
    }
}

int main(int argc, char **argv)
{
    restart_for_blas(argv);
    struct options o = {.n_configs = 150,
                        .n_exact = 60,
                        .max_rows = 3000,
                        .seed = 2,
                        .cache = "predict_study.truth"};
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--configs") == 0) {
            o.n_configs = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--exact") == 0) {
            o.n_exact = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--seed") == 0) {
            o.seed = strtoull(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--rows") == 0) {
            o.max_rows = atoll(argv[i + 1]);
        } else if (strcmp(argv[i], "--p") == 0) {
            o.p_rows = atoll(argv[i + 1]);
        } else if (strcmp(argv[i], "--cache") == 0) {
            o.cache = argv[i + 1];
        } else {
            study_die("predict_study [--configs N] [--exact N] [--seed N] [--p N] [--rows N] "
                      "[--cache FILE] [FOLDER...]");
        }
    }
    if (o.n_configs != 0 && o.n_configs < 9) { /* three of each kind */
        study_die("--configs needs at least 9");
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct study_truth *truth = study_truth_open(o.cache);
    for (int k = i; k < argc; k++) {
        study_folder(argv[k], &o, truth);
    }
    if (i == argc) {
        study_folder(QX_SOURCE_ROOT "/samples/fashion-mlp", &o, truth);
        study_folder(QX_SOURCE_ROOT "/samples/fashion-cnn", &o, truth);
        shared_folders(&o, truth);
    }
    study_truth_close(truth);
    return 0;
}
