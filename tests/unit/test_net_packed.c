/* Weights only, on packed weights: against the simulation, mixed with integers, memory, faults. Sums of
 * single layers are in test_net_sums.c. */
#include "base/mem.h"
#include "integer_fixture.h"
#include "test_net.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Weights of one kind: of floats (no bits), integers or tables. */
struct kind {
    const char *format, *gran;
    int bits;
    bool sym;
};
static const struct kind kinds[] = {
    {"fp16", NULL, 0, true},           {"bf16", NULL, 0, true},
    {"int", "channel", 8, true},       {"int", "tensor", 8, false},
    {"int", "channel", 4, true},       {"int", "channel", 3, false},
    {"int", "group:32", 4, true},      {"int", "group:64", 4, false},
    {"int", "group:5", 2, true},       {"int", "group:32", 8, false},
    {"int", "group:16", 6, true},      {"nf4", "group:64", 4, true},
    {"nf4", "channel", 4, true},       {"fp4", "group:5", 4, true},
    {"fp4", "tensor", 4, true},        {"fp8-e4m3", "channel", 8, true},
    {"fp8-e5m2", "group:32", 8, true}, {"q4_0", NULL, 0, true},
    {"q4_k", NULL, 0, true},           {"nvfp4", NULL, 0, true},
    {"q8_0", NULL, 0, true},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static struct qx_setting kind_setting(const struct folder *f, int layer, const struct kind *k)
{
    struct qx_setting s = qx_setting_fp32();
    if (k->bits) {
        s = rtn_setting(f, layer, k->gran, k->bits);
        s.format = qx_format_find(k->format);
        s.sym = k->sym;
        s.range = k->sym || s.gran != QX_GRAN_TENSOR ? s.range : (struct qx_range){-0.3, 0.4};
    } else {
        s.format = qx_format_find(k->format);
    }
    return s;
}

/* layer % n-th kind for every layer of a linear role; act NULL = float32 inputs. */
static void apply_kinds(struct folder *f, const struct kind *k, int n)
{
    for (int i = 0; i < qx_net_n_layers(f->net); i++) {
        if (qx_net_layer(f->net, i)->role == QX_ROLE_LINEAR) {
            const struct qx_setting s = kind_setting(f, i, &k[i % n]);
            integer_apply(f, i, &s);
        }
    }
}

static float *waves(const struct folder *f, int64_t rows)
{
    const int64_t n = rows * qx_net_sample_size(f->net);
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = qx_net_input_is_ids(f->net) ? (float)(i * 7 % 12) : sinf((float)i * 0.37f) * 2.0f;
    }
    return x;
}

static void check_near(const struct folder *f, const float *want, const float *have,
                       const char *what)
{
    double top = 1e-3, worst = 0;
    for (int i = 0; i < ROWS * qx_net_n_classes(f->net); i++) {
        top = fmax(top, fabs((double)want[i]));
        worst = fmax(worst, fabs((double)want[i] - (double)have[i]));
    }
    if (worst > 1e-5 * top) {
        fail_msg("%s: logits differ by %g of %g", what, worst, top);
    }
}

static const char *const nets[] = {
    "residual_net", "conv2d_groups",  "conv1d", "conv2d",       "transformer",
    "matmul",       "tied_embedding", "gemm",   "encoder_bert", "gemm_transposed_input"};

static void packed_weights_give_what_the_simulation_gives(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        for (int k = 0; k < N_KINDS; k++) {
            struct folder f;
            char what[64];
            golden_open(&f, nets[i]);
            apply_kinds(&f, &kinds[k], 1);
            float *x = waves(&f, ROWS), *want = integer_run(&f, x, ROWS, NULL);
            const uint64_t before = qx_weights_bytes(f.weights);
            integer_prepare(&f, QX_ENGINE_PACKED);
            assert_int_equal(qx_weights_engine(f.weights), QX_ENGINE_PACKED);
            assert_true(qx_weights_bytes(f.weights) != before);
            float *have = integer_run(&f, x, ROWS, NULL);
            snprintf(what, sizeof what, "%s, kind %d", nets[i], k);
            check_near(&f, want, have, what);
            free(x);
            free(want);
            free(have);
            folder_close(&f);
        }
    }
}

