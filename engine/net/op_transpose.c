#include "op.h"

#include "base/error.h"

static const struct qx_attr_spec attrs[] = {
    {.name = "perm", .type = QX_ATTR_INTS_LIST, .min = 0, .max = QX_SHAPE_RANK - 1}};

static enum qx_status read_perm(const struct qx_node *node, int rank, int64_t *perm,
                                struct qx_error *err)
{
    bool is_seen[QX_SHAPE_RANK] = {false};
    if (!node->attr[0].is_given) {
        for (int i = 0; i < rank; i++) {
            perm[i] = rank - 1 - i;
        }
        return QX_OK;
    }
    enum qx_status st = qx_attr_list(node, 0, rank, 0, perm, err);
    for (int i = 0; st == QX_OK && i < rank; i++) {
        if (perm[i] >= rank || is_seen[perm[i]]) {
            return qx_fail(err, QX_EFORMAT, "attribute 'perm' is no order of %d axes", rank);
        }
        is_seen[perm[i]] = true;
    }
    return st;
}

static enum qx_status transpose_shape(const struct qx_infer *g, struct qx_error *err)
{
    const struct qx_shape *x = &g->node->in[0]->shape;
    struct qx_shape out = {.rank = x->rank, .batch = -1};
    int64_t perm[QX_SHAPE_RANK];
    enum qx_status st = read_perm(g->node, x->rank, perm, err);
    for (int i = 0; st == QX_OK && i < x->rank; i++) {
        out.dim[i] = x->dim[perm[i]];
        if (perm[i] == x->batch) {
            qx_shape_grow(&out, i, x);
        }
    }
    g->node->out->shape = out;
    return st;
}

static enum qx_status transpose(const struct qx_run *r, struct qx_error *err)
{
    int64_t perm[QX_SHAPE_RANK], from[QX_SHAPE_RANK], stride[QX_SHAPE_RANK];
    const int rank = r->out_shape.rank;
    enum qx_status st = read_perm(r->node, rank, perm, err);
    if (st != QX_OK) {
        return st;
    }
    qx_shape_strides(&r->in_shape[0], &r->in_shape[0], from);
    for (int i = 0; i < rank; i++) {
        stride[i] = from[perm[i]];
    }
    struct qx_walk w;
    qx_walk_init(&w, rank, r->out_shape.dim, stride, NULL);
    const int64_t n = w.dim[w.rank - 1], step = w.stride[0][w.rank - 1];
    float *out = r->out;
    do {
        const float *x = r->in[0] + w.at[0];
        for (int64_t i = 0; i < n; i++) {
            out[i] = x[i * step];
        }
        out += n;
    } while (qx_walk_next(&w));
    return QX_OK;
}

static void transpose_back(const struct qx_back *b)
{
    int64_t perm[QX_SHAPE_RANK], from[QX_SHAPE_RANK], stride[QX_SHAPE_RANK];
    const struct qx_run *r = b->run;
    const int rank = r->out_shape.rank;
    if (read_perm(r->node, rank, perm, NULL) != QX_OK) {
        return; /* the forward pass would have failed */
    }
    qx_shape_strides(&r->in_shape[0], &r->in_shape[0], from);
    for (int i = 0; i < rank; i++) {
        stride[i] = from[perm[i]];
    }
    struct qx_walk w;
    qx_walk_init(&w, rank, r->out_shape.dim, stride, NULL);
    const int64_t n = w.dim[w.rank - 1], step = w.stride[0][w.rank - 1];
    const float *d_out = b->d_out;
    do {
        float *d_x = b->d_in[0] + w.at[0];
        for (int64_t i = 0; i < n; i++) {
            d_x[i * step] += d_out[i];
        }
        d_out += n;
    } while (qx_walk_next(&w));
}

const struct qx_op qx_op_transpose = {.name = "Transpose",
                                      .min_in = 1,
                                      .max_in = 1,
                                      .attrs = attrs,
                                      .n_attrs = 1,
                                      .any_type = true,
                                      .weight = -1,
                                      .shape = transpose_shape,
                                      .forward = transpose,
                                      .backward = transpose_back};
