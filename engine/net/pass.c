/* Running the nodes of a network on one tile. */
#include "forward.h"

#include "net/beside.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

/* Bytes between two places of a value that lies there for all places while some are run. */
static size_t step_of(const struct qx_forward *f, const struct qx_tile *t, int value)
{
    const struct qx_shape *s = &f->net->values[value]->shape;
    const struct qx_exec *e = t->is_program ? f->weights->exec : NULL;
    const bool is_codes = e && e->values[value].form == QX_FORM_CODES;
    return (size_t)qx_shape_span(s, 1, s->rank) * (is_codes ? 1 : sizeof(float));
}

/* Where a value lies for the places at hand. */
static float *value_at(const struct qx_forward *f, const struct qx_worker *w,
                       const struct qx_tile *t, int value)
{
    const int root = f->net->plan.root[value];
    float *at = w->space + f->layout->offset[root];
    if (t->place == 0 || !f->net->values[value]->shape.is_ragged ||
        qx_layout_in_tail(f->net, f->layout, root)) {
        return at;
    }
    return (float *)(void *)((uint8_t *)at + (size_t)t->place * step_of(f, t, value));
}

/* The same of what a node reads: initializers and the input too. */
static const float *input_at(const struct qx_forward *f, const struct qx_worker *w,
                             const struct qx_tile *t, int value)
{
    const int root = f->net->plan.root[value];
    const struct qx_value *v = f->net->values[root];
    if (v->tensor >= 0) {
        const float *own = t->is_program ? f->weights->exec->own[root] : NULL;
        return own ? own : f->weights->values[root].data;
    }
    return v == f->net->input ? f->x + t->first * qx_shape_numel(&v->shape, 1)
                              : value_at(f, w, t, value);
}

/* Values that share a dynamic range: a token, or all of a sample. */
static int64_t unit_of(const struct qx_node *node, const struct qx_act *act,
                       const struct qx_extent *e, int64_t row)
{
    const struct qx_shape *s = &node->in[0]->shape;
    if (act->gran == QX_ACT_TOKEN && !qx_node_is(node, "Conv")) {
        return s->dim[s->rank - 1];
    }
    const int64_t start[2] = {0, e->start ? e->start[row + 1] - e->start[row] : 0};
    return qx_shape_count(s, &(struct qx_extent){1, e->start ? start : NULL});
}

/* What a method keeps beside the codes of a node's weight; NULL = nothing. */
static const struct qx_overlay *overlay_of(const struct qx_forward *f, const struct qx_node *node)
{
    const int i = node->op->weight;
    const struct qx_value *v = i == 1 ? node->in[1] : NULL;
    return v && v->tensor >= 0 ? qx_setting_overlay(&f->weights->values[v->index].setting) : NULL;
}

/* Its shifts, factors and kept columns, for inputs as the graph has them. */
static struct qx_beside beside_of(const struct qx_overlay *o, const struct qx_node *node)
{
    const struct qx_shape *s = &node->in[0]->shape;
    return (struct qx_beside){.sub = o->in_shift,
                              .div = o->in_scale,
                              .channels =
                                  o->groups * o->channels.outer * o->channels.inner / o->taps,
                              .inner = qx_node_is(node, "Conv") ? qx_shape_span(s, 2, s->rank) : 1,
                              .kept = o->kept,
                              .n_kept = o->n_kept};
}

/* A correction of the outputs: of a convolution planes, else rows. */
static void bias_add(const struct qx_overlay *o, const struct qx_node *node, int64_t n, float *y)
{
    const struct qx_shape *s = &node->out->shape;
    const int64_t count = o->channels.count;
    const int64_t inner = qx_node_is(node, "Conv") ? qx_shape_numel(s, 1) / count : 1;
    for (int64_t i = 0; i < n; i++) {
        y[i] += o->bias[i / inner % count];
    }
}

/* n values from `at` on that share a range: quantized and put back, and their codes where a comparison
 * wants them. */
