/* The tree of states: branches stay, any state can be gone to, and all of it outlives the session. */
#include "base/rng.h"
#include "qx/history.h"
#include "test_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int bits_of(const struct qx_session *s, const char *name)
{
    const struct qx_setting *set = qx_session_setting(s, fixture_item(s, name));
    return qx_setting_is_fp32(set) ? 32 : set->bits;
}

static struct qx_state state_of(struct qx_session *s, int id)
{
    struct qx_state st;
    for (int i = 0; qx_session_state(s, i, &st); i++) {
        if (st.id == id) {
            return st;
        }
    }
    fail_msg("no state %d", id);
    return st;
}

/* a 4, a 5, both undone, b 3 on a branch of its own: 0 - 1 - 2 and 0 - 3. */
static void two_branches(struct qx_session *s)
{
    fixture_bits(s, "a", 4);
    fixture_bits(s, "a", 5);
    assert_true(qx_session_undo(s));
    assert_true(qx_session_undo(s));
    fixture_bits(s, "b", 3);
}

static void check_two_branches(struct qx_session *s)
{
    assert_int_equal(qx_session_n_states(s), 4);
    assert_int_equal(state_of(s, 0).parent, -1);
    assert_int_equal(state_of(s, 1).parent, 0);
    assert_int_equal(state_of(s, 2).parent, 1);
    assert_int_equal(state_of(s, 3).parent, 0);
    assert_true(state_of(s, 3).is_now && state_of(s, 3).is_done && state_of(s, 3).is_line);
    assert_true(state_of(s, 0).is_done && !state_of(s, 0).is_now);
    assert_false(state_of(s, 1).is_line || state_of(s, 2).is_line);
    assert_non_null(strstr(state_of(s, 2).text, "bits 4 -> 5"));
}

static void what_was_undone_stays_as_a_branch(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    struct qx_error err;
    int back, forward;
    two_branches(s);
    check_two_branches(s);
    assert_false(qx_session_redo(s)); /* the line ends here */
    assert_true(qx_session_way(s, 1, &back, &forward));
    assert_true(back == 1 && forward == 1);
    assert_int_equal(qx_session_go_to(s, 1, &err), QX_OK);
    assert_true(bits_of(s, "a") == 4 && bits_of(s, "b") == 32);
    assert_true(qx_session_redo(s)); /* follows the branch that was gone to */
    assert_true(bits_of(s, "a") == 5 && !qx_session_redo(s));
    assert_true(state_of(s, 2).is_now && !state_of(s, 3).is_line);
    assert_int_equal(qx_session_go_to(s, 0, &err), QX_OK);
    assert_true(bits_of(s, "a") == 32 && qx_session_n_edits(s) == 0);
    assert_true(qx_session_redo(s)); /* the line is still that one */
    assert_int_equal(bits_of(s, "a"), 4);
    assert_int_equal(qx_session_go_to(s, 3, &err), QX_OK);
    assert_true(bits_of(s, "a") == 32 && bits_of(s, "b") == 3);
    fixture_bits(s, "b", 2);
    assert_int_equal(state_of(s, 4).parent, 3);
    const uint64_t revision = qx_session_revision(s);
    assert_int_equal(qx_session_go_to(s, 4, &err), QX_OK); /* is there */
    assert_int_equal(qx_session_revision(s), revision);
    assert_int_equal(qx_session_go_to(s, 5, &err), QX_ERANGE);
    assert_non_null(strstr(err.text, "no state 5"));
    assert_int_equal(qx_session_go_to(s, -1, &err), QX_ERANGE);
    qx_session_close(&s);
}

static void states_have_their_size(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    struct qx_totals t[3];
    qx_session_totals(s, &t[0]);
    fixture_bits(s, "a", 4);
    qx_session_totals(s, &t[1]);
    fixture_bits(s, "b", 4);
    qx_session_totals(s, &t[2]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(state_of(s, i).bytes, t[i].bytes);
        assert_true(state_of(s, i).bits_per_weight == t[i].bits_per_weight);
    }
    assert_true(state_of(s, 2).time_s > 0 && !state_of(s, 2).is_measured);
    qx_session_close(&s);
}

enum { STATES = 200 };

/* A walk at random: wherever it comes back to, the recipe is what it was there. */
static void every_state_is_what_it_was(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
        char *text[STATES] = {NULL};
        struct qx_rng rng;
        struct qx_state st;
        qx_rng_init(&rng, seed);
        for (int i = 0; i < STATES - 1; i++) {
            const uint64_t act = qx_rng_below(&rng, 10);
            if (act < 5) {
                fixture_bits(s, act < 3 ? "a" : "b", 2 + (int)qx_rng_below(&rng, 7));
            } else if (act == 5) {
                qx_session_snapshot(s);
                fixture_bits(s, "norm", 2 + (int)qx_rng_below(&rng, 7));
                qx_session_flip(s);
            } else if (act < 8) {
                act == 6 ? qx_session_undo(s) : qx_session_redo(s);
            } else {
                const int n = qx_session_n_states(s);
                assert_true(qx_session_state(s, (int)qx_rng_below(&rng, (uint64_t)n), &st));
                assert_int_equal(qx_session_go_to(s, st.id, NULL), QX_OK);
            }
            assert_int_equal(qx_session_run_resolve(s, NULL, NULL), QX_OK);
            char *now = fixture_recipe(s);
            int is_now = 0, is_line = 0;
            for (int k = 0; qx_session_state(s, k, &st); k++) {
                is_now += st.is_now;
                is_line += st.is_done;
                if (st.is_now && st.id < STATES) {
                    assert_true(!text[st.id] || strcmp(text[st.id], now) == 0);
                    free(text[st.id]);
                    text[st.id] = now;
                    now = NULL;
                }
            }
            free(now);
            assert_true(is_now == 1 && is_line == qx_session_n_edits(s) + 1);
        }
        assert_true(qx_session_n_states(s) > 40);
        for (int i = 0; i < STATES; i++) {
            free(text[i]);
        }
        qx_session_close(&s);
    }
}

