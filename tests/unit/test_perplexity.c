/* Language models: figures and logits of the shared one where it is present, and data that cannot be
 * measured. */
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

enum { VOCABULARY = 16, HIDDEN = 8, INNER = 12, PLACES = 10 };
static char folder[] = "words-XXXXXX";

static const struct tensor_spec tensors[] = {
    {"model.embed_tokens.weight", "F32", 2, {VOCABULARY, HIDDEN}, NULL},
    {"model.layers.0.input_layernorm.weight", "F32", 1, {HIDDEN}, NULL},
    {"model.layers.0.post_attention_layernorm.weight", "F32", 1, {HIDDEN}, NULL},
    {"model.layers.0.self_attn.q_proj.weight", "F32", 2, {HIDDEN, HIDDEN}, NULL},
    {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {HIDDEN / 2, HIDDEN}, NULL},
    {"model.layers.0.self_attn.v_proj.weight", "F32", 2, {HIDDEN / 2, HIDDEN}, NULL},
    {"model.layers.0.self_attn.o_proj.weight", "F32", 2, {HIDDEN, HIDDEN}, NULL},
    {"model.layers.0.mlp.gate_proj.weight", "F32", 2, {INNER, HIDDEN}, NULL},
    {"model.layers.0.mlp.up_proj.weight", "F32", 2, {INNER, HIDDEN}, NULL},
    {"model.layers.0.mlp.down_proj.weight", "F32", 2, {HIDDEN, INNER}, NULL},
    {"model.norm.weight", "F32", 1, {HIDDEN}, NULL}};

static int enter_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder) || chdir(folder) != 0) {
        return -1;
    }
    model_write("model.safetensors", tensors, (int)(sizeof tensors / sizeof *tensors), NULL);
    char *json = quoted("{'model_type':'llama','hidden_size':8,'num_hidden_layers':1,"
                        "'num_attention_heads':4,'num_key_value_heads':2,'intermediate_size':12,"
                        "'vocab_size':16,'max_position_embeddings':10,"
                        "'tie_word_embeddings':true}");
    text_write("config.json", json);
    free(json);
    return 0;
}

