/* An opened checkpoint: its tables and the questions about them. Opening is in model_open.c. */
#include "base/error.h"
#include "base/mem.h"
#include "qx/text.h"
#include "tensor/gguf.h"

#include <string.h>

/* Room for one more entry in an array of the arena, which grows by doubling. */
static void *grow(struct qx_arena *arena, void *old, int64_t n, int64_t *cap, size_t size)
{
    if (n < *cap) {
        return old;
    }
    int64_t bigger = *cap > 0 ? *cap * 2 : 64;
    void *p = qx_arena_array(arena, (size_t)bigger, size);
    if (p) {
        if (n > 0) {
            memcpy(p, old, (size_t)n * size);
        }
        *cap = bigger;
    }
    return p;
}

int qx_tensor_by_name(const void *a, const void *b)
{
    return qx_str_natcmp(((const struct qx_tensor *)a)->name, ((const struct qx_tensor *)b)->name);
}

struct qx_tensor *qx_model_add_tensor(struct qx_model *m)
{
    void *p = grow(&m->arena, m->tensors, m->n_tensors, &m->cap_tensors, sizeof *m->tensors);
    if (!p) {
        return NULL;
    }
    m->tensors = p;
    return &m->tensors[m->n_tensors++];
}

struct qx_meta *qx_model_add_meta(struct qx_model *m)
{
    void *p = grow(&m->arena, m->meta, m->n_meta, &m->cap_meta, sizeof *m->meta);
    if (!p) {
        return NULL;
    }
    m->meta = p;
    return &m->meta[m->n_meta++];
}

struct qx_meta_array *qx_model_add_array(struct qx_model *m)
{
    void *p = grow(&m->arena, m->arrays, m->n_arrays, &m->cap_arrays, sizeof *m->arrays);
    if (!p) {
        return NULL;
    }
    m->arrays = p;
    return &m->arrays[m->n_arrays++];
}

enum qx_status qx_model_add_file(struct qx_model *m, const char *path, struct qx_error *err)
{
    int64_t cap = m->cap_files;
    void *p = grow(&m->arena, m->files, m->n_files, &cap, sizeof *m->files);
    if (!p) {
        return qx_fail_nomem(err, sizeof *m->files);
    }
    m->files = p;
    m->cap_files = (int)cap;
    enum qx_status st = qx_mapfile_open(path, &m->files[m->n_files], err);
    m->n_files += st == QX_OK;
    return st;
}

void qx_model_close(struct qx_model **model)
{
    struct qx_model *m = *model;
    if (!m) {
        return;
    }
    for (int i = 0; i < m->n_files; i++) {
        qx_mapfile_close(&m->files[i]);
    }
    qx_arena_release(&m->arena);
    qx_mem_free(m);
    *model = NULL;
}

int64_t qx_model_n_tensors(const struct qx_model *model)
{
    return model->n_tensors;
}

const struct qx_tensor *qx_model_tensor(const struct qx_model *model, int64_t i)
{
    return i >= 0 && i < model->n_tensors ? &model->tensors[i] : NULL;
}

int64_t qx_model_find(const struct qx_model *model, const char *name)
{
    int64_t lo = 0, hi = model->n_tensors;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        int order = qx_str_natcmp(model->tensors[mid].name, name);
        if (order == 0) {
            return mid;
        }
        if (order < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return -1;
}

const char *qx_model_path(const struct qx_model *model)
{
    return model->path;
}

const char *qx_model_folder(const struct qx_model *model)
{
    return model->folder;
}

const char *qx_model_tokenizer(const struct qx_model *model)
{
    return model->format == qx_io_gguf.name ? model->files[0].path : model->folder;
}

const char *qx_model_name(const struct qx_model *model)
{
    return model->name;
}

const char *qx_model_format(const struct qx_model *model)
{
    return model->format;
}

const char *qx_model_id(const struct qx_model *model)
{
    return model->id;
}

const char *qx_model_metadata(const struct qx_model *model, const char *key)
{
    for (int64_t i = 0; i < model->n_meta; i++) {
        if (strcmp(model->meta[i].key, key) == 0) {
            return model->meta[i].value;
        }
    }
    return NULL;
}

bool qx_model_array(const struct qx_model *model, const char *key, struct qx_model_array *out)
{
    for (int64_t i = 0; i < model->n_arrays; i++) {
        const struct qx_meta_array *a = &model->arrays[i];
        if (strcmp(a->key, key) == 0) {
            const bool is_text = qx_gguf_width(a->type) == 0;
            *out = (struct qx_model_array){a->n, is_text, a->type, a->data, a->data + a->bytes};
            return true;
        }
    }
    return false;
}

/* The lengths are looked at again: the file may have changed since they were checked. */
bool qx_model_array_text(struct qx_model_array *a, const char **text, size_t *len)
{
    uint64_t n;
    if (!a->is_text || (size_t)(a->end - a->at) < sizeof n) {
        return false;
    }
    memcpy(&n, a->at, sizeof n);
    if (n > (uint64_t)(a->end - a->at) - sizeof n) {
        return false;
    }
    *text = (const char *)a->at + sizeof n;
    *len = (size_t)n;
    a->at += sizeof n + n;
    return true;
}

bool qx_model_array_number(struct qx_model_array *a, double *x)
{
    const int width = a->is_text ? 0 : qx_gguf_width(a->type);
    if (a->is_text || a->end - a->at < width) {
        return false;
    }
    *x = qx_gguf_number(a->type, a->at);
    a->at += width;
    return true;
}

int qx_model_n_files(const struct qx_model *model)
{
    return model->n_files;
}

const char *qx_model_file(const struct qx_model *model, int file)
{
    return file >= 0 && file < model->n_files ? model->files[file].path : NULL;
}

uint64_t qx_model_bytes(const struct qx_model *model)
{
    return model->bytes;
}

int64_t qx_model_params(const struct qx_model *model)
{
    return model->params;
}

const char *qx_model_note(const struct qx_model *model)
{
    return model->note;
}

bool qx_model_changed(const struct qx_model *model)
{
    bool changed = false;
    for (int i = 0; i < model->n_files; i++) {
        changed = changed || qx_mapfile_changed(&model->files[i]);
    }
    return changed;
}

bool qx_model_torn(const struct qx_model *model, const struct qx_tensor *tensor)
{
    return qx_mapfile_torn(&model->files[tensor->file]);
}

void qx_model_dontneed(const struct qx_model *model, const struct qx_tensor *tensor)
{
    qx_mapfile_dontneed(&model->files[tensor->file], tensor->offset, tensor->bytes);
}
