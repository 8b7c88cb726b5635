/* Factors of the channels between layers: where they may be, that they leave the function alone, and that the
 * engines run methods which use them. */
#include "method/equal.h"
#include "net/exec.h"
#include "net_fixture.h"
#include "qx/links.h"
#include "qx/method.h"

#include "base/rng.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROWS = 24, SAMPLES = 6, RELU_BERT = 5 };
static char home[64];

/* samples/bert-sentiment with Relu between the linear layers of its blocks, in the scratch folder. */
static void relu_bert_open(struct folder *f)
{
    char from[512], to[600], text[8192];
    source_path(from, sizeof from, "samples/bert-sentiment/config.json");
    FILE *file = fopen(from, "r");
    assert_non_null(file);
    const size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    char *act = strstr(text, "\"gelu\"");
    assert_non_null(act);
    act[1] = 'r';
    act[2] = 'e';
    act[3] = 'l';
    act[4] = 'u';
    snprintf(to, sizeof to, "%s/config.json", home);
    text_write(to, text);
    source_path(from, sizeof from, "samples/bert-sentiment/model.safetensors");
    snprintf(to, sizeof to, "%s/model.safetensors", home);
    assert_true(symlink(from, to) == 0 || errno == EEXIST);
    folder_open(f, home);
}

static int enter(void **state)
{
    (void)state;
    snprintf(home, sizeof home, "/tmp/qx-links-XXXXXX");
    return mkdtemp(home) ? 0 : -1;
}

static int leave(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", home);
    return system(command);
}

/* False when data of others are not there. */
static bool model_open(struct folder *f, int i)
{
    static const char *const names[SAMPLES] = {"samples/fashion-cnn", "samples/fashion-mlp",
                                               "samples/llama-tiny",  "samples/bert-sentiment",
                                               "mlperf-kws",          "bert-sentiment with Relu"};
    char path[512];
    if (i == RELU_BERT) {
        relu_bert_open(f);
        return true;
    }
    if (i < 4) {
        source_path(path, sizeof path, names[i]);
    } else {
        shared_path(path, sizeof path, names[i]);
        FILE *there = fopen(path, "r");
        if (!there) {
            print_message("%s is not there: not tested\n", path);
            return false;
        }
        fclose(there);
    }
    folder_open(f, path);
    return true;
}

static float *inputs(const struct folder *f)
{
    const int64_t size = qx_net_sample_size(f->net), n = ROWS * size;
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        x[i] = !qx_net_input_is_ids(f->net) ? sinf((float)i * 0.37f) * 2.0f
               : i % size < 12              ? (float)(i * 7 % 250)
                                            : -1.0f;
    }
    return x;
}

static float *logits(const struct folder *f, const float *x)
{
    float *y = malloc((size_t)(ROWS * qx_net_n_classes(f->net)) * sizeof *y);
    struct qx_error err = {0};
    assert_non_null(y);
    if (qx_net_forward(f->net, f->weights, x, ROWS, y, NULL, NULL, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    return y;
}

/* Largest difference, as a share of the largest value. */
static double distance(const float *a, const float *b, int64_t n)
{
    double most = 0.0, differ = 0.0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)a[i]));
        differ = fmax(differ, fabs((double)a[i] - (double)b[i]));
    }
    return differ / most;
}

static int find_layer(const struct folder *f, const char *tensor)
{
    for (int i = 0; i < qx_net_n_layers(f->net); i++) {
        if (strcmp(qx_model_tensor(f->model, qx_net_layer(f->net, i)->tensor)->name, tensor) == 0) {
            return i;
        }
    }
    fail_msg("no layer %s", tensor);
    return -1;
}

/* Producer of a layer's inputs: -1 a normalization, -2 none. */
static int producer_of(const struct folder *f, const char *tensor, struct qx_net_link *link)
{
    return qx_net_link(f->net, find_layer(f, tensor), link, NULL) == QX_OK ? link->producer : -2;
}

