/* Single kernels: operations a second, bytes a second, the share of what the machine can do. */
#include "qx/bench.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "kernels/peak.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = QX_KERNEL_ROUNDS - 1, N_BUFFERS = 10 };
static const double sample_s = 0.02; /* a round of one kernel */

const char *const qx_kernel_shapes =
    "1x768x768,1x3072x768,1x4096x4096,16x768x768,128x768x768,128x3072x768,512x3072x768";

void qx_machine_measure(struct qx_machine *out)
{
    out->peak_gops = qxk_peak_gops(qx_cpu_get()->isa, &out->peak_how);
    out->read_gbs = qxk_peak_read_gbs(1UL << 28);
}

enum qx_status qx_kernel_shape(const char *text, size_t len, int64_t mnk[3], struct qx_error *err)
{
    const int64_t most = 1 << 20, values = INT64_C(1) << 31;
    char copy[64], rest;
    long long v[3];
    snprintf(copy, sizeof copy, "%.*s", (int)(len < sizeof copy ? len : sizeof copy), text);
    bool ok = sscanf(copy, "%9lldx%9lldx%9lld%c", &v[0], &v[1], &v[2], &rest) == 3;
    for (int i = 0; ok && i < 3; i++) {
        ok = v[i] >= 1 && v[i] <= most;
        mnk[i] = v[i];
    }
    if (!ok || v[1] * v[2] > values || v[0] * v[2] > values || v[0] * v[1] > values) {
        return qx_fail(err, QX_ERANGE,
                       "'%s' is no shape: write MxNxK (16x768x768), each 1 to 2^20 and no matrix "
                       "beyond 2^31 values",
                       copy);
    }
    return QX_OK;
}

/* ---- operands ---- */

struct problem {
    int64_t m, n, k, padded; /* padded: k up to a multiple of 128 */
    struct qx_pool *pool;
    float *a, *w, *a_scale, *scales;
    uint8_t *codes; /* [m][padded]; of activations, given or made in the run */
    uint8_t *made;
    uint8_t *digits; /* [m][3 padded] and their parts */
    int8_t *w_s8;
    int32_t *sums;
    void *y;
    struct qxk_w8 w8;
    struct qxk_w4 g32, g128;
    const struct qxk_w4 *w4; /* the one in use */
    void *buffers[N_BUFFERS];
    int n_buffers;
    const struct qx_kernel_peer *peer; /* NULL where there is none */
    void *peer_state;
};

static const int32_t zero_point = 128;
static const float one_scale = 0.01f;

static void *take(struct problem *p, int64_t n, size_t size)
{
    size_t bytes;
    void *v = qx_size_mul((size_t)n, size, &bytes) ? qx_mem_aligned(bytes + 64) : NULL;
    p->buffers[p->n_buffers++] = v;
    return v ? memset(v, 0, bytes + 64) : NULL;
}

static void operands_free(struct problem *p)
{
    if (p->peer) {
        p->peer->dismiss(p->peer_state);
    }
    qxk_w8_release(&p->w8);
    qxk_w4_release(&p->g32);
    qxk_w4_release(&p->g128);
    for (int i = 0; i < p->n_buffers; i++) {
        qx_mem_free(p->buffers[i]);
    }
}

static bool operands_take(struct problem *p)
{
    const int64_t m = p->m, n = p->n, k = p->k, groups = p->padded / 32;
    p->a = take(p, m * k, sizeof *p->a);
    p->w = take(p, n * k, sizeof *p->w);
    p->codes = take(p, m * p->padded, 1);
    p->made = take(p, m * p->padded, 1);
    p->digits = take(p, m * groups, QXK_DIGITS * 32 + sizeof(struct qxk_split_part));
    p->w_s8 = take(p, n * k, 1);
    p->y = take(p, m * n, sizeof(float));
    p->a_scale = take(p, m, sizeof *p->a_scale);
    p->sums = take(p, m * groups, sizeof *p->sums);
    p->scales = take(p, n * groups, sizeof *p->scales);
    for (int i = 0; i < p->n_buffers; i++) {
        if (!p->buffers[i]) {
            return false;
        }
    }
    return true;
}

