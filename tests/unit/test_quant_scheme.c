/* The quantizer: hand-made figures, settings, fake quantization. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fp16.h"
#include "base/mem.h"
#include "base/pool.h"
#include "qx/metric.h"
#include "test_quant.h"
#include "test_quant_data.h"

static const float five[5] = {-2.0f, -1.0f, 0.0f, 1.0f, 8.0f};

static void near(double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound)) {
        fail_msg("got %.10g, want %.10g within %.3g", got, want, bound);
    }
}

/* {-2, -1, 0, 1, 8} at INT8: ux.md 4.5 and prediction.md 4. */
static const struct five_case {
    bool sym;
    double lo, hi;
    int codes[5];
    double values[5];
    double mse, mae, sqnr_db;
} five_cases[] = {
    {true,
     -8,
     8,
     {-32, -16, 0, 16, 127},
     {-2.01575, -1.00787, 0, 1.00787, 8},
     7.44e-5,
     .0063,
     52.75},
    {true, -3, 3, {-85, -42, 0, 42, 127}, {-2.00787, -.99213, 0, .99213, 3}, 5.0, 1.0047, 4.47},
    /* 1 / s = 25.5 ties in float32 too: rounding before the zero point gives 25 and 77. */
    {false, -2, 8, {0, 25, 51, 77, 255}, {-2, -1.01961, 0, 1.01961, 8}, 1.538e-4, .00784, 49.59},
};

void five_weights_give_the_figures_of_the_lesson(void **state)
{
    struct data d = data_from(five, 1, 5);

    (void)state;
    for (size_t i = 0; i < sizeof(five_cases) / sizeof(five_cases[0]); i++) {
        const struct five_case *c = &five_cases[i];
        struct qx_setting s = data_setting(8, c->sym, QX_GRAN_TENSOR, 0, c->lo, c->hi);
        struct qx_qparams p = qx_qparams_of(&s, -2.0f, 8.0f);
        struct qx_hist *h = data_hist(&d, &s);
        struct qx_tensor t = d.tensor;
        struct qx_metrics m[2];
        int16_t codes[5];
        float out[5];

        t.shape = d.shape;
        assert_int_equal(qx_fakequant(&t, d.channels, &s, NULL, NULL, out, codes, NULL, NULL),
                         QX_OK);
        assert_int_equal(qx_metric_hist(h, &s, &m[0], NULL), QX_OK);
        assert_int_equal(qx_metric_exact(&t, d.channels, &s, NULL, NULL, &m[1], NULL), QX_OK);
        for (int k = 0; k < 5; k++) {
            assert_int_equal(codes[k], c->codes[k]);
            assert_int_equal(qx_quantize(&p, five[k]), c->codes[k]);
            assert_true(qx_dequantize(&p, c->codes[k]) == out[k]);
            near((double)out[k], c->values[k], 6e-6);
        }
        for (int k = 0; k < 2; k++) {
            near(m[k].mse, c->mse, 2e-3 * c->mse);
            near(m[k].mae, c->mae, 5e-3 * c->mae);
            near(m[k].sqnr_db, c->sqnr_db, 6e-3);
            assert_int_equal(m[k].basis, QX_BASIS_EXACT);
            assert_true(m[k].clipped_high == (c->hi < 8.0) && m[k].clipped_low == 0.0);
        }
        near(m[0].mse, m[1].mse, 1e-12 * m[1].mse);
        qx_hist_unref(h);
    }
    data_release(&d);
}

void five_weights_are_best_clipped_near_their_maximum(void **state)
{
    static const struct {
        int bits;
        double low, high;
    } best[] = {{8, 7.99, 8.0}, {4, 7.85, 7.93}, {3, 7.76, 7.84}};
    struct data d = data_from(five, 1, 5);
    struct qx_hist *h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct qx_scheme scheme = {best[i].bits, true};
        struct qx_range r;

        assert_int_equal(qx_calib_range(h, &scheme, qx_calib_find("mse"), 0, &r, NULL), QX_OK);
        assert_true(r.hi >= best[i].low && r.hi <= best[i].high);
    }
    qx_hist_unref(h);
    data_release(&d);
}

