/* Compares every kernel of a rung with the portable one: fills x lengths x alignments, inputs and
 * outputs against unmapped pages, crashes caught and named. See --help. */
#include "shapes.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SKIPPED = 77, MAX_N = 65537, BENCH_N = 1 << 24, CANARY = 0xA5 };

const char *const fill_names[FILL_COUNT] = {"zero", "tiny",    "extreme", "alternate", "normal",
                                            "ties", "one-hot", "special", "bits"};

struct options {
    enum qx_isa isa;
    const char *isa_name;
    const struct qxk_table *rung;
    const char *op; /* NULL = all */
    uint64_t seed;
    bool is_bench, is_list;
};

static sigjmp_buf crash_point;
static volatile sig_atomic_t crash_signal;

static void on_crash(int sig)
{
    crash_signal = sig;
    siglongjmp(crash_point, 1);
}

bool run_guarded(bool (*fn)(void *arg, char why[200]), void *arg, char why[200])
{
    if (sigsetjmp(crash_point, 1) == 0) {
        return fn(arg, why);
    }
    snprintf(why, 200, "crashed: %s", strsignal(crash_signal));
    return false;
}

void guard_new(struct guard *g, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    g->bytes = (bytes + page - 1) / page * page;
    unsigned char *p =
        mmap(NULL, g->bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + page, g->bytes, PROT_READ | PROT_WRITE) != 0) {
        perror("mmap");
        exit(1);
    }
    g->start = p + page;
}

void guard_free(struct guard *g)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    munmap(g->start - page, g->bytes + 2 * page);
}

void *guard_place(const struct guard *g, size_t n, size_t offset, bool at_end)
{
    return at_end ? g->start + g->bytes - n : g->start + offset;
}

/* ---- inputs ---- */

static float special_f32(uint64_t r)
{
    static const float values[] = {INFINITY, -INFINITY, NAN,      0.0f, -0.0f, 65504.0f, 65520.0f,
                                   1e-40f,   -6e-8f,    0x1p-25f, 2.5f, -3.5f, 0x1p15f,  -0x1p-14f};
    return values[r % (sizeof values / sizeof *values)];
}

static float fill_f32(struct qx_rng *r, enum fill fill, size_t i, size_t hot)
{
    uint32_t bits;
    float v;
    switch (fill) {
    case FILL_TINY:
        return (float)(qx_rng_normal(r) * 1e-38);
    case FILL_EXTREME:
        return qx_rng_next(r) & 1 ? 0x1.fffffep127f : -0x1.fffffep127f;
    case FILL_ALTERNATE:
        return i & 1 ? -1.25f : 1.25f;
    case FILL_NORMAL:
        return (float)qx_rng_normal(r);
    case FILL_TIES:
        return (float)((double)qx_rng_below(r, 513) - 256.0) * 0.25f;
    case FILL_ONE_HOT:
        return i == hot ? -7.0f : 0.0f;
    case FILL_SPECIAL:
        return special_f32(qx_rng_next(r));
    case FILL_BITS:
        bits = (uint32_t)qx_rng_next(r);
        memcpy(&v, &bits, 4);
        return v;
    default:
        return 0.0f;
    }
}

static uint16_t fill_u16(struct qx_rng *r, enum fill fill, size_t i, size_t hot)
{
    static const uint16_t extremes[] = {0x7BFF, 0xFBFF, 0x7F7F, 0xFF7F};
    static const uint16_t specials[] = {0x7C00, 0xFC00, 0x7E00, 0x7C01, 0x7F80, 0xFF80,
                                        0x7FC0, 0x8000, 0x0001, 0x8001, 0x03FF, 0x3C00};
    switch (fill) {
    case FILL_TINY:
        return (uint16_t)((qx_rng_next(r) & 0x83FF));
    case FILL_EXTREME:
        return extremes[qx_rng_below(r, 4)];
    case FILL_ALTERNATE:
        return i & 1 ? 0xBC00 : 0x3C00;
    case FILL_NORMAL:
        return (uint16_t)(qx_rng_next(r) & 0xBFFF);
    case FILL_TIES:
        return (uint16_t)(0x3C00 + qx_rng_below(r, 4));
    case FILL_ONE_HOT:
        return i == hot ? 0xC700 : 0;
    case FILL_SPECIAL:
        return specials[qx_rng_below(r, sizeof specials / sizeof *specials)];
    case FILL_BITS:
        return (uint16_t)qx_rng_next(r);
    default:
        return 0;
    }
}

