/* MatMul as numpy.matmul: the last two axes multiply, those before broadcast; an operand of one axis
 * is a row (left) or a column (right). */
#include "op.h"

#include "base/error.h"
#include "kernels/kernels.h"

static int weight_axis(const struct qx_node *node)
{
    return node->in[1]->shape.rank - 1;
}

/* An operand of one axis as a matrix: [1, k] on the left, [k, 1] on the right. */
static struct qx_shape as_matrix(const struct qx_shape *s, bool is_left)
{
    if (s->rank != 1) {
        return *s;
    }
    struct qx_shape m = {.rank = 2, .batch = -1, .dim = {1, 1}};
    m.dim[is_left] = s->dim[0];
    if (s->batch == 0) {
        qx_shape_grow(&m, is_left, s);
    }
    return m;
}

static enum qx_status fail_shapes(const struct qx_node *node, enum qx_status st, const char *why,
                                  struct qx_error *err)
{
    char a[QX_SHAPE_TEXT], b[QX_SHAPE_TEXT];
    return qx_fail(err, st, "'%s' %s and '%s' %s do not multiply%s", node->in[0]->name,
                   qx_shape_text(&node->in[0]->shape, a), node->in[1]->name,
                   qx_shape_text(&node->in[1]->shape, b), why);
}

/* Output of two matrices or stacks of them, one axis of the batch at most. */
static enum qx_status product_shape(const struct qx_node *node, const struct qx_shape *a,
                                    const struct qx_shape *b, struct qx_shape *out,
                                    struct qx_error *err)
{
    const int ra = a->rank - 2, rb = b->rank - 2;
    enum qx_status st = qx_shape_keep_batch(a, ra + 1, "the sum", err);
    if (st == QX_OK) {
        st = qx_shape_keep_batch(b, rb, "the sum", err);
    }
    if (st == QX_OK && a->dim[ra + 1] != b->dim[rb]) {
        st = fail_shapes(node, QX_EFORMAT, "", err);
    }
    if (st == QX_OK) {
        st = qx_shape_broadcast(a, ra, b, rb, out, err);
    }
    if (st != QX_OK) {
        return st;
    }
    const int n = out->rank, grows = (out->batch >= 0) + (a->batch == ra) + (b->batch == rb + 1);
    if (grows > 1) {
        return fail_shapes(node, QX_EUNSUPPORTED, ": their batch axes are not the same axis", err);
    }
    if (a->batch == ra) {
        qx_shape_grow(out, n, a);
    } else if (b->batch == rb + 1) {
        qx_shape_grow(out, n + 1, b);
    }
    out->dim[n] = a->dim[ra];
    out->dim[n + 1] = b->dim[rb + 1];
    out->rank = n + 2;
    return QX_OK;
}

/* Take the axis of length 1 out again that a one-axis operand brought in. */
static void drop_axis(struct qx_shape *s, int axis)
{
    for (int i = axis; i + 1 < s->rank; i++) {
        s->dim[i] = s->dim[i + 1];
    }
    s->batch -= s->batch > axis;
    s->rank--;
}

static enum qx_status matmul_shape(const struct qx_infer *g, struct qx_error *err)
{
    struct qx_node *node = g->node;
    struct qx_shape out;
    enum qx_status st = qx_op_rank(node, 0, 1, QX_SHAPE_RANK, err);
    if (st == QX_OK) {
        st = qx_op_rank(node, 1, 1, QX_SHAPE_RANK, err);
    }
    if (st != QX_OK) {
        return st;
    }
    const struct qx_shape a = as_matrix(&node->in[0]->shape, true);
    const struct qx_shape b = as_matrix(&node->in[1]->shape, false);
    st = product_shape(node, &a, &b, &out, err);
    if (st == QX_OK) {
        st = qx_shape_check(&out, err);
    }
    if (st != QX_OK) {
        return st;
    }
    node->macs = qx_shape_numel(&out, 1) * a.dim[a.rank - 1];
    if (node->in[1]->shape.rank == 1) {
        drop_axis(&out, out.rank - 1);
    }
    if (node->in[0]->shape.rank == 1) {
        drop_axis(&out, out.rank - (node->in[1]->shape.rank == 1 ? 1 : 2));
    }
    node->out->shape = out;
    return QX_OK;
}

