/* Entries, tables and compositions over made-up logits. */
#include "base/rng.h"
#include "qx/predict.h"
#include "test_predict.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 96, C = 7, CELLS = N * C, LAYERS = 3 };

static struct {
    float z0[CELLS];
    int32_t labels[N];
    struct qx_predict_base *base;
    struct qx_predict_table *table;
} world;

static void centred(const float *z, float *out)
{
    for (int i = 0; i < N; i++) {
        double sum = 0.0;
        for (int c = 0; c < C; c++) {
            sum += (double)z[i * C + c];
        }
        for (int c = 0; c < C; c++) {
            out[i * C + c] = (float)((double)z[i * C + c] - sum / C);
        }
    }
}

/* Logits as if one site were disturbed: a gain, a shift and noise that grow with t. */
static void disturbed(int seed, double t, double gain, float *z)
{
    struct qx_rng rng;
    double shift[C];
    qx_rng_init(&rng, (uint64_t)seed);
    for (int c = 0; c < C; c++) {
        shift[c] = 2.0 * t * qx_rng_normal(&rng);
    }
    for (int i = 0; i < CELLS; i++) {
        z[i] = (float)(gain * (double)world.z0[i] + shift[i % C] + t * qx_rng_normal(&rng));
    }
}

static struct qx_predict_entry *entry_of(int layer, enum qx_family family, double param, double t,
                                         uint64_t key, const float *z)
{
    const struct qx_predict_spec spec = {layer, family, param};
    struct qx_predict_entry *e = NULL;
    struct qx_error err = {0};
    if (qx_predict_entry_new(world.base, &spec, key, (struct qx_amplitude){t, t}, z, &e, &err) !=
        QX_OK) {
        fail_msg("%s", err.text);
    }
    return e;
}

static void table_take(struct qx_predict_table **table, struct qx_predict_entry *e)
{
    struct qx_predict_table *more = NULL;
    assert_int_equal(qx_predict_table_add(*table, e, &more, NULL), QX_OK);
    qx_predict_table_unref(*table);
    qx_predict_entry_unref(e);
    *table = more;
}

static const double amplitudes[4] = {0.02, 0.09, 0.3, 0.6};
static const double gains[4] = {0.99, 0.9, 0.5, -0.1};

static int seed_of(int layer, int family, int k)
{
    return 1000 + layer * 100 + family * 10 + k;
}

/* Every family of every layer at four amplitudes, the largest of them with a negative gain. */
static int build(void **state)
{
    (void)state;
    struct qx_rng rng;
    float z[CELLS];
    qx_rng_init(&rng, 3);
    for (int i = 0; i < CELLS; i++) {
        world.z0[i] = (float)(2.0 * qx_rng_normal(&rng));
    }
    for (int i = 0; i < N; i++) {
        const float *row = world.z0 + i * C;
        world.labels[i] = 0;
        for (int c = 1; c < C; c++) {
            world.labels[i] = row[c] > row[world.labels[i]] ? c : world.labels[i];
        }
        world.labels[i] = i % 8 ? world.labels[i] : (world.labels[i] + 1) % C;
    }
    assert_int_equal(qx_predict_base_new(world.z0, world.labels, NULL, N, C, &world.base, NULL),
                     QX_OK);
    assert_int_equal(qx_predict_table_new(world.base, LAYERS, &world.table, NULL), QX_OK);
    for (int k = 3; k >= 0; k--) { /* not in order */
        for (int p = 0; p < LAYERS * QX_FAMILY_COUNT; p++) {
            const int layer = p / QX_FAMILY_COUNT, family = p % QX_FAMILY_COUNT;
            disturbed(seed_of(layer, family, k), amplitudes[k], gains[k], z);
            table_take(&world.table,
                       entry_of(layer, (enum qx_family)family, k, amplitudes[k], 0, z));
        }
    }
    return 0;
}

