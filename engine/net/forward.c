/* The float32 forward pass: tiles of fixed size on the pool, one workspace per worker. */
#include "weights.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"

#include <string.h>

/* One worker's memory. */
struct worker {
    float *space;           /* [plan.floats] */
    const float **in;       /* [QX_NODE_INPUTS] */
    struct qx_shape *shape; /* [QX_NODE_INPUTS] */
};

struct forward {
    const struct qx_net *net;
    const struct qx_weights *weights;
    const float *x;
    float *logits;
    int64_t n;
    struct qx_ctl *ctl;
    struct worker *workers;
    /* The failure of the lowest tile: tiles are handed out in order, so it is always found. */
    atomic_int_least64_t failed_tile;
    struct {
        int64_t tile;
        enum qx_status status;
        struct qx_error error;
    } * failures; /* [workers] */
};

/* Where a value lies for the tile that starts at row `first`. */
static const float *value_at(const struct forward *f, const struct worker *w, int value,
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

static enum qx_status run_node(const struct forward *f, struct worker *w,
                               const struct qx_node *node, int64_t first, int64_t rows,
                               struct qx_error *err)
{
    for (int i = 0; i < node->n_in; i++) {
        w->in[i] = NULL;
        if (node->in[i]) {
            w->in[i] = value_at(f, w, node->in[i]->index, first);
            w->shape[i] = qx_shape_at(&node->in[i]->shape, rows);
        }
    }
    const struct qx_plan *plan = &f->net->plan;
    const struct qx_run run = {.node = node,
                               .in = w->in,
                               .in_shape = w->shape,
                               .out = w->space + plan->offset[plan->root[node->out->index]],
                               .out_shape = qx_shape_at(&node->out->shape, rows),
                               .scratch = w->space + plan->scratch,
                               .first_row = first,
                               .rows = rows};
    enum qx_status st = node->op->forward(&run, err);
    if (st != QX_OK) {
        qx_error_context(err, "node '%.100s' (%s)", node->name, node->op->name);
    }
    return st;
}

static enum qx_status run_rows(const struct forward *f, struct worker *w, int64_t first,
                               int64_t rows, struct qx_error *err)
{
    const struct qx_net *net = f->net;
    for (int i = 0; i < net->n_nodes; i++) {
        if (net->nodes[i]->op->is_view) {
            continue;
        }
        if (qx_cancel_test(f->ctl)) {
            return qx_fail(err, QX_ECANCELLED, "the measurement was cancelled");
        }
        enum qx_status st = run_node(f, w, net->nodes[i], first, rows, err);
        if (st != QX_OK) {
            return st;
        }
    }
    memcpy(f->logits + first * net->n_classes, value_at(f, w, net->output->index, first),
           (size_t)(rows * net->n_classes) * sizeof *f->logits);
    return QX_OK;
}

static void run_tile(void *arg, int64_t tile, int worker)
{
    struct forward *f = arg;
    if (atomic_load(&f->failed_tile) < tile) {
        return;
    }
    const int64_t step = f->net->plan.tile_rows, first = tile * step;
    const int64_t rows = step < f->n - first ? step : f->n - first;
    struct qx_error error = {0};
    enum qx_status st = qx_cancel_test(f->ctl)
                            ? qx_fail(&error, QX_ECANCELLED, "the measurement was cancelled")
                            : run_rows(f, &f->workers[worker], first, rows, &error);
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

static void workers_free(struct forward *f, int n)
{
    for (int i = 0; f->workers && i < n; i++) {
        qx_mem_free(f->workers[i].space);
        qx_mem_free(f->workers[i].in);
        qx_mem_free(f->workers[i].shape);
    }
    qx_mem_free(f->workers);
    qx_mem_free(f->failures);
}

static enum qx_status workers_new(struct forward *f, int n, struct qx_error *err)
{
    const size_t bytes = (size_t)f->net->plan.floats * sizeof(float);
    f->workers = qx_mem_zalloc((size_t)n * sizeof *f->workers);
    f->failures = qx_mem_zalloc((size_t)n * sizeof *f->failures);
    bool is_whole = f->workers && f->failures;
    for (int i = 0; is_whole && i < n; i++) {
        struct worker *w = &f->workers[i];
        w->space = qx_mem_aligned(bytes ? bytes : 64);
        w->in = qx_mem_array(QX_NODE_INPUTS, sizeof *w->in);
        w->shape = qx_mem_array(QX_NODE_INPUTS, sizeof *w->shape);
        is_whole = w->space && w->in && w->shape;
    }
    return is_whole ? QX_OK : qx_fail_nomem(err, bytes);
}

/* Reports the failure of the lowest tile, if any. */
static enum qx_status result_of(const struct forward *f, int n, struct qx_error *err)
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

enum qx_status qx_net_forward(const struct qx_net *net, const struct qx_weights *w, const float *x,
                              int64_t n, float *logits, struct qx_pool *pool, struct qx_ctl *ctl,
                              struct qx_error *err)
{
    if (n <= 0) {
        return QX_OK;
    }
    const int64_t n_tiles = (n + net->plan.tile_rows - 1) / net->plan.tile_rows;
    const int threads = pool ? qx_pool_threads(pool) : 1;
    struct forward f = {.net = net, .weights = w, .x = x, .logits = logits, .n = n, .ctl = ctl};
    atomic_init(&f.failed_tile, INT64_MAX);
    enum qx_status st = workers_new(&f, threads, err);
    if (st == QX_OK) {
        qx_pool_for(pool, n_tiles, run_tile, &f);
        st = result_of(&f, threads, err);
    }
    workers_free(&f, threads);
    return st;
}
