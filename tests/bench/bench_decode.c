/* Decoding, one token at a time, of a Llama-shaped model with random weights made on the spot: tokens a
 * second, weights read a second, and their share of a plain read by the same threads, which follows each step
 * (the median of the shares, by the clock and by the threads' CPU time: memory is as fast as its other users
 * leave it), peak resident memory; FP32, FP16, INT8 and INT4 weights only. Each format runs in a process of its
 * own. Figures are printed, never asserted.
 *   bench_decode [--layers N] [--hidden N] [--inner N] [--heads N] [--kv N] [--vocab N] [--steps N]
 *                [--prompt N] [--threads N] [--only fp32,fp16,int8,int4]
 * The defaults but for --layers 2 are TinyLlama's shape; --layers 22 is its size: 1.1 billion weights,
 * 4.4 GB in the folder for temporary files. */
#include "base/fs.h"
#include "base/pool.h"
#include "kernels/pages.h"
#include "kernels/peak.h"
#include "qx/cpu.h"
#include "qx/decode.h"
#include "restart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int n_args;
static char **args;
static char folder[64] = "/tmp/qx-decode-XXXXXX";

static void stop(const struct qx_error *err)
{
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static int option(const char *name, int fallback)
{
    for (int i = 1; i + 1 < n_args; i++) {
        if (strcmp(args[i], name) == 0) {
            return atoi(args[i + 1]);
        }
    }
    return fallback;
}

static bool is_wanted(const char *format)
{
    for (int i = 1; i + 1 < n_args; i++) {
        if (strcmp(args[i], "--only") == 0) {
            return strstr(args[i + 1], format) != NULL;
        }
    }
    return true;
}

/* ---- the model ---- */

struct sizes {
    int layers, hidden, inner, heads, kv, vocabulary;
};

struct part {
    char name[80];
    int64_t shape[2];
    uint64_t seed;
    float scale, centre;
};

static enum qx_status read_part(void *arg, int64_t first, int64_t n, float *out,
                                struct qx_error *err)
{
    const struct part *p = arg;
    (void)err;
    for (int64_t i = 0; i < n; i++) { /* two bytes of a hash: as uneven as weights for a product */
        uint64_t h = (p->seed + (uint64_t)(first + i)) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
        out[i] =
            p->centre + p->scale * (float)((int)(h & 0xFF) + (int)(h >> 8 & 0xFF) - 255) / 128.0f;
    }
    return QX_OK;
}

struct writer {
    struct part *parts;
    struct qx_write_tensor *tensors;
    int n;
};

static void add(struct writer *w, const char *name, int64_t rows, int64_t columns)
{
    struct part *p = &w->parts[w->n];
    snprintf(p->name, sizeof p->name, "%s", name);
    p->shape[0] = rows;
    p->shape[1] = columns;
    p->seed = (uint64_t)w->n << 40;
    p->scale = columns ? 0.05f : 0.0f;
    p->centre = columns ? 0.0f : 1.0f;
    w->tensors[w->n++] = (struct qx_write_tensor){.name = p->name,
                                                  .dtype = QX_DTYPE_F32,
                                                  .rank = columns ? 2 : 1,
                                                  .shape = p->shape,
                                                  .read = read_part,
                                                  .arg = p};
}

static void add_layer(struct writer *w, const struct sizes *s, int layer)
{
    const int kv = s->hidden / s->heads * s->kv;
    const struct {
        const char *base;
        int64_t rows, columns;
    } of[] = {
        {"input_layernorm", s->hidden, 0},          {"self_attn.q_proj", s->hidden, s->hidden},
        {"self_attn.k_proj", kv, s->hidden},        {"self_attn.v_proj", kv, s->hidden},
        {"self_attn.o_proj", s->hidden, s->hidden}, {"post_attention_layernorm", s->hidden, 0},
        {"mlp.gate_proj", s->inner, s->hidden},     {"mlp.up_proj", s->inner, s->hidden},
        {"mlp.down_proj", s->hidden, s->inner}};
    char name[80];
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, of[i].base);
        add(w, name, of[i].rows, of[i].columns);
    }
}

