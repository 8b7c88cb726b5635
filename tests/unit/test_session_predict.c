/* Predictions of a session: built in the background, kept on disk, corrected and graded by what is
 * measured. */
#include "base/fs.h"
#include "qx/search.h"
#include "session/session_impl.h"
#include "test_session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LAYERS = 2, ALL_ENTRIES = 20 * LAYERS };

static struct qx_session *open_predicting(const char *cache)
{
    const struct qx_session_options o = {.cache_dir = cache, .threads = 2, .predict = true};
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    if (qx_session_open(fixture_folder(), &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    qx_session_set_auto_measure(s, false);
    return s;
}

static struct qx_gauge gauge_of(struct qx_session *s)
{
    struct qx_gauge g;
    fixture_settle(s);
    qx_session_gauge(s, &g);
    return g;
}

static void every_edit_is_answered_before_it_is_measured(void **state)
{
    (void)state;
    struct qx_session *s = open_predicting(NULL);
    struct qx_gauge g = gauge_of(s);
    assert_int_equal(g.guess, QX_GUESS_PREDICTED);
    assert_int_equal(g.n_entries, ALL_ENTRIES);
    assert_int_equal(g.predict_rows, g.n); /* a quick network: all that there are */
    assert_true(g.predicted.change == 0.0 && g.predicted.is_within_noise);
    fixture_bits(s, "fc1.weight", 2);
    g = gauge_of(s);
    assert_int_equal(g.state, QX_GAUGE_WAITING);
    assert_int_equal(g.guess, QX_GUESS_PREDICTED);
    assert_true(g.predicted.kl > 0.0 && g.predicted.anchor == -1);
    assert_true(g.predicted.lo <= g.predicted.value && g.predicted.value <= g.predicted.hi);
    assert_int_equal(g.predicted.coverage, QX_PREDICT_UNCALIBRATED);
    double share, kl;
    assert_true(qx_session_layer_share(s, fixture_item(s, "fc1.weight"), &share, &kl));
    assert_float_equal(share, 1.0, 1e-9);
    assert_true(qx_session_layer_share(s, fixture_item(s, "fc2.weight"), &share, &kl));
    assert_float_equal(share, 0.0, 1e-9);
    /* a drag: every step is answered, and less of a threshold is more of an effect */
    double before = 0.0;
    for (int i = 0; i < 5; i++) {
        fixture_range(s, "fc1.weight", 0.9 - 0.15 * i, true);
        qx_session_gauge(s, &g);
        assert_int_equal(g.guess, QX_GUESS_PREDICTED);
        assert_true(g.predicted.kl != before);
        before = g.predicted.kl;
    }
    assert_true(qx_session_undo(s) && qx_session_undo(s));
    g = gauge_of(s);
    assert_true(g.predicted.change == 0.0 && g.predicted.kl < 1e-9);
    qx_session_close(&s);
}

/* FP32 on all rows takes a second or more of this sample. */
static void the_first_prediction_does_not_wait_for_all_rows(void **state)
{
    (void)state;
    const struct qx_session_options o = {.threads = 2, .predict = true};
    struct qx_session *s = NULL;
    struct qx_gauge g;
    assert_int_equal(qx_session_open(QX_SOURCE_ROOT "/samples/fashion-cnn", &o, &s, NULL), QX_OK);
    qx_session_set_auto_measure(s, false);
    fixture_bits(s, "stem.conv.weight", 3);
    for (g.guess = QX_GUESS_NONE; g.guess != QX_GUESS_PREDICTED;) {
        qx_session_settle(s, 1);
        qx_session_gauge(s, &g);
    }
    assert_true(g.is_predicted_early && g.fp32_correct < 0);
    assert_true(g.predicted.has_value && g.predicted.n_points == 0);
    const double right = (g.predicted.value - g.predicted.change) * QX_PREDICT_ROWS;
    assert_float_equal(right, round(right), 1e-6); /* float32's rows of P */
    while (g.fp32_correct < 0 || g.is_predicted_early) {
        qx_session_settle(s, 1);
        qx_session_gauge(s, &g);
    }
    assert_float_equal(g.predicted.value - g.predicted.change, (double)g.fp32_correct / (double)g.n,
                       1e-9);
    assert_int_equal(g.predicted.n_points, 0);
    qx_session_close(&s);
}

static void measurements_correct_and_grade_what_was_said(void **state)
{
    (void)state;
    struct qx_session *s = open_predicting(NULL);
    fixture_settle(s);
    fixture_bits(s, "fc2.weight", 2);
    struct qx_gauge said = gauge_of(s), g;
    qx_session_measure(s);
    g = gauge_of(s);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_int_equal(g.n_graded, 1);
    const double measured = (double)g.correct / (double)g.n;
    assert_float_equal(g.grade_error, fabs(said.predicted.value - measured), 1e-12);
    assert_int_equal(g.n_graded_in_band,
                     measured >= said.predicted.lo && measured <= said.predicted.hi);
    /* it is an anchor now: itself is predicted as measured, a neighbour leans on it */
    assert_int_equal(g.predicted.n_points, 1);
    assert_float_equal(g.predicted.value, measured, 1e-6);
    fixture_bits(s, "fc1.weight", 6);
    g = gauge_of(s);
    assert_int_equal(g.predicted.anchor, 0);
    assert_true(g.predicted.rho > 0.5 && g.predicted.rho < 1.0);
    /* measuring again what is known grades nothing */
    assert_true(qx_session_undo(s));
    qx_session_measure(s);
    g = gauge_of(s);
    assert_int_equal(g.n_graded, 1);
    qx_session_close(&s);
}

static void what_was_built_is_there_at_once_the_next_time(void **state)
{
    (void)state;
    char cache[256];
    snprintf(cache, sizeof cache, "%s", fixture_fresh("predict-cache"));
    struct qx_session *s = open_predicting(cache);
    fixture_settle(s);
    fixture_bits(s, "fc1.weight", 2);
    struct qx_gauge first = gauge_of(s), g;
    qx_session_measure(s);
    fixture_settle(s);
    qx_session_close(&s);

    s = open_predicting(cache);
    fixture_bits(s, "fc1.weight", 2);
    g = gauge_of(s);
    assert_int_equal(g.n_entries, ALL_ENTRIES + 1);
    assert_int_equal(g.n_graded, 1);
    assert_int_equal(g.predicted.n_points, 1);
    assert_true(fabs(g.predicted.sum.kl - first.predicted.sum.kl) <= 1e-6 * first.predicted.sum.kl);
    assert_true(g.predicted.sum.accuracy == first.predicted.sum.accuracy);
    qx_session_close(&s);
}

static void a_batch_leans_on_what_a_session_measured(void **state)
{
    (void)state;
    char cache[256];
    snprintf(cache, sizeof cache, "%s", fixture_fresh("predict-cache"));
    struct qx_session *s = open_predicting(cache);
    fixture_settle(s);
    fixture_bits(s, "fc1.weight", 2);
    fixture_settle(s);
    qx_session_measure(s);
    struct qx_gauge g = gauge_of(s);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    qx_session_close(&s);

    const struct qx_session_options o = {.cache_dir = cache, .threads = 1, .batch = true};
    const struct qx_eval_options few = {.max_samples = g.n / 2};
    struct qx_prediction p;
    assert_int_equal(qx_session_open(fixture_folder(), &o, &s, NULL), QX_OK);
    fixture_bits(s, "fc1.weight", 2);
    assert_int_equal(qx_session_run_predict(s, NULL, NULL, &p, NULL, NULL, NULL), QX_OK);
    assert_int_equal(p.n_points, 1);
    assert_float_equal(p.rho, 1.0, 1e-9);
    assert_float_equal(p.value, (double)g.correct / (double)g.n, 1e-6);
    /* they speak of all rows, and of no part of them */
    assert_int_equal(qx_session_run_predict(s, &few, NULL, &p, NULL, NULL, NULL), QX_OK);
    assert_int_equal(p.n_points, 0);
    qx_session_close(&s);
}

static void the_next_measurement_is_the_one_that_narrows_the_band(void **state)
{
    (void)state;
    struct qx_session *s = open_predicting(NULL);
    struct qx_next next;
    fixture_settle(s);
    s->measure.eval_time_s = 6; /* as if the network were slow: nothing runs by itself */
    qx_session_next(s, &next);  /* float32 is measured: only the band could gain */
    assert_int_equal(next.kind, QX_NEXT_BAND);
    assert_int_equal(next.n, 9);
    assert_float_equal(next.time_s, 54.0, 1e-9);
    assert_true(isnan(next.then));
    fixture_bits(s, "fc1.weight", 2);
    struct qx_gauge g = gauge_of(s);
    qx_session_next(s, &next);
    assert_int_equal(next.kind, QX_NEXT_RECIPE);
    assert_float_equal(next.now, 0.5 * (g.predicted.hi - g.predicted.lo), 1e-12);
    assert_true(next.then == 0.0);
    assert_int_equal(qx_session_measure_next(s), QX_NEXT_RECIPE);
    g = gauge_of(s);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    s->measure.eval_time_s = 6;
    assert_int_equal(qx_session_measure_next(s), QX_NEXT_BAND);
    for (int i = 0; i < 400 && s->predictor.n_drawing > 0; i++) {
        qx_session_settle(s, 50);
        s->measure.eval_time_s = 6;
    }
    g = gauge_of(s);
    assert_int_equal(g.predicted.n_points, 9);
    assert_int_equal(g.predicted.coverage, QX_PREDICT_ROUGH);
    qx_session_next(s, &next);
    assert_int_equal(next.n, 10);
    assert_true(next.then > 0.0);
    qx_session_close(&s);
}

/* Files of another key stay unread, damaged ones are measured again. */
static void damaged_files_are_measured_again(void **state)
{
    (void)state;
    char cache[256], command[600];
    snprintf(cache, sizeof cache, "%s", fixture_fresh("predict-cache"));
    struct qx_session *s = open_predicting(cache);
    fixture_settle(s);
    fixture_bits(s, "fc1.weight", 2);
    struct qx_gauge first = gauge_of(s), g;
    qx_session_close(&s);
    snprintf(command, sizeof command,
             "for f in %s/histograms/predict-*; do printf x | dd of=$f bs=1 seek=60 conv=notrunc "
             "2>/dev/null; done",
             cache);
    assert_int_equal(system(command), 0);
    s = open_predicting(cache);
    fixture_bits(s, "fc1.weight", 2);
    g = gauge_of(s);
    assert_int_equal(g.n_entries, ALL_ENTRIES + 1);
    assert_true(g.predicted.sum.kl == first.predicted.sum.kl);
    qx_session_close(&s);
}

static void the_band_is_calibrated_when_nothing_else_is_to_do(void **state)
{
    (void)state;
    struct qx_session *s = open_predicting(NULL);
    struct qx_gauge g = gauge_of(s);
    const double end = qx_clock_s() + 60;
    while (g.predicted.n_points < 19 && qx_clock_s() < end) {
        const int ms = qx_session_timeout_ms(s);
        usleep((useconds_t)(1000 * (ms < 20 ? ms + 1 : 20)));
        g = gauge_of(s);
    }
    assert_int_equal(g.predicted.n_points, 19);
    assert_int_equal(g.predicted.coverage, QX_PREDICT_90);
    assert_int_equal(g.n_graded, 0); /* nobody had asked for them */
    for (int i = 0; i < qx_session_n_jobs(s); i++) {
        struct qx_job_info info;
        assert_true(qx_session_job(s, i, &info));
        assert_null(strstr(info.title, "recipe"));
    }
    qx_session_close(&s);
}

static void without_a_network_there_is_only_a_rank(void **state)
{
    (void)state;
    const struct qx_session_options o = {.threads = 1, .predict = true};
    struct qx_session *s = NULL;
    assert_int_equal(qx_session_open(fixture_plain(), &o, &s, NULL), QX_OK);
    static const int bits[3] = {8, 4, 2};
    static const enum qx_risk risks[3] = {QX_RISK_LOW, QX_RISK_MEDIUM, QX_RISK_HIGH};
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"a.weight", "b.weight", "half.weight", "big.weight"};
        for (int k = 0; k < 4; k++) {
            fixture_bits(s, names[k], bits[i]);
        }
        struct qx_gauge g = gauge_of(s);
        assert_int_equal(g.state, QX_GAUGE_NONE);
        assert_int_equal(g.guess, QX_GUESS_RANK);
        assert_int_equal(g.risk, risks[i]);
    }
    qx_session_close(&s);
}

