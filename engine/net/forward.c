/* The forward pass: tiles of fixed size on the pool, one workspace per worker. */
#include "forward.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"

#include <string.h>

static int class_of(const float *logits, int n)
{
    int best = 0;
    for (int c = 1; c < n; c++) {
        best = logits[c] > logits[best] ? c : best;
    }
    return best;
}

/* Logits of row r of the tile: of its last place, where every place has some. */
static const float *logits_of(const struct qx_forward *f, const struct qx_tile *t,
                              const float *logits, int64_t r)
{
    const bool is_ragged = f->net->output->shape.is_ragged;
    return logits + (is_ragged ? t->extent.start[r + 1] - 1 : r) * f->net->n_classes;
}

static void copy_logits(const struct qx_forward *f, const struct qx_tile *t, const float *logits,
                        float *out)
{
    const int n = f->net->n_classes;
    for (int64_t r = 0; r < t->rows; r++) {
        memcpy(out + r * n, logits_of(f, t, logits, r), (size_t)n * sizeof *out);
    }
}

/* Both engines, one after the other, in the same workspace. */
static enum qx_status compare_rows(const struct qx_forward *f, struct qx_worker *w,
                                   struct qx_tile *t, struct qx_error *err)
{
    const int n = f->net->n_classes;
    t->is_program = true;
    t->record = w->record;
    enum qx_status st = qx_pass_nodes(f, w, t, 0, f->net->n_nodes, err);
    if (st != QX_OK) {
        return st;
    }
    copy_logits(f, t, qx_pass_logits(f, w, t), w->other);
    t->is_program = false;
    t->record = NULL;
    t->met = w->record;
    const int64_t n_nonfinite = w->report.n_nonfinite;
    st = qx_pass_nodes(f, w, t, 0, f->net->n_nodes, err);
    w->report.n_nonfinite = n_nonfinite; /* the same values again */
    const float *logits = qx_pass_logits(f, w, t);
    for (int64_t r = 0; st == QX_OK && r < t->rows; r++) {
        w->report.n_rows_differ +=
            class_of(logits_of(f, t, logits, r), n) != class_of(w->other + r * n, n);
    }
    w->report.n_rows += t->rows;
    return st;
}

/* Logits of `count` places of the tile from `first` on, to whom they belong. */
static void give_places(const struct qx_forward *f, const struct qx_tile *tile, float *logits,
                        int64_t first, int64_t count)
{
    const int64_t n = f->net->n_classes, *start = tile->extent.start;
    for (int64_t r = 0; r < tile->rows; r++) {
        const int64_t from = start[r] > first ? start[r] : first;
        const int64_t to = start[r + 1] < first + count ? start[r + 1] : first + count;
        if (from < to && f->places) {
            f->places(f->places_arg, tile->first + r, from - start[r], to - from,
                      logits + (from - first) * n);
        }
        if (from < to && f->logits && to == start[r + 1]) {
            memcpy(f->logits + (tile->first + r) * n, logits + (to - 1 - first) * n,
                   (size_t)n * sizeof *logits);
        }
    }
}

/* Does a row end there? */
static bool has_end(const struct qx_tile *t, const int64_t *start, int64_t first, int64_t count)
{
    for (int64_t r = 1; r <= t->rows; r++) {
        if (start[r] > first && start[r] <= first + count) {
            return true;
        }
    }
    return false;
}

/* From node `first` on, some places at a time: all, or those with the rows' ends. */
static enum qx_status run_tail(const struct qx_forward *f, struct qx_worker *w,
                               const struct qx_tile *tile, int first, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    const int64_t *start = tile->extent.start, n = start[tile->rows];
    const int out = f->net->output->index;
    const int64_t step = f->layout->tail_places;
    for (int64_t at = 0; st == QX_OK && at < n; at += step) {
        const int64_t count = step < n - at ? step : n - at, both[2] = {0, count};
        struct qx_tile t = *tile;
        t.rows = 1; /* whose places these are is of no matter behind the last attention */
        t.extent = (struct qx_extent){1, both};
        t.place = at;
        if (f->places || has_end(tile, start, at, count)) {
            st = qx_pass_nodes(f, w, &t, first, f->net->n_nodes, err);
            if (st == QX_OK) {
                give_places(f, tile, qx_pass_value(f, w, &t, out), at, count);
            }
        }
    }
    return st;
}

