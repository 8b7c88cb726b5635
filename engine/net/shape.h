/* Shapes whose batch axis grows with the number of rows, and numpy's broadcasting over them. */
#ifndef QX_NET_SHAPE_H
#define QX_NET_SHAPE_H

#include "qx/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QX_SHAPE_RANK 8
/* Bound of one axis (BLAS takes int) and of one value for one row. */
#define QX_SHAPE_DIM_MAX   INT64_C(2147483647)
#define QX_SHAPE_NUMEL_MAX (INT64_C(1) << 28)

/* With n rows the axis `batch` is dim[batch] * n long, the others dim[i]; batch = -1: no axis grows.
 * That axis counts [lead, n, dim[batch] / lead], flattened: lead is 1 but where a Reshape joined the
 * batch with an axis before it. */
struct qx_shape {
    int rank;
    int batch;
    int64_t lead; /* of no meaning without a batch */
    /* The batch axis (axis 0, lead 1) counts the places of sequences, which lie one behind the other:
     * dim[0] is what the longest possible one has, and stands for each where memory is planned. */
    bool is_ragged;
    int64_t dim[QX_SHAPE_RANK];
};

/* Rows at hand: how many, and where the sequence of each begins among the places of all. */
struct qx_extent {
    int64_t rows;
    const int64_t *start; /* [rows + 1]; NULL in a network without sequences */
};

/* How much a workspace holds: rows of a tile, places of all their sequences, and places of the longest one
 * with what came before it. */
struct qx_room {
    int64_t rows, places, longest;
};

/* Values for n rows. Only for checked shapes. */
int64_t qx_shape_numel(const struct qx_shape *s, int64_t n);
/* The most values that the room takes. */
int64_t qx_shape_room(const struct qx_shape *s, const struct qx_room *room);
/* The shape with n rows put in: all axes fixed, batch = -1. */
struct qx_shape qx_shape_at(const struct qx_shape *s, int64_t n);
/* The same for rows at hand, whose sequences may be shorter than the longest possible. */
struct qx_shape qx_shape_fill(const struct qx_shape *s, const struct qx_extent *e);
int64_t qx_shape_count(const struct qx_shape *s, const struct qx_extent *e);
/* Product of the axes first .. last-1 without the batch. */
int64_t qx_shape_span(const struct qx_shape *s, int first, int last);
/* Row that index i of the batch axis belongs to, of n. */
int64_t qx_shape_row(const struct qx_shape *s, int64_t i, int64_t n);
/* `axis` of s is the one that grows, as in `from`. */
void qx_shape_grow(struct qx_shape *s, int axis, const struct qx_shape *from);
bool qx_shape_equal(const struct qx_shape *a, const struct qx_shape *b);
/* "[N, 3, 28, 28]"; buf holds QX_SHAPE_TEXT bytes. */
#define QX_SHAPE_TEXT 128
const char *qx_shape_text(const struct qx_shape *s, char *buf);

/* Every axis 1 .. QX_SHAPE_DIM_MAX long. QX_ERANGE. */
enum qx_status qx_shape_check_axes(const struct qx_shape *s, struct qx_error *err);
/* And at most QX_SHAPE_NUMEL_MAX values a row. QX_ERANGE. */
enum qx_status qx_shape_check(const struct qx_shape *s, struct qx_error *err);
/* *out = axis counted from the front. QX_EFORMAT when outside -rank .. rank-1. */
enum qx_status qx_shape_axis(const struct qx_shape *s, int64_t axis, int *out,
                             struct qx_error *err);
/* QX_EUNSUPPORTED when `axis` is the batch: an operation along it would mix rows. */
enum qx_status qx_shape_keep_batch(const struct qx_shape *s, int axis, const char *what,
                                   struct qx_error *err);
/* numpy broadcasting of the leading `rank_*` axes (all: s->rank). QX_EFORMAT. */
enum qx_status qx_shape_broadcast(const struct qx_shape *a, int rank_a, const struct qx_shape *b,
                                  int rank_b, struct qx_shape *out, struct qx_error *err);
/* Do the values of `s` broadcast to `to` without changing it? */
bool qx_shape_fits(const struct qx_shape *s, const struct qx_shape *to);

/* ---- walking, on fixed shapes ---- */

/* Strides of `s` seen as `to`: 0 along broadcast axes. */
void qx_shape_strides(const struct qx_shape *s, const struct qx_shape *to, int64_t *stride);

/* A walk over an index space for up to two arrays, axes that can be one are merged. */
struct qx_walk {
    int rank;
    int64_t dim[QX_SHAPE_RANK];
    int64_t stride[2][QX_SHAPE_RANK];
    int64_t index[QX_SHAPE_RANK];
    int64_t at[2]; /* offsets of the current index */
};
/* All axes but the innermost are walked by qx_walk_next; the innermost is the caller's inner loop:
 * w->dim[w->rank - 1] steps of w->stride[k][w->rank - 1]. rank is at least 1. */
void qx_walk_init(struct qx_walk *w, int rank, const int64_t *dim, const int64_t *stride_a,
                  const int64_t *stride_b);
bool qx_walk_next(struct qx_walk *w);

#endif
