/* High-bias absorption: what is taken off, by hand; that the function is what it was as far as the paper says; and that
 * windows padded with zeros keep theirs. */
#include "net_fixture.h"
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

enum { K = 4, N = 3, ROWS = 4000, SECOND = 1 };

static const float gamma_of[K] = {0.5f, 1.0f, -0.25f, 2.0f};
static const float beta_of[K] = {4.0f, 2.0f, 1.5f, 6.5f};
/* On the grid of 8 bits, so that nothing of it is rounded. */
static const float weight[N * K] = {127.0f, -64.0f, 3.0f,   21.0f, -127.0f, 8.0f,
                                    90.0f,  1.0f,   -55.0f, 12.0f, 127.0f,  -30.0f};

/* x -> identity -> batch normalization (or gamma and beta as a bias) -> Relu -> weight. */
static void net_open(struct folder *f, bool has_norm)
{
    static const float identity[K * K] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    static const float mean[K] = {0}, variance[K] = {0.99999f, 0.99999f, 0.99999f, 0.99999f};
    const struct tensor_spec tensors[] = {
        {"a", "F32", 2, {K, K}, identity}, {"g", "F32", 1, {K}, gamma_of},
        {"b", "F32", 1, {K}, beta_of},     {"m", "F32", 1, {K}, mean},
        {"v", "F32", 1, {K}, variance},    {"w", "F32", 2, {N, K}, weight}};
    char text[1024];
    snprintf(
        text, sizeof text,
        "{'schema':'qexplore.graph/1','inputs':[{'name':'x','dtype':'F32','shape':['N',4]}],"
        "'nodes':[{'op':'Gemm','name':'first','inputs':['x','a'%s],'outputs':['h'],'attrs':"
        "{'transB':1}},%s{'op':'Relu','name':'relu','inputs':['%s'],'outputs':['r'],'attrs':{}},"
        "{'op':'Gemm','name':'second','inputs':['r','w'],'outputs':['y'],'attrs':{'transB':1}}],"
        "'outputs':['y']}",
        has_norm ? "" : ",'b'",
        has_norm ? "{'op':'BatchNormalization','name':'n','inputs':['h','g','b','m','v'],"
                   "'outputs':['z'],'attrs':{'epsilon':1e-05}},"
                 : "",
        has_norm ? "z" : "h");
    char *json = quoted(text);
    model_write("model.safetensors", tensors, 6, NULL);
    text_write("graph.json", json);
    free(json);
    folder_open(f, ".");
}

/* What the second layer sees of the rows, as moments. */
struct seen {
    float second[K * K], mean[K], mean_abs[K], lo[K], hi[K];
    struct qx_moments m;
};

static void see(struct seen *s, const struct folder *f, const float *x, bool has_norm)
{
    memset(s, 0, sizeof *s);
    for (int i = 0; i < ROWS; i++) {
        float z[K];
        for (int j = 0; j < K; j++) {
            z[j] = fmaxf(x[i * K + j] * (has_norm ? gamma_of[j] : 1.0f) + beta_of[j], 0.0f);
            s->mean[j] += z[j] / ROWS;
            s->hi[j] = fmaxf(s->hi[j], z[j]);
        }
        for (int j = 0; j < K * K; j++) {
            s->second[j] += z[j / K] * z[j % K] / ROWS;
        }
    }
    s->m = (struct qx_moments){.n_columns = ROWS,
                               .second = s->second,
                               .mean = s->mean,
                               .mean_abs = s->mean_abs,
                               .lo = s->lo,
                               .hi = s->hi};
    assert_true(qx_net_layer_product(f->net, SECOND, &s->m.product));
}

static float *rows_draw(void)
{
    struct qx_rng rng;
    float *x = malloc(ROWS * K * sizeof *x);
    assert_non_null(x);
    qx_rng_init(&rng, 5);
    for (int i = 0; i < ROWS * K; i++) {
        x[i] = (float)qx_rng_normal(&rng);
    }
    return x;
}

