/* Decoding: one sequence that goes on, with the keys and values of its places kept. */
#include "qx/decode.h"

#include "forward.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

struct qx_decode {
    struct qx_forward forward;
    struct qx_layout layout;
    struct qx_kv *kv; /* [n_nodes] */
    float *memory;    /* keys and values, one attention behind the other */
    float *ids;       /* [sample size] those at hand, then -1 */
    int64_t context, n;
    const float *logits; /* in the workspace; NULL: none yet */
};

enum qx_status qx_decode_check(const struct qx_net *net, struct qx_error *err)
{
    if (!net->output->shape.is_ragged) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "Going on needs a language model; this network gives one answer a row.");
    }
    for (int i = 0; i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        const bool is_attention = qx_node_is(node, "Attention");
        if ((is_attention && !qx_node_attr(node, "is_causal")->i) ||
            (node->out->shape.batch >= 0 && !node->out->shape.is_ragged)) {
            return qx_fail(err, QX_EUNSUPPORTED,
                           "node '%.100s' (%s) looks at places that are yet to come", node->name,
                           node->op->name);
        }
    }
    return QX_OK;
}

int64_t qx_decode_context_max(const struct qx_net *net)
{
    return qx_net_sample_size(net);
}

static int64_t width_of(const struct qx_net *net, int i)
{
    const struct qx_node *node = net->nodes[i];
    return qx_node_is(node, "Attention") ? node->in[1]->shape.dim[1] : 0;
}

/* Floats of keys and values, each in whole cache lines. */
static size_t kv_floats(const struct qx_net *net, int64_t context)
{
    size_t n = 0;
    for (int i = 0; i < net->n_nodes; i++) {
        n += 2 * (((size_t)(width_of(net, i) * context) + 15) & ~(size_t)15);
    }
    return n;
}

static void kv_place(struct qx_decode *d)
{
    float *at = d->memory;
    for (int i = 0; i < d->forward.net->n_nodes; i++) {
        const size_t n = ((size_t)(width_of(d->forward.net, i) * d->context) + 15) & ~(size_t)15;
        if (n > 0) {
            d->kv[i] = (struct qx_kv){at, at + n};
            at += 2 * n;
        }
    }
}

static enum qx_status layout_make(const struct qx_net *net, int64_t context, struct qx_layout *out,
                                  struct qx_error *err)
{
    const int64_t piece = context < QX_TILE_PLACES ? context : QX_TILE_PLACES;
    *out =
        (struct qx_layout){.room = {1, piece, context}, .tail = net->plan.tail, .tail_places = 1};
    return qx_layout_make(net, out, err);
}

enum qx_status qx_decode_bytes(const struct qx_net *net, const struct qx_weights *w,
                               int64_t context, uint64_t *out, struct qx_error *err)
{
    struct qx_layout layout;
    const struct qx_exec *e = qx_weights_exec(w);
    size_t scratch_bytes = 0, kept_bytes = 0;
    enum qx_status st = layout_make(net, context, &layout, err);
    if (st != QX_OK) {
        return st;
    }
    if (e) {
        qx_exec_room(e, &layout, &scratch_bytes, &kept_bytes);
    }
    *out = (uint64_t)layout.floats * sizeof(float) + scratch_bytes + kept_bytes +
           (kv_floats(net, context) + (size_t)qx_net_sample_size(net)) * sizeof(float);
    qx_layout_release(&layout);
    return QX_OK;
}

