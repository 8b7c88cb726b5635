#include "op.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

static const struct qx_attr_spec attrs[] = {
    {.name = "axis", .type = QX_ATTR_INT, .fallback = 0, .min = -8, .max = 7}};

static int table_axis(const struct qx_node *node)
{
    (void)node;
    return 0;
}

/* table[.., axis, ..] with the axes of ids in place of `axis`. */
static enum qx_status gather_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_shape *t = &g->node->in[0]->shape, *ids = &g->node->in[1]->shape;
    struct qx_shape out = {.rank = t->rank - 1 + ids->rank, .batch = -1};
    int axis;
    enum qx_status st = qx_shape_axis(t, g->node->attr[0].i, &axis, err);
    if (st == QX_OK) {
        st = qx_shape_keep_batch(t, axis, "choosing", err);
    }
    if (st == QX_OK && t->batch >= 0 && ids->batch >= 0) {
        st = qx_fail(err, QX_EUNSUPPORTED, "table and ids both depend on the input");
    }
    if (st == QX_OK && out.rank > QX_SHAPE_RANK) {
        st = qx_fail(err, QX_EUNSUPPORTED, "the output would have %d axes; at most %d are possible",
                     out.rank, QX_SHAPE_RANK);
    }
    if (st != QX_OK) {
        return st;
    }
    int k = 0;
    for (int i = 0; i < axis; i++, k++) {
        out.dim[k] = t->dim[i];
        if (i == t->batch) {
            qx_shape_grow(&out, k, t);
        }
    }
    for (int i = 0; i < ids->rank; i++, k++) {
        out.dim[k] = ids->dim[i];
        if (i == ids->batch) {
            qx_shape_grow(&out, k, ids);
        }
    }
    for (int i = axis + 1; i < t->rank; i++, k++) {
        out.dim[k] = t->dim[i];
        if (i == t->batch) {
            qx_shape_grow(&out, k, t);
        }
    }
    g->node->out->shape = out;
    return QX_OK;
}

/* Row of the data set whose ids hold element i. */
static int64_t row_of(const struct qx_run *r, int64_t i)
{
    const struct qx_shape *ids = &r->node->in[1]->shape;
    if (ids->batch < 0) {
        return r->first_row;
    }
    const int64_t inner = qx_shape_span(ids, ids->batch + 1, ids->rank);
    const int64_t grown = ids->dim[ids->batch] * r->rows;
    return r->first_row + qx_shape_row(ids, i / inner % grown, r->rows);
}

static enum qx_status fail_id(const struct qx_run *r, int64_t i, int64_t n, struct qx_error *err)
{
    const double id = (double)r->in[1][i];
    if (r->node->in[1]->shape.batch < 0) {
        return qx_fail(err, QX_EDATA, "id %.9g of '%s' is outside its table of %lld entries", id,
                       r->node->in[1]->name, (long long)n);
    }
    return qx_fail(err, QX_EDATA, "row %lld holds the id %.9g, outside the table of %lld entries",
                   (long long)row_of(r, i), id, (long long)n);
}

static enum qx_status gather(const struct qx_run *r, struct qx_error *err)
{
    int axis = 0;
    enum qx_status st = qx_shape_axis(&r->in_shape[0], r->node->attr[0].i, &axis, err);
    const struct qx_shape *t = &r->in_shape[0];
    const int64_t outer = qx_shape_span(t, 0, axis), n = t->dim[axis];
    const int64_t inner = qx_shape_span(t, axis + 1, t->rank);
    const int64_t n_ids = qx_shape_numel(&r->in_shape[1], 1);
    for (int64_t i = 0; st == QX_OK && i < n_ids; i++) {
        const float v = r->in[1][i];
        if (!(v >= (float)-n && v <= (float)n) || v != floorf(v)) {
            return fail_id(r, i, n, err);
        }
        const int64_t id = (int64_t)v < 0 ? (int64_t)v + n : (int64_t)v;
        if (id >= n) {
            return fail_id(r, i, n, err);
        }
        for (int64_t o = 0; o < outer; o++) {
            memcpy(r->out + (o * n_ids + i) * inner, r->in[0] + (o * n + id) * inner,
                   (size_t)inner * sizeof *r->out);
        }
    }
    return st;
}

/* Ids were checked on the way there. */
static void gather_back(const struct qx_back *b)
{
    int axis = 0;
    const struct qx_run *r = b->run;
    const struct qx_shape *t = &r->in_shape[0];
    if (qx_shape_axis(t, r->node->attr[0].i, &axis, NULL) != QX_OK) {
        return; /* the forward pass would have failed */
    }
    const int64_t outer = qx_shape_span(t, 0, axis), n = t->dim[axis];
    const int64_t inner = qx_shape_span(t, axis + 1, t->rank);
    const int64_t n_ids = qx_shape_numel(&r->in_shape[1], 1);
    for (int64_t i = 0; b->d_in[0] && i < n_ids; i++) {
        const int64_t v = (int64_t)r->in[1][i], id = v < 0 ? v + n : v;
        for (int64_t o = 0; o < outer; o++) {
            const float *from = b->d_out + (o * n_ids + i) * inner;
            float *to = b->d_in[0] + (o * n + id) * inner;
            for (int64_t k = 0; k < inner; k++) {
                to[k] += from[k];
            }
        }
    }
}

const struct qx_op qx_op_gather = {.name = "Gather",
                                   .min_in = 2,
                                   .max_in = 2,
                                   .attrs = attrs,
                                   .n_attrs = 1,
                                   .ids = 2,
                                   .any_type = true,
                                   .weight = 0,
                                   .role = QX_ROLE_EMBEDDING,
                                   .weight_axis = table_axis,
                                   .shape = gather_shape,
                                   .forward = gather,
                                   .backward = gather_back};
