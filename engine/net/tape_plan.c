/* Where the values of a tile lie in training. With blocks, values that cross from one to the next have places
 * of their own; those inside of a block lie where those of the other blocks lie. */
#include "tape.h"

#include "base/error.h"
#include "base/mem.h"

/* The plan of a room while it is made. */
struct plan {
    struct qx_tape *t;
    int *maker; /* [n_values] node that computes the root; -1: none does */
};

static enum qx_status makers_find(struct plan *p, struct qx_error *err)
{
    const struct qx_net *net = p->t->net;
    p->maker = qx_mem_array((size_t)net->n_values, sizeof *p->maker);
    if (!p->maker) {
        return qx_fail_nomem(err, (size_t)net->n_values * sizeof *p->maker);
    }
    for (int v = 0; v < net->n_values; v++) {
        p->maker[v] = -1;
    }
    for (int i = 0; i < net->n_nodes; i++) {
        if (!net->nodes[i]->op->is_view) {
            p->maker[net->nodes[i]->out->index] = i;
        }
    }
    return QX_OK;
}

/* Is the value made before `node`, and needed there or behind? */
static bool crosses(const struct plan *p, int v, int node)
{
    return p->maker[v] >= 0 && p->maker[v] < node && p->t->last[v] >= node;
}

/* Is it of the nodes first .. end-1 alone? The answers are of the last block. */
static bool is_inside(const struct plan *p, int v, int first, int end)
{
    return p->maker[v] >= first && p->maker[v] < end &&
           (p->t->last[v] < end || end == p->t->net->n_nodes);
}

static void place(struct qx_tape *t, int v, int64_t *at)
{
    t->value_at[v] = *at;
    *at += t->tile_floats[v];
    t->slope_at[v] = t->needs_grad[v] ? *at : -1;
    *at += t->needs_grad[v] ? t->tile_floats[v] : 0;
}

/* Floats of values and gradients of a block; place_it: from `at` on. */
static int64_t inside(const struct plan *p, int first, int end, bool place_it, int64_t at)
{
    const struct qx_tape *t = p->t;
    int64_t sum = 0;
    for (int v = 0; v < t->net->n_values; v++) {
        if (is_inside(p, v, first, end)) {
            sum += t->tile_floats[v] * (t->needs_grad[v] ? 2 : 1);
            if (place_it) {
                place(p->t, v, &at);
            }
        }
    }
    return sum;
}

static void one_block(struct qx_tape *t)
{
    t->n_blocks = 1;
    t->block[0] = 0;
    t->block[1] = t->net->n_nodes;
}

/* Nodes in front of which exactly one value is still needed: first nodes of blocks as small as can be. */
static void cut_small(const struct plan *p)
{
    struct qx_tape *t = p->t;
    t->n_blocks = 0;
    t->block[t->n_blocks++] = 0;
    for (int i = 1; i < t->net->n_nodes; i++) {
        int n_alive = 0;
        for (int v = 0; v < t->net->n_values; v++) {
            n_alive += crosses(p, v, i);
        }
        if (n_alive == 1) {
            t->block[t->n_blocks++] = i;
        }
    }
    t->block[t->n_blocks] = t->net->n_nodes;
}

/* Neighbours become one while they hold no more than the largest block does by itself. */
static void join(const struct plan *p)
{
    struct qx_tape *t = p->t;
    int64_t most = 0;
    int n = 0;
    for (int k = 0; k < t->n_blocks; k++) {
        const int64_t here = inside(p, t->block[k], t->block[k + 1], false, 0);
        most = here > most ? here : most;
    }
    for (int k = 0; k < t->n_blocks; k++) {
        if (n == 0 || inside(p, t->block[n - 1], t->block[k + 1], false, 0) > most) {
            t->block[n++] = t->block[k];
        }
    }
    t->n_blocks = n;
    t->block[n] = t->net->n_nodes;
}

/* Places for all values; the floats of a room. */
static int64_t places_make(const struct plan *p)
{
    struct qx_tape *t = p->t;
    int64_t kept = 0, most = 0;
    for (int v = 0; v < t->net->n_values; v++) {
        for (int k = 1; k < t->n_blocks; k++) {
            if (crosses(p, v, t->block[k])) {
                place(t, v, &kept);
                break;
            }
        }
    }
    for (int k = 0; k < t->n_blocks; k++) {
        const int64_t here = inside(p, t->block[k], t->block[k + 1], true, kept);
        most = here > most ? here : most;
    }
    return kept + most;
}

enum qx_status qx_tape_plan(struct qx_tape *t, uint64_t max_bytes, struct qx_error *err)
{
    struct plan p = {.t = t};
    const int64_t tiles = (t->rows + t->tile_rows - 1) / t->tile_rows;
    enum qx_status st = makers_find(&p, err);
    for (int v = 0; st == QX_OK && v < t->net->n_values; v++) {
        t->value_at[v] = t->slope_at[v] = -1;
        t->tile_floats[v] =
            p.maker[v] < 0
                ? 0
                : (qx_shape_room(&t->net->values[v]->shape, &t->room) + 15) & ~INT64_C(15);
    }
    if (st != QX_OK) {
        return st;
    }
    t->n_rooms = t->n_stops > 0 ? tiles : t->n_lanes;
    one_block(t);
    t->room_floats = places_make(&p);
    if (t->n_stops == 0 &&
        (uint64_t)t->room_floats * sizeof(float) > max_bytes / (uint64_t)t->n_rooms) {
        cut_small(&p);
        join(&p);
        t->room_floats = places_make(&p);
    }
    qx_mem_free(p.maker);
    return QX_OK;
}
