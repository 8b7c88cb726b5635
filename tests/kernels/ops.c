/* How each operation is called and compared. All comparisons are bit-exact but for the sign of a zero
 * minimum or maximum. */
#include "shapes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- statistics ---- */

static bool stats_equal(const struct qxk_stats *a, const struct qxk_stats *b, char why[200])
{
    bool same = memcmp(&a->sum, &b->sum, 8) == 0 && memcmp(&a->sumsq, &b->sumsq, 8) == 0 &&
                a->min == b->min && a->max == b->max && a->absmax == b->absmax &&
                a->n_finite == b->n_finite && a->n_zero == b->n_zero && a->n_nan == b->n_nan &&
                a->n_posinf == b->n_posinf && a->n_neginf == b->n_neginf;
    if (!same) {
        snprintf(why, 200,
                 "sum %a/%a sumsq %a/%a min %g/%g max %g/%g finite %lld/%lld zero %lld/%lld",
                 a->sum, b->sum, a->sumsq, b->sumsq, (double)a->min, (double)b->min, (double)a->max,
                 (double)b->max, (long long)a->n_finite, (long long)b->n_finite,
                 (long long)a->n_zero, (long long)b->n_zero);
    }
    return same;
}

#define STATS_OP(name)                                                                  \
    static bool check_##name(const struct qxk_table *ref, const struct qxk_table *rung, \
                             const struct kcall *c, char why[200])                      \
    {                                                                                   \
        struct qxk_stats a, b;                                                          \
        ref->name(c->x, c->n, &a);                                                      \
        rung->name(c->x, c->n, &b);                                                     \
        return stats_equal(&a, &b, why);                                                \
    }                                                                                   \
    static void bench_##name(const struct qxk_table *t, const struct kcall *c)          \
    {                                                                                   \
        struct qxk_stats s;                                                             \
        t->name(c->x, c->n, &s);                                                        \
    }
STATS_OP(stats_f32)
STATS_OP(stats_f16)
STATS_OP(stats_bf16)

/* ---- histograms ---- */

static void *zeroed(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memset(p, 0, bytes);
}

/* Scale and linear scale as the histogram builder chooses them, or values far from the data. */
static void pick_scales(const struct kcall *c, float *scale, float *lin)
{
    struct qxk_stats s;
    qxk_get_isa(QX_ISA_REF)->stats_f32(c->x, c->n, &s);
    int e = s.absmax > 0.0f ? ilogbf(s.absmax) : 0;
    int k = 15 - e;
    if (c->rng && qx_rng_below(c->rng, 8) == 0) {
        k += (int)qx_rng_below(c->rng, 60) - 30;
    }
    k = k > 127 ? 127 : k < -126 ? -126 : k;
    *scale = ldexpf(1.0f, k);
    *lin = s.absmax > 0.0f ? fminf(QXK_LIN_BINS / s.absmax, 0x1.fffffep127f) : 1.0f;
}

static bool check_hist_f32(const struct qxk_table *ref, const struct qxk_table *rung,
                           const struct kcall *c, char why[200])
{
    static struct qxk_hist_work *work;
    static struct qxk_hist *a, *b;
    if (!work) {
        work = zeroed(sizeof *work);
        a = zeroed(sizeof *a);
        b = zeroed(sizeof *b);
    }
    memset(a, 0, sizeof *a);
    memset(b, 0, sizeof *b);
    float scale, lin;
    pick_scales(c, &scale, &lin);
    ref->hist_f32(work, c->x, c->n, scale, lin);
    qxk_hist_flush(work, a);
    rung->hist_f32(work, c->x, c->n, scale, lin);
    bool is_counted = work->n_pending == c->n;
    qxk_hist_flush(work, b);
    if (is_counted && memcmp(a, b, sizeof *a) == 0) {
        return true;
    }
    for (int i = 0; i < QXK_HALF_BINS; i++) {
        if (memcmp(&a->half[i], &b->half[i], sizeof a->half[i]) != 0) {
            snprintf(why, 200, "bin %04x: n %llu/%llu s1 %llu/%llu", (unsigned)i,
                     (unsigned long long)a->half[i].n, (unsigned long long)b->half[i].n,
                     (unsigned long long)a->half[i].s1, (unsigned long long)b->half[i].s1);
            return false;
        }
    }
    snprintf(why, 200, "linear bins or counts differ");
    return false;
}

