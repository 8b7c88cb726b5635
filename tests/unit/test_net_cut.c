/* A pass that goes on from a layer gives the bits of the whole pass: all golden networks and the
 * samples, both engines. */
#include "base/arena.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"
#include "integer_fixture.h"
#include "net/exec.h"
#include "test_net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The rows of the folder's data, again from the first where there are fewer. */
static float *rows_of(const struct folder *f, int64_t n)
{
    char path[1024];
    struct qx_dataset *data = NULL;
    const int64_t size = qx_net_sample_size(f->net);
    float *x = malloc((size_t)(n * size) * sizeof *x);
    assert_non_null(x);
    snprintf(path, sizeof path, "%s/eval.safetensors", f->path);
    assert_int_equal(qx_dataset_open(path, f->net, &data, NULL), QX_OK);
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = i % qx_dataset_n(data);
        assert_int_equal(qx_dataset_read(data, row, 1, x + i * size, NULL), QX_OK);
    }
    qx_dataset_close(&data);
    return x;
}

static struct qx_net_cut *cut_at(const struct folder *f, int layer, const float *x, int64_t n,
                                 const struct qx_net_cut *from)
{
    struct qx_net_cut *cut = NULL;
    struct qx_error err = {0};
    if (qx_net_cut_new(f->net, f->weights, layer, x, n, from, &cut, NULL, NULL, &err) != QX_OK) {
        fail_msg("%s, layer %d: %s", f->path, layer, err.text);
    }
    uint64_t bytes = 0;
    assert_int_equal(qx_net_cut_rows(cut), n);
    assert_int_equal(qx_net_cut_bytes(f->net, f->weights, layer, n, &bytes, NULL), QX_OK);
    return cut;
}

static void assert_same_run(const struct folder *f, const struct qx_net_cut *cut, const float *x,
                            const char *what, int layer)
{
    const int64_t n = qx_net_cut_rows(cut);
    const size_t bytes = (size_t)(n * qx_net_n_classes(f->net)) * sizeof(float);
    float *want = integer_run(f, x, n, NULL), *have = malloc(bytes);
    struct qx_error err = {0};
    assert_non_null(have);
    memset(have, 0xff, bytes);
    if (qx_net_run_from(f->net, f->weights, cut, have, NULL, NULL, NULL, &err) != QX_OK) {
        fail_msg("%s, %s, layer %d: %s", f->path, what, layer, err.text);
    }
    if (memcmp(have, want, bytes) != 0) {
        fail_msg("%s, %s, layer %d: other logits than the whole pass", f->path, what, layer);
    }
    free(have);
    free(want);
}

static void layer_put(struct folder *f, int layer, int bits, const struct qx_act *act)
{
    struct qx_setting s = rtn_setting(f, layer, "channel", bits);
    if (act && qx_net_layer(f->net, layer)->role == QX_ROLE_LINEAR) {
        s.act = *act;
    }
    integer_apply(f, layer, &s);
}

/* Every layer, the layers behind it changed after the cut; and cuts made from cuts. */
static void check_layers(struct folder *f, const struct qx_act *act, enum qx_engine engine,
                         int64_t n, const char *what)
{
    float *x = rows_of(f, n);
    struct qx_net_cut *before = NULL;
    for (int layer = 0; layer < qx_net_n_layers(f->net); layer++) {
        for (int i = 0; i < qx_net_n_layers(f->net); i++) {
            layer_put(f, i, 8, act);
        }
        integer_prepare(f, engine);
        struct qx_net_cut *cut = cut_at(f, layer, x, n, NULL);
        struct qx_net_cut *further = cut_at(f, layer, NULL, n, before ? before : cut);
        assert_same_run(f, cut, x, what, layer);
        for (int bits = 3; bits <= 4; bits++) {
            layer_put(f, layer, bits, act);
            layer_put(f, qx_net_n_layers(f->net) - 1, bits, act);
            integer_prepare(f, engine);
            assert_same_run(f, cut, x, what, layer);
            assert_same_run(f, further, x, what, layer);
        }
        qx_net_cut_free(before);
        qx_net_cut_free(further);
        before = cut;
    }
    qx_net_cut_free(before);
    free(x);
}

