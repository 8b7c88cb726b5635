/* Products y[M][N] = a[M][K] w[N][K]: GOP/s, GB/s of weights, share of the measured peak, ratio to
 * OpenBLAS (gemv for one row) and, where built in, to oneDNN, all in one run. Prints, never fails. */
#include "base/pool.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "kernels/peak.h"
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5 };
static const double SAMPLE_S = 0.02;

struct problem {
    int64_t m, n, k;
    struct qx_pool *pool;
    float *a, *w;              /* float32 */
    uint8_t *codes_u8, *codes; /* activations: given codes, and those made in the run */
    int8_t *w_s8;
    void *y;
    struct qxk_w8 w8;
    struct qxk_w4 g32, g128;
    const struct qxk_w4 *w4; /* the one in use */
    float *a_scale;
    int32_t *sums;
    float *scales;
    struct peer *peer;
};

static const int32_t zero_point = 128;
static const float one_scale = 0.01f;

static void *take(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!p) {
        fprintf(stderr, "bench_gemm: out of memory\n");
        exit(1);
    }
    return memset(p, 0, bytes);
}

static void pack4(struct problem *p, struct qxk_w4 *w, const int8_t *codes, int group)
{
    struct qxk_w4_source from = {.codes = codes, .scales = p->scales, .n = p->n, .k = p->k};
    from.group = group;
    from.is_f16 = true;
    if (qxk_w4_pack(w, &from, NULL) != QX_OK) {
        exit(1);
    }
}

static void prepare(struct problem *p, int64_t m, int64_t n, int64_t k, int n_threads)
{
    struct qx_rng r;
    qx_rng_init(&r, 3);
    *p = (struct problem){.m = m, .n = n, .k = k};
    int64_t padded = (k + 127) / 128 * 128, groups = padded / 32;
    qx_pool_new(n_threads, &p->pool, NULL);
    p->a = take((size_t)(m * k) * 4);
    p->w = take((size_t)(n * k) * 4);
    p->codes = take((size_t)(m * padded));
    p->codes_u8 = take((size_t)(m * padded));
    p->w_s8 = take((size_t)(n * k));
    p->y = take((size_t)(m * n) * 4);
    p->a_scale = take((size_t)m * 4);
    p->sums = take((size_t)(m * groups) * 4);
    p->scales = take((size_t)(n * groups) * 4);
    int8_t *codes = take((size_t)(n * k));
    for (int64_t i = 0; i < m * k; i++) {
        p->codes_u8[i] = (uint8_t)qx_rng_next(&r);
        p->a[i] = 0.01f * (float)((int)p->codes_u8[i] - 128);
    }
    for (int64_t i = 0; i < n * k; i++) {
        p->w_s8[i] = (int8_t)(qx_rng_below(&r, 255) - 127);
        p->w[i] = 0.01f * (float)p->w_s8[i];
        codes[i] = (int8_t)(p->w_s8[i] / 16);
    }
    for (int64_t i = 0; i < n * groups; i++) {
        p->scales[i] = 0.125f;
    }
    if (qxk_w8_pack(&p->w8, p->w_s8, n, k, NULL) != QX_OK) {
        exit(1);
    }
    pack4(p, &p->g32, codes, 32);
    pack4(p, &p->g128, codes, 128);
    free(codes);
#if QX_BENCH_PEERS
    p->peer = n_threads == 1 ? peer_new(p->codes_u8, p->w_s8, p->y, m, n, k) : NULL;
#endif
}

static void dismiss(struct problem *p)
{
#if QX_BENCH_PEERS
    peer_free(p->peer);
#endif
    qxk_w8_release(&p->w8);
    qxk_w4_release(&p->g32);
    qxk_w4_release(&p->g128);
    qx_pool_free(p->pool);
    void *all[] = {p->a, p->w,       p->codes, p->codes_u8, p->w_s8,
                   p->y, p->a_scale, p->sums,  p->scales};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free(all[i]);
    }
}

