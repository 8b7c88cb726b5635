#include "net_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_ok(enum qx_status st, const struct qx_error *err)
{
    if (st != QX_OK) {
        fail_msg("%s", err->text);
    }
}

void folder_open(struct folder *f, const char *path)
{
    struct qx_error err = {0};
    memset(f, 0, sizeof *f);
    snprintf(f->path, sizeof f->path, "%s", path);
    assert_ok(qx_model_open(path, &f->model, &err), &err);
    assert_ok(qx_net_open(f->model, &f->net, &err), &err);
    assert_ok(qx_weights_new(f->net, &f->weights, &err), &err);
}

void folder_close(struct folder *f)
{
    qx_weights_free(f->weights);
    qx_net_close(&f->net);
    qx_model_close(&f->model);
    memset(f, 0, sizeof *f);
}

void golden_open(struct folder *f, const char *name)
{
    char rest[256], path[512];
    snprintf(rest, sizeof rest, "tests/golden/net/%s", name);
    source_path(path, sizeof path, rest);
    folder_open(f, path);
}

float *tensor_load(const char *path, const char *tensor, int64_t *numel)
{
    struct qx_error err = {0};
    struct qx_model *model = NULL;
    float *values = NULL;
    assert_ok(qx_model_open(path, &model, &err), &err);
    const int64_t i = qx_model_find(model, tensor);
    if (i >= 0) {
        const struct qx_tensor *t = qx_model_tensor(model, i);
        *numel = t->numel;
        values = malloc((size_t)t->numel * sizeof *values);
        assert_non_null(values);
        assert_ok(qx_tensor_read(t, 0, t->numel, values, &err), &err);
    }
    qx_model_close(&model);
    return values;
}

void source_path(char *buf, size_t cap, const char *rest)
{
    snprintf(buf, cap, "%s/%s", QX_SOURCE_ROOT, rest);
}

void shared_path(char *buf, size_t cap, const char *rest)
{
    const char *root = getenv("QX_SHARED");
    if (root) {
        snprintf(buf, cap, "%s/%s", root, rest);
    } else {
        snprintf(buf, cap, "%s/../shared/data/%s", QX_SOURCE_ROOT, rest);
    }
}

struct qx_setting rtn_setting(const struct folder *f, int layer, const char *gran, int bits)
{
    const struct qx_layer *l = qx_net_layer(f->net, layer);
    struct qx_setting s = qx_setting_int(bits);
    struct qx_error err = {0};
    struct qx_hist *hist = NULL;
    s.scale = QX_SCALE_F32;
    s.calib = qx_calib_find("minmax");
    s.gran = QX_GRAN_GROUP;
    if (strcmp(gran, "tensor") == 0) {
        s.gran = QX_GRAN_TENSOR;
    } else if (strcmp(gran, "channel") == 0) {
        s.gran = QX_GRAN_CHANNEL;
    } else {
        s.group = atoi(strchr(gran, ':') + 1);
    }
    const struct qx_hist_spec spec = qx_setting_spec(&s, l->channels);
    assert_ok(
        qx_hist_build(qx_model_tensor(f->model, l->tensor), &spec, 0, NULL, NULL, &hist, &err),
        &err);
    assert_ok(qx_setting_resolve(&s, hist, &err), &err);
    qx_hist_unref(hist);
    return s;
}

void apply_scope(struct folder *f, const char *scope, const char *gran, int bits,
                 struct qx_pool *pool)
{
    const bool is_all = strcmp(scope, "all") == 0;
    for (int i = 0; i < qx_net_n_layers(f->net); i++) {
        const bool is_in = is_all || qx_net_layer(f->net, i)->role == QX_ROLE_LINEAR;
        struct qx_setting s = is_in ? rtn_setting(f, i, gran, bits) : qx_setting_fp32();
        struct qx_error err = {0};
        assert_ok(qx_weights_apply(f->weights, i, &s, pool, NULL, &err), &err);
    }
}

static int64_t numel_of(const struct tensor_spec *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) {
        n *= t->shape[i];
    }
    return n;
}

static int64_t bytes_of(const struct tensor_spec *t)
{
    enum qx_dtype dtype;
    assert_true(qx_dtype_find(t->dtype, &dtype));
    return numel_of(t) * qx_dtype_get(dtype)->bits / 8;
}

static void data_write(FILE *file, const struct tensor_spec *t)
{
    if (t->data) {
        assert_int_equal(fwrite(t->data, 1, (size_t)bytes_of(t), file), bytes_of(t));
        return;
    }
    assert_string_equal(t->dtype, "F32");
    for (int64_t i = 0; i < numel_of(t); i++) {
        const float v = (float)(i * 37 % 101 - 50) / 50.0f;
        assert_int_equal(fwrite(&v, sizeof v, 1, file), 1);
    }
}

