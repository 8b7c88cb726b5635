/* Encoders without a classifier: their embeddings against float32's, worked out anew from the definitions. */
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

enum { ROWS = 24, PAIRS = ROWS * (ROWS - 1) / 2, MAX_TENSORS = 64 };
static int vocabulary; /* of the sample */

/* bert-sentiment without its head: what others call an encoder. */
static void headless_write(void)
{
    char path[1024];
    struct tensor_spec specs[MAX_TENSORS];
    struct qx_model *model = NULL;
    int n = 0;
    source_path(path, sizeof path, "samples/bert-sentiment");
    assert_int_equal(qx_model_open(path, &model, NULL), QX_OK);
    for (int64_t i = 0; i < qx_model_n_tensors(model); i++) {
        const struct qx_tensor *t = qx_model_tensor(model, i);
        if (strncmp(t->name, "classifier.", 11) == 0 || strstr(t->name, "pooler")) {
            continue;
        }
        assert_true(n < MAX_TENSORS);
        specs[n] = (struct tensor_spec){t->name, "F32", t->rank, {0}, t->data};
        for (int k = 0; k < t->rank; k++) {
            specs[n].shape[k] = t->shape[k];
        }
        vocabulary = strstr(t->name, "word_embeddings") ? (int)t->shape[0] : vocabulary;
        n++;
    }
    model_write("model.safetensors", specs, n, NULL);
    qx_model_close(&model);
    char config[512];
    snprintf(config, sizeof config,
             "{'architectures':['BertModel'],'model_type':'bert','hidden_size':128,"
             "'num_hidden_layers':2,'num_attention_heads':4,'intermediate_size':256,"
             "'vocab_size':%d,'max_position_embeddings':32,'type_vocab_size':2,"
             "'hidden_act':'gelu','layer_norm_eps':1e-12}",
             vocabulary);
    char *json = quoted(config);
    text_write("config.json", json);
    free(json);
}

static int enter_folder(void **state)
{
    if (scratch_enter(state) != 0) {
        return -1;
    }
    headless_write();
    return 0;
}

static double cosine(const float *a, const float *b, int d)
{
    double ab = 0.0, aa = 0.0, bb = 0.0;
    for (int k = 0; k < d; k++) {
        ab += (double)a[k] * (double)b[k];
        aa += (double)a[k] * (double)a[k];
        bb += (double)b[k] * (double)b[k];
    }
    return ab / sqrt(aa * bb);
}

/* Rank by counting. */
static double rank_of(const double *x, int i)
{
    double below = 0.0;
    for (int k = 0; k < PAIRS; k++) {
        below += x[k] < x[i] ? 1.0 : x[k] == x[i] && k != i ? 0.5 : 0.0;
    }
    return below;
}

