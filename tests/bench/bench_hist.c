/* Building histograms and answering from them. Prints medians; never fails on figures. */
#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "qx/qx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 2048, COLS = 4096, N = ROWS * COLS, N_RUNS = 5 };

static void die(const char *what)
{
    fprintf(stderr, "bench_hist: %s\n", what);
    exit(1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *times)
{
    qsort(times, N_RUNS, sizeof *times, by_value);
    return times[N_RUNS / 2];
}

/* Rows of different width, as weights have them. */
static float *make_weights(void)
{
    float *x = qx_mem_array(N, sizeof *x);
    struct qx_rng r;
    if (!x) {
        die("out of memory");
    }
    qx_rng_init(&r, 1);
    for (int row = 0; row < ROWS; row++) {
        double width = 0.02 * (1.0 + qx_rng_uniform(&r));
        for (int i = 0; i < COLS; i++) {
            x[row * COLS + i] = (float)(width * qx_rng_normal(&r));
        }
    }
    return x;
}

static struct qx_hist *build(const struct qx_tensor *t, const struct qx_hist_spec *spec,
                             int64_t n_sample, struct qx_pool *pool)
{
    struct qx_hist *h = NULL;
    struct qx_error err;
    if (qx_hist_build(t, spec, n_sample, pool, NULL, &h, &err) != QX_OK) {
        die(err.text);
    }
    return h;
}

/* Seconds that a plain read of the tensor's bytes takes on one thread: the floor of any pass. */
static double read_time(const struct qx_tensor *t)
{
    static volatile uint64_t sink;
    double times[N_RUNS];
    for (int i = 0; i < N_RUNS; i++) {
        double start = qx_clock_s();
        uint64_t sum[4] = {0};
        for (uint64_t at = 0; at + 32 <= t->bytes; at += 32) {
            uint64_t word[4];
            memcpy(word, t->data + at, sizeof word);
            for (int j = 0; j < 4; j++) {
                sum[j] += word[j];
            }
        }
        sink = sum[0] + sum[1] + sum[2] + sum[3];
        times[i] = qx_clock_s() - start;
    }
    (void)sink;
    return median(times);
}

static void report_build(const struct qx_tensor *t, const char *what, enum qx_gran gran, bool sym,
                         int64_t n_sample, struct qx_pool *pool)
{
    double times[N_RUNS];
    struct qx_hist_spec spec = {gran, gran == QX_GRAN_GROUP ? 128 : 0, sym, qx_channels_of(t, 0)};
    for (int i = 0; i < N_RUNS; i++) {
        double start = qx_clock_s();
        qx_hist_unref(build(t, &spec, n_sample, pool));
        times[i] = qx_clock_s() - start;
    }
    double s = median(times);
    printf("build %-5s %-14s %d threads %8.2f ms  %6.3f ns/elem  %5.1f x a plain read\n",
           qx_dtype_get(t->dtype)->name, what, qx_pool_threads(pool), s * 1e3, s / N * 1e9,
           s / read_time(t));
}

static void report_builds(const struct qx_tensor *t, struct qx_pool *pool)
{
    report_build(t, "tensor", QX_GRAN_TENSOR, true, 0, pool);
    report_build(t, "channel sym", QX_GRAN_CHANNEL, true, 0, pool);
    report_build(t, "group 128 sym", QX_GRAN_GROUP, true, 0, pool);
    report_build(t, "group 128 asym", QX_GRAN_GROUP, false, 0, pool);
    report_build(t, "262144 sampled", QX_GRAN_TENSOR, true, 262144, pool);
}

/* One step of a drag, at the widths that cost least and most. */
static void report_drag(const struct qx_tensor *t, bool sym, int bits)
{
    enum { STEPS = 1000 };
    struct qx_setting s = qx_setting_int(bits);
    struct qx_error err;
    struct qx_metrics m;
    double times[N_RUNS];
    s.gran = QX_GRAN_TENSOR;
    s.sym = sym;
    struct qx_hist_spec spec = qx_setting_spec(&s, qx_channels_of(t, 0));
    struct qx_hist *h = build(t, &spec, 0, NULL);
    if (qx_setting_resolve(&s, h, &err) != QX_OK) {
        die(err.text);
    }
    s.has_range = true;
    double top = s.range.hi;
    for (int i = 0; i < N_RUNS; i++) {
        double start = qx_clock_s();
        for (int j = 0; j < STEPS; j++) {
            s.range.hi = top * (1.0 - 0.0005 * j);
            s.range.lo = -s.range.hi;
            if (qx_metric_hist(h, &s, &m, &err) != QX_OK) {
                die(err.text);
            }
        }
        times[i] = (qx_clock_s() - start) / STEPS;
    }
    printf("drag  %-5s %s INT%d %26.2f us a step\n", qx_dtype_get(t->dtype)->name,
           sym ? "sym " : "asym", bits, median(times) * 1e6);
    qx_hist_unref(h);
}

int main(void)
{
    float *x = make_weights();
    uint16_t *half = qx_mem_array(N, sizeof *half);
    struct qx_pool *pool = NULL;
    if (!half || qx_pool_new(qx_cpu_get()->n_cores, &pool, NULL) != QX_OK) {
        die("out of memory");
    }
    qxk_get()->f32_to_bf16(x, N, half);
    const int64_t shape[] = {ROWS, COLS};
    struct qx_tensor f32 = {.name = "w",
                            .dtype = QX_DTYPE_F32,
                            .rank = 2,
                            .shape = shape,
                            .numel = N,
                            .data = (const uint8_t *)x,
                            .bytes = (uint64_t)N * 4};
    struct qx_tensor bf16 = f32;
    bf16.dtype = QX_DTYPE_BF16;
    bf16.data = (const uint8_t *)half;
    bf16.bytes = (uint64_t)N * 2;
    printf("%s, rung %s, %d x %d weights\n", qx_cpu_get()->name, qx_isa_name(qx_cpu_get()->isa),
           (int)ROWS, (int)COLS);
    report_builds(&f32, NULL);
    report_builds(&bf16, NULL);
    report_build(&f32, "tensor", QX_GRAN_TENSOR, true, 0, pool);
    report_build(&bf16, "tensor", QX_GRAN_TENSOR, true, 0, pool);
    report_drag(&f32, true, 2);
    report_drag(&f32, true, 8);
    report_drag(&f32, false, 8);
    qx_pool_free(pool);
    qx_mem_free(half);
    qx_mem_free(x);
    return 0;
}