static int n_integer;

static void check_folder(const char *path, int64_t n)
{
    struct folder f;
    folder_open(&f, path);
    struct qx_act act[] = {{0}, qx_act_dynamic(8), qx_act_static(8)};
    static const char *const names[] = {"weights alone", "dynamic", "static"};
    act[2].has_range = true;
    act[2].range = (struct qx_range){-1.5, 3.5};
    for (int a = 0; a < 3; a++) {
        check_layers(&f, &act[a], QX_ENGINE_SIMULATED, n, names[a]);
        if (a > 0 && qx_weights_prepare(f.weights, QX_ENGINE_INTEGER, NULL, NULL, NULL) == QX_OK) {
            check_layers(&f, &act[a], QX_ENGINE_INTEGER, n, names[a]);
            n_integer++;
        }
    }
    folder_close(&f);
}

static void for_each_folder(const char *rest, int64_t n, int at_least)
{
    char root[512], path[1024], graph[1100];
    struct qx_arena arena = {0};
    char **names;
    size_t n_names = 0;
    int n_cases = 0;
    source_path(root, sizeof root, rest);
    assert_int_equal(qx_fs_list(root, &arena, &names, &n_names, NULL), QX_OK);
    for (size_t i = 0; i < n_names; i++) {
        snprintf(path, sizeof path, "%s/%s", root, names[i]);
        snprintf(graph, sizeof graph, "%s/graph.json", path);
        if (qx_fs_exists(graph)) {
            check_folder(path, n);
            n_cases++;
        }
    }
    qx_arena_release(&arena);
    assert_true(n_cases >= at_least);
}

static void golden_networks_go_on_from_every_layer(void **state)
{
    (void)state;
    n_integer = 0;
    for_each_folder("tests/golden/net", ROWS, 30);
    assert_true(n_integer >= 12);
}

static void samples_go_on_from_every_layer(void **state)
{
    (void)state;
    n_integer = 0;
    for_each_folder("samples", 19, 1);
    assert_true(n_integer >= 2);
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    struct folder f;
    struct qx_pool *pool = NULL;
    golden_open(&f, "residual_net");
    float *x = rows_of(&f, 103), *want = integer_run(&f, x, 103, NULL);
    const size_t bytes = (size_t)(103 * qx_net_n_classes(f.net)) * sizeof *want;
    float *have = malloc(bytes);
    struct qx_net_cut *cut = NULL;
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    assert_int_equal(qx_net_cut_new(f.net, f.weights, 1, x, 103, NULL, &cut, pool, NULL, NULL),
                     QX_OK);
    assert_int_equal(qx_net_run_from(f.net, f.weights, cut, have, NULL, pool, NULL, NULL), QX_OK);
    assert_memory_equal(have, want, bytes);
    qx_net_cut_free(cut);
    qx_pool_free(pool);
    free(x);
    free(want);
    free(have);
    folder_close(&f);
}

static void what_no_longer_fits_is_refused(void **state)
{
    (void)state;
    struct folder f;
    struct qx_error err = {0};
    struct qx_net_cut *other = NULL;
    struct qx_act act = qx_act_static(8);
    act.has_range = true;
    act.range = (struct qx_range){-1.5, 3.5};
    golden_open(&f, "residual_net");
    float *x = rows_of(&f, ROWS), logits[ROWS * 16];
    const int last = qx_net_n_layers(f.net) - 1;
    assert_true(last > 0 && qx_net_n_classes(f.net) <= 16);
    struct qx_net_cut *cut = cut_at(&f, last, x, ROWS, NULL);
    assert_int_equal(qx_net_cut_new(f.net, f.weights, 0, NULL, 0, cut, &other, NULL, NULL, &err),
                     QX_ERANGE);
    assert_non_null(strstr(err.text, "behind layer"));
    assert_int_equal(
        qx_net_cut_new(f.net, f.weights, last + 1, x, ROWS, NULL, &other, NULL, NULL, &err),
        QX_ERANGE);
    for (int i = 0; i <= last; i++) {
        layer_put(&f, i, 8, &act);
    }
    integer_prepare(&f, QX_ENGINE_INTEGER);
    assert_int_equal(qx_net_run_from(f.net, f.weights, cut, logits, NULL, NULL, NULL, &err),
                     QX_EDATA);
    assert_non_null(strstr(err.text, "again"));
    integer_prepare(&f, QX_ENGINE_SIMULATED);
    assert_int_equal(qx_net_run_from(f.net, f.weights, cut, logits, NULL, NULL, NULL, &err), QX_OK);
    qx_net_cut_free(cut);
    free(x);
    folder_close(&f);
}