void fill_input(struct qx_rng *r, enum fill fill, char kind, void *p, size_t n)
{
    char *at = p;
    size_t hot = n > 0 ? qx_rng_below(r, n) : 0;
    for (size_t i = 0; i < n; i++) {
        if (kind == 'f') {
            float v = fill_f32(r, fill, i, hot);
            memcpy(at + 4 * i, &v, 4);
        } else if (kind == 'h') {
            uint16_t v = fill_u16(r, fill, i, hot);
            memcpy(at + 2 * i, &v, 2);
        } else {
            at[i] = (char)(fill == FILL_BITS ? (size_t)qx_rng_next(r) : i);
        }
    }
}

/* ---- checking ---- */

struct buffers {
    struct guard x, y, out;
    unsigned char *out_ref;
};

/* The 64 bytes on both sides of [out, out + n), as far as they lie inside the guards. */
static void canary_range(const struct guard *g, unsigned char *out, size_t n, unsigned char **lo,
                         unsigned char **hi)
{
    unsigned char *end = g->start + g->bytes;
    *lo = out - g->start > 64 ? out - 64 : g->start;
    *hi = end - (out + n) > 64 ? out + n + 64 : end;
}

static bool canary_intact(const struct guard *g, unsigned char *out, size_t n)
{
    unsigned char *lo, *hi;
    canary_range(g, out, n, &lo, &hi);
    for (const unsigned char *p = lo; p < hi; p++) {
        if ((p < out || p >= out + n) && *p != CANARY) {
            return false;
        }
    }
    return true;
}

/* One case; false after printing what differs. */
static bool check_case(const struct op_row *row, const struct options *o, struct buffers *b,
                       enum fill fill, size_t n, struct qx_rng *rng)
{
    size_t elem = row->kind == 'f' ? 4 : row->kind == 'h' ? 2 : 1;
    size_t step = row->is_aligned ? 4 : 1, offset = qx_rng_below(rng, 64 / step) * step;
    bool at_end = qx_rng_next(rng) & 1;
    void *x = guard_place(&b->x, n * elem, offset, at_end);
    void *y = guard_place(&b->y, n * elem, 64 - offset, at_end);
    unsigned char *out = guard_place(&b->out, n * row->out_bytes, 64, !at_end);
    char why[200] = "";
    fill_input(rng, fill, row->kind, x, n);
    fill_input(rng, fill, row->kind, y, n);
    unsigned char *lo, *hi;
    canary_range(&b->out, out, n * row->out_bytes, &lo, &hi);
    memset(lo, CANARY, (size_t)(hi - lo));
    struct kcall call = {x, y, out, b->out_ref, n, rng};
    bool ok = false;
    if (sigsetjmp(crash_point, 1) == 0) {
        ok = row->check(qxk_get_isa(QX_ISA_REF), o->rung, &call, why);
        if (ok && row->out_bytes > 0 && !canary_intact(&b->out, out, n * row->out_bytes)) {
            ok = false;
            snprintf(why, sizeof why, "wrote outside the output");
        }
    } else {
        snprintf(why, sizeof why, "crashed: %s", strsignal(crash_signal));
    }
    if (!ok) {
        printf("FAIL %s/%s fill %s n %zu offset %zu%s seed %llu: %s\n", qxk_op_name(row->op),
               o->isa_name, fill_names[fill], n, offset, at_end ? " at end" : "",
               (unsigned long long)o->seed, why);
    }
    return ok;
}