static void write_model(const struct sizes *s)
{
    const size_t most = (size_t)s->layers * 9 + 3;
    struct writer w = {calloc(most, sizeof *w.parts), calloc(most, sizeof *w.tensors), 0};
    struct qx_error err = {0};
    char path[96];
    if (!w.parts || !w.tensors || !mkdtemp(folder)) {
        perror(folder);
        exit(1);
    }
    add(&w, "model.embed_tokens.weight", s->vocabulary, s->hidden);
    for (int i = 0; i < s->layers; i++) {
        add_layer(&w, s, i);
    }
    add(&w, "model.norm.weight", s->hidden, 0);
    add(&w, "lm_head.weight", s->vocabulary, s->hidden);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (qx_safetensors_write(path, w.tensors, w.n, NULL, 0, NULL, &err) != QX_OK) {
        stop(&err);
    }
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *file = fopen(path, "w");
    if (!file) {
        perror(path);
        exit(1);
    }
    fprintf(file,
            "{\"model_type\":\"llama\",\"hidden_size\":%d,\"num_hidden_layers\":%d,"
            "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"intermediate_size\":%d,"
            "\"vocab_size\":%d,\"max_position_embeddings\":2048}\n",
            s->hidden, s->layers, s->heads, s->kv, s->inner, s->vocabulary);
    fclose(file);
    free(w.parts);
    free(w.tensors);
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

/* ---- one format ---- */

static const struct format {
    const char *name;
    int bits, group;       /* 0: float32; one scale an output */
    double bytes_a_weight; /* with the scales of groups */
} formats[] = {{"fp32", 0, 0, 4.0},
               {"fp16", 16, 0, 2.0},
               {"int8", 8, 0, 1.0},
               {"int4", 4, 32, 0.5 + 2.0 / 32}};

static void apply(const struct qx_model *model, const struct qx_net *net, struct qx_weights *w,
                  const struct format *f, struct qx_pool *pool)
{
    struct qx_error err = {0};
    for (int i = 0; f->bits && i < qx_net_n_layers(net); i++) {
        const struct qx_layer *l = qx_net_layer(net, i);
        struct qx_setting s =
            f->bits == 16 ? qx_setting_of(qx_format_find("fp16"), 0) : qx_setting_int(f->bits);
        s.calib = qx_calib_find("minmax");
        if (f->group) {
            s.gran = QX_GRAN_GROUP;
            s.group = f->group;
            s.scale = QX_SCALE_F16;
        }
        struct qx_hist *hist = NULL;
        const struct qx_hist_spec spec = qx_setting_spec(&s, l->channels);
        if ((f->bits < 16 && (qx_hist_build(qx_model_tensor(model, l->tensor), &spec, 0, pool, NULL,
                                            &hist, &err) != QX_OK ||
                              qx_setting_resolve(&s, hist, &err) != QX_OK)) ||
            qx_weights_set(w, i, &s, &err) != QX_OK) {
            stop(&err);
        }
        qx_hist_unref(hist);
    }
    if (qx_weights_prepare(w, f->bits ? QX_ENGINE_PACKED : QX_ENGINE_SIMULATED, pool, NULL, &err) !=
        QX_OK) {
        stop(&err);
    }
}

/* Peak of the process since `reset`, MB. */
static double peak_mb(bool reset)
{
    char line[256];
    double kb = 0.0;
    FILE *file = reset ? fopen("/proc/self/clear_refs", "w") : fopen("/proc/self/status", "r");
    if (!file) {
        return 0.0;
    }
    if (reset) {
        fputs("5\n", file);
    }
    while (!reset && fgets(line, sizeof line, file)) {
        sscanf(line, "VmHWM: %lf", &kb);
    }
    fclose(file);
    return kb / 1024.0;
}

struct answer {
    double prompt_s, step_s, cpu_s, read_gbs; /* the best of each */
    double share, cpu_share;                  /* medians */
    double peak_mb, all_peak_mb;
};

/* CPU time of all threads. */
static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *of, int n)
{
    qsort(of, (size_t)n, sizeof *of, by_value);
    return of[n / 2];
}

enum { READ_BYTES = 1 << 28, READ_PART = 1 << 20 };

static void read_part_of(void *memory, int64_t i, int worker)
{
    (void)worker;
    qxk_peak_read((const char *)memory + i * READ_PART, READ_PART);
}

static void step(struct qx_decode *d, int n_prompt, const int32_t *ids)
{
    struct qx_error err;
    qx_decode_rewind(d, n_prompt);
    if (qx_decode_feed(d, ids, 1, NULL, &err) != QX_OK) {
        stop(&err);
    }
}

/* Steps behind the prompt, each followed by a plain read. `bytes`: of weights a step. */
static void time_steps(struct qx_decode *d, int n_prompt, const int32_t *ids, struct qx_pool *pool,
                       double bytes, struct answer *a)
{
    enum { MOST = 1000 };
    double shares[MOST], cpu_shares[MOST];
    const int asked = option("--steps", 24), steps = asked < MOST ? asked : MOST;
    void *owner = NULL, *memory = qxk_pages_alloc(READ_BYTES, &owner);
    for (int i = 0; memory && i < steps; i++) {
        double cpu[3], at[3];
        cpu[0] = cpu_s();
        at[0] = qx_clock_s();
        step(d, n_prompt, ids);
        at[1] = qx_clock_s();
        cpu[1] = cpu_s();
        qx_pool_for(pool, READ_BYTES / READ_PART, read_part_of, memory);
        at[2] = qx_clock_s();
        cpu[2] = cpu_s();
        const double s = at[1] - at[0], c = (cpu[1] - cpu[0]) / qx_pool_threads(pool);
        const double gbs = 1e-9 * READ_BYTES / (at[2] - at[1]);
        a->step_s = s < a->step_s ? s : a->step_s;
        a->cpu_s = c < a->cpu_s ? c : a->cpu_s;
        a->read_gbs = gbs > a->read_gbs ? gbs : a->read_gbs;
        shares[i] = bytes / READ_BYTES * (at[2] - at[1]) / s;
        cpu_shares[i] = bytes / READ_BYTES * (cpu[2] - cpu[1]) / (cpu[1] - cpu[0]);
    }
    qxk_pages_free(owner);
    if (memory && steps > 0) {
        a->share = median(shares, steps);
        a->cpu_share = median(cpu_shares, steps);
    }
}

