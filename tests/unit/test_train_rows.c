/* Which rows a training takes, what is done to them, and the statistics of batches that it leaves. */
#include "method/augment.h"
#include "method/train_impl.h"
#include "net_fixture.h"
#include "qx/grad.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Five epochs of four rows are two times over ten, in different orders. */
static void epochs_take_other_rows_until_all_had_their_turn(void **state)
{
    int64_t count[10], deck[10], shuffled[4], all[20];
    int n_seen[2][10] = {{0}}, n_same = 0;
    struct qx_train t = {
        .n_train = 10, .n_epoch = 4, .count = count, .deck = deck, .shuffled = shuffled};
    (void)state;
    for (int i = 0; i < 10; i++) {
        count[i] = i;
    }
    for (int e = 1; e <= 5; e++) {
        qx_train_rows_epoch(&t, e);
        memcpy(all + 4 * (e - 1), shuffled, sizeof shuffled);
    }
    for (int i = 0; i < 20; i++) {
        assert_in_range(all[i], 0, 9);
        n_seen[i / 10][all[i]]++;
    }
    for (int i = 0; i < 10; i++) {
        assert_int_equal(n_seen[0][i], 1);
        assert_int_equal(n_seen[1][i], 1);
        n_same += all[i] == all[10 + i];
    }
    assert_true(n_same < 10);
    qx_train_rows_epoch(&t, 3); /* an epoch by itself: as after a resume */
    assert_memory_equal(shuffled, all + 8, sizeof shuffled);
}

/* Where the image [100] from [100] came from: by how much it was moved, mirrored or not; false: from nowhere. */
static bool find_move(const float *x, const float *from, int *down, int *right, bool *is_mirrored)
{
    for (int i = 0; i < 50; i++) {
        *down = i / 10 - 2;
        *right = i / 2 % 5 - 2;
        *is_mirrored = i % 2;
        bool is_it = true;
        for (int k = 0; is_it && k < 100; k++) {
            const int line = k / 10 - *down, at = (*is_mirrored ? 9 - k % 10 : k % 10) - *right;
            const bool is_inside = line >= 0 && line < 10 && at >= 0 && at < 10;
            is_it = x[k] == (is_inside ? from[10 * line + at] : 0.0f);
        }
        if (is_it) {
            return true;
        }
    }
    return false;
}

static void images_are_moved_and_mirrored_by_chance(void **state)
{
    enum { N = 400 };
    static float x[N * 100], again[N * 100];
    float from[100];
    struct folder f;
    char path[512];
    struct qx_rng r;
    int n_moves[5][5] = {{0}}, n_mirrored = 0;
    (void)state;
    source_path(path, sizeof path, "tests/golden/train/conv");
    folder_open(&f, path);
    for (int i = 0; i < 100; i++) {
        from[i] = (float)(i + 1);
    }
    for (int i = 0; i < N; i++) {
        memcpy(x + 100 * i, from, sizeof from);
    }
    memcpy(again, x, sizeof x);
    qx_rng_init(&r, 7);
    qx_augment_rows(f.net, 3, &r, x, N);
    for (int i = 0; i < N; i++) {
        int down, right;
        bool is_mirrored;
        assert_true(find_move(x + 100 * i, from, &down, &right, &is_mirrored));
        n_moves[down + 2][right + 2]++;
        n_mirrored += is_mirrored;
    }
    for (int i = 0; i < 25; i++) { /* 16 of each on average */
        assert_in_range(n_moves[i / 5][i % 5], 2, 40);
    }
    assert_in_range(n_mirrored, 150, 250);
    qx_rng_init(&r, 7);
    qx_augment_rows(f.net, 3, &r, again, N);
    assert_memory_equal(x, again, sizeof x);
    qx_augment_rows(f.net, 0, &r, again, N);
    assert_memory_equal(x, again, sizeof x);
    folder_close(&f);
}

static void rows_that_are_no_images_are_not_augmented(void **state)
{
    struct folder f;
    char path[512];
    struct qx_error err = {0};
    (void)state;
    source_path(path, sizeof path, "samples/llama-tiny");
    folder_open(&f, path);
    assert_int_equal(qx_augment_check(f.net, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "--augment none"));
    folder_close(&f);
}

