/* Language models measured token by token, in the background of a session too. */
#include "base/fs.h"
#include "net_fixture.h"
#include "qx/session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { VOCABULARY = 100, N_IDS = 30 };
static uint8_t ids[N_IDS], mask[N_IDS];
static const int64_t offsets[] = {0, 10, 11, 19, 30};

static int enter_folder(void **state)
{
    if (scratch_enter(state) != 0) {
        return -1;
    }
    for (int i = 0; i < N_IDS; i++) {
        ids[i] = (uint8_t)(i * i * 7 % VOCABULARY);
        mask[i] = i % 5 != 3;
    }
    const struct tensor_spec parts[] = {{"input_ids", "U8", 1, {N_IDS}, (const char *)ids},
                                        {"doc_offsets", "I64", 1, {5}, offsets},
                                        {"loss_mask", "U8", 1, {N_IDS}, (const char *)mask}};
    llama_write(VOCABULARY);
    model_write("eval.safetensors", parts, 3, NULL);
    return 0;
}

/* Logits of a prefix by the pass of one row, in double. */
static double nll_by_hand(const struct folder *f, const int64_t *doc, int64_t t, int *best)
{
    float row[LLAMA_PLACES], z[VOCABULARY];
    double sum = 0.0;
    for (int i = 0; i < LLAMA_PLACES; i++) {
        row[i] = doc[0] + i < t ? (float)ids[doc[0] + i] : -1.0f;
    }
    assert_int_equal(qx_net_forward(f->net, f->weights, row, 1, z, NULL, NULL, NULL), QX_OK);
    *best = 0;
    for (int c = 0; c < VOCABULARY; c++) {
        sum += exp((double)z[c]);
        *best = z[c] > z[*best] ? c : *best;
    }
    return log(sum) - (double)z[ids[t]];
}

static void every_counted_token_is_a_row(void **state)
{
    (void)state;
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_eval_result *r = NULL;
    double sum = 0.0;
    int64_t at = 0;
    folder_open(&f, ".");
    assert_true(qx_net_is_words(f.net));
    assert_int_equal(qx_dataset_open("eval.safetensors", f.net, &data, NULL), QX_OK);
    assert_int_equal(qx_eval_run(f.net, data, f.weights, NULL, NULL, NULL, &r, NULL), QX_OK);
    for (int d = 0; d < 4; d++) {
        for (int64_t t = offsets[d] + 1; t < offsets[d + 1]; t++) {
            int best;
            if (!mask[t]) {
                continue;
            }
            const double nll = nll_by_hand(&f, offsets + d, t, &best);
            assert_int_equal(r->rows[at], t);
            assert_int_equal(r->label[at], ids[t]);
            assert_int_equal(r->predicted[at], best);
            assert_true(fabs((double)r->nll[at] - nll) < 1e-4);
            sum += nll;
            at++;
        }
    }
    assert_int_equal(r->n, at);
    assert_true(fabs(r->ce - sum / (double)at) < 1e-5);
    assert_true(fabs(r->perplexity - exp(sum / (double)at)) < 1e-3);
    assert_true(isnan(r->macro_f1));
    qx_eval_result_free(r);
    qx_dataset_close(&data);
    folder_close(&f);
}

