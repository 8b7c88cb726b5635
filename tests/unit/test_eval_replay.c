/* Suffix replay says what a whole measurement of the same rows says, whatever was edited before. */
#include "base/pool.h"
#include "qx/predict.h"
#include "replay_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { P = 70 };

static void bench_open_source(struct bench *b, const char *rest)
{
    char path[512];
    source_path(path, sizeof path, rest);
    bench_open(b, path);
}

static struct qx_replay *replay_of(struct bench *b, uint64_t max_bytes)
{
    struct qx_replay *r = NULL;
    struct qx_error err = {0};
    if (qx_replay_new(b->f.net, b->data, P, 7, max_bytes, NULL, NULL, &r, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return r;
}

static void layer_set(struct bench *b, int layer, int bits, int act)
{
    b->set[layer] = bits ? rtn_setting(&b->f, layer, "channel", bits) : qx_setting_fp32();
    if (bits && act) {
        b->set[layer].act = act == 1 ? qx_act_dynamic(8) : qx_act_static(8);
        b->set[layer].act.has_range = act != 1;
        b->set[layer].act.range = (struct qx_range){0, act == 2 ? 4.0 : 3.0};
    }
}

/* The whole measurement, on weights of its own. */
static void assert_as_measured(struct bench *b, const struct qx_replay_result *have)
{
    const struct qx_eval_options options = {.max_samples = P, .seed = 7};
    struct qx_eval_result *fp32 = NULL, *want = NULL;
    struct qx_eval_pair pair;
    struct qx_error err = {0};
    const struct qx_setting plain = qx_setting_fp32();
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < b->n; i++) {
            const struct qx_setting *s = pass ? &b->set[i] : &plain;
            assert_int_equal(qx_weights_apply(b->f.weights, i, s, NULL, NULL, &err), QX_OK);
        }
        if (qx_eval_run(b->f.net, b->data, b->f.weights, &options, NULL, NULL, pass ? &want : &fp32,
                        &err) != QX_OK) {
            fail_msg("%s", err.text);
        }
    }
    assert_int_equal(qx_eval_compare(fp32, want, &pair, &err), QX_OK);
    assert_int_equal(have->n, P);
    assert_int_equal(have->correct, want->correct);
    assert_int_equal(have->fp32_correct, fp32->correct);
    assert_int_equal(have->engine, want->engine);
    assert_true(have->pair.flips == pair.flips && have->pair.lost == pair.lost &&
                have->pair.delta == pair.delta);
    qx_eval_result_free(fp32);
    qx_eval_result_free(want);
}

