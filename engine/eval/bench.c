/* One network in one number format: latency of a sample, throughput of batches, energy. */
#include "qx/bench.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { RUNS = 50, WARMUP = 5, BATCH_MOST = 256, BATCHES_LEAST = 3 };
static const double latency_s = 3.0; /* about, when the runs are not given */
static const double batches_s = 0.5; /* RAPL counts in steps of a millisecond */

struct bench {
    const struct qx_net *net;
    const struct qx_weights *w;
    struct qx_pool *pool;
    struct qx_ctl *ctl;
    struct qx_ctl silent; /* passes count rows; this counts milliseconds */
    float *x, *logits;
    int64_t batch;
    /* weights that are widened for every pass */
    uint16_t *half;
    float *wide;
    int64_t n_half;
    double convert_s; /* the fastest widening so far */
};

struct qx_bench_options qx_bench_options_default(void)
{
    return (struct qx_bench_options){.n_warmup = -1};
}

/* ---- weights in 16 bits ---- */

enum { CONVERT_BLOCK = 1 << 16 };

static void widen_block(void *arg, int64_t i, int worker)
{
    struct bench *b = arg;
    const int64_t first = i * CONVERT_BLOCK, left = b->n_half - first;
    (void)worker;
    qxk_get()->f16_to_f32(b->half + first, (size_t)(left < CONVERT_BLOCK ? left : CONVERT_BLOCK),
                          b->wide + first);
}

static void widen(struct bench *b)
{
    if (b->half) {
        const double start = qx_clock_s();
        qx_pool_for(b->pool, (b->n_half + CONVERT_BLOCK - 1) / CONVERT_BLOCK, widen_block, b);
        const double t = qx_clock_s() - start;
        b->convert_s = b->convert_s > 0 && b->convert_s < t ? b->convert_s : t;
    }
}

/* The pass itself reads weights that were rounded beforehand: the same values. */
static enum qx_status half_new(struct bench *b, const struct qx_model *model, struct qx_error *err)
{
    for (int i = 0; i < qx_net_n_layers(b->net); i++) {
        b->n_half += qx_model_tensor(model, qx_net_layer(b->net, i)->tensor)->numel;
    }
    b->half = qx_mem_aligned((size_t)b->n_half * sizeof *b->half + 1);
    b->wide = qx_mem_aligned((size_t)b->n_half * sizeof *b->wide + 1);
    if (!b->half || !b->wide) {
        return qx_fail_nomem(err, (size_t)b->n_half * sizeof *b->wide);
    }
    float *at = b->wide;
    for (int i = 0; i < qx_net_n_layers(b->net); i++) {
        const struct qx_tensor *t = qx_model_tensor(model, qx_net_layer(b->net, i)->tensor);
        const enum qx_status st = qx_tensor_read(t, 0, t->numel, at, err);
        if (st != QX_OK) {
            return st;
        }
        at += t->numel;
    }
    qxk_get()->f32_to_f16(b->wide, (size_t)b->n_half, b->half);
    return QX_OK;
}

/* ---- passes ---- */

static enum qx_status pass(struct bench *b, int64_t n, struct qx_error *err)
{
    widen(b);
    return qx_net_run(b->net, b->w, b->x, n, b->logits, NULL, b->pool, &b->silent, err);
}

static enum qx_status one_sample(void *arg, struct qx_error *err)
{
    struct bench *b = arg;
    const double start = qx_clock_s();
    const enum qx_status st = pass(b, 1, err);
    qx_ctl_add(b->ctl, (int64_t)(1e3 * (qx_clock_s() - start)));
    return st;
}

/* How many runs of a sample take about as long as we want. */
static enum qx_status runs_find(struct bench *b, int *n_runs, struct qx_error *err)
{
    const double start = qx_clock_s();
    const enum qx_status st = one_sample(b, err);
    const double most = latency_s / (qx_clock_s() - start + 1e-9);
    *n_runs = most >= RUNS ? RUNS : most < QX_LATENCY_RUNS ? QX_LATENCY_RUNS : (int)most;
    return st;
}

static enum qx_status latency_find(struct bench *b, const struct qx_bench_options *options,
                                   struct qx_bench_figures *out, struct qx_error *err)
{
    int n_runs = options->n_runs;
    const int n_warmup = options->n_warmup < 0 ? WARMUP : options->n_warmup;
    enum qx_status st = n_runs ? QX_OK : runs_find(b, &n_runs, err);
    if (st == QX_OK) {
        st = qx_latency_measure(one_sample, b, n_warmup, n_runs, b->ctl, &out->latency, err);
        out->convert_ms = 1e3 * b->convert_s;
    }
    return st;
}

