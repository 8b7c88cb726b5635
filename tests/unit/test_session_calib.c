/* Calibration in the background: the job, what waits for it, its file, and edits of parts of act. */
#include "base/mem.h"
#include "test_session.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct qx_session *open_at(const char *cache_dir, const char *calib)
{
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    const struct qx_session_options o = {
        .threads = 2, .mem_bytes = 64 << 20, .cache_dir = cache_dir, .calib = calib};
    if (qx_session_open(fixture_folder(), &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return s;
}

static enum qx_status patch(struct qx_session *s, const char *name, unsigned fields,
                            const struct qx_act *act, bool merge)
{
    const int64_t item = fixture_item(s, name);
    const struct qx_patch p = {.fields = fields, .value = {.act = *act}};
    return qx_session_edit(s, &item, 1, &p, merge, NULL);
}

static const struct qx_act *act_of(struct qx_session *s, const char *name)
{
    return &qx_session_setting(s, fixture_item(s, name))->act;
}

static enum qx_calib_state state_of(struct qx_session *s)
{
    struct qx_calib_status status;
    qx_session_calib_status(s, &status);
    return status.state;
}

static void asking_calibrates_as_a_job(void **state)
{
    (void)state;
    struct qx_session *s = open_at(NULL, NULL);
    const int64_t item = fixture_item(s, "fc1");
    struct qx_session_calib info;
    assert_int_equal(state_of(s), QX_CALIB_NONE);
    assert_null(qx_session_observed(s, item));
    assert_true(state_of(s) == QX_CALIB_QUEUED || state_of(s) == QX_CALIB_RUNNING);
    fixture_settle(s);
    assert_int_equal(state_of(s), QX_CALIB_READY);
    const struct qx_observed *o = qx_session_observed(s, item);
    assert_non_null(o);
    assert_true(o->layout.count == 6 && o->n_rows == 256 && o->n_strip == 256);
    assert_true(qx_session_calib(s, &info) && !info.is_noise && !info.is_kept);
    struct qx_job_info job = {0};
    int found = 0;
    for (int i = 0; qx_session_job(s, i, &job); i++) {
        found += strstr(job.title, "calibrate") != NULL && job.state == QX_JOB_DONE;
    }
    assert_int_equal(found, 1);
    qx_session_close(&s);
}

static void an_open_range_is_chosen_within_its_edit(void **state)
{
    (void)state;
    struct qx_session *s = open_at(NULL, NULL);
    const struct qx_act eight = qx_act_static(8);
    fixture_settle(s);
    fixture_bits(s, "fc1", 8);
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_BITS, &eight, false), QX_OK);
    const int edits = qx_session_n_edits(s);
    fixture_settle(s);
    assert_true(act_of(s, "fc1")->has_range && act_of(s, "fc1")->range.hi > 0);
    assert_int_equal(qx_session_n_edits(s), edits);
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_int_equal(qx_session_result(s, QX_WHICH_B)->engine, QX_ENGINE_INTEGER);

    /* the calibration is there: the next range comes at once, and undo brings the first back */
    const struct qx_act before = *act_of(s, "fc1");
    struct qx_act mse = eight;
    assert_int_equal(qx_act_method(&mse, "mse", NULL), QX_OK);
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_CALIB, &mse, false), QX_OK);
    assert_true(act_of(s, "fc1")->has_range);
    assert_string_equal(act_of(s, "fc1")->calib->name, "mse");
    assert_true(qx_session_undo(s));
    assert_true(qx_act_equal(act_of(s, "fc1"), &before));
    qx_session_close(&s);
}

