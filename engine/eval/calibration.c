/* What calibration saw, kept: shared by reference count, and as a file. The file is a header with
 * version, key and checksum, then the figures of each input as they lie in memory and its packed histogram. */
#include "eval/calibration.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mapfile.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

enum { VERSION = 3 };

struct header {
    char magic[8];
    uint32_t version, input_bytes;
    uint64_t key, checksum, payload_bytes;
    int64_t n_inputs, n_rows;
};

/* One input in the file, before its arrays. */
struct input_head {
    struct qx_channels layout;
    int64_t n_batches, n_rows, n_tokens, n_strip, n_error_rows;
    uint64_t hist_bytes;
    double sq_x, sq_err[2][2][QX_ACT_WIDTHS];
};

static const char magic[8] = "QXCALIB\n";

/* Does layer b see what layer a does? */
static bool is_same_input(const struct qx_net *net, int a, int b)
{
    struct qx_channels x = {0}, y = {0};
    const int value = qx_net_layer_reads(net, a);
    qx_net_layer_input(net, a, &x);
    qx_net_layer_input(net, b, &y);
    return value >= 0 && value == qx_net_layer_reads(net, b) && x.outer == y.outer &&
           x.count == y.count && x.inner == y.inner;
}

static void inputs_find(struct qx_calibration *c, const struct qx_net *net)
{
    for (int layer = 0; layer < c->n_layers; layer++) {
        int i = 0;
        while (i < c->n_inputs && !is_same_input(net, c->reader[i], layer)) {
            i++;
        }
        c->input[layer] = i;
        if (i == c->n_inputs) {
            c->reader[c->n_inputs++] = layer;
        }
    }
}

struct qx_calibration *qx_calibration_new(const struct qx_net *net, int64_t n_rows)
{
    struct qx_calibration *c = qx_mem_zalloc(sizeof *c);
    if (!c) {
        return NULL;
    }
    const size_t n = (size_t)qx_net_n_layers(net);
    atomic_init(&c->n_refs, 1);
    c->n_layers = (int)n;
    c->n_rows = n_rows;
    c->input = qx_mem_array(n + 1, sizeof *c->input);
    c->reader = qx_mem_array(n + 1, sizeof *c->reader);
    c->inputs = qx_mem_zalloc((n + 1) * sizeof *c->inputs);
    c->shelf = qx_hist_shelf_new();
    if (!c->input || !c->reader || !c->inputs || !c->shelf) {
        qx_calibration_unref(c);
        return NULL;
    }
    inputs_find(c, net);
    for (int i = 0; i < c->n_inputs; i++) {
        c->inputs[i].shelf = c->shelf;
    }
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
    qx_hist_shelf_free(c->shelf);
    for (int i = 0; c->inputs && i < c->n_inputs; i++) {
        qx_observed_release(&c->inputs[i]);
    }
    qx_mem_free(c->inputs);
    qx_mem_free(c->reader);
    qx_mem_free(c->input);
    qx_mem_free(c);
}

int64_t qx_calibration_rows(const struct qx_calibration *c)
{
    return c->n_rows;
}

const struct qx_observed *qx_calibration_layer(const struct qx_calibration *c, int layer)
{
    return layer >= 0 && layer < c->n_layers ? &c->inputs[c->input[layer]] : NULL;
}

/* ---- writing ---- */

/* Where the bytes behind the header go: to the file, or (NULL) into the checksum. */
struct sink {
    struct qx_fs_out *file;
    uint64_t bytes, checksum;
    enum qx_status st;
    struct qx_error *err;
};

static void put(struct sink *s, const void *data, size_t n)
{
    s->bytes += n;
    if (!s->file) {
        s->checksum = qx_hash64(data, n, s->checksum);
    } else if (s->st == QX_OK) {
        s->st = qx_fs_out_write(s->file, data, n, s->err);
    }
}

static void input_put(struct sink *s, const struct qx_observed *o)
{
    size_t hist_bytes;
    const void *hist = qx_hist_packed_data(o->packed, &hist_bytes);
    struct input_head head = {.layout = o->layout,
                              .n_batches = o->n_batches,
                              .n_rows = o->n_rows,
                              .n_tokens = o->n_tokens,
                              .n_strip = o->n_strip,
                              .n_error_rows = o->n_error_rows,
                              .hist_bytes = hist_bytes,
                              .sq_x = o->sq_x};
    memcpy(head.sq_err, o->sq_err, sizeof head.sq_err);
    put(s, &head, sizeof head);
    put(s, o->lo, (size_t)o->n_batches * sizeof *o->lo);
    put(s, o->hi, (size_t)o->n_batches * sizeof *o->hi);
    put(s, o->channel_max, (size_t)o->layout.count * sizeof *o->channel_max);
    put(s, o->strip, (size_t)o->n_strip * sizeof *o->strip);
    put(s, hist, hist_bytes);
}