static enum qx_status batches_run(struct bench *b, const char *energy_root,
                                  struct qx_bench_figures *out, struct qx_error *err)
{
    struct qx_energy energy;
    int64_t n = 0;
    double t = 0.0;
    enum qx_status st = pass(b, b->batch, err); /* warms up */
    qx_energy_start(&energy, energy_root);
    const double start = qx_clock_s();
    while (st == QX_OK && (t < batches_s || n < BATCHES_LEAST)) {
        st = qx_cancel_test(b->ctl) ? qx_fail(err, QX_ECANCELLED, "the benchmark was cancelled")
                                    : pass(b, b->batch, err);
        const double now = qx_clock_s() - start;
        qx_ctl_add(b->ctl, (int64_t)(1e3 * (now - t)));
        t = now;
        n++;
    }
    if (st == QX_OK) {
        const double rows = (double)(n * b->batch);
        out->throughput = rows / t;
        out->batch = b->batch;
        out->energy_j = qx_energy_stop(&energy) / rows;
        snprintf(out->energy_reason, sizeof out->energy_reason, "%s", energy.reason);
    }
    return st;
}

/* ---- what runs ---- */

enum product {
    PRODUCT_FLOAT,
    PRODUCT_LEVELS, /* packed weights decoded in front of sgemm: uneven levels of 8 bits, ... */
    PRODUCT_BLOCKS,
    PRODUCT_F16,
    PRODUCT_BF16,
    PRODUCT_CODES8,
    PRODUCT_CODES4,
    PRODUCT_F32S8, /* weights only, by kernels that decode in registers */
    PRODUCT_F32S4,
    PRODUCT_8,
    PRODUCT_4,
    PRODUCT_KINDS
};

/* The operation of a product, and whether it stands in front of sgemm. */
static const struct {
    enum qxk_op op;
    bool is_decoded;
    double bytes; /* of a weight as it waits, but for scales */
} products[PRODUCT_KINDS] = {
    [PRODUCT_FLOAT] = {.bytes = 4.0},
    [PRODUCT_LEVELS] = {.bytes = 1.0},
    [PRODUCT_BLOCKS] = {.bytes = 0.5625},
    [PRODUCT_F16] = {QXK_OP_f16_to_f32, true, 2.0},
    [PRODUCT_BF16] = {QXK_OP_bf16_to_f32, true, 2.0},
    [PRODUCT_CODES8] = {QXK_OP_s8_to_f32, true, 1.0},
    [PRODUCT_CODES4] = {QXK_OP_u4_to_f32, true, 0.5},
    [PRODUCT_F32S8] = {QXK_OP_gemm_f32s8, false, 1.0},
    [PRODUCT_F32S4] = {QXK_OP_gemm_f32s4, false, 0.5},
    [PRODUCT_8] = {QXK_OP_gemm_u8s8, false, 1.0},
    [PRODUCT_4] = {QXK_OP_gemm_s8s4, false, 0.5},
};

/* Inputs in float32, weights packed. */
static enum product packed_product(const struct qx_layer *l, const struct qx_setting *set)
{
    const bool is_group = set->gran == QX_GRAN_GROUP;
    const bool is_kernel_group = set->group == 32 || set->group == 64 || set->group == 128;
    const bool is_conv = strcmp(l->op, "Conv") == 0;
    const int bits = set->format->book ? set->format->book->bits : set->bits;
    if (set->format->block) {
        return PRODUCT_BLOCKS;
    }
    if (!qx_format_is_scaled(set->format)) {
        return strcmp(set->format->name, "bf16") == 0 ? PRODUCT_BF16 : PRODUCT_F16;
    }
    if (bits <= 4) {
        return is_conv || (is_group && !is_kernel_group) ? PRODUCT_CODES4 : PRODUCT_F32S4;
    }
    return set->format->book     ? PRODUCT_LEVELS
           : is_conv || is_group ? PRODUCT_CODES8
                                 : PRODUCT_F32S8;
}

/* Groups of at most 4 bits have a product of their own. */
static enum product product_of(const struct qx_layer *l, const struct qx_setting *set,
                               enum qx_engine engine)
{
    if (engine == QX_ENGINE_SIMULATED || qx_setting_is_fp32(set)) {
        return PRODUCT_FLOAT;
    }
    if (!qx_setting_is_int(set) || set->act.bits == 0) {
        return packed_product(l, set);
    }
    return set->gran == QX_GRAN_GROUP && set->bits <= 4 ? PRODUCT_4 : PRODUCT_8;
}