static void augmentations_have_names(void **state)
{
    struct qx_error err = {0};
    unsigned chosen = 9;
    char text[64];
    (void)state;
    assert_int_equal(qx_augment_parse("flip,shift", &chosen, &err), QX_OK);
    assert_string_equal(qx_augment_text(chosen, text, sizeof text), "shift,flip");
    assert_int_equal(qx_augment_parse("flap", &chosen, &err), QX_ENAME);
    assert_non_null(strstr(err.text, "flip"));
    assert_int_equal(qx_augment_parse("shift,", &chosen, &err), QX_ENAME);
    assert_int_equal(chosen, 3);
    assert_int_equal(qx_augment_parse("none", &chosen, &err), QX_OK);
    assert_int_equal(chosen, 0);
    assert_string_equal(qx_augment_text(chosen, text, sizeof text), "none");
    for (int i = 0; i < qx_augment_count(); i++) {
        assert_true(strlen(qx_augment_at(i)->help) > 20);
    }
}

/* ---- statistics ---- */

static double no_cost(void *arg, int64_t first, int64_t n, const int64_t *start,
                      const float *logits, float *d_logits)
{
    (void)arg, (void)first, (void)n, (void)start, (void)logits, (void)d_logits;
    return 0.0;
}

/* The mean behind the batch normalization, [n], that these weights give on all rows of the data. */
static void mean_of(const struct folder *f, const struct qx_dataset *data,
                    const struct qx_trained *t, int64_t item, float *out, int64_t n)
{
    const int64_t rows = qx_dataset_n(data);
    const struct qx_tape_loss none = {NULL, no_cost};
    struct qx_tape *tape = NULL;
    double loss;
    float *x = malloc((size_t)(rows * qx_net_sample_size(f->net)) * sizeof *x);
    assert_non_null(x);
    assert_int_equal(qx_dataset_read(data, 0, rows, x, NULL), QX_OK);
    assert_int_equal(qx_tape_new(f->net, rows, 0, UINT64_MAX, &tape, NULL), QX_OK);
    assert_true(qx_tape_has_statistics(tape));
    for (int i = 0; i < qx_tape_n_params(tape); i++) {
        struct qx_param *p = qx_tape_param(tape, i);
        memcpy(p->value, t->values[p->tensor], (size_t)p->n * sizeof(float));
    }
    assert_int_equal(
        qx_tape_run(tape, x, rows, QX_TAPE_TRAIN, &none, false, &loss, NULL, NULL, NULL), QX_OK);
    qx_tape_follow(tape, 1.0);
    for (int i = 0; i < qx_tape_n_params(tape); i++) {
        const struct qx_param *p = qx_tape_param(tape, i);
        if (p->tensor == item) {
            memcpy(out, p->value, (size_t)n * sizeof *out);
        }
    }
    free(x);
    qx_tape_free(tape);
}

/* They are those of the weights that are kept, also where no step moved them. */
static void statistics_are_those_of_the_weights(void **state)
{
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_setting set[3];
    struct qx_trained *t = NULL;
    float stored[16], all[16];
    char path[512], file[600];
    (void)state;
    source_path(path, sizeof path, "tests/golden/train/conv");
    folder_open(&f, path);
    snprintf(file, sizeof file, "%s/eval.safetensors", path);
    assert_int_equal(qx_dataset_open(file, f.net, &data, NULL), QX_OK);
    const int64_t item = qx_model_find(f.model, "bn.running_mean");
    const int64_t n = qx_model_tensor(f.model, item)->numel;
    assert_true(n <= 16);
    assert_int_equal(qx_tensor_read(qx_model_tensor(f.model, item), 0, n, stored, NULL), QX_OK);
    for (int i = 0; i < 3; i++) {
        set[i] = qx_setting_int(4);
        set[i].has_range = true;
        set[i].range = (struct qx_range){-1.0, 1.0};
    }
    struct qx_train_options o = qx_train_defaults(f.net);
    o.batch = 16;
    o.epochs = 1;
    o.freeze = 1.0;
    o.rate = 5e-3;
    o.distill = 0.0;
    assert_int_equal(qx_train_run(f.net, data, data, set, &o, NULL, NULL, NULL, &t, NULL), QX_OK);
    assert_int_equal(t->best, 1);
    mean_of(&f, data, t, item, all, n);
    double far = 0.0, near = 0.0; /* of 80 of the rows, not all 96 */
    for (int64_t i = 0; i < n; i++) {
        far += fabs((double)stored[i] - (double)all[i]);
        near += fabs((double)t->values[item][i] - (double)all[i]);
    }
    assert_true(near < 0.5 * far);
    qx_trained_free(t);
    qx_dataset_close(&data);
    folder_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epochs_take_other_rows_until_all_had_their_turn),
        cmocka_unit_test(images_are_moved_and_mirrored_by_chance),
        cmocka_unit_test(rows_that_are_no_images_are_not_augmented),
        cmocka_unit_test(augmentations_have_names),
        cmocka_unit_test(statistics_are_those_of_the_weights),
    };
    return cmocka_run_group_tests_name("train_rows", tests, NULL, NULL);
}