static int leave_folder(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return chdir("..") == 0 && system(command) == 0 ? 0 : -1;
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
    struct qx_perplexity p = {0};
    double nll = 0.0;
    int n = 0;
    folder_open(&f, ".");
    assert_string_equal(qx_net_task(f.net), "language-modelling");
    assert_int_equal(qx_net_layer(f.net, 0)->role, QX_ROLE_EMBEDDING); /* the tied head too */
    assert_int_equal(qx_net_n_layers(f.net), 8);
    assert_int_equal(open_documents(&f, ids, 10, offsets, 4, mask, &data, NULL), QX_OK);
    assert_int_equal(qx_dataset_n(data), 2);
    assert_int_equal(qx_perplexity_run(f.net, data, f.weights, NULL, NULL, NULL, &p, NULL), QX_OK);
    for (int d = 0; d < 3; d += 2) {
        float row[PLACES], logits[VOCABULARY];
        for (int i = 0; i < PLACES; i++) {
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
    assert_int_equal(p.n_documents, 2);
    assert_int_equal(p.n_tokens, n);
    assert_true(fabs(p.nll - nll / n) < 1e-5);
    assert_true(fabs(p.perplexity - exp(nll / n)) < 1e-4 * p.perplexity);
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
    struct qx_perplexity p;
    struct qx_error err = {0};
    folder_open(&f, ".");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(open_documents(&f, ids, cases[i].n, cases[i].offsets, cases[i].n_offsets,
                                        NULL, &data, &err),
                         QX_EDATA);
        assert_non_null(strstr(err.text, cases[i].words));
    }
    assert_int_equal(open_documents(&f, ids, 5, good, 2, NULL, &data, NULL), QX_OK);
    assert_int_equal(qx_perplexity_run(f.net, data, f.weights, NULL, NULL, NULL, &p, &err),
                     QX_EDATA);
    assert_non_null(strstr(err.text, "document 0 holds the id 16"));
    qx_dataset_close(&data);
    folder_close(&f);
}

/* ---- the shared model ---- */

static int n_figures;

static void check_figure(const struct folder *f, const struct qx_dataset *data,
                         const struct qx_jval *figure, int bits, const char *what,
                         struct qx_pool *pool)
{
    struct qx_perplexity p = {0};
    struct qx_error err = {0};
    const double want = qx_jnum(qx_jget(figure, "perplexity"), NAN);
    const double tolerance = bits >= 3 ? 1e-4 : 1e-2; /* model-folder.md section 5 */
    int64_t tokens = 0;
    assert_true(qx_jint(qx_jget(figure, "tokens"), &tokens));
    if (qx_perplexity_run(f->net, data, f->weights, NULL, pool, NULL, &p, &err) != QX_OK) {
        fail_msg("%s: %s", what, err.text);
    }
    assert_int_equal(p.n_tokens, tokens);
    if (!(fabs(p.perplexity - want) <= tolerance * want) ||
        !(fabs(p.top1 - qx_jnum(qx_jget(figure, "top1"), NAN)) < 1e-3)) {
        fail_msg("%s: perplexity %.6f, top-1 %.4f; the reference has %.6f", what, p.perplexity,
                 p.top1, want);
    }
    n_figures++;
}

static void first_logits(void *arg, int64_t first_row, int64_t rows, const int64_t *start,
                         float *logits)
{
    (void)rows;
    if (first_row == 0) {
        memcpy(arg, logits + start[0], 16 * 512 * sizeof *logits);
    }
}

static void stories260k_gives_its_logits_and_figures(void **state)
{
    (void)state;
    /* all 50 take minutes; QX_ALL_FIGURES=1 runs them */
    static const char *const chosen[] = {"all channel 8",  "all channel 4",    "all channel 3",
                                         "all group:32 4", "linear channel 4", "linear group:32 4"};
    static float want_all[16 * 512], have[16 * 512];
    char path[1024], file[1100];
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_pool *pool = NULL;
    struct qx_json *json = NULL;
    int64_t numel = 0;
    shared_path(path, sizeof path, "stories260k");
    if (!qx_fs_is_dir(path)) {
        print_message("%s is absent: set QX_SHARED to the shared data\n", path);
        skip();
    }
    folder_open(&f, path);
    assert_int_equal(qx_pool_new(2, &pool, NULL), QX_OK);
    snprintf(file, sizeof file, "%s/eval.safetensors", path);
    assert_int_equal(qx_dataset_open(file, f.net, &data, NULL), QX_OK);
    float *x = malloc((size_t)qx_net_sample_size(f.net) * sizeof *x);
    assert_non_null(x);
    assert_int_equal(qx_dataset_read(data, 0, 1, x, NULL), QX_OK);
    assert_int_equal(
        qx_net_run_places(f.net, f.weights, x, 1, first_logits, have, NULL, NULL, NULL, NULL),
        QX_OK);
    free(x);
    snprintf(file, sizeof file, "%s/reference.safetensors", path);
    float *want = tensor_load(file, "logits", &numel);
    assert_int_equal(numel, 16 * 512);
    memcpy(want_all, want, sizeof want_all);
    free(want);
    for (int i = 0; i < 16; i++) {
        float top = 0.0f;
        for (int c = 0; c < 512; c++) {
            top = fmaxf(top, fabsf(want_all[i * 512 + c]));
        }
        for (int c = 0; c < 512; c++) {
            assert_true(fabsf(have[i * 512 + c] - want_all[i * 512 + c]) <= 1e-3f * top);
        }
    }
    snprintf(file, sizeof file, "%s/reference.json", path);
    assert_int_equal(qx_json_load(file, 1 << 20, &json, NULL), QX_OK);
    const struct qx_jval *set = qx_jget(qx_jget(qx_json_root(json), "sets"), "eval.safetensors");
    check_figure(&f, data, qx_jget(set, "fp32"), 32, "fp32", pool);
    for (const struct qx_jval *scope = qx_jfirst(set); scope; scope = qx_jnext(scope)) {
        if (strncmp(qx_jkey(scope), "rtn_sym_", 8) != 0) {
            continue;
        }
        for (const struct qx_jval *gran = qx_jfirst(scope); gran; gran = qx_jnext(gran)) {
            for (const struct qx_jval *v = qx_jfirst(gran); v; v = qx_jnext(v)) {
                char what[128];
                bool is_chosen = getenv("QX_ALL_FIGURES") != NULL;
                snprintf(what, sizeof what, "%s %s %s", qx_jkey(scope) + 8, qx_jkey(gran),
                         qx_jkey(v));
                for (size_t i = 0; i < sizeof chosen / sizeof *chosen; i++) {
                    is_chosen |= strcmp(chosen[i], what) == 0;
                }
                if (is_chosen) {
                    apply_scope(&f, qx_jkey(scope) + 8, qx_jkey(gran), atoi(qx_jkey(v)), pool);
                    check_figure(&f, data, v, atoi(qx_jkey(v)), what, pool);
                }
            }
        }
    }
    print_message("stories260k: %d figures\n", n_figures);
    assert_true(n_figures >= 7);
    qx_json_free(json);
    qx_pool_free(pool);
    qx_dataset_close(&data);
    folder_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(perplexity_is_that_of_its_definition),
        cmocka_unit_test(documents_that_do_not_fit_are_refused),
        cmocka_unit_test(stories260k_gives_its_logits_and_figures),
    };
    return cmocka_run_group_tests_name("perplexity", tests, enter_folder, leave_folder);
}