/* One layer at 8 bits with 8-bit inputs, the next ones weights only or 16 bits. */
static void integers_and_packed_weights_mix(void **state)
{
    (void)state;
    static const struct kind mixed[] = {
        {"int", "channel", 8, true}, {"int", "group:32", 4, true}, {"fp16", NULL, 0, true}};
    struct folder f;
    golden_open(&f, "residual_net");
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < qx_net_n_layers(f.net); i++) {
            struct qx_setting s = kind_setting(&f, i, &mixed[(i + turn) % 3]);
            if ((i + turn) % 3 == 0) {
                s.act = qx_act_dynamic(8);
            }
            integer_apply(&f, i, &s);
        }
        float *x = waves(&f, ROWS);
        struct qx_net_report r = {0};
        integer_prepare(&f, QX_ENGINE_AUTO);
        assert_int_equal(qx_weights_engine(f.weights), QX_ENGINE_INTEGER);
        assert_int_equal(qx_net_compare(f.net, f.weights, x, ROWS, &r, NULL, NULL, NULL), QX_OK);
        assert_true(r.n_codes > 0 && r.n_codes_differ * 500 <= r.n_codes);
        assert_int_equal(r.n_rows_differ, 0);
        free(x);
    }
    folder_close(&f);
}

static void an_engine_that_the_settings_do_not_fit_is_refused(void **state)
{
    (void)state;
    struct qx_error err = {0};
    struct folder f;
    golden_open(&f, "residual_net");
    assert_int_equal(qx_weights_prepare(f.weights, QX_ENGINE_PACKED, NULL, NULL, &err),
                     QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "nothing to keep packed"));
    apply_kinds(&f, &kinds[2], 1);
    assert_int_equal(qx_weights_prepare(f.weights, QX_ENGINE_INTEGER, NULL, NULL, &err),
                     QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "no layer quantizes its input"));
    struct qx_setting s = kind_setting(&f, 0, &kinds[2]);
    s.act = qx_act_dynamic(8);
    integer_apply(&f, 0, &s);
    assert_int_equal(qx_weights_prepare(f.weights, QX_ENGINE_PACKED, NULL, NULL, &err),
                     QX_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "inputs are quantized"));
    assert_int_equal(qx_weights_engine(f.weights), QX_ENGINE_SIMULATED);
    folder_close(&f);
}

static void nothing_taken(void *arg, const struct qx_net_seen *seen)
{
    (void)arg;
    (void)seen;
}

enum { MOST_LAYERS = 16 };
struct shown {
    double sum[MOST_LAYERS]; /* of the inputs, each with its place */
    int64_t n[MOST_LAYERS];
};

static void shown_add(void *arg, const struct qx_net_seen *seen)
{
    struct shown *s = arg;
    for (int64_t i = seen->begin[0]; i < seen->begin[seen->rows]; i++) {
        s->sum[seen->layer] += (double)seen->x[i] * (double)(i % 7 + 1);
        s->n[seen->layer]++;
    }
}

/* One layer's inputs are those that a look at all layers shows, and no other's are shown. */
static void one_layer_is_tapped_as_all_are(void **state)
{
    (void)state;
    struct folder f;
    struct shown all = {0};
    golden_open(&f, "residual_net");
    float *x = waves(&f, ROWS);
    const int n = qx_net_n_layers(f.net);
    assert_true(n > 1 && n <= MOST_LAYERS);
    assert_int_equal(qx_net_tap(f.net, f.weights, x, ROWS, -1, shown_add, &all, NULL, NULL, NULL),
                     QX_OK);
    for (int layer = 0; layer < n; layer++) {
        struct shown one = {0};
        assert_true(all.n[layer] > 0);
        assert_int_equal(
            qx_net_tap(f.net, f.weights, x, ROWS, layer, shown_add, &one, NULL, NULL, NULL), QX_OK);
        for (int other = 0; other < n; other++) {
            const bool is_it = other == layer;
            assert_int_equal(one.n[other], is_it ? all.n[layer] : 0);
            assert_true(one.sum[other] == (is_it ? all.sum[layer] : 0.0));
        }
    }
    free(x);
    folder_close(&f);
}

