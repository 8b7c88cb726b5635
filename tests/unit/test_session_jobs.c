/* Histograms, exact metrics, advice, measurements: what runs in the background. */
#include "test_session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>

#include <cmocka.h>

static void count_wake(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static void a_large_tensor_is_shown_from_a_sample_first(void **state)
{
    (void)state;
    atomic_int wakes = 0;
    struct qx_session_options o = {.threads = 2, .wake = count_wake, .wake_arg = &wakes};
    struct qx_session *s = NULL;
    assert_int_equal(qx_session_open(fixture_plain(), &o, &s, NULL), QX_OK);
    int64_t big = fixture_item(s, "big");
    struct qx_setting set = qx_setting_int(4);
    enum qx_hist_state hist_state;
    assert_null(qx_session_hist(s, big, &set, &hist_state));
    assert_int_equal(hist_state, QX_HIST_WAITING);
    unsigned news = 0;
    for (int i = 0; i < 10000 && hist_state != QX_HIST_READY; i++) {
        qx_session_settle(s, 1);
        news |= qx_session_poll(s);
        const struct qx_hist *h = qx_session_hist(s, big, &set, &hist_state);
        assert_int_equal(h != NULL, hist_state == QX_HIST_SAMPLED || hist_state == QX_HIST_READY);
        if (hist_state == QX_HIST_SAMPLED) {
            assert_false(qx_hist_stats(h)->is_exact);
        }
    }
    assert_int_equal(hist_state, QX_HIST_READY);
    assert_true(news & QX_NEWS_HIST);
    assert_true(qx_hist_stats(qx_session_hist(s, big, &set, &hist_state))->is_exact);
    qx_session_close(&s);
    assert_true(atomic_load(&wakes) >= 2);
}

static void values_that_cannot_be_shown_fail_at_once(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, false);
    struct qx_setting set = qx_setting_fp32();
    enum qx_hist_state hist_state;
    qx_session_hist(s, fixture_item(s, "ids"), &set, &hist_state);
    fixture_settle(s);
    assert_non_null(qx_session_hist(s, fixture_item(s, "ids"), &set, &hist_state));
    assert_int_equal(hist_state, QX_HIST_READY); /* whole numbers can be shown */
    qx_session_close(&s);
}

static void ranges_are_chosen_in_the_background_and_announced(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, false);
    fixture_settle(s);
    qx_session_poll(s);
    int64_t items[] = {fixture_item(s, "a"), fixture_item(s, "b"), fixture_item(s, "big")};
    struct qx_patch p = {.fields = QX_PATCH_BITS, .value = {.bits = 4}};
    assert_int_equal(qx_session_edit(s, items, 3, &p, false, NULL), QX_OK);
    assert_false(qx_session_setting(s, items[2])->has_range);
    fixture_settle(s);
    assert_true(qx_session_poll(s) & QX_NEWS_RECIPE);
    for (int i = 0; i < 3; i++) {
        const struct qx_setting *set = qx_session_setting(s, items[i]);
        assert_true(set->has_range && set->range.hi > 0 && set->range.hi <= 1);
        struct qx_metrics m;
        assert_true(qx_session_metrics(s, items[i], &m));
        assert_true(m.mse > 0);
    }
    /* the same as the blocking way */
    double hi = qx_session_setting(s, items[2])->range.hi;
    struct qx_session *batch = fixture_open(fixture_plain(), NULL, true);
    fixture_bits(batch, "big", 4);
    assert_int_equal(qx_session_run_resolve(batch, NULL, NULL), QX_OK);
    assert_true(qx_session_setting(batch, items[2])->range.hi == hi);
    /* with the histogram there, at once */
    p.value.bits = 3;
    assert_int_equal(qx_session_edit(s, items, 1, &p, false, NULL), QX_OK);
    assert_true(qx_session_setting(s, items[0])->has_range);
    qx_session_close(&batch);
    qx_session_close(&s);
}

