/* What a session keeps: recipe, undo log, lock; the model folders it writes. */
#include "qx/mapfault.h"
#include "session/cache.h"
#include "test_session.h"

#include <math.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* The log of the plain model under a state folder. */
static const char *log_path(const char *state_dir, const char *suffix)
{
    static char path[512];
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    snprintf(path, sizeof path, "%s/%s/%s%s", state_dir, qx_model_id(qx_session_model(s)),
             qx_model_name(qx_session_model(s)), suffix);
    qx_session_close(&s);
    return path;
}

static void edits_are_resumed_with_their_undo_steps(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("state");
    struct qx_session *s = fixture_open(fixture_plain(), dir, false);
    assert_int_equal(qx_session_resumed(s), 0);
    fixture_bits(s, "a", 8);
    fixture_bits(s, "a", 4);
    fixture_range(s, "a", 0.5, true);
    fixture_settle(s); /* saved */
    fixture_range(s, "a", 0.4, true);
    qx_session_snapshot(s);
    fixture_bits(s, "b", 3);
    fixture_bits(s, "b", 2);
    assert_true(qx_session_undo(s));
    fixture_settle(s);
    char *before = fixture_recipe(s);
    qx_session_close(&s);

    s = fixture_open(fixture_plain(), dir, false);
    assert_int_equal(qx_session_resumed(s), 4);
    char *after = fixture_recipe(s);
    assert_string_equal(before, after);
    assert_true(qx_session_has_snapshot(s));
    assert_true(qx_session_setting_a(s, fixture_item(s, "a"))->range.hi == 0.4);
    assert_true(qx_session_redo(s));
    assert_int_equal(qx_session_setting(s, fixture_item(s, "b"))->bits, 2);
    for (int i = 0; i < 5; i++) {
        assert_true(qx_session_undo(s));
    }
    assert_false(qx_session_undo(s));
    assert_true(qx_setting_is_fp32(qx_session_setting(s, fixture_item(s, "a"))));
    free(before);
    free(after);
    qx_session_close(&s);
}

static void fresh_starts_anew_and_keeps_the_old(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("state");
    struct qx_session *s = fixture_open(fixture_plain(), dir, false);
    fixture_bits(s, "a", 8);
    qx_session_close(&s);
    struct qx_session_options o = {.state_dir = dir, .fresh = true, .threads = 1};
    assert_int_equal(qx_session_open(fixture_plain(), &o, &s, NULL), QX_OK);
    assert_int_equal(qx_session_n_edits(s), 0);
    fixture_bits(s, "b", 3);
    qx_session_close(&s);
    struct stat st;
    assert_int_equal(stat(log_path(dir, ".qexplore.json.old"), &st), 0);
    s = fixture_open(fixture_plain(), dir, false);
    assert_int_equal(qx_session_resumed(s), 1);
    assert_true(qx_setting_is_fp32(qx_session_setting(s, fixture_item(s, "a"))));
    qx_session_close(&s);
}

static void a_torn_log_keeps_what_was_whole(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("state");
    struct qx_session *s = fixture_open(fixture_plain(), dir, false);
    for (int bits = 2; bits <= 8; bits++) {
        fixture_bits(s, "a", bits);
    }
    fixture_settle(s);
    qx_session_close(&s);
    const char *log = log_path(dir, ".log"), *recipe_path;
    char recipe[512];
    strcpy(recipe, log_path(dir, ".qexplore.json"));
    recipe_path = recipe;
    char *text = fixture_read(log_path(dir, ".log"));
    size_t len = strlen(text);
    assert_true(len > 100);
    /* cut anywhere: opens, and the recipe file decides what the state is */
    for (size_t cut = 0; cut < len; cut += 37) {
        FILE *f = fopen(log, "w");
        fwrite(text, 1, cut, f);
        fclose(f);
        char *saved = fixture_read(recipe_path);
        fixture_write(recipe_path, saved); /* newer than the log */
        free(saved);
        s = fixture_open(fixture_plain(), dir, false);
        assert_int_equal(qx_session_setting(s, fixture_item(s, "a"))->bits, 8);
        while (qx_session_undo(s)) {
        }
        assert_true(qx_setting_is_fp32(qx_session_setting(s, fixture_item(s, "a"))));
        while (qx_session_redo(s)) {
        }
        qx_session_close(&s);
    }
    /* garbage in the middle */
    memset(text + len / 2, '#', 20);
    fixture_write(log, text);
    s = fixture_open(fixture_plain(), dir, false);
    qx_session_close(&s);
    free(text);
}