static struct qx_overlay *absorb(struct folder *f, const struct seen *s, int bits,
                                 struct qx_setting *set)
{
    struct qx_overlay *o = NULL;
    struct qx_error err = {0};
    set[0] = qx_setting_fp32();
    set[SECOND] = rtn_setting(f, SECOND, "channel", bits);
    set[SECOND].act = qx_act_static(8);
    set[SECOND].act.has_range = true;
    snprintf(set[SECOND].algo, sizeof set[SECOND].algo, "absorb");
    if (qx_methods_apply(f->net, SECOND, set, &s->m, NULL, NULL, &o, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    set[SECOND].overlay = o;
    return o;
}

static double high_of(int j)
{
    return fmax(0.0, (double)beta_of[j] - 3.0 * fabs((double)gamma_of[j]));
}

/* c = max(0, beta - 3 |gamma|); the correction is the rounding's error on it; the range begins at 0. */
static void batch_norm_says_what_is_absorbed(void **state)
{
    struct folder f;
    struct seen s;
    struct qx_setting set[2];
    double most = 0.0;
    (void)state;
    float *x = rows_draw();
    net_open(&f, true);
    see(&s, &f, x, true);
    struct qx_overlay *o = absorb(&f, &s, 3, set);
    assert_non_null(o->in_shift);
    for (int j = 0; j < K; j++) {
        assert_true(fabs((double)o->in_shift[j] - high_of(j)) < 1e-6);
        most = fmax(most, (double)s.hi[j] - high_of(j));
    }
    assert_true(fabs(o->in_range.hi - most) < 1e-5 && o->in_range.lo == 0.0);
    for (int i = 0; i < N; i++) {
        double taken = 0.0, lost = 0.0;
        for (int j = 0; j < K; j++) {
            const double v = (double)qx_overlay_value(o, i, j);
            taken += v * high_of(j);
            lost += ((double)weight[i * K + j] - v) * high_of(j);
        }
        assert_true(fabs(qx_overlay_shifted(o, i) - taken) < 1e-3);
        assert_true(fabs((double)o->bias[i] - lost) < 1e-3);
    }
    assert_non_null(strstr(o->note, "3 of 4 channels absorbed, by batch norm"));
    qx_overlay_free(o);
    folder_close(&f);
    free(x);
}

/* Without a norm, mean and deviation of the rows say it. */
static void rows_say_what_is_absorbed(void **state)
{
    struct folder f;
    struct seen s;
    struct qx_setting set[2];
    (void)state;
    float *x = rows_draw();
    net_open(&f, false);
    see(&s, &f, x, false);
    struct qx_overlay *o = absorb(&f, &s, 8, set);
    for (int j = 0; j < K; j++) { /* deviation 1 but for the draw */
        assert_true(fabs((double)o->in_shift[j] - fmax(0.0, (double)beta_of[j] - 3.0)) < 0.1);
    }
    assert_non_null(strstr(o->note, "by calibration rows"));
    qx_overlay_free(o);
    folder_close(&f);
    free(x);
}

/* Rows that stay above what is absorbed give what they gave, within a step of the inputs; 0.135 % of the values do
 * not, and those count as c: the extent that the paper states. */
static void function_stays_to_the_stated_extent(void **state)
{
    struct folder f;
    struct seen s;
    struct qx_setting set[2];
    struct qx_error err = {0};
    int n_high = 0, n_cut = 0;
    (void)state;
    float *x = rows_draw(), *fp32 = malloc(ROWS * N * sizeof *fp32);
    float *y = malloc(ROWS * N * sizeof *y);
    assert_true(fp32 && y);
    net_open(&f, true);
    see(&s, &f, x, true);
    assert_int_equal(qx_net_run(f.net, f.weights, x, ROWS, fp32, NULL, NULL, NULL, &err), QX_OK);
    struct qx_overlay *o = absorb(&f, &s, 8, set);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(qx_weights_apply(f.weights, i, &set[i], NULL, NULL, &err), QX_OK);
    }
    assert_int_equal(qx_net_run(f.net, f.weights, x, ROWS, y, NULL, NULL, NULL, &err), QX_OK);
    const double step = o->in_range.hi / 255.0;
    for (int j = 0; j < K; j++) {
        n_high += high_of(j) > 0.0;
    }
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < N; i++) {
            double wanted = (double)fp32[r * N + i], slack = 0.01;
            for (int j = 0; j < K; j++) {
                const double z = (double)x[r * K + j] * (double)gamma_of[j] + (double)beta_of[j];
                const double below = high_of(j) - fmax(z, 0.0);
                wanted += below > 0.0 ? (double)weight[i * K + j] * below : 0.0;
                slack += 0.5 * step * fabs((double)weight[i * K + j]);
                n_cut += i == 0 && below > 0.0;
            }
            assert_true(fabs((double)y[r * N + i] - wanted) <= slack);
        }
    }
    const double share = (double)n_cut / (ROWS * n_high);
    assert_true(share > 0.0005 && share < 0.0025); /* 0.00135 of a normal */
    qx_overlay_free(o);
    folder_close(&f);
    free(x);
    free(fp32);
    free(y);
}