/* Keys typed in one go: the threshold is there for the one after the granularity. */
static void small_layers_have_their_range_at_once(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, false);
    int64_t a = fixture_item(s, "a");
    static const struct qx_setting kind[] = {
        {.gran = QX_GRAN_TENSOR}, {.gran = QX_GRAN_CHANNEL}, {.gran = QX_GRAN_GROUP, .group = 32}};
    fixture_bits(s, "a", 4);
    assert_true(qx_session_setting(s, a)->has_range);
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
        struct qx_patch p = {.fields = QX_PATCH_GRAN, .value = kind[k]};
        assert_int_equal(qx_session_edit(s, &a, 1, &p, false, NULL), QX_OK);
        assert_true(qx_session_setting(s, a)->has_range);
        p = (struct qx_patch){.fields = QX_PATCH_SYM, .value = {.sym = k % 2}};
        assert_int_equal(qx_session_edit(s, &a, 1, &p, false, NULL), QX_OK);
        assert_true(qx_session_setting(s, a)->has_range);
    }
    qx_session_close(&s);
}

static void exact_metrics_replace_those_of_the_histogram(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, false);
    int64_t a = fixture_item(s, "a");
    struct qx_metrics fast, exact;
    fixture_bits(s, "a", 4);
    fixture_settle(s);
    assert_true(qx_session_metrics(s, a, &fast));
    fixture_range(s, "a", 0.5, false);
    qx_session_want_exact(s, a);
    fixture_range(s, "a", 0.6, false);
    qx_session_want_exact(s, a);
    fixture_settle(s);
    assert_true(qx_session_metrics(s, a, &exact));
    assert_int_equal(exact.basis, QX_BASIS_EXACT);
    struct qx_metrics again;
    assert_int_equal(qx_session_run_metrics(s, a, NULL, &again, NULL), QX_OK);
    assert_memory_equal(&exact, &again, sizeof exact);
    fixture_range(s, "a", 0.61, false);
    assert_true(qx_session_metrics(s, a, &fast));
    assert_true(fabs(fast.mse / exact.mse - 1) < 0.2);
    qx_session_close(&s);
}

static void first_paint_goes_before_an_exact_pass_that_then_comes_back(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, false);
    int64_t big = fixture_item(s, "big");
    struct qx_metrics m;
    enum qx_hist_state hist_state;
    fixture_bits(s, "big", 4);
    fixture_settle(s);
    fixture_range(s, "big", 0.5, false);
    for (int i = 0; i < 4; i++) {
        struct qx_setting set = qx_setting_int(4);
        set.sym = i % 2;
        set.gran = i / 2 ? QX_GRAN_TENSOR : QX_GRAN_CHANNEL;
        qx_session_want_exact(s, big);
        qx_session_settle(s, 0);
        qx_session_hist(s, fixture_item(s, "b"), &set, &hist_state);
    }
    fixture_settle(s);
    assert_true(qx_session_metrics(s, big, &m));
    assert_int_equal(m.basis, QX_BASIS_EXACT);
    assert_int_equal(m.n, 1100 * 1024);
    qx_session_close(&s);
}

static void advice_grows_until_it_is_complete(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, false);
    int64_t a = fixture_item(s, "a");
    struct qx_advice advice;
    assert_false(qx_session_advice(s, a, &advice)); /* fp32 */
    fixture_bits(s, "a", 4);
    for (int i = 0; i < 20 && !(qx_session_advice(s, a, &advice) && advice.is_complete); i++) {
        fixture_settle(s);
    }
    assert_true(advice.is_complete);
    assert_int_equal(advice.n, qx_calib_count() - 1);
    for (int i = 0; i < advice.n; i++) {
        assert_true(advice.choice[i].mse > 0 && advice.choice[i].range.hi > 0);
    }
    for (int bits = 2; bits <= 8; bits++) {
        assert_true(advice.best_db[bits] >= advice.ladder_db[bits] - 0.01);
    }
    /* a range by hand has no ladder, but the rest stays */
    fixture_range(s, "a", 0.5, false);
    assert_true(qx_session_advice(s, a, &advice));
    assert_int_equal(advice.n, qx_calib_count() - 1);
    assert_true(isnan(advice.ladder_db[4]));
    assert_true(advice.is_complete);
    qx_session_close(&s);
}

