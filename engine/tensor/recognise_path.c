/* Paths that lead nowhere, folders without weights, and remarks about what the tensors are. */
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/json.h"
#include "qx/text.h"
#include "tensor/model_priv.h"

#include <ctype.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 4 << 20 };

/* "org/name" as on the Hugging Face hub. */
static bool is_hub_id(const char *path)
{
    size_t n_slashes = 0;
    for (const char *p = path; *p; p++) {
        n_slashes += *p == '/';
        if (!isalnum((unsigned char)*p) && !strchr("-_./", *p)) {
            return false;
        }
    }
    bool has_parts = n_slashes == 1 && path[0] != '/' && path[0] != '.' && !qx_str_ends(path, "/");
    return has_parts && !qx_str_ends(path, ".safetensors") && !qx_str_ends(path, ".json");
}

/* Folder part of path in buf: "." for a bare name. */
static char *parent_of(const char *path)
{
    const char *base = qx_fs_basename(path);
    char *dir = qx_mem_strdup(base == path ? "." : path);
    if (dir && base != path) {
        dir[base == path + 1 ? 1 : base - path - 1] = '\0';
    }
    return dir;
}

static enum qx_status fail_missing(const char *path, const char *dir, const char *nearest,
                                   struct qx_error *err)
{
    bool dir_exists = qx_fs_is_dir(dir);
    if (nearest) {
        const char *base = qx_fs_basename(path);
        return qx_fail_at(err, QX_EIO, path, NULL, -1,
                          "cannot open '%.200s': no such file; did you mean '%.*s%.100s'?", path,
                          (int)(base - path), path, nearest);
    }
    if (is_hub_id(path) && (!dir_exists || strcmp(dir, ".") == 0)) {
        return qx_fail_at(
            err, QX_EIO, path, NULL, -1,
            "cannot open '%.120s': no such file; if it is a Hugging Face model, fetch it with 'hf "
            "download %.120s --local-dir %.80s' and open that folder",
            path, path, qx_fs_basename(path));
    }
    return qx_fail_at(err, QX_EIO, path, NULL, -1,
                      "cannot open '%.200s': no such file%s; run qexplore without arguments to see "
                      "what can be opened",
                      path, dir_exists ? "" : " and no such folder");
}

enum qx_status qx_recognise_missing(const char *path, struct qx_error *err)
{
    struct qx_arena arena = {0};
    char **names = NULL;
    size_t n = 0;
    char *dir = parent_of(path);
    if (!dir) {
        return qx_fail_nomem(err, strlen(path));
    }
    enum qx_status st = QX_OK;
    if (qx_fs_is_dir(dir)) {
        st = qx_fs_list(dir, &arena, &names, &n, NULL);
    }
    if (st == QX_ENOMEM) {
        qx_fail_nomem(err, 0);
    } else {
        const char *nearest = qx_nearest(qx_fs_basename(path), (const char *const *)names, n);
        st = fail_missing(path, dir, nearest, err);
    }
    qx_arena_release(&arena);
    qx_mem_free(dir);
    return st;
}

/* ---- folders ---- */

/* What files of a folder without our weights say about it. */
struct contents {
    bool has_adapter, has_torch, has_onnx, has_gguf, has_tf, has_h5, has_partial;
    int n_safetensors, n_shards, shard_count;
    const char *example; /* one file of the kind found */
};

static bool contains_folder(const char *name, struct contents *c)
{
    int part;
    bool is_torch = qx_str_ends(name, ".bin") || qx_str_ends(name, ".pt") ||
                    qx_str_ends(name, ".pth") || qx_str_ends(name, ".ckpt");
    c->has_adapter = c->has_adapter || strcmp(name, "adapter_config.json") == 0;
    c->has_torch = c->has_torch || is_torch;
    c->has_onnx = c->has_onnx || qx_str_ends(name, ".onnx");
    c->has_gguf = c->has_gguf || qx_str_ends(name, ".gguf");
    c->has_h5 = c->has_h5 || qx_str_ends(name, ".h5") || qx_str_ends(name, ".keras");
    c->has_tf = c->has_tf || strcmp(name, "saved_model.pb") == 0;
    c->has_partial = c->has_partial || qx_recognise_partial(name);
    if (qx_str_ends(name, ".safetensors")) {
        c->n_safetensors++;
        c->n_shards += qx_recognise_shard(name, &part, &c->shard_count) > 0;
        return true;
    }
    return is_torch || qx_str_ends(name, ".onnx") || qx_str_ends(name, ".gguf");
}

static const char *folder_remedy(const struct contents *c)
{
    if (c->n_shards > 0 && c->n_shards == c->n_safetensors) {
        return "it holds parts of a sharded checkpoint without 'model.safetensors.index.json'; "
               "download that file too, or open one part";
    }
    if (c->n_safetensors > 1) {
        return "it holds several .safetensors files and none is 'model.safetensors'; open one of "
               "them by name";
    }
    if (c->has_adapter) {
        return "it holds an adapter (LoRA), not a whole model; merge it into its base model first "
               "(peft: merge_and_unload, then save_pretrained), or open its .safetensors file to "
               "look at the adapter alone";
    }
    if (c->has_partial) {
        return "it holds an unfinished download; let it finish, or fetch the weights again";
    }
    if (c->has_torch) {
        return "it holds a PyTorch checkpoint; convert it with 'assets/convert/torch_to_folder.py' "
               "(needs python3-torch)";
    }
    if (c->has_onnx) {
        return "it holds an ONNX model; convert it with 'assets/convert/onnx_to_folder.py' (needs "
               "python3-onnx)";
    }
    if (c->has_gguf) {
        return "it holds several .gguf files; open one of them by name";
    }
    if (c->has_tf || c->has_h5) {
        return "it holds a TensorFlow or Keras model; export its weights as safetensors";
    }
    return "it holds no .safetensors file; open a folder with 'model.safetensors', or run qexplore "
           "without arguments to see what can be opened";
}

