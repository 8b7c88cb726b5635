/* Bases and entries on disk: one file each, host byte order, with the caller's key and a checksum. */
#include "eval/predict_impl.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <math.h>
#include <string.h>

#define MOST_BYTES ((size_t)1 << 30)

struct head {
    char magic[8];
    uint64_t key;
    uint64_t payload_bytes;
    uint64_t checksum;
};
static const char magic_base[8] = "qxpred3b", magic_entry[8] = "qxpred3e";

struct base_head {
    int64_t n;
    int64_t n_classes;
    int64_t has_labels; /* 0 or 1 */
    int64_t width;      /* of the vectors that the logits are similarities of; 0: of none */
};

struct entry_head {
    uint64_t base_id, key;
    int64_t layer, family, n, width;
    double param, gamma, norm;
    struct qx_amplitude t;
    struct qx_predict_truth truth;
};

/* ---- the envelope ---- */

static enum qx_status file_write(const char *path, const char magic[8], uint64_t key,
                                 struct qx_buf *b, struct qx_error *err)
{
    struct head h = {.key = key};
    enum qx_status st = QX_OK;
    memcpy(h.magic, magic, sizeof h.magic);
    if (b->oom) {
        st = qx_fail_nomem(err, sizeof h);
    } else {
        h.payload_bytes = b->len - sizeof h;
        h.checksum = qx_hash64(b->data + sizeof h, b->len - sizeof h, key);
        memcpy(b->data, &h, sizeof h);
        st = qx_fs_write_atomic(path, b->data, b->len, err);
    }
    qx_buf_release(b);
    return st;
}

static enum qx_status damaged(const char *path, struct qx_error *err)
{
    return qx_fail_at(err, QX_EFORMAT, path, NULL, -1,
                      "%s is no measurement of this network and these rows, or is damaged; it will "
                      "be measured again",
                      path);
}

/* The payload of a whole file; free *text. */
static enum qx_status file_read(const char *path, const char magic[8], uint64_t key, char **text,
                                const char **payload, size_t *len, struct qx_error *err)
{
    struct head h;
    size_t bytes;
    enum qx_status st = qx_fs_read(path, MOST_BYTES, text, &bytes, err);
    if (st != QX_OK) {
        return st;
    }
    if (bytes >= sizeof h) {
        memcpy(&h, *text, sizeof h);
        *payload = *text + sizeof h;
        *len = bytes - sizeof h;
        if (memcmp(h.magic, magic, sizeof h.magic) == 0 && h.key == key &&
            h.payload_bytes == *len && h.checksum == qx_hash64(*payload, *len, key)) {
            return QX_OK;
        }
    }
    qx_mem_free(*text);
    *text = NULL;
    return damaged(path, err);
}

static void begin(struct qx_buf *b)
{
    const struct head h = {.key = 0};
    qx_buf_add(b, &h, sizeof h);
}

static bool all_finite(const float *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(v[i])) {
            return false;
        }
    }
    return true;
}

/* ---- P ---- */

enum qx_status qx_predict_base_save(const struct qx_predict_base *base, const char *path,
                                    uint64_t key, struct qx_error *err)
{
    const struct base_head h = {base->n, base->n_classes, base->labels != NULL,
                                qx_base_is_similarities(base) ? base->width : 0};
    const size_t n = (size_t)base->n;
    struct qx_buf b = {0};
    begin(&b);
    qx_buf_add(&b, &h, sizeof h);
    qx_buf_add(&b, base->rows, n * sizeof *base->rows);
    qx_buf_add(&b, base->z0, n * (size_t)base->n_classes * sizeof *base->z0);
    qx_buf_add(&b, base->v0, n * (size_t)h.width * sizeof *base->v0);
    if (base->labels) {
        qx_buf_add(&b, base->labels, n * sizeof *base->labels);
    }
    return file_write(path, magic_base, key, &b, err);
}

/* Rows ascending from 0 on; the rest is checked where P is made. */
static enum qx_status base_take(const char *payload, size_t len, const struct base_head *h,
                                struct qx_predict_base **out, struct qx_error *err)
{
    const size_t n = (size_t)h->n, cells = n * (size_t)h->n_classes, more = n * (size_t)h->width;
    int64_t *rows = qx_mem_array(n, sizeof *rows);
    float *z = qx_mem_array(cells + more, sizeof *z);
    int32_t *labels = qx_mem_array(n, sizeof *labels);
    enum qx_status st = rows && z && labels ? QX_OK : qx_fail_nomem(err, len);
    if (st == QX_OK) {
        const char *p = payload + sizeof *h;
        memcpy(rows, p, n * sizeof *rows);
        memcpy(z, p + n * sizeof *rows, (cells + more) * sizeof *z);
        if (h->has_labels) {
            memcpy(labels, p + n * sizeof *rows + (cells + more) * sizeof *z, n * sizeof *labels);
        }
        for (size_t i = 0; st == QX_OK && i < n; i++) {
            st = rows[i] > (i ? rows[i - 1] : -1) ? QX_OK : QX_EFORMAT;
        }
        st = st == QX_OK && all_finite(z + cells, more) ? QX_OK : QX_EFORMAT;
    }
    if (st == QX_OK) {
        const struct qx_base_parts parts = {.z = z,
                                            .labels = h->has_labels ? labels : NULL,
                                            .rows = rows,
                                            .n = h->n,
                                            .n_classes = (int)h->n_classes,
                                            .is_centred = true,
                                            .vectors = h->width > 0 ? z + cells : NULL,
                                            .width = (int)h->width};
        st = qx_base_make(&parts, out, err);
    }
    qx_mem_free(rows);
    qx_mem_free(z);
    qx_mem_free(labels);
    return st;
}