/* Edits in a child that is killed. */
static void after_a_kill_the_last_saved_edit_is_there(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("state");
    for (int round = 0; round < 3; round++) {
        int ready[2];
        char c;
        assert_int_equal(pipe(ready), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct qx_session *s = fixture_open(fixture_plain(), dir, false);
            fixture_bits(s, "a", 2 + round);
            qx_session_settle(s, 20000);
            fixture_bits(s, "b", 2 + round); /* not saved yet */
            ssize_t n = write(ready[1], "x", 1);
            _exit(n == 1 ? pause() : 1);
        }
        close(ready[1]);
        assert_int_equal(read(ready[0], &c, 1), 1);
        close(ready[0]);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        struct qx_session *s = fixture_open(fixture_plain(), dir, false);
        assert_false(qx_session_read_only(s));
        assert_int_equal(qx_session_setting(s, fixture_item(s, "a"))->bits, 2 + round);
        qx_session_close(&s);
    }
}

static void the_newer_of_log_and_recipe_wins(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("state");
    char recipe[512], log[512];
    strcpy(recipe, log_path(dir, ".qexplore.json"));
    strcpy(log, log_path(dir, ".log"));
    struct qx_session *s = fixture_open(fixture_plain(), dir, false);
    fixture_bits(s, "a", 4);
    fixture_settle(s);
    char *old = fixture_read(recipe);
    assert_non_null(old);
    fixture_bits(s, "a", 3);
    fixture_settle(s);
    qx_session_close(&s);
    /* a crash came between log and recipe */
    char *text = fixture_read(log);
    fixture_write(recipe, old);
    fixture_write(log, text);
    s = fixture_open(fixture_plain(), dir, false);
    assert_int_equal(qx_session_setting(s, fixture_item(s, "a"))->bits, 3);
    qx_session_close(&s);
    /* someone edited the recipe: one more step */
    fixture_write(recipe, old);
    s = fixture_open(fixture_plain(), dir, false);
    assert_int_equal(qx_session_setting(s, fixture_item(s, "a"))->bits, 4);
    assert_true(qx_session_undo(s));
    assert_int_equal(qx_session_setting(s, fixture_item(s, "a"))->bits, 3);
    qx_session_close(&s);
    free(old);
    free(text);
}

static void a_second_session_is_read_only(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("state");
    struct qx_session *first = fixture_open(fixture_plain(), dir, false);
    fixture_bits(first, "a", 4);
    fixture_settle(first);
    struct qx_session *second = fixture_open(fixture_plain(), dir, false);
    assert_false(qx_session_read_only(first));
    assert_true(qx_session_read_only(second));
    assert_string_equal(qx_session_recipe_path(second), "");
    assert_int_equal(qx_session_setting(second, fixture_item(second, "a"))->bits, 4);
    fixture_bits(second, "a", 2);
    fixture_settle(second);
    qx_session_close(&second);
    qx_session_close(&first);
    first = fixture_open(fixture_plain(), dir, false);
    assert_false(qx_session_read_only(first));
    assert_int_equal(qx_session_setting(first, fixture_item(first, "a"))->bits, 4);
    qx_session_close(&first);
}

static void a_named_recipe_is_opened_and_saved_to(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("state"), *path = fixture_path("mine.json");
    struct qx_session_options o = {.state_dir = dir, .recipe_path = path, .threads = 1};
    struct qx_session *s;
    struct qx_error err;
    unlink(path);
    assert_int_equal(qx_session_open(fixture_plain(), &o, &s, &err), QX_OK);
    assert_string_equal(qx_session_recipe_path(s), path);
    fixture_bits(s, "a", 6);
    qx_session_close(&s);
    char *text = fixture_read(path);
    assert_non_null(strstr(text, "\"a.weight\""));
    free(text);
    assert_int_equal(qx_session_open(fixture_plain(), &o, &s, &err), QX_OK);
    assert_int_equal(qx_session_setting(s, fixture_item(s, "a"))->bits, 6);
    qx_session_close(&s);
    fixture_write(path, "{\"schema\":\"nonsense\"}");
    assert_int_equal(qx_session_open(fixture_plain(), &o, &s, &err), QX_EFORMAT);
    text = fixture_read(path);
    assert_string_equal(text, "{\"schema\":\"nonsense\"}"); /* not overwritten */
    free(text);
}

static void a_place_that_cannot_be_written_loses_nothing_but_the_saving(void **state)
{
    (void)state;
    fixture_write(fixture_path("blocked"), "a file where the folder should be");
    struct qx_session *s = fixture_open(fixture_plain(), fixture_path("blocked"), false);
    fixture_bits(s, "a", 4);
    fixture_settle(s);
    assert_string_equal(qx_session_recipe_path(s), "");
    assert_int_equal(qx_session_setting(s, fixture_item(s, "a"))->bits, 4);
    qx_session_close(&s);
}

