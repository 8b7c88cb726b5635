/* Methods: GPTQ against its definition written out plainly, and on samples; overlays and their file. */
#include "base/pool.h"
#include "base/rng.h"
#include "net_fixture.h"
#include "qx/method.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct folder mlp;

static int setup(void **state)
{
    char path[512];
    (void)state;
    source_path(path, sizeof path, "samples/fashion-mlp");
    folder_open(&mlp, path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_close(&mlp);
    return 0;
}

/* The last layer of the sample, and moments of the caller's. */
struct bench {
    int layer;
    struct qx_net_product p;
    const struct qx_layer *info;
    const struct qx_tensor *tensor;
    struct qx_setting set;
    float *w; /* [n][k] */
    struct qx_moments m;
};

static struct bench bench_open(const char *gran, int bits, bool sym, const char *algo)
{
    struct bench b = {.layer = qx_net_n_layers(mlp.net) - 1};
    struct qx_error err;
    assert_true(qx_net_layer_product(mlp.net, b.layer, &b.p));
    assert_int_equal(b.p.groups, 1);
    b.info = qx_net_layer(mlp.net, b.layer);
    b.tensor = qx_model_tensor(mlp.model, b.info->tensor);
    assert_int_equal(b.tensor->numel, b.p.n * b.p.k);
    b.set = rtn_setting(&mlp, b.layer, gran, bits);
    if (!sym) {
        b.set.sym = false;
    }
    assert_int_equal(qx_algo_parse(algo, &(struct qx_algo){0}, b.set.algo, &err), QX_OK);
    b.w = malloc((size_t)b.tensor->numel * sizeof *b.w);
    assert_int_equal(qx_tensor_read(b.tensor, 0, b.tensor->numel, b.w, NULL), QX_OK);
    b.m.product = b.p;
    b.m.n_columns = 100;
    b.m.second = calloc((size_t)(b.p.k * b.p.k), sizeof *b.m.second);
    b.m.mean = calloc((size_t)b.p.k, sizeof *b.m.mean);
    b.m.mean_abs = calloc((size_t)b.p.k, sizeof *b.m.mean_abs);
    b.m.lo = calloc((size_t)b.p.k, sizeof *b.m.lo);
    b.m.hi = calloc((size_t)b.p.k, sizeof *b.m.hi);
    return b;
}

static void bench_close(struct bench *b)
{
    free(b->w);
    free(b->m.second);
    free(b->m.mean);
    free(b->m.mean_abs);
    free(b->m.lo);
    free(b->m.hi);
}

static struct qx_overlay *applied(const struct bench *b, struct qx_pool *pool)
{
    struct qx_overlay *o = NULL;
    struct qx_error err = {0};
    struct qx_setting set[16];
    for (int i = 0; i < 16; i++) {
        set[i] = qx_setting_fp32();
    }
    set[b->layer] = b->set;
    if (qx_methods_apply(mlp.net, b->layer, set, &b->m, pool, NULL, &o, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return o;
}

/* Correlated inputs of very different sizes. */
static void moments_random(struct bench *b, uint64_t seed)
{
    enum { SAMPLES = 400 };
    const int64_t k = b->p.k;
    float *x = malloc((size_t)k * sizeof *x);
    struct qx_rng rng;
    qx_rng_init(&rng, seed);
    for (int s = 0; s < SAMPLES; s++) {
        const float common = (float)qx_rng_normal(&rng);
        for (int64_t i = 0; i < k; i++) {
            x[i] = (common + (float)qx_rng_normal(&rng)) * (0.2f + (float)(i % 7));
            b->m.mean[i] += x[i] / SAMPLES;
            b->m.mean_abs[i] += fabsf(x[i]) / SAMPLES;
            b->m.lo[i] = fminf(b->m.lo[i], x[i]);
            b->m.hi[i] = fmaxf(b->m.hi[i], x[i]);
        }
        for (int64_t i = 0; i < k; i++) {
            for (int64_t j = 0; j < k; j++) {
                b->m.second[i * k + j] += x[i] * x[j] / SAMPLES;
            }
        }
    }
    free(x);
}

static void gptq_with_identity_is_nearest(void **state)
{
    static const char *const grans[] = {"channel", "tensor", "group:32"};
    (void)state;
    for (size_t g = 0; g < 3; g++) {
        for (int bits = 2; bits <= 8; bits += 3) {
            struct bench b = bench_open(grans[g], bits, true, "gptq");
            for (int64_t i = 0; i < b.p.k; i++) {
                b.m.second[i * b.p.k + i] = 1.0f;
            }
            struct qx_overlay *o = applied(&b, NULL);
            struct qx_setting plain = b.set;
            const int64_t n_units = qx_setting_units(&plain, b.info->channels);
            int8_t *codes = malloc((size_t)b.tensor->numel);
            float *scale = malloc((size_t)n_units * sizeof *scale);
            int32_t *zero = malloc((size_t)n_units * sizeof *zero);
            plain.algo[0] = '\0';
            assert_int_equal(qx_quantize_tensor(b.tensor, b.info->channels, &plain, NULL, NULL,
                                                codes, scale, zero, NULL),
                             QX_OK);
            assert_memory_equal(o->codes, codes, (size_t)b.tensor->numel);
            assert_memory_equal(o->scale, scale, (size_t)n_units * sizeof *scale);
            assert_true(o->before == o->after);
            free(codes);
            free(scale);
            free(zero);
            qx_overlay_free(o);
            bench_close(&b);
        }
    }
}

/* x := solution of the n equations a x = y, by elimination in double. */
static void solve(double *a, double *y, int n)
{
    for (int p = 0; p < n; p++) {
        for (int r = p + 1; r < n; r++) {
            const double f = a[r * n + p] / a[p * n + p];
            for (int c = p; c < n; c++) {
                a[r * n + c] -= f * a[p * n + c];
            }
            y[r] -= f * y[p];
        }
    }
    for (int p = n - 1; p >= 0; p--) {
        for (int c = p + 1; c < n; c++) {
            y[p] -= a[p * n + c] * y[c];
        }
        y[p] /= a[p * n + p];
    }
}

/* The definition: after each column the others that are left move to where, given all that is rounded, the
 * squared error of the output is least: H_RR d_R = -H_RF d_F. No Cholesky factor is in it. */
static void plain_row(const struct bench *b, const double *h, const int *order, const float *w,
                      const struct qx_qparams *unit, int8_t *codes)
{
    const int k = (int)b->p.k;
    double *a = malloc((size_t)(k * k) * sizeof *a), *y = malloc((size_t)k * sizeof *y);
    double *fixed = calloc((size_t)k, sizeof *fixed);
    for (int i = 0; i < k; i++) {
        const int left = k - i;
        for (int r = 0; r < left; r++) {
            const int row = order[i + r];
            y[r] = 0.0;
            for (int f = 0; f < i; f++) {
                y[r] -= h[row * k + order[f]] * fixed[order[f]];
            }
            for (int c = 0; c < left; c++) {
                a[r * left + c] = h[row * k + order[i + c]];
            }
        }
        solve(a, y, left);
        const int j = order[i];
        const int code = qx_quantize(unit, (float)((double)w[j] + y[0]));
        codes[j] = (int8_t)code;
        fixed[j] = (double)qx_dequantize(unit, code) - (double)w[j];
    }
    free(a);
    free(y);
    free(fixed);
}

static const float *rank_by;
static int rank_cmp(const void *a, const void *b)
{
    const int x = *(const int *)a, y = *(const int *)b;
    return rank_by[x] != rank_by[y] ? (rank_by[x] > rank_by[y] ? -1 : 1) : x - y;
}

static void gptq_equals_its_definition(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 4; bits++) {
        struct bench b = bench_open("channel", bits, true, "gptq");
        const int64_t k = b.p.k;
        moments_random(&b, 7);
        struct qx_overlay *o = applied(&b, NULL);
        double *h = malloc((size_t)(k * k) * sizeof *h), mean = 0.0;
        float *diagonal = malloc((size_t)k * sizeof *diagonal);
        int *order = malloc((size_t)k * sizeof *order);
        int8_t *codes = malloc((size_t)k);
        for (int64_t i = 0; i < k; i++) {
            diagonal[i] = b.m.second[i * k + i];
            mean += (double)diagonal[i] / (double)k;
            order[i] = (int)i;
        }
        for (int64_t i = 0; i < k * k; i++) {
            h[i] = (double)b.m.second[i] + (i / k == i % k ? 0.01 * mean : 0.0);
        }
        rank_by = diagonal;
        qsort(order, (size_t)k, sizeof *order, rank_cmp);
        int64_t n_differ = 0;
        for (int64_t r = 0; r < b.p.n; r++) {
            const int most = (1 << (bits - 1)) - 1;
            const struct qx_qparams unit = {o->scale[r], 0, -most, most, NULL};
            plain_row(&b, h, order, b.w + r * k, &unit, codes);
            for (int64_t j = 0; j < k; j++) {
                n_differ += o->codes[r * k + j] != codes[j];
            }
        }
        /* float32 against double: a value near a tie may fall to the other side, and moves those behind */
        assert_true(n_differ <= b.p.n * k / 100);
        assert_true(o->after < o->before);
        free(h);
        free(diagonal);
        free(order);
        free(codes);
        qx_overlay_free(o);
        bench_close(&b);
    }
}

/* As tests/golden/method/gptq.py has them. */
static void moments_golden(struct bench *b)
{
    enum { SAMPLES = 600 };
    const int64_t k = b->p.k;
    double *x = malloc((size_t)k * sizeof *x), *h = calloc((size_t)(k * k), sizeof *h);
    for (int s = 0; s < SAMPLES; s++) {
        for (int64_t i = 0; i < k; i++) {
            x[i] = sin(0.37 * (s + 1) * (double)(i % 9 + 1)) * (double)(1 + i % 5) +
                   cos(0.11 * s * (double)(i + 2)) + 0.5;
        }
        for (int64_t i = 0; i < k * k; i++) {
            h[i] += x[i / k] * x[i % k] / SAMPLES;
        }
    }
    for (int64_t i = 0; i < k * k; i++) {
        b->m.second[i] = (float)h[i];
    }
    free(x);
    free(h);
}

static void gptq_is_as_good_as_in_numpy(void **state)
{
    char path[512];
    (void)state;
    source_path(path, sizeof path, "tests/golden/method/gptq.txt");
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    int bits, n, k, n_cases = 0;
    double error;
    while (fscanf(f, "%d %d %d %lf", &bits, &n, &k, &error) == 4) {
        struct bench b = bench_open("channel", bits, true, "gptq");
        moments_golden(&b);
        assert_true(n == b.p.n && k == b.p.k);
        struct qx_overlay *o = applied(&b, NULL);
        int n_differ = 0;
        for (int i = 0; i < n * k; i++) {
            int code;
            assert_int_equal(fscanf(f, "%d", &code), 1);
            n_differ += code != o->codes[i];
        }
        /* float32 against float64: a tie may fall to the other side and move those behind */
        assert_true(o->after <= error * 1.01);
        assert_true(n_differ <= n * k / 50);
        qx_overlay_free(o);
        bench_close(&b);
        n_cases++;
    }
    fclose(f);
    assert_int_equal(n_cases, 3);
}

static void gptq_survives_singular_moments(void **state)
{
    (void)state;
    struct bench b = bench_open("group:32", 3, false, "gptq");
    const int64_t k = b.p.k;
    for (int64_t i = 1; i < k; i++) { /* one direction only, and a dead input */
        for (int64_t j = 1; j < k; j++) {
            b.m.second[i * k + j] = 1.0f;
        }
    }
    struct qx_overlay *o = applied(&b, NULL);
    assert_true(o->after < o->before);
    qx_overlay_free(o);
    b.m.second[5 * k + 5] = NAN;
    o = applied(&b, NULL);
    assert_non_null(strstr(o->note, "skipped"));
    for (int64_t i = 0; i < b.tensor->numel; i++) {
        assert_true(isfinite(qx_overlay_element(o, i)));
    }
    qx_overlay_free(o);
    bench_close(&b);
}

static void same_on_any_number_of_threads(void **state)
{
    struct qx_pool *pool;
    (void)state;
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    for (int i = 0; i < qx_method_count() && !qx_method_at(i)->is_trained; i++) {
        struct bench b = bench_open("group:32", 4, true, qx_method_at(i)->name);
        moments_random(&b, 3);
        b.set.act = qx_act_dynamic(8);
        struct qx_overlay *one = applied(&b, NULL), *three = applied(&b, pool);
        assert_memory_equal(one->codes, three->codes, (size_t)b.tensor->numel);
        assert_true(one->after == three->after);
        qx_overlay_free(one);
        qx_overlay_free(three);
        bench_close(&b);
    }
    qx_pool_free(pool);
}

/* Methods that look at inputs do not make the output worse than rounding to nearest does. */
static void methods_lessen_the_error_of_the_output(void **state)
{
    static const char *const lists[] = {"gptq", "adaround", "awq", "awq,gptq", "salient", "auto"};
    (void)state;
    for (int bits = 3; bits <= 4; bits++) {
        double after[6];
        for (int i = 0; i < 6; i++) {
            struct bench b = bench_open("group:32", bits, bits == 4, lists[i]);
            moments_random(&b, 3);
            struct qx_overlay *o = applied(&b, NULL);
            assert_true(o->after <= o->before);
            after[i] = o->after;
            qx_overlay_free(o);
            bench_close(&b);
        }
        for (int i = 0; i < 5; i++) { /* auto keeps the best of those it tries */
            assert_true(i == 4 || after[5] <= after[i] * (1 + 1e-6));
        }
    }
}

/* Descent never leaves more error than it found, whatever chose the codes. */
static void refining_only_lessens_the_error(void **state)
{
    static const char *const lists[][2] = {
        {"gptq", "gptq,refine"}, {"adaround", "adaround,refine"}, {"awq", "awq,refine"}};
    static const char *const grans[] = {"group:32", "channel", "tensor"};
    (void)state;
    for (int i = 0; i < 9; i++) {
        double after[2];
        for (int k = 0; k < 2; k++) {
            struct bench b = bench_open(grans[i / 3], 3, i % 2 == 0, lists[i % 3][k]);
            moments_random(&b, 13);
            struct qx_overlay *o = applied(&b, NULL);
            after[k] = o->after;
            qx_overlay_free(o);
            bench_close(&b);
        }
        assert_true(after[1] <= after[0] * (1.0 + 1e-5));
    }
}

/* Bias correction: the mean of the outputs is that of the weights as stored. */
static void bias_correction_takes_the_mean_error_off(void **state)
{
    (void)state;
    struct bench b = bench_open("channel", 3, true, "bias-correction");
    moments_random(&b, 9);
    struct qx_overlay *o = applied(&b, NULL);
    for (int64_t r = 0; r < b.p.n; r++) {
        double sum = (double)o->bias[r], size = 0.0;
        for (int64_t j = 0; j < b.p.k; j++) {
            const double x = (double)b.m.mean[j];
            sum += x * ((double)qx_overlay_value(o, r, j) - (double)b.w[r * b.p.k + j]);
            size += fabs(x * (double)b.w[r * b.p.k + j]);
        }
        assert_true(fabs(sum) <= 1e-5 * size);
    }
    qx_overlay_free(o);
    bench_close(&b);
}

static void overlay_file_round_trip(void **state)
{
    const char *path = "test_method.overlay";
    struct qx_overlay *back = NULL;
    (void)state;
    struct bench b = bench_open("group:32", 4, false, "gptq");
    moments_random(&b, 5);
    struct qx_overlay *o = applied(&b, NULL);
    o->key = 42;
    assert_int_equal(qx_overlay_save(o, path, NULL), QX_OK);
    assert_int_equal(qx_overlay_load(path, 42, o->channels, &b.set, &back, NULL), QX_OK);
    for (int64_t i = 0; i < b.tensor->numel; i++) {
        assert_true(qx_overlay_element(o, i) == qx_overlay_element(back, i));
    }
    assert_memory_equal(&o->metrics, &back->metrics, sizeof o->metrics);
    qx_overlay_free(back);
    assert_int_equal(qx_overlay_load(path, 43, o->channels, &b.set, &back, NULL), QX_EFORMAT);
    struct qx_setting other = b.set;
    other.group = 64;
    assert_int_equal(qx_overlay_load(path, 42, o->channels, &other, &back, NULL), QX_EFORMAT);
    assert_int_equal(truncate(path, 300), 0);
    assert_int_equal(qx_overlay_load(path, 42, o->channels, &b.set, &back, NULL), QX_EFORMAT);
    unlink(path);
    qx_overlay_free(o);
    bench_close(&b);
}

/* An overlay's values come back from its codes: the network may run on them. */
static void overlay_lies_on_the_grid(void **state)
{
    (void)state;
    struct bench b = bench_open("group:32", 4, false, "gptq");
    moments_random(&b, 11);
    struct qx_overlay *o = applied(&b, NULL);
    const int64_t n = b.tensor->numel, n_units = o->n_units;
    float *y = malloc((size_t)n * sizeof *y), *scale = malloc((size_t)n_units * sizeof *scale);
    int8_t *codes = malloc((size_t)n);
    int32_t *zero = malloc((size_t)n_units * sizeof *zero);
    struct qx_metrics m;
    b.set.overlay = o;
    assert_int_equal(
        qx_fakequant(b.tensor, b.info->channels, &b.set, NULL, NULL, y, NULL, NULL, NULL), QX_OK);
    assert_int_equal(qx_quantize_tensor(b.tensor, b.info->channels, &b.set, NULL, NULL, codes,
                                        scale, zero, NULL),
                     QX_OK);
    double sse = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t u = i / b.p.k * (n_units / b.p.n) + i % b.p.k / 32;
        assert_true(y[i] == (float)(codes[i] - zero[u]) * scale[u]);
        assert_in_range(codes[i] + 8, 0, 15);
        sse += ((double)y[i] - (double)b.w[i]) * ((double)y[i] - (double)b.w[i]);
    }
    assert_int_equal(qx_metric_exact(b.tensor, b.info->channels, &b.set, NULL, NULL, &m, NULL),
                     QX_OK);
    assert_true(fabs(m.mse * (double)n - sse) <= 1e-9 * sse);
    b.set.bits = 5; /* no longer what it was made for */
    assert_true(qx_setting_awaits(&b.set));
    free(y);
    free(scale);
    free(codes);
    free(zero);
    qx_overlay_free(o);
    bench_close(&b);
}

static void lists_of_methods(void **state)
{
    struct qx_algo a;
    struct qx_error err;
    char text[QX_ALGO_MOST];
    (void)state;
    assert_int_equal(qx_algo_parse("rtn", &a, text, &err), QX_OK);
    assert_true(a.n == 0 && text[0] == '\0');
    assert_int_equal(qx_algo_parse("gptk", &a, text, &err), QX_ENAME);
    assert_non_null(strstr(err.text, "gptq"));
    assert_int_equal(qx_algo_parse("gptq,gptq", &a, text, &err), QX_ERANGE);
    assert_int_equal(qx_algo_parse("gptq:3", &a, text, &err), QX_ERANGE);
    for (int i = 0; i < qx_method_count(); i++) {
        const struct qx_method *m = qx_method_at(i);
        assert_int_equal(qx_algo_parse(m->name, &a, text, &err), QX_OK);
        assert_string_equal(text, m->name);
        assert_ptr_equal(a.v[0].method, m);
        assert_true(m->help[0] && (m->key || m->is_trained) && strlen(m->title) <= 12);
        for (int j = 0; j < i; j++) {
            assert_true(m->key != qx_method_at(j)->key);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq_with_identity_is_nearest),
        cmocka_unit_test(gptq_equals_its_definition),
        cmocka_unit_test(gptq_is_as_good_as_in_numpy),
        cmocka_unit_test(gptq_survives_singular_moments),
        cmocka_unit_test(same_on_any_number_of_threads),
        cmocka_unit_test(methods_lessen_the_error_of_the_output),
        cmocka_unit_test(refining_only_lessens_the_error),
        cmocka_unit_test(bias_correction_takes_the_mean_error_off),
        cmocka_unit_test(overlay_file_round_trip),
        cmocka_unit_test(overlay_lies_on_the_grid),
        cmocka_unit_test(lists_of_methods),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
