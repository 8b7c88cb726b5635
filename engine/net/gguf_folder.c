/* What a GGUF file of the llama family becomes in a folder of safetensors. */
#include "net/gguf.h"
#include "qx/net.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"

#include <string.h>

bool qx_net_gguf_name(const char *name, char *out, size_t cap)
{
    return qx_gguf_name(name, out, cap);
}

bool qx_folder_is_made(const struct qx_model *model)
{
    char *text = NULL;
    size_t len;
    const bool is_made =
        qx_gguf_is(model) && qx_gguf_config_text(model, true, &text, &len, NULL) == QX_OK;
    qx_free_text(text);
    return is_made;
}

/* Heads whose rows stand in pairs: query and key of "llama". */
static int64_t heads_of(const struct qx_model *model, const char *name, const struct qx_tensor *t)
{
    static const char query[] = "self_attn.q_proj.", key[] = "self_attn.k_proj.";
    const char *arch = qx_model_metadata(model, "general.architecture");
    const bool is_query = strstr(name, query) != NULL, is_key = strstr(name, key) != NULL;
    if (!arch || strcmp(arch, "llama") != 0 || (!is_query && !is_key) || t->rank < 1) {
        return 0;
    }
    const int64_t all = qx_gguf_number_of(model, "attention.head_count", 0);
    const int64_t heads = is_query ? all : qx_gguf_number_of(model, "attention.head_count_kv", all);
    return heads > 0 && t->shape[0] % (2 * heads) == 0 ? heads : 0;
}

bool qx_folder_tensor(const struct qx_model *model, int64_t i, struct qx_folder_tensor *out)
{
    const struct qx_tensor *t = qx_model_tensor(model, i);
    if (!qx_gguf_name_there(t->name, out->name, sizeof out->name)) {
        return false;
    }
    out->heads = heads_of(model, out->name, t);
    return true;
}

enum qx_status qx_folder_rows(float *values, int64_t n, int64_t rows, int64_t heads,
                              struct qx_error *err)
{
    const int64_t len = n / rows, per_head = rows / heads, half = per_head / 2;
    float *head = qx_mem_array((size_t)(per_head * len) + 1, sizeof *head);
    if (!head) {
        return qx_fail_nomem(err, (size_t)(per_head * len) * sizeof *head);
    }
    for (int64_t h = 0; h < heads; h++) {
        float *at = values + h * per_head * len;
        memcpy(head, at, (size_t)(per_head * len) * sizeof *head);
        for (int64_t r = 0; r < per_head; r++) {
            memcpy(at + (r % 2 * half + r / 2) * len, head + r * len, (size_t)len * sizeof *head);
        }
    }
    qx_mem_free(head);
    return QX_OK;
}

static enum qx_status file_put(const char *dir, const char *name, const char *text, size_t len,
                               struct qx_error *err)
{
    char *path = qx_fs_join(dir, name);
    const enum qx_status st =
        path ? qx_fs_write_atomic(path, text, len, err) : qx_fail_nomem(err, strlen(dir));
    qx_mem_free(path);
    return st;
}

static enum qx_status tokenizer_put(const struct qx_model *model, const char *dir,
                                    struct qx_error *err)
{
    char *text = NULL;
    size_t len = 0;
    enum qx_status st = QX_OK;
    if (strcmp(qx_gguf_tokenizer(model), "gpt2") == 0) {
        st = qx_gguf_bpe(model, &text, &len, err);
        st = st == QX_OK ? file_put(dir, "tokenizer.json", text, len, err) : st;
        qx_free_text(text);
    } else if (strcmp(qx_gguf_tokenizer(model), "llama") == 0) {
        st = qx_gguf_pieces(model, &text, &len, err);
        st = st == QX_OK ? file_put(dir, "tokenizer.bin", text, len, err) : st;
        qx_mem_free(text);
    }
    return st == QX_EUNSUPPORTED || st == QX_EFORMAT ? QX_OK : st;
}

enum qx_status qx_folder_files(const struct qx_model *model, const char *dir, struct qx_error *err)
{
    char *text = NULL;
    size_t len = 0;
    if (!qx_folder_is_made(model)) {
        return QX_OK;
    }
    enum qx_status st = qx_gguf_config_text(model, true, &text, &len, err);
    st = st == QX_OK ? file_put(dir, "config.json", text, len, err) : st;
    qx_free_text(text);
    return st == QX_OK ? tokenizer_put(model, dir, err) : st;
}