static void product_name(enum product p, char *buf, size_t cap)
{
    const enum qxk_op op = products[p].op;
    if (p == PRODUCT_FLOAT || p == PRODUCT_LEVELS || p == PRODUCT_BLOCKS) {
        snprintf(buf, cap, "%s",
                 p == PRODUCT_FLOAT    ? "sgemm openblas"
                 : p == PRODUCT_LEVELS ? "levels + sgemm"
                                       : "blocks + sgemm");
    } else {
        snprintf(buf, cap, "%s %s%s", qxk_op_name(op), qx_isa_name(qxk_get()->isa[op]),
                 products[p].is_decoded ? " + sgemm" : "");
    }
}

static void kernel_name(const struct qx_net *net, const struct qx_weights *w,
                        const struct qx_setting *set, struct qx_bench_figures *out)
{
    int n[PRODUCT_KINDS] = {0}, kinds = 0;
    size_t at = 0;
    out->engine = qx_weights_engine(w);
    for (int i = 0; i < qx_net_n_layers(net); i++) {
        if (qx_net_layer(net, i)->role == QX_ROLE_LINEAR) {
            kinds += n[product_of(qx_net_layer(net, i), &set[i], out->engine)]++ == 0;
        }
    }
    for (int p = PRODUCT_KINDS - 1; p >= 0; p--) {
        char name[40], count[16] = "";
        product_name((enum product)p, name, sizeof name);
        if (kinds > 1) {
            snprintf(count, sizeof count, "%d ", n[p]);
        }
        if (n[p] > 0 && at < sizeof out->kernel) {
            at += (size_t)snprintf(out->kernel + at, sizeof out->kernel - at, "%s%s%s",
                                   at ? ", " : "", count, name);
        }
    }
}

static enum qx_status buffers_new(struct bench *b, const struct qx_dataset *data,
                                  struct qx_error *err)
{
    const int64_t sample = qx_net_sample_size(b->net), n = qx_dataset_n(data);
    b->batch = n < BATCH_MOST ? n : BATCH_MOST;
    b->x = qx_mem_array((size_t)b->batch, (size_t)sample * sizeof *b->x);
    b->logits =
        qx_mem_array((size_t)b->batch, (size_t)qx_net_n_classes(b->net) * sizeof *b->logits);
    if (!b->x || !b->logits) {
        return qx_fail_nomem(err, (size_t)(b->batch * sample) * sizeof *b->x);
    }
    return qx_dataset_read(data, 0, b->batch, b->x, err);
}

enum qx_status qx_bench_run(const struct qx_net *net, const struct qx_model *model,
                            const struct qx_dataset *data, const struct qx_weights *w,
                            const struct qx_setting *set, bool converts,
                            const struct qx_bench_options *options, struct qx_pool *pool,
                            struct qx_ctl *ctl, struct qx_bench_figures *out, struct qx_error *err)
{
    struct bench b = {.net = net, .w = w, .pool = pool, .ctl = ctl};
    atomic_init(&b.silent.cancel, false);
    *out = (struct qx_bench_figures){.energy_j = (double)NAN};
    enum qx_status st = buffers_new(&b, data, err);
    if (st == QX_OK && converts) {
        st = half_new(&b, model, err);
    }
    if (st == QX_OK) {
        st = latency_find(&b, options, out, err);
    }
    if (st == QX_OK) {
        st = batches_run(&b, options->energy_root, out, err);
    }
    if (st == QX_OK) {
        kernel_name(net, w, set, out);
        out->weights_bytes = qx_weights_bytes(w);
    }
    qx_mem_free(b.x);
    qx_mem_free(b.logits);
    qx_mem_free(b.half);
    qx_mem_free(b.wide);
    return st;
}

/* As the kernels read a weight: widened beforehand, it is read in 16 bits, written and read again. */
static double weight_bytes(const struct qx_setting *set, bool converts, enum product p)
{
    const bool has_groups =
        p != PRODUCT_FLOAT && products[p].bytes < 1.0 && set->gran == QX_GRAN_GROUP;
    return converts ? 2.0 + 4.0 + 4.0
                    : products[p].bytes + (has_groups ? 2.0 / (double)set->group : 0.0);
}

double qx_bench_bytes_moved(const struct qx_net *net, const struct qx_model *model,
                            const struct qx_setting *set, bool converts, enum qx_engine engine)
{
    double bytes = 0.0;
    for (int i = 0; i < qx_net_n_layers(net); i++) {
        const struct qx_layer *l = qx_net_layer(net, i);
        const double n = (double)qx_model_tensor(model, l->tensor)->numel;
        const enum product p = product_of(l, &set[i], engine);
        if (l->role == QX_ROLE_LINEAR && n > 0) {
            const double outputs = (double)l->macs * (double)l->channels.count / n;
            const double value = p >= PRODUCT_8 && !set[i].act.dynamic ? 1.0 : 4.0;
            bytes += weight_bytes(&set[i], converts, p) * n + 2.0 * value * outputs;
        }
    }
    return bytes;
}