static void changes_are_paired_token_by_token(void **state)
{
    (void)state;
    float nll_a[] = {1.0f, 2.0f, 3.0f, 6.0f}, nll_b[] = {1.5f, 2.0f, 3.5f, 7.0f};
    int64_t rows[] = {1, 2, 3, 4};
    int32_t label[] = {7, 8, 9, 1}, first[] = {7, 8, 1, 1}, second[] = {7, 2, 1, 1};
    float margin[] = {0.0f, 0.0f, 0.0f, 0.0f};
    const struct qx_eval_result a = {
        .n = 4, .rows = rows, .label = label, .predicted = first, .margin = margin, .nll = nll_a};
    struct qx_eval_result b = a;
    b.predicted = second;
    b.nll = nll_b;
    struct qx_eval_pair p;
    assert_int_equal(qx_eval_compare(&a, &b, &p, NULL), QX_OK);
    assert_true(fabs(p.nll_delta - 0.5) < 1e-12); /* differences .5, 0, .5, 1 */
    assert_true(fabs(p.nll_error - sqrt(0.5) / 4.0) < 1e-12);
    assert_true(fabs(p.increase - (exp(0.5) - 1.0)) < 1e-12);
    assert_true(fabs(p.increase_error - exp(0.5) * sqrt(0.5) / 4.0) < 1e-12);
    assert_int_equal(p.flips, 1);
    struct qx_eval_change v[4];
    int64_t n;
    assert_int_equal(qx_eval_changes(&a, &b, QX_CHANGES_ANSWERS, 4, v, &n, NULL), QX_OK);
    assert_int_equal(
        n, 4); /* by the change of p: e^-1 - e^-1.5, e^-3 - e^-3.5, e^-6 - e^-7, 0 (flips) */
    assert_true(v[0].row == 1 && v[1].row == 3 && v[2].row == 4 && v[3].row == 2);
    assert_true(fabsf(v[0].before - expf(-1.0f)) < 1e-7f && v[0].after == expf(-1.5f));
    assert_true(isnan(v[0].kl_b));
    b.kl = nll_a;
    assert_int_equal(qx_eval_changes(&a, &b, QX_CHANGES_ANSWERS, 4, v, &n, NULL), QX_OK);
    assert_true(v[1].kl_b == 3.0f && isnan(v[1].kl_a));
    float kl_a[] = {5.0f, 0.0f, 3.0f, 0.5f}, kl_b[] = {1.0f, 0.0f, 4.0f, 6.0f};
    struct qx_eval_result far =
        a; /* the larger one of the two counts; what is not far is left out */
    far.kl = kl_a;
    b.kl = kl_b;
    assert_int_equal(qx_eval_changes(&far, &b, QX_CHANGES_KL, 4, v, &n, NULL), QX_OK);
    assert_int_equal(n, 3);
    assert_true(v[0].row == 4 && v[1].row == 1 && v[2].row == 3);
    assert_true(v[1].kl_a == 5.0f && v[1].kl_b == 1.0f && v[1].at == 0 && v[2].at == 2);
    assert_int_equal(qx_eval_changes(&a, &b, QX_CHANGES_KL, 2, v, &n, NULL), QX_OK);
    assert_true(n == 2 && v[0].row == 4 && v[1].row == 3); /* a is float32 */
    struct qx_eval_result plain = a;
    plain.nll = NULL;
    assert_int_equal(qx_eval_compare(&plain, &plain, &p, NULL), QX_OK);
    assert_true(isnan(p.increase));
}

static void what_comes_before_a_token_is_of_its_document(void **state)
{
    (void)state;
    struct folder f;
    struct qx_dataset *data = NULL;
    int32_t before[5];
    int64_t n = -1;
    folder_open(&f, ".");
    assert_int_equal(qx_dataset_open("eval.safetensors", f.net, &data, NULL), QX_OK);
    assert_int_equal(qx_dataset_before(data, 18, 5, before, &n, NULL), QX_OK);
    assert_int_equal(n, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(before[i], ids[13 + i]);
    }
    assert_int_equal(qx_dataset_before(data, 13, 5, before, &n, NULL), QX_OK);
    assert_int_equal(n, 2); /* its document begins at 11 */
    assert_int_equal(before[0], ids[11]);
    assert_int_equal(qx_dataset_before(data, 11, 5, before, &n, NULL), QX_ERANGE);
    assert_int_equal(qx_dataset_before(data, N_IDS, 5, before, &n, NULL), QX_ERANGE);
    qx_dataset_close(&data);
    folder_close(&f);
}

