/* Calibrating activations, and what quantized activations cost on the models at hand. */
#include "base/mem.h"
#include "base/pool.h"
#include "net_fixture.h"
#include "tensor/hist_table.h"
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

enum { ROWS = 100 };

static void open_sample(struct folder *f, const char *set, struct qx_dataset **data)
{
    char path[512];
    struct qx_error err = {0};
    source_path(path, sizeof path, "samples/fashion-cnn");
    folder_open(f, path);
    snprintf(path + strlen(path), 64, "/%s.safetensors", set);
    if (qx_dataset_open(path, f->net, data, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
}

static struct qx_calibration *calibrated(const struct folder *f, const struct qx_dataset *data,
                                         int64_t rows, struct qx_pool *pool)
{
    struct qx_calibration *c = NULL;
    struct qx_error err = {0};
    if (qx_calibration_run(f->net, data, rows, 5, pool, NULL, &c, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return c;
}

static struct qx_hist *hist_of(const struct qx_observed *o)
{
    struct qx_hist *h = NULL;
    assert_int_equal(qx_observed_hist(o, &h, NULL), QX_OK);
    return h;
}

static void assert_same_hist(const struct qx_hist *a, const struct qx_hist *b)
{
    const struct qx_stats *s = qx_hist_stats(a), *t = qx_hist_stats(b);
    double top[2];
    assert_true(s->n == t->n && s->min == t->min && s->max == t->max && s->n_zero == t->n_zero);
    assert_float_equal(s->mean, t->mean, 1e-6);
    assert_float_equal(s->std, t->std, 1e-6);
    for (int i = 1; i <= 20; i++) {
        const double p = i / 20.0;
        assert_true(qx_hist_quantile(a, p) == qx_hist_quantile(b, p));
        assert_true(qx_hist_quantile_abs(a, p) == qx_hist_quantile_abs(b, p));
    }
    assert_memory_equal(qx_hist_linear(a, &top[0]), qx_hist_linear(b, &top[1]),
                        QX_HIST_LIN * sizeof(double));
    assert_true(top[0] == top[1]);
    const struct qx_hist_table *x = &qx_hist_tables(a)->main, *y = &qx_hist_tables(b)->main;
    assert_int_equal(x->n_lines, y->n_lines);
    assert_memory_equal(x->lines, y->lines, (size_t)(x->n_lines + 1) * sizeof *x->lines);
}

static void assert_same_seen(const struct qx_observed *a, const struct qx_observed *b)
{
    struct qx_hist *x = hist_of(a), *y = hist_of(b);
    assert_same_hist(x, y);
    qx_hist_unref(x);
    qx_hist_unref(y);
}

/* The network's input is also the first layer's: its histogram can be built in one piece. */
static void observed_values_are_those_of_one_big_tensor(void **state)
{
    (void)state;
    struct folder f;
    struct qx_dataset *data;
    open_sample(&f, "calib", &data);
    const int64_t n = ROWS * qx_net_sample_size(f.net);
    float *x = malloc((size_t)n * sizeof *x);
    assert_int_equal(qx_dataset_read(data, 0, ROWS, x, NULL), QX_OK);
    const struct qx_tensor t = {.name = "x",
                                .dtype = QX_DTYPE_F32,
                                .rank = 1,
                                .shape = &n,
                                .numel = n,
                                .data = (const uint8_t *)x,
                                .bytes = (uint64_t)n * sizeof *x};
    const struct qx_hist_spec spec = {.gran = QX_GRAN_TENSOR, .sym = true, .channels = {1, 1, n}};
    struct qx_hist *want = NULL;
    assert_int_equal(qx_hist_build(&t, &spec, 0, NULL, NULL, &want, NULL), QX_OK);
    struct qx_calibration *c = calibrated(&f, data, ROWS, NULL);
    assert_int_equal(qx_calibration_rows(c), ROWS);
    const struct qx_observed *o = qx_calibration_layer(c, 0);
    struct qx_hist *h = hist_of(o);
    assert_same_hist(h, want);
    qx_hist_unref(h);

    /* the moving average by hand, over batches as they come */
    const int64_t batch = qx_net_tile_rows(f.net) * qx_net_sample_size(f.net);
    double lo = 0, hi = 0;
    for (int64_t at = 0; at < n; at += batch) {
        double a = INFINITY, b = -INFINITY;
        for (int64_t i = at; i < n && i < at + batch; i++) {
            a = fmin(a, (double)x[i]);
            b = fmax(b, (double)x[i]);
        }
        lo = at ? lo + 0.3 * (a - lo) : a;
        hi = at ? hi + 0.3 * (b - hi) : b;
    }
    struct qx_act act = qx_act_static(8);
    assert_int_equal(qx_act_method(&act, "ema:0.3", NULL), QX_OK);
    assert_int_equal(qx_act_resolve(&act, o, NULL), QX_OK);
    assert_float_equal(act.range.lo, fmin(lo, 0), 1e-6);
    assert_float_equal(act.range.hi, hi, 1e-6);
    qx_calibration_unref(c);
    qx_hist_unref(want);
    qx_dataset_close(&data);
    free(x);
    folder_close(&f);
}

static void threads_do_not_change_a_range(void **state)
{
    (void)state;
    struct folder f;
    struct qx_dataset *data;
    struct qx_pool *pool = NULL;
    open_sample(&f, "calib", &data);
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    struct qx_calibration *a = calibrated(&f, data, ROWS, NULL);
    struct qx_calibration *b = calibrated(&f, data, ROWS, pool);
    for (int i = 0; i < qx_net_n_layers(f.net); i++) {
        const struct qx_observed *x = qx_calibration_layer(a, i), *y = qx_calibration_layer(b, i);
        assert_same_seen(x, y);
        static const char *const methods[] = {"minmax", "percentile:99.9", "mse", "mae",
                                              "kl",     "kl-full",         "ema"};
        for (size_t k = 0; k < sizeof methods / sizeof *methods; k++) {
            struct qx_act p = qx_act_static(k % 2 ? 8 : 4), q = p;
            p.sym = q.sym = k % 3 == 0;
            assert_int_equal(qx_act_method(&p, methods[k], NULL), QX_OK);
            q = p;
            assert_int_equal(qx_act_resolve(&p, x, NULL), QX_OK);
            assert_int_equal(qx_act_resolve(&q, y, NULL), QX_OK);
            assert_true(qx_act_equal(&p, &q) && p.has_range);
            assert_true(p.range.lo <= 0 && p.range.hi > 0);
            assert_true(p.range.hi <= qx_observed_stats(x)->absmax);
        }
    }
    qx_calibration_unref(a);
    qx_calibration_unref(b);
    qx_pool_free(pool);
    qx_dataset_close(&data);
    folder_close(&f);
}

static void noise_is_standard_normal_and_the_same_for_a_seed(void **state)
{
    (void)state;
    struct folder f;
    struct qx_dataset *data;
    open_sample(&f, "calib", &data);
    struct qx_calibration *a = calibrated(&f, NULL, 64, NULL), *b = calibrated(&f, NULL, 64, NULL);
    const struct qx_observed *x = qx_calibration_layer(a, 0);
    assert_float_equal(qx_observed_stats(x)->mean, 0.0, 0.02);
    assert_float_equal(qx_observed_stats(x)->std, 1.0, 0.02);
    assert_same_seen(x, qx_calibration_layer(b, 0));
    qx_calibration_unref(a);
    qx_calibration_unref(b);
    qx_dataset_close(&data);
    folder_close(&f);
}

static void an_input_of_zeros_or_without_numbers_gets_an_empty_range(void **state)
{
    (void)state;
    static const float zeros[4] = {0, -0.0f, 0, 0}, none[4] = {NAN, INFINITY, -INFINITY, NAN};
    const float *const inputs[] = {zeros, none};
    for (int i = 0; i < 2; i++) {
        struct qx_observer *w = NULL;
        struct qx_observed o = {0};
        const struct qx_channels layout = {1, 2, 2};
        const int64_t begin[] = {0, 4};
        const struct qx_observation at = {.rows = 1, .x = inputs[i], .begin = begin};
        struct qx_hist_stream_work *work = qx_hist_stream_work_new();
        assert_int_equal(qx_observer_new(layout, 1, 1, 1, &w, NULL), QX_OK);
        qx_observer_ranges(w, &at);
        qx_observer_turn(w);
        qx_observer_values(w, &at, work);
        assert_int_equal(qx_observer_take(w, &o, NULL), QX_OK);
        struct qx_act a = qx_act_static(8);
        assert_int_equal(qx_act_resolve(&a, &o, NULL), QX_OK);
        assert_true(a.has_range && a.range.lo == 0 && a.range.hi == 0);
        assert_true(qx_act_qparams(&a, 0, 0).scale == 1.0f);
        assert_true(o.channel_max[0] == 0 && o.channel_max[1] == 0 && o.strip[0] == 0);
        a = qx_act_dynamic(8);
        assert_true(isnan(qx_act_dynamic_db(&a, &o)));
        qx_observed_release(&o);
        qx_hist_stream_work_free(work);
        qx_observer_free(w);
    }
}

/* Tokens of a matrix product, rows of different length: maxima and errors by hand. */
static void channels_tokens_and_dynamic_errors_are_those_of_a_plain_loop(void **state)
{
    (void)state;
    enum { N = 6, T = 5, K = 7 };
    static float x[N * T * K];
    static const int64_t tokens[N] = {5, 4, 3, 5, 1, 2};
    int64_t row[N + 1] = {0};
    const struct qx_channels layout = {T, K, 1};
    struct qx_observer *w = NULL;
    struct qx_observed o = {0};
    struct qx_hist_stream_work *work = qx_hist_stream_work_new();
    for (int i = 0; i < N; i++) {
        row[i + 1] = row[i] + tokens[i] * K;
    }
    for (int i = 0; i < row[N]; i++) {
        x[i] = (float)((i * 37 % 101) - 40) * (1.0f + (float)(i / K % T)) / 16.0f;
    }
    x[row[2] + K + 4] = NAN;
    x[row[1] + 6] = 900.0f; /* an outlier channel, in one token */
    assert_int_equal(qx_observer_new(layout, N, 2, 1, &w, NULL), QX_OK);
    for (int round = 0; round < 2; round++) {
        for (int64_t b = 1; b >= 0; b--) { /* in any order */
            int64_t begin[4];
            for (int r = 0; r < 4; r++) {
                begin[r] = row[b * 3 + r] - row[b * 3];
            }
            const struct qx_observation at = {
                .batch = b, .first_row = b * 3, .rows = 3, .x = x + row[b * 3], .begin = begin};
            if (round == 0) {
                qx_observer_ranges(w, &at);
            } else {
                qx_observer_values(w, &at, work);
            }
        }
        if (round == 0) {
            qx_observer_turn(w);
        }
    }
    assert_int_equal(qx_observer_take(w, &o, NULL), QX_OK);
    assert_true(o.n_tokens == N * T && o.n_strip == N * T && o.n_error_rows == N);
    assert_true(qx_observed_stats(&o)->n_nan == 1 && qx_observed_stats(&o)->n == row[N] - 1);
    assert_true(o.channel_max[6] == 900.0f);
    for (int k = 0; k < K; k++) {
        float most = 0;
        for (int64_t i = k; i < row[N]; i += K) {
            most = fmaxf(most, fabsf(x[i])); /* fmaxf ignores NaN */
        }
        assert_true(o.channel_max[k] == most);
    }
    double sq_x = 0, sq_err[2] = {0, 0};
    for (int i = 0; i < N; i++) {
        for (int gran = 0; gran < 2; gran++) {
            const int64_t step = gran == QX_ACT_TOKEN ? K : tokens[i] * K;
            for (int64_t at = row[i]; at < row[i + 1]; at += step) {
                const float *v = x + at;
                float lo = 0, hi = 0;
                for (int k = 0; k < step; k++) {
                    lo = fminf(lo, v[k]);
                    hi = fmaxf(hi, v[k]);
                }
                const struct qx_act act = {.bits = 5, .dynamic = true, .gran = gran};
                const struct qx_qparams p = qx_act_qparams(&act, lo, hi);
                for (int k = 0; k < step; k++) {
                    const double e =
                        (double)qx_dequantize(&p, qx_quantize(&p, v[k])) - (double)v[k];
                    sq_err[gran] += isfinite(v[k]) ? e * e : 0;
                    sq_x += isfinite(v[k]) && gran == 0 ? (double)v[k] * (double)v[k] : 0;
                }
                if (gran == QX_ACT_TOKEN) {
                    assert_true(o.strip[i * T + (at - row[i]) / K] == fmaxf(-lo, hi));
                }
            }
        }
        for (int64_t t = tokens[i]; t < T; t++) {
            assert_true(o.strip[i * T + t] == 0); /* a place left empty */
        }
    }
    assert_float_equal(o.sq_x, sq_x, 1e-9 * sq_x);
    for (int gran = 0; gran < 2; gran++) {
        const struct qx_act act = {.bits = 5, .dynamic = true, .gran = gran};
        assert_float_equal(o.sq_err[gran][0][5], sq_err[gran], 1e-9 * sq_err[gran]);
        assert_float_equal(qx_act_dynamic_db(&act, &o), 10 * log10(sq_x / sq_err[gran]), 1e-9);
    }
    assert_true(o.sq_err[QX_ACT_TOKEN][0][5] < o.sq_err[QX_ACT_TENSOR][0][5]);
    qx_observed_release(&o);
    qx_hist_stream_work_free(work);
    qx_observer_free(w);
}

static void damage(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    const int c = fgetc(f);
    fseek(f, at, at < 0 ? SEEK_END : SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
}

static void a_kept_calibration_comes_back_whole_or_not_at_all(void **state)
{
    (void)state;
    struct folder f;
    struct qx_dataset *data;
    open_sample(&f, "calib", &data);
    const char *path = "kept-calibration.qxh";
    struct qx_calibration *a = calibrated(&f, data, 40, NULL), *b = NULL;
    assert_int_equal(qx_calibration_save(a, path, 77, NULL), QX_OK);
    assert_int_equal(qx_calibration_load(f.net, path, 77, &b, NULL), QX_OK);
    assert_int_equal(qx_calibration_rows(b), 40);
    for (int i = 0; i < qx_net_n_layers(f.net); i++) {
        const struct qx_observed *x = qx_calibration_layer(a, i), *y = qx_calibration_layer(b, i);
        assert_same_seen(x, y);
        assert_true(x->n_batches == y->n_batches && x->n_strip == y->n_strip && x->n_rows == 40);
        assert_memory_equal(x->lo, y->lo, (size_t)x->n_batches * sizeof *x->lo);
        assert_memory_equal(x->channel_max, y->channel_max,
                            (size_t)x->layout.count * sizeof(float));
        assert_memory_equal(x->strip, y->strip, (size_t)x->n_strip * sizeof(float));
        assert_memory_equal(x->sq_err, y->sq_err, sizeof x->sq_err);
        assert_true(x->sq_x == y->sq_x && x->n_error_rows == y->n_error_rows);
    }
    qx_calibration_unref(b);
    struct qx_error err = {0};
    assert_int_equal(qx_calibration_load(f.net, path, 78, &b, &err), QX_EFORMAT); /* another key */
    assert_non_null(strstr(err.text, path));
    static const long places[] = {0, 8, 40, 120, 5000, -1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        damage(path, places[i]);
        assert_int_equal(qx_calibration_load(f.net, path, 77, &b, NULL), QX_EFORMAT);
        damage(path, places[i]);
    }
    assert_int_equal(truncate(path, 3000), 0);
    assert_int_equal(qx_calibration_load(f.net, path, 77, &b, NULL), QX_EFORMAT);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(qx_calibration_load(f.net, path, 77, &b, NULL), QX_EFORMAT);
    unlink(path);
    assert_int_not_equal(qx_calibration_load(f.net, path, 77, &b, NULL), QX_OK);
    qx_calibration_unref(a);
    qx_dataset_close(&data);
    folder_close(&f);
}

static void calibrating_survives_failed_allocations_and_cancelling(void **state)
{
    (void)state;
    struct folder f;
    struct qx_dataset *data;
    struct qx_calibration *c = NULL;
    struct qx_error err = {0};
    struct qx_ctl ctl = {0};
    open_sample(&f, "calib", &data);
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_calibration_run(f.net, data, 8, 0, NULL, &ctl, &c, &err), QX_ECANCELLED);
    enum qx_status st = QX_ENOMEM;
    for (int64_t n = 1; st != QX_OK; n++) {
        qx_mem_fail_at(n);
        st = qx_calibration_run(f.net, data, 2, 0, NULL, NULL, &c, &err);
        qx_mem_fail_at(0);
        assert_true(n < 2000 && (st == QX_OK || (st == QX_ENOMEM && !c)));
    }
    qx_calibration_unref(c);
    qx_dataset_close(&data);
    folder_close(&f);
}

/* ---- accuracy ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MOST_ROWS 300
#else
#define MOST_ROWS 2000
#endif

struct measured {
    struct folder f;
    struct qx_dataset *data;
    struct qx_calibration *calibration;
    struct qx_pool *pool;
};

static struct qx_eval_result *measure(struct measured *m, enum qx_engine engine)
{
    const struct qx_eval_options o = {
        .max_samples = MOST_ROWS, .seed = 1, .engine = engine, .compare_rows = 64};
    struct qx_eval_result *r = NULL;
    struct qx_error err = {0};
    if (qx_eval_run(m->f.net, m->data, m->f.weights, &o, m->pool, NULL, &r, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return r;
}

static void apply_act(struct measured *m, const char *gran, int bits, const char *method)
{
    for (int i = 0; i < qx_net_n_layers(m->f.net); i++) {
        struct qx_setting s = rtn_setting(&m->f, i, gran, bits);
        struct qx_error err = {0};
        if (method) {
            s.act = strcmp(method, "dynamic") == 0 ? qx_act_dynamic(8) : qx_act_static(8);
        }
        if (method && !s.act.dynamic) {
            assert_int_equal(qx_act_method(&s.act, method, &err), QX_OK);
            assert_int_equal(qx_act_resolve(&s.act, qx_calibration_layer(m->calibration, i), &err),
                             QX_OK);
        }
        if (qx_weights_apply(m->f.weights, i, &s, m->pool, NULL, &err) != QX_OK) {
            fail_msg("%s", err.text);
        }
    }
}

static void check_model(const char *path)
{
    static const char *const methods[] = {"percentile:99.99", "mse", "dynamic"};
    char part[600];
    struct measured m = {0};
    folder_open(&m.f, path);
    assert_int_equal(qx_pool_new(2, &m.pool, NULL), QX_OK);
    snprintf(part, sizeof part, "%s/calib.safetensors", path);
    assert_int_equal(qx_dataset_open(part, m.f.net, &m.data, NULL), QX_OK);
    m.calibration = calibrated(&m.f, m.data, 512, m.pool);
    qx_dataset_close(&m.data);
    snprintf(part, sizeof part, "%s/eval.safetensors", path);
    assert_int_equal(qx_dataset_open(part, m.f.net, &m.data, NULL), QX_OK);
    struct qx_eval_result *fp32 = measure(&m, QX_ENGINE_AUTO);
    assert_int_equal(fp32->engine, QX_ENGINE_SIMULATED);
    for (int i = 0; i < 3; i++) {
        apply_act(&m, "channel", 8, methods[i]);
        struct qx_eval_result *r = measure(&m, QX_ENGINE_AUTO);
        struct qx_eval_result *simulated = measure(&m, QX_ENGINE_SIMULATED);
        assert_int_equal(r->engine, QX_ENGINE_INTEGER);
        assert_int_equal(simulated->engine, QX_ENGINE_SIMULATED);
        const double lost = fp32->accuracy - r->accuracy;
        const double share = (double)r->report.n_codes_differ / (double)r->report.n_codes;
        if (lost > 0.005 || share > 0.01 || r->report.n_rows != 64 ||
            llabs(r->correct - simulated->correct) > 1 + r->n / 1000) {
            fail_msg("%s, %s: %lld right, simulated %lld, fp32 %lld; %g of the codes differ", path,
                     methods[i], (long long)r->correct, (long long)simulated->correct,
                     (long long)fp32->correct, share);
        }
        qx_eval_result_free(r);
        qx_eval_result_free(simulated);
    }
    /* weights of 4 bits cost what they cost with float inputs, within a point */
    static const char *const grans[] = {"channel", "group:32"};
    for (int i = 0; i < 2; i++) {
        apply_act(&m, grans[i], 4, NULL);
        struct qx_eval_result *simulated = measure(&m, QX_ENGINE_AUTO);
        struct qx_eval_result *plain = measure(&m, QX_ENGINE_PACKED);
        assert_int_equal(plain->engine, QX_ENGINE_PACKED);
        if (llabs(plain->correct - simulated->correct) > 1 + plain->n / 1000) {
            fail_msg("%s, 4 bits %s, weights only: %lld right, simulated %lld", path, grans[i],
                     (long long)plain->correct, (long long)simulated->correct);
        }
        qx_eval_result_free(simulated);
        apply_act(&m, grans[i], 4, "mse");
        struct qx_eval_result *r = measure(&m, QX_ENGINE_INTEGER);
        if (fabs(plain->accuracy - r->accuracy) > 0.015) {
            fail_msg("%s, 4 bits %s: %lld right, %lld with float inputs", path, grans[i],
                     (long long)r->correct, (long long)plain->correct);
        }
        qx_eval_result_free(plain);
        qx_eval_result_free(r);
    }
    qx_eval_result_free(fp32);
    qx_calibration_unref(m.calibration);
    qx_dataset_close(&m.data);
    qx_pool_free(m.pool);
    folder_close(&m.f);
}

static void the_sample_loses_less_than_half_a_point(void **state)
{
    (void)state;
    char path[512];
    source_path(path, sizeof path, "samples/fashion-cnn");
    check_model(path);
}

static void check_shared(const char *name)
{
    char path[512];
    shared_path(path, sizeof path, name);
    struct qx_model *model = NULL;
    if (qx_model_open(path, &model, NULL) != QX_OK) {
        print_message("%s is not there: skipped\n", path);
        skip();
    }
    qx_model_close(&model);
    check_model(path);
}

static void keywords_lose_less_than_half_a_point(void **state)
{
    (void)state;
    check_shared("mlperf-kws");
}

static void digits_lose_less_than_half_a_point(void **state)
{
    (void)state;
    check_shared("mnist-cnn");
}

int test_eval_calibrate(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(observed_values_are_those_of_one_big_tensor),
        cmocka_unit_test(threads_do_not_change_a_range),
        cmocka_unit_test(noise_is_standard_normal_and_the_same_for_a_seed),
        cmocka_unit_test(an_input_of_zeros_or_without_numbers_gets_an_empty_range),
        cmocka_unit_test(channels_tokens_and_dynamic_errors_are_those_of_a_plain_loop),
        cmocka_unit_test(a_kept_calibration_comes_back_whole_or_not_at_all),
        cmocka_unit_test(calibrating_survives_failed_allocations_and_cancelling),
        cmocka_unit_test(the_sample_loses_less_than_half_a_point),
        cmocka_unit_test(keywords_lose_less_than_half_a_point),
        cmocka_unit_test(digits_lose_less_than_half_a_point),
    };
    return cmocka_run_group_tests_name("eval calibrate", tests, NULL, NULL);
}