static int destroy(void **state)
{
    (void)state;
    qx_predict_table_unref(world.table);
    qx_predict_base_unref(world.base);
    return 0;
}

static struct qx_predict_mix *mix_of(const struct qx_predict_table *table, uint64_t seed)
{
    const struct qx_predict_mix_options o = {.seed = seed};
    struct qx_predict_mix *x = NULL;
    assert_int_equal(qx_predict_mix_new(table, &o, &x, NULL), QX_OK);
    return x;
}

static struct qx_predict_layer change_of(enum qx_family family, double t)
{
    struct qx_predict_layer l = {0};
    struct qx_amplitude *a = &l.t[family / 2];
    *(family % 2 ? &a->clip : &a->round) = t;
    l.key[family / 2] = 77;
    return l;
}

static double relative(const float *a, const float *b)
{
    double err = 0.0, sq = 0.0;
    for (int i = 0; i < CELLS; i++) {
        err += pow((double)a[i] - (double)b[i], 2.0);
        sq += (double)b[i] * (double)b[i];
    }
    return sqrt(err / sq);
}

static void nothing_changed_predicts_nothing(void **state)
{
    (void)state;
    struct qx_predict_mix *x = mix_of(world.table, 1);
    struct qx_predict_sum s;
    qx_predict_mix_sum(x, &s);
    assert_true(s.kl < 1e-12 && s.same_top == 1.0 && s.n_missing == 0);
    assert_true(s.accuracy == s.accuracy0);
    assert_float_equal(s.accuracy, 0.875, 1e-6);
    qx_predict_mix_free(x);
}

static void one_site_at_a_measured_setting_gives_the_measured_logits(void **state)
{
    (void)state;
    float z[CELLS], want[CELLS], got[CELLS];
    for (int p = 0; p < LAYERS * QX_FAMILY_COUNT; p++) {
        for (int k = 0; k < 3; k++) { /* gains of at least 1e-3 */
            const int layer = p / QX_FAMILY_COUNT, family = p % QX_FAMILY_COUNT;
            struct qx_predict_mix *x = mix_of(world.table, 1);
            const struct qx_predict_layer l = change_of((enum qx_family)family, amplitudes[k]);
            struct qx_predict_truth truth;
            struct qx_predict_sum s;
            disturbed(seed_of(layer, family, k), amplitudes[k], gains[k], z);
            centred(z, want);
            qx_predict_mix_set(x, layer, &l);
            qx_predict_mix_logits(x, got);
            assert_true(relative(got, want) < 1e-3);
            qx_predict_compare(world.base, z, &truth);
            qx_predict_mix_sum(x, &s);
            assert_true(fabs(s.kl - truth.kl) <= 2e-3 * truth.kl);
            assert_true(fabs(s.ce - truth.ce) <= 1e-3 * truth.ce);
            /* alone it keeps its sign in the whole ensemble; a tie may fall the other way */
            assert_true(fabs(s.same_top - truth.same_top) < 1.5 / N);
            qx_predict_mix_expect(x, qx_predict_base_accuracy(world.base), 1.0); /* P is E */
            qx_predict_mix_sum(x, &s);
            assert_true(fabs(s.accuracy - truth.accuracy) < 1.5 / N);
            assert_true(fabs(qx_predict_mix_site_kl(x, layer, (enum qx_site)(family / 2)) - s.kl) <=
                        1e-5 * s.kl);
            assert_true(fabs(qx_predict_mix_share(x, layer) - s.kl) <= 1e-5 * s.kl);
            assert_true(qx_predict_mix_share(x, (layer + 1) % LAYERS) == 0.0);
            qx_predict_mix_free(x);
        }
    }
}

