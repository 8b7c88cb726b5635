/* The forward pass: tiles of fixed size on the pool, one workspace per worker. */
#include "forward.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"

#include <string.h>

/* Where a value lies for the tile that starts at row `first`. */
static const float *value_at(const struct qx_forward *f, const struct qx_worker *w, int value,
                             int64_t first)
{
    const struct qx_plan *plan = &f->net->plan;
    const int root = plan->root[value];
    const struct qx_value *v = f->net->values[root];
    if (v->tensor >= 0) {
        return f->weights->values[root].data;
    }
    return v == f->net->input ? f->x + first * qx_shape_numel(&v->shape, 1)
                              : w->space + plan->offset[root];
}

/* What one pass over a tile does beside running it. */
struct tile {
    int64_t index, first, rows;
    struct qx_extent extent;
    bool is_program;    /* runs the program, else the simulation */
    uint8_t *record;    /* integer pass of a comparison: where the next codes go */
    const uint8_t *met; /* simulated pass: the codes that the other had */
};

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

/* Input 0 as the codes say; in a comparison, also how many codes are not the other engine's. */
static void fake_input(const struct qx_forward *f, struct qx_worker *w, const struct qx_node *node,
                       struct tile *t)
{
    const struct qx_act *act = qx_node_act(f->weights, node);
    const struct qx_shape *s = &node->in[0]->shape;
    const int64_t n = qx_shape_count(s, &t->extent);
    for (int64_t at = 0, row = 0, step; at < n; at += step, row++) {
        step = !act->dynamic ? n : unit_of(node, act, &t->extent, row);
        const struct qx_qparams p = qx_qinput_params(act, w->in[0] + at, step);
        const struct qxk_affine q = {p.scale, (float)p.zero, (float)p.qmin, (float)p.qmax};
        w->report.n_nonfinite +=
            qxk_get()->fakequant(w->in[0] + at, (size_t)step, &q, w->fake + at);
        if (t->met) {
            const struct qx_codes c = qx_codes_of(&p);
            const struct qxk_affine stored = {c.scale, (float)c.zero, (float)c.min, (float)c.max};
            qxk_get()->quantize(w->in[0] + at, (size_t)step, &stored, w->codes + at);
        }
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

/* A weight that waits in packed form. */
static void decode_weight(const struct qx_forward *f, struct qx_worker *w,
                          const struct qx_node *node)
{
    const int i = node->op->weight;
    const struct qx_packed *p =
        i >= 0 && node->in[i] ? f->weights->exec->packed[node->in[i]->index] : NULL;
    if (p) {
        qx_packed_rows(p, 0, p->rows, w->wide);
        w->in[i] = w->wide;
    }
}

static enum qx_status run_float(const struct qx_forward *f, struct qx_worker *w,
                                const struct qx_node *node, struct tile *t, struct qx_error *err)
{
    for (int i = 0; i < node->n_in; i++) {
        w->in[i] = NULL;
        if (node->in[i]) {
            w->in[i] = value_at(f, w, node->in[i]->index, t->first);
            w->shape[i] = qx_shape_fill(&node->in[i]->shape, &t->extent);
        }
    }
    const struct qx_plan *plan = &f->net->plan;
    const struct qx_op *op = node->op;
    if (f->mode == QX_FORWARD_TAP && qx_node_is_tapped(node)) {
        qx_node_begins(node, &t->extent, w->begin);
        f->tap(f->tap_arg,
               &(struct qx_net_seen){f->net->layer_of_tensor[node->in[1]->tensor],
                                     (int)(w - f->workers), t->index, w->in[0], w->begin, t->rows});
    } else if (!t->is_program && f->weights->has_act && qx_node_act(f->weights, node)) {
        fake_input(f, w, node, t);
    }
    if (t->is_program) {
        decode_weight(f, w, node);
    }
    const struct qx_run run = {.node = node,
                               .in = w->in,
                               .in_shape = w->shape,
                               .out = w->space + plan->offset[plan->root[node->out->index]],
                               .out_shape = qx_shape_fill(&node->out->shape, &t->extent),
                               .scratch = w->space + plan->scratch,
                               .first_row = t->first,
                               .rows = t->rows,
                               .start = t->extent.start};
    enum qx_status st = op->forward(&run, err);
    if (st != QX_OK) {
        qx_error_context(err, "node '%.100s' (%s)", node->name, op->name);
    }
    return st;
}

static void run_linear(const struct qx_forward *f, struct qx_worker *w, int i, struct tile *t)
{
    const struct qx_exec *e = f->weights->exec;
    const struct qx_node *node = f->net->nodes[i];
    const struct qx_plan *plan = &f->net->plan;
    const int in = node->in[0]->index, out = e->nodes[i].out;
    struct qx_qrun r = {.q = e->nodes[i].linear,
                        .in_value = &e->values[in],
                        .out_value = &e->values[out],
                        .in = value_at(f, w, in, t->first),
                        .out = w->space + plan->offset[plan->root[out]],
                        .rows = t->rows,
                        .start = t->extent.start,
                        .scratch = w->product,
                        .kept = &w->kept};
    const bool is_recorded = t->record && r.q->act.bits > 0;
    r.record = is_recorded ? t->record : NULL;
    qx_qlinear_run(&r);
    w->report.n_nonfinite += r.n_nonfinite;
    if (is_recorded) {
        t->record += qx_shape_count(&node->in[0]->shape, &t->extent);
    }
}

static void run_norm(const struct qx_forward *f, struct qx_worker *w, int i, const struct tile *t)
{
    const struct qx_exec_node *e = &f->weights->exec->nodes[i];
    const struct qx_node *node = f->net->nodes[i];
    const struct qx_node *first = e->sum ? e->sum : node;
    const struct qx_shape *s = &node->out->shape;
    const int64_t n = s->dim[s->rank - 1];
    qx_norm_run(&(struct qx_norm_run){
        .exec = e,
        .node = node,
        .x = value_at(f, w, first->in[0]->index, t->first),
        .other = e->sum ? value_at(f, w, first->in[1]->index, t->first) : NULL,
        .gamma = value_at(f, w, node->in[1]->index, t->first),
        .beta = node->n_in > 2 && node->in[2] ? value_at(f, w, node->in[2]->index, t->first) : NULL,
        .out = w->space + f->net->plan.offset[f->net->plan.root[node->out->index]],
        .m = qx_shape_count(s, &t->extent) / n,
        .n = n,
        .kept = &w->kept});
}

static enum qx_status run_node(const struct qx_forward *f, struct qx_worker *w, int i,
                               struct tile *t, struct qx_error *err)
{
    const struct qx_node *node = f->net->nodes[i];
    const struct qx_exec *e = f->weights->exec;
    const enum qx_exec_kind kind = t->is_program       ? e->nodes[i].kind
                                   : node->op->is_view ? QX_EXEC_NONE
                                                       : QX_EXEC_FLOAT;
    if (kind == QX_EXEC_FLOAT) {
        return run_float(f, w, node, t, err);
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
    const float *in = value_at(f, w, node->in[0]->index, t->first);
    float *out = w->space + f->net->plan.offset[f->net->plan.root[node->out->index]];
    if (kind == QX_EXEC_CODES) {
        qx_codes_run(node, &e->values[node->in[0]->index], (const uint8_t *)in, t->rows,
                     (uint8_t *)out);
    } else {
        qx_last_run(node, in, t->rows, out);
    }
    return QX_OK;
}

/* Logits of the tile: borrowed from the workspace. */
static enum qx_status run_pass(const struct qx_forward *f, struct qx_worker *w, struct tile *t,
                               const float **logits, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    w->kept.value = -1;
    const int end = f->to ? f->to->node : f->net->n_nodes;
    for (int i = f->from ? f->from->node : 0; st == QX_OK && i < end; i++) {
        st = qx_cancel_test(f->ctl) ? qx_fail(err, QX_ECANCELLED, "the measurement was cancelled")
                                    : run_node(f, w, i, t, err);
    }
    *logits = st == QX_OK ? value_at(f, w, f->net->output->index, t->first) : NULL;
    return st;
}

static int class_of(const float *logits, int n)
{
    int best = 0;
    for (int c = 1; c < n; c++) {
        best = logits[c] > logits[best] ? c : best;
    }
    return best;
}

/* Logits of row r of the tile: of its last place, where every place has some. */
static const float *logits_of(const struct qx_forward *f, const struct tile *t, const float *logits,
                              int64_t r)
{
    const bool is_ragged = f->net->output->shape.is_ragged;
    return logits + (is_ragged ? t->extent.start[r + 1] - 1 : r) * f->net->n_classes;
}

static void copy_logits(const struct qx_forward *f, const struct tile *t, const float *logits,
                        float *out)
{
    const int n = f->net->n_classes;
    for (int64_t r = 0; r < t->rows; r++) {
        memcpy(out + r * n, logits_of(f, t, logits, r), (size_t)n * sizeof *out);
    }
}

/* Both engines, one after the other, in the same workspace. */
static enum qx_status compare_rows(const struct qx_forward *f, struct qx_worker *w, struct tile *t,
                                   struct qx_error *err)
{
    const int n = f->net->n_classes;
    const float *logits;
    t->is_program = true;
    t->record = w->record;
    enum qx_status st = run_pass(f, w, t, &logits, err);
    if (st != QX_OK) {
        return st;
    }
    copy_logits(f, t, logits, w->other);
    t->is_program = false;
    t->record = NULL;
    t->met = w->record;
    const int64_t n_nonfinite = w->report.n_nonfinite;
    st = run_pass(f, w, t, &logits, err);
    w->report.n_nonfinite = n_nonfinite; /* the same values again */
    for (int64_t r = 0; st == QX_OK && r < t->rows; r++) {
        w->report.n_rows_differ +=
            class_of(logits_of(f, t, logits, r), n) != class_of(w->other + r * n, n);
    }
    w->report.n_rows += t->rows;
    return st;
}

static enum qx_status run_rows(const struct qx_forward *f, struct qx_worker *w, struct tile *t,
                               struct qx_error *err)
{
    const float *logits;
    if (f->mode == QX_FORWARD_COMPARE) {
        return compare_rows(f, w, t, err);
    }
    t->is_program = f->mode == QX_FORWARD_RUN && qx_weights_exec(f->weights);
    if (f->from) {
        qx_cut_load(f->from, t->first, t->rows, w->space);
    }
    enum qx_status st = run_pass(f, w, t, &logits, err);
    if (st == QX_OK && f->to) {
        qx_cut_store(f->to, t->first, t->rows, f->x, w->space);
    }
    if (st == QX_OK && f->logits) {
        copy_logits(f, t, logits, f->logits + t->first * f->net->n_classes);
    }
    if (st == QX_OK && f->places) {
        f->places(f->places_arg, t->first, t->rows, t->extent.start,
                  w->space + f->net->plan.offset[f->net->plan.root[f->net->output->index]]);
    }
    return st;
}

/* Where the sequences of the tile begin: as many places as the row has ids that are not -1. */
static enum qx_status find_places(const struct qx_forward *f, const struct qx_worker *w,
                                  struct tile *t, struct qx_error *err)
{
    t->extent = (struct qx_extent){t->rows, NULL};
    if (!f->net->has_places) {
        return QX_OK;
    }
    const int64_t most = qx_shape_numel(&f->net->input->shape, 1);
    const float *ids = f->x + t->first * most;
    w->start[0] = 0;
    for (int64_t r = 0; r < t->rows; r++, ids += most) {
        int64_t n = 0;
        for (int64_t i = 0; i < most; i++) {
            n += ids[i] != -1.0f;
        }
        if (ids[0] == -1.0f) {
            return qx_fail(err, QX_EDATA, "row %lld leaves its first place out; every row needs it",
                           (long long)(t->first + r));
        }
        w->start[r + 1] = w->start[r] + n;
    }
    t->extent.start = w->start;
    return QX_OK;
}

static void run_tile(void *arg, int64_t tile, int worker)
{
    struct qx_forward *f = arg;
    if (atomic_load(&f->failed_tile) < tile) {
        return;
    }
    const int64_t step = f->net->plan.tile_rows, first = tile * step;
    const int64_t rows = step < f->n - first ? step : f->n - first;
    struct qx_error error = {0};
    struct tile t = {.index = tile, .first = first, .rows = rows};
    enum qx_status st = qx_cancel_test(f->ctl)
                            ? qx_fail(&error, QX_ECANCELLED, "the measurement was cancelled")
                            : find_places(f, &f->workers[worker], &t, &error);
    if (st == QX_OK) {
        st = run_rows(f, &f->workers[worker], &t, &error);
    }
    if (st == QX_OK) {
        qx_ctl_add(f->ctl, rows);
        return;
    }
    f->failures[worker].tile = tile;
    f->failures[worker].status = st;
    f->failures[worker].error = error;
    int_least64_t lowest = atomic_load(&f->failed_tile);
    while (tile < lowest && !atomic_compare_exchange_weak(&f->failed_tile, &lowest, tile)) {
    }
}

static void workers_free(struct qx_forward *f, int n)
{
    for (int i = 0; f->workers && i < n; i++) {
        qx_mem_free(f->workers[i].space);
        qx_mem_free(f->workers[i].product);
        qx_mem_free(f->workers[i].wide);
        qx_mem_free(f->workers[i].kept.base);
        qx_mem_free(f->workers[i].fake);
        qx_mem_free(f->workers[i].record);
        qx_mem_free(f->workers[i].codes);
        qx_mem_free(f->workers[i].other);
        qx_mem_free(f->workers[i].start);
        qx_mem_free(f->workers[i].in);
        qx_mem_free(f->workers[i].shape);
    }
    qx_mem_free(f->workers);
    qx_mem_free(f->failures);
}

/* What only quantized inputs and packed weights need. */
static bool worker_extra(const struct qx_forward *f, struct qx_worker *w)
{
    const struct qx_exec *e = f->mode == QX_FORWARD_TAP ? NULL : qx_weights_exec(f->weights);
    const bool is_faked = f->mode == QX_FORWARD_COMPARE || (f->mode == QX_FORWARD_RUN && !e);
    if (e && e->scratch_bytes > 0 && !(w->product = qx_mem_aligned(e->scratch_bytes))) {
        return false;
    }
    if (e && e->wide_floats > 0 &&
        !(w->wide = qx_mem_aligned((size_t)e->wide_floats * sizeof *w->wide))) {
        return false;
    }
    if (e && e->kept_bytes > 0 && !(w->kept.base = qx_mem_aligned(e->kept_bytes))) {
        return false;
    }
    if (is_faked && f->most_input > 0 &&
        !(w->fake = qx_mem_array((size_t)f->most_input, sizeof *w->fake))) {
        return false;
    }
    if (f->mode != QX_FORWARD_COMPARE) {
        return true;
    }
    w->record = qx_mem_array((size_t)f->all_inputs + 1, 1);
    w->codes = qx_mem_array((size_t)f->most_input + 1, 1);
    w->other =
        qx_mem_array((size_t)f->net->plan.tile_rows, (size_t)f->net->n_classes * sizeof *w->other);
    return w->record && w->codes && w->other;
}

static void inputs_measure(struct qx_forward *f)
{
    for (int i = 0; f->weights->has_act && i < f->net->n_nodes; i++) {
        const struct qx_node *node = f->net->nodes[i];
        if (qx_node_act(f->weights, node)) {
            const int64_t n = qx_shape_numel(&node->in[0]->shape, f->net->plan.tile_rows);
            f->most_input = n > f->most_input ? n : f->most_input;
            f->all_inputs += n;
        }
    }
}

static enum qx_status workers_new(struct qx_forward *f, int n, struct qx_error *err)
{
    const size_t bytes = (size_t)f->net->plan.floats * sizeof(float);
    inputs_measure(f);
    f->workers = qx_mem_zalloc((size_t)n * sizeof *f->workers);
    f->failures = qx_mem_zalloc((size_t)n * sizeof *f->failures);
    bool is_whole = f->workers && f->failures;
    for (int i = 0; is_whole && i < n; i++) {
        struct qx_worker *w = &f->workers[i];
        w->space = qx_mem_aligned(bytes ? bytes : 64);
        w->in = qx_mem_array(QX_NODE_INPUTS, sizeof *w->in);
        w->shape = qx_mem_array(QX_NODE_INPUTS, sizeof *w->shape);
        w->start = qx_mem_array(2 * ((size_t)f->net->plan.tile_rows + 1), sizeof *w->start);
        w->begin = w->start ? w->start + f->net->plan.tile_rows + 1 : NULL;
        is_whole = w->space && w->in && w->shape && w->start && worker_extra(f, w);
    }
    return is_whole ? QX_OK : qx_fail_nomem(err, bytes);
}

/* Reports the failure of the lowest tile, if any. */
static enum qx_status result_of(const struct qx_forward *f, int n, struct qx_error *err)
{
    const int64_t lowest = atomic_load(&f->failed_tile);
    for (int i = 0; i < n; i++) {
        if (f->failures[i].status != QX_OK && f->failures[i].tile == lowest) {
            if (err) {
                *err = f->failures[i].error;
            }
            return f->failures[i].status;
        }
    }
    return QX_OK;
}

enum qx_status qx_forward_run(struct qx_forward *f, struct qx_net_report *report,
                              struct qx_pool *pool, struct qx_error *err)
{
    if (f->n <= 0) {
        return QX_OK;
    }
    const int64_t n_tiles = (f->n + f->net->plan.tile_rows - 1) / f->net->plan.tile_rows;
    const int threads = pool ? qx_pool_threads(pool) : 1;
    atomic_init(&f->failed_tile, INT64_MAX);
    enum qx_status st = workers_new(f, threads, err);
    if (st == QX_OK) {
        qx_pool_for(pool, n_tiles, run_tile, f);
        st = result_of(f, threads, err);
    }
    for (int i = 0; st == QX_OK && report && i < threads; i++) {
        const struct qx_net_report *r = &f->workers[i].report;
        report->n_nonfinite += r->n_nonfinite;
        report->n_codes += r->n_codes;
        report->n_codes_differ += r->n_codes_differ;
        report->n_rows += r->n_rows;
        report->n_rows_differ += r->n_rows_differ;
    }
    workers_free(f, threads);
    return st;
}