static void links_are_where_factors_pass(void **state)
{
    struct folder f;
    struct qx_net_link link = {0};
    (void)state;
    assert_true(model_open(&f, 0));
    /* a pool between; a residual sum; an average and a view */
    assert_int_equal(producer_of(&f, "block1.b.conv.weight", &link),
                     find_layer(&f, "block1.a.conv.weight"));
    assert_true(link.is_rectified && link.is_direct && link.n_affine == 1);
    qx_net_link_release(&link);
    assert_int_equal(producer_of(&f, "block1.a.conv.weight", &link), -2);
    assert_int_equal(producer_of(&f, "widen2.conv.weight", &link), -2);
    assert_int_equal(producer_of(&f, "dense.weight", &link),
                     find_layer(&f, "pointwise.conv.weight"));
    assert_false(link.is_direct);
    qx_net_link_release(&link);
    folder_close(&f);

    assert_true(model_open(&f, 2));
    assert_int_equal(producer_of(&f, "model.layers.0.mlp.down_proj.weight", &link),
                     find_layer(&f, "model.layers.0.mlp.up_proj.weight"));
    qx_net_link_release(&link);
    assert_int_equal(producer_of(&f, "model.layers.0.self_attn.q_proj.weight", &link), -1);
    qx_net_link_release(&link);
    assert_int_equal(producer_of(&f, "model.layers.0.self_attn.o_proj.weight", &link),
                     find_layer(&f, "model.layers.0.self_attn.v_proj.weight"));
    /* every head of values is read by as many heads */
    for (int64_t c = 0; c < link.n_out; c++) {
        int64_t n = 0;
        for (int64_t j = 0; j < link.n_in; j++) {
            n += link.channel[j] == c;
        }
        assert_int_equal(n, link.n_in / link.n_out);
    }
    qx_net_link_release(&link);
    folder_close(&f);

    assert_true(model_open(&f, 3)); /* Gelu lets no factor pass */
    int n_gelu = 0;
    for (int i = 0; i < qx_net_n_layers(f.net); i++) {
        struct qx_error err = {0};
        const enum qx_status st = qx_net_link(f.net, i, &link, &err);
        n_gelu += st == QX_EUNSUPPORTED && strstr(err.text, "does not pass");
        if (st == QX_OK) {
            qx_net_link_release(&link);
        }
    }
    assert_true(n_gelu > 0);
    folder_close(&f);

    assert_true(model_open(&f, RELU_BERT)); /* Relu does */
    int n_pairs = 0, n_blocks = 0;
    for (int i = 0; i < qx_net_n_layers(f.net); i++) {
        const int64_t own = qx_net_layer(f.net, i)->tensor;
        n_blocks += strstr(qx_model_tensor(f.model, own)->name, "intermediate") != NULL;
        if (qx_net_link(f.net, i, &link, NULL) == QX_OK && link.is_rectified) {
            const int64_t before = qx_net_layer(f.net, link.producer)->tensor;
            assert_non_null(strstr(qx_model_tensor(f.model, before)->name, "intermediate"));
            assert_true(link.is_direct && link.n_in == link.n_out);
            n_pairs++;
        }
        qx_net_link_release(&link);
    }
    assert_true(n_pairs > 0 && n_pairs == n_blocks);
    folder_close(&f);
}

/* Factors of all links of a network, drawn over two orders of magnitude, written into its tensors. Layers that
 * read one normalization get the same. */
static int rewrite_all(const struct folder *f, struct qx_rewrite *r)
{
    const int n = qx_net_n_layers(f->net);
    int n_links = 0;
    for (int i = 0; i < n; i++) {
        struct qx_net_link link;
        struct qx_rng rng;
        if (qx_net_link(f->net, i, &link, NULL) != QX_OK) {
            continue;
        }
        float *out = malloc((size_t)link.n_out * sizeof *out);
        float *in = malloc((size_t)link.n_in * sizeof *in);
        assert_true(out && in);
        qx_rng_init(&rng, (uint64_t)link.node);
        for (int64_t c = 0; c < link.n_out; c++) {
            out[c] = (float)pow(10.0, 2.0 * qx_rng_uniform(&rng) - 1.0);
        }
        for (int64_t j = 0; j < link.n_in; j++) {
            in[j] = out[link.channel[j]];
        }
        bool is_first = true;
        for (int k = 0; k < i; k++) {
            struct qx_net_link other;
            if (qx_net_link(f->net, k, &other, NULL) == QX_OK) {
                is_first &= other.node != link.node;
                qx_net_link_release(&other);
            }
        }
        if (is_first) {
            assert_int_equal(qx_rewrite_outputs(r, &link, out, NULL), QX_OK);
        }
        assert_int_equal(qx_rewrite_inputs(r, i, in, NULL), QX_OK);
        qx_net_link_release(&link);
        free(out);
        free(in);
        n_links++;
    }
    return n_links;
}