static void bench_hist_f32(const struct qxk_table *t, const struct kcall *c)
{
    static struct qxk_hist_work *work;
    if (!work) {
        work = zeroed(sizeof *work);
    }
    t->hist_f32(work, c->x, c->n, 8192.0f, 300.0f);
}

static bool check_hist_u16(const struct qxk_table *ref, const struct qxk_table *rung,
                           const struct kcall *c, char why[200])
{
    static struct qxk_hist_u16_work *work;
    static uint64_t *a, *b;
    const size_t bytes = QXK_HALF_BINS * sizeof *a;
    if (!work) {
        work = zeroed(sizeof *work);
        a = zeroed(bytes);
        b = zeroed(bytes);
    }
    memset(a, 0, bytes);
    memset(b, 0, bytes);
    for (size_t i = 0; i < c->n; i++) { /* the plainest oracle: ref is itself unrolled */
        uint16_t v;
        memcpy(&v, (const char *)c->x + 2 * i, 2);
        a[v]++;
    }
    (void)ref;
    rung->hist_u16(work, c->x, c->n);
    qxk_hist_u16_flush(work, b);
    snprintf(why, 200, "counts differ");
    return memcmp(a, b, bytes) == 0;
}

static void bench_hist_u16(const struct qxk_table *t, const struct kcall *c)
{
    static struct qxk_hist_u16_work *work;
    if (!work) {
        work = zeroed(sizeof *work);
    }
    t->hist_u16(work, c->x, c->n);
}

static bool check_hist_weighted(const struct qxk_table *ref, const struct qxk_table *rung,
                                const struct kcall *c, char why[200])
{
    static struct qxk_wbin *a, *b;
    const size_t bytes = QXK_HALF_BINS * sizeof *a;
    if (!a) {
        a = zeroed(bytes);
        b = zeroed(bytes);
    }
    struct qxk_stats s;
    qxk_get_isa(QX_ISA_REF)->stats_f32(c->x, c->n, &s);
    float inv = s.absmax > 1e-30f ? 1.0f / s.absmax : 1.0f;
    memset(a, 0, bytes);
    memset(b, 0, bytes);
    ref->hist_weighted(a, c->x, c->n, inv, 32768.0f, (double)s.absmax);
    rung->hist_weighted(b, c->x, c->n, inv, 32768.0f, (double)s.absmax);
    snprintf(why, 200, "weighted bins differ");
    return memcmp(a, b, bytes) == 0;
}

static void bench_hist_weighted(const struct qxk_table *t, const struct kcall *c)
{
    static struct qxk_wbin *bins;
    if (!bins) {
        bins = zeroed(QXK_HALF_BINS * sizeof *bins);
    }
    for (size_t i = 0; i + 3072 <= c->n; i += 3072) {
        t->hist_weighted(bins, (const float *)c->x + i, 3072, 0.2f, 32768.0f, 5.0);
    }
}

/* ---- conversions ---- */

static bool bytes_equal(const struct kcall *c, size_t elem_bytes, char why[200])
{
    const unsigned char *a = c->out_ref, *b = c->out;
    for (size_t i = 0; i < c->n * elem_bytes; i++) {
        if (a[i] != b[i]) {
            snprintf(why, 200, "element %zu, byte %zu: %02x wanted, %02x got", i / elem_bytes,
                     i % elem_bytes, a[i], b[i]);
            return false;
        }
    }
    return true;
}