/* A product that wants its input in other codes than those kept. */
static void other_codes_are_refused(void **state)
{
    (void)state;
    struct folder f;
    struct qx_error err = {0};
    struct qx_act act = qx_act_static(8);
    act.has_range = true;
    act.range = (struct qx_range){0.0, 3.5};
    char rest[512];
    source_path(rest, sizeof rest, "samples/fashion-cnn");
    folder_open(&f, rest);
    const int last = qx_net_n_layers(f.net) - 1;
    for (int i = 0; i <= last; i++) {
        layer_put(&f, i, 8, &act);
    }
    integer_prepare(&f, QX_ENGINE_INTEGER);
    float *x = rows_of(&f, ROWS), logits[ROWS * 16];
    struct qx_net_cut *cut = cut_at(&f, last, x, ROWS, NULL);
    uint64_t as_codes = 0, as_floats = 0;
    assert_int_equal(qx_net_cut_bytes(f.net, f.weights, last, ROWS, &as_codes, NULL), QX_OK);
    act.range.hi = 2.5;
    layer_put(&f, last, 8, &act);
    integer_prepare(&f, QX_ENGINE_INTEGER);
    assert_int_equal(qx_net_run_from(f.net, f.weights, cut, logits, NULL, NULL, NULL, &err),
                     QX_EDATA);
    integer_prepare(&f, QX_ENGINE_SIMULATED);
    assert_int_equal(qx_net_cut_bytes(f.net, f.weights, last, ROWS, &as_floats, NULL), QX_OK);
    assert_true(as_codes * 3 < as_floats); /* a byte each, but for rounding up */
    qx_net_cut_free(cut);
    free(x);
    folder_close(&f);
}

static void failed_allocations_and_cancelling_leave_nothing(void **state)
{
    (void)state;
    struct folder f;
    struct qx_ctl ctl = {0};
    struct qx_error err = {0};
    golden_open(&f, "residual_net");
    float *x = rows_of(&f, ROWS), logits[ROWS * 16];
    struct qx_net_cut *cut = NULL;
    enum qx_status st = QX_ENOMEM;
    for (int64_t n = 1; st != QX_OK; n++) {
        qx_mem_fail_at(n);
        st = qx_net_cut_new(f.net, f.weights, 1, x, ROWS, NULL, &cut, NULL, NULL, &err);
        qx_mem_fail_at(0);
        assert_true(n < 100 && (st == QX_OK) == (cut != NULL));
        assert_true(st == QX_OK || st == QX_ENOMEM);
    }
    st = QX_ENOMEM;
    for (int64_t n = 1; st != QX_OK; n++) {
        qx_mem_fail_at(n);
        st = qx_net_run_from(f.net, f.weights, cut, logits, NULL, NULL, NULL, &err);
        qx_mem_fail_at(0);
        assert_true(n < 100 && (st == QX_OK || st == QX_ENOMEM));
    }
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_net_run_from(f.net, f.weights, cut, logits, NULL, NULL, &ctl, &err),
                     QX_ECANCELLED);
    struct qx_net_cut *other = NULL;
    assert_int_equal(qx_net_cut_new(f.net, f.weights, 1, x, ROWS, NULL, &other, NULL, &ctl, &err),
                     QX_ECANCELLED);
    assert_null(other);
    qx_net_cut_free(cut);
    free(x);
    folder_close(&f);
}

int test_net_cut(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_networks_go_on_from_every_layer),
        cmocka_unit_test(samples_go_on_from_every_layer),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(what_no_longer_fits_is_refused),
        cmocka_unit_test(other_codes_are_refused),
        cmocka_unit_test(failed_allocations_and_cancelling_leave_nothing),
    };
    return cmocka_run_group_tests_name("net cut", tests, NULL, NULL);
}