void model_write(const char *path, const struct tensor_spec *tensors, int n, const char *metadata)
{
    char header[8192];
    int len = snprintf(header, sizeof header, "{");
    int64_t at = 0;
    if (metadata) {
        char *json = quoted(metadata);
        len += snprintf(header + len, sizeof header - (size_t)len, "\"__metadata__\":%s%s", json,
                        n ? "," : "");
        free(json);
    }
    for (int i = 0; i < n; i++) {
        const struct tensor_spec *t = &tensors[i];
        len += snprintf(header + len, sizeof header - (size_t)len,
                        "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", t->name, t->dtype);
        for (int k = 0; k < t->rank; k++) {
            len += snprintf(header + len, sizeof header - (size_t)len, "%s%lld", k ? "," : "",
                            (long long)t->shape[k]);
        }
        len +=
            snprintf(header + len, sizeof header - (size_t)len, "],\"data_offsets\":[%lld,%lld]}",
                     (long long)at, (long long)(at + bytes_of(t)));
        at += bytes_of(t);
    }
    len += snprintf(header + len, sizeof header - (size_t)len, "}");
    const uint64_t size = ((uint64_t)len + 7) / 8 * 8;
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(&size, sizeof size, 1, file), 1);
    fprintf(file, "%-*s", (int)size, header);
    for (int i = 0; i < n; i++) {
        data_write(file, &tensors[i]);
    }
    assert_int_equal(fclose(file), 0);
}

void text_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

char *quoted(const char *text)
{
    char *copy = strdup(text);
    assert_non_null(copy);
    for (char *p = copy; *p; p++) {
        *p = *p == '\'' ? '"' : *p;
    }
    return copy;
}

static char scratch[32];

int scratch_enter(void **state)
{
    (void)state;
    snprintf(scratch, sizeof scratch, "scratch-XXXXXX");
    return mkdtemp(scratch) && chdir(scratch) == 0 ? 0 : -1;
}

int scratch_leave(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    return chdir("..") == 0 && system(command) == 0 ? 0 : -1;
}

void llama_write(int64_t vocabulary)
{
    llama_write_as(&(struct llama){"llama", 1, vocabulary, LLAMA_PLACES, 12, ""});
}

void llama_write_as(const struct llama *l)
{
    enum { WIDTH = 8, OF_LAYER = 9, LAYERS_MOST = 2 };
    const struct tensor_spec ends[] = {
        {"model.embed_tokens.weight", "F32", 2, {l->vocabulary, WIDTH}, NULL},
        {"model.norm.weight", "F32", 1, {WIDTH}, NULL}};
    const struct tensor_spec layer[OF_LAYER] = {
        {"input_layernorm", "F32", 1, {WIDTH}, NULL},
        {"post_attention_layernorm", "F32", 1, {WIDTH}, NULL},
        {"self_attn.q_proj", "F32", 2, {WIDTH, WIDTH}, NULL},
        {"self_attn.k_proj", "F32", 2, {WIDTH / 2, WIDTH}, NULL},
        {"self_attn.v_proj", "F32", 2, {WIDTH / 2, WIDTH}, NULL},
        {"self_attn.o_proj", "F32", 2, {WIDTH, WIDTH}, NULL},
        {"mlp.gate_proj", "F32", 2, {l->inner, WIDTH}, NULL},
        {"mlp.up_proj", "F32", 2, {l->inner, WIDTH}, NULL},
        {"mlp.down_proj", "F32", 2, {WIDTH, l->inner}, NULL}};
    struct tensor_spec tensors[2 + LAYERS_MOST * OF_LAYER];
    char names[LAYERS_MOST * OF_LAYER][80], text[800];
    assert_in_range(l->layers, 1, LAYERS_MOST);
    memcpy(tensors, ends, sizeof ends);
    for (int i = 0; i < l->layers * OF_LAYER; i++) {
        snprintf(names[i], sizeof names[i], "model.layers.%d.%s.weight", i / OF_LAYER,
                 layer[i % OF_LAYER].name);
        tensors[2 + i] = layer[i % OF_LAYER];
        tensors[2 + i].name = names[i];
    }
    snprintf(text, sizeof text,
             "{'model_type':'%s',%s'hidden_size':%d,'num_hidden_layers':%d,"
             "'num_attention_heads':4,'num_key_value_heads':2,'intermediate_size':%lld,"
             "'vocab_size':%lld,'max_position_embeddings':%lld,'tie_word_embeddings':true}",
             l->type, l->more, WIDTH, l->layers, (long long)l->inner, (long long)l->vocabulary,
             (long long)l->places);
    model_write("model.safetensors", tensors, 2 + l->layers * OF_LAYER, NULL);
    char *json = quoted(text);
    text_write("config.json", json);
    free(json);
}
