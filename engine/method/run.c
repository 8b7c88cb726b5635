/* The methods of one layer, and of a network from its first layer to its last. */
#include "method/equal.h"
#include "method/work.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <math.h>
#include <string.h>

/* Raised when a method chooses otherwise than before: what is kept on disk is made again. */
enum { REVISION = 4 };

static void product_of(const struct qx_net *net, int layer, struct qx_method_work *w)
{
    struct qx_net_product p;
    w->channels = qx_net_layer(net, layer)->channels;
    w->groups = w->taps = 1;
    w->n = w->channels.count;
    if (qx_net_layer_product(net, layer, &p)) {
        w->groups = p.groups;
        w->n = p.n;
        w->taps = p.taps;
    }
}

/* One layer; equal: NULL where none of its methods looks at neighbours. */

/* What calibration saw of its inputs: all of it, and in two parts (NULL: not asked for). */
struct seen {
    struct qx_moments *all, *fit, *held;
    int64_t n_held;
};

static enum qx_status apply(const struct qx_net *net, int layer, const struct qx_setting *set,
                            const struct seen *seen, struct qx_equalizer *equal, double *alphas,
                            struct qx_pool *pool, struct qx_ctl *ctl, struct qx_overlay **out,
                            struct qx_error *err)
{
    const struct qx_setting *s = &set[layer];
    const struct qx_tensor *t =
        qx_model_tensor(qx_net_model(net), qx_net_layer(net, layer)->tensor);
    struct qx_method_work w = {.set = s,
                               .m = seen ? seen->all : NULL,
                               .fit = seen ? seen->fit : NULL,
                               .held = seen ? seen->held : NULL,
                               .n_held = seen ? seen->n_held : 0,
                               .equal = equal,
                               .all = set,
                               .alphas = alphas,
                               .pool = pool,
                               .ctl = ctl};
    struct qx_overlay *o = NULL;
    double before = (double)NAN, after = (double)NAN;
    struct qx_algo algo;
    struct qx_method_target target = {.net = net, .layer = layer, .set = s};
    target.has_product = qx_net_layer_product(net, layer, &target.product);
    w.target = &target;
    product_of(net, layer, &w);
    enum qx_status st = qx_algo_check(net, layer, t->name, s, err);
    if (st == QX_OK) {
        st = qx_algo_parse(s->algo, &algo, NULL, err);
    }
    if (st == QX_OK) {
        st = qx_work_open(&w, t, err);
    }
    if (st == QX_OK) {
        st = qx_work_error(&w, &before, err);
    }
    for (int i = 0; st == QX_OK && i < algo.n; i++) {
        st = qx_cancel_test(ctl) ? qx_fail(err, QX_ECANCELLED, "the method was cancelled")
                                 : algo.v[i].method->run(&w, algo.v[i].param, err);
    }
    if (st == QX_OK) {
        st = qx_work_error(&w, &after, err);
    }
    if (st == QX_OK) {
        st = qx_work_take(&w, t, &o, err);
    }
    qx_work_release(&w);
    if (st != QX_OK) {
        return st;
    }
    for (int i = 0; i < algo.n; i++) {
        if (algo.v[i].method->heeds_act) {
            o->act_bits = s->act.bits;
            o->act_sym = s->act.sym;
        }
    }
    o->before = before;
    o->after = after;
    *out = o;
    return QX_OK;
}

enum qx_status qx_methods_apply(const struct qx_net *net, int layer, const struct qx_setting *set,
                                const struct qx_moments *moments, struct qx_pool *pool,
                                struct qx_ctl *ctl, struct qx_overlay **out, struct qx_error *err)
{
    struct qx_equalizer *equal = NULL;
    enum qx_status st =
        qx_setting_names(&set[layer], "cle") ? qx_equalizer_new(net, set, ctl, &equal, err) : QX_OK;
    if (st == QX_OK) {
        const struct seen seen = {.all = (struct qx_moments *)moments};
        st = apply(net, layer, set, moments ? &seen : NULL, equal, NULL, pool, ctl, out, err);
    }
    qx_equalizer_free(equal);
    return st;
}

/* ---- a network ---- */

struct sequence {
    const struct qx_methods_run *run;
    struct qx_setting *set;
    struct qx_pool *pool;
    struct qx_ctl *ctl;
    struct qx_weights *weights; /* as the layers before are; NULL until inputs are needed */
    struct seen seen;           /* of the last layer looked at */
    struct qx_equalizer *equal; /* NULL until a layer needs it */
    double *alphas;             /* [n_layers] */
    int n_layers;
};

