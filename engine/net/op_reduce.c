/* Mean and maximum over axes: ReduceMean, ReduceMax, GlobalAveragePool, GlobalMaxPool. */
#include "op.h"

#include "base/error.h"

static const struct qx_attr_spec attrs[] = {
    {.name = "axes", .type = QX_ATTR_INTS_LIST, .min = -8, .max = 7},
    {.name = "keepdims", .type = QX_ATTR_INT, .fallback = 1, .min = 0, .max = 1},
    {.name = "noop_with_empty_axes", .type = QX_ATTR_INT, .fallback = 0, .min = 0, .max = 0}};

/* is_reduced[i] for every axis of the input: those of `axes`, else all. */
static enum qx_status reduce_axes(const struct qx_node *node, const struct qx_shape *x,
                                  bool *is_reduced, struct qx_error *err)
{
    const struct qx_attr *axes = &node->attr[0];
    for (int i = 0; i < x->rank; i++) {
        is_reduced[i] = axes->n == 0;
    }
    for (int i = 0; i < axes->n; i++) {
        int axis;
        enum qx_status st = qx_shape_axis(x, axes->ints[i], &axis, err);
        if (st != QX_OK) {
            return st;
        }
        if (is_reduced[axis]) {
            return qx_fail(err, QX_EFORMAT, "attribute 'axes' names axis %d twice", axis);
        }
        is_reduced[axis] = true;
    }
    return QX_OK;
}

/* The spatial axes of GlobalAveragePool and GlobalMaxPool. */
static void spatial_axes(const struct qx_shape *x, bool *is_reduced)
{
    for (int i = 0; i < x->rank; i++) {
        is_reduced[i] = i >= 2;
    }
}

static enum qx_status set_shape(const struct qx_node *node, const bool *is_reduced, bool keeps,
                                struct qx_error *err)
{
    const struct qx_shape *x = &node->in[0]->shape;
    struct qx_shape out = {.rank = 0, .batch = -1};
    for (int i = 0; i < x->rank; i++) {
        if (is_reduced[i]) {
            enum qx_status st = qx_shape_keep_batch(x, i, "reducing", err);
            if (st != QX_OK) {
                return st;
            }
        }
        if (!is_reduced[i] || keeps) {
            if (i == x->batch) {
                qx_shape_grow(&out, out.rank, x);
            }
            out.dim[out.rank++] = is_reduced[i] ? 1 : x->dim[i];
        }
    }
    node->out->shape = out;
    return QX_OK;
}

static enum qx_status reduce_shape(const struct qx_infer *g, struct qx_error *err)
{
    bool is_reduced[QX_SHAPE_RANK];
    enum qx_status st = reduce_axes(g->node, &g->node->in[0]->shape, is_reduced, err);
    return st == QX_OK ? set_shape(g->node, is_reduced, g->node->attr[1].i == 1, err) : st;
}

static enum qx_status global_shape(const struct qx_infer *g, struct qx_error *err)
{
    bool is_reduced[QX_SHAPE_RANK];
    enum qx_status st = qx_op_rank(g->node, 0, 3, QX_SHAPE_RANK, err);
    if (st != QX_OK) {
        return st;
    }
    spatial_axes(&g->node->in[0]->shape, is_reduced);
    return set_shape(g->node, is_reduced, true, err);
}

/* One output value: the sum, or the maximum, over the walk from x. */
static double reduce_one(struct qx_walk *w, const float *x, bool is_max)
{
    const int64_t n = w->dim[w->rank - 1], step = w->stride[0][w->rank - 1];
    double acc = is_max ? (double)*x : 0.0;
    do {
        const float *p = x + w->at[0];
        for (int64_t i = 0; i < n; i++) {
            const double v = (double)p[i * step];
            acc = is_max ? (v > acc ? v : acc) : acc + v;
        }
    } while (qx_walk_next(w));
    return acc;
}

/* Splits the axes into an outer walk over the kept ones and an inner one over the reduced ones. */
static void reduce(const struct qx_run *r, const bool *is_reduced, bool is_max)
{
    const struct qx_shape *x = &r->in_shape[0];
    int64_t stride[QX_SHAPE_RANK], dim[2][QX_SHAPE_RANK], step[2][QX_SHAPE_RANK];
    int rank[2] = {0, 0};
    int64_t count = 1;
    qx_shape_strides(x, x, stride);
    for (int i = 0; i < x->rank; i++) {
        const int k = is_reduced[i];
        dim[k][rank[k]] = x->dim[i];
        step[k][rank[k]++] = stride[i];
        count *= k ? x->dim[i] : 1;
    }
    struct qx_walk kept, inner;
    qx_walk_init(&kept, rank[0], dim[0], step[0], NULL);
    qx_walk_init(&inner, rank[1], dim[1], step[1], NULL);
    const int64_t n = kept.dim[kept.rank - 1], along = kept.stride[0][kept.rank - 1];
    const double scale = is_max ? 1.0 : 1.0 / (double)count;
    float *out = r->out;
    do {
        for (int64_t i = 0; i < n; i++) {
            const float *from = r->in[0] + kept.at[0] + i * along;
            *out++ = (float)(reduce_one(&inner, from, is_max) * scale);
        }
    } while (qx_walk_next(&kept));
}

