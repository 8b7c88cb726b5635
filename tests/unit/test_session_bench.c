/* Rows of the benchmark: what does not depend on the clock, cancelling, what cannot run. */
#include "test_session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct qx_bench_options quick(int n_runs)
{
    struct qx_bench_options o = qx_bench_options_default();
    o.n_runs = n_runs;
    o.n_warmup = 1;
    o.energy_root = "/nonexistent";
    return o;
}

static const struct qx_variant *variant(const char *name)
{
    const struct qx_variant *v = NULL;
    assert_int_equal(qx_variant_find(name, strlen(name), &v, NULL), QX_OK);
    return v;
}

static void what_is_not_timed_is_the_same_every_time(void **state)
{
    (void)state;
    static const char *const names[] = {"fp32", "fp16-convert", "fp16",         "int8-weights",
                                        "int8", "int8-dynamic", "int4-weights", "int4-g32"};
    const struct qx_bench_options o = quick(5);
    struct qx_session *s = fixture_open(fixture_folder(), NULL, true);
    uint64_t bytes = UINT64_MAX;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct qx_bench_row a, b;
        assert_int_equal(qx_session_run_bench(s, variant(names[i]), &o, NULL, &a, NULL), QX_OK);
        assert_int_equal(qx_session_run_bench(s, variant(names[i]), &o, NULL, &b, NULL), QX_OK);
        assert_int_equal(a.state, QX_BENCH_DONE);
        assert_true(a.bytes == b.bytes && a.bytes <= bytes);
        assert_true(a.correct == b.correct && a.n == 300 && b.n == 300);
        assert_true(a.macs == 6 * 8 + 8 * 3 && a.bytes_moved == b.bytes_moved);
        assert_string_equal(a.figures.kernel, b.figures.kernel);
        assert_true(isnan(a.figures.energy_j) && a.figures.energy_reason[0]);
        assert_true(isnan(a.speedup));
        assert_int_equal(a.figures.latency.n_runs, 5);
        assert_false(isnan(a.figures.latency.p50_ms));
        assert_true(a.figures.throughput > 0);
        static const enum qx_engine engines[] = {
            QX_ENGINE_SIMULATED, QX_ENGINE_SIMULATED, QX_ENGINE_PACKED, QX_ENGINE_PACKED,
            QX_ENGINE_INTEGER,   QX_ENGINE_INTEGER,   QX_ENGINE_PACKED, QX_ENGINE_INTEGER};
        assert_int_equal(a.figures.engine, engines[i]);
        assert_int_equal(a.figures.convert_ms > 0, variant(names[i])->converts);
        bytes = a.bytes;
    }
    assert_int_equal(qx_session_n_edits(s), 0);
    qx_session_close(&s);
}

static void cancelled_runs_and_models_without_network_say_so(void **state)
{
    (void)state;
    struct qx_bench_row row;
    struct qx_error err;
    struct qx_ctl ctl = {.parent = NULL};
    const struct qx_bench_options o = quick(3);
    struct qx_session *s = fixture_open(fixture_folder(), NULL, true);
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_session_run_bench(s, variant("int8"), &o, &ctl, &row, &err), QX_ECANCELLED);
    assert_int_equal(row.state, QX_BENCH_CANCELLED);
    assert_int_equal(qx_session_run_bench(s, variant("int8"), &o, NULL, &row, &err), QX_OK);
    assert_true(isnan(row.figures.latency.p50_ms)); /* 3 runs */
    qx_session_close(&s);
    s = fixture_open(fixture_plain(), NULL, true);
    assert_int_equal(qx_session_run_bench(s, variant("fp32"), &o, NULL, &row, &err),
                     QX_EUNSUPPORTED);
    assert_int_equal(row.state, QX_BENCH_FAILED);
    assert_string_equal(row.reason, err.text);
    qx_session_close(&s);
}

