/* Encoders: what config.json and tensors disagree on is told in a sentence, and padding is nothing. */
#include "base/pool.h"
#include "net_fixture.h"
#include "test_net.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PLACES = 12, CLASSES = 3 };
static int enter_folder(void **state)
{
    char model[1024];
    source_path(model, sizeof model, "tests/golden/net/encoder_bert/model.safetensors");
    return scratch_enter(state) == 0 && symlink(model, "model.safetensors") == 0 ? 0 : -1;
}

/* config.json with one member given, or another value for it. */
static enum qx_status open_config(const char *key, const char *value, struct qx_error *err)
{
    static const char *const members[][2] = {
        {"model_type", "'bert'"},         {"hidden_size", "32"},       {"num_hidden_layers", "2"},
        {"num_attention_heads", "4"},     {"intermediate_size", "48"}, {"vocab_size", "60"},
        {"max_position_embeddings", "12"}};
    char text[1024] = "{", *json;
    size_t len = 1;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        if (strcmp(members[i][0], key) != 0) {
            len += (size_t)snprintf(text + len, sizeof text - len, "'%s':%s,", members[i][0],
                                    members[i][1]);
        }
    }
    snprintf(text + len, sizeof text - len, "'%s':%s}", key, value);
    json = quoted(text);
    text_write("config.json", json);
    free(json);
    struct qx_model *model = NULL;
    struct qx_net *net = NULL;
    assert_int_equal(qx_model_open(".", &model, NULL), QX_OK);
    const enum qx_status st = qx_net_open(model, &net, err);
    qx_net_close(&net);
    qx_model_close(&model);
    return st;
}