/* Strides of the stack axes, in matrices' floats; 0 where broadcast. */
static void stack_strides(const struct qx_shape *s, const struct qx_shape *stack, int64_t *stride)
{
    struct qx_shape lead = *s;
    lead.rank = s->rank - 2;
    qx_shape_strides(&lead, stack, stride);
    for (int i = 0; i < stack->rank; i++) {
        stride[i] *= s->dim[s->rank - 2] * s->dim[s->rank - 1];
    }
}

static enum qx_status matmul(const struct qx_run *r, struct qx_error *err)
{
    const struct qx_shape a = as_matrix(&r->in_shape[0], true);
    const struct qx_shape b = as_matrix(&r->in_shape[1], false);
    const int64_t k = a.dim[a.rank - 1], n = b.dim[b.rank - 1];
    int64_t m = a.dim[a.rank - 2];
    if (b.rank == 2) {
        m = qx_shape_numel(&a, 1) / k; /* one matrix on the right: all rows at once */
        qxk_sgemm(0, 0, m, n, k, 1.0f, r->in[0], k, r->in[1], n, 0.0f, r->out, n);
        return QX_OK;
    }
    struct qx_shape stack;
    enum qx_status st = qx_shape_broadcast(&a, a.rank - 2, &b, b.rank - 2, &stack, err);
    if (st != QX_OK) {
        return st;
    }
    int64_t sa[QX_SHAPE_RANK], sb[QX_SHAPE_RANK];
    struct qx_walk w;
    stack_strides(&a, &stack, sa);
    stack_strides(&b, &stack, sb);
    qx_walk_init(&w, stack.rank, stack.dim, sa, sb);
    float *out = r->out;
    do {
        for (int64_t i = 0; i < w.dim[w.rank - 1]; i++, out += m * n) {
            qxk_sgemm(0, 0, m, n, k, 1.0f, r->in[0] + w.at[0] + i * w.stride[0][w.rank - 1], k,
                      r->in[1] + w.at[1] + i * w.stride[1][w.rank - 1], n, 0.0f, out, n);
        }
    } while (qx_walk_next(&w));
    return QX_OK;
}

/* Gradients of one product [m, k] x [k, n], added; NULL = not wanted. */
static void product_back(const float *a, const float *b, const float *d_out, int64_t m, int64_t n,
                         int64_t k, float *d_a, float *d_b)
{
    if (d_a) {
        qxk_sgemm(0, 1, m, k, n, 1.0f, d_out, n, b, n, 1.0f, d_a, k);
    }
    if (d_b) {
        qxk_sgemm(1, 0, k, n, m, 1.0f, a, k, d_out, n, 1.0f, d_b, n);
    }
}

static void matmul_back(const struct qx_back *back)
{
    const struct qx_run *r = back->run;
    const struct qx_shape a = as_matrix(&r->in_shape[0], true);
    const struct qx_shape b = as_matrix(&r->in_shape[1], false);
    const int64_t m = a.dim[a.rank - 2], k = a.dim[a.rank - 1], n = b.dim[b.rank - 1];
    float *d_a = back->d_in[0], *d_b = back->d_in[1];
    const float *d_out = back->d_out;
    struct qx_shape stack;
    if (b.rank == 2) {
        product_back(r->in[0], r->in[1], d_out, qx_shape_numel(&a, 1) / k, n, k, d_a, d_b);
        return;
    }
    if (qx_shape_broadcast(&a, a.rank - 2, &b, b.rank - 2, &stack, NULL) != QX_OK) {
        return; /* the forward pass would have failed */
    }
    int64_t sa[QX_SHAPE_RANK], sb[QX_SHAPE_RANK];
    struct qx_walk w;
    stack_strides(&a, &stack, sa);
    stack_strides(&b, &stack, sb);
    qx_walk_init(&w, stack.rank, stack.dim, sa, sb);
    const int last = w.rank - 1;
    do {
        for (int64_t i = 0; i < w.dim[last]; i++, d_out += m * n) {
            const int64_t at_a = w.at[0] + i * w.stride[0][last];
            const int64_t at_b = w.at[1] + i * w.stride[1][last];
            product_back(r->in[0] + at_a, r->in[1] + at_b, d_out, m, n, k, d_a ? d_a + at_a : NULL,
                         d_b ? d_b + at_b : NULL);
        }
    } while (qx_walk_next(&w));
}

const struct qx_op qx_op_matmul = {.name = "MatMul",
                                   .min_in = 2,
                                   .max_in = 2,
                                   .weight = 1,
                                   .role = QX_ROLE_LINEAR,
                                   .weight_axis = weight_axis,
                                   .shape = matmul_shape,
                                   .forward = matmul,
                                   .backward = matmul_back};
