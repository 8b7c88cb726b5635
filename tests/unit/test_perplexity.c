/* Language models: figures and logits of the sample and of the shared one where it is present, and data
 * that cannot be measured. */
#include "base/fs.h"
#include "base/pool.h"
#include "net_fixture.h"
#include "qx/json.h"
#include "qx/eval.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { VOCABULARY = 16 };
static int enter_folder(void **state)
{
    if (scratch_enter(state) != 0) {
        return -1;
    }
    llama_write(VOCABULARY);
    return 0;
}

static enum qx_status open_documents(const struct folder *f, const uint8_t *ids, int64_t n,
                                     const int64_t *offsets, int64_t n_offsets, const uint8_t *mask,
                                     struct qx_dataset **data, struct qx_error *err)
{
    const struct tensor_spec parts[] = {{"input_ids", "U8", 1, {n}, (const char *)ids},
                                        {"doc_offsets", "I64", 1, {n_offsets}, offsets},
                                        {"loss_mask", "U8", 1, {n}, (const char *)mask}};
    model_write("eval.safetensors", parts, mask ? 3 : 2, NULL);
    return qx_dataset_open("eval.safetensors", f->net, data, err);
}

/* Every token counted by hand from the logits of the last place of ever longer rows. */
static void perplexity_is_that_of_its_definition(void **state)
{
    (void)state;
    static const uint8_t ids[] = {1, 5, 9, 3, 7, 2, 15, 0, 4, 4};
    static const uint8_t mask[] = {1, 1, 1, 0, 1, 1, 1, 1, 1, 1};
    static const int64_t offsets[] = {0, 5, 6, 10}; /* the second has no token to predict */
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_eval_result *p = NULL;
    double nll = 0.0;
    int n = 0;
    folder_open(&f, ".");
    assert_string_equal(qx_net_task(f.net), "language-modelling");
    assert_int_equal(qx_net_layer(f.net, 0)->role, QX_ROLE_EMBEDDING); /* the tied head too */
    assert_int_equal(qx_net_n_layers(f.net), 8);
    assert_int_equal(open_documents(&f, ids, 10, offsets, 4, mask, &data, NULL), QX_OK);
    assert_int_equal(qx_dataset_n(data), 2);
    assert_int_equal(qx_eval_run(f.net, data, f.weights, NULL, NULL, NULL, &p, NULL), QX_OK);
    for (int d = 0; d < 3; d += 2) {
        float row[LLAMA_PLACES], logits[VOCABULARY];
        for (int i = 0; i < LLAMA_PLACES; i++) {
            row[i] = -1.0f;
        }
        for (int64_t t = offsets[d]; t + 1 < offsets[d + 1]; t++) {
            row[t - offsets[d]] = (float)ids[t];
            assert_int_equal(qx_net_forward(f.net, f.weights, row, 1, logits, NULL, NULL, NULL),
                             QX_OK);
            double sum = 0.0;
            for (int c = 0; c < VOCABULARY; c++) {
                sum += exp((double)logits[c]);
            }
            nll += mask[t + 1] ? log(sum) - (double)logits[ids[t + 1]] : 0.0;
            n += mask[t + 1];
        }
    }
    assert_int_equal(p->n_documents, 2);
    assert_int_equal(p->n, n);
    assert_true(fabs(p->ce - nll / n) < 1e-5);
    assert_true(fabs(p->perplexity - exp(nll / n)) < 1e-4 * p->perplexity);
    qx_eval_result_free(p);
    qx_dataset_close(&data);
    folder_close(&f);
}

static void documents_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const uint8_t ids[12] = {1, 2, 3, 16, 4};
    static const int64_t good[] = {0, 5}, late[] = {1, 5}, falls[] = {0, 4, 3, 5},
                         whole[] = {0, 12};
    static const struct {
        int64_t n;
        const int64_t *offsets;
        int64_t n_offsets;
        const char *words;
    } cases[] = {{5, late, 2, "run from 0"},
                 {5, falls, 4, "falls from 4 to 3"},
                 {4, good, 2, "to the 4 tokens"},
                 {5, good, 1, "run from 0"},
                 {12, whole, 2, "document 0 has 12 tokens"}};
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_eval_result *p = NULL;
    struct qx_error err = {0};
    folder_open(&f, ".");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(open_documents(&f, ids, cases[i].n, cases[i].offsets, cases[i].n_offsets,
                                        NULL, &data, &err),
                         QX_EDATA);
        assert_non_null(strstr(err.text, cases[i].words));
    }
    assert_int_equal(open_documents(&f, ids, 5, good, 2, NULL, &data, NULL), QX_OK);
    assert_int_equal(qx_eval_run(f.net, data, f.weights, NULL, NULL, NULL, &p, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "document 0, token "));
    assert_non_null(strstr(err.text, "holds the id 16"));
    qx_dataset_close(&data);
    folder_close(&f);
}