static void factors_leave_the_function_alone(void **state)
{
    (void)state;
    for (int m = 0; m < SAMPLES; m++) {
        struct folder f;
        struct qx_rewrite *r = NULL;
        if (!model_open(&f, m)) {
            continue;
        }
        float *x = inputs(&f), *before = logits(&f, x);
        const int64_t n = ROWS * qx_net_n_classes(f.net);
        assert_int_equal(qx_rewrite_new(f.net, &r, NULL), QX_OK);
        assert_true(rewrite_all(&f, r) > 0);
        assert_int_equal(qx_weights_rewrite(f.weights, r, NULL), QX_OK);
        float *after = logits(&f, x);
        assert_true(memcmp(before, after, (size_t)n * sizeof *after) != 0);
        const double far = distance(before, after, n);
        if (!(far <= 1e-5)) {
            fail_msg("%s: logits move by %g", f.path, far);
        }
        assert_int_equal(qx_weights_rewrite(f.weights, NULL, NULL), QX_OK);
        float *again = logits(&f, x);
        assert_memory_equal(before, again, (size_t)n * sizeof *again);
        qx_rewrite_free(r);
        free(x);
        free(before);
        free(after);
        free(again);
        folder_close(&f);
    }
}

/* ---- methods ---- */

/* Moments that say nothing but ranges and means. */
static struct qx_moments *no_moments(const struct folder *f, const float *x, int layer)
{
    struct qx_moments *m = calloc(1, sizeof *m);
    struct qx_net_product *p = &m->product;
    assert_true(m && qx_net_layer_product(f->net, layer, p));
    const size_t n = (size_t)(p->groups * p->k);
    m->n_columns = 1;
    m->second = calloc(n * (size_t)p->k, sizeof *m->second);
    m->mean = calloc(n, sizeof *m->mean);
    m->mean_abs = calloc(n, sizeof *m->mean_abs);
    m->lo = calloc(n, sizeof *m->lo);
    m->hi = calloc(n, sizeof *m->hi);
    for (size_t i = 0; i < n; i++) {
        m->mean_abs[i] = 1.0f + (float)(i % 5);
        m->mean[i] = 0.25f * (float)(i % 4);
        m->second[i * (size_t)p->k + i % (size_t)p->k] = m->mean_abs[i];
        m->lo[i] = -4.0f * m->mean_abs[i];
        m->hi[i] = (i % 16 ? 4.0f : 7.0f) * m->mean_abs[i];
    }
    (void)x;
    return m;
}

static void moments_free(struct qx_moments *m)
{
    free(m->second);
    free(m->mean);
    free(m->mean_abs);
    free(m->lo);
    free(m->hi);
    free(m);
}

struct applied {
    struct folder *f;
    struct qx_setting set[64];
    struct qx_overlay *overlay[64];
    int n;
};