static enum qx_status pack4(struct problem *p, struct qxk_w4 *w, const int8_t *codes, int group,
                            struct qx_error *err)
{
    struct qxk_w4_source from = {.codes = codes, .scales = p->scales, .n = p->n, .k = p->k};
    from.group = group;
    from.is_f16 = true;
    return qxk_w4_pack(w, &from, err);
}

static enum qx_status operands_pack(struct problem *p, struct qx_error *err)
{
    int8_t *codes = qx_mem_array((size_t)(p->n * p->k), 1);
    if (!codes) {
        return qx_fail_nomem(err, (size_t)(p->n * p->k));
    }
    for (int64_t i = 0; i < p->n * p->k; i++) {
        codes[i] = (int8_t)(p->w_s8[i] / 16);
    }
    enum qx_status st = qxk_w8_pack(&p->w8, p->w_s8, p->n, p->k, err);
    st = st == QX_OK ? pack4(p, &p->g32, codes, 32, err) : st;
    st = st == QX_OK ? pack4(p, &p->g128, codes, 128, err) : st;
    qx_mem_free(codes);
    return st;
}

static enum qx_status operands_new(struct problem *p, struct qx_error *err)
{
    struct qx_rng r;
    qx_rng_init(&r, 3);
    p->padded = (p->k + 127) / 128 * 128;
    if (!operands_take(p)) {
        return qx_fail_nomem(err, (size_t)(p->n * p->k) * sizeof(float));
    }
    for (int64_t i = 0; i < p->m * p->k; i++) {
        p->codes[i] = (uint8_t)qx_rng_next(&r);
        p->a[i] = 0.01f * (float)((int)p->codes[i] - 128);
    }
    for (int64_t i = 0; i < p->n * p->k; i++) {
        p->w_s8[i] = (int8_t)((int)qx_rng_below(&r, 255) - 127);
        p->w[i] = 0.01f * (float)p->w_s8[i];
    }
    for (int64_t i = 0; i < p->n * (p->padded / 32); i++) {
        p->scales[i] = 0.125f;
    }
    return operands_pack(p, err);
}

/* ---- what is timed ---- */

/* OpenBLAS runs on one thread: each takes a part of the outputs. */
static void blas_part(void *arg, int64_t i, int worker)
{
    struct problem *p = arg;
    const int64_t parts = qx_pool_threads(p->pool), n0 = i * p->n / parts;
    const int64_t n = (i + 1) * p->n / parts - n0;
    (void)worker;
    if (n > 0) {
        qxk_sgemm(0, 1, p->m, n, p->k, 1.0f, p->a, p->k, p->w + n0 * p->k, p->k, 0.0f,
                  (float *)p->y + n0, p->n);
    }
}

static void run_blas(struct problem *p)
{
    qx_pool_for(p->pool, qx_pool_threads(p->pool), blas_part, p);
}

static void run_int8(struct problem *p, bool is_signed)
{
    struct qxk_gemm8 g = {.w = &p->w8, .a = p->codes, .y = p->y, .m = p->m};
    g.lda = p->k;
    g.ldy = p->n;
    g.ep = (struct qxk_epilogue){.out = p->k > QXK_K_SPLIT ? QXK_OUT_F32 : QXK_OUT_S32,
                                 .a_scale = &one_scale,
                                 .w_scale = &one_scale};
    qxk_gemm8(p->pool, &g, is_signed, NULL);
}

static void run_u8s8(struct problem *p)
{
    run_int8(p, false);
}

static void run_s8s8(struct problem *p)
{
    run_int8(p, true);
}

static void quant_u8(void *arg, int64_t i, int worker)
{
    struct problem *p = arg;
    struct qxk_row_codes c = {.q = p->made + i * p->k};
    (void)worker;
    qxk_get()->quant_row(p->a + i * p->k, p->k, 8, true, &c);
    p->a_scale[i] = c.scale;
}

