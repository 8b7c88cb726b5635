/* What calibration saw, kept: shared by reference count, and as a file. The file is a header with
 * version, key and checksum, then each layer's figures as they lie in memory and its histogram. */
#include "eval/calibration.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/json.h"

#include <string.h>

enum { VERSION = 2, MAX_BYTES = 1 << 30 };

struct header {
    char magic[8];
    uint32_t version, layer_bytes;
    uint64_t key, checksum, payload_bytes;
    int64_t n_layers, n_rows;
};

/* One layer in the file, before its arrays. */
struct layer_head {
    struct qx_channels layout;
    int64_t n_batches, n_rows, n_tokens, n_strip, n_error_rows;
    uint64_t hist_bytes;
    double sq_x, sq_err[2][2][QX_ACT_WIDTHS];
};

static const char magic[8] = "QXCALIB\n";

struct qx_calibration *qx_calibration_new(int n_layers, int64_t n_rows)
{
    struct qx_calibration *c = qx_mem_zalloc(sizeof *c);
    if (!c) {
        return NULL;
    }
    c->layers = qx_mem_zalloc(((size_t)n_layers + 1) * sizeof *c->layers);
    if (!c->layers) {
        qx_mem_free(c);
        return NULL;
    }
    c->n_layers = n_layers;
    c->n_rows = n_rows;
    atomic_init(&c->n_refs, 1);
    return c;
}

struct qx_calibration *qx_calibration_ref(struct qx_calibration *c)
{
    atomic_fetch_add_explicit(&c->n_refs, 1, memory_order_relaxed);
    return c;
}

void qx_calibration_unref(struct qx_calibration *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->n_refs, 1, memory_order_acq_rel) > 1) {
        return;
    }
    for (int i = 0; i < c->n_layers; i++) {
        qx_observed_release(&c->layers[i]);
    }
    qx_mem_free(c->layers);
    qx_mem_free(c);
}

int64_t qx_calibration_rows(const struct qx_calibration *c)
{
    return c->n_rows;
}

const struct qx_observed *qx_calibration_layer(const struct qx_calibration *c, int layer)
{
    return layer >= 0 && layer < c->n_layers ? &c->layers[layer] : NULL;
}

/* ---- writing ---- */

static enum qx_status layer_put(struct qx_buf *b, const struct qx_observed *o, uint64_t key,
                                struct qx_error *err)
{
    char *hist;
    size_t len;
    enum qx_status st = qx_hist_encode(o->hist, key, &hist, &len, err);
    if (st != QX_OK) {
        return st;
    }
    struct layer_head head = {.layout = o->layout,
                              .n_batches = o->n_batches,
                              .n_rows = o->n_rows,
                              .n_tokens = o->n_tokens,
                              .n_strip = o->n_strip,
                              .n_error_rows = o->n_error_rows,
                              .hist_bytes = len,
                              .sq_x = o->sq_x};
    memcpy(head.sq_err, o->sq_err, sizeof head.sq_err);
    qx_buf_add(b, &head, sizeof head);
    qx_buf_add(b, o->lo, (size_t)o->n_batches * sizeof *o->lo);
    qx_buf_add(b, o->hi, (size_t)o->n_batches * sizeof *o->hi);
    qx_buf_add(b, o->channel_max, (size_t)o->layout.count * sizeof *o->channel_max);
    qx_buf_add(b, o->strip, (size_t)o->n_strip * sizeof *o->strip);
    qx_buf_add(b, hist, len);
    qx_free_text(hist);
    return QX_OK;
}

enum qx_status qx_calibration_save(const struct qx_calibration *c, const char *path, uint64_t key,
                                   struct qx_error *err)
{
    struct qx_buf b = {0};
    struct header head = {.version = VERSION,
                          .layer_bytes = sizeof(struct layer_head),
                          .key = key,
                          .n_layers = c->n_layers,
                          .n_rows = c->n_rows};
    enum qx_status st = QX_OK;
    memcpy(head.magic, magic, sizeof magic);
    qx_buf_add(&b, &head, sizeof head);
    for (int i = 0; st == QX_OK && i < c->n_layers; i++) {
        st = layer_put(&b, &c->layers[i], key, err);
    }
    if (st == QX_OK && b.oom) {
        st = qx_fail_nomem(err, b.len);
    }
    if (st == QX_OK) {
        head.payload_bytes = b.len - sizeof head;
        head.checksum = qx_hash64(b.data + sizeof head, b.len - sizeof head, key);
        memcpy(b.data, &head, sizeof head);
        st = qx_fs_write_atomic(path, b.data, b.len, err);
    }
    qx_buf_release(&b);
    return st;
}

/* ---- reading ---- */

