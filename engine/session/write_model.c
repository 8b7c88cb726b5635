/* Writing a model folder with dequantized values: any framework then runs the simulated model. */
#include "base/arena.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "qx/overlay.h"
#include "base/str.h"
#include "session/recipe_json.h"
#include "session/write_model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_BLOCK = 1 << 20 };

#define STAGE ".qexplore-writing"

/* Files of a model folder that travel along unchanged. reference.* stays behind: its figures are
 * those of the original weights. */
static const struct {
    const char *glob;
    bool is_network; /* says what the network is: of a GGUF file its metadata do */
} companions[] = {{"config.json", true},
                  {"generation_config.json", true},
                  {"graph.json", true},
                  {"eval.safetensors", false},
                  {"eval_*.safetensors", false},
                  {"calib.safetensors", false},
                  {"train.safetensors", false},
                  {"vocab.*", true},
                  {"merges.txt", true},
                  {"tokenizer.*", true},
                  {"tokenizer_config.json", true},
                  {"special_tokens_map.json", true},
                  {"*.tsv", false},
                  {"*.md", false},
                  {"LICENSE*", false},
                  {"*.index.json", true}};

static bool is_companion(const char *name, bool is_made)
{
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++) {
        if (qx_str_glob(companions[i].glob, name)) {
            return !(is_made && companions[i].is_network);
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
    return strcmp(name, "recipe.json") == 0 || strcmp(name, STAGE) == 0 ||
           is_companion(name, false);
}

/* May the folder be written? Nothing is made. */
static enum qx_status dir_check(const struct qx_model *model, const char *dir, struct qx_error *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    if (realpath(dir, to) && realpath(qx_model_folder(model), from) && strcmp(from, to) == 0) {
        return qx_fail_at(err, QX_EIO, dir, NULL, -1,
                          "'%s' is the folder of the model itself: choose another", dir);
    }
    if (!qx_fs_exists(dir)) {
        return QX_OK;
    }
    if (!qx_fs_is_dir(dir)) {
        return qx_fail_at(err, QX_EIO, dir, NULL, -1, "'%s' is a file: name a new folder", dir);
    }
    struct qx_arena arena = {0};
    char **names;
    size_t n = 0;
    enum qx_status status = qx_fs_list(dir, &arena, &names, &n, err);
    for (size_t i = 0; i < n && status == QX_OK; i++) {
        if (!is_ours(model, names[i])) {
            status = qx_fail_at(err, QX_EIO, dir, NULL, -1,
                                "'%s' holds '%s', which is no part of a model folder written here: "
                                "choose a new or empty folder",
                                dir, names[i]);
        }
    }
    qx_arena_release(&arena);
    return status;
}

/* ---- the stage ---- */

/* Everything is written into a folder inside the new one, whose files then take their places: what is
 * broken off leaves an older model as it was. */
struct stage {
    const char *dir;
    char *path;
    size_t n_kept; /* bytes of dir that name what was there before */
};

/* Bytes of the longest part of a path that exists. */
static size_t existing_part(const char *dir)
{
    char part[PATH_MAX];
    size_t n = strlen(dir);
    if (n >= sizeof part) {
        return n; /* cannot be made, so nothing will have to go */
    }
    memcpy(part, dir, n + 1);
    while (n > 0 && !qx_fs_exists(part)) {
        while (n > 0 && part[n - 1] == '/') {
            n--;
        }
        while (n > 0 && part[n - 1] != '/') {
            n--;
        }
        part[n] = 0;
    }
    return n;
}

/* Removes the folders made for the stage, innermost first; one that holds anything stays. */
static void dirs_remove(const struct stage *g)
{
    char part[PATH_MAX];
    size_t n = strlen(g->dir);
    if (n >= sizeof part) {
        return;
    }
    memcpy(part, g->dir, n + 1);
    while (n > g->n_kept && (rmdir(part) == 0 || errno == ENOENT)) {
        while (n > 0 && part[n - 1] == '/') {
            n--;
        }
        while (n > 0 && part[n - 1] != '/') {
            n--;
        }
        part[n] = 0;
    }
}

static void stage_clear(struct stage *g)
{
    DIR *d = opendir(g->path);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            (void)unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    if (d) {
        closedir(d);
    }
    (void)rmdir(g->path);
}

static enum qx_status stage_begin(struct stage *g, const char *dir, struct qx_error *err)
{
    *g = (struct stage){.dir = dir, .path = qx_fs_join(dir, STAGE), .n_kept = existing_part(dir)};
    if (!g->path) {
        return qx_fail_nomem(err, strlen(dir));
    }
    enum qx_status status = qx_fs_mkdirs(dir, err);
    struct stat st;
    if (status == QX_OK && lstat(g->path, &st) == 0 && S_ISDIR(st.st_mode)) {
        stage_clear(g); /* of a writing that was killed */
    }
    if (status == QX_OK && mkdir(g->path, 0777) != 0) {
        status = qx_fail_at(err, QX_EIO, g->path, NULL, -1, "cannot make the folder '%s': %s",
                            g->path, strerror(errno));
    }
    if (status != QX_OK) {
        qx_mem_free(g->path);
        dirs_remove(g);
    }
    return status;
}

/* How many files took their places; -1 with errno. */
static int move_up(DIR *d, int to)
{
    int n = 0;
    const struct dirent *e;
    rewinddir(d);
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        if (renameat(dirfd(d), e->d_name, to, e->d_name) != 0) {
            return -1;
        }
        n++;
    }
    return n;
}