#define CONVERT_OP(name, out_elem_bytes)                                                \
    static bool check_##name(const struct qxk_table *ref, const struct qxk_table *rung, \
                             const struct kcall *c, char why[200])                      \
    {                                                                                   \
        ref->name(c->x, c->n, c->out_ref);                                              \
        rung->name(c->x, c->n, c->out);                                                 \
        return bytes_equal(c, out_elem_bytes, why);                                     \
    }                                                                                   \
    static void bench_##name(const struct qxk_table *t, const struct kcall *c)          \
    {                                                                                   \
        t->name(c->x, c->n, c->out);                                                    \
    }
CONVERT_OP(f16_to_f32, 4)
CONVERT_OP(bf16_to_f32, 4)
CONVERT_OP(f8e4m3_to_f32, 4)
CONVERT_OP(f8e5m2_to_f32, 4)
CONVERT_OP(f32_to_f16, 2)
CONVERT_OP(f32_to_bf16, 2)
CONVERT_OP(f32_to_f8e4m3, 1)
CONVERT_OP(f32_to_f8e5m2, 1)

/* ---- affine ---- */

/* A quantizer of 2 to 8 bits about as wide as the data, symmetric or not. */
static struct qxk_affine pick_affine(const struct kcall *c)
{
    struct qxk_stats s;
    qxk_get_isa(QX_ISA_REF)->stats_f32(c->x, c->n, &s);
    uint64_t r = c->rng ? qx_rng_next(c->rng) : 0;
    int bits = c->rng ? 2 + (int)(r % 7) : 8;
    bool is_symmetric = !c->rng || (r >> 8 & 1);
    float top = (float)((1 << (bits - 1)) - 1);
    float scale = s.absmax / (top > 0.0f ? top : 1.0f) * (r >> 9 & 1 ? 0.3f : 1.0f);
    scale = r >> 10 & 1 ? 0.5f : scale; /* ties of FILL_TIES fall on the rounding edge */
    scale = scale > 0x1p-126f && isfinite(scale) ? scale : 0x1p-126f;
    if (is_symmetric) {
        return (struct qxk_affine){scale, 0.0f, -top, top};
    }
    return (struct qxk_affine){scale, (float)(r >> 16 & ((1u << bits) - 1)), 0.0f,
                               (float)((1 << bits) - 1)};
}

static bool check_fakequant(const struct qxk_table *ref, const struct qxk_table *rung,
                            const struct kcall *c, char why[200])
{
    struct qxk_affine q = pick_affine(c);
    int64_t a = ref->fakequant(c->x, c->n, &q, c->out_ref);
    int64_t b = rung->fakequant(c->x, c->n, &q, c->out);
    if (a != b) {
        snprintf(why, 200, "non-finite count %lld/%lld", (long long)a, (long long)b);
        return false;
    }
    if (!bytes_equal(c, 4, why)) {
        return false;
    }
    memcpy(c->out, c->x, c->n * 4);
    rung->fakequant(c->out, c->n, &q, c->out);
    return bytes_equal(c, 4, why);
}

static bool check_quantize(const struct qxk_table *ref, const struct qxk_table *rung,
                           const struct kcall *c, char why[200])
{
    struct qxk_affine q = pick_affine(c);
    int64_t a = ref->quantize(c->x, c->n, &q, c->out_ref);
    int64_t b = rung->quantize(c->x, c->n, &q, c->out);
    if (a != b) {
        snprintf(why, 200, "non-finite count %lld/%lld", (long long)a, (long long)b);
        return false;
    }
    return bytes_equal(c, 1, why);
}

/* ---- code books ---- */

/* Uneven levels that ascend from -1 to 1, edges half-way; a book of fewer levels than codes. */
static struct qxk_book pick_book(const struct kcall *c, int bits, float room[511])
{
    struct qxk_affine q = pick_affine(c);
    int n = 1 << bits;
    int used = c->rng ? n - (int)qx_rng_below(c->rng, (uint64_t)n / 2 - 1) : n, zero = used / 2;
    float *level = room, *edge = room + n;
    for (int k = 0; k < n; k++) {
        float t = (float)(k < used ? k - zero : used - 1 - zero) / (float)(used - 1 - zero);
        level[k] = t * fabsf(t);
    }
    for (int k = 0; k + 1 < n; k++) {
        edge[k] = k + 1 < used ? 0.5f * (level[k] + level[k + 1]) : INFINITY;
    }
    return (struct qxk_book){q.scale * (q.qmax > 1.0f ? q.qmax : 1.0f), bits, zero, level, edge};
}

