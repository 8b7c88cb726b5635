/* A checkpoint: one file, a folder, or a sharded index; header read, data mapped. */
#ifndef QX_MODEL_H
#define QX_MODEL_H

#include "qx/status.h"
#include "qx/tensor.h"

#include <stdbool.h>
#include <stdint.h>

struct qx_model;

/* Open `path`: a .safetensors or .gguf file (by content, whatever its name), a folder holding
 * model.safetensors or model.safetensors.index.json (or exactly one .safetensors file, or none and
 * exactly one .gguf), or an index.json. Reads headers only. Files are hostile until checked: every rule of the format is
 * enforced, the message names file, tensor, byte offset and rule.
 * Content that is something else (Git LFS pointer, HTML page, partial download, one shard of several,
 * zip/pickle checkpoint, HDF5, TFLite, npz, adapter folder, Hub id) is recognised; the message
 * then says what it is and what to do.
 * Returns QX_EIO, QX_EFORMAT, QX_EUNSUPPORTED, QX_ENOMEM. The model owns mapping and names. */
enum qx_status qx_model_open(const char *path, struct qx_model **out, struct qx_error *err);
void qx_model_close(struct qx_model **model); /* sets *model to NULL; NULL allowed */

/* Tensors in natural name order ("layer.2" before "layer.10"). All borrowed, immutable, any thread. */
int64_t qx_model_n_tensors(const struct qx_model *model);
const struct qx_tensor *qx_model_tensor(const struct qx_model *model, int64_t i);
/* Index of the tensor with exactly this name, -1 when absent. O(log n). */
int64_t qx_model_find(const struct qx_model *model, const char *name);

const char *qx_model_path(const struct qx_model *model);   /* as given */
const char *qx_model_folder(const struct qx_model *model); /* folder that holds config, data */
/* Where its tokenizer is looked for: the folder; of a GGUF file, the file itself. */
const char *qx_model_tokenizer(const struct qx_model *model);
const char *qx_model_name(const struct qx_model *model);   /* for titles: folder or file name */
const char *qx_model_format(const struct qx_model *model); /* "safetensors", "GGUF" */
const char *qx_model_id(const struct qx_model *model);     /* 16 hex digits: hash of header(s) */
const char *qx_model_metadata(const struct qx_model *model, const char *key); /* or NULL */
/* An array of a GGUF file's metadata ("tokenizer.ggml.tokens"), read from its first element on. Copied freely;
 * lives as long as the model. False when there is none. */
struct qx_model_array {
    int64_t n;
    bool is_text;
    int type; /* the file's */
    const uint8_t *at, *end;
};
bool qx_model_array(const struct qx_model *model, const char *key, struct qx_model_array *out);
/* The next element; false behind the last one, or when it is not of this kind. text is any bytes, without
 * a NUL behind them. */
bool qx_model_array_text(struct qx_model_array *a, const char **text, size_t *len);
bool qx_model_array_number(struct qx_model_array *a, double *x);
int qx_model_n_files(const struct qx_model *model);
const char *qx_model_file(const struct qx_model *model, int file);
uint64_t qx_model_bytes(const struct qx_model *model);   /* sum of tensor bytes */
int64_t qx_model_params(const struct qx_model *model);   /* elements of float tensors */
const char *qx_model_note(const struct qx_model *model); /* NULL, or a remark ("adapter: ...") */

/* A file changed on disk since it was mapped / was torn while read (then its tensors' values are not
 * to be trusted). Cheap (stat); any thread. */
bool qx_model_changed(const struct qx_model *model);
bool qx_model_torn(const struct qx_model *model, const struct qx_tensor *tensor);
/* Release the tensor's clean pages (after a full pass), to keep resident memory flat. */
void qx_model_dontneed(const struct qx_model *model, const struct qx_tensor *tensor);

/* ---- writing ---- */

/* One tensor to write: `read` fills n float32 values from `first` (called in order, in blocks); they
 * are stored as `dtype` (F32, F16, BF16, F64; other dtypes: `raw` bytes are copied instead). */
struct qx_write_tensor {
    const char *name;
    enum qx_dtype dtype;
    int rank;
    const int64_t *shape;
    const uint8_t *raw; /* numel elements to copy, or NULL to call read */
    enum qx_status (*read)(void *arg, int64_t first, int64_t n, float *out, struct qx_error *err);
    void *arg;
};
/* Write a safetensors file atomically (temporary + rename), sorted by dtype then name as the format's
 * writers do, header padded to 8, `__metadata__` {"format":"pt"} plus n_meta pairs. Progress is in bytes of
 * values. */
struct qx_ctl;
enum qx_status qx_safetensors_write(const char *path, const struct qx_write_tensor *tensors,
                                    int64_t n, const char *const (*meta)[2], int n_meta,
                                    struct qx_ctl *ctl, struct qx_error *err);

/* ---- what can be opened ---- */

/* One model found for `qexplore` without arguments. */
struct qx_found {
    const char *path;
    const char *where; /* "this folder", "samples", "Hugging Face cache", "Ollama", "LM Studio" */
    const char *what;  /* "model folder", "safetensors", "sharded, 4 files", "GGUF" */
    uint64_t bytes;
};
struct qx_found_list;
/* Look in cwd (two levels), samples_dir (NULL = none) and the caches under home (NULL = none).
 * Never fails for unreadable places. Free with qx_found_free. */
struct qx_found_list *qx_model_discover(const char *cwd, const char *samples_dir, const char *home);
int qx_found_n(const struct qx_found_list *list);
const struct qx_found *qx_found_get(const struct qx_found_list *list, int i);
void qx_found_free(struct qx_found_list *list);

#endif