/* PACKED holds a weight once; what comes after finds the float32 copies again. */
static void float_copies_go_and_come_back(void **state)
{
    (void)state;
    struct qx_error err = {0};
    struct folder f;
    golden_open(&f, "residual_net");
    apply_kinds(&f, &kinds[2], 1);
    float *x = waves(&f, ROWS), *want = integer_run(&f, x, ROWS, NULL);
    const size_t bytes = (size_t)(ROWS * qx_net_n_classes(f.net)) * sizeof *want;
    for (int way = 0; way < 3; way++) {
        integer_prepare(&f, QX_ENGINE_PACKED);
        assert_int_equal(
            qx_net_tap(f.net, f.weights, x, ROWS, -1, nothing_taken, NULL, NULL, NULL, &err),
            QX_EUNSUPPORTED);
        if (way == 0) {
            integer_prepare(&f, QX_ENGINE_SIMULATED);
        } else {
            const struct qx_setting here = kind_setting(&f, 0, &kinds[2]),
                                    other = kind_setting(&f, 0, &kinds[way]);
            integer_apply(&f, 0, &other);
            assert_int_equal(qx_weights_engine(f.weights),
                             way == 2 ? QX_ENGINE_PACKED : QX_ENGINE_SIMULATED);
            integer_apply(&f, 0, &here);
            integer_prepare(&f, QX_ENGINE_SIMULATED);
        }
        float *have = integer_run(&f, x, ROWS, NULL);
        assert_memory_equal(have, want, bytes);
        free(have);
    }
    free(x);
    free(want);
    folder_close(&f);
}

/* Every allocation of packing, of giving copies back and of a pass fails once; then a cancel. */
static void faults_leave_the_weights_as_they_were(void **state)
{
    (void)state;
    struct qx_error err = {0};
    struct qx_ctl ctl = {0};
    struct folder f;
    golden_open(&f, "residual_net");
    apply_kinds(&f, &kinds[5], 2);
    float *x = waves(&f, ROWS), *want = integer_run(&f, x, ROWS, NULL);
    float *have = malloc((size_t)(ROWS * qx_net_n_classes(f.net)) * sizeof *have);
    static const enum qx_engine turns[] = {QX_ENGINE_PACKED, QX_ENGINE_SIMULATED};
    for (int t = 0; t < 2; t++) {
        enum qx_status st = QX_ENOMEM;
        const enum qx_engine before = qx_weights_engine(f.weights);
        for (int64_t n = 1; st != QX_OK; n++) {
            qx_mem_fail_at(n);
            st = qx_weights_prepare(f.weights, turns[t], NULL, NULL, &err);
            qx_mem_fail_at(0);
            assert_true(n < 1000 && (st == QX_OK || st == QX_ENOMEM));
            assert_int_equal(qx_weights_engine(f.weights), st == QX_OK ? turns[t] : before);
            assert_int_equal(qx_net_forward(f.net, f.weights, x, ROWS, have, NULL, NULL, &err),
                             QX_OK);
            check_near(&f, want, have, "after a failure");
        }
        st = QX_ENOMEM;
        for (int64_t n = 1; st != QX_OK; n++) {
            qx_mem_fail_at(n);
            st = qx_net_forward(f.net, f.weights, x, ROWS, have, NULL, NULL, &err);
            qx_mem_fail_at(0);
            assert_true(n < 100 && (st == QX_OK || st == QX_ENOMEM));
        }
        check_near(&f, want, have, "after failures of a pass");
    }
    const struct qx_setting s = kind_setting(&f, 0, &kinds[2]);
    integer_apply(&f, 0, &s);
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_weights_prepare(f.weights, QX_ENGINE_PACKED, NULL, &ctl, &err),
                     QX_ECANCELLED);
    assert_int_equal(qx_weights_engine(f.weights), QX_ENGINE_SIMULATED);
    integer_prepare(&f, QX_ENGINE_PACKED);
    assert_int_equal(qx_net_forward(f.net, f.weights, x, ROWS, have, NULL, &ctl, &err),
                     QX_ECANCELLED);
    assert_int_equal(qx_weights_prepare(f.weights, QX_ENGINE_SIMULATED, NULL, &ctl, &err),
                     QX_ECANCELLED);
    assert_int_equal(qx_weights_engine(f.weights), QX_ENGINE_PACKED);
    free(x);
    free(want);
    free(have);
    folder_close(&f);
}

int test_net_packed(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_weights_give_what_the_simulation_gives),
        cmocka_unit_test(integers_and_packed_weights_mix),
        cmocka_unit_test(an_engine_that_the_settings_do_not_fit_is_refused),
        cmocka_unit_test(one_layer_is_tapped_as_all_are),
        cmocka_unit_test(float_copies_go_and_come_back),
        cmocka_unit_test(faults_leave_the_weights_as_they_were),
    };
    return cmocka_run_group_tests_name("net packed", tests, integer_enter, integer_leave);
}