/* linear: weights of the products of a step. */
static struct answer measure(const struct format *f, int threads, double linear)
{
    struct qx_model *model = NULL;
    struct qx_net *net = NULL;
    struct qx_weights *w = NULL;
    struct qx_pool *pool = NULL;
    struct qx_decode *d = NULL;
    struct qx_error err = {0};
    struct answer a = {.step_s = 1e9, .cpu_s = 1e9};
    const int n_prompt = option("--prompt", 32);
    if (qx_model_open(folder, &model, &err) != QX_OK || qx_net_open(model, &net, &err) != QX_OK ||
        qx_weights_new(net, &w, &err) != QX_OK || qx_pool_new(threads, &pool, &err) != QX_OK) {
        stop(&err);
    }
    apply(model, net, w, f, pool);
    a.all_peak_mb = peak_mb(false);
    peak_mb(true);
    int32_t *ids = calloc((size_t)n_prompt, sizeof *ids);
    for (int i = 0; i < n_prompt; i++) {
        ids[i] = (int32_t)(i * 977 % qx_net_n_classes(net));
    }
    if (qx_decode_open(net, w, n_prompt + 1, pool, &d, &err) != QX_OK) {
        stop(&err);
    }
    const double start = qx_clock_s();
    if (qx_decode_feed(d, ids, n_prompt, NULL, &err) != QX_OK) {
        stop(&err);
    }
    a.prompt_s = qx_clock_s() - start;
    step(d, n_prompt, ids);
    a.peak_mb = peak_mb(false);
    time_steps(d, n_prompt, ids, pool, linear * f->bytes_a_weight, &a);
    free(ids);
    qx_decode_close(&d);
    qx_pool_free(pool);
    qx_weights_free(w);
    qx_net_close(&net);
    qx_model_close(&model);
    return a;
}

/* In a process of its own, for the memory. */
static struct answer measure_apart(const struct format *f, int threads, double linear)
{
    struct answer a = {0};
    int ends[2];
    if (pipe(ends) != 0) {
        perror("pipe");
        exit(1);
    }
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        a = measure(f, threads, linear);
        _exit(write(ends[1], &a, sizeof a) == (ssize_t)sizeof a ? 0 : 1);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], &a, sizeof a) != (ssize_t)sizeof a) {
        fprintf(stderr, "bench_decode: %s gave no figures\n", f->name);
        exit(1);
    }
    close(ends[0]);
    waitpid(child, NULL, 0);
    return a;
}

int main(int argc, char **argv)
{
    restart_for_blas(argv);
    n_args = argc;
    args = argv;
    const struct sizes s = {option("--layers", 2),   option("--hidden", 2048),
                            option("--inner", 5632), option("--heads", 32),
                            option("--kv", 4),       option("--vocab", 32000)};
    const int threads = option("--threads", qx_cpu_get()->n_cores);
    const double kv = (double)s.hidden / s.heads * s.kv;
    const double a_layer = (double)s.hidden * (2.0 * s.hidden + 2.0 * kv + 3.0 * s.inner);
    const double linear = s.layers * a_layer + (double)s.vocabulary * s.hidden;
    struct answer fp32 = {0};
    write_model(&s);
    atexit(remove_model);
    printf("%.0f million weights (%.0f read a step), %s, %d threads\n",
           1e-6 * (linear + (double)s.vocabulary * s.hidden), 1e-6 * linear, qx_cpu_get()->name,
           threads);
    printf("          prompt tok/s   tokens/s  x fp32   GB/s  plain  of read  by CPU time  peak MB "
           " x fp32  "
           "with packing\n");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const struct format *f = &formats[i];
        if (!is_wanted(f->name)) {
            continue;
        }
        const struct answer a = measure_apart(f, threads, linear);
        fp32 = f->bits ? fp32 : a;
        printf("  %-6s %13.1f %10.2f %7.2f %6.1f %6.1f %7.0f%% %5.2fx %4.0f%% %8.0f %7.2f %13.0f\n",
               f->name, option("--prompt", 32) / a.prompt_s, 1.0 / a.step_s, fp32.step_s / a.step_s,
               1e-9 * linear * f->bytes_a_weight / a.step_s, a.read_gbs, 100.0 * a.share,
               fp32.cpu_s / a.cpu_s, 100.0 * a.cpu_share, a.peak_mb,
               fp32.peak_mb > 0 ? a.peak_mb / fp32.peak_mb : 0.0, a.all_peak_mb);
        fflush(stdout);
    }
    return 0;
}
