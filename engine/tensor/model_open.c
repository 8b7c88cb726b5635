/* From a path to a checked checkpoint: one file, a folder, or a sharded index. */
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/json.h"
#include "tensor/model_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_BYTES = 512, MAX_INDEX_BYTES = 256 << 20 };

static const char weights_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

static enum qx_status nomem(struct qx_error *err)
{
    return qx_fail_nomem(err, 0);
}

/* dir/name in the arena. */
static const char *join(struct qx_model *m, const char *dir, const char *name)
{
    char *joined = qx_fs_join(dir, name);
    const char *kept = joined ? qx_arena_strdup(&m->arena, joined) : NULL;
    qx_mem_free(joined);
    return kept;
}

/* ---- one file ---- */

static enum qx_status open_one(struct qx_model *m, const char *path, struct qx_error *err)
{
    enum qx_status st = qx_model_add_file(m, path, err);
    if (st != QX_OK) {
        return st;
    }
    const struct qx_mapfile *map = &m->files[m->n_files - 1];
    size_t n = map->size < HEAD_BYTES ? (size_t)map->size : HEAD_BYTES;
    const struct qx_io *io = qx_io_find(map->data, n);
    if (!io) {
        st = qx_recognise_content(path, map->data, n, err);
        if (st != QX_OK) {
            return st;
        }
        io = &qx_io_safetensors; /* its rules say what is wrong */
    }
    m->format = io->name;
    return io->open(m, m->n_files - 1, err);
}

/* A shard opened alone: the whole set is beside it, or this part is all there is. */
static enum qx_status check_shard(struct qx_model *m, const char *path, struct qx_error *err)
{
    int part, count;
    const char *base = qx_fs_basename(path);
    size_t stem = qx_recognise_shard(base, &part, &count);
    if (stem == 0 || count < 2) {
        return QX_OK;
    }
    const char *index = qx_arena_printf(&m->arena, "%.*s.safetensors.index.json",
                                        (int)((size_t)(base - path) + stem), path);
    if (!index) {
        return nomem(err);
    }
    if (qx_fs_exists(index)) {
        return qx_fail_at(
            err, QX_EUNSUPPORTED, path, NULL, -1,
            "'%.160s' is part %d of %d of a sharded checkpoint; open the whole set with '%.200s'",
            path, part, count, index);
    }
    m->note = qx_arena_printf(&m->arena,
                              "part %d of %d of a sharded checkpoint whose index file is missing: "
                              "only the tensors of this part are shown",
                              part, count);
    return m->note ? QX_OK : nomem(err);
}

/* ---- a sharded index ---- */

struct place {
    const char *tensor, *shard; /* in the JSON document */
    bool found;
};

struct sharded {
    struct qx_model *m;
    const char *path; /* of the index */
    const char *dir;
    struct place *places; /* by tensor name */
    size_t n;
    int64_t n_extra;
    struct qx_error *err;
};

static int by_tensor(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->tensor, ((const struct place *)b)->tensor);
}