static enum qx_status reduce_run(const struct qx_run *r, bool is_max, struct qx_error *err)
{
    bool is_reduced[QX_SHAPE_RANK];
    enum qx_status st = reduce_axes(r->node, &r->in_shape[0], is_reduced, err);
    if (st == QX_OK) {
        reduce(r, is_reduced, is_max);
    }
    return st;
}

static enum qx_status reduce_mean(const struct qx_run *r, struct qx_error *err)
{
    return reduce_run(r, false, err);
}

static enum qx_status reduce_max(const struct qx_run *r, struct qx_error *err)
{
    return reduce_run(r, true, err);
}

static enum qx_status global_run(const struct qx_run *r, bool is_max)
{
    bool is_reduced[QX_SHAPE_RANK];
    spatial_axes(&r->in_shape[0], is_reduced);
    reduce(r, is_reduced, is_max);
    return QX_OK;
}

static enum qx_status global_average(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    return global_run(r, false);
}

static enum qx_status global_max(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    return global_run(r, true);
}

/* What the gradient of one output value brings to the values it came from: of a maximum, to the first
 * that has it. */
static void reduce_back_one(struct qx_walk *w, const float *x, float d, bool is_max, float *d_x)
{
    const int64_t n = w->dim[w->rank - 1], step = w->stride[0][w->rank - 1];
    int64_t top = 0;
    do {
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = w->at[0] + i * step;
            top = is_max && x[at] > x[top] ? at : top;
            d_x[at] += is_max ? 0.0f : d;
        }
    } while (qx_walk_next(w));
    d_x[top] += is_max ? d : 0.0f;
}

static void reduce_back_axes(const struct qx_back *b, const bool *is_reduced, bool is_max)
{
    const struct qx_shape *x = &b->run->in_shape[0];
    int64_t stride[QX_SHAPE_RANK], dim[2][QX_SHAPE_RANK], step[2][QX_SHAPE_RANK];
    int rank[2] = {0, 0};
    int64_t count = 1;
    qx_shape_strides(x, x, stride);
    for (int i = 0; i < x->rank; i++) {
        const int k = is_reduced[i];
        dim[k][rank[k]] = x->dim[i];
        step[k][rank[k]++] = stride[i];
        count *= k ? x->dim[i] : 1;
    }
    struct qx_walk kept, inner;
    qx_walk_init(&kept, rank[0], dim[0], step[0], NULL);
    qx_walk_init(&inner, rank[1], dim[1], step[1], NULL);
    const int64_t n = kept.dim[kept.rank - 1], along = kept.stride[0][kept.rank - 1];
    const float scale = is_max ? 1.0f : 1.0f / (float)count;
    const float *d_out = b->d_out;
    do {
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = kept.at[0] + i * along;
            reduce_back_one(&inner, b->run->in[0] + at, *d_out++ * scale, is_max, b->d_in[0] + at);
        }
    } while (qx_walk_next(&kept));
}

static void reduce_back(const struct qx_back *b, bool is_max)
{
    bool is_reduced[QX_SHAPE_RANK];
    if (reduce_axes(b->run->node, &b->run->in_shape[0], is_reduced, NULL) == QX_OK) {
        reduce_back_axes(b, is_reduced, is_max);
    }
}

static void reduce_mean_back(const struct qx_back *b)
{
    reduce_back(b, false);
}

static void reduce_max_back(const struct qx_back *b)
{
    reduce_back(b, true);
}

static void global_back(const struct qx_back *b, bool is_max)
{
    bool is_reduced[QX_SHAPE_RANK];
    spatial_axes(&b->run->in_shape[0], is_reduced);
    reduce_back_axes(b, is_reduced, is_max);
}

static void global_average_back(const struct qx_back *b)
{
    global_back(b, false);
}

static void global_max_back(const struct qx_back *b)
{
    global_back(b, true);
}

#define REDUCE_ROW(id, op_name, fn)                         \
    const struct qx_op qx_op_##id = {.name = op_name,       \
                                     .min_in = 1,           \
                                     .max_in = 1,           \
                                     .attrs = attrs,        \
                                     .n_attrs = 3,          \
                                     .weight = -1,          \
                                     .shape = reduce_shape, \
                                     .forward = fn,         \
                                     .backward = fn##_back}
REDUCE_ROW(reduce_mean, "ReduceMean", reduce_mean);
REDUCE_ROW(reduce_max, "ReduceMax", reduce_max);

#define GLOBAL_ROW(id, op_name, fn)                         \
    const struct qx_op qx_op_##id = {.name = op_name,       \
                                     .min_in = 1,           \
                                     .max_in = 1,           \
                                     .weight = -1,          \
                                     .shape = global_shape, \
                                     .forward = fn,         \
                                     .backward = fn##_back}
GLOBAL_ROW(global_average_pool, "GlobalAveragePool", global_average);
GLOBAL_ROW(global_max_pool, "GlobalMaxPool", global_max);
