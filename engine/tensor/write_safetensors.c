/* Writing safetensors: big dtypes first, then by name, no holes, header padded to 8, so that data is
 * aligned as the format's own writers leave it. */
#include "base/buf.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "kernels/kernels.h"
#include "qx/job.h"
#include "qx/json.h"
#include "qx/model.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 65536, RAW_BLOCK = 1 << 22 /* bytes between two looks at the cancel flag */ };

/* One tensor with its place in the file. */
struct placed {
    const struct qx_write_tensor *t;
    int64_t numel;
    uint64_t bytes;
};

static bool can_convert(enum qx_dtype dtype)
{
    return dtype == QX_DTYPE_F32 || dtype == QX_DTYPE_F16 || dtype == QX_DTYPE_BF16 ||
           dtype == QX_DTYPE_F64;
}

static enum qx_status place(const char *path, const struct qx_write_tensor *t, struct placed *out,
                            struct qx_error *err)
{
    const struct qx_dtype_info *info = qx_dtype_get(t->dtype);
    int64_t numel = 1, bits = 0;
    bool ok = true;
    for (int i = 0; i < t->rank; i++) {
        ok = ok && t->shape[i] >= 0 && qx_i64_mul(numel, t->shape[i], &numel);
    }
    ok = ok && qx_i64_mul(numel, info->bits, &bits) && bits % 8 == 0;
    if (!ok) {
        return qx_fail_at(err, QX_ERANGE, path, t->name, -1,
                          "cannot write '%.120s': the shape of tensor '%.120s' does not make whole "
                          "bytes of dtype %s",
                          path, t->name, info->name);
    }
    if (!t->raw && !t->read && bits > 0) {
        return qx_fail_at(err, QX_EBUG, path, t->name, -1,
                          "cannot write '%.120s': tensor '%.120s' has no values", path, t->name);
    }
    if (!t->raw && !can_convert(t->dtype)) {
        return qx_fail_at(err, QX_EUNSUPPORTED, path, t->name, -1,
                          "cannot write '%.120s': float values of tensor '%.120s' cannot be stored "
                          "as %s; use F32, F16, BF16 or F64",
                          path, t->name, info->name);
    }
    *out = (struct placed){t, numel, (uint64_t)(bits / 8)};
    return QX_OK;
}

static int by_dtype_and_name(const void *a, const void *b)
{
    const struct qx_write_tensor *x = ((const struct placed *)a)->t,
                                 *y = ((const struct placed *)b)->t;
    if (x->dtype != y->dtype) {
        return x->dtype > y->dtype ? -1 : 1;
    }
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum qx_status check_names(const char *path, const struct placed *order, int64_t n,
                                  struct qx_error *err)
{
    const char **names = qx_mem_array((size_t)n + 1, sizeof *names);
    enum qx_status st = QX_OK;
    if (!names) {
        return qx_fail_nomem(err, (size_t)n * sizeof *names);
    }
    for (int64_t i = 0; i < n; i++) {
        names[i] = order[i].t->name;
    }
    qsort(names, (size_t)n, sizeof *names, by_name);
    for (int64_t i = 1; i < n && st == QX_OK; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            st = qx_fail_at(err, QX_EDATA, path, names[i], -1,
                            "cannot write '%.200s': two tensors are called '%.200s'", path,
                            names[i]);
        }
    }
    qx_mem_free(names);
    return st;
}

static void put_metadata(struct qx_jw *w, const char *const (*meta)[2], int n_meta)
{
    bool has_format = false;
    qx_jw_key(w, "__metadata__");
    qx_jw_object(w);
    for (int i = 0; i < n_meta; i++) {
        has_format = has_format || strcmp(meta[i][0], "format") == 0;
    }
    if (!has_format) { /* loaders of transformers ask for it */
        qx_jw_key(w, "format");
        qx_jw_str(w, "pt");
    }
    for (int i = 0; i < n_meta; i++) {
        qx_jw_key(w, meta[i][0]);
        qx_jw_str(w, meta[i][1]);
    }
    qx_jw_end(w);
}

static void put_entry(struct qx_jw *w, const struct placed *p, uint64_t at)
{
    qx_jw_key(w, p->t->name);
    qx_jw_object(w);
    qx_jw_key(w, "dtype");
    qx_jw_str(w, qx_dtype_get(p->t->dtype)->name);
    qx_jw_key(w, "shape");
    qx_jw_array(w);
    for (int i = 0; i < p->t->rank; i++) {
        qx_jw_int(w, p->t->shape[i]);
    }
    qx_jw_end(w);
    qx_jw_key(w, "data_offsets");
    qx_jw_array(w);
    qx_jw_int(w, (int64_t)at);
    qx_jw_int(w, (int64_t)(at + p->bytes));
    qx_jw_end(w);
    qx_jw_end(w);
}

