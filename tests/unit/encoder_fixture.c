#include "encoder_fixture.h"

#include "base/rng.h"
#include "qx/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TENSORS_A_LAYER = 16, TENSORS_BEFORE = 5 };

static void check(bool ok, const char *why)
{
    if (!ok) {
        fprintf(stderr, "the encoder cannot be written: %s\n", why);
        exit(1);
    }
}

struct part {
    char name[96];
    int64_t shape[2];
    uint64_t seed;
    float scale, centre;
};

static enum qx_status read_part(void *arg, int64_t first, int64_t n, float *out,
                                struct qx_error *err)
{
    const struct part *p = arg;
    struct qx_rng rng;
    (void)err;
    qx_rng_init(&rng, p->seed + (uint64_t)first);
    for (int64_t i = 0; i < n; i++) { /* a sum of four: near enough to a normal distribution */
        const uint64_t r = qx_rng_next(&rng);
        const int32_t sum = (int32_t)(r & 0xFFFF) + (int32_t)(r >> 16 & 0xFFFF) +
                            (int32_t)(r >> 32 & 0xFFFF) + (int32_t)(r >> 48);
        out[i] = p->centre + p->scale * (float)(sum - 2 * 0xFFFF) / 37837.0f;
    }
    return QX_OK;
}

static void add(struct part *parts, struct qx_write_tensor *t, int *n, const char *name,
                int64_t rows, int64_t columns, float scale, float centre)
{
    struct part *p = &parts[*n];
    snprintf(p->name, sizeof p->name, "%s", name);
    p->shape[0] = rows;
    p->shape[1] = columns;
    p->seed = 0x9e3779b97f4a7c15u * (uint64_t)(*n + 1);
    p->scale = scale;
    p->centre = centre;
    t[*n] = (struct qx_write_tensor){
        .name = p->name, .rank = columns ? 2 : 1, .shape = p->shape, .read = read_part, .arg = p};
    ++*n;
}

static void add_layer(const struct encoder *e, struct part *parts, struct qx_write_tensor *t,
                      int *n, int layer)
{
    const struct {
        const char *base;
        int64_t rows, columns;
    } linear[] = {{"attention.self.query", e->hidden, e->hidden},
                  {"attention.self.key", e->hidden, e->hidden},
                  {"attention.self.value", e->hidden, e->hidden},
                  {"attention.output.dense", e->hidden, e->hidden},
                  {"intermediate.dense", e->inner, e->hidden},
                  {"output.dense", e->hidden, e->inner}};
    static const char *const norms[] = {"attention.output.LayerNorm", "output.LayerNorm"};
    char name[96];
    for (size_t i = 0; i < sizeof linear / sizeof *linear; i++) {
        snprintf(name, sizeof name, "encoder.layer.%d.%s.weight", layer, linear[i].base);
        add(parts, t, n, name, linear[i].rows, linear[i].columns, 0.04f, 0.0f);
        snprintf(name, sizeof name, "encoder.layer.%d.%s.bias", layer, linear[i].base);
        add(parts, t, n, name, linear[i].rows, 0, 0.1f, 0.0f);
    }
    for (size_t i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "encoder.layer.%d.%s.weight", layer, norms[i]);
        add(parts, t, n, name, e->hidden, 0, 0.1f, 1.0f);
        snprintf(name, sizeof name, "encoder.layer.%d.%s.bias", layer, norms[i]);
        add(parts, t, n, name, e->hidden, 0, 0.1f, 0.0f);
    }
}

static void config_write(const struct encoder *e, const char *folder)
{
    char path[128];
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *file = fopen(path, "w");
    check(file != NULL, path);
    fprintf(file,
            "{\"model_type\":\"bert\",\"hidden_size\":%lld,\"num_hidden_layers\":%d,"
            "\"num_attention_heads\":%d,\"intermediate_size\":%lld,\"vocab_size\":%lld,"
            "\"max_position_embeddings\":%lld}\n",
            (long long)e->hidden, e->layers, e->heads, (long long)e->inner,
            (long long)e->vocabulary, (long long)e->places);
    fclose(file);
}

void encoder_write(const struct encoder *e, char *folder)
{
    const size_t most = (size_t)e->layers * TENSORS_A_LAYER + TENSORS_BEFORE;
    struct part *parts = calloc(most, sizeof *parts);
    struct qx_write_tensor *t = calloc(most, sizeof *t);
    struct qx_error err = {0};
    char path[128];
    int n = 0;
    check(parts && t && mkdtemp(folder), folder);
    add(parts, t, &n, "embeddings.word_embeddings.weight", e->vocabulary, e->hidden, 0.5f, 0.0f);
    add(parts, t, &n, "embeddings.position_embeddings.weight", e->places, e->hidden, 0.2f, 0.0f);
    add(parts, t, &n, "embeddings.token_type_embeddings.weight", 2, e->hidden, 0.1f, 0.0f);
    add(parts, t, &n, "embeddings.LayerNorm.weight", e->hidden, 0, 0.1f, 1.0f);
    add(parts, t, &n, "embeddings.LayerNorm.bias", e->hidden, 0, 0.1f, 0.0f);
    for (int i = 0; i < e->layers; i++) {
        add_layer(e, parts, t, &n, i);
    }
    for (int i = 0; i < n; i++) {
        t[i].dtype = e->is_half ? QX_DTYPE_BF16 : QX_DTYPE_F32;
    }
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    check(qx_safetensors_write(path, t, n, NULL, 0, NULL, &err) == QX_OK, err.text);
    config_write(e, folder);
    free(parts);
    free(t);
}

void encoder_rows(const struct encoder *e, int64_t rows, const char *folder, char *path, size_t cap)
{
    const int64_t shape[2] = {rows, e->places}, n = rows * e->places;
    int64_t *ids = calloc((size_t)n, sizeof *ids), *mask = calloc((size_t)n, sizeof *mask);
    const struct qx_write_tensor t[2] = {{.name = "input_ids",
                                          .dtype = QX_DTYPE_I64,
                                          .rank = 2,
                                          .shape = shape,
                                          .raw = (const uint8_t *)ids},
                                         {.name = "attention_mask",
                                          .dtype = QX_DTYPE_I64,
                                          .rank = 2,
                                          .shape = shape,
                                          .raw = (const uint8_t *)mask}};
    struct qx_error err = {0};
    struct qx_rng rng;
    check(ids && mask, "out of memory");
    qx_rng_init(&rng, 7);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t tokens = 1 + (int64_t)qx_rng_below(&rng, (uint64_t)e->places);
        for (int64_t i = r * e->places; i < r * e->places + tokens; i++) {
            ids[i] = (int64_t)qx_rng_below(&rng, (uint64_t)e->vocabulary);
            mask[i] = 1;
        }
    }
    snprintf(path, cap, "%s/rows.safetensors", folder);
    check(qx_safetensors_write(path, t, 2, NULL, 0, NULL, &err) == QX_OK, err.text);
    free(ids);
    free(mask);
}

void encoder_remove(const char *folder)
{
    static const char *const files[] = {"model.safetensors", "config.json", "rows.safetensors"};
    char path[128];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
}
