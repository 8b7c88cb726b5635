/* Contexts beyond 1,024 tokens: how long rows may be, and decoding against whole passes there. */
#include "net/graph.h"
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

enum { VOCABULARY = 50, PROMPT = 1500, STEPS = 4 };
/* Logits of the last of n ids, run as one row. */
static void whole_pass(const struct folder *f, const int32_t *ids, int64_t n, float *logits)
{
    const int64_t most = qx_net_sample_size(f->net);
    float *x = malloc((size_t)most * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < most; i++) {
        x[i] = i < n ? (float)ids[i] : -1.0f;
    }
    assert_int_equal(qx_net_forward(f->net, f->weights, x, 1, logits, NULL, NULL, NULL), QX_OK);
    free(x);
}

static void assert_near(const float *a, const float *b)
{
    float most = 0.0f, off = 0.0f;
    for (int c = 0; c < VOCABULARY; c++) {
        most = fmaxf(most, fabsf(b[c]));
        off = fmaxf(off, fabsf(a[c] - b[c]));
    }
    assert_true(most > 0.0f && off <= 1e-4f * most);
}

/* A prompt in pieces, then single steps, against the whole sequence; and what the last answer was. */
static void check_steps(const struct llama *l, float *last)
{
    int32_t ids[PROMPT + STEPS];
    float want[VOCABULARY];
    struct folder f;
    struct qx_decode *d = NULL;
    llama_write_as(l);
    folder_open(&f, ".");
    assert_int_equal(qx_net_sample_size(f.net), l->places);
    for (int i = 0; i < PROMPT + STEPS; i++) {
        ids[i] = (i * i * 7 + i * 13 + 1) % VOCABULARY;
    }
    assert_int_equal(qx_decode_open(f.net, f.weights, PROMPT + STEPS, NULL, &d, NULL), QX_OK);
    for (int n = PROMPT; n <= PROMPT + STEPS; n++) {
        const int from = (int)qx_decode_n(d);
        assert_int_equal(qx_decode_feed(d, ids + from, n - from, NULL, NULL), QX_OK);
        whole_pass(&f, ids, n, want);
        assert_near(qx_decode_logits(d), want);
    }
    memcpy(last, want, sizeof want);
    qx_decode_close(&d);
    folder_close(&f);
}

static void steps_equal_whole_passes_far_out(void **state)
{
    (void)state;
    static const char *const scalings[] = {
        "", "'rope_scaling':{'rope_type':'linear','factor':4},",
        "'rope_scaling':{'rope_type':'llama3','factor':8,'low_freq_factor':1,'high_freq_factor':4,"
        "'original_max_position_embeddings':16},",
        "'rope_scaling':{'rope_type':'yarn','factor':4,'original_max_position_embeddings':512},",
        "'rope_scaling':{'rope_type':'yarn','factor':4,'original_max_position_embeddings':512,"
        "'mscale':0.7,'mscale_all_dim':1.4},"};
    float last[5][VOCABULARY];
    for (int i = 0; i < 5; i++) {
        check_steps(&(struct llama){"llama", 1, VOCABULARY, 3000, 12, scalings[i]}, last[i]);
        for (int k = 0; k < i; k++) { /* each is another network */
            assert_memory_not_equal(last[i], last[k], sizeof last[i]);
        }
    }
}

static void configs_of_nonsense_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *more, *says;
    } cases[] = {
        {"'rope_scaling':{'rope_type':'yarn','factor':4,'attention_factor':-1},", "rope_scaling"},
        {"'rope_scaling':{'rope_type':'yarn','factor':4,'mscale':1,'mscale_all_dim':-9},",
         "rope_scaling"},
        {"'rope_scaling':{'rope_type':'yarn','factor':4,'beta_fast':-2},", "rope_scaling"},
        {"'rope_scaling':'linear',", "\"rope_scaling\" is no object"},
        {"'rope_scaling':{'rope_type':7},", "\"rope_type\" is no text"},
        {"'rope_theta':1e308,", "\"rope_theta\" is no positive number"},
        {"'rope_theta':1e-300,", "\"rope_theta\" is no positive number"},
        {"'hidden_act':5,", "\"hidden_act\" is no text"},
        {"'layer_types':['full_attention',3],", "no type of layer 1"},
        {"'use_sliding_window':'no',", "\"use_sliding_window\" is neither"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qx_model *model = NULL;
        struct qx_net *net = NULL;
        struct qx_error err;
        llama_write_as(&(struct llama){"llama", 2, VOCABULARY, 3000, 12, cases[i].more});
        assert_int_equal(qx_model_open(".", &model, NULL), QX_OK);
        assert_int_equal(qx_net_open(model, &net, &err), QX_EFORMAT);
        if (!strstr(err.text, cases[i].says)) {
            fail_msg("'%s' does not say '%s'", err.text, cases[i].says);
        }
        qx_model_close(&model);
    }
}

