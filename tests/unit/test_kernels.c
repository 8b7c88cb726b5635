/* What the kernels promise beyond agreement between rungs (that is checkkern's): definitions held
 * against independent arithmetic, and results that do not depend on how the work is cut. */
#include "base/fp16.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { N = 20000 };

static float data[N];

static int fill_data(void **state)
{
    (void)state;
    struct qx_rng r;
    qx_rng_init(&r, 11);
    for (int i = 0; i < N; i++) {
        float spread = ldexpf(1.0f, -(int)qx_rng_below(&r, 40)); /* reaches subnormal halves */
        data[i] = i % 97 ? (float)qx_rng_normal(&r) * spread : 0.0f;
    }
    data[500] = -0.0f;
    return 0;
}

static float absmax_of(const float *x, size_t n)
{
    float a = 0.0f;
    for (size_t i = 0; i < n; i++) {
        a = fmaxf(a, fabsf(x[i]));
    }
    return a;
}

static struct qxk_hist *hist_of(const float *x, size_t n, size_t piece, float scale, float lin)
{
    struct qxk_hist *h = qx_mem_zalloc(sizeof *h);
    struct qxk_hist_work *w = qx_mem_aligned(sizeof *w);
    memset(w, 0, sizeof *w);
    for (size_t i = 0; i < n; i += piece) {
        size_t take = n - i < piece ? n - i : piece;
        qxk_get()->hist_f32(w, x + i, take, scale, lin);
        if (i / piece % 3 == 2) {
            qxk_hist_flush(w, h);
        }
    }
    qxk_hist_flush(w, h);
    qx_mem_free(w);
    return h;
}

static void every_table_is_complete(void **state)
{
    (void)state;
    for (int i = 0; i < QXK_OP_COUNT; i++) {
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(qxk_op_name((enum qxk_op)i), qxk_op_name((enum qxk_op)j));
        }
    }
    for (int isa = 0; isa < QX_ISA_COUNT; isa++) {
        const struct qxk_table *t = qxk_get_isa((enum qx_isa)isa);
#define IS_SET(name, type) assert_non_null(t->name);
        QXK_OPS(IS_SET)
#undef IS_SET
        for (int i = 0; i < QXK_OP_COUNT; i++) {
            assert_true((int)t->isa[i] <= isa);
        }
    }
}

/* Words of a list. */
static bool next_word(const char **p, char word[32])
{
    size_t n;
    *p += strspn(*p, " ");
    n = strcspn(*p, " ");
    snprintf(word, 32, "%.*s", (int)n, *p);
    *p += n;
    return n > 0;
}

/* Any identity may be given: a vetoed row is replaced by the one below, the others stay. */
static void a_veto_takes_the_row_below(void **state)
{
    (void)state;
    static const char uarchs[] = "zen zen2 zen3 zen4 zen5 haswell broadwell skylake skylake-server "
                                 "icelake icelake-server tigerlake rocketlake sapphirerapids "
                                 "emeraldrapids alderlake raptorlake meteorlake unknown";
    const char *p = uarchs;
    char uarch[32];
    int n_vetoed = 0;
    while (next_word(&p, uarch)) {
        for (int isa = 0; isa < QX_ISA_COUNT; isa++) {
            const struct qxk_table *all = qxk_get_isa((enum qx_isa)isa);
            struct qxk_table t;
            qxk_table_fill(&t, (enum qx_isa)isa, uarch);
            for (int i = 0; i < QXK_OP_COUNT; i++) {
                enum qxk_op op = (enum qxk_op)i;
                assert_null(qxk_veto(op, t.isa[i], uarch));
                if (qxk_veto(op, all->isa[i], uarch)) {
                    assert_true(t.isa[i] < all->isa[i]);
                    n_vetoed++;
                } else {
                    assert_int_equal(t.isa[i], all->isa[i]);
                }
            }
        }
    }
    if (qxk_get_isa(QX_ISA_AVX2)->isa[QXK_OP_nearest8] == QX_ISA_AVX2) {
        struct qxk_table t;
        qxk_table_fill(&t, QX_ISA_AVX2, "skylake");
        assert_int_equal(t.isa[QXK_OP_nearest8], QX_ISA_REF);
        assert_ptr_equal(t.nearest8, qxk_get_isa(QX_ISA_REF)->nearest8);
        assert_int_equal(t.isa[QXK_OP_nearest4], QX_ISA_AVX2);
        qxk_table_fill(&t, QX_ISA_AVX2, "sky"); /* a part of a name is none */
        assert_int_equal(t.isa[QXK_OP_nearest8], QX_ISA_AVX2);
        assert_true(n_vetoed > 0);
    }
}

