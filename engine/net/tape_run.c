/* A batch forwards and backwards. Between two nodes that look at the whole batch, each lane takes its
 * tiles through all nodes; at such a node the lanes' sums are added up. Where there is no such node a lane
 * takes one tile all the way and back, block by block. */
#include "tape.h"

#include "base/error.h"
#include "base/pool.h"

#include <string.h>

/* Where a lane stands. */
struct place {
    struct qx_tape *t;
    struct qx_lane_work *w;
    int lane;
    int64_t tile, rows;
    struct qx_extent extent;
};

/* Where the values of the tile lie. */
static float *room_of(const struct place *p)
{
    return p->t->rooms + (p->t->n_stops > 0 ? p->tile : p->lane) * p->t->room_floats;
}

static const float *value_of(const struct place *p, int v)
{
    const struct qx_tape *t = p->t;
    const int root = t->root[v];
    if (t->param_of[root] >= 0) {
        return t->params[t->param_of[root]].used;
    }
    const struct qx_value *value = t->net->values[root];
    if (value->tensor >= 0) {
        return t->stored->values[root].data;
    }
    return value == t->net->input ? t->x + p->tile * t->tile_rows * qx_shape_numel(&value->shape, 1)
                                  : room_of(p) + t->value_at[root];
}

/* Where the gradient by a value is added up; NULL: not wanted. */
static float *grad_of(const struct place *p, int v)
{
    const struct qx_tape *t = p->t;
    const int root = t->root[v];
    if (!t->needs_grad[root]) {
        return NULL;
    }
    return t->param_of[root] >= 0 ? p->w->grads + t->grad_at[t->param_of[root]]
                                  : room_of(p) + t->slope_at[root];
}

/* How the input of a node is quantized; NULL: it is not. */
static const struct qx_tape_act *act_of(const struct place *p, const struct qx_node *node)
{
    const struct qx_value *weight = node->op->weight >= 0 ? node->in[node->op->weight] : NULL;
    if (!weight || weight->tensor < 0 || (node->op->ids & 1) != 0) {
        return NULL; /* also a table that is the head's weight, too, where ids are looked up */
    }
    const int layer = p->t->net->layer_of_tensor[weight->tensor];
    return layer >= 0 && p->t->acts[layer].forward ? &p->t->acts[layer] : NULL;
}

/* The node with its values on the tile; its input quantized. */
static struct qx_run run_of(const struct place *p, const struct qx_node *node)
{
    struct qx_lane_work *w = p->w;
    const struct qx_tape_act *act = act_of(p, node);
    for (int k = 0; k < node->n_in; k++) {
        w->in[k] = NULL;
        if (node->in[k]) {
            w->in[k] = value_of(p, node->in[k]->index);
            w->shape[k] = qx_shape_fill(&node->in[k]->shape, &p->extent);
        }
    }
    if (act) {
        act->forward(act->arg, p->lane, w->in[0], qx_shape_numel(&w->shape[0], 1), w->fake);
        w->in[0] = w->fake;
    }
    return (struct qx_run){.node = node,
                           .in = w->in,
                           .in_shape = w->shape,
                           .out = room_of(p) + p->t->value_at[p->t->root[node->out->index]],
                           .out_shape = qx_shape_fill(&node->out->shape, &p->extent),
                           .scratch = w->scratch,
                           .first_row = p->tile * p->t->tile_rows,
                           .rows = p->rows,
                           .start = p->extent.start};
}

/* Index of node i among those that look at the whole batch, -1: none of them, or not in this mode. */
static int stop_of(const struct qx_tape *t, int i)
{
    for (int k = 0; t->mode == QX_TAPE_TRAIN && k < t->n_stops; k++) {
        if (t->stop[k] == i) {
            return k;
        }
    }
    return -1;
}

static enum qx_status find_places(struct place *p, struct qx_error *err)
{
    p->extent = (struct qx_extent){p->rows, NULL};
    if (!p->t->net->has_places) {
        return QX_OK;
    }
    const int64_t most = qx_shape_numel(&p->t->net->input->shape, 1);
    const float *ids = p->t->x + p->tile * p->t->tile_rows * most;
    p->w->start[0] = 0;
    for (int64_t r = 0; r < p->rows; r++, ids += most) {
        const int64_t n = qx_net_places(p->t->net, ids);
        if (ids[0] == -1.0f) {
            return qx_fail(err, QX_EDATA, "a row leaves its first place out; every row needs it");
        }
        if (n > p->t->room.longest) {
            return qx_fail(err, QX_EDATA, "a row has %lld places; the tape was made for %lld",
                           (long long)n, (long long)p->t->room.longest);
        }
        p->w->start[r + 1] = p->w->start[r] + n;
    }
    p->extent.start = p->w->start;
    return QX_OK;
}