void ties_go_to_the_even_code(void **state)
{
    struct qx_setting s = data_setting(8, true, QX_GRAN_TENSOR, 0, -127.0, 127.0);
    struct qx_qparams p = qx_qparams_of(&s, 0.0f, 0.0f);

    (void)state;
    assert_true(p.scale == 1.0f && p.qmin == -127 && p.qmax == 127 && p.zero == 0);
    assert_int_equal(qx_quantize(&p, 0.5f), 0);
    assert_int_equal(qx_quantize(&p, 1.5f), 2);
    assert_int_equal(qx_quantize(&p, -2.5f), -2);
    assert_int_equal(qx_quantize(&p, -3.5f), -4);
    assert_int_equal(qx_quantize(&p, 1e30f), 127);
    assert_int_equal(qx_quantize(&p, -1e30f), -127);
    assert_int_equal(qx_quantize(&p, NAN), 0);
    assert_int_equal(qx_quantize(&p, -INFINITY), 0);
}

void ties_count_the_same_in_histogram_and_elementwise(void **state)
{
    float x[64];
    struct data d;

    (void)state;
    for (int i = 0; i < 64; i++) {
        x[i] = (float)(i - 31) * 0.5f; /* -15.5 .. 16: half of them tie at scale 1 */
    }
    d = data_from(x, 1, 64);
    for (int bits = 3; bits <= 5; bits++) {
        for (int sym = 0; sym < 2; sym++) {
            double top = sym ? (1 << (bits - 1)) - 1 : (1 << bits) - 2;
            struct qx_setting s = data_setting(bits, sym, QX_GRAN_TENSOR, 0, sym ? -top : -1, top);
            struct qx_hist *h = data_hist(&d, &s);
            struct qx_metrics a, b;

            assert_int_equal(qx_metric_hist(h, &s, &a, NULL), QX_OK);
            assert_int_equal(qx_metric_exact(&d.tensor, d.channels, &s, NULL, NULL, &b, NULL),
                             QX_OK);
            near(a.cosine, b.cosine, 1e-13);
            near(a.entropy_bits, b.entropy_bits, 1e-12);
            near(a.bias, b.bias, 1e-14);
            near(a.mae, b.mae, 1e-13);
            near(a.mse_round, b.mse_round, 1e-13);
            assert_int_equal(a.levels_used, b.levels_used);
            assert_true(a.clipped_low == b.clipped_low && a.clipped_high == b.clipped_high);
            qx_hist_unref(h);
        }
    }
    data_release(&d);
}

void empty_and_constant_ranges_get_scale_one(void **state)
{
    struct qx_setting s = data_setting(8, true, QX_GRAN_TENSOR, 0, 0.0, 0.0);
    struct qx_qparams p = qx_qparams_of(&s, 0.0f, 0.0f);

    (void)state;
    assert_true(p.scale == 1.0f && p.zero == 0);
    s = data_setting(4, false, QX_GRAN_CHANNEL, 0, -1.0, 1.0);
    p = qx_qparams_of(&s, 0.0f, 0.0f);
    assert_true(p.scale == 1.0f && p.zero == 0 && p.qmin == 0 && p.qmax == 15);
    p = qx_qparams_of(&s, 5.0f, 5.0f); /* widened to contain 0 */
    assert_true(p.scale == 5.0f / 15.0f && p.zero == 0);
    p = qx_qparams_of(&s, -5.0f, -5.0f);
    assert_true(p.scale == 5.0f / 15.0f && p.zero == 15);
    assert_true(qx_dequantize(&p, 0) == -5.0f);
}

void stored_half_scales_never_vanish(void **state)
{
    static const float tops[] = {1.0f, 1e-9f, 1e-30f, 3e7f, 0.1f};
    struct qx_setting s = data_setting(4, true, QX_GRAN_GROUP, 32, -1.0, 1.0);

    (void)state;
    s.scale = QX_SCALE_F16;
    for (int i = 0; i < 5; i++) {
        struct qx_qparams p = qx_qparams_of(&s, -tops[i], tops[i]);

        assert_true(p.scale > 0.0f && isfinite(p.scale));
        assert_true(qx_f16_to_f32(qx_f32_to_f16(p.scale)) == p.scale);
        if (i == 0) {
            near((double)p.scale, 1.0 / 7.0, 1e-4);
        }
    }
}

