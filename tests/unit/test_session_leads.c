/* The rows that go next, and the thresholds at which they go. */
#include "session/session_impl.h"
#include "test_session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct qx_session *open_predicting(void)
{
    const struct qx_session_options o = {.threads = 2, .predict = true};
    struct qx_session *s = NULL;
    assert_int_equal(qx_session_open(fixture_folder(), &o, &s, NULL), QX_OK);
    qx_session_set_auto_measure(s, false);
    fixture_settle(s);
    return s;
}

static struct qx_leads leads_of(struct qx_session *s, enum qx_leads_source source)
{
    struct qx_leads l;
    assert_true(qx_session_leads(s, &l));
    assert_int_equal(l.source, source);
    for (int64_t i = 0; i < l.n; i++) {
        assert_true(i == 0 || l.v[i - 1].now <= l.v[i].now);
        assert_int_equal(l.v[i].top != l.v[i].top0, i < l.n_flipped);
        assert_int_equal(l.v[i].label, l.v[i].top0); /* float32 has it right */
        assert_true(l.v[i].before >= 0);
        assert_true(i < l.n_flipped ? l.v[i].now <= 0 : l.v[i].now >= 0);
    }
    return l;
}

static const struct qx_lead *row_of(const struct qx_leads *l, int64_t row)
{
    for (int64_t i = 0; i < l->n; i++) {
        if (l->v[i].row == row) {
            return &l->v[i];
        }
    }
    return NULL;
}

static void rows_are_listed_by_what_is_known_best(void **state)
{
    (void)state;
    struct qx_session *s = open_predicting();
    struct qx_lead few[QX_REPLAY_ROWS];
    struct qx_session_replay replay = {.is_current = false};
    fixture_bits(s, "fc1.weight", 2);
    fixture_settle(s);
    struct qx_leads l = leads_of(s, QX_LEADS_PREDICTED);
    assert_true(l.n > 0 && l.n <= QX_PREDICT_ROWS);
    qx_session_set_auto_measure(s, true); /* replayed at once; measured once the hand has rested */
    fixture_bits(s, "fc2.weight", 3);
    for (int i = 0; i < 2000 && !replay.is_current; i++) {
        qx_session_settle(s, 5);
        qx_session_replayed(s, &replay);
    }
    l = leads_of(s, QX_LEADS_REPLAYED);
    assert_int_equal(l.n, replay.result.fp32_correct);
    assert_int_equal(l.n_flipped, replay.result.pair.lost);
    memcpy(few, l.v, (size_t)l.n * sizeof *few);
    const int64_t n_few = l.n;
    fixture_settle(s);
    l = leads_of(s, QX_LEADS_MEASURED);
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    assert_int_equal(l.n, g.fp32_correct);
    assert_int_equal(l.n_flipped, g.pair.lost);
    for (int64_t i = 0; i < n_few; i++) { /* another order of summing, at most */
        const struct qx_lead *same = row_of(&l, few[i].row);
        assert_non_null(same);
        assert_true(fabsf(same->now - few[i].now) < 1e-3f);
        assert_true(fabsf(same->before - few[i].before) < 1e-3f);
    }
    qx_session_close(&s);
}

static double place_now(struct qx_session *s, const char *name)
{
    return qx_session_setting(s, fixture_item(s, name))->range.hi;
}

/* Rows lost as composed under a threshold. The exact entries that come with a rest are no part of it. */
static struct qx_leads at_place(struct qx_session *s, double place)
{
    fixture_range(s, "fc1.weight", place, true);
    return leads_of(s, QX_LEADS_PREDICTED);
}

static void the_first_flip_lies_where_the_composition_says(void **state)
{
    (void)state;
    struct qx_session *s = open_predicting();
    const int64_t item = fixture_item(s, "fc1.weight");
    struct qx_flip flip[2];
    assert_false(qx_session_first_flips(s, item, false, flip)); /* float32 has no threshold */
    fixture_bits(s, "fc1.weight", 3);
    fixture_settle(s);
    const double here = place_now(s, "fc1.weight");
    for (int i = 0; i < 400 && !qx_session_first_flips(s, item, false, flip); i++) {
        qx_session_settle(s, 5);
    }
    assert_true(qx_session_first_flips(s, item, false, flip));
    assert_true(flip[0].is_there && flip[0].place < here && flip[0].place > 0);
    assert_true(!flip[1].is_there || flip[1].place > here);
    /* a node of the search apart on either side; nothing else has gone before */
    const int64_t row = flip[0].row;
    struct qx_leads l = at_place(s, here);
    const int64_t gone = l.n_flipped;
    assert_true(row_of(&l, row)->now >= 0);
    const double before = fmin(flip[0].place * 1.04, here);
    l = at_place(s, before);
    assert_true(l.n_flipped <= gone + 1);
    l = at_place(s, flip[0].place / 1.04);
    assert_true(row_of(&l, row)->now < 0);
    /* the profile is that of the others: the drag itself does not make it anew */
    assert_true(qx_session_first_flips(s, item, false, flip));
    assert_true(!flip[0].is_there || flip[0].place <= place_now(s, "fc1.weight"));
    assert_true(flip[1].is_there); /* that row comes back when the threshold does: others go then */
    fixture_bits(s, "fc2.weight", 3);
    assert_false(qx_session_first_flips(s, item, false, flip));
    qx_session_close(&s);
}