/* A piece of a pass: nodes first .. end-1 of every tile of a lane. */
struct piece {
    struct qx_tape *t;
    int first, end;
    struct qx_ctl *ctl;
    enum qx_status (*nodes)(const struct place *p, int first, int end, struct qx_error *err);
};

static void run_lane(void *arg, int64_t lane, int worker)
{
    const struct piece *c = arg;
    struct qx_tape *t = c->t;
    struct qx_lane_work *w = &t->lanes[lane];
    const int64_t tiles = (t->n + t->tile_rows - 1) / t->tile_rows;
    (void)worker;
    w->status = QX_OK;
    memset(w->sums, 0, (size_t)t->most_sums * sizeof *w->sums);
    for (int64_t tile = lane; w->status == QX_OK && tile < tiles; tile += t->n_lanes) {
        const int64_t left = t->n - tile * t->tile_rows;
        struct place p = {.t = t,
                          .w = w,
                          .lane = (int)lane,
                          .tile = tile,
                          .rows = left < t->tile_rows ? left : t->tile_rows};
        w->status = qx_cancel_test(c->ctl)
                        ? qx_fail(&w->error, QX_ECANCELLED, "the training was cancelled")
                        : find_places(&p, &w->error);
        if (w->status == QX_OK) {
            w->status = c->nodes(&p, c->first, c->end, &w->error);
        }
    }
}

static enum qx_status run_piece(struct qx_tape *t, int first, int end,
                                enum qx_status (*nodes)(const struct place *, int, int,
                                                        struct qx_error *),
                                struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    struct piece c = {t, first, end, ctl, nodes};
    qx_pool_for(pool, t->n_lanes, run_lane, &c);
    for (int i = 0; i < t->n_lanes; i++) {
        if (t->lanes[i].status != QX_OK) {
            if (err) {
                *err = t->lanes[i].error;
            }
            return t->lanes[i].status;
        }
    }
    return QX_OK;
}

/* The lanes' sums, in order. */
static void sums_add(const struct qx_tape *t, int stop, double *out)
{
    const struct qx_node *node = t->net->nodes[t->stop[stop]];
    const int64_t n = node->op->batch->n_sums(node);
    memset(out, 0, (size_t)n * sizeof *out);
    for (int l = 0; l < t->n_lanes; l++) {
        for (int64_t i = 0; i < n; i++) {
            out[i] += t->lanes[l].sums[i];
        }
    }
}

/* ---- forwards ---- */

static enum qx_status forward_nodes(const struct place *p, int first, int end, struct qx_error *err)
{
    struct qx_tape *t = p->t;
    enum qx_status st = QX_OK;
    for (int i = first; st == QX_OK && i < end; i++) {
        const struct qx_node *node = t->net->nodes[i];
        const int stop = stop_of(t, i);
        if (node->op->is_view) {
            continue;
        }
        const struct qx_run r = run_of(p, node);
        if (stop >= 0) {
            node->op->batch->forward(&r, t->sums[stop], t->n);
        } else {
            st = node->op->forward(&r, err);
        }
        if (st != QX_OK) {
            qx_error_context(err, "node '%.100s' (%s)", node->name, node->op->name);
        }
    }
    if (st == QX_OK && end < t->net->n_nodes) {
        const struct qx_node *node = t->net->nodes[end];
        const struct qx_run r = run_of(p, node);
        node->op->batch->sums(&r, p->w->sums);
    }
    return st;
}

/* The cost of the tile's answers, and (with_grad) its gradient. */
static void cost_of(const struct place *p)
{
    struct qx_tape *t = p->t;
    const struct qx_value *out = t->net->output;
    const struct qx_tape_loss *l = t->loss;
    p->w->cost += l->cost(l->arg, p->tile * t->tile_rows, p->rows,
                          out->shape.is_ragged ? p->extent.start : NULL, value_of(p, out->index),
                          t->with_grad ? grad_of(p, out->index) : NULL);
}

static enum qx_status cost_nodes(const struct place *p, int first, int end, struct qx_error *err)
{
    (void)first;
    (void)end;
    (void)err;
    cost_of(p);
    return QX_OK;
}

/* ---- backwards ---- */

/* Is the node the first to write the gradient by its input? */
static bool is_first(const struct place *p, const struct qx_node *node, int i, int input)
{
    const struct qx_tape *t = p->t;
    const int root = node->in[input] ? t->root[node->in[input]->index] : -1;
    return root >= 0 && t->slope_at[root] >= 0 && t->last_back[root] == i;
}