static void fake_part(struct qx_worker *w, const struct qx_act *act, const struct qx_beside *b,
                      int64_t at, int64_t n, bool has_codes)
{
    const float *x = w->in[0] + at;
    float *y = w->fake + at;
    if (b) {
        qx_beside_apply(b, x, n, y);
        x = y;
    }
    const struct qx_qparams p = qx_qinput_params(act, x, n);
    const struct qxk_affine q = {p.scale, (float)p.zero, (float)p.qmin, (float)p.qmax};
    if (has_codes) {
        const struct qx_codes c = qx_codes_of(&p);
        const struct qxk_affine stored = {c.scale, (float)c.zero, (float)c.min, (float)c.max};
        qxk_get()->quantize(x, (size_t)n, &stored, w->codes + at);
    }
    w->report.n_nonfinite += qxk_get()->fakequant(x, (size_t)n, &q, y);
    if (b) {
        qx_beside_restore(b, w->in[0] + at, n, y);
    }
}

/* Input 0 as the codes say; in a comparison, also how many codes are not the other engine's. */
static void fake_input(const struct qx_forward *f, struct qx_worker *w, const struct qx_node *node,
                       struct qx_tile *t)
{
    const struct qx_overlay *o = overlay_of(f, node);
    const bool has_inputs = o && qx_overlay_has_inputs(o);
    const struct qx_act plain = *qx_node_act(f->weights, node);
    const struct qx_act act = has_inputs ? qx_overlay_act(o, &plain) : plain;
    const struct qx_beside b = has_inputs ? beside_of(o, node) : (struct qx_beside){0};
    const int64_t n = qx_shape_count(&node->in[0]->shape, &t->extent);
    for (int64_t at = 0, row = 0, step; at < n; at += step, row++) {
        step = !act.dynamic ? n : unit_of(node, &act, &t->extent, row);
        fake_part(w, &act, has_inputs ? &b : NULL, at, step, t->met);
    }
    for (int64_t i = 0; t->met && i < n; i++) {
        w->report.n_codes_differ += w->codes[i] != t->met[i];
    }
    if (t->met) {
        w->report.n_codes += n;
        t->met += n;
    }
    w->in[0] = w->fake;
}

/* One table of the program. */
struct table {
    const struct qx_exec *exec;
    int value;
};

static void table_row(const void *table, int64_t i, float *out)
{
    const struct table *t = table;
    qx_exec_table_row(t->exec, t->value, i, out);
}

static void stored_row(const void *tensor, int64_t i, float *out)
{
    const struct qx_tensor *t = tensor;
    const int64_t n = t->numel / t->shape[0];
    qx_tensor_read(t, i * n, n, out, NULL); /* its kind was looked at when the network was made */
}

/* A weight that waits in packed form, or in the file. */
static void decode_weight(const struct qx_forward *f, struct qx_worker *w,
                          const struct qx_node *node, bool is_program)
{
    const int i = node->op->weight;
    if (i < 0 || !node->in[i] || node->in[i]->tensor < 0 || node->op->reads_rows) {
        return;
    }
    const struct qx_packed *p = is_program ? f->weights->exec->packed[node->in[i]->index] : NULL;
    if (p) {
        qx_packed_rows(p, 0, p->rows, w->wide);
        w->in[i] = w->wide;
    } else if (f->weights->values[node->in[i]->index].is_in_file) {
        const struct qx_tensor *t = qx_model_tensor(f->net->model, node->in[i]->tensor);
        qx_tensor_read(t, 0, t->numel, w->wide, NULL);
        w->in[i] = w->wide;
    }
}

static bool is_tapped(const struct qx_forward *f, const struct qx_node *node)
{
    return f->mode == QX_FORWARD_TAP &&
           (f->tap_layer < 0 ? qx_node_is_tapped(node) : qx_node_feeds(f->net, node, f->tap_layer));
}

