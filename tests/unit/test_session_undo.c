/* Undo, redo, merging, snapshots. */
#include "base/mem.h"
#include "base/rng.h"
#include "test_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void random_patch(struct qx_rng *rng, struct qx_patch *p)
{
    static const int64_t groups[] = {8, 16, 32};
    struct qx_setting v = qx_setting_int(2 + (int)qx_rng_below(rng, 7));
    v.sym = qx_rng_below(rng, 2);
    v.gran = (enum qx_gran)qx_rng_below(rng, 3);
    v.group = groups[qx_rng_below(rng, 3)];
    v.calib = qx_calib_find(qx_rng_below(rng, 2) ? "minmax" : "percentile");
    v.param = v.calib->param_default;
    v.has_range = true;
    v.range.hi = 0.05 + 0.9 * qx_rng_uniform(rng);
    v.range.lo = -v.range.hi;
    static const unsigned fields[] = {QX_PATCH_BITS,
                                      QX_PATCH_BITS,
                                      QX_PATCH_SYM,
                                      QX_PATCH_GRAN,
                                      QX_PATCH_CALIB,
                                      QX_PATCH_RANGE,
                                      QX_PATCH_BITS | QX_PATCH_GRAN | QX_PATCH_CALIB};
    *p = (struct qx_patch){fields[qx_rng_below(rng, 7)], v};
    if (qx_rng_below(rng, 12) == 0) {
        *p = (struct qx_patch){QX_PATCH_ALL, qx_setting_fp32()};
    }
}

static void random_edit(struct qx_session *s, struct qx_rng *rng)
{
    int64_t items[4], n = 1 + (int64_t)qx_rng_below(rng, 3);
    for (int64_t i = 0; i < n; i++) {
        items[i] = (int64_t)qx_rng_below(rng, (uint64_t)qx_session_n_items(s));
        for (int64_t k = 0; k < i; k++) {
            if (items[k] == items[i]) {
                i--;
                break;
            }
        }
    }
    struct qx_patch p;
    random_patch(rng, &p);
    qx_session_edit(s, items, n, &p, qx_rng_below(rng, 3) == 0, NULL);
    uint64_t act = qx_rng_below(rng, 40);
    if (act == 0) {
        qx_session_snapshot(s);
    } else if (act == 1) {
        qx_session_flip(s);
    } else if (act == 2) {
        qx_session_seal(s);
    } else if (act < 6) {
        qx_session_undo(s);
    }
}

static void undoing_everything_restores_and_redoing_repeats(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
        struct qx_rng rng;
        qx_rng_init(&rng, seed);
        fixture_bits(s, "b", 6);
        qx_session_run_resolve(s, NULL, NULL);
        char *start = fixture_recipe(s);
        int n_start = qx_session_n_edits(s);
        for (int i = 0; i < 150; i++) {
            random_edit(s, &rng);
        }
        assert_int_equal(qx_session_run_resolve(s, NULL, NULL), QX_OK);
        char *end = fixture_recipe(s);
        int n = qx_session_n_edits(s) - n_start;
        assert_true(n > 50);
        for (int i = 0; i < n; i++) {
            assert_true(qx_session_undo(s));
        }
        assert_int_equal(qx_session_run_resolve(s, NULL, NULL), QX_OK);
        char *back = fixture_recipe(s);
        assert_string_equal(start, back);
        for (int i = 0; i < n; i++) {
            assert_true(qx_session_redo(s));
        }
        assert_int_equal(qx_session_run_resolve(s, NULL, NULL), QX_OK);
        char *again = fixture_recipe(s);
        assert_string_equal(end, again);
        free(start);
        free(end);
        free(back);
        free(again);
        qx_session_close(&s);
    }
}

static void totals_follow_every_change(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    struct qx_totals fresh, t;
    struct qx_rng rng;
    qx_rng_init(&rng, 9);
    qx_session_totals(s, &fresh);
    assert_int_equal(fresh.n_quantized, 0);
    assert_int_equal(fresh.n_quantizable, 6);
    /* five F32 tensors, 128 halves, 4 whole numbers */
    uint64_t n = 8 * 64 + 16 * 32 + 1100 * 1024 + 16 + 20 * 8;
    assert_int_equal(fresh.bytes, 4 * n + 2 * 128 + 8 * 4);
    assert_int_equal(fresh.bytes_fp32, 4 * (n + 128) + 8 * 4);
    fixture_bits(s, "a", 4);
    qx_session_totals(s, &t);
    assert_int_equal(t.bytes, fresh.bytes - 4 * 512 + 256 + 8 * 4);
    for (int i = 0; i < 60; i++) {
        random_edit(s, &rng);
    }
    while (qx_session_undo(s)) {
    }
    qx_session_totals(s, &t);
    assert_int_equal(t.bytes, fresh.bytes);
    assert_int_equal(t.n_quantized, 0);
    qx_session_close(&s);
}

static void a_drag_is_one_step_without_allocation(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, false);
    struct qx_metrics m;
    fixture_bits(s, "fc1", 4);
    fixture_settle(s);
    assert_true(qx_session_metrics(s, fixture_item(s, "fc1"), &m));
    fixture_range(s, "fc1", 0.9, true);
    int n = qx_session_n_edits(s);
    int64_t item = fixture_item(s, "fc1");
    qx_session_set_auto_measure(s, false);
    fixture_settle(s);
    int64_t allocations = qx_mem_count();
    for (int i = 0; i < 100; i++) {
        struct qx_patch p = {.fields = QX_PATCH_RANGE};
        p.value.has_range = true;
        p.value.range = (struct qx_range){-0.9 + 0.005 * i, 0.9 - 0.005 * i};
        assert_int_equal(qx_session_edit(s, &item, 1, &p, true, NULL), QX_OK);
        assert_true(qx_session_metrics(s, item, &m));
    }
    assert_int_equal(qx_mem_count(), allocations);
    assert_int_equal(qx_session_n_edits(s), n);
    assert_non_null(strstr(qx_session_edit_text(s, 0), "fc1.weight"));
    assert_non_null(strstr(qx_session_edit_text(s, 0), "ratio"));
    assert_true(qx_session_undo(s));
    assert_string_equal(qx_session_setting(s, item)->calib->name, "mse");
    qx_session_close(&s);
}