/* Waits until the recipe of now has been replayed; returns the rows lost. */
static int64_t replayed_lost(struct qx_session *s)
{
    struct qx_session_replay replay = {.is_current = false};
    for (int i = 0; i < 2000 && !replay.is_current; i++) {
        qx_session_settle(s, 2);
        qx_session_replayed(s, &replay);
    }
    assert_true(replay.is_current);
    return replay.result.pair.lost;
}

static void a_tick_is_measured_once_replay_was_there(void **state)
{
    (void)state;
    struct qx_session *s = open_predicting();
    const int64_t item = fixture_item(s, "fc1.weight");
    struct qx_flip flip[2] = {{0}};
    fixture_bits(s, "fc1.weight", 3);
    fixture_settle(s);
    for (int i = 0; i < 400 && !qx_session_first_flips(s, item, false, flip); i++) {
        qx_session_settle(s, 5);
    }
    assert_false(flip[0].is_measured || flip[1].is_measured);
    qx_session_set_auto_measure(s, true);
    const double step = 1.02;
    double place = place_now(s, "fc1.weight"), start = place;
    fixture_range(s, "fc1.weight", place, true);
    int64_t lost = replayed_lost(s), was = lost;
    for (int i = 0; i < 60 && lost <= was; i++) { /* down, until one more row is lost */
        was = lost < was ? lost : was;
        place /= step;
        fixture_range(s, "fc1.weight", place, true);
        lost = replayed_lost(s);
    }
    assert_true(lost > was);
    const struct qx_leads l = leads_of(s, QX_LEADS_REPLAYED);
    int64_t gone[QX_REPLAY_ROWS], n_gone = 0;
    for (int64_t i = 0; i < l.n_flipped; i++) {
        gone[n_gone++] = l.v[i].row;
    }
    fixture_range(s, "fc1.weight", place * step, true); /* a step back */
    replayed_lost(s);
    for (int i = 0; i < 400 && !qx_session_first_flips(s, item, false, flip); i++) {
        qx_session_settle(s, 5);
    }
    assert_true(flip[0].is_there && flip[0].is_measured);
    assert_true(flip[0].place <= place * step && flip[0].place >= place / (1 + 1e-9));
    bool was_there = false;
    for (int64_t i = 0; i < n_gone; i++) {
        was_there |= gone[i] == flip[0].row;
    }
    assert_true(was_there && start > place);
    fixture_bits(s, "fc2.weight", 3); /* another recipe: nothing was seen there */
    fixture_settle(s);
    for (int i = 0; i < 400 && !qx_session_first_flips(s, item, false, flip); i++) {
        qx_session_settle(s, 5);
    }
    assert_false(flip[0].is_measured || flip[1].is_measured);
    qx_session_close(&s);
}

static void nothing_is_listed_where_nothing_runs(void **state)
{
    (void)state;
    const struct qx_session_options o = {.threads = 1, .predict = true};
    struct qx_session *s = NULL;
    struct qx_leads l;
    char text[32];
    assert_int_equal(qx_session_open(fixture_plain(), &o, &s, NULL), QX_OK);
    assert_false(qx_session_leads(s, &l));
    assert_false(qx_session_row_text(s, 0, text, sizeof text));
    qx_session_close(&s);
    s = open_predicting();
    assert_false(qx_session_row_text(s, 0, text, sizeof text)); /* values, not text */
    qx_session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_listed_by_what_is_known_best),
        cmocka_unit_test(the_first_flip_lies_where_the_composition_says),
        cmocka_unit_test(a_tick_is_measured_once_replay_was_there),
        cmocka_unit_test(nothing_is_listed_where_nothing_runs),
    };
    return cmocka_run_group_tests_name("session leads", tests, fixture_setup, fixture_teardown);
}
