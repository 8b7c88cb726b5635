/* Shapes at the edges: nothing at all, one of everything, sums longer than 32 bits hold. */
#include "integer_fixture.h"
#include "test_net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Scale 1 for the weight and for its input, so that outputs are the sums themselves. */
static struct qx_setting unit_setting(bool w_sym, struct qx_range w, struct qx_range a)
{
    struct qx_setting s = qx_setting_int(8);
    s.gran = QX_GRAN_TENSOR;
    s.scale = QX_SCALE_F32;
    s.sym = w_sym;
    s.calib = qx_calib_find("manual");
    s.has_range = true;
    s.range = w;
    s.act = (struct qx_act){.bits = 8, .gran = QX_ACT_TENSOR, .has_range = true, .range = a};
    s.act.calib = qx_calib_find("manual");
    return s;
}

static const char gemm[] =
    "{'op':'Gemm','name':'m','inputs':['x','w'],'outputs':['y'],'attrs':{'transB':1}}";

/* Every product has the same sign and the largest size: K = 70,000 leaves int32 behind. */
static void check_long_sum(bool w_sym, float w_value, float a_value)
{
    enum { K = 70000, N = 3 };
    float *w = malloc(K * N * sizeof *w), *x = malloc(K * sizeof *x);
    assert_true(w && x);
    for (int i = 0; i < K * N; i++) {
        w[i] = w_value;
    }
    for (int i = 0; i < K; i++) {
        x[i] = a_value;
    }
    const struct tensor_spec t = {"w", "F32", 2, {N, K}, w};
    char input[32];
    struct folder f;
    model_write("model.safetensors", &t, 1, NULL);
    snprintf(input, sizeof input, "['N',%d]", K);
    integer_open_written(&f, gemm, input, "y");
    const struct qx_setting s = unit_setting(
        w_sym, w_sym ? (struct qx_range){-127.0, 127.0} : (struct qx_range){0.0, 255.0},
        (struct qx_range){0.0, 255.0});
    integer_apply(&f, 0, &s);
    integer_prepare(&f, QX_ENGINE_INTEGER);
    float *have = integer_run(&f, x, 1, NULL);
    const int64_t want = (int64_t)w_value * (int64_t)a_value * K;
    assert_true(llabs(want) > INT32_MAX);
    for (int o = 0; o < N; o++) {
        assert_true(fabsf(have[o] - (float)want) <= fabsf((float)want) * 0x1p-22f);
    }
    free(have);
    free(w);
    free(x);
    folder_close(&f);
}

static void sums_beyond_32_bits_are_whole(void **state)
{
    (void)state;
    check_long_sum(true, 127.0f, 255.0f);
    check_long_sum(true, -127.0f, 255.0f);
    check_long_sum(false, 255.0f, 255.0f);
}

/* A product of one input and one output, for one row and for none. */
static void one_of_everything_and_no_row_at_all(void **state)
{
    (void)state;
    const float w = -3.0f, x = 5.0f;
    const struct tensor_spec t = {"w", "F32", 2, {1, 1}, &w};
    const struct qx_setting s =
        unit_setting(true, (struct qx_range){-127.0, 127.0}, (struct qx_range){0.0, 255.0});
    struct folder f;
    model_write("model.safetensors", &t, 1, NULL);
    integer_open_written(&f, gemm, "['N',1]", "y");
    integer_apply(&f, 0, &s);
    integer_prepare(&f, QX_ENGINE_INTEGER);
    float *have = integer_run(&f, &x, 1, NULL);
    assert_float_equal(have[0], -15.0f, 0.0f);
    free(have);
    float untouched = 42.0f;
    struct qx_net_report report = {0};
    struct qx_error err = {0};
    assert_int_equal(qx_net_run(f.net, f.weights, &x, 0, &untouched, &report, NULL, NULL, &err),
                     QX_OK);
    assert_float_equal(untouched, 42.0f, 0.0f);
    assert_int_equal(report.n_nonfinite, 0);
    folder_close(&f);
}

/* A tensor without values beside the network and a factor without axes inside it. */
static void tensors_without_values_and_without_axes(void **state)
{
    (void)state;
    const float w[] = {2.0f, -1.0f, 4.0f, 3.0f}, twice = 2.0f, x[] = {1.0f, 10.0f};
    const struct tensor_spec t[] = {{"w", "F32", 2, {2, 2}, w},
                                    {"twice", "F32", 0, {0}, &twice},
                                    {"nothing", "F32", 2, {0, 4}, w}};
    const struct qx_setting s =
        unit_setting(true, (struct qx_range){-127.0, 127.0}, (struct qx_range){0.0, 255.0});
    struct folder f;
    model_write("model.safetensors", t, 3, NULL);
    integer_open_written(&f,
                         "{'op':'Gemm','name':'m','inputs':['x','w'],'outputs':['z'],"
                         "'attrs':{'transB':1}},"
                         "{'op':'Mul','name':'double','inputs':['z','twice'],'outputs':['y']}",
                         "['N',2]", "y");
    assert_int_equal(qx_net_n_layers(f.net), 1);
    assert_false(qx_net_uses_tensor(f.net, qx_model_find(f.model, "nothing")));
    integer_apply(&f, 0, &s);
    integer_prepare(&f, QX_ENGINE_INTEGER);
    float *have = integer_run(&f, x, 1, NULL);
    assert_float_equal(have[0], -16.0f, 0.0f);
    assert_float_equal(have[1], 68.0f, 0.0f);
    free(have);
    folder_close(&f);
}

/* A weight without values has no layer to run: the network says so when it is opened. */
static void a_weight_without_values_is_refused_by_name(void **state)
{
    (void)state;
    const struct tensor_spec t = {"w", "F32", 2, {0, 4}, &t};
    model_write("model.safetensors", &t, 1, NULL);
    char *json = quoted("{'schema':'qexplore.graph/1','inputs':[{'name':'x','dtype':'F32',"
                        "'shape':['N',4]}],'nodes':[{'op':'Gemm','name':'empty','inputs':['x','w'],"
                        "'outputs':['y'],'attrs':{'transB':1}}],'outputs':['y']}");
    text_write("graph.json", json);
    free(json);
    struct qx_model *model = NULL;
    struct qx_net *net = NULL;
    struct qx_error err = {0};
    assert_int_equal(qx_model_open(".", &model, &err), QX_OK);
    assert_int_equal(qx_net_open(model, &net, &err), QX_EFORMAT);
    assert_non_null(strstr(err.text, "'empty'"));
    assert_non_null(strstr(err.text, "'w'"));
    qx_model_close(&model);
}

int test_net_odd(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_beyond_32_bits_are_whole),
        cmocka_unit_test(one_of_everything_and_no_row_at_all),
        cmocka_unit_test(tensors_without_values_and_without_axes),
        cmocka_unit_test(a_weight_without_values_is_refused_by_name),
    };
    return cmocka_run_group_tests_name("net odd", tests, integer_enter, integer_leave);
}
