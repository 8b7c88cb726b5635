/* Convolution backwards, of every geometry, against plain loops. */
#include "base/rng.h"
#include "net/conv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct geometry {
    int64_t n, c, h, w, oc, group, kh, kw, sh, sw, top, left, bottom, right, dh, dw;
};

static const struct geometry cases[] = {
    {3, 4, 6, 5, 6, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},  /* the usual one */
    {9, 8, 7, 7, 16, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, /* small planes, joined */
    {2, 3, 9, 8, 4, 1, 3, 5, 1, 1, 0, 3, 2, 1, 1, 1},  /* another padding on each side */
    {2, 4, 9, 9, 4, 2, 3, 3, 1, 1, 2, 2, 2, 2, 2, 2},  /* groups, dilated */
    {2, 6, 5, 5, 6, 6, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1},  /* depthwise */
    {2, 3, 6, 7, 6, 3, 3, 2, 1, 1, 1, 0, 1, 1, 1, 2},  /* two outputs of each input */
    {2, 3, 6, 7, 6, 3, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1},  /* the same with a stride */
    {3, 4, 4, 4, 8, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1},  /* pointwise */
    {2, 4, 8, 8, 5, 1, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1},  /* a stride down */
    {2, 2, 5, 5, 3, 1, 2, 2, 1, 1, 3, 3, 2, 2, 1, 1},  /* more padding than kernel */
    {2, 3, 1, 20, 4, 1, 1, 5, 1, 1, 0, 2, 0, 2, 1, 1}, /* one line */
};

static struct qx_conv conv_of(const struct geometry *g)
{
    struct qx_conv c = {.w = {g->n, g->c, g->h, g->w, g->kh, g->kw, g->sh, g->sw, g->top, g->left,
                              g->bottom, g->right, g->dh, g->dw,
                              (g->h + g->top + g->bottom - g->dh * (g->kh - 1) - 1) / g->sh + 1,
                              (g->w + g->left + g->right - g->dw * (g->kw - 1) - 1) / g->sw + 1},
                        .group = g->group,
                        .oc = g->oc,
                        .icg = g->c / g->group,
                        .ocg = g->oc / g->group};
    c.k = c.icg * g->kh * g->kw;
    c.places = c.w.oh * c.w.ow;
    return c;
}

static float *values(int64_t n, struct qx_rng *r)
{
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (float)qx_rng_normal(r);
    }
    return x;
}

/* One place of the output: what it brings to the weights and the inputs under its window. */
static void place_back(const struct qx_conv *c, int64_t s, int64_t o, int64_t y, int64_t z,
                       const struct qx_conv_back *b)
{
    const struct qx_window *w = &c->w;
    const float d = b->d_out[((s * c->oc + o) * w->oh + y) * w->ow + z];
    b->d_bias[o] += d;
    for (int64_t k = 0; k < c->k; k++) {
        const int64_t i = o / c->ocg * c->icg + k / (w->kh * w->kw);
        const int64_t h = y * w->sh - w->top + k / w->kw % w->kh * w->dh;
        const int64_t v = z * w->sw - w->left + k % w->kw * w->dw;
        if (h >= 0 && h < w->h && v >= 0 && v < w->w) {
            const int64_t at = ((s * w->c + i) * w->h + h) * w->w + v;
            b->d_weight[o * c->k + k] += d * b->x[at];
            b->d_x[at] += d * b->weight[o * c->k + k];
        }
    }
}

static void plain_back(const struct qx_conv *c, const struct qx_conv_back *b)
{
    for (int64_t i = 0; i < c->w.n * c->oc * c->places; i++) {
        const int64_t place = i % c->places, o = i / c->places % c->oc;
        place_back(c, i / c->places / c->oc, o, place / c->w.ow, place % c->w.ow, b);
    }
}

static void assert_near(size_t which, const char *what, const float *have, const float *want,
                        int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!(fabsf(have[i] - want[i]) <= 1e-4f * (1.0f + fabsf(want[i])))) {
            fail_msg("case %zu, %s %lld: %g, not %g", which, what, (long long)i, (double)have[i],
                     (double)want[i]);
        }
    }
}

static void check(size_t which, bool is_first)
{
    const struct qx_conv c = conv_of(&cases[which]);
    const int64_t n_x = c.w.n * c.w.c * c.w.h * c.w.w, n_w = c.oc * c.k;
    struct qx_rng r;
    qx_rng_init(&r, which);
    float *x = values(n_x, &r), *weight = values(n_w, &r);
    float *d_out = values(c.w.n * c.oc * c.places, &r);
    float *have[] = {values(n_x, &r), values(n_w, &r), values(c.oc, &r)}, *want[3];
    const int64_t n[] = {n_x, n_w, c.oc};
    for (int i = 0; i < 3;
         i++) { /* added to what is there, but for the inputs where that is nothing */
        want[i] = malloc((size_t)n[i] * sizeof(float));
        assert_non_null(want[i]);
        memcpy(want[i], have[i], (size_t)n[i] * sizeof(float));
    }
    if (is_first) {
        memset(want[0], 0, (size_t)n_x * sizeof(float));
    }
    float *scratch = values(qx_conv_back_scratch(&c), &r); /* of whatever there was */
    struct qx_conv_back b = {.x = x,
                             .weight = weight,
                             .d_out = d_out,
                             .d_x = want[0],
                             .d_weight = want[1],
                             .d_bias = want[2]};
    plain_back(&c, &b);
    b.d_x = have[0];
    b.d_weight = have[1];
    b.d_bias = have[2];
    b.scratch = scratch;
    b.is_first = is_first;
    qx_conv_back(&c, &b);
    assert_near(which, "input", have[0], want[0], n_x);
    assert_near(which, "weight", have[1], want[1], n_w);
    assert_near(which, "bias", have[2], want[2], c.oc);
    b.d_x = b.d_weight = b.d_bias = NULL; /* nothing is wanted */
    qx_conv_back(&c, &b);
    assert_near(which, "input", have[0], want[0], n_x);
    for (int i = 0; i < 3; i++) {
        free(have[i]);
        free(want[i]);
    }
    free(x);
    free(weight);
    free(d_out);
    free(scratch);
}

static void gradients_are_those_of_plain_loops(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(i, false);
        check(i, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_are_those_of_plain_loops)};
    return cmocka_run_group_tests_name("conv_back", tests, NULL, NULL);
}
