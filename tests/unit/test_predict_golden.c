/* Compositions, anchored predictions and bands against the NumPy oracle of tests/golden/predict, over the
 * same formulas' numbers. */
#include "qx/predict.h"
#include "test_predict.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 64, C = 5, LAYERS = 3, SITES = 2 * LAYERS, POINTS = 20, SEED = 7, E_ROWS = 900 };

static const double e_fp32 = 0.84;
static const int n_entries[QX_FAMILY_COUNT] = {3, 2, 1, 2};
static const double amplitudes[QX_FAMILY_COUNT][3] = {
    {0.03, 0.11, 0.35}, {0.08, 0.3}, {0.1}, {0.15, 0.5}};

static float z0[N * C];
static struct qx_predict_table *table;
static struct qx_predict_point *points[POINTS];
static const struct qx_predict_mix_options options = {.seed = SEED};

static void base_logits(void)
{
    for (int n = 0; n < N; n++) {
        double row[C], sum = 0.0;
        for (int c = 0; c < C; c++) {
            row[c] = 2.4 * sin(1.7 * n + 2.3 * c + 0.1 * n * c);
            sum += row[c];
        }
        for (int c = 0; c < C; c++) {
            z0[n * C + c] = (float)(row[c] - sum / C);
        }
    }
}

static void site_logits(int layer, int family, int k, float *z)
{
    const double t = amplitudes[family][k], i = 1 + layer + 3 * family;
    for (int n = 0; n < N; n++) {
        for (int c = 0; c < C; c++) {
            z[n * C + c] =
                (float)((1 - (0.4 + 0.3 * family) * t) * (double)z0[n * C + c] +
                        2 * t * sin(i + 1.1 * c) + 1.5 * t * cos(0.9 * i * n + 1.3 * (k + 1) * c));
        }
    }
}

static int build(void **state)
{
    (void)state;
    int32_t labels[N];
    struct qx_predict_base *base = NULL;
    base_logits();
    for (int n = 0; n < N; n++) {
        int top = 0;
        for (int c = 1; c < C; c++) {
            top = z0[n * C + c] > z0[n * C + top] ? c : top;
        }
        labels[n] = n % 6 ? top : (top + 1) % C;
    }
    assert_int_equal(qx_predict_base_new(z0, labels, NULL, N, C, &base, NULL), QX_OK);
    assert_int_equal(qx_predict_table_new(base, LAYERS, &table, NULL), QX_OK);
    for (int p = 0; p < LAYERS * QX_FAMILY_COUNT; p++) {
        const int layer = p / QX_FAMILY_COUNT, family = p % QX_FAMILY_COUNT;
        for (int k = 0; k < n_entries[family]; k++) {
            const struct qx_predict_spec spec = {layer, (enum qx_family)family, k};
            struct qx_predict_entry *e = NULL;
            struct qx_predict_table *more = NULL;
            float z[N * C];
            site_logits(layer, family, k, z);
            assert_int_equal(qx_predict_entry_new(base, &spec, 0,
                                                  (struct qx_amplitude){amplitudes[family][k],
                                                                        amplitudes[family][k]},
                                                  z, &e, NULL),
                             QX_OK);
            assert_int_equal(qx_predict_table_add(table, e, &more, NULL), QX_OK);
            qx_predict_table_unref(table);
            qx_predict_entry_unref(e);
            table = more;
        }
    }
    qx_predict_base_unref(base);
    return 0;
}

static int destroy(void **state)
{
    (void)state;
    for (int i = 0; i < POINTS; i++) {
        qx_predict_point_unref(points[i]);
    }
    qx_predict_table_unref(table);
    return 0;
}

static double amplitude(int j, int l, int f)
{
    const double x = fabs(sin(0.7 * j + 1.9 * l + 3.1 * f + 0.3));
    return (j + l + f) % 3 == 0 ? 0.0 : 0.05 * (1 + j % 6) * x * x;
}

static void change_of(int j, struct qx_predict_layer change[LAYERS])
{
    memset(change, 0, LAYERS * sizeof *change);
    for (int l = 0; l < LAYERS; l++) {
        for (int s = 0; s < QX_SITE_COUNT; s++) {
            change[l].t[s].round = amplitude(j, l, 2 * s);
            change[l].t[s].clip = amplitude(j, l, 2 * s + 1);
        }
    }
}

static struct qx_predict_mix *mix_of(int j)
{
    struct qx_predict_layer change[LAYERS];
    struct qx_predict_mix *mix = NULL;
    change_of(j, change);
    assert_int_equal(qx_predict_mix_new(table, &options, &mix, NULL), QX_OK);
    qx_predict_mix_expect(mix, e_fp32, (double)N / E_ROWS);
    for (int l = 0; l < LAYERS; l++) {
        qx_predict_mix_set(mix, l, &change[l]);
    }
    return mix;
}

