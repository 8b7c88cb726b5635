/* Edits measured on a few rows while the hand is on them. */
#include "net_fixture.h"
#include "test_session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

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

/* A language model: places instead of rows. */
static const char *words_folder(void)
{
    enum { DOCUMENTS = 6, TOKENS = DOCUMENTS * LLAMA_PLACES };
    uint8_t ids[TOKENS];
    int64_t offsets[DOCUMENTS + 1];
    const struct tensor_spec parts[] = {{"input_ids", "U8", 1, {TOKENS}, ids},
                                        {"doc_offsets", "I64", 1, {DOCUMENTS + 1}, offsets}};
    const char *folder = fixture_fresh("words");
    char here[1024];
    for (int i = 0; i < TOKENS; i++) {
        ids[i] = (uint8_t)(i * i % 50);
    }
    for (int i = 0; i <= DOCUMENTS; i++) {
        offsets[i] = i * LLAMA_PLACES;
    }
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    llama_write(50);
    model_write("eval.safetensors", parts, 2, NULL);
    assert_int_equal(chdir(here), 0);
    return folder;
}

static void a_language_model_is_replayed_on_its_tokens(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(words_folder(), NULL, false);
    struct qx_eval_result *want = NULL;
    struct qx_gauge g;
    fixture_settle(s);
    qx_session_gauge(s, &g);
    for (int bits = 4; bits >= 2; bits--) {
        fixture_bits(s, "model.layers.0.mlp.up_proj.weight", bits);
        const struct qx_session_replay replay = wait_current(s);
        assert_int_equal(qx_session_run_eval(s, NULL, NULL, &want, NULL), QX_OK);
        assert_int_equal(replay.result.n, want->n); /* few as they are, P has them all */
        assert_int_equal(replay.result.correct, want->correct);
        const double perplexity = exp(replay.result.pair.nll_delta) * g.fp32_perplexity;
        assert_true(fabs(perplexity - want->perplexity) <= 1e-9 * want->perplexity);
        assert_true(replay.result.kl > 0);
        qx_eval_result_free(want);
    }
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
        cmocka_unit_test(a_language_model_is_replayed_on_its_tokens),
        cmocka_unit_test(closing_in_the_middle_leaves_nothing),
    };
    return cmocka_run_group_tests_name("session replay", tests, fixture_setup, fixture_teardown);
}
