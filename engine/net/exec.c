/* The program of a run on packed weights: products packed, what follows fused, forms of values chosen. */
#include "net/exec.h"

#include "net/qlinear.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

bool qx_node_is(const struct qx_node *node, const char *op)
{
    return strcmp(node->op->name, op) == 0;
}

const struct qx_attr *qx_node_attr(const struct qx_node *node, const char *name)
{
    for (int i = 0; i < node->op->n_attrs; i++) {
        if (strcmp(node->op->attrs[i].name, name) == 0) {
            return &node->attr[i];
        }
    }
    return NULL;
}

const struct qx_act *qx_node_act(const struct qx_weights *w, const struct qx_node *node)
{
    const struct qx_op *op = node->op;
    const struct qx_value *v = op->weight >= 0 ? node->in[op->weight] : NULL;
    if (!v || v->tensor < 0 || op->role != QX_ROLE_LINEAR || op->weight != 1) {
        return NULL;
    }
    const struct qx_setting *s = &w->values[v->index].setting;
    return qx_setting_is_int(s) && s->act.bits > 0 ? &s->act : NULL;
}

bool qx_weights_has_act(const struct qx_weights *w)
{
    for (int i = 0; i < w->net->n_nodes; i++) {
        if (qx_node_act(w, w->net->nodes[i])) {
            return true;
        }
    }
    return false;
}

/* The weight of a node that the program keeps packed, or NULL. */
static const struct qx_value *packed_weight(const struct qx_weights *w, const struct qx_node *node)
{
    const struct qx_op *op = node->op;
    const struct qx_value *v = op->weight >= 0 ? node->in[op->weight] : NULL;
    const bool is_weight = v && v->tensor >= 0 && op->role == QX_ROLE_LINEAR;
    return is_weight && qx_weight_is_packed(w, v) ? v : NULL;
}

/* The node that reads the result of node i, where one alone reads it. */
static int reader_of(const struct qx_net *net, int i)
{
    const struct qx_value *v = net->nodes[i]->out;
    while (++i < net->n_nodes && net->nodes[i]->in[0] != v) {
    }
    return i;
}

/* No layer's setting changes what the node reads beside its first input and the weight. */
static bool is_constant(const struct qx_net *net, const struct qx_node *node)
{
    for (int k = 1; k < node->n_in; k++) {
        const struct qx_value *v = node->in[k];
        if (v && k != node->op->weight && v->tensor >= 0 && net->layer_of_tensor[v->tensor] >= 0) {
            return false;
        }
    }
    return true;
}

/* Factors of inputs go into the products before them, which then depend on more than their own settings. */
static bool has_factors(const struct qx_weights *w)
{
    for (int i = 0; i < w->net->n_nodes; i++) {
        const struct qx_value *v = packed_weight(w, w->net->nodes[i]);
        if (v && qx_weight_has_factors(w, v)) {
            return true;
        }
    }
    return false;
}

/* The product of node i in an earlier program, with what is fused into it: that depends on the weight's own
 * setting and on constants. */
static bool product_take(struct qx_exec *e, struct qx_exec *old, int i)
{
    const struct qx_net *net = e->net;
    struct qx_exec_node *from = old ? &old->nodes[i] : NULL;
    if (!from || !from->linear) {
        return false;
    }
    const int v = net->nodes[i]->in[1]->index;
    bool holds = qx_setting_equal(&old->set[v], &e->set[v]) && is_constant(net, net->nodes[i]);
    for (int k = i; holds && net->nodes[k]->out->index != from->out;) {
        k = reader_of(net, k);
        holds = is_constant(net, net->nodes[k]);
    }
    if (holds) {
        e->nodes[i] = *from;
        from->linear = NULL;
    }
    return holds;
}

/* Nodes that are part of a product that was taken. */
static void mark_fused(struct qx_exec *e)
{
    for (int i = 0; i < e->net->n_nodes; i++) {
        const struct qx_exec_node *n = &e->nodes[i];
        for (int k = i; n->linear && e->net->nodes[k]->out->index != n->out;) {
            k = reader_of(e->net, k);
            e->nodes[k].kind = QX_EXEC_NONE;
        }
    }
}

/* Weights only: a matrix as a product, anything else decoded in front of its operation. */
static enum qx_status pack_float(struct qx_exec *e, const struct qx_weights *w, int i,
                                 const struct qx_value *v, struct qx_pool *pool, struct qx_ctl *ctl,
                                 struct qx_error *err)
{
    struct qx_exec_node *n = &e->nodes[i];
    struct qx_packed **p = &e->packed[v->index];
    enum qx_status st = qx_qlinear_new(w, e->net->nodes[i], pool, ctl, &n->linear, err);
    n->kind = st == QX_OK ? QX_EXEC_LINEAR : QX_EXEC_FLOAT;
    if (st == QX_EUNSUPPORTED && qx_weight_has_factors(w, v)) {
        return QX_OK; /* it stays float32 */
    }
    if (st == QX_EUNSUPPORTED) {
        st = *p ? QX_OK : qx_packed_new(w, v, pool, ctl, p, err);
    }
    if (*p && (*p)->rows * (*p)->row > e->wide_floats) {
        e->wide_floats = (*p)->rows * (*p)->row;
    }
    return st;
}

