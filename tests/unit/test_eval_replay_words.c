/* Suffix replay of language models: what a whole measurement of the same tokens says, to the last bit. */
#include "base/pool.h"
#include "replay_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { VOCABULARY = 100, DOCUMENTS = 7, TOKENS = DOCUMENTS * LLAMA_PLACES };
static int enter_folder(void **state)
{
    uint8_t ids[TOKENS], mask[TOKENS];
    int64_t offsets[DOCUMENTS + 1];
    const struct tensor_spec parts[] = {{"input_ids", "U8", 1, {TOKENS}, ids},
                                        {"doc_offsets", "I64", 1, {DOCUMENTS + 1}, offsets},
                                        {"loss_mask", "U8", 1, {TOKENS}, mask}};
    if (scratch_enter(state) != 0) {
        return -1;
    }
    for (int i = 0; i < TOKENS; i++) {
        ids[i] = (uint8_t)(i * i * 7 % VOCABULARY);
        mask[i] = i % 5 != 3;
    }
    for (int i = 0; i <= DOCUMENTS; i++) {
        offsets[i] = i * LLAMA_PLACES;
    }
    llama_write(VOCABULARY);
    model_write("eval.safetensors", parts, 3, NULL);
    return 0;
}

static struct qx_replay *replay_of(struct bench *b, int64_t n, uint64_t max_bytes)
{
    struct qx_replay *r = NULL;
    struct qx_error err = {0};
    if (qx_replay_new(b->f.net, b->data, n, 3, max_bytes, NULL, NULL, &r, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return r;
}

static void layer_set(struct bench *b, int layer, int bits, bool has_act)
{
    b->set[layer] = bits ? rtn_setting(&b->f, layer, "channel", bits) : qx_setting_fp32();
    if (bits && has_act && qx_net_layer(b->f.net, layer)->role == QX_ROLE_LINEAR) {
        b->set[layer].act = qx_act_dynamic(8);
    }
}

static struct qx_replay_result run(struct bench *b, struct qx_replay *r, struct qx_pool *pool)
{
    struct qx_replay_result now;
    struct qx_error err = {0};
    if (qx_replay_run(r, b->set, pool, NULL, &now, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return now;
}

static void assert_same_bits(const struct qx_eval_result *a, const struct qx_eval_result *b)
{
    const size_t n = (size_t)a->n;
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->rows, b->rows, n * sizeof *a->rows);
    assert_memory_equal(a->label, b->label, n * sizeof *a->label);
    assert_memory_equal(a->predicted, b->predicted, n * sizeof *a->predicted);
    assert_memory_equal(a->margin, b->margin, n * sizeof *a->margin);
    assert_memory_equal(a->nll, b->nll, n * sizeof *a->nll);
    assert_int_equal(a->correct, b->correct);
    assert_true(a->perplexity == b->perplexity);
}

/* All documents, on weights of their own, beside float32. */
static void assert_as_measured(struct bench *b, const struct qx_replay *r,
                               const struct qx_replay_result *have)
{
    struct qx_eval_result *fp32 = NULL, *want = NULL;
    struct qx_weights *plain = NULL;
    struct qx_eval_pair pair;
    struct qx_error err = {0};
    double kl = 0;
    assert_int_equal(qx_weights_new(b->f.net, &plain, &err), QX_OK);
    for (int i = 0; i < b->n; i++) {
        assert_int_equal(qx_weights_apply(b->f.weights, i, &b->set[i], NULL, NULL, &err), QX_OK);
    }
    if (qx_eval_run_pair(b->f.net, b->data, plain, b->f.weights, NULL, NULL, NULL, &fp32, &want,
                         &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    assert_same_bits(qx_replay_scored(r, true), fp32);
    assert_same_bits(qx_replay_scored(r, false), want);
    assert_memory_equal(qx_replay_scored(r, false)->kl, want->kl, (size_t)want->n * sizeof(float));
    for (int64_t i = 0; i < want->n; i++) {
        kl += (double)want->kl[i];
    }
    assert_true(fabs(have->kl - kl / (double)want->n) <= 1e-12 * kl);
    assert_int_equal(qx_eval_compare(fp32, want, &pair, &err), QX_OK);
    assert_true(have->n == want->n && have->pair.increase == pair.increase &&
                have->pair.flips == pair.flips && have->engine == want->engine);
    qx_eval_result_free(fp32);
    qx_eval_result_free(want);
    qx_weights_free(plain);
}

static void a_walk_is_as_measured(uint64_t max_bytes)
{
    static struct bench b;
    bench_open(&b, ".");
    struct qx_replay *r = replay_of(&b, 0, max_bytes);
    assert_int_equal(qx_replay_rows(r), DOCUMENTS * (LLAMA_PLACES - 1 - 2)); /* the mask */
    struct qx_replay_result now = run(&b, r, NULL);
    assert_true(now.pair.increase == 0 && now.kl == 0);
    unsigned seed = 9;
    int n_suffix = 0;
    for (int step = 0; step < 40; step++) {
        seed = seed * 1664525 + 1013904223;
        const int layer = (int)(seed >> 16) % b.n, bits = (int)(seed >> 8) % 8 + 1;
        layer_set(&b, layer, bits == 1 ? 0 : bits, step >= 20);
        now = run(&b, r, NULL);
        n_suffix += now.is_suffix;
        assert_as_measured(&b, r, &now);
    }
    assert_true((n_suffix > 0) == (max_bytes > 0));
    qx_replay_free(r);
    bench_close(&b);
}

static void random_edits_are_as_measured(void **state)
{
    (void)state;
    a_walk_is_as_measured(UINT64_MAX);
    a_walk_is_as_measured(0); /* whole passes */
}

static void a_drag_runs_what_lies_behind_and_says_the_same(void **state)
{
    (void)state;
    static struct bench b;
    char path[512];
    struct qx_pool *pool = NULL;
    assert_int_equal(qx_pool_new(2, &pool, NULL), QX_OK);
    source_path(path, sizeof path, "samples/llama-tiny");
    bench_open(&b, path);
    struct qx_replay *some = replay_of(&b, 200, UINT64_MAX), *whole = replay_of(&b, 200, 0);
    assert_int_equal(qx_replay_rows(some), 200);
    const int layer = b.n - 4;
    for (int bits = 8; bits >= 4; bits -= 2) {
        layer_set(&b, layer, bits, false);
        const struct qx_replay_result now = run(&b, some, pool), all = run(&b, whole, NULL);
        assert_true(now.from == layer && now.is_suffix == (bits < 8) && !all.is_suffix);
        assert_same_bits(qx_replay_scored(some, false), qx_replay_scored(whole, false));
        assert_true(now.kl == all.kl && now.kl > 0 && now.pair.increase == all.pair.increase);
    }
    qx_replay_free(some);
    qx_replay_free(whole);
    bench_close(&b);
    qx_pool_free(pool);
}

static void how_many_tokens_depends_on_the_network_alone(void **state)
{
    (void)state;
    static struct bench b;
    char path[512];
    bench_open(&b, ".");
    assert_int_equal(qx_replay_rows_usual(b.f.net), QX_REPLAY_TOKENS);
    bench_close(&b);
    source_path(path, sizeof path, "samples/llama-tiny");
    bench_open(&b, path);
    const int64_t n = qx_replay_rows_usual(b.f.net);
    assert_true(n >= QX_REPLAY_TOKENS / 4 && n < QX_REPLAY_TOKENS);
    bench_close(&b);
}

static void edit(struct bench *b, int layer, int64_t try)
{
    layer_set(b, layer, 2 + (int)(try % 5), layer == 2);
}

static void failures_and_cancelling_lose_only_the_run(void **state)
{
    (void)state;
    static struct bench b;
    bench_open(&b, ".");
    struct qx_replay *r = bench_replay_failing(&b, 0, 3);
    struct qx_replay_result now;
    for (int layer = 1; layer < 3; layer++) {
        now = bench_run_failing(&b, r, layer, edit);
        assert_as_measured(&b, r, &now);
    }
    layer_set(&b, 1, 3, false);
    bench_cancel(&b, r);
    now = run(&b, r, NULL);
    assert_as_measured(&b, r, &now);
    qx_replay_free(r);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_edits_are_as_measured),
        cmocka_unit_test(a_drag_runs_what_lies_behind_and_says_the_same),
        cmocka_unit_test(how_many_tokens_depends_on_the_network_alone),
        cmocka_unit_test(failures_and_cancelling_lose_only_the_run),
    };
    return cmocka_run_group_tests_name("replay of language models", tests, enter_folder,
                                       scratch_leave);
}