/* The value of the byte nearest to x, ties to the even code, out of all 256. */
static uint8_t nearest_byte(float x, float (*value)(uint8_t), uint8_t largest)
{
    int best = 0;
    for (int m = 1; m <= largest; m++) {
        double a = fabs((double)value((uint8_t)m) - fabs((double)x));
        double b = fabs((double)value((uint8_t)best) - fabs((double)x));
        best = a < b || (a == b && m % 2 == 0) ? m : best;
    }
    return (uint8_t)(best | (signbit(x) ? 0x80 : 0));
}

static void floats_become_the_nearest_of_8_bits(void **state)
{
    (void)state;
    for (int i = 0; i < 4000; i++) {
        float m = 1.0f + (float)((i * 7919) % 256) / 256.0f, x = ldexpf(m, i % 43 - 24);
        x = i % 2 ? -x : x;
        assert_int_equal(qx_f32_to_f8e4m3(x), nearest_byte(x, qx_f8e4m3_to_f32, 0x7E));
        assert_int_equal(qx_f32_to_f8e5m2(x), nearest_byte(x, qx_f8e5m2_to_f32, 0x7B));
    }
    for (int b = 0; b < 256; b++) {
        float e4m3 = qx_f8e4m3_to_f32((uint8_t)b), e5m2 = qx_f8e5m2_to_f32((uint8_t)b);
        assert_true(isnan(e4m3) || qx_f32_to_f8e4m3(e4m3) == b);
        assert_true(!isfinite(e5m2) || qx_f32_to_f8e5m2(e5m2) == b);
    }
    assert_int_equal(qx_f32_to_f8e4m3(INFINITY), 0x7E);
    assert_int_equal(qx_f32_to_f8e5m2(-1e30f), 0xFB);
    assert_int_equal(qx_f32_to_f8e4m3(NAN) & 0x7F, 0x7F);
    assert_int_equal(qx_f32_to_f8e5m2(NAN) & 0x7F, 0x7F);
}

static void stats_equal_plain_sums(void **state)
{
    (void)state;
    struct qxk_stats s;
    long double sum = 0, sumsq = 0;
    int64_t n_zero = 0;
    for (int i = 0; i < N; i++) {
        sum += (long double)data[i];
        sumsq += (long double)data[i] * (long double)data[i];
        n_zero += data[i] == 0.0f;
    }
    qxk_get()->stats_f32(data, N, &s);
    assert_true(fabsl((long double)s.sum - sum) < 1e-9L);
    assert_true(fabsl((long double)s.sumsq - sumsq) < 1e-9L);
    assert_int_equal(s.n_zero, n_zero);
    assert_int_equal(s.n_finite, N);
    assert_true(s.absmax == absmax_of(data, N));
}

static void stats_of_nothing_merge_as_nothing(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, NAN};
    struct qxk_stats s, all = qxk_stats_zero();
    qxk_get()->stats_f32(bad, 4, &s);
    assert_int_equal(s.n_finite, 0);
    assert_true(s.n_nan == 2 && s.n_posinf == 1 && s.n_neginf == 1);
    assert_true(s.absmax == 0.0f && s.min == INFINITY && s.max == -INFINITY && s.sum == 0.0);
    qxk_stats_merge(&all, &s);
    qxk_get()->stats_f32(data, 3, &s);
    qxk_stats_merge(&all, &s);
    assert_true(all.min == s.min && all.max == s.max && all.sum == s.sum);
    assert_true(all.n_finite == 3 && all.n_nan == 2);
}

static void bins_are_truncated_halves(void **state)
{
    (void)state;
    float absmax = absmax_of(data, N), scale = ldexpf(1.0f, 15 - ilogbf(absmax));
    uint64_t *n = qx_mem_zalloc(QXK_HALF_BINS * sizeof *n);
    uint64_t lin[QXK_LIN_BINS] = {0};
    float lin_scale = QXK_LIN_BINS / absmax;
    for (int i = 0; i < N; i++) {
        n[data[i] == 0.0f ? 0 : qx_f32_to_f16_rz(data[i] * scale)]++;
        int bin = (int)(fabsf(data[i]) * lin_scale);
        lin[bin < QXK_LIN_BINS ? bin : QXK_LIN_BINS - 1]++;
    }
    struct qxk_hist *h = hist_of(data, N, N, scale, lin_scale);
    for (int i = 0; i < QXK_HALF_BINS; i++) {
        assert_int_equal(h->half[i].n, n[i]);
    }
    assert_memory_equal(h->lin, lin, sizeof lin);
    qx_mem_free(n);
    qx_mem_free(h);
}

