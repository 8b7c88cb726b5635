/* Formats in blocks: along rows, with the tensor's scale around them. */
#include "quant/blocks.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "format/block.h"

int64_t qx_block_count(const struct qx_block *b, struct qx_channels channels)
{
    struct qx_channels rows = qx_channels_rows(channels);

    return rows.count * ((rows.outer * rows.inner + b->n - 1) / b->n);
}

float qx_block_tensor_scale(const struct qx_format *f, double absmax)
{
    float scale = f->tensor_top > 0.0f ? (float)absmax / f->tensor_top : 1.0f;

    return scale > 0.0f && isfinite(scale) ? scale : 1.0f;
}

static void largest_run(void *arg, const struct qx_run *run)
{
    _Atomic float *most = arg;
    float here = 0.0f, old = atomic_load_explicit(most, memory_order_relaxed);

    for (int64_t i = 0; i < run->n; i++) {
        float a = fabsf(run->x[i]);

        here = a <= FLT_MAX && a > here ? a : here;
    }
    while (here > old && !atomic_compare_exchange_weak_explicit(
                             most, &old, here, memory_order_relaxed, memory_order_relaxed)) {
    }
}

enum qx_status qx_block_scale_find(const struct qx_walk *w, const struct qx_format *f,
                                   struct qx_pool *pool, struct qx_ctl *ctl, float *scale,
                                   struct qx_error *err)
{
    _Atomic float most;
    enum qx_status st = QX_OK;

    atomic_init(&most, 0.0f);
    if (f->tensor_top > 0.0f) {
        st = qx_walk_run(w, pool, ctl, largest_run, &most, err);
    }
    *scale = qx_block_tensor_scale(f, (double)atomic_load(&most));
    return st;
}

/* n values for the quantizer: finite, within the tensor's scale, the last one again up to `whole`. */
static int64_t fill(const float *x, int64_t n, int64_t whole, float scale, float *out)
{
    int64_t bad = 0;

    for (int64_t i = 0; i < n; i++) {
        bool is_bad = !isfinite(x[i]);

        bad += is_bad;
        out[i] = is_bad ? 0.0f : x[i] / scale;
    }
    for (int64_t i = n; i < whole; i++) {
        out[i] = out[n - 1];
    }
    return bad;
}

static bool are_finite(const float *x, int64_t n)
{
    uint32_t any = 0;

    for (int64_t i = 0; i < n; i++) {
        uint32_t u;

        memcpy(&u, x + i, sizeof u);
        u &= 0x7F800000u;
        any |= u == 0x7F800000u;
    }
    return !any;
}

/* At most QX_BLOCK_MOST values; what fills up the last block counts nothing. */
static int64_t encode_some(const struct qx_format *f, float scale, const float *x,
                           const float *weight, int64_t n, uint8_t *out)
{
    const struct qx_block *b = f->block;
    const int64_t n_blocks = (n + b->n - 1) / b->n;
    float in[QX_BLOCK_MOST], w[QX_BLOCK_MOST] = {0};
    const int64_t bad = fill(x, n, n_blocks * b->n, scale, in);

    if (weight) {
        memcpy(w, weight, (size_t)n * sizeof *w);
    }
    b->encode(in, weight ? w : NULL, (size_t)n_blocks, out);
    return bad;
}

/* n values as blocks; returns how many were not finite. Whole blocks of finite ones go as they are. */
static int64_t encode(const struct qx_format *f, float scale, const float *x, const float *weight,
                      int64_t n, uint8_t *out)
{
    const struct qx_block *b = f->block;
    int64_t bad = 0;

    if (scale == 1.0f && n % b->n == 0 && are_finite(x, n)) {
        b->encode(x, weight, (size_t)(n / b->n), out);
        return 0;
    }
    for (int64_t at = 0; at < n; at += QX_BLOCK_MOST) {
        const int64_t len = n - at < QX_BLOCK_MOST ? n - at : QX_BLOCK_MOST;

        bad += encode_some(f, scale, x + at, weight ? weight + at : NULL, len, out);
        out += (len + b->n - 1) / b->n * b->bytes;
    }
    return bad;
}

