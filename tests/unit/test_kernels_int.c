/* Functions of the integer engine against the mathematics they stand for. */
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/gemm.h"
#include "kernels/kernels.h"
#include "kernels/pages.h"
#include "kernels/ref/math.h"
#include "kernels/rungs.h"
#include "kernels/tiles.h"
#include "base/pool.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Every 911th float: 4.7 million values of both signs and all sizes. */
static float next_float(uint32_t *bits)
{
    float x;
    memcpy(&x, bits, 4);
    *bits += 911;
    return x;
}

static void functions_keep_their_bounds(void **state)
{
    (void)state;
    double worst_exp = 0, worst_erf = 0, worst_gelu = 0, worst_tanh = 0;
    uint32_t bits = 0;
    for (int i = 0; i < 4714000; i++) {
        float x = next_float(&bits);
        if (!isfinite(x)) {
            continue;
        }
        double v = (double)x, size = fmax(fabs(v), 1e-30);
        if (v > -87 && v < 88.3) {
            worst_exp = fmax(worst_exp, fabs((double)exp_ref(x) / exp(v) - 1));
        }
        worst_erf = fmax(worst_erf, fabs((double)erf_ref(x) - erf(v)));
        double gelu = 0.5 * v * erfc(-v * 0.70710678118654752);
        worst_gelu = fmax(worst_gelu, fabs((double)gelu_ref(x) - gelu) / size);
        double u = 0.79788456080286536 * (v + 0.044715 * v * v * v);
        double tanh_form = v > -1e5 ? v / (1 + exp(-2 * u)) : 0;
        worst_tanh = fmax(worst_tanh, fabs((double)gelu_tanh_ref(x) - tanh_form) / size);
    }
    print_message("exp %.3g relative, erf %.3g, gelu %.3g |x|, gelu_tanh %.3g |x|\n", worst_exp,
                  worst_erf, worst_gelu, worst_tanh);
    assert_true(worst_exp < 1e-7);
    assert_true(worst_erf < 3e-7);
    assert_true(worst_gelu < 3e-7);
    assert_true(worst_tanh < 2e-7);
}

static void special_values_pass_through(void **state)
{
    (void)state;
    assert_true(isnan(exp_ref(NAN)) && isnan(erf_ref(NAN)) && isnan(gelu_ref(NAN)));
    assert_true(isnan(gelu_tanh_ref(NAN)));
    assert_true(isinf(gelu_ref(INFINITY)) && isinf(gelu_tanh_ref(INFINITY)));
    assert_true(fabsf(gelu_ref(-INFINITY)) < 4e-7f && fabsf(gelu_tanh_ref(-INFINITY)) < 4e-7f);
    assert_true(gelu_ref(0.0f) == 0.0f && exp_ref(0.0f) == 1.0f);
}

static void softmax_sums_to_one_and_norm_is_normal(void **state)
{
    (void)state;
    enum { N = 3000 };
    static float x[N], y[N];
    struct qx_rng r;
    qx_rng_init(&r, 5);
    for (int i = 0; i < N; i++) {
        x[i] = (float)qx_rng_normal(&r) * 4.0f + 2.0f;
    }
    double sum = 0, want = 0, top = -1e9, mean = 0, square = 0;
    qxk_get()->softmax(x, N, 0.5f, NULL, y);
    for (int i = 0; i < N; i++) {
        top = fmax(top, 0.5 * (double)x[i]);
    }
    for (int i = 0; i < N; i++) {
        want += exp(0.5 * (double)x[i] - top);
    }
    for (int i = 0; i < N; i++) {
        double v = exp(0.5 * (double)x[i] - top) / want;
        sum += (double)y[i];
        assert_true(fabs((double)y[i] - v) <= 1e-6 * v + 1e-37);
    }
    assert_true(fabs(sum - 1) < 1e-5);
    struct qxk_norm norm = {.eps = 1e-12f};
    qxk_get()->layer_norm(x, N, &norm, y);
    for (int i = 0; i < N; i++) {
        mean += (double)y[i] / N;
        square += (double)y[i] * (double)y[i] / N;
    }
    assert_true(fabs(mean) < 1e-6 && fabs(square - 1) < 1e-5);
}

/* Each element of the product in exactly one tile, whatever the shape and the threads. */
static void tiles_cover_everything_once(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 5, 16, 191, 192, 193, 288, 512, 1000};
    static unsigned char seen[1000][70];
    for (int s = 0; s < 10; s++) {
        for (int64_t panels = 1; panels < 70; panels += 17) {
            for (int threads = 1; threads <= 5; threads += 2) {
                struct qxk_tiles t = qxk_tiles_of(sizes[s], panels, 768, threads);
                memset(seen, 0, sizeof seen);
                for (int64_t i = 0; i < t.n; i++) {
                    struct qxk_tile at = qxk_tile_at(&t, i);
                    for (int64_t m = at.m0; m < at.m0 + at.m; m++) {
                        for (int64_t p = at.p0; p < at.p0 + at.n_panels; p++) {
                            seen[m][p]++;
                        }
                    }
                }
                for (int64_t m = 0; m < sizes[s]; m++) {
                    for (int64_t p = 0; p < panels; p++) {
                        assert_int_equal(seen[m][p], 1);
                    }
                }
            }
        }
    }
}