static void moments_give_back_the_sums(void **state)
{
    (void)state;
    float absmax = absmax_of(data, N), scale = ldexpf(1.0f, 15 - ilogbf(absmax));
    struct qxk_hist *h = hist_of(data, N, 777, scale, QXK_LIN_BINS / absmax);
    double sum = 0, sumsq = 0, expect_sum = 0, expect_sumsq = 0;
    for (uint32_t i = 0; i < QXK_HALF_BINS; i++) {
        double edge = fabs((double)qxk_half_edge(i)), unit = (double)qxk_half_width(i) / 8192;
        double n = (double)h->half[i].n;
        double s1 = (double)h->half[i].s1 * unit, s2 = (double)h->half[i].s2 * unit * unit;
        double abs_sum = n * edge + s1;
        sum += i & 0x8000 ? -abs_sum : abs_sum;
        sumsq += n * edge * edge + 2 * edge * s1 + s2;
    }
    for (int i = 0; i < N; i++) {
        double y = (double)data[i] * (double)scale;
        expect_sum += y;
        expect_sumsq += y * y;
    }
    /* Only subnormal halves lose bits: below 2^-37 each. */
    assert_true(fabs(sum - expect_sum) < 1e-6 * sqrt(expect_sumsq));
    assert_true(fabs(sumsq - expect_sumsq) < 1e-10 * expect_sumsq);
    qx_mem_free(h);
}

static void histogram_does_not_depend_on_the_cut(void **state)
{
    (void)state;
    struct qxk_hist *whole = hist_of(data, N, N, 4096.0f, 500.0f);
    static const size_t pieces[] = {1, 7, 1000, 4096};
    for (int i = 0; i < 4; i++) {
        struct qxk_hist *cut = hist_of(data, N, pieces[i], 4096.0f, 500.0f);
        assert_memory_equal(whole, cut, sizeof *whole);
        qx_mem_free(cut);
    }
    qx_mem_free(whole);
}

static void half_files_fall_on_bin_edges(void **state)
{
    (void)state;
    enum { HALVES = 65536 };
    uint16_t *x = qx_mem_array(HALVES, sizeof *x);
    float *f = qx_mem_array(HALVES, sizeof *f);
    for (int i = 0; i < HALVES; i++) {
        x[i] = (uint16_t)i;
    }
    qxk_get()->f16_to_f32(x, HALVES, f);
    struct qxk_hist *h = hist_of(f, HALVES, HALVES, 1.0f, 1.0f / 32);
    assert_int_equal(h->n_nonfinite, 2048);
    for (uint32_t i = 0; i < HALVES; i++) {
        bool is_finite = (i & 0x7C00) != 0x7C00;
        uint64_t n = i == 0 ? 2 : i == 0x8000 ? 0 : is_finite;
        assert_int_equal(h->half[i].n, n);
        assert_int_equal(h->half[i].s1, 0);
        if (is_finite) {
            assert_true(qxk_half_edge(i) == qx_f16_to_f32((uint16_t)i));
        }
    }
    qx_mem_free(x);
    qx_mem_free(f);
    qx_mem_free(h);
}

static void any_scale_stays_inside_the_table(void **state)
{
    (void)state;
    static const float wild[] = {
        0x1.fffffep127f, -0x1.fffffep127f, 1e-45f, -1e-45f, 65536.0f, -1.0f, 1e30f, -1e-30f};
    for (int k = -126; k <= 127; k++) {
        struct qxk_hist *h = hist_of(wild, 8, 8, ldexpf(1.0f, k), 0x1.fffffep127f);
        uint64_t n = 0, n_lin = 0;
        for (int i = 0; i < QXK_HALF_BINS; i++) {
            assert_true((i & 0x7C00) != 0x7C00 || h->half[i].n == 0);
            n += h->half[i].n;
        }
        for (int i = 0; i < QXK_LIN_BINS; i++) {
            n_lin += h->lin[i];
        }
        assert_true(n == 8 && n_lin == 8);
        qx_mem_free(h);
    }
}

