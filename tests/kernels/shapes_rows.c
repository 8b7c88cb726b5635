/* Float32 rows: bit for bit the portable ones, NaN equal to NaN. */
#include "shapes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum row_op { ROW_NORM, ROW_SOFTMAX, ROW_GELU, ROW_GELU_TANH };

struct call_row {
    const struct qxk_table *table;
    enum row_op op;
    const float *x, *mask;
    struct qxk_norm norm;
    int64_t n;
    float *y;
};

static void call_row(void *p)
{
    struct call_row *c = p;
    switch (c->op) {
    case ROW_NORM:
        c->table->layer_norm(c->x, c->n, &c->norm, c->y);
        break;
    case ROW_SOFTMAX:
        c->table->softmax(c->x, c->n, 0.125f, c->mask, c->y);
        break;
    case ROW_GELU:
        c->table->gelu(c->x, c->n, c->y);
        break;
    case ROW_GELU_TANH:
        c->table->gelu_tanh(c->x, c->n, c->y);
        break;
    }
    for (int64_t i = 0; i < c->n; i++) {
        c->y[i] = isnan(c->y[i]) ? NAN : c->y[i]; /* one NaN is as good as another */
    }
}

static void row_case(struct shape_test *t, enum row_op op, enum fill fill, int n)
{
    static float extra[2][20000];
    size_t bytes = (size_t)n * 4;
    float *x = guard_place(&t->a, bytes, 4 * qx_rng_below(&t->rng, 16), qx_rng_next(&t->rng) & 1);
    fill_input(&t->rng, fill, 'f', x, (size_t)n);
    for (int i = 0; i < n; i++) {
        extra[0][i] = (float)qx_rng_normal(&t->rng);
        extra[1][i] = (float)qx_rng_normal(&t->rng);
    }
    struct call_row c = {.table = t->rung, .op = op, .x = x, .n = n, .norm.eps = 1e-12f};
    c.mask = pick(&t->rng, 0, 1) ? extra[0] : NULL;
    c.norm.add = pick(&t->rng, 0, 1) ? extra[1] : NULL;
    c.norm.gamma = pick(&t->rng, 0, 1) ? extra[0] : NULL;
    c.norm.beta = pick(&t->rng, 0, 1) ? extra[1] : NULL;
    c.y = place_output(t, bytes);
    struct call_row ref = c;
    ref.table = t->ref;
    ref.y = (float *)(void *)t->y_ref;
    call_row(&ref);
    char what[80];
    snprintf(what, sizeof what, "fill %s n %d", fill_names[fill], n);
    if (run_case(t, call_row, &c, c.y, bytes, what)) { /* and in place */
        memcpy(c.y, x, bytes);
        c.x = c.y;
        run_case(t, call_row, &c, c.y, bytes, "in place");
    }
}

static void check_rows(struct shape_test *t, enum row_op op)
{
    for (int fill = 0; fill < FILL_COUNT; fill++) {
        for (int n = 1; n <= 140 && t->n_bad < 5; n++) {
            row_case(t, op, (enum fill)fill, n);
        }
        for (int i = 0; i < 12 && t->n_bad < 5; i++) {
            row_case(t, op, (enum fill)fill, pick(&t->rng, 141, 2000));
        }
        row_case(t, op, (enum fill)fill, QXK_ROW_PART + 17);
        row_case(t, op, (enum fill)fill, 2 * QXK_ROW_PART);
    }
}

void check_layer_norm(struct shape_test *t)
{
    check_rows(t, ROW_NORM);
}

void check_softmax(struct shape_test *t)
{
    check_rows(t, ROW_SOFTMAX);
}

void check_gelu(struct shape_test *t)
{
    check_rows(t, ROW_GELU);
}

void check_gelu_tanh(struct shape_test *t)
{
    check_rows(t, ROW_GELU_TANH);
}