static void parts_of_act_change_alone(void **state)
{
    (void)state;
    struct qx_session *s = open_at(NULL, NULL);
    struct qx_act v = qx_act_static(4);
    /* a float weight becomes INT8 with the activations; a part alone is refused before that */
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_SYM, &v, false), QX_ERANGE);
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_BITS, &v, false), QX_OK);
    const struct qx_setting *set = qx_session_setting(s, fixture_item(s, "fc1"));
    assert_true(set->format->kind == QX_FORMAT_AFFINE && set->bits == 8 && set->act.bits == 4);
    fixture_bits(s, "fc2", 8);
    assert_int_equal(patch(s, "fc2", QX_PATCH_ACT_GRAN, &v, false), QX_ERANGE);
    fixture_settle(s);

    v.range = (struct qx_range){-1, 2};
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_RANGE, &v, true), QX_OK);
    v.range.hi = 1.5;
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_RANGE, &v, true), QX_OK);
    assert_true(act_of(s, "fc1")->range.hi == 1.5 && act_of(s, "fc1")->range.lo == -1);
    assert_non_null(strstr(qx_session_edit_text(s, 0), "asym -1..1.5"));
    const int edits = qx_session_n_edits(s);
    qx_session_seal(s);
    v.bits = 6; /* a range by hand is kept */
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_BITS, &v, false), QX_OK);
    assert_true(act_of(s, "fc1")->bits == 6 && act_of(s, "fc1")->range.hi == 1.5);
    v.sym = true;
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_SYM, &v, false), QX_OK);
    assert_true(act_of(s, "fc1")->range.lo == -1.5);
    v.dynamic = true;
    v.gran = QX_ACT_TOKEN;
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_GRAN, &v, false), QX_OK);
    assert_true(act_of(s, "fc1")->dynamic && act_of(s, "fc1")->sym);
    v.dynamic = false; /* back to a calibrator's range */
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_GRAN, &v, false), QX_OK);
    assert_string_equal(act_of(s, "fc1")->calib->name, "percentile");
    assert_true(act_of(s, "fc1")->gran == QX_ACT_TENSOR && act_of(s, "fc1")->has_range);
    assert_true(act_of(s, "fc1")->range.lo == -act_of(s, "fc1")->range.hi);
    v.range = (struct qx_range){NAN, 1};
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_RANGE, &v, false), QX_ERANGE);
    v.range = (struct qx_range){0, 0};
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_RANGE, &v, false), QX_ERANGE);
    v.bits = 0;
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_BITS, &v, false), QX_OK);
    assert_int_equal(act_of(s, "fc1")->bits, 0);
    while (qx_session_n_edits(s) > edits) {
        assert_true(qx_session_undo(s));
    }
    assert_true(act_of(s, "fc1")->range.hi == 1.5 && act_of(s, "fc1")->bits == 4);
    assert_true(qx_session_undo(s)); /* both moves were one step */
    assert_string_equal(act_of(s, "fc1")->calib->name, "percentile");
    qx_session_close(&s);
}

static void figures_of_static_ranges_are_those_of_the_histogram(void **state)
{
    (void)state;
    struct qx_session *s = open_at(NULL, NULL);
    const int64_t item = fixture_item(s, "fc2");
    struct qx_act_advice advice;
    struct qx_metrics m;
    assert_false(qx_session_act_advice(s, item, 8, false, &advice));
    fixture_settle(s);
    qx_session_act_advice(s, item, 8, false, &advice);
    fixture_settle(s);
    assert_true(qx_session_act_advice(s, item, 8, false, &advice) && advice.is_complete);
    assert_int_equal(advice.n, qx_calib_count()); /* manual left out, the moving average added */
    double mse_db = 0;
    for (int i = 0; i < advice.n; i++) {
        struct qx_act act = qx_act_static(8);
        act.calib = advice.choice[i].calib;
        act.range = advice.choice[i].range;
        act.has_range = true;
        assert_true(qx_session_act_metrics(s, item, &act, &m));
        assert_float_equal(m.sqnr_db, advice.choice[i].db, 1e-9);
        mse_db = strcmp(act.calib->name, "mse") == 0 ? m.sqnr_db : mse_db;
    }
    for (int i = 0; i < advice.n; i++) {
        assert_true(advice.choice[i].db <= mse_db + 0.01);
    }
    /* values of one sign and scales by row cannot be worse than the best fixed one by much */
    const struct qx_act dynamic = {.bits = 8, .dynamic = true};
    assert_true(qx_act_dynamic_db(&dynamic, qx_session_observed(s, item)) > mse_db - 1);
    assert_false(qx_session_act_metrics(s, item, &dynamic, &m));
    qx_session_close(&s);
}

static void cancelling_waits_for_the_hand(void **state)
{
    (void)state;
    struct qx_session *s = open_at(NULL, "random:20000000");
    const struct qx_act eight = qx_act_static(8);
    fixture_settle(s);
    fixture_bits(s, "fc1", 8);
    fixture_settle(s);
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_BITS, &eight, false), QX_OK);
    qx_session_poll(s);
    struct qx_calib_status status;
    qx_session_calib_status(s, &status);
    assert_true(status.job > 0);
    qx_session_cancel(s, status.job);
    fixture_settle(s);
    assert_int_equal(state_of(s), QX_CALIB_CANCELLED);
    assert_false(act_of(s, "fc1")->has_range);
    assert_null(qx_session_observed(s, fixture_item(s, "fc1")));
    assert_int_equal(state_of(s), QX_CALIB_CANCELLED); /* asking does not start it again */
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_WAITING);
    assert_true(qx_session_retry(s, status.job));
    qx_session_calib_status(s, &status);
    assert_true(status.state == QX_CALIB_QUEUED || status.state == QX_CALIB_RUNNING);
    struct qx_error err;
    assert_int_equal(qx_session_calibrate(s, "random:30", &err), QX_OK);
    fixture_settle(s);
    struct qx_session_calib info;
    assert_true(qx_session_calib(s, &info) && info.is_noise && info.n == 30);
    assert_true(act_of(s, "fc1")->has_range);
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    qx_session_close(&s);
}