static void fp32_is_measured_at_open_and_the_recipe_after_edits(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, false);
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_BASELINE);
    fixture_settle(s);
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_int_equal(g.n, 300);
    assert_true(g.fp32_correct >= 0 && g.correct == g.fp32_correct);
    fixture_bits(s, "fc1", 2);
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_WAITING);
    assert_true(g.correct < 0 && g.pair.n == 0); /* FP32's own is no figure of the edit */
    fixture_settle(s);
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_int_equal(g.edits_since, 0);
    assert_int_equal(g.revision, qx_session_revision(s));
    assert_int_equal(g.pair.n, 300);
    /* the figure is that of the blocking way */
    struct qx_eval_result *r;
    assert_int_equal(qx_session_run_eval(s, &(struct qx_eval_options){0}, NULL, &r, NULL), QX_OK);
    assert_int_equal(r->correct, g.correct);
    const int64_t r_correct = r->correct;
    qx_eval_result_free(r);
    fixture_bits(s, "fc1", 3);
    qx_session_gauge(s, &g);
    assert_true(g.edits_since == 1 && g.correct == r_correct);
    assert_true(qx_session_undo(s));
    int n_jobs = qx_session_n_jobs(s);
    /* nothing is measured twice */
    assert_true(qx_session_undo(s));
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_int_equal(g.correct, g.fp32_correct);
    assert_true(qx_session_redo(s));
    fixture_settle(s);
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_int_equal(qx_session_n_jobs(s), n_jobs);
    qx_session_close(&s);
}

static void of_many_quick_edits_the_last_is_measured(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, false);
    struct qx_gauge g;
    fixture_bits(s, "fc1", 4);
    for (int i = 0; i < 60; i++) {
        fixture_range(s, "fc1", 0.2 + 0.01 * i, true);
        if (i % 3 == 0) {
            qx_session_measure(s);
        }
        qx_session_settle(s, i % 2);
    }
    fixture_settle(s);
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_int_equal(g.revision, qx_session_revision(s));
    struct qx_eval_result *r;
    assert_int_equal(qx_session_run_eval(s, &(struct qx_eval_options){0}, NULL, &r, NULL), QX_OK);
    const struct qx_eval_result *b = qx_session_result(s, QX_WHICH_B);
    assert_non_null(b);
    assert_memory_equal(b->predicted, r->predicted, (size_t)r->n * sizeof *r->predicted);
    qx_eval_result_free(r);
    qx_session_close(&s);
}

static void a_cancelled_measurement_waits_for_a_word(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, false);
    struct qx_gauge g;
    assert_true(qx_session_cancel_top(s)); /* FP32 */
    fixture_settle(s);
    qx_session_gauge(s, &g);
    assert_true(g.state == QX_GAUGE_WAITING || g.state == QX_GAUGE_MEASURED);
    assert_false(qx_session_cancel_top(s));
    struct qx_job_info job;
    assert_true(qx_session_job(s, 0, &job));
    assert_true(job.state == QX_JOB_CANCELLED || job.state == QX_JOB_DONE);
    assert_true(qx_session_retry(s, job.id));
    fixture_settle(s);
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_true(qx_session_n_jobs(s) >= 1);
    qx_session_clear_jobs(s);
    assert_int_equal(qx_session_n_jobs(s), 0);
    qx_session_close(&s);
}

static void a_b_and_fp32_are_measured_for_compare(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, false);
    qx_session_set_auto_measure(s, false);
    fixture_bits(s, "fc1", 2);
    assert_null(qx_session_result(s, QX_WHICH_A));
    qx_session_snapshot(s);
    fixture_bits(s, "fc2", 2);
    fixture_settle(s);
    struct qx_gauge g;
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_WAITING); /* not by itself */
    for (int i = 0; i < 3; i++) {
        for (int which = QX_WHICH_FP32; which <= QX_WHICH_B; which++) {
            qx_session_result(s, (enum qx_which)which);
        }
        fixture_settle(s);
    }
    const struct qx_eval_result *fp32 = qx_session_result(s, QX_WHICH_FP32);
    const struct qx_eval_result *a = qx_session_result(s, QX_WHICH_A);
    const struct qx_eval_result *b = qx_session_result(s, QX_WHICH_B);
    assert_true(fp32 && a && b);
    struct qx_eval_pair pair;
    assert_int_equal(qx_eval_compare(a, b, &pair, NULL), QX_OK);
    assert_int_equal(pair.n, 300);
    qx_session_flip(s);
    assert_ptr_equal(qx_session_result(s, QX_WHICH_B), a);
    assert_ptr_equal(qx_session_result(s, QX_WHICH_A), b);
    qx_session_close(&s);
}

