/* The forward pass as a machine: tiles, threads, cancelling, bad ids, failed allocations. */
#include "base/mem.h"
#include "base/pool.h"
#include "net/graph.h"
#include "net_fixture.h"
#include "test_net.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_ROWS = 103 };

/* Nets with convolutions of every kind, and one on ids. */
static const char *const nets[] = {"residual_net", "conv2d_groups",  "conv1d",
                                   "transformer",  "tied_embedding", "batch_second"};

/* N_ROWS rows of made-up input; small ids for a net on ids. */
static float *make_rows(const struct qx_net *net)
{
    const int64_t size = qx_net_sample_size(net);
    float *x = malloc((size_t)(N_ROWS * size) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < N_ROWS * size; i++) {
        x[i] = qx_net_input_is_ids(net) ? (float)(i * 7 % 12) : sinf((float)i * 0.37f);
    }
    return x;
}

static float *logits_for(const struct qx_net *net, int64_t n)
{
    float *p = malloc((size_t)(n * qx_net_n_classes(net)) * sizeof *p);
    assert_non_null(p);
    return p;
}

static void run(const struct folder *f, const float *x, int64_t n, float *logits,
                struct qx_pool *pool)
{
    struct qx_error err = {0};
    if (qx_net_forward(f->net, f->weights, x, n, logits, pool, NULL, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof nets / sizeof *nets; k++) {
        struct folder f;
        golden_open(&f, nets[k]);
        float *x = make_rows(f.net);
        float *want = logits_for(f.net, N_ROWS), *have = logits_for(f.net, N_ROWS);
        run(&f, x, N_ROWS, want, NULL);
        for (int threads = 1; threads <= 5; threads += 2) {
            struct qx_pool *pool = NULL;
            assert_int_equal(qx_pool_new(threads, &pool, NULL), QX_OK);
            run(&f, x, N_ROWS, have, pool);
            assert_memory_equal(have, want,
                                (size_t)(N_ROWS * qx_net_n_classes(f.net)) * sizeof *have);
            qx_pool_free(pool);
        }
        free(x);
        free(want);
        free(have);
        folder_close(&f);
    }
}

static void a_row_does_not_depend_on_its_neighbours(void **state)
{
    (void)state;
    static const int64_t starts[] = {0, 1, 15, 16, 17, 32, N_ROWS - 1};
    for (size_t k = 0; k < sizeof nets / sizeof *nets; k++) {
        struct folder f;
        golden_open(&f, nets[k]);
        const int n_classes = qx_net_n_classes(f.net);
        float *x = make_rows(f.net), *want = logits_for(f.net, N_ROWS),
              *have = logits_for(f.net, 1);
        run(&f, x, N_ROWS, want, NULL);
        for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
            run(&f, x + starts[i] * qx_net_sample_size(f.net), 1, have, NULL);
            for (int c = 0; c < n_classes; c++) {
                assert_float_equal(have[c], want[starts[i] * n_classes + c], 2e-5f);
            }
        }
        free(x);
        free(want);
        free(have);
        folder_close(&f);
    }
}

static void no_rows_are_no_work(void **state)
{
    (void)state;
    struct folder f;
    golden_open(&f, "residual_net");
    run(&f, NULL, 0, NULL, NULL);
    folder_close(&f);
}

static void cancelling_stops_and_says_so(void **state)
{
    (void)state;
    struct folder f;
    struct qx_ctl ctl = {0};
    struct qx_error err = {0};
    golden_open(&f, "residual_net");
    float *x = make_rows(f.net), *logits = logits_for(f.net, N_ROWS);
    assert_int_equal(qx_net_forward(f.net, f.weights, x, N_ROWS, logits, NULL, &ctl, &err), QX_OK);
    assert_int_equal(atomic_load(&ctl.done), N_ROWS * QX_ROW_STEPS);
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_net_forward(f.net, f.weights, x, N_ROWS, logits, NULL, &ctl, &err),
                     QX_ECANCELLED);
    assert_int_equal(err.status, QX_ECANCELLED);
    free(x);
    free(logits);
    folder_close(&f);
}

