/* Edits measured on a few rows while the hand is on them. */
#include "test_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct qx_session *open_folder(void)
{
    struct qx_session *s = fixture_open(fixture_folder(), NULL, false);
    fixture_settle(s);
    return s;
}

/* What a whole measurement of the same rows says under the recipe of now. */
static void assert_as_measured(struct qx_session *s, const struct qx_session_replay *replay)
{
    const struct qx_eval_options options = {.max_samples = QX_REPLAY_ROWS};
    struct qx_eval_result *want = NULL;
    struct qx_error err = {0};
    if (qx_session_run_eval(s, &options, NULL, &want, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(replay->result.n, want->n);
    assert_int_equal(replay->result.correct, want->correct);
    qx_eval_result_free(want);
}

/* Polls as a host does until the recipe of now has been replayed. */
static struct qx_session_replay wait_current(struct qx_session *s)
{
    struct qx_session_replay replay = {.is_current = false};
    for (int i = 0; i < 2000 && !replay.is_current; i++) {
        qx_session_settle(s, 5);
        qx_session_replayed(s, &replay);
    }
    assert_true(replay.is_current);
    return replay;
}

static void an_edit_is_measured_on_a_few_rows(void **state)
{
    (void)state;
    struct qx_session *s = open_folder();
    struct qx_session_replay replay;
    assert_false(qx_session_replayed(s, &replay)); /* nothing was edited */
    fixture_bits(s, "fc1.weight", 3);
    replay = wait_current(s);
    assert_int_equal(replay.revision, qx_session_revision(s));
    assert_int_equal(replay.result.n, QX_REPLAY_ROWS);
    assert_true(replay.result.kl > 0);
    assert_as_measured(s, &replay);
    fixture_range(s, "fc1.weight", 0.4, true);
    assert_true(qx_session_replayed(s, &replay) && !replay.is_current);
    replay = wait_current(s);
    assert_as_measured(s, &replay);
    fixture_settle(s); /* all rows follow */
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_int_equal(g.edits_since, 0);
    assert_true(qx_session_undo(s) && qx_session_undo(s));
    assert_true(qx_session_replayed(s, &replay) && !replay.is_current);
    qx_session_close(&s);
}

static void a_drag_ends_with_the_newest(void **state)
{
    (void)state;
    struct qx_session *s = open_folder();
    fixture_bits(s, "fc2.weight", 4);
    for (int i = 0; i < 60; i++) {
        fixture_range(s, "fc2.weight", 0.9 - 0.01 * i, true);
        if (i % 3 == 0) {
            qx_session_poll(s);
        }
    }
    const struct qx_session_replay replay = wait_current(s);
    assert_as_measured(s, &replay);
    assert_int_equal(replay.result.from, 1);
    qx_session_close(&s);
}

static void nothing_is_replayed_when_measuring_waits_for_a_key(void **state)
{
    (void)state;
    struct qx_session *s = open_folder();
    struct qx_session_replay replay;
    qx_session_set_auto_measure(s, false);
    fixture_bits(s, "fc1.weight", 3);
    fixture_settle(s);
    assert_false(qx_session_replayed(s, &replay));
    qx_session_set_auto_measure(s, true);
    wait_current(s);
    qx_session_close(&s);
}

static void closing_in_the_middle_leaves_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++) {
        struct qx_session *s = open_folder();
        fixture_bits(s, "fc1.weight", 2 + i % 6);
        for (int k = 0; k < i % 4; k++) {
            qx_session_poll(s);
        }
        qx_session_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edit_is_measured_on_a_few_rows),
        cmocka_unit_test(a_drag_ends_with_the_newest),
        cmocka_unit_test(nothing_is_replayed_when_measuring_waits_for_a_key),
        cmocka_unit_test(closing_in_the_middle_leaves_nothing),
    };
    return cmocka_run_group_tests_name("session replay", tests, fixture_setup, fixture_teardown);
}