enum qx_status qx_decode_open(const struct qx_net *net, const struct qx_weights *w, int64_t context,
                              struct qx_pool *pool, struct qx_decode **out, struct qx_error *err)
{
    enum qx_status st = qx_decode_check(net, err);
    if (st != QX_OK) {
        return st;
    }
    if (context < 1 || context > qx_decode_context_max(net)) {
        return qx_fail(err, QX_ERANGE, "a context of %lld places: the network takes 1 to %lld",
                       (long long)context, (long long)qx_decode_context_max(net));
    }
    struct qx_decode *d = qx_mem_zalloc(sizeof *d);
    if (!d) {
        return qx_fail_nomem(err, sizeof *d);
    }
    d->context = context;
    d->forward = (struct qx_forward){.net = net,
                                     .weights = w,
                                     .mode = QX_FORWARD_RUN,
                                     .layout = &d->layout,
                                     .n = 1,
                                     .is_alone = true,
                                     .pool = pool};
    const size_t floats = kv_floats(net, context);
    d->kv = qx_mem_zalloc((size_t)net->n_nodes * sizeof *d->kv);
    d->memory = qx_mem_aligned((floats + 16) * sizeof *d->memory);
    d->ids = qx_mem_array((size_t)qx_net_sample_size(net), sizeof *d->ids);
    st = d->kv && d->memory && d->ids ? QX_OK : qx_fail_nomem(err, floats * sizeof *d->memory);
    if (st == QX_OK) {
        st = layout_make(net, context, &d->layout, err);
    }
    if (st == QX_OK) {
        st = qx_workers_new(&d->forward, 1, err);
    }
    if (st != QX_OK) {
        qx_decode_close(&d);
        return st;
    }
    kv_place(d);
    d->forward.x = d->ids;
    *out = d;
    return QX_OK;
}

void qx_decode_close(struct qx_decode **d)
{
    if (!d || !*d) {
        return;
    }
    qx_workers_free(&(*d)->forward, 1);
    qx_layout_release(&(*d)->layout);
    qx_mem_free((*d)->kv);
    qx_mem_free((*d)->memory);
    qx_mem_free((*d)->ids);
    qx_mem_free(*d);
    *d = NULL;
}

/* Places behind `past`; the logits of the last of them when asked for. */
static enum qx_status run_piece(struct qx_decode *d, int64_t past, int64_t count, bool is_last,
                                struct qx_error *err)
{
    const struct qx_forward *f = &d->forward;
    const int64_t start[2] = {0, count}, one[2] = {0, 1};
    struct qx_tile t = {.rows = 1,
                        .extent = {1, start},
                        .past = past,
                        .kv = d->kv,
                        .is_program = qx_weights_exec(f->weights) != NULL};
    enum qx_status st = qx_pass_nodes(f, f->workers, &t, 0, d->layout.tail, err);
    if (st == QX_OK && is_last) {
        t.extent.start = one;
        t.place = count - 1;
        st = qx_pass_nodes(f, f->workers, &t, d->layout.tail, f->net->n_nodes, err);
        d->logits = st == QX_OK ? qx_pass_logits(f, f->workers, &t) : NULL;
    }
    return st;
}

enum qx_status qx_decode_feed(struct qx_decode *d, const int32_t *ids, int64_t n,
                              struct qx_ctl *ctl, struct qx_error *err)
{
    const int64_t most = qx_net_sample_size(d->forward.net), piece = d->layout.room.places;
    if (n < 1 || n > d->context - d->n) {
        return qx_fail(err, QX_ERANGE, "%lld tokens behind %lld: there is room for %lld in all",
                       (long long)n, (long long)d->n, (long long)d->context);
    }
    enum qx_status st = QX_OK;
    d->forward.ctl = ctl;
    d->logits = NULL;
    for (int64_t at = 0; st == QX_OK && at < n; at += piece) {
        const int64_t count = piece < n - at ? piece : n - at;
        for (int64_t i = 0; i < most; i++) {
            d->ids[i] = i < count ? (float)ids[at + i] : -1.0f;
        }
        for (int64_t i = 0; st == QX_OK && i < count; i++) {
            st = ids[at + i] >= 0
                     ? QX_OK
                     : qx_fail(err, QX_EDATA, "%lld is no id of a token", (long long)ids[at + i]);
        }
        if (st == QX_OK) {
            st = run_piece(d, d->n + at, count, at + count == n, err);
        }
    }
    d->forward.ctl = NULL;
    if (st == QX_OK) {
        d->n += n;
    }
    return st;
}

const float *qx_decode_logits(const struct qx_decode *d)
{
    return d->logits;
}

int64_t qx_decode_n(const struct qx_decode *d)
{
    return d->n;
}

void qx_decode_rewind(struct qx_decode *d, int64_t n)
{
    d->n = n < 0 ? 0 : n < d->n ? n : d->n;
    d->logits = NULL;
}