/* All linear layers at the setting, with what its methods make of them. */
static void apply_all(struct applied *a, struct folder *f, const char *gran, int bits,
                      const struct qx_act *act, const char *algo, const float *x)
{
    *a = (struct applied){.f = f, .n = qx_net_n_layers(f->net)};
    assert_true(a->n <= 64);
    for (int i = 0; i < a->n; i++) {
        const bool is_linear = qx_net_layer(f->net, i)->role == QX_ROLE_LINEAR;
        a->set[i] = is_linear ? rtn_setting(f, i, gran, bits) : qx_setting_fp32();
        if (is_linear) {
            struct qx_algo list;
            a->set[i].act = *act;
            assert_int_equal(qx_algo_parse(algo, &list, a->set[i].algo, NULL), QX_OK);
        }
    }
    for (int i = 0; i < a->n; i++) {
        struct qx_error err = {0};
        if (qx_setting_is_fp32(&a->set[i])) {
            continue;
        }
        struct qx_moments *m = no_moments(f, x, i);
        if (qx_methods_apply(f->net, i, a->set, m, NULL, NULL, &a->overlay[i], &err) != QX_OK) {
            fail_msg("%s", err.text);
        }
        moments_free(m);
    }
    for (int i = 0; i < a->n; i++) {
        a->set[i].overlay = a->overlay[i];
        assert_int_equal(qx_weights_apply(f->weights, i, &a->set[i], NULL, NULL, NULL), QX_OK);
    }
}

static void applied_free(struct applied *a)
{
    for (int i = 0; i < a->n; i++) {
        qx_overlay_free(a->overlay[i]);
    }
}

/* Largest weight of each output on the one side, of each input on the other, factors included. */
static void equalized_ranges_agree(void **state)
{
    struct folder f;
    struct applied a;
    const struct qx_act none = {0};
    (void)state;
    assert_true(model_open(&f, 1)); /* no batch normalization: factors are those of the pairs */
    apply_all(&a, &f, "tensor", 8, &none, "cle", NULL);
    int n_pairs = 0;
    for (int i = 0; i < a.n; i++) {
        struct qx_net_link link;
        if (qx_net_link(f.net, i, &link, NULL) != QX_OK) {
            continue;
        }
        const struct qx_overlay *p = a.overlay[link.producer], *c = a.overlay[i];
        assert_true(p->out_scale && c->in_scale);
        for (int64_t ch = 0; ch < link.n_out; ch++) {
            double before = 0.0, behind = 0.0;
            for (int64_t j = 0; j < p->channels.outer * p->channels.inner; j++) {
                const double w = fabs((double)qx_overlay_value(p, ch, j));
                before =
                    fmax(before, w * (double)qx_overlay_in(p, ch, j) / (double)p->out_scale[ch]);
            }
            for (int64_t o = 0; o < c->channels.count; o++) {
                for (int64_t j = 0; j < link.n_in; j++) {
                    const double w = fabs((double)qx_overlay_value(c, o, j));
                    const double out = c->out_scale ? (double)c->out_scale[o] : 1.0;
                    behind = link.channel[j] == ch ? fmax(behind, w * (double)c->in_scale[j] / out)
                                                   : behind;
                }
            }
            /* as far as codes of 8 bits show it */
            assert_true(before == 0.0 || behind == 0.0 || fabs(before - behind) <= 0.03 * before);
        }
        qx_net_link_release(&link);
        n_pairs++;
    }
    assert_int_equal(n_pairs, 3);
    applied_free(&a);
    folder_close(&f);
}

struct engine_case {
    const char *algo, *gran;
    int model, bits;
    bool is_dynamic, folds;
};

