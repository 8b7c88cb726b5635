/* Cost of one evaluation from the histogram, of the searches behind the calibrators, and of the exact
 * pass. Printed, never asserted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "qx/metric.h"

enum { ROWS = 1024, COLS = 4096, RUNS = 5 };

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Median of RUNS, in ns per call of n. */
#define BENCH(out, n, body)                         \
    do {                                            \
        double ns_[RUNS];                           \
        for (int run_ = 0; run_ < RUNS; run_++) {   \
            double from_ = now_ns();                \
            for (int i = 0; i < (n); i++) {         \
                body;                               \
            }                                       \
            ns_[run_] = (now_ns() - from_) / (n);   \
        }                                           \
        qsort(ns_, RUNS, sizeof(ns_[0]), by_value); \
        (out) = ns_[RUNS / 2];                      \
    } while (0)

static struct qx_hist *hist_of(const struct qx_tensor *t, struct qx_channels c, enum qx_gran gran,
                               bool sym)
{
    struct qx_hist_spec spec = {gran, gran == QX_GRAN_GROUP ? 64 : 0, sym, c};
    struct qx_hist *h = NULL;
    struct qx_error err;
    double from = now_ns();

    if (qx_hist_build(t, &spec, 0, NULL, NULL, &h, &err) != QX_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    printf("build %s %s: %.2f ns per value\n", gran == QX_GRAN_TENSOR ? "tensor" : "group:64",
           sym ? "sym" : "asym", (now_ns() - from) / (double)t->numel);
    return h;
}

static void bench_layout(const struct qx_tensor *t, struct qx_channels c, enum qx_gran gran,
                         bool sym)
{
    static const int widths[] = {2, 4, 6, 8};
    struct qx_hist *h = hist_of(t, c, gran, sym);
    double top = gran == QX_GRAN_TENSOR ? qx_hist_stats(h)->absmax : 1.0, sum = 0.0;
    int n = gran == QX_GRAN_TENSOR || sym ? 2000 : 20;

    for (int w = 0; w < 4; w++) {
        struct qx_setting s = qx_setting_int(widths[w]);
        struct qx_metrics m;
        double all, mse;

        s.sym = sym;
        s.gran = gran;
        s.group = 64;
        s.has_range = true;
        /* A different threshold each time, as in a drag. */
        BENCH(all, n, {
            s.range.hi = top * (0.3 + 0.6 * i / n);
            s.range.lo = -s.range.hi;
            if (qx_metric_hist(h, &s, &m, NULL) == QX_OK) {
                sum += m.mse;
            }
        });
        BENCH(mse, n, {
            s.range.hi = top * (0.3 + 0.6 * i / n);
            s.range.lo = -s.range.hi;
            sum += qx_metric_hist_mse(h, &s);
        });
        printf("  %d bits: %8.0f ns all figures, %8.0f ns error alone\n", widths[w], all, mse);
    }
    if (sum < 0.0) {
        printf("never\n"); /* keeps the sums */
    }
    qx_hist_unref(h);
}

static void bench_calibrators(const struct qx_tensor *t, struct qx_channels c)
{
    struct qx_hist *h = hist_of(t, c, QX_GRAN_TENSOR, true);
    struct qx_scheme scheme = {8, true};
    struct qx_setting s = qx_setting_int(8);
    struct qx_range r = {0};
    double ns, db, cell[200];

    for (int k = 0; k < qx_calib_count(); k++) {
        const struct qx_calibrator *row = qx_calib_at(k);

        if (row->key) {
            BENCH(ns, 1, qx_calib_range(h, &scheme, row, row->param_default, &r, NULL));
            printf("  %-10s %8.3f ms at 8 bits\n", row->name, ns * 1e-6);
        }
    }
    BENCH(ns, 1, qx_metric_lloyd_max_db(h, 8, NULL, &db, NULL));
    printf("  lloyd-max  %8.3f ms at 8 bits\n", ns * 1e-6);
    s.gran = QX_GRAN_TENSOR;
    s.range = r;
    s.has_range = true;
    BENCH(ns, 100, qx_metric_residual(h, &s, 0.01, 200, cell));
    printf("  residual   %8.3f ms\n", ns * 1e-6);
    qx_hist_unref(h);
}

static void bench_exact(const struct qx_tensor *t, struct qx_channels c)
{
    static const char *const names[] = {"tensor", "channel", "group:64"};
    float *out = malloc((size_t)t->numel * sizeof(float));

    for (int g = 0; out && g < 3; g++) {
        struct qx_setting s = qx_setting_int(4);
        struct qx_metrics m;
        double exact, fake;

        s.gran = (enum qx_gran)g;
        s.group = 64;
        s.has_range = true;
        s.range = (struct qx_range){-0.9, 0.9};
        BENCH(exact, 1, qx_metric_exact(t, c, &s, NULL, NULL, &m, NULL));
        BENCH(fake, 1, qx_fakequant(t, c, &s, NULL, NULL, out, NULL, NULL, NULL));
        printf("element-wise %-8s: exact %.2f, fakequant %.2f ns per value\n", names[g],
               exact / (double)t->numel, fake / (double)t->numel);
    }
    free(out);
}

int main(void)
{
    const int64_t shape[2] = {ROWS, COLS};
    struct qx_channels c = {1, ROWS, COLS};
    struct qx_tensor t = {.name = "bench",
                          .dtype = QX_DTYPE_F32,
                          .rank = 2,
                          .shape = shape,
                          .numel = (int64_t)ROWS * COLS,
                          .bytes = (uint64_t)ROWS * COLS * sizeof(float)};
    float *x = malloc(t.bytes);
    uint64_t state = 1;

    if (!x) {
        return 1;
    }
    for (int64_t i = 0; i < t.numel; i++) { /* triangular: the sum of two uniforms */
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((double)(state >> 40) + (double)(state << 24 >> 40)) * 0x1p-24f - 1.0f;
    }
    t.data = (const uint8_t *)x;
    bench_layout(&t, c, QX_GRAN_TENSOR, true);
    bench_layout(&t, c, QX_GRAN_GROUP, true);
    bench_layout(&t, c, QX_GRAN_GROUP, false);
    bench_calibrators(&t, c);
    bench_exact(&t, c);
    printf("channels last, as [in, out] weights store them:\n");
    bench_exact(&t, (struct qx_channels){ROWS, COLS, 1});
    free(x);
    return 0;
}
