/* Layer normalization in an integer pass: the residual sum before it and the quantization behind it happen
 * while the row lies in the first-level cache. */
#include "net/exec.h"
#include "net/qlinear.h"

/* Is `v` a tensor of exactly n values, or left out where that is possible? */
static bool is_row_of(const struct qx_value *v, int64_t n)
{
    return v && v->tensor >= 0 && v->shape.rank == 1 && v->shape.dim[0] == n;
}

static bool is_plain(const struct qx_exec *e, const struct qx_value *v)
{
    return v->tensor < 0 && e->values[v->index].form == QX_FORM_PLAIN;
}

/* Over the last axis, with one factor for each of its values. */
static bool can_run(const struct qx_exec *e, const struct qx_node *node)
{
    const struct qx_shape *s = &node->in[0]->shape;
    const int64_t n = s->dim[s->rank - 1], axis = qx_node_attr(node, "axis")->i;
    return (axis == -1 || axis == s->rank - 1) && is_plain(e, node->in[0]) &&
           is_plain(e, node->out) && is_row_of(node->in[1], n) &&
           (node->n_in < 3 || !node->in[2] || is_row_of(node->in[2], n));
}

/* The node just before is the sum that this one alone reads, in the same memory. */
static const struct qx_node *find_sum(const struct qx_exec *e, int i)
{
    const struct qx_net *net = e->net;
    const struct qx_node *node = net->nodes[i], *sum = i > 0 ? net->nodes[i - 1] : NULL;
    const int *root = net->plan.root;
    if (!sum || !qx_node_is(sum, "Add") || e->nodes[i - 1].kind != QX_EXEC_FLOAT ||
        node->in[0] != sum->out || root[node->out->index] != root[sum->out->index] ||
        !is_plain(e, sum->in[0]) || !is_plain(e, sum->in[1]) ||
        !qx_shape_equal(&sum->in[0]->shape, &sum->out->shape) ||
        !qx_shape_equal(&sum->in[1]->shape, &sum->out->shape)) {
        return NULL;
    }
    for (int k = i + 1; k < net->n_nodes; k++) {
        for (int j = 0; j < net->nodes[k]->n_in; j++) {
            if (net->nodes[k]->in[j] == sum->out) {
                return NULL;
            }
        }
    }
    return sum;
}

static const struct qx_qlinear *find_reader(const struct qx_exec *e, int i)
{
    for (int k = i + 1; k < e->net->n_nodes; k++) {
        const struct qx_qlinear *q = e->nodes[k].linear;
        if (q && q->kind == QX_QMATRIX && q->node->in[0] == e->net->nodes[i]->out) {
            return q->act.dynamic && q->act.gran == QX_ACT_TOKEN && !qx_qbeside_is(q) ? q : NULL;
        }
    }
    return NULL;
}

void qx_exec_norms(struct qx_exec *e)
{
    for (int i = 0; i < e->net->n_nodes; i++) {
        const struct qx_node *node = e->net->nodes[i];
        if (e->nodes[i].kind != QX_EXEC_FLOAT || !qx_node_is(node, "LayerNormalization") ||
            !can_run(e, node)) {
            continue;
        }
        e->nodes[i].kind = QX_EXEC_NORM;
        e->nodes[i].reader = find_reader(e, i);
        e->nodes[i].sum = find_sum(e, i);
        if (e->nodes[i].sum) {
            e->nodes[i - 1].kind = QX_EXEC_NONE;
        }
    }
}

void qx_norm_run(const struct qx_norm_run *r)
{
    const struct qx_qlinear *q = r->exec->reader;
    const float eps = (float)qx_node_attr(r->node, "epsilon")->f;
    struct qx_qtokens t;
    int64_t n_nonfinite = 0;
    if (q) {
        qx_qrows_cut(q, r->m, r->kept->base, &t);
    }
    for (int64_t i = 0; i < r->m; i++) {
        const int64_t at = i * r->n;
        const struct qxk_norm norm = {
            .add = r->other ? r->other + at : NULL, .gamma = r->gamma, .beta = r->beta, .eps = eps};
        qxk_get()->layer_norm(r->x + at, r->n, &norm, r->out + at);
        if (q) {
            n_nonfinite += qx_qtokens_row(q, &t, i, r->out + at);
        }
    }
    if (q) {
        qx_qkept_set(r->kept, q, n_nonfinite);
    }
}