/* ---- what is measured ---- */

/* OpenBLAS runs on one thread; with more, each takes a part of the outputs. */
static void blas_part(void *arg, int64_t i, int worker)
{
    struct problem *p = arg;
    int64_t parts = qx_pool_threads(p->pool), n0 = i * p->n / parts,
            n = (i + 1) * p->n / parts - n0;
    (void)worker;
    qxk_sgemm(0, 1, p->m, n, p->k, 1.0f, p->a, p->k, p->w + n0 * p->k, p->k, 0.0f,
              (float *)p->y + n0, p->n);
}

static void run_blas(struct problem *p)
{
    qx_pool_for(p->pool, qx_pool_threads(p->pool), blas_part, p);
}

static void run_peer(struct problem *p)
{
#if QX_BENCH_PEERS
    peer_run(p->peer);
#else
    (void)p;
#endif
}

static void run_u8s8(struct problem *p)
{
    struct qxk_gemm8 g = {.w = &p->w8, .a = p->codes_u8, .y = p->y, .m = p->m};
    g.lda = p->k;
    g.ldy = p->n;
    qxk_gemm8(p->pool, &g, false, NULL);
}

static void quant_u8(void *arg, int64_t i, int worker)
{
    struct problem *p = arg;
    struct qxk_row_codes c = {.q = p->codes + i * p->k};
    (void)worker;
    qxk_get()->quant_row(p->a + i * p->k, p->k, 8, true, &c);
    p->a_scale[i] = c.scale;
}

static void run_dynamic(struct problem *p)
{
    struct qxk_gemm8 g = {.w = &p->w8, .a = p->codes, .y = p->y, .m = p->m};
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
    int64_t ld = p->w4->n_groups * p->w4->group;
    struct qxk_row_codes c = {.q = p->codes + i * ld,
                              .sums = p->sums + i * p->w4->n_groups,
                              .group = p->w4->group,
                              .sum_factor = -8};
    (void)worker;
    qxk_get()->quant_row(p->a + i * p->k, p->k, 8, false, &c);
    p->a_scale[i] = c.scale;
}

static void run_w4a8(struct problem *p)
{
    struct qxk_gemm4 g = {.w = p->w4,
                          .a = (const int8_t *)p->codes,
                          .group_sum = p->sums,
                          .y = p->y,
                          .m = p->m,
                          .ldy = p->n};
    g.lda = p->w4->n_groups * p->w4->group;
    g.ep = (struct qxk_epilogue){.out = QXK_OUT_F32, .a_scale = p->a_scale, .a_scale_step = 1};
    qx_pool_for(p->m > 8 ? p->pool : NULL, p->m, quant_s8, p);
    qxk_gemm4(p->pool, &g);
}

static void run_g32(struct problem *p)
{
    p->w4 = &p->g32;
    run_w4a8(p);
}

static void run_g128(struct problem *p)
{
    p->w4 = &p->g128;
    run_w4a8(p);
}

static void run_weights(struct problem *p, const struct qxk_w8 *w8, const struct qxk_w4 *w4)
{
    struct qxk_gemmf g = {.w8 = w8, .w4 = w4, .x = p->a, .y = p->y, .m = p->m};
    g.ldx = p->k;
    g.ldy = p->n;
    g.ep.w_scale = &one_scale;
    qxk_gemmf(p->pool, &g);
}

static void run_f32w8(struct problem *p)
{
    run_weights(p, &p->w8, NULL);
}

static void run_f32w4(struct problem *p)
{
    run_weights(p, NULL, &p->g32);
}

/* ---- timing ---- */

struct contender {
    const char *name;
    double weight_bytes; /* per weight */
    void (*run)(struct problem *p);
    double time[ROUNDS];
};