static bool base_is_sound(const struct base_head *h, size_t left)
{
    const int64_t most = (int64_t)left;
    return h->n > 0 && h->n <= most && h->n_classes > 1 && h->n_classes <= most / h->n &&
           h->width >= 0 && h->width <= most / h->n && (h->has_labels | 1) == 1 &&
           left ==
               (size_t)h->n * (8 + (size_t)(h->n_classes + h->width) * 4 + (h->has_labels ? 4 : 0));
}

enum qx_status qx_predict_base_load(const char *path, uint64_t key, struct qx_predict_base **out,
                                    struct qx_error *err)
{
    char *text = NULL;
    const char *payload;
    size_t len;
    struct base_head h;
    enum qx_status st = file_read(path, magic_base, key, &text, &payload, &len, err);
    if (st != QX_OK) {
        return st;
    }
    st = QX_EFORMAT;
    if (len >= sizeof h) {
        memcpy(&h, payload, sizeof h);
        const size_t left = len - sizeof h;
        if (base_is_sound(&h, left)) {
            st = base_take(payload, len, &h, out, err);
        }
    }
    qx_mem_free(text);
    return st == QX_OK || st == QX_ENOMEM ? st : damaged(path, err);
}

/* ---- entries ---- */

enum qx_status qx_predict_entry_save(const struct qx_predict_entry *e, const char *path,
                                     uint64_t key, struct qx_error *err)
{
    struct entry_head h;
    struct qx_buf b = {0};
    memset(&h, 0, sizeof h);
    h.base_id = e->base_id;
    h.key = e->key;
    h.layer = e->spec.layer;
    h.family = e->spec.family;
    h.param = e->spec.param;
    h.n = e->n;
    h.width = e->width;
    h.t = e->t;
    h.gamma = e->gamma;
    h.norm = e->norm;
    h.truth = e->truth;
    begin(&b);
    qx_buf_add(&b, &h, sizeof h);
    qx_buf_add(&b, e->b, (size_t)e->width * sizeof *e->b);
    qx_buf_add(&b, e->r, (size_t)e->n * (size_t)e->width * sizeof *e->r);
    return file_write(path, magic_entry, key, &b, err);
}

static bool amplitude_is_sound(const struct qx_amplitude *t)
{
    return isfinite(t->round) && isfinite(t->clip) && t->round >= 0.0 && t->clip >= 0.0;
}

static bool entry_is_sound(const struct entry_head *h, const struct qx_predict_base *base,
                           size_t left)
{
    return h->base_id == base->id && h->n == base->n && h->width == base->width && h->layer >= 0 &&
           h->layer <= INT32_MAX && h->family >= 0 && h->family < QX_FAMILY_COUNT &&
           isfinite(h->param) && amplitude_is_sound(&h->t) && isfinite(h->gamma) &&
           isfinite(h->norm) && h->norm >= 0.0 && isfinite(h->truth.kl) &&
           left == (size_t)h->width * sizeof(float) +
                       (size_t)h->n * (size_t)h->width * sizeof(uint16_t);
}

enum qx_status qx_predict_entry_load(const char *path, uint64_t key,
                                     const struct qx_predict_base *base,
                                     struct qx_predict_entry **out, struct qx_error *err)
{
    char *text = NULL;
    const char *payload;
    size_t len;
    struct entry_head h;
    struct qx_predict_entry *e = NULL;
    enum qx_status st = file_read(path, magic_entry, key, &text, &payload, &len, err);
    if (st != QX_OK) {
        return st;
    }
    st = QX_EFORMAT;
    if (len >= sizeof h) {
        memcpy(&h, payload, sizeof h);
        st = entry_is_sound(&h, base, len - sizeof h)
                 ? qx_entry_alloc(base->n, base->width, &e, err)
                 : QX_EFORMAT;
    }
    if (st == QX_OK) {
        const char *p = payload + sizeof h;
        const size_t b_bytes = (size_t)base->width * sizeof *e->b;
        e->base_id = h.base_id;
        e->spec = (struct qx_predict_spec){(int)h.layer, (enum qx_family)h.family, h.param};
        e->key = h.key;
        e->t = h.t;
        e->gamma = h.gamma;
        e->norm = h.norm;
        e->truth = h.truth;
        memcpy(e->b, p, b_bytes);
        memcpy(e->r, p + b_bytes, len - sizeof h - b_bytes);
        st = all_finite(e->b, (size_t)base->width) && qx_entry_is_finite(e) ? QX_OK : QX_EFORMAT;
    }
    qx_mem_free(text);
    if (st != QX_OK) {
        qx_predict_entry_unref(e);
        return st == QX_ENOMEM ? st : damaged(path, err);
    }
    *out = e;
    return QX_OK;
}