static bool check_op(const struct op_row *row, const struct options *o, struct buffers *b)
{
    static const size_t primes[] = {127, 251, 1021, 4099, 65537};
    struct qx_rng rng;
    qx_rng_init(&rng, o->seed);
    int n_bad = 0;
    for (int fill = 0; fill < FILL_COUNT; fill++) {
        for (size_t n = 0; n <= 67 && n_bad < 5; n++) {
            for (int draw = 0; draw < (row->is_slow ? 1 : 8); draw++) {
                n_bad += !check_case(row, o, b, (enum fill)fill, n, &rng);
            }
        }
        for (size_t i = 0; i < sizeof primes / sizeof *primes && n_bad < 5; i++) {
            n_bad += !check_case(row, o, b, (enum fill)fill, primes[i], &rng);
        }
    }
    printf("%-14s %-10s %s\n", qxk_op_name(row->op), o->isa_name, n_bad ? "FAIL" : "ok");
    return n_bad == 0;
}

static bool check_shapes(const struct op_row *row, const struct options *o)
{
    struct shape_test t = {.ref = qxk_get_isa(QX_ISA_REF),
                           .rung = o->rung,
                           .op = qxk_op_name(row->op),
                           .isa = o->isa_name,
                           .seed = o->seed};
    qx_rng_init(&t.rng, o->seed);
    guard_new(&t.a, SHAPE_BYTES);
    guard_new(&t.b, SHAPE_BYTES);
    guard_new(&t.y, SHAPE_BYTES);
    t.y_ref = malloc(SHAPE_BYTES);
    if (t.y_ref) {
        row->shapes(&t);
    }
    bool ok = t.y_ref && t.n_bad == 0;
    printf("%-14s %-10s %s\n", t.op, t.isa, ok ? "ok" : "FAIL");
    free(t.y_ref);
    guard_free(&t.a);
    guard_free(&t.b);
    guard_free(&t.y);
    return ok;
}

/* ---- benchmark ---- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void plain_read(const struct kcall *c, size_t bytes)
{
    static volatile uint64_t sink;
    const uint64_t *p = c->x;
    uint64_t s[8] = {0};
    for (size_t i = 0; i + 8 <= bytes / 8; i += 8) {
        for (size_t j = 0; j < 8; j++) {
            s[j] ^= p[i + j];
        }
    }
    sink = s[0] ^ s[1] ^ s[2] ^ s[3] ^ s[4] ^ s[5] ^ s[6] ^ s[7];
    (void)sink;
}

/* Median of five, in ns per element; t NULL measures a plain read of `bytes`. */
static double measure(const struct op_row *row, const struct qxk_table *t, const struct kcall *c,
                      size_t bytes)
{
    double time[5];
    for (int i = 0; i < 5; i++) {
        double start = seconds();
        if (t) {
            row->bench(t, c);
        } else {
            plain_read(c, bytes);
        }
        time[i] = seconds() - start;
    }
    qsort(time, 5, sizeof *time, by_value);
    return time[2] / (double)c->n * 1e9;
}

static void bench_op(const struct op_row *row, const struct options *o, struct buffers *b)
{
    struct qx_rng rng;
    qx_rng_init(&rng, o->seed);
    size_t elem = row->kind == 'f' ? 4 : row->kind == 'h' ? 2 : 1;
    struct kcall c = {b->x.start, b->y.start, b->out.start, b->out_ref, BENCH_N, NULL};
    fill_input(&rng, row->kind == 'b' ? FILL_BITS : FILL_NORMAL, row->kind, b->x.start, BENCH_N);
    fill_input(&rng, FILL_NORMAL, row->kind, b->y.start, BENCH_N);
    const struct qxk_table *rung = o->rung;
    double read = measure(row, NULL, &c, BENCH_N * elem);
    double ref = measure(row, qxk_get_isa(QX_ISA_REF), &c, 0);
    double fast = measure(row, rung, &c, 0);
    printf("%-14s %-10s %8.3f ns/elem  ref %8.3f  speedup %6.2f  read %6.3f (%.1fx)\n",
           qxk_op_name(row->op), qx_isa_name(rung->isa[row->op]), fast, ref, ref / fast, read,
           fast / read);
}

