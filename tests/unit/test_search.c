/* Sensitivity and mixed precision on a sample: measured cells are single-layer runs, points are what they
 * say they are, the size of the purse stays, everything can be taken back. */
#include "base/pool.h"
#include "qx/search.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char folder[] = QX_SOURCE_ROOT "/samples/fashion-mlp";
static char cache[] = "search-XXXXXX";

static struct qx_session *open_session(const char *path, bool batch)
{
    struct qx_error err;
    struct qx_session *s = NULL;
    const struct qx_session_options o = {
        .cache_dir = cache, .threads = 2, .seed = 1, .batch = batch, .predict = true};
    if (qx_session_open(path, &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return s;
}

static struct qx_sens *run_map(struct qx_session *s, const char *list, int n_measure)
{
    struct qx_sens_column columns[QX_SENS_COLUMNS];
    struct qx_sens *map = NULL;
    struct qx_error err = {0};
    bool is_cut;
    int n;
    assert_int_equal(qx_sens_columns_parse(list, columns, &n, &err), QX_OK);
    if (qx_session_run_map(s, columns, n, NULL, n_measure, NULL, &map, &is_cut, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    assert_false(is_cut);
    return map;
}

/* ---- the map ---- */

static void a_measured_cell_is_a_run_of_that_layer_alone(void **state)
{
    (void)state;
    struct qx_session *s = open_session(folder, true);
    struct qx_sens *map = run_map(s, "2,4,fp16,a4", -1);
    struct qx_predict_probe *probe = NULL;
    struct qx_pool *pool = NULL;
    const int n = qx_sens_n_layers(map);
    assert_int_equal(qx_pool_new(2, &pool, NULL), QX_OK);
    assert_int_equal(qx_predict_probe_new(qx_session_net(s), qx_session_data(s), NULL, NULL, 0, 1,
                                          pool, NULL, &probe, NULL),
                     QX_OK);
    assert_int_equal(qx_sens_count(map, QX_SENS_MEASURED), 4 * n);
    for (int i = 0; i < n; i++) {
        struct qx_setting *set = calloc((size_t)n, sizeof *set);
        struct qx_predict_truth truth;
        for (int c = 0; c < 3; c++) {
            for (int k = 0; k < n; k++) {
                set[k] = qx_setting_fp32();
            }
            set[i] = *qx_sens_setting(map, i, c);
            assert_int_equal(qx_predict_probe_run(probe, set, QX_ENGINE_SIMULATED, pool, NULL,
                                                  &truth, NULL, NULL),
                             QX_OK);
            const struct qx_sens_cell *cell = qx_sens_cell_at(map, i, c);
            assert_true(fabs(cell->kl - truth.kl) <= 1e-6 * (1 + truth.kl));
            assert_true(fabs(cell->accuracy - truth.accuracy) <= 1e-12);
            assert_true(cell->lo <= cell->accuracy && cell->accuracy <= cell->hi);
        }
        assert_true(qx_sens_cell_at(map, i, 0)->kl > qx_sens_cell_at(map, i, 1)->kl);
        assert_true(qx_sens_cell_at(map, i, 3)->kl > 0);
        free(set);
    }
    qx_predict_probe_free(probe);
    qx_pool_free(pool);
    qx_sens_free(map);
    qx_session_close(&s);
}

/* Predictions before, the same settings measured afterwards: right about the order of magnitude. */
static void predicted_cells_are_near_the_measured_ones(void **state)
{
    (void)state;
    struct qx_session *s = open_session(folder, true);
    int64_t item[32], n = 0;
    struct qx_patch patch = {.fields = QX_PATCH_ALL, .value = qx_setting_int(8)};
    patch.value.gran = QX_GRAN_TENSOR; /* not what other tests have measured */
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        if (qx_session_item(s, i)->role == QX_ROLE_LINEAR) {
            item[n++] = i;
        }
    }
    assert_int_equal(qx_session_edit(s, item, n, &patch, false, NULL), QX_OK);
    struct qx_sens *said = run_map(s, "3,4,5,6", 0), *is = run_map(s, "3,4,5,6", -1);
    assert_int_equal(qx_sens_count(said, QX_SENS_MEASURED), 0);
    for (int i = 0; i < qx_sens_n_layers(said); i++) {
        for (int c = 0; c < 4; c++) {
            const struct qx_sens_cell *a = qx_sens_cell_at(said, i, c);
            const struct qx_sens_cell *b = qx_sens_cell_at(is, i, c);
            assert_int_equal(a->basis, QX_SENS_PREDICTED);
            assert_int_equal(b->basis, QX_SENS_MEASURED);
            assert_true(qx_sens_setting(said, i, c)->gran == QX_GRAN_TENSOR);
            if (b->kl > 1e-4) {
                assert_true(fabs(log(a->kl / b->kl)) < log(4.0));
            }
        }
    }
    qx_sens_free(said);
    qx_sens_free(is);
    qx_session_close(&s);
}

static void the_telling_cells_come_first_and_each_once(void **state)
{
    (void)state;
    struct qx_session *s = open_session(folder, true);
    struct qx_sens *map = run_map(s, "2,3,5,7", 0);
    int layer, column, n = 0;
    bool seen[64] = {false};
    const int n_open = qx_sens_count(map, QX_SENS_PREDICTED) + qx_sens_count(map, QX_SENS_RANK);
    while (qx_sens_next(map, &layer, &column)) {
        struct qx_sens *more = NULL;
        assert_false(seen[layer * 4 + column]);
        seen[layer * 4 + column] = true;
        n++;
        qx_sens_free(map);
        more = run_map(s, "2,3,5,7", 1); /* what was measured is there again */
        assert_int_equal(qx_sens_cell_at(more, layer, column)->basis, QX_SENS_MEASURED);
        map = more;
    }
    assert_int_equal(n, n_open);
    qx_sens_free(map);
    qx_session_close(&s);
}

static void widths_are_read_strictly(void **state)
{
    (void)state;
    struct qx_sens_column c[QX_SENS_COLUMNS];
    struct qx_error err;
    char text[24];
    int n = 0;
    assert_int_equal(qx_sens_columns_parse("4,16,nf4,a8,4", c, &n, &err), QX_OK);
    assert_int_equal(n, 4);
    assert_string_equal(qx_sens_column_text(&c[0], text, sizeof text), "4");
    assert_string_equal(qx_sens_column_text(&c[1], text, sizeof text), "fp16");
    assert_string_equal(qx_sens_column_text(&c[2], text, sizeof text), "nf4");
    assert_string_equal(qx_sens_column_text(&c[3], text, sizeof text), "a8");
    static const char *const wrong[] = {"", "1", "9", "a1", "a9", "int", "4;5", "fp17", "4x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_not_equal(qx_sens_columns_parse(wrong[i], c, &n, &err), QX_OK);
        assert_true(strlen(err.text) > 5);
        assert_int_equal(n, 4);
    }
}

/* ---- plans ---- */

static void points_cost_and_do_what_they_say(void **state)
{
    (void)state;
    struct qx_session *s = open_session(folder, true);
    struct qx_sens *map = run_map(s, "2,3,4,5,6,8", -1);
    struct qx_mixed_options o = qx_mixed_options_default();
    struct qx_mixed *p = NULL;
    struct qx_error err = {0};
    bool is_cut;
    o.max_bpw = 4.5;
    assert_int_equal(qx_session_run_mixed(s, map, &o, 2, NULL, &p, &is_cut, &err), QX_OK);
    const int best = qx_mixed_best(p);
    assert_int_equal(best, qx_mixed_n(p) - 1);
    for (int i = 0; i < qx_mixed_n(p); i++) {
        const struct qx_point *at = qx_mixed_point(p, i);
        assert_true(at->bits_per_weight <= 4.5 && at->harm > 0 && isnan(at->latency_ms));
        assert_int_equal(at->basis, i >= best - 1 ? QX_SENS_MEASURED : QX_SENS_PREDICTED);
        if (i > 0) {
            assert_true(at->bytes > qx_mixed_point(p, i - 1)->bytes);
            assert_true(at->harm < qx_mixed_point(p, i - 1)->harm);
        }
    }
    /* the suggestion as a recipe: size and accuracy are those of the point */
    struct qx_totals totals;
    struct qx_eval_result *r = NULL;
    for (int k = 0; k < qx_sens_n_layers(map); k++) {
        const int64_t item = qx_session_map_item(s, k);
        struct qx_patch patch = {.fields = QX_PATCH_ALL};
        patch.value = *qx_sens_setting(map, k, qx_mixed_column(p, best, k));
        assert_int_equal(qx_session_edit(s, &item, 1, &patch, false, &err), QX_OK);
    }
    qx_session_totals(s, &totals);
    assert_int_equal(totals.bytes, qx_mixed_point(p, best)->bytes);
    assert_true(fabs(totals.bits_per_weight - qx_mixed_point(p, best)->bits_per_weight) < 1e-9);
    assert_int_equal(qx_session_run_eval(s, NULL, NULL, &r, &err), QX_OK);
    assert_true(r->accuracy == qx_mixed_point(p, best)->value);
    qx_eval_result_free(r);
    qx_mixed_free(p);
    o.max_bpw = 0.1;
    assert_int_equal(qx_session_run_mixed(s, map, &o, 0, NULL, &p, &is_cut, &err), QX_ERANGE);
    qx_sens_free(map);
    qx_session_close(&s);
}

static void layers_times_make_up_a_pass(void **state)
{
    (void)state;
    struct qx_session *s = open_session(folder, true);
    const struct qx_net *net = qx_session_net(s);
    const int n = qx_net_n_layers(net);
    struct qx_weights *w = NULL;
    double ms[32], rest = -1, sum = 0;
    float *x = calloc((size_t)qx_net_sample_size(net), sizeof *x);
    assert_int_equal(qx_weights_new(net, &w, NULL), QX_OK);
    assert_int_equal(qx_latency_layers(net, w, x, NULL, ms, &rest, NULL), QX_OK);
    for (int i = 0; i < n; i++) {
        assert_true(ms[i] >= 0);
        sum += ms[i];
    }
    assert_true(sum > 0 && rest >= 0);
    struct qx_ctl ctl = {0};
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_latency_layers(net, w, x, &ctl, ms, &rest, NULL), QX_ECANCELLED);
    qx_weights_free(w);
    free(x);
    qx_session_close(&s);
}

/* ---- in the background ---- */

static void settle(struct qx_session *s)
{
    qx_session_set_auto_measure(s, false);
    for (int i = 0; i < 200 && (i < 2 || qx_session_mixed_busy(s) || !qx_session_idle(s)); i++) {
        qx_session_settle(s, 500);
    }
}

static void a_front_is_searched_loaded_and_taken_back(void **state)
{
    (void)state;
    struct qx_session *s = open_session(folder, false);
    const struct qx_mixed_options o = qx_mixed_options_default();
    struct qx_map_state m;
    struct qx_totals totals;
    struct qx_gauge gauge;
    struct qx_point now;
    struct qx_error err = {0};
    qx_session_mixed_want(s, &o);
    settle(s);
    const struct qx_mixed *p = qx_session_mixed(s);
    if (!p) {
        fail_msg("no front: %s", qx_session_mixed_reason(s));
    }
    qx_session_map_state(s, &m);
    assert_int_equal(m.n_cells, 24);
    assert_int_equal(m.n_measured + m.n_predicted, 24);
    const int i = qx_mixed_n(p) / 2;
    const uint64_t bytes = qx_mixed_point(p, i)->bytes;
    assert_int_equal(qx_session_mixed_load(s, i, &err), QX_OK);
    qx_session_totals(s, &totals);
    assert_int_equal(totals.bytes, bytes);
    assert_int_equal(qx_session_n_edits(s), 1);
    for (int k = 0; k < 2; k++) { /* asking is what queues the histograms */
        qx_session_mixed_now(s, &now);
        qx_session_settle(s, 5000);
    }
    qx_session_mixed_now(s, &now);
    assert_true(now.bytes == bytes && now.basis >= QX_SENS_PREDICTED);
    assert_true(now.lo <= now.value && now.value <= now.hi);
    assert_true(qx_session_undo(s));
    qx_session_totals(s, &totals);
    assert_int_equal(totals.bytes, totals.bytes_fp32);
    assert_int_equal(qx_session_mixed_load(s, 1000, &err), QX_ERANGE);
    /* a cell, then some; stopping keeps them */
    qx_session_map_measure(s, 0, 0);
    settle(s);
    assert_int_equal(qx_sens_cell_at(qx_session_map(s), 0, 0)->basis, QX_SENS_MEASURED);
    qx_session_map_measure_all(s, 3);
    settle(s);
    qx_session_map_state(s, &m);
    assert_true(m.n_measured >= 4 && m.n_left == 0);
    qx_session_gauge(s, &gauge); /* P of a quick network */
    assert_int_equal(m.n_rows, gauge.n < QX_PREDICT_ROWS_MOST ? gauge.n : QX_PREDICT_ROWS_MOST);
    qx_session_close(&s);
}

static void the_purse_keeps_its_size(void **state)
{
    (void)state;
    struct qx_session *s = open_session(folder, false);
    const struct qx_mixed_options o = qx_mixed_options_default();
    struct qx_totals before, after;
    struct qx_trade trade;
    struct qx_error err = {0};
    bool pays[64] = {false};
    int n_paid = 0;
    qx_session_mixed_want(s, &o);
    settle(s);
    struct qx_patch patch = {.fields = QX_PATCH_BITS, .value = {.bits = 4}};
    for (int k = 0; k < 4; k++) {
        const int64_t item = qx_session_map_item(s, k);
        assert_int_equal(qx_session_edit(s, &item, 1, &patch, false, &err), QX_OK);
    }
    settle(s);
    qx_session_totals(s, &before);
    const int64_t small = qx_session_map_item(s, 3), large = qx_session_map_item(s, 0);
    pays[large] = true;
    assert_int_equal(qx_session_purse(s, small, 6, pays, &n_paid, &err), QX_OK);
    qx_session_totals(s, &after);
    assert_int_equal(n_paid, 1);
    assert_true(after.bytes <= before.bytes);
    assert_int_equal(qx_session_setting(s, small)->bits, 6);
    assert_true(qx_session_setting(s, large)->bits < 4);
    assert_true(qx_session_undo(s));
    pays[large] = false;
    pays[small] = true; /* a head of 10 outputs cannot pay for the first layer */
    assert_int_equal(qx_session_purse(s, large, 8, pays, &n_paid, &err), QX_EDATA);
    qx_session_totals(s, &after);
    assert_true(after.bytes == before.bytes);
    for (int k = 0; k < 20; k++) {
        assert_int_equal(qx_session_trade(s, &trade, &err), QX_OK);
        if (trade.up < 0) {
            break;
        }
        assert_true(trade.gain > 0);
        assert_int_equal(qx_session_trade_take(s, &trade, &err), QX_OK);
        qx_session_totals(s, &after);
        assert_true(after.bytes <= before.bytes);
    }
    assert_int_equal(trade.up, -1);
    qx_session_close(&s);
}

static void without_a_network_there_are_ranks(void **state)
{
    (void)state;
    struct qx_session *s = open_session(QX_SOURCE_ROOT "/samples/five-weights", false);
    const struct qx_mixed_options o = qx_mixed_options_default();
    struct qx_map_state m;
    struct qx_sens_column column[QX_SENS_COLUMNS];
    struct qx_sens *map;
    struct qx_error err = {0};
    bool is_cut;
    int n;
    qx_session_mixed_want(s, &o);
    settle(s);
    qx_session_map_state(s, &m);
    assert_true(m.n_cells == 6 && m.n_measured == 0 && m.n_predicted == 0 && m.reason[0]);
    assert_int_equal(qx_sens_cell_at(qx_session_map(s), 0, 0)->rank, 1);
    assert_non_null(qx_session_mixed(s));
    assert_int_equal(qx_mixed_point(qx_session_mixed(s), 0)->basis, QX_SENS_RANK);
    assert_true(isnan(qx_mixed_point(qx_session_mixed(s), 0)->value));
    qx_session_map_measure_all(s, 5); /* nothing to run */
    settle(s);
    qx_session_map_state(s, &m);
    assert_int_equal(m.n_measured, 0);
    qx_session_close(&s);
    s = open_session(QX_SOURCE_ROOT "/samples/five-weights", true);
    assert_int_equal(qx_sens_columns_parse("4", column, &n, NULL), QX_OK);
    assert_int_not_equal(qx_session_run_map(s, column, 1, NULL, 0, NULL, &map, &is_cut, &err),
                         QX_OK);
    assert_true(strlen(err.text) > 5);
    qx_session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_measured_cell_is_a_run_of_that_layer_alone),
        cmocka_unit_test(predicted_cells_are_near_the_measured_ones),
        cmocka_unit_test(the_telling_cells_come_first_and_each_once),
        cmocka_unit_test(widths_are_read_strictly),
        cmocka_unit_test(points_cost_and_do_what_they_say),
        cmocka_unit_test(layers_times_make_up_a_pass),
        cmocka_unit_test(a_front_is_searched_loaded_and_taken_back),
        cmocka_unit_test(the_purse_keeps_its_size),
        cmocka_unit_test(without_a_network_there_are_ranks),
    };
    if (!mkdtemp(cache)) {
        return 1;
    }
    const int n = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", cache);
    return system(command) == 0 ? n : 1;
}
