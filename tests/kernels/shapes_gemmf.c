/* Weights only: rows as integers, and products of float32 with packed weights. */
#include "shapes_gemm4.h"

#include "base/fp16.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows as integers ---- */

struct call_split {
    qxk_split_row_fn *fn;
    const float *x;
    int64_t k, part;
    int8_t *digits;
    struct qxk_split_part *parts;
};

static void call_split(void *p)
{
    struct call_split *c = p;
    c->fn(c->x, c->k, c->part, c->digits, c->parts);
}

/* Half a unit below 22 bits of the part's largest magnitude, and the sums; a part that is not finite says so. */
static bool is_split(const struct call_split *c, int64_t p)
{
    const int64_t n = (c->k + c->part - 1) / c->part, ld = n * c->part;
    int64_t high = 0, low = 0;
    float largest = 0.0f;
    bool is_finite = true;
    for (int64_t i = p * c->part; i < (p + 1) * c->part && i < c->k; i++) {
        is_finite &= isfinite(c->x[i]);
        largest = fabsf(c->x[i]) > largest ? fabsf(c->x[i]) : largest;
    }
    const struct qxk_split_part *part = &c->parts[p];
    if (!is_finite) {
        return isnan(part->scale) && part->high == 0 && part->low == 0;
    }
    const double most = largest < 0x1p-104f ? 0x1p-127 : 0x1p-22 * (double)largest;
    for (int64_t i = p * c->part; i < (p + 1) * c->part; i++) {
        const int32_t h = 256 * c->digits[i] + c->digits[ld + i], l = c->digits[2 * ld + i];
        const double x = i < c->k ? (double)c->x[i] : 0.0;
        high += h;
        low += l;
        if (fabs((256.0 * h + l) * (double)part->scale - x) > most) {
            return false;
        }
    }
    return part->high == high && part->low == low;
}

static void split_case(struct shape_test *t, enum fill fill, int64_t k)
{
    struct qx_rng *r = &t->rng;
    float *x = guard_place(&t->a, (size_t)k * 4, 4 * qx_rng_below(r, 16), qx_rng_next(r) & 1);
    fill_input(r, fill, 'f', x, (size_t)k);
    struct call_split c = {.fn = t->rung->split_row, .x = x, .k = k};
    c.part = 32 << pick(r, 0, 2);
    const int64_t n = (k + c.part - 1) / c.part;
    const size_t digits = (size_t)(QXK_DIGITS * n * c.part);
    const size_t bytes = digits + (size_t)n * sizeof *c.parts;
    c.digits = place_output(t, bytes);
    struct call_split ref = c;
    c.parts = (void *)(c.digits + digits);
    ref.fn = t->ref->split_row;
    ref.digits = (int8_t *)t->y_ref;
    ref.parts = (void *)(ref.digits + digits);
    call_split(&ref);
    for (int64_t p = 0; p < n; p++) {
        if (!is_split(&ref, p)) {
            printf("FAIL %s/ref fill %s k %lld: part %lld\n", t->op, fill_names[fill], (long long)k,
                   (long long)p);
            t->n_bad++;
            return;
        }
    }
    char what[100];
    snprintf(what, sizeof what, "fill %s k %lld part %lld", fill_names[fill], (long long)k,
             (long long)c.part);
    run_case(t, call_split, &c, c.digits, bytes, what);
}

void check_split_row(struct shape_test *t)
{
    for (int fill = 0; fill < FILL_COUNT; fill++) {
        for (int k = 1; k <= 300 && t->n_bad < 5; k++) {
            split_case(t, (enum fill)fill, k);
        }
        split_case(t, (enum fill)fill, 4093);
    }
}

/* ---- products ---- */

struct callf {
    qxk_gemmf_fn *fn;
    struct qxk_gemmf g;
    int64_t m_cut, cut, n_panels;
};

static void callf(void *p)
{
    struct callf *c = p;
    c->fn(&c->g, 0, c->m_cut, 0, c->cut);
    c->fn(&c->g, c->m_cut, c->g.m - c->m_cut, 0, c->cut);
    c->fn(&c->g, 0, c->g.m, c->cut, c->n_panels - c->cut);
}

static double weight_of(const struct qxk_gemmf *g, const struct data4 *d, int64_t n, int64_t k)
{
    if (g->w8) {
        const struct qxk_epilogue *e = &g->ep;
        int zero = e->w_zero ? e->w_zero[e->w_zero_step * n] : 0;
        return (double)(d->codes[n * g->w8->k + k] - zero) *
               (double)e->w_scale[e->w_scale_step * n];
    }
    int64_t at = n * g->w4->n_groups + k / g->w4->group;
    int code = d->codes[n * g->w4->k + k] - (g->w4->has_zeros ? d->zeros[at] : 0);
    return (g->table ? (double)g->table[code] : (double)code) * (double)d->scales[at];
}