static enum qx_status pack_all(struct qx_exec *e, const struct qx_weights *w, struct qx_exec *old,
                               struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < e->net->n_nodes; i++) {
        const struct qx_node *node = e->net->nodes[i];
        const struct qx_value *v = packed_weight(w, node);
        e->nodes[i].out = node->out->index;
        e->nodes[i].kind = node->op->is_view ? QX_EXEC_NONE : QX_EXEC_FLOAT;
        if (product_take(e, old, i)) {
            continue;
        }
        if (qx_node_act(w, node)) {
            e->nodes[i].kind = QX_EXEC_LINEAR;
            st = qx_qlinear_new(w, node, pool, ctl, &e->nodes[i].linear, err);
        } else if (v) {
            st = pack_float(e, w, i, v, pool, ctl, err);
        }
    }
    if (st == QX_OK) {
        mark_fused(e);
    }
    return st;
}

enum qx_status qx_exec_new(const struct qx_weights *w, struct qx_exec *old, struct qx_pool *pool,
                           struct qx_ctl *ctl, struct qx_exec **out, struct qx_error *err)
{
    struct qx_exec *e = qx_mem_zalloc(sizeof *e);
    if (!e) {
        return qx_fail_nomem(err, sizeof *e);
    }
    e->net = w->net;
    e->nodes = qx_mem_zalloc(((size_t)e->net->n_nodes + 1) * sizeof *e->nodes);
    e->values = qx_mem_zalloc((size_t)e->net->n_values * sizeof *e->values);
    e->packed = qx_mem_zalloc((size_t)e->net->n_values * sizeof *e->packed);
    e->tied = qx_mem_zalloc((size_t)e->net->n_values * sizeof *e->tied);
    e->set = qx_mem_array((size_t)e->net->n_values, sizeof *e->set);
    e->own = qx_mem_zalloc((size_t)e->net->n_values * sizeof *e->own);
    e->folds = qx_mem_zalloc(((size_t)e->net->n_nodes + 1) * sizeof *e->folds);
    const bool is_whole =
        e->nodes && e->values && e->packed && e->tied && e->set && e->own && e->folds;
    enum qx_status st =
        is_whole ? QX_OK : qx_fail_nomem(err, (size_t)e->net->n_values * sizeof *e->values);
    for (int v = 0; st == QX_OK && v < e->net->n_values; v++) {
        e->set[v] = w->values[v].setting;
    }
    if (st == QX_OK) {
        st = pack_all(e, w, has_factors(w) || (old && old->n_folds > 0) ? NULL : old, pool, ctl,
                      err);
    }
    if (st == QX_OK) {
        st = qx_exec_fuse(e, w, err);
    }
    if (st == QX_OK) {
        st = qx_exec_fold(e, w, err);
    }
    for (int i = 0; st == QX_OK && i < e->net->n_nodes; i++) {
        st = e->nodes[i].linear ? qx_qlinear_finish(e->nodes[i].linear, err) : QX_OK;
    }
    if (st == QX_OK && !w->has_act) { /* else nothing gives up the float32 table */
        st = qx_exec_tables(e, w, pool, ctl, err);
    }
    if (st == QX_OK) {
        st = qx_exec_forms(e, err);
    }
    if (st != QX_OK) {
        qx_exec_free(e);
        return st;
    }
    qx_exec_norms(e);
    *out = e;
    return QX_OK;
}

void qx_exec_room(const struct qx_exec *e, const struct qx_layout *l, size_t *scratch_bytes,
                  size_t *kept_bytes)
{
    *scratch_bytes = *kept_bytes = 0;
    for (int i = 0; i < e->net->n_nodes; i++) {
        const struct qx_qlinear *q = e->nodes[i].linear;
        struct qx_room room = l->room;
        room.places = i >= l->tail ? l->tail_places : room.places;
        if (q) {
            const bool is_codes = e->values[e->nodes[i].out].form == QX_FORM_CODES;
            const size_t need = qx_qlinear_scratch(q, &room, is_codes);
            const size_t kept = qx_qkept_bytes(q, &room);
            *scratch_bytes = need > *scratch_bytes ? need : *scratch_bytes;
            *kept_bytes = kept > *kept_bytes ? kept : *kept_bytes;
        }
    }
}

void qx_exec_free(struct qx_exec *e)
{
    if (!e) {
        return;
    }
    for (int i = 0; e->nodes && i < e->net->n_nodes; i++) {
        qx_qlinear_free(e->nodes[i].linear);
    }
    for (int v = 0; e->packed && v < e->net->n_values; v++) {
        qx_packed_free(e->packed[v]);
    }
    for (int v = 0; e->own && v < e->net->n_values; v++) {
        qx_mem_free(e->own[v]);
    }
    qx_mem_free(e->own);
    qx_mem_free(e->folds);
    qx_mem_free(e->packed);
    qx_mem_free(e->tied);
    qx_mem_free(e->set);
    qx_mem_free(e->nodes);
    qx_mem_free(e->values);
    qx_mem_free(e);
}

bool qx_exec_reads(const struct qx_exec *e, const struct qx_value *v)
{
    for (int i = 0; i < e->net->n_nodes; i++) {
        const struct qx_node *node = e->net->nodes[i];
        for (int k = 0; k < node->n_in; k++) {
            const bool is_packed =
                k == node->op->weight && (e->nodes[i].linear || qx_exec_has_table(e, v->index));
            if (node->in[k] == v && !is_packed) {
                return true;
            }
        }
    }
    return false;
}

size_t qx_exec_bytes(const struct qx_exec *e, const struct qx_value *v)
{
    size_t bytes = e->packed[v->index] ? e->packed[v->index]->bytes : 0;
    for (int i = 0; i < e->net->n_nodes; i++) {
        const struct qx_node *node = e->net->nodes[i];
        if (e->nodes[i].linear && node->in[node->op->weight] == v) {
            bytes += qx_qlinear_bytes(e->nodes[i].linear);
        }
    }
    return bytes;
}