static void an_exact_entry_stands_for_both_families_of_its_site(void **state)
{
    (void)state;
    float z[CELLS], want[CELLS], got[CELLS];
    struct qx_predict_table *t = qx_predict_table_ref(world.table);
    disturbed(5, 0.2, 0.8, z);
    centred(z, want);
    table_take(&t, entry_of(1, QX_FAMILY_W_ROUND, 0.0, 0.2, 4242, z));
    struct qx_predict_mix *x = mix_of(world.table, 1);
    struct qx_predict_layer l = {.t[QX_SITE_W] = {0.1, 0.15}, .key[QX_SITE_W] = 4242};
    qx_predict_mix_set(x, 1, &l);
    qx_predict_mix_logits(x, got);
    assert_true(relative(got, want) > 0.01);
    assert_int_equal(qx_predict_mix_rebase(x, t, NULL), QX_OK);
    qx_predict_mix_logits(x, got);
    assert_true(relative(got, want) < 1e-3);
    assert_true(qx_predict_table_has_exact(t, 1, QX_SITE_W, 4242));
    assert_false(qx_predict_table_has_exact(world.table, 1, QX_SITE_W, 4242));
    assert_int_equal(qx_predict_table_n(t), qx_predict_table_n(world.table) + 1);
    l.key[QX_SITE_W] = 4243; /* another setting goes by its amplitudes */
    qx_predict_mix_set(x, 1, &l);
    qx_predict_mix_logits(x, got);
    assert_true(relative(got, want) > 0.01);
    qx_predict_mix_free(x);
    qx_predict_table_unref(t);
}

/* Steps of 0.1 % in t: no step of the logits is larger than a few times that. */
static void the_answer_is_continuous_in_t(void **state)
{
    (void)state;
    float z[CELLS], last[CELLS];
    for (int family = 0; family < QX_FAMILY_COUNT; family++) {
        struct qx_predict_mix *x = mix_of(world.table, 1);
        struct qx_predict_sum s, before = {0};
        for (double t = 0.001; t < 2.0; t *= 1.001) {
            const struct qx_predict_layer l = change_of((enum qx_family)family, t);
            qx_predict_mix_set(x, 1, &l);
            qx_predict_mix_logits(x, z);
            qx_predict_mix_sum(x, &s);
            for (int i = 0; i < CELLS; i++) {
                assert_true(isfinite(z[i]));
            }
            if (t > 0.001) {
                assert_true(relative(z, last) < 0.01);
                assert_true(fabs(s.kl - before.kl) < 0.01 * (s.kl + 1e-6));
                assert_true(fabs(s.accuracy - before.accuracy) < 0.03);
            }
            before = s;
            memcpy(last, z, sizeof z);
        }
        qx_predict_mix_free(x);
    }
}

/* Amplitudes just below and just above an entry. */
static void both_sides_of_an_entry_agree(void **state)
{
    (void)state;
    float below[CELLS], above[CELLS];
    for (int k = 0; k < 4; k++) {
        struct qx_predict_mix *x = mix_of(world.table, 1);
        struct qx_predict_layer l = change_of(QX_FAMILY_W_CLIP, amplitudes[k] * (1.0 - 1e-9));
        qx_predict_mix_set(x, 2, &l);
        qx_predict_mix_logits(x, below);
        l = change_of(QX_FAMILY_W_CLIP, amplitudes[k] * (1.0 + 1e-9));
        qx_predict_mix_set(x, 2, &l);
        qx_predict_mix_logits(x, above);
        assert_true(relative(above, below) < 1e-5);
        qx_predict_mix_free(x);
    }
}