static void replay(struct bench *b, struct qx_replay *r, struct qx_replay_result *out)
{
    struct qx_error err = {0};
    if (qx_replay_run(r, b->set, NULL, NULL, out, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    assert_as_measured(b, out);
}

static void a_walk_over_the_layers_is_as_measured(const char *rest, uint64_t max_bytes)
{
    static struct bench b;
    struct qx_replay_result now;
    bench_open_source(&b, rest);
    struct qx_replay *r = replay_of(&b, max_bytes);
    assert_int_equal(qx_replay_rows(r), P);
    replay(&b, r, &now);
    assert_true(now.pair.flips == 0 && now.kl < 1e-12 && now.from == 0);
    unsigned seed = 5;
    for (int step = 0; step < 40; step++) {
        seed = seed * 1664525 + 1013904223;
        const int layer = (int)(seed >> 16) % b.n, bits = (int)(seed >> 8) % 8 + 1;
        layer_set(&b, layer, bits == 1 ? 0 : bits, step < 10 ? 0 : step < 20 ? 1 : step % 3);
        replay(&b, r, &now);
        assert_true(now.kl >= 0);
    }
    qx_replay_free(r);
    bench_close(&b);
}

static void random_edits_are_as_measured(void **state)
{
    (void)state;
    a_walk_over_the_layers_is_as_measured("samples/fashion-cnn", UINT64_MAX);
    a_walk_over_the_layers_is_as_measured("samples/fashion-mlp", UINT64_MAX);
}

static void without_room_every_run_is_a_whole_pass(void **state)
{
    (void)state;
    a_walk_over_the_layers_is_as_measured("samples/fashion-cnn", 0);
    a_walk_over_the_layers_is_as_measured("samples/fashion-cnn", 200000); /* the last layers' fit */
}

static void a_drag_runs_only_what_lies_behind(void **state)
{
    (void)state;
    static struct bench b;
    struct qx_replay_result now;
    bench_open_source(&b, "samples/fashion-cnn");
    struct qx_replay *r = replay_of(&b, UINT64_MAX);
    for (int act = 0; act < 2; act++) { /* both engines */
        for (int i = 0; i < b.n; i++) {
            layer_set(&b, i, 8, 2 * act);
        }
        replay(&b, r, &now);
        assert_int_equal(now.engine, act ? QX_ENGINE_INTEGER : QX_ENGINE_SIMULATED);
        for (int bits = 7; bits >= 3; bits--) {
            layer_set(&b, b.n - 2, bits, 2 * act);
            replay(&b, r, &now);
            assert_int_equal(now.from, b.n - 2);
            assert_int_equal(now.is_suffix, bits < 7);
        }
        layer_set(&b, b.n - 1, 4, 2 * act); /* later: from there on */
        replay(&b, r, &now);
        assert_int_equal(now.from, b.n - 1);
        layer_set(&b, 0, 4, 2 * act); /* earlier: all again */
        replay(&b, r, &now);
        assert_true(now.from == 0);
        replay(&b, r, &now); /* nothing changed */
        assert_true(now.from == 0);
    }
    layer_set(&b, b.n - 1, 4, 3); /* its input takes other codes: values before it become others */
    replay(&b, r, &now);
    assert_true(now.from == b.n - 1 && !now.is_suffix);
    qx_replay_free(r);
    bench_close(&b);
}

static void the_divergence_is_that_of_the_predictors_truth(void **state)
{
    (void)state;
    static struct bench b;
    struct qx_replay_result now;
    struct qx_predict_probe *probe = NULL;
    struct qx_predict_truth truth;
    bench_open_source(&b, "samples/fashion-cnn");
    struct qx_replay *r = replay_of(&b, UINT64_MAX);
    assert_int_equal(
        qx_predict_probe_new(b.f.net, b.data, NULL, NULL, P, 7, NULL, NULL, &probe, NULL), QX_OK);
    for (int bits = 2; bits <= 8; bits += 3) {
        layer_set(&b, 1, bits, 0);
        layer_set(&b, 3, 3, 0);
        replay(&b, r, &now);
        assert_int_equal(
            qx_predict_probe_run(probe, b.set, QX_ENGINE_AUTO, NULL, NULL, &truth, NULL, NULL),
            QX_OK);
        assert_true(fabs(truth.kl - now.kl) <= 1e-5 * now.kl);
    }
    qx_predict_probe_free(probe);
    qx_replay_free(r);
    bench_close(&b);
}

static void edit(struct bench *b, int round, int64_t try)
{
    layer_set(b, 1 + round % 2, 2 + (int)(try % 5), 2 * (round > 0));
}

static void failures_and_cancelling_lose_only_the_run(void **state)
{
    (void)state;
    static struct bench b;
    struct qx_replay_result now;
    bench_open_source(&b, "samples/fashion-mlp");
    struct qx_replay *r = bench_replay_failing(&b, P, 7);
    replay(&b, r, &now);
    for (int round = 0; round < 3; round++) {
        now = bench_run_failing(&b, r, round, edit);
        assert_as_measured(&b, &now);
    }
    layer_set(&b, 0, 3, 0);
    bench_cancel(&b, r);
    replay(&b, r, &now);
    assert_int_equal(now.from, 0);
    qx_replay_free(r);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_edits_are_as_measured),
        cmocka_unit_test(without_room_every_run_is_a_whole_pass),
        cmocka_unit_test(a_drag_runs_only_what_lies_behind),
        cmocka_unit_test(the_divergence_is_that_of_the_predictors_truth),
        cmocka_unit_test(failures_and_cancelling_lose_only_the_run),
    };
    return cmocka_run_group_tests_name("eval replay", tests, NULL, NULL);
}