/* Those gradients start at 0, but for what the operation writes itself. */
static void clear_inputs(const struct place *p, const struct qx_node *node, int i, bool writes)
{
    const struct qx_tape *t = p->t;
    for (int k = writes ? 1 : 0; k < node->n_in; k++) {
        if (is_first(p, node, i, k)) {
            const int root = t->root[node->in[k]->index];
            memset(room_of(p) + t->slope_at[root], 0, (size_t)t->tile_floats[root] * sizeof(float));
        }
    }
}

static struct qx_back back_of(const struct place *p, const struct qx_run *r)
{
    const struct qx_node *node = r->node;
    const unsigned constant = node->op->constant | node->op->ids;
    for (int k = 0; k < node->n_in; k++) {
        p->w->d_in[k] = node->in[k] && !(constant >> k & 1) ? grad_of(p, node->in[k]->index) : NULL;
    }
    return (struct qx_back){.run = r,
                            .d_out = grad_of(p, node->out->index),
                            .d_in = p->w->d_in,
                            .scratch = p->w->scratch};
}

static void back_node(const struct place *p, const struct qx_node *node, int i)
{
    const struct qx_tape_act *act = act_of(p, node);
    const bool is_new = is_first(p, node, i, 0);
    clear_inputs(p, node, i, act || node->op->writes_first);
    const struct qx_run r = run_of(p, node);
    struct qx_back b = back_of(p, &r);
    b.is_first = is_new || act;
    if (!act) {
        node->op->backward(&b);
        return;
    }
    /* the range of the graph's own input learns too, whose gradient nobody wants */
    const int64_t n = qx_shape_numel(&r.in_shape[0], 1);
    float *d_x = p->w->d_in[0], *d = is_new ? d_x : p->w->d_fake;
    p->w->d_in[0] = d;
    if (!node->op->writes_first) {
        memset(d, 0, (size_t)n * sizeof *d);
    }
    node->op->backward(&b);
    act->backward(act->arg, p->lane, value_of(p, node->in[0]->index), n, d);
    for (int64_t k = 0; d_x && d_x != d && k < n; k++) {
        d_x[k] += d[k];
    }
}

/* Nodes end-1 .. first, none of which looks at the whole batch. */
static void backward_range(const struct place *p, int first, int end)
{
    const struct qx_tape *t = p->t;
    for (int i = end - 1; i >= first; i--) {
        const struct qx_node *node = t->net->nodes[i];
        if (!node->op->is_view && qx_tape_sends(t, node)) {
            back_node(p, node, i);
        }
    }
}

/* From the node at `end` (in training the one whose sums are known: its tiles) down to first, whose
 * sums are taken. */
static enum qx_status backward_nodes(const struct place *p, int first, int end,
                                     struct qx_error *err)
{
    struct qx_tape *t = p->t;
    (void)err;
    for (int i = end < t->net->n_nodes ? end : end - 1; i >= first; i--) {
        const struct qx_node *node = t->net->nodes[i];
        const int stop = stop_of(t, i);
        if (node->op->is_view || !qx_tape_sends(t, node)) {
            continue;
        }
        if (stop < 0) {
            back_node(p, node, i);
            continue;
        }
        const struct qx_run r = run_of(p, node);
        if (i == first && i != end) {
            const struct qx_back b = back_of(p, &r);
            node->op->batch->back_sums(&b, t->sums[stop], t->n, p->w->sums);
        } else {
            struct qx_back b = back_of(p, &r);
            b.is_first = is_first(p, node, i, 0);
            clear_inputs(p, node, i, true);
            node->op->batch->backward(&b, t->sums[stop], t->back_sums[stop], t->n);
        }
    }
    return QX_OK;
}

/* Gradients of parameters that come from sums: into the first lane. */
static void stop_params(struct qx_tape *t, int stop)
{
    const struct qx_node *node = t->net->nodes[t->stop[stop]];
    const struct place p = {.t = t, .w = &t->lanes[0]};
    for (int k = 0; k < node->n_in; k++) {
        const bool is_wanted = node->in[k] && t->param_of[node->in[k]->index] >= 0;
        p.w->d_in[k] = is_wanted ? grad_of(&p, node->in[k]->index) : NULL;
    }
    node->op->batch->back_params(node, t->back_sums[stop], p.w->d_in);
}