/* The seed's own example: four layers that each shrink the logits to 60 %. */
static void gains_multiply_and_never_turn_the_logits_over(void **state)
{
    (void)state;
    float z[CELLS], got[CELLS], want[CELLS];
    struct qx_predict_table *t = NULL;
    assert_int_equal(qx_predict_table_new(world.base, 4, &t, NULL), QX_OK);
    for (int i = 0; i < CELLS; i++) {
        z[i] = 0.6f * world.z0[i];
    }
    for (int layer = 0; layer < 4; layer++) {
        table_take(&t, entry_of(layer, QX_FAMILY_W_CLIP, 0.3, 0.4, 0, z));
    }
    struct qx_predict_mix *x = mix_of(t, 1);
    const struct qx_predict_layer l = change_of(QX_FAMILY_W_CLIP, 0.4);
    for (int layer = 0; layer < 4; layer++) {
        qx_predict_mix_set(x, layer, &l);
    }
    qx_predict_mix_logits(x, got);
    centred(world.z0, want);
    for (int i = 0; i < CELLS; i++) {
        want[i] *= 0.1296f;
    }
    assert_true(relative(got, want) < 1e-3);
    struct qx_predict_sum s;
    qx_predict_mix_sum(x, &s);
    assert_true(s.same_top == 1.0 && s.accuracy == s.accuracy0);
    /* far beyond the last entry, whose gain falls below zero */
    const struct qx_predict_layer far = change_of(QX_FAMILY_W_CLIP, 4.0);
    for (int layer = 0; layer < 4; layer++) {
        qx_predict_mix_set(x, layer, &far);
        qx_predict_mix_logits(x, got);
        double dot = 0.0;
        for (int i = 0; i < CELLS; i++) {
            dot += (double)got[i] * (double)want[i];
        }
        assert_true(dot >= 0.0);
    }
    qx_predict_mix_free(x);
    qx_predict_table_unref(t);
}

static void a_long_drag_ends_where_a_fresh_composition_is(void **state)
{
    (void)state;
    float a[CELLS], b[CELLS];
    struct qx_rng rng;
    struct qx_predict_mix *x = mix_of(world.table, 9);
    struct qx_predict_layer last[LAYERS] = {0};
    qx_rng_init(&rng, 8);
    for (int step = 0; step < 1000; step++) {
        const int layer = step % LAYERS;
        const double t = 1.5 * qx_rng_uniform(&rng);
        last[layer] = change_of((enum qx_family)qx_rng_below(&rng, QX_FAMILY_COUNT), t);
        qx_predict_mix_set(x, layer, &last[layer]);
    }
    struct qx_predict_mix *fresh = mix_of(world.table, 9);
    for (int layer = 0; layer < LAYERS; layer++) {
        qx_predict_mix_set(fresh, layer, &last[layer]);
    }
    struct qx_predict_sum s, t;
    qx_predict_mix_logits(x, a);
    qx_predict_mix_logits(fresh, b);
    assert_true(relative(a, b) < 1e-4);
    qx_predict_mix_sum(x, &s);
    qx_predict_mix_sum(fresh, &t);
    assert_true(fabs(s.kl - t.kl) < 1e-4 && fabs(s.accuracy - t.accuracy) < 2e-3);
    qx_predict_mix_free(fresh);
    const struct qx_predict_layer none = {0};
    for (int layer = 0; layer < LAYERS; layer++) { /* and back to where it began */
        qx_predict_mix_set(x, layer, &none);
    }
    qx_predict_mix_sum(x, &s);
    assert_true(s.kl < 1e-7 && s.same_top == 1.0);
    qx_predict_mix_free(x);
}

static void seeds_fix_the_signs(void **state)
{
    (void)state;
    struct qx_predict_sum s[3];
    for (int k = 0; k < 3; k++) {
        struct qx_predict_mix *x = mix_of(world.table, k < 2 ? 5 : 6);
        for (int layer = 0; layer < LAYERS; layer++) {
            const struct qx_predict_layer l = change_of(QX_FAMILY_W_ROUND, 0.4);
            qx_predict_mix_set(x, layer, &l);
        }
        qx_predict_mix_sum(x, &s[k]);
        qx_predict_mix_free(x);
    }
    assert_memory_equal(&s[0], &s[1], sizeof s[0]);
    assert_true(s[0].kl == s[2].kl); /* all signs + */
    assert_true(s[0].accuracy != s[2].accuracy);
}