void settings_compare_and_print(void **state)
{
    struct qx_setting a = qx_setting_int(4), b = a;
    char text[64];

    (void)state;
    assert_string_equal(qx_setting_text(&a, text, sizeof(text)), "INT4 sym channel mse");
    assert_true(qx_setting_equal(&a, &b) && !qx_setting_is_fp32(&a));
    b.group = 7; /* means nothing for channels */
    assert_true(qx_setting_equal(&a, &b));
    b.gran = QX_GRAN_GROUP;
    assert_false(qx_setting_equal(&a, &b));
    b.sym = false;
    b.group = 32;
    b.calib = qx_calib_find("percentile");
    b.param = 99.9;
    assert_string_equal(qx_setting_text(&b, text, sizeof(text)),
                        "INT4 asym group:32 percentile:99.9");
    a = data_setting(3, true, QX_GRAN_TENSOR, 0, -0.13, 0.13);
    assert_string_equal(qx_setting_text(&a, text, sizeof(text)), "INT3 sym tensor manual:0.13");
    b = a;
    b.range.hi = 0.14;
    assert_false(qx_setting_equal(&a, &b));
    a = qx_setting_fp32();
    b = a;
    b.bits = 3; /* means nothing for fp32 */
    assert_true(qx_setting_equal(&a, &b) && qx_setting_is_fp32(&a));
    assert_string_equal(qx_setting_text(&a, text, sizeof(text)), "FP32");
    qx_setting_text(&a, text, 3);
    assert_string_equal(text, "FP");
}

void wrong_settings_are_refused_by_field(void **state)
{
    struct qx_setting good = data_setting(4, true, QX_GRAN_GROUP, 32, -0.5, 0.5);
    struct qx_setting bad[9];
    struct qx_error err;

    (void)state;
    assert_int_equal(qx_setting_check(&good, NULL), QX_OK);
    for (int i = 0; i < 9; i++) {
        bad[i] = good;
    }
    bad[0].bits = 1;
    bad[1].bits = 9;
    bad[2].group = 0;
    bad[3].range.hi = 1.5;
    bad[4].range.hi = 0.4; /* not -lo */
    bad[5].range.lo = NAN;
    bad[6].calib = NULL;
    bad[7].gran = (enum qx_gran)7;
    bad[8].calib = qx_calib_find("percentile");
    bad[8].param = 0.0;
    for (int i = 0; i < 9; i++) {
        err.text[0] = '\0';
        assert_int_equal(qx_setting_check(&bad[i], &err), QX_ERANGE);
        assert_true(strlen(err.text) > 10);
    }
}

void ranges_reach_the_largest_float(void **state)
{
    (void)state;
    for (int sym = 0; sym < 2; sym++) {
        struct qx_setting s = data_setting(4, sym, QX_GRAN_TENSOR, 0, -FLT_MAX, FLT_MAX);
        assert_int_equal(qx_setting_check(&s, NULL), QX_OK);
        struct qx_qparams p = qx_qparams_of(&s, -FLT_MAX, FLT_MAX);
        assert_true(isfinite(p.scale) && p.scale > FLT_MAX / 16);
        s.range.hi = INFINITY;
        assert_int_equal(qx_setting_check(&s, NULL), QX_ERANGE);
    }
}

void stored_size_counts_codes_scales_and_zero_points(void **state)
{
    struct qx_setting s = qx_setting_int(4), f = qx_setting_fp32();
    struct qx_channels c = {1, 10, 100};
    struct qx_tensor stored = {.dtype = QX_DTYPE_BF16, .numel = 1000, .bytes = 2000};

    (void)state;
    assert_int_equal(qx_setting_units(&s, c), 10);
    assert_int_equal(qx_setting_bytes(&s, 1000, 10), 500 + 40);
    s.sym = false;
    assert_int_equal(qx_setting_bytes(&s, 1000, 10), 500 + 40 + 5);
    s.gran = QX_GRAN_GROUP;
    s.group = 32;
    s.scale = QX_SCALE_F16;
    assert_int_equal(qx_setting_units(&s, c), 40); /* 32 + 32 + 32 + 4 */
    assert_int_equal(qx_setting_bytes(&s, 1000, 40), 500 + 80 + 20);
    s.bits = 3;
    assert_int_equal(qx_setting_bytes(&s, 1001, 40), 376 + 80 + 15);
    s.gran = QX_GRAN_TENSOR;
    assert_int_equal(qx_setting_units(&s, c), 1);
    assert_int_equal(qx_setting_bytes(&f, 1000, 1), 4000);
    assert_int_equal(qx_setting_tensor_bytes(&f, &stored, c), 2000); /* left as BF16 */
    s = qx_setting_int(4);
    assert_int_equal(qx_setting_tensor_bytes(&s, &stored, c), 500 + 40);
    f.format = qx_format_find("bf16");
    assert_int_equal(qx_setting_bytes(&f, 1000, 1), 2000);
    assert_int_equal(qx_setting_units(&f, c), 1);
}