/* One of so many rows is kept apart, if there are so many. */
enum { HELD = 5 };

/* What the weights of a layer are: its inputs are shown as they are before they are quantized. */
static struct qx_setting weights_only(const struct qx_setting *s)
{
    struct qx_setting plain = *s;
    plain.act = (struct qx_act){0};
    return plain;
}

/* Layers before this one quantized, the others as stored. */
static enum qx_status weights_set(struct sequence *q, int layer, struct qx_error *err)
{
    const struct qx_setting fp32 = qx_setting_fp32();
    enum qx_status st = q->weights ? QX_OK : qx_weights_new(q->run->net, &q->weights, err);
    for (int i = 0; st == QX_OK && i < q->n_layers; i++) {
        const struct qx_setting s = i < layer ? weights_only(&q->set[i]) : fp32;
        struct qx_ctl quiet = {.parent = q->ctl, .is_quiet = true};
        st = qx_weights_apply(q->weights, i, &s, q->pool, &quiet, err);
    }
    return st;
}

static void seen_drop(struct sequence *q)
{
    qx_moments_free(q->seen.all);
    qx_moments_free(q->seen.fit);
    qx_moments_free(q->seen.held);
    q->seen = (struct seen){0};
}

static enum qx_status rows_see(struct sequence *q, int layer, int64_t first, int64_t n,
                               struct qx_moments **out, struct qx_error *err)
{
    struct qx_ctl quiet = {.parent = q->ctl, .is_quiet = true};
    const enum qx_status st = weights_set(q, layer, err);
    return st == QX_OK ? qx_moments_run(q->run->net, q->weights, q->run->data, first, n, layer,
                                        q->pool, &quiet, out, err)
                       : st;
}

/* The same rows once more in two parts, for methods that judge others. */
static enum qx_status parts_see(struct sequence *q, int layer, struct qx_error *err)
{
    const int64_t all = qx_dataset_n(q->run->data);
    const int64_t n = q->run->n_rows < all ? q->run->n_rows : all, held = n / HELD;
    if (held < 1 || q->seen.held || !qx_setting_names(&q->set[layer], "auto")) {
        return QX_OK;
    }
    q->seen.n_held = held;
    enum qx_status st = rows_see(q, layer, 0, n - held, &q->seen.fit, err);
    return st == QX_OK ? rows_see(q, layer, n - held, held, &q->seen.held, err) : st;
}

/* Layers that read the same values see the same moments, whatever the ones between them are. */
static enum qx_status moments_get(struct sequence *q, int layer, struct qx_error *err)
{
    struct qx_net_product p;
    if (!q->run->data) {
        return qx_fail(err, QX_EDATA,
                       "%s looks at the inputs of layers, and there are no rows for that: name a "
                       "file with --calib FILE",
                       q->set[layer].algo);
    }
    const bool is_same = q->seen.all && qx_net_layer_product(q->run->net, layer, &p) &&
                         p.input == q->seen.all->product.input && p.k == q->seen.all->product.k;
    if (!is_same) {
        seen_drop(q);
    }
    enum qx_status st = is_same ? QX_OK : rows_see(q, layer, 0, q->run->n_rows, &q->seen.all, err);
    st = st == QX_OK ? parts_see(q, layer, err) : st;
    struct qx_moments *const m[3] = {q->seen.all, q->seen.fit, q->seen.held};
    for (int i = 0; is_same && i < 3; i++) { /* as many inputs, but not as many outputs */
        if (m[i]) {
            m[i]->product = p;
        }
    }
    return st;
}

static enum qx_status layer_make(struct sequence *q, int layer, uint64_t key,
                                 const struct qx_algo *algo, struct qx_error *err)
{
    struct qx_overlay *o = NULL;
    struct qx_ctl quiet = {.parent = q->ctl, .is_quiet = true};
    const bool needs_inputs = qx_algo_needs_inputs(algo, &q->set[layer]);
    enum qx_status st = needs_inputs ? moments_get(q, layer, err) : QX_OK;
    if (st == QX_OK && !q->equal && qx_setting_names(&q->set[layer], "cle")) {
        st = qx_equalizer_new(q->run->net, q->set, &quiet, &q->equal, err);
    }
    if (st == QX_OK) {
        st = apply(q->run->net, layer, q->set, needs_inputs ? &q->seen : NULL, q->equal, q->alphas,
                   q->pool, &quiet, &o, err);
    }
    if (st != QX_OK) {
        return st;
    }
    o->key = key;
    q->set[layer].overlay = q->run->keep(q->run->arg, layer, o);
    return q->set[layer].overlay ? QX_OK : qx_fail_nomem(err, sizeof *o);
}

