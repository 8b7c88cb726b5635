/* Images in idx files (LeCun's MNIST form), also compressed (.gz): two zero bytes, the dtype (8: u8), the rank,
 * big-endian dimensions, values. Labels are looked for in the file whose name has labels-idx1 for images-idx3. */
#include "eval/dataset.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/gunzip.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

enum { MAX_BYTES = 1 << 30, DTYPE_U8 = 8 };

static bool is_idx(const char *path)
{
    const char *name = qx_fs_basename(path);
    return strstr(name, "-idx3-ubyte") != NULL || strstr(name, ".idx3-ubyte") != NULL;
}

static int64_t number_at(const unsigned char *p)
{
    return (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | p[3];
}

/* The file as it was before it was compressed. */
static enum qx_status file_read(const char *path, char **out, size_t *len, struct qx_error *err)
{
    char *packed = NULL;
    size_t n = 0;
    enum qx_status st = qx_fs_read(path, MAX_BYTES, &packed, &n, err);
    if (st != QX_OK || !qx_is_gzip(packed, n)) {
        *out = packed;
        *len = n;
        return st;
    }
    st = qx_gunzip(path, packed, n, MAX_BYTES, out, len, err);
    qx_mem_free(packed);
    return st;
}

/* The file, its dimensions checked against its length. */
static enum qx_status idx_load(const char *path, int rank, unsigned char **out, int64_t *dim,
                               struct qx_error *err)
{
    char *bytes = NULL;
    size_t len = 0;
    enum qx_status st = file_read(path, &bytes, &len, err);
    if (st != QX_OK) {
        return st;
    }
    const unsigned char *p = (const unsigned char *)bytes;
    const size_t start = 4 + 4 * (size_t)rank;
    int64_t want = 1;
    const bool is_idx = len >= start && p[0] == 0 && p[1] == 0 && p[2] == DTYPE_U8 && p[3] == rank;
    bool has_size = is_idx;
    for (int i = 0; i < rank && has_size; i++) {
        dim[i] = number_at(p + 4 + 4 * i);
        has_size = qx_i64_mul(want, dim[i], &want);
    }
    if (has_size && want > 0 && (size_t)want == len - start) {
        *out = (unsigned char *)bytes;
        return QX_OK;
    }
    if (!is_idx) {
        st = qx_fail_at(err, QX_EFORMAT, path, NULL, 0,
                        "%s is no idx file of bytes with %d dimensions", path, rank);
    } else if (has_size && want == 0) {
        st = qx_fail_at(err, QX_EFORMAT, path, NULL, 4, "%s holds no rows", path);
    } else {
        st = qx_fail_at(err, QX_EFORMAT, path, NULL, 4,
                        "%s has %zu bytes behind its header, which are not as many as its sizes "
                        "say: cut short? Get it anew",
                        path, len - start);
    }
    qx_mem_free(bytes);
    return st;
}

static enum qx_status labels_find(struct qx_dataset *d, const struct qx_net *net,
                                  struct qx_error *err)
{
    char *path = qx_mem_strdup(d->path);
    char *at = path ? strstr(path + (qx_fs_basename(path) - path), "images") : NULL;
    if (!path) {
        return qx_fail_nomem(err, strlen(d->path));
    }
    char *rank = at ? strstr(at, "idx3") : NULL;
    if (rank) {
        memcpy(at, "labels", 6);
        memcpy(rank, "idx1", 4);
    }
    unsigned char *bytes = NULL;
    int64_t n = 0;
    enum qx_status st = QX_OK;
    if (rank && qx_fs_exists(path)) {
        st = idx_load(path, 1, &bytes, &n, err);
        if (st == QX_OK && n != d->n) {
            st = qx_fail_at(err, QX_EDATA, path, NULL, -1, "%s holds %lld labels for %lld images",
                            path, (long long)n, (long long)d->n);
        }
        d->labels = st == QX_OK ? qx_mem_array((size_t)n, sizeof *d->labels) : NULL;
        if (st == QX_OK && !d->labels) {
            st = qx_fail_nomem(err, (size_t)n * sizeof *d->labels);
        }
        for (int64_t i = 0; i < n && st == QX_OK; i++) {
            d->labels[i] = bytes[8 + i];
            if (d->labels[i] >= qx_net_n_classes(net)) {
                st = qx_fail_at(err, QX_EDATA, path, NULL, 8 + i,
                                "%s: image %lld has the label %d; the network has %d classes", path,
                                (long long)i, d->labels[i], qx_net_n_classes(net));
            }
        }
    }
    qx_mem_free(bytes);
    qx_mem_free(path);
    return st;
}

/* Scale and offset of the folder's own evaluation data hold for its images too; else 0 .. 1. */
static void scale_find(struct qx_dataset *d, const struct qx_net *net, int64_t by)
{
    char size[64] = "";
    if (by > 1) {
        snprintf(size, sizeof size, ", images shrunk by %lld", (long long)by);
    }
    struct qx_dataset *own = NULL;
    char *path = qx_fs_join(qx_model_folder(qx_net_model(net)), "eval.safetensors");
    d->is_scaled = true;
    d->scale = 1.0 / 255.0;
    if (path && qx_fs_exists(path) && qx_dataset_open(path, net, &own, NULL) == QX_OK &&
        own->is_scaled) {
        d->scale = own->scale;
        d->offset = own->offset;
        snprintf(d->note, sizeof d->note, "values scaled as in eval.safetensors%s", size);
    } else {
        snprintf(d->note, sizeof d->note, "values divided by 255%s", size);
    }
    qx_dataset_close(&own);
    qx_mem_free(path);
}

/* The network's plane is the images' at 1 / shrink of their size; 0: it is another one. */
static int64_t shrink_of(const struct qx_net *net, int64_t h, int64_t w)
{
    const int64_t *dim;
    const int rank = qx_net_input_shape(net, &dim);
    if (qx_net_input_is_ids(net)) {
        return 0;
    }
    if (h * w == qx_net_sample_size(net)) {
        return 1;
    }
    const bool is_plane = rank >= 2 && dim[rank - 2] * dim[rank - 1] == qx_net_sample_size(net);
    const int64_t by = is_plane ? h / dim[rank - 2] : 0;
    return by > 0 && by * dim[rank - 2] == h && by * dim[rank - 1] == w ? by : 0;
}

/* Means of squares of pixels, rounded to whole grey levels, in place. */
static void shrink(struct qx_dataset *d, int64_t h, int64_t w, int64_t by)
{
    const unsigned char *from = d->bytes + d->start;
    unsigned char *to = d->bytes + d->start;
    const int64_t area = by * by;
    for (int64_t line = 0; line < d->n * (h / by); line++, from += by * w) {
        for (int64_t x = 0; x < w; x += by) {
            int64_t sum = area / 2;
            for (int64_t k = 0; k < area; k++) {
                sum += from[k / by * w + x + k % by];
            }
            *to++ = (unsigned char)(sum / area);
        }
    }
}

static enum qx_status images_open(struct qx_dataset *d, const struct qx_net *net,
                                  const struct qx_dataset_options *options, struct qx_error *err)
{
    (void)options;
    int64_t dim[3] = {0};
    enum qx_status st = idx_load(d->path, 3, &d->bytes, dim, err);
    if (st != QX_OK) {
        return st;
    }
    d->n = dim[0];
    d->start = 16;
    d->sample_size = qx_net_sample_size(net);
    const int64_t by = shrink_of(net, dim[1], dim[2]);
    if (by == 0) {
        return qx_fail_at(err, QX_EDATA, d->path, NULL, -1,
                          "%s holds images of %lld x %lld; the network takes %lld values a row",
                          d->path, (long long)dim[1], (long long)dim[2], (long long)d->sample_size);
    }
    if (by > 1) {
        shrink(d, dim[1], dim[2], by);
    }
    scale_find(d, net, by);
    st = labels_find(d, net, err);
    if (st == QX_OK) {
        d->hash = qx_hash64(d->bytes, (size_t)(d->start + d->n * d->sample_size), 0);
        d->hash =
            d->labels ? qx_hash64(d->labels, (size_t)d->n * sizeof *d->labels, d->hash) : d->hash;
    }
    return st;
}

static enum qx_status images_read(const struct qx_dataset *d, int64_t first, int64_t n, float *x,
                                  struct qx_error *err)
{
    (void)err;
    const unsigned char *from = d->bytes + d->start + first * d->sample_size;
    for (int64_t i = 0; i < n * d->sample_size; i++) {
        x[i] = (float)(((double)from[i] - d->offset) * d->scale);
    }
    return QX_OK;
}

const struct qx_dataset_kind qx_dataset_images = {
    .is_file = is_idx, .open = images_open, .read = images_read};
