/* Building a tape: which values need a gradient, and memory for them (tape_plan.c). */
#include "tape.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

static bool is_constant(const struct qx_node *node, int input)
{
    return ((node->op->constant | node->op->ids) >> input & 1) != 0;
}

static bool is_statistic(const struct qx_node *node, int input)
{
    return (node->op->statistics >> input & 1) != 0;
}

/* ---- parameters ---- */

static bool is_param(const struct qx_net *net, int value)
{
    const struct qx_value *v = net->values[value];
    bool is_used = false;
    for (int i = 0; v->tensor >= 0 && !v->is_ids && i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        for (int k = 0; k < node->n_in; k++) {
            is_used |= node->in[k] == v && (!is_constant(node, k) || is_statistic(node, k));
        }
    }
    return is_used;
}

static enum qx_param_kind kind_of(const struct qx_net *net, int value)
{
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        for (int k = 0; k < node->n_in; k++) {
            if (node->in[k] == net->values[value] && is_statistic(node, k)) {
                return QX_PARAM_STATISTIC;
            }
        }
    }
    return net->layer_of_tensor[net->values[value]->tensor] >= 0 ? QX_PARAM_WEIGHT : QX_PARAM_OTHER;
}

static void *take(struct qx_tape *t, size_t n, size_t size)
{
    size_t bytes;
    if (!qx_size_mul(n, size, &bytes)) {
        return NULL;
    }
    t->bytes += bytes;
    void *p = qx_mem_aligned(bytes ? bytes : 64);
    if (p) {
        memset(p, 0, bytes);
    }
    return p;
}

static enum qx_status params_new(struct qx_tape *t, struct qx_error *err)
{
    const struct qx_net *net = t->net;
    t->params = qx_mem_zalloc((size_t)net->n_values * sizeof *t->params);
    t->grad_at = qx_mem_zalloc((size_t)net->n_values * sizeof *t->grad_at);
    if (!t->params || !t->grad_at) {
        return qx_fail_nomem(err, (size_t)net->n_values * sizeof *t->params);
    }
    for (int v = 0; v < net->n_values; v++) {
        t->param_of[v] = -1;
        if (!is_param(net, v)) {
            continue;
        }
        const struct qx_tensor *tensor = qx_model_tensor(net->model, net->values[v]->tensor);
        struct qx_param *p = &t->params[t->n_params];
        *p = (struct qx_param){.name = tensor->name,
                               .tensor = net->values[v]->tensor,
                               .layer = net->layer_of_tensor[net->values[v]->tensor],
                               .kind = kind_of(net, v),
                               .n = tensor->numel};
        p->value = p->used = take(t, (size_t)p->n, sizeof(float));
        if (p->kind != QX_PARAM_STATISTIC) {
            p->grad = take(t, (size_t)p->n, sizeof(float));
            t->grad_at[t->n_params] = t->n_grads;
            t->n_grads += (p->n + 15) & ~INT64_C(15);
        }
        t->param_of[v] = t->n_params++;
        if (!p->value || (p->kind != QX_PARAM_STATISTIC && !p->grad)) {
            return qx_fail_nomem(err, (size_t)p->n * sizeof(float));
        }
        const enum qx_status st = qx_tensor_read(tensor, 0, p->n, p->value, err);
        if (st != QX_OK) {
            return st;
        }
    }
    return QX_OK;
}

/* ---- values ---- */

static void find_roots(struct qx_tape *t)
{
    const struct qx_net *net = t->net;
    for (int v = 0; v < net->n_values; v++) {
        t->root[v] = v;
        t->last[v] = t->last_back[v] = -1;
        t->needs_grad[v] = t->param_of[v] >= 0 && t->params[t->param_of[v]].grad;
    }
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        const int out = node->out->index;
        if (node->op->is_view) {
            t->root[out] = t->root[node->in[0]->index];
            continue;
        }
        for (int k = 0; k < node->n_in; k++) {
            if (node->in[k]) {
                const int root = t->root[node->in[k]->index];
                t->last[root] = i;
                t->needs_grad[out] |= t->needs_grad[root] && !is_constant(node, k);
            }
        }
    }
    t->last[t->root[net->output->index]] = net->n_nodes;
}

/* From the answers back: which nodes send a gradient to which values. */
static void find_backs(struct qx_tape *t)
{
    const struct qx_net *net = t->net;
    for (int i = net->n_nodes - 1; i >= 0; i--) {
        const struct qx_node *node = net->nodes[i];
        if (node->op->is_view || !qx_tape_sends(t, node)) {
            continue;
        }
        for (int k = 0; k < node->n_in; k++) {
            const int root =
                node->in[k] && !is_constant(node, k) ? t->root[node->in[k]->index] : -1;
            if (root >= 0 && t->needs_grad[root] && t->last_back[root] < 0) {
                t->last_back[root] = i;
            }
        }
    }
}

