#include "shape.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

int64_t qx_shape_span(const struct qx_shape *s, int first, int last)
{
    int64_t n = 1;
    for (int i = first; i < last; i++) {
        n *= s->dim[i];
    }
    return n;
}

int64_t qx_shape_numel(const struct qx_shape *s, int64_t n)
{
    return qx_shape_span(s, 0, s->rank) * (s->batch >= 0 ? n : 1);
}

int64_t qx_shape_room(const struct qx_shape *s, const struct qx_room *room)
{
    return s->is_ragged ? qx_shape_span(s, 1, s->rank) * room->places
                        : qx_shape_numel(s, room->rows);
}

struct qx_shape qx_shape_at(const struct qx_shape *s, int64_t n)
{
    struct qx_shape r = *s;
    if (r.batch >= 0) {
        r.dim[r.batch] *= n;
        r.batch = -1;
    }
    return r;
}

struct qx_shape qx_shape_fill(const struct qx_shape *s, const struct qx_extent *e)
{
    struct qx_shape r = qx_shape_at(s, e->rows);
    if (r.is_ragged) {
        r.dim[0] = e->start[e->rows];
        r.is_ragged = false;
    }
    return r;
}

int64_t qx_shape_count(const struct qx_shape *s, const struct qx_extent *e)
{
    const struct qx_shape r = qx_shape_fill(s, e);
    return qx_shape_span(&r, 0, r.rank);
}

int64_t qx_shape_row(const struct qx_shape *s, int64_t i, int64_t n)
{
    return i / (s->dim[s->batch] / s->lead) % n;
}

void qx_shape_grow(struct qx_shape *s, int axis, const struct qx_shape *from)
{
    s->batch = axis;
    s->lead = from->lead;
    s->is_ragged = from->is_ragged;
}

bool qx_shape_equal(const struct qx_shape *a, const struct qx_shape *b)
{
    return a->rank == b->rank && a->batch == b->batch && (a->batch < 0 || a->lead == b->lead) &&
           a->is_ragged == b->is_ragged &&
           memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]) == 0;
}

const char *qx_shape_text(const struct qx_shape *s, char *buf)
{
    int len = snprintf(buf, QX_SHAPE_TEXT, "[");
    for (int i = 0; i < s->rank; i++) {
        const char *sep = i ? ", " : "";
        size_t room = QX_SHAPE_TEXT - (size_t)len;
        if (i != s->batch) {
            len += snprintf(buf + len, room, "%s%lld", sep, (long long)s->dim[i]);
        } else if (s->dim[i] == 1) {
            len += snprintf(buf + len, room, "%sN", sep);
        } else {
            len += snprintf(buf + len, room, "%s%lldN", sep, (long long)s->dim[i]);
        }
    }
    snprintf(buf + len, QX_SHAPE_TEXT - (size_t)len, "]");
    return buf;
}

enum qx_status qx_shape_check_axes(const struct qx_shape *s, struct qx_error *err)
{
    for (int i = 0; i < s->rank; i++) {
        if (s->dim[i] < 1 || s->dim[i] > QX_SHAPE_DIM_MAX) {
            return qx_fail(err, QX_EFORMAT, "axis %d would be %lld long; 1 to %lld are possible", i,
                           (long long)s->dim[i], (long long)QX_SHAPE_DIM_MAX);
        }
    }
    return QX_OK;
}

enum qx_status qx_shape_check(const struct qx_shape *s, struct qx_error *err)
{
    enum qx_status st = qx_shape_check_axes(s, err);
    int64_t n = 1; /* of sequences, of a place: how many there are is the memory plan's matter */
    for (int i = s->is_ragged ? 1 : 0; st == QX_OK && i < s->rank; i++) {
        if (s->dim[i] > QX_SHAPE_NUMEL_MAX / n) {
            return qx_fail(err, QX_EFORMAT, "one row would have more than %lld values",
                           (long long)QX_SHAPE_NUMEL_MAX);
        }
        n *= s->dim[i];
    }
    return st;
}

enum qx_status qx_shape_axis(const struct qx_shape *s, int64_t axis, int *out, struct qx_error *err)
{
    if (axis < -s->rank || axis >= s->rank) {
        return qx_fail(err, QX_EFORMAT, "axis %lld is outside the input's rank of %d",
                       (long long)axis, s->rank);
    }
    *out = (int)(axis < 0 ? axis + s->rank : axis);
    return QX_OK;
}