static void threads_do_not_change_a_product(void **state)
{
    (void)state;
    enum { M = 37, N = 700, K = 300 };
    int8_t *codes = malloc(N * K), *a = malloc(M * K);
    float *y[2] = {malloc(M * N * 4), malloc(M * N * 4)};
    struct qx_rng r;
    qx_rng_init(&r, 7);
    for (int i = 0; i < N * K; i++) {
        codes[i] = (int8_t)(qx_rng_below(&r, 255) - 127);
    }
    for (int i = 0; i < M * K; i++) {
        a[i] = (int8_t)qx_rng_next(&r);
    }
    struct qxk_w8 w = {0};
    assert_int_equal(qxk_w8_pack(&w, codes, N, K, NULL), QX_OK);
    const float scale = 0.01f;
    struct qxk_gemm8 g = {.w = &w, .a = a, .m = M, .lda = K, .ldy = N};
    g.ep = (struct qxk_epilogue){
        .out = QXK_OUT_F32, .act = QXK_ACT_GELU, .a_scale = &scale, .w_scale = &scale};
    for (int threads = 1; threads <= 3; threads += 2) {
        struct qx_pool *pool = NULL;
        assert_int_equal(qx_pool_new(threads, &pool, NULL), QX_OK);
        g.y = y[threads / 2];
        assert_int_equal(qxk_gemm8(pool, &g, true, NULL), QX_OK);
        qx_pool_free(pool);
    }
    assert_memory_equal(y[0], y[1], M * N * 4);
    qxk_w8_release(&w);
    free(codes);
    free(a);
    free(y[0]);
    free(y[1]);
}

/* Products of float32 with 4-bit codes 0..15, zero 15, groups of 32. */
enum { TOGETHER_M = 3, TOGETHER_K = 200, GROUPS = (TOGETHER_K + 31) / 32 };

static void pack_w4(struct qxk_w4 *w, int64_t n, int top)
{
    int8_t *codes = malloc((size_t)n * TOGETHER_K);
    float *scales = malloc((size_t)n * GROUPS * sizeof *scales);
    uint8_t *zeros = malloc((size_t)n * GROUPS);
    for (int64_t i = 0; i < n * TOGETHER_K; i++) {
        codes[i] = (int8_t)(top > 0 ? i % (top + 1) : 0);
    }
    for (int64_t i = 0; i < n * GROUPS; i++) {
        scales[i] = 0.25f + (float)(i % 7);
        zeros[i] = 15;
    }
    const struct qxk_w4_source from = {.codes = codes,
                                       .scales = scales,
                                       .zeros = zeros,
                                       .n = n,
                                       .k = TOGETHER_K,
                                       .group = 32,
                                       .is_f16 = true};
    assert_int_equal(qxk_w4_pack(w, &from, NULL), QX_OK);
    free(codes);
    free(scales);
    free(zeros);
}

static void products_together_are_products_apart(void **state)
{
    (void)state;
    static const int64_t n[3] = {300, 40, 10};
    static float x[TOGETHER_M * TOGETHER_K], y[2][3][TOGETHER_M * 300];
    struct qxk_w4 w[3] = {0};
    struct qxk_gemmf g[3];
    struct qx_pool *pool = NULL;
    for (int i = 0; i < TOGETHER_M * TOGETHER_K; i++) {
        x[i] = (float)(i % 37) - 18.3f;
    }
    for (int i = 0; i < 3; i++) {
        pack_w4(&w[i], n[i], 15);
        g[i] = (struct qxk_gemmf){
            .w4 = &w[i], .x = x, .y = y[0][i], .m = TOGETHER_M, .ldx = TOGETHER_K, .ldy = n[i]};
        assert_true(qxk_gemmf_goes_with(g, g + i));
    }
    void *room = qx_mem_aligned(qxk_gemmf_room(g));
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    qxk_gemmf(pool, g, 3, room);
    for (int i = 0; i < 3; i++) {
        g[i].y = y[1][i];
        qxk_gemmf(NULL, &g[i], 1, room);
        assert_memory_equal(y[0][i], y[1][i], (size_t)(TOGETHER_M * n[i]) * sizeof(float));
        qxk_w4_release(&w[i]);
    }
    g[1].x = x + 1;
    assert_false(qxk_gemmf_goes_with(g, g + 1));
    qx_pool_free(pool);
    qx_mem_free(room);
}

