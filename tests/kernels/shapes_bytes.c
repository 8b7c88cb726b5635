/* Orders of bytes, sums of groups of them, codes to float32. Every rung, the reference included, is held
 * against loops written here. */
#include "shapes.h"

#include <stdio.h>
#include <string.h>

struct call_turn {
    qxk_turn_u8_fn *fn;
    const uint8_t *x;
    uint8_t *out;
    int64_t rows, columns, ldx, ldo;
};

static void call_turn(void *p)
{
    const struct call_turn *c = p;
    c->fn(c->x, c->rows, c->columns, c->ldx, c->out, c->ldo);
}

static void turn_case(struct shape_test *t, int64_t rows, int64_t columns)
{
    struct qx_rng *r = &t->rng;
    struct call_turn c = {.fn = t->rung->turn_u8, .rows = rows, .columns = columns};
    c.ldx = columns + pick(r, 0, 5);
    c.ldo = rows + pick(r, 0, 5);
    const bool any = rows > 0 && columns > 0;
    const size_t in = any ? (size_t)((rows - 1) * c.ldx + columns) : 0;
    const size_t bytes = any ? (size_t)((columns - 1) * c.ldo + rows) : 0;
    uint8_t *x = place_input(t, in);
    fill_bytes(r, BYTES_RANDOM, 0, 255, x, in);
    c.x = x;
    c.out = place_output(t, bytes);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            t->y_ref[j * c.ldo + i] = x[i * c.ldx + j];
        }
    }
    char what[80];
    snprintf(what, sizeof what, "%lld by %lld", (long long)rows, (long long)columns);
    run_case(t, call_turn, &c, c.out, bytes, what);
}

void check_turn_u8(struct shape_test *t)
{
    for (int rows = 0; rows <= 35 && t->n_bad < 5; rows++) {
        for (int columns = 0; columns <= 35; columns++) {
            turn_case(t, rows, columns);
        }
    }
    for (int i = 0; i < 100 && t->n_bad < 5; i++) {
        turn_case(t, pick(&t->rng, 1, 300), pick(&t->rng, 1, 300));
    }
}

struct call_sums {
    qxk_sums_s8_fn *fn;
    const int8_t *x;
    int32_t *out;
    int64_t n, group;
    int32_t factor;
};

static void call_sums(void *p)
{
    const struct call_sums *c = p;
    c->fn(c->x, c->n, c->group, c->factor, c->out);
}

static void sums_case(struct shape_test *t, enum byte_fill fill, int64_t n, int64_t group)
{
    struct qx_rng *r = &t->rng;
    struct call_sums c = {.fn = t->rung->sums_s8, .n = n, .group = group};
    c.factor = pick(r, 0, 1) ? -8 : 1;
    int8_t *x = place_input(t, (size_t)(n * group));
    fill_bytes(r, fill, -128, 127, x, (size_t)(n * group));
    c.x = x;
    c.out = place_output(t, (size_t)n * sizeof *c.out);
    for (int64_t i = 0; i < n; i++) {
        int32_t sum = 0;
        for (int64_t k = 0; k < group; k++) {
            sum += c.factor * x[i * group + k];
        }
        memcpy(t->y_ref + i * 4, &sum, 4);
    }
    char what[80];
    snprintf(what, sizeof what, "fill %d n %lld group %lld", (int)fill, (long long)n,
             (long long)group);
    run_case(t, call_sums, &c, c.out, (size_t)n * sizeof *c.out, what);
}

void check_sums_s8(struct shape_test *t)
{
    for (int fill = 0; fill < BYTES_FILLS; fill++) {
        for (int n = 0; n <= 21 && t->n_bad < 5; n++) {
            sums_case(t, (enum byte_fill)fill, n, 32 * pick(&t->rng, 1, 5));
        }
        sums_case(t, (enum byte_fill)fill, 9, 16384);
    }
}

struct call_decode {
    const struct qxk_table *table;
    const void *q;
    const float *entries; /* NULL: 8-bit codes */
    size_t n;
    int32_t zero;
    float scale, *out;
};

static void call_decode(void *p)
{
    const struct call_decode *c = p;
    if (c->entries) {
        c->table->u4_to_f32(c->q, c->n, c->entries, c->out);
    } else {
        c->table->s8_to_f32(c->q, c->n, c->zero, c->scale, c->out);
    }
}

static float decoded(const struct call_decode *c, size_t i)
{
    if (!c->entries) {
        return (float)(((const int8_t *)c->q)[i] - c->zero) * c->scale;
    }
    const uint8_t pair = ((const uint8_t *)c->q)[i / 2];
    return c->entries[i % 2 ? pair / 16 : pair % 16];
}

static void decode_case(struct shape_test *t, enum byte_fill fill, int n, bool is_4)
{
    struct qx_rng *r = &t->rng;
    float entries[16];
    const size_t bytes = is_4 ? (size_t)(n + 1) / 2 : (size_t)n;
    struct call_decode c = {.table = t->rung, .n = (size_t)n, .zero = pick(r, -128, 127)};
    c.scale = 0.001f * (float)pick(r, 1, 999);
    for (int i = 0; i < 16; i++) {
        entries[i] = (float)qx_rng_normal(r);
    }
    c.entries = is_4 ? entries : NULL;
    void *q = place_input(t, bytes);
    fill_bytes(r, fill, is_4 ? 0 : -128, is_4 ? 255 : 127, q, bytes);
    c.q = q;
    c.out = place_output(t, (size_t)n * sizeof *c.out);
    for (size_t i = 0; i < c.n; i++) {
        const float v = decoded(&c, i);
        memcpy(t->y_ref + i * 4, &v, 4);
    }
    char what[80];
    snprintf(what, sizeof what, "fill %d n %d", (int)fill, n);
    run_case(t, call_decode, &c, c.out, (size_t)n * sizeof *c.out, what);
}

static void check_decode(struct shape_test *t, bool is_4)
{
    for (int fill = 0; fill < BYTES_FILLS; fill++) {
        for (int n = 0; n <= 70 && t->n_bad < 5; n++) {
            decode_case(t, (enum byte_fill)fill, n, is_4);
        }
        decode_case(t, (enum byte_fill)fill, 4099, is_4);
    }
}

void check_s8_to_f32(struct shape_test *t)
{
    check_decode(t, false);
}

void check_u4_to_f32(struct shape_test *t)
{
    check_decode(t, true);
}
