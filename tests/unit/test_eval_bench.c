/* What may be said of times, the energy counters, the variants, kernels by shape. No time is checked. */
#include "qx/bench.h"
#include "test_eval.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void fewer_than_five_runs_have_no_percentiles(void **state)
{
    (void)state;
    for (int n = 0; n <= 6; n++) {
        double times[] = {6e-3, 1e-3, 5e-3, 2e-3, 4e-3, 3e-3};
        struct qx_latency l;
        qx_latency_of(times, n, 2, &l);
        assert_int_equal(l.n_runs, n);
        assert_int_equal(l.n_warmup, 2);
        assert_int_equal(isnan(l.p5_ms), n < QX_LATENCY_RUNS);
        assert_int_equal(isnan(l.p50_ms), n < QX_LATENCY_RUNS);
        assert_int_equal(isnan(l.p95_ms), n < QX_LATENCY_RUNS);
        assert_int_equal(isnan(l.best_ms), n == 0);
        if (n > 0) {
            assert_float_equal(qx_latency_ms(&l), n < QX_LATENCY_RUNS ? l.mean_ms : l.p50_ms, 0);
        }
    }
}

static void percentiles_are_the_nearest_rank(void **state)
{
    (void)state;
    double times[100];
    struct qx_latency l;
    for (int i = 0; i < 100; i++) {
        times[i] = (double)((i * 37) % 100 + 1) * 1e-3; /* 1..100 ms in some order */
    }
    qx_latency_of(times, 100, 0, &l);
    assert_float_equal(l.p5_ms, 5, 1e-9);
    assert_float_equal(l.p50_ms, 50, 1e-9);
    assert_float_equal(l.p95_ms, 95, 1e-9);
    assert_float_equal(l.best_ms, 1, 1e-9);
    assert_float_equal(l.mean_ms, 50.5, 1e-9);
}

struct steps {
    int n, fail_at, cancel_at;
    struct qx_ctl ctl;
};

static enum qx_status count_step(void *arg, struct qx_error *err)
{
    struct steps *s = arg;
    (void)err;
    s->n++;
    if (s->n == s->cancel_at) {
        atomic_store(&s->ctl.cancel, true);
    }
    return s->n == s->fail_at ? QX_EDATA : QX_OK;
}

static void warm_up_is_not_counted_and_errors_end_it(void **state)
{
    (void)state;
    static const struct {
        int warmup, runs, fail_at, cancel_at, calls;
        enum qx_status status;
    } cases[] = {{3, 7, 0, 0, 10, QX_OK},        {0, 1, 0, 0, 1, QX_OK},
                 {3, 7, 2, 0, 2, QX_EDATA},      {3, 7, 6, 0, 6, QX_EDATA},
                 {3, 7, 0, 5, 5, QX_ECANCELLED}, {3, 0, 0, 0, 0, QX_ERANGE},
                 {-1, 5, 0, 0, 0, QX_ERANGE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct steps s = {.fail_at = cases[i].fail_at, .cancel_at = cases[i].cancel_at};
        struct qx_latency l = {.n_runs = -7};
        assert_int_equal(
            qx_latency_measure(count_step, &s, cases[i].warmup, cases[i].runs, &s.ctl, &l, NULL),
            cases[i].status);
        assert_int_equal(s.n, cases[i].calls);
        assert_int_equal(l.n_runs, cases[i].status == QX_OK ? cases[i].runs : -7);
    }
}

/* ---- energy ---- */

static void counter_write(const char *root, const char *package, const char *name, double uj)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", root, package);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", root, package, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%.0f\n", uj);
    fclose(f);
}

static void energy_adds_packages_and_survives_a_wrap(void **state)
{
    (void)state;
    char root[] = "rapl-XXXXXX", command[64];
    struct qx_energy e;
    assert_non_null(mkdtemp(root));
    qx_energy_start(&e, root);
    assert_int_equal(e.n, 0);
    assert_non_null(strstr(e.reason, "no RAPL"));
    assert_true(isnan(qx_energy_stop(&e)));
    counter_write(root, "intel-rapl:0", "energy_uj", 5e6);
    counter_write(root, "intel-rapl:0", "max_energy_range_uj", 100e6);
    counter_write(root, "intel-rapl:1", "energy_uj", 98e6);
    counter_write(root, "intel-rapl:1", "max_energy_range_uj", 100e6);
    qx_energy_start(&e, root);
    assert_int_equal(e.n, 2);
    assert_string_equal(e.reason, "");
    counter_write(root, "intel-rapl:0", "energy_uj", 7.5e6);
    counter_write(root, "intel-rapl:1", "energy_uj", 1e6);
    assert_float_equal(qx_energy_stop(&e), 2.5 + 3, 1e-9);
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
    assert_true(isnan(qx_energy_stop(&e)));
}