bool qx_tape_sends(const struct qx_tape *t, const struct qx_node *node)
{
    const int root = t->root[node->out->index];
    return t->needs_grad[root] &&
           (t->last_back[root] >= 0 || root == t->root[t->net->output->index]);
}

/* ---- what lanes need ---- */

static void most(int64_t *a, int64_t b)
{
    *a = b > *a ? b : *a;
}

static void measure(struct qx_tape *t)
{
    const struct qx_net *net = t->net;
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        const struct qx_op *op = node->op;
        most(&t->scratch_floats, op->scratch ? op->scratch(node, &t->room) : 0);
        most(&t->scratch_floats, op->back_scratch ? op->back_scratch(node, &t->room) : 0);
        if (op->weight >= 0 && node->in[op->weight]->tensor >= 0) {
            most(&t->input_floats, qx_shape_room(&node->in[0]->shape, &t->room));
        }
        if (op->batch) {
            most(&t->most_sums, op->batch->n_sums(node));
            t->stop[t->n_stops++] = i;
        }
    }
}

static enum qx_status lanes_new(struct qx_tape *t, struct qx_error *err)
{
    bool is_whole = true;
    for (int i = 0; is_whole && i < t->n_lanes; i++) {
        struct qx_lane_work *w = &t->lanes[i];
        w->scratch = take(t, (size_t)t->scratch_floats, sizeof(float));
        w->fake = take(t, (size_t)t->input_floats, sizeof(float));
        w->d_fake = take(t, (size_t)t->input_floats, sizeof(float));
        w->grads = take(t, (size_t)t->n_grads, sizeof(float));
        w->sums = take(t, (size_t)t->most_sums, sizeof(double));
        w->in = take(t, QX_NODE_INPUTS, sizeof *w->in);
        w->d_in = take(t, QX_NODE_INPUTS, sizeof *w->d_in);
        w->shape = take(t, QX_NODE_INPUTS, sizeof *w->shape);
        w->start = take(t, (size_t)t->tile_rows + 1, sizeof *w->start);
        is_whole = w->scratch && w->fake && w->d_fake && w->grads && w->sums && w->in && w->d_in &&
                   w->shape && w->start;
    }
    for (int i = 0; is_whole && i < t->n_stops; i++) {
        const struct qx_node *node = t->net->nodes[t->stop[i]];
        const size_t n = (size_t)node->op->batch->n_sums(node);
        t->sums[i] = take(t, n, sizeof(double));
        t->back_sums[i] = take(t, n, sizeof(double));
        is_whole = t->sums[i] && t->back_sums[i];
    }
    return is_whole ? QX_OK : qx_fail_nomem(err, (size_t)t->n_grads * sizeof(float));
}

static enum qx_status tables_new(struct qx_tape *t, struct qx_error *err)
{
    const size_t n = (size_t)t->net->n_values, nodes = (size_t)t->net->n_nodes + 1;
    t->root = qx_mem_array(n, sizeof *t->root);
    t->last = qx_mem_array(n, sizeof *t->last);
    t->param_of = qx_mem_array(n, sizeof *t->param_of);
    t->needs_grad = qx_mem_zalloc(n * sizeof *t->needs_grad);
    t->tile_floats = qx_mem_zalloc(n * sizeof *t->tile_floats);
    t->last_back = qx_mem_array(n, sizeof *t->last_back);
    t->value_at = qx_mem_array(n, sizeof *t->value_at);
    t->slope_at = qx_mem_array(n, sizeof *t->slope_at);
    t->block = qx_mem_array(nodes + 1, sizeof *t->block);
    t->stop = qx_mem_array(nodes, sizeof *t->stop);
    t->sums = qx_mem_zalloc(nodes * sizeof *t->sums);
    t->back_sums = qx_mem_zalloc(nodes * sizeof *t->back_sums);
    t->acts = qx_mem_zalloc(((size_t)t->net->n_layers + 1) * sizeof *t->acts);
    t->lanes = qx_mem_zalloc((size_t)QX_TAPE_LANES * sizeof *t->lanes);
    return t->root && t->last && t->last_back && t->param_of && t->needs_grad && t->tile_floats &&
                   t->value_at && t->slope_at && t->block && t->stop && t->sums && t->back_sums &&
                   t->acts && t->lanes
               ? QX_OK
               : qx_fail_nomem(err, n * sizeof *t->root);
}

/* Each lane adds gradients of its own. */
static int lanes_of(const struct qx_tape *t)
{
    const int64_t tiles = (t->rows + t->tile_rows - 1) / t->tile_rows;
    const uint64_t bytes = (uint64_t)t->n_grads * sizeof(float);
    int n = tiles < QX_TAPE_LANES ? (int)tiles : QX_TAPE_LANES;
    while (n > 2 && (uint64_t)n * bytes > QX_TAPE_GRAD_BYTES) {
        n = (n + 1) / 2;
    }
    return n;
}

