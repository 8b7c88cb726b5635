/* One live prediction: a step of a drag (rounding and clipping of one layer change), composed, summed,
 * anchored on 20 measured configurations. Medians of CPU time; rows x classes, 16 sign vectors, 74 layers
 * of which all are quantized. */
#include "base/rng.h"
#include "qx/predict.h"
#include "restart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LAYERS = 74, STEPS = 301, POINTS = 20 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

static void check(enum qx_status st)
{
    if (st != QX_OK) {
        fprintf(stderr, "bench_predict: %s\n", qx_status_text(st));
        exit(1);
    }
}

static struct qx_predict_table *table_make(int n, int n_classes)
{
    const size_t cells = (size_t)n * (size_t)n_classes;
    float *z0 = malloc(cells * sizeof *z0), *z = malloc(cells * sizeof *z);
    int32_t *labels = malloc((size_t)n * sizeof *labels);
    struct qx_predict_base *base = NULL;
    struct qx_predict_table *t = NULL, *more = NULL;
    struct qx_rng rng;
    qx_rng_init(&rng, 1);
    for (size_t i = 0; i < cells; i++) {
        z0[i] = (float)(3.0 * qx_rng_normal(&rng));
    }
    for (int i = 0; i < n; i++) {
        labels[i] = (int32_t)qx_rng_below(&rng, (uint64_t)n_classes);
    }
    check(qx_predict_base_new(z0, labels, NULL, n, n_classes, &base, NULL));
    check(qx_predict_table_new(base, LAYERS, &t, NULL));
    for (int e = 0; e < LAYERS * 4; e++) {
        const struct qx_predict_spec spec = {e / 4, (enum qx_family)(e / 2 % 2), e % 2};
        const double amount = e % 2 ? 0.2 : 0.05;
        struct qx_predict_entry *entry = NULL;
        for (size_t i = 0; i < cells; i++) {
            z[i] =
                (float)((1 - 0.05 * amount) * (double)z0[i] + 0.2 * amount * qx_rng_normal(&rng));
        }
        check(qx_predict_entry_new(base, &spec, 0, (struct qx_amplitude){amount, amount}, z, &entry,
                                   NULL));
        check(qx_predict_table_add(t, entry, &more, NULL));
        qx_predict_entry_unref(entry);
        qx_predict_table_unref(t);
        t = more;
    }
    qx_predict_base_unref(base);
    free(z0);
    free(z);
    free(labels);
    return t;
}

static struct qx_predict_layer change_of(double t)
{
    return (struct qx_predict_layer){.t = {{t, 0.5 * t}, {0, 0}}, .key = {1, 0}};
}

static void bench(int n, int n_classes)
{
    const struct qx_predict_scale scale = {0.5, 1000};
    static double set_ms[STEPS], sum_ms[STEPS], ask_ms[STEPS];
    struct qx_predict_table *t = table_make(n, n_classes);
    struct qx_predict_point *points[POINTS];
    struct qx_predict_layer all[LAYERS];
    struct qx_predict_anchors *a = NULL;
    struct qx_predict_mix *mix = NULL;
    struct qx_prediction p;
    struct qx_predict_sum s;
    for (int i = 0; i < POINTS; i++) {
        const struct qx_predict_point_info info = {(uint64_t)i + 1, 0.45, NAN, true};
        for (int l = 0; l < LAYERS; l++) {
            all[l] = change_of(0.02 + 0.003 * ((i * 7 + l) % 13));
        }
        check(qx_predict_point_new(all, LAYERS, &info, &points[i], NULL));
    }
    double start = now_ms();
    check(qx_predict_anchors_new(t, NULL, &scale, points, POINTS, NULL, &a, NULL));
    const double anchors_ms = now_ms() - start;
    check(qx_predict_mix_new(t, NULL, &mix, NULL));
    for (int l = 0; l < LAYERS; l++) {
        qx_predict_mix_set(mix, l, &all[l]);
    }
    qx_predict_anchors_ask(a, mix, &p);
    for (int i = 0; i < STEPS; i++) {
        const struct qx_predict_layer one = change_of(0.03 + 0.0005 * i);
        start = now_ms();
        qx_predict_mix_set(mix, 3, &one);
        set_ms[i] = now_ms() - start;
        start = now_ms();
        qx_predict_mix_sum(mix, &s);
        sum_ms[i] = now_ms() - start;
        start = now_ms();
        qx_predict_anchors_ask(a, mix, &p);
        ask_ms[i] = now_ms() - start;
    }
    const double set = median(set_ms, STEPS), sum = median(sum_ms, STEPS),
                 ask = median(ask_ms, STEPS);
    printf("%4d x %-4d  change %.3f ms, sum %.3f ms, anchored answer (with the sum) %.3f ms: one "
           "update %.3f ms; 20 anchors anew %.0f ms\n",
           n, n_classes, set, sum, ask, set + ask, anchors_ms);
    qx_predict_mix_free(mix);
    qx_predict_anchors_unref(a);
    for (int i = 0; i < POINTS; i++) {
        qx_predict_point_unref(points[i]);
    }
    qx_predict_table_unref(t);
}

int main(int argc, char **argv)
{
    (void)argc;
    restart_for_blas(argv);
    bench(256, 10);
    bench(1024, 10);
    bench(512, 66);
    bench(256, 130);
    return 0;
}