/* P's few logits keep what the tokens' own probabilities say, from kept values as from whole passes. */
static void few_logits_say_what_all_say(void **state)
{
    (void)state;
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_predict_probe *probe = NULL;
    struct qx_eval_result *r = NULL;
    struct qx_predict_entry *entry = NULL;
    struct qx_predict_truth truth;
    struct qx_predict_entry_info info;
    folder_open(&f, ".");
    assert_int_equal(qx_dataset_open("eval.safetensors", f.net, &data, NULL), QX_OK);
    assert_int_equal(qx_eval_run(f.net, data, f.weights, NULL, NULL, NULL, &r, NULL), QX_OK);
    assert_int_equal(qx_predict_probe_new(f.net, data, NULL, NULL, 0, 1, NULL, NULL, &probe, NULL),
                     QX_OK);
    const struct qx_predict_base *base = qx_predict_probe_base(probe);
    assert_true(qx_predict_base_is_words(base));
    assert_int_equal(qx_predict_base_n(base), r->n); /* fewer places than are asked for: all */
    assert_int_equal(qx_predict_base_n_classes(base), 66);
    assert_true(fabs(qx_predict_base_ce(base) - r->ce) < 1e-5);
    assert_true(fabs(qx_predict_base_accuracy(base) - r->accuracy) < 1e-9);
    qx_eval_result_free(r);

    const int n = qx_net_n_layers(f.net);
    struct qx_setting set[16];
    assert_true(n <= 16);
    for (int l = 0; l < n; l++) {
        set[l] = qx_setting_fp32();
    }
    const int layer = n - 1;
    set[layer] = rtn_setting(&f, layer, "channel", 3);
    assert_int_equal(qx_weights_apply(f.weights, layer, &set[layer], NULL, NULL, NULL), QX_OK);
    assert_int_equal(qx_eval_run(f.net, data, f.weights, NULL, NULL, NULL, &r, NULL), QX_OK);
    assert_int_equal(
        qx_predict_probe_run(probe, set, QX_ENGINE_SIMULATED, NULL, NULL, &truth, NULL, NULL),
        QX_OK);
    assert_true(fabs(truth.ce - r->ce) < 1e-5 && truth.kl > 0.0);
    assert_true(fabs(truth.accuracy - r->accuracy) < 1e-9);
    assert_int_equal(
        qx_predict_probe_exact(probe, layer, QX_SITE_W, &set[layer], NULL, NULL, &entry, NULL),
        QX_OK);
    qx_predict_entry_look(entry, &info);
    assert_true(fabs(info.truth.kl - truth.kl) < 1e-9 && fabs(info.truth.ce - truth.ce) < 1e-9);
    qx_predict_entry_unref(entry);
    qx_eval_result_free(r);
    qx_predict_probe_free(probe);
    qx_dataset_close(&data);
    folder_close(&f);
}

/* ---- in a session ---- */

static struct qx_session *session_open(const char *state_dir)
{
    const struct qx_session_options o = {
        .state_dir = state_dir, .threads = 2, .mem_bytes = 64 << 20, .seed = 1};
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    if (qx_session_open(".", &o, &s, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return s;
}

static void edits_are_measured_in_the_background(void **state)
{
    (void)state;
    struct qx_session *s = session_open("state");
    struct qx_gauge g;
    struct qx_eval_result *want = NULL;
    qx_session_settle(s, 20000);
    qx_session_gauge(s, &g);
    assert_true(g.is_words);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_true(g.fp32_perplexity > 1.0 && g.fp32_perplexity == g.perplexity);
    const int64_t item = qx_session_find(s, "model.layers.0.mlp.down_proj.weight", NULL);
    const struct qx_patch p = {.fields = QX_PATCH_BITS, .value = {.bits = 2}};
    assert_int_equal(qx_session_edit(s, &item, 1, &p, false, NULL), QX_OK);
    qx_session_settle(s, 20000);
    qx_session_gauge(s, &g);
    assert_int_equal(g.state, QX_GAUGE_MEASURED);
    assert_int_equal(g.edits_since, 0);
    assert_int_equal(qx_session_run_eval(s, &(struct qx_eval_options){0}, NULL, &want, NULL),
                     QX_OK);
    assert_true(g.perplexity == want->perplexity && g.perplexity != g.fp32_perplexity);
    assert_true(fabs(g.pair.increase - (g.perplexity / g.fp32_perplexity - 1.0)) < 1e-6);
    assert_int_equal(g.n, want->n);
    qx_eval_result_free(want);
    qx_session_close(&s);
    s = session_open("state"); /* both are known from the last time */
    struct qx_gauge again;
    qx_session_gauge(s, &again);
    assert_int_equal(again.state, QX_GAUGE_MEASURED);
    assert_true(again.perplexity == g.perplexity && again.pair.increase == g.pair.increase);
    qx_session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_counted_token_is_a_row),
        cmocka_unit_test(changes_are_paired_token_by_token),
        cmocka_unit_test(what_comes_before_a_token_is_of_its_document),
        cmocka_unit_test(few_logits_say_what_all_say),
        cmocka_unit_test(edits_are_measured_in_the_background)};
    return cmocka_run_group_tests(tests, enter_folder, scratch_leave);
}
