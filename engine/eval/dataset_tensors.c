/* Data files of tensors (model-folder.md section 4, classification): x or input_ids, labels. */
#include "eval/dataset.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_BLOCK 4096
/* Files up to this size are hashed whole, larger ones by header, size and this many samples. */
#define HASH_WHOLE_BYTES  (UINT64_C(64) << 20)
#define HASH_SAMPLES      64
#define HASH_SAMPLE_BYTES (UINT64_C(1) << 20)

/* "[9500, 1, 28, 28]", cut when it does not fit. */
static const char *shape_text(int rank, const int64_t *dim, char *buf, size_t cap)
{
    size_t len = (size_t)snprintf(buf, cap, "[");
    for (int i = 0; i < rank && len + 24 < cap; i++) {
        len += (size_t)snprintf(buf + len, cap - len, "%s%lld", i ? ", " : "", (long long)dim[i]);
    }
    snprintf(buf + len, cap - len, "]");
    return buf;
}

static enum qx_status check_shape(const struct qx_tensor *x, const struct qx_net *net,
                                  const char *path, struct qx_error *err)
{
    const int64_t *dim;
    const int rank = qx_net_input_shape(net, &dim);
    char have[128], want[128];
    if (x->rank != rank + 1 || memcmp(x->shape + 1, dim, (size_t)rank * sizeof *dim) != 0) {
        return qx_fail_at(err, QX_EDATA, path, x->name, -1,
                          "%s: 'x' is %s; the network takes rows of %s", path,
                          shape_text(x->rank, x->shape, have, sizeof have),
                          shape_text(rank, dim, want, sizeof want));
    }
    if (x->shape[0] < 1) {
        return qx_fail_at(err, QX_EDATA, path, x->name, -1, "%s: 'x' holds no rows", path);
    }
    return QX_OK;
}

static enum qx_status check_dtype(const struct qx_tensor *x, const struct qx_net *net,
                                  const char *path, struct qx_error *err)
{
    const struct qx_dtype_info *info = qx_dtype_get(x->dtype);
    if (!info->is_readable || x->reason) {
        return qx_fail_at(err, QX_EUNSUPPORTED, path, x->name, -1,
                          "%s: the values of 'x' (%s) cannot be read", path, info->name);
    }
    if (qx_net_input_is_ids(net) && info->is_float) {
        return qx_fail_at(err, QX_EDATA, path, x->name, -1,
                          "%s: 'x' holds %s values; the network takes whole-number ids", path,
                          info->name);
    }
    return QX_OK;
}

/* One decimal number of the metadata; *out stays when the key is absent. */
static enum qx_status read_number(const struct qx_dataset *d, const char *key, const char *path,
                                  double *out, bool *is_given, struct qx_error *err)
{
    const char *text = qx_model_metadata(d->model, key);
    if (!text) {
        return QX_OK;
    }
    char *end = NULL;
    const double v = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(v)) {
        return qx_fail_at(err, QX_EFORMAT, path, NULL, -1,
                          "%s: the metadata '%s' is '%.40s', which is no number", path, key, text);
    }
    *out = v;
    *is_given = true;
    return QX_OK;
}

static enum qx_status find_x(struct qx_dataset *d, const struct qx_net *net, const char *path,
                             struct qx_error *err)
{
    const int64_t i = qx_model_find(d->model, "x");
    if (i < 0) {
        return qx_fail_at(err, QX_EDATA, path, NULL, -1,
                          "%s: there is no tensor 'x' with the inputs of the network", path);
    }
    d->x = qx_model_tensor(d->model, i);
    enum qx_status st = check_shape(d->x, net, path, err);
    if (st == QX_OK) {
        st = check_dtype(d->x, net, path, err);
    }
    if (st != QX_OK) {
        return st;
    }
    d->n = d->x->shape[0];
    d->sample_size = qx_net_sample_size(net);
    d->scale = 1.0;
    if (qx_net_input_is_ids(net)) {
        return QX_OK;
    }
    st = read_number(d, "x.scale", path, &d->scale, &d->is_scaled, err);
    return st == QX_OK ? read_number(d, "x.offset", path, &d->offset, &d->is_scaled, err) : st;
}

/* input_ids [N, T] and, if it is there, attention_mask [N, T]; T at most what the network takes. */
/* Entries of the table of words, which is looked up first. */
static int64_t vocabulary_of(const struct qx_net *net)
{
    for (int i = 0; i < qx_net_n_layers(net); i++) {
        const struct qx_layer *l = qx_net_layer(net, i);
        if (strcmp(l->op, "Embedding") == 0) {
            return qx_model_tensor(qx_net_model(net), l->tensor)->shape[0];
        }
    }
    return 0;
}