static enum qx_status run_rows(const struct qx_forward *f, struct qx_worker *w, struct qx_tile *t,
                               struct qx_error *err)
{
    if (f->mode == QX_FORWARD_COMPARE) {
        return compare_rows(f, w, t, err);
    }
    t->is_program = f->mode == QX_FORWARD_RUN && qx_weights_exec(f->weights);
    if (f->from) {
        qx_cut_load(f->from, t->first, t->first + t->rows, f->tiles.start, f->layout, w->space);
    }
    const int first = f->from ? f->from->node : 0;
    const int all = f->to ? f->to->node : f->mode == QX_FORWARD_TAP ? f->tap_end : f->net->n_nodes;
    const int tail = f->layout->tail, end = tail < all ? tail : all;
    enum qx_status st = qx_pass_nodes(f, w, t, first, end, err);
    if (st == QX_OK && tail < all) {
        return run_tail(f, w, t, first > tail ? first : tail, err);
    }
    if (st == QX_OK && f->to) {
        qx_cut_store(f->to, t->first, t->first + t->rows, f->tiles.start, f->x, f->layout,
                     w->space);
    }
    if (st != QX_OK || f->mode == QX_FORWARD_TAP) {
        return st;
    }
    if (f->net->output->shape.is_ragged && !f->to) {
        give_places(f, t, qx_pass_value(f, w, t, f->net->output->index), 0,
                    t->extent.start[t->rows]);
    } else if (f->logits) {
        copy_logits(f, t, qx_pass_logits(f, w, t), f->logits + t->first * f->net->n_classes);
    }
    return st;
}

