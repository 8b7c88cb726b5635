/* Decoding: what a step gives is what the whole sequence gives, on every engine; sampling. */
#include "base/mem.h"
#include "base/pool.h"
#include "net/exec.h"
#include "net_fixture.h"
#include "qx/decode.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* How far float32 logits may be apart, of the largest: BLAS sums a single row in another order. */
#define NEAR 1e-5f

static void assert_ok(enum qx_status st, const struct qx_error *err)
{
    if (st != QX_OK) {
        fail_msg("%s", err->text);
    }
}

/* ---- models ---- */

static const char *const models[] = {"tests/golden/net/decoder_gpt2",
                                     "tests/golden/net/decoder_llama",
                                     "tests/golden/net/decoder_mistral",
                                     "tests/golden/net/decoder_qwen2",
                                     "tests/golden/net/decoder_qwen3",
                                     "samples/llama-tiny",
                                     "stories260k"};
enum { N_MODELS = sizeof models / sizeof *models };

static bool open_model(struct folder *f, const char *name)
{
    char path[512], config[600];
    if (strchr(name, '/')) {
        source_path(path, sizeof path, name);
    } else {
        shared_path(path, sizeof path, name);
    }
    snprintf(config, sizeof config, "%s/config.json", path);
    FILE *file = fopen(config, "r");
    if (!file) {
        print_message("no %s: not tested\n", path);
        return false;
    }
    fclose(file);
    folder_open(f, path);
    return true;
}

/* How its layers are set, and what the logits must be like. */
struct way {
    const char *name, *scope, *gran;
    int bits;
    struct qx_act act; /* bits 0: float32 inputs */
    enum qx_engine engine;
    float near; /* 0: the same bits */
};

