/* Every figure of reference.json, and the logits of reference.safetensors: the bundled samples, and
 * the models of the shared data where it is present (QX_SHARED, or ../shared/data). */
#include "base/fs.h"
#include "base/pool.h"
#include "net_fixture.h"
#include "qx/json.h"
#include "test_eval.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Tolerances of model-folder.md section 5. */
#define LOGIT_TOLERANCE 1e-3
/* Sanitizers slow the forward pass down several times: there, figures of rounded weights over more rows
 * than this are left out (and counted in the message). */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROUNDED_ROWS_MAX 1000
#else
#define ROUNDED_ROWS_MAX INT64_MAX
#endif

static int64_t rows_allowed(int bits, int64_t n)
{
    return bits >= 4 ? (n + 999) / 1000 : n / 100;
}

static int n_figures, n_wrong, n_left_out;

/* One figure: correct answers of n. bits 32: the stored weights. */
static void check_figure(const struct folder *f, const struct qx_dataset *data,
                         const struct qx_jval *figure, int bits, const char *what,
                         struct qx_pool *pool)
{
    struct qx_eval_result *r = NULL;
    struct qx_error err = {0};
    int64_t n = 0, correct = 0;
    assert_true(qx_jint(qx_jget(figure, "n"), &n));
    assert_true(qx_jint(qx_jget(figure, "correct"), &correct));
    if (qx_eval_run(f->net, data, f->weights, NULL, pool, NULL, &r, &err) != QX_OK) {
        fail_msg("%s: %s", what, err.text);
    }
    assert_int_equal(r->n, n);
    n_figures++;
    if (llabs(r->correct - correct) > rows_allowed(bits, n)) {
        print_error("%s: %lld of %lld right; the reference has %lld\n", what, (long long)r->correct,
                    (long long)n, (long long)correct);
        n_wrong++;
    }
    qx_eval_result_free(r);
}

/* "rtn_sym_all": granularity -> bits -> figure. */
static void check_scope(struct folder *f, const struct qx_dataset *data, const char *set,
                        const struct qx_jval *scope, struct qx_pool *pool)
{
    const char *name = qx_jkey(scope) + strlen("rtn_sym_");
    for (const struct qx_jval *gran = qx_jfirst(scope); gran; gran = qx_jnext(gran)) {
        for (const struct qx_jval *v = qx_jfirst(gran); v; v = qx_jnext(v)) {
            char what[256];
            const int bits = atoi(qx_jkey(v));
            if (qx_dataset_n(data) > ROUNDED_ROWS_MAX) {
                n_left_out++;
                continue;
            }
            snprintf(what, sizeof what, "%s %s %s %s %d bits", qx_net_name(f->net), set, name,
                     qx_jkey(gran), bits);
            apply_scope(f, name, qx_jkey(gran), bits, pool);
            check_figure(f, data, v, bits, what, pool);
        }
    }
}

static void reset_weights(struct folder *f)
{
    const struct qx_setting fp32 = qx_setting_fp32();
    for (int i = 0; i < qx_net_n_layers(f->net); i++) {
        assert_int_equal(qx_weights_apply(f->weights, i, &fp32, NULL, NULL, NULL), QX_OK);
    }
}