/* Length, JSON and padding. */
static enum qx_status write_header(struct qx_fs_out *o, const struct placed *order, int64_t n,
                                   const char *const (*meta)[2], int n_meta, struct qx_error *err)
{
    struct qx_jw *w = qx_jw_new(false);
    uint64_t at = 0;
    size_t len = 0;
    qx_jw_object(w);
    put_metadata(w, meta, n_meta);
    for (int64_t i = 0; i < n; i++) {
        put_entry(w, &order[i], at);
        at += order[i].bytes;
    }
    qx_jw_end(w);
    char *text = qx_jw_take(w, &len);
    if (!text) {
        return qx_fail_nomem(err, 0);
    }
    len -= len > 0 && text[len - 1] == '\n';
    uint64_t padded = (len + 7) / 8 * 8;
    uint8_t length[8];
    for (int i = 0; i < 8; i++) {
        length[i] = (uint8_t)(padded >> (8 * i));
    }
    enum qx_status st = qx_fs_out_write(o, length, sizeof length, err);
    if (st == QX_OK) {
        st = qx_fs_out_write(o, text, len, err);
    }
    if (st == QX_OK) {
        st = qx_fs_out_write(o, "        ", (size_t)(padded - len), err);
    }
    qx_free_text(text);
    return st;
}

static void convert(enum qx_dtype dtype, const float *x, size_t n, void *out)
{
    if (dtype == QX_DTYPE_F16) {
        qxk_get()->f32_to_f16(x, n, out);
    } else if (dtype == QX_DTYPE_BF16) {
        qxk_get()->f32_to_bf16(x, n, out);
    } else if (dtype == QX_DTYPE_F64) {
        for (size_t i = 0; i < n; i++) {
            ((double *)out)[i] = (double)x[i];
        }
    } else {
        memcpy(out, x, n * sizeof *x);
    }
}

struct scratch {
    float *x;  /* [BLOCK] */
    void *out; /* [BLOCK], 8 bytes each */
};

static enum qx_status write_raw(struct qx_fs_out *o, const struct placed *p, struct qx_ctl *ctl,
                                struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (uint64_t first = 0; first < p->bytes && st == QX_OK; first += RAW_BLOCK) {
        uint64_t n = p->bytes - first < RAW_BLOCK ? p->bytes - first : RAW_BLOCK;
        if (qx_cancel_test(ctl)) {
            return qx_fail(err, QX_ECANCELLED, "writing was cancelled");
        }
        st = qx_fs_out_write(o, p->t->raw + first, (size_t)n, err);
        qx_ctl_add(ctl, (int64_t)n);
    }
    return st;
}

static enum qx_status write_tensor(struct qx_fs_out *o, const struct placed *p,
                                   const struct scratch *s, struct qx_ctl *ctl,
                                   struct qx_error *err)
{
    size_t width = (size_t)qx_dtype_get(p->t->dtype)->bits / 8;
    enum qx_status st = QX_OK;
    if (p->t->raw) {
        return write_raw(o, p, ctl, err);
    }
    for (int64_t first = 0; first < p->numel && st == QX_OK; first += BLOCK) {
        int64_t n = p->numel - first < BLOCK ? p->numel - first : BLOCK;
        if (qx_cancel_test(ctl)) {
            return qx_fail(err, QX_ECANCELLED, "writing was cancelled");
        }
        st = p->t->read(p->t->arg, first, n, s->x, err);
        if (st == QX_OK) {
            convert(p->t->dtype, s->x, (size_t)n, s->out);
            st = qx_fs_out_write(o, s->out, (size_t)n * width, err);
        }
        qx_ctl_add(ctl, n * (int64_t)width);
    }
    return st;
}

static enum qx_status write_all(const char *path, const struct placed *order, int64_t n,
                                const char *const (*meta)[2], int n_meta, struct qx_ctl *ctl,
                                struct qx_error *err)
{
    struct qx_fs_out *o;
    struct scratch s = {qx_mem_array(BLOCK, sizeof(float)), qx_mem_array(BLOCK, sizeof(double))};
    enum qx_status st = s.x && s.out ? QX_OK : qx_fail_nomem(err, BLOCK * sizeof(double));
    if (st == QX_OK) {
        st = qx_fs_out_begin(path, &o, err);
    }
    if (st == QX_OK) {
        st = write_header(o, order, n, meta, n_meta, err);
        for (int64_t i = 0; i < n && st == QX_OK; i++) {
            st = write_tensor(o, &order[i], &s, ctl, err);
        }
        if (st == QX_OK) {
            st = qx_fs_out_commit(o, err);
        } else {
            qx_fs_out_abort(o);
        }
    }
    qx_mem_free(s.x);
    qx_mem_free(s.out);
    return st;
}

enum qx_status qx_safetensors_write(const char *path, const struct qx_write_tensor *tensors,
                                    int64_t n, const char *const (*meta)[2], int n_meta,
                                    struct qx_ctl *ctl, struct qx_error *err)
{
    struct placed *order = qx_mem_array((size_t)n + 1, sizeof *order);
    int64_t total = 0;
    enum qx_status st = order ? QX_OK : qx_fail_nomem(err, (size_t)n * sizeof *order);
    for (int64_t i = 0; i < n && st == QX_OK; i++) {
        st = place(path, &tensors[i], &order[i], err);
        total += st == QX_OK ? (int64_t)order[i].bytes : 0;
    }
    if (st == QX_OK) {
        qsort(order, (size_t)n, sizeof *order, by_dtype_and_name);
        st = check_names(path, order, n, err);
    }
    if (st == QX_OK) {
        qx_ctl_total(ctl, total);
        st = write_all(path, order, n, meta, n_meta, ctl, err);
    }
    qx_mem_free(order);
    return st;
}
