/* Forward passes: rows and multiply-adds a second of the bundled model and, where the shared data is
 * present, of its models; one thread and all. Figures are printed, never asserted. */
#include "base/fs.h"
#include "base/pool.h"
#include "kernels/kernels.h"
#include "qx/cpu.h"
#include "qx/eval.h"
#include "restart.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { N_RUNS = 5 };

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What one thread reaches on a large product: the ceiling of a convolution. */
static double sgemm_gflops(void)
{
    enum { N = 512 };
    double best = 0.0;
    float *a = calloc(3 * N * N, sizeof *a);
    for (int i = 0; a && i < 10; i++) {
        const double start = qx_clock_s();
        qxk_sgemm(0, 0, N, N, N, 1.0f, a, N, a + N * N, N, 0.0f, a + 2 * N * N, N);
        const double rate = 2e-9 * N * N * N / (qx_clock_s() - start);
        best = rate > best ? rate : best;
    }
    free(a);
    return best;
}

/* Median time of measuring all rows; *cpu_s: of all threads together, the fairer one on a busy machine. */
static double median_s(const struct qx_net *net, const struct qx_dataset *data,
                       struct qx_weights *w, struct qx_pool *pool, double *cpu_s)
{
    double time[N_RUNS], cpu[N_RUNS];
    for (int i = 0; i < N_RUNS; i++) {
        struct qx_eval_result *r = NULL;
        struct qx_error err;
        const clock_t start = clock();
        if (qx_eval_run(net, data, w, NULL, pool, NULL, &r, &err) != QX_OK) {
            printf("%s\n", err.text);
            exit(1);
        }
        time[i] = r->time_s;
        cpu[i] = (double)(clock() - start) / CLOCKS_PER_SEC;
        qx_eval_result_free(r);
    }
    qsort(time, N_RUNS, sizeof *time, by_value);
    qsort(cpu, N_RUNS, sizeof *cpu, by_value);
    *cpu_s = cpu[N_RUNS / 2];
    return time[N_RUNS / 2];
}

static void bench_folder(const char *path, int threads, double peak)
{
    char file[1024];
    struct qx_model *model = NULL;
    struct qx_net *net = NULL;
    struct qx_dataset *data = NULL;
    struct qx_weights *w = NULL;
    struct qx_error err;
    snprintf(file, sizeof file, "%s/eval.safetensors", path);
    if (qx_model_open(path, &model, &err) != QX_OK || qx_net_open(model, &net, &err) != QX_OK ||
        qx_dataset_open(file, net, &data, &err) != QX_OK ||
        qx_weights_new(net, &w, &err) != QX_OK) {
        printf("%s\n", err.text);
        exit(1);
    }
    for (int n = 1; n <= threads; n += threads > 1 ? threads - 1 : 1) {
        struct qx_pool *pool = NULL;
        if (qx_pool_new(n, &pool, &err) != QX_OK) {
            printf("%s\n", err.text);
            exit(1);
        }
        double cpu;
        const double s = median_s(net, data, w, pool, &cpu), rows = (double)qx_dataset_n(data);
        const double gflop = 2e-9 * (double)qx_net_macs(net) * rows;
        printf(
            "%-12s %d threads: %6.0f rows in %6.3f s, %8.0f rows/s; a CPU second does %6.0f rows, "
            "%5.1f GFLOP (%3.0f %% of sgemm)\n",
            qx_net_name(net), n, rows, s, rows / s, rows / cpu, gflop / cpu,
            100.0 * gflop / cpu / peak);
        qx_pool_free(pool);
    }
    qx_weights_free(w);
    qx_dataset_close(&data);
    qx_net_close(&net);
    qx_model_close(&model);
}

int main(int argc, char **argv)
{
    (void)argc;
    restart_for_blas(argv);
    static const char *const shared[] = {"mlperf-kws", "mnist-cnn"};
    const char *root = getenv("QX_SHARED");
    const double peak = sgemm_gflops();
    char path[512];
    printf("%s, sgemm 512 x 512 x 512 on one thread: %.1f GFLOP/s\n", qx_cpu_get()->name, peak);
    bench_folder(QX_SOURCE_ROOT "/samples/fashion-cnn", qx_cpu_get()->n_cores, peak);
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        if (root) {
            snprintf(path, sizeof path, "%s/%s", root, shared[i]);
        } else {
            snprintf(path, sizeof path, "%s/../shared/data/%s", QX_SOURCE_ROOT, shared[i]);
        }
        if (qx_fs_is_dir(path)) {
            bench_folder(path, qx_cpu_get()->n_cores, peak);
        }
    }
    return 0;
}