enum qx_status qx_recognise_folder(const char *path, struct qx_error *err)
{
    struct qx_arena arena = {0};
    struct contents c = {0};
    char **names = NULL;
    size_t n = 0;
    enum qx_status st = qx_fs_list(path, &arena, &names, &n, err);
    if (st == QX_OK) {
        for (size_t i = 0; i < n; i++) {
            if (contains_folder(names[i], &c) && !c.example) {
                c.example = names[i];
            }
        }
        const char *example = c.example ? c.example : "";
        st = qx_fail_at(err, QX_EUNSUPPORTED, path, NULL, -1,
                        "cannot open the folder '%.150s': %s%s%.80s%s", path, folder_remedy(&c),
                        *example ? " (found: " : "", example, *example ? ")" : "");
    }
    qx_arena_release(&arena);
    return st;
}

/* ---- what the tensors are ---- */

struct kinds {
    int64_t n_qweight, n_g_idx, n_packed, n_lora, n_int8_scaled, n_f8, n_f8_bare;
};

/* Some tensor is called stem + suffix. */
static bool has_sibling(const struct qx_model *m, const char *stem, size_t n, const char *suffix)
{
    char name[512];
    size_t k = strlen(suffix);
    if (n + k >= sizeof name) {
        return false;
    }
    memcpy(name, stem, n);
    memcpy(name + n, suffix, k + 1);
    return qx_model_find(m, name) >= 0;
}

static bool has_scale(const struct qx_model *m, const char *name)
{
    static const char *const suffixes[] = {"_scale", "_scale_inv", ".scale", ".scales"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        if (has_sibling(m, name, n, suffixes[i])) {
            return true;
        }
    }
    size_t stem = qx_str_ends(name, "weight") ? n - strlen("weight") : n;
    return has_sibling(m, name, stem, "scale_weight") || has_sibling(m, name, stem, "scale");
}

static void count_kinds(const struct qx_model *m, struct kinds *k)
{
    for (int64_t i = 0; i < m->n_tensors; i++) {
        const struct qx_tensor *t = &m->tensors[i];
        bool is_f8 = t->dtype == QX_DTYPE_F8_E4M3 || t->dtype == QX_DTYPE_F8_E5M2;
        k->n_qweight += qx_str_ends(t->name, ".qweight");
        k->n_g_idx += qx_str_ends(t->name, ".g_idx");
        k->n_packed += qx_str_ends(t->name, ".weight_packed");
        k->n_lora += strstr(t->name, "lora_") != NULL;
        k->n_f8 += is_f8;
        k->n_f8_bare += is_f8 && !has_scale(m, t->name);
        k->n_int8_scaled += t->dtype == QX_DTYPE_I8 && has_scale(m, t->name);
    }
}

/* quantization_config.quant_method of config.json beside the weights, "" when there is none. */
static enum qx_status quant_method(const struct qx_model *m, char *out, size_t cap)
{
    struct qx_json *json = NULL;
    char *path = qx_fs_join(m->folder, "config.json");
    if (!path) {
        return QX_ENOMEM;
    }
    out[0] = '\0';
    enum qx_status st = QX_OK;
    if (qx_fs_exists(path)) {
        st = qx_json_load(path, MAX_CONFIG_BYTES, &json, NULL);
    }
    if (st == QX_OK && json) {
        const struct qx_jval *config = qx_jget(qx_json_root(json), "quantization_config");
        qx_str_copy(out, cap, qx_jstr(qx_jget(config, "quant_method"), ""));
    }
    qx_json_free(json);
    qx_mem_free(path);
    return st == QX_ENOMEM ? st : QX_OK; /* a broken config.json is for its own reader to report */
}

bool qx_recognise_tensors(struct qx_model *m)
{
    struct kinds k = {0};
    char method[32];
    const char *note = NULL;
    count_kinds(m, &k);
    if (k.n_qweight > 0) {
        if (quant_method(m, method, sizeof method) == QX_ENOMEM) {
            return false;
        }
        bool is_gptq = strcmp(method, "gptq") == 0 || (!*method && k.n_g_idx > 0);
        const char *kind = is_gptq ? "GPTQ" : strcmp(method, "awq") == 0 ? "AWQ" : "GPTQ or AWQ";
        m->note = qx_arena_printf(&m->arena,
                                  "%s packing: the qweight tensors hold codes, not weights; open "
                                  "the checkpoint it was made from to explore weights",
                                  kind);
        return m->note != NULL;
    }
    if (k.n_packed > 0 || k.n_int8_scaled > 0) {
        note = "compressed-tensors packing: the packed or int8 tensors hold codes, not weights; "
               "open the checkpoint it was made from to explore weights";
    } else if (k.n_lora > 0) {
        note = "adapter: these are LoRA factors, not the weights of a model; merge them into the "
               "base model to explore the result";
    } else if (k.n_f8_bare > 0) {
        note = "F8 tensors without their scale: the values shown are true up to an unknown factor";
    } else if (k.n_f8 > 0) {
        note = "F8 tensors are shown as stored, before their scale";
    }
    m->note = note;
    return true;
}