enum qx_status qx_shape_keep_batch(const struct qx_shape *s, int axis, const char *what,
                                   struct qx_error *err)
{
    if (axis != s->batch) {
        return QX_OK;
    }
    char text[QX_SHAPE_TEXT];
    return qx_fail(err, QX_EUNSUPPORTED,
                   "%s along axis %d of %s is along the batch; rows must stay independent", what,
                   axis, qx_shape_text(s, text));
}

/* One axis of a broadcast. False when the lengths do not go together. */
static bool axis_join(int64_t da, bool grows_a, int64_t db, bool grows_b, int64_t *out)
{
    if (grows_a != grows_b) {
        *out = grows_a ? da : db;
        return (grows_a ? db : da) == 1;
    }
    *out = da == 1 && !grows_a ? db : da;
    return da == db || (!grows_a && (da == 1 || db == 1));
}

enum qx_status qx_shape_broadcast(const struct qx_shape *a, int rank_a, const struct qx_shape *b,
                                  int rank_b, struct qx_shape *out, struct qx_error *err)
{
    struct qx_shape r = {.rank = rank_a > rank_b ? rank_a : rank_b, .batch = -1};
    for (int i = 0; i < r.rank; i++) {
        int ia = i - (r.rank - rank_a), ib = i - (r.rank - rank_b);
        bool grows_a = ia >= 0 && ia == a->batch, grows_b = ib >= 0 && ib == b->batch;
        bool is_second = (grows_a || grows_b) && r.batch >= 0;
        bool is_other_order =
            grows_a && grows_b && (a->lead != b->lead || a->is_ragged != b->is_ragged);
        if (is_second || is_other_order ||
            !axis_join(ia < 0 ? 1 : a->dim[ia], grows_a, ib < 0 ? 1 : b->dim[ib], grows_b,
                       &r.dim[i])) {
            char ta[QX_SHAPE_TEXT], tb[QX_SHAPE_TEXT];
            return qx_fail(err, QX_EFORMAT, "shapes %s and %s do not broadcast",
                           qx_shape_text(a, ta), qx_shape_text(b, tb));
        }
        if (grows_a || grows_b) {
            qx_shape_grow(&r, i, grows_a ? a : b);
        }
    }
    *out = r;
    return QX_OK;
}

bool qx_shape_fits(const struct qx_shape *s, const struct qx_shape *to)
{
    struct qx_shape r;
    return s->rank <= to->rank && qx_shape_broadcast(s, s->rank, to, to->rank, &r, NULL) == QX_OK &&
           qx_shape_equal(&r, to);
}

void qx_shape_strides(const struct qx_shape *s, const struct qx_shape *to, int64_t *stride)
{
    int64_t step = 1;
    for (int i = to->rank - 1, k = s->rank - 1; i >= 0; i--, k--) {
        stride[i] = k < 0 || (s->dim[k] == 1 && to->dim[i] != 1) ? 0 : step;
        step *= k < 0 ? 1 : s->dim[k];
    }
}

void qx_walk_init(struct qx_walk *w, int rank, const int64_t *dim, const int64_t *stride_a,
                  const int64_t *stride_b)
{
    memset(w, 0, sizeof *w);
    for (int i = 0; i < rank; i++) {
        int last = w->rank - 1;
        int64_t b = stride_b ? stride_b[i] : 0;
        if (dim[i] == 1) {
            continue;
        }
        /* The axis before steps over exactly this one in both arrays: they are one axis. */
        if (last >= 0 && w->stride[0][last] == stride_a[i] * dim[i] &&
            w->stride[1][last] == b * dim[i]) {
            w->dim[last] *= dim[i];
        } else {
            w->dim[++last] = dim[i];
            w->rank++;
        }
        w->stride[0][last] = stride_a[i];
        w->stride[1][last] = b;
    }
    if (w->rank == 0) {
        w->rank = 1;
        w->dim[0] = 1;
    }
}

bool qx_walk_next(struct qx_walk *w)
{
    for (int i = w->rank - 2; i >= 0; i--) {
        w->at[0] += w->stride[0][i];
        w->at[1] += w->stride[1][i];
        if (++w->index[i] < w->dim[i]) {
            return true;
        }
        w->at[0] -= w->stride[0][i] * w->dim[i];
        w->at[1] -= w->stride[1][i] * w->dim[i];
        w->index[i] = 0;
    }
    return false;
}
