/* The passes that others ask for: outputs, comparison of the engines, inputs of layers, from and to a cut. */
#include "forward.h"

#include "base/error.h"
#include "base/mem.h"

enum qx_status qx_net_run(const struct qx_net *net, const struct qx_weights *w, const float *x,
                          int64_t n, float *logits, struct qx_net_report *report,
                          struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_forward f = {.net = net,
                           .weights = w,
                           .mode = QX_FORWARD_RUN,
                           .x = x,
                           .logits = logits,
                           .n = n,
                           .ctl = ctl};
    return qx_forward_run(&f, report, pool, err);
}

enum qx_status qx_net_forward(const struct qx_net *net, const struct qx_weights *w, const float *x,
                              int64_t n, float *logits, struct qx_pool *pool, struct qx_ctl *ctl,
                              struct qx_error *err)
{
    return qx_net_run(net, w, x, n, logits, NULL, pool, ctl, err);
}

enum qx_status qx_net_run_places(const struct qx_net *net, const struct qx_weights *w,
                                 const float *x, int64_t n, qx_net_places_fn *places, void *arg,
                                 struct qx_net_report *report, struct qx_pool *pool,
                                 struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_forward f = {.net = net,
                           .weights = w,
                           .mode = QX_FORWARD_RUN,
                           .x = x,
                           .places = places,
                           .places_arg = arg,
                           .n = n,
                           .ctl = ctl};
    if (!net->output->shape.is_ragged) {
        return qx_fail(err, QX_EUNSUPPORTED, "the network gives one output for each row");
    }
    return qx_forward_run(&f, report, pool, err);
}

enum qx_status qx_net_compare(const struct qx_net *net, const struct qx_weights *w, const float *x,
                              int64_t n, struct qx_net_report *report, struct qx_pool *pool,
                              struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_forward f = {
        .net = net, .weights = w, .mode = QX_FORWARD_COMPARE, .x = x, .n = n, .ctl = ctl};
    if (w->engine != QX_ENGINE_INTEGER) {
        return qx_fail(err, QX_EUNSUPPORTED, "the network is not prepared for the integer engine");
    }
    return qx_forward_run(&f, report, pool, err);
}

/* Behind the last node that reads the layer's weight. */
static int tap_end(const struct qx_net *net, int layer)
{
    int end = net->n_nodes;
    while (layer >= 0 && end > 0 && !qx_node_feeds(net, net->nodes[end - 1], layer)) {
        end--;
    }
    return end;
}

enum qx_status qx_net_tap(const struct qx_net *net, const struct qx_weights *w, const float *x,
                          int64_t n, int layer, qx_net_tap_fn *tap, void *arg, struct qx_pool *pool,
                          struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_forward f = {.net = net,
                           .weights = w,
                           .mode = QX_FORWARD_TAP,
                           .tap_layer = layer,
                           .tap_end = tap_end(net, layer),
                           .tap = tap,
                           .tap_arg = arg,
                           .x = x,
                           .n = n,
                           .ctl = ctl};
    if (w->is_slim) {
        return qx_fail(err, QX_EUNSUPPORTED, "the weights are packed: prepare them for simulation");
    }
    return qx_forward_run(&f, NULL, pool, err);
}

enum qx_status qx_net_cut_new(const struct qx_net *net, const struct qx_weights *w, int layer,
                              const float *x, int64_t n, const struct qx_net_cut *from,
                              struct qx_net_cut **out, struct qx_pool *pool, struct qx_ctl *ctl,
                              struct qx_error *err)
{
    if (!qx_net_layer(net, layer)) {
        return qx_fail(err, QX_ERANGE, "there is no layer %d", layer);
    }
    const int node = qx_cut_node(net, layer);
    if (from && from->node > node) {
        return qx_fail(err, QX_ERANGE, "the kept values lie behind layer '%.100s'",
                       net->layers[layer].name);
    }
    struct qx_net_cut *cut = qx_mem_zalloc(sizeof *cut);
    if (!cut) {
        return qx_fail_nomem(err, sizeof *cut);
    }
    struct qx_forward f = {.net = net,
                           .weights = w,
                           .mode = QX_FORWARD_RUN,
                           .x = from ? qx_cut_input(from) : x,
                           .n = from ? from->n : n,
                           .from = from,
                           .to = cut,
                           .ctl = ctl};
    enum qx_status st = from ? qx_cut_check(from, w, err) : QX_OK;
    if (st == QX_OK) {
        st = qx_cut_layout(net, w, node, f.n, cut, err);
    }
    if (st == QX_OK) {
        cut->data = qx_mem_aligned(cut->bytes ? cut->bytes : 64);
        st = cut->data ? qx_forward_run(&f, NULL, pool, err) : qx_fail_nomem(err, cut->bytes);
    }
    if (st != QX_OK) {
        qx_net_cut_free(cut);
        return st;
    }
    *out = cut;
    return QX_OK;
}

void qx_net_cut_free(struct qx_net_cut *cut)
{
    if (cut) {
        qx_cut_release(cut);
        qx_mem_free(cut);
    }
}

int64_t qx_net_cut_rows(const struct qx_net_cut *cut)
{
    return cut->n;
}

enum qx_status qx_net_cut_bytes(const struct qx_net *net, const struct qx_weights *w, int layer,
                                int64_t n, uint64_t *out, struct qx_error *err)
{
    struct qx_net_cut cut;
    if (!qx_net_layer(net, layer)) {
        return qx_fail(err, QX_ERANGE, "there is no layer %d", layer);
    }
    enum qx_status st = qx_cut_layout(net, w, qx_cut_node(net, layer), n, &cut, err);
    if (st == QX_OK) {
        *out = cut.bytes;
        qx_cut_release(&cut);
    }
    return st;
}

enum qx_status qx_net_run_from(const struct qx_net *net, const struct qx_weights *w,
                               const struct qx_net_cut *cut, float *logits,
                               struct qx_net_report *report, struct qx_pool *pool,
                               struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_forward f = {.net = net,
                           .weights = w,
                           .mode = QX_FORWARD_RUN,
                           .x = qx_cut_input(cut),
                           .logits = logits,
                           .n = cut->n,
                           .from = cut,
                           .ctl = ctl};
    enum qx_status st = qx_cut_check(cut, w, err);
    return st == QX_OK ? qx_forward_run(&f, report, pool, err) : st;
}

enum qx_status qx_net_run_places_from(const struct qx_net *net, const struct qx_weights *w,
                                      const struct qx_net_cut *cut, qx_net_places_fn *places,
                                      void *arg, struct qx_net_report *report, struct qx_pool *pool,
                                      struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_forward f = {.net = net,
                           .weights = w,
                           .mode = QX_FORWARD_RUN,
                           .x = qx_cut_input(cut),
                           .places = places,
                           .places_arg = arg,
                           .n = cut->n,
                           .from = cut,
                           .ctl = ctl};
    if (!net->output->shape.is_ragged) {
        return qx_fail(err, QX_EUNSUPPORTED, "the network gives one output for each row");
    }
    enum qx_status st = qx_cut_check(cut, w, err);
    return st == QX_OK ? qx_forward_run(&f, report, pool, err) : st;
}
