/* Any tensor as float32 runs of one channel or group, in tiles that threads share out. */
#include "tensor/hist_priv.h"

enum { TILE = 1 << 21, MIN_DIRECT = 4096 };

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

struct qx_rows qx_rows_of(const struct qx_tensor *t, struct qx_channels c, int64_t group)
{
    struct qx_rows r = {.t = t, .c = c, .row_len = c.outer * c.inner};
    r.group = min_i64(group, r.row_len > 0 ? r.row_len : 1); /* a longer group is the channel */
    group = r.group;
    r.per_row = group > 0 ? (r.row_len + group - 1) / group : 1;
    r.is_gathered = c.outer > 1 && c.count > 1 && c.inner > 0 && c.inner < MIN_DIRECT;
    r.tile_rows = r.row_len > 0 ? TILE / r.row_len : c.count;
    if (r.is_gathered) {
        /* At least a cache line's worth per row read, at most what fits a buffer. */
        r.tile_rows = r.tile_rows < 16 ? 16 : r.tile_rows;
        r.tile_rows = min_i64(r.tile_rows, QX_HIST_BLOCK / c.inner);
    }
    r.tile_rows = r.tile_rows < 1 ? 1 : min_i64(r.tile_rows, c.count);
    r.n_tiles = c.count > 0 && r.row_len > 0 ? (c.count + r.tile_rows - 1) / r.tile_rows : 0;
    return r;
}

/* Cut n elements of `channel` from flat index `first` at group ends. */
static void emit(const struct qx_rows *r, int64_t channel, int64_t first, const float *x, int64_t n,
                 qx_rows_fn *fn, void *arg)
{
    if (r->group == 0) {
        fn(arg, channel, x, (size_t)n);
        return;
    }
    while (n > 0) {
        int64_t g = first / r->group;
        int64_t part = min_i64(n, (g + 1) * r->group - first);
        fn(arg, channel * r->per_row + g, x, (size_t)part);
        first += part;
        x += part;
        n -= part;
    }
}

static void tile_direct(const struct qx_rows *r, int64_t c0, int64_t c1,
                        const struct qx_rows_buf *buf, struct qx_ctl *ctl, qx_rows_fn *fn,
                        void *arg)
{
    for (int64_t c = c0; c < c1; c++) {
        for (int64_t o = 0; o < r->c.outer; o++) {
            for (int64_t i = 0; i < r->c.inner; i += QX_HIST_BLOCK) {
                int64_t n = min_i64(QX_HIST_BLOCK, r->c.inner - i);
                int64_t at = (o * r->c.count + c) * r->c.inner + i;
                if (qx_cancel_test(ctl) || qx_tensor_read(r->t, at, n, buf->in, NULL) != QX_OK) {
                    return;
                }
                emit(r, c, o * r->c.inner + i, buf->in, n, fn, arg);
                qx_ctl_add(ctl, n);
            }
        }
    }
}

/* in: [n_outer][rows * inner]; out: [rows][n_outer * inner]. */
static void gather(const struct qx_rows_buf *buf, int64_t n_outer, int64_t rows, int64_t inner)
{
    for (int64_t o = 0; o < n_outer; o++) {
        for (int64_t c = 0; c < rows; c++) {
            const float *from = buf->in + (o * rows + c) * inner;
            float *to = buf->out + (c * n_outer + o) * inner;
            for (int64_t i = 0; i < inner; i++) {
                to[i] = from[i];
            }
        }
    }
}

static void tile_gathered(const struct qx_rows *r, int64_t c0, int64_t c1,
                          const struct qx_rows_buf *buf, struct qx_ctl *ctl, qx_rows_fn *fn,
                          void *arg)
{
    int64_t rows = c1 - c0, slice = rows * r->c.inner;
    int64_t step = QX_HIST_BLOCK / slice;
    for (int64_t o = 0; o < r->c.outer; o += step) {
        int64_t n_outer = min_i64(step, r->c.outer - o);
        if (qx_cancel_test(ctl)) {
            return;
        }
        for (int64_t k = 0; k < n_outer; k++) {
            int64_t at = ((o + k) * r->c.count + c0) * r->c.inner;
            if (qx_tensor_read(r->t, at, slice, buf->in + k * slice, NULL) != QX_OK) {
                return;
            }
        }
        gather(buf, n_outer, rows, r->c.inner);
        for (int64_t c = 0; c < rows; c++) {
            int64_t n = n_outer * r->c.inner;
            emit(r, c0 + c, o * r->c.inner, buf->out + c * n, n, fn, arg);
        }
        qx_ctl_add(ctl, n_outer * slice);
    }
}

void qx_rows_tile(const struct qx_rows *r, int64_t tile, const struct qx_rows_buf *buf,
                  struct qx_ctl *ctl, qx_rows_fn *fn, void *arg)
{
    int64_t c0 = tile * r->tile_rows, c1 = min_i64(c0 + r->tile_rows, r->c.count);
    if (r->is_gathered) {
        tile_gathered(r, c0, c1, buf, ctl, fn, arg);
    } else {
        tile_direct(r, c0, c1, buf, ctl, fn, arg);
        qx_tensor_passed(r->t, c0 * r->row_len, (c1 - c0) * r->row_len);
    }
}
