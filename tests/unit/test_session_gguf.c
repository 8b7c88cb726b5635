/* A GGUF file written as a model folder: names and rows of other programs, a config.json; the same
 * network opens from it. */
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

enum { ROWS = 4 };

static struct qx_session *opened(const char *path)
{
    struct qx_session_options o = {.batch = true, .threads = 1};
    struct qx_session *s = NULL;
    struct qx_error err = {0};
    if (qx_session_open(path, &o, &s, &err) != QX_OK) {
        fail_msg("%s: %s", path, err.text);
    }
    if (!qx_session_net(s)) {
        fail_msg("%s: %s", path, qx_session_net_reason(s));
    }
    return s;
}

/* Answers to rows of tokens, under the stored weights. */
static float *answers(struct qx_session *s, int64_t *n)
{
    const struct qx_net *net = qx_session_net(s);
    const int64_t size = qx_net_sample_size(net), classes = qx_net_n_classes(net);
    float *x = calloc((size_t)(ROWS * size), sizeof *x);
    float *z = calloc((size_t)(ROWS * classes), sizeof *z);
    struct qx_weights *w = NULL;
    struct qx_error err = {0};
    assert_true(x && z);
    for (int64_t i = 0; i < ROWS * size; i++) {
        x[i] = (float)((i * 7 + 3) % classes);
    }
    assert_int_equal(qx_weights_new(net, &w, &err), QX_OK);
    if (qx_net_forward(net, w, x, ROWS, z, NULL, NULL, &err) != QX_OK) {
        fail_msg("%s", err.text);
    }
    qx_weights_free(w);
    free(x);
    *n = ROWS * classes;
    return z;
}

/* Metadata that say nonsense are named as the file has them. */
static void wrong_numbers_are_named(void **state)
{
    static const struct {
        const char *key;
        uint32_t type, value; /* of GGUF: 4 = u32, 6 = f32 */
        const char *says;
    } cases[] = {{"llama.embedding_length", 4, 64, "llama.embedding_length 64"},
                 {"llama.attention.head_count", 4, 0, "\"llama.attention.head_count\" is 0"},
                 {"llama.block_count", 6, 0x7fc00000, "\"llama.block_count\""},
                 {"llama.context_length", 6, 0x7fc00000, "\"llama.context_length\""}};
    char path[] = "gguf-XXXXXX";
    static char bytes[1 << 17];
    (void)state;
    FILE *file = fopen(QX_SOURCE_ROOT "/tests/golden/gguf/decoder_llama.gguf", "rb");
    assert_non_null(file);
    const size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_true(n > 0 && n < sizeof bytes);
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qx_session_options o = {.batch = true, .threads = 1};
        struct qx_session *s = NULL;
        const size_t len = strlen(cases[i].key);
        char *at = memmem(bytes, n, cases[i].key, len), kept[8];
        assert_non_null(at);
        memcpy(kept, at + len, sizeof kept);
        memcpy(at + len, &cases[i].type, 4);
        memcpy(at + len + 4, &cases[i].value, 4);
        assert_int_equal(pwrite(fd, bytes, n, 0), n);
        memcpy(at + len, kept, sizeof kept);
        assert_int_equal(qx_session_open(path, &o, &s, NULL), QX_OK);
        assert_null(qx_session_net(s));
        if (!strstr(qx_session_net_reason(s), cases[i].says)) {
            fail_msg("'%s' does not say '%s'", qx_session_net_reason(s), cases[i].says);
        }
        qx_session_close(&s);
    }
    close(fd);
    unlink(path);
}

static void folder_remove(const char *folder)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* All layers in 8 bits but the first, which stays; the folder's recipe names the folder's tensors. */
static void written_folders_run_as_the_file_does(void **state)
{
    static const char *const names[] = {"decoder_llama", "decoder_mistral", "decoder_qwen2",
                                        "decoder_qwen3"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512], folder[] = "gguf-XXXXXX", recipe[64];
        struct qx_error err = {0};
        int64_t n, n_written;
        snprintf(path, sizeof path, QX_SOURCE_ROOT "/tests/golden/gguf/%s.gguf", names[i]);
        assert_non_null(mkdtemp(folder));
        struct qx_session *s = opened(path);
        if (qx_session_run_write(s, folder, NULL, &err) != QX_OK) {
            fail_msg("%s", err.text);
        }
        struct qx_session *written = opened(folder);
        float *z = answers(s, &n), *again = answers(written, &n_written);
        assert_int_equal(n, n_written);
        for (int64_t k = 0; k < n; k++) {
            if (!(fabsf(z[k] - again[k]) <= 1e-4f * (1.0f + fabsf(z[k])))) {
                fail_msg("%s: answer %lld is %g, then %g", names[i], (long long)k, (double)z[k],
                         (double)again[k]);
            }
        }
        assert_true(qx_session_find(written, "model.layers.0.self_attn.q_proj.weight", &err) >= 0);
        snprintf(recipe, sizeof recipe, "%s/recipe.json", folder);
        assert_int_equal(qx_session_load_recipe(written, recipe, &err), QX_OK);
        free(z);
        free(again);
        qx_session_close(&written);
        qx_session_close(&s);
        folder_remove(folder);
    }
}