/* A window forgets what lies behind it, and nothing else; up to its size it is not there. */
static void windows_slide(void **state)
{
    (void)state;
    float with[VOCABULARY], without[VOCABULARY], same[VOCABULARY];
    check_steps(&(struct llama){"mistral", 1, VOCABULARY, 3000, 12, "'sliding_window':700,"}, with);
    check_steps(&(struct llama){"mistral", 1, VOCABULARY, 3000, 12, "'sliding_window':null,"},
                without);
    assert_memory_not_equal(with, without, sizeof with);
    check_steps(&(struct llama){"mistral", 1, VOCABULARY, 3000, 12, "'sliding_window':2000,"},
                same);
    assert_memory_equal(same, without, sizeof same);
    struct folder f; /* one layer: what lies 700 back and more is of no matter */
    int32_t ids[800];
    float a[VOCABULARY], b[VOCABULARY];
    llama_write_as(&(struct llama){"mistral", 1, VOCABULARY, 3000, 12, "'sliding_window':700,"});
    folder_open(&f, ".");
    for (int i = 0; i < 800; i++) {
        ids[i] = i % VOCABULARY;
    }
    whole_pass(&f, ids, 800, a);
    ids[99] = 7;
    whole_pass(&f, ids, 800, b);
    assert_memory_equal(a, b, sizeof a);
    ids[100] = 7; /* the first of the last place's window */
    whole_pass(&f, ids, 800, b);
    assert_memory_not_equal(a, b, sizeof a);
    folder_close(&f);
}

static enum qx_status open_with(int64_t context, struct qx_model **model, struct qx_net **net,
                                struct qx_error *err)
{
    assert_int_equal(qx_model_open(".", model, NULL), QX_OK);
    return qx_net_open_with(*model, context, net, err);
}

static void the_context_is_what_is_asked_for(void **state)
{
    (void)state;
    static const struct {
        int64_t asked, places, window;
    } cases[] = {{0, 3000, 1024}, {3000, 3000, 3000}, {2000, 2000, 2000}, {5, 5, 5}};
    struct qx_model *model = NULL;
    struct qx_net *net = NULL;
    struct qx_error err = {0};
    llama_write_as(&(struct llama){"llama", 1, VOCABULARY, 3000, 12, ""});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(open_with(cases[i].asked, &model, &net, NULL), QX_OK);
        assert_int_equal(qx_net_sample_size(net), cases[i].places);
        assert_int_equal(qx_decode_context_max(net), cases[i].places);
        assert_int_equal(qx_net_window(net), cases[i].window);
        qx_net_close(&net);
        qx_model_close(&model);
    }
    assert_int_equal(open_with(3001, &model, &net, &err), QX_ERANGE);
    assert_non_null(strstr(err.text, "3001"));
    assert_non_null(strstr(err.text, "max_position_embeddings"));
    qx_model_close(&model);
    assert_int_equal(open_with(QX_CONTEXT_MOST + 1, &model, &net, &err), QX_ERANGE);
    qx_model_close(&model);
}

/* Halved until the plan of one row takes 256 MiB at most. */
static void memory_bounds_the_context(void **state)
{
    (void)state;
    struct qx_model *model = NULL;
    struct qx_net *net = NULL;
    llama_write_as(&(struct llama){"llama", 2, VOCABULARY, 1 << 20, 600, ""});
    assert_int_equal(open_with(0, &model, &net, NULL), QX_OK);
    const int64_t places = qx_net_sample_size(net);
    assert_true(net->plan.whole.floats <= QX_WORKSPACE_CONTEXT);
    qx_net_close(&net);
    qx_model_close(&model);
    assert_int_equal(open_with(2 * places, &model, &net, NULL), QX_OK);
    assert_true(net->plan.whole.floats > QX_WORKSPACE_CONTEXT);
    qx_net_close(&net);
    qx_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_equal_whole_passes_far_out),
                                       cmocka_unit_test(configs_of_nonsense_are_refused),
                                       cmocka_unit_test(windows_slide),
                                       cmocka_unit_test(the_context_is_what_is_asked_for),
                                       cmocka_unit_test(memory_bounds_the_context)};
    return cmocka_run_group_tests(tests, scratch_enter, scratch_leave);
}