void levels_are_the_reconstruction_points(void **state)
{
    struct qx_setting s = data_setting(3, true, QX_GRAN_TENSOR, 0, -6.0, 6.0);
    double level[16];

    (void)state;
    assert_int_equal(qx_setting_levels(&s, level, 16), 7);
    for (int i = 0; i < 7; i++) {
        near(level[i], (i - 3) * 2.0, 1e-6);
    }
    s = data_setting(2, false, QX_GRAN_TENSOR, 0, -1.0, 2.0);
    assert_int_equal(qx_setting_levels(&s, level, 2), 2);
    near(level[0], -1.0, 1e-6);
    near(level[1], 0.0, 1e-6);
    s = data_setting(2, false, QX_GRAN_CHANNEL, 0, -0.6, 0.6);
    assert_int_equal(qx_setting_levels(&s, level, 16), 4);
    near(level[3] - level[0], 0.6, 1e-6);
    s = qx_setting_fp32();
    assert_int_equal(qx_setting_levels(&s, level, 16), 0);
}

/* Channel axis in the middle and last: units are strided in storage. */
void strided_channels_quantize_like_their_transpose(void **state)
{
    enum { OUTER = 6, COUNT = 5, INNER = 7, PER = OUTER * INNER };
    float x[OUTER * COUNT * INNER], t[COUNT * PER], a[COUNT * PER], b[COUNT * PER];
    struct data d, dt;

    (void)state;
    for (int i = 0; i < COUNT * PER; i++) {
        x[i] = (float)((i * 7919) % 1009 - 400) * (float)(1 + i / INNER % COUNT);
    }
    for (int o = 0; o < OUTER; o++) {
        for (int c = 0; c < COUNT; c++) {
            for (int i = 0; i < INNER; i++) {
                t[c * PER + o * INNER + i] = x[(o * COUNT + c) * INNER + i];
            }
        }
    }
    d = data_from(x, OUTER, COUNT * INNER);
    d.channels = (struct qx_channels){OUTER, COUNT, INNER};
    dt = data_from(t, COUNT, PER);
    for (int sym = 0; sym < 2; sym++) {
        for (int g = 0; g < 3; g++) {
            struct qx_setting s = data_setting(4, sym, g ? QX_GRAN_GROUP : QX_GRAN_CHANNEL,
                                               g == 1 ? 16 : 10, -0.8, 0.8);
            struct qx_metrics m, mt;

            assert_int_equal(
                qx_fakequant(&d.tensor, d.channels, &s, NULL, NULL, a, NULL, NULL, NULL), QX_OK);
            assert_int_equal(
                qx_fakequant(&dt.tensor, dt.channels, &s, NULL, NULL, b, NULL, NULL, NULL), QX_OK);
            for (int o = 0; o < OUTER; o++) {
                for (int c = 0; c < COUNT; c++) {
                    for (int i = 0; i < INNER; i++) {
                        assert_true(a[(o * COUNT + c) * INNER + i] == b[c * PER + o * INNER + i]);
                    }
                }
            }
            assert_int_equal(qx_metric_exact(&d.tensor, d.channels, &s, NULL, NULL, &m, NULL),
                             QX_OK);
            assert_int_equal(qx_metric_exact(&dt.tensor, dt.channels, &s, NULL, NULL, &mt, NULL),
                             QX_OK);
            near(m.mse, mt.mse, 1e-12 * m.mse);
            assert_int_equal(m.bytes, mt.bytes);
        }
    }
    data_release(&d);
    data_release(&dt);
}

