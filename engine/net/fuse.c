/* What becomes part of a product (batch normalization, bias, Relu, Gelu, Clip), and the form in which
 * each value lies: codes where all who read it take the same codes, channels last where all can. */
#include "net/exec.h"
#include "net/qlinear.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

/* ---- fusing ---- */

/* The only reader of each value: its node, -1 = none, -2 = several or the graph's output. */
static void find_readers(const struct qx_net *net, int *reader)
{
    for (int v = 0; v < net->n_values; v++) {
        reader[v] = -1;
    }
    for (int i = 0; i < net->n_nodes; i++) {
        for (int k = 0; k < net->nodes[i]->n_in; k++) {
            if (net->nodes[i]->in[k]) {
                int *r = &reader[net->nodes[i]->in[k]->index];
                *r = *r == -1 ? i : -2;
            }
        }
    }
    reader[net->output->index] = -2;
}

static const float *constant_of(const struct qx_weights *w, const struct qx_value *v)
{
    return v->tensor >= 0 ? w->values[v->index].data : NULL;
}

/* Does axis 1 of the node's input hold the outputs of the product? */
static bool is_per_output(const struct qx_qlinear *q, const struct qx_node *node)
{
    return q->kind != QX_QMATRIX || node->in[0]->shape.rank == 2;
}

static enum qx_status fuse_norm(struct qx_qlinear *q, const struct qx_weights *w,
                                const struct qx_node *node, bool *done, struct qx_error *err)
{
    const float *c[5] = {NULL};
    for (int i = 1; i < 5; i++) {
        c[i] = constant_of(w, node->in[i]);
        if (!c[i] || !is_per_output(q, node)) {
            return QX_OK;
        }
    }
    double *scale = qx_mem_array((size_t)q->oc, 2 * sizeof *scale), *shift = scale + q->oc;
    if (!scale) {
        return qx_fail_nomem(err, (size_t)q->oc * 2 * sizeof *scale);
    }
    const double epsilon = qx_node_attr(node, "epsilon")->f;
    for (int64_t o = 0; o < q->oc; o++) {
        scale[o] = (double)c[1][o] / sqrt((double)c[4][o] + epsilon);
        shift[o] = (double)c[2][o] - (double)c[3][o] * scale[o];
    }
    qx_qlinear_affine(q, scale, shift);
    qx_mem_free(scale);
    *done = true;
    return QX_OK;
}

/* Add of one initializer value for each output, behind a matrix. */
static enum qx_status fuse_add(struct qx_qlinear *q, const struct qx_weights *w,
                               const struct qx_node *node, bool *done, struct qx_error *err)
{
    const struct qx_value *v = node->in[1];
    const float *c = constant_of(w, v);
    if (q->kind != QX_QMATRIX || !c || v->shape.rank < 1 ||
        v->shape.dim[v->shape.rank - 1] != q->oc || qx_shape_numel(&v->shape, 1) != q->oc) {
        return QX_OK;
    }
    double *shift = qx_mem_array((size_t)q->oc, sizeof *shift);
    if (!shift) {
        return qx_fail_nomem(err, (size_t)q->oc * sizeof *shift);
    }
    for (int64_t o = 0; o < q->oc; o++) {
        shift[o] = (double)c[o];
    }
    qx_qlinear_affine(q, NULL, shift);
    qx_mem_free(shift);
    *done = true;
    return QX_OK;
}

static bool fuse_clip(struct qx_qlinear *q, const struct qx_weights *w, const struct qx_node *node)
{
    float limit[2] = {-INFINITY, INFINITY};
    for (int i = 1; i < node->n_in; i++) {
        const float *c = node->in[i] ? constant_of(w, node->in[i]) : &limit[i - 1];
        if (!c || isnan(*c)) {
            return false;
        }
        limit[i - 1] = *c;
    }
    if (limit[0] > limit[1]) {
        return false;
    }
    q->fused = QXK_ACT_CLIP;
    q->act_lo = limit[0];
    q->act_hi = limit[1];
    return true;
}