static void run_dynamic(struct problem *p)
{
    struct qxk_gemm8 g = {.w = &p->w8, .a = p->made, .y = p->y, .m = p->m};
    g.lda = p->k;
    g.ldy = p->n;
    g.ep = (struct qxk_epilogue){.out = QXK_OUT_F32,
                                 .act = QXK_ACT_RELU,
                                 .a_scale = p->a_scale,
                                 .a_scale_step = 1,
                                 .w_scale = &one_scale,
                                 .a_zero = &zero_point,
                                 .bias = p->scales};
    qx_pool_for(p->m > 8 ? p->pool : NULL, p->m, quant_u8, p);
    qxk_gemm8(p->pool, &g, false, NULL);
}

static void quant_s8(void *arg, int64_t i, int worker)
{
    struct problem *p = arg;
    const int64_t ld = p->w4->n_groups * p->w4->group;
    struct qxk_row_codes c = {.q = p->made + i * ld,
                              .sums = p->sums + i * p->w4->n_groups,
                              .group = p->w4->group,
                              .sum_factor = -8};
    (void)worker;
    qxk_get()->quant_row(p->a + i * p->k, p->k, 8, false, &c);
    p->a_scale[i] = c.scale;
}

static void run_w4a8(struct problem *p, const struct qxk_w4 *w)
{
    p->w4 = w;
    struct qxk_gemm4 g = {.w = w,
                          .a = (const int8_t *)p->made,
                          .group_sum = p->sums,
                          .y = p->y,
                          .m = p->m,
                          .ldy = p->n};
    g.lda = w->n_groups * w->group;
    g.ep = (struct qxk_epilogue){.out = QXK_OUT_F32, .a_scale = p->a_scale, .a_scale_step = 1};
    qx_pool_for(p->m > 8 ? p->pool : NULL, p->m, quant_s8, p);
    qxk_gemm4(p->pool, &g);
}

static void run_g32(struct problem *p)
{
    run_w4a8(p, &p->g32);
}

static void run_g128(struct problem *p)
{
    run_w4a8(p, &p->g128);
}

static void run_weights(struct problem *p, const struct qxk_w8 *w8, const struct qxk_w4 *w4)
{
    struct qxk_gemmf g = {.w8 = w8, .w4 = w4, .x = p->a, .y = p->y, .m = p->m};
    g.ldx = p->k;
    g.ldy = p->n;
    g.ep.w_scale = &one_scale;
    qxk_gemmf(p->pool, &g, 1, p->digits);
}

static void run_f32w8(struct problem *p)
{
    run_weights(p, &p->w8, NULL);
}

static void run_f32w4(struct problem *p)
{
    run_weights(p, NULL, &p->g32);
}

static void run_peer(struct problem *p)
{
    p->peer->run(p->peer_state);
}

static const struct contender {
    const char *weights, *note;
    double weight_bytes; /* a weight, scales included */
    bool is_f32;
    int op; /* QXK_OP_; -1: another library */
    void (*run)(struct problem *p);
} contenders[] = {
    {"f32", "float32, OpenBLAS", 4.0, true, -1, run_blas},
    {"s8", "codes in, 32-bit sums out", 1.0, false, QXK_OP_gemm_u8s8, run_u8s8},
    {"s8", "codes in, 32-bit sums out", 1.0, false, QXK_OP_gemm_s8s8, run_s8s8},
    {"s8", "float32 in and out: quantize, multiply, scale, bias, ReLU", 1.0, false,
     QXK_OP_gemm_u8s8, run_dynamic},
    {"s4:32", "float32 in and out: quantize, multiply, scale", 0.5625, false, QXK_OP_gemm_s8s4,
     run_g32},
    {"s4:128", "float32 in and out: quantize, multiply, scale", 0.515625, false, QXK_OP_gemm_s8s4,
     run_g128},
    {"s8", "float32 activations, weights only", 1.0, true, QXK_OP_gemm_f32s8, run_f32w8},
    {"s4:32", "float32 activations, weights only", 0.5625, true, QXK_OP_gemm_f32s4, run_f32w4},
    {"s8", "codes in, 32-bit sums out", 1.0, false, -1, run_peer},
};
enum { N_CONTENDERS = sizeof contenders / sizeof *contenders };
_Static_assert((int)N_CONTENDERS == QX_KERNEL_ROWS + 1, "one row each, and the peer's");

/* ---- timing ---- */