static void near(const char *what, int j, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * (fabs(want) + 1e-3))) {
        fail_msg("configuration %d: %s is %.9g, the oracle has %.9g", j, what, got, want);
    }
}

static void check_mix(const char *line)
{
    int j, used;
    double kl, ce, accuracy, same_top;
    struct qx_predict_sum s;
    assert_int_equal(
        sscanf(line, "%d %lf %lf %lf %lf%n", &j, &kl, &ce, &accuracy, &same_top, &used), 5);
    struct qx_predict_mix *mix = mix_of(j);
    qx_predict_mix_sum(mix, &s);
    near("KL", j, s.kl, kl, 1e-4);
    near("cross entropy", j, s.ce, ce, 1e-4);
    near("accuracy", j, s.accuracy, accuracy, 1e-6);
    near("same top", j, s.same_top, same_top, 1e-6);
    for (int i = 0; i < SITES; i++) {
        char *end;
        const double k = strtod(line + used, &end);
        used = (int)(end - line);
        near("KL of one site", j, qx_predict_mix_site_kl(mix, i / 2, (enum qx_site)(i % 2)), k,
             1e-4);
    }
    qx_predict_mix_free(mix);
}

static void read_point(const char *line)
{
    int j;
    struct qx_predict_layer change[LAYERS];
    struct qx_predict_point_info info = {0};
    assert_int_equal(sscanf(line, "%d %lf %lf", &j, &info.value, &info.kl), 3);
    assert_in_range(j, 0, POINTS - 1);
    change_of(j, change);
    info.key = (uint64_t)j + 1;
    assert_int_equal(qx_predict_point_new(change, LAYERS, &info, &points[j], NULL), QX_OK);
}

static void check_ask(const char *line)
{
    int n, j;
    double drop_plain, drop, rho, sigma, q, value, lo, hi, floor, kl;
    const struct qx_predict_scale scale = {e_fp32, E_ROWS, .holds_p = true};
    struct qx_predict_anchors *a = NULL;
    struct qx_prediction p;
    assert_int_equal(sscanf(line, "%d %d %lf %lf %lf %lf %lf %lf %lf %lf %lf %lf", &n, &j,
                            &drop_plain, &drop, &rho, &sigma, &q, &value, &lo, &hi, &floor, &kl),
                     12);
    assert_int_equal(qx_predict_anchors_new(table, &options, &scale, points, n, NULL, &a, NULL),
                     QX_OK);
    assert_int_equal(qx_predict_anchors_n(a), n);
    struct qx_predict_mix *mix = mix_of(j);
    qx_predict_anchors_ask(a, mix, &p);
    assert_true(p.has_value && p.is_labelled && p.n_points == n);
    assert_int_equal(p.coverage, n < 9    ? QX_PREDICT_UNCALIBRATED
                                 : n < 19 ? QX_PREDICT_ROUGH
                                          : QX_PREDICT_90);
    near("composed drop", j, p.drop_plain, drop_plain, 1e-5);
    near("anchored drop", j, p.drop, drop, 1e-4);
    near("likeness", j, p.rho, rho, 1e-4);
    near("sigma", j, p.sigma, sigma, 1e-4);
    near("quantile", j, p.q, q, 1e-3);
    near("value", j, p.value, value, 1e-4);
    near("lo", j, p.lo, lo, 1e-3);
    near("hi", j, p.hi, hi, 1e-3);
    near("floor", j, p.floor, floor, 1e-5);
    near("anchored KL", j, p.kl, kl, 1e-3);
    qx_predict_mix_free(mix);
    qx_predict_anchors_unref(a);
}

static void every_figure_is_the_oracles(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        void (*check)(const char *line);
    } kinds[] = {{"mix ", check_mix}, {"point ", read_point}, {"ask ", check_ask}};
    FILE *f = fopen(QX_SOURCE_ROOT "/tests/golden/predict/mix.txt", "r");
    char line[1024];
    int n[3] = {0};
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        for (int i = 0; i < 3; i++) {
            if (strncmp(line, kinds[i].word, strlen(kinds[i].word)) == 0) {
                kinds[i].check(line + strlen(kinds[i].word));
                n[i]++;
            }
        }
    }
    fclose(f);
    assert_true(n[0] == 30 && n[1] == POINTS && n[2] == 50);
}