static enum qx_status fuse_one(struct qx_qlinear *q, const struct qx_weights *w,
                               const struct qx_node *node, bool *done, struct qx_error *err)
{
    *done = false;
    if (q->fused != QXK_ACT_NONE) {
        return QX_OK;
    }
    if (qx_node_is(node, "BatchNormalization")) {
        return fuse_norm(q, w, node, done, err);
    }
    if (qx_node_is(node, "Add")) {
        return fuse_add(q, w, node, done, err);
    }
    if (qx_node_is(node, "Relu")) {
        q->fused = QXK_ACT_RELU;
        *done = true;
    } else if (qx_node_is(node, "Gelu") && q->kind == QX_QMATRIX) {
        q->fused = qx_node_attr(node, "approximate")->i == 1 ? QXK_ACT_GELU_TANH : QXK_ACT_GELU;
        *done = true;
    } else if (qx_node_is(node, "Clip")) {
        *done = fuse_clip(q, w, node);
    }
    return QX_OK;
}

static enum qx_status fuse_node(struct qx_exec *e, const struct qx_weights *w, int i,
                                const int *reader, struct qx_error *err)
{
    const struct qx_net *net = e->net;
    const int *root = net->plan.root;
    bool done = true;
    while (done) {
        const int v = e->nodes[i].out, next = reader[v];
        if (next < 0 || e->nodes[next].kind != QX_EXEC_FLOAT ||
            net->nodes[next]->in[0] != net->values[v] ||
            root[net->nodes[next]->out->index] != root[v]) {
            return QX_OK;
        }
        enum qx_status st = fuse_one(e->nodes[i].linear, w, net->nodes[next], &done, err);
        if (st != QX_OK) {
            return st;
        }
        if (done) {
            e->nodes[next].kind = QX_EXEC_NONE;
            e->nodes[i].out = net->nodes[next]->out->index;
        }
    }
    return QX_OK;
}

enum qx_status qx_exec_fuse(struct qx_exec *e, const struct qx_weights *w, struct qx_error *err)
{
    int *reader = qx_mem_array((size_t)e->net->n_values, sizeof *reader);
    if (!reader) {
        return qx_fail_nomem(err, (size_t)e->net->n_values * sizeof *reader);
    }
    find_readers(e->net, reader);
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < e->net->n_nodes; i++) {
        if (e->nodes[i].kind == QX_EXEC_LINEAR && !e->nodes[i].linear->is_finished) {
            st = fuse_node(e, w, i, reader, err);
        }
    }
    qx_mem_free(reader);
    return st;
}

/* ---- forms ---- */

/* What all readers of a value want. */
struct want {
    enum { WANT_NOBODY, WANT_CODES, WANT_FLOAT } kind;
    struct qx_codes codes;
    bool by_products; /* read by products alone, which take any order of axes */
    bool last;        /* all can take channels last, provided other values are so */
};

struct forms {
    struct qx_exec *e;
    struct want *want; /* [n_values] */
};

static bool is_sample_major(const struct qx_shape *s)
{
    return s->batch == 0 && s->lead == 1 && s->dim[0] == 1;
}

static bool has_planes(const struct qx_value *v)
{
    return is_sample_major(&v->shape) && (v->shape.rank == 3 || v->shape.rank == 4);
}

static bool same_codes(const struct qx_codes *a, const struct qx_codes *b)
{
    return a->scale == b->scale && a->zero == b->zero && a->min == b->min && a->max == b->max;
}

static void want_float(struct want *w)
{
    w->kind = WANT_FLOAT;
}

static void want_codes(struct want *w, const struct qx_codes *codes, bool by_products)
{
    if (w->kind == WANT_NOBODY) {
        w->kind = WANT_CODES;
        w->codes = *codes;
    } else if (w->kind == WANT_CODES && !same_codes(&w->codes, codes)) {
        w->kind = WANT_FLOAT;
    }
    w->by_products &= by_products;
}