static double now_s(const struct problem *p)
{
    struct timespec t;
    clock_gettime(qx_pool_threads(p->pool) == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double round_time(struct problem *p, void (*run)(struct problem *))
{
    long n = 0;
    const double start = now_s(p);
    double t;
    do {
        run(p);
        n++;
        t = now_s(p) - start;
    } while (t < sample_s);
    return t / (double)n;
}

static void row_fill(const struct problem *p, const struct contender *c,
                     const struct qx_machine *machine, double t, double blas_t,
                     struct qx_kernel_row *row)
{
    const double values = (double)p->n * (double)p->k;
    const int threads = qx_pool_threads(p->pool), cores = qx_cpu_get()->n_cores;
    const double peak = machine->peak_gops * (threads < cores ? threads : cores);
    *row = (struct qx_kernel_row){.weights = c->weights, .threads = threads, .note = c->note};
    snprintf(row->shape, sizeof row->shape, "%lldx%lldx%lld", (long long)p->m, (long long)p->n,
             (long long)p->k);
    if (c->run == run_blas) {
        snprintf(row->kernel, sizeof row->kernel, "%s openblas", p->m == 1 ? "sgemv" : "sgemm");
    } else if (c->run == run_peer) {
        snprintf(row->kernel, sizeof row->kernel, "%s", p->peer->name);
    } else {
        snprintf(row->kernel, sizeof row->kernel, "%s %s", qxk_op_name((enum qxk_op)c->op),
                 qx_isa_name(qxk_get()->isa[c->op]));
    }
    row->gops = 2e-9 * (double)p->m * values / t;
    row->gbs = 1e-9 * c->weight_bytes * values / t;
    row->peak_share = peak > 0 && !c->is_f32 ? row->gops / peak : (double)NAN;
    row->ratio_openblas = blas_t / t;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static enum qx_status rounds(struct problem *p, double time[N_CONTENDERS][ROUNDS], int n,
                             struct qx_ctl *ctl, struct qx_error *err)
{
    for (int round = -1; round < ROUNDS; round++) { /* the first warms up */
        for (int i = 0; i < n; i++) {
            if (qx_cancel_test(ctl)) {
                return qx_fail(err, QX_ECANCELLED, "the benchmark was cancelled");
            }
            time[i][round < 0 ? 0 : round] = round_time(p, contenders[i].run);
        }
        qx_ctl_add(ctl, 1);
    }
    return QX_OK;
}

static void peer_prepare(struct problem *p, const struct qx_kernel_peer *peer)
{
    if (peer && qx_pool_threads(p->pool) == 1) {
        p->peer_state = peer->prepare(p->codes, p->w_s8, p->y, p->m, p->n, p->k);
        p->peer = p->peer_state ? peer : NULL;
    }
}

enum qx_status qx_kernel_bench(const int64_t mnk[3], const struct qx_machine *machine, int threads,
                               const struct qx_kernel_peer *peer, struct qx_ctl *ctl,
                               struct qx_kernel_row *rows, struct qx_error *err)
{
    struct problem p = {.m = mnk[0], .n = mnk[1], .k = mnk[2]};
    double time[N_CONTENDERS][ROUNDS];
    enum qx_status st = qx_pool_new(threads > 0 ? threads : qx_cpu_get()->n_cores, &p.pool, err);
    if (st == QX_OK) {
        st = operands_new(&p, err);
    }
    if (peer) {
        rows[QX_KERNEL_ROWS] = (struct qx_kernel_row){.weights = NULL};
    }
    if (st == QX_OK) {
        peer_prepare(&p, peer);
    }
    const int n = p.peer ? N_CONTENDERS : QX_KERNEL_ROWS;
    if (st == QX_OK) {
        st = rounds(&p, time, n, ctl, err);
    }
    for (int i = 0; st == QX_OK && i < n; i++) {
        qsort(time[i], ROUNDS, sizeof time[i][0], by_value);
        row_fill(&p, &contenders[i], machine, time[i][ROUNDS / 2], time[0][ROUNDS / 2], &rows[i]);
    }
    operands_free(&p);
    qx_pool_free(p.pool);
    return st;
}