/* A tokenizer whose tokens are the letters a to p. */
static void letters_write(void)
{
    char json[1024] = "{'model':{'type':'BPE','merges':[],'vocab':{";
    for (int i = 0; i < VOCABULARY; i++) {
        snprintf(json + strlen(json), sizeof json - strlen(json), "%s'%c':%d", i ? "," : "",
                 'a' + i, i);
    }
    snprintf(json + strlen(json), sizeof json - strlen(json), "}}}");
    char *text = quoted(json);
    text_write("tokenizer.json", text);
    free(text);
}

/* -log p of letters[at] behind those from `from` on. */
static double letter_nll(const struct folder *f, const char *letters, int from, int at)
{
    float row[LLAMA_PLACES], logits[VOCABULARY];
    double sum = 0.0;
    for (int i = 0; i < LLAMA_PLACES; i++) {
        row[i] = from + i < at ? (float)(letters[from + i] - 'a') : -1.0f;
    }
    assert_int_equal(qx_net_forward(f->net, f->weights, row, 1, logits, NULL, NULL, NULL), QX_OK);
    for (int c = 0; c < VOCABULARY; c++) {
        sum += exp((double)logits[c]);
    }
    return log(sum) - (double)logits[letters[at] - 'a'];
}

/* Windows of 10 places, 5 apart: tokens 1 to 10 are predicted in the first, 11 to 15 in the second, ... */
static void plain_text_is_predicted_once_in_windows(void **state)
{
    (void)state;
    static const char text[] = "abcdefghijklmnopponmlkjihgfedcbaabcdefaa"; /* 40 */
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_eval_result *p = NULL;
    struct qx_error err = {0};
    double nll = 0.0;
    int64_t window, stride;
    letters_write();
    text_write("plain.txt", text);
    folder_open(&f, ".");
    if (qx_dataset_open("plain.txt", f.net, &data, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    assert_true(qx_dataset_windows(data, &window, &stride));
    assert_int_equal(window, LLAMA_PLACES);
    assert_int_equal(stride, LLAMA_PLACES / 2);
    assert_int_equal(qx_dataset_n(data), 7);
    assert_non_null(strstr(qx_dataset_note(data), "40 tokens, at most 10 at once"));
    assert_int_equal(qx_eval_run(f.net, data, f.weights, NULL, NULL, NULL, &p, &err), QX_OK);
    for (int at = 1; at < 40; at++) {
        const int from = at <= LLAMA_PLACES ? 0 : (at - LLAMA_PLACES + 4) / 5 * 5;
        assert_true(at - from > LLAMA_PLACES / 2 || from == 0);
        nll += letter_nll(&f, text, from, at);
    }
    assert_int_equal(p->n, 39);
    assert_true(fabs(p->ce - nll / 39) < 1e-5);
    qx_eval_result_free(p);
    qx_dataset_close(&data);
    folder_close(&f);
}

/* Texts of a table are documents of their own; one of a single token predicts nothing. */
static void texts_of_a_table_are_documents(void **state)
{
    (void)state;
    static const char long_one[] = "ponmlkjihgfedcba";
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_eval_result *p = NULL;
    struct qx_error err = {0};
    double nll = 0.0;
    letters_write();
    text_write("table.csv", "text\nabc\nd\nponmlkjihgfedcba\n");
    folder_open(&f, ".");
    assert_int_equal(qx_dataset_open("table.csv", f.net, &data, &err), QX_OK);
    assert_int_equal(qx_dataset_n(data), 3); /* the long one takes two windows */
    assert_int_equal(qx_eval_run(f.net, data, f.weights, NULL, NULL, NULL, &p, &err), QX_OK);
    assert_int_equal(p->n, 2 + 15);
    nll += letter_nll(&f, "abc", 0, 1) + letter_nll(&f, "abc", 0, 2);
    for (int at = 1; at < 16; at++) {
        nll += letter_nll(&f, long_one, at <= LLAMA_PLACES ? 0 : 5, at);
    }
    assert_true(fabs(p->ce - nll / 17) < 1e-5);
    qx_eval_result_free(p);
    qx_dataset_close(&data);

    text_write("table.csv", "text\nd\n");
    assert_int_equal(qx_dataset_open("table.csv", f.net, &data, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "no text has two tokens"));
    text_write("plain.txt", "abc\nde\xFF\n");
    assert_int_equal(qx_dataset_open("plain.txt", f.net, &data, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "line 2 is no UTF-8"));
    assert_int_equal(remove("tokenizer.json"), 0);
    assert_int_equal(qx_dataset_open("plain.txt", f.net, &data, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "no tokenizer"));
    folder_close(&f);
}

/* ---- figures and logits of whole folders ---- */

/* Sanitizers slow the forward pass down several times: there, float32 alone is measured. Without them a
 * few of the others are; QX_ALL_FIGURES=1 runs all. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

static int n_figures;

static void check_figure(const struct folder *f, const struct qx_dataset *data,
                         const struct qx_jval *figure, int bits, const char *what,
                         struct qx_pool *pool)
{
    struct qx_eval_result *p = NULL;
    struct qx_error err = {0};
    const double want = qx_jnum(qx_jget(figure, "perplexity"), NAN);
    const double tolerance = bits >= 3 ? 1e-4 : 1e-2; /* model-folder.md section 5 */
    int64_t tokens = 0;
    assert_true(qx_jint(qx_jget(figure, "tokens"), &tokens));
    if (qx_eval_run(f->net, data, f->weights, NULL, pool, NULL, &p, &err) != QX_OK) {
        fail_msg("%s: %s", what, err.text);
    }
    assert_int_equal(p->n, tokens);
    if (!(fabs(p->perplexity - want) <= tolerance * want) ||
        !(fabs(p->accuracy - qx_jnum(qx_jget(figure, "top1"), NAN)) < 1e-3)) {
        fail_msg("%s: perplexity %.6f, top-1 %.4f; the reference has %.6f", what, p->perplexity,
                 p->accuracy, want);
    }
    qx_eval_result_free(p);
    n_figures++;
}

struct wanted_logits {
    int64_t n, n_classes; /* values; of one place */
    float *have;
};

static void first_logits(void *arg, int64_t row, int64_t first, int64_t n, float *logits)
{
    const struct wanted_logits *w = arg;
    const int64_t n_classes = w->n_classes, left = w->n - first * n_classes;
    if (row == 0 && left > 0) {
        memcpy(w->have + first * n_classes, logits,
               (size_t)(left < n * n_classes ? left : n * n_classes) * sizeof *logits);
    }
}

/* reference.safetensors: the first places of the first document. */
static void check_logits(const struct folder *f, const struct qx_dataset *data)
{
    char file[1100];
    struct wanted_logits w = {0};
    const int n_classes = qx_net_n_classes(f->net);
    snprintf(file, sizeof file, "%s/reference.safetensors", f->path);
    float *want = tensor_load(file, "logits", &w.n);
    assert_int_equal(w.n, 16 * n_classes);
    w.n_classes = n_classes;
    float *x = malloc((size_t)qx_net_sample_size(f->net) * sizeof *x);
    w.have = malloc((size_t)w.n * sizeof *w.have);
    assert_true(x && w.have);
    assert_int_equal(qx_dataset_read(data, 0, 1, x, NULL), QX_OK);
    assert_int_equal(
        qx_net_run_places(f->net, f->weights, x, 1, first_logits, &w, NULL, NULL, NULL, NULL),
        QX_OK);
    for (int i = 0; i < 16; i++) {
        float top = 0.0f;
        for (int c = 0; c < n_classes; c++) {
            top = fmaxf(top, fabsf(want[i * n_classes + c]));
        }
        for (int c = 0; c < n_classes; c++) {
            const int k = i * n_classes + c;
            assert_true(fabsf(w.have[k] - want[k]) <= 1e-3f * top);
        }
    }
    free(x);
    free(want);
    free(w.have);
}

static bool is_chosen(const char *const *chosen, const char *what)
{
    if (!IS_SANITIZED && getenv("QX_ALL_FIGURES")) {
        return true;
    }
    while (!IS_SANITIZED && *chosen && strcmp(*chosen, what) != 0) {
        chosen++;
    }
    return !IS_SANITIZED && *chosen;
}

/* "rtn_sym_all": granularity -> bits -> figure. */
static void check_scope(struct folder *f, const struct qx_dataset *data,
                        const struct qx_jval *scope, const char *const *chosen,
                        struct qx_pool *pool)
{
    const char *name = qx_jkey(scope) + strlen("rtn_sym_");
    for (const struct qx_jval *gran = qx_jfirst(scope); gran; gran = qx_jnext(gran)) {
        for (const struct qx_jval *v = qx_jfirst(gran); v; v = qx_jnext(v)) {
            char what[128];
            snprintf(what, sizeof what, "%s %s %s", name, qx_jkey(gran), qx_jkey(v));
            if (is_chosen(chosen, what)) {
                apply_scope(f, name, qx_jkey(gran), atoi(qx_jkey(v)), pool);
                check_figure(f, data, v, atoi(qx_jkey(v)), what, pool);
            }
        }
    }
}

/* The figures named in `chosen`, NULL-terminated, and that of float32. */
static void check_folder(const char *path, const char *const *chosen)
{
    char file[1100];
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_pool *pool = NULL;
    struct qx_json *json = NULL;
    int n_chosen = 0;
    while (chosen[n_chosen]) {
        n_chosen++;
    }
    n_figures = 0;
    folder_open(&f, path);
    assert_int_equal(qx_pool_new(2, &pool, NULL), QX_OK);
    snprintf(file, sizeof file, "%s/eval.safetensors", path);
    assert_int_equal(qx_dataset_open(file, f.net, &data, NULL), QX_OK);
    check_logits(&f, data);
    snprintf(file, sizeof file, "%s/reference.json", path);
    assert_int_equal(qx_json_load(file, 1 << 20, &json, NULL), QX_OK);
    const struct qx_jval *set = qx_jget(qx_jget(qx_json_root(json), "sets"), "eval.safetensors");
    check_figure(&f, data, qx_jget(set, "fp32"), 32, "fp32", pool);
    for (const struct qx_jval *scope = qx_jfirst(set); scope; scope = qx_jnext(scope)) {
        if (strncmp(qx_jkey(scope), "rtn_sym_", 8) == 0) {
            check_scope(&f, data, scope, chosen, pool);
        }
    }
    print_message("%s: %d figures\n", qx_net_name(f.net), n_figures);
    assert_true(n_figures >= (IS_SANITIZED ? 1 : 1 + n_chosen));
    qx_json_free(json);
    qx_pool_free(pool);
    qx_dataset_close(&data);
    folder_close(&f);
}

/* ---- the distributions over the next token, against float32's (golden/eval/make_divergence.py) ---- */

static void check_near(const struct qx_jval *want, const char *key, double have, double tolerance)
{
    const double w = qx_jnum(qx_jget(want, key), NAN);
    if (!(fabs(have - w) <= tolerance * fabs(w) + 2e-7)) {
        fail_msg("%s is %.9g; the oracle has %.9g", key, have, w);
    }
}

static void divergence_is_that_of_the_oracle(void **state)
{
    (void)state;
    char path[1024];
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_weights *plain = NULL;
    struct qx_json *json = NULL;
    source_path(path, sizeof path, "tests/golden/eval/divergence.json");
    assert_int_equal(qx_json_load(path, 1 << 20, &json, NULL), QX_OK);
    const struct qx_jval *root = qx_json_root(json);
    source_path(path, sizeof path, "samples/llama-tiny");
    folder_open(&f, path);
    assert_int_equal(qx_weights_new(f.net, &plain, NULL), QX_OK);
    source_path(path, sizeof path, "samples/llama-tiny/eval.safetensors");
    assert_int_equal(qx_dataset_open(path, f.net, &data, NULL), QX_OK);
    const struct qx_eval_options options = {.max_samples =
                                                (int64_t)qx_jnum(qx_jget(root, "documents"), 0)};
    for (const struct qx_jval *v = qx_jfirst(qx_jget(root, "cases")); v; v = qx_jnext(v)) {
        struct qx_eval_result *a = NULL, *b = NULL;
        struct qx_divergence d;
        struct qx_eval_pair pair;
        apply_scope(&f, qx_jstr(qx_jget(v, "scope"), ""), qx_jstr(qx_jget(v, "gran"), ""),
                    (int)qx_jnum(qx_jget(v, "bits"), 0), NULL);
        assert_int_equal(
            qx_eval_run_pair(f.net, data, plain, f.weights, &options, NULL, NULL, &a, &b, NULL),
            QX_OK);
        assert_null(a->kl);
        assert_int_equal(qx_eval_divergence(a, b, &d, NULL), QX_OK);
        assert_int_equal(qx_eval_compare(a, b, &pair, NULL), QX_OK);
        assert_int_equal(d.n, (int64_t)qx_jnum(qx_jget(v, "tokens"), 0));
        check_near(v, "nll", b->ce, 1e-5);
        check_near(v, "nll_se", b->perplexity_error / b->perplexity, 1e-4);
        check_near(v, "nll_delta", pair.nll_delta, 1e-2);
        check_near(v, "nll_delta_se", pair.nll_error, 1e-2);
        check_near(v, "kld_mean", d.kld_mean, 1e-2);
        check_near(v, "kld_se", d.kld_error, 1e-2);
        check_near(v, "kld_p99", d.kld_p99, 1e-2);
        check_near(v, "kld_max", d.kld_max, 2e-2);
        check_near(v, "delta_p", d.delta_p, 1e-2);
        check_near(v, "rms_delta_p", d.rms_delta_p, 1e-2);
        check_near(v, "rms_delta_p_se", d.rms_delta_p_error, 2e-2);
        check_near(v, "same_top", d.same_top, 1e-3);
        qx_eval_result_free(a);
        qx_eval_result_free(b);
        if (IS_SANITIZED) {
            break;
        }
    }
    qx_weights_free(plain);
    qx_dataset_close(&data);
    qx_json_free(json);
    folder_close(&f);
}

/* The same weights differ nowhere; results that were not made side by side have no KL. */
static void divergence_of_the_same_is_none(void **state)
{
    (void)state;
    static const uint8_t ids[] = {1, 5, 9, 3, 7, 2, 15, 0, 4, 4};
    static const int64_t offsets[] = {0, 5, 10};
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_weights *plain = NULL;
    struct qx_eval_result *a = NULL, *b = NULL, *alone = NULL;
    struct qx_divergence d;
    struct qx_error err = {0};
    folder_open(&f, ".");
    assert_int_equal(qx_weights_new(f.net, &plain, NULL), QX_OK);
    assert_int_equal(open_documents(&f, ids, 10, offsets, 3, NULL, &data, NULL), QX_OK);
    assert_int_equal(
        qx_eval_run_pair(f.net, data, plain, f.weights, NULL, NULL, NULL, &a, &b, NULL), QX_OK);
    assert_int_equal(qx_eval_divergence(a, b, &d, NULL), QX_OK);
    assert_int_equal(d.n, 8);
    assert_true(d.kld_mean == 0.0 && d.kld_max == 0.0 && d.rms_delta_p == 0.0 && d.same_top == 1.0);
    assert_int_equal(qx_eval_run(f.net, data, f.weights, NULL, NULL, NULL, &alone, NULL), QX_OK);
    assert_memory_equal(alone->nll, b->nll, 8 * sizeof *b->nll);
    assert_int_equal(qx_eval_divergence(a, alone, &d, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "side by side"));
    qx_eval_result_free(a);
    qx_eval_result_free(b);
    qx_eval_result_free(alone);
    qx_weights_free(plain);
    qx_dataset_close(&data);
    folder_close(&f);
}

static void stories260k_gives_its_logits_and_figures(void **state)
{
    (void)state;
    static const char *const chosen[] = {"all channel 8",
                                         "all channel 4",
                                         "all channel 3",
                                         "all group:32 4",
                                         "linear channel 4",
                                         "linear group:32 4",
                                         NULL};
    char path[1024];
    shared_path(path, sizeof path, "stories260k");
    if (!qx_fs_is_dir(path)) {
        print_message("%s is absent: set QX_SHARED to the shared data\n", path);
        skip();
    }
    check_folder(path, chosen);
}

static void llama_tiny_gives_its_logits_and_figures(void **state)
{
    (void)state;
    static const char *const chosen[] = {"all channel 4", "linear group:32 3", NULL};
    char path[1024];
    source_path(path, sizeof path, "samples/llama-tiny");
    check_folder(path, chosen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(perplexity_is_that_of_its_definition),
        cmocka_unit_test(documents_that_do_not_fit_are_refused),
        cmocka_unit_test(plain_text_is_predicted_once_in_windows),
        cmocka_unit_test(texts_of_a_table_are_documents),
        cmocka_unit_test(divergence_is_that_of_the_oracle),
        cmocka_unit_test(divergence_of_the_same_is_none),
        cmocka_unit_test(llama_tiny_gives_its_logits_and_figures),
        cmocka_unit_test(stories260k_gives_its_logits_and_figures),
    };
    return cmocka_run_group_tests_name("perplexity", tests, enter_folder, scratch_leave);
}
