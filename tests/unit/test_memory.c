/* What calibration and calibration-based methods take beyond the model, by the bytes that base/mem counts: the bounds
 * that qx/eval.h, qx/moments.h and qx/method.h state. */
#include "base/mem.h"
#include "base/pool.h"
#include "encoder_fixture.h"
#include "net/weights.h"
#include "qx/eval.h"
#include "qx/method.h"
#include "qx/overlay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 4, HEADS = 4, HIDDEN = 64, INNER = 1024, PLACES = 32, ROWS = 70, THREADS = 2 };
enum { MIB = 1 << 20, KIB = 1 << 10 };

static struct {
    char folder[64], rows[128];
    struct qx_model *model;
    struct qx_net *net;
    struct qx_dataset *data;
    struct qx_pool *pool;
} s;

static int open_all(void **state)
{
    (void)state;
    const struct encoder shape = {LAYERS, HEADS, HIDDEN, INNER, PLACES, 90};
    strcpy(s.folder, "encoder-XXXXXX");
    encoder_write(&shape, s.folder);
    encoder_rows(&shape, ROWS, s.folder, s.rows, sizeof s.rows);
    return qx_pool_new(THREADS, &s.pool, NULL) != QX_OK ||
           qx_model_open(s.folder, &s.model, NULL) != QX_OK ||
           qx_net_open(s.model, &s.net, NULL) != QX_OK ||
           qx_dataset_open(s.rows, s.net, &s.data, NULL) != QX_OK;
}

static int close_all(void **state)
{
    (void)state;
    qx_dataset_close(&s.data);
    qx_net_close(&s.net);
    qx_model_close(&s.model);
    qx_pool_free(s.pool);
    encoder_remove(s.folder);
    return 0;
}

/* One workspace: the widest values that live at once, here those of the feed-forward part and a residual; and
 * weights stay in the file. */
static int64_t workspace(void)
{
    const int64_t places = qx_net_tile_rows(s.net) * PLACES;
    return 4 * places * (2 * INNER + 6 * HIDDEN + HEADS * PLACES);
}

static void calibration_stays_within_what_it_states(void **state)
{
    (void)state;
    enum { INPUTS = 4 * LAYERS, TABLES = 3 }; /* query, key and value read one */
    const int64_t tiles = (ROWS + qx_net_tile_rows(s.net) - 1) / qx_net_tile_rows(s.net);
    const int64_t before = qx_mem_bytes();
    struct qx_calibration *c = NULL;
    qx_mem_peak_reset();
    assert_int_equal(qx_calibration_run(s.net, s.data, ROWS, 0, s.pool, NULL, &c, NULL), QX_OK);
    const int64_t peak = qx_mem_peak() - before, kept = qx_mem_bytes() - before;
    const int64_t hist = INPUTS * (8 * MIB / 10) + TABLES * (32 * KIB);
    const int64_t each = INPUTS * (8 * tiles + 4 * INNER + 4 * ROWS * PLACES);
    assert_in_range(kept, 1, hist + each + 64 * KIB);
    const int64_t running = (INPUTS + TABLES) * (24 * KIB + 360 * tiles) +
                            THREADS * (each + workspace() + 19 * MIB / 10) + 4 * ROWS * PLACES;
    assert_in_range(peak, kept, hist + each + running + 64 * KIB);

    /* what several layers read is there once, and unpacked ones are few */
    const struct qx_observed *query = qx_calibration_layer(c, 3);
    assert_ptr_equal(query, qx_calibration_layer(c, 4));
    assert_ptr_equal(query, qx_calibration_layer(c, 5));
    assert_ptr_not_equal(query, qx_calibration_layer(c, 6));
    for (int i = 0; i < qx_net_n_layers(s.net); i++) {
        struct qx_hist *a = NULL, *b = NULL;
        const struct qx_observed *o = qx_calibration_layer(c, i);
        assert_int_equal(qx_observed_hist(o, &a, NULL), QX_OK);
        assert_int_equal(qx_observed_hist(o, &b, NULL), QX_OK);
        assert_ptr_equal(a, b);
        assert_in_range(qx_hist_bytes(a), 1, 4 * MIB);
        qx_hist_unref(a);
        qx_hist_unref(b);
    }
    assert_in_range(qx_mem_bytes() - before - kept, 1, QX_HIST_SHELF * 4 * MIB);
    qx_calibration_unref(c);
    assert_true(qx_mem_bytes() <= before); /* less: threads of the pool end their beginning */
}

/* ---- Hessians ---- */

static const struct qx_overlay *none(void *arg, int layer, uint64_t key,
                                     const struct qx_setting *set)
{
    (void)arg;
    (void)layer;
    (void)key;
    (void)set;
    return NULL;
}

static const struct qx_overlay *keep(void *arg, int layer, struct qx_overlay *o)
{
    struct qx_overlay **all = arg;
    return all[layer] = o;
}

