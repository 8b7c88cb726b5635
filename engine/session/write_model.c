/* Writing a model folder with dequantized values: any framework then runs the simulated model. */
#include "base/arena.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/recipe_json.h"
#include "session/session_impl.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COPY_BLOCK = 1 << 20 };

/* Files of a model folder that travel along unchanged. reference.* stays behind: its figures are
 * those of the original weights. */
static const char *const companions[] = {"config.json",
                                         "generation_config.json",
                                         "graph.json",
                                         "eval.safetensors",
                                         "eval_*.safetensors",
                                         "calib.safetensors",
                                         "vocab.*",
                                         "merges.txt",
                                         "tokenizer.*",
                                         "tokenizer_config.json",
                                         "special_tokens_map.json",
                                         "*.tsv",
                                         "*.md",
                                         "LICENSE*",
                                         "*.index.json"};

static bool is_companion(const char *name)
{
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++) {
        if (qx_str_glob(companions[i], name)) {
            return true;
        }
    }
    return false;
}

/* Name of a source weights file in the new folder: a lone file becomes model.safetensors. */
static const char *out_name(const struct qx_model *model, int file)
{
    return qx_model_n_files(model) == 1 ? "model.safetensors"
                                        : qx_fs_basename(qx_model_file(model, file));
}

static bool is_ours(const struct qx_model *model, const char *name)
{
    for (int f = 0; f < qx_model_n_files(model); f++) {
        if (strcmp(name, out_name(model, f)) == 0) {
            return true;
        }
    }
    return strcmp(name, "recipe.json") == 0 || is_companion(name);
}

static enum qx_status dir_check(const struct qx_session *s, const char *dir, struct qx_error *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    if (realpath(dir, to) && realpath(qx_model_folder(s->model), from) && strcmp(from, to) == 0) {
        return qx_fail_at(err, QX_EIO, dir, NULL, -1,
                          "'%s' is the folder of the model itself: choose another", dir);
    }
    if (qx_fs_exists(dir) && !qx_fs_is_dir(dir)) {
        return qx_fail_at(err, QX_EIO, dir, NULL, -1, "'%s' is a file: name a new folder", dir);
    }
    if (!qx_fs_exists(dir)) {
        return qx_fs_mkdirs(dir, err);
    }
    struct qx_arena arena = {0};
    char **names;
    size_t n = 0;
    enum qx_status status = qx_fs_list(dir, &arena, &names, &n, err);
    for (size_t i = 0; i < n && status == QX_OK; i++) {
        if (!is_ours(s->model, names[i])) {
            status = qx_fail_at(err, QX_EIO, dir, NULL, -1,
                                "'%s' holds '%s', which is no part of a model folder written here: "
                                "choose a new or empty folder",
                                dir, names[i]);
        }
    }
    qx_arena_release(&arena);
    return status;
}

/* ---- values ---- */

/* One tensor on its way out; its values are computed when the writer asks for the first block. */
struct source {
    struct qx_session *s;
    int64_t item;
    struct qx_ctl *ctl;
    float *values; /* NULL before the first and after the last block */
};

static enum qx_status source_fill(struct source *src, struct qx_error *err)
{
    struct qx_session *s = src->s;
    const struct qx_item *it = &s->items.v[src->item];
    size_t bytes;
    if (!qx_size_mul((size_t)it->tensor->numel, sizeof(float), &bytes) ||
        !(src->values = qx_mem_aligned(bytes))) {
        return qx_fail_nomem(err, bytes);
    }
    enum qx_status status = qx_fakequant(it->tensor, it->channels, &s->now.set[src->item], s->pool,
                                         src->ctl, src->values, NULL, NULL, err);
    qx_model_dontneed(s->model, it->tensor);
    return status;
}

static enum qx_status source_read(void *arg, int64_t first, int64_t n, float *out,
                                  struct qx_error *err)
{
    struct source *src = arg;
    const struct qx_tensor *t = src->s->items.v[src->item].tensor;
    enum qx_status status = src->values ? QX_OK : source_fill(src, err);
    if (status == QX_OK) {
        memcpy(out, src->values + first, (size_t)n * sizeof *out);
    }
    if (status != QX_OK || first + n == t->numel) {
        qx_mem_free(src->values);
        src->values = NULL;
    }
    return status;
}

/* Dtype that can hold the dequantized values: the tensor's own, but F8 widens. */
static enum qx_dtype out_dtype(const struct qx_tensor *t)
{
    switch (t->dtype) {
    case QX_DTYPE_F16:
    case QX_DTYPE_BF16:
    case QX_DTYPE_F64:
        return t->dtype;
    default:
        return QX_DTYPE_F32;
    }
}

