/* The cache form of a histogram: a header with version, key and checksum, then its arrays as they lie
 * in memory. Host byte order; a file of another build or host is refused, and built again. */
#include "base/buf.h"
#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "tensor/hist_priv.h"

#include <string.h>

enum { VERSION = 2, MAX_BYTES = 1 << 30 };

struct header {
    char magic[8];
    uint32_t version, fixed_bytes;
    uint64_t key, checksum, payload_bytes;
};

/* One table in the file, before its lines. */
struct table_head {
    int32_t n_bins, n_lines;
    double key_scale, lin_lo, lin_inv, rho;
    int64_t is_linear;
};

static const char magic[8] = "QXHIST\r\n";

static void put_table(struct qx_buf *b, const struct qx_hist_table *t)
{
    struct table_head head = {.n_bins = t->n_bins,
                              .n_lines = t->n_lines,
                              .key_scale = t->key_scale,
                              .lin_lo = t->lin_lo,
                              .lin_inv = t->lin_inv,
                              .rho = t->rho,
                              .is_linear = t->is_linear};
    qx_buf_add(b, &head, sizeof head);
    qx_buf_add(b, t->lines, ((size_t)t->n_lines + 1) * sizeof *t->lines);
}

static enum qx_status encode(const struct qx_hist *h, uint64_t key, char **out, size_t *len,
                             struct qx_error *err)
{
    struct qx_buf b = {0};
    struct header head = {.version = VERSION, .fixed_bytes = sizeof h->f, .key = key};
    int64_t n_classes = h->tables.n_classes;
    memcpy(head.magic, magic, sizeof magic);
    qx_buf_add(&b, &head, sizeof head);
    qx_buf_add(&b, &h->f, sizeof h->f);
    qx_buf_add(&b, h->units.lo, (size_t)h->units.n * sizeof(float));
    qx_buf_add(&b, h->units.hi, (size_t)h->units.n * sizeof(float));
    qx_buf_add(&b, h->units.absmax, (size_t)h->units.n * sizeof(float));
    qx_buf_add(&b, h->pieces.x, (size_t)h->pieces.n * QX_HIST_PIECE * sizeof(float));
    qx_buf_add(&b, h->pieces.len, (size_t)h->pieces.n * sizeof(int32_t));
    qx_buf_add(&b, &n_classes, sizeof n_classes);
    put_table(&b, &h->tables.main);
    for (int i = 0; i < h->tables.n_classes; i++) {
        put_table(&b, &h->tables.classes[i]);
    }
    if (b.oom) {
        qx_buf_release(&b);
        return qx_fail_nomem(err, h->bytes);
    }
    head.payload_bytes = b.len - sizeof head;
    head.checksum = qx_hash64(b.data + sizeof head, b.len - sizeof head, key);
    memcpy(b.data, &head, sizeof head);
    *len = b.len;
    *out = qx_buf_take(&b);
    return QX_OK;
}

enum qx_status qx_hist_save(const struct qx_hist *h, const char *path, uint64_t key,
                            struct qx_error *err)
{
    char *data = NULL;
    size_t len = 0;
    enum qx_status st = encode(h, key, &data, &len, err);
    if (st == QX_OK) {
        st = qx_fs_write_atomic(path, data, len, err);
        qx_mem_free(data);
    }
    return st;
}

/* ---- loading ---- */

struct cursor {
    const char *p;
    size_t left;
};

static bool take(struct cursor *c, void *out, size_t n)
{
    if (c->left < n) {
        return false;
    }
    if (n > 0) {
        memcpy(out, c->p, n);
    }
    c->p += n;
    c->left -= n;
    return true;
}

static bool lines_ascend(const struct qx_hist_line *lines, const struct table_head *head)
{
    for (int i = 0; i < head->n_lines; i++) {
        if (lines[i].bin >= (uint32_t)head->n_bins || (i > 0 && lines[i].bin <= lines[i - 1].bin)) {
            return false;
        }
    }
    return true;
}

static enum qx_status take_table(struct cursor *c, struct qx_hist *h, struct qx_hist_table *t)
{
    struct table_head head;
    struct qx_hist_line *lines;
    uint16_t *first;
    if (!take(c, &head, sizeof head) || head.n_bins < 1 || head.n_bins > QX_HIST_BINS ||
        head.n_lines < 0 || head.n_lines >= 65535 || head.n_lines > head.n_bins) {
        return QX_EFORMAT;
    }
    t->n_bins = head.n_bins;
    t->n_lines = head.n_lines;
    t->key_scale = head.key_scale;
    t->is_linear = head.is_linear != 0;
    t->lin_lo = head.lin_lo;
    t->lin_inv = head.lin_inv;
    t->rho = head.rho;
    size_t bytes = ((size_t)head.n_lines + 1) * sizeof *lines;
    if (c->left < bytes) {
        return QX_EFORMAT;
    }
    if (!qx_hist_table_new(h, t, &lines, &first)) {
        return QX_ENOMEM;
    }
    take(c, lines, bytes);
    if (!lines_ascend(lines, &head)) {
        return QX_EFORMAT;
    }
    const struct qx_hist_line *end = &lines[head.n_lines];
    struct qx_hist_fill total = {end->n0, end->p0, end->p1, end->p2, end->m0, end->m1};
    qx_hist_table_finish(&total, lines, head.n_lines, first, head.n_bins);
    return QX_OK;
}