/* ---- command line ---- */

static int usage(int code)
{
    printf("usage: checkkern [--isa ref|avx2|avxvnni|avx512vnni|avx512vbmi|evex256] [--op NAME] "
           "[--seed N] "
           "[--bench] "
           "[--list]\nexit 0: all agree, 1: a difference, 77: this CPU or build lacks the rung\n");
    return code;
}

/* 0, or an exit code plus one. */
static int parse(int argc, char **argv, struct options *o)
{
    o->isa = qx_cpu_get()->best;
    o->isa_name = qx_isa_name(o->isa);
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--isa") == 0 && has_value && strcmp(argv[i + 1], "evex256") == 0) {
            o->isa_name = argv[++i];
            o->rung = qx_cpu_get()->avx512vnni ? evex256_table() : NULL;
            if (!o->rung) {
                printf("rung evex256 cannot run here\n");
                return SKIPPED + 1;
            }
        } else if (strcmp(argv[i], "--isa") == 0 && has_value) {
            struct qx_error err;
            enum qx_status st = qx_cpu_limit(argv[++i], &err);
            if (st != QX_OK) {
                printf("%s\n", err.text);
                return (st == QX_EUNSUPPORTED ? SKIPPED : 1) + 1;
            }
            o->isa = qx_cpu_get()->isa;
            o->isa_name = qx_isa_name(o->isa);
        } else if (strcmp(argv[i], "--op") == 0 && has_value) {
            o->op = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0 && has_value) {
            o->seed = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--bench") == 0) {
            o->is_bench = true;
        } else if (strcmp(argv[i], "--list") == 0) {
            o->is_list = true;
        } else {
            return usage(strcmp(argv[i], "--help") == 0 ? 0 : 1) + 1;
        }
    }
    o->rung = o->rung ? o->rung : qxk_get_isa(o->isa);
    return 0;
}

static bool run(const struct options *o)
{
    struct buffers b;
    size_t n = o->is_bench ? BENCH_N : MAX_N;
    guard_new(&b.x, n * 4 + 128);
    guard_new(&b.y, n * 4 + 128);
    guard_new(&b.out, n * 4 + 128);
    b.out_ref = malloc(n * 4);
    bool ok = b.out_ref != NULL;
    for (int i = 0; i < QXK_OP_COUNT && ok; i++) {
        const struct op_row *row = &op_rows[i];
        if (o->op && strcmp(o->op, qxk_op_name(row->op)) != 0) {
            continue;
        }
        if (o->is_list) {
            printf("%-14s %s\n", qxk_op_name(row->op), qx_isa_name(o->rung->isa[i]));
        } else if (o->is_bench) {
            if (row->bench) {
                bench_op(row, o, &b);
            }
        } else if (row->shapes) {
            ok = check_shapes(row, o) && ok;
        } else {
            ok = check_op(row, o, &b) && ok;
        }
    }
    free(b.out_ref);
    return ok;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1};
    int code = parse(argc, argv, &o);
    if (code) {
        return code - 1;
    }
    struct sigaction act = {.sa_handler = on_crash, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &act, NULL);
    sigaction(SIGBUS, &act, NULL);
    sigaction(SIGILL, &act, NULL);
    if (!o.is_list) {
        printf("seed %llu, rung %s\n", (unsigned long long)o.seed, o.isa_name);
    }
    return run(&o) ? 0 : 1;
}
