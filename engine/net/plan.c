#include "plan.h"

#include "graph.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

/* A root in memory while it is alive. */
struct span {
    int64_t offset, floats;
    int last; /* node that reads it last */
};

struct planner {
    const struct qx_net *net;
    struct qx_layout *to;
    struct span *alive; /* by offset */
    int n_alive;
    int64_t top;
};

static int root_of(const struct qx_plan *plan, int v)
{
    while (plan->root[v] != v) {
        v = plan->root[v];
    }
    return v;
}

static bool is_computed(const struct qx_net *net, int v)
{
    return net->values[v]->tensor < 0 && net->values[v] != net->input;
}

/* Views share the memory of what they show: the last reader of any is the last of all. */
static void find_views(struct qx_net *net)
{
    struct qx_plan *plan = &net->plan;
    for (int v = 0; v < net->n_values; v++) {
        plan->root[v] = v;
        plan->last[v] = -1;
    }
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        if (node->op->is_view) {
            plan->root[node->out->index] = root_of(plan, node->in[0]->index);
        }
        plan->last[root_of(plan, node->out->index)] = i;
        for (int k = 0; k < node->n_in; k++) {
            if (node->in[k]) {
                plan->last[root_of(plan, node->in[k]->index)] = i;
            }
        }
    }
    plan->last[root_of(plan, net->output->index)] = net->n_nodes;
}

/* May node i write its result over its first input? Nothing else may read that memory from here on. */
static bool can_overwrite(const struct qx_net *net, const struct qx_node *node, int i)
{
    const struct qx_plan *plan = &net->plan;
    const int root = root_of(plan, node->in[0]->index);
    if (!node->op->is_inplace || !is_computed(net, root) || plan->last[root] != i ||
        !qx_shape_equal(&node->in[0]->shape, &node->out->shape)) {
        return false;
    }
    for (int k = 1; k < node->n_in; k++) {
        if (node->in[k] && root_of(plan, node->in[k]->index) == root) {
            return false;
        }
    }
    return true;
}

static void find_inplace(struct qx_net *net)
{
    struct qx_plan *plan = &net->plan;
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        const int out = node->out->index;
        if (!node->op->is_view && can_overwrite(net, node, i)) {
            const int root = root_of(plan, node->in[0]->index);
            plan->root[out] = root;
            plan->last[root] = plan->last[out];
        }
    }
    for (int v = 0; v < net->n_values; v++) {
        plan->root[v] = root_of(plan, v);
        plan->filler[v] = -1;
    }
    for (int i = net->n_nodes - 1; i >= 0; i--) {
        const int root = plan->root[net->nodes[i]->out->index];
        plan->filler[root] = is_computed(net, root) ? i : -1;
    }
}

/* Behind the last node that looks at places, where every place has an output. */
static void find_tail(struct qx_net *net)
{
    net->plan.tail = net->output->shape.is_ragged ? 0 : net->n_nodes;
    for (int i = 0; i < net->n_nodes; i++) {
        if (net->nodes[i]->op->reads_places) {
            net->plan.tail = net->output->shape.is_ragged ? i + 1 : net->n_nodes;
        }
    }
}

static void drop_dead(struct planner *p, int node)
{
    int k = 0;
    for (int i = 0; i < p->n_alive; i++) {
        if (p->alive[i].last >= node) {
            p->alive[k++] = p->alive[i];
        }
    }
    p->n_alive = k;
}

/* The smallest hole that takes the value, else the end. */
static int64_t place(struct planner *p, int64_t floats, int last)
{
    int64_t end = 0, best = -1, best_room = INT64_MAX;
    int best_at = p->n_alive;
    for (int i = 0; i < p->n_alive; i++) {
        const int64_t room = p->alive[i].offset - end;
        if (room >= floats && room < best_room) {
            best = end;
            best_room = room;
            best_at = i;
        }
        end = p->alive[i].offset + p->alive[i].floats;
    }
    const int64_t offset = best >= 0 ? best : end;
    memmove(&p->alive[best_at + 1], &p->alive[best_at],
            (size_t)(p->n_alive - best_at) * sizeof *p->alive);
    p->alive[best_at] = (struct span){.offset = offset, .floats = floats, .last = last};
    p->n_alive++;
    p->top = offset + floats > p->top ? offset + floats : p->top;
    return offset;
}

/* Kernels like 64-byte rows. */
static int64_t round_up(int64_t floats)
{
    return (floats + 15) & ~INT64_C(15);
}