static int ways_make(struct way *w)
{
    const struct qx_act none = {0}, token = qx_act_dynamic(8);
    struct qx_act fixed = qx_act_static(8);
    fixed.has_range = true;
    fixed.range = (struct qx_range){-4.0, 4.0};
    const struct way all[] = {
        {"float32", "linear", NULL, 0, none, QX_ENGINE_SIMULATED, NEAR},
        {"simulated", "linear", "channel", 4, none, QX_ENGINE_SIMULATED, NEAR},
        {"packed, float32 tables", "linear", "channel", 8, none, QX_ENGINE_PACKED, NEAR},
        {"packed 8", "all", "channel", 8, none, QX_ENGINE_PACKED, 0.0f},
        {"packed 4", "all", "group:32", 4, none, QX_ENGINE_PACKED, 0.0f},
        {"dynamic", "all", "channel", 8, token, QX_ENGINE_INTEGER, 0.0f},
        {"dynamic 4", "all", "group:32", 4, token, QX_ENGINE_INTEGER, 0.0f},
        {"static", "all", "channel", 8, fixed, QX_ENGINE_INTEGER, 0.0f}};
    memcpy(w, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

static void way_apply(struct folder *f, const struct way *w)
{
    struct qx_error err = {0};
    for (int i = 0; i < qx_net_n_layers(f->net); i++) {
        const bool is_linear = qx_net_layer(f->net, i)->role == QX_ROLE_LINEAR;
        struct qx_setting s = qx_setting_fp32();
        if (w->bits && (is_linear || strcmp(w->scope, "all") == 0)) {
            s = rtn_setting(f, i, w->gran, w->bits);
            s.act = w->act; /* of tables too: heads may share them */
        }
        assert_ok(qx_weights_apply(f->weights, i, &s, NULL, NULL, &err), &err);
    }
    assert_ok(qx_weights_prepare(f->weights, w->engine, NULL, NULL, &err), &err);
}

/* ---- whole sequences ---- */

static void keep(void *arg, int64_t row, int64_t first, int64_t n, float *logits)
{
    struct {
        float *logits;
        int64_t classes;
    } *to = arg;
    assert_int_equal(row, 0);
    memcpy(to->logits + first * to->classes, logits, (size_t)(n * to->classes) * sizeof *logits);
}

/* Logits of every place, [n][classes]; to be freed. */
static float *whole_pass(const struct folder *f, const int32_t *ids, int64_t n)
{
    const int64_t most = qx_net_sample_size(f->net), classes = qx_net_n_classes(f->net);
    float *x = malloc((size_t)most * sizeof *x);
    float *logits = malloc((size_t)(n * classes) * sizeof *logits);
    struct {
        float *logits;
        int64_t classes;
    } to = {logits, classes};
    struct qx_error err = {0};
    for (int64_t i = 0; i < most; i++) {
        x[i] = i < n ? (float)ids[i] : -1.0f;
    }
    assert_ok(qx_net_run_places(f->net, f->weights, x, 1, keep, &to, NULL, NULL, NULL, &err), &err);
    free(x);
    return logits;
}

static void ids_make(const struct folder *f, int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        ids[i] = (int32_t)((i * i * 7 + i * 13 + 1) % qx_net_n_classes(f->net));
    }
}

static void compare(const float *have, const float *want, int64_t n, float near, const char *what)
{
    float top = 0.0f;
    for (int64_t c = 0; c < n; c++) {
        top = fmaxf(top, fabsf(want[c]));
    }
    for (int64_t c = 0; c < n; c++) {
        if (near > 0.0f ? !(fabsf(have[c] - want[c]) <= near * top) : have[c] != want[c]) {
            fail_msg("%s: class %d has %.9g instead of %.9g", what, (int)c, (double)have[c],
                     (double)want[c]);
        }
    }
}

/* A prompt of `prompt` ids, then one by one. */
static void check_steps(const struct folder *f, const int32_t *ids, int64_t n, int64_t prompt,
                        const float *want, float near, struct qx_pool *pool, const char *what)
{
    const int64_t classes = qx_net_n_classes(f->net);
    struct qx_decode *d = NULL;
    struct qx_error err = {0};
    assert_ok(qx_decode_open(f->net, f->weights, n, pool, &d, &err), &err);
    assert_null(qx_decode_logits(d));
    assert_ok(qx_decode_feed(d, ids, prompt, NULL, &err), &err);
    compare(qx_decode_logits(d), want + (prompt - 1) * classes, classes, near, what);
    for (int64_t i = prompt; i < n; i++) {
        assert_ok(qx_decode_feed(d, ids + i, 1, NULL, &err), &err);
        assert_int_equal(qx_decode_n(d), i + 1);
        compare(qx_decode_logits(d), want + i * classes, classes, near, what);
    }
    assert_int_equal(qx_decode_feed(d, ids, 1, NULL, &err), QX_ERANGE);
    qx_decode_rewind(d, prompt - 1); /* and again from there */
    assert_ok(qx_decode_feed(d, ids + prompt - 1, 1, NULL, &err), &err);
    compare(qx_decode_logits(d), want + (prompt - 1) * classes, classes, near, what);
    qx_decode_close(&d);
}

static void steps_equal_the_whole_sequence(void **state)
{
    (void)state;
    struct way ways[16];
    const int n_ways = ways_make(ways);
    struct qx_pool *pool = NULL;
    assert_int_equal(qx_pool_new(2, &pool, NULL), QX_OK);
    for (int m = 0; m < N_MODELS; m++) {
        struct folder f;
        if (!open_model(&f, models[m])) {
            continue;
        }
        const int64_t most = qx_decode_context_max(f.net), n = most < 24 ? most : 24;
        int32_t ids[24];
        ids_make(&f, ids, n);
        for (int k = 0; k < n_ways; k++) {
            char what[128];
            snprintf(what, sizeof what, "%s, %s", models[m], ways[k].name);
            way_apply(&f, &ways[k]);
            float *want = whole_pass(&f, ids, n);
            check_steps(&f, ids, n, 1, want, ways[k].near, NULL, what);
            check_steps(&f, ids, n, n - 3, want, ways[k].near, pool, what);
            free(want);
        }
        folder_close(&f);
    }
    qx_pool_free(pool);
}

/* ---- rows among others ---- */

struct rows {
    float *logits; /* [rows][places][classes] */
    int64_t places, classes;
};

static void keep_rows(void *arg, int64_t row, int64_t first, int64_t n, float *logits)
{
    const struct rows *to = arg;
    memcpy(to->logits + (row * to->places + first) * to->classes, logits,
           (size_t)(n * to->classes) * sizeof *logits);
}

/* Rows of many lengths in one call give what each gives alone; the last place's logits too. */
static void rows_do_not_depend_on_their_neighbours(void **state)
{
    (void)state;
    enum { ROWS = 23 };
    struct way ways[16];
    const int n_ways = ways_make(ways);
    struct folder f;
    struct qx_error err = {0};
    assert_true(open_model(&f, "tests/golden/net/decoder_qwen3"));
    const int64_t most = qx_net_sample_size(f.net), classes = qx_net_n_classes(f.net);
    float *x = malloc((size_t)(ROWS * most) * sizeof *x);
    float *last = malloc((size_t)(ROWS * classes) * sizeof *last);
    struct rows to = {malloc((size_t)(ROWS * most * classes) * sizeof(float)), most, classes};
    for (int64_t i = 0; i < ROWS * most; i++) {
        x[i] = i % most < 1 + i / most * 5 % most ? (float)(i * 7 % classes) : -1.0f;
    }
    for (int k = 0; k < n_ways; k++) {
        way_apply(&f, &ways[k]);
        assert_ok(
            qx_net_run_places(f.net, f.weights, x, ROWS, keep_rows, &to, NULL, NULL, NULL, &err),
            &err);
        assert_ok(qx_net_run(f.net, f.weights, x, ROWS, last, NULL, NULL, NULL, &err), &err);
        for (int64_t r = 0; r < ROWS; r++) {
            const int64_t n = 1 + r * 5 % most;
            int32_t ids[64];
            for (int64_t i = 0; i < n; i++) {
                ids[i] = (int32_t)x[r * most + i];
            }
            float *want = whole_pass(&f, ids, n);
            for (int64_t i = 0; i < n; i++) {
                compare(to.logits + (r * most + i) * classes, want + i * classes, classes,
                        ways[k].near, ways[k].name);
            }
            compare(last + r * classes, want + (n - 1) * classes, classes, ways[k].near,
                    ways[k].name);
            free(want);
        }
    }
    free(x);
    free(last);
    free(to.logits);
    folder_close(&f);
}

/* More places than one piece of a prompt has, and more than the logits that are in memory at a time. */
static void long_prompts_come_in_pieces(void **state)
{
    (void)state;
    struct way ways[16];
    const int n_ways = ways_make(ways);
    struct folder f;
    if (!open_model(&f, "stories260k")) {
        skip();
    }
    enum { N = 400 };
    static int32_t ids[N];
    ids_make(&f, ids, N);
    for (int k = 0; k < n_ways; k++) {
        way_apply(&f, &ways[k]);
        float *want = whole_pass(&f, ids, N);
        check_steps(&f, ids, N, N - 2, want, ways[k].near, NULL, ways[k].name);
        free(want);
    }
    folder_close(&f);
}

static void what_cannot_go_on_is_told(void **state)
{
    (void)state;
    struct folder f;
    struct qx_decode *d = NULL;
    struct qx_error err = {0};
    char path[512];
    source_path(path, sizeof path, "tests/golden/net/encoder_bert");
    folder_open(&f, path);
    assert_int_equal(qx_decode_open(f.net, f.weights, 8, NULL, &d, &err), QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "language model"));
    folder_close(&f);
    assert_true(open_model(&f, "tests/golden/net/decoder_gpt2"));
    assert_int_equal(qx_decode_open(f.net, f.weights, 17, NULL, &d, &err), QX_ERANGE);
    assert_non_null(strstr(err.text, "1 to 16"));
    assert_int_equal(qx_decode_open(f.net, f.weights, 0, NULL, &d, &err), QX_ERANGE);
    assert_ok(qx_decode_open(f.net, f.weights, 16, NULL, &d, &err), &err);
    assert_int_equal(qx_decode_feed(d, (int32_t[]){3, 48}, 2, NULL, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "place 1 holds the id 48"));
    assert_int_equal(qx_decode_feed(d, (int32_t[]){-1}, 1, NULL, &err), QX_EDATA);
    assert_int_equal(qx_decode_n(d), 0);
    struct qx_ctl ctl = {0};
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_decode_feed(d, (int32_t[]){3}, 1, &ctl, &err), QX_ECANCELLED);
    assert_null(qx_decode_logits(d));
    uint64_t bytes = 0;
    assert_ok(qx_decode_bytes(f.net, f.weights, 16, &bytes, &err), &err);
    assert_true(bytes > 2 * 2 * 16 * 32 * sizeof(float)); /* keys and values of two layers */
    qx_decode_close(&d);
    folder_close(&f);
}

