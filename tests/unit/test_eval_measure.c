/* Accuracy, its interval, macro F1, margins, subsets, and two measurements compared. */
#include "base/pool.h"
#include "net_fixture.h"
#include "test_eval.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_CLASSES = 4, N_MANY = 5000 };

static struct folder net; /* the logits are the input */

static int enter_folder(void **state)
{
    static const struct tensor_spec unused[] = {{"w", "F32", 1, {1}, NULL}};
    if (scratch_enter(state) != 0) {
        return -1;
    }
    model_write("model.safetensors", unused, 1, NULL);
    char *json =
        quoted("{'schema':'qexplore.graph/1','inputs':[{'name':'x','dtype':'F32','shape':['N',"
               "4]}],'nodes':[{'op':'Identity','name':'i','inputs':['x'],'outputs':['y']}],"
               "'outputs':['y']}");
    text_write("graph.json", json);
    free(json);
    folder_open(&net, ".");
    return 0;
}

static int leave_folder(void **state)
{
    folder_close(&net);
    return scratch_leave(state);
}

/* Measures rows of logits against labels. */
static struct qx_eval_result *measure(const float *x, const uint8_t *labels, int64_t n,
                                      const struct qx_eval_options *options)
{
    const struct tensor_spec tensors[] = {{"x", "F32", 2, {n, N_CLASSES}, x},
                                          {"labels", "U8", 1, {n}, labels}};
    struct qx_dataset *data = NULL;
    struct qx_eval_result *r = NULL;
    struct qx_error err = {0};
    model_write("d.safetensors", tensors, 2, NULL);
    assert_int_equal(qx_dataset_open("d.safetensors", net.net, &data, &err), QX_OK);
    if (qx_eval_run(net.net, data, net.weights, options, NULL, NULL, &r, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    qx_dataset_close(&data);
    return r;
}

static void figures_are_those_worked_by_hand(void **state)
{
    (void)state;
    const float x[6][N_CLASSES] = {{1, 0, 0, 0}, {0, 2, 2, 0},   {0, 0, 0, 5},
                                   {3, 1, 0, 0}, {NAN, 1, 0, 0}, {0, 0, 0, 0}};
    const uint8_t labels[6] = {0, 2, 3, 1, 1, 0};
    const int32_t predicted[6] = {0, 1, 3, 0, 1, 0}; /* lowest index on a tie, NaN loses */
    const float margin[6] = {1, 0, 5, -2, 1, 0};
    struct qx_eval_result *r = measure(&x[0][0], labels, 6, NULL);
    assert_int_equal(r->n, 6);
    assert_int_equal(r->correct, 4);
    assert_true(r->accuracy == 4.0 / 6.0);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(r->rows[i], i);
        assert_int_equal(r->label[i], labels[i]);
        assert_int_equal(r->predicted[i], predicted[i]);
        assert_true(r->margin[i] == margin[i]);
    }
    assert_true(fabs(r->macro_f1 - (0.8 + 0.5 + 0.0 + 1.0) / 4.0) < 1e-12);
    assert_true(r->ci_lo < r->accuracy && r->accuracy < r->ci_hi && r->time_s >= 0.0);
    qx_eval_result_free(r);
}

/* A row without numbers loses; where all are so, there is no figure. */
static void rows_of_no_numbers_are_no_figure(void **state)
{
    (void)state;
    const float x[2][N_CLASSES] = {{NAN, 0, 0, 0}, {0, 0, NAN, 0}};
    const uint8_t labels[2] = {0, 1};
    const struct tensor_spec tensors[] = {{"x", "F32", 2, {2, N_CLASSES}, x},
                                          {"labels", "U8", 1, {2}, labels}};
    struct qx_dataset *data = NULL;
    struct qx_eval_result *r = NULL;
    struct qx_error err;
    model_write("d.safetensors", tensors, 2, NULL);
    assert_int_equal(qx_dataset_open("d.safetensors", net.net, &data, NULL), QX_OK);
    assert_int_equal(qx_eval_run(net.net, data, net.weights, NULL, NULL, NULL, &r, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "all 2 rows"));
    assert_null(r);
    qx_dataset_close(&data);
}

static void macro_f1_leaves_out_classes_that_do_not_occur(void **state)
{
    (void)state;
    const float x[2][N_CLASSES] = {{1, 0, 0, 0}, {1, 0, 0, 0}};
    const uint8_t labels[2] = {0, 1};
    struct qx_eval_result *r = measure(&x[0][0], labels, 2, NULL);
    assert_true(fabs(r->macro_f1 - (2.0 / 3.0 + 0.0) / 2.0) < 1e-12);
    qx_eval_result_free(r);
}

/* The mean of the harmonic means of precision and recall, from the confusion matrix: another way to the same. */
static void macro_f1_equals_that_of_precision_and_recall(void **state)
{
    (void)state;
    enum { N = 400 };
    float x[N][N_CLASSES];
    uint8_t labels[N];
    unsigned seed = 7;
    double table[N_CLASSES][N_CLASSES] = {{0}}, sum = 0.0;
    for (int i = 0; i < N; i++) {
        int top = 0;
        labels[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 30);
        for (int c = 0; c < N_CLASSES; c++) {
            x[i][c] = (float)((seed = seed * 1664525u + 1013904223u) >> 8) * 0x1p-24f;
            x[i][c] += c == labels[i] ? 0.3f : 0.0f;
            top = x[i][c] > x[i][top] ? c : top;
        }
        table[labels[i]][top] += 1.0;
    }
    for (int c = 0; c < N_CLASSES; c++) {
        double row = 0.0, column = 0.0;
        for (int k = 0; k < N_CLASSES; k++) {
            row += table[c][k];
            column += table[k][c];
        }
        const double precision = table[c][c] / column, recall = table[c][c] / row;
        sum += 2.0 * precision * recall / (precision + recall);
    }
    struct qx_eval_result *r = measure(&x[0][0], labels, N, NULL);
    assert_true(fabs(r->macro_f1 - sum / N_CLASSES) < 1e-12);
    assert_true(fabs(r->macro_f1 - r->accuracy) > 1e-4); /* it is another figure */
    qx_eval_result_free(r);
}

/* Rows whose label is their number modulo the classes, and right for three of four. */
static void make_many(float *x, uint8_t *labels)
{
    for (int i = 0; i < N_MANY; i++) {
        labels[i] = (uint8_t)(i % N_CLASSES);
        for (int c = 0; c < N_CLASSES; c++) {
            x[i * N_CLASSES + c] = c == (i % 4 == 3 ? 0 : i % N_CLASSES) ? 1.0f : 0.0f;
        }
    }
}

static void a_subset_is_drawn_by_seed_in_row_order(void **state)
{
    (void)state;
    float *x = malloc(N_MANY * N_CLASSES * sizeof *x);
    uint8_t *labels = malloc(N_MANY);
    int *drawn = calloc(N_MANY, sizeof *drawn);
    assert_true(x && labels && drawn);
    make_many(x, labels);
    struct qx_eval_options o = {.max_samples = 500, .seed = 1};
    struct qx_eval_result *first = measure(x, labels, N_MANY, &o);
    struct qx_eval_result *again = measure(x, labels, N_MANY, &o);
    assert_int_equal(first->n, 500);
    assert_memory_equal(first->rows, again->rows, 500 * sizeof *first->rows);
    for (int i = 0; i < 500; i++) {
        assert_true(i == 0 || first->rows[i] > first->rows[i - 1]);
        assert_int_equal(first->label[i], labels[first->rows[i]]);
    }
    qx_eval_result_free(again);
    for (o.seed = 2; o.seed < 42; o.seed++) {
        again = measure(x, labels, N_MANY, &o);
        assert_memory_not_equal(first->rows, again->rows, 500 * sizeof *first->rows);
        for (int i = 0; i < 500; i++) {
            drawn[again->rows[i]]++;
        }
        qx_eval_result_free(again);
    }
    /* 20,000 draws over ten tenths: 2,000 each, standard deviation below 45. */
    for (int tenth = 0; tenth < 10; tenth++) {
        int n = 0;
        for (int i = 0; i < N_MANY / 10; i++) {
            n += drawn[tenth * N_MANY / 10 + i];
        }
        assert_in_range(n, 1800, 2200);
    }
    qx_eval_result_free(first);
    free(x);
    free(labels);
    free(drawn);
}

static void as_many_samples_as_rows_are_all_rows(void **state)
{
    (void)state;
    float *x = malloc(N_MANY * N_CLASSES * sizeof *x);
    uint8_t *labels = malloc(N_MANY);
    assert_true(x && labels);
    make_many(x, labels);
    static const int64_t samples[] = {0, N_MANY, N_MANY + 1};
    for (int k = 0; k < 3; k++) {
        struct qx_eval_result *r =
            measure(x, labels, N_MANY, &(struct qx_eval_options){.max_samples = samples[k]});
        assert_int_equal(r->n, N_MANY);
        assert_int_equal(r->correct, N_MANY / 4 * 3);
        qx_eval_result_free(r);
    }
    free(x);
    free(labels);
}

static void cancelling_is_reported(void **state)
{
    (void)state;
    const float x[N_CLASSES] = {0};
    const uint8_t label = 0;
    const struct tensor_spec tensors[] = {{"x", "F32", 2, {1, N_CLASSES}, x},
                                          {"labels", "U8", 1, {1}, &label}};
    struct qx_dataset *data = NULL;
    struct qx_eval_result *r = NULL;
    struct qx_ctl ctl = {0};
    model_write("d.safetensors", tensors, 2, NULL);
    assert_int_equal(qx_dataset_open("d.safetensors", net.net, &data, NULL), QX_OK);
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_eval_run(net.net, data, net.weights, NULL, NULL, &ctl, &r, NULL),
                     QX_ECANCELLED);
    assert_null(r);
    qx_dataset_close(&data);
}