static enum qx_status find_ids(struct qx_dataset *d, const struct qx_net *net, const char *path,
                               struct qx_error *err)
{
    const int64_t *most;
    char have[128], want[128];
    const int64_t i = qx_model_find(d->model, "input_ids");
    const int64_t m = qx_model_find(d->model, "attention_mask");
    qx_net_input_shape(net, &most);
    if (i < 0) {
        return qx_fail_at(err, QX_EDATA, path, NULL, -1,
                          "%s: there is no tensor 'input_ids' with the ids that the network takes",
                          path);
    }
    d->x = qx_model_tensor(d->model, i);
    d->mask = m >= 0 ? qx_model_tensor(d->model, m) : NULL;
    if (d->x->rank != 2 || d->x->shape[0] < 1 || d->x->shape[1] < 1 || d->x->shape[1] > *most) {
        return qx_fail_at(err, QX_EDATA, path, d->x->name, -1,
                          "%s: 'input_ids' is %s; the network takes rows of 1 to %lld ids", path,
                          shape_text(d->x->rank, d->x->shape, have, sizeof have), (long long)*most);
    }
    if (d->mask && (d->mask->rank != 2 ||
                    memcmp(d->mask->shape, d->x->shape, 2 * sizeof *d->mask->shape) != 0)) {
        return qx_fail_at(err, QX_EDATA, path, d->mask->name, -1,
                          "%s: 'attention_mask' is %s, but 'input_ids' is %s", path,
                          shape_text(d->mask->rank, d->mask->shape, have, sizeof have),
                          shape_text(d->x->rank, d->x->shape, want, sizeof want));
    }
    enum qx_status st = check_dtype(d->x, net, path, err);
    if (st == QX_OK && d->mask) {
        st = check_dtype(d->mask, net, path, err);
    }
    d->n = d->x->shape[0];
    d->sample_size = qx_net_sample_size(net);
    d->is_sequence = true;
    d->vocabulary = vocabulary_of(net);
    return st;
}

/* Labels of a block of rows, checked against the classes. */
static enum qx_status read_labels(struct qx_dataset *d, const struct qx_tensor *t, int n_classes,
                                  const char *path, struct qx_error *err)
{
    float block[LABEL_BLOCK];
    for (int64_t first = 0; first < d->n; first += LABEL_BLOCK) {
        const int64_t n = d->n - first < LABEL_BLOCK ? d->n - first : LABEL_BLOCK;
        enum qx_status st = qx_tensor_read(t, first, n, block, err);
        if (st != QX_OK) {
            return st;
        }
        for (int64_t i = 0; i < n; i++) {
            if (!(block[i] >= 0.0f && block[i] < (float)n_classes)) {
                return qx_fail_at(err, QX_EDATA, path, t->name, -1,
                                  "%s: row %lld has the label %.9g; the network has %d classes",
                                  path, (long long)(first + i), (double)block[i], n_classes);
            }
            d->labels[first + i] = (int32_t)block[i];
        }
    }
    return QX_OK;
}

static enum qx_status find_labels(struct qx_dataset *d, const struct qx_net *net, const char *path,
                                  struct qx_error *err)
{
    const int64_t i = qx_model_find(d->model, "labels");
    if (i < 0 || strcmp(qx_net_task(net), "classification") != 0) {
        return QX_OK;
    }
    const struct qx_tensor *t = qx_model_tensor(d->model, i);
    const struct qx_dtype_info *info = qx_dtype_get(t->dtype);
    if (t->rank != 1 || t->shape[0] != d->n || info->is_float || !info->is_readable) {
        char have[128];
        return qx_fail_at(err, QX_EDATA, path, t->name, -1,
                          "%s: 'labels' is %s %s; %lld whole numbers are needed, one for each row",
                          path, info->name, shape_text(t->rank, t->shape, have, sizeof have),
                          (long long)d->n);
    }
    d->labels = qx_mem_array((size_t)d->n, sizeof *d->labels);
    if (!d->labels) {
        return qx_fail_nomem(err, (size_t)d->n * sizeof *d->labels);
    }
    return read_labels(d, t, qx_net_n_classes(net), path, err);
}

/* Header, then the values: whole, or by evenly spaced samples. */
static uint64_t hash_of(const struct qx_dataset *d)
{
    const char *id = qx_model_id(d->model);
    uint64_t h = qx_hash64(id, strlen(id), 0);
    for (int64_t i = 0; i < qx_model_n_tensors(d->model); i++) {
        const struct qx_tensor *t = qx_model_tensor(d->model, i);
        if (t->bytes <= HASH_WHOLE_BYTES) {
            h = qx_hash64(t->data, t->bytes, h);
            continue;
        }
        const uint64_t step = (t->bytes - HASH_SAMPLE_BYTES) / (HASH_SAMPLES - 1);
        for (uint64_t k = 0; k < HASH_SAMPLES; k++) {
            h = qx_hash64(t->data + k * step, HASH_SAMPLE_BYTES, h);
        }
    }
    return h;
}

