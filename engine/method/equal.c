/* Equalization: for each pair of layers the channels between them get factors that make the largest weight
 * on both sides the same, s_i = sqrt(r1_i r2_i) / r2_i (eq. 11), pair after pair until nothing moves. A batch
 * normalization behind a layer is taken into its weights first, as the paper does. */
#include "method/equal.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 40 };
static const double still = 1e-3; /* largest change of a logarithm */

/* Magnitudes of a layer's weights, one row an output. */
struct side {
    int64_t rows, k, n, taps; /* n: outputs of a group */
    float *w;                 /* [rows][k] */
    double *in, *out;         /* factors, [groups * k / taps] and [rows] */
};

struct equal_run {
    const struct qx_net *net;
    struct qx_equalizer *e;
    struct qx_net_link *links; /* [n_links] between layers that take part */
    int n_links;
    int *part; /* [layers] the first layer of those that hang together; -1: takes no part */
    struct side *side;
    struct qx_ctl *ctl;
};

bool qx_setting_names(const struct qx_setting *s, const char *method)
{
    struct qx_algo a;
    if (!qx_format_is_scaled(s->format) || qx_algo_parse(s->algo, &a, NULL, NULL) != QX_OK) {
        return false;
    }
    for (int i = 0; i < a.n; i++) {
        if (strcmp(a.v[i].method->name, method) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- one side ---- */

static double *ones(int64_t n)
{
    double *v = qx_mem_array((size_t)n + 1, sizeof *v);
    for (int64_t i = 0; v && i < n; i++) {
        v[i] = 1.0;
    }
    return v;
}

/* Batch normalization multiplies output c by gamma / sqrt(variance + epsilon). */
static enum qx_status norm_in(const struct equal_run *r, int layer, struct side *s,
                              struct qx_error *err)
{
    struct qx_net_batchnorm b;
    const struct qx_model *model = qx_net_model(r->net);
    if (!qx_net_layer_batchnorm(r->net, layer, &b)) {
        return QX_OK;
    }
    float *v = qx_mem_array((size_t)b.n + 1, 2 * sizeof *v);
    if (!v) {
        return qx_fail_nomem(err, (size_t)b.n * 2 * sizeof *v);
    }
    enum qx_status st = qx_tensor_read(qx_model_tensor(model, b.gamma), 0, b.n, v, err);
    if (st == QX_OK) {
        st = qx_tensor_read(qx_model_tensor(model, b.variance), 0, b.n, v + b.n, err);
    }
    for (int64_t c = 0; st == QX_OK && c < b.n; c++) {
        const double g = fabs((double)v[c]) / sqrt((double)v[b.n + c] + b.epsilon);
        s->out[c] = g > 1e-12 && g < 1e12 ? 1.0 / g : 1.0;
    }
    r->e->v[layer].has_batchnorm = st == QX_OK;
    qx_mem_free(v);
    return st;
}

static enum qx_status side_open(const struct equal_run *r, int layer, struct qx_error *err)
{
    const struct qx_layer *l = qx_net_layer(r->net, layer);
    const struct qx_tensor *t = qx_model_tensor(qx_net_model(r->net), l->tensor);
    const struct qx_channels c = l->channels;
    struct qx_net_product p;
    struct side *s = &r->side[layer];
    *s = (struct side){.rows = c.count, .k = c.outer * c.inner};
    if (!qx_net_layer_product(r->net, layer, &p)) {
        return qx_fail(err, QX_EBUG, "layer '%.100s' has no product", l->name);
    }
    s->n = p.n;
    s->taps = p.taps;
    float *stored = qx_mem_array((size_t)t->numel + 1, sizeof *stored);
    s->w = qx_mem_array((size_t)t->numel + 1, sizeof *s->w);
    s->in = ones(p.groups * p.k / p.taps);
    s->out = ones(s->rows);
    enum qx_status st = stored && s->w && s->in && s->out
                            ? qx_tensor_read(t, 0, t->numel, stored, err)
                            : qx_fail_nomem(err, (size_t)t->numel * sizeof *stored);
    for (int64_t row = 0; st == QX_OK && row < s->rows; row++) {
        for (int64_t j = 0; j < s->k; j++) {
            const float x = stored[(j / c.inner * c.count + row) * c.inner + j % c.inner];
            s->w[row * s->k + j] = isfinite(x) ? fabsf(x) : 0.0f;
        }
    }
    qx_mem_free(stored);
    return st == QX_OK ? norm_in(r, layer, s, err) : st;
}

static void side_close(struct side *s)
{
    qx_mem_free(s->w);
    qx_mem_free(s->in);
    qx_mem_free(s->out);
    *s = (struct side){0};
}

/* Input channel of value j of a row. */
static int64_t input_of(const struct side *s, int64_t row, int64_t j)
{
    return row / s->n * (s->k / s->taps) + j / s->taps;
}

/* ---- pairs ---- */

/* Largest magnitude of each output of the one before, and of each of its readers. */
static void ranges_of(const struct equal_run *r, const struct qx_net_link *link, double *before,
                      double *behind)
{
    const struct side *p = &r->side[link->producer], *c = &r->side[link->consumer];
    memset(behind, 0, (size_t)link->n_out * sizeof *behind);
    for (int64_t row = 0; row < p->rows; row++) {
        double most = 0.0;
        for (int64_t j = 0; j < p->k; j++) {
            most = fmax(most, (double)p->w[row * p->k + j] * p->in[input_of(p, row, j)]);
        }
        before[row] = most / p->out[row];
    }
    for (int64_t i = 0; i < c->rows * c->k; i++) {
        const int64_t row = i / c->k, in = input_of(c, row, i % c->k);
        double *most = &behind[link->channel[in]];
        *most = fmax(*most, (double)c->w[i] * c->in[in] / c->out[row]);
    }
}

static enum qx_status pair_equalize(const struct equal_run *r, const struct qx_net_link *link,
                                    double *moved, struct qx_error *err)
{
    double *range = qx_mem_array((size_t)link->n_out + 1, 2 * sizeof *range);
    double *behind = range + link->n_out;
    if (!range) {
        return qx_fail_nomem(err, (size_t)link->n_out * 2 * sizeof *range);
    }
    ranges_of(r, link, range, behind);
    for (int64_t c = 0; c < link->n_out; c++) {
        const double s = range[c] > 0.0 && behind[c] > 0.0 ? sqrt(range[c] / behind[c]) : 1.0;
        range[c] = fmin(fmax(s, 1e-4), 1e4);
        *moved = fmax(*moved, fabs(log(range[c])));
        r->side[link->producer].out[c] *= range[c];
    }
    for (int64_t j = 0; j < link->n_in; j++) {
        r->side[link->consumer].in[j] *= range[link->channel[j]];
    }
    qx_mem_free(range);
    return QX_OK;
}

static enum qx_status part_settle(const struct equal_run *r, int part, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    double moved = INFINITY;
    for (int round = 0; st == QX_OK && round < ROUNDS && moved > still; round++) {
        moved = 0.0;
        for (int i = 0; st == QX_OK && i < r->n_links; i++) {
            if (r->part[r->links[i].consumer] == part) {
                st = qx_cancel_test(r->ctl)
                         ? qx_fail(err, QX_ECANCELLED, "the equalization was cancelled")
                         : pair_equalize(r, &r->links[i], &moved, err);
            }
        }
    }
    return st;
}

static float *narrowed(const double *v, int64_t n)
{
    float *out = qx_mem_array((size_t)n + 1, sizeof *out);
    for (int64_t i = 0; out && i < n; i++) {
        out[i] = (float)v[i];
    }
    return out;
}

static enum qx_status factors_take(const struct equal_run *r, int layer, struct qx_error *err)
{
    struct qx_equal_factors *f = &r->e->v[layer];
    const struct side *s = &r->side[layer];
    bool has_in = false, has_out = f->has_batchnorm;
    for (int i = 0; i < r->n_links; i++) {
        has_in |= r->links[i].consumer == layer;
        has_out |= r->links[i].producer == layer;
        f->n_links += r->links[i].consumer == layer || r->links[i].producer == layer;
    }
    f->in = has_in ? narrowed(s->in, s->rows / s->n * s->k / s->taps) : NULL;
    f->out = has_out ? narrowed(s->out, s->rows) : NULL;
    return (has_in && !f->in) || (has_out && !f->out) ? qx_fail_nomem(err, 0) : QX_OK;
}

static enum qx_status part_run(const struct equal_run *r, int part, struct qx_error *err)
{
    const int n = r->e->n;
    enum qx_status st = QX_OK;
    for (int i = part; st == QX_OK && i < n; i++) {
        st = r->part[i] == part ? side_open(r, i, err) : QX_OK;
    }
    if (st == QX_OK) {
        st = part_settle(r, part, err);
    }
    for (int i = part; i < n; i++) {
        if (st == QX_OK && r->part[i] == part) {
            st = factors_take(r, i, err);
        }
        side_close(&r->side[i]);
    }
    return st;
}

/* ---- a network ---- */

/* Layers that name the method, and the links between them. */
static enum qx_status links_find(struct equal_run *r, const struct qx_setting *set,
                                 struct qx_error *err)
{
    enum qx_status st = QX_OK;
    struct qx_net_product p;
    for (int i = 0; i < r->e->n; i++) {
        const bool can = qx_setting_names(&set[i], "cle") && qx_net_layer_product(r->net, i, &p);
        r->part[i] = can ? i : -1;
    }
    for (int i = 0; st == QX_OK && i < r->e->n; i++) {
        struct qx_net_link *link = &r->links[r->n_links];
        st = r->part[i] < 0 ? QX_EUNSUPPORTED : qx_net_link(r->net, i, link, err);
        if (st == QX_OK && link->producer >= 0 && r->part[link->producer] >= 0) {
            const int from = r->part[i], to = r->part[link->producer];
            for (int k = 0; k < r->e->n; k++) { /* the lower number stands for both */
                r->part[k] =
                    r->part[k] == from || r->part[k] == to ? (from < to ? from : to) : r->part[k];
            }
            r->n_links++;
        } else if (st == QX_OK) {
            qx_net_link_release(link);
        }
        st = st == QX_EUNSUPPORTED ? QX_OK : st;
    }
    return st;
}

static enum qx_status run(struct equal_run *r, const struct qx_setting *set, struct qx_error *err)
{
    const size_t n = (size_t)r->e->n + 1;
    r->links = qx_mem_zalloc(n * sizeof *r->links);
    r->part = qx_mem_zalloc(n * sizeof *r->part);
    r->side = qx_mem_zalloc(n * sizeof *r->side);
    enum qx_status st = r->links && r->part && r->side ? links_find(r, set, err)
                                                       : qx_fail_nomem(err, n * sizeof *r->links);
    for (int i = 0; st == QX_OK && i < r->e->n; i++) {
        st = r->part[i] == i ? part_run(r, i, err) : QX_OK;
    }
    for (int i = 0; r->links && i < r->n_links; i++) {
        qx_net_link_release(&r->links[i]);
    }
    qx_mem_free(r->links);
    qx_mem_free(r->part);
    qx_mem_free(r->side);
    return st;
}

enum qx_status qx_equalizer_new(const struct qx_net *net, const struct qx_setting *set,
                                struct qx_ctl *ctl, struct qx_equalizer **out, struct qx_error *err)
{
    struct qx_equalizer *e = qx_mem_zalloc(sizeof *e);
    const int n = qx_net_n_layers(net);
    if (!e || !(e->v = qx_mem_zalloc(((size_t)n + 1) * sizeof *e->v))) {
        qx_mem_free(e);
        return qx_fail_nomem(err, (size_t)n * sizeof *e->v);
    }
    e->n = n;
    struct equal_run r = {.net = net, .e = e, .ctl = ctl};
    const enum qx_status st = run(&r, set, err);
    if (st != QX_OK) {
        qx_equalizer_free(e);
        return st;
    }
    *out = e;
    return QX_OK;
}

void qx_equalizer_free(struct qx_equalizer *e)
{
    for (int i = 0; e && i < e->n; i++) {
        qx_mem_free(e->v[i].in);
        qx_mem_free(e->v[i].out);
    }
    if (e) {
        qx_mem_free(e->v);
    }
    qx_mem_free(e);
}