/* What was quantized is what the folder holds, row for row, though rows of query and key change places. */
static void quantized_rows_change_places_with_their_values(void **state)
{
    char folder[] = "gguf-XXXXXX";
    struct qx_error err = {0};
    const struct qx_patch patch = {.fields = QX_PATCH_BITS, .value = {.bits = 3}};
    (void)state;
    assert_non_null(mkdtemp(folder));
    struct qx_session *s = opened(QX_SOURCE_ROOT "/tests/golden/gguf/decoder_llama.gguf");
    const int64_t item = qx_session_find(s, "blk.0.attn_q.weight", &err);
    assert_int_equal(qx_session_edit(s, &item, 1, &patch, false, &err), QX_OK);
    assert_int_equal(qx_session_run_write(s, folder, NULL, &err), QX_OK);
    const struct qx_item *it = qx_session_item(s, item);
    const int64_t numel = it->tensor->numel, rows = it->tensor->shape[0], cols = numel / rows;
    float *y = calloc((size_t)numel, sizeof *y), *x = calloc((size_t)numel, sizeof *x);
    assert_true(x && y);
    assert_int_equal(qx_fakequant(it->tensor, it->channels, qx_session_setting(s, item), NULL, NULL,
                                  y, NULL, NULL, &err),
                     QX_OK);
    struct qx_session *written = opened(folder);
    const int64_t there = qx_session_find(written, "model.layers.0.self_attn.q_proj.weight", &err);
    assert_int_equal(qx_tensor_read(qx_session_item(written, there)->tensor, 0, numel, x, &err),
                     QX_OK);
    const int64_t per_head = rows / 4, half = per_head / 2; /* the file has four heads */
    for (int64_t r = 0; r < rows; r++) {
        const int64_t in = r % per_head, from = r - in + in % half * 2 + in / half;
        assert_memory_equal(x + r * cols, y + from * cols, (size_t)cols * sizeof *x);
    }
    free(x);
    free(y);
    qx_session_close(&written);
    qx_session_close(&s);
    folder_remove(folder);
}

/* A copy of the file whose architecture has another name, as long. */
static void architecture_rename(const char *from, const char *to, const char *name)
{
    static char data[1 << 20];
    static const char key[] = "general.architecture";
    FILE *f = fopen(from, "rb");
    assert_non_null(f);
    const size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    char *at = memmem(data, n, key, sizeof key - 1);
    assert_non_null(at);
    memcpy(at + sizeof key - 1 + 4 + 8, name, strlen(name)); /* behind type and length */
    f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

/* An unknown architecture keeps its names, and gets no config.json. */
static void unknown_networks_stay_as_they_are(void **state)
{
    char folder[] = "gguf-XXXXXX", path[64], file[64];
    struct qx_session_options o = {.batch = true, .threads = 1};
    struct qx_session *s = NULL;
    struct qx_model *model = NULL;
    struct qx_error err = {0};
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s.gguf", folder);
    architecture_rename(QX_SOURCE_ROOT "/tests/golden/gguf/decoder_llama.gguf", file, "yours");
    assert_int_equal(qx_session_open(file, &o, &s, &err), QX_OK);
    assert_null(qx_session_net(s));
    assert_int_equal(qx_session_run_write(s, folder, NULL, &err), QX_OK);
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_true(access(path, F_OK) != 0);
    assert_int_equal(qx_model_open(folder, &model, &err), QX_OK);
    assert_true(qx_model_find(model, "blk.0.attn_q.weight") >= 0);
    qx_model_close(&model);
    qx_session_close(&s);
    folder_remove(folder);
    folder_remove(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_numbers_are_named),
        cmocka_unit_test(written_folders_run_as_the_file_does),
        cmocka_unit_test(quantized_rows_change_places_with_their_values),
        cmocka_unit_test(unknown_networks_stay_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