/* Element by element, whatever the order of the elements. */
static bool is_elementwise(const struct qx_node *node)
{
    static const char *const ops[] = {"Relu", "LeakyRelu", "Sigmoid", "Tanh", "Gelu", "Clip"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (qx_node_is(node, ops[i])) {
            return true;
        }
    }
    return (qx_node_is(node, "Add") || qx_node_is(node, "Mul")) && node->in[0]->tensor < 0 &&
           node->in[1]->tensor < 0 && qx_shape_equal(&node->in[0]->shape, &node->in[1]->shape);
}

/* What node i wants of the values it reads; those who read its own result have said so. */
static void node_wants(struct forms *f, int i)
{
    const struct qx_exec *e = f->e;
    const struct qx_node *node = e->net->nodes[i];
    const struct want *out = &f->want[e->nodes[i].out];
    if (e->nodes[i].kind == QX_EXEC_NONE && !node->op->is_view) {
        return; /* part of a product */
    }
    for (int k = 0; k < node->n_in; k++) {
        if (!node->in[k]) {
            continue;
        }
        struct want *w = &f->want[node->in[k]->index];
        const bool passes =
            k == 0 && out->kind == WANT_CODES && is_sample_major(&node->in[0]->shape);
        if (e->nodes[i].kind == QX_EXEC_LINEAR && k == 0) {
            const struct qx_qlinear *q = e->nodes[i].linear;
            w->last &= q->kind != QX_QMATRIX;
            if (q->act.bits == 0 || q->act.dynamic || qx_qbeside_is(q)) {
                want_float(w);
            } else {
                want_codes(w, &q->in, true);
            }
        } else if (node->op->is_view) {
            w->last = false;
            if (passes && out->by_products && is_sample_major(&node->out->shape)) {
                want_codes(w, &out->codes, true);
            } else {
                want_float(w);
            }
        } else if (qx_node_is(node, "Relu") ||
                   (qx_node_is(node, "MaxPool") && has_planes(node->in[0]))) {
            if (passes) {
                want_codes(w, &out->codes, false);
            } else {
                want_float(w);
            }
        } else {
            want_float(w);
            w->last &= is_elementwise(node) || qx_node_is(node, "GlobalAveragePool");
        }
    }
}

/* Can the value lie channels last: does its producer write it so, given the forms so far? */
static bool can_be_last(const struct forms *f, int i)
{
    const struct qx_exec *e = f->e;
    const struct qx_node *node = e->net->nodes[i];
    const int out = e->nodes[i].out;
    if (!f->want[out].last || !has_planes(e->net->values[out]) ||
        e->net->values[out] == e->net->output) {
        return false;
    }
    if (e->nodes[i].kind == QX_EXEC_LINEAR) {
        return e->nodes[i].linear->kind != QX_QMATRIX;
    }
    if (e->nodes[i].kind != QX_EXEC_FLOAT) {
        return false;
    }
    if (is_elementwise(node) || qx_node_is(node, "MaxPool")) {
        for (int k = 0; k < (qx_node_is(node, "Add") || qx_node_is(node, "Mul") ? 2 : 1); k++) {
            if (e->values[node->in[k]->index].form != QX_FORM_LAST) {
                return false;
            }
        }
        return true;
    }
    return false;
}

