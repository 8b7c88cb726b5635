/* Products with 8-bit weights. The reference rung is first held against plain sums. */
#include "shapes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call8 {
    qxk_gemm8_fn *fn;
    struct qxk_gemm8 g;
    int64_t m_cut, p_cut;
};

/* In four parts, to show that cuts do not matter. */
static void call8(void *p)
{
    struct call8 *c = p;
    int64_t m = c->g.m, panels = c->g.w->n_panels;
    c->fn(&c->g, 0, c->m_cut, 0, c->p_cut);
    c->fn(&c->g, 0, c->m_cut, c->p_cut, panels - c->p_cut);
    c->fn(&c->g, c->m_cut, m - c->m_cut, 0, c->p_cut);
    c->fn(&c->g, c->m_cut, m - c->m_cut, c->p_cut, panels - c->p_cut);
}

enum { MAX_N = 300, MAX_M = 24, MAX_K = 70000 };

struct scalars {
    float a_scale[MAX_M], w_scale[MAX_N], bias[MAX_N];
    int32_t a_zero[MAX_M], w_zero[MAX_N], a_sum[MAX_M];
};

static void pick_epilogue(struct shape_test *t, struct qxk_gemm8 *g, bool is_signed,
                          struct scalars *s)
{
    struct qx_rng *r = &t->rng;
    struct qxk_epilogue *e = &g->ep;
    e->out = (enum qxk_out)pick(r, g->w->k > QXK_K_SPLIT ? QXK_OUT_F32 : 0, QXK_OUT_S8);
    e->act = (enum qxk_act)pick(r, 0, QXK_ACT_CLIP);
    e->act_lo = -1.5f;
    e->act_hi = 3.0f;
    for (int i = 0; i < MAX_M; i++) {
        s->a_scale[i] = 0.001f * (float)pick(r, 1, 40);
        s->a_zero[i] = is_signed ? pick(r, -128, 127) : pick(r, 0, 255);
    }
    for (int i = 0; i < MAX_N; i++) {
        s->w_scale[i] = 0.0007f * (float)pick(r, 1, 90);
        s->bias[i] = (float)qx_rng_normal(r);
        s->w_zero[i] = pick(r, -128, 127);
    }
    for (int64_t i = 0; i < g->m; i++) {
        s->a_sum[i] = 0;
        for (int64_t k = 0; k < g->w->k; k++) {
            const uint8_t *a = (const uint8_t *)g->a + i * g->lda;
            s->a_sum[i] += is_signed ? (int8_t)a[k] : a[k];
        }
    }
    e->a_scale = s->a_scale;
    e->w_scale = s->w_scale;
    e->a_scale_step = pick(r, 0, 1);
    e->w_scale_step = pick(r, 0, 1);
    e->a_zero_step = pick(r, 0, 1);
    e->w_zero_step = pick(r, 0, 1);
    e->bias = pick(r, 0, 1) ? s->bias : NULL;
    e->a_zero = pick(r, 0, 1) ? s->a_zero : NULL;
    e->w_zero = pick(r, 0, 3) == 0 ? s->w_zero : NULL;
    e->a_sum = s->a_sum;
    e->y_inv_scale = 20.0f;
    e->y_zero = e->out == QXK_OUT_U8 ? 31.0f : -3.0f;
    e->y_min = e->out == QXK_OUT_U8 ? 0.0f : -128.0f;
    e->y_max = e->out == QXK_OUT_U8 ? 255.0f : 127.0f;
}

/* Plain int64 sums against the reference rung's raw output. */
static void check_sums(struct shape_test *t, const struct call8 *c, const int8_t *codes,
                       bool is_signed)
{
    struct qxk_gemm8 g = c->g;
    int32_t *y = malloc((size_t)(g.m * g.w->n) * sizeof *y);
    g.ep = (struct qxk_epilogue){.out = QXK_OUT_S32};
    g.y = y;
    g.ldy = g.w->n;
    (is_signed ? t->ref->gemm_s8s8 : t->ref->gemm_u8s8)(&g, 0, g.m, 0, g.w->n_panels);
    for (int64_t i = 0; i < g.m && t->n_bad < 5; i++) {
        const uint8_t *a = (const uint8_t *)g.a + i * g.lda;
        for (int64_t n = 0; n < g.w->n; n++) {
            int64_t sum = 0;
            for (int64_t k = 0; k < g.w->k; k++) {
                sum += (is_signed ? (int8_t)a[k] : a[k]) * codes[n * g.w->k + k];
            }
            if (sum != y[i * g.w->n + n]) {
                t->n_bad++;
                printf("FAIL %s/ref row %lld output %lld: %d, plain sum %lld\n", t->op,
                       (long long)i, (long long)n, y[i * g.w->n + n], (long long)sum);
                break;
            }
        }
    }
    free(y);
}

