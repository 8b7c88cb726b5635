#include "cut.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

int qx_cut_node(const struct qx_net *net, int layer)
{
    for (int i = 0; i < net->n_nodes; i++) {
        for (int k = 0; k < net->nodes[i]->n_in; k++) {
            const struct qx_value *v = net->nodes[i]->in[k];
            if (v && v->tensor == net->layers[layer].tensor) {
                return i;
            }
        }
    }
    return net->n_nodes;
}

/* Roots as seen from between two nodes. */
struct live {
    bool is_read; /* by a node behind, or by the caller */
    int filler;   /* the node before that fills it last; -1 when none does */
};

/* What becomes part of a product is filled by the product, even where its own node comes later. */
static void find_live(const struct qx_net *net, const struct qx_exec *e, int node,
                      struct live *live)
{
    const int *root = net->plan.root;
    for (int v = 0; v < net->n_values; v++) {
        live[v] = (struct live){.filler = -1};
    }
    for (int i = 0; i < node; i++) {
        const bool runs = e ? e->nodes[i].kind != QX_EXEC_NONE : !net->nodes[i]->op->is_view;
        if (runs) {
            live[root[e ? e->nodes[i].out : net->nodes[i]->out->index]].filler = i;
        }
    }
    for (int i = node; i < net->n_nodes; i++) {
        for (int k = 0; k < net->nodes[i]->n_in; k++) {
            if (net->nodes[i]->in[k]) {
                live[root[net->nodes[i]->in[k]->index]].is_read = true;
            }
        }
    }
    live[root[net->output->index]].is_read = true;
    live[net->input->index].is_read |= net->has_places; /* it tells how long the sequences are */
}

static enum qx_status slot_add(struct qx_net_cut *c, int root, const struct qx_exec_value *form,
                               struct qx_error *err)
{
    const struct qx_shape *shape = &c->net->values[root]->shape;
    const size_t item = form->form == QX_FORM_CODES ? 1 : sizeof(float);
    const int64_t row = qx_shape_numel(shape, 1), units = shape->is_ragged ? shape->dim[0] : 1;
    struct qx_cut_slot *s = &c->slots[c->n_slots++];
    *s = (struct qx_cut_slot){.root = root, .offset = c->bytes};
    s->form = *form;
    s->unit_bytes = (size_t)(row / units) * item;
    size_t all;
    if (!qx_size_mul((size_t)row * item, (size_t)c->n, &all) || all > SIZE_MAX / 2 - c->bytes) {
        return qx_fail_nomem(err, SIZE_MAX);
    }
    c->bytes = (c->bytes + all + 63) & ~(size_t)63;
    return QX_OK;
}

enum qx_status qx_cut_layout(const struct qx_net *net, const struct qx_weights *w, int node,
                             int64_t n, struct qx_net_cut *out, struct qx_error *err)
{
    const struct qx_exec *e = qx_weights_exec(w);
    struct qx_net_cut c = {.net = net, .node = node, .n = n, .is_integer = e != NULL};
    c.folded = qx_exec_folded(e, node);
    struct live *live = qx_mem_array((size_t)net->n_values, sizeof *live);
    c.slots = qx_mem_array((size_t)net->n_values, sizeof *c.slots);
    enum qx_status st =
        c.slots && live ? QX_OK : qx_fail_nomem(err, (size_t)net->n_values * sizeof *c.slots);
    if (st == QX_OK) {
        find_live(net, e, node, live);
    }
    for (int v = 0; st == QX_OK && v < net->n_values; v++) {
        const bool is_input = net->values[v] == net->input;
        if (net->values[v]->tensor < 0 && live[v].is_read && (is_input || live[v].filler >= 0)) {
            const struct qx_exec_value plain = {.form = QX_FORM_PLAIN};
            const bool is_formed = e && live[v].filler >= 0;
            st =
                slot_add(&c, v, is_formed ? &e->values[e->nodes[live[v].filler].out] : &plain, err);
        }
    }
    qx_mem_free(live);
    if (st != QX_OK) {
        qx_cut_release(&c);
        return st;
    }
    *out = c;
    return QX_OK;
}

void qx_cut_release(struct qx_net_cut *c)
{
    qx_mem_free(c->slots);
    qx_mem_free(c->data);
    *c = (struct qx_net_cut){0};
}

static bool same_form(const struct qx_exec_value *a, const struct qx_exec_value *b)
{
    const struct qx_codes *p = &a->codes, *q = &b->codes;
    return a->form == b->form && a->is_last == b->is_last && a->c == b->c &&
           a->places == b->places && p->scale == q->scale && p->zero == q->zero &&
           p->min == q->min && p->max == q->max;
}

enum qx_status qx_cut_check(const struct qx_net_cut *c, const struct qx_weights *w,
                            struct qx_error *err)
{
    struct qx_net_cut now;
    enum qx_status st = qx_cut_layout(c->net, w, c->node, c->n, &now, err);
    if (st != QX_OK) {
        return st;
    }
    bool same =
        now.is_integer == c->is_integer && now.n_slots == c->n_slots && now.folded == c->folded;
    for (int i = 0; same && i < c->n_slots; i++) {
        same = now.slots[i].root == c->slots[i].root &&
               same_form(&now.slots[i].form, &c->slots[i].form);
    }
    qx_cut_release(&now);
    return same ? QX_OK
                : qx_fail(err, QX_EDATA,
                          "the kept values have another form than the layers behind them take now: "
                          "run the layers before again");
}

/* ---- tiles ---- */

/* Where the rows first .. end-1 of a slot lie, and how much they take. */
static uint8_t *tile_at(const struct qx_net_cut *c, const struct qx_cut_slot *s, int64_t first,
                        int64_t end, const int64_t *start, size_t *bytes)
{
    const bool is_ragged = c->net->values[s->root]->shape.is_ragged;
    const int64_t from = is_ragged ? start[first] : first, to = is_ragged ? start[end] : end;
    *bytes = (size_t)(to - from) * s->unit_bytes;
    return c->data + s->offset + (size_t)from * s->unit_bytes;
}

void qx_cut_store(struct qx_net_cut *c, int64_t first, int64_t end, const int64_t *start,
                  const float *x, const struct qx_layout *l, const float *space)
{
    for (int i = 0; i < c->n_slots; i++) {
        const struct qx_cut_slot *s = &c->slots[i];
        const struct qx_value *v = c->net->values[s->root];
        const float *from = v == c->net->input ? x + first * qx_shape_numel(&v->shape, 1)
                                               : space + l->offset[s->root];
        size_t bytes;
        uint8_t *to = tile_at(c, s, first, end, start, &bytes);
        memcpy(to, from, bytes);
    }
}

void qx_cut_load(const struct qx_net_cut *c, int64_t first, int64_t end, const int64_t *start,
                 const struct qx_layout *l, float *space)
{
    for (int i = 0; i < c->n_slots; i++) {
        const struct qx_cut_slot *s = &c->slots[i];
        if (c->net->values[s->root] != c->net->input) {
            size_t bytes;
            const uint8_t *from = tile_at(c, s, first, end, start, &bytes);
            memcpy(space + l->offset[s->root], from, bytes);
        }
    }
}

const float *qx_cut_input(const struct qx_net_cut *c)
{
    for (int i = 0; i < c->n_slots; i++) {
        if (c->net->values[c->slots[i].root] == c->net->input) {
            return (const float *)(const void *)(c->data + c->slots[i].offset);
        }
    }
    return NULL;
}
