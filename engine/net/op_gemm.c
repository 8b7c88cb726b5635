#include "op.h"

#include "base/error.h"
#include "base/pool.h"
#include "kernels/kernels.h"

enum { ALPHA, BETA, TRANS_A, TRANS_B, N_ATTRS };

static const struct qx_attr_spec attrs[N_ATTRS] = {
    [ALPHA] = {.name = "alpha", .type = QX_ATTR_FLOAT, .fallback = 1.0},
    [BETA] = {.name = "beta", .type = QX_ATTR_FLOAT, .fallback = 1.0},
    [TRANS_A] = {.name = "transA", .type = QX_ATTR_INT, .min = 0, .max = 1},
    [TRANS_B] = {.name = "transB", .type = QX_ATTR_INT, .min = 0, .max = 1}};

static int weight_axis(const struct qx_node *node)
{
    return node->attr[TRANS_B].i ? 0 : 1;
}

/* Axis of an operand that is summed over. */
static enum qx_status check_sum(const struct qx_node *node, int a, int b, struct qx_error *err)
{
    const struct qx_shape *sa = &node->in[0]->shape, *sb = &node->in[1]->shape;
    enum qx_status st = qx_shape_keep_batch(sa, a, "the sum", err);
    if (st == QX_OK) {
        st = qx_shape_keep_batch(sb, b, "the sum", err);
    }
    if (st == QX_OK && sa->dim[a] != sb->dim[b]) {
        char ta[QX_SHAPE_TEXT], tb[QX_SHAPE_TEXT];
        st = qx_fail(err, QX_EFORMAT, "'%s' %s and '%s' %s do not multiply (transA %d, transB %d)",
                     node->in[0]->name, qx_shape_text(sa, ta), node->in[1]->name,
                     qx_shape_text(sb, tb), (int)node->attr[TRANS_A].i, (int)node->attr[TRANS_B].i);
    }
    return st;
}

static enum qx_status gemm_shape(const struct qx_infer *g, struct qx_error *err)
{
    struct qx_node *node = g->node;
    const int ta = (int)node->attr[TRANS_A].i, tb = (int)node->attr[TRANS_B].i;
    enum qx_status st = qx_op_rank(node, 0, 2, 2, err);
    if (st == QX_OK) {
        st = qx_op_rank(node, 1, 2, 2, err);
    }
    if (st == QX_OK) {
        st = check_sum(node, 1 - ta, tb, err);
    }
    if (st != QX_OK) {
        return st;
    }
    const struct qx_shape *a = &node->in[0]->shape, *b = &node->in[1]->shape;
    struct qx_shape out = {.rank = 2, .batch = -1, .dim = {a->dim[ta], b->dim[1 - tb]}};
    if (a->batch >= 0 && b->batch >= 0) {
        return qx_fail(err, QX_EUNSUPPORTED, "both operands grow with the batch; use MatMul");
    }
    if (a->batch >= 0) {
        qx_shape_grow(&out, 0, a);
    } else if (b->batch >= 0) {
        qx_shape_grow(&out, 1, b);
    }
    if (node->n_in > 2 && node->in[2] && !qx_shape_fits(&node->in[2]->shape, &out)) {
        char tc[QX_SHAPE_TEXT], to[QX_SHAPE_TEXT];
        return qx_fail(err, QX_EFORMAT, "'%s' %s does not broadcast to %s", node->in[2]->name,
                       qx_shape_text(&node->in[2]->shape, tc), qx_shape_text(&out, to));
    }
    node->out->shape = out;
    st = qx_shape_check(&out, err);
    node->macs = st == QX_OK ? qx_shape_numel(&out, 1) * a->dim[1 - ta] : 0;
    return st;
}

/* out = beta * c, broadcast. */
static void fill(const struct qx_run *r, float beta)
{
    int64_t stride[QX_SHAPE_RANK];
    struct qx_walk w;
    qx_shape_strides(&r->in_shape[2], &r->out_shape, stride);
    qx_walk_init(&w, 2, r->out_shape.dim, stride, NULL);
    const int64_t n = w.dim[w.rank - 1], step = w.stride[0][w.rank - 1];
    float *out = r->out;
    do {
        const float *c = r->in[2] + w.at[0];
        for (int64_t i = 0; i < n; i++) {
            out[i] = beta * c[i * step];
        }
        out += n;
    } while (qx_walk_next(&w));
}

/* Outputs of one block of a product that is shared out. */
#define BLOCK_OUTPUTS 512