/* A slow network is predicted on few rows first, until the same is known on more. */
static void rows_grow_once_the_first_are_done(void **state)
{
    (void)state;
    struct qx_session *s = open_predicting(NULL);
    struct qx_gauge g;
    s->predictor.rows = QX_PREDICT_ROWS_LEAST; /* as if it were slow */
    fixture_bits(s, "fc1.weight", 2);
    do {
        usleep(1000);
        qx_session_poll(s);
        qx_session_gauge(s, &g);
    } while (g.guess != QX_GUESS_PREDICTED);
    assert_int_equal(g.predict_rows, QX_PREDICT_ROWS_LEAST);
    assert_true(g.predicted.kl > 0.0);
    g = gauge_of(s);
    assert_int_equal(g.predict_rows, g.n);
    assert_int_equal(g.n_entries, ALL_ENTRIES + 1);
    assert_int_equal(g.guess, QX_GUESS_PREDICTED);
    qx_session_close(&s);
}

/* The exact entry of a layer with this key; NULL = none. */
static const struct qx_predict_entry *exact_of(struct qx_session *s, int layer, uint64_t key)
{
    const struct qx_predict_table *t = s->predictor.table;
    for (int i = 0; i < qx_predict_table_n(t); i++) {
        struct qx_predict_entry_info info;
        qx_predict_entry_look(qx_predict_table_entry(t, i), &info);
        if (info.key == key && info.spec.layer == layer) {
            return qx_predict_table_entry(t, i);
        }
    }
    return NULL;
}