static void rows_fill_in_the_background_one_at_a_time(void **state)
{
    (void)state;
    struct qx_bench_row row;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, false);
    assert_false(qx_session_bench_row(s, qx_variant_count() + 1, &row));
    assert_true(qx_session_bench_row(s, 0, &row));
    assert_int_equal(row.state, QX_BENCH_NONE);
    qx_session_bench(s, -1);
    for (int i = 2; i <= qx_variant_count(); i++) {
        assert_true(qx_session_bench_row(s, i, &row));
        assert_int_equal(row.state, QX_BENCH_QUEUED);
        assert_true(row.job > 0);
        qx_session_cancel(s, row.job);
    }
    qx_session_bench(s, 0); /* out already */
    for (int i = 0; i < 600 && !qx_session_idle(s); i++) {
        qx_session_settle(s, 100);
        qx_session_poll(s);
    }
    assert_true(qx_session_idle(s));
    for (int i = 0; i < qx_variant_count(); i++) {
        assert_true(qx_session_bench_row(s, i, &row));
        assert_int_equal(row.state, i < 2 ? QX_BENCH_DONE : QX_BENCH_CANCELLED);
        assert_int_equal(isnan(row.speedup), i >= 2);
        assert_int_equal(row.job, 0);
        assert_string_equal(row.variant->name, qx_variant_at(i)->name);
    }
    qx_session_bench_row(s, 0, &row);
    assert_float_equal(row.speedup, 1, 0);
    int n = 0;
    struct qx_job_info job;
    for (int i = 0; qx_session_job(s, i, &job); i++) {
        n += strncmp(job.title, "bench of ", 9) == 0;
    }
    assert_int_equal(n, qx_variant_count() + 1);
    qx_session_close(&s);
}

static void act_on(struct qx_session *s, const char *name, int bits)
{
    const int64_t item = fixture_item(s, name);
    const struct qx_patch p = {.fields = QX_PATCH_ACT_BITS, .value = {.act = {.bits = bits}}};
    assert_int_equal(qx_session_edit(s, &item, 1, &p, false, NULL), QX_OK);
}

/* The recipe's row is of the recipe when it was asked for; a later edit is told. */
static void the_recipe_is_a_row_too(void **state)
{
    (void)state;
    const struct qx_bench_options o = quick(5);
    struct qx_bench_row row, int8;
    struct qx_totals totals;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, true);
    assert_int_equal(qx_session_run_bench(s, &qx_variant_recipe, &o, NULL, &row, NULL), QX_OK);
    assert_string_equal(row.figures.kernel, "sgemm openblas");
    assert_false(row.is_quantized);
    act_on(s, "fc1", 8);
    act_on(s, "fc2", 8);
    assert_int_equal(qx_session_run_bench(s, &qx_variant_recipe, &o, NULL, &row, NULL), QX_OK);
    assert_int_equal(qx_session_run_bench(s, variant("int8"), &o, NULL, &int8, NULL), QX_OK);
    assert_true(row.is_quantized && row.figures.engine == QX_ENGINE_INTEGER);
    assert_string_equal(row.figures.kernel, int8.figures.kernel); /* it is the same, spelled out */
    assert_true(row.bytes == int8.bytes && row.bytes_moved == int8.bytes_moved);
    assert_int_equal(row.correct, int8.correct);
    act_on(s, "fc2", 0);
    assert_int_equal(qx_session_run_bench(s, &qx_variant_recipe, &o, NULL, &row, NULL), QX_OK);
    assert_non_null(strstr(row.figures.kernel, "1 gemm_u8s8"));
    assert_non_null(strstr(row.figures.kernel, "1 gemm_f32s8"));
    assert_true(row.bytes_moved > int8.bytes_moved);
    qx_session_close(&s);

    const int last = qx_variant_count();
    s = fixture_open(fixture_folder(), NULL, false);
    fixture_bits(s, "fc1", 4);
    fixture_settle(s);
    qx_session_totals(s, &totals);
    qx_session_bench(s, last);
    fixture_bits(s, "fc1", 8); /* does not reach the copy */
    fixture_settle(s);
    assert_true(qx_session_bench_row(s, last, &row));
    assert_int_equal(row.state, QX_BENCH_DONE);
    assert_ptr_equal(row.variant, &qx_variant_recipe);
    assert_true(row.bytes == totals.bytes && row.is_stale);
    assert_true(qx_session_undo(s));
    assert_true(qx_session_bench_row(s, last, &row) && !row.is_stale);
    qx_session_close(&s);
}

static void a_session_closes_in_the_middle_of_a_benchmark(void **state)
{
    (void)state;
    struct qx_session *s = fixture_open(fixture_folder(), NULL, false);
    qx_session_bench(s, -1);
    qx_session_settle(s, 50);
    qx_session_close(&s);
}

int test_session_bench(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_timed_is_the_same_every_time),
        cmocka_unit_test(cancelled_runs_and_models_without_network_say_so),
        cmocka_unit_test(rows_fill_in_the_background_one_at_a_time),
        cmocka_unit_test(the_recipe_is_a_row_too),
        cmocka_unit_test(a_session_closes_in_the_middle_of_a_benchmark),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