static void measurements_are_remembered(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("state");
    struct qx_gauge before, after;
    struct qx_session *s = fixture_open(fixture_folder(), dir, false);
    fixture_bits(s, "fc1", 2);
    fixture_settle(s);
    qx_session_gauge(s, &before);
    assert_int_equal(before.state, QX_GAUGE_MEASURED);
    qx_session_close(&s);
    s = fixture_open(fixture_folder(), dir, false);
    qx_session_gauge(s, &after);
    assert_int_equal(after.state, QX_GAUGE_MEASURED); /* without a job */
    assert_int_equal(qx_session_n_jobs(s), 0);
    assert_int_equal(after.fp32_correct, before.fp32_correct);
    assert_int_equal(after.correct, before.correct);
    assert_int_equal(after.pair.flips, before.pair.flips);
    struct qx_eval_result *r;
    assert_int_equal(qx_session_run_eval(s, &(struct qx_eval_options){0}, NULL, &r, NULL), QX_OK);
    const struct qx_eval_result *kept = qx_session_result(s, QX_WHICH_B);
    assert_memory_equal(kept->margin, r->margin, (size_t)r->n * sizeof *r->margin);
    assert_memory_equal(kept->label, r->label, (size_t)r->n * sizeof *r->label);
    assert_memory_equal(kept->rows, r->rows, (size_t)r->n * sizeof *r->rows);
    assert_true(kept->macro_f1 == r->macro_f1 && kept->ci_lo == r->ci_lo);
    qx_eval_result_free(r);
    qx_session_close(&s);
}

static void a_full_disk_loses_nothing_that_is_in_memory(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("state");
    struct rlimit all, none;
    struct qx_session *s = fixture_open(fixture_plain(), dir, false);
    fixture_bits(s, "a", 8);
    fixture_settle(s);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &all), 0);
    none = all;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    fixture_bits(s, "a", 4);
    fixture_settle(s);
    fixture_bits(s, "b", 4);
    fixture_settle(s);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
    fixture_bits(s, "b", 3);
    qx_session_close(&s);
    s = fixture_open(fixture_plain(), dir, false);
    assert_int_equal(qx_session_resumed(s), 4);
    assert_int_equal(qx_session_setting(s, fixture_item(s, "a"))->bits, 4);
    assert_int_equal(qx_session_setting(s, fixture_item(s, "b"))->bits, 3);
    qx_session_close(&s);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (!qx_map_fault(info->si_addr)) {
        signal(sig, SIG_DFL);
        raise(sig);
    }
}

static void a_file_cut_while_open_is_survived_and_announced(void **state)
{
    (void)state;
    const char *path = fixture_path("cut.safetensors"), *dir = fixture_fresh("state");
    char command[600];
    snprintf(command, sizeof command, "cp '%s' '%s'", fixture_plain(), path);
    assert_int_equal(system(command), 0);
    struct sigaction act = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO}, old;
    assert_int_equal(sigaction(SIGBUS, &act, &old), 0);
    struct qx_session *s = fixture_open(path, dir, false);
    fixture_bits(s, "a", 4);
    fixture_settle(s);
    assert_int_equal(truncate(path, 4096), 0);
    fixture_bits(s, "big", 4);
    fixture_settle(s);
    unsigned news = 0;
    for (int i = 0; i < 400 && !(news & QX_NEWS_FILE); i++) {
        news |= qx_session_poll(s);
        usleep(10000);
    }
    assert_true(news & QX_NEWS_FILE);
    assert_int_equal(qx_session_setting(s, fixture_item(s, "a"))->bits, 4);
    qx_session_close(&s);
    sigaction(SIGBUS, &old, NULL);
}

static void an_overfull_cache_folder_loses_its_oldest_files(void **state)
{
    (void)state;
    const char *dir = fixture_fresh("prune");
    for (int i = 0; i < 6; i++) {
        char name[32];
        struct timespec times[2] = {{.tv_sec = 1000 + i}, {.tv_sec = 1000 + i}};
        snprintf(name, sizeof name, "prune/%d.%s", i, i == 0 ? "txt" : "qxh");
        fixture_write(fixture_path(name), "0123456789");
        assert_int_equal(utimensat(AT_FDCWD, fixture_path(name), times, 0), 0);
    }
    assert_int_equal(qx_cache_prune(dir, 50), 0);
    assert_int_equal(qx_cache_prune(dir, 25), 3);
    assert_int_equal(access(fixture_path("prune/3.qxh"), F_OK), -1);
    assert_int_equal(access(fixture_path("prune/4.qxh"), F_OK), 0);
    assert_int_equal(access(fixture_path("prune/0.txt"), F_OK), 0); /* not ours */
}