/* Readers that keep the form need their result in it too: give values up until all agree. */
static void settle_last(struct forms *f)
{
    struct qx_exec *e = f->e;
    bool changed = true;
    for (int i = 0; i < e->net->n_nodes; i++) {
        struct qx_exec_value *v = &e->values[e->nodes[i].out];
        if (e->nodes[i].kind != QX_EXEC_NONE && v->form == QX_FORM_PLAIN && can_be_last(f, i)) {
            v->form = QX_FORM_LAST;
        }
    }
    while (changed) {
        changed = false;
        for (int i = e->net->n_nodes - 1; i >= 0; i--) {
            const struct qx_node *node = e->net->nodes[i];
            if (e->nodes[i].kind != QX_EXEC_FLOAT || qx_node_is(node, "GlobalAveragePool")) {
                continue;
            }
            struct qx_exec_value *out = &e->values[e->nodes[i].out];
            const int n = node->n_in;
            bool all = out->form == QX_FORM_LAST;
            for (int k = 0; k < n; k++) {
                all &= !node->in[k] || node->in[k]->tensor >= 0 ||
                       e->values[node->in[k]->index].form == QX_FORM_LAST;
            }
            for (int k = 0; !all && k < n; k++) {
                struct qx_exec_value *in = node->in[k] ? &e->values[node->in[k]->index] : out;
                changed |= in->form == QX_FORM_LAST;
                in->form = in->form == QX_FORM_LAST ? QX_FORM_PLAIN : in->form;
            }
            changed |= !all && out->form == QX_FORM_LAST;
            out->form = !all && out->form == QX_FORM_LAST ? QX_FORM_PLAIN : out->form;
        }
    }
}

/* Codes where all readers want the same ones and the producer can give them. */
static void settle_codes(struct forms *f)
{
    struct qx_exec *e = f->e;
    for (int i = 0; i < e->net->n_nodes; i++) {
        const struct qx_node *node = e->net->nodes[i];
        const int out = e->nodes[i].out;
        struct qx_exec_value *v = &e->values[out];
        const struct qx_exec_value *in =
            node->n_in && node->in[0] ? &e->values[node->in[0]->index] : NULL;
        const struct want *w = &f->want[out];
        const bool is_linear = e->nodes[i].kind == QX_EXEC_LINEAR;
        const bool follows = in && in->form == QX_FORM_CODES && !is_linear &&
                             (node->op->is_view || e->nodes[i].kind == QX_EXEC_FLOAT);
        if ((!is_linear && !follows) || w->kind != WANT_CODES) {
            continue;
        }
        v->form = QX_FORM_CODES;
        v->codes = w->codes;
        if (is_linear) {
            struct qx_qlinear *q = e->nodes[i].linear;
            q->out = w->codes;
            v->is_last = q->kind != QX_QMATRIX;
            v->c = v->is_last ? q->oc : 1;
            v->places = v->is_last ? q->w.oh * q->w.ow : 1;
            continue;
        }
        v->is_last = in->is_last;
        v->c = in->c;
        v->places = in->places;
        if (!node->op->is_view) {
            e->nodes[i].kind = QX_EXEC_CODES;
            const struct qx_shape *s = &node->out->shape;
            v->places = in->is_last ? qx_shape_span(s, 2, s->rank) : 1;
        }
    }
}

enum qx_status qx_exec_forms(struct qx_exec *e, struct qx_error *err)
{
    struct forms f = {.e = e};
    const size_t n = (size_t)e->net->n_values;
    f.want = qx_mem_array(n, sizeof *f.want);
    if (!f.want) {
        return qx_fail_nomem(err, n * sizeof *f.want);
    }
    for (size_t v = 0; v < n; v++) {
        f.want[v] = (struct want){.by_products = true, .last = true};
    }
    want_float(&f.want[e->net->output->index]);
    for (int i = e->net->n_nodes - 1; i >= 0; i--) {
        node_wants(&f, i);
    }
    settle_codes(&f);
    settle_last(&f);
    for (int i = 0; i < e->net->n_nodes; i++) {
        const struct qx_node *node = e->net->nodes[i];
        if (e->nodes[i].kind == QX_EXEC_FLOAT &&
            (qx_node_is(node, "MaxPool") || qx_node_is(node, "GlobalAveragePool")) &&
            e->values[node->in[0]->index].form == QX_FORM_LAST) {
            e->nodes[i].kind = QX_EXEC_LAST;
        }
    }
    qx_mem_free(f.want);
    return QX_OK;
}