static int by_shard(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum qx_status fail_index(const struct sharded *s, const char *tensor, const char *shard,
                                 const char *why)
{
    return qx_fail_at(
        s->err, QX_EFORMAT, s->path, tensor, -1, "cannot open '%.120s': %s%.80s%sfile '%.80s': %s",
        s->path, tensor ? "tensor '" : "", tensor ? tensor : "", tensor ? "', " : "", shard, why);
}

/* weight_map into s->places, its file names checked. */
static enum qx_status read_places(struct sharded *s, const struct qx_json *json)
{
    const struct qx_jval *map = qx_jget(qx_json_root(json), "weight_map");
    if (!qx_jis_object(map)) {
        return qx_fail_at(s->err, QX_EFORMAT, s->path, NULL, 0,
                          "cannot open '%.200s': it has no object 'weight_map', so it is no index "
                          "of a sharded checkpoint; open the folder or a .safetensors file",
                          s->path);
    }
    s->places = qx_mem_array(qx_jlen(map) + 1, sizeof *s->places);
    if (!s->places) {
        return nomem(s->err);
    }
    for (const struct qx_jval *v = qx_jfirst(map); v; v = qx_jnext(v)) {
        const char *shard = qx_jstr(v, NULL);
        if (!shard) {
            return fail_index(s, qx_jkey(v), "", "the file name must be a string");
        }
        if (!*shard || strchr(shard, '/') || strchr(shard, '\\') || strstr(shard, "..")) {
            return fail_index(s, qx_jkey(v), shard,
                              "a file name must not be empty or hold '/', '\\' or '..'");
        }
        s->places[s->n++] = (struct place){qx_jkey(v), shard, false};
    }
    qsort(s->places, s->n, sizeof *s->places, by_tensor);
    return QX_OK;
}

/* Keep the tensors from `first` on that the index does not place elsewhere. */
static void match_shard(struct sharded *s, const char *shard, int64_t first)
{
    int64_t kept = first;
    for (int64_t i = first; i < s->m->n_tensors; i++) {
        struct place key = {.tensor = s->m->tensors[i].name};
        struct place *p = s->n ? bsearch(&key, s->places, s->n, sizeof key, by_tensor) : NULL;
        bool is_here = p && strcmp(p->shard, shard) == 0;
        if (is_here) {
            p->found = true;
            s->m->tensors[kept++] = s->m->tensors[i];
        } else {
            s->n_extra++;
        }
    }
    s->m->n_tensors = kept;
}

static enum qx_status open_shard(struct sharded *s, const char *shard)
{
    const char *path = join(s->m, s->dir, shard);
    int64_t first = s->m->n_tensors;
    if (!path) {
        return nomem(s->err);
    }
    if (!qx_fs_exists(path)) {
        return qx_fail_at(s->err, QX_EIO, path, NULL, -1,
                          "cannot open '%.150s': its file '%.80s' is missing beside it; download "
                          "the remaining files of the checkpoint",
                          s->path, shard);
    }
    enum qx_status st = open_one(s->m, path, s->err);
    if (st == QX_OK) {
        match_shard(s, shard, first);
    }
    return st;
}

static enum qx_status open_shards(struct sharded *s)
{
    const char **shards = qx_mem_array(s->n + 1, sizeof *shards);
    enum qx_status st = QX_OK;
    if (!shards) {
        return nomem(s->err);
    }
    for (size_t i = 0; i < s->n; i++) {
        shards[i] = s->places[i].shard;
    }
    qsort(shards, s->n, sizeof *shards, by_shard);
    for (size_t i = 0; i < s->n && st == QX_OK; i++) {
        if (i == 0 || strcmp(shards[i - 1], shards[i]) != 0) {
            st = open_shard(s, shards[i]);
        }
    }
    qx_mem_free(shards);
    for (size_t i = 0; i < s->n && st == QX_OK; i++) {
        if (!s->places[i].found) {
            st = fail_index(s, s->places[i].tensor, s->places[i].shard,
                            "the index places the tensor in this file, which does not hold it");
        }
    }
    return st;
}

static enum qx_status open_index(struct qx_model *m, const char *path, struct qx_error *err)
{
    struct sharded s = {.m = m, .path = path, .dir = m->folder, .err = err};
    struct qx_json *json = NULL;
    enum qx_status st = qx_json_load(path, MAX_INDEX_BYTES, &json, err);
    if (st == QX_OK) {
        st = read_places(&s, json);
    }
    if (st == QX_OK) {
        st = open_shards(&s);
    }
    qx_mem_free(s.places);
    qx_json_free(json);
    if (st != QX_OK || s.n_extra == 0) {
        return st;
    }
    m->note = qx_arena_printf(
        &m->arena, "%lld tensors of the files are not where the index says: they are left out",
        (long long)s.n_extra);
    return m->note ? QX_OK : nomem(err);
}

/* ---- a folder ---- */

/* Data files beside the weights (model-folder.md) are not the weights. */
static bool is_data_file(const char *name)
{
    return qx_str_starts(name, "eval") || qx_str_starts(name, "calib") ||
           qx_str_starts(name, "reference");
}

/* The only name with this ending that holds weights, or NULL. */
static const char *only_one(char *const *names, size_t n, const char *ending)
{
    const char *found = NULL;
    for (size_t i = 0; i < n; i++) {
        if (qx_str_ends(names[i], ending) && !is_data_file(names[i]) &&
            !qx_str_starts(names[i], "adapter_")) {
            if (found) {
                return NULL;
            }
            found = names[i];
        }
    }
    return found;
}

/* The file of the folder to open, or NULL in *out when there is none to choose. */
static enum qx_status find_weights(struct qx_model *m, const char *dir, const char **out,
                                   struct qx_error *err)
{
    static const char *const first_choices[] = {weights_name, index_name};
    for (size_t i = 0; i < 2; i++) {
        *out = join(m, dir, first_choices[i]);
        if (!*out) {
            return nomem(err);
        }
        if (qx_fs_exists(*out)) {
            return QX_OK;
        }
    }
    char **names;
    size_t n = 0;
    enum qx_status st = qx_fs_list(dir, &m->arena, &names, &n, err);
    const char *found = NULL;
    bool has_safetensors = false;
    for (size_t i = 0; i < n; i++) {
        has_safetensors =
            has_safetensors || (qx_str_ends(names[i], ".safetensors") && !is_data_file(names[i]));
        if (!found && qx_str_ends(names[i], ".safetensors.index.json")) {
            found = names[i];
        }
    }
    if (!found) {
        found = only_one(names, n, has_safetensors ? ".safetensors" : ".gguf");
    }
    *out = st == QX_OK && found ? join(m, dir, found) : NULL;
    return st == QX_OK && found && !*out ? nomem(err) : st;
}

static enum qx_status open_path(struct qx_model *m, const char *path, struct qx_error *err)
{
    if (!qx_fs_exists(path)) {
        return qx_recognise_missing(path, err);
    }
    const char *file = path;
    bool is_dir = qx_fs_is_dir(path);
    if (is_dir) {
        enum qx_status st = find_weights(m, path, &file, err);
        if (st != QX_OK) {
            return st;
        }
        if (!file) {
            return qx_recognise_folder(path, err);
        }
        m->folder = m->path;
    } else {
        const char *base = qx_fs_basename(path);
        m->folder = base == path ? "." : qx_arena_strndup(&m->arena, path, (size_t)(base - path));
    }
    if (!m->folder) {
        return nomem(err);
    }
    if (qx_str_ends(file, ".json")) {
        return open_index(m, file, err);
    }
    enum qx_status st = open_one(m, file, err);
    return st == QX_OK && !is_dir ? check_shard(m, file, err) : st;
}

/* ---- after reading ---- */

/* The last part of the path that says something: "bert" for "bert/model.safetensors" and "bert/". */
static const char *title_of(struct qx_model *m)
{
    size_t n = strlen(m->path);
    const char *base = qx_fs_basename(m->path);
    if (strcmp(base, weights_name) == 0 || strcmp(base, index_name) == 0) {
        n = (size_t)(base - m->path);
    }
    while (n > 1 && m->path[n - 1] == '/') {
        n--;
    }
    char *dir = qx_arena_strndup(&m->arena, m->path, n);
    const char *last = dir ? qx_fs_basename(dir) : NULL;
    return last && (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0) ? base : last;
}

static bool is_sorted(const struct qx_model *m)
{
    int64_t i = 1;
    while (i < m->n_tensors && qx_tensor_by_name(&m->tensors[i - 1], &m->tensors[i]) < 0) {
        i++;
    }
    return i >= m->n_tensors;
}

static enum qx_status finish(struct qx_model *m, struct qx_error *err)
{
    m->name = title_of(m);
    if (!m->name) {
        return nomem(err);
    }
    if (!is_sorted(m)) { /* a single file comes sorted from its reader */
        qsort(m->tensors, (size_t)m->n_tensors, sizeof *m->tensors, qx_tensor_by_name);
    }
    for (int64_t i = 0; i < m->n_tensors; i++) {
        const struct qx_tensor *t = &m->tensors[i];
        m->bytes += t->bytes;
        m->params += qx_dtype_get(t->dtype)->is_float ? t->numel : 0;
    }
    for (int i = 0; i < m->n_files; i++) {
        m->hash = qx_hash64(&m->files[i].size, sizeof m->files[i].size, m->hash);
    }
    snprintf(m->id, sizeof m->id, "%016llx", (unsigned long long)m->hash);
    if (!m->note && !qx_recognise_tensors(m)) {
        return nomem(err);
    }
    return QX_OK;
}

enum qx_status qx_model_open(const char *path, struct qx_model **out, struct qx_error *err)
{
    struct qx_model *m = qx_mem_zalloc(sizeof *m);
    if (!m) {
        return qx_fail_nomem(err, sizeof *m);
    }
    m->format = qx_io_safetensors.name;
    m->path = qx_arena_strdup(&m->arena, path);
    enum qx_status st = m->path ? open_path(m, path, err) : nomem(err);
    if (st == QX_OK) {
        st = finish(m, err);
    }
    if (st != QX_OK) {
        qx_model_close(&m);
        return st;
    }
    *out = m;
    return QX_OK;
}