static void weights_of_one_give_the_plain_histogram(void **state)
{
    (void)state;
    float inv = 1.0f / absmax_of(data, N);
    struct qxk_wbin *bins = qx_mem_aligned(QXK_HALF_BINS * sizeof *bins);
    float *scaled = qx_mem_array(N, sizeof *scaled);
    memset(bins, 0, QXK_HALF_BINS * sizeof *bins);
    for (int i = 0; i < N; i++) {
        scaled[i] = data[i] * inv;
    }
    qxk_get()->hist_weighted(bins, data, N, inv, 32768.0f, 2.0);
    struct qxk_hist *h = hist_of(scaled, N, N, 32768.0f, 1.0f);
    for (int i = 0; i < QXK_HALF_BINS; i++) {
        double n = (double)h->half[i].n;
        assert_true(bins[i].n == n && bins[i].a0 == 4 * n && bins[i].m0 == 2 * n);
        assert_true(bins[i].a1 == 4 * (double)h->half[i].s1);
        assert_true(bins[i].m1 == 2 * (double)h->half[i].s1);
        assert_true(fabs(bins[i].a2 - 4 * (double)h->half[i].s2) <= 1e-12 * bins[i].a2);
    }
    qx_mem_free(bins);
    qx_mem_free(scaled);
    qx_mem_free(h);
}

static void affine_rounds_ties_to_even_and_clamps(void **state)
{
    (void)state;
    static const float x[] = {0.5f, 1.5f, -0.5f, -2.5f, 9.0f, -9.0f, NAN, INFINITY, -0.0f, 1e38f};
    static const float sym[] = {0.0f, 2.0f, 0.0f, -2.0f, 7.0f, -7.0f, 0.0f, 0.0f, 0.0f, 7.0f};
    static const int8_t codes[] = {0, 2, 0, -2, 7, -7, 0, 0, 0, 7};
    static const uint8_t asym[] = {3, 5, 3, 1, 12, 0, 3, 3, 3, 15};
    const struct qxk_affine s = {1.0f, 0.0f, -7.0f, 7.0f}, a = {1.0f, 3.0f, 0.0f, 15.0f};
    float out[10];
    uint8_t q[10];
    assert_int_equal(qxk_get()->fakequant(x, 10, &s, out), 2);
    for (int i = 0; i < 10; i++) {
        assert_true(out[i] == sym[i]);
    }
    assert_int_equal(qxk_get()->quantize(x, 10, &s, q), 2);
    assert_memory_equal(q, codes, sizeof codes);
    assert_int_equal(qxk_get()->quantize(x, 10, &a, q), 2);
    assert_memory_equal(q, asym, sizeof asym);
}

static void both_error_kernels_agree(void **state)
{
    (void)state;
    const struct qxk_affine q = {0.01f, 5.0f, 0.0f, 255.0f};
    float *y = qx_mem_array(N, sizeof *y);
    struct qxk_error a, b;
    double sse = 0, sae = 0;
    qxk_get()->fakequant(data, N, &q, y);
    qxk_get()->error_f32(data, y, N, &a);
    qxk_get()->error_affine(data, N, &q, &b);
    for (int i = 0; i < N; i++) {
        double e = (double)y[i] - (double)data[i];
        sse += e * e;
        sae += fabs(e);
    }
    assert_true(a.sse == b.sse && a.sae == b.sae && a.se == b.se && a.sxy == b.sxy);
    assert_true(a.max_abs == b.max_abs && a.n == b.n);
    assert_true(fabs(a.sse - sse) < 1e-12 * sse && fabs(a.sae - sae) < 1e-12 * sae);
    assert_true(b.n_low > 0 && a.n_low == 0);
    qx_mem_free(y);
}

/* ---- BLAS ---- */

enum { DIM = 24, LD = 29 };

static void naive_gemm(int ta, int tb, int m, int n, int k, const float *a, const float *b,
                       double *c)
{
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
            double s = 0;
            for (int p = 0; p < k; p++) {
                s += (double)a[ta ? p * LD + i : i * LD + p] *
                     (double)b[tb ? j * LD + p : p * LD + j];
            }
            c[i * LD + j] = s;
        }
    }
}

