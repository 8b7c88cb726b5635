/* How fast values become blocks: the quantizer alone on one core, from memory and from the cache, and whole tensors on
 * all cores, by CPU time and by the clock; beside a copy of the same tensor on one core, and on all of them before and after
 * each format. Printed, never asserted. Without arguments
 * all formats; or their names. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/pool.h"
#include "qx/cpu.h"
#include "qx/quant.h"

enum { ROWS = 2048, COLS = 4096, RUNS = 7, HOT = 16384, HOT_TIMES = 256, COPY_PART = 1 << 20 };

static double clock_s(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Median of RUNS, seconds. */
#define BENCH(out, id, body)                      \
    do {                                          \
        double s_[RUNS];                          \
        for (int run_ = 0; run_ < RUNS; run_++) { \
            double from_ = clock_s(id);           \
            body;                                 \
            s_[run_] = clock_s(id) - from_;       \
        }                                         \
        qsort(s_, RUNS, sizeof s_[0], by_value);  \
        (out) = s_[RUNS / 2];                     \
    } while (0)

/* Nearly normal, of another size in every row. */
static void fill(float *x)
{
    uint32_t seed = 1;

    for (int64_t i = 0; i < (int64_t)ROWS * COLS; i++) {
        float sum = 0.0f;

        for (int k = 0; k < 4; k++) {
            seed = seed * 1664525u + 1013904223u;
            sum += (float)(seed >> 8) / 0x1p24f - 0.5f;
        }
        x[i] = sum * (0.02f + 0.01f * (float)(i / COLS % 7));
    }
}

static bool is_asked(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return true;
        }
    }
    return argc < 2;
}

static void whole(const struct qx_tensor *t, const struct qx_setting *s, struct qx_pool *pool,
                  uint8_t *out)
{
    struct qx_error err;
    float scale;

    if (qx_encode_tensor(t, qx_channels_of(t, 0), s, pool, NULL, out, &scale, &err) != QX_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
}

struct copy {
    const uint8_t *from;
    uint8_t *to;
};

static void copy_part(void *arg, int64_t i, int worker)
{
    const struct copy *c = arg;

    (void)worker;
    memcpy(c->to + i * COPY_PART, c->from + i * COPY_PART, COPY_PART);
}

/* GB/s that a copy moves on all cores. */
static double copy_gbs(struct qx_pool *pool, const struct qx_tensor *t, uint8_t *out)
{
    struct copy c = {t->data, out};
    double wall;

    BENCH(wall, CLOCK_MONOTONIC, qx_pool_for(pool, t->bytes / COPY_PART, copy_part, &c));
    return 2.0 * (double)t->bytes / wall * 1e-9;
}

static void bench_format(const struct qx_format *f, const struct qx_tensor *t, struct qx_pool *pool,
                         uint8_t *out)
{
    const struct qx_setting s = qx_setting_of(f, 0);
    const double n = (double)t->numel, moved = 4.0 + (double)f->block->bytes / f->block->n;
    double cold, hot, cpu, wall, copy = copy_gbs(pool, t, out);

    BENCH(cold, CLOCK_THREAD_CPUTIME_ID,
          f->block->encode((const float *)t->data, NULL, (size_t)(t->numel / f->block->n), out));
    BENCH(
        hot, CLOCK_THREAD_CPUTIME_ID, for (int i = 0; i < HOT_TIMES; i++) {
            f->block->encode((const float *)t->data, NULL, (size_t)(HOT / f->block->n), out);
        });
    BENCH(cpu, CLOCK_PROCESS_CPUTIME_ID, whole(t, &s, pool, out));
    BENCH(wall, CLOCK_MONOTONIC, whole(t, &s, pool, out));
    copy = (copy + copy_gbs(pool, t, out)) / 2.0; /* before and after */
    printf("%-6s %8.0f %6.2f %10.0f %14.0f %10.0f %6.2f %8.2f\n", f->title, n / cold * 1e-6,
           n * moved / cold * 1e-9, (double)HOT * HOT_TIMES / hot * 1e-6, n / cpu * 1e-6,
           n / wall * 1e-6, n * moved / wall * 1e-9, n * moved / wall * 1e-9 / copy);
}

int main(int argc, char **argv)
{
    static const int64_t shape[2] = {ROWS, COLS};
    const size_t bytes = (size_t)ROWS * COLS * sizeof(float);
    struct qx_tensor t = {.name = "w", .dtype = QX_DTYPE_F32, .rank = 2, .shape = shape};
    struct qx_pool *pool = NULL;
    float *x = malloc(bytes);
    uint8_t *out = malloc(bytes);
    double copy;

    if (!x || !out || qx_pool_new(qx_cpu_get()->n_cores, &pool, NULL) != QX_OK) {
        return 1;
    }
    fill(x);
    t.numel = (int64_t)ROWS * COLS;
    t.data = (const uint8_t *)x;
    t.bytes = bytes;
    BENCH(copy, CLOCK_THREAD_CPUTIME_ID, memcpy(out, x, bytes));
    printf("%s, %s: %d x %d float32; a copy moves %.2f GB/s on one core\n", qx_cpu_get()->name,
           qx_isa_name(qx_cpu_get()->isa), ROWS, COLS, 2.0 * (double)bytes / copy * 1e-9);
    printf("%-6s %15s %10s %14s %26s\n", "", "one core", "in cache", "whole, per core",
           "whole, all cores");
    printf("%-6s %8s %6s %10s %14s %10s %6s %8s\n", "", "M/s", "GB/s", "M/s", "M/s", "M/s", "GB/s",
           "to copy");
    for (int i = 0; i < qx_format_count(); i++) {
        const struct qx_format *f = qx_format_at(i);

        if (f->block && is_asked(argc, argv, f->name)) {
            bench_format(f, &t, pool, out);
        }
    }
    qx_pool_free(pool);
    free(x);
    free(out);
    return 0;
}