/* The first bad row is named, whichever thread meets another one before. */
static void a_bad_id_is_named_with_its_row(void **state)
{
    (void)state;
    static const float bad[] = {12.0f, -13.0f, 0.5f, 16777216.0f, NAN, INFINITY};
    struct folder f;
    struct qx_pool *pool = NULL;
    golden_open(&f, "tied_embedding");
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    const int64_t size = qx_net_sample_size(f.net);
    float *x = make_rows(f.net), *logits = logits_for(f.net, N_ROWS);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct qx_error err = {0};
        x[45 * size + 3] = bad[i];
        x[99 * size] = 500.0f;
        assert_int_equal(qx_net_forward(f.net, f.weights, x, N_ROWS, logits, pool, NULL, &err),
                         QX_EDATA);
        if (!strstr(err.text, "row 45") || !strstr(err.text, "'embed'")) {
            fail_msg("%s", err.text);
        }
    }
    x[45 * size + 3] = -12.0f; /* counted from the end, as ONNX allows */
    x[99 * size] = 0.0f;
    run(&f, x, N_ROWS, logits, pool);
    qx_pool_free(pool);
    free(x);
    free(logits);
    folder_close(&f);
}

static void running_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct folder f;
    golden_open(&f, "half_weights");
    float *x = make_rows(f.net), *logits = logits_for(f.net, N_ROWS);
    enum qx_status st = QX_ENOMEM;
    for (int64_t n = 1; st != QX_OK; n++) {
        struct qx_weights *w = NULL;
        struct qx_error err = {0};
        const struct qx_setting s = rtn_setting(&f, 0, "channel", 4);
        qx_mem_fail_at(n);
        st = qx_weights_new(f.net, &w, &err);
        if (st == QX_OK) {
            st = qx_weights_apply(w, 0, &s, NULL, NULL, &err);
        }
        if (st == QX_OK) {
            st = qx_net_forward(f.net, w, x, N_ROWS, logits, NULL, NULL, &err);
        }
        qx_mem_fail_at(0);
        qx_weights_free(w);
        assert_true(st == QX_OK || (st == QX_ENOMEM && err.status == QX_ENOMEM));
        assert_true(n < 200);
    }
    free(x);
    free(logits);
    folder_close(&f);
}

static void a_cancelled_setting_leaves_the_stored_values(void **state)
{
    (void)state;
    struct folder f;
    struct qx_ctl ctl = {0};
    golden_open(&f, "residual_net");
    float *x = make_rows(f.net);
    float *want = logits_for(f.net, N_ROWS), *have = logits_for(f.net, N_ROWS);
    run(&f, x, N_ROWS, want, NULL);
    const struct qx_setting two = rtn_setting(&f, 1, "channel", 2);
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_weights_apply(f.weights, 1, &two, NULL, &ctl, NULL), QX_ECANCELLED);
    run(&f, x, N_ROWS, have, NULL);
    assert_memory_equal(have, want, (size_t)(N_ROWS * qx_net_n_classes(f.net)) * sizeof *have);
    assert_int_equal(qx_weights_apply(f.weights, 1, &two, NULL, NULL, NULL), QX_OK);
    run(&f, x, N_ROWS, have, NULL);
    assert_memory_not_equal(have, want, (size_t)(N_ROWS * qx_net_n_classes(f.net)) * sizeof *have);
    free(x);
    free(want);
    free(have);
    folder_close(&f);
}

int test_net_forward(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(a_row_does_not_depend_on_its_neighbours),
        cmocka_unit_test(no_rows_are_no_work),
        cmocka_unit_test(cancelling_stops_and_says_so),
        cmocka_unit_test(a_bad_id_is_named_with_its_row),
        cmocka_unit_test(running_survives_every_failed_allocation),
        cmocka_unit_test(a_cancelled_setting_leaves_the_stored_values),
    };
    return cmocka_run_group_tests_name("net forward", tests, NULL, NULL);
}