static enum qx_status file_write(struct qx_session *s, int file, const char *path,
                                 struct qx_ctl *ctl, struct qx_error *err)
{
    size_t n_items = (size_t)s->items.n;
    struct qx_write_tensor *tensors = qx_mem_array(n_items + 1, sizeof *tensors);
    struct source *sources = qx_mem_array(n_items + 1, sizeof *sources);
    const char *const meta[1][2] = {{"qexplore.recipe", qx_session_recipe_hash(s)}};
    enum qx_status status = tensors && sources ? QX_OK : qx_fail_nomem(err, n_items);
    int64_t n = 0;
    for (int64_t i = 0; i < s->items.n && status == QX_OK; i++) {
        const struct qx_tensor *t = s->items.v[i].tensor;
        if (t->file != file) {
            continue;
        }
        bool is_kept = qx_setting_is_fp32(&s->now.set[i]);
        sources[n] = (struct source){s, i, ctl, NULL};
        tensors[n] = (struct qx_write_tensor){.name = t->name,
                                              .dtype = is_kept ? t->dtype : out_dtype(t),
                                              .rank = t->rank,
                                              .shape = t->shape,
                                              .raw = is_kept ? t->data : NULL,
                                              .read = source_read,
                                              .arg = &sources[n]};
        n++;
    }
    if (status == QX_OK) {
        status = qx_safetensors_write(path, tensors, n, meta, 1, ctl, err);
    }
    for (int64_t i = 0; i < n; i++) {
        qx_mem_free(sources[i].values); /* of a tensor that was broken off */
    }
    qx_mem_free(sources);
    qx_mem_free(tensors);
    return status;
}

/* ---- companions ---- */

static enum qx_status stream_copy(FILE *in, const char *from, struct qx_fs_out *out,
                                  struct qx_ctl *ctl, struct qx_error *err)
{
    char *block = qx_mem_alloc(COPY_BLOCK);
    if (!block) {
        return qx_fail_nomem(err, COPY_BLOCK);
    }
    enum qx_status status = QX_OK;
    size_t n;
    while (status == QX_OK && (n = fread(block, 1, COPY_BLOCK, in)) > 0) {
        status = qx_cancel_test(ctl) ? qx_fail(err, QX_ECANCELLED, "writing was cancelled")
                                     : qx_fs_out_write(out, block, n, err);
    }
    if (status == QX_OK && ferror(in)) {
        status = qx_fail_at(err, QX_EIO, from, NULL, -1, "cannot read '%s' to its end", from);
    }
    qx_mem_free(block);
    return status;
}

static enum qx_status file_copy(const char *from, const char *to, struct qx_ctl *ctl,
                                struct qx_error *err)
{
    FILE *in = fopen(from, "rbe");
    if (!in) {
        return qx_fail_at(err, QX_EIO, from, NULL, -1, "cannot read '%s'", from);
    }
    struct qx_fs_out *out = NULL;
    enum qx_status status = qx_fs_out_begin(to, &out, err);
    if (status == QX_OK) {
        status = stream_copy(in, from, out, ctl, err);
        if (status == QX_OK) {
            status = qx_fs_out_commit(out, err);
        } else {
            qx_fs_out_abort(out);
        }
    }
    fclose(in);
    return status;
}

static enum qx_status in_both(const char *from_dir, const char *to_dir, const char *name,
                              struct qx_ctl *ctl, struct qx_error *err)
{
    char *from = qx_fs_join(from_dir, name), *to = qx_fs_join(to_dir, name);
    enum qx_status status = from && to ? QX_OK : qx_fail_nomem(err, strlen(name));
    if (status == QX_OK && !qx_fs_is_dir(from)) {
        status = file_copy(from, to, ctl, err);
    }
    qx_mem_free(from);
    qx_mem_free(to);
    return status;
}

static enum qx_status companions_copy(const struct qx_session *s, const char *dir,
                                      struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_arena arena = {0};
    char **names;
    size_t n = 0;
    const char *from = qx_model_folder(s->model);
    enum qx_status status = qx_fs_list(from, &arena, &names, &n, err);
    for (size_t i = 0; i < n && status == QX_OK; i++) {
        if (is_companion(names[i])) {
            status = in_both(from, dir, names[i], ctl, err);
        }
    }
    qx_arena_release(&arena);
    return status;
}

enum qx_status qx_session_run_write(struct qx_session *s, const char *out_dir, struct qx_ctl *ctl,
                                    struct qx_error *err)
{
    enum qx_status status = qx_session_run_resolve(s, ctl, err);
    if (status == QX_OK) {
        status = dir_check(s, out_dir, err);
    }
    if (ctl) {
        atomic_store(&ctl->done, 0); /* values written are counted from here on */
    }
    if (status == QX_OK) {
        status = companions_copy(s, out_dir, ctl, err);
    }
    for (int f = 0; f < qx_model_n_files(s->model) && status == QX_OK; f++) {
        char *path = qx_fs_join(out_dir, out_name(s->model, f));
        status = path ? file_write(s, f, path, ctl, err) : qx_fail_nomem(err, 1);
        qx_mem_free(path);
    }
    if (status == QX_OK) {
        char *path = qx_fs_join(out_dir, "recipe.json");
        status = path ? qx_session_save_recipe(s, path, err) : qx_fail_nomem(err, 1);
        qx_mem_free(path);
    }
    return status;
}