static double largest_of(const float *x, int64_t first, int64_t part, int64_t k)
{
    float largest = 0.0f;
    for (int64_t i = first; i < first + part && i < k; i++) {
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    }
    return (double)largest;
}

/* The reference rung against sums in double. Inputs are rounded below the largest of their part. */
static void check_double(struct shape_test *t, const struct callf *c, const struct data4 *d,
                         int64_t n, int64_t k)
{
    float *y = malloc((size_t)(n * c->g.m + 1) * sizeof *y);
    struct callf plain = *c;
    plain.g.ep.act = QXK_ACT_NONE;
    plain.g.ep.bias = NULL;
    plain.g.y = y;
    plain.g.ldy = n;
    callf(&plain);
    const int64_t part = c->g.table ? 1 : qxk_split_part_of(&c->g);
    for (int64_t i = 0; i < n * c->g.m; i++) {
        const float *x = c->g.x + i / n * c->g.ldx;
        double sum = 0.0, size = 0.0;
        for (int64_t j = 0; j < k; j++) {
            const double w = weight_of(&c->g, d, i % n, j);
            sum += w * (double)x[j];
            size += fabs(w) * largest_of(x, j / part * part, part, k);
        }
        if (!(fabs((double)y[i] - sum) <= 1e-6 * size + 1e-30)) {
            printf("FAIL %s/ref output %lld: %g, in double %g\n", t->op, (long long)i, (double)y[i],
                   sum);
            t->n_bad++;
            break;
        }
    }
    free(y);
}

/* Digits flush against an unmapped page, or at the front of one. */
static void split_rows(struct shape_test *t, struct qxk_gemmf *g)
{
    static struct qxk_split_part parts[16 * (MAX_K / 32 + 1)];
    const int64_t k = g->w8 ? g->w8->k : g->w4->k, part = qxk_split_part_of(g);
    const int64_t ld = qxk_split_ld(g), row = QXK_DIGITS * ld;
    int8_t *digits = guard_place(&t->b, (size_t)(g->m * row), 0, qx_rng_next(&t->rng) & 1);
    for (int64_t i = 0; i < g->m; i++) {
        t->ref->split_row(g->x + i * g->ldx, k, part, digits + i * row, parts + i * (ld / part));
    }
    g->digits = digits;
    g->parts = parts;
}

static void float_case(struct shape_test *t, bool is_w4, int64_t n, int64_t k, struct data4 *d)
{
    struct qx_rng *r = &t->rng;
    struct qxk_w4 w4 = {0};
    struct qxk_w8 w8 = {0};
    float table[16], scale = 0.03f;
    int32_t zeros[MAX_N];
    enum byte_fill fill = (enum byte_fill)pick(r, 0, BYTES_FILLS - 1);
    bool is_table = pick(r, 0, 1);
    for (int i = 0; i < 16; i++) {
        table[i] = (float)qx_rng_normal(r);
    }
    for (int i = 0; i < MAX_N; i++) {
        zeros[i] = pick(r, -128, 127);
        d->bias[i] = (float)qx_rng_normal(r);
    }
    struct callf c = {.g.ep.act = (enum qxk_act)pick(r, 0, QXK_ACT_CLIP), .g.ep.act_hi = 1.0f};
    if (is_w4) {
        make_weights(t, fill, n, k, is_table, &w4, d);
        c.g.w4 = &w4;
        c.g.table = is_table ? table : NULL;
    } else {
        fill_bytes(r, fill, -128, 127, d->codes, (size_t)(n * k));
        qxk_w8_pack(&w8, d->codes, n, k, NULL);
        c.g.w8 = &w8;
        c.g.ep.w_scale = is_table ? &scale : d->bias;
        c.g.ep.w_scale_step = !is_table;
        c.g.ep.w_zero = pick(r, 0, 1) ? zeros : NULL;
        c.g.ep.w_zero_step = pick(r, 0, 1);
    }
    c.g.ep.bias = pick(r, 0, 1) ? d->bias : NULL;
    c.g.m = pick(r, 0, 9);
    c.g.ldx = k + pick(r, 0, 2);
    c.g.ldy = n + pick(r, 0, 9);
    size_t x_count = c.g.m > 0 ? (size_t)((c.g.m - 1) * c.g.ldx + k) : 0;
    float *x = guard_place(&t->a, x_count * 4, 4 * qx_rng_below(r, 16), qx_rng_next(r) & 1);
    fill_input(r, pick(r, 0, 1) ? FILL_NORMAL : FILL_TIES, 'f', x, x_count);
    c.g.x = x;
    split_rows(t, &c.g);
    c.n_panels = c.g.w8 ? c.g.w8->n_panels : c.g.w4->n_panels;
    c.cut = pick(r, 0, (int)c.n_panels);
    c.m_cut = pick(r, 0, (int)c.g.m);
    size_t bytes = c.g.m > 0 ? (size_t)((c.g.m - 1) * c.g.ldy + n) * 4 : 0;
    c.g.y = place_output(t, bytes);
    struct callf ref = c;
    ref.g.y = (float *)(void *)t->y_ref;
    ref.fn = is_w4 ? t->ref->gemm_f32s4 : t->ref->gemm_f32s8;
    callf(&ref);
    check_double(t, &ref, d, n, k);
    c.fn = is_w4 ? t->rung->gemm_f32s4 : t->rung->gemm_f32s8;
    char what[100];
    snprintf(what, sizeof what, "fill %d m %lld n %lld k %lld act %d", (int)fill, (long long)c.g.m,
             (long long)n, (long long)k, (int)c.g.ep.act);
    run_case(t, callf, &c, c.g.y, bytes, what);
    qxk_w4_release(&w4);
    qxk_w8_release(&w8);
}

