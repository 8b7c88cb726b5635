/* Text that a language model writes itself, as a job of the session. */
#include "net_fixture.h"
#include "qx/session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SETTLE_MS = 60000 };

static int enter_folder(void **state)
{
    if (scratch_enter(state) != 0) {
        return -1;
    }
    llama_write(50);
    return 0;
}

static struct qx_session *open_with(const char *data, bool predict, bool batch)
{
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    const struct qx_session_options o = {
        .threads = 2, .data_path = data, .predict = predict, .batch = batch, .seed = 3};
    if (qx_session_open(".", &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return s;
}

static struct qx_gauge gauge_of(const struct qx_session *s)
{
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    return g;
}

/* What has no rows yet says so; what came to rest was measured on them. */
static void the_session_is_there_before_its_text(void **state)
{
    (void)state;
    struct qx_dataset *direct = NULL;
    struct qx_job_info job;
    struct qx_session *s = open_with("self:3", true, false);
    assert_null(qx_session_data(s));
    struct qx_gauge g = gauge_of(s);
    assert_int_equal(g.state, QX_GAUGE_DATA);
    assert_non_null(strstr(g.reason, "Jobs"));
    assert_false(g.is_own_text);
    assert_true(qx_session_job(s, 0, &job));
    assert_string_equal(job.title, "text of the model's own");
    qx_session_settle(s, SETTLE_MS);
    assert_true(qx_session_idle(s));
    assert_non_null(qx_session_data(s));
    assert_int_equal(qx_dataset_n(qx_session_data(s)), 3);
    g = gauge_of(s);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_true(g.is_own_text && g.n == 3 * LLAMA_PLACES && g.fp32_perplexity > 1);

    /* the text that a file's kind gives with the same seed */
    const struct qx_dataset_options o = {.seed = 3};
    assert_int_equal(qx_dataset_open_with("self:3", qx_session_net(s), &o, &direct, NULL), QX_OK);
    assert_string_equal(qx_dataset_hash(direct), qx_dataset_hash(qx_session_data(s)));
    qx_dataset_close(&direct);

    /* and predictions begin with it */
    const int64_t item = qx_session_find(s, "model.layers.0.mlp.down_proj.weight", NULL);
    const struct qx_patch p = {.fields = QX_PATCH_BITS, .value = {.bits = 3}};
    assert_true(item >= 0);
    assert_int_equal(qx_session_edit(s, &item, 1, &p, false, NULL), QX_OK);
    for (int i = 0; i < 1000 && gauge_of(s).guess != QX_GUESS_PREDICTED; i++) {
        qx_session_settle(s, 10);
        qx_session_poll(s);
    }
    g = gauge_of(s);
    assert_int_equal(g.guess, QX_GUESS_PREDICTED);
    assert_true(g.predicted.kl > 0);
    qx_session_close(&s);
}

/* Without the lanes' help: cancelled before it is taken up, or on the way; either way nothing is there. */
static void it_is_cancelled_and_written_again(void **state)
{
    (void)state;
    struct qx_job_info job;
    struct qx_session *s = open_with("self:4000", false, false);
    assert_true(qx_session_job(s, 0, &job));
    assert_true(qx_session_cancel_top(s));
    qx_session_settle(s, SETTLE_MS);
    assert_null(qx_session_data(s));
    struct qx_gauge g = gauge_of(s);
    assert_int_equal(g.state, QX_GAUGE_NONE);
    assert_non_null(strstr(g.reason, "cancelled"));
    assert_true(qx_session_job(s, 0, &job));
    assert_int_equal(job.state, QX_JOB_CANCELLED);
    assert_true(qx_session_retry(s, job.id));
    assert_int_equal(gauge_of(s).state, QX_GAUGE_DATA);
    qx_session_close(&s); /* while it is written */
}

static void only_who_predicts_writes_unasked(void **state)
{
    (void)state;
    struct qx_session *s = open_with(NULL, false, false);
    qx_session_settle(s, SETTLE_MS);
    assert_null(qx_session_data(s));
    assert_non_null(strstr(gauge_of(s).reason, "--data"));
    qx_session_close(&s);
    s = open_with(NULL, true, false);
    assert_int_equal(gauge_of(s).state, QX_GAUGE_DATA);
    qx_session_settle(s, SETTLE_MS);
    assert_true(gauge_of(s).is_own_text);
    assert_int_equal(qx_dataset_n(qx_session_data(s)), 32);
    qx_session_close(&s);
    s = open_with(NULL, true, true);
    assert_non_null(qx_session_data(s));
    qx_session_close(&s);
}

/* Its ranges come of the same text: the calibration waits for it. */
static void calibration_waits_for_it(void **state)
{
    (void)state;
    struct qx_session_calib c;
    struct qx_session *s = open_with("self:5", false, false);
    const int64_t item = qx_session_find(s, "model.layers.0.mlp.down_proj.weight", NULL);
    assert_null(qx_session_observed(s, item));
    qx_session_settle(s, SETTLE_MS);
    for (int i = 0; i < 1000 && !qx_session_observed(s, item); i++) {
        qx_session_settle(s, 10);
    }
    assert_non_null(qx_session_observed(s, item));
    assert_true(qx_session_calib(s, &c));
    assert_string_equal(c.source, "self:5");
    qx_session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_session_is_there_before_its_text),
        cmocka_unit_test(it_is_cancelled_and_written_again),
        cmocka_unit_test(only_who_predicts_writes_unasked),
        cmocka_unit_test(calibration_waits_for_it),
    };
    return cmocka_run_group_tests_name("session_own_text", tests, enter_folder, scratch_leave);
}
