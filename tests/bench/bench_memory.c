/* What calibration and GPTQ take beyond the model, for an encoder of BERT-base's shape with random weights and rows of
 * random length: the most that was allocated (base/mem), and what the process had resident besides mapped files. Then
 * the time that a histogram takes to unpack. Figures are printed, never asserted.
 *   bench_memory [--layers N] [--rows N] [--gptq-rows N (0: none)] [--threads N] */
#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"
#include "encoder_fixture.h"
#include "qx/eval.h"
#include "qx/method.h"
#include "qx/overlay.h"
#include "restart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double mib = 1024.0 * 1024.0;

static void check(enum qx_status st, const struct qx_error *err)
{
    if (st != QX_OK) {
        fprintf(stderr, "bench_memory: %s\n", err->text);
        exit(1);
    }
}

static int option(int argc, char **argv, const char *name, int fallback)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return atoi(argv[i + 1]);
        }
    }
    return fallback;
}

/* MiB; "RssAnon:" now, "VmHWM:" at most so far (mapped files are in it). */
static double resident(const char *what)
{
    char line[160];
    double kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, what, strlen(what)) == 0) {
            kb = atof(line + strlen(what));
        }
    }
    if (f) {
        fclose(f);
    }
    return kb / 1024;
}

static void report(const char *what, int rows, int64_t before, double start)
{
    printf("%s of %d rows: at most %.1f MiB allocated, %.1f MiB still held, %.0f s; resident "
           "besides files %.1f MiB\n",
           what, rows, (double)(qx_mem_peak() - before) / mib,
           (double)(qx_mem_bytes() - before) / mib, qx_clock_s() - start, resident("RssAnon:"));
    fflush(stdout);
}

static void calibrate(const struct qx_net *net, const struct qx_dataset *data, int rows,
                      struct qx_pool *pool)
{
    struct qx_calibration *c = NULL;
    struct qx_error err = {0};
    const int64_t before = qx_mem_bytes();
    const double start = qx_clock_s();
    qx_mem_peak_reset();
    check(qx_calibration_run(net, data, rows, 0, pool, NULL, &c, &err), &err);
    report("calibration", rows, before, start);
    double packed = 0;
    const int n = qx_net_n_layers(net);
    const clock_t clocks = clock();
    for (int i = 0; i < n; i++) {
        const struct qx_observed *o = qx_calibration_layer(c, i);
        struct qx_hist *h = NULL;
        size_t bytes;
        qx_hist_packed_data(o->packed, &bytes);
        packed = (double)bytes > packed ? (double)bytes : packed;
        check(qx_hist_unpack(o->packed, &h, &err), &err);
        qx_hist_unref(h);
    }
    printf("a histogram unpacked in %.2f ms of CPU time (mean); the largest packed: %.2f MiB\n",
           1000.0 * (double)(clock() - clocks) / CLOCKS_PER_SEC / n, packed / mib);
    qx_calibration_unref(c);
}

/* ---- GPTQ ---- */

enum { MAX_LAYERS = 512 };

static int64_t overlay_bytes; /* of results */

static const struct qx_overlay *none(void *arg, int layer, uint64_t key, const struct qx_setting *s)
{
    (void)arg;
    (void)layer;
    (void)key;
    (void)s;
    return NULL;
}

static const struct qx_overlay *keep(void *arg, int layer, struct qx_overlay *o)
{
    const struct qx_overlay **all = arg;
    overlay_bytes += o->channels.outer * o->channels.count * o->channels.inner;
    return all[layer] = o;
}

static void gptq(const struct qx_net *net, const struct qx_dataset *data, int rows,
                 struct qx_pool *pool)
{
    struct qx_overlay *all[MAX_LAYERS] = {0};
    struct qx_setting set[MAX_LAYERS];
    struct qx_error err = {0};
    const int n = qx_net_n_layers(net);
    int64_t most = 0;
    for (int i = 0; i < n; i++) {
        struct qx_net_product p;
        set[i] = qx_setting_fp32();
        if (qx_net_layer_product(net, i, &p)) {
            most = p.k > most ? p.k : most;
            set[i] = qx_setting_int(4);
            set[i].calib = qx_calib_find("manual");
            set[i].has_range = true;
            set[i].range = (struct qx_range){-1, 1};
            set[i].gran = QX_GRAN_GROUP;
            set[i].group = 128;
            snprintf(set[i].algo, sizeof set[i].algo, "gptq");
        }
    }
    const struct qx_methods_run run = {
        .net = net, .data = data, .n_rows = rows, .find = none, .keep = keep, .arg = all};
    const int64_t before = qx_mem_bytes();
    const double start = qx_clock_s();
    qx_mem_peak_reset();
    check(qx_methods_run(&run, set, pool, NULL, &err), &err);
    report("GPTQ", rows, before, start);
    printf("of that: one Hessian %.1f MiB, and its factor as much; codes of all layers %.1f MiB\n",
           (double)(most * most) * 4 / mib, (double)overlay_bytes / mib);
    for (int i = 0; i < n; i++) {
        qx_overlay_free(all[i]);
    }
}

int main(int argc, char **argv)
{
    restart_for_blas(argv);
    const int rows = option(argc, argv, "--rows", 512);
    const int gptq_rows = option(argc, argv, "--gptq-rows", 8);
    struct qx_model *model = NULL;
    struct qx_net *net = NULL;
    struct qx_pool *pool = NULL;
    struct qx_error err = {0};
    char folder[] = "/tmp/qx-encoder-XXXXXX", path[128];
    struct encoder shape = ENCODER_BASE;
    struct qx_dataset *data = NULL;
    shape.layers = option(argc, argv, "--layers", shape.layers);
    encoder_write(&shape, folder);
    encoder_rows(&shape, rows > gptq_rows ? rows : gptq_rows, folder, path, sizeof path);
    check(qx_pool_new(option(argc, argv, "--threads", 2), &pool, &err), &err);
    check(qx_model_open(folder, &model, &err), &err);
    check(qx_net_open(model, &net, &err), &err);
    check(qx_dataset_open(path, net, &data, &err), &err);
    encoder_remove(folder);
    calibrate(net, data, rows, pool);
    printf("resident at most, files included: %.1f MiB\n", resident("VmHWM:"));
    if (gptq_rows > 0) {
        gptq(net, data, gptq_rows, pool);
    }
    qx_dataset_close(&data);
    qx_net_close(&net);
    qx_model_close(&model);
    qx_pool_free(pool);
    return 0;
}
