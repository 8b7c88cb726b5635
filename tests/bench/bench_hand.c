/* What the gauge promises, played through on a model folder as the program would: one layer after the other
 * at 4 bits, its threshold dragged down, the hand resting at each step until that is measured; then a third
 * of the size is asked for, the suggestion loaded, two layers are changed by hand and measured. Prints
 * what was said before each measurement beside it, and how many lay inside their bands; fails on nothing.
 *
 *   bench_hand [--bits N] [--layers N] [--share X] [--seed N] [FOLDER...] */
#include "base/fs.h"
#include "base/rng.h"
#include "qx/qx.h"
#include "qx/search.h"
#include "restart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 512, STEPS = 8, EDITS = 12, PATIENCE_MS = 300000 };

struct options {
    int bits, layers;
    double share; /* of the size in float32 */
    uint64_t seed;
};

/* Answers of one kind. */
struct tally {
    int n, inside;
    double error, half;
};

static void die(const char *what) __attribute__((noreturn));
static void die(const char *what)
{
    fprintf(stderr, "bench_hand: %s\n", what);
    exit(1);
}

static void check(enum qx_status st, const struct qx_error *err)
{
    if (st != QX_OK) {
        die(err->text);
    }
}

/* Items of the layers that a recipe quantizes; how many. */
static int linear_items(struct qx_session *s, int64_t item[MOST])
{
    const struct qx_net *net = qx_session_net(s);
    int n = 0;
    for (int l = 0; l < qx_net_n_layers(net) && n < MOST; l++) {
        if (qx_net_layer(net, l)->role == QX_ROLE_LINEAR) {
            item[n++] = qx_net_layer(net, l)->tensor;
        }
    }
    return n;
}

static void set_bits(struct qx_session *s, const int64_t *item, int64_t n, int bits)
{
    struct qx_error err;
    struct qx_patch patch = {.fields = QX_PATCH_BITS, .value = {.bits = bits}};
    check(qx_session_edit(s, item, n, &patch, false, &err), &err);
}

static void set_ratio(struct qx_session *s, int64_t item, double ratio)
{
    struct qx_error err;
    struct qx_patch patch = {.fields = QX_PATCH_RANGE,
                             .value = {.has_range = true, .range = {-ratio, ratio}}};
    check(qx_session_edit(s, &item, 1, &patch, false, &err), &err);
}

/* Rests until the table is whole and the sites are measured alone, takes what is said, measures. */
static void step(struct qx_session *s, const char *what, struct tally *t)
{
    struct qx_gauge g;
    qx_session_settle(s, PATIENCE_MS);
    qx_session_gauge(s, &g);
    const struct qx_prediction p = g.predicted;
    if (g.guess != QX_GUESS_PREDICTED || !p.has_value) {
        die("nothing was predicted");
    }
    qx_session_measure(s);
    do {
        qx_session_settle(s, 10);
        qx_session_gauge(s, &g);
    } while (g.state != QX_GAUGE_MEASURED);
    const double measured = (double)g.correct / (double)g.n;
    const bool is_inside = measured >= p.lo && measured <= p.hi;
    printf("  %-28s said %6.2f %% (%.2f to %.2f), measured %6.2f: %s, off %+5.2f; P %lld rows, %d "
           "measured before\n",
           what, 100 * p.value, 100 * p.lo, 100 * p.hi, 100 * measured,
           is_inside ? "inside" : "OUTSIDE", 100 * (p.value - measured), (long long)g.predict_rows,
           p.n_points);
    t->n++;
    t->inside += is_inside;
    t->error += fabs(p.value - measured);
    t->half += 0.5 * (p.hi - p.lo);
}

static void tally_print(const char *what, const struct tally *t)
{
    printf("%s: %d of %d inside their bands, mean error %.2f points, half width %.2f\n", what,
           t->inside, t->n, 100 * t->error / t->n, 100 * t->half / t->n);
}

/* As far as the hand goes before a layer has lost all. */
static void drag(struct qx_session *s, int64_t item, int bits, struct tally *t)
{
    set_bits(s, &item, 1, bits);
    for (int k = 0; k < STEPS; k++) {
        char what[64];
        set_ratio(s, item, 1.0 - 0.1 * k);
        snprintf(what, sizeof what, "%.15s at %.1f", qx_session_item(s, item)->tensor->name,
                 1.0 - 0.1 * k);
        step(s, what, t);
    }
    while (qx_session_undo(s)) {
    }
}

/* Loads the suggestion within `share` of the size, changes two layers, measures; both. */
static void suggestion(struct qx_session *s, const int64_t *item, int n, double share,
                       struct qx_rng *rng, struct tally *t)
{
    struct qx_error err;
    struct qx_totals totals;
    struct qx_mixed_options o = qx_mixed_options_default();
    qx_session_totals(s, &totals);
    o.max_bytes = share * (double)totals.bytes_fp32;
    qx_session_mixed_want(s, &o);
    const double end = qx_clock_s() + PATIENCE_MS / 1000.0;
    while (qx_session_mixed_busy(s) && qx_clock_s() < end) {
        qx_session_settle(s, 50);
    }
    if (!qx_session_mixed(s)) {
        die(qx_session_mixed_reason(s));
    }
    check(qx_session_mixed_load(s, qx_mixed_best(qx_session_mixed(s)), &err), &err);
    step(s, "the suggestion", t);
    for (int k = 0; k < EDITS; k++) {
        for (int two = 0; two < 2; two++) {
            set_bits(s, &item[qx_rng_below(rng, (uint64_t)n)], 1, 2 + (int)qx_rng_below(rng, 4));
        }
        step(s, "two layers changed", t);
        qx_session_undo(s);
        qx_session_undo(s);
    }
    while (qx_session_undo(s)) {
    }
}

static void one(const char *folder, const struct options *o)
{
    const struct qx_session_options session = {.seed = o->seed, .predict = true};
    struct qx_session *s = NULL;
    struct qx_error err;
    int64_t item[MOST];
    struct tally drags = {0}, edits = {0};
    struct qx_rng rng;
    check(qx_session_open(folder, &session, &s, &err), &err);
    qx_session_set_auto_measure(s, false);
    qx_rng_init(&rng, o->seed + 7);
    const int n = linear_items(s, item);
    printf("%s, P by seed %llu\n", folder, (unsigned long long)o->seed);
    for (int k = 0; k < o->layers && k < n; k++) {
        drag(s, item[(int)((k + 0.5) * n / o->layers)], o->bits, &drags);
    }
    suggestion(s, item, n, o->share, &rng, &edits);
    if (drags.n) {
        tally_print("a threshold dragged", &drags);
    }
    tally_print("the suggestion and edits of two layers", &edits);
    qx_session_close(&s);
}

int main(int argc, char **argv)
{
    struct options o = {.bits = 4, .layers = 3, .share = 1.0 / 3, .seed = 0};
    int i = 1;
    restart_for_blas(argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--bits") == 0) {
            o.bits = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--layers") == 0) {
            o.layers = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--share") == 0) {
            o.share = atof(argv[i + 1]);
        } else if (strcmp(argv[i], "--seed") == 0) {
            o.seed = strtoull(argv[i + 1], NULL, 10);
        } else {
            die("bench_hand [--bits N] [--layers N] [--share X] [--seed N] [FOLDER...]");
        }
    }
    for (int k = i; k < argc; k++) {
        one(argv[k], &o);
    }
    if (i == argc) {
        one(QX_SOURCE_ROOT "/samples/fashion-cnn", &o);
    }
    return 0;
}
