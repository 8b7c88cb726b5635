/* Every operation and family against torch: the folders of tests/golden/net (see make_ops.py and
 * make_encoders.py, make_decoders.py there). */
#include "base/fs.h"
#include "base/arena.h"
#include "net/graph.h"
#include "net_fixture.h"
#include "qx/json.h"
#include "test_net.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOLERANCE 1e-4 /* of the largest magnitude in the row */

/* Calls fn for every folder of tests/golden/net that holds a network. Returns how many. */
static int for_each_case(void (*fn)(const char *path))
{
    char root[512], path[1024], graph[1100], config[1100];
    struct qx_arena arena = {0};
    char **names;
    size_t n = 0;
    int n_cases = 0;
    source_path(root, sizeof root, "tests/golden/net");
    assert_int_equal(qx_fs_list(root, &arena, &names, &n, NULL), QX_OK);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", root, names[i]);
        snprintf(graph, sizeof graph, "%s/graph.json", path);
        snprintf(config, sizeof config, "%s/config.json", path);
        if (qx_fs_exists(graph) || qx_fs_exists(config)) {
            fn(path);
            n_cases++;
        }
    }
    qx_arena_release(&arena);
    return n_cases;
}

/* Worst difference of a row relative to its largest magnitude. */
static double worst_row(const float *have, const float *want, int64_t n, int n_classes)
{
    double worst = 0.0;
    for (int64_t i = 0; i < n; i++, have += n_classes, want += n_classes) {
        double top = 0.0, diff = 0.0;
        for (int c = 0; c < n_classes; c++) {
            top = fmax(top, fabs((double)want[c]));
            diff =
                isfinite(have[c]) ? fmax(diff, fabs((double)have[c] - (double)want[c])) : INFINITY;
        }
        worst = fmax(worst, diff / fmax(top, 1e-30));
    }
    return worst;
}

struct rows {
    float *x, *logits;
    int64_t n;
    int n_classes;
};