static void without_a_network_the_gauge_says_why(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, false);
    struct qx_gauge g;
    assert_null(qx_session_net(s));
    assert_string_not_equal(qx_session_net_reason(s), "");
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_NONE);
    assert_string_not_equal(g.reason, "");
    struct qx_eval_result *r;
    assert_int_equal(qx_session_run_eval(s, &(struct qx_eval_options){0}, NULL, &r, NULL),
                     QX_EUNSUPPORTED);
    qx_session_measure(s);
    assert_null(qx_session_result(s, QX_WHICH_B));
    fixture_settle(s);
    qx_session_close(&s);
}

static void the_cache_stays_within_its_budget(void **state)
{
    (void)state;
    struct qx_session_options o = {.threads = 1, .mem_bytes = 1};
    struct qx_session *s = NULL;
    assert_int_equal(qx_session_open(fixture_plain(), &o, &s, NULL), QX_OK);
    struct qx_setting set = qx_setting_int(4);
    enum qx_hist_state hist_state;
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        qx_session_hist(s, i, &set, &hist_state);
        fixture_settle(s);
        qx_session_hist(s, i, &set, &hist_state);
        assert_int_equal(hist_state, QX_HIST_READY);
    }
    qx_session_poll(s);
    qx_session_poll(s);
    qx_session_hist(s, 0, &set, &hist_state);
    assert_int_equal(hist_state, QX_HIST_WAITING); /* forgotten, asked for again */
    fixture_settle(s);
    qx_session_close(&s);
}

static void an_exact_histogram_comes_back_from_disk(void **state)
{
    (void)state;
    const char *cache = fixture_fresh("cache");
    struct qx_setting set = qx_setting_int(4);
    double mean[2];
    for (int round = 0; round < 2; round++) {
        struct qx_session_options o = {.threads = 1, .cache_dir = cache};
        struct qx_session *s = NULL;
        enum qx_hist_state hist_state;
        assert_int_equal(qx_session_open(fixture_plain(), &o, &s, NULL), QX_OK);
        int64_t big = fixture_item(s, "big");
        qx_session_hist(s, big, &set, &hist_state);
        do {
            qx_session_settle(s, 1);
        } while (!qx_session_hist(s, big, &set, &hist_state));
        if (round == 1) {
            assert_int_equal(hist_state, QX_HIST_READY); /* no sample before */
        }
        fixture_settle(s);
        mean[round] = qx_hist_stats(qx_session_hist(s, big, &set, &hist_state))->mean;
        qx_session_close(&s);
    }
    assert_true(mean[0] == mean[1]);
}

static void batch_sessions_run_nothing_by_themselves(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, true);
    struct qx_stats stats;
    struct qx_metrics m;
    assert_true(qx_session_idle(s));
    assert_int_equal(qx_session_timeout_ms(s), -1);
    assert_int_equal(qx_session_run_stats(s, 0, NULL, &stats, NULL), QX_OK);
    assert_int_equal(stats.n, 48);
    fixture_bits(s, "fc1", 4);
    assert_false(qx_session_metrics(s, 0, &m));
    assert_int_equal(qx_session_run_resolve(s, NULL, NULL), QX_OK);
    assert_true(qx_session_metrics(s, 0, &m));
    assert_int_equal(qx_session_n_jobs(s), 0);
    struct qx_ctl ctl = {.cancel = true};
    struct qx_eval_result *r;
    assert_int_equal(qx_session_run_eval(s, &(struct qx_eval_options){0}, &ctl, &r, NULL),
                     QX_ECANCELLED);
    qx_session_close(&s);
}

/* ---- model folders ---- */

static int n_files(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    }
    if (d) {
        closedir(d);
    }
    return d ? n : -1;
}