/* Figures by Python's integers and fractions: p = min(1, 2 sum_k<=min C(n, k) / 2^n). */
static void mcnemar_is_the_exact_test(void **state)
{
    (void)state;
    static const struct {
        int lost, gained;
        double p;
    } cases[] = {
        {0, 0, 1.0},
        {0, 1, 1.0},
        {0, 6, 0.03125},
        {6, 0, 0.03125},
        {3, 12, 0.03515625},
        {5, 5, 1.0},
        {2, 9, 0.0654296875},
        {40, 61, 0.0460440669293428},
        {300, 420, 8.80775616861508e-06},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        int64_t rows[1000];
        int32_t label[1000], right[1000], changed[1000];
        for (int i = 0; i < 1000; i++) {
            const bool is_lost = i < cases[k].lost;
            const bool is_gained = !is_lost && i < cases[k].lost + cases[k].gained;
            rows[i] = i;
            label[i] = 1;
            right[i] = is_gained ? 0 : 1;
            changed[i] = is_lost ? 2 : 1;
        }
        const struct qx_eval_result a = {.n = 1000,
                                         .rows = rows,
                                         .label = label,
                                         .predicted = right,
                                         .accuracy = 1.0 - cases[k].gained / 1000.0};
        const struct qx_eval_result b = {.n = 1000,
                                         .rows = rows,
                                         .label = label,
                                         .predicted = changed,
                                         .accuracy = 1.0 - cases[k].lost / 1000.0};
        struct qx_eval_pair pair;
        assert_int_equal(qx_eval_compare(&a, &b, &pair, NULL), QX_OK);
        assert_int_equal(pair.lost, cases[k].lost);
        assert_int_equal(pair.gained, cases[k].gained);
        assert_int_equal(pair.flips, cases[k].lost + cases[k].gained);
        assert_true(fabs(pair.agreement - (1.0 - (double)pair.flips / 1000.0)) < 1e-12);
        assert_true(fabs(pair.delta - (cases[k].gained - cases[k].lost) / 1000.0) < 1e-12);
        assert_true(fabs(pair.mcnemar_p - cases[k].p) <= 1e-9 * cases[k].p);
    }
}