/* The first rows of eval.safetensors, at most 16. */
static void rows_open(const struct folder *f, struct rows *r)
{
    char path[1024];
    struct qx_dataset *data = NULL;
    struct qx_error err = {0};
    snprintf(path, sizeof path, "%s/eval.safetensors", f->path);
    if (qx_dataset_open(path, f->net, &data, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    r->n = qx_dataset_n(data) < 16 ? qx_dataset_n(data) : 16;
    r->n_classes = qx_net_n_classes(f->net);
    r->x = malloc((size_t)(r->n * qx_net_sample_size(f->net)) * sizeof(float));
    r->logits = malloc((size_t)(r->n * r->n_classes) * sizeof(float));
    assert_true(r->x && r->logits);
    assert_int_equal(qx_dataset_read(data, 0, r->n, r->x, &err), QX_OK);
    qx_dataset_close(&data);
}

static void rows_close(struct rows *r)
{
    free(r->x);
    free(r->logits);
}

/* Runs the rows and compares with a tensor of a reference file. False when that is absent. */
static void assert_logits(const struct folder *f, struct rows *r, const char *file,
                          const char *tensor)
{
    char path[1024];
    int64_t numel = 0;
    struct qx_error err = {0};
    snprintf(path, sizeof path, "%s/%s", f->path, file);
    float *want = tensor_load(path, tensor, &numel);
    assert_non_null(want);
    assert_int_equal(numel, r->n * r->n_classes);
    if (qx_net_forward(f->net, f->weights, r->x, r->n, r->logits, NULL, NULL, &err) != QX_OK) {
        fail_msg("%s: %s", f->path, err.text);
    }
    const double worst = worst_row(r->logits, want, r->n, r->n_classes);
    if (!(worst <= TOLERANCE)) {
        fail_msg("%s, %s: logits differ by %g of their row's largest", f->path, tensor, worst);
    }
    free(want);
}

static void check_float32(const char *path)
{
    struct folder f;
    struct rows r;
    folder_open(&f, path);
    rows_open(&f, &r);
    assert_logits(&f, &r, "reference.safetensors", "logits");
    rows_close(&r);
    folder_close(&f);
}

static void every_case_gives_the_reference_logits(void **state)
{
    (void)state;
    assert_true(for_each_case(check_float32) >= 40);
}

/* The same networks as GGUF files (tests/golden/gguf): other names, other rows of query and key, numbers from
 * the metadata. */
static void gguf_files_give_the_reference_logits(void **state)
{
    static const char *const names[] = {"decoder_llama", "decoder_mistral", "decoder_qwen2",
                                        "decoder_qwen3"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct folder plain, gguf;
        struct rows r;
        char rest[128], path[512];
        snprintf(rest, sizeof rest, "tests/golden/net/%s", names[i]);
        source_path(path, sizeof path, rest);
        folder_open(&plain, path);
        snprintf(rest, sizeof rest, "tests/golden/gguf/%s.gguf", names[i]);
        source_path(path, sizeof path, rest);
        folder_open(&gguf, path);
        snprintf(gguf.path, sizeof gguf.path, "%s", plain.path); /* where the reference lies */
        rows_open(&plain, &r);
        assert_logits(&gguf, &r, "reference.safetensors", "logits");
        assert_int_equal(qx_net_n_layers(gguf.net), qx_net_n_layers(plain.net));
        for (int k = 0; k < qx_net_n_layers(plain.net); k++) {
            assert_string_equal(qx_net_layer(gguf.net, k)->name, qx_net_layer(plain.net, k)->name);
        }
        rows_close(&r);
        folder_close(&plain);
        folder_close(&gguf);
    }
}

/* reference_quant.safetensors: tensors named SCOPE.GRANULARITY.BITS. */
static void check_rounded(const char *path)
{
    char file[1024];
    struct folder f;
    struct rows r;
    struct qx_model *reference = NULL;
    snprintf(file, sizeof file, "%s/reference_quant.safetensors", path);
    if (!qx_fs_exists(file)) {
        return;
    }
    folder_open(&f, path);
    rows_open(&f, &r);
    assert_int_equal(qx_model_open(file, &reference, NULL), QX_OK);
    for (int64_t i = 0; i < qx_model_n_tensors(reference); i++) {
        char scope[32], gran[32];
        int bits = 0;
        const char *name = qx_model_tensor(reference, i)->name;
        assert_int_equal(sscanf(name, "%31[^.].%31[^.].%d", scope, gran, &bits), 3);
        apply_scope(&f, scope, gran, bits, NULL);
        assert_logits(&f, &r, "reference_quant.safetensors", name);
    }
    apply_scope(&f, "linear", "channel", 8, NULL);
    for (int i = 0; i < qx_net_n_layers(f.net); i++) {
        const struct qx_setting fp32 = qx_setting_fp32();
        assert_int_equal(qx_weights_apply(f.weights, i, &fp32, NULL, NULL, NULL), QX_OK);
    }
    assert_logits(&f, &r, "reference.safetensors", "logits"); /* and back */
    qx_model_close(&reference);
    rows_close(&r);
    folder_close(&f);
}

static void every_case_gives_the_reference_logits_with_rounded_weights(void **state)
{
    (void)state;
    for_each_case(check_rounded);
}

/* ---- the layers are those of reference.json ---- */

static bool is_listed(const struct qx_jval *list, const char *name)
{
    for (const struct qx_jval *v = qx_jfirst(list); v; v = qx_jnext(v)) {
        if (strcmp(qx_jstr(v, ""), name) == 0) {
            return true;
        }
    }
    return false;
}

static void check_layers(const char *path)
{
    char file[1024];
    struct folder f;
    struct qx_json *json = NULL;
    folder_open(&f, path);
    snprintf(file, sizeof file, "%s/reference.json", path);
    assert_int_equal(qx_json_load(file, 1 << 20, &json, NULL), QX_OK);
    const struct qx_jval *lists = qx_jget(qx_json_root(json), "quantized_tensors");
    const struct qx_jval *linear = qx_jget(lists, "linear"), *table = qx_jget(lists, "embedding");
    assert_int_equal(qx_net_n_layers(f.net), qx_jlen(linear) + qx_jlen(table));
    for (int i = 0; i < qx_net_n_layers(f.net); i++) {
        const struct qx_layer *layer = qx_net_layer(f.net, i);
        const char *name = qx_model_tensor(f.model, layer->tensor)->name;
        assert_true(is_listed(layer->role == QX_ROLE_LINEAR ? linear : table, name));
        assert_int_equal(qx_net_layer_of_tensor(f.net, layer->tensor), i);
        assert_true(qx_net_uses_tensor(f.net, layer->tensor));
    }
    qx_json_free(json);
    folder_close(&f);
}

static void layers_are_the_quantizable_tensors(void **state)
{
    (void)state;
    for_each_case(check_layers);
}

/* ---- the memory plan keeps what is still needed ---- */

static bool overlap(const struct qx_net *net, int a, int b, int64_t rows)
{
    const struct qx_plan *p = &net->plan;
    const int ra = p->root[a], rb = p->root[b];
    if (p->whole.offset[ra] < 0 || p->whole.offset[rb] < 0) {
        return false;
    }
    const int64_t na = qx_shape_numel(&net->values[ra]->shape, rows);
    const int64_t nb = qx_shape_numel(&net->values[rb]->shape, rows);
    return p->whole.offset[ra] < p->whole.offset[rb] + nb &&
           p->whole.offset[rb] < p->whole.offset[ra] + na;
}

/* A node may overwrite only its own first input, and nothing that a later node reads. */
static void check_node(const struct qx_net *net, int i)
{
    const struct qx_node *node = net->nodes[i];
    const int64_t rows = net->plan.tile_rows;
    if (node->op->is_view) {
        return;
    }
    for (int k = 0; k < node->n_in; k++) {
        if (node->in[k] && overlap(net, node->out->index, node->in[k]->index, rows)) {
            assert_true(k == 0 && node->op->is_inplace);
            assert_int_equal(net->plan.root[node->out->index], net->plan.root[node->in[0]->index]);
        }
    }
    for (int j = i + 1; j < net->n_nodes; j++) {
        for (int k = 0; k < net->nodes[j]->n_in; k++) {
            const struct qx_value *v = net->nodes[j]->in[k];
            bool is_earlier = false;
            for (int l = 0; v && l < i; l++) {
                is_earlier |= net->nodes[l]->out == v;
            }
            if (is_earlier) {
                assert_false(overlap(net, node->out->index, v->index, rows));
            }
        }
    }
}

static void check_plan(const char *path)
{
    struct folder f;
    folder_open(&f, path);
    for (int i = 0; i < f.net->n_nodes; i++) {
        check_node(f.net, i);
    }
    folder_close(&f);
}

static void no_node_overwrites_what_is_read_later(void **state)
{
    (void)state;
    for_each_case(check_plan);
}

/* ---- every row of the table is met ---- */

static bool is_met[64];

static void mark_ops(const char *path)
{
    struct folder f;
    folder_open(&f, path);
    for (int i = 0; i < f.net->n_nodes; i++) {
        for (int k = 0; k < qx_op_count(); k++) {
            is_met[k] |= qx_op_at(k) == f.net->nodes[i]->op;
        }
    }
    folder_close(&f);
}

static void every_operation_has_a_case(void **state)
{
    (void)state;
    for_each_case(mark_ops);
    for (int k = 0; k < qx_op_count(); k++) {
        if (!is_met[k]) {
            fail_msg("no folder of tests/golden/net uses %s", qx_op_at(k)->name);
        }
        assert_ptr_equal(qx_op_find(qx_op_at(k)->name), qx_op_at(k));
    }
}

int test_net_golden(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_gives_the_reference_logits),
        cmocka_unit_test(gguf_files_give_the_reference_logits),
        cmocka_unit_test(every_case_gives_the_reference_logits_with_rounded_weights),
        cmocka_unit_test(layers_are_the_quantizable_tensors),
        cmocka_unit_test(no_node_overwrites_what_is_read_later),
        cmocka_unit_test(every_operation_has_a_case),
    };
    return cmocka_run_group_tests_name("net golden", tests, NULL, NULL);
}