/* ---- written models ---- */

static void same_values(const struct qx_session *a, const struct qx_session *b, const char *name,
                        bool *equal)
{
    const struct qx_tensor *x = qx_session_item(a, fixture_item(a, name))->tensor;
    const struct qx_tensor *y = qx_session_item(b, fixture_item(b, name))->tensor;
    float u[2048], v[2048];
    assert_int_equal(x->numel, y->numel);
    assert_int_equal(x->dtype, y->dtype);
    assert_true(x->numel <= 2048);
    assert_int_equal(qx_tensor_read(x, 0, x->numel, u, NULL), QX_OK);
    assert_int_equal(qx_tensor_read(y, 0, y->numel, v, NULL), QX_OK);
    *equal = memcmp(u, v, (size_t)x->numel * sizeof *u) == 0;
}

static void a_written_folder_measures_as_it_was_simulated(void **state)
{
    (void)state;
    const char *out = fixture_path("out");
    struct qx_session *s = fixture_open(fixture_folder(), NULL, true);
    struct qx_eval_result *simulated, *reopened;
    struct qx_error err = {.text = ""};
    struct qx_eval_options all = {0};
    fixture_bits(s, "fc1", 3);
    assert_int_equal(qx_session_run_eval(s, &all, NULL, &simulated, NULL), QX_OK);
    if (qx_session_run_write(s, out, NULL, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    struct qx_session *t = fixture_open(out, NULL, true);
    assert_int_equal(qx_session_run_eval(t, &all, NULL, &reopened, NULL), QX_OK);
    assert_int_equal(simulated->correct, reopened->correct);
    assert_memory_equal(simulated->margin, reopened->margin,
                        (size_t)simulated->n * sizeof *simulated->margin);
    bool equal;
    same_values(s, t, "fc2.weight", &equal);
    assert_true(equal);
    same_values(s, t, "fc1.weight", &equal);
    assert_false(equal);
    char *notice = fixture_read(fixture_path("out/NOTICE.md"));
    assert_string_equal(notice, "Made by a test.\n");
    free(notice);
    char *recipe = fixture_read(fixture_path("out/recipe.json"));
    assert_non_null(strstr(recipe, "fc1.weight"));
    free(recipe);
    /* once more into the same folder is fine; into one with other things, or its own, is not */
    assert_int_equal(qx_session_run_write(s, out, NULL, &err), QX_OK);
    assert_int_equal(qx_session_run_write(s, fixture_folder(), NULL, &err), QX_EIO);
    fixture_write(fixture_path("out/diary.txt"), "private");
    assert_int_equal(qx_session_run_write(s, out, NULL, &err), QX_EIO);
    assert_non_null(strstr(err.text, "diary.txt"));
    qx_eval_result_free(simulated);
    qx_eval_result_free(reopened);
    qx_session_close(&t);
    qx_session_close(&s);
}

static void dtypes_survive_writing(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_plain(), NULL, true);
    struct qx_error err = {.text = ""};
    fixture_bits(s, "half", 4);
    if (qx_session_run_write(s, fixture_path("plain-out"), NULL, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    struct qx_session *t = fixture_open(fixture_path("plain-out"), NULL, true);
    bool equal;
    same_values(s, t, "half.weight", &equal);
    assert_false(equal);
    same_values(s, t, "ids", &equal);
    assert_true(equal);
    qx_session_close(&t);
    qx_session_close(&s);
}

int test_session_files(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_are_resumed_with_their_undo_steps),
        cmocka_unit_test(fresh_starts_anew_and_keeps_the_old),
        cmocka_unit_test(a_torn_log_keeps_what_was_whole),
        cmocka_unit_test(after_a_kill_the_last_saved_edit_is_there),
        cmocka_unit_test(the_newer_of_log_and_recipe_wins),
        cmocka_unit_test(a_second_session_is_read_only),
        cmocka_unit_test(a_named_recipe_is_opened_and_saved_to),
        cmocka_unit_test(a_place_that_cannot_be_written_loses_nothing_but_the_saving),
        cmocka_unit_test(measurements_are_remembered),
        cmocka_unit_test(a_full_disk_loses_nothing_that_is_in_memory),
        cmocka_unit_test(a_file_cut_while_open_is_survived_and_announced),
        cmocka_unit_test(an_overfull_cache_folder_loses_its_oldest_files),
        cmocka_unit_test(a_written_folder_measures_as_it_was_simulated),
        cmocka_unit_test(dtypes_survive_writing),
    };
    return cmocka_run_group_tests_name("session files", tests, fixture_setup, fixture_teardown);
}
