/* A checkpoint while it is opened, and the rows that open one container each. */
#ifndef QX_TENSOR_MODEL_PRIV_H
#define QX_TENSOR_MODEL_PRIV_H

#include "base/arena.h"
#include "base/mapfile.h"
#include "qx/model.h"

struct qx_meta {
    const char *key, *value;
};

/* An array, checked to lie within `bytes`: numbers, or strings of u64 length and bytes. */
struct qx_meta_array {
    const char *key;
    int type; /* of GGUF */
    int64_t n;
    const uint8_t *data;
    uint64_t bytes;
};

struct qx_model {
    struct qx_arena arena; /* every string, shape and array below */
    const char *path, *folder, *name, *format, *note;
    char id[17];
    uint64_t hash; /* running, over the headers */

    struct qx_mapfile *files; /* [n_files] */
    int n_files, cap_files;
    struct qx_tensor *tensors; /* [n_tensors], unsorted until opened */
    int64_t n_tensors, cap_tensors;
    struct qx_meta *meta; /* [n_meta], of all files */
    int64_t n_meta, cap_meta;
    struct qx_meta_array *arrays; /* [n_arrays] */
    int64_t n_arrays, cap_arrays;
    uint64_t bytes;
    int64_t params;
};

/* One row per container of weights. */
struct qx_io {
    const char *name; /* qx_model_format */
    /* By content alone: the first n bytes (at most 512) of the file. */
    bool (*probe)(const uint8_t *head, size_t n);
    /* Check files[file] and append its tensors and metadata. The bytes are hostile. */
    enum qx_status (*open)(struct qx_model *m, int file, struct qx_error *err);
};
extern const struct qx_io qx_io_safetensors, qx_io_gguf;
/* The row whose probe accepts the file, or NULL. */
const struct qx_io *qx_io_find(const uint8_t *head, size_t n);

/* Order of two struct qx_tensor, for qsort: numbers in names by their value. */
int qx_tensor_by_name(const void *a, const void *b);
/* Append zeroed entries; NULL when out of memory. Growing moves the arrays: hold no pointers. */
struct qx_tensor *qx_model_add_tensor(struct qx_model *m);
struct qx_meta *qx_model_add_meta(struct qx_model *m);
struct qx_meta_array *qx_model_add_array(struct qx_model *m);
/* Map one more file. */
enum qx_status qx_model_add_file(struct qx_model *m, const char *path, struct qx_error *err);

/* Content that is no container of weights (Git LFS pointer, zip, HDF5, ...): the status and a message
 * with the remedy, or QX_OK when nothing is recognised. */
enum qx_status qx_recognise_content(const char *path, const uint8_t *head, size_t n,
                                    struct qx_error *err);
/* A path that does not exist: Hub id, or "did you mean". Never QX_OK. */
enum qx_status qx_recognise_missing(const char *path, struct qx_error *err);
/* A folder that holds no weights we read: adapter, other checkpoints, shards without an index. Never
 * QX_OK. */
enum qx_status qx_recognise_folder(const char *path, struct qx_error *err);
/* "model-00001-of-00003.safetensors": part, count, and the length of "model" (0: no such name). */
size_t qx_recognise_shard(const char *name, int *part, int *count);
/* The name of an unfinished download: "x.incomplete", "x.crdownload", ... */
bool qx_recognise_partial(const char *name);
/* Remarks about what the tensors are (packed codes, adapters, F8 without scales), in the arena; sets
 * m->note. False when out of memory. */
bool qx_recognise_tensors(struct qx_model *m);

#endif