static void a_wrong_source_is_told_and_can_be_replaced(void **state)
{
    (void)state;
    struct qx_session *s = open_at(NULL, "nothing-here.safetensors");
    const struct qx_act eight = qx_act_static(8);
    assert_int_equal(patch(s, "fc1", QX_PATCH_ACT_BITS, &eight, false), QX_OK);
    fixture_settle(s);
    struct qx_calib_status status;
    qx_session_calib_status(s, &status);
    assert_int_equal(status.state, QX_CALIB_FAILED);
    assert_non_null(strstr(status.reason, "nothing-here"));
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_FAILED);
    assert_int_equal(qx_session_calibrate(s, "", NULL), QX_OK);
    fixture_settle(s);
    assert_int_equal(state_of(s), QX_CALIB_READY);
    qx_session_measure(s);
    fixture_settle(s);
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    qx_session_close(&s);
}

/* The one calibration kept in the folder. */
static void kept_path(const char *dir, char *out, size_t cap)
{
    char folder[300];
    int n = 0;
    snprintf(folder, sizeof folder, "%s/histograms", dir);
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (strncmp(e->d_name, "calib-", 6) == 0) {
            snprintf(out, cap, "%s/%.60s", folder, e->d_name);
            n++;
        }
    }
    closedir(d);
    assert_int_equal(n, 1);
}

static bool calibrates_from_disk(const char *dir, const char *source)
{
    struct qx_session *s = open_at(dir, source);
    struct qx_session_calib info;
    qx_session_observed(s, fixture_item(s, "fc1"));
    fixture_settle(s);
    assert_true(qx_session_calib(s, &info));
    assert_non_null(qx_session_observed(s, fixture_item(s, "fc1")));
    qx_session_close(&s);
    return info.is_kept;
}

static void calibrations_are_kept_by_what_they_depend_on(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("calib-cache");
    char path[400];
    assert_false(calibrates_from_disk(dir, NULL));
    assert_true(calibrates_from_disk(dir, NULL));
    kept_path(dir, path, sizeof path);
    char *graph = fixture_read(fixture_path("tiny/graph.json"));

    /* damage, and a file of other data under this name, are refused and made again */
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, 900, SEEK_SET);
    fputs("damaged", f);
    fclose(f);
    assert_false(calibrates_from_disk(dir, NULL));
    assert_true(calibrates_from_disk(dir, NULL));
    fixture_write(path, "");
    assert_false(calibrates_from_disk(dir, NULL));

    assert_false(calibrates_from_disk(dir, "random:50")); /* other rows */
    assert_true(calibrates_from_disk(dir, "random:50"));
    assert_false(calibrates_from_disk(dir, "random:51"));
    char *other = malloc(strlen(graph) + 8);
    sprintf(other, "%s\n ", graph); /* the same network, but who knows */
    fixture_write(fixture_path("tiny/graph.json"), other);
    assert_false(calibrates_from_disk(dir, NULL));
    fixture_write(fixture_path("tiny/graph.json"), graph);
    assert_true(calibrates_from_disk(dir, NULL));
    free(other);
    free(graph);
}

static void a_failed_allocation_loses_nothing(void **state)
{
    (void)state;
    const struct qx_act eight = qx_act_static(8);
    for (int64_t n = 1; n < 400; n += n / 8 + 1) {
        struct qx_session *s = open_at(NULL, "random:9");
        fixture_settle(s);
        fixture_bits(s, "fc1", 8);
        fixture_settle(s);
        qx_mem_fail_at(n);
        const enum qx_status st = patch(s, "fc1", QX_PATCH_ACT_BITS, &eight, false);
        qx_session_settle(s, 3000);
        struct qx_act_advice advice;
        qx_session_act_advice(s, fixture_item(s, "fc1"), 8, false, &advice);
        qx_session_settle(s, 3000);
        qx_mem_fail_at(0);
        assert_int_equal(act_of(s, "fc1")->bits, st == QX_OK ? 8 : 0);
        qx_session_calibrate(s, "random:9", NULL); /* and it can be done again */
        qx_session_measure(s);
        fixture_settle(s);
        assert_int_equal(state_of(s), QX_CALIB_READY);
        qx_session_close(&s);
    }
}

int test_session_calib(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asking_calibrates_as_a_job),
        cmocka_unit_test(an_open_range_is_chosen_within_its_edit),
        cmocka_unit_test(parts_of_act_change_alone),
        cmocka_unit_test(figures_of_static_ranges_are_those_of_the_histogram),
        cmocka_unit_test(cancelling_waits_for_the_hand),
        cmocka_unit_test(a_wrong_source_is_told_and_can_be_replaced),
        cmocka_unit_test(calibrations_are_kept_by_what_they_depend_on),
        cmocka_unit_test(a_failed_allocation_loses_nothing),
    };
    return cmocka_run_group_tests_name("session calibration", tests, fixture_setup,
                                       fixture_teardown);
}