static void assert_same_file(const char *a, const char *b)
{
    char command[1200];
    snprintf(command, sizeof command, "cmp '%s' '%s'", a, b);
    assert_int_equal(system(command), 0);
}

static void a_folder_written_by_a_job_is_that_of_the_blocking_way(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, false);
    char out[300], here[300], a[400], b[400];
    struct qx_job_info end;
    snprintf(out, sizeof out, "%s/new", fixture_fresh("written-job"));
    snprintf(here, sizeof here, "%s", fixture_fresh("written-here"));
    fixture_bits(s, "fc1", 3);
    assert_false(qx_session_writing(s));
    assert_int_equal(qx_session_write(s, out, NULL), QX_OK);
    assert_true(qx_session_writing(s));
    fixture_bits(s, "fc2", 2); /* comes too late for it */
    assert_false(qx_session_written(s, &end));
    fixture_settle(s);
    assert_true(qx_session_poll(s) & QX_NEWS_WRITTEN);
    assert_false(qx_session_writing(s));
    assert_true(qx_session_written(s, &end));
    assert_int_equal(end.state, QX_JOB_DONE);
    assert_non_null(strstr(end.message, out));
    assert_false(qx_session_written(s, &end));
    assert_true(qx_session_undo(s));
    assert_int_equal(qx_session_run_write(s, here, NULL, NULL), QX_OK);
    static const char *const names[] = {"model.safetensors", "graph.json", "eval.safetensors",
                                        "NOTICE.md", "recipe.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(a, sizeof a, "%s/%s", out, names[i]);
        snprintf(b, sizeof b, "%s/%s", here, names[i]);
        assert_same_file(a, b);
    }
    assert_int_equal(n_files(out), 5); /* and nothing beside */
    bool listed = false;
    for (int i = 0; i < qx_session_n_jobs(s); i++) {
        struct qx_job_info job;
        assert_true(qx_session_job(s, i, &job));
        if (job.id == end.id) {
            listed = true;
            assert_int_equal(job.state, QX_JOB_DONE);
            assert_true(job.done == job.total && job.total > 0);
            assert_true(qx_session_retry(s, job.id));
            break;
        }
    }
    assert_true(listed);
    fixture_settle(s);
    assert_true(qx_session_written(s, &end));
    assert_int_equal(end.state, QX_JOB_DONE);
    qx_session_close(&s);
}

/* Queued twice, the second is cancelled before it begins, or while it runs. */
static void a_cancelled_writing_leaves_nothing(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, false);
    char first[300], second[300];
    struct qx_job_info end;
    snprintf(first, sizeof first, "%s", fixture_fresh("cancel-a"));
    snprintf(second, sizeof second, "%s/b/c", fixture_fresh("cancel-b"));
    fixture_bits(s, "big", 4);
    assert_int_equal(qx_session_write(s, first, NULL), QX_OK);
    assert_int_equal(qx_session_write(s, second, NULL), QX_OK);
    assert_true(qx_session_cancel_top(s));
    fixture_settle(s);
    assert_true(qx_session_written(s, &end));
    assert_int_equal(end.state, QX_JOB_CANCELLED);
    snprintf(second, sizeof second, "%s", fixture_path("cancel-b/b"));
    assert_int_equal(n_files(second), -1);
    assert_int_equal(n_files(first), 2);
    qx_session_close(&s);
}