enum qx_status qx_tape_new(const struct qx_net *net, int64_t rows, int64_t longest,
                           uint64_t max_bytes, struct qx_tape **out, struct qx_error *err)
{
    struct qx_tape *t = qx_mem_zalloc(sizeof *t);
    if (!t) {
        return qx_fail_nomem(err, sizeof *t);
    }
    t->net = net;
    t->rows = rows;
    t->tile_rows = net->plan.tile_rows < QX_TAPE_ROWS ? net->plan.tile_rows : QX_TAPE_ROWS;
    const int64_t most = net->plan.whole.room.longest;
    longest = longest > 0 && longest < most ? longest : most;
    t->room = (struct qx_room){t->tile_rows, t->tile_rows * longest, longest};
    enum qx_status st = qx_weights_new(net, &t->stored, err);
    if (st == QX_OK) {
        st = tables_new(t, err);
    }
    if (st == QX_OK) {
        st = params_new(t, err);
    }
    if (st == QX_OK) {
        t->n_lanes = lanes_of(t);
        find_roots(t);
        find_backs(t);
        measure(t);
        st = qx_tape_plan(t, max_bytes, err);
    }
    if (st == QX_OK) {
        t->rooms = take(t, (size_t)t->n_rooms, (size_t)t->room_floats * sizeof *t->rooms);
        st = t->rooms ? QX_OK : qx_fail_nomem(err, (size_t)t->room_floats * sizeof *t->rooms);
    }
    if (st == QX_OK) {
        st = lanes_new(t, err);
    }
    if (st != QX_OK) {
        qx_tape_free(t);
        return st;
    }
    *out = t;
    return QX_OK;
}

static void lane_free(struct qx_lane_work *w)
{
    qx_mem_free(w->scratch);
    qx_mem_free(w->fake);
    qx_mem_free(w->d_fake);
    qx_mem_free(w->grads);
    qx_mem_free(w->sums);
    qx_mem_free(w->in);
    qx_mem_free(w->d_in);
    qx_mem_free(w->shape);
    qx_mem_free(w->start);
}

void qx_tape_free(struct qx_tape *t)
{
    if (!t) {
        return;
    }
    for (int i = 0; t->params && i < t->n_params; i++) {
        if (t->params[i].used != t->params[i].value) {
            qx_mem_free(t->params[i].used);
        }
        qx_mem_free(t->params[i].value);
        qx_mem_free(t->params[i].grad);
    }
    for (int i = 0; t->sums && t->back_sums && i < t->n_stops; i++) {
        qx_mem_free(t->sums[i]);
        qx_mem_free(t->back_sums[i]);
    }
    for (int i = 0; t->lanes && i < t->n_lanes; i++) {
        lane_free(&t->lanes[i]);
    }
    void *const tables[] = {t->root,      t->last,     t->last_back,   t->param_of, t->needs_grad,
                            t->value_at,  t->slope_at, t->tile_floats, t->stop,     t->sums,
                            t->back_sums, t->acts,     t->lanes,       t->params,   t->grad_at,
                            t->block,     t->rooms};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        qx_mem_free(tables[i]);
    }
    qx_weights_free(t->stored);
    qx_mem_free(t);
}

uint64_t qx_tape_bytes(const struct qx_tape *t)
{
    return t->bytes;
}

int qx_tape_n_blocks(const struct qx_tape *t)
{
    return t->n_blocks;
}

bool qx_tape_has_statistics(const struct qx_tape *t)
{
    return t->n_stops > 0;
}

int qx_tape_n_params(const struct qx_tape *t)
{
    return t->n_params;
}

struct qx_param *qx_tape_param(struct qx_tape *t, int i)
{
    return &t->params[i];
}

struct qx_param *qx_tape_weight(struct qx_tape *t, int layer)
{
    const int64_t tensor = t->net->layers[layer].tensor;
    return &t->params[t->param_of[t->net->value_of_tensor[tensor]]];
}

enum qx_status qx_tape_split(struct qx_tape *t, struct qx_param *p, struct qx_error *err)
{
    if (p->used != p->value) {
        return QX_OK;
    }
    float *used = take(t, (size_t)p->n, sizeof *used);
    if (!used) {
        return qx_fail_nomem(err, (size_t)p->n * sizeof *used);
    }
    memcpy(used, p->value, (size_t)p->n * sizeof *used);
    p->used = used;
    return QX_OK;
}

void qx_tape_act(struct qx_tape *t, int layer, const struct qx_tape_act *act)
{
    t->acts[layer] = act ? *act : (struct qx_tape_act){0};
}