static void failing_allocations_leave_nothing(void **state)
{
    (void)state;
    struct folder f;
    assert_true(open_model(&f, "tests/golden/net/decoder_llama"));
    for (int64_t n = 1;; n++) {
        struct qx_decode *d = NULL;
        qx_mem_fail_at(n);
        const enum qx_status st = qx_decode_open(f.net, f.weights, 8, NULL, &d, NULL);
        qx_mem_fail_at(0);
        if (st == QX_OK) {
            assert_true(n > 5);
            const int64_t before = qx_mem_count();
            assert_int_equal(qx_decode_feed(d, (int32_t[]){1, 2}, 2, NULL, NULL), QX_OK);
            assert_int_equal(qx_mem_count(), before); /* steps take none */
            qx_decode_close(&d);
            break;
        }
        assert_int_equal(st, QX_ENOMEM);
        assert_null(d);
    }
    folder_close(&f);
}

/* ---- tables that stay packed ---- */

static const char *const table_kinds[][2] = {
    {"channel", "8"},  {"channel", "4"},  {"tensor", "8"},  {"group:32", "4"},
    {"group:64", "4"}, {"group:32", "8"}, {"channel", "3"}, {"group:16", "2"}};

/* Rows of all tables against those of fake quantization, which `apply` makes. */
static int check_rows(struct folder *f, const char *what)
{
    struct qx_error err = {0};
    struct qx_exec *e = NULL;
    int n = 0;
    assert_ok(qx_exec_new(f->weights, NULL, NULL, NULL, &e, &err), &err);
    for (int v = 0; v < f->net->n_values; v++) {
        if (!qx_exec_has_table(e, v)) {
            continue;
        }
        const struct qx_shape *s = &f->net->values[v]->shape;
        float *row = malloc((size_t)s->dim[1] * sizeof *row);
        for (int64_t i = 0; i < s->dim[0]; i++) {
            qx_exec_table_row(e, v, i, row);
            compare(row, f->weights->values[v].data + i * s->dim[1], s->dim[1], 0.0f, what);
        }
        n += e->tied[v] ? 10 : 1;
        free(row);
    }
    qx_exec_free(e);
    return n;
}

