/* A weight in the form in which it waits between two uses by float32 arithmetic: 16-bit floats, bytes or
 * 4-bit codes with their scales, or blocks. Decoding gives the bits of fake quantization. */
#ifndef QX_NET_PACKED_H
#define QX_NET_PACKED_H

#include "net/weights.h"

#include "kernels/kernels.h"

enum qx_packed_kind { QX_PACKED_HALF, QX_PACKED_BYTE, QX_PACKED_NIBBLE, QX_PACKED_BLOCK };

/* Rows are those of the tensor's first axis, of `row` elements. Elements that share a scale are runs of
 * `unit` in a row; or, where the last axis has the outputs, the columns of `unit` rows. */
struct qx_packed {
    enum qx_packed_kind kind;
    int64_t rows, row;
    qxk_to_f32_fn *widen;         /* HALF */
    qxk_gemv16_fn *gemv;          /* HALF: rows times a vector */
    const struct qx_block *block; /* BLOCK: `scale` is the tensor's */
    const struct qx_book *book;   /* levels that codes stand for; NULL: the integers */
    bool is_columns, is_one;      /* one scale for all */
    int64_t unit, n_units;        /* of a row, or (columns) of rows */
    size_t row_bytes, bytes;      /* of the data; of everything */
    const uint8_t *stored;        /* HALF: as the file has it, borrowed; else NULL */
    uint8_t *data;
    void *pages;   /* HALF: what owns the data */
    float *scale;  /* [rows * n_units] or [n_units * row]; [1] */
    int32_t *zero; /* the same; NULL: all are 0 (never of columns) */
};

/* Can the initializer of a layer stay packed? It is quantized, or stored in 16 bits and no input is quantized. */
bool qx_weight_is_packed(const struct qx_weights *w, const struct qx_value *v);
/* Does a method keep factors or columns beside the codes of v? */
bool qx_weight_has_factors(const struct qx_weights *w, const struct qx_value *v);
/* Of initializer v under its setting: of a method's codes, without factors; under float32 16-bit values stay
 * in the file. QX_EUNSUPPORTED: its axes have no such form, or float32. */
enum qx_status qx_packed_new(const struct qx_weights *w, const struct qx_value *v,
                             struct qx_pool *pool, struct qx_ctl *ctl, struct qx_packed **out,
                             struct qx_error *err);
void qx_packed_free(struct qx_packed *p); /* NULL allowed */

/* Rows first .. first + n - 1 to out[n][row]. Any thread. */
void qx_packed_rows(const struct qx_packed *p, int64_t first, int64_t n, float *out);

#endif