static void a_history_outlives_its_session(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("history");
    struct qx_session *s = fixture_open(fixture_plain(), dir, false);
    two_branches(s);
    fixture_settle(s);
    qx_session_close(&s); /* the log is written anew */
    s = fixture_open(fixture_plain(), dir, false);
    check_two_branches(s);
    assert_true(bits_of(s, "a") == 32 && bits_of(s, "b") == 3);
    assert_int_equal(qx_session_go_to(s, 2, NULL), QX_OK);
    fixture_settle(s);
    fixture_bits(s, "a", 6);
    assert_int_equal(qx_session_go_to(s, 1, NULL), QX_OK);
    fixture_bits(s, "b", 7);
    assert_int_equal(qx_session_go_to(s, 3, NULL), QX_OK);
    fixture_settle(s);
    const int64_t then = state_of(s, 4).time_s;
    qx_session_close(&s); /* it was appended to */
    s = fixture_open(fixture_plain(), dir, false);
    assert_int_equal(qx_session_n_states(s), 6);
    assert_int_equal(state_of(s, 4).parent, 2);
    assert_int_equal(state_of(s, 5).parent, 1);
    assert_true(state_of(s, 3).is_now && bits_of(s, "b") == 3);
    assert_int_equal(state_of(s, 4).time_s, then);
    assert_int_equal(qx_session_go_to(s, 5, NULL), QX_OK);
    assert_true(bits_of(s, "a") == 4 && bits_of(s, "b") == 7);
    qx_session_close(&s);
}

/* What was measured and predicted of a state is kept with it, for the same data only. */
static void what_was_found_out_stays(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("known");
    struct qx_session *s = fixture_open(fixture_folder(), dir, false);
    struct qx_gauge now, then;
    fixture_bits(s, "fc1", 2);
    qx_session_measure(s);
    fixture_settle(s);
    qx_session_gauge(s, &now);
    assert_int_equal(now.state, QX_GAUGE_MEASURED);
    assert_true(state_of(s, 1).is_now && state_of(s, 1).is_measured);
    qx_session_set_auto_measure(s, false);
    fixture_bits(s, "fc1", 3);
    fixture_bits(s, "fc1", 4);
    assert_true(qx_session_undo(s) && qx_session_undo(s));
    fixture_bits(s, "fc2", 4); /* a branch */
    assert_int_equal(qx_session_go_to(s, 3, NULL), QX_OK);
    for (int turn = 0; turn < 2; turn++) {
        assert_true(state_of(s, 1).is_measured && !state_of(s, 2).is_measured);
        assert_true(qx_session_state_gauge(s, qx_session_n_states(s) - 2, &then));
        assert_int_equal(then.state, QX_GAUGE_MEASURED);
        assert_true(then.correct == now.correct && then.n == now.n);
        assert_true(then.pair.delta == now.pair.delta);
        assert_true(qx_session_state_gauge(s, qx_session_n_states(s) - 3, &then));
        assert_int_not_equal(then.state, QX_GAUGE_MEASURED);
        if (turn == 0) {
            qx_session_close(&s);
            s = fixture_open(fixture_folder(), dir, false);
            assert_true(state_of(s, 3).is_now && state_of(s, 4).parent == 1);
        }
    }
    assert_false(qx_session_state_gauge(s, qx_session_n_states(s), &then));
    qx_session_close(&s);
}

/* Beyond 10,000 steps branches go first, then what is oldest. */
static void the_oldest_are_forgotten(void **state)
{
    (void)state;
    enum { MANY = 10050 };
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    two_branches(s);
    for (int i = 0; i < MANY; i++) {
        fixture_bits(s, "norm", 2 + i % 2);
    }
    struct qx_state st;
    const int n = qx_session_n_states(s);
    assert_int_equal(n, 10001);
    assert_true(qx_session_state(s, n - 1, &st));
    assert_true(st.parent == -1 && st.id > 3);
    assert_int_equal(qx_session_go_to(s, 1, NULL), QX_ERANGE);
    assert_int_equal(qx_session_go_to(s, st.id, NULL), QX_OK);
    assert_true(bits_of(s, "b") == 3 && bits_of(s, "a") == 32);
    qx_session_close(&s);
}

int test_session_history(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_was_undone_stays_as_a_branch),
                                       cmocka_unit_test(states_have_their_size),
                                       cmocka_unit_test(every_state_is_what_it_was),
                                       cmocka_unit_test(a_history_outlives_its_session),
                                       cmocka_unit_test(what_was_found_out_stays),
                                       cmocka_unit_test(the_oldest_are_forgotten)};
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
