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
    struct qx_net *net;
    int *last;          /* [n_values] of roots: last node that reads their memory */
    struct span *alive; /* by offset */
    int n_alive;
    int64_t rows, top;
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
static void find_views(struct planner *p)
{
    struct qx_net *net = p->net;
    for (int v = 0; v < net->n_values; v++) {
        net->plan.root[v] = v;
        p->last[v] = -1;
    }
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        if (node->op->is_view) {
            net->plan.root[node->out->index] = root_of(&net->plan, node->in[0]->index);
        }
        p->last[root_of(&net->plan, node->out->index)] = i;
        for (int k = 0; k < node->n_in; k++) {
            if (node->in[k]) {
                p->last[root_of(&net->plan, node->in[k]->index)] = i;
            }
        }
    }
    p->last[root_of(&net->plan, net->output->index)] = net->n_nodes;
}

/* May node i write its result over its first input? Nothing else may read that memory from here on. */
static bool can_overwrite(const struct planner *p, const struct qx_node *node, int i)
{
    const struct qx_plan *plan = &p->net->plan;
    const int root = root_of(plan, node->in[0]->index);
    if (!node->op->is_inplace || !is_computed(p->net, root) || p->last[root] != i ||
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

static void find_inplace(struct planner *p)
{
    struct qx_plan *plan = &p->net->plan;
    for (int i = 0; i < p->net->n_nodes; i++) {
        const struct qx_node *node = p->net->nodes[i];
        const int out = node->out->index;
        if (!node->op->is_view && can_overwrite(p, node, i)) {
            const int root = root_of(plan, node->in[0]->index);
            plan->root[out] = root;
            p->last[root] = p->last[out];
        }
    }
    for (int v = 0; v < p->net->n_values; v++) {
        plan->root[v] = root_of(plan, v);
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

/* Place every computed root for tiles of `rows`; QX_WORKSPACE_MAX bounds every sum. */
static void place_all(struct planner *p, int64_t rows)
{
    struct qx_net *net = p->net;
    struct qx_plan *plan = &net->plan;
    int64_t scratch = 0;
    p->n_alive = 0;
    p->top = 0;
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        const int v = node->out->index;
        drop_dead(p, i);
        if (plan->root[v] == v) {
            plan->offset[v] =
                place(p, round_up(qx_shape_numel(&node->out->shape, rows)), p->last[v]);
        }
        if (node->op->scratch) {
            const int64_t need = node->op->scratch(node, rows);
            scratch = need > scratch ? need : scratch;
        }
        if (p->top > QX_WORKSPACE_MAX) {
            break;
        }
    }
    plan->tile_rows = rows;
    plan->scratch = p->top;
    plan->floats = p->top + round_up(scratch);
}

enum qx_status qx_plan_make(struct qx_net *net, struct qx_error *err)
{
    const size_t n = (size_t)net->n_values;
    struct planner p = {.net = net};
    enum qx_status st = QX_OK;
    net->plan.root = qx_arena_array(&net->arena, n, sizeof *net->plan.root);
    net->plan.offset = qx_arena_array(&net->arena, n, sizeof *net->plan.offset);
    p.last = qx_mem_array(n, sizeof *p.last);
    p.alive = qx_mem_array((size_t)net->n_nodes + 1, sizeof *p.alive);
    if (!net->plan.root || !net->plan.offset || !p.last || !p.alive) {
        st = qx_fail_nomem(err, n * sizeof *p.last);
        goto out;
    }
    for (size_t v = 0; v < n; v++) {
        net->plan.offset[v] = -1;
    }
    find_views(&p);
    find_inplace(&p);
    for (int64_t rows = QX_TILE_ROWS_MAX; rows >= 1; rows /= 2) {
        place_all(&p, rows);
        const bool is_long = net->has_places && rows * net->input->shape.dim[1] > QX_TILE_PLACES;
        if (net->plan.floats <= QX_WORKSPACE_GOAL && !is_long) {
            break;
        }
    }
    if (net->plan.floats > QX_WORKSPACE_MAX) {
        st = qx_fail(err, QX_EUNSUPPORTED, "one row needs more than %lld MiB of memory",
                     (long long)(QX_WORKSPACE_MAX >> 18));
    }
out:
    qx_mem_free(p.last);
    qx_mem_free(p.alive);
    return st;
}
