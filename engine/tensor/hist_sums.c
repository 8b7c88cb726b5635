#include "tensor/hist_sums.h"

#include "base/mem.h"

#include <string.h>

enum { WORD = sizeof(uint64_t), MOST_BLOCK = QX_SUMS_BLOCK * 3 * WORD };

static size_t bin_bytes(struct qx_sums_width w)
{
    return (size_t)w.n + w.s1 + w.s2;
}

static size_t block_bytes(struct qx_sums_width w)
{
    return QX_SUMS_BLOCK * bin_bytes(w);
}

static uint64_t get(const uint8_t *p, unsigned width)
{
    uint64_t v;
    memcpy(&v, p, WORD);
    return width == WORD ? v : v & (((uint64_t)1 << 8 * width) - 1);
}

static void block_read(const uint8_t *p, struct qx_sums_width w, struct qxk_halfbin *out)
{
    for (int i = 0; i < QX_SUMS_BLOCK; i++) {
        out[i].n = get(p, w.n);
        out[i].s1 = get(p + w.n, w.s1);
        out[i].s2 = get(p + w.n + w.s1, w.s2);
        p += bin_bytes(w);
    }
}

static uint8_t width_of(uint64_t v)
{
    uint8_t bytes = 0;
    for (; v; v >>= 8) {
        bytes++;
    }
    return bytes;
}

static struct qx_sums_width block_write(uint8_t *p, const struct qxk_halfbin *b)
{
    struct qxk_halfbin any = {0};
    for (int i = 0; i < QX_SUMS_BLOCK; i++) {
        any.n |= b[i].n;
        any.s1 |= b[i].s1;
        any.s2 |= b[i].s2;
    }
    const struct qx_sums_width w = {width_of(any.n), width_of(any.s1), width_of(any.s2)};
    for (int i = 0; i < QX_SUMS_BLOCK; i++) {
        memcpy(p, &b[i].n, WORD);
        memcpy(p + w.n, &b[i].s1, WORD);
        memcpy(p + w.n + w.s1, &b[i].s2, WORD);
        p += bin_bytes(w);
    }
    return w;
}

/* At least `need` bytes of s->data, with what is there; more by an eighth, so that it is done seldom. */
static bool grow(struct qx_hist_sums *s, size_t *cap, size_t need)
{
    if (need + QX_SUMS_ROOM <= *cap) {
        return true;
    }
    const size_t more = need + need / 8 + QX_SUMS_ROOM;
    uint8_t *p = qx_mem_realloc(s->data, more);
    if (p) {
        s->data = p;
        *cap = more;
    }
    return p != NULL;
}

bool qx_hist_sums_add(struct qx_hist_sums *s, struct qxk_hist_work *work)
{
    struct qx_hist_sums to = {.bytes = 0};
    size_t from = 0, cap = 0;
    bool ok = grow(&to, &cap, s->bytes + MOST_BLOCK);
    for (int b = 0; b < QX_SUMS_BLOCKS; b++) {
        struct qxk_halfbin bins[QX_SUMS_BLOCK] = {0};
        const size_t bytes = block_bytes(s->width[b]);
        if (bytes > 0) {
            block_read(s->data + from, s->width[b], bins);
        }
        const bool has_more = qxk_hist_flush_half(work, b * QX_SUMS_BLOCK, QX_SUMS_BLOCK, bins);
        ok = ok && grow(&to, &cap, to.bytes + MOST_BLOCK);
        if (ok && (has_more || bytes > 0)) {
            to.width[b] = block_write(to.data + to.bytes, bins);
            to.bytes += block_bytes(to.width[b]);
        }
        from += bytes;
    }
    if (!ok) {
        qx_hist_sums_release(&to);
        return false;
    }
    uint8_t *exact = qx_mem_realloc(to.data, to.bytes + QX_SUMS_ROOM);
    to.data = exact ? exact : to.data;
    qx_hist_sums_release(s);
    *s = to;
    return true;
}

void qx_hist_sums_release(struct qx_hist_sums *s)
{
    qx_mem_free(s->data);
    *s = (struct qx_hist_sums){.bytes = 0};
}

void qx_hist_sums_read(const struct qx_sums_width *width, const uint8_t *data,
                       struct qxk_halfbin *out)
{
    memset(out, 0, QXK_HALF_BINS * sizeof *out);
    for (int b = 0; b < QX_SUMS_BLOCKS; b++) {
        if (block_bytes(width[b]) > 0) {
            block_read(data, width[b], out + b * QX_SUMS_BLOCK);
            data += block_bytes(width[b]);
        }
    }
}

size_t qx_hist_sums_bytes(const struct qx_sums_width *width)
{
    enum { FIRST_INF = 0x7c00 / QX_SUMS_BLOCK, HALF = QX_SUMS_BLOCKS / 2 };
    size_t bytes = 0;
    for (int b = 0; b < QX_SUMS_BLOCKS; b++) {
        const struct qx_sums_width w = width[b];
        if (w.n > WORD || w.s1 > WORD || w.s2 > WORD ||
            (b % HALF >= FIRST_INF && block_bytes(w) > 0)) {
            return SIZE_MAX;
        }
        bytes += block_bytes(w);
    }
    return bytes;
}