/* Wherever it is cancelled: a new folder is gone, an older one is as it was. */
static void a_writing_broken_off_anywhere_changes_nothing(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, true);
    char old[300], new[300], kept[400], file[400];
    struct qx_error err = {.text = ""};
    snprintf(old, sizeof old, "%s", fixture_fresh("broken-old"));
    snprintf(new, sizeof new, "%s/x", fixture_fresh("broken-new"));
    snprintf(kept, sizeof kept, "%s.kept", old);
    snprintf(file, sizeof file, "%s/model.safetensors", old);
    assert_int_equal(qx_session_run_write(s, old, NULL, &err), QX_OK);
    char command[1200];
    snprintf(command, sizeof command, "cp '%s' '%s'", file, kept);
    assert_int_equal(system(command), 0);
    fixture_bits(s, "fc1", 2);
    assert_int_equal(qx_session_run_resolve(s, NULL, NULL), QX_OK);
    struct qx_ctl ctl = {.cancel = true};
    assert_int_equal(qx_session_run_write(s, old, &ctl, &err), QX_ECANCELLED);
    assert_int_equal(qx_session_run_write(s, new, &ctl, &err), QX_ECANCELLED);
    assert_same_file(file, kept);
    assert_int_equal(n_files(old), 5);
    assert_int_equal(n_files(new), -1);
    /* what a killed one left is cleared by the next */
    snprintf(kept, sizeof kept, "%s/.qexplore-writing", old);
    assert_int_equal(mkdir(kept, 0777), 0);
    snprintf(file, sizeof file, "%s/.qexplore-writing/.tmp", old);
    fixture_write(file, "torn");
    assert_int_equal(qx_session_run_write(s, old, NULL, &err), QX_OK);
    assert_int_equal(n_files(old), 5);
    qx_session_close(&s);
}

static void a_folder_that_cannot_be_written_is_refused_or_fails_as_a_job(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, false);
    struct qx_error err = {.text = ""};
    struct qx_job_info end;
    assert_int_equal(qx_session_write(s, fixture_folder(), &err), QX_EIO);
    assert_int_equal(qx_session_write(s, fixture_path("plain.safetensors"), &err), QX_EIO);
    assert_false(qx_session_writing(s));
    char below[300];
    snprintf(below, sizeof below, "%s/x", fixture_path("plain.safetensors"));
    assert_int_equal(qx_session_write(s, below, &err), QX_OK);
    fixture_settle(s);
    assert_true(qx_session_written(s, &end));
    assert_int_equal(end.state, QX_JOB_FAILED);
    assert_string_not_equal(end.message, "");
    qx_session_close(&s);
    s = fixture_open(fixture_folder(), NULL, true);
    assert_int_equal(qx_session_write(s, below, &err), QX_EUNSUPPORTED);
    qx_session_close(&s);
}

static void closing_cancels_a_writing(void **state)
{
    (void)state;
    char out[300];
    snprintf(out, sizeof out, "%s/x", fixture_fresh("closed"));
    struct qx_session *s = fixture_open(fixture_plain(), NULL, false);
    fixture_bits(s, "big", 4);
    assert_int_equal(qx_session_write(s, out, NULL), QX_OK);
    qx_session_close(&s);
    int n = n_files(out);
    assert_true(n == -1 || n == 2); /* not begun or taken back, or finished before */
}

int test_session_jobs(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_tensor_is_shown_from_a_sample_first),
        cmocka_unit_test(values_that_cannot_be_shown_fail_at_once),
        cmocka_unit_test(ranges_are_chosen_in_the_background_and_announced),
        cmocka_unit_test(small_layers_have_their_range_at_once),
        cmocka_unit_test(exact_metrics_replace_those_of_the_histogram),
        cmocka_unit_test(first_paint_goes_before_an_exact_pass_that_then_comes_back),
        cmocka_unit_test(advice_grows_until_it_is_complete),
        cmocka_unit_test(fp32_is_measured_at_open_and_the_recipe_after_edits),
        cmocka_unit_test(of_many_quick_edits_the_last_is_measured),
        cmocka_unit_test(a_cancelled_measurement_waits_for_a_word),
        cmocka_unit_test(a_b_and_fp32_are_measured_for_compare),
        cmocka_unit_test(without_a_network_the_gauge_says_why),
        cmocka_unit_test(a_folder_written_by_a_job_is_that_of_the_blocking_way),
        cmocka_unit_test(a_cancelled_writing_leaves_nothing),
        cmocka_unit_test(a_writing_broken_off_anywhere_changes_nothing),
        cmocka_unit_test(a_folder_that_cannot_be_written_is_refused_or_fails_as_a_job),
        cmocka_unit_test(closing_cancels_a_writing),
        cmocka_unit_test(the_cache_stays_within_its_budget),
        cmocka_unit_test(an_exact_histogram_comes_back_from_disk),
        cmocka_unit_test(batch_sessions_run_nothing_by_themselves),
    };
    return cmocka_run_group_tests_name("session jobs", tests, fixture_setup, fixture_teardown);
}