void nonfinite_values_become_zero_and_are_counted(void **state)
{
    static const float x[6] = {1.0f, NAN, INFINITY, -INFINITY, -1.0f, 0.25f};
    static const char *const formats[] = {"int", "fp16", "fp32"};
    struct data d = data_from(x, 2, 3);

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct qx_setting s = data_setting(8, true, QX_GRAN_CHANNEL, 0, -1.0, 1.0);
        struct qx_metrics m;
        float out[6];
        int64_t bad = 0;

        s.format = qx_format_find(formats[i]);
        assert_int_equal(qx_fakequant(&d.tensor, d.channels, &s, NULL, NULL, out, NULL, &bad, NULL),
                         QX_OK);
        assert_int_equal(bad, 3);
        assert_true(out[1] == 0.0f && out[2] == 0.0f && out[3] == 0.0f && out[0] == 1.0f);
        assert_int_equal(qx_metric_exact(&d.tensor, d.channels, &s, NULL, NULL, &m, NULL), QX_OK);
        assert_int_equal(m.n, 3);
        assert_int_equal(m.n_nonfinite, 3);
    }
    data_release(&d);
}

/* Several tiles, rows contiguous and transposed. */
void results_do_not_depend_on_the_threads(void **state)
{
    enum { COPIES = 3, N = COPIES * DATA_N };
    static const struct qx_channels layouts[] = {{1, COPIES * DATA_ROWS, DATA_COLS},
                                                 {COPIES * DATA_ROWS, DATA_COLS, 1}};
    float *all = malloc(N * sizeof(float)), *x = malloc(N * sizeof(float));
    float *y = malloc(N * sizeof(float));
    struct data one = data_make(2), d;
    struct qx_pool *pool = NULL;

    (void)state;
    for (int i = 0; i < COPIES; i++) {
        memcpy(all + i * DATA_N, one.x, DATA_N * sizeof(float));
    }
    d = data_from(all, COPIES * DATA_ROWS, DATA_COLS);
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    for (int l = 0; l < 2; l++) {
        struct qx_setting s = data_setting(4, false, QX_GRAN_GROUP, 64, -0.9, 0.9);
        struct qx_metrics a, b;
        double sum = 0.0;

        assert_int_equal(qx_metric_exact(&d.tensor, layouts[l], &s, NULL, NULL, &a, NULL), QX_OK);
        assert_int_equal(qx_metric_exact(&d.tensor, layouts[l], &s, pool, NULL, &b, NULL), QX_OK);
        assert_memory_equal(&a, &b, sizeof(a));
        assert_int_equal(qx_fakequant(&d.tensor, layouts[l], &s, NULL, NULL, x, NULL, NULL, NULL),
                         QX_OK);
        assert_int_equal(qx_fakequant(&d.tensor, layouts[l], &s, pool, NULL, y, NULL, NULL, NULL),
                         QX_OK);
        assert_memory_equal(x, y, N * sizeof(float));
        for (int64_t i = 0; i < N; i++) {
            sum += ((double)x[i] - (double)all[i]) * ((double)x[i] - (double)all[i]);
        }
        near(a.mse, sum / N, 1e-10 * a.mse);
    }
    qx_pool_free(pool);
    free(all);
    free(x);
    free(y);
    data_release(&one);
    data_release(&d);
}

void work_stops_when_cancelled(void **state)
{
    struct data d = data_make(0);
    struct qx_setting s = data_setting(4, true, QX_GRAN_CHANNEL, 0, -1.0, 1.0);
    struct qx_ctl ctl = {0};
    struct qx_metrics m;
    struct qx_error err;
    float *x = malloc(DATA_N * sizeof(float));

    (void)state;
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_fakequant(&d.tensor, d.channels, &s, NULL, &ctl, x, NULL, NULL, &err),
                     QX_ECANCELLED);
    assert_int_equal(qx_metric_exact(&d.tensor, d.channels, &s, NULL, &ctl, &m, &err),
                     QX_ECANCELLED);
    free(x);
    data_release(&d);
}

void sampled_histograms_say_so(void **state)
{
    struct data d = data_make(0);
    struct qx_setting s = data_setting(8, true, QX_GRAN_CHANNEL, 0, -1.0, 1.0);
    struct qx_hist_spec spec = qx_setting_spec(&s, d.channels);
    struct qx_tensor t = d.tensor;
    struct qx_hist *h = NULL;
    struct qx_metrics a, b;

    (void)state;
    t.shape = d.shape;
    assert_int_equal(qx_hist_build(&t, &spec, 16384, NULL, NULL, &h, NULL), QX_OK);
    assert_int_equal(qx_metric_hist(h, &s, &a, NULL), QX_OK);
    assert_int_equal(qx_metric_exact(&t, d.channels, &s, NULL, NULL, &b, NULL), QX_OK);
    assert_int_equal(a.basis, QX_BASIS_SAMPLED);
    assert_true(a.n < b.n && a.bytes == b.bytes);
    near(a.sqnr_db, b.sqnr_db, 3.0);
    assert_string_equal(qx_basis_name(QX_BASIS_SAMPLED), "sampled");
    assert_string_equal(qx_basis_name(QX_BASIS_EXACT), "exact");
    qx_hist_unref(h);
    data_release(&d);
}

