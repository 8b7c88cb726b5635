/* What inputs of layers are on average where no data are looked at, and the correction that follows from it. */
#include "net_fixture.h"
#include "qx/links.h"
#include "qx/method.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 4, OUT = 3, DRAWS = 40000 };
static const float gammas[WIDTH] = {1.5f, -0.5f, 2.0f, 0.25f},
                   betas[WIDTH] = {0.5f, -0.3f, 0.0f, 1.0f};

static void clipped_normal_equals_its_integral(void **state)
{
    static const double cases[][4] = {{0.3, 0.7, 0.0, (double)INFINITY},
                                      {-1.0, 0.5, 0.0, 6.0},
                                      {5.0, 2.0, 0.0, 6.0},
                                      {0.2, 1.5, -(double)INFINITY, (double)INFINITY},
                                      {1.0, 0.0, 0.0, 0.5},
                                      {-4.0, 1.0, -(double)INFINITY, -4.5}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double mean = cases[i][0], deviation = cases[i][1];
        double sum = 0.0, weight = 0.0;
        for (double z = -9.0; z <= 9.0; z += 1e-4) {
            const double x = mean + deviation * z, w = exp(-0.5 * z * z);
            sum += w * fmin(fmax(x, cases[i][2]), cases[i][3]);
            weight += w;
        }
        const double ours = qx_clipped_normal_mean(mean, deviation, cases[i][2], cases[i][3]);
        assert_true(fabs(ours - sum / weight) <= 1e-6);
    }
}

/* A batch normalization, a node that cuts, and two products behind it, in the scratch folder. */
static void cut_open(struct folder *f, const char *cut)
{
    static const float zeros[WIDTH], ones[WIDTH] = {1.0f, 1.0f, 1.0f, 1.0f},
                                     bounds[2] = {0.0f, 1.0f};
    const struct tensor_spec tensors[] = {
        {"g", "F32", 1, {WIDTH}, gammas},    {"b", "F32", 1, {WIDTH}, betas},
        {"m", "F32", 1, {WIDTH}, zeros},     {"v", "F32", 1, {WIDTH}, ones},
        {"w", "F32", 2, {OUT, WIDTH}, NULL}, {"w2", "F32", 2, {2, OUT}, NULL},
        {"lo", "F32", 0, {0}, &bounds[0]},   {"hi", "F32", 0, {0}, &bounds[1]}};
    char text[2048];
    model_write("model.safetensors", tensors, 8, NULL);
    snprintf(text, sizeof text,
             "{'schema':'qexplore.graph/1','inputs':[{'name':'x','dtype':'F32','shape':['N',4]}],"
             "'nodes':[{'op':'BatchNormalization','name':'norm','inputs':['x','g','b','m','v'],"
             "'outputs':['n'],'attrs':{'epsilon':1e-9}},%s,"
             "{'op':'Gemm','name':'first','inputs':['c','w'],'outputs':['h'],'attrs':{'transB':1}},"
             "{'op':'Gemm','name':'second','inputs':['h','w2'],'outputs':['y'],"
             "'attrs':{'transB':1}}],'outputs':['y']}",
             cut);
    char *json = quoted(text);
    text_write("graph.json", json);
    free(json);
    folder_open(f, ".");
}

static const char relu[] = "{'op':'Relu','name':'cut','inputs':['n'],'outputs':['c']}";
static const char clip[] = "{'op':'Clip','name':'cut','inputs':['n','lo','hi'],'outputs':['c']}";

static void expected_inputs_are_means_of_draws(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct folder f;
        struct qx_rng rng;
        float expected[WIDTH];
        double mean[WIDTH] = {0.0};
        struct qx_error err = {0};
        cut_open(&f, k ? clip : relu);
        assert_int_equal(qx_net_layer_expected(f.net, 0, expected, &err), QX_OK);
        qx_rng_init(&rng, 5);
        for (int i = 0; i < DRAWS * WIDTH; i++) {
            const int c = i % WIDTH;
            const double x = qx_rng_normal(&rng) * (double)gammas[c] + (double)betas[c];
            mean[c] += fmin(fmax(x, 0.0), k ? 1.0 : (double)INFINITY) / DRAWS;
        }
        for (int c = 0; c < WIDTH; c++) {
            const double band = 5.0 * fabs((double)gammas[c]) / sqrt(DRAWS);
            assert_true(fabs((double)expected[c] - mean[c]) <= band);
        }
        assert_int_equal(qx_net_layer_expected(f.net, 1, expected, &err), QX_EUNSUPPORTED);
        assert_non_null(strstr(err.text, "batch normalization"));
        folder_close(&f);
    }
}

static struct qx_overlay *corrected(const struct folder *f, const struct qx_setting *set, int layer)
{
    struct qx_overlay *o = NULL;
    struct qx_error err = {0};
    if (qx_methods_apply(f->net, layer, set, NULL, NULL, NULL, &o, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return o;
}

/* The mean of the outputs at the expected inputs stays; without a normalization nothing is done, and said. */
static void analytic_correction_keeps_the_mean(void **state)
{
    struct folder f;
    float expected[WIDTH], w[OUT * WIDTH];
    struct qx_setting set[2];
    (void)state;
    cut_open(&f, relu);
    for (int i = 0; i < 2; i++) {
        set[i] = rtn_setting(&f, i, "tensor", 3);
        snprintf(set[i].algo, sizeof set[i].algo, "bias-analytic");
    }
    assert_int_equal(qx_net_layer_expected(f.net, 0, expected, NULL), QX_OK);
    const struct qx_tensor *t = qx_model_tensor(f.model, qx_net_layer(f.net, 0)->tensor);
    assert_int_equal(qx_tensor_read(t, 0, OUT * WIDTH, w, NULL), QX_OK);
    struct qx_overlay *first = corrected(&f, set, 0), *second = corrected(&f, set, 1);
    for (int r = 0; r < OUT; r++) {
        double sum = (double)first->bias[r], most = 0.0;
        for (int c = 0; c < WIDTH; c++) {
            const double d = (double)qx_overlay_value(first, r, c) - (double)w[r * WIDTH + c];
            sum += d * (double)expected[c];
            most = fmax(most, fabs(d * (double)expected[c]));
        }
        assert_true(most > 1e-3 && fabs(sum) <= 1e-5 * most);
    }
    assert_null(second->bias);
    assert_non_null(strstr(second->note, "no batch norm"));
    qx_overlay_free(first);
    qx_overlay_free(second);
    folder_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clipped_normal_equals_its_integral),
        cmocka_unit_test(expected_inputs_are_means_of_draws),
        cmocka_unit_test(analytic_correction_keeps_the_mean),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
