/* Products with 4-bit weights in groups, and dynamic quantization of rows. */
#include "shapes_gemm4.h"

#include "base/fp16.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call4 {
    qxk_gemm4_fn *fn;
    struct qxk_gemm4 g;
    int64_t m_cut, p_cut;
};

static void call4(void *p)
{
    struct call4 *c = p;
    int64_t m = c->g.m, panels = c->g.w->n_panels;
    c->fn(&c->g, 0, c->m_cut, 0, c->p_cut);
    c->fn(&c->g, 0, c->m_cut, c->p_cut, panels - c->p_cut);
    c->fn(&c->g, c->m_cut, m - c->m_cut, 0, c->p_cut);
    c->fn(&c->g, c->m_cut, m - c->m_cut, c->p_cut, panels - c->p_cut);
}

/* The reference rung against sums in double. */
static void check_ref(struct shape_test *t, const struct qxk_gemm4 *g, const struct data4 *d)
{
    const struct qxk_w4 *w = g->w;
    struct qxk_gemm4 h = *g;
    float *y = malloc((size_t)(g->m * w->n + 1) * sizeof *y);
    h.ep = (struct qxk_epilogue){.out = QXK_OUT_F32, .a_scale = d->a_scale, .a_scale_step = 1};
    h.y = y;
    h.ldy = w->n;
    t->ref->gemm_s8s4(&h, 0, g->m, 0, w->n_panels);
    for (int64_t i = 0; i < g->m * w->n; i++) {
        int64_t m = i / w->n, n = i % w->n;
        double sum = 0.0, size = 0.0;
        for (int64_t k = 0; k < w->k; k++) {
            double scale = (double)d->scales[n * w->n_groups + k / w->group];
            int zero = w->has_zeros ? d->zeros[n * w->n_groups + k / w->group] : 0;
            double v = scale * g->a[m * g->lda + k] * (d->codes[n * w->k + k] - zero);
            sum += v;
            size += fabs(v);
        }
        sum *= (double)d->a_scale[m];
        size *= (double)d->a_scale[m];
        if (fabs((double)y[i] - sum) > 1e-6 * size) {
            printf("FAIL %s/ref row %lld output %lld: %g, in double %g\n", t->op, (long long)m,
                   (long long)n, (double)y[i], sum);
            t->n_bad++;
            break;
        }
    }
    free(y);
}

void make_weights(struct shape_test *t, enum byte_fill fill, int64_t n, int64_t k, bool is_table,
                  struct qxk_w4 *w, struct data4 *d)
{
    struct qxk_w4_source from = {.codes = d->codes, .scales = d->scales, .n = n, .k = k};
    from.group = 32 << pick(&t->rng, 0, 2);
    from.is_f16 = pick(&t->rng, 0, 1);
    from.is_table = is_table;
    from.zeros = !is_table && pick(&t->rng, 0, 2) == 0 ? d->zeros : NULL;
    int lo = is_table || from.zeros ? 0 : -8;
    fill = pick(&t->rng, 0, 2) ? fill : BYTES_RANDOM;
    fill_bytes(&t->rng, fill, lo, lo + 15, d->codes, (size_t)(n * k));
    for (int64_t i = 0; i < n * ((k + from.group - 1) / from.group); i++) {
        float scale = 0.01f * (float)pick(&t->rng, 1, 900);
        d->scales[i] = from.is_f16 ? qx_f16_to_f32(qx_f32_to_f16(scale)) : scale;
        d->zeros[i] = (uint8_t)pick(&t->rng, 0, 15);
    }
    if (qxk_w4_pack(w, &from, NULL) != QX_OK) {
        t->n_bad++;
    }
}

static void one_case(struct shape_test *t, enum byte_fill fill, int64_t m, int64_t n, int64_t k,
                     struct data4 *d)
{
    struct qx_rng *r = &t->rng;
    struct qxk_w4 w = {0};
    struct call4 c = {0};
    char what[160];
    make_weights(t, fill, n, k, false, &w, d);
    int64_t row = w.n_groups * w.group;
    c.g = (struct qxk_gemm4){.w = &w, .m = m, .lda = row + pick(r, 0, 3), .ldy = n + pick(r, 0, 9)};
    size_t a_bytes = m > 0 ? (size_t)((m - 1) * c.g.lda + row) : 0;
    int8_t *a = place_input(t, a_bytes);
    fill_bytes(r, fill, -128, 127, a, a_bytes);
    c.g.a = a;
    for (int64_t i = 0; i < m * w.n_groups; i++) {
        int64_t k0 = i % w.n_groups * w.group;
        d->sums[i] = 0;
        for (int64_t j = k0; j < k0 + w.group && j < k; j++) {
            d->sums[i] -= 8 * a[i / w.n_groups * c.g.lda + j];
        }
    }
    for (int i = 0; i < MAX_M; i++) {
        d->a_scale[i] = 0.001f * (float)pick(r, 1, 50);
    }
    for (int i = 0; i < MAX_N; i++) {
        d->bias[i] = (float)qx_rng_normal(r);
    }
    c.g.group_sum = d->sums;
    c.g.ep = (struct qxk_epilogue){.out = (enum qxk_out)pick(r, QXK_OUT_F32, QXK_OUT_S8),
                                   .act = (enum qxk_act)pick(r, 0, QXK_ACT_CLIP),
                                   .a_scale = d->a_scale,
                                   .a_scale_step = pick(r, 0, 1),
                                   .bias = pick(r, 0, 1) ? d->bias : NULL,
                                   .act_lo = -1.0f,
                                   .act_hi = 2.0f,
                                   .y_inv_scale = 3.0f,
                                   .y_min = -128.0f,
                                   .y_max = 127.0f};
    c.m_cut = pick(r, 0, (int)m);
    c.p_cut = pick(r, 0, (int)w.n_panels);
    size_t bytes = m > 0 ? (size_t)((m - 1) * c.g.ldy + n) : 0;
    bytes *= c.g.ep.out == QXK_OUT_F32 ? 4 : 1;
    c.g.y = place_output(t, bytes);
    struct call4 ref = c;
    ref.g.y = t->y_ref;
    ref.fn = t->ref->gemm_s8s4;
    call4(&ref);
    check_ref(t, &c.g, d);
    c.fn = t->rung->gemm_s8s4;
    snprintf(what, sizeof what, "fill %d m %lld n %lld k %lld group %d out %d act %d", (int)fill,
             (long long)m, (long long)n, (long long)k, w.group, (int)c.g.ep.out, (int)c.g.ep.act);
    run_case(t, call4, &c, c.g.y, bytes, what);
    qxk_w4_release(&w);
}