static void rows_of_packed_tables_are_fake_quantized_ones(void **state)
{
    (void)state;
    static const char *const folders[] = {
        "tests/golden/net/decoder_gpt2", /* tied, learned places */
        "tests/golden/net/decoder_llama", "samples/llama-tiny"};
    int n_tied = 0, n_own = 0;
    for (size_t m = 0; m < sizeof folders / sizeof *folders; m++) {
        struct folder f;
        assert_true(open_model(&f, folders[m]));
        for (size_t k = 0; k < sizeof table_kinds / sizeof *table_kinds; k++) {
            for (int sym = 0; sym < 2; sym++) {
                struct qx_error err = {0};
                for (int i = 0; i < qx_net_n_layers(f.net); i++) {
                    struct qx_setting s =
                        rtn_setting(&f, i, table_kinds[k][0], atoi(table_kinds[k][1]));
                    s.sym = sym || s.gran == QX_GRAN_TENSOR;
                    s.scale = s.gran == QX_GRAN_GROUP && s.group == 64 ? QX_SCALE_F16 : s.scale;
                    assert_ok(qx_weights_apply(f.weights, i, &s, NULL, NULL, &err), &err);
                }
                const int n = check_rows(&f, table_kinds[k][0]);
                assert_true(n > 0);
                n_tied += n / 10;
                n_own += n % 10;
            }
        }
        folder_close(&f);
    }
    assert_true(n_tied > 0 && n_own > 0);
}

