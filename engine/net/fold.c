/* Factors of inputs that what comes before takes up: a product in the scales behind its sums, a
 * normalization in its own factors. Then nothing is divided as the network runs. */
#include "net/exec.h"
#include "net/qlinear.h"

#include "qx/links.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

static bool is_same(const struct qx_qlinear *a, const struct qx_qlinear *b)
{
    return a->beside.div && b->beside.div && a->beside.channels == b->beside.channels &&
           memcmp(a->beside.div, b->beside.div,
                  (size_t)a->beside.channels * sizeof *a->beside.div) == 0;
}

static void folded_add(struct qx_exec *e, int from, int to, const struct qx_qlinear *q)
{
    e->folds[e->n_folds++] = (struct qx_fold){
        from, to, qx_hash64(q->beside.div, (size_t)q->beside.channels * sizeof *q->beside.div, 1)};
}

uint64_t qx_exec_folded(const struct qx_exec *e, int node)
{
    uint64_t h = 0;
    for (int i = 0; e && i < e->n_folds; i++) {
        const struct qx_fold *f = &e->folds[i];
        h = f->from < node && node <= f->to ? qx_hash64(f, sizeof *f, h) : h;
    }
    return h;
}

/* Every product reads the same channels divided by the same factors. */
static bool readers_agree(const struct qx_exec *e, const struct qx_value *v,
                          const struct qx_qlinear *q, int *last)
{
    for (int i = 0; i < e->net->n_nodes; i++) {
        const struct qx_node *node = e->net->nodes[i];
        for (int k = 0; k < node->n_in; k++) {
            if (node->in[k] != v) {
                continue;
            }
            if (k > 0 || !e->nodes[i].linear || !is_same(e->nodes[i].linear, q)) {
                return false;
            }
            *last = i;
        }
    }
    return v != e->net->output;
}

static bool is_read_once(const struct qx_net *net, const struct qx_value *v)
{
    int n = 0;
    for (int i = 0; i < net->n_nodes; i++) {
        for (int k = 0; k < net->nodes[i]->n_in; k++) {
            n += net->nodes[i]->in[k] == v;
        }
    }
    return n == 1;
}

/* Factors of a normalization, divided: [n] of the program's own. */
static float *divided(const struct qx_weights *w, const struct qx_value *v, const float *div,
                      int64_t n)
{
    const float *x = w->values[v->index].data;
    float *own = qx_mem_array((size_t)n, sizeof *own);
    for (int64_t i = 0; own && i < n; i++) {
        own[i] = x[i] / div[i];
    }
    return own;
}

static bool is_row(const struct qx_net *net, const struct qx_value *v, int64_t n)
{
    return v->tensor >= 0 && v->shape.rank == 1 && v->shape.dim[0] == n && is_read_once(net, v);
}

static enum qx_status fold_norm(struct qx_exec *e, const struct qx_weights *w,
                                const struct qx_net_link *link, const struct qx_qlinear *q,
                                struct qx_error *err)
{
    const struct qx_node *node = e->net->nodes[link->node];
    const int64_t n = link->n_out;
    const struct qx_value *gamma = node->in[1], *beta = node->n_in > 2 ? node->in[2] : NULL;
    int last = -1;
    bool is_plain = n == link->n_in && is_row(e->net, gamma, n) &&
                    (!beta || is_row(e->net, beta, n)) && readers_agree(e, node->out, q, &last);
    for (int64_t j = 0; is_plain && j < n; j++) {
        is_plain = link->channel[j] == j;
    }
    if (!is_plain) {
        return QX_OK;
    }
    e->own[gamma->index] = divided(w, gamma, q->beside.div, n);
    if (beta) {
        e->own[beta->index] = divided(w, beta, q->beside.div, n);
    }
    if (!e->own[gamma->index] || (beta && !e->own[beta->index])) {
        return qx_fail_nomem(err, (size_t)n * sizeof(float));
    }
    folded_add(e, link->node, last, q);
    for (int i = 0; i <= last; i++) {
        struct qx_qlinear *reader = e->nodes[i].linear;
        if (reader && e->net->nodes[i]->in[0] == node->out) {
            qx_qbeside_fold(reader);
        }
    }
    return QX_OK;
}

/* What the product divides its outputs by: false where two inputs of one output disagree. */
static bool factors_of(const struct qx_net_link *link, const float *div, double *out)
{
    for (int64_t c = 0; c < link->n_out; c++) {
        out[c] = 0.0;
    }
    for (int64_t j = 0; j < link->n_in; j++) {
        double *f = &out[link->channel[j]];
        if (*f != 0.0 && *f != 1.0 / (double)div[j]) {
            return false;
        }
        *f = 1.0 / (double)div[j];
    }
    for (int64_t c = 0; c < link->n_out; c++) {
        out[c] = out[c] == 0.0 ? 1.0 : out[c];
    }
    return true;
}

static enum qx_status fold_product(struct qx_exec *e, const struct qx_net_link *link, int reader,
                                   struct qx_error *err)
{
    struct qx_qlinear *q = e->nodes[reader].linear, *before = e->nodes[link->node].linear;
    bool can = before && before->oc == link->n_out &&
               (before->fused == QXK_ACT_NONE || before->fused == QXK_ACT_RELU);
    for (int i = 0; can && i < link->n_affine; i++) {
        can = e->nodes[link->affine[i]].kind == QX_EXEC_NONE;
    }
    if (!can) {
        return QX_OK;
    }
    double *f = qx_mem_array((size_t)link->n_out, sizeof *f);
    if (!f) {
        return qx_fail_nomem(err, (size_t)link->n_out * sizeof *f);
    }
    if (factors_of(link, q->beside.div, f)) {
        qx_qlinear_affine(before, f, NULL);
        folded_add(e, link->node, reader, q);
        qx_qbeside_fold(q);
    }
    qx_mem_free(f);
    return QX_OK;
}

enum qx_status qx_exec_fold(struct qx_exec *e, const struct qx_weights *w, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < e->net->n_nodes; i++) {
        const struct qx_qlinear *q = e->nodes[i].linear;
        struct qx_net_link link;
        if (!q || !q->beside.div || q->beside.sub) { /* a shift would have to pass a Relu */
            continue;
        }
        const int layer = e->net->layer_of_tensor[e->net->nodes[i]->in[1]->tensor];
        st = qx_net_link(e->net, layer, &link, err);
        if (st == QX_EUNSUPPORTED) {
            st = QX_OK; /* its inputs are divided as they come */
        } else if (st == QX_OK) {
            st =
                link.producer < 0 ? fold_norm(e, w, &link, q, err) : fold_product(e, &link, i, err);
            qx_net_link_release(&link);
        }
    }
    return st;
}