/* ---- variants ---- */

static void variants_are_found_by_name_and_describe_a_setting(void **state)
{
    (void)state;
    struct qx_error err;
    const struct qx_variant *v, *found;
    assert_string_equal(qx_variant_at(0)->name, "fp32");
    assert_null(qx_variant_at(-1));
    assert_null(qx_variant_at(qx_variant_count()));
    assert_true(qx_variant_count() <= 16); /* room in the session and on the screen */
    for (int i = 0; i < qx_variant_count(); i++) {
        v = qx_variant_at(i);
        assert_true(strlen(v->title) > 0 && strlen(v->title) <= 12 && strlen(v->help) > 10);
        assert_int_equal(qx_variant_find(v->name, strlen(v->name), &found, &err), QX_OK);
        assert_ptr_equal(found, v);
        struct qx_setting s = qx_variant_setting(v);
        assert_int_equal(qx_setting_check(&s, &err), QX_OK);
        assert_int_equal(s.act.bits, v->bits && !v->is_weights ? 8 : 0);
    }
    assert_int_equal(qx_variant_find("int8-dynamo,x", 11, &found, &err), QX_ENAME);
    assert_non_null(strstr(err.text, "int8-dynamic"));
}

/* ---- kernels ---- */

static void shapes_are_read_or_refused(void **state)
{
    (void)state;
    int64_t v[3];
    struct qx_error err;
    assert_int_equal(qx_kernel_shape("16x768x3072,1x2x3", 11, v, &err), QX_OK);
    assert_true(v[0] == 16 && v[1] == 768 && v[2] == 3072);
    static const char *const wrong[] = {
        "",      "1x2",    "1x2x3x4",     "0x2x3",  "1x-2x3",
        "1xax3", "1x2x3 ", "1x2x9999999", "1x2x3,", "1x1000000x1000000"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(qx_kernel_shape(wrong[i], strlen(wrong[i]), v, &err), QX_ERANGE);
    }
}

static void every_kernel_of_a_shape_has_its_row(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{1, 70, 33}, {3, 5, 7}, {17, 64, 128}};
    const struct qx_machine machine = {.peak_gops = 100};
    struct qx_kernel_row rows[QX_KERNEL_ROWS], again[QX_KERNEL_ROWS];
    struct qx_ctl ctl = {.parent = NULL};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        assert_int_equal(qx_kernel_bench(shapes[i], &machine, 2, NULL, &ctl, rows, NULL), QX_OK);
        for (int k = 0; k < QX_KERNEL_ROWS; k++) {
            assert_true(rows[k].gops > 0 && rows[k].gbs > 0 && rows[k].ratio_openblas > 0);
            assert_int_equal(rows[k].threads, 2);
            assert_true(rows[k].kernel[0] && rows[k].weights[0] && rows[k].note[0]);
        }
        assert_true(strncmp(rows[0].kernel, shapes[i][0] == 1 ? "sgemv" : "sgemm", 5) == 0);
        assert_float_equal(rows[0].ratio_openblas, 1, 0);
        assert_true(isnan(rows[0].peak_share) && !isnan(rows[1].peak_share));
    }
    assert_int_equal(atomic_load(&ctl.done), 3 * QX_KERNEL_ROUNDS);
    assert_int_equal(qx_kernel_bench(shapes[2], &machine, 2, NULL, NULL, again, NULL), QX_OK);
    for (int k = 0; k < QX_KERNEL_ROWS; k++) {
        assert_string_equal(rows[k].kernel, again[k].kernel);
        assert_string_equal(rows[k].shape, again[k].shape);
        assert_string_equal(rows[k].weights, again[k].weights);
    }
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_kernel_bench(shapes[0], &machine, 1, NULL, &ctl, rows, NULL),
                     QX_ECANCELLED);
}

int test_eval_bench(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fewer_than_five_runs_have_no_percentiles),
        cmocka_unit_test(percentiles_are_the_nearest_rank),
        cmocka_unit_test(warm_up_is_not_counted_and_errors_end_it),
        cmocka_unit_test(energy_adds_packages_and_survives_a_wrap),
        cmocka_unit_test(variants_are_found_by_name_and_describe_a_setting),
        cmocka_unit_test(shapes_are_read_or_refused),
        cmocka_unit_test(every_kernel_of_a_shape_has_its_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