static void other_rows_are_not_compared(void **state)
{
    (void)state;
    int64_t rows[] = {0, 1}, others[] = {0, 2};
    int32_t label[] = {0, 0};
    const struct qx_eval_result a = {.n = 2, .rows = rows, .label = label, .predicted = label};
    const struct qx_eval_result b = {.n = 2, .rows = others, .label = label, .predicted = label};
    const struct qx_eval_result c = {.n = 1, .rows = rows, .label = label, .predicted = label};
    struct qx_eval_pair pair;
    struct qx_error err = {0};
    assert_int_equal(qx_eval_compare(&a, &b, &pair, &err), QX_EDATA);
    assert_int_equal(qx_eval_compare(&a, &c, &pair, &err), QX_EDATA);
    assert_int_equal(qx_eval_compare(&a, &a, &pair, &err), QX_OK);
}

static void what_changes_most_comes_first(void **state)
{
    (void)state;
    int64_t rows[] = {10, 11, 12, 13, 14}, other_rows[] = {10, 11, 12, 13, 15};
    int32_t label[] = {0, 1, 2, 0, 1}, before[] = {0, 1, 2, 1, 1}, after[] = {0, 1, 0, 0, 1};
    float margin_a[] = {1.0f, 2.0f, 0.5f, -0.2f, 3.0f},
          margin_b[] = {4.0f, 2.0f, -0.1f, 0.7f, 2.5f};
    const struct qx_eval_result
        a = {.n = 5, .rows = rows, .label = label, .predicted = before, .margin = margin_a},
        b = {.n = 5, .rows = rows, .label = label, .predicted = after, .margin = margin_b};
    struct qx_eval_change v[5];
    int64_t n = -1;
    assert_int_equal(qx_eval_changes(&a, &b, QX_CHANGES_ANSWERS, 5, v, &n, NULL), QX_OK);
    assert_int_equal(n, 4); /* row 11 does not change */
    static const int64_t want[] = {13, 12, 10, 14};
    for (int i = 0; i < 4; i++) { /* the two whose class changes first, the larger change before */
        assert_int_equal(v[i].row, want[i]);
        assert_true(isnan(v[i].kl_a) && isnan(v[i].kl_b));
    }
    assert_true(v[0].top_a == 1 && v[0].top_b == 0 && v[0].label == 0);
    assert_true(v[0].before == -0.2f && v[0].after == 0.7f);
    assert_int_equal(qx_eval_changes(&a, &b, QX_CHANGES_ANSWERS, 3, v, &n, NULL), QX_OK);
    assert_int_equal(n, 3);
    assert_int_equal(v[2].row, 10);
    assert_int_equal(qx_eval_changes(&a, &b, QX_CHANGES_KL, 3, v, &n, NULL), QX_EDATA);
    struct qx_eval_result other = b;
    other.rows = other_rows;
    assert_int_equal(qx_eval_changes(&a, &other, QX_CHANGES_ANSWERS, 5, v, &n, NULL), QX_EDATA);
}