enum qx_status qx_calibration_save(const struct qx_calibration *c, const char *path, uint64_t key,
                                   struct qx_error *err)
{
    struct sink sum = {.checksum = key}, out = {.err = err};
    struct header head = {.version = VERSION,
                          .input_bytes = sizeof(struct input_head),
                          .key = key,
                          .n_inputs = c->n_inputs,
                          .n_rows = c->n_rows};
    memcpy(head.magic, magic, sizeof magic);
    for (int i = 0; i < c->n_inputs; i++) {
        input_put(&sum, &c->inputs[i]);
    }
    head.payload_bytes = sum.bytes;
    head.checksum = sum.checksum;
    enum qx_status st = qx_fs_out_begin(path, &out.file, err);
    if (st != QX_OK) {
        return st;
    }
    put(&out, &head, sizeof head);
    for (int i = 0; i < c->n_inputs; i++) {
        input_put(&out, &c->inputs[i]);
    }
    if (out.st == QX_OK) {
        return qx_fs_out_commit(out.file, err);
    }
    qx_fs_out_abort(out.file);
    return out.st;
}

/* ---- reading ---- */

struct cursor {
    const uint8_t *p;
    size_t left;
    uint64_t checksum; /* of what was taken, part by part as it was put */
};

static bool skip(struct cursor *c, size_t n)
{
    if (c->left < n) {
        return false;
    }
    c->checksum = qx_hash64(c->p, n, c->checksum);
    c->p += n;
    c->left -= n;
    return true;
}

static bool take(struct cursor *c, void *out, size_t n)
{
    const uint8_t *from = c->p;
    const bool ok = skip(c, n);
    if (ok) {
        memcpy(out, from, n);
    }
    return ok;
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

static bool head_fits(const struct input_head *head, const struct qx_net *net, int layer)
{
    struct qx_channels l = {0};
    qx_net_layer_input(net, layer, &l);
    return head->layout.outer == l.outer && head->layout.count == l.count &&
           head->layout.inner == l.inner && head->n_strip <= QX_STRIP_MOST &&
           head->n_strip <= head->n_tokens;
}

static enum qx_status input_take(struct cursor *c, const struct qx_net *net, int layer,
                                 struct qx_observed *o)
{
    struct input_head head;
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
    const uint8_t *hist = c->p;
    if (st == QX_OK) {
        o->n_batches = head.n_batches;
        o->n_strip = head.n_strip;
        st = skip(c, (size_t)head.hist_bytes)
                 ? qx_hist_packed_read(hist, (size_t)head.hist_bytes, &o->packed)
                 : QX_EFORMAT;
    }
    return st;
}

static enum qx_status all_take(const struct qx_mapfile *file, uint64_t key,
                               const struct qx_net *net, struct qx_calibration **out)
{
    struct header head;
    struct cursor c = {.p = file->data, .left = (size_t)file->size};
    if (!take(&c, &head, sizeof head) || memcmp(head.magic, magic, sizeof magic) != 0 ||
        head.version != VERSION || head.input_bytes != sizeof(struct input_head) ||
        head.key != key || head.n_rows < 1 || head.payload_bytes != c.left) {
        return QX_EFORMAT;
    }
    c.checksum = key;
    struct qx_calibration *r = qx_calibration_new(net, head.n_rows);
    enum qx_status st = !r ? QX_ENOMEM : r->n_inputs == head.n_inputs ? QX_OK : QX_EFORMAT;
    for (int i = 0; st == QX_OK && i < r->n_inputs; i++) {
        st = input_take(&c, net, r->reader[i], &r->inputs[i]);
    }
    if (st == QX_OK && (c.left > 0 || c.checksum != head.checksum || qx_mapfile_torn(file))) {
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
    struct qx_mapfile file = {0};
    enum qx_status st = qx_mapfile_open(path, &file, err);
    if (st != QX_OK) {
        return st;
    }
    const uint64_t bytes = file.size;
    st = all_take(&file, key, net, out);
    qx_mapfile_close(&file);
    return st == QX_OK       ? QX_OK
           : st == QX_ENOMEM ? qx_fail_nomem(err, (size_t)bytes)
                             : qx_fail_at(err, QX_EFORMAT, path, NULL, 0,
                                          "the kept calibration '%.200s' is of another build, "
                                          "model or data, or damaged; it is made again",
                                          path);
}