/* The plainest oracle: from one level to the next while the value lies above the edge. */
static bool nearest_is_right(const struct kcall *c, const struct qxk_book *b, const float *y,
                             char why[200])
{
    for (size_t i = 0; i < c->n; i++) {
        float x, want;
        memcpy(&x, (const char *)c->x + 4 * i, 4);
        int k = isfinite(x) ? 0 : b->zero;
        while (isfinite(x) && k + 1 < 1 << b->bits && x / b->scale > b->edge[k]) {
            k++;
        }
        want = b->level[k] * b->scale;
        if (memcmp(&want, &y[i], 4) != 0) {
            snprintf(why, 200, "ref: x %a is %a, not %a", (double)x, (double)y[i], (double)want);
            return false;
        }
    }
    return true;
}

static bool check_book(const struct qxk_table *ref, const struct qxk_table *rung,
                       const struct kcall *c, int bits, char why[200])
{
    static uint8_t codes[2][1 << 16];
    float room[511];
    struct qxk_book q = pick_book(c, bits, room);
    qxk_nearest_fn *plain = bits == 4 ? ref->nearest4 : ref->nearest8;
    qxk_nearest_fn *fast = bits == 4 ? rung->nearest4 : rung->nearest8;
    uint8_t *a_codes = c->n <= sizeof codes[0] ? codes[0] : NULL;
    uint8_t *b_codes = a_codes ? codes[1] : NULL;
    int64_t a = plain(c->x, c->n, &q, c->out_ref, a_codes);
    int64_t b = fast(c->x, c->n, &q, c->out, b_codes);
    if (a != b || (a_codes && memcmp(a_codes, b_codes, c->n) != 0)) {
        snprintf(why, 200, "codes differ, or non-finite count %lld/%lld", (long long)a,
                 (long long)b);
        return false;
    }
    if (!bytes_equal(c, 4, why) || (ref == rung && !nearest_is_right(c, &q, c->out_ref, why))) {
        return false;
    }
    memcpy(c->out, c->x, c->n * 4);
    fast(c->out, c->n, &q, c->out, NULL);
    return bytes_equal(c, 4, why);
}

#define BOOK_OP(bits)                                                                          \
    static bool check_nearest##bits(const struct qxk_table *ref, const struct qxk_table *rung, \
                                    const struct kcall *c, char why[200])                      \
    {                                                                                          \
        return check_book(ref, rung, c, bits, why);                                            \
    }                                                                                          \
    static void bench_nearest##bits(const struct qxk_table *t, const struct kcall *c)          \
    {                                                                                          \
        static float room[511];                                                                \
        static struct qxk_book q;                                                              \
        if (!q.level) {                                                                        \
            q = pick_book(&(struct kcall){.x = c->x, .n = c->n}, bits, room);                  \
        }                                                                                      \
        t->nearest##bits(c->x, c->n, &q, c->out, NULL);                                        \
    }
BOOK_OP(4)
BOOK_OP(8)

static bool error_equal(const struct qxk_error *a, const struct qxk_error *b, char why[200])
{
    if (memcmp(a, b, sizeof *a) == 0) { /* ten 8-byte members: no padding */
        return true;
    }
    snprintf(why, 200, "sse %a/%a sae %a/%a sxy %a/%a n %lld/%lld low %lld/%lld high %lld/%lld",
             a->sse, b->sse, a->sae, b->sae, a->sxy, b->sxy, (long long)a->n, (long long)b->n,
             (long long)a->n_low, (long long)b->n_low, (long long)a->n_high, (long long)b->n_high);
    return false;
}