static void wilson_gives_the_published_interval(void **state)
{
    (void)state;
    static const struct {
        int64_t correct, n;
        double lo, hi;
    } cases[] = {
        {820, 900, 0.890728442508, 0.927999086740},
        {0, 10, 0.0, 0.277540168767},
        {10, 10, 0.722459831233, 1.0},
        {1, 2, 0.094528654801, 0.905471345199},
        {9424, 9500, 0.989999070204, 0.993603181753},
        {0, 0, 0.0, 1.0},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        double lo, hi;
        qx_wilson(cases[k].correct, cases[k].n, &lo, &hi);
        assert_true(fabs(lo - cases[k].lo) < 1e-11 && fabs(hi - cases[k].hi) < 1e-11);
    }
}

int test_eval_measure(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_worked_by_hand),
        cmocka_unit_test(rows_of_no_numbers_are_no_figure),
        cmocka_unit_test(macro_f1_leaves_out_classes_that_do_not_occur),
        cmocka_unit_test(macro_f1_equals_that_of_precision_and_recall),
        cmocka_unit_test(what_changes_most_comes_first),
        cmocka_unit_test(a_subset_is_drawn_by_seed_in_row_order),
        cmocka_unit_test(as_many_samples_as_rows_are_all_rows),
        cmocka_unit_test(cancelling_is_reported),
        cmocka_unit_test(mcnemar_is_the_exact_test),
        cmocka_unit_test(other_rows_are_not_compared),
        cmocka_unit_test(wilson_gives_the_published_interval),
    };
    return cmocka_run_group_tests_name("eval measure", tests, enter_folder, leave_folder);
}