static void config_and_tensors_must_agree(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        enum qx_status st;
        const char *words[2];
    } cases[] = {
        {"hidden_size", "64", QX_EFORMAT, {"hidden_size 64", "word_embeddings.weight"}},
        {"hidden_size", "'wide'", QX_EFORMAT, {"hidden_size", "whole number"}},
        {"vocab_size", "61", QX_EFORMAT, {"vocab_size 61", "[60, 32]"}},
        {"max_position_embeddings", "512", QX_EFORMAT, {"max_position_embeddings 512", "[12, 32]"}},
        {"type_vocab_size", "3", QX_EFORMAT, {"type_vocab_size 3", "token_type"}},
        {"intermediate_size", "50", QX_EFORMAT, {"intermediate_size 50", "intermediate.dense"}},
        {"num_attention_heads", "5", QX_EFORMAT, {"num_attention_heads 5", "no multiple"}},
        {"num_attention_heads", "0", QX_EFORMAT, {"num_attention_heads", "1 to"}},
        {"num_hidden_layers", "3", QX_EFORMAT, {"no tensor", "encoder.layer.2."}},
        {"num_hidden_layers", "null", QX_EFORMAT, {"num_hidden_layers", "missing"}},
        {"layer_norm_eps", "-1", QX_EFORMAT, {"layer_norm_eps", "positive"}},
        {"hidden_act", "'mish'", QX_EUNSUPPORTED, {"'mish'", "gelu_new"}},
        {"position_embedding_type", "'relative_key'", QX_EUNSUPPORTED, {"relative", "explored"}},
        {"is_decoder", "true", QX_EUNSUPPORTED, {"decoder", "explored"}},
        {"id2label", "{'0':'a','1':'b'}", QX_EFORMAT, {"2 labels", "3 classes"}},
        {"id2label", "{'0':'a','5':'b','1':'c'}", QX_EFORMAT, {"id2label", "\"5\""}},
        {"layer_norm_eps", "1e300", QX_EFORMAT, {"layer_norm_eps", "float32"}},
        {"hidden_act", "5", QX_EFORMAT, {"hidden_act", "no text"}},
        {"is_decoder", "'no'", QX_EFORMAT, {"is_decoder", "neither true nor false"}},
        {"id2label", "['a','b','c']", QX_EFORMAT, {"id2label", "an object"}},
        {"model_type", "'roberta'", QX_EFORMAT, {"roberta", "no tensor"}},
        {"model_type", "'mamba'", QX_EUNSUPPORTED, {"missing: layers with a state", "explored"}},
        {"model_type", "'qwen3_moe'", QX_EUNSUPPORTED, {"'qwen3_moe'", "experts"}},
        {"model_type", "'nobody'", QX_EUNSUPPORTED, {"'nobody'", "llama"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qx_error err = {0};
        const enum qx_status st = open_config(cases[i].key, cases[i].value, &err);
        if (st != cases[i].st || !strstr(err.text, cases[i].words[0]) ||
            !strstr(err.text, cases[i].words[1]) || !strstr(err.text, "config.json")) {
            fail_msg("%s %s: status %d, '%s'", cases[i].key, cases[i].value, (int)st, err.text);
        }
    }
    assert_int_equal(open_config("num_hidden_layers", "1", NULL), QX_OK); /* the rest is unused */
}

static void layers_have_short_names(void **state)
{
    (void)state;
    char path[1024];
    struct folder f;
    source_path(path, sizeof path, "tests/golden/net/encoder_bert");
    folder_open(&f, path);
    assert_string_equal(qx_net_arch(f.net), "bert");
    assert_string_equal(qx_net_task(f.net), "classification");
    assert_string_equal(qx_net_class_name(f.net, 2), "class 2");
    assert_true(qx_net_input_is_sequence(f.net) && qx_net_input_is_ids(f.net));
    assert_int_equal(qx_net_n_layers(f.net), 3 + 2 * 6 + 2);
    assert_string_equal(qx_net_layer(f.net, 0)->name, "embed.word");
    assert_string_equal(qx_net_layer(f.net, 3)->name, "L0.attn.query");
    assert_string_equal(qx_net_layer(f.net, 14)->name, "L1.ffn.down");
    assert_string_equal(qx_net_layer(f.net, 16)->name, "classifier");
    assert_int_equal(qx_net_layer(f.net, 3)->macs, PLACES * 32 * 32);
    folder_close(&f);
}

static void fill(float *x, int64_t rows)
{
    for (int64_t i = 0; i < rows * PLACES; i++) {
        x[i] = (float)(i * 7 % 60);
    }
}

/* Rows of all lengths, among others and alone, on one thread and on three: the same bits. */
static void rows_do_not_depend_on_their_neighbours(void **state)
{
    (void)state;
    enum { ROWS = 100 };
    static float x[ROWS * PLACES];
    float all[ROWS * CLASSES], again[ROWS * CLASSES], one[CLASSES];
    char path[1024];
    struct folder f;
    struct qx_pool *pool = NULL;
    source_path(path, sizeof path, "tests/golden/net/encoder_bert");
    folder_open(&f, path);
    fill(x, ROWS);
    for (int r = 0; r < ROWS; r++) {
        for (int i = 1 + r % PLACES; i < PLACES; i++) {
            x[r * PLACES + i] = -1.0f;
        }
    }
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    assert_int_equal(qx_net_forward(f.net, f.weights, x, ROWS, all, NULL, NULL, NULL), QX_OK);
    assert_int_equal(qx_net_forward(f.net, f.weights, x, ROWS, again, pool, NULL, NULL), QX_OK);
    assert_memory_equal(all, again, sizeof all);
    for (int r = 0; r < ROWS; r++) {
        assert_int_equal(qx_net_forward(f.net, f.weights, x + r * PLACES, 1, one, NULL, NULL, NULL),
                         QX_OK);
        for (int c = 0; c < CLASSES; c++) { /* BLAS sums in another order for other sizes */
            assert_true(fabsf(one[c] - all[r * CLASSES + c]) < 1e-4f);
        }
    }
    qx_pool_free(pool);
    folder_close(&f);
}

static void ids_that_mean_nothing_are_refused(void **state)
{
    (void)state;
    static const struct {
        float id;
        int place;
        const char *words[2];
    } cases[] = {{60.0f, 3, {"row 1, place 3", "60 entries"}},
                 {1.5f, 3, {"row 1, place 3", "1.5"}},
                 {-2.0f, 3, {"row 1, place 3", "-2"}},
                 {NAN, 11, {"row 1, place 11", "nan"}},
                 {-1.0f, 0, {"row 1", "first place"}}};
    float x[2 * PLACES], logits[2 * CLASSES];
    char path[1024];
    struct folder f;
    source_path(path, sizeof path, "tests/golden/net/encoder_bert");
    folder_open(&f, path);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qx_error err = {0};
        fill(x, 2);
        x[PLACES + cases[i].place] = cases[i].id;
        assert_int_equal(qx_net_forward(f.net, f.weights, x, 2, logits, NULL, NULL, &err),
                         QX_EDATA);
        assert_non_null(strstr(err.text, cases[i].words[0]));
        assert_non_null(strstr(err.text, cases[i].words[1]));
    }
    folder_close(&f);
}

/* A pass that goes on from a layer needs the lengths of the sequences too. */
static void a_pass_goes_on_from_every_layer(void **state)
{
    (void)state;
    enum { ROWS = 40 };
    static float x[ROWS * PLACES];
    float whole[ROWS * CLASSES], rest[ROWS * CLASSES];
    char path[1024];
    struct folder f;
    source_path(path, sizeof path, "tests/golden/net/encoder_bert");
    folder_open(&f, path);
    fill(x, ROWS);
    for (int r = 0; r < ROWS; r++) {
        x[r * PLACES + 1 + r % (PLACES - 1)] = -1.0f;
    }
    assert_int_equal(qx_net_forward(f.net, f.weights, x, ROWS, whole, NULL, NULL, NULL), QX_OK);
    for (int i = 0; i < qx_net_n_layers(f.net); i++) {
        struct qx_net_cut *cut = NULL;
        assert_int_equal(qx_net_cut_new(f.net, f.weights, i, x, ROWS, NULL, &cut, NULL, NULL, NULL),
                         QX_OK);
        assert_int_equal(qx_net_run_from(f.net, f.weights, cut, rest, NULL, NULL, NULL, NULL),
                         QX_OK);
        assert_memory_equal(whole, rest, sizeof whole);
        qx_net_cut_free(cut);
    }
    folder_close(&f);
}