struct cursor {
    const char *p;
    size_t left;
};

static bool take(struct cursor *c, void *out, size_t n)
{
    if (c->left < n) {
        return false;
    }
    memcpy(out, c->p, n);
    c->p += n;
    c->left -= n;
    return true;
}

/* A new array of n floats; the count is checked against what is left before anything is allocated. */
static enum qx_status floats_take(struct cursor *c, int64_t n, float **out)
{
    if (n < 0 || (uint64_t)n > c->left / sizeof **out) {
        return QX_EFORMAT;
    }
    *out = qx_mem_array((size_t)n + 1, sizeof **out);
    if (!*out) {
        return QX_ENOMEM;
    }
    take(c, *out, (size_t)n * sizeof **out);
    return QX_OK;
}

static bool head_fits(const struct layer_head *head, const struct qx_net *net, int layer)
{
    struct qx_channels l = {0};
    qx_net_layer_input(net, layer, &l);
    return head->layout.outer == l.outer && head->layout.count == l.count &&
           head->layout.inner == l.inner && head->n_strip <= QX_STRIP_MOST &&
           head->n_strip <= head->n_tokens;
}

static enum qx_status layer_take(struct cursor *c, uint64_t key, const struct qx_net *net,
                                 int layer, struct qx_observed *o)
{
    struct layer_head head;
    if (!take(c, &head, sizeof head) || !head_fits(&head, net, layer)) {
        return QX_EFORMAT;
    }
    o->layout = head.layout;
    o->n_rows = head.n_rows;
    o->n_tokens = head.n_tokens;
    o->n_error_rows = head.n_error_rows;
    o->sq_x = head.sq_x;
    memcpy(o->sq_err, head.sq_err, sizeof o->sq_err);
    enum qx_status st = floats_take(c, head.n_batches, &o->lo);
    st = st == QX_OK ? floats_take(c, head.n_batches, &o->hi) : st;
    st = st == QX_OK ? floats_take(c, head.layout.count, &o->channel_max) : st;
    st = st == QX_OK ? floats_take(c, head.n_strip, &o->strip) : st;
    if (st == QX_OK && head.hist_bytes > c->left) {
        st = QX_EFORMAT;
    }
    if (st == QX_OK) {
        o->n_batches = head.n_batches;
        o->n_strip = head.n_strip;
        st = qx_hist_decode(c->p, (size_t)head.hist_bytes, key, &o->hist, NULL);
        c->p += head.hist_bytes;
        c->left -= (size_t)head.hist_bytes;
    }
    return st;
}

static bool header_fits(const struct header *head, const char *data, size_t len, uint64_t key,
                        int n_layers)
{
    return memcmp(head->magic, magic, sizeof magic) == 0 && head->version == VERSION &&
           head->layer_bytes == sizeof(struct layer_head) && head->key == key &&
           head->n_layers == n_layers && head->n_rows > 0 &&
           head->payload_bytes == len - sizeof *head &&
           head->checksum == qx_hash64(data + sizeof *head, len - sizeof *head, key);
}

static enum qx_status all_take(const char *data, size_t len, uint64_t key, const struct qx_net *net,
                               struct qx_calibration **out)
{
    const int n_layers = qx_net_n_layers(net);
    struct header head;
    struct cursor c = {data, len};
    if (!take(&c, &head, sizeof head) || !header_fits(&head, data, len, key, n_layers)) {
        return QX_EFORMAT;
    }
    struct qx_calibration *r = qx_calibration_new(n_layers, head.n_rows);
    enum qx_status st = r ? QX_OK : QX_ENOMEM;
    for (int i = 0; st == QX_OK && i < n_layers; i++) {
        st = layer_take(&c, key, net, i, &r->layers[i]);
    }
    if (st == QX_OK && c.left > 0) {
        st = QX_EFORMAT;
    }
    if (st != QX_OK) {
        qx_calibration_unref(r);
        return st;
    }
    *out = r;
    return QX_OK;
}

enum qx_status qx_calibration_load(const struct qx_net *net, const char *path, uint64_t key,
                                   struct qx_calibration **out, struct qx_error *err)
{
    char *data = NULL;
    size_t len = 0;
    enum qx_status st = qx_fs_read(path, MAX_BYTES, &data, &len, err);
    if (st != QX_OK) {
        return st;
    }
    st = all_take(data, len, key, net, out);
    qx_mem_free(data);
    return st == QX_OK       ? QX_OK
           : st == QX_ENOMEM ? qx_fail_nomem(err, len)
                             : qx_fail_at(err, QX_EFORMAT, path, NULL, 0,
                                          "the kept calibration '%.200s' is of another build, "
                                          "model or data, or damaged; it is made again",
                                          path);
}
