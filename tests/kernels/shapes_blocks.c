/* Blocks of 32 values, and codes under several scales at once. Every rung, the reference included, is held against
 * loops written here. */
#include "shapes.h"

#include "base/fp16.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum value_fill { ZEROS, SPREAD, TINY, HUGE_ONES, TIES, ONE_HOT, EQUAL, SIGNS, VALUE_FILLS };

static float value_of(struct qx_rng *r, enum value_fill fill, int64_t i)
{
    switch (fill) {
    case ZEROS:
        return pick(r, 0, 1) ? 0.0f : -0.0f;
    case SPREAD:
        return (float)qx_rng_normal(r) * 0.05f;
    case TINY:
        return (float)qx_rng_normal(r) * 1e-39f;
    case HUGE_ONES:
        return (float)qx_rng_normal(r) * 1e37f;
    case TIES: /* half-way between codes of many scales */
        return (float)pick(r, -256, 256) / 32.0f;
    case ONE_HOT:
        return i % 32 == 13 ? -3.5f : 0.0f;
    case EQUAL:
        return -0.75f;
    default:
        return i % 2 ? 1.0f : -1.0f;
    }
}

static void fill_values(struct qx_rng *r, enum value_fill fill, float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float v = value_of(r, fill, i);
        memcpy(x + i, &v, sizeof v);
    }
}

/* ---- whole blocks ---- */

struct call_blocks {
    qxk_plain_blocks_fn *fn;
    const float *x;
    uint8_t *out;
    size_t n;
    int bits;
    bool is_ranged;
};

static void call_blocks(void *p)
{
    const struct call_blocks *c = p;
    c->fn(c->x, c->n, c->bits, c->is_ranged, c->out);
}

static void half_at(uint8_t *p, float x)
{
    uint16_t h = qx_f32_to_f16(x);
    h -= (h & 0x7FFF) == 0x7C00;
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
}

static float inverse(float d)
{
    return d == 0.0f || isinf(1.0f / d) || isinf(d) ? 0.0f : 1.0f / d;
}

/* One block, element by element, as blocks.h words it. */
static void block_by_hand(const float *x, int bits, bool is_ranged, uint8_t *p)
{
    const int z = 1 << (bits - 1), head = is_ranged ? 4 : 2, fifth = bits == 5 ? 4 : 0;
    float most = 0.0f, lo = x[0], hi = x[0], d;
    memset(p, 0, 36);
    for (int j = 0; j < 32; j++) {
        most = fabsf(x[j]) > fabsf(most) ? x[j] : most;
        lo = fminf(lo, x[j]);
        hi = fmaxf(hi, x[j]);
    }
    d = bits == 8   ? fabsf(most) / 127.0f
        : is_ranged ? fabsf((hi - lo) / (float)(2 * z - 1))
                    : most / (float)-z;
    half_at(p, d);
    if (is_ranged) {
        half_at(p + 2, lo == 0.0f ? 0.0f : lo);
    }
    for (int j = 0; j < 32; j++) {
        const float y = is_ranged ? (x[j] - lo) * inverse(d) + 0.5f : x[j] * inverse(d);
        if (bits == 8) {
            p[2 + j] = (uint8_t)(int8_t)roundf(y);
            continue;
        }
        const int q = (int)fminf((float)(2 * z - 1), truncf(is_ranged ? y : y + ((float)z + 0.5f)));
        p[head + fifth + j % 16] |= (uint8_t)((q & 15) << j / 16 * 4);
        if (bits == 5) {
            p[head + j / 8] |= (uint8_t)(q / 16 << j % 8);
        }
    }
}

static void blocks_case(struct shape_test *t, enum value_fill fill, int n, int bits, bool is_ranged)
{
    const size_t size = bits == 8 ? 34 : (size_t)(18 + 2 * is_ranged + 4 * (bits == 5));
    struct call_blocks c = {.fn = t->rung->plain_blocks, .n = (size_t)n, .bits = bits};
    c.is_ranged = is_ranged;
    float *x = place_input(t, (size_t)n * 32 * sizeof *x);
    fill_values(&t->rng, fill, x, n * 32);
    c.x = x;
    c.out = place_output(t, (size_t)n * size);
    for (int i = 0; i < n; i++) {
        float block[32];
        uint8_t p[36];
        memcpy(block, x + 32 * i, sizeof block);
        block_by_hand(block, bits, is_ranged, p);
        memcpy(t->y_ref + (size_t)i * size, p, size);
    }
    char what[80];
    snprintf(what, sizeof what, "fill %d, %d blocks of %d bits%s", (int)fill, n, bits,
             is_ranged ? ", ranged" : "");
    run_case(t, call_blocks, &c, c.out, (size_t)n * size, what);
}

