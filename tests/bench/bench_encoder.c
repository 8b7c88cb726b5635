/* An encoder stack of BERT-base's shape (12 layers of 768, 12 heads, 3072 inside, sequences of 128) with
 * random weights made on the spot: FP32, INT8 dynamic, W4A8; batches of 1 and 8, one thread and two.
 * Figures are printed, never asserted.
 *   bench_encoder [--layers N] [--runs N] [--only fp32,int8,int4] [--batch N] [--threads N] */
#include "base/fs.h"
#include "base/pool.h"
#include "base/rng.h"
#include "qx/cpu.h"
#include "qx/net.h"
#include "restart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HIDDEN = 768, INNER = 3072, HEADS = 12, PLACES = 128, VOCABULARY = 1000, BATCH = 8 };
enum { TENSORS_A_LAYER = 16, TENSORS_BEFORE = 5 };

static char folder[64] = "/tmp/qx-encoder-XXXXXX";

static void stop(const struct qx_error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

/* ---- the model ---- */

struct part {
    char name[96];
    int64_t shape[2];
    uint64_t seed;
    float scale, centre;
};

static enum qx_status read_part(void *arg, int64_t first, int64_t n, float *out,
                                struct qx_error *err)
{
    const struct part *p = arg;
    struct qx_rng rng;
    (void)err;
    qx_rng_init(&rng, p->seed + (uint64_t)first);
    for (int64_t i = 0; i < n; i++) { /* a sum of four: near enough to a normal distribution */
        const uint64_t r = qx_rng_next(&rng);
        const int32_t sum = (int32_t)(r & 0xFFFF) + (int32_t)(r >> 16 & 0xFFFF) +
                            (int32_t)(r >> 32 & 0xFFFF) + (int32_t)(r >> 48);
        out[i] = p->centre + p->scale * (float)(sum - 2 * 0xFFFF) / 37837.0f;
    }
    return QX_OK;
}

static void add(struct part *parts, struct qx_write_tensor *t, int *n, const char *name,
                int64_t rows, int64_t columns, float scale, float centre)
{
    struct part *p = &parts[*n];
    snprintf(p->name, sizeof p->name, "%s", name);
    p->shape[0] = rows;
    p->shape[1] = columns;
    p->seed = 0x9e3779b97f4a7c15u * (uint64_t)(*n + 1);
    p->scale = scale;
    p->centre = centre;
    t[*n] = (struct qx_write_tensor){.name = p->name,
                                     .dtype = QX_DTYPE_F32,
                                     .rank = columns ? 2 : 1,
                                     .shape = p->shape,
                                     .read = read_part,
                                     .arg = p};
    ++*n;
}

static void add_layer(struct part *parts, struct qx_write_tensor *t, int *n, int layer)
{
    static const struct {
        const char *base;
        int64_t rows, columns;
    } linear[] = {
        {"attention.self.query", HIDDEN, HIDDEN}, {"attention.self.key", HIDDEN, HIDDEN},
        {"attention.self.value", HIDDEN, HIDDEN}, {"attention.output.dense", HIDDEN, HIDDEN},
        {"intermediate.dense", INNER, HIDDEN},    {"output.dense", HIDDEN, INNER}};
    static const char *const norms[] = {"attention.output.LayerNorm", "output.LayerNorm"};
    char name[96];
    for (size_t i = 0; i < sizeof linear / sizeof *linear; i++) {
        snprintf(name, sizeof name, "encoder.layer.%d.%s.weight", layer, linear[i].base);
        add(parts, t, n, name, linear[i].rows, linear[i].columns, 0.04f, 0.0f);
        snprintf(name, sizeof name, "encoder.layer.%d.%s.bias", layer, linear[i].base);
        add(parts, t, n, name, linear[i].rows, 0, 0.1f, 0.0f);
    }
    for (size_t i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "encoder.layer.%d.%s.weight", layer, norms[i]);
        add(parts, t, n, name, HIDDEN, 0, 0.1f, 1.0f);
        snprintf(name, sizeof name, "encoder.layer.%d.%s.bias", layer, norms[i]);
        add(parts, t, n, name, HIDDEN, 0, 0.1f, 0.0f);
    }
}

static void write_model(int layers)
{
    const size_t most = (size_t)layers * TENSORS_A_LAYER + TENSORS_BEFORE;
    struct part *parts = calloc(most, sizeof *parts);
    struct qx_write_tensor *t = calloc(most, sizeof *t);
    struct qx_error err = {0};
    char path[96];
    int n = 0;
    if (!parts || !t || !mkdtemp(folder)) {
        perror(folder);
        exit(1);
    }
    add(parts, t, &n, "embeddings.word_embeddings.weight", VOCABULARY, HIDDEN, 0.5f, 0.0f);
    add(parts, t, &n, "embeddings.position_embeddings.weight", PLACES, HIDDEN, 0.2f, 0.0f);
    add(parts, t, &n, "embeddings.token_type_embeddings.weight", 2, HIDDEN, 0.1f, 0.0f);
    add(parts, t, &n, "embeddings.LayerNorm.weight", HIDDEN, 0, 0.1f, 1.0f);
    add(parts, t, &n, "embeddings.LayerNorm.bias", HIDDEN, 0, 0.1f, 0.0f);
    for (int i = 0; i < layers; i++) {
        add_layer(parts, t, &n, i);
    }
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (qx_safetensors_write(path, t, n, NULL, 0, NULL, &err) != QX_OK) {
        stop(&err);
    }
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *file = fopen(path, "w");
    if (!file) {
        perror(path);
        exit(1);
    }
    fprintf(file,
            "{\"model_type\":\"bert\",\"hidden_size\":%d,\"num_hidden_layers\":%d,"
            "\"num_attention_heads\":%d,\"intermediate_size\":%d,\"vocab_size\":%d,"
            "\"max_position_embeddings\":%d}\n",
            HIDDEN, layers, HEADS, INNER, VOCABULARY, PLACES);
    fclose(file);
    free(parts);
    free(t);
}

static void remove_model(void)
{
    static const char *const files[] = {"model.safetensors", "config.json"};
    char path[96];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
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
    write_model(layers);
    enum qx_status st = qx_model_open(folder, &model, &err);
    if (st == QX_OK) {
        st = qx_net_open(model, &net, &err);
    }
    remove_model(); /* it stays mapped */
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
