/* Static calibration: the network runs in float32 twice over some rows, and the inputs of layers are
 * observed, each once however many layers read it: ranges first, then the histogram. */
#include "eval/calibration.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/rng.h"

/* Input values at once. */
#define CHUNK_FLOATS (INT64_C(1) << 21)

struct pass {
    const struct qx_net *net;
    const struct qx_calibration *c;
    struct qx_observer **observers; /* [c->n_inputs] */
    struct qx_hist_stream_work **works;
    int n_workers;
    int64_t first_tile, first_row; /* of the chunk */
    bool is_second;
};

static void tap(void *arg, const struct qx_net_seen *seen)
{
    struct pass *p = arg;
    const int input = p->c->input[seen->layer];
    if (p->c->reader[input] != seen->layer) {
        return; /* seen already */
    }
    const struct qx_observation at = {.batch = p->first_tile + seen->tile,
                                      .worker = seen->worker,
                                      .first_row =
                                          p->first_row + seen->tile * qx_net_tile_rows(p->net),
                                      .rows = seen->rows,
                                      .x = seen->x,
                                      .begin = seen->begin};
    if (p->is_second) {
        qx_observer_values(p->observers[input], &at, p->works[seen->worker]);
    } else {
        qx_observer_ranges(p->observers[input], &at);
    }
}

/* Standard normal noise, the same for every row number. */
static void noise(uint64_t seed, int64_t first, int64_t n, int64_t sample, float *x)
{
    for (int64_t r = 0; r < n; r++, x += sample) {
        struct qx_rng rng;
        qx_rng_init(&rng, seed + 0x9e3779b97f4a7c15u * (uint64_t)(first + r + 1));
        for (int64_t i = 0; i < sample; i++) {
            x[i] = (float)qx_rng_normal(&rng);
        }
    }
}

struct source {
    const struct qx_net *net;
    const struct qx_weights *weights;
    const struct qx_dataset *data; /* NULL: noise */
    int64_t n;
    uint64_t seed;
    struct qx_pool *pool;
    struct qx_ctl *ctl;
};

static enum qx_status run_pass(const struct source *s, struct pass *p, int64_t chunk, float *x,
                               struct qx_error *err)
{
    const int64_t sample = qx_net_sample_size(s->net), tile = qx_net_tile_rows(s->net);
    enum qx_status st = QX_OK;
    for (int64_t first = 0; st == QX_OK && first < s->n; first += chunk) {
        const int64_t n = chunk < s->n - first ? chunk : s->n - first;
        if (s->data) {
            st = qx_dataset_read(s->data, first, n, x, err);
        } else {
            noise(s->seed, first, n, sample, x);
        }
        p->first_tile = first / tile;
        p->first_row = first;
        if (st == QX_OK) {
            st = qx_net_tap(s->net, s->weights, x, n, -1, tap, p, s->pool, s->ctl, err);
        }
    }
    return st;
}

static enum qx_status run_both(const struct source *s, struct pass *p, struct qx_error *err)
{
    const int64_t sample = qx_net_sample_size(s->net), tile = qx_net_tile_rows(s->net);
    int64_t chunk = CHUNK_FLOATS / sample / tile * tile;
    chunk = chunk < tile ? tile : chunk;
    chunk = chunk > s->n ? s->n : chunk;
    float *x = qx_mem_array((size_t)chunk, (size_t)sample * sizeof *x);
    if (!x) {
        return qx_fail_nomem(err, (size_t)(chunk * sample) * sizeof *x);
    }
    enum qx_status st = run_pass(s, p, chunk, x, err);
    for (int i = 0; i < p->c->n_inputs; i++) {
        qx_observer_turn(p->observers[i]);
    }
    p->is_second = true;
    if (st == QX_OK) {
        st = run_pass(s, p, chunk, x, err);
    }
    qx_mem_free(x);
    return st;
}