/* How the inputs and weights of every linear layer are quantized. */
struct way {
    const char *name;
    int bits, group;
    struct qx_act act;
};

static void apply_way(struct folder *f, const struct way *way)
{
    for (int i = 0; i < qx_net_n_layers(f->net); i++) {
        char gran[16];
        snprintf(gran, sizeof gran, way->group ? "group:%d" : "channel", way->group);
        struct qx_setting s = rtn_setting(f, i, gran, way->bits);
        s.act = way->act;
        if (qx_net_layer(f->net, i)->role == QX_ROLE_LINEAR) {
            assert_int_equal(qx_weights_apply(f->weights, i, &s, NULL, NULL, NULL), QX_OK);
        }
    }
}

/* Rows of all lengths on both engines: hardly a code differs, and the logits are near. */
static void check_way(struct folder *f, const float *x, int rows, const struct way *way)
{
    float integer[100 * CLASSES], simulated[100 * CLASSES], top = 0.0f;
    struct qx_net_report report = {0};
    struct qx_error err = {0};
    apply_way(f, way);
    if (qx_weights_prepare(f->weights, QX_ENGINE_INTEGER, NULL, NULL, &err) != QX_OK) {
        fail_msg("%s: %s", way->name, err.text);
    }
    assert_int_equal(qx_net_forward(f->net, f->weights, x, rows, integer, NULL, NULL, NULL), QX_OK);
    assert_int_equal(qx_net_compare(f->net, f->weights, x, rows, &report, NULL, NULL, NULL), QX_OK);
    assert_int_equal(qx_weights_prepare(f->weights, QX_ENGINE_SIMULATED, NULL, NULL, NULL), QX_OK);
    assert_int_equal(qx_net_forward(f->net, f->weights, x, rows, simulated, NULL, NULL, NULL),
                     QX_OK);
    int64_t places = 0;
    for (int i = 0; i < rows * PLACES; i++) {
        places += x[i] != -1.0f;
    }
    /* a layer quantizes 5 inputs of 32 and one of 48; the head two of 32 */
    assert_int_equal(report.n_codes, places * 2 * (5 * 32 + 48) + rows * 2 * 32);
    if (report.n_codes_differ * 200 > report.n_codes) {
        fail_msg("%s: %lld of %lld codes differ", way->name, (long long)report.n_codes_differ,
                 (long long)report.n_codes);
    }
    for (int i = 0; i < rows * CLASSES; i++) {
        top = fmaxf(top, fabsf(simulated[i]));
    }
    for (int i = 0; i < rows * CLASSES; i++) {
        assert_true(fabsf(integer[i] - simulated[i]) < 0.05f * top);
    }
}

static void both_engines_agree_on_sequences(void **state)
{
    (void)state;
    enum { ROWS = 50 };
    static float x[ROWS * PLACES];
    struct way ways[] = {{"8 bits, token", 8, 0, qx_act_dynamic(8)},
                         {"8 bits, token, asymmetric", 8, 0, qx_act_dynamic(8)},
                         {"8 bits, sample", 8, 0, qx_act_dynamic(8)},
                         {"8 bits, static", 8, 0, qx_act_static(8)},
                         {"4 bits in groups, token", 4, 32, qx_act_dynamic(8)},
                         {"4 bits in groups, sample", 4, 32, qx_act_dynamic(8)},
                         {"4 bits in groups, static", 4, 32, qx_act_static(8)},
                         {"8 bits in groups, token", 8, 32, qx_act_dynamic(8)}};
    static const char *const folders[] = {"encoder_bert", "encoder_bert_old"};
    ways[1].act.sym = false;
    ways[2].act.gran = QX_ACT_TENSOR;
    ways[5].act.gran = QX_ACT_TENSOR;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (!ways[i].act.dynamic) {
            assert_int_equal(qx_act_method(&ways[i].act, "manual:-4,4", NULL), QX_OK);
        }
    }
    fill(x, ROWS);
    for (int r = 0; r < ROWS; r++) {
        for (int i = 1 + r % PLACES; i < PLACES; i++) {
            x[r * PLACES + i] = -1.0f;
        }
    }
    for (size_t k = 0; k < sizeof folders / sizeof *folders; k++) {
        char path[1024], rest[64];
        struct folder f;
        snprintf(rest, sizeof rest, "tests/golden/net/%s", folders[k]);
        source_path(path, sizeof path, rest);
        folder_open(&f, path);
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            check_way(&f, x, ROWS, &ways[i]);
        }
        folder_close(&f);
    }
}

int test_net_encoder(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_and_tensors_must_agree),
        cmocka_unit_test(layers_have_short_names),
        cmocka_unit_test(rows_do_not_depend_on_their_neighbours),
        cmocka_unit_test(ids_that_mean_nothing_are_refused),
        cmocka_unit_test(a_pass_goes_on_from_every_layer),
        cmocka_unit_test(both_engines_agree_on_sequences),
    };
    return cmocka_run_group_tests_name("net encoder", tests, enter_folder, scratch_leave);
}
