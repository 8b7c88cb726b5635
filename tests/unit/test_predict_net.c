/* Measuring sites of the bundled sample, the order of it, and keeping the results on disk. */
#include "base/fs.h"
#include "base/mem.h"
#include "base/pool.h"
#include "net_fixture.h"
#include "qx/predict.h"
#include "test_predict.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROWS = 128, KEY = 99 };

static char scratch[] = "predict-XXXXXX";
static struct {
    struct folder f;
    struct qx_dataset *data;
    struct qx_calibration *calibration;
    struct qx_predict_probe *probe;
    int64_t cells;
} s;

static int open_all(void **state)
{
    (void)state;
    char path[512];
    source_path(path, sizeof path, "samples/fashion-cnn");
    folder_open(&s.f, path);
    snprintf(path + strlen(path), 64, "/eval.safetensors");
    assert_int_equal(qx_dataset_open(path, s.f.net, &s.data, NULL), QX_OK);
    assert_int_equal(qx_calibration_run(s.f.net, s.data, 64, 0, NULL, NULL, &s.calibration, NULL),
                     QX_OK);
    assert_int_equal(qx_predict_probe_new(s.f.net, s.data, s.calibration, NULL, ROWS, 1, NULL, NULL,
                                          &s.probe, NULL),
                     QX_OK);
    s.cells = ROWS * qx_net_n_classes(s.f.net);
    return mkdtemp(scratch) ? 0 : -1;
}

static int close_all(void **state)
{
    (void)state;
    char command[64];
    qx_predict_probe_free(s.probe);
    qx_calibration_unref(s.calibration);
    qx_dataset_close(&s.data);
    folder_close(&s.f);
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    return system(command);
}