const float *qx_block_weights(const struct qx_setting *s, int64_t row, int64_t first)
{
    return s->importance && s->importance->n == row ? s->importance->v + first : NULL;
}

const float *qx_block_piece_weights(const struct qx_setting *s, const struct qx_hist *hist,
                                    int64_t i)
{
    const struct qx_channels rows = qx_channels_rows(qx_hist_spec(hist)->channels);

    return qx_block_weights(s, rows.outer * rows.inner, qx_hist_piece_first(hist, i));
}

int64_t qx_block_place(const struct qx_walk *w, const struct qx_run *run)
{
    return w->is_transposed ? run->pos : run->first % (w->channels.outer * w->channels.inner);
}

int64_t qx_block_values(const struct qx_format *f, float scale, const float *x, const float *weight,
                        int64_t n, float *y)
{
    const struct qx_block *b = f->block;
    int64_t bad = 0;

    for (int64_t at = 0; at < n; at += QX_BLOCK_MOST) {
        const int64_t len = n - at < QX_BLOCK_MOST ? n - at : QX_BLOCK_MOST;
        float out[QX_BLOCK_MOST];
        uint8_t stored[QX_BLOCK_STORED];

        bad += encode(f, scale, x + at, weight ? weight + at : NULL, len, stored);
        qx_block_decode(b, stored, (size_t)((len + b->n - 1) / b->n), out);
        for (int64_t i = 0; i < len; i++) {
            y[at + i] = out[i] * scale;
        }
    }
    return bad;
}

void qx_block_store(const struct qx_format *f, float scale, const float *x, const float *weight,
                    int64_t n, uint8_t *out)
{
    encode(f, scale, x, weight, n, out);
}

/* Stored blocks lie along the storage: channel and first say where that begins. */
static enum qx_status stored_find(const struct qx_tensor *t, int64_t row, int64_t element,
                                  struct qx_block_at *out, struct qx_error *err)
{
    const struct qx_block *b = qx_tensor_block(t);
    const int64_t at = element / b->n, first = at * b->n;

    out->channel = first / row;
    out->first = first % row;
    out->n = t->numel - first < b->n ? t->numel - first : b->n;
    b->unpack(t->data + (size_t)at * (size_t)b->bytes, &out->parts);
    return qx_tensor_read(t, first, out->n, out->y, err);
}

enum qx_status qx_block_find(const struct qx_tensor *t, struct qx_channels channels,
                             const struct qx_setting *s, float scale, int64_t element,
                             struct qx_block_at *out, struct qx_error *err)
{
    const struct qx_format *f = s->format;
    const struct qx_channels c = qx_channels_rows(channels);
    if (!f->block) {
        return stored_find(t, c.outer * c.inner, element, out, err);
    }
    const int64_t line = element / c.inner, row = c.outer * c.inner;
    const int64_t pos = line / c.count * c.inner + element % c.inner;
    float x[QX_BLOCK_MOST];
    uint8_t stored[QX_BLOCK_STORED];
    enum qx_status st = QX_OK;

    out->channel = line % c.count;
    out->first = pos / f->block->n * f->block->n;
    out->n = row - out->first < f->block->n ? row - out->first : f->block->n;
    for (int64_t i = 0; st == QX_OK && i < out->n; i++) {
        int64_t at = out->first + i;

        st = qx_tensor_read(t, (at / c.inner * c.count + out->channel) * c.inner + at % c.inner, 1,
                            x + i, err);
    }
    if (st == QX_OK) {
        const float *weight = qx_block_weights(s, row, out->first);

        encode_some(f, scale, x, weight, out->n, stored);
        f->block->unpack(stored, &out->parts);
        qx_block_values(f, scale, x, weight, out->n, out->y);
    }
    return st;
}