static void a_setting_at_rest_is_measured_alone(void **state)
{
    (void)state;
    struct qx_session *s = open_predicting(NULL);
    struct qx_predict_entry_info info;
    const int64_t item = fixture_item(s, "fc1.weight");
    const int layer = qx_net_layer_of_tensor(qx_session_net(s), item);
    fixture_settle(s);
    fixture_bits(s, "fc1.weight", 2);
    struct qx_gauge g = gauge_of(s), near;
    const struct qx_predict_entry *e =
        exact_of(s, layer, qx_predict_key(qx_session_setting(s, item), QX_SITE_W));
    assert_non_null(e);
    assert_int_equal(g.n_entries, ALL_ENTRIES + 1);
    qx_predict_entry_look(e, &info);
    assert_true(info.t.round > 0.0);
    assert_true(fabs(g.predicted.sum.kl - info.truth.kl) <= 1e-3 * info.truth.kl);
    /* a hand that moves on from there does not see a jump */
    const double ratio = qx_session_setting(s, item)->range.hi;
    fixture_range(s, "fc1.weight", 0.9999 * ratio, true);
    qx_session_gauge(s, &near);
    assert_true(near.predicted.sum.kl != g.predicted.sum.kl);
    assert_true(fabs(log(near.predicted.sum.kl / g.predicted.sum.kl)) < 0.25);
    /* both sites of both layers, each once */
    fixture_bits(s, "fc2.weight", 4);
    g = gauge_of(s);
    assert_int_equal(g.n_entries, ALL_ENTRIES + 3);
    g = gauge_of(s);
    assert_int_equal(g.n_entries, ALL_ENTRIES + 3);
    qx_session_close(&s);
}

