/* Attention: bit for bit the portable one, which is held against plain sums in double. */
#include "base/mem.h"
#include "shapes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 150, WIDTH = 200 };

struct call {
    const struct qxk_table *table;
    struct qxk_attention a;
};

static void call(void *p)
{
    struct call *c = p;
    c->table->attention(&c->a);
}

/* Largest difference of the portable result from the definition, which has no order of sums. */
static double distance(const struct qxk_attention *a)
{
    double worst = 0.0;
    for (int64_t i = 0; i < a->n_q; i++) {
        double p[MOST], sum = 0.0, top = -INFINITY;
        const int64_t n = a->seen && a->seen + i < a->n_k ? a->seen + i : a->n_k;
        for (int64_t j = 0; j < n; j++) {
            p[j] = 0.0;
            for (int64_t c = 0; c < a->d; c++) {
                p[j] += (double)a->q[i * a->ld_q + c] * (double)a->k[j * a->ld_kv + c];
            }
            p[j] *= (double)a->scale;
            top = fmax(top, p[j]);
        }
        for (int64_t j = 0; j < n; j++) {
            p[j] = exp(p[j] - top);
            sum += p[j];
        }
        for (int64_t c = 0; c < a->d; c++) {
            double y = 0.0;
            for (int64_t j = 0; j < n; j++) {
                y += p[j] / sum * (double)a->v[j * a->ld_kv + c];
            }
            worst = fmax(worst, fabs(y - (double)a->out[i * a->ld_q + c]));
        }
    }
    return worst;
}

static float *values(struct shape_test *t, int n)
{
    static float all[3][MOST * WIDTH];
    static int next;
    float *x = all[next++ % 3];
    for (int i = 0; i < n; i++) {
        x[i] = (float)qx_rng_normal(&t->rng);
    }
    return x;
}

static void attention_case(struct shape_test *t, int n_q, int n_k, int d, int seen)
{
    static _Alignas(64) float scratch[2][(MOST + 64) * (WIDTH + 6)];
    struct call c = {.table = t->rung,
                     .a = {.n_q = n_q,
                           .n_k = n_k,
                           .d = d,
                           .ld_q = d + pick(&t->rng, 0, 3),
                           .ld_kv = d + pick(&t->rng, 0, 3),
                           .seen = seen,
                           .scale = 0.3f,
                           .scratch = scratch[0]}};
    char what[80];
    snprintf(what, sizeof what, "queries %d keys %d width %d seen %d", n_q, n_k, d, seen);
    c.a.q = values(t, (int)(n_q * c.a.ld_q));
    c.a.k = values(t, (int)(n_k * c.a.ld_kv));
    c.a.v = values(t, (int)(n_k * c.a.ld_kv));
    const size_t bytes = (size_t)((n_q - 1) * c.a.ld_q + d) * sizeof(float);
    c.a.out = place_output(t, bytes);
    struct call ref = c;
    ref.table = t->ref;
    ref.a.out = (float *)(void *)t->y_ref;
    ref.a.scratch = scratch[1];
    call(&ref);
    const double off = distance(&ref.a);
    if (!(off < 1e-5)) {
        printf("attention ref: %s: off by %g\n", what, off);
        t->n_bad++;
    }
    run_case(t, call, &c, c.a.out, bytes, what);
}

void check_attention(struct shape_test *t)
{
    static const int widths[] = {1, 7, 8, 15, 16, 26, 32, 63, 64, 65, 80, 128, 192};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        for (int k = 0; k < 12 && t->n_bad < 5; k++) {
            const int n_k = pick(&t->rng, 1, MOST), n_q = pick(&t->rng, 1, n_k);
            attention_case(t, n_q, n_k, widths[i], 0);
            attention_case(t, n_q, n_k, widths[i], n_k - n_q + 1);
        }
    }
    for (int n = 1; n <= 20 && t->n_bad < 5; n++) {
        attention_case(t, n, n, 16, 0);
        attention_case(t, n, n, 16, 1);
    }
}