static void merging_stops_at_a_seal_another_item_and_an_undo(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    fixture_bits(s, "a", 4);
    fixture_bits(s, "b", 4);
    int n = qx_session_n_edits(s);
    fixture_range(s, "a", 0.5, true);
    fixture_range(s, "a", 0.4, true);
    assert_int_equal(qx_session_n_edits(s), n + 1);
    qx_session_seal(s);
    fixture_range(s, "a", 0.3, true);
    assert_int_equal(qx_session_n_edits(s), n + 2);
    fixture_range(s, "b", 0.3, true);
    assert_int_equal(qx_session_n_edits(s), n + 3);
    fixture_range(s, "a", 0.2, false);
    fixture_range(s, "a", 0.1, true);
    assert_int_equal(qx_session_n_edits(s), n + 5);
    assert_true(qx_session_undo(s));
    fixture_range(s, "a", 0.15, true);
    assert_int_equal(qx_session_n_edits(s), n + 5);
    assert_false(qx_session_redo(s));
    assert_true(qx_session_undo(s));
    assert_true(qx_session_setting(s, fixture_item(s, "a"))->range.hi == 0.2);
    qx_session_close(&s);
}

static void an_edit_that_changes_nothing_is_no_step(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    fixture_bits(s, "a", 4);
    uint64_t revision = qx_session_revision(s);
    fixture_bits(s, "a", 4);
    assert_int_equal(qx_session_n_edits(s), 1);
    assert_int_equal(qx_session_revision(s), revision);
    qx_session_close(&s);
}

static void what_cannot_be_quantized_is_refused_alone_and_skipped_in_company(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    struct qx_error err;
    struct qx_patch p = {.fields = QX_PATCH_BITS, .value = {.bits = 4}};
    int64_t items[] = {fixture_item(s, "ids"), fixture_item(s, "a")};
    assert_int_equal(qx_session_edit(s, items, 1, &p, false, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "ids"));
    assert_int_equal(qx_session_n_edits(s), 0);
    assert_int_equal(qx_session_edit(s, items, 2, &p, false, &err), QX_OK);
    assert_true(qx_setting_is_fp32(qx_session_setting(s, items[0])));
    assert_int_equal(qx_session_setting(s, items[1])->bits, 4);
    qx_session_close(&s);
}

static void a_and_b_swap_and_swap_back(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    int64_t a = fixture_item(s, "a"), b = fixture_item(s, "b");
    struct qx_totals before, after;
    assert_false(qx_session_has_snapshot(s));
    assert_int_equal(qx_session_take_from_a(s, a, NULL), QX_EDATA);
    fixture_bits(s, "a", 4);
    qx_session_snapshot(s);
    qx_session_totals(s, &before);
    fixture_bits(s, "a", 8);
    fixture_bits(s, "b", 2);
    qx_session_flip(s);
    assert_int_equal(qx_session_setting(s, a)->bits, 4);
    assert_int_equal(qx_session_setting_a(s, a)->bits, 8);
    assert_int_equal(qx_session_setting_a(s, b)->bits, 2);
    qx_session_totals(s, &after);
    assert_int_equal(before.bytes, after.bytes);
    assert_true(qx_session_undo(s));
    assert_int_equal(qx_session_setting(s, a)->bits, 8);
    assert_int_equal(qx_session_setting_a(s, a)->bits, 4);
    qx_session_totals_a(s, &after);
    assert_int_equal(before.bytes, after.bytes);
    assert_true(qx_session_redo(s));
    assert_int_equal(qx_session_setting_a(s, a)->bits, 8);
    qx_session_flip(s);
    assert_int_equal(qx_session_take_from_a(s, a, NULL), QX_OK);
    assert_int_equal(qx_session_setting(s, a)->bits, 4);
    assert_int_equal(qx_session_setting(s, b)->bits, 2);
    int n = qx_session_n_edits(s);
    qx_session_snapshot(s);
    qx_session_flip(s); /* A and B are equal */
    assert_int_equal(qx_session_n_edits(s), n);
    qx_session_close(&s);
}

static void steps_say_what_they_did(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    fixture_bits(s, "a", 8);
    fixture_bits(s, "a", 4);
    assert_string_equal(qx_session_edit_text(s, 0), "a.weight: bits 8 -> 4");
    assert_non_null(strstr(qx_session_edit_text(s, 1), "FP32"));
    assert_null(qx_session_edit_text(s, 2));
    assert_null(qx_session_edit_text(s, -1));
    qx_session_close(&s);
}

int test_session_undo(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(undoing_everything_restores_and_redoing_repeats),
        cmocka_unit_test(totals_follow_every_change),
        cmocka_unit_test(a_drag_is_one_step_without_allocation),
        cmocka_unit_test(merging_stops_at_a_seal_another_item_and_an_undo),
        cmocka_unit_test(an_edit_that_changes_nothing_is_no_step),
        cmocka_unit_test(what_cannot_be_quantized_is_refused_alone_and_skipped_in_company),
        cmocka_unit_test(a_and_b_swap_and_swap_back),
        cmocka_unit_test(steps_say_what_they_did),
    };
    return cmocka_run_group_tests_name("session undo", tests, fixture_setup, fixture_teardown);
}