static void a_site_without_entries_is_missing(void **state)
{
    (void)state;
    float z[CELLS];
    struct qx_predict_table *t = NULL;
    assert_int_equal(qx_predict_table_new(world.base, 2, &t, NULL), QX_OK);
    disturbed(1, 0.1, 0.9, z);
    table_take(&t, entry_of(0, QX_FAMILY_W_ROUND, 3, 0.1, 0, z));
    const struct qx_predict_layer round = change_of(QX_FAMILY_W_ROUND, 0.05);
    const struct qx_predict_layer clip = change_of(QX_FAMILY_W_CLIP, 0.05);
    assert_true(qx_predict_table_covers(t, 0, &round));
    assert_false(qx_predict_table_covers(t, 0, &clip));
    assert_false(qx_predict_table_covers(t, 1, &round));
    struct qx_predict_mix *x = mix_of(t, 1);
    struct qx_predict_sum s;
    qx_predict_mix_set(x, 0, &clip);
    qx_predict_mix_set(x, 1, &round);
    qx_predict_mix_sum(x, &s);
    assert_int_equal(s.n_missing, 2);
    qx_predict_mix_free(x);
    qx_predict_table_unref(t);
}

static double kl_at(struct qx_predict_mix *x, double round)
{
    struct qx_predict_layer l = change_of(QX_FAMILY_W_ROUND, round);
    struct qx_predict_sum s;
    l.key[QX_SITE_W] = 78; /* no entry's */
    qx_predict_mix_set(x, 0, &l);
    qx_predict_mix_sum(x, &s);
    return s.kl;
}

static void settings_near_an_exact_entry_lean_on_it(void **state)
{
    (void)state;
    static const struct qx_predict_spec spec = {0, QX_FAMILY_W_ROUND, 0};
    const double at = 0.2;
    float z[CELLS];
    struct qx_predict_entry *e = NULL;
    struct qx_predict_entry_info info;
    struct qx_predict_table *t = qx_predict_table_ref(world.table);
    struct qx_predict_mix *plain = mix_of(t, 1);
    disturbed(seed_of(0, QX_FAMILY_W_ROUND, 2), 0.5, 0.6, z); /* far worse than the table says */
    assert_int_equal(
        qx_predict_entry_new(world.base, &spec, 77, (struct qx_amplitude){at, 0.0}, z, &e, NULL),
        QX_OK);
    qx_predict_entry_look(e, &info);
    table_take(&t, e);
    struct qx_predict_mix *x = mix_of(t, 1);
    assert_true(info.truth.kl > 2.0 * kl_at(plain, at));
    /* beside it nearly as measured (shift and residual of that size, but not its own), beyond its reach as
     * if it were not there */
    print_message("KL %.3f, beside it %.3f, without it %.3f\n", info.truth.kl,
                  kl_at(x, 1.0001 * at), kl_at(plain, 1.0001 * at));
    assert_true(fabs(log(kl_at(x, 1.0001 * at) / info.truth.kl)) < 0.4);
    assert_true(fabs(log(kl_at(x, 0.49 * at) / kl_at(plain, 0.49 * at))) < 1e-5);
    assert_true(fabs(log(kl_at(x, 2.01 * at) / kl_at(plain, 2.01 * at))) < 1e-5);
    /* the correction fades evenly, and the answer stays continuous */
    double before = INFINITY, last = kl_at(x, 1.0001 * at);
    for (double a = 1.0001 * at; a < 2.1 * at; a *= 1.001) {
        const double now = kl_at(x, a), more = log(now / kl_at(plain, a));
        assert_true(more <= before + 0.02 && more > -0.05);
        assert_true(fabs(log(now / last)) < 0.05);
        before = more;
        last = now;
    }
    qx_predict_mix_free(x);
    qx_predict_mix_free(plain);
    qx_predict_table_unref(t);
}

