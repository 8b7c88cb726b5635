/* Pieces of a tensor as they lie along its rows. */
#include "base/error.h"
#include "tensor/hist_priv.h"

bool qx_hist_pieces_new(struct qx_hist *h)
{
    const size_t n = (size_t)h->f.n_pieces;
    float *x = qx_hist_array(h, n, QX_HIST_PIECE * sizeof *x);
    int32_t *len = qx_hist_array(h, n, sizeof *len);
    h->pieces = (struct qx_hist_pieces){h->f.n_pieces, x, len, h->f.is_whole};
    return x && len;
}

/* Piece `at` of all. */
static enum qx_status piece_read(const struct qx_tensor *t, struct qx_channels c, int64_t per_row,
                                 int64_t at, float *x, int32_t *len, struct qx_error *err)
{
    const int64_t channel = at / per_row, first = at % per_row * QX_HIST_PIECE;
    const int64_t left = c.outer * c.inner - first, n = left < QX_HIST_PIECE ? left : QX_HIST_PIECE;
    enum qx_status st = QX_OK;
    *len = (int32_t)n;
    for (int64_t i = 0, run; st == QX_OK && i < n; i += run) {
        const int64_t pos = first + i, line = pos / c.inner, in_line = pos % c.inner;
        run = c.count == 1 || c.outer == 1 ? n - i : c.inner - in_line;
        run = run < n - i ? run : n - i;
        st = qx_tensor_read(t, (line * c.count + channel) * c.inner + in_line, run, x + i, err);
    }
    return st;
}

/* The part of the i-th of n equal parts of `all`, somewhere within it: a fixed sequence, so that pieces do not
 * keep step with the rows. */
static int64_t drawn(int64_t all, int64_t n, int64_t i)
{
    const int64_t from = all / n * i + all % n * i / n,
                  to = all / n * (i + 1) + all % n * (i + 1) / n;
    return from + (int64_t)((uint64_t)i * 0x9E3779B97F4A7C15u >> 33) % (to - from);
}

/* Pieces that the rows hold in all. */
static int64_t pieces_of(struct qx_channels rows, int64_t *per_row)
{
    *per_row = (rows.outer * rows.inner + QX_HIST_PIECE - 1) / QX_HIST_PIECE;
    return *per_row * rows.count;
}

int64_t qx_hist_piece_first(const struct qx_hist *h, int64_t i)
{
    int64_t per_row;
    const int64_t all = pieces_of(qx_channels_rows(h->f.spec.channels), &per_row);
    return drawn(all, h->f.n_pieces, i) % per_row * QX_HIST_PIECE;
}

enum qx_status qx_hist_pieces_take(struct qx_hist *h, const struct qx_tensor *t,
                                   struct qx_error *err)
{
    const struct qx_channels c = qx_channels_rows(h->f.spec.channels);
    const int64_t row = c.outer * c.inner;
    int64_t per_row;
    const int64_t all = pieces_of(c, &per_row);
    if (row <= 0 || row * c.count != t->numel) { /* a histogram of its own shape */
        return QX_OK;
    }
    const int64_t n = all < QX_HIST_PIECES ? all : QX_HIST_PIECES;
    h->f.n_pieces = n;
    h->f.is_whole = n == all;
    if (!qx_hist_pieces_new(h)) {
        return qx_fail_nomem(err, (size_t)n * QX_HIST_PIECE * sizeof(float));
    }
    enum qx_status st = QX_OK;
    for (int64_t i = 0; st == QX_OK && i < n; i++) {
        st = piece_read(t, c, per_row, drawn(all, n, i),
                        (float *)(uintptr_t)h->pieces.x + i * QX_HIST_PIECE,
                        (int32_t *)(uintptr_t)&h->pieces.len[i], err);
    }
    return st;
}

const struct qx_hist_pieces *qx_hist_pieces(const struct qx_hist *h)
{
    return &h->pieces;
}