static enum qx_status take_units(struct cursor *c, struct qx_hist *h)
{
    int64_t n = h->f.n_units;
    if (n < 0 || (uint64_t)n > c->left / (3 * sizeof(float))) {
        return QX_EFORMAT;
    }
    if (!qx_hist_units_new(h, n)) {
        return QX_ENOMEM;
    }
    take(c, (void *)(uintptr_t)h->units.lo, (size_t)n * 3 * sizeof(float));
    return QX_OK;
}

static enum qx_status take_pieces(struct cursor *c, struct qx_hist *h)
{
    if (h->f.n_pieces < 0 || h->f.n_pieces > QX_HIST_PIECES) {
        return QX_EFORMAT;
    }
    if (!qx_hist_pieces_new(h)) {
        return QX_ENOMEM;
    }
    const size_t n = (size_t)h->f.n_pieces;
    bool ok = take(c, (void *)(uintptr_t)h->pieces.x, n * QX_HIST_PIECE * sizeof(float)) &&
              take(c, (void *)(uintptr_t)h->pieces.len, n * sizeof(int32_t));
    for (size_t i = 0; ok && i < n; i++) {
        ok = h->pieces.len[i] > 0 && h->pieces.len[i] <= QX_HIST_PIECE;
    }
    return ok ? QX_OK : QX_EFORMAT;
}

static enum qx_status take_all(struct cursor *c, struct qx_hist *h)
{
    int64_t n_classes = 0;
    if (!take(c, &h->f, sizeof h->f)) {
        return QX_EFORMAT;
    }
    enum qx_status st = take_units(c, h);
    st = st == QX_OK ? take_pieces(c, h) : st;
    if (st != QX_OK) {
        return st;
    }
    if (!take(c, &n_classes, sizeof n_classes) || n_classes < 0 || n_classes > QX_HIST_CLASSES) {
        return QX_EFORMAT;
    }
    st = take_table(c, h, &h->tables.main);
    struct qx_hist_table *classes = qx_hist_array(h, (size_t)n_classes, sizeof *classes);
    if (!classes) {
        return QX_ENOMEM;
    }
    for (int64_t i = 0; st == QX_OK && i < n_classes; i++) {
        st = take_table(c, h, &classes[i]);
    }
    h->tables.classes = n_classes > 0 ? classes : NULL;
    h->tables.n_classes = (int)n_classes;
    h->tables.a_min = h->f.a_min;
    h->tables.a_max = h->f.a_max;
    return st == QX_OK && c->left > 0 ? QX_EFORMAT : st;
}

static bool header_fits(const char *data, size_t len, uint64_t key)
{
    struct header head;
    if (len < sizeof head) {
        return false;
    }
    memcpy(&head, data, sizeof head);
    return memcmp(head.magic, magic, sizeof magic) == 0 && head.version == VERSION &&
           head.fixed_bytes == sizeof(struct qx_hist_fixed) && head.key == key &&
           head.payload_bytes == len - sizeof head &&
           head.checksum == qx_hash64(data + sizeof head, len - sizeof head, key);
}

static enum qx_status decode(const char *data, size_t len, uint64_t key, struct qx_hist **out,
                             struct qx_error *err)
{
    struct qx_hist *h = NULL;
    enum qx_status st = header_fits(data, len, key) ? QX_OK : QX_EFORMAT;
    if (st == QX_OK) {
        h = qx_hist_new();
        struct cursor c = {data + sizeof(struct header), len - sizeof(struct header)};
        st = h ? take_all(&c, h) : QX_ENOMEM;
    }
    if (st == QX_OK) {
        *out = h;
        return QX_OK;
    }
    qx_hist_unref(h);
    return st == QX_ENOMEM ? qx_fail_nomem(err, len)
                           : qx_fail(err, QX_EFORMAT,
                                     "the histogram is of another build, model or setting, or "
                                     "damaged; it is built again");
}

enum qx_status qx_hist_load(const char *path, uint64_t key, struct qx_hist **out,
                            struct qx_error *err)
{
    char *data = NULL;
    size_t len = 0;
    enum qx_status st = qx_fs_read(path, MAX_BYTES, &data, &len, err);
    if (st != QX_OK) {
        return st;
    }
    st = decode(data, len, key, out, err);
    if (st != QX_OK) {
        qx_error_context(err, "'%.200s'", path);
    }
    qx_mem_free(data);
    return st;
}