/* Set, not applied: nothing exists as float32, and the logits are those of packed weights all the same. */
static void weights_that_are_set_are_made_packed(void **state)
{
    (void)state;
    struct folder f;
    struct qx_error err = {0};
    int32_t ids[8];
    assert_true(open_model(&f, "tests/golden/net/decoder_gpt2"));
    ids_make(&f, ids, 8);
    const struct way way = {"packed 4", "all", "group:32", 4, {0}, QX_ENGINE_PACKED, 0.0f};
    way_apply(&f, &way);
    float *want = whole_pass(&f, ids, 8);
    qx_weights_free(f.weights);
    f.weights = NULL;
    assert_ok(qx_weights_new(f.net, &f.weights, &err), &err);
    for (int i = 0; i < qx_net_n_layers(f.net); i++) {
        const struct qx_setting s = rtn_setting(&f, i, "group:32", 4);
        assert_ok(qx_weights_set(f.weights, i, &s, &err), &err);
    }
    float logits[64], x[16];
    for (int i = 0; i < 16; i++) {
        x[i] = i < 8 ? (float)ids[i] : -1.0f;
    }
    assert_int_equal(qx_net_run(f.net, f.weights, x, 1, logits, NULL, NULL, NULL, &err),
                     QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "prepare"));
    assert_ok(qx_weights_prepare(f.weights, QX_ENGINE_PACKED, NULL, NULL, &err), &err);
    for (int v = 0; v < f.net->n_values; v++) {
        assert_null(f.weights->values[v].changed);
    }
    float *have = whole_pass(&f, ids, 8);
    compare(have, want, 8 * qx_net_n_classes(f.net), 0.0f, "set");
    free(have);
    assert_ok(qx_weights_prepare(f.weights, QX_ENGINE_SIMULATED, NULL, NULL, &err), &err);
    have = whole_pass(&f, ids, 8);
    compare(have, want, 8 * qx_net_n_classes(f.net), 1e-4f, "simulated again");
    free(have);
    free(want);
    folder_close(&f);
}

/* Weights stored in 16 bits: nothing is widened until something reads it, then once for all. */
static void what_is_stored_in_16_bits_stays_so(void **state)
{
    (void)state;
    enum { N = 40 };
    struct folder f;
    struct qx_error err = {0};
    int32_t ids[N];
    uint64_t values = 0;
    assert_true(open_model(&f, "samples/llama-tiny"));
    struct qx_weights *plain = f.weights, *lazy = NULL;
    ids_make(&f, ids, N);
    float *want = whole_pass(&f, ids, N);
    assert_ok(qx_weights_new_lazy(f.net, &lazy, &err), &err);
    f.weights = lazy;
    assert_ok(qx_weights_prepare(lazy, QX_ENGINE_PACKED, NULL, NULL, &err), &err);
    for (int i = 0; i < qx_net_n_layers(f.net); i++) {
        const struct qx_layer *l = qx_net_layer(f.net, i);
        const struct qx_weight *w = &lazy->values[f.net->value_of_tensor[l->tensor]];
        values += (uint64_t)qx_model_tensor(f.model, l->tensor)->numel;
        assert_true(!w->data && !w->stored && !w->changed);
    }
    assert_int_equal(qx_weights_bytes(lazy), 2 * values);
    float *have = whole_pass(&f, ids, N);
    compare(have, want, N * qx_net_n_classes(f.net), NEAR, "16 bits");
    free(have);
    assert_ok(qx_weights_prepare(lazy, QX_ENGINE_AUTO, NULL, NULL, &err), &err);
    assert_int_equal(qx_weights_engine(lazy), QX_ENGINE_SIMULATED); /* small enough to be copied */
    for (int v = 0; v < f.net->n_values; v++) {
        assert_ptr_equal(lazy->values[v].data, plain->values[v].data);
    }
    have = whole_pass(&f, ids, N);
    compare(have, want, N * qx_net_n_classes(f.net), 0.0f, "widened");
    free(have);
    const struct qx_setting s = rtn_setting(&f, 1, "channel", 4);
    assert_ok(qx_weights_set(lazy, 1, &s, &err), &err);
    assert_ok(qx_weights_prepare(lazy, QX_ENGINE_PACKED, NULL, NULL, &err), &err);
    assert_true(qx_weights_bytes(lazy) < 2 * values);
    float *packed = whole_pass(&f, ids, N);
    f.weights = plain;
    assert_ok(qx_weights_apply(plain, 1, &s, NULL, NULL, &err), &err);
    have = whole_pass(&f, ids, N);
    compare(packed, have, N * qx_net_n_classes(f.net), NEAR, "one layer of 4 bits");
    free(packed);
    free(have);
    free(want);
    qx_weights_free(lazy);
    folder_close(&f);
}