/* Where the sequences of the tile begin. */
static enum qx_status find_places(const struct qx_forward *f, const struct qx_worker *w,
                                  struct qx_tile *t, struct qx_error *err)
{
    t->extent = (struct qx_extent){t->rows, NULL};
    if (!f->net->has_places) {
        return QX_OK;
    }
    const int64_t most = qx_shape_numel(&f->net->input->shape, 1);
    const int64_t *start = f->tiles.start + t->first;
    for (int64_t r = 0; r <= t->rows; r++) {
        w->start[r] = start[r] - start[0];
        if (r < t->rows && f->x[(t->first + r) * most] == -1.0f) {
            return qx_fail(err, QX_EDATA, "row %lld leaves its first place out; every row needs it",
                           (long long)(t->first + r));
        }
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
    const int64_t first = f->tiles.first[tile], rows = f->tiles.first[tile + 1] - first;
    struct qx_error error = {0};
    struct qx_tile t = {.index = tile, .first = first, .rows = rows, .steps = rows * QX_ROW_STEPS};
    enum qx_status st = qx_cancel_test(f->ctl)
                            ? qx_fail(&error, QX_ECANCELLED, "the measurement was cancelled")
                            : find_places(f, &f->workers[worker], &t, &error);
    if (st == QX_OK) {
        st = run_rows(f, &f->workers[worker], &t, &error);
    }
    if (st == QX_OK) {
        qx_ctl_add(f->ctl, t.steps - t.told);
        return;
    }
    f->failures[worker].tile = tile;
    f->failures[worker].status = st;
    f->failures[worker].error = error;
    int_least64_t lowest = atomic_load(&f->failed_tile);
    while (tile < lowest && !atomic_compare_exchange_weak(&f->failed_tile, &lowest, tile)) {
    }
}

void qx_workers_free(struct qx_forward *f, int n)
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

/* The largest weight that is decoded as a whole: of those that the program keeps packed, or that stay in the file. */
static int64_t wide_floats(const struct qx_forward *f, const struct qx_exec *e)
{
    int64_t most = e ? e->wide_floats : 0;
    for (int i = 0; i < f->net->n_nodes; i++) {
        const struct qx_node *node = f->net->nodes[i];
        const struct qx_value *v = node->op->weight >= 0 ? node->in[node->op->weight] : NULL;
        if (v && v->tensor >= 0 && !node->op->reads_rows &&
            f->weights->values[v->index].is_in_file) {
            const int64_t n = qx_model_tensor(f->net->model, v->tensor)->numel;
            most = n > most ? n : most;
        }
    }
    return most;
}

/* What only quantized inputs, and weights that are packed or in the file, need. */
static bool worker_extra(const struct qx_forward *f, struct qx_worker *w)
{
    const struct qx_exec *e = f->mode == QX_FORWARD_TAP ? NULL : qx_weights_exec(f->weights);
    const bool is_faked = f->mode == QX_FORWARD_COMPARE || (f->mode == QX_FORWARD_RUN && !e);
    size_t scratch_bytes = 0, kept_bytes = 0;
    if (e) {
        qx_exec_room(e, f->layout, &scratch_bytes, &kept_bytes);
    }
    if (scratch_bytes > 0 && !(w->product = qx_mem_aligned(scratch_bytes))) {
        return false;
    }
    const int64_t wide = wide_floats(f, e);
    if (wide > 0 && !(w->wide = qx_mem_aligned((size_t)wide * sizeof *w->wide))) {
        return false;
    }
    if (kept_bytes > 0 && !(w->kept.base = qx_mem_aligned(kept_bytes))) {
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
        qx_mem_array((size_t)f->layout->room.rows, (size_t)f->net->n_classes * sizeof *w->other);
    return w->record && w->codes && w->other;
}

static void inputs_measure(struct qx_forward *f)
{
    for (int i = 0; f->weights->has_act && i < f->net->n_nodes; i++) {
        const struct qx_node *node = f->net->nodes[i];
        if (qx_node_act(f->weights, node)) {
            const int64_t n = qx_shape_room(&node->in[0]->shape, &f->layout->room);
            f->most_input = n > f->most_input ? n : f->most_input;
            f->all_inputs += n;
        }
    }
}

enum qx_status qx_workers_new(struct qx_forward *f, int n, struct qx_error *err)
{
    const size_t bytes = (size_t)f->layout->floats * sizeof(float);
    inputs_measure(f);
    f->workers = qx_mem_zalloc((size_t)n * sizeof *f->workers);
    f->failures = qx_mem_zalloc((size_t)n * sizeof *f->failures);
    bool is_whole = f->workers && f->failures;
    for (int i = 0; is_whole && i < n; i++) {
        struct qx_worker *w = &f->workers[i];
        w->space = qx_mem_aligned(bytes ? bytes : 64);
        w->in = qx_mem_array(QX_NODE_INPUTS, sizeof *w->in);
        w->shape = qx_mem_array(QX_NODE_INPUTS, sizeof *w->shape);
        w->start = qx_mem_array(2 * ((size_t)f->layout->room.rows + 1), sizeof *w->start);
        w->begin = w->start ? w->start + f->layout->room.rows + 1 : NULL;
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

/* Does a layer range its inputs over a whole row? */
static bool has_row_range(const struct qx_forward *f)
{
    for (int i = 0; i < f->net->n_nodes; i++) {
        const struct qx_act *act = qx_node_act(f->weights, f->net->nodes[i]);
        if (act && act->dynamic && act->gran != QX_ACT_TOKEN) {
            return true;
        }
    }
    return false;
}

/* As many places as a row has ids that are not -1. */
static void count_places(const struct qx_forward *f, int64_t *start)
{
    const int64_t most = qx_shape_numel(&f->net->input->shape, 1);
    start[0] = 0;
    for (int64_t r = 0; r < f->n; r++) {
        start[r + 1] = start[r] + qx_net_places(f->net, f->x + r * most);
    }
}

/* Rows of the tile that begins at `first`. */
static int64_t tile_rows(const struct qx_forward *f, int64_t first)
{
    const int64_t *start = f->tiles.start, step = f->net->plan.tile_rows;
    int64_t rows = 1;
    if (f->mode != QX_FORWARD_RUN || !start) {
        return step < f->n - first ? step : f->n - first;
    }
    while (first + rows < f->n && start[first + rows + 1] - start[first] <= QX_TILE_PLACES) {
        rows++;
    }
    return rows;
}

static void larger(int64_t *a, int64_t b)
{
    *a = b > *a ? b : *a;
}

static enum qx_status tiles_make(struct qx_forward *f, struct qx_error *err)
{
    struct qx_tiles *t = &f->tiles;
    const size_t n = (size_t)f->n + 1;
    *t = (struct qx_tiles){.first = qx_mem_array(n, sizeof *t->first)};
    t->start = f->net->has_places ? qx_mem_array(n, sizeof *t->start) : NULL;
    if (!t->first || (f->net->has_places && !t->start)) {
        return qx_fail_nomem(err, n * sizeof *t->first);
    }
    if (t->start) {
        count_places(f, t->start);
    } else {
        t->room = f->net->plan.whole.room;
    }
    t->first[0] = 0;
    for (int64_t row = 0; row < f->n; row = t->first[t->n]) {
        const int64_t end = row + tile_rows(f, row);
        t->first[++t->n] = end;
        larger(&t->room.rows, end - row);
        for (int64_t r = row; t->start && r < end; r++) {
            larger(&t->room.longest, t->start[r + 1] - t->start[r]);
        }
        larger(&t->room.places, t->start ? t->start[end] - t->start[row] : 0);
    }
    return QX_OK;
}

static void tiles_release(struct qx_tiles *t)
{
    qx_mem_free(t->first);
    qx_mem_free(t->start);
}

/* Places are run some at a time behind the last attention where nobody looks at all of them at once. */
static enum qx_status layout_of(const struct qx_forward *f, struct qx_layout *out,
                                struct qx_error *err)
{
    const struct qx_net *net = f->net;
    const int tail = net->plan.tail;
    out->room = f->tiles.room;
    out->tail = net->n_nodes;
    if (f->mode == QX_FORWARD_RUN && tail < net->n_nodes && !has_row_range(f) &&
        !(f->from && f->from->node > tail) && !(f->to && f->to->node > tail)) {
        out->tail = tail;
        out->tail_places = QX_TAIL_PLACES;
    }
    return qx_layout_make(net, out, err);
}

static void report_add(struct qx_net_report *to, const struct qx_net_report *r)
{
    to->n_nonfinite += r->n_nonfinite;
    to->n_codes += r->n_codes;
    to->n_codes_differ += r->n_codes_differ;
    to->n_rows += r->n_rows;
    to->n_rows_differ += r->n_rows_differ;
}

enum qx_status qx_forward_run(struct qx_forward *f, struct qx_net_report *report,
                              struct qx_pool *pool, struct qx_error *err)
{
    if (f->n <= 0) {
        return QX_OK;
    }
    if (f->weights->is_slim && !qx_weights_exec(f->weights)) {
        return qx_fail(err, QX_EUNSUPPORTED, "the weights are set, but not made: prepare them");
    }
    const int threads = pool ? qx_pool_threads(pool) : 1;
    struct qx_layout layout = {0};
    atomic_init(&f->failed_tile, INT64_MAX);
    enum qx_status st = tiles_make(f, err);
    if (st == QX_OK) {
        st = layout_of(f, &layout, err);
    }
    f->layout = &layout;
    if (st == QX_OK) {
        st = qx_workers_new(f, threads, err);
    }
    f->is_alone = f->tiles.n == 1;
    f->pool = f->is_alone ? pool : NULL;
    if (st == QX_OK) {
        qx_pool_for(f->is_alone ? NULL : pool, f->tiles.n, run_tile, f);
        st = result_of(f, threads, err);
    }
    for (int i = 0; st == QX_OK && report && i < threads; i++) {
        report_add(report, &f->workers[i].report);
    }
    qx_workers_free(f, threads);
    qx_layout_release(&layout);
    tiles_release(&f->tiles);
    return st;
}