static enum qx_status run_float(const struct qx_forward *f, struct qx_worker *w, int at,
                                struct qx_tile *t, struct qx_error *err)
{
    const struct qx_node *node = f->net->nodes[at];
    for (int i = 0; i < node->n_in; i++) {
        w->in[i] = NULL;
        if (node->in[i]) {
            w->in[i] = input_at(f, w, t, node->in[i]->index);
            w->shape[i] = qx_shape_fill(&node->in[i]->shape, &t->extent);
        }
    }
    const struct qx_op *op = node->op;
    if (is_tapped(f, node)) {
        qx_node_begins(node, &t->extent, w->begin);
        f->tap(f->tap_arg,
               &(struct qx_net_seen){f->net->layer_of_tensor[node->in[1]->tensor],
                                     (int)(w - f->workers), t->index, w->in[0], w->begin, t->rows});
    } else if (!t->is_program && f->weights->has_act && qx_node_act(f->weights, node)) {
        fake_input(f, w, node, t);
    }
    decode_weight(f, w, node, t->is_program);
    const int weight = op->reads_rows ? node->in[op->weight]->index : -1;
    const struct table table = {f->weights->exec, weight};
    const bool is_table = t->is_program && weight >= 0 && qx_exec_has_table(table.exec, weight);
    const bool is_stored = !is_table && weight >= 0 && f->weights->values[weight].is_in_file;
    const struct qx_run run = {
        .node = node,
        .in = w->in,
        .in_shape = w->shape,
        .out = value_at(f, w, t, node->out->index),
        .out_shape = qx_shape_fill(&node->out->shape, &t->extent),
        .scratch = w->space + f->layout->scratch,
        .first_row = t->first,
        .rows = t->rows,
        .start = t->extent.start,
        .past = t->past,
        .row = is_table    ? table_row
               : is_stored ? stored_row
                           : NULL,
        .table = is_stored
                     ? (const void *)qx_model_tensor(f->net->model, f->net->values[weight]->tensor)
                     : &table,
        .is_alone = f->is_alone,
        .pool = f->pool,
        .kv = t->kv && t->kv[at].k ? &t->kv[at] : NULL};
    enum qx_status st = op->forward(&run, err);
    if (st != QX_OK) {
        qx_error_context(err, "node '%.100s' (%s)", node->name, op->name);
    }
    const struct qx_overlay *o = st == QX_OK ? overlay_of(f, node) : NULL;
    if (o && o->bias) {
        bias_add(o, node, qx_shape_count(&node->out->shape, &t->extent), run.out);
    }
    return st;
}

static struct qx_qrun linear_of(const struct qx_forward *f, struct qx_worker *w, int i,
                                const struct qx_tile *t)
{
    const struct qx_exec *e = f->weights->exec;
    const int in = f->net->nodes[i]->in[0]->index, out = e->nodes[i].out;
    return (struct qx_qrun){.q = e->nodes[i].linear,
                            .in_value = &e->values[in],
                            .out_value = &e->values[out],
                            .in = input_at(f, w, t, in),
                            .out = value_at(f, w, t, out),
                            .rows = t->rows,
                            .start = t->extent.start,
                            .scratch = w->product,
                            .kept = &w->kept,
                            .pool = f->pool};
}

static void run_linear(const struct qx_forward *f, struct qx_worker *w, int i, struct qx_tile *t)
{
    struct qx_qrun r = linear_of(f, w, i, t);
    const bool is_recorded = t->record && r.q->act.bits > 0;
    r.record = is_recorded ? t->record : NULL;
    qx_qlinear_run(&r);
    w->report.n_nonfinite += r.n_nonfinite;
    if (is_recorded) {
        t->record += qx_shape_count(&f->net->nodes[i]->in[0]->shape, &t->extent);
    }
}

/* The product of node i with those that follow it before `end` and read the same input, in one loop of the pool:
 * queries, keys and values. The plan gives their results places of their own, since nothing that one of them
 * reads is free before the last has run. Returns how many nodes have run; 0: node i is alone. */