static void cells_of_the_map_join_the_table(void **state)
{
    (void)state;
    struct qx_session *s = open_predicting(NULL);
    fixture_settle(s);
    qx_session_map_want(s);
    fixture_settle(s);
    qx_session_map_measure_all(s, 2);
    struct qx_gauge g = gauge_of(s);
    assert_int_equal(g.n_entries, ALL_ENTRIES + 2);
    qx_session_close(&s);
}

/* Closing in the middle of the work, many times over. */
static void closing_at_any_moment_is_clean(void **state)
{
    (void)state;
    char cache[256];
    snprintf(cache, sizeof cache, "%s", fixture_fresh("predict-cache"));
    for (int i = 0; i < 12; i++) {
        struct qx_session *s = open_predicting(cache);
        for (int k = 0; k < i; k++) {
            usleep(1500);
            qx_session_poll(s);
        }
        qx_session_close(&s);
    }
    struct qx_session *s = open_predicting(cache);
    struct qx_gauge g = gauge_of(s);
    assert_int_equal(g.n_entries, ALL_ENTRIES);
    qx_session_close(&s);
}

int test_session_predict(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_edit_is_answered_before_it_is_measured),
        cmocka_unit_test(the_first_prediction_does_not_wait_for_all_rows),
        cmocka_unit_test(measurements_correct_and_grade_what_was_said),
        cmocka_unit_test(what_was_built_is_there_at_once_the_next_time),
        cmocka_unit_test(damaged_files_are_measured_again),
        cmocka_unit_test(the_band_is_calibrated_when_nothing_else_is_to_do),
        cmocka_unit_test(without_a_network_there_is_only_a_rank),
        cmocka_unit_test(rows_grow_once_the_first_are_done),
        cmocka_unit_test(a_batch_leans_on_what_a_session_measured),
        cmocka_unit_test(the_next_measurement_is_the_one_that_narrows_the_band),
        cmocka_unit_test(a_setting_at_rest_is_measured_alone),
        cmocka_unit_test(cells_of_the_map_join_the_table),
        cmocka_unit_test(closing_at_any_moment_is_clean),
    };
    return cmocka_run_group_tests_name("session predict", tests, fixture_setup, fixture_teardown);
}