/* ceil((K + 1) 0.9)-th smallest. */
static void the_quantile_is_the_right_rank(void **state)
{
    (void)state;
    static const struct {
        int n, rank;
    } cases[] = {{9, 9}, {10, 10}, {18, 18}, {19, 18}, {20, 19}, {28, 27}, {29, 27}, {39, 36}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double u[64];
        for (int k = 0; k < cases[i].n; k++) {
            u[k] = (k * 7 + 3) % cases[i].n + 1; /* 1..n, mixed where 7 and n share no factor */
        }
        if (cases[i].n % 7 == 0) {
            continue;
        }
        assert_true(qx_predict_quantile(u, cases[i].n) == cases[i].rank);
    }
    double few[8] = {9, 9, 9, 9, 9, 9, 9, 9};
    assert_true(qx_predict_quantile(few, 8) == 2.5);
}

/* Its own measurement corrects a configuration to just that. */
static void a_measured_configuration_is_predicted_as_measured(void **state)
{
    (void)state;
    const struct qx_predict_scale scale = {e_fp32, E_ROWS, .holds_p = true};
    struct qx_predict_anchors *a = NULL;
    assert_int_equal(
        qx_predict_anchors_new(table, &options, &scale, points, POINTS, NULL, &a, NULL), QX_OK);
    for (int j = 0; j < POINTS; j++) {
        struct qx_predict_mix *mix = mix_of(j);
        struct qx_predict_point_info info;
        struct qx_prediction p;
        qx_predict_point_look(points[j], &info);
        qx_predict_anchors_ask(a, mix, &p);
        assert_true(p.rho > 1.0 - 1e-9);
        assert_int_equal(p.anchor_key, info.key);
        near("value", j, p.value, info.value, 1e-6);
        near("KL", j, p.kl, info.kl, 1e-5);
        assert_true(p.lo <= p.value && p.value <= p.hi);
        qx_predict_mix_free(mix);
    }
    qx_predict_anchors_unref(a);
}

static void float32_is_predicted_without_change(void **state)
{
    (void)state;
    const struct qx_predict_scale scale = {e_fp32, E_ROWS, .holds_p = true};
    struct qx_predict_anchors *a = NULL;
    struct qx_predict_mix *mix = NULL;
    struct qx_prediction p;
    assert_int_equal(
        qx_predict_anchors_new(table, &options, &scale, points, POINTS, NULL, &a, NULL), QX_OK);
    assert_int_equal(qx_predict_mix_new(table, &options, &mix, NULL), QX_OK);
    qx_predict_anchors_ask(a, mix, &p);
    assert_true(p.anchor == -1 && p.rho == 0.0 && p.is_within_noise && p.floor == 0.0);
    assert_true(fabs(p.value - e_fp32) < 1e-12 && p.kl < 1e-12);
    qx_predict_mix_free(mix);
    qx_predict_anchors_unref(a);
}

/* Without labels the share is that of rows whose class stays; with few rows there is none. */
static void fallbacks_say_less(void **state)
{
    (void)state;
    const struct qx_predict_scale scale = {NAN, E_ROWS};
    struct qx_predict_anchors *a = NULL;
    struct qx_prediction p;
    assert_int_equal(qx_predict_anchors_new(table, &options, &scale, NULL, 0, NULL, &a, NULL),
                     QX_OK);
    struct qx_predict_mix *mix = mix_of(5);
    qx_predict_anchors_ask(a, mix, &p);
    assert_true(p.has_value && !p.is_labelled);
    assert_float_equal(p.value, p.same_top, 1e-9);
    assert_true(p.change <= 0.0 && p.hi <= 1.0);
    qx_predict_mix_free(mix);
    qx_predict_anchors_unref(a);

    struct qx_predict_base *few = NULL;
    struct qx_predict_table *t = NULL;
    assert_int_equal(qx_predict_base_new(z0, NULL, NULL, QX_PREDICT_ROWS_LEAST - 1, C, &few, NULL),
                     QX_OK);
    assert_int_equal(qx_predict_table_new(few, LAYERS, &t, NULL), QX_OK);
    assert_int_equal(qx_predict_anchors_new(t, &options, &scale, NULL, 0, NULL, &a, NULL), QX_OK);
    assert_int_equal(qx_predict_mix_new(t, &options, &mix, NULL), QX_OK);
    qx_predict_anchors_ask(a, mix, &p);
    assert_false(p.has_value);
    qx_predict_mix_free(mix);
    qx_predict_anchors_unref(a);
    qx_predict_table_unref(t);
    qx_predict_base_unref(few);
}

int test_predict_golden(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_figure_is_the_oracles),
        cmocka_unit_test(the_quantile_is_the_right_rank),
        cmocka_unit_test(a_measured_configuration_is_predicted_as_measured),
        cmocka_unit_test(float32_is_predicted_without_change),
        cmocka_unit_test(fallbacks_say_less),
    };
    return cmocka_run_group_tests_name("predict golden", tests, build, destroy);
}