/* The mask over one row's ids: what is not there becomes -1. */
static enum qx_status mask_row(const struct qx_dataset *d, int64_t row, float *x,
                               struct qx_error *err)
{
    float block[256];
    const int64_t len = d->x->shape[1], most = (int64_t)(sizeof block / sizeof *block);
    enum qx_status st = QX_OK;
    for (int64_t at = 0; st == QX_OK && d->mask && at < len; at += most) {
        const int64_t n = len - at < most ? len - at : most;
        st = qx_tensor_read(d->mask, row * len + at, n, block, err);
        for (int64_t i = 0; st == QX_OK && i < n; i++) {
            x[at + i] = block[i] == 0.0f ? -1.0f : x[at + i];
        }
    }
    return st;
}

static enum qx_status read_sequences(const struct qx_dataset *d, int64_t first, int64_t n, float *x,
                                     struct qx_error *err)
{
    const int64_t len = d->x->shape[1];
    enum qx_status st = QX_OK;
    for (int64_t row = first; st == QX_OK && row < first + n; row++, x += d->sample_size) {
        st = qx_tensor_read(d->x, row * len, len, x, err);
        for (int64_t i = 0; st == QX_OK && i < len; i++) {
            if (!(x[i] >= 0.0f)) {
                st = qx_fail_at(err, QX_EDATA, d->path, "input_ids", -1,
                                "%s: row %lld, place %lld holds the id %.9g; ids count from 0",
                                d->path, (long long)row, (long long)i, (double)x[i]);
            }
        }
        for (int64_t i = len; i < d->sample_size; i++) {
            x[i] = -1.0f;
        }
        st = st == QX_OK ? mask_row(d, row, x, err) : st;
        for (int64_t i = 0; st == QX_OK && d->vocabulary > 0 && i < len; i++) {
            if (x[i] >= (float)d->vocabulary) {
                st = qx_fail_at(
                    err, QX_EDATA, d->path, "input_ids", -1,
                    "%s: row %lld, place %lld holds the id %.9g; the vocabulary has %lld entries",
                    d->path, (long long)row, (long long)i, (double)x[i], (long long)d->vocabulary);
            }
        }
        if (st == QX_OK && x[0] == -1.0f) {
            st = qx_fail_at(
                err, QX_EDATA, d->path, "attention_mask", -1,
                "%s: the mask leaves out the first place of row %lld, which the network needs",
                d->path, (long long)row);
        }
    }
    return st;
}

static enum qx_status tensors_open(struct qx_dataset *d, const struct qx_net *net,
                                   const struct qx_dataset_options *options, struct qx_error *err)
{
    (void)options;
    enum qx_status st = qx_model_open(d->path, &d->model, err);
    if (st == QX_OK) {
        st = strcmp(qx_net_task(net), "language-modelling") == 0 ? qx_documents_open(d, net, err)
             : qx_net_input_is_sequence(net)                     ? find_ids(d, net, d->path, err)
                                                                 : find_x(d, net, d->path, err);
    }
    if (st == QX_OK && strcmp(qx_net_task(net), "embedding") != 0) { /* those have no classes */
        st = find_labels(d, net, d->path, err);
    }
    if (st == QX_OK) {
        d->hash = hash_of(d);
    }
    return st;
}

static enum qx_status tensors_read(const struct qx_dataset *d, int64_t first, int64_t n, float *x,
                                   struct qx_error *err)
{
    const int64_t size = n * d->sample_size;
    enum qx_status st = d->is_documents ? qx_documents_read(d, first, n, x, err)
                        : d->is_sequence
                            ? read_sequences(d, first, n, x, err)
                            : qx_tensor_read(d->x, first * d->sample_size, size, x, err);
    if (st == QX_OK && qx_model_torn(d->model, d->x)) {
        st = qx_fail_at(err, QX_EIO, d->path, "x", -1,
                        "%s was cut short while it was read; restore the file and open it again",
                        d->path);
    }
    for (int64_t i = 0; st == QX_OK && d->is_scaled && i < size; i++) {
        x[i] = (float)(((double)x[i] - d->offset) * d->scale);
    }
    return st;
}

const struct qx_dataset_kind qx_dataset_tensors = {.open = tensors_open, .read = tensors_read};