static void by_hand(const float *a, const float *b, int d, struct qx_agreement *out)
{
    static double sim[2][PAIRS];
    double xy = 0.0, xx = 0.0, yy = 0.0;
    int n_same = 0, at = 0;
    *out = (struct qx_agreement){.cosine_least = 1.0};
    for (int i = 0; i < ROWS; i++) {
        const double c = cosine(a + i * d, b + i * d, d);
        out->cosine += c / ROWS;
        out->cosine_least = fmin(out->cosine_least, c);
        int best[2] = {-1, -1};
        double most[2] = {-2.0, -2.0};
        for (int k = 0; k < ROWS; k++) {
            const double s[2] = {cosine(a + i * d, a + k * d, d), cosine(b + i * d, b + k * d, d)};
            for (int m = 0; m < 2 && k != i; m++) {
                if (s[m] > most[m]) {
                    most[m] = s[m];
                    best[m] = k;
                }
            }
            if (k < i) {
                sim[0][at] = s[0];
                sim[1][at++] = s[1];
            }
        }
        n_same += best[0] == best[1];
    }
    for (int i = 0; i < PAIRS; i++) {
        const double x = rank_of(sim[0], i) - (PAIRS - 1) / 2.0;
        const double y = rank_of(sim[1], i) - (PAIRS - 1) / 2.0;
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    out->spearman = xy / sqrt(xx * yy);
    out->same_top = (double)n_same / ROWS;
}

static void embeddings_agree_as_their_definitions_say(void **state)
{
    (void)state;
    char path[1024];
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_weights *plain = NULL;
    struct qx_agreement g, want;
    const struct qx_eval_options options = {.max_samples = ROWS, .seed = 3};
    folder_open(&f, ".");
    assert_string_equal(qx_net_task(f.net), "embedding");
    const int d = qx_net_n_classes(f.net);
    const int64_t sample = qx_net_sample_size(f.net);
    assert_int_equal(qx_weights_new(f.net, &plain, NULL), QX_OK);
    source_path(path, sizeof path, "samples/bert-sentiment/calib.safetensors");
    assert_int_equal(qx_dataset_open(path, f.net, &data, NULL), QX_OK);
    const int64_t n_all = qx_dataset_n(data);
    assert_true(n_all >= ROWS);

    assert_int_equal(
        qx_agreement_run(f.net, data, plain, f.weights, &options, NULL, NULL, &g, NULL), QX_OK);
    assert_true(fabs(g.cosine - 1.0) < 1e-6 && g.spearman == 1.0 && g.same_top == 1.0);

    /* all rows, so that which are drawn is no question */
    apply_scope(&f, "all", "tensor", 3, NULL);
    float *x = malloc((size_t)(ROWS * sample) * sizeof *x);
    float *v = malloc((size_t)(2 * ROWS * d) * sizeof *v);
    assert_true(x && v);
    int64_t ids[ROWS * 8];
    for (int i = 0; i < ROWS * 8; i++) {
        ids[i] = i % 8 == 0 ? 2 : 5 + i * i * 31 % 600;
    }
    const struct tensor_spec spec = {"input_ids", "I64", 2, {ROWS, 8}, ids};
    model_write("rows.safetensors", &spec, 1, NULL);
    qx_dataset_close(&data);
    assert_int_equal(qx_dataset_open("rows.safetensors", f.net, &data, NULL), QX_OK);
    assert_int_equal(qx_dataset_read(data, 0, ROWS, x, NULL), QX_OK);
    assert_int_equal(qx_net_forward(f.net, plain, x, ROWS, v, NULL, NULL, NULL), QX_OK);
    assert_int_equal(qx_net_forward(f.net, f.weights, x, ROWS, v + ROWS * d, NULL, NULL, NULL),
                     QX_OK);
    by_hand(v, v + ROWS * d, d, &want);
    assert_int_equal(qx_agreement_run(f.net, data, plain, f.weights, NULL, NULL, NULL, &g, NULL),
                     QX_OK);
    assert_int_equal(g.n, ROWS);
    assert_true(fabs(g.cosine - want.cosine) < 1e-6);
    assert_true(fabs(g.cosine_least - want.cosine_least) < 1e-6);
    assert_true(fabs(g.spearman - want.spearman) < 1e-4);
    assert_true(g.same_top == want.same_top);
    assert_true(g.cosine < 0.999 && g.spearman < 0.999 && g.spearman > 0.5);
    free(x);
    free(v);
    qx_weights_free(plain);
    qx_dataset_close(&data);
    folder_close(&f);
}

static void other_networks_and_few_rows_are_refused(void **state)
{
    (void)state;
    char path[1024];
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_agreement g;
    struct qx_error err = {0};
    const int64_t ids[] = {2, 9, 3, 2, 8, 3};
    const struct tensor_spec spec = {"input_ids", "I64", 2, {2, 3}, ids};
    folder_open(&f, ".");
    model_write("two.safetensors", &spec, 1, NULL);
    assert_int_equal(qx_dataset_open("two.safetensors", f.net, &data, NULL), QX_OK);
    assert_int_equal(
        qx_agreement_run(f.net, data, f.weights, f.weights, NULL, NULL, NULL, &g, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "2 rows are too few"));
    qx_dataset_close(&data);
    folder_close(&f);
    source_path(path, sizeof path, "samples/bert-sentiment");
    folder_open(&f, path);
    source_path(path, sizeof path, "samples/bert-sentiment/calib.safetensors");
    assert_int_equal(qx_dataset_open(path, f.net, &data, NULL), QX_OK);
    assert_int_equal(
        qx_agreement_run(f.net, data, f.weights, f.weights, NULL, NULL, NULL, &g, &err),
        QX_EUNSUPPORTED);
    qx_dataset_close(&data);
    folder_close(&f);
}

static const struct qx_beside *beside_wait(struct qx_session *s, enum qx_which which)
{
    const struct qx_beside *b = NULL;
    for (int i = 0; i < 600 && !b; i++) {
        b = qx_session_beside(s, which);
        qx_session_settle(s, 100);
    }
    return b;
}

/* A session sets A and B beside float32 in the background, with the figures of the batch. */
static void a_session_measures_beside_float32(void **state)
{
    (void)state;
    int64_t ids[ROWS * 8], item;
    struct qx_session *s = NULL;
    struct qx_beside direct;
    struct qx_error err = {0};
    struct qx_session_options options = {.threads = 1};
    const struct qx_patch patch = {.fields = QX_PATCH_BITS, .value = {.bits = 3}};
    for (int i = 0; i < ROWS * 8; i++) {
        ids[i] = i % 8 == 0 ? 2 : 5 + i * i * 31 % 600;
    }
    const struct tensor_spec spec = {"input_ids", "I64", 2, {ROWS, 8}, ids};
    model_write("eval.safetensors", &spec, 1, NULL);
    assert_int_equal(qx_session_open(".", &options, &s, &err), QX_OK);
    qx_session_snapshot(s);
    const struct qx_beside *a = beside_wait(s, QX_WHICH_A);
    assert_non_null(a);
    assert_true(a->agreement.cosine == 1.0 && a->agreement.same_top == 1.0);
    item = qx_session_find(s, "encoder.layer.0.output.dense.weight", &err);
    if (item < 0) {
        item = qx_session_find(s, "bert.encoder.layer.0.output.dense.weight", &err);
    }
    assert_true(item >= 0);
    assert_int_equal(qx_session_edit(s, &item, 1, &patch, false, &err), QX_OK);
    const struct qx_beside *b = beside_wait(s, QX_WHICH_B);
    assert_non_null(b);
    const struct qx_agreement have = b->agreement;
    qx_session_close(&s);

    options.batch = true;
    assert_int_equal(qx_session_open(".", &options, &s, &err), QX_OK);
    assert_int_equal(qx_session_edit(s, &item, 1, &patch, false, &err), QX_OK);
    assert_int_equal(qx_session_run_beside(s, NULL, NULL, &direct, &err), QX_OK);
    assert_null(qx_session_beside(s, QX_WHICH_B));
    assert_true(have.n == ROWS && have.cosine == direct.agreement.cosine);
    assert_true(have.spearman == direct.agreement.spearman && have.cosine < 1.0);
    qx_beside_release(&direct);
    qx_session_close(&s);
}

/* P's answers are similarities: float32's class is the most similar other row, and what a setting does to that is
 * what the embeddings say, worked out anew. */
static void similarities_are_the_predictors_logits(void **state)
{
    (void)state;
    static int64_t ids[ROWS * 8];
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_predict_probe *probe = NULL;
    struct qx_predict_truth truth;
    struct qx_error err = {0};
    for (int i = 0; i < ROWS * 8; i++) {
        ids[i] = i % 8 == 0 ? 2 : 5 + i * i * 31 % 600;
    }
    const struct tensor_spec spec = {"input_ids", "I64", 2, {ROWS, 8}, ids};
    model_write("eval.safetensors", &spec, 1, NULL);
    folder_open(&f, ".");
    const int d = qx_net_n_classes(f.net), n_layers = qx_net_n_layers(f.net);
    const int64_t sample = qx_net_sample_size(f.net);
    float *x = malloc((size_t)(ROWS * sample) * sizeof *x);
    float *a = malloc((size_t)(2 * ROWS * d) * sizeof *a), *b = a ? a + ROWS * d : NULL;
    assert_true(x && a);
    assert_int_equal(qx_dataset_open("eval.safetensors", f.net, &data, &err), QX_OK);
    assert_int_equal(qx_dataset_read(data, 0, ROWS, x, &err), QX_OK);
    assert_int_equal(qx_net_forward(f.net, f.weights, x, ROWS, a, NULL, NULL, &err), QX_OK);
    assert_int_equal(qx_predict_probe_new(f.net, data, NULL, NULL, 0, 1, NULL, NULL, &probe, &err),
                     QX_OK);
    const struct qx_predict_base *base = qx_predict_probe_base(probe);
    assert_int_equal(qx_predict_base_n(base), ROWS);
    assert_int_equal(qx_predict_base_n_classes(base), ROWS);
    assert_false(qx_predict_base_has_labels(base));

    struct qx_setting *set = malloc((size_t)n_layers * sizeof *set);
    assert_non_null(set);
    for (int l = 0; l < n_layers; l++) {
        const bool is_linear = qx_net_layer(f.net, l)->role == QX_ROLE_LINEAR;
        set[l] = is_linear ? rtn_setting(&f, l, "channel", 3) : qx_setting_fp32();
        assert_int_equal(qx_weights_apply(f.weights, l, &set[l], NULL, NULL, &err), QX_OK);
    }
    assert_int_equal(qx_net_forward(f.net, f.weights, x, ROWS, b, NULL, NULL, &err), QX_OK);
    assert_int_equal(
        qx_predict_probe_run(probe, set, QX_ENGINE_SIMULATED, NULL, NULL, &truth, NULL, &err),
        QX_OK);
    int n_same = 0;
    double kl = 0.0;
    for (int i = 0; i < ROWS; i++) {
        double za[ROWS], zb[ROWS], sum_a = 0.0, sum_b = 0.0;
        int best_a = -1, best_b = -1;
        double least_a = 20.0, least_b = 20.0;
        for (int k = 0; k < ROWS; k++) {
            za[k] = 20.0 * cosine(a + i * d, a + k * d, d);
            zb[k] = 20.0 * cosine(b + i * d, b + k * d, d);
            least_a = fmin(least_a, za[k]);
            least_b = fmin(least_b, zb[k]);
        }
        za[i] = least_a; /* itself */
        zb[i] = least_b;
        for (int k = 0; k < ROWS; k++) {
            best_a = best_a < 0 || za[k] > za[best_a] ? k : best_a;
            best_b = best_b < 0 || zb[k] > zb[best_b] ? k : best_b;
            sum_a += exp(za[k]);
            sum_b += exp(zb[k]);
        }
        for (int k = 0; k < ROWS; k++) {
            kl += exp(za[k]) / sum_a * (za[k] - zb[k] + log(sum_b / sum_a)) / ROWS;
        }
        assert_int_equal(qx_predict_base_top(base, i), best_a);
        n_same += best_a == best_b;
    }
    assert_true(n_same < ROWS && kl > 0.0);
    assert_true(fabs(truth.same_top - (double)n_same / ROWS) < 1e-12);
    assert_true(fabs(truth.kl - kl) < 1e-3 * kl);
    free(set);
    free(x);
    free(a);
    qx_predict_probe_free(probe);
    qx_dataset_close(&data);
    folder_close(&f);
}

/* Measured alone, then told together: every linear layer at 2 bits, 24 rows. What single layers do is said as it
 * is; similarities that were added up themselves said 2.5 times the KL of all (engine/eval/README.md). */
static void layers_together_are_told_by_their_vectors(void **state)
{
    (void)state;
    static int64_t ids[ROWS * 8];
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_predict_probe *probe = NULL;
    struct qx_predict_base *base = NULL;
    struct qx_predict_table *table = NULL;
    struct qx_predict_mix *mix = NULL;
    struct qx_predict_truth one, all;
    struct qx_predict_sum sum;
    struct qx_error err = {0};
    for (int i = 0; i < ROWS * 8; i++) {
        ids[i] = i % 8 == 0 ? 2 : 5 + i * i * 31 % 600;
    }
    const struct tensor_spec spec = {"input_ids", "I64", 2, {ROWS, 8}, ids};
    model_write("eval.safetensors", &spec, 1, NULL);
    folder_open(&f, ".");
    const int n_layers = qx_net_n_layers(f.net);
    assert_int_equal(qx_dataset_open("eval.safetensors", f.net, &data, &err), QX_OK);
    assert_int_equal(qx_predict_probe_new(f.net, data, NULL, NULL, 0, 1, NULL, NULL, &probe, &err),
                     QX_OK);
    assert_int_equal(qx_predict_base_save(qx_predict_probe_base(probe), "base", 7, &err), QX_OK);
    assert_int_equal(qx_predict_base_load("base", 7, &base, &err), QX_OK);
    assert_int_equal(qx_predict_table_new(base, n_layers, &table, &err), QX_OK);
    struct qx_setting *set = malloc((size_t)n_layers * sizeof *set);
    struct qx_setting *only = malloc((size_t)n_layers * sizeof *only);
    struct qx_predict_layer *change = malloc((size_t)n_layers * sizeof *change);
    assert_true(set && only && change);
    for (int l = 0; l < n_layers; l++) {
        struct qx_predict_entry *e = NULL, *kept = NULL;
        struct qx_predict_table *next = NULL;
        const bool is_linear = qx_net_layer(f.net, l)->role == QX_ROLE_LINEAR;
        set[l] = is_linear ? rtn_setting(&f, l, "channel", 2) : qx_setting_fp32();
        only[l] = qx_setting_fp32();
        if (is_linear) {
            assert_int_equal(
                qx_predict_probe_exact(probe, l, QX_SITE_W, &set[l], NULL, NULL, &e, &err), QX_OK);
            assert_int_equal(qx_predict_entry_save(e, "entry", 8, &err), QX_OK);
            assert_int_equal(qx_predict_entry_load("entry", 8, base, &kept, &err), QX_OK);
            assert_int_equal(qx_predict_table_add(table, kept, &next, &err), QX_OK);
            qx_predict_entry_unref(e);
            qx_predict_entry_unref(kept);
            qx_predict_table_unref(table);
            table = next;
        }
    }
    assert_int_equal(qx_predict_probe_change(probe, set, NULL, NULL, change, &err), QX_OK);
    assert_int_equal(qx_predict_mix_new(table, NULL, &mix, &err), QX_OK);
    qx_predict_mix_sum(mix, &sum);
    assert_true(sum.kl < 1e-9 && sum.same_top == 1.0 && isnan(sum.accuracy));
    for (int l = 0; l < n_layers; l++) {
        const struct qx_predict_layer none = {0};
        if (change[l].key[QX_SITE_W] == 0) {
            continue;
        }
        only[l] = set[l];
        qx_predict_mix_set(mix, l, &change[l]);
        qx_predict_mix_sum(mix, &sum);
        assert_int_equal(
            qx_predict_probe_run(probe, only, QX_ENGINE_SIMULATED, NULL, NULL, &one, NULL, &err),
            QX_OK);
        assert_true(fabs(sum.kl - one.kl) < 1e-2 * one.kl + 1e-6);
        assert_true(fabs(sum.same_top - one.same_top) < 1.5 / ROWS);
        assert_true(fabs(qx_predict_mix_site_kl(mix, l, QX_SITE_W) - sum.kl) < 1e-6);
        only[l] = qx_setting_fp32();
        qx_predict_mix_set(mix, l, &none);
    }
    for (int l = 0; l < n_layers; l++) {
        qx_predict_mix_set(mix, l, &change[l]);
    }
    qx_predict_mix_sum(mix, &sum);
    assert_int_equal(
        qx_predict_probe_run(probe, set, QX_ENGINE_SIMULATED, NULL, NULL, &all, NULL, &err), QX_OK);
    assert_true(all.kl > 0.01);
    assert_true(fabs(log(sum.kl / all.kl)) < log(1.25));
    assert_true(fabs(sum.same_top - all.same_top) < 4.5 / ROWS);
    free(set);
    free(only);
    free(change);
    qx_predict_mix_free(mix);
    qx_predict_table_unref(table);
    qx_predict_base_unref(base);
    qx_predict_probe_free(probe);
    qx_dataset_close(&data);
    folder_close(&f);
}

/* Ids beyond the vocabulary are told with their place, unless the mask leaves them out; NaN in a weight
 * with its tensor. */
static void nothing_is_computed_from_nonsense(void **state)
{
    (void)state;
    char path[1024], file[64] = "nan/model.safetensors";
    struct folder f;
    struct qx_dataset *data = NULL;
    struct qx_agreement g;
    struct qx_error err = {0};
    int64_t ids[4 * 3] = {2, 9, 3, 2, 8, 3, 2, vocabulary, 3, 2, 7, 3}, mask[4 * 3];
    char says[80];
    float x[32];
    for (int i = 0; i < 12; i++) {
        mask[i] = 1;
    }
    const struct tensor_spec specs[] = {{"input_ids", "I64", 2, {4, 3}, ids},
                                        {"attention_mask", "I64", 2, {4, 3}, mask}};
    folder_open(&f, ".");
    assert_int_equal(qx_net_sample_size(f.net), 32);
    model_write("wide.safetensors", specs, 2, NULL);
    assert_int_equal(qx_dataset_open("wide.safetensors", f.net, &data, NULL), QX_OK);
    assert_int_equal(qx_dataset_read(data, 1, 1, x, NULL), QX_OK);
    assert_int_equal(qx_dataset_read(data, 2, 1, x, &err), QX_EDATA);
    snprintf(says, sizeof says, "row 2, place 1 holds the id %d; the vocabulary has %d", vocabulary,
             vocabulary);
    assert_non_null(strstr(err.text, says));
    qx_dataset_close(&data);
    mask[7] = 0;
    model_write("wide.safetensors", specs, 2, NULL);
    assert_int_equal(qx_dataset_open("wide.safetensors", f.net, &data, NULL), QX_OK);
    assert_int_equal(qx_dataset_read(data, 2, 1, x, &err), QX_OK);
    qx_dataset_close(&data);
    ids[7] = 6;
    model_write("wide.safetensors", specs, 2, NULL);
    folder_close(&f);

    /* the stored bytes of one weight become NaN */
    assert_int_equal(system("mkdir -p nan && cp config.json model.safetensors nan"), 0);
    const float bad = NAN;
    struct qx_model *model = NULL;
    assert_int_equal(qx_model_open("nan", &model, NULL), QX_OK);
    const int64_t n = qx_model_n_tensors(model);
    const struct qx_tensor *t = NULL;
    for (int64_t i = 0; i < n && !t; i++) {
        const struct qx_tensor *one = qx_model_tensor(model, i);
        t = strstr(one->name, "layer.1.output.dense.weight") ? one : NULL;
    }
    assert_non_null(t);
    snprintf(path, sizeof path, "%s", t->name);
    const long at = (long)t->offset;
    qx_model_close(&model);
    FILE *out = fopen(file, "r+b");
    assert_non_null(out);
    assert_int_equal(fseek(out, at + 4 * 5, SEEK_SET), 0);
    assert_int_equal(fwrite(&bad, sizeof bad, 1, out), 1);
    assert_int_equal(fclose(out), 0);
    folder_open(&f, "nan");
    assert_int_equal(qx_dataset_open("wide.safetensors", f.net, &data, NULL), QX_OK);
    assert_int_equal(
        qx_agreement_run(f.net, data, f.weights, f.weights, NULL, NULL, NULL, &g, &err), QX_EDATA);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, "its value 5"));
    qx_dataset_close(&data);
    folder_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embeddings_agree_as_their_definitions_say),
        cmocka_unit_test(a_session_measures_beside_float32),
        cmocka_unit_test(similarities_are_the_predictors_logits),
        cmocka_unit_test(layers_together_are_told_by_their_vectors),
        cmocka_unit_test(nothing_is_computed_from_nonsense),
        cmocka_unit_test(other_networks_and_few_rows_are_refused),
    };
    return cmocka_run_group_tests_name("embedding", tests, enter_folder, scratch_leave);
}
