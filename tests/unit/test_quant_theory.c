/* FLOAT formats on the bins, residuals, theory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "qx/metric.h"
#include "test_quant.h"
#include "test_quant_data.h"

static void near(double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound)) {
        fail_msg("got %.10g, want %.10g within %.3g", got, want, bound);
    }
}

void float_formats_match_elementwise_rounding(void **state)
{
    (void)state;
    for (int which = 0; which < DATA_COUNT; which++) {
        struct data d = data_make(which);
        struct qx_hist *h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);

        for (int i = 0; i < qx_format_count(); i++) {
            struct qx_setting s = qx_setting_fp32();
            struct qx_metrics a, b;

            s.format = qx_format_at(i);
            if (s.format->kind != QX_FORMAT_FLOAT) {
                continue;
            }
            assert_int_equal(qx_metric_hist(h, &s, &a, NULL), QX_OK);
            assert_int_equal(qx_metric_exact(&d.tensor, d.channels, &s, NULL, NULL, &b, NULL),
                             QX_OK);
            near(a.mse, b.mse, 4e-2 * b.mse);
            near(a.mae, b.mae, 4e-2 * b.mae);
            near(a.sum_sq, b.sum_sq, 1e-9 * b.sum_sq);
            near(1.0 - a.cosine, 1.0 - b.cosine, 6e-2 * (1.0 - b.cosine) + 1e-12);
            assert_true(isnan(a.entropy_bits) && isnan(a.scale_min) && a.levels == 0);
            assert_int_equal(a.bytes, b.bytes);
            if (qx_setting_is_fp32(&s)) {
                assert_true(a.mse == 0.0 && isnan(a.sqnr_db) && a.basis == QX_BASIS_EXACT);
                assert_true(a.bits_per_weight == 32.0 && b.cosine == 1.0);
            }
        }
        qx_hist_unref(h);
        data_release(&d);
    }
}

void values_beyond_fp16_saturate_and_count_as_clipped(void **state)
{
    static const float x[4] = {70000.0f, -1e6f, 1.0f, 0.5f};
    struct data d = data_from(x, 1, 4);
    struct qx_hist *h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);
    struct qx_setting s = qx_setting_fp32();
    struct qx_metrics m[2];

    (void)state;
    s.format = qx_format_find("fp16");
    assert_int_equal(qx_metric_hist(h, &s, &m[0], NULL), QX_OK);
    assert_int_equal(qx_metric_exact(&d.tensor, d.channels, &s, NULL, NULL, &m[1], NULL), QX_OK);
    for (int i = 0; i < 2; i++) {
        assert_true(m[i].clipped_low == 1.0 && m[i].clipped_high == 1.0);
        near(m[i].mse_clip, m[i].mse, 1e-6 * m[i].mse);
        near(m[i].mse, ((70000.0 - 65504.0) * (70000.0 - 65504.0) + 934496.0 * 934496.0) / 4, 1.0);
    }
    qx_hist_unref(h);
    data_release(&d);
}

void residual_is_uniform_inside_and_long_when_clipped(void **state)
{
    enum { CELLS = 40 };
    struct data d = data_make(0);
    struct qx_hist *h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);
    struct qx_range r = data_range(&d, true, QX_GRAN_TENSOR, 1.0);
    struct qx_setting s = data_setting(8, true, QX_GRAN_TENSOR, 0, r.lo, r.hi);
    double step = r.hi / 127.0, cell[CELLS], sum = 0.0;

    (void)state;
    qx_metric_residual(h, &s, step, CELLS, cell); /* half the cells lie within half a step */
    for (int i = 0; i < CELLS; i++) {
        sum += cell[i];
        if (i >= 10 && i < 30) {
            near(cell[i], DATA_N / 20.0, 0.25 * DATA_N / 20.0);
        } else {
            near(cell[i], 0.0, 1e-3 * DATA_N);
        }
    }
    near(sum, DATA_N, 1e-6 * DATA_N);
    s = data_setting(8, true, QX_GRAN_TENSOR, 0, 0.1 * r.lo, 0.1 * r.hi);
    qx_metric_residual(h, &s, r.hi, CELLS, cell);
    assert_true(cell[35] > 0.0); /* what lies beyond T keeps a residual of many steps */
    s.format = qx_format_find("fp32");
    qx_metric_residual(h, &s, r.hi, CELLS, cell);
    near(cell[CELLS / 2 - 1] + cell[CELLS / 2], DATA_N, 1e-6 * DATA_N);
    qx_hist_unref(h);
    data_release(&d);
}

void theory_gains_six_decibels_a_bit(void **state)
{
    struct data d = data_make(0);
    struct qx_hist *h = data_hist_spec(&d, QX_GRAN_CHANNEL, 0, true);
    double last = 0.0;

    (void)state;
    for (int bits = 5; bits <= 8; bits++) {
        struct qx_setting s = data_setting(bits, true, QX_GRAN_CHANNEL, 0, -1.0, 1.0);
        double db = qx_metric_theory_db(h, &s);
        struct qx_metrics m;

        assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_OK);
        near(m.sqnr_db, db, 0.1); /* nothing clipped: the rule holds */
        if (bits > 5) {
            near(db - last, 6.02, 0.4);
        }
        last = db;
    }
    qx_hist_unref(h);
    data_release(&d);
}