static void check_float(struct shape_test *t, bool is_w4)
{
    struct data4 *d = malloc(sizeof *d);
    for (int k = 1; k <= 300 && t->n_bad < 5; k++) {
        float_case(t, is_w4, pick(&t->rng, 1, 200), k, d);
    }
    float_case(t, is_w4, 257, 1024, d);
    float_case(t, is_w4, 130, 1093, d);
    free(d);
}

void check_gemm_f32s8(struct shape_test *t)
{
    check_float(t, false);
}

void check_gemm_f32s4(struct shape_test *t)
{
    check_float(t, true);
}

/* ---- 16-bit floats ---- */

struct call16 {
    qxk_gemv16_fn *fn;
    const uint16_t *w;
    int64_t n, k, cut;
    const float *x;
    float *y;
};

static void call16(void *p)
{
    struct call16 *c = p;
    c->fn(c->w, c->cut, c->k, c->x, c->y);
    c->fn(c->w + c->cut * c->k, c->n - c->cut, c->k, c->x, c->y + c->cut);
}

static void check16(struct shape_test *t, const struct call16 *c, bool is_bf16)
{
    for (int64_t o = 0; o < c->n; o++) {
        double sum = 0.0, size = 0.0;
        for (int64_t i = 0; i < c->k; i++) {
            const uint16_t bits = c->w[o * c->k + i];
            const double v = (double)(is_bf16 ? qx_bf16_to_f32(bits) : qx_f16_to_f32(bits));
            sum += v * (double)c->x[i];
            size += fabs(v * (double)c->x[i]);
        }
        if (!(fabs((double)c->y[o] - sum) <= 1e-6 * size + 1e-30)) {
            printf("FAIL %s/ref output %lld: %g, in double %g\n", t->op, (long long)o,
                   (double)c->y[o], sum);
            t->n_bad++;
            return;
        }
    }
}

static void half_case(struct shape_test *t, bool is_bf16, int64_t n, int64_t k)
{
    struct qx_rng *r = &t->rng;
    const size_t bytes = (size_t)n * sizeof(float);
    float *x = guard_place(&t->a, (size_t)k * 4, 4 * qx_rng_below(r, 16), qx_rng_next(r) & 1);
    uint16_t *w =
        guard_place(&t->b, (size_t)(n * k) * 2, 2 * qx_rng_below(r, 32), qx_rng_next(r) & 1);
    fill_input(r, pick(r, 0, 1) ? FILL_NORMAL : FILL_TIES, 'f', x, (size_t)k);
    for (int64_t i = 0; i < n * k; i++) {
        const float v = (float)qx_rng_normal(r) * (i % 7 ? 1.0f : 1e-6f); /* subnormal halves too */
        w[i] = is_bf16 ? qx_f32_to_bf16(v) : qx_f32_to_f16(v);
    }
    struct call16 c = {.w = w, .n = n, .k = k, .cut = pick(r, 0, (int)n), .x = x};
    struct call16 ref = c;
    c.fn = is_bf16 ? t->rung->gemv_bf16 : t->rung->gemv_f16;
    ref.fn = is_bf16 ? t->ref->gemv_bf16 : t->ref->gemv_f16;
    c.y = place_output(t, bytes);
    ref.y = (float *)(void *)t->y_ref;
    call16(&ref);
    check16(t, &ref, is_bf16);
    char what[64];
    snprintf(what, sizeof what, "n %lld k %lld", (long long)n, (long long)k);
    run_case(t, call16, &c, c.y, bytes, what);
}

static void check_half(struct shape_test *t, bool is_bf16)
{
    for (int k = 1; k <= 200 && t->n_bad < 5; k++) {
        half_case(t, is_bf16, pick(&t->rng, 1, 13), k);
    }
    half_case(t, is_bf16, 6, QXK_GEMV_PART + 33);
}

void check_gemv_f16(struct shape_test *t)
{
    check_half(t, false);
}

void check_gemv_bf16(struct shape_test *t)
{
    check_half(t, true);
}
