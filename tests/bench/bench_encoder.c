/* An encoder stack of BERT-base's shape (12 layers of 768, 12 heads, 3072 inside, sequences of 128) with
 * random weights made on the spot: FP32, INT8 dynamic, W4A8; batches of 1 and 8, one thread and two.
 * Figures are printed, never asserted.
 *   bench_encoder [--layers N] [--runs N] [--only fp32,int8,int4] [--batch N] [--threads N] */
#include "base/pool.h"
#include "encoder_fixture.h"
#include "qx/cpu.h"
#include "qx/net.h"
#include "restart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 8, PLACES = 128, HIDDEN = 768, VOCABULARY = 1000 };

static void stop(const struct qx_error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

/* ---- formats ---- */

static const struct format {
    const char *name;
    int bits, group; /* of weights; 0: float32 */
} formats[] = {{"fp32", 0, 0}, {"int8", 8, 0}, {"int4", 4, 32}};

static void apply(const struct qx_model *model, const struct qx_net *net, struct qx_weights *w,
                  const struct format *f, struct qx_pool *pool)
{
    struct qx_error err = {0};
    for (int i = 0; f->bits && i < qx_net_n_layers(net); i++) {
        const struct qx_layer *l = qx_net_layer(net, i);
        struct qx_setting s = qx_setting_int(f->bits);
        if (l->role != QX_ROLE_LINEAR) {
            continue;
        }
        s.calib = qx_calib_find("minmax");
        s.act = qx_act_dynamic(8);
        if (f->group) {
            s.gran = QX_GRAN_GROUP;
            s.group = f->group;
            s.scale = QX_SCALE_F16;
        }
        struct qx_hist *hist = NULL;
        const struct qx_hist_spec spec = qx_setting_spec(&s, l->channels);
        if (qx_hist_build(qx_model_tensor(model, l->tensor), &spec, 0, pool, NULL, &hist, &err) !=
                QX_OK ||
            qx_setting_resolve(&s, hist, &err) != QX_OK ||
            qx_weights_apply(w, i, &s, pool, NULL, &err) != QX_OK) {
            stop(&err);
        }
        qx_hist_unref(hist);
    }
    if (qx_weights_prepare(w, f->bits ? QX_ENGINE_INTEGER : QX_ENGINE_SIMULATED, pool, NULL,
                           &err) != QX_OK) {
        stop(&err);
    }
}

/* Best time of a pass, ms: of the process's CPU for one thread (other programs drop out), else of the
 * clock. */
static double best_ms(const struct qx_net *net, const struct qx_weights *w, const float *x,
                      int64_t n, float *y, int runs, int threads, struct qx_pool *pool)
{
    double best = 1e9;
    for (int i = 0; i <= runs; i++) { /* the first warms up */
        struct qx_error err = {0};
        struct timespec a, b;
        const clockid_t clock_id = threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
        clock_gettime(clock_id, &a);
        if (qx_net_forward(net, w, x, n, y, pool, NULL, &err) != QX_OK) {
            stop(&err);
        }
        clock_gettime(clock_id, &b);
        const double ms =
            1e3 * (double)(b.tv_sec - a.tv_sec) + 1e-6 * (double)(b.tv_nsec - a.tv_nsec);
        best = i > 0 && ms < best ? ms : best;
    }
    return best;
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

static bool is_wanted(int argc, char **argv, const char *format)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--only") == 0) {
            return strstr(argv[i + 1], format) != NULL;
        }
    }
    return true;
}

static void measure(const struct qx_model *model, const struct qx_net *net, const struct format *f,
                    int argc, char **argv, double fp32[2][2])
{
    static const int batches[] = {1, BATCH};
    static float x[BATCH * PLACES], y[BATCH * HIDDEN];
    const int runs = option(argc, argv, "--runs", 5);
    struct qx_weights *w = NULL;
    struct qx_error err = {0};
    for (int i = 0; i < BATCH * PLACES; i++) {
        x[i] = (float)(i * 37 % VOCABULARY);
    }
    if (qx_weights_new(net, &w, &err) != QX_OK) {
        stop(&err);
    }
    apply(model, net, w, f, NULL);
    for (int threads = 1; threads <= 2; threads++) {
        struct qx_pool *pool = NULL;
        if (qx_pool_new(threads, &pool, &err) != QX_OK) {
            stop(&err);
        }
        for (int b = 0; b < 2; b++) {
            if (option(argc, argv, "--batch", batches[b]) != batches[b] ||
                option(argc, argv, "--threads", threads) != threads) {
                continue;
            }
            const double ms = best_ms(net, w, x, batches[b], y, runs, threads, pool);
            double *base = &fp32[threads - 1][b];
            *base = f->bits ? *base : ms;
            printf("threads %d  batch %d  %-4s  %8.1f ms", threads, batches[b], f->name, ms);
            printf(*base > 0 ? "  %5.2f x fp32\n" : "\n", *base / ms);
            fflush(stdout);
        }
        qx_pool_free(pool);
    }
    qx_weights_free(w);
}

int main(int argc, char **argv)
{
    restart_for_blas(argv);
    const int layers = option(argc, argv, "--layers", 12);
    struct qx_model *model = NULL;
    struct qx_net *net = NULL;
    struct qx_error err = {0};
    double fp32[2][2] = {{0}};
    char folder[] = "/tmp/qx-encoder-XXXXXX";
    struct encoder shape = ENCODER_BASE;
    shape.layers = layers;
    encoder_write(&shape, folder);
    enum qx_status st = qx_model_open(folder, &model, &err);
    if (st == QX_OK) {
        st = qx_net_open(model, &net, &err);
    }
    encoder_remove(folder); /* it stays mapped */
    if (st != QX_OK) {
        stop(&err);
    }
    printf("%d layers, %s, tiles of %d rows, best of %d; one thread: CPU time\n", layers,
           qx_cpu_get()->name, (int)qx_net_tile_rows(net), option(argc, argv, "--runs", 5));
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (is_wanted(argc, argv, formats[i].name)) {
            measure(model, net, &formats[i], argc, argv, fp32);
        }
    }
    qx_net_close(&net);
    qx_model_close(&model);
    return 0;
}
