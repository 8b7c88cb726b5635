/* Training in the background: watched, paused, stopped, kept as a folder that opens again. */
#include "base/fs.h"
#include "qx/qat.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define FOLDER    QX_SOURCE_ROOT "/tests/golden/train/conv"
#define ROWS      FOLDER "/eval.safetensors"
#define SAMPLE    QX_SOURCE_ROOT "/samples/fashion-cnn"
#define INSTALLED "train_sets/fashion-mnist/train-images-idx3-ubyte.gz"

static struct qx_session *open_session(const char *path)
{
    struct qx_session_options o = {.threads = 2};
    struct qx_session *s = NULL;
    struct qx_error err;
    if (qx_session_open(path, &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    qx_session_set_auto_measure(s, false);
    return s;
}

static void give_bits(struct qx_session *s)
{
    struct qx_patch p = {.fields = QX_PATCH_BITS | QX_PATCH_GRAN | QX_PATCH_ACT_BITS,
                         .value = {.bits = 3, .gran = QX_GRAN_TENSOR, .act = {.bits = 4}}};
    struct qx_error err;
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        if (qx_session_item(s, i)->role == QX_ROLE_LINEAR) {
            assert_int_equal(qx_session_edit(s, &i, 1, &p, false, &err), QX_OK);
        }
    }
}

static struct qx_train_options options_of(int epochs)
{
    struct qx_train_options o = qx_train_defaults(NULL);
    o.batch = 16;
    o.epochs = epochs;
    return o;
}

/* Polls until the training has taken `step` steps or has ended. */
static void wait_for(struct qx_session *s, int64_t step, struct qx_training *t)
{
    const struct timespec nap = {.tv_nsec = 2000000};
    for (int i = 0; i < 30000; i++) {
        qx_session_poll(s);
        qx_session_training(s, t);
        if (t->job == 0 || (step > 0 && t->step >= step)) {
            return;
        }
        nanosleep(&nap, NULL);
    }
    fail_msg("the training did not end");
}

/* Rows that the network names, where the system has them; the folder's or named ones otherwise. */
static void installed_rows_are_taken(void **state)
{
    struct qx_session_options o = {.threads = 1, .batch = true, .datasets_dir = "train_sets"};
    struct qx_session *s = NULL;
    struct qx_error err;
    char path[512];
    (void)state;
    assert_int_equal(qx_session_open(SAMPLE, &o, &s, &err), QX_OK);
    remove(INSTALLED);
    assert_int_equal(qx_session_train_data(s, NULL, path, sizeof path, &err), QX_OK);
    assert_string_equal(path, SAMPLE "/train.safetensors");
    assert_int_equal(qx_fs_mkdirs("train_sets/fashion-mnist", &err), QX_OK);
    assert_int_equal(qx_fs_write_atomic(INSTALLED, "\0\0\x08\x03", 4, &err), QX_OK);
    assert_int_equal(qx_session_train_data(s, NULL, path, sizeof path, &err), QX_OK);
    assert_string_equal(path, INSTALLED);
    assert_int_equal(qx_session_train_data(s, ROWS, path, sizeof path, &err), QX_OK);
    assert_string_equal(path, ROWS);
    /* what lies there is no set of images: said, and nothing else is taken instead */
    struct qx_train_options train = options_of(1);
    struct qx_trained *t = NULL;
    give_bits(s);
    assert_int_equal(qx_session_run_train(s, NULL, &train, NULL, NULL, &t, &err), QX_EFORMAT);
    assert_non_null(strstr(err.text, INSTALLED));
    qx_session_close(&s);
    o.datasets_dir = NULL;
    assert_int_equal(qx_session_open(SAMPLE, &o, &s, &err), QX_OK);
    assert_int_equal(qx_session_train_data(s, NULL, path, sizeof path, &err), QX_OK);
    assert_string_equal(path, SAMPLE "/train.safetensors");
    qx_session_close(&s);
    remove(INSTALLED);
}

static void a_training_is_watched_and_kept(void **state)
{
    struct qx_session *s = open_session(FOLDER);
    const struct qx_train_options o = options_of(3);
    struct qx_training t;
    struct qx_train_epoch e;
    struct qx_training_point p;
    struct qx_training_frame f;
    struct qx_job_info end;
    struct qx_error err;
    (void)state;
    assert_int_equal(qx_session_train(s, ROWS, &o, &err), QX_ERANGE); /* nothing is quantized */
    assert_int_equal(qx_session_train_keep(s, "session_trained", &err), QX_EDATA);
    give_bits(s);
    assert_int_equal(qx_session_train(s, NULL, &o, &err), QX_EDATA); /* no train.safetensors */
    assert_int_equal(qx_session_train(s, ROWS, &o, &err), QX_OK);
    assert_int_equal(qx_session_train(s, ROWS, &o, &err), QX_EUNSUPPORTED); /* one at a time */
    wait_for(s, 0, &t);
    assert_int_equal(t.state, QX_TRAINING_DONE);
    assert_int_equal(t.end, QX_TRAIN_DONE);
    assert_int_equal(t.step, t.n_steps);
    assert_int_equal(t.n_epochs, 4);
    assert_int_equal(t.n_points, t.n_steps);
    assert_int_equal(t.n_frames, t.n_steps + 1);
    for (int i = 0; i < t.n_epochs; i++) {
        assert_true(qx_session_training_epoch(s, i, &e));
        assert_int_equal(e.epoch, i);
        assert_int_equal(e.n, 96);
    }
    assert_true(qx_session_training_point(s, t.n_points - 1, &p));
    assert_true(p.step == t.n_steps && isfinite(p.loss));
    const int64_t item = qx_session_find(s, "head.weight", &err);
    for (int i = 0; i < t.n_frames; i++) {
        double sum = 0.0;
        assert_true(qx_session_training_frame(s, item, i, &f));
        for (int k = 0; k < QX_TRAINING_COLUMNS; k++) {
            sum += (double)f.count[k];
        }
        assert_true(sum == (double)qx_session_item(s, item)->tensor->numel);
        assert_true(f.on_level >= 0.0 && f.on_level <= 1.0);
    }
    assert_false(qx_session_training_frame(s, item, t.n_frames, &f));
    assert_false(qx_session_training_frame(s, qx_session_find(s, "bn.weight", &err), 0, &f));
    assert_int_equal(qx_session_train_keep(s, "session_trained", &err), QX_OK);
    qx_session_settle(s, 60000);
    assert_true(qx_session_written(s, &end));
    assert_int_equal(end.state, QX_JOB_DONE);
    qx_session_close(&s);

    s = open_session("session_trained");
    assert_int_equal(qx_session_load_recipe(s, "session_trained/recipe.json", &err), QX_OK);
    const struct qx_setting *set = qx_session_setting(s, qx_session_find(s, "head.weight", &err));
    assert_true(set->bits == 3 && set->act.bits == 4 && set->has_range && set->act.has_range);
    qx_session_close(&s);
}

/* Rows right under the recipe as it stands, as measured. */
static int64_t measured(struct qx_session *s)
{
    struct qx_gauge g;
    qx_session_settle(s, 60000);
    qx_session_gauge(s, &g);
    assert_true(g.correct >= 0 && g.edits_since == 0);
    return g.correct;
}

static struct qx_session *open_cached(void)
{
    struct qx_session_options o = {.threads = 2, .cache_dir = "session_train_cache"};
    struct qx_session *s = NULL;
    struct qx_error err;
    if (qx_session_open(FOLDER, &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return s;
}

/* The trained layers, norms and biases come with the recipe: it measures what the training measured, also after
 * a restart; without them it measures PTQ again. The engines may differ in a row. */
static void what_was_trained_goes_into_the_recipe(void **state)
{
    struct qx_session *s = open_cached();
    struct qx_train_options o = options_of(30);
    struct qx_training t;
    struct qx_train_epoch ptq, best;
    struct qx_error err;
    (void)state;
    assert_int_equal(qx_session_train_take(s, &err), QX_EDATA);
    give_bits(s);
    o.rate = 5e-3;
    assert_int_equal(qx_session_train(s, ROWS, &o, &err), QX_OK);
    wait_for(s, 0, &t);
    assert_true(t.best > 0);
    assert_true(qx_session_training_epoch(s, 0, &ptq) &&
                qx_session_training_epoch(s, t.best, &best));
    assert_true(best.correct > ptq.correct + 20);
    assert_int_equal(qx_session_train_take(s, &err), QX_OK);
    const int64_t item = qx_session_find(s, "head.weight", &err);
    assert_string_equal(qx_session_setting(s, item)->algo, "qat");
    assert_true(llabs(measured(s) - best.correct) <= 1);
    assert_int_equal(qx_session_save_recipe(s, "session_qat.json", &err), QX_OK);
    assert_true(qx_session_undo(s));
    assert_true(llabs(measured(s) - ptq.correct) <= 1);
    assert_true(qx_session_redo(s));
    assert_true(llabs(measured(s) - best.correct) <= 1);
    qx_session_close(&s);

    s = open_cached();
    assert_int_equal(qx_session_load_recipe(s, "session_qat.json", &err), QX_OK);
    assert_true(llabs(measured(s) - best.correct) <= 1);
    assert_int_equal(qx_session_write(s, "session_qat", &err), QX_OK);
    qx_session_settle(s, 60000);
    qx_session_close(&s);

    s = open_session("session_qat"); /* the values themselves, in float32 but for the inputs */
    qx_session_set_auto_measure(s, true);
    struct qx_gauge g;
    qx_session_settle(s, 60000);
    qx_session_gauge(s, &g);
    assert_true(llabs(g.fp32_correct - best.correct) <= 6);
    qx_session_close(&s);
}

/* A layer without bits was trained as well, and has no place in a recipe: it is named, with what to do, which
 * works. */
static void what_a_recipe_cannot_hold_is_named(void **state)
{
    struct qx_session *s = open_session(FOLDER);
    struct qx_patch p = {.fields = QX_PATCH_BITS, .value = {.bits = 4}};
    const struct qx_train_options o = options_of(1);
    struct qx_training t;
    struct qx_error err;
    (void)state;
    int64_t head = qx_session_find(s, "head.weight", &err);
    assert_int_equal(qx_session_edit(s, &head, 1, &p, false, &err), QX_OK);
    assert_int_equal(qx_session_train(s, ROWS, &o, &err), QX_OK);
    wait_for(s, 0, &t);
    assert_int_equal(t.state, QX_TRAINING_DONE);
    assert_int_equal(qx_session_train_take(s, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "conv.weight"));
    assert_non_null(strstr(err.text, "give it bits"));
    assert_string_equal(qx_session_setting(s, head)->algo, "");
    assert_int_equal(qx_session_train_keep(s, "session_float", &err),
                     QX_OK); /* a folder holds it */
    qx_session_settle(s, 60000);
    p.value.bits = 8;
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        if (qx_session_item(s, i)->role == QX_ROLE_LINEAR && i != head) {
            assert_int_equal(qx_session_edit(s, &i, 1, &p, false, &err), QX_OK);
        }
    }
    assert_int_equal(qx_session_train(s, ROWS, &o, &err), QX_OK);
    wait_for(s, 0, &t);
    assert_int_equal(qx_session_train_take(s, &err), QX_OK);
    assert_string_equal(qx_session_setting(s, head)->algo, "qat");
    qx_session_close(&s);
}

static void a_training_is_paused_and_stopped(void **state)
{
    struct qx_session *s = open_session(FOLDER);
    const struct qx_train_options o = options_of(5000);
    const struct timespec nap = {.tv_nsec = 200000000};
    struct qx_training t, later;
    struct qx_error err;
    (void)state;
    give_bits(s);
    assert_int_equal(qx_session_train(s, ROWS, &o, &err), QX_OK);
    wait_for(s, 5, &t);
    qx_session_train_pause(s, true);
    nanosleep(&nap, NULL); /* the step under way ends */
    qx_session_poll(s);
    qx_session_training(s, &t);
    assert_true(t.is_paused && t.state == QX_TRAINING_RUNNING);
    nanosleep(&nap, NULL);
    qx_session_poll(s);
    qx_session_training(s, &later);
    assert_int_equal(later.step, t.step);
    qx_session_train_pause(s, false);
    wait_for(s, t.step + 3, &later);
    assert_true(later.step >= t.step + 3);
    qx_session_train_stop(s);
    wait_for(s, 0, &t);
    assert_int_equal(t.state, QX_TRAINING_DONE);
    assert_int_equal(t.end, QX_TRAIN_STOPPED);
    qx_session_close(&s);
}

/* Closing ends it, paused or not. */
static void closing_ends_a_training(void **state)
{
    struct qx_session *s = open_session(FOLDER);
    const struct qx_train_options o = options_of(5000);
    struct qx_training t;
    struct qx_error err;
    (void)state;
    give_bits(s);
    assert_int_equal(qx_session_train(s, ROWS, &o, &err), QX_OK);
    wait_for(s, 2, &t);
    qx_session_train_pause(s, true);
    qx_session_close(&s);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(installed_rows_are_taken),
        cmocka_unit_test(a_training_is_watched_and_kept),
        cmocka_unit_test(what_was_trained_goes_into_the_recipe),
        cmocka_unit_test(what_a_recipe_cannot_hold_is_named),
        cmocka_unit_test(a_training_is_paused_and_stopped),
        cmocka_unit_test(closing_ends_a_training),
    };
    return cmocka_run_group_tests_name("session train", tests, NULL, NULL);
}