/* Layers with the same inputs that name SmoothQuant too, and how inputs are rounded. */
static uint64_t peers_hash(const struct sequence *q, int layer, uint64_t seed)
{
    struct qx_net_product own, p;
    uint64_t h = seed;
    for (int i = 0; qx_net_layer_product(q->run->net, layer, &own) && i < q->n_layers; i++) {
        if (qx_setting_names(&q->set[i], "smoothquant") &&
            qx_net_layer_product(q->run->net, i, &p) && p.input == own.input) {
            struct qx_setting peer = weights_only(&q->set[i]);
            const int act[2] = {q->set[i].act.bits, q->set[i].act.sym};
            peer.overlay = NULL;
            peer.overlay_key = 0;
            h = qx_setting_hash(&peer, qx_hash64(act, sizeof act, qx_hash64(&i, sizeof i, h)));
        }
    }
    return h;
}

static enum qx_status layer_run(struct sequence *q, int layer, uint64_t before,
                                struct qx_error *err)
{
    struct qx_setting plain = weights_only(&q->set[layer]);
    struct qx_algo algo;
    plain.overlay = NULL;
    plain.overlay_key = 0;
    enum qx_status st = qx_algo_parse(plain.algo, &algo, NULL, err);
    if (st != QX_OK) {
        return st;
    }
    uint64_t from = qx_algo_needs_inputs(&algo, &q->set[layer]) ? before : q->run->key;
    for (int i = 0; i < q->n_layers && qx_setting_names(&plain, "cle"); i++) {
        const bool is_part = qx_setting_names(&q->set[i], "cle"); /* its neighbours count too */
        from = qx_hash64(&is_part, sizeof is_part, from);
    }
    from = qx_setting_names(&plain, "smoothquant") ? peers_hash(q, layer, from) : from;
    const int64_t tensor = qx_net_layer(q->run->net, layer)->tensor;
    const uint64_t key = qx_setting_hash(&plain, qx_hash64(&tensor, sizeof tensor, from));
    q->set[layer].overlay = q->run->find(q->run->arg, layer, key, &plain);
    st = q->set[layer].overlay ? QX_OK : layer_make(q, layer, key, &algo, err);
    if (st != QX_OK && st != QX_ECANCELLED && st != QX_ENOMEM) {
        qx_error_context(err, "layer '%.100s'", qx_net_layer(q->run->net, layer)->name);
    }
    qx_ctl_add(q->ctl, 1000);
    return st;
}

enum qx_status qx_methods_run(const struct qx_methods_run *run, struct qx_setting *set,
                              struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    struct sequence q = {
        .run = run, .set = set, .pool = pool, .ctl = ctl, .n_layers = qx_net_n_layers(run->net)};
    const int revision = REVISION;
    struct qx_methods_run own = *run;
    own.key = qx_hash64(&revision, sizeof revision, run->key);
    q.run = &own;
    uint64_t before = qx_hash64(&own.n_rows, sizeof own.n_rows, own.key);
    int64_t n = 0;
    enum qx_status st = QX_OK;
    q.alphas = qx_mem_array((size_t)q.n_layers + 1, sizeof *q.alphas);
    if (!q.alphas) {
        return qx_fail_nomem(err, (size_t)q.n_layers * sizeof *q.alphas);
    }
    for (int i = 0; i < q.n_layers; i++) {
        n += qx_setting_awaits(&set[i]);
        q.alphas[i] = (double)NAN;
    }
    qx_ctl_total(ctl, 1000 * n);
    for (int i = 0; st == QX_OK && i < q.n_layers; i++) {
        if (qx_setting_awaits(&set[i])) {
            st = qx_cancel_test(ctl) ? qx_fail(err, QX_ECANCELLED, "the methods were cancelled")
                                     : layer_run(&q, i, before, err);
        }
        if (st == QX_OK && !qx_setting_is_fp32(&set[i])) {
            const struct qx_setting plain = weights_only(&set[i]);
            before = qx_setting_hash(&plain, qx_hash64(&i, sizeof i, before));
        }
    }
    qx_weights_free(q.weights);
    seen_drop(&q);
    qx_equalizer_free(q.equal);
    qx_mem_free(q.alphas);
    return st;
}