static void hessians_are_there_one_layer_at_a_time(void **state)
{
    (void)state;
    enum {
        MOST_LAYERS = 3 + 6 * LAYERS,
        OUT = 4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER,
        SAMPLES = 8
    };
    struct qx_overlay *all[MOST_LAYERS] = {0};
    struct qx_setting set[MOST_LAYERS];
    assert_int_equal(qx_net_n_layers(s.net), MOST_LAYERS);
    for (int i = 0; i < MOST_LAYERS; i++) {
        struct qx_net_product p;
        set[i] = qx_setting_fp32();
        if (qx_net_layer_product(s.net, i, &p)) {
            set[i] = qx_setting_int(4);
            set[i].calib = qx_calib_find("manual");
            set[i].has_range = true;
            set[i].range = (struct qx_range){-1, 1};
            strcpy(set[i].algo, "gptq");
        }
    }
    const struct qx_methods_run run = {
        .net = s.net, .data = s.data, .n_rows = SAMPLES, .find = none, .keep = keep, .arg = all};
    const int64_t before = qx_mem_bytes(), hessian = (int64_t)INNER * INNER * 4;
    qx_mem_peak_reset();
    assert_int_equal(qx_methods_run(&run, set, s.pool, NULL, NULL), QX_OK);
    const int64_t peak = qx_mem_peak() - before, results = qx_mem_bytes() - before;
    /* the Hessian and its factor; the layer at work; columns of the rows; the layers before, quantized */
    const int64_t columns = SAMPLES * PLACES * INNER * 4, layer = (int64_t)HIDDEN * INNER;
    const int64_t most = 2 * hessian + 16 * layer + columns + LAYERS * (int64_t)OUT * 4 +
                         THREADS * workspace() + MIB;
    assert_true(results >= LAYERS * OUT && results <= 2 * LAYERS * OUT);
    assert_in_range(peak, hessian, most + results);
    assert_true(most < (LAYERS + 1) * hessian); /* or it would say nothing of their number */
    for (int i = 0; i < MOST_LAYERS; i++) {
        qx_overlay_free(all[i]);
    }
    assert_true(qx_mem_bytes() <= before);
}

/* ---- weights that stay in the file ---- */

struct pair {
    struct qx_net *net;
    struct qx_weights *wide, *thin;
    float x[4 * PLACES], y[2][4 * HIDDEN];
};

/* Both give the same bits, also after the same was done to both. */
static void assert_same_bits(struct pair *p)
{
    const struct qx_weights *const both[2] = {p->wide, p->thin};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(qx_net_forward(p->net, both[i], p->x, 4, p->y[i], s.pool, NULL, NULL),
                         QX_OK);
    }
    assert_memory_equal(p->y[0], p->y[1], sizeof p->y[0]);
}

static void both_apply(struct pair *p, int layer, const struct qx_setting *set)
{
    assert_int_equal(qx_weights_apply(p->wide, layer, set, NULL, NULL, NULL), QX_OK);
    assert_int_equal(qx_weights_apply(p->thin, layer, set, NULL, NULL, NULL), QX_OK);
    assert_same_bits(p);
}

static void weights_in_the_file_give_the_same_bits(void **state)
{
    (void)state;
    const struct encoder shape = {2, HEADS, HIDDEN, INNER, PLACES, 90, .is_half = true};
    char folder[64] = "half-XXXXXX";
    struct qx_model *model = NULL;
    struct pair p = {.net = NULL};
    encoder_write(&shape, folder);
    assert_int_equal(qx_model_open(folder, &model, NULL), QX_OK);
    assert_int_equal(qx_net_open(model, &p.net, NULL), QX_OK);
    encoder_remove(folder);
    assert_int_equal(qx_net_n_classes(p.net), HIDDEN);
    assert_int_equal(qx_dataset_read(s.data, 0, 4, p.x, NULL), QX_OK);

    const int64_t before = qx_mem_bytes();
    assert_int_equal(qx_weights_new(p.net, &p.thin, NULL), QX_OK);
    const int64_t copies = qx_mem_bytes() - before;
    qx_weights_thin(p.thin);
    assert_true(qx_mem_bytes() - before < copies / 8);
    assert_int_equal(2 * qx_weights_bytes(p.thin),
                     4 * (int64_t)shape.layers * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER) +
                         4 * HIDDEN * (90 + PLACES + 2));
    assert_int_equal(qx_weights_new(p.net, &p.wide, NULL), QX_OK);
    assert_same_bits(&p);

    struct qx_setting set = qx_setting_int(4), fp32 = qx_setting_fp32();
    set.calib = qx_calib_find("manual");
    set.has_range = true;
    set.range = (struct qx_range){-1, 1};
    both_apply(&p, 0, &set); /* a table */
    both_apply(&p, 5, &set);
    both_apply(&p, 5, &fp32);
    set.act = qx_act_dynamic(8);
    both_apply(&p, 8, &set);
    for (enum qx_engine e = QX_ENGINE_INTEGER; e != QX_ENGINE_AUTO;
         e = e == QX_ENGINE_INTEGER ? QX_ENGINE_SIMULATED : QX_ENGINE_AUTO) {
        assert_int_equal(qx_weights_prepare(p.wide, e, NULL, NULL, NULL), QX_OK);
        assert_int_equal(qx_weights_prepare(p.thin, e, NULL, NULL, NULL), QX_OK);
        assert_same_bits(&p);
    }
    both_apply(&p, 8, &fp32);
    const struct qx_act act = set.act;
    assert_int_equal(qx_weights_put(p.wide, 4, NULL, &act, NULL), QX_OK);
    assert_int_equal(qx_weights_put(p.thin, 4, NULL, &act, NULL), QX_OK);
    assert_same_bits(&p);
    both_apply(&p, 4, &fp32);
    both_apply(&p, 0, &fp32);
    assert_int_equal(qx_weights_prepare(p.wide, QX_ENGINE_PACKED, NULL, NULL, NULL), QX_OK);
    assert_int_equal(qx_weights_prepare(p.thin, QX_ENGINE_PACKED, NULL, NULL, NULL), QX_OK);
    assert_same_bits(&p);
    qx_weights_free(p.wide);
    assert_true(qx_mem_bytes() - before < copies / 2);
    qx_weights_free(p.thin);
    qx_net_close(&p.net);
    qx_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calibration_stays_within_what_it_states),
        cmocka_unit_test(hessians_are_there_one_layer_at_a_time),
        cmocka_unit_test(weights_in_the_file_give_the_same_bits),
    };
    return cmocka_run_group_tests_name("memory", tests, open_all, close_all);
}