static int run_together(const struct qx_forward *f, struct qx_worker *w, int i, int end,
                        const struct qx_tile *t)
{
    const struct qx_exec *e = f->weights->exec;
    struct qx_qrun r[QXK_TOGETHER];
    int n = 0;
    while (n < QXK_TOGETHER && i + n < end && e->nodes[i + n].kind == QX_EXEC_LINEAR) {
        r[n] = linear_of(f, w, i + n, t);
        if (!qx_qfloat_goes_with(r, r + n)) {
            break;
        }
        n++;
    }
    if (n < 2) {
        return 0;
    }
    qx_qfloat_run(r, n);
    return n;
}

static void run_norm(const struct qx_forward *f, struct qx_worker *w, int i,
                     const struct qx_tile *t)
{
    const struct qx_exec_node *e = &f->weights->exec->nodes[i];
    const struct qx_node *node = f->net->nodes[i];
    const struct qx_node *first = e->sum ? e->sum : node;
    const struct qx_shape *s = &node->out->shape;
    const int64_t n = s->dim[s->rank - 1];
    qx_norm_run(&(struct qx_norm_run){
        .exec = e,
        .node = node,
        .x = input_at(f, w, t, first->in[0]->index),
        .other = e->sum ? input_at(f, w, t, first->in[1]->index) : NULL,
        .gamma = input_at(f, w, t, node->in[1]->index),
        .beta = node->n_in > 2 && node->in[2] ? input_at(f, w, t, node->in[2]->index) : NULL,
        .out = value_at(f, w, t, node->out->index),
        .m = qx_shape_count(s, &t->extent) / n,
        .n = n,
        .kept = &w->kept});
}

static enum qx_status run_node(const struct qx_forward *f, struct qx_worker *w, int i,
                               struct qx_tile *t, struct qx_error *err)
{
    const struct qx_node *node = f->net->nodes[i];
    const struct qx_exec *e = f->weights->exec;
    const enum qx_exec_kind kind = t->is_program       ? e->nodes[i].kind
                                   : node->op->is_view ? QX_EXEC_NONE
                                                       : QX_EXEC_FLOAT;
    if (kind == QX_EXEC_FLOAT) {
        return run_float(f, w, i, t, err);
    }
    if (kind == QX_EXEC_LINEAR) {
        run_linear(f, w, i, t);
        return QX_OK;
    }
    if (kind == QX_EXEC_NORM) {
        run_norm(f, w, i, t);
        return QX_OK;
    }
    if (kind == QX_EXEC_NONE) {
        return QX_OK;
    }
    const float *in = input_at(f, w, t, node->in[0]->index);
    float *out = value_at(f, w, t, node->out->index);
    if (kind == QX_EXEC_CODES) {
        qx_codes_run(node, &e->values[node->in[0]->index], (const uint8_t *)in, t->rows,
                     (uint8_t *)out);
    } else {
        qx_last_run(node, in, t->rows, out);
    }
    return QX_OK;
}

/* Nodes before `end` have run. Those of a second pass over the tile count no more. */
static void tell(const struct qx_forward *f, struct qx_tile *t, int end)
{
    const int64_t steps = t->steps * end / f->net->n_nodes;
    if (steps > t->told) {
        qx_ctl_add(f->ctl, steps - t->told);
        t->told = steps;
    }
}

enum qx_status qx_pass_nodes(const struct qx_forward *f, struct qx_worker *w, struct qx_tile *t,
                             int first, int end, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    w->kept.value = -1;
    for (int i = first; st == QX_OK && i < end; tell(f, t, i)) {
        if (qx_cancel_test(f->ctl)) {
            return qx_fail(err, QX_ECANCELLED, "the measurement was cancelled");
        }
        const int n = t->is_program ? run_together(f, w, i, end, t) : 0;
        st = n > 0 ? QX_OK : run_node(f, w, i, t, err);
        i += n > 0 ? n : 1;
    }
    return st;
}

const float *qx_pass_logits(const struct qx_forward *f, const struct qx_worker *w,
                            const struct qx_tile *t)
{
    return input_at(f, w, t, f->net->output->index);
}

float *qx_pass_value(const struct qx_forward *f, const struct qx_worker *w, const struct qx_tile *t,
                     int value)
{
    return value_at(f, w, t, value);
}