static enum qx_status stage_commit(const struct stage *g, struct qx_error *err)
{
    DIR *d = opendir(g->path);
    int to = open(g->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int n = d && to >= 0 ? 1 : -1;
    while (n > 0) { /* a folder that is renamed out of may hide names from one pass */
        n = move_up(d, to);
    }
    enum qx_status status = QX_OK;
    if (n < 0) {
        status = qx_fail_at(err, QX_EIO, g->dir, NULL, -1, "cannot put the files into '%s': %s",
                            g->dir, strerror(errno));
    } else {
        (void)fsync(to); /* some file systems cannot sync a folder */
    }
    if (d) {
        closedir(d);
    }
    if (to >= 0) {
        close(to);
    }
    return status;
}

/* Frees the stage; takes back what was made unless all of it is in place. */
static void stage_end(struct stage *g, bool is_kept)
{
    stage_clear(g);
    if (!is_kept) {
        dirs_remove(g);
    }
    qx_mem_free(g->path);
}

/* ---- values ---- */

/* One tensor on its way out; its values are computed when the writer asks for the first block. */
struct source {
    const struct qx_write *w;
    int64_t item;
    struct qx_ctl *ctl; /* for the cancelling: progress is in bytes written */
    float *values;      /* NULL before the first and after the last block */
};

/* Values that take the place of the stored ones, NULL: none. */
static const float *changed(const struct qx_write *w, int64_t item)
{
    for (int64_t i = 0; !w->trained && i < w->recipe->n;
         i++) { /* what goes with a layer that was trained */
        const struct qx_overlay *o = qx_setting_overlay(&w->recipe->set[i]);
        const float *values = o ? qx_overlay_other(o, item) : NULL;
        if (values) {
            return values;
        }
    }
    return w->trained  ? w->trained->values[item]
           : w->folded ? qx_rewrite_get(w->folded, item)
                       : NULL;
}

/* Does the tensor stay as it is in the file? safetensors has no block types: they are decoded. */
static bool is_kept(const struct qx_write *w, int64_t item)
{
    return !(w->as && w->as[item].heads > 0) && qx_setting_is_fp32(&w->recipe->set[item]) &&
           !changed(w, item) && !qx_dtype_get(w->items->v[item].tensor->dtype)->block;
}

static enum qx_status source_fill(struct source *src, struct qx_error *err)
{
    const struct qx_write *w = src->w;
    const struct qx_item *it = &w->items->v[src->item];
    size_t bytes;
    if (!qx_size_mul((size_t)it->tensor->numel, sizeof(float), &bytes) ||
        !(src->values = qx_mem_aligned(bytes))) {
        return qx_fail_nomem(err, bytes);
    }
    struct qx_ctl quiet = {.parent = src->ctl, .is_quiet = true};
    enum qx_status status = QX_OK;
    if (changed(w, src->item)) {
        memcpy(src->values, changed(w, src->item), bytes);
    } else {
        status = qx_fakequant(it->tensor, it->channels, &w->recipe->set[src->item], w->pool, &quiet,
                              src->values, NULL, NULL, err);
        qx_model_dontneed(w->model, it->tensor);
    }
    if (status == QX_OK && w->as && w->as[src->item].heads > 0) {
        status = qx_folder_rows(src->values, it->tensor->numel, it->tensor->shape[0],
                                w->as[src->item].heads, err);
    }
    return status;
}

static enum qx_status source_read(void *arg, int64_t first, int64_t n, float *out,
                                  struct qx_error *err)
{
    struct source *src = arg;
    const struct qx_tensor *t = src->w->items->v[src->item].tensor;
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

/* Dtype that can hold the dequantized values: the tensor's own, but F8 and blocks widen. */
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

static enum qx_status file_write(const struct qx_write *w, int file, const char *path,
                                 struct qx_ctl *ctl, struct qx_error *err)
{
    size_t n_items = (size_t)w->items->n;
    struct qx_write_tensor *tensors = qx_mem_array(n_items + 1, sizeof *tensors);
    struct source *sources = qx_mem_array(n_items + 1, sizeof *sources);
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, qx_recipe_hash(w->recipe, w->items, NULL));
    const char *const meta[1][2] = {{"qexplore.recipe", hash}};
    enum qx_status status = tensors && sources ? QX_OK : qx_fail_nomem(err, n_items);
    int64_t n = 0;
    for (int64_t i = 0; i < w->items->n && status == QX_OK; i++) {
        const struct qx_tensor *t = w->items->v[i].tensor;
        if (t->file != file) {
            continue;
        }
        const bool is_same = is_kept(w, i);
        sources[n] = (struct source){w, i, ctl, NULL};
        tensors[n] = (struct qx_write_tensor){.name = w->as ? w->as[i].name : t->name,
                                              .dtype = is_same ? t->dtype : out_dtype(t),
                                              .rank = t->rank,
                                              .shape = t->shape,
                                              .raw = is_same ? t->data : NULL,
                                              .read = source_read,
                                              .arg = &sources[n]};
        n++;
    }
    if (status == QX_OK) {
        struct qx_ctl part = {.parent = ctl}; /* keeps the total of one file from the whole's */
        status = qx_safetensors_write(path, tensors, n, meta, 1, &part, err);
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
        qx_ctl_add(ctl, (int64_t)n);
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

static enum qx_status companions_copy(const struct qx_write *w, const char *dir, struct qx_ctl *ctl,
                                      struct qx_error *err)
{
    struct qx_arena arena = {0};
    char **names;
    size_t n = 0;
    const char *from = qx_model_folder(w->model);
    enum qx_status status = qx_fs_list(from, &arena, &names, &n, err);
    for (size_t i = 0; i < n && status == QX_OK; i++) {
        if (is_companion(names[i], w->as != NULL)) {
            status = in_both(from, dir, names[i], ctl, err);
        }
    }
    qx_arena_release(&arena);
    return status;
}

/* ---- the folder ---- */

static int64_t bytes_of(const struct qx_tensor *t, bool is_same)
{
    return (int64_t)qx_dtype_bytes(is_same ? t->dtype : out_dtype(t), t->numel);
}

/* Bytes that will be written; files that cannot be looked at are left out. */
static int64_t bytes_total(const struct qx_write *w)
{
    int64_t total = 0;
    const char *folder = qx_model_folder(w->model);
    DIR *d = opendir(folder);
    const struct dirent *e;
    struct stat st;
    while (d && (e = readdir(d))) {
        if (is_companion(e->d_name, w->as != NULL) && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
            S_ISREG(st.st_mode)) {
            total += st.st_size;
        }
    }
    if (d) {
        closedir(d);
    }
    for (int64_t i = 0; i < w->items->n; i++) {
        total += bytes_of(w->items->v[i].tensor, is_kept(w, i));
    }
    return total;
}

static enum qx_status recipe_write(const struct qx_write *w, const char *dir, struct qx_error *err)
{
    size_t len;
    char *path = qx_fs_join(dir, "recipe.json");
    struct qx_items named = *w->items; /* as the folder has them */
    struct qx_tensor *tensors = qx_mem_array((size_t)named.n + 1, sizeof *tensors);
    named.v = qx_mem_array((size_t)named.n + 1, sizeof *named.v);
    for (int64_t i = 0; named.v && tensors && i < named.n; i++) {
        named.v[i] = w->items->v[i];
        tensors[i] = *named.v[i].tensor;
        tensors[i].name = w->as ? w->as[i].name : tensors[i].name;
        named.v[i].tensor = &tensors[i];
    }
    char *text =
        named.v && tensors ? qx_recipe_write(w->recipe, &named, w->model, NULL, &len) : NULL;
    enum qx_status status =
        path && text ? qx_fs_write_atomic(path, text, len, err)
                     : qx_fail(err, QX_ENOMEM, "out of memory for the text of the recipe");
    qx_free_text(text);
    qx_mem_free(named.v);
    qx_mem_free(tensors);
    qx_mem_free(path);
    return status;
}

static enum qx_status all_write(const struct qx_write *w, const char *dir, struct qx_ctl *ctl,
                                struct qx_error *err)
{
    enum qx_status status = companions_copy(w, dir, ctl, err);
    status = status == QX_OK ? qx_folder_files(w->model, dir, err) : status;
    for (int f = 0; f < qx_model_n_files(w->model) && status == QX_OK; f++) {
        char *path = qx_fs_join(dir, out_name(w->model, f));
        status = path ? file_write(w, f, path, ctl, err) : qx_fail_nomem(err, 1);
        qx_mem_free(path);
    }
    return status == QX_OK ? recipe_write(w, dir, err) : status;
}

enum qx_status qx_write_check(const struct qx_write *w, const char *dir, struct qx_error *err)
{
    return dir_check(w->model, dir, err);
}

/* Names and rows in the folder; *out stays NULL where all is as in the file. */
static enum qx_status names_make(const struct qx_write *w, struct qx_folder_tensor **out,
                                 struct qx_error *err)
{
    *out = NULL;
    if (!qx_folder_is_made(w->model)) {
        return QX_OK;
    }
    struct qx_folder_tensor *as = qx_mem_zalloc(((size_t)w->items->n + 1) * sizeof *as);
    if (!as) {
        return qx_fail_nomem(err, (size_t)w->items->n * sizeof *as);
    }
    for (int64_t i = 0; i < w->items->n; i++) {
        if (!qx_folder_tensor(w->model, i, &as[i])) {
            as[i].heads = 0;
            qx_str_copy(as[i].name, sizeof as[i].name, w->items->v[i].tensor->name);
        }
    }
    *out = as;
    return QX_OK;
}

static enum qx_status staged_write(const struct qx_write *w, const char *dir, struct qx_ctl *ctl,
                                   struct qx_error *err)
{
    struct stage stage;
    if (ctl) {
        atomic_store(&ctl->done, 0); /* bytes written are counted from here on */
        qx_ctl_total(ctl, bytes_total(w));
    }
    enum qx_status status = stage_begin(&stage, dir, err);
    if (status != QX_OK) {
        return status;
    }
    status = all_write(w, stage.path, ctl, err);
    if (status == QX_OK && qx_cancel_test(ctl)) {
        status = qx_fail(err, QX_ECANCELLED, "writing was cancelled");
    }
    if (status == QX_OK) {
        status = stage_commit(&stage, err);
    }
    stage_end(&stage, status == QX_OK);
    return status;
}

enum qx_status qx_write_folder(const struct qx_write *w, const char *dir, struct qx_ctl *ctl,
                               struct qx_error *err)
{
    struct qx_folder_tensor *as = NULL;
    struct qx_rewrite *folded = NULL;
    struct qx_write named = *w;
    enum qx_status status = dir_check(w->model, dir, err);
    status = status == QX_OK ? names_make(w, &as, err) : status;
    status = status == QX_OK ? qx_write_fold(w, ctl, &folded, err) : status;
    named.as = as;
    named.folded = folded;
    status = status == QX_OK ? staged_write(&named, dir, ctl, err) : status;
    qx_rewrite_free(folded);
    qx_mem_free(as);
    return status;
}