static struct qx_predict_entry *measure(struct qx_predict_probe *probe, int layer,
                                        enum qx_family family, double param, struct qx_pool *pool)
{
    const struct qx_predict_spec spec = {layer, family, param};
    struct qx_predict_entry *e = NULL;
    struct qx_error err = {0};
    if (qx_predict_probe_entry(probe, &spec, pool, NULL, &e, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return e;
}

static struct qx_predict_table *empty_table(const struct qx_predict_probe *probe)
{
    struct qx_predict_table *t = NULL;
    assert_int_equal(
        qx_predict_table_new(qx_predict_probe_base(probe), qx_net_n_layers(s.f.net), &t, NULL),
        QX_OK);
    return t;
}

static void take(struct qx_predict_table **t, struct qx_predict_entry *e)
{
    struct qx_predict_table *more = NULL;
    assert_int_equal(qx_predict_table_add(*t, e, &more, NULL), QX_OK);
    qx_predict_table_unref(*t);
    qx_predict_entry_unref(e);
    *t = more;
}

static void setting_all(struct qx_setting *set)
{
    for (int i = 0; i < qx_net_n_layers(s.f.net); i++) {
        set[i] = qx_setting_fp32();
    }
}

static struct qx_setting channel_setting(int bits, double ratio)
{
    struct qx_setting w = qx_setting_int(bits);
    w.calib = qx_calib_find("manual");
    w.has_range = true;
    w.range = (struct qx_range){-ratio, ratio};
    return w;
}

static double relative(const float *a, const float *b)
{
    double err = 0.0, sq = 0.0;
    for (int64_t i = 0; i < s.cells; i++) {
        err += pow((double)a[i] - (double)b[i], 2.0);
        sq += (double)b[i] * (double)b[i];
    }
    return sqrt(err / sq);
}

static void centre(float *z)
{
    const int n = qx_net_n_classes(s.f.net);
    for (int64_t i = 0; i < ROWS; i++) {
        double sum = 0.0;
        for (int c = 0; c < n; c++) {
            sum += (double)z[i * n + c];
        }
        for (int c = 0; c < n; c++) {
            z[i * n + c] = (float)((double)z[i * n + c] - sum / n);
        }
    }
}

static struct qx_hist *hist_of(int layer, const struct qx_setting *set)
{
    const struct qx_layer *l = qx_net_layer(s.f.net, layer);
    const struct qx_hist_spec spec = qx_setting_spec(set, l->channels);
    struct qx_hist *h = NULL;
    assert_int_equal(
        qx_hist_build(qx_model_tensor(s.f.model, l->tensor), &spec, 0, NULL, NULL, &h, NULL),
        QX_OK);
    return h;
}

/* Every setting that an entry stands for, run as a recipe, gives the logits that the composition says. */
static void cached_settings_compose_to_the_exact_logits(void **state)
{
    (void)state;
    struct qx_setting set[64];
    float *z = malloc((size_t)s.cells * sizeof *z), *got = malloc((size_t)s.cells * sizeof *got);
    for (int layer = 0; layer < qx_net_n_layers(s.f.net); layer++) {
        for (int bits = 3; bits <= 5; bits += 2) {
            struct qx_predict_table *t = empty_table(s.probe);
            struct qx_predict_truth truth;
            struct qx_predict_layer change;
            struct qx_predict_mix *mix = NULL;
            setting_all(set);
            set[layer] = channel_setting(bits, 1.0);
            assert_int_equal(
                qx_predict_probe_run(s.probe, set, QX_ENGINE_AUTO, NULL, NULL, &truth, z, NULL),
                QX_OK);
            take(&t, measure(s.probe, layer, QX_FAMILY_W_ROUND, 2, NULL));
            take(&t, measure(s.probe, layer, QX_FAMILY_W_ROUND, bits, NULL));
            take(&t, measure(s.probe, layer, QX_FAMILY_W_ROUND, 8, NULL));
            struct qx_hist *h = hist_of(layer, &set[layer]);
            assert_int_equal(qx_predict_layer_of(&set[layer], h, NULL, &change, NULL), QX_OK);
            qx_hist_unref(h);
            assert_int_equal(qx_predict_mix_new(t, NULL, &mix, NULL), QX_OK);
            qx_predict_mix_set(mix, layer, &change);
            qx_predict_mix_logits(mix, got);
            centre(z);
            assert_true(relative(got, z) < 1e-3);
            qx_predict_mix_free(mix);
            qx_predict_table_unref(t);
        }
    }
    free(z);
    free(got);
}

/* An entry for exactly one setting, of the weights and of the inputs. */
static void exact_entries_are_found_by_their_setting(void **state)
{
    (void)state;
    struct qx_setting set[64];
    float *z = malloc((size_t)s.cells * sizeof *z), *got = malloc((size_t)s.cells * sizeof *got);
    for (int site = 0; site < QX_SITE_COUNT; site++) {
        struct qx_predict_table *t = empty_table(s.probe);
        struct qx_predict_entry *e = NULL;
        struct qx_predict_mix *mix = NULL;
        struct qx_predict_layer change;
        setting_all(set);
        set[1] = channel_setting(4, 0.6);
        set[1].act = qx_act_static(4);
        assert_int_equal(qx_act_resolve(&set[1].act, qx_calibration_layer(s.calibration, 1), NULL),
                         QX_OK);
        assert_int_equal(
            qx_predict_probe_exact(s.probe, 1, (enum qx_site)site, &set[1], NULL, NULL, &e, NULL),
            QX_OK);
        take(&t, e);
        struct qx_hist *h = hist_of(1, &set[1]);
        assert_int_equal(
            qx_predict_layer_of(&set[1], h, qx_calibration_layer(s.calibration, 1), &change, NULL),
            QX_OK);
        qx_hist_unref(h);
        assert_true(change.t[QX_SITE_W].round > 0 && change.t[QX_SITE_W].clip > 0 &&
                    change.t[QX_SITE_A].round > 0);
        change.key[1 - site] = 0;
        change.t[1 - site] = (struct qx_amplitude){0};
        assert_int_equal(qx_predict_mix_new(t, NULL, &mix, NULL), QX_OK);
        qx_predict_mix_set(mix, 1, &change);
        qx_predict_mix_logits(mix, got);
        if (site == QX_SITE_W) {
            set[1].act.bits = 0;
            assert_int_equal(
                qx_predict_probe_run(s.probe, set, QX_ENGINE_SIMULATED, NULL, NULL, NULL, z, NULL),
                QX_OK);
            centre(z);
            assert_true(relative(got, z) < 1e-3);
        }
        qx_predict_mix_free(mix);
        qx_predict_table_unref(t);
    }
    free(z);
    free(got);
}

/* Clipping says more the more is clipped, and the ratio 1 would change nothing. */
/* Amplitude of the entry's own family. */
static double part(const struct qx_predict_entry_info *info)
{
    return info->spec.family % 2 ? info->t.clip : info->t.round;
}

static void clipping_grows_with_the_part_that_is_cut(void **state)
{
    (void)state;
    for (int site = 0; site < QX_SITE_COUNT; site++) {
        const enum qx_family family = site ? QX_FAMILY_A_CLIP : QX_FAMILY_W_CLIP;
        struct qx_predict_entry_info info, before = {0};
        for (double ratio = 1.0; ratio > 0.1; ratio -= 0.2) {
            struct qx_predict_entry *e = measure(s.probe, 0, family, ratio, NULL);
            qx_predict_entry_look(e, &info);
            if (ratio == 1.0) {
                assert_true(part(&info) < 1e-6 && info.truth.kl < 1e-6);
                assert_true(fabs(info.gamma - 1.0) < 1e-3);
            } else {
                assert_true(part(&info) > part(&before) && info.truth.kl > before.truth.kl);
            }
            before = info;
            qx_predict_entry_unref(e);
        }
    }
}

static char *bytes_of(const struct qx_predict_entry *e, size_t *len)
{
    char path[64], *text = NULL;
    snprintf(path, sizeof path, "%s/e", scratch);
    assert_int_equal(qx_predict_entry_save(e, path, KEY, NULL), QX_OK);
    assert_int_equal(qx_fs_read(path, 1 << 24, &text, len, NULL), QX_OK);
    return text;
}

static void threads_do_not_change_an_entry(void **state)
{
    (void)state;
    struct qx_pool *pool = NULL;
    struct qx_predict_probe *other = NULL;
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    assert_int_equal(qx_predict_probe_new(s.f.net, s.data, s.calibration, NULL, ROWS, 1, pool, NULL,
                                          &other, NULL),
                     QX_OK);
    for (int family = 0; family < QX_FAMILY_COUNT; family++) {
        const double param = family % 2 ? 0.5 : 4;
        struct qx_predict_entry *a = measure(s.probe, 2, (enum qx_family)family, param, NULL);
        struct qx_predict_entry *b = measure(other, 2, (enum qx_family)family, param, pool);
        size_t n, m;
        char *x = bytes_of(a, &n), *y = bytes_of(b, &m);
        assert_int_equal(n, m);
        assert_memory_equal(x, y, n);
        qx_mem_free(x);
        qx_mem_free(y);
        qx_predict_entry_unref(a);
        qx_predict_entry_unref(b);
    }
    qx_predict_probe_free(other);
    qx_pool_free(pool);
}

static void cancelling_loses_only_the_entry_in_work(void **state)
{
    (void)state;
    const struct qx_predict_spec spec = {1, QX_FAMILY_W_ROUND, 3};
    struct qx_ctl ctl = {0};
    struct qx_predict_entry *e = NULL, *again;
    struct qx_predict_entry *before = measure(s.probe, 1, QX_FAMILY_W_ROUND, 3, NULL);
    size_t n, m;
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_predict_probe_entry(s.probe, &spec, NULL, &ctl, &e, NULL), QX_ECANCELLED);
    assert_null(e);
    again = measure(s.probe, 1, QX_FAMILY_W_ROUND, 3, NULL);
    char *x = bytes_of(before, &n), *y = bytes_of(again, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    qx_mem_free(x);
    qx_mem_free(y);
    qx_predict_entry_unref(before);
    qx_predict_entry_unref(again);
    struct qx_setting set[64]; /* and the network is at float32 */
    struct qx_predict_truth truth;
    setting_all(set);
    assert_int_equal(
        qx_predict_probe_run(s.probe, set, QX_ENGINE_AUTO, NULL, NULL, &truth, NULL, NULL), QX_OK);
    assert_true(truth.kl < 1e-9 && truth.same_top == 1.0);
    assert_true(truth.accuracy == qx_predict_base_accuracy(qx_predict_probe_base(s.probe)));
}

static void lite_comes_before_full_and_the_chosen_layer_first(void **state)
{
    (void)state;
    const int n_layers = qx_net_n_layers(s.f.net);
    struct qx_predict_table *t = empty_table(s.probe);
    struct qx_predict_want want = {QX_PREDICT_FULL, true, false, 2, NULL};
    struct qx_predict_spec spec;
    const float *zeros = calloc((size_t)s.cells, sizeof *zeros);
    int n = 0, n_lite = 6 * n_layers, n_weights = 4 * n_layers;
    while (qx_predict_next(t, s.f.net, &want, &spec)) {
        struct qx_predict_entry *e = NULL;
        assert_true((n < 4) == (n < n_weights && spec.layer == 2 && n < n_lite));
        assert_true(n >= n_weights || spec.family < QX_FAMILY_A_ROUND);
        assert_true(n < n_weights || n >= n_lite || spec.family >= QX_FAMILY_A_ROUND);
        assert_int_equal(qx_predict_entry_new(qx_predict_probe_base(s.probe), &spec, 0,
                                              (struct qx_amplitude){0.1, 0.1}, zeros, &e, NULL),
                         QX_OK);
        take(&t, e);
        n++;
        if (n == n_lite) {
            want.level = QX_PREDICT_LITE;
            assert_false(qx_predict_next(t, s.f.net, &want, &spec));
            want.level = QX_PREDICT_FULL;
        }
    }
    assert_int_equal(n, 20 * n_layers);
    assert_int_equal(qx_predict_n_specs(s.f.net, &want), n);
    qx_predict_table_unref(t);
    free((void *)zeros);
}

static void kept_files_come_back_and_others_are_refused(void **state)
{
    (void)state;
    char base_path[64], entry_path[64];
    struct qx_predict_base *base = NULL;
    struct qx_predict_entry *e = measure(s.probe, 0, QX_FAMILY_W_CLIP, 0.6, NULL), *back = NULL;
    struct qx_predict_probe *other = NULL;
    snprintf(base_path, sizeof base_path, "%s/base", scratch);
    snprintf(entry_path, sizeof entry_path, "%s/entry", scratch);
    assert_int_equal(qx_predict_base_save(qx_predict_probe_base(s.probe), base_path, KEY, NULL),
                     QX_OK);
    assert_int_equal(qx_predict_entry_save(e, entry_path, KEY, NULL), QX_OK);
    assert_int_equal(qx_predict_base_load(base_path, KEY, &base, NULL), QX_OK);
    assert_int_equal(qx_predict_base_n(base), ROWS);
    assert_true(qx_predict_base_accuracy(base) ==
                qx_predict_base_accuracy(qx_predict_probe_base(s.probe)));
    assert_int_equal(qx_predict_entry_load(entry_path, KEY, base, &back, NULL), QX_OK);
    struct qx_predict_table *t = empty_table(s.probe); /* it is the same P */
    size_t n, m;
    char *x = bytes_of(e, &n), *y = bytes_of(back, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    take(&t, back);
    qx_predict_table_unref(t);
    qx_mem_free(x);
    qx_mem_free(y);
    /* a probe on the kept P measures the same */
    assert_int_equal(
        qx_predict_probe_new(s.f.net, s.data, NULL, base, 0, 0, NULL, NULL, &other, NULL), QX_OK);
    back = measure(other, 0, QX_FAMILY_W_CLIP, 0.6, NULL);
    x = bytes_of(e, &n), y = bytes_of(back, &m);
    assert_memory_equal(x, y, n);
    qx_mem_free(x);
    qx_mem_free(y);
    qx_predict_entry_unref(back);
    back = NULL;
    /* another key, another P, another kind, no file */
    struct qx_predict_base *strange = NULL;
    float *z = calloc((size_t)s.cells, sizeof *z);
    z[0] = 1.0f;
    assert_int_equal(
        qx_predict_base_new(z, NULL, NULL, ROWS, (int)(s.cells / ROWS), &strange, NULL), QX_OK);
    assert_int_equal(qx_predict_base_load(base_path, KEY + 1, &strange, NULL), QX_EFORMAT);
    assert_int_equal(qx_predict_base_load(entry_path, KEY, &strange, NULL), QX_EFORMAT);
    assert_int_equal(qx_predict_entry_load(entry_path, KEY + 1, base, &back, NULL), QX_EFORMAT);
    assert_int_equal(qx_predict_entry_load(entry_path, KEY, strange, &back, NULL), QX_EFORMAT);
    assert_int_equal(qx_predict_entry_load(base_path, KEY, base, &back, NULL), QX_EFORMAT);
    assert_int_equal(qx_predict_entry_load("nowhere", KEY, base, &back, NULL), QX_EIO);
    assert_null(back);
    free(z);
    qx_predict_probe_free(other);
    qx_predict_base_unref(strange);
    qx_predict_base_unref(base);
    qx_predict_entry_unref(e);
}

/* Every cut and every changed byte of both files is noticed. */
static void damaged_files_are_refused(void **state)
{
    (void)state;
    char path[64], *text[2];
    size_t len[2];
    struct qx_predict_base *base = NULL;
    struct qx_predict_entry *e = measure(s.probe, 0, QX_FAMILY_W_ROUND, 4, NULL), *back = NULL;
    snprintf(path, sizeof path, "%s/d", scratch);
    assert_int_equal(qx_predict_base_save(qx_predict_probe_base(s.probe), path, KEY, NULL), QX_OK);
    assert_int_equal(qx_fs_read(path, 1 << 24, &text[0], &len[0], NULL), QX_OK);
    text[1] = bytes_of(e, &len[1]);
    for (int kind = 0; kind < 2; kind++) {
        for (int k = 0; k < 120; k++) {
            const bool is_cut = k % 2;
            const size_t at = k < 80 ? (size_t)k : len[kind] * (size_t)k / 120;
            text[kind][at] ^= (char)(is_cut ? 0 : 1 << k % 7);
            FILE *f = fopen(path, "wb");
            assert_non_null(f);
            assert_int_equal(fwrite(text[kind], 1, is_cut ? at : len[kind], f),
                             is_cut ? at : len[kind]);
            fclose(f);
            text[kind][at] ^= (char)(is_cut ? 0 : 1 << k % 7);
            assert_int_equal(
                kind ? qx_predict_entry_load(path, KEY, qx_predict_probe_base(s.probe), &back, NULL)
                     : qx_predict_base_load(path, KEY, &base, NULL),
                QX_EFORMAT);
        }
        qx_mem_free(text[kind]);
    }
    assert_null(base);
    assert_null(back);
    qx_predict_entry_unref(e);
}

/* Random configurations: the composed KL is near the real one, over four orders of magnitude. */
static void compositions_of_random_configurations_are_near_the_truth(void **state)
{
    (void)state;
    enum { CONFIGS = 18 };
    struct qx_predict_want want = {QX_PREDICT_FULL, true, false, -1, NULL};
    struct qx_predict_table *t = empty_table(s.probe);
    struct qx_predict_spec spec;
    struct qx_predict_mix *mix = NULL;
    double sum = 0.0, worst = 0.0, least = 1e9, most = 0.0;
    while (qx_predict_next(t, s.f.net, &want, &spec)) {
        take(&t, measure(s.probe, spec.layer, spec.family, spec.param, NULL));
    }
    assert_int_equal(qx_predict_mix_new(t, NULL, &mix, NULL), QX_OK);
    for (int k = 0; k < CONFIGS; k++) {
        struct qx_setting set[64], again[64];
        struct qx_predict_layer change[64];
        struct qx_predict_truth truth;
        struct qx_predict_sum p;
        const enum qx_predict_kind kind = (enum qx_predict_kind)(k % QX_PREDICT_KINDS);
        assert_int_equal(qx_predict_probe_draw(s.probe, kind, (uint64_t)k, set, NULL), QX_OK);
        assert_int_equal(qx_predict_probe_draw(s.probe, kind, (uint64_t)k, again, NULL), QX_OK);
        assert_int_equal(qx_predict_probe_change(s.probe, set, NULL, NULL, change, NULL), QX_OK);
        for (int l = 0; l < qx_net_n_layers(s.f.net); l++) {
            assert_true(qx_setting_equal(&set[l], &again[l]));
            qx_predict_mix_set(mix, l, &change[l]);
        }
        assert_int_equal(
            qx_predict_probe_run(s.probe, set, QX_ENGINE_SIMULATED, NULL, NULL, &truth, NULL, NULL),
            QX_OK);
        qx_predict_mix_sum(mix, &p);
        assert_int_equal(p.n_missing, 0);
        const double off = fabs(log(p.kl / truth.kl));
        sum += off;
        worst = off > worst ? off : worst;
        least = truth.kl < least ? truth.kl : least;
        most = truth.kl > most ? truth.kl : most;
        if (getenv("QX_TEST_VERBOSE")) {
            print_message("%d KL %.3g for %.3g, accuracy %.3f for %.3f\n", (int)kind, p.kl,
                          truth.kl, p.accuracy, truth.accuracy);
        }
    }
    print_message("KL %.2g to %.2g: mean |ln ratio| %.2f, worst %.2f\n", least, most, sum / CONFIGS,
                  worst);
    assert_true(most / least > 100.0);
    assert_true(sum / CONFIGS < 0.5 && worst < 1.5);
    qx_predict_mix_free(mix);
    qx_predict_table_unref(t);
}

static void values_put_by_hand_cannot_run_on_integers(void **state)
{
    (void)state;
    struct qx_act act = qx_act_dynamic(8);
    assert_int_equal(qx_weights_put(s.f.weights, 0, NULL, &act, NULL), QX_OK);
    assert_int_equal(qx_weights_prepare(s.f.weights, QX_ENGINE_INTEGER, NULL, NULL, NULL),
                     QX_EUNSUPPORTED);
    assert_int_equal(qx_weights_prepare(s.f.weights, QX_ENGINE_AUTO, NULL, NULL, NULL), QX_OK);
    assert_int_equal(qx_weights_engine(s.f.weights), QX_ENGINE_SIMULATED);
    assert_int_equal(qx_weights_put(s.f.weights, 1000, NULL, NULL, NULL), QX_ERANGE);
}

int test_predict_net(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cached_settings_compose_to_the_exact_logits),
        cmocka_unit_test(exact_entries_are_found_by_their_setting),
        cmocka_unit_test(clipping_grows_with_the_part_that_is_cut),
        cmocka_unit_test(threads_do_not_change_an_entry),
        cmocka_unit_test(cancelling_loses_only_the_entry_in_work),
        cmocka_unit_test(lite_comes_before_full_and_the_chosen_layer_first),
        cmocka_unit_test(kept_files_come_back_and_others_are_refused),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(compositions_of_random_configurations_are_near_the_truth),
        cmocka_unit_test(values_put_by_hand_cannot_run_on_integers),
    };
    return cmocka_run_group_tests_name("predict net", tests, open_all, close_all);
}