static bool check_error_f32(const struct qxk_table *ref, const struct qxk_table *rung,
                            const struct kcall *c, char why[200])
{
    struct qxk_error a, b;
    ref->error_f32(c->x, c->y, c->n, &a);
    rung->error_f32(c->x, c->y, c->n, &b);
    return error_equal(&a, &b, why);
}

static bool check_error_affine(const struct qxk_table *ref, const struct qxk_table *rung,
                               const struct kcall *c, char why[200])
{
    struct qxk_error a, b;
    struct qxk_affine q = pick_affine(c);
    ref->error_affine(c->x, c->n, &q, &a);
    rung->error_affine(c->x, c->n, &q, &b);
    return error_equal(&a, &b, why);
}

static const struct qxk_affine bench_affine = {0.03f, 0.0f, -127.0f, 127.0f};

static void bench_fakequant(const struct qxk_table *t, const struct kcall *c)
{
    t->fakequant(c->x, c->n, &bench_affine, c->out);
}

static void bench_quantize(const struct qxk_table *t, const struct kcall *c)
{
    t->quantize(c->x, c->n, &bench_affine, c->out);
}

static void bench_error_f32(const struct qxk_table *t, const struct kcall *c)
{
    struct qxk_error e;
    t->error_f32(c->x, c->y, c->n, &e);
}

static void bench_error_affine(const struct qxk_table *t, const struct kcall *c)
{
    struct qxk_error e;
    t->error_affine(c->x, c->n, &bench_affine, &e);
}

#define SHAPES(name) [QXK_OP_##name] = {.op = QXK_OP_##name, .shapes = check_##name}
#define ROW(op, kind, aligned, slow, out) \
    [QXK_OP_##op] = {QXK_OP_##op, kind, aligned, slow, out, check_##op, bench_##op}
const struct op_row op_rows[QXK_OP_COUNT] = {
    ROW(stats_f32, 'f', false, false, 0),
    ROW(stats_f16, 'h', false, false, 0),
    ROW(stats_bf16, 'h', false, false, 0),
    ROW(hist_f32, 'f', false, true, 0),
    ROW(hist_u16, 'h', false, true, 0),
    ROW(hist_weighted, 'f', false, true, 0),
    ROW(f16_to_f32, 'h', false, false, 4),
    ROW(bf16_to_f32, 'h', false, false, 4),
    ROW(f8e4m3_to_f32, 'b', false, false, 4),
    ROW(f8e5m2_to_f32, 'b', false, false, 4),
    ROW(f32_to_f16, 'f', true, false, 2),
    ROW(f32_to_bf16, 'f', true, false, 2),
    ROW(f32_to_f8e4m3, 'f', true, false, 1),
    ROW(f32_to_f8e5m2, 'f', true, false, 1),
    ROW(fakequant, 'f', true, false, 4),
    ROW(quantize, 'f', true, false, 1),
    ROW(nearest4, 'f', true, false, 4),
    ROW(nearest8, 'f', true, false, 4),
    ROW(error_f32, 'f', true, false, 0),
    ROW(error_affine, 'f', true, false, 0),
    SHAPES(gemm_u8s8),
    SHAPES(gemm_s8s8),
    SHAPES(gemm_s8s4),
    SHAPES(quant_row),
    SHAPES(quant_row_asym),
    SHAPES(layer_norm),
    SHAPES(softmax),
    SHAPES(gelu),
    SHAPES(gelu_tanh),
    SHAPES(attention),
    SHAPES(split_row),
    SHAPES(gemm_f32s8),
    SHAPES(gemm_f32s4),
    SHAPES(gemv_f16),
    SHAPES(gemv_bf16),
    SHAPES(dwconv_u8s8),
    SHAPES(turn_u8),
    SHAPES(sums_s8),
    SHAPES(s8_to_f32),
    SHAPES(u4_to_f32),
    SHAPES(plain_blocks),
    SHAPES(code_sums),
    SHAPES(code_errors),
};