static enum qx_status pass_new(struct pass *p, int64_t n_rows, int64_t n_tiles,
                               struct qx_error *err)
{
    enum qx_status st = QX_OK;
    p->observers = qx_mem_zalloc(((size_t)p->c->n_inputs + 1) * sizeof *p->observers);
    p->works = qx_mem_zalloc((size_t)p->n_workers * sizeof *p->works);
    if (!p->observers || !p->works) {
        return qx_fail_nomem(err, (size_t)p->c->n_inputs * sizeof *p->observers);
    }
    for (int i = 0; st == QX_OK && i < p->c->n_inputs; i++) {
        struct qx_channels layout = {0};
        qx_net_layer_input(p->net, p->c->reader[i], &layout);
        st = qx_observer_new(layout, n_rows, n_tiles, p->n_workers, &p->observers[i], err);
    }
    for (int i = 0; st == QX_OK && i < p->n_workers; i++) {
        p->works[i] = qx_hist_stream_work_new();
        st = p->works[i] ? QX_OK : qx_fail_nomem(err, (size_t)1 << 20);
    }
    return st;
}

static void works_free(struct pass *p)
{
    for (int i = 0; p->works && i < p->n_workers; i++) {
        qx_hist_stream_work_free(p->works[i]);
    }
    qx_mem_free(p->works);
    p->works = NULL;
}

static void pass_free(struct pass *p)
{
    for (int i = 0; p->observers && i < p->c->n_inputs; i++) {
        qx_observer_free(p->observers[i]);
    }
    qx_mem_free(p->observers);
    works_free(p);
}

/* What an observer held goes as soon as it is not needed. */
static enum qx_status pass_take(struct pass *p, struct qx_calibration *c, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    works_free(p);
    for (int i = 0; st == QX_OK && i < c->n_inputs; i++) {
        st = qx_observer_take(p->observers[i], &c->inputs[i], err);
        c->inputs[i].shelf = c->shelf;
        qx_observer_free(p->observers[i]);
        p->observers[i] = NULL;
    }
    return st;
}

enum qx_status qx_calibration_run(const struct qx_net *net, const struct qx_dataset *data,
                                  int64_t n_rows, uint64_t seed, struct qx_pool *pool,
                                  struct qx_ctl *ctl, struct qx_calibration **out,
                                  struct qx_error *err)
{
    struct source s = {
        .net = net, .data = data, .n = n_rows, .seed = seed, .pool = pool, .ctl = ctl};
    struct qx_weights *weights = NULL;
    struct pass p = {.net = net, .n_workers = pool ? qx_pool_threads(pool) : 1};
    if (!data && qx_net_input_is_ids(net)) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "the network takes ids, which noise cannot stand for: calibrate on a file");
    }
    if (n_rows < 1) {
        return qx_fail(err, QX_ERANGE, "calibration needs at least 1 row");
    }
    s.n = data && qx_dataset_n(data) < n_rows ? qx_dataset_n(data) : n_rows;
    const int64_t n_tiles = (s.n + qx_net_tile_rows(net) - 1) / qx_net_tile_rows(net);
    struct qx_calibration *c = qx_calibration_new(net, s.n);
    if (!c) {
        return qx_fail_nomem(err, (size_t)qx_net_n_layers(net) * sizeof *c->inputs);
    }
    p.c = c;
    enum qx_status st = qx_weights_new(net, &weights, err);
    if (st == QX_OK) {
        st = pass_new(&p, s.n, n_tiles, err);
    }
    if (st == QX_OK) {
        s.weights = weights;
        qx_ctl_total(ctl, 2 * s.n * QX_ROW_STEPS);
        st = run_both(&s, &p, err);
    }
    if (st == QX_OK) {
        st = pass_take(&p, c, err);
    }
    pass_free(&p);
    qx_weights_free(weights);
    if (st != QX_OK) {
        qx_calibration_unref(c);
        return st;
    }
    *out = c;
    return QX_OK;
}