/* CPU time for one thread, so that other programs drop out; wall time for more. */
static double now(const struct problem *p)
{
    struct timespec t;
    bool is_one = qx_pool_threads(p->pool) == 1;
    clock_gettime(is_one ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double sample(struct problem *p, void (*run)(struct problem *))
{
    long n = 0;
    double start = now(p), t;
    do {
        run(p);
        n++;
        t = now(p) - start;
    } while (t < SAMPLE_S);
    return t / (double)n;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(struct problem *p, struct contender *c, size_t n, double peak)
{
    for (int round = -1; round < ROUNDS; round++) { /* the first warms up */
        for (size_t i = 0; i < n; i++) {
            c[i].time[round < 0 ? 0 : round] = sample(p, c[i].run);
        }
    }
    double base = 0.0;
    for (size_t i = 0; i < n; i++) {
        qsort(c[i].time, ROUNDS, sizeof(double), by_value);
        double t = c[i].time[ROUNDS / 2], gops = 2e-9 * (double)(p->m * p->n * p->k) / t;
        base = i == 0 ? t : base;
        printf("  %-18s %10.1f us %8.1f GOP/s %7.1f GB/s %6.1f %% of peak %7.2f x OpenBLAS\n",
               c[i].name, t * 1e6, gops, c[i].weight_bytes * (double)(p->n * p->k) / t * 1e-9,
               peak > 0.0 ? 100.0 * gops / peak : 0.0, base / t);
    }
}

static void bench_shape(int64_t m, int64_t n, int64_t k, int n_threads, double peak)
{
    struct problem p;
    prepare(&p, m, n, k, n_threads);
    struct contender all[] = {
        {"openblas f32", 4.0, run_blas, {0}},         {"u8s8 -> s32", 1.0, run_u8s8, {0}},
        {"dynamic int8", 1.0, run_dynamic, {0}},      {"W4A8 groups 32", 0.5625, run_g32, {0}},
        {"W4A8 groups 128", 0.515625, run_g128, {0}}, {"f32 x int8", 1.0, run_f32w8, {0}},
        {"f32 x int4", 0.5625, run_f32w4, {0}},       {"onednn u8s8", 1.0, run_peer, {0}}};
    struct contender used[8];
    size_t count = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].run != run_peer || p.peer) {
            used[count++] = all[i];
        }
    }
    printf("%lldx%lldx%lld\n", (long long)m, (long long)n, (long long)k);
    measure(&p, used, count, peak * n_threads);
    fflush(stdout);
    dismiss(&p);
}

static const char *const default_shapes =
    "1x768x768,1x3072x768,1x768x3072,1x4096x4096,1x11008x4096,16x768x768,128x768x768,128x3072x768,"
    "128x768x3072,512x3072x768,128x4096x4096,1024x1024x1024";

int main(int argc, char **argv)
{
    const char *shapes = default_shapes, *what;
    int n_threads = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) {
            n_threads = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--shapes") == 0) {
            shapes = argv[i + 1];
        } else {
            printf("usage: bench_gemm [--threads T] [--shapes MxNxK,...]; QX_CPU=RUNG lowers the "
                   "rung\n");
            return 1;
        }
    }
    const struct qx_cpu *cpu = qx_cpu_get();
    double peak = qxk_peak_gops(cpu->isa, &what);
    printf("%s, rung %s, %d thread%s\npeak: %.1f GOP/s a core (%s); read %.1f GB/s of 512 KiB, "
           "%.1f GB/s "
           "of 256 MiB\n",
           cpu->name, qx_isa_name(cpu->isa), n_threads, n_threads > 1 ? "s" : "", peak, what,
           qxk_peak_read_gbs(1u << 19), qxk_peak_read_gbs(1u << 28));
    for (const char *s = shapes; s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL) {
        long long m, n, k;
        if (sscanf(s, "%lldx%lldx%lld", &m, &n, &k) != 3 || m < 1 || n < 1 || k < 1) {
            printf("bench_gemm: '%s' is no shape MxNxK\n", s);
            return 1;
        }
        bench_shape(m, n, k, n_threads, peak);
    }
    return 0;
}