/* The largest sum of a group of 32: every input 2^22 units, every weight -15. */
static void a_short_group_holds_its_largest_sum(void **state)
{
    (void)state;
    static float x[TOGETHER_K], y[2][64];
    struct qxk_w4 w = {0};
    for (int i = 0; i < TOGETHER_K; i++) {
        x[i] = 0x1.fffffep0f;
    }
    pack_w4(&w, 64, 0);
    struct qxk_gemmf g = {.w4 = &w, .x = x, .y = y[0], .m = 1, .ldx = TOGETHER_K, .ldy = 64};
    int8_t *room = qx_mem_aligned(qxk_gemmf_room(&g));
    qxk_gemmf(NULL, &g, 1, room);
    g.y = y[1];
    g.digits = room;
    g.parts = (void *)(room + QXK_DIGITS * qxk_split_ld(&g));
    qxk_gemm_f32s4_ref(&g, 0, 1, 0, 1);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    double sum = 0.0;
    for (int b = 0; b < GROUPS; b++) {
        sum -= 15.0 * 2.0 * (b < GROUPS - 1 ? 32 : TOGETHER_K % 32) * (0.25 + b % 7);
    }
    assert_true(fabs((double)y[0][0] / sum - 1.0) < 1e-6);
    qxk_w4_release(&w);
    qx_mem_free(room);
}

static void small_weights_share_a_page(void **state)
{
    (void)state;
    enum { N = 12, BYTES = 300000 };
    void *owner[N];
    unsigned char *p[N];
    int apart = 0;
    for (int i = 0; i < N; i++) {
        p[i] = qxk_pages_alloc(BYTES, &owner[i]);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 64, 0);
        assert_int_equal(p[i][0] | p[i][BYTES - 1], 0);
        memset(p[i], i + 1, BYTES);
        apart += i > 0 && owner[i] != owner[i - 1];
    }
    assert_int_equal(apart, 1); /* 6 of them fill one */
    for (int i = 0; i < N; i++) {
        assert_int_equal(p[i][0], i + 1);
        assert_int_equal(p[i][BYTES - 1], i + 1);
        qxk_pages_free(owner[i]);
    }
}

static void wrong_requests_are_refused(void **state)
{
    (void)state;
    int8_t codes[64] = {9};
    float scales[2] = {1, 1};
    struct qxk_w8 w8 = {0};
    struct qxk_w4 w4 = {0};
    struct qx_error err;
    assert_int_equal(qxk_w8_pack(&w8, codes, 0, 4, &err), QX_ERANGE);
    assert_int_equal(qxk_w8_pack(&w8, codes, 1, 0, &err), QX_ERANGE);
    struct qxk_w4_source from = {.codes = codes, .scales = scales, .n = 1, .k = 64, .group = 32};
    assert_int_equal(qxk_w4_pack(&w4, &from, &err), QX_ERANGE);
    codes[0] = 7;
    from.group = 48;
    assert_int_equal(qxk_w4_pack(&w4, &from, &err), QX_ERANGE);
    from.group = 32;
    assert_int_equal(qxk_w4_pack(&w4, &from, &err), QX_OK);
    qxk_w4_release(&w4);
    qxk_w4_release(&w4);
    int8_t *many = calloc(QXK_K_SPLIT + 1, 1);
    assert_int_equal(qxk_w8_pack(&w8, many, 1, QXK_K_SPLIT + 1, &err), QX_OK);
    struct qxk_gemm8 g = {.w = &w8};
    assert_int_equal(qxk_gemm8(NULL, &g, true, &err), QX_ERANGE);
    qxk_w8_release(&w8);
    free(many);
}

static void packing_survives_a_lack_of_memory(void **state)
{
    (void)state;
    static const int8_t codes[64 * 3];
    static const float scales[64];
    struct qxk_w4_source from = {.codes = codes, .scales = scales, .n = 3, .k = 64, .group = 32};
    struct qxk_w8 w8 = {0};
    struct qxk_w4 w4 = {0};
    struct qxk_dw dw = {0};
    struct qx_error err;
    qx_mem_fail_at(1);
    assert_int_equal(qxk_w8_pack(&w8, codes, 3, 64, &err), QX_ENOMEM);
    qx_mem_fail_at(1);
    assert_int_equal(qxk_w4_pack(&w4, &from, &err), QX_ENOMEM);
    qx_mem_fail_at(1);
    assert_int_equal(qxk_dw_pack(&dw, codes, 3, 9, &err), QX_ENOMEM);
    qx_mem_fail_at(0);
    assert_null(w8.data);
    assert_null(w4.data);
    assert_null(dw.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_keep_their_bounds),
        cmocka_unit_test(special_values_pass_through),
        cmocka_unit_test(softmax_sums_to_one_and_norm_is_normal),
        cmocka_unit_test(tiles_cover_everything_once),
        cmocka_unit_test(threads_do_not_change_a_product),
        cmocka_unit_test(products_together_are_products_apart),
        cmocka_unit_test(a_short_group_holds_its_largest_sum),
        cmocka_unit_test(small_weights_share_a_page),
        cmocka_unit_test(wrong_requests_are_refused),
        cmocka_unit_test(packing_survives_a_lack_of_memory),
    };
    return cmocka_run_group_tests_name("kernels_int", tests, NULL, NULL);
}