/* The integer engine gives what the simulation gives, with factors and with kept columns. */
static void engines_agree(void **state)
{
    static const struct engine_case cases[] = {
        {"cle", "tensor", 0, 8, false, true},
        {"cle", "channel", 0, 4, true, true},
        {"cle", "tensor", 4, 8, false, true},
        {"smoothquant:0.5", "channel", 1, 8, false, true},
        {"smoothquant:0.5", "channel", 3, 8, true, false},
        {"llm-int8:20", "channel", 1, 8, false, false},
        {"llm-int8:20", "channel", 3, 8, true, false},
        {"salient:3", "channel", 2, 8, true, false},
        {"cle,salient:3", "channel", 1, 8, true, true},
        {"absorb:0", "channel", 1, 8, false, false},
        {"absorb:0", "tensor", 0, 4, true, false},
        {"smoothquant:0.5,absorb:0", "channel", 3, 8, true, false},
        {"llm-int8:20,absorb:0", "group:32", 3, 4, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct engine_case *c = &cases[i];
        struct folder f;
        struct applied a;
        struct qx_net_report report = {0};
        struct qx_act act = c->is_dynamic ? qx_act_dynamic(8) : qx_act_static(8);
        struct qx_error err = {0};
        if (!model_open(&f, c->model)) {
            continue;
        }
        act.has_range = true;
        act.range = (struct qx_range){-3.0, 5.0};
        float *x = inputs(&f);
        apply_all(&a, &f, c->gran, c->bits, &act, c->algo, x);
        if (qx_weights_prepare(f.weights, QX_ENGINE_INTEGER, NULL, NULL, &err) != QX_OK ||
            qx_net_compare(f.net, f.weights, x, ROWS, &report, NULL, NULL, &err) != QX_OK) {
            fail_msg("%s on %s: %s", c->algo, f.path, err.text);
        }
        assert_true(!c->folds || qx_weights_exec(f.weights)->n_folds > 0);
        assert_true(report.n_codes > 0);
        /* sums in another order move values near ties, and what follows from them */
        if (report.n_codes_differ * 30 > report.n_codes || report.n_rows_differ > 1) {
            fail_msg("%s on %s: %lld of %lld codes, %lld rows", c->algo, f.path,
                     (long long)report.n_codes_differ, (long long)report.n_codes,
                     (long long)report.n_rows_differ);
        }
        free(x);
        applied_free(&a);
        folder_close(&f);
    }
}

/* Weights only: packed against simulated. */
static void packed_agrees(void **state)
{
    static const struct engine_case cases[] = {
        {"cle", "tensor", 1, 4, false, false},         {"awq:0.5", "group:32", 2, 4, false, false},
        {"salient:3", "group:32", 2, 4, false, false}, {"cle", "channel", 0, 8, false, false},
        {"awq:0.5", "group:5", 1, 6, false, false},
    };
    const struct qx_act none = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct engine_case *c = &cases[i];
        struct folder f;
        struct applied a;
        struct qx_error err = {0};
        assert_true(model_open(&f, c->model));
        float *x = inputs(&f);
        apply_all(&a, &f, c->gran, c->bits, &none, c->algo, x);
        float *simulated = logits(&f, x);
        if (qx_weights_prepare(f.weights, QX_ENGINE_PACKED, NULL, NULL, &err) != QX_OK) {
            fail_msg("%s on %s: %s", c->algo, f.path, err.text);
        }
        float *packed = logits(&f, x);
        const double far = distance(simulated, packed, ROWS * qx_net_n_classes(f.net));
        if (!(far <= 2e-5)) {
            fail_msg("%s on %s: logits move by %g", c->algo, f.path, far);
        }
        free(x);
        free(simulated);
        free(packed);
        applied_free(&a);
        folder_close(&f);
    }
}

/* One layer alone under factors still gives what it gave: its neighbours need not know. */
static void one_alone_is_sound(void **state)
{
    struct folder f;
    struct applied a;
    const struct qx_act none = {0};
    (void)state;
    assert_true(model_open(&f, 1));
    float *x = inputs(&f), *fp32 = logits(&f, x);
    apply_all(&a, &f, "channel", 8, &none, "cle", x);
    const struct qx_setting plain = qx_setting_fp32();
    for (int i = 0; i < a.n; i++) {
        for (int k = 0; k < a.n; k++) {
            assert_int_equal(
                qx_weights_apply(f.weights, k, k == i ? &a.set[k] : &plain, NULL, NULL, NULL),
                QX_OK);
        }
        float *y = logits(&f, x);
        assert_true(distance(fp32, y, ROWS * qx_net_n_classes(f.net)) < 0.03);
        free(y);
    }
    free(x);
    free(fp32);
    applied_free(&a);
    folder_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_are_where_factors_pass),
        cmocka_unit_test(factors_leave_the_function_alone),
        cmocka_unit_test(equalized_ranges_agree),
        cmocka_unit_test(engines_agree),
        cmocka_unit_test(packed_agrees),
        cmocka_unit_test(one_alone_is_sound),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
