/* GPTQ of one layer, by the clock and by CPU time, beside the factorizations of the paper's form on the BLAS library alone: Cholesky
 * of the moments, their inverse from it by triangular solves, and Cholesky of that (arXiv 2210.17323). In turn, medians
 * of the rounds. Figures are printed, never asserted.
 *   bench_gptq [--outputs N] [--inputs N] [--group N] [--bits N] [--threads N] [--rounds N] [--samples N] */
#include "base/fs.h"
#include "base/pool.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "method/method.h"
#include "qx/cpu.h"
#include "qx/moments.h"
#include "restart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void spotrf_(const char *uplo, const int *n, float *a, const int *lda, int *info);
void spotri_(const char *uplo, const int *n, float *a, const int *lda, int *info);
void openblas_set_num_threads(int n) __attribute__((weak));

static int option(int argc, char **argv, const char *name, int fallback)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return atoi(argv[i + 1]);
        }
    }
    return fallback;
}

static void *take(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (!p) {
        fprintf(stderr, "bench_gptq: out of memory\n");
        exit(1);
    }
    return p;
}

static void blas_threads(int n)
{
    if (openblas_set_num_threads) {
        openblas_set_num_threads(n);
    }
}

/* Moments of inputs that depend on each other: every input is noise and a share of the one before. */
static void moments_fill(float *h, int64_t k, int64_t samples, int threads)
{
    struct qx_rng r;
    float *x = take((size_t)(samples * k), sizeof *x);
    qx_rng_init(&r, 1);
    for (int64_t i = 0; i < samples * k; i++) {
        x[i] = (float)qx_rng_normal(&r) * (float)(1 + i % k % 7) + (i % k ? 0.5f * x[i - 1] : 0.0f);
    }
    blas_threads(threads);
    qxk_sgemm(1, 0, k, k, samples, 1.0f / (float)samples, x, k, x, k, 0.0f, h, k);
    free(x);
}

struct span {
    double wall, cpu;
};

static struct span now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (struct span){qx_clock_s(), (double)t.tv_sec + 1e-9 * (double)t.tv_nsec};
}

/* The moments, damped as GPTQ damps. */
static void damped(const float *h, float *a, int64_t k)
{
    double mean = 0.0;
    memcpy(a, h, (size_t)(k * k) * sizeof *a);
    for (int64_t i = 0; i < k; i++) {
        mean += (double)h[i * k + i] / (double)k;
    }
    for (int64_t i = 0; i < k; i++) {
        a[i * k + i] += (float)(0.01 * mean);
    }
}

static void factor(float *a, int64_t k)
{
    const int n = (int)k;
    int info[3] = {0};
    spotrf_("L", &n, a, &n, &info[0]);
    spotri_("L", &n, a, &n, &info[1]);
    spotrf_("L", &n, a, &n, &info[2]);
    if (info[0] || info[1] || info[2]) {
        fprintf(stderr, "bench_gptq: the moments are singular\n");
        exit(1);
    }
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *s, int n)
{
    qsort(s, (size_t)n, sizeof *s, by_value);
    return s[n / 2];
}

/* Scales of min-max. */
static void units_fill(struct qx_method_work *w)
{
    const int most = (1 << (w->set->bits - 1)) - 1;
    for (int64_t i = 0; i < w->n * w->row_units; i++) {
        const float *at = w->w + i / w->row_units * w->k + i % w->row_units * w->unit_len;
        float top = 0.0f;
        for (int64_t j = 0; j < w->unit_len && i % w->row_units * w->unit_len + j < w->k; j++) {
            top = fabsf(at[j]) > top ? fabsf(at[j]) : top;
        }
        w->units[i] = (struct qx_qparams){top / (float)most, 0, -most, most, NULL};
    }
}

int main(int argc, char **argv)
{
    restart_for_blas(argv);
    const int64_t n = option(argc, argv, "--outputs", 4096),
                  k = option(argc, argv, "--inputs", 4096);
    const int threads = option(argc, argv, "--threads", qx_cpu_get()->n_cores);
    const int rounds = option(argc, argv, "--rounds", 5),
              samples = option(argc, argv, "--samples", 8192);
    struct qx_setting set = qx_setting_int(option(argc, argv, "--bits", 4));
    struct qx_moments m = {.second = take((size_t)(k * k), sizeof(float))};
    struct qx_method_work w = {.set = &set, .groups = 1, .n = n, .k = k, .taps = 1, .m = &m};
    struct qx_error err = {0};
    struct qx_rng r;
    double ours[2][64], alone[2][64];
    w.unit_len = option(argc, argv, "--group", 128);
    w.row_units = (k + w.unit_len - 1) / w.unit_len;
    w.w = take((size_t)(n * k), sizeof *w.w);
    w.codes = take((size_t)(n * k), 1);
    w.units = take((size_t)(n * w.row_units), sizeof *w.units);
    float *a = take((size_t)(k * k), sizeof *a);
    if (rounds < 1 || rounds > 64 || qx_pool_new(threads, &w.pool, &err) != QX_OK) {
        fprintf(stderr, "bench_gptq: 1 to 64 rounds; %s\n", err.text);
        return 1;
    }
    qx_rng_init(&r, 2);
    for (int64_t i = 0; i < n * k; i++) {
        w.w[i] = 0.02f * (float)qx_rng_normal(&r);
    }
    units_fill(&w);
    moments_fill(m.second, k, samples, threads);
    for (int i = 0; i < rounds; i++) {
        damped(m.second, a, k);
        blas_threads(threads);
        struct span start = now();
        factor(a, k);
        struct span end = now();
        alone[0][i] = end.wall - start.wall;
        alone[1][i] = end.cpu - start.cpu;
        blas_threads(1); /* the method's products run on the pool */
        start = now();
        if (qx_method_gptq.run(&w, 0.0, &err) != QX_OK) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        end = now();
        ours[0][i] = end.wall - start.wall;
        ours[1][i] = end.cpu - start.cpu;
    }
    printf("%s, %d threads, %lld x %lld, %d bits, group %lld, medians of %d\n", qx_cpu_get()->name,
           threads, (long long)n, (long long)k, set.bits, (long long)w.unit_len, rounds);
    for (int i = 0; i < 2; i++) {
        const double of = median(alone[i], rounds), time = median(ours[i], rounds);
        printf("%s: GPTQ %.3f s, Cholesky, inverse and Cholesky alone %.3f s, ratio %.2f\n",
               i ? "cpu" : "wall", time, of, time / of);
    }
    return 0;
}
