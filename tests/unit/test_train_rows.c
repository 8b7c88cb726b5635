/* Which rows a training takes, and what is done to them. */
#include "method/augment.h"
#include "method/train_impl.h"
#include "net_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epochs_take_other_rows_until_all_had_their_turn),
        cmocka_unit_test(images_are_moved_and_mirrored_by_chance),
        cmocka_unit_test(rows_that_are_no_images_are_not_augmented),
        cmocka_unit_test(augmentations_have_names),
    };
    return cmocka_run_group_tests_name("train_rows", tests, NULL, NULL);
}