struct product {
    const struct qx_run *r;
    int ta, tb;
    int64_t m, n, k, step;
    float beta;
};

static void product_run(void *arg, int64_t i, int worker)
{
    const struct product *p = arg;
    const struct qx_run *r = p->r;
    const int64_t first = i * p->step, left = p->n - first, ldb = r->in_shape[1].dim[1];
    (void)worker;
    qxk_sgemm(p->ta, p->tb, p->m, left < p->step ? left : p->step, p->k,
              (float)r->node->attr[ALPHA].f, r->in[0], r->in_shape[0].dim[1],
              r->in[1] + (p->tb ? first * ldb : first), ldb, p->beta, r->out + first, p->n);
}

static enum qx_status gemm(const struct qx_run *r, struct qx_error *err)
{
    (void)err;
    const struct qx_attr *attr = r->node->attr;
    const int ta = (int)attr[TRANS_A].i, tb = (int)attr[TRANS_B].i;
    const bool has_c = r->node->n_in > 2 && r->in[2];
    const int64_t m = r->out_shape.dim[0], n = r->out_shape.dim[1];
    const int64_t k = r->in_shape[0].dim[1 - ta];
    if (has_c) {
        fill(r, (float)attr[BETA].f);
    }
    struct product p = {.r = r,
                        .ta = ta,
                        .tb = tb,
                        .m = m,
                        .n = n,
                        .k = k,
                        .step = r->is_alone ? BLOCK_OUTPUTS : n,
                        .beta = has_c ? 1.0f : 0.0f};
    qx_pool_for(r->pool, (n + p.step - 1) / p.step, product_run, &p);
    return QX_OK;
}

/* d_c = beta * d_out, summed over what was broadcast. */
static void drain(const struct qx_back *b, float beta)
{
    int64_t stride[QX_SHAPE_RANK];
    struct qx_walk w;
    qx_shape_strides(&b->run->in_shape[2], &b->run->out_shape, stride);
    qx_walk_init(&w, 2, b->run->out_shape.dim, stride, NULL);
    const int64_t n = w.dim[w.rank - 1], step = w.stride[0][w.rank - 1];
    const float *d_out = b->d_out;
    do {
        float *c = b->d_in[2] + w.at[0];
        for (int64_t i = 0; i < n; i++) {
            c[i * step] += beta * d_out[i];
        }
        d_out += n;
    } while (qx_walk_next(&w));
}

/* out = alpha op(A) op(B): dA and dB are products of d_out with the other operand. */
static void gemm_back(const struct qx_back *b)
{
    const struct qx_run *r = b->run;
    const struct qx_attr *attr = r->node->attr;
    const int ta = (int)attr[TRANS_A].i, tb = (int)attr[TRANS_B].i;
    const float alpha = (float)attr[ALPHA].f;
    const int64_t m = r->out_shape.dim[0], n = r->out_shape.dim[1];
    const int64_t k = r->in_shape[0].dim[1 - ta];
    const int64_t lda = r->in_shape[0].dim[1], ldb = r->in_shape[1].dim[1];
    if (b->d_in[0] && ta) {
        qxk_sgemm(tb, 1, k, m, n, alpha, r->in[1], ldb, b->d_out, n, 1.0f, b->d_in[0], lda);
    } else if (b->d_in[0]) {
        qxk_sgemm(0, !tb, m, k, n, alpha, b->d_out, n, r->in[1], ldb, 1.0f, b->d_in[0], lda);
    }
    if (b->d_in[1] && tb) {
        qxk_sgemm(1, ta, n, k, m, alpha, b->d_out, n, r->in[0], lda, 1.0f, b->d_in[1], ldb);
    } else if (b->d_in[1]) {
        qxk_sgemm(!ta, 0, k, n, m, alpha, r->in[0], lda, b->d_out, n, 1.0f, b->d_in[1], ldb);
    }
    if (r->node->n_in > 2 && b->d_in[2]) {
        drain(b, (float)attr[BETA].f);
    }
}

const struct qx_op qx_op_gemm = {.name = "Gemm",
                                 .min_in = 2,
                                 .max_in = 3,
                                 .attrs = attrs,
                                 .n_attrs = N_ATTRS,
                                 .takes_places = true,
                                 .weight = 1,
                                 .role = QX_ROLE_LINEAR,
                                 .weight_axis = weight_axis,
                                 .shape = gemm_shape,
                                 .forward = gemm,
                                 .backward = gemm_back};
