/* From opening a model to the first predicted figure of an edit, without and with what an earlier session
 * kept on disk; then edits of its first, middle and last layer replayed on P, with inputs left float32 and
 * quantized (the integer program). Prints, never fails on figures. */
#include "base/fs.h"
#include "qx/qx.h"
#include "restart.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_LAYERS = 512, STEPS = 9 };

static void die(const char *what)
{
    fprintf(stderr, "bench_first: %s\n", what);
    exit(1);
}

/* Items of the layers that a recipe quantizes; returns how many. */
static int64_t linear_items(struct qx_session *s, int64_t *item)
{
    const struct qx_net *net = qx_session_net(s);
    int64_t n = 0;
    for (int l = 0; l < qx_net_n_layers(net) && n < MAX_LAYERS; l++) {
        if (qx_net_layer(net, l)->role == QX_ROLE_LINEAR) {
            item[n++] = qx_net_layer(net, l)->tensor;
        }
    }
    return n;
}

static void edit(struct qx_session *s, const int64_t *item, int64_t n, unsigned field, int bits)
{
    struct qx_patch patch = {field, qx_setting_int(bits)};
    patch.value.act.bits = bits;
    if (qx_session_edit(s, item, n, &patch, false, NULL) != QX_OK) {
        die("the edit was refused");
    }
}

/* Opens, edits at once, and polls until the gauge has a predicted value. */
static struct qx_session *first(const char *folder, const char *cache, double *seconds)
{
    const struct qx_session_options o = {.cache_dir = cache, .state_dir = cache, .predict = true};
    struct qx_session *s = NULL;
    struct qx_error err;
    struct qx_gauge g;
    const double start = qx_clock_s(), end = start + 60;
    if (qx_session_open(folder, &o, &s, &err) != QX_OK) {
        die(err.text);
    }
    int64_t item[MAX_LAYERS];
    linear_items(s, item);
    edit(s, item, 1, QX_PATCH_BITS, 4);
    do {
        qx_session_settle(s, 1);
        qx_session_gauge(s, &g);
    } while (g.guess != QX_GUESS_PREDICTED && qx_clock_s() < end);
    *seconds = qx_clock_s() - start;
    return s;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median of the steps of a drag on one layer, ms; negative: no step was replayed. */
static double drag(struct qx_session *s, int64_t item)
{
    double ms[STEPS];
    int n = 0;
    for (int step = -1; step < STEPS; step++) { /* the first one runs what lies before, too */
        struct qx_session_replay replay = {.is_current = false};
        edit(s, &item, 1, QX_PATCH_BITS, 3 + (step + 1) % 5);
        for (int k = 0; k < 400 && !replay.is_current; k++) {
            qx_session_settle(s, 1);
            replay.is_current = qx_session_replayed(s, &replay) && replay.is_current;
        }
        if (replay.is_current && step >= 0) {
            ms[n++] = 1000 * replay.result.time_s;
        }
        qx_session_settle(s, 20000);
    }
    qsort(ms, (size_t)n, sizeof *ms, by_value);
    return n ? ms[n / 2] : -1;
}

static void drags(struct qx_session *s, const char *how)
{
    int64_t item[MAX_LAYERS];
    const int64_t n = linear_items(s, item), at[] = {0, n / 2, n - 1};
    printf("  %s: an edit of the first, middle, last layer replayed in", how);
    for (int k = 0; k < 3; k++) {
        const double ms = drag(s, item[at[k]]);
        if (ms < 0) {
            printf(" -");
        } else {
            printf(" %.1f", ms);
        }
    }
    printf(" ms\n");
}

static void one(const char *folder)
{
    char cache[] = "bench-first-XXXXXX", command[64];
    int64_t item[MAX_LAYERS];
    double cold, warm;
    if (!mkdtemp(cache)) {
        die("no room for a cache here");
    }
    struct qx_session *s = first(folder, cache, &cold);
    qx_session_settle(s, 20000);
    qx_session_close(&s);
    s = first(folder, cache, &warm);
    qx_session_settle(s, 20000);
    printf("%s: predicted after %.2f s, %.2f s from the cache\n", folder, cold, warm);
    drags(s, "inputs float32");
    edit(s, item, linear_items(s, item), QX_PATCH_ACT_BITS, 8);
    qx_session_settle(s, 20000);
    drags(s, "inputs of 8 bits");
    qx_session_close(&s);
    snprintf(command, sizeof command, "rm -rf %s", cache);
    if (system(command) != 0) {
        die("the cache stays behind");
    }
}

int main(int argc, char **argv)
{
    restart_for_blas(argv);
    static const char *const samples[] = {QX_SOURCE_ROOT "/samples/fashion-mlp",
                                          QX_SOURCE_ROOT "/samples/fashion-cnn",
                                          QX_SOURCE_ROOT "/samples/bert-sentiment"};
    const int n = argc > 1 ? argc - 1 : (int)(sizeof samples / sizeof *samples);
    for (int i = 0; i < n; i++) {
        one(argc > 1 ? argv[i + 1] : samples[i]);
    }
    return 0;
}