void check_plain_blocks(struct shape_test *t)
{
    for (int fill = 0; fill < VALUE_FILLS; fill++) {
        for (int n = 0; n <= 9 && t->n_bad < 5; n++) {
            for (int kind = 0; kind < 5; kind++) {
                blocks_case(t, (enum value_fill)fill, n, kind == 4 ? 8 : 4 + kind / 2,
                            kind < 4 && kind % 2);
            }
        }
        blocks_case(t, (enum value_fill)fill, 300, 4, false);
        blocks_case(t, (enum value_fill)fill, 300, 8, false);
    }
}

/* ---- tries ---- */

struct call_tries {
    const struct qxk_table *table;
    const float *x, *w, *scale, *min;
    int64_t n;
    struct qxk_tries t;
    void *out;
};

static void call_tries(void *p)
{
    const struct call_tries *c = p;
    if (c->scale) {
        c->table->code_errors(c->x, c->w, c->n, &c->t, c->scale, c->min, c->out);
    } else {
        c->table->code_sums(c->x, c->w, c->n, &c->t, c->out);
    }
}

static float code_by_hand(const struct qxk_tries *t, int i, float x)
{
    const float y = x * t->inv[i] + t->shift[i];
    return isnan(y) || y <= t->lo ? t->lo : y >= t->hi ? t->hi : nearbyintf(y);
}

static void tries_by_hand(const struct call_tries *c, float *out)
{
    for (int i = 0; i < QXK_TRIES; i++) {
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (int64_t j = 0; j < c->n; j++) {
            const float q = code_by_hand(&c->t, i, c->x[j]), w = c->w ? c->w[j] : 1.0f, wq = w * q;
            const float wx = w * c->x[j];
            sum[0] += wq;
            sum[1] += wq * q;
            sum[2] += wx * q;
            if (c->scale) {
                const float e = c->x[j] - (c->scale[i] * q - c->min[i]), we = w * e;
                sum[3] += we * e;
            }
        }
        for (int k = 0; k < 3 && !c->scale; k++) {
            out[k * QXK_TRIES + i] = sum[k];
        }
        if (c->scale) {
            out[i] = sum[3];
        }
    }
}

static void tries_case(struct shape_test *t, enum value_fill fill, int n, bool is_error, bool has_w)
{
    struct qx_rng *r = &t->rng;
    const size_t size = (is_error ? 1 : 3) * QXK_TRIES * sizeof(float);
    float scale[QXK_TRIES], min[QXK_TRIES], values[64], weights[64], want[3 * QXK_TRIES];
    struct call_tries c = {.table = t->rung, .n = n, .t = {.lo = (float)-pick(r, 0, 32)}};
    c.t.hi = (float)pick(r, 1, 31);
    for (int i = 0; i < QXK_TRIES; i++) {
        scale[i] = (float)pick(r, 0, 9) * 0.01f;
        min[i] = (float)pick(r, -9, 9) * 0.02f;
        c.t.inv[i] = inverse(scale[i]);
        c.t.shift[i] = min[i] * c.t.inv[i];
    }
    float *x = place_input(t, (size_t)n * sizeof *x);
    fill_values(r, fill, values, n);
    memcpy(x, values, (size_t)n * sizeof *x);
    for (int j = 0; j < n; j++) {
        weights[j] = (float)pick(r, 0, 20) * 0.3f;
    }
    c.x = x;
    c.w = has_w ? weights : NULL;
    c.scale = is_error ? scale : NULL;
    c.min = min;
    c.out = place_output(t, size);
    struct call_tries by_hand = c;
    by_hand.x = values;
    tries_by_hand(&by_hand, want);
    memcpy(t->y_ref, want, size);
    char what[80];
    snprintf(what, sizeof what, "fill %d, %d values%s", (int)fill, n, has_w ? ", weighted" : "");
    run_case(t, call_tries, &c, c.out, size, what);
}

static void check_tries(struct shape_test *t, bool is_error)
{
    for (int fill = 0; fill < VALUE_FILLS; fill++) {
        for (int n = 0; n <= 40 && t->n_bad < 5; n++) {
            if (fill !=
                HUGE_ONES) { /* whose sums are not numbers: they need not have the same bits */
                tries_case(t, (enum value_fill)fill, n, is_error, n % 2);
            }
        }
    }
}

void check_code_sums(struct shape_test *t)
{
    check_tries(t, false);
}

void check_code_errors(struct shape_test *t)
{
    check_tries(t, true);
}
