/* Activations in the recipe: patches, files, hashes, ranges, measurements. */
#include "base/mem.h"
#include "test_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void patch_act(struct qx_session *s, const char *name, const struct qx_act *act)
{
    struct qx_error err = {0};
    const int64_t item = fixture_item(s, name);
    const struct qx_patch p = {.fields = QX_PATCH_ACT, .value = {.act = *act}};
    if (qx_session_edit(s, &item, 1, &p, false, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
}

static void an_edit_of_activations_can_be_undone_and_counts_in_the_hash(void **state)
{
    (void)state;
    const struct qx_act act = qx_act_dynamic(8), fixed = qx_act_static(8);
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    fixture_bits(s, "a.weight", 4);
    char plain[20], dynamic[20];
    snprintf(plain, sizeof plain, "%s", qx_session_recipe_hash(s));
    patch_act(s, "a.weight", &act);
    snprintf(dynamic, sizeof dynamic, "%s", qx_session_recipe_hash(s));
    assert_string_not_equal(plain, dynamic);
    assert_non_null(strstr(qx_session_edit_text(s, 0), "inputs float32 -> 8 bits sym dynamic"));
    patch_act(s, "a.weight", &fixed);
    assert_string_not_equal(qx_session_recipe_hash(s), dynamic);
    assert_true(qx_session_undo(s) && qx_session_undo(s));
    assert_string_equal(qx_session_recipe_hash(s), plain);
    assert_int_equal(qx_session_setting(s, fixture_item(s, "a.weight"))->act.bits, 0);

    /* bits stay quantized inputs; a floating-point weight has none */
    assert_true(qx_session_redo(s));
    fixture_bits(s, "a.weight", 6);
    assert_int_equal(qx_session_setting(s, fixture_item(s, "a.weight"))->act.bits, 8);
    struct qx_patch half = {.fields = QX_PATCH_FORMAT};
    half.value.format = qx_format_find("fp16");
    const int64_t item = fixture_item(s, "a.weight");
    assert_int_equal(qx_session_edit(s, &item, 1, &half, false, NULL), QX_OK);
    assert_int_equal(qx_session_setting(s, item)->act.bits, 0);
    qx_session_close(&s);
}

static void a_wrong_act_is_refused(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    fixture_bits(s, "a.weight", 4);
    struct qx_act bad[4] = {qx_act_static(9), qx_act_static(8), qx_act_static(8), qx_act_static(8)};
    struct qx_error err;
    bad[1].gran = QX_ACT_TOKEN;
    bad[2].has_range = true;
    bad[2].range = (struct qx_range){1, 2};
    bad[3].has_range = true;
    bad[3].range = (struct qx_range){0, 1e300};
    for (int i = 0; i < 4; i++) {
        const int64_t item = fixture_item(s, "a.weight");
        const struct qx_patch p = {.fields = QX_PATCH_ACT, .value = {.act = bad[i]}};
        assert_int_equal(qx_session_edit(s, &item, 1, &p, false, &err), QX_ERANGE);
        assert_int_equal(qx_session_setting(s, item)->act.bits, 0);
    }
    assert_non_null(strstr(err.text, "wider than float32"));
    qx_session_close(&s);
}

static void recipes_with_activations_survive_a_round_trip(void **state)
{
    (void)state;
    static const char *const acts[] = {
        "{\"bits\":8,\"sym\":false,\"gran\":\"tensor\",\"dynamic\":false,\"method\":\"mse\"}",
        "{\"bits\":5,\"sym\":true,\"gran\":\"tensor\",\"dynamic\":false,"
        "\"method\":\"percentile:99.5\",\"lo\":-2.5,\"hi\":2.5}",
        "{\"bits\":7,\"sym\":false,\"gran\":\"tensor\",\"dynamic\":true}",
        "{\"bits\":8,\"sym\":true,\"gran\":\"token\",\"dynamic\":true}",
        "{\"bits\":8,\"sym\":false,\"gran\":\"tensor\",\"dynamic\":false,\"method\":\"ema:0.25\"}",
        "{\"bits\":8,\"lo\":-1,\"hi\":2}",
        "{\"bits\":8}",
    };
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        char text[512];
        struct qx_error err = {0};
        snprintf(text, sizeof text,
                 "{\"schema\":\"qexplore.recipe/1\",\"layers\":{\"a.weight\":{\"bits\":4,"
                 "\"act\":%s}},\"notes\":\"\"}",
                 acts[i]);
        fixture_write(fixture_path("act.json"), text);
        if (qx_session_load_recipe(s, fixture_path("act.json"), &err) != QX_OK) {
            fail_msg("%s: %s", acts[i], err.text);
        }
        const struct qx_act first = qx_session_setting(s, fixture_item(s, "a.weight"))->act;
        assert_true(first.bits > 0);
        assert_int_equal(qx_session_save_recipe(s, fixture_path("saved.json"), &err), QX_OK);
        assert_true(qx_session_undo(s));
        assert_int_equal(qx_session_load_recipe(s, fixture_path("saved.json"), &err), QX_OK);
        assert_true(qx_act_equal(&first, &qx_session_setting(s, fixture_item(s, "a.weight"))->act));
    }
    qx_session_close(&s);
}

/* ---- measuring ---- */

static struct qx_session *open_with(const char *calib)
{
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    const struct qx_session_options o = {.batch = true, .threads = 1, .seed = 3, .calib = calib};
    if (qx_session_open(fixture_folder(), &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return s;
}

static struct qx_eval_result *evaluated(struct qx_session *s, enum qx_engine engine)
{
    struct qx_eval_result *r = NULL;
    struct qx_error err = {0};
    const struct qx_eval_options o = {.engine = engine, .compare_rows = 100};
    if (qx_session_run_eval(s, &o, NULL, &r, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return r;
}

static void static_ranges_come_from_the_evaluation_rows_with_a_note(void **state)
{
    (void)state;
    const struct qx_act act = qx_act_static(8);
    struct qx_session_calib info;
    struct qx_session *s = open_with(NULL);
    assert_false(qx_session_calib(s, &info));
    static const char *const names[] = {"fc1", "fc2"};
    for (int i = 0; i < 2; i++) {
        fixture_bits(s, names[i], 8);
        patch_act(s, names[i], &act);
    }
    struct qx_eval_result *r = evaluated(s, QX_ENGINE_AUTO);
    assert_int_equal(r->engine, QX_ENGINE_INTEGER);
    assert_int_equal(r->report.n_rows, 100);
    assert_true(qx_session_calib(s, &info));
    assert_int_equal(info.n, 256);
    assert_non_null(strstr(info.note, "calib.safetensors"));
    assert_int_equal(strlen(info.hash), 16);
    for (int i = 0; i < 2; i++) { /* the recipe has numbers now, and they are saved */
        const struct qx_setting *set = qx_session_setting(s, fixture_item(s, names[i]));
        assert_true(set->act.has_range && set->act.range.hi > 0);
    }
    char *text = fixture_recipe(s);
    assert_non_null(strstr(text, "\"act\": {"));
    assert_non_null(strstr(text, "\"hi\": "));
    free(text);
    qx_eval_result_free(r);
    qx_session_close(&s);
}

static void noise_calibrates_too_and_says_so(void **state)
{
    (void)state;
    const struct qx_act act = qx_act_static(8);
    struct qx_session_calib info;
    struct qx_session *s = open_with("random:50");
    fixture_bits(s, "fc1", 8);
    patch_act(s, "fc1", &act);
    qx_eval_result_free(evaluated(s, QX_ENGINE_SIMULATED));
    assert_true(qx_session_calib(s, &info));
    assert_int_equal(info.n, 50);
    assert_string_equal(info.source, "random:50");
    assert_non_null(strstr(info.note, "noise"));
    qx_session_close(&s);
    s = open_with("nothing-here.safetensors");
    fixture_bits(s, "fc1", 8);
    patch_act(s, "fc1", &act);
    struct qx_error err = {0};
    struct qx_eval_result *r = NULL;
    assert_int_not_equal(qx_session_run_eval(s, NULL, NULL, &r, &err), QX_OK);
    assert_non_null(strstr(err.text, "nothing-here"));
    qx_session_close(&s);
}

static void the_two_engines_give_the_same_classes(void **state)
{
    (void)state;
    const struct qx_act act = qx_act_dynamic(8);
    struct qx_session *s = open_with(NULL);
    fixture_bits(s, "fc1", 8);
    fixture_bits(s, "fc2", 4);
    patch_act(s, "fc1", &act);
    patch_act(s, "fc2", &act);
    struct qx_eval_result *a = evaluated(s, QX_ENGINE_INTEGER);
    struct qx_eval_result *b = evaluated(s, QX_ENGINE_SIMULATED);
    struct qx_eval_pair pair;
    assert_int_equal(a->engine, QX_ENGINE_INTEGER);
    assert_int_equal(b->engine, QX_ENGINE_SIMULATED);
    assert_int_equal(b->report.n_rows, 0);
    assert_int_equal(qx_eval_compare(a, b, &pair, NULL), QX_OK);
    assert_true(pair.flips <= 3);
    qx_eval_result_free(a);
    qx_eval_result_free(b);
    qx_session_close(&s);
}

static void the_background_measures_recipes_with_open_ranges(void **state)
{
    (void)state;
    const struct qx_act act = qx_act_static(8);
    struct qx_session *s = fixture_open(fixture_folder(), NULL, false);
    fixture_settle(s);
    fixture_bits(s, "fc1", 8);
    patch_act(s, "fc1", &act);
    qx_session_measure(s);
    fixture_settle(s);
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    const struct qx_eval_result *r = qx_session_result(s, QX_WHICH_B);
    assert_non_null(r);
    assert_int_equal(r->engine, QX_ENGINE_INTEGER);
    qx_session_close(&s);
}

static void a_failed_allocation_leaves_recipe_and_ranges(void **state)
{
    (void)state;
    const struct qx_act act = qx_act_static(8);
    struct qx_session *s = open_with(NULL);
    fixture_bits(s, "fc1", 4);
    patch_act(s, "fc1", &act);
    enum qx_status st = QX_ENOMEM;
    for (int64_t n = 1; st != QX_OK; n++) {
        struct qx_eval_result *r = NULL;
        struct qx_error err = {0};
        const struct qx_eval_options o = {.compare_rows = 10};
        qx_mem_fail_at(n);
        st = qx_session_run_eval(s, &o, NULL, &r, &err);
        qx_mem_fail_at(0);
        assert_true(n < 3000 && (st == QX_OK || (st == QX_ENOMEM && !r)));
        qx_eval_result_free(r);
    }
    assert_int_equal(qx_session_n_edits(s), 2);
    qx_session_close(&s);
}

int test_session_act(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edit_of_activations_can_be_undone_and_counts_in_the_hash),
        cmocka_unit_test(a_wrong_act_is_refused),
        cmocka_unit_test(recipes_with_activations_survive_a_round_trip),
        cmocka_unit_test(static_ranges_come_from_the_evaluation_rows_with_a_note),
        cmocka_unit_test(noise_calibrates_too_and_says_so),
        cmocka_unit_test(the_two_engines_give_the_same_classes),
        cmocka_unit_test(the_background_measures_recipes_with_open_ranges),
        cmocka_unit_test(a_failed_allocation_leaves_recipe_and_ranges),
    };
    return cmocka_run_group_tests_name("session activations", tests, fixture_setup,
                                       fixture_teardown);
}