static void one_case(struct shape_test *t, bool is_signed, enum byte_fill fill, int64_t m,
                     int64_t n, int64_t k, int8_t *codes, struct scalars *s)
{
    struct qx_rng *r = &t->rng;
    struct qxk_w8 w = {0};
    struct call8 c = {0};
    char what[160];
    fill_bytes(r, pick(r, 0, 3) ? fill : BYTES_RANDOM, pick(r, 0, 7) ? -127 : -128, 127, codes,
               (size_t)(n * k));
    if (qxk_w8_pack(&w, codes, n, k, NULL) != QX_OK) {
        t->n_bad++;
        return;
    }
    int64_t padded = (k + 3) / 4 * 4;
    c.g = (struct qxk_gemm8){
        .w = &w, .m = m, .lda = padded + pick(r, 0, 3), .ldy = n + pick(r, 0, 9)};
    size_t a_bytes = m > 0 ? (size_t)((m - 1) * c.g.lda + padded) : 0;
    void *a = place_input(t, a_bytes);
    fill_bytes(r, fill, is_signed ? -128 : 0, is_signed ? 127 : 255, a, a_bytes);
    c.g.a = a;
    pick_epilogue(t, &c.g, is_signed, s);
    int64_t elem = c.g.ep.out == QXK_OUT_S32 || c.g.ep.out == QXK_OUT_F32 ? 4 : 1;
    size_t bytes = m > 0 ? (size_t)(((m - 1) * c.g.ldy + n) * elem) : 0;
    c.m_cut = pick(r, 0, (int)m);
    c.p_cut = pick(r, 0, (int)w.n_panels);
    c.g.y = place_output(t, bytes);
    struct call8 ref = c;
    ref.g.y = t->y_ref;
    ref.fn = is_signed ? t->ref->gemm_s8s8 : t->ref->gemm_u8s8;
    call8(&ref);
    c.fn = is_signed ? t->rung->gemm_s8s8 : t->rung->gemm_u8s8;
    snprintf(what, sizeof what, "fill %d m %lld n %lld k %lld out %d act %d", (int)fill,
             (long long)m, (long long)n, (long long)k, (int)c.g.ep.out, (int)c.g.ep.act);
    if (k <= QXK_K_SPLIT) {
        check_sums(t, &c, codes, is_signed);
    }
    run_case(t, call8, &c, c.g.y, bytes, what);
    qxk_w8_release(&w);
}

static void check_gemm8(struct shape_test *t, bool is_signed)
{
    static const int outputs[] = {1, 7, 16, 17, 32, 33, 63, 64, 65, 130, 257};
    static const int inputs[] = {127, 768, 1021, 1024, 1027};
    int8_t *codes = malloc((size_t)MAX_N * MAX_K / 64);
    struct scalars *s = malloc(sizeof *s);
    for (int fill = 0; fill < BYTES_FILLS && t->n_bad < 5; fill++) {
        enum byte_fill f = (enum byte_fill)fill;
        for (int k = 1; k <= 67 && t->n_bad < 5; k++) {
            one_case(t, is_signed, f, pick(&t->rng, 0, 13), outputs[k % 11], k, codes, s);
        }
        for (int m = 0; m <= 13 && t->n_bad < 5; m++) {
            one_case(t, is_signed, f, m, pick(&t->rng, 1, 140), pick(&t->rng, 1, 300), codes, s);
        }
        for (size_t i = 0; i < sizeof inputs / sizeof *inputs && t->n_bad < 5; i++) {
            one_case(t, is_signed, f, pick(&t->rng, 1, 9), 66, inputs[i], codes, s);
        }
        one_case(t, is_signed, f, 3, 2, QXK_K_SPLIT, codes, s);
        one_case(t, is_signed, f, 5, 2, QXK_K_SPLIT + 5, codes, s);
        one_case(t, is_signed, f, 1, 3, 70000, codes, s);
    }
    free(s);
    free(codes);
}

void check_gemm_u8s8(struct shape_test *t)
{
    check_gemm8(t, false);
}

void check_gemm_s8s8(struct shape_test *t)
{
    check_gemm8(t, true);
}