/* A window padded with zeros keeps its inputs. */
static void padded_windows_keep_theirs(void **state)
{
    static const float taps[1 * 1 * 3 * 3] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    const struct tensor_spec tensor = {"w", "F32", 4, {1, 1, 3, 3}, taps};
    float mean[9], second[81] = {0}, lo[9] = {0}, hi[9];
    (void)state;
    for (int pad = 0; pad < 2; pad++) {
        struct folder f;
        struct qx_overlay *o = NULL;
        struct qx_error err = {0};
        char text[512];
        snprintf(
            text, sizeof text,
            "{'schema':'qexplore.graph/1','inputs':[{'name':'x','dtype':'F32','shape':['N',1,3,"
            "3]}],'nodes':[{'op':'Conv','name':'c','inputs':['x','w'],'outputs':['y'],'attrs':"
            "{'kernel_shape':[3,3],'pads':[%d,%d,%d,%d]}},{'op':'Flatten','name':'f','inputs':['y']"
            ","
            "'outputs':['z'],'attrs':{'axis':1}}],'outputs':['z']}",
            pad, pad, pad, pad);
        char *json = quoted(text);
        model_write("model.safetensors", &tensor, 1, NULL);
        text_write("graph.json", json);
        free(json);
        folder_open(&f, ".");
        for (int j = 0; j < 9; j++) {
            mean[j] = hi[j] = 2.0f;
            second[j * 9 + j] = 4.0f;
        }
        struct qx_moments m = {.n_columns = 9, .second = second, .mean = mean, .mean_abs = mean};
        m.lo = lo;
        m.hi = hi;
        assert_true(qx_net_layer_product(f.net, 0, &m.product));
        assert_int_equal(m.product.is_padded, pad);
        struct qx_setting set = rtn_setting(&f, 0, "channel", 4);
        set.act = qx_act_dynamic(8);
        snprintf(set.algo, sizeof set.algo, "absorb");
        assert_int_equal(qx_methods_apply(f.net, 0, &set, &m, NULL, NULL, &o, &err), QX_OK);
        assert_int_equal(o->in_shift != NULL, !pad);
        assert_true(pad || o->in_shift[0] == 2.0f);
        qx_overlay_free(o);
        folder_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_norm_says_what_is_absorbed),
        cmocka_unit_test(rows_say_what_is_absorbed),
        cmocka_unit_test(function_stays_to_the_stated_extent),
        cmocka_unit_test(padded_windows_keep_theirs),
    };
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