/* grad of every parameter: the lanes', added in order. */
static void gather(void *arg, int64_t i, int worker)
{
    struct qx_tape *t = arg;
    struct qx_param *p = &t->params[i];
    (void)worker;
    if (!p->grad) {
        return;
    }
    memcpy(p->grad, t->lanes[0].grads + t->grad_at[i], (size_t)p->n * sizeof *p->grad);
    for (int l = 1; l < t->n_lanes; l++) {
        const float *from = t->lanes[l].grads + t->grad_at[i];
        for (int64_t k = 0; k < p->n; k++) {
            p->grad[k] += from[k];
        }
    }
}

/* ---- a batch ---- */

/* Nodes of a block once more, but for what is kept between blocks. */
static enum qx_status again_nodes(const struct place *p, int first, int end, struct qx_error *err)
{
    const struct qx_tape *t = p->t;
    enum qx_status st = QX_OK;
    for (int i = first; st == QX_OK && i < end; i++) {
        const struct qx_node *node = t->net->nodes[i];
        if (!node->op->is_view && t->last[t->root[node->out->index]] < end) {
            const struct qx_run r = run_of(p, node);
            st = node->op->forward(&r, err);
        }
    }
    return st;
}

/* One tile all the way, and back. */
static enum qx_status tile_nodes(const struct place *p, int first, int end, struct qx_error *err)
{
    const struct qx_tape *t = p->t;
    enum qx_status st = forward_nodes(p, first, end, err);
    if (st != QX_OK) {
        return st;
    }
    cost_of(p);
    for (int k = t->n_blocks - 1; t->with_grad && st == QX_OK && k >= 0; k--) {
        if (k < t->n_blocks - 1) {
            st = again_nodes(p, t->block[k], t->block[k + 1], err);
        }
        if (st == QX_OK) {
            backward_range(p, t->block[k], t->block[k + 1]);
        }
    }
    return st;
}

/* The way to the cost, and back, with the statistics of the batch. */
static enum qx_status stops_run(struct qx_tape *t, struct qx_pool *pool, struct qx_ctl *ctl,
                                struct qx_error *err)
{
    enum qx_status st = QX_OK;
    int first = 0, end = t->net->n_nodes;
    for (int k = 0; st == QX_OK && k < t->n_stops; k++) {
        st = run_piece(t, first, t->stop[k], forward_nodes, pool, ctl, err);
        sums_add(t, k, t->sums[k]);
        first = t->stop[k];
    }
    if (st == QX_OK) {
        st = run_piece(t, first, end, forward_nodes, pool, ctl, err);
    }
    if (st == QX_OK) {
        st = run_piece(t, first, end, cost_nodes, pool, ctl, err);
    }
    for (int k = t->n_stops - 1; t->with_grad && st == QX_OK && k >= 0; k--) {
        st = run_piece(t, t->stop[k], end, backward_nodes, pool, ctl, err);
        sums_add(t, k, t->back_sums[k]);
        stop_params(t, k);
        end = t->stop[k];
    }
    return st == QX_OK && t->with_grad ? run_piece(t, 0, end, backward_nodes, pool, ctl, err) : st;
}

enum qx_status qx_tape_run(struct qx_tape *t, const float *x, int64_t n, enum qx_tape_mode mode,
                           const struct qx_tape_loss *loss, bool with_grad, double *sum,
                           struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    t->x = x;
    t->n = n;
    t->mode = mode;
    t->loss = loss;
    t->with_grad = with_grad;
    for (int l = 0; l < t->n_lanes; l++) {
        t->lanes[l].cost = 0.0;
        if (with_grad) {
            memset(t->lanes[l].grads, 0, (size_t)t->n_grads * sizeof(float));
        }
    }
    const enum qx_status st = mode == QX_TAPE_TRAIN && t->n_stops > 0
                                  ? stops_run(t, pool, ctl, err)
                                  : run_piece(t, 0, t->net->n_nodes, tile_nodes, pool, ctl, err);
    if (st == QX_OK && with_grad) {
        qx_pool_for(pool, t->n_params, gather, t);
    }
    *sum = 0.0;
    for (int l = 0; l < t->n_lanes; l++) {
        *sum += t->lanes[l].cost;
    }
    return st;
}

void qx_tape_follow(struct qx_tape *t, double momentum)
{
    for (int k = 0; t->mode == QX_TAPE_TRAIN && k < t->n_stops; k++) {
        const struct qx_node *node = t->net->nodes[t->stop[k]];
        float *in[QX_NODE_INPUTS] = {0};
        for (int i = 0; i < node->n_in; i++) {
            const int param = node->in[i] ? t->param_of[node->in[i]->index] : -1;
            in[i] = param >= 0 ? t->params[param].value : NULL;
        }
        node->op->batch->update(node, t->sums[k], t->n, momentum, in);
    }
}