void check_gemm_s8s4(struct shape_test *t)
{
    static const int outputs[] = {1, 7, 16, 17, 32, 33, 63, 64, 65, 130, 257};
    struct data4 *d = malloc(sizeof *d);
    for (int fill = 0; fill < BYTES_FILLS && t->n_bad < 5; fill++) {
        enum byte_fill f = (enum byte_fill)fill;
        for (int k = 1; k <= 67 && t->n_bad < 5; k++) {
            one_case(t, f, pick(&t->rng, 0, 7), outputs[k % 11], k, d);
        }
        for (int m = 0; m <= 13 && t->n_bad < 5; m++) {
            one_case(t, f, m, pick(&t->rng, 1, 140), pick(&t->rng, 1, 300), d);
        }
        one_case(t, f, 4, 66, 1021, d);
        one_case(t, f, 7, 64, 1088, d);
    }
    free(d);
}

/* ---- dynamic quantization ---- */

struct call_quant {
    const struct qxk_table *table;
    bool is_asym, is_u8;
    const float *x;
    int64_t k;
    int bits;
    struct qxk_row_codes out;
    int64_t n_nonfinite;
};

static void call_quant(void *p)
{
    struct call_quant *c = p;
    if (c->is_asym) {
        c->n_nonfinite = c->table->quant_row_asym(c->x, c->k, c->bits, &c->out);
    } else {
        c->n_nonfinite = c->table->quant_row(c->x, c->k, c->bits, c->is_u8, &c->out);
    }
}

static void quant_case(struct shape_test *t, bool is_asym, enum fill fill, int64_t k)
{
    int32_t sums[2][300];
    memset(sums, 0, sizeof sums);
    float *x =
        guard_place(&t->a, (size_t)k * 4, 4 * qx_rng_below(&t->rng, 16), qx_rng_next(&t->rng) & 1);
    fill_input(&t->rng, fill, 'f', x, (size_t)k);
    struct call_quant c = {.table = t->rung,
                           .is_asym = is_asym,
                           .is_u8 = pick(&t->rng, 0, 1),
                           .x = x,
                           .k = k,
                           .bits = pick(&t->rng, 2, 8)};
    c.out.group = pick(&t->rng, 0, 1) ? 32 << pick(&t->rng, 0, 2) : 0;
    c.out.sum_factor = pick(&t->rng, 0, 1) ? -8 : 1;
    struct call_quant ref = c;
    c.out.q = place_output(t, (size_t)k);
    c.out.sums = sums[0];
    ref.table = t->ref;
    ref.out.q = t->y_ref;
    ref.out.sums = sums[1];
    call_quant(&ref);
    char what[120];
    snprintf(what, sizeof what, "fill %s k %lld bits %d", fill_names[fill], (long long)k, c.bits);
    bool ok = run_case(t, call_quant, &c, c.out.q, (size_t)k, what);
    bool same = c.n_nonfinite == ref.n_nonfinite && c.out.zero == ref.out.zero &&
                memcmp(&c.out.scale, &ref.out.scale, 4) == 0 &&
                memcmp(sums[0], sums[1], sizeof sums[0]) == 0;
    if (ok && !same) {
        t->n_bad++;
        printf("FAIL %s/%s %s: scale %a want %a, zero %d want %d, sum %d want %d\n", t->op, t->isa,
               what, (double)c.out.scale, (double)ref.out.scale, c.out.zero, ref.out.zero,
               sums[0][0], sums[1][0]);
    }
}

static void check_quant(struct shape_test *t, bool is_asym)
{
    for (int fill = 0; fill < FILL_COUNT; fill++) {
        for (int k = 1; k <= 200 && t->n_bad < 5; k++) {
            quant_case(t, is_asym, (enum fill)fill, k);
        }
        for (int i = 0; i < 40 && t->n_bad < 5; i++) {
            quant_case(t, is_asym, (enum fill)fill, pick(&t->rng, 200, 9000));
        }
    }
}

void check_quant_row(struct shape_test *t)
{
    check_quant(t, false);
}

void check_quant_row_asym(struct shape_test *t)
{
    check_quant(t, true);
}