/* ---- sampling ---- */

static int32_t draw_one(float temperature, float top_p, uint64_t seed, const float *logits, int n)
{
    struct qx_sampler *s = NULL;
    assert_int_equal(qx_sampler_new(&(struct qx_sampling){temperature, top_p, seed}, n, &s, NULL),
                     QX_OK);
    const int32_t id = qx_sampler_next(s, logits);
    qx_sampler_free(s);
    return id;
}

static void sampling_follows_the_shares(void **state)
{
    (void)state;
    enum { DRAWS = 40000 };
    const float logits[5] = {logf(0.1f), logf(0.4f), NAN, logf(0.3f), logf(0.2f)};
    const double at_one[5] = {0.1, 0.4, 0.0, 0.3, 0.2};
    const double nucleus[5] = {0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0, 0.0}; /* 0.4 + 0.3 reach 0.6 */
    struct qx_sampler *s[2] = {NULL, NULL};
    int n[2][5] = {{0}};
    assert_int_equal(qx_sampler_new(&(struct qx_sampling){1.0f, 1.0f, 7}, 5, &s[0], NULL), QX_OK);
    assert_int_equal(qx_sampler_new(&(struct qx_sampling){1.0f, 0.6f, 7}, 5, &s[1], NULL), QX_OK);
    for (int i = 0; i < DRAWS; i++) {
        n[0][qx_sampler_next(s[0], logits)]++;
        n[1][qx_sampler_next(s[1], logits)]++;
    }
    for (int c = 0; c < 5; c++) { /* five standard errors of a share are below 0.0125 */
        assert_true(fabs((double)n[0][c] / DRAWS - at_one[c]) <= 0.0125);
        assert_true(fabs((double)n[1][c] / DRAWS - nucleus[c]) <= 0.0125);
        assert_true(n[1][c] == 0 || nucleus[c] > 0.0);
    }
    qx_sampler_free(s[0]);
    qx_sampler_free(s[1]);
}

static void sampling_at_its_edges(void **state)
{
    (void)state;
    const float equal[4] = {1.0f, 3.0f, 3.0f, 3.0f}, no_number[2] = {NAN, NAN};
    struct qx_sampler *s = NULL;
    assert_int_equal(draw_one(0.0f, 1.0f, 1, equal, 4), 1);
    assert_int_equal(draw_one(0.8f, 1e-6f, 1, equal, 4), 1);
    assert_int_equal(draw_one(1.0f, 1.0f, 1, no_number, 2), 0);
    assert_int_equal(draw_one(1.5f, 0.9f, 42, equal, 4), draw_one(1.5f, 0.9f, 42, equal, 4));
    assert_int_equal(qx_sampler_new(&(struct qx_sampling){-1.0f, 1.0f, 0}, 4, &s, NULL), QX_ERANGE);
    assert_int_equal(qx_sampler_new(&(struct qx_sampling){NAN, 1.0f, 0}, 4, &s, NULL), QX_ERANGE);
    assert_int_equal(qx_sampler_new(&(struct qx_sampling){1.0f, 0.0f, 0}, 4, &s, NULL), QX_ERANGE);
    assert_int_equal(qx_sampler_new(&(struct qx_sampling){1.0f, 1.1f, 0}, 4, &s, NULL), QX_ERANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_equal_the_whole_sequence),
        cmocka_unit_test(rows_do_not_depend_on_their_neighbours),
        cmocka_unit_test(long_prompts_come_in_pieces),
        cmocka_unit_test(what_cannot_go_on_is_told),
        cmocka_unit_test(failing_allocations_leave_nothing),
        cmocka_unit_test(rows_of_packed_tables_are_fake_quantized_ones),
        cmocka_unit_test(weights_that_are_set_are_made_packed),
        cmocka_unit_test(what_is_stored_in_16_bits_stays_so),
        cmocka_unit_test(sampling_follows_the_shares),
        cmocka_unit_test(sampling_at_its_edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