static void check_gemm(int ta, int tb, int m, int n, int k, float beta)
{
    float c[DIM * LD], before[DIM * LD];
    double expect[DIM * LD];
    const float *a = data, *b = data + DIM * LD;
    for (int i = 0; i < DIM * LD; i++) {
        before[i] = c[i] = beta == 0.0f ? NAN : (float)i;
    }
    naive_gemm(ta, tb, m, n, k, a, b, expect);
    qxk_sgemm(ta, tb, m, n, k, 2.0f, a, LD, b, LD, beta, c, LD);
    for (int i = 0; i < DIM; i++) {
        for (int j = 0; j < LD; j++) {
            int at = i * LD + j;
            if (i < m && j < n) {
                double want = 2 * expect[at];
                want += beta == 0.0f ? 0.0 : (double)beta * (double)before[at];
                assert_true(fabs((double)c[at] - want) < 1e-4 * (1 + fabs(want)));
            } else {
                assert_memory_equal(&c[at], &before[at], sizeof c[at]);
            }
        }
    }
}

static void gemm_equals_three_loops(void **state)
{
    (void)state;
    static const int sizes[][3] = {{1, 1, 1}, {1, 7, 5},   {7, 1, 5}, {5, 7, 1},    {1, 24, 24},
                                   {3, 4, 5}, {24, 1, 24}, {8, 8, 8}, {24, 23, 22}, {2, 2, 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int t = 0; t < 4; t++) {
            check_gemm(t & 1, t >> 1, sizes[i][0], sizes[i][1], sizes[i][2], 0.0f);
            check_gemm(t & 1, t >> 1, sizes[i][0], sizes[i][1], sizes[i][2], 0.5f);
        }
    }
}

static void gemv_equals_two_loops(void **state)
{
    (void)state;
    enum { ROWS = 9, COLS = 13 };
    const float *a = data, *x = data + 1000;
    for (int trans = 0; trans < 2; trans++) {
        float y[COLS];
        for (int i = 0; i < COLS; i++) {
            y[i] = NAN;
        }
        qxk_sgemv(trans, ROWS, COLS, 1.0f, a, COLS, x, 0.0f, y);
        for (int i = 0; i < (trans ? COLS : ROWS); i++) {
            double s = 0;
            for (int j = 0; j < (trans ? ROWS : COLS); j++) {
                s += (double)a[trans ? j * COLS + i : i * COLS + j] * (double)x[j];
            }
            assert_true(fabs((double)y[i] - s) < 1e-4 * (1 + fabs(s)));
        }
    }
}

/* A sparse file: as many equal values as one work may take. */
static void one_bin_holds_all_that_a_work_takes(void **state)
{
    (void)state;
    enum { BLOCK = 1 << 16 };
    static float block[BLOCK];
    struct qxk_hist *h = qx_mem_zalloc(sizeof *h);
    struct qxk_hist_work *w = qx_mem_aligned(sizeof *w);
    assert_non_null(h);
    assert_non_null(w);
    memset(w, 0, sizeof *w);
    size_t left = QXK_HIST_MAX;
    while (left > 0) {
        size_t n = left < BLOCK ? left : BLOCK;
        qxk_get()->hist_f32(w, block, n, 1.0f, 1.0f);
        left -= n;
    }
    qxk_hist_flush(w, h);
    assert_int_equal(h->half[0].n, QXK_HIST_MAX);
    assert_int_equal(h->half[0].s1, 0);
    assert_int_equal(h->lin[0], QXK_HIST_MAX);
    qx_mem_free(w);
    qx_mem_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_table_is_complete),
        cmocka_unit_test(a_veto_takes_the_row_below),
        cmocka_unit_test(floats_become_the_nearest_of_8_bits),
        cmocka_unit_test(stats_equal_plain_sums),
        cmocka_unit_test(stats_of_nothing_merge_as_nothing),
        cmocka_unit_test(bins_are_truncated_halves),
        cmocka_unit_test(moments_give_back_the_sums),
        cmocka_unit_test(histogram_does_not_depend_on_the_cut),
        cmocka_unit_test(one_bin_holds_all_that_a_work_takes),
        cmocka_unit_test(half_files_fall_on_bin_edges),
        cmocka_unit_test(any_scale_stays_inside_the_table),
        cmocka_unit_test(weights_of_one_give_the_plain_histogram),
        cmocka_unit_test(affine_rounds_ties_to_even_and_clamps),
        cmocka_unit_test(both_error_kernels_agree),
        cmocka_unit_test(gemm_equals_three_loops),
        cmocka_unit_test(gemv_equals_two_loops),
    };
    return cmocka_run_group_tests_name("kernels", tests, fill_data, NULL);
}