bool qx_layout_in_tail(const struct qx_net *net, const struct qx_layout *l, int root)
{
    return net->plan.filler[root] >= l->tail;
}

/* What is read for some places at a time lies there until all are done. */
static int last_of(const struct planner *p, int root)
{
    const int last = p->net->plan.last[root];
    return last >= p->to->tail && !qx_layout_in_tail(p->net, p->to, root) ? p->net->n_nodes : last;
}

/* QX_WORKSPACE_MAX bounds every sum. */
static void place_all(struct planner *p)
{
    const struct qx_net *net = p->net;
    struct qx_layout *to = p->to;
    int64_t scratch = 0;
    p->n_alive = 0;
    p->top = 0;
    for (int v = 0; v < net->n_values; v++) {
        to->offset[v] = -1;
    }
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        const int v = node->out->index;
        struct qx_room room = to->room;
        room.places = i >= to->tail ? to->tail_places : room.places;
        drop_dead(p, i);
        if (net->plan.root[v] == v) {
            to->offset[v] =
                place(p, round_up(qx_shape_room(&node->out->shape, &room)), last_of(p, v));
        }
        if (node->op->scratch) {
            const int64_t need = node->op->scratch(node, &room);
            scratch = need > scratch ? need : scratch;
        }
        if (p->top > QX_WORKSPACE_MAX) {
            break;
        }
    }
    to->scratch = p->top;
    to->floats = p->top + round_up(scratch);
}

static enum qx_status fail_large(struct qx_error *err)
{
    return qx_fail(err, QX_EUNSUPPORTED, "one row needs more than %lld MiB of memory",
                   (long long)(QX_WORKSPACE_MAX >> 18));
}

enum qx_status qx_layout_make(const struct qx_net *net, struct qx_layout *out, struct qx_error *err)
{
    struct qx_layout l = *out;
    struct planner p = {.net = net, .to = &l};
    l.offset = qx_mem_array((size_t)net->n_values, sizeof *l.offset);
    p.alive = qx_mem_array((size_t)net->n_nodes + 1, sizeof *p.alive);
    enum qx_status st =
        l.offset && p.alive ? QX_OK : qx_fail_nomem(err, (size_t)net->n_values * sizeof *l.offset);
    if (st == QX_OK) {
        place_all(&p);
        st = l.floats > QX_WORKSPACE_MAX ? fail_large(err) : QX_OK;
    }
    qx_mem_free(p.alive);
    if (st != QX_OK) {
        qx_layout_release(&l);
        return st;
    }
    *out = l;
    return QX_OK;
}

void qx_layout_release(struct qx_layout *l)
{
    qx_mem_free(l->offset);
    l->offset = NULL;
}

enum qx_status qx_plan_make(struct qx_net *net, struct qx_error *err)
{
    const size_t n = (size_t)net->n_values;
    struct qx_plan *plan = &net->plan;
    struct planner p = {.net = net, .to = &plan->whole};
    plan->root = qx_arena_array(&net->arena, n, sizeof *plan->root);
    plan->filler = qx_arena_array(&net->arena, n, sizeof *plan->filler);
    plan->last = qx_arena_array(&net->arena, n, sizeof *plan->last);
    plan->whole.offset = qx_arena_array(&net->arena, n, sizeof *plan->whole.offset);
    p.alive = qx_mem_array((size_t)net->n_nodes + 1, sizeof *p.alive);
    if (!plan->root || !plan->filler || !plan->last || !plan->whole.offset || !p.alive) {
        qx_mem_free(p.alive);
        return qx_fail_nomem(err, n * sizeof *plan->root);
    }
    find_views(net);
    find_inplace(net);
    find_tail(net);
    const int64_t full = net->has_places ? net->input->shape.dim[1] : 0;
    for (int64_t rows = QX_TILE_ROWS_MAX; rows >= 1; rows /= 2) {
        plan->tile_rows = rows;
        plan->whole.room = (struct qx_room){rows, rows * full, full};
        plan->whole.tail = net->n_nodes;
        place_all(&p);
        if (plan->whole.floats <= QX_WORKSPACE_GOAL && rows * full <= QX_TILE_PLACES) {
            break;
        }
    }
    if (plan->tail < net->n_nodes && plan->whole.floats > QX_WORKSPACE_CONTEXT) {
        plan->whole.tail = plan->tail;
        plan->whole.tail_places = QX_TAIL_PLACES;
        place_all(&p);
    }
    qx_mem_free(p.alive);
    return plan->whole.floats > QX_WORKSPACE_MAX && !net->is_probing ? fail_large(err) : QX_OK;
}