/* Of evenly spread values the uniform grid is the optimum: 6.02 dB a bit. */
void lloyd_max_of_even_values_is_the_uniform_grid(void **state)
{
    enum { N = 65536 };
    float *x = malloc(N * sizeof(float));
    struct data d;
    struct qx_hist *h;

    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = ((float)i + 0.5f) / (N / 2) - 1.0f;
    }
    d = data_from(x, 1, N);
    h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);
    for (int bits = 2; bits <= 8; bits += 2) {
        double db = 0.0;

        assert_int_equal(qx_metric_lloyd_max_db(h, bits, NULL, &db, NULL), QX_OK);
        near(db, bits * 20.0 * log10(2.0), 0.02);
    }
    qx_hist_unref(h);
    data_release(&d);
    free(x);
}

/* Max 1960, table I: distortion of the optimum quantizer of a normal density. Our values are sums of
 * uniforms, whose tails are a little lighter. */
void lloyd_max_reaches_the_published_optimum_of_a_normal(void **state)
{
    static const double max1960[] = {0, 0, 0.1175, 0.03454, 0.009497, 0.002499};
    static const double part[5] = {1.0, 2.0, 4.0, 8.0, 16.0};
    struct data d = data_make(0), unit;
    struct qx_hist *h;

    (void)state;
    for (int64_t i = 0; i < DATA_N; i++) { /* undo the scales of the rows */
        d.x[i] *= (float)(100.0 * part[i / DATA_COLS % 5] / (1.0 + (double)(i / DATA_COLS % 7)));
    }
    unit = data_from(d.x + 14 * DATA_COLS, 1, DATA_N - 14 * DATA_COLS);
    h = data_hist_spec(&unit, QX_GRAN_TENSOR, 0, true);
    for (int bits = 2; bits <= 5; bits++) {
        double db = 0.0;

        assert_int_equal(qx_metric_lloyd_max_db(h, bits, NULL, &db, NULL), QX_OK);
        near(db, -10.0 * log10(max1960[bits]), 0.35);
    }
    qx_hist_unref(h);
    data_release(&unit);
    data_release(&d);
}

void no_uniform_grid_beats_lloyd_max(void **state)
{
    (void)state;
    for (int which = 0; which < DATA_COUNT; which++) {
        struct data d = data_make(which);
        struct qx_hist *h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);

        for (int bits = 2; bits <= 8; bits += 2) {
            struct qx_setting s = qx_setting_int(bits);
            struct qx_metrics m;
            double db = 0.0;

            s.gran = QX_GRAN_TENSOR;
            assert_int_equal(qx_setting_resolve(&s, h, NULL), QX_OK);
            assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_OK);
            assert_int_equal(qx_metric_lloyd_max_db(h, bits, NULL, &db, NULL), QX_OK);
            assert_true(db >= m.sqnr_db);
        }
        qx_hist_unref(h);
        data_release(&d);
    }
}

void few_distinct_values_need_no_more_levels(void **state)
{
    static const float x[5] = {-2.0f, -1.0f, 0.0f, 1.0f, 8.0f};
    struct data d = data_from(x, 1, 5);
    struct qx_hist *h = data_hist_spec(&d, QX_GRAN_TENSOR, 0, true);
    double db = 0.0;

    (void)state;
    assert_int_equal(qx_metric_lloyd_max_db(h, 3, NULL, &db, NULL), QX_OK);
    assert_true(isnan(db));
    qx_hist_unref(h);
    data_release(&d);
}

void evaluations_allocate_nothing(void **state)
{
    struct data d = data_make(2);
    double cell[100];

    (void)state;
    for (int sym = 0; sym < 2; sym++) {
        for (int g = 0; g < 3; g++) {
            struct qx_hist *h = data_hist_spec(&d, (enum qx_gran)g, 64, sym);
            struct qx_range r = data_range(&d, sym, (enum qx_gran)g, 0.5);
            struct qx_setting s = data_setting(8, sym, (enum qx_gran)g, 64, r.lo, r.hi);
            struct qx_metrics m;
            int64_t before = qx_mem_count();

            assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_OK);
            qx_metric_hist_mse(h, &s);
            qx_metric_theory_db(h, &s);
            qx_metric_residual(h, &s, 0.1, 100, cell);
            assert_int_equal(qx_mem_count(), before);
            qx_hist_unref(h);
        }
    }
    data_release(&d);
}

void a_histogram_of_another_layout_is_refused(void **state)
{
    struct data d = data_make(0);
    struct qx_hist *h = data_hist_spec(&d, QX_GRAN_GROUP, 64, true);
    struct qx_setting s = data_setting(8, true, QX_GRAN_GROUP, 64, -1.0, 1.0);
    struct qx_metrics m;

    (void)state;
    assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_OK);
    s.group = 32;
    assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_EBUG);
    s.group = 64;
    s.sym = false;
    assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_EBUG);
    s.gran = QX_GRAN_TENSOR;
    assert_int_equal(qx_metric_hist(h, &s, &m, NULL), QX_EBUG);
    qx_hist_unref(h);
    data_release(&d);
}
