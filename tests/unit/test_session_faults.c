/* Allocations that fail: no crash, no leak (under the sanitizers), and the recipe stays. */
#include "base/mem.h"
#include "test_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* All a batch verb does. True when nothing failed. */
static bool batch_round(void)
{
    struct qx_session_options o = {.batch = true, .threads = 1};
    struct qx_session *s = NULL;
    struct qx_error err = {.text = ""};
    struct qx_eval_result *r = NULL;
    if (qx_session_open(fixture_folder(), &o, &s, &err) != QX_OK) {
        assert_null(s);
        assert_true(err.text[0]);
        return false;
    }
    int64_t item = qx_session_find(s, "fc1", NULL);
    struct qx_patch p = {.fields = QX_PATCH_BITS, .value = {.bits = 4}};
    bool ok = item >= 0 && qx_session_edit(s, &item, 1, &p, false, &err) == QX_OK;
    ok = ok && qx_session_run_eval(s, &(struct qx_eval_options){0}, NULL, &r, &err) == QX_OK;
    if (item >= 0 && qx_session_n_edits(s) == 1) {
        assert_int_equal(qx_session_setting(s, item)->bits, 4);
    }
    ok = ok && qx_session_save_recipe(s, fixture_path("faults.json"), &err) == QX_OK;
    ok = ok && qx_session_run_write(s, fixture_path("faults"), NULL, &err) == QX_OK;
    qx_eval_result_free(r);
    qx_session_close(&s);
    return ok;
}

/* Open, edit, settle, close with jobs and files. */
static void live_round(const char *dir)
{
    struct qx_session_options o = {.state_dir = dir, .cache_dir = dir, .threads = 1};
    struct qx_session *s = NULL;
    if (qx_session_open(fixture_folder(), &o, &s, NULL) != QX_OK) {
        assert_null(s);
        return;
    }
    int64_t item = qx_session_find(s, "fc1", NULL);
    struct qx_patch p = {.fields = QX_PATCH_BITS, .value = {.bits = 4}};
    if (item >= 0 && qx_session_edit(s, &item, 1, &p, false, NULL) == QX_OK) {
        qx_session_settle(s, 2000);
        assert_int_equal(qx_session_setting(s, item)->bits, 4);
        qx_session_undo(s);
        qx_session_redo(s);
        assert_int_equal(qx_session_setting(s, item)->bits, 4);
    }
    qx_session_close(&s);
}

static void a_batch_survives_the_nth_allocation_failing(void **state)
{
    (void)state;
    int64_t before = qx_mem_count();
    assert_true(batch_round());
    int64_t n = qx_mem_count() - before;
    for (int64_t i = 1; i <= n; i += n > 2000 ? 3 : 1) {
        qx_mem_fail_at(i);
        batch_round();
        qx_mem_fail_at(0);
    }
    assert_true(batch_round());
}

static void a_live_session_survives_the_nth_allocation_failing(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("faults-state");
    int64_t before = qx_mem_count();
    live_round(dir);
    int64_t n = qx_mem_count() - before;
    for (int64_t i = 1; i <= n; i += 1 + n / 60) {
        qx_mem_fail_at(i);
        live_round(dir);
        qx_mem_fail_at(0);
    }
    live_round(dir);
}

int test_session_faults(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_survives_the_nth_allocation_failing),
        cmocka_unit_test(a_live_session_survives_the_nth_allocation_failing),
    };
    return cmocka_run_group_tests_name("session faults", tests, fixture_setup, fixture_teardown);
}