static void a_site_keeps_its_newest_exact_entries(void **state)
{
    (void)state;
    float z[CELLS];
    struct qx_predict_table *t = qx_predict_table_ref(world.table);
    const int n = qx_predict_table_n(t);
    disturbed(5, 0.1, 0.9, z);
    for (uint64_t key = 1; key <= QX_PREDICT_EXACT + 2; key++) {
        table_take(&t, entry_of(1, QX_FAMILY_A_ROUND, 0, 0.1, key, z));
    }
    table_take(&t, entry_of(1, QX_FAMILY_A_ROUND, 0, 0.1, 5, z)); /* again: in its own place */
    assert_int_equal(qx_predict_table_n(t), n + QX_PREDICT_EXACT);
    assert_false(qx_predict_table_has_exact(t, 1, QX_SITE_A, 2));
    assert_true(qx_predict_table_has_exact(t, 1, QX_SITE_A, 3));
    assert_true(qx_predict_table_has_exact(t, 1, QX_SITE_A, QX_PREDICT_EXACT + 2));
    qx_predict_table_unref(t);
}

static void entries_of_other_rows_are_refused(void **state)
{
    (void)state;
    float z[CELLS];
    struct qx_predict_base *other = NULL;
    struct qx_predict_table *t = NULL, *more = NULL;
    struct qx_predict_entry *e = NULL;
    const struct qx_predict_spec spec = {LAYERS, QX_FAMILY_W_ROUND, 3};
    disturbed(1, 0.1, 0.9, z);
    assert_int_equal(qx_predict_base_new(z, NULL, NULL, N, C, &other, NULL), QX_OK);
    assert_true(isnan(qx_predict_base_accuracy(other)));
    assert_int_equal(qx_predict_table_new(other, LAYERS, &t, NULL), QX_OK);
    e = entry_of(0, QX_FAMILY_W_ROUND, 3, 0.1, 0, z);
    assert_int_equal(qx_predict_table_add(t, e, &more, NULL), QX_ERANGE);
    qx_predict_entry_unref(e);
    assert_int_equal(
        qx_predict_entry_new(other, &spec, 0, (struct qx_amplitude){0.1, 0.1}, z, &e, NULL), QX_OK);
    assert_int_equal(qx_predict_table_add(t, e, &more, NULL), QX_ERANGE);
    qx_predict_entry_unref(e);
    z[17] = NAN;
    assert_int_equal(
        qx_predict_entry_new(other, &spec, 0, (struct qx_amplitude){0.1, 0.1}, z, &e, NULL),
        QX_EDATA);
    assert_int_equal(qx_predict_base_new(z, NULL, NULL, N, C, &other, NULL), QX_EDATA);
    assert_int_equal(qx_predict_base_new(world.z0, NULL, NULL, N, 1, &other, NULL), QX_ERANGE);
    qx_predict_table_unref(t);
    qx_predict_base_unref(other);
}

int test_predict_mix(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changed_predicts_nothing),
        cmocka_unit_test(one_site_at_a_measured_setting_gives_the_measured_logits),
        cmocka_unit_test(an_exact_entry_stands_for_both_families_of_its_site),
        cmocka_unit_test(the_answer_is_continuous_in_t),
        cmocka_unit_test(both_sides_of_an_entry_agree),
        cmocka_unit_test(gains_multiply_and_never_turn_the_logits_over),
        cmocka_unit_test(a_long_drag_ends_where_a_fresh_composition_is),
        cmocka_unit_test(seeds_fix_the_signs),
        cmocka_unit_test(a_site_without_entries_is_missing),
        cmocka_unit_test(settings_near_an_exact_entry_lean_on_it),
        cmocka_unit_test(a_site_keeps_its_newest_exact_entries),
        cmocka_unit_test(entries_of_other_rows_are_refused),
    };
    return cmocka_run_group_tests_name("predict mix", tests, build, destroy);
}