static void check_set(struct folder *f, const struct qx_jval *set, struct qx_pool *pool)
{
    char path[1024];
    struct qx_dataset *data = NULL;
    struct qx_error err = {0};
    snprintf(path, sizeof path, "%s/%s", f->path, qx_jkey(set));
    if (qx_dataset_open(path, f->net, &data, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    for (const struct qx_jval *v = qx_jfirst(set); v; v = qx_jnext(v)) {
        reset_weights(f);
        if (strcmp(qx_jkey(v), "fp32") == 0) {
            check_figure(f, data, v, 32, qx_jkey(set), pool);
        } else if (strncmp(qx_jkey(v), "rtn_sym_", 8) == 0) {
            check_scope(f, data, qx_jkey(set), v, pool);
        }
    }
    qx_dataset_close(&data);
}

/* reference.safetensors: the first rows of eval.safetensors. */
static void check_logits(const struct folder *f, struct qx_pool *pool)
{
    char path[1024];
    int64_t numel = 0;
    struct qx_dataset *data = NULL;
    const int n_classes = qx_net_n_classes(f->net);
    snprintf(path, sizeof path, "%s/reference.safetensors", f->path);
    float *want = tensor_load(path, "logits", &numel);
    assert_non_null(want);
    const int64_t n = numel / n_classes;
    snprintf(path, sizeof path, "%s/eval.safetensors", f->path);
    assert_int_equal(qx_dataset_open(path, f->net, &data, NULL), QX_OK);
    float *x = malloc((size_t)(n * qx_net_sample_size(f->net)) * sizeof *x);
    float *have = malloc((size_t)numel * sizeof *have);
    assert_true(x && have);
    assert_int_equal(qx_dataset_read(data, 0, n, x, NULL), QX_OK);
    assert_int_equal(qx_net_forward(f->net, f->weights, x, n, have, pool, NULL, NULL), QX_OK);
    for (int64_t i = 0; i < n; i++) {
        double top = 0.0;
        for (int c = 0; c < n_classes; c++) {
            top = fmax(top, fabs((double)want[i * n_classes + c]));
        }
        for (int c = 0; c < n_classes; c++) {
            const double diff =
                fabs((double)have[i * n_classes + c] - (double)want[i * n_classes + c]);
            assert_true(diff <= LOGIT_TOLERANCE * top);
        }
    }
    qx_dataset_close(&data);
    free(want);
    free(have);
    free(x);
}

static void check_folder(const char *path)
{
    char file[1024];
    struct folder f;
    struct qx_pool *pool = NULL;
    struct qx_json *json = NULL;
    n_figures = 0;
    n_wrong = 0;
    n_left_out = 0;
    folder_open(&f, path);
    assert_int_equal(qx_pool_new(2, &pool, NULL), QX_OK);
    check_logits(&f, pool);
    snprintf(file, sizeof file, "%s/reference.json", path);
    assert_int_equal(qx_json_load(file, 1 << 20, &json, NULL), QX_OK);
    const struct qx_jval *sets = qx_jget(qx_json_root(json), "sets");
    for (const struct qx_jval *set = qx_jfirst(sets); set; set = qx_jnext(set)) {
        check_set(&f, set, pool);
    }
    print_message("%s: %d figures, %d outside their tolerance", qx_net_name(f.net), n_figures,
                  n_wrong);
    print_message(n_left_out ? ", %d left out in this sanitizer build\n" : "\n", n_left_out);
    assert_true(n_figures + n_left_out > 1);
    assert_int_equal(n_wrong, 0);
    qx_json_free(json);
    qx_pool_free(pool);
    folder_close(&f);
}

static void check_shared(const char *name)
{
    char path[512];
    shared_path(path, sizeof path, name);
    if (!qx_fs_is_dir(path)) {
        print_message("%s is absent: set QX_SHARED to the shared data\n", path);
        skip();
    }
    check_folder(path);
}

static void check_sample(const char *name)
{
    char path[512], rest[64];
    snprintf(rest, sizeof rest, "samples/%s", name);
    source_path(path, sizeof path, rest);
    check_folder(path);
}

static void fashion_cnn_gives_its_figures(void **state)
{
    (void)state;
    check_sample("fashion-cnn");
}

static void fashion_mlp_gives_its_figures(void **state)
{
    (void)state;
    check_sample("fashion-mlp");
}

static void bert_sentiment_gives_its_figures(void **state)
{
    (void)state;
    check_sample("bert-sentiment");
}

static void mnist_cnn_gives_its_figures(void **state)
{
    (void)state;
    check_shared("mnist-cnn");
}

static void mlperf_kws_gives_its_figures(void **state)
{
    (void)state;
    check_shared("mlperf-kws");
}

static void bert_smsa_gives_its_figures(void **state)
{
    (void)state;
    check_shared("bert-smsa");
}

int test_eval_figures(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bert_sentiment_gives_its_figures),
        cmocka_unit_test(bert_smsa_gives_its_figures),
        cmocka_unit_test(fashion_cnn_gives_its_figures),
        cmocka_unit_test(fashion_mlp_gives_its_figures),
        cmocka_unit_test(mlperf_kws_gives_its_figures),
        cmocka_unit_test(mnist_cnn_gives_its_figures),
    };
    return cmocka_run_group_tests_name("eval figures", tests, NULL, NULL);
}