void tensors_without_values_cost_nothing(void **state)
{
    static const float nothing[2] = {NAN, INFINITY};
    static const struct qx_channels empty[] = {{1, 0, 4}, {3, 2, 0}, {0, 3, 1}};
    struct data d = data_from(nothing, 1, 2);
    struct qx_tensor t = d.tensor;
    struct qx_metrics m;
    int64_t bad = 0;
    float out[2] = {1.0f, 1.0f};

    (void)state;
    for (int g = 0; g < 6; g++) {
        struct qx_setting s = data_setting(4, g < 3, (enum qx_gran)(g % 3), 32, -1.0, 1.0);
        struct qx_hist *h = data_hist(&d, &s);

        assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_OK);
        assert_true(m.n == 0 && m.n_nonfinite == 2 && m.mse == 0.0 && isnan(m.sqnr_db));
        assert_int_equal(qx_metric_exact(&d.tensor, d.channels, &s, NULL, NULL, &m, NULL), QX_OK);
        assert_true(m.n == 0 && m.n_nonfinite == 2 && m.mse == 0.0 && m.levels_used == 0);
        assert_int_equal(qx_fakequant(&d.tensor, d.channels, &s, NULL, NULL, out, NULL, &bad, NULL),
                         QX_OK);
        assert_true(bad == 2 && out[0] == 0.0f && out[1] == 0.0f);
        qx_hist_unref(h);
        for (int i = 0; i < 3; i++) {
            t.numel = 0;
            t.bytes = 0;
            assert_int_equal(qx_metric_exact(&t, empty[i], &s, NULL, NULL, &m, NULL), QX_OK);
            assert_int_equal(qx_fakequant(&t, empty[i], &s, NULL, NULL, out, NULL, NULL, NULL),
                             QX_OK);
            assert_int_equal(m.n, 0);
        }
    }
    data_release(&d);
}

void missing_range_is_refused(void **state)
{
    struct data d = data_from(five, 1, 5);
    struct qx_setting s = qx_setting_int(8);
    struct qx_hist *h = data_hist(&d, &s);
    struct qx_metrics m;
    float out[5];

    (void)state;
    assert_int_equal(qx_fakequant(&d.tensor, d.channels, &s, NULL, NULL, out, NULL, NULL, NULL),
                     QX_EDATA);
    assert_int_equal(qx_metric_exact(&d.tensor, d.channels, &s, NULL, NULL, &m, NULL), QX_EDATA);
    assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_EDATA);
    assert_int_equal(qx_setting_resolve(&s, h, NULL), QX_OK);
    assert_true(s.has_range && s.range.hi > 0.9 && s.range.hi <= 1.0 && s.range.lo == -s.range.hi);
    assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_OK);
    qx_hist_unref(h);
    data_release(&d);
}

void allocation_failures_are_reported(void **state)
{
    struct data d = data_from(five, 1, 5);
    struct qx_setting s = data_setting(8, true, QX_GRAN_CHANNEL, 0, -1.0, 1.0);
    struct qx_hist *h = data_hist(&d, &s);
    struct qx_metrics m;
    float out[5];
    double db;

    (void)state;
    for (int n = 1; n <= 3; n++) {
        qx_mem_fail_at(n);
        assert_int_equal(qx_metric_exact(&d.tensor, d.channels, &s, NULL, NULL, &m, NULL),
                         QX_ENOMEM);
    }
    for (int n = 1; n <= 2; n++) {
        qx_mem_fail_at(n);
        assert_int_equal(qx_fakequant(&d.tensor, d.channels, &s, NULL, NULL, out, NULL, NULL, NULL),
                         QX_ENOMEM);
    }
    qx_mem_fail_at(1);
    assert_int_equal(qx_metric_lloyd_max_db(h, 4, NULL, &db, NULL), QX_ENOMEM);
    qx_mem_fail_at(0);
    qx_hist_unref(h);
    data_release(&d);
}
