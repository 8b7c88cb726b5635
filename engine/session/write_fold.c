/* What methods chose beside the codes of a layer, as values of the tensors around it: factors of its inputs become
 * part of the layer or the normalization before it, corrections part of biases. The network of the folder is then
 * the one that was measured, and a layer's weights lie on the grid of their codes. */
#include "session/write_model.h"

#include "base/error.h"
#include "base/mem.h"

#include "qx/overlay.h"

#include <string.h>

struct fold {
    const struct qx_write *w;
    struct qx_rewrite *r;
    struct qx_ctl *ctl;
};

static const struct qx_setting *setting_of(const struct fold *f, int layer)
{
    return &f->w->recipe->set[qx_net_layer(f->w->net, layer)->tensor];
}

/* The weight as its setting has it. */
static enum qx_status weight_put(struct fold *f, int layer, struct qx_error *err)
{
    const struct qx_layer *l = qx_net_layer(f->w->net, layer);
    const struct qx_tensor *t = f->w->items->v[l->tensor].tensor;
    if (qx_rewrite_get(f->r, l->tensor)) {
        return QX_OK;
    }
    float *x = qx_mem_array((size_t)t->numel + 1, sizeof *x);
    struct qx_ctl quiet = {.parent = f->ctl, .is_quiet = true};
    enum qx_status st = x ? qx_fakequant(t, l->channels, setting_of(f, layer), f->w->pool, &quiet,
                                         x, NULL, NULL, err)
                          : qx_fail_nomem(err, (size_t)t->numel * sizeof *x);
    st = st == QX_OK ? qx_rewrite_put(f->r, l->tensor, x, err) : st;
    qx_mem_free(x);
    return st;
}

/* Has it the factors of o on the same inputs? */
static bool is_alike(const struct fold *f, int layer, const struct qx_net_link *link,
                     const struct qx_overlay *o)
{
    const struct qx_overlay *other = qx_setting_overlay(setting_of(f, layer));
    struct qx_net_link its;
    bool is_same = other && other->in_scale && qx_net_link(f->w->net, layer, &its, NULL) == QX_OK;
    if (is_same) {
        is_same = its.node == link->node && its.n_in == link->n_in &&
                  memcmp(other->in_scale, o->in_scale, (size_t)link->n_in * sizeof(float)) == 0;
        qx_net_link_release(&its);
    }
    return is_same;
}

/* Layers that read the inputs of the link's consumer: all with the same factors? */
static bool readers_agree(const struct fold *f, const struct qx_net_link *link,
                          const struct qx_overlay *o, bool *reads)
{
    struct qx_net_product own, p;
    const int n = qx_net_n_layers(f->w->net);
    bool is_same = qx_net_layer_product(f->w->net, link->consumer, &own);
    for (int i = 0; is_same && i < n; i++) {
        reads[i] =
            i == link->consumer ||
            (own.input >= 0 && qx_net_layer_product(f->w->net, i, &p) && p.input == own.input);
        is_same = !reads[i] || is_alike(f, i, link, o);
    }
    return is_same;
}

/* Factors of what the link begins at; false where two inputs of one channel differ. */
static bool factors_of(const struct qx_net_link *link, const float *in, float *out)
{
    for (int64_t c = 0; c < link->n_out; c++) {
        out[c] = 0.0f;
    }
    for (int64_t j = 0; j < link->n_in; j++) {
        float *to = &out[link->channel[j]];
        if (*to != 0.0f && *to != in[j]) {
            return false;
        }
        *to = in[j];
    }
    for (int64_t c = 0; c < link->n_out; c++) {
        out[c] = out[c] == 0.0f ? 1.0f : out[c];
    }
    return true;
}

static enum qx_status link_write(struct fold *f, const struct qx_net_link *link, const float *in,
                                 const float *out, const bool *reads, struct qx_error *err)
{
    enum qx_status st = link->producer >= 0 ? weight_put(f, link->producer, err) : QX_OK;
    st = st == QX_OK ? qx_rewrite_outputs(f->r, link, out, err) : st;
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(f->w->net); i++) {
        st = reads[i] ? weight_put(f, i, err) : QX_OK;
        st = reads[i] && st == QX_OK ? qx_rewrite_inputs(f->r, i, in, err) : st;
    }
    return st;
}

/* The factors of a layer's inputs, once for all layers that read them. */
static enum qx_status layer_fold(struct fold *f, int layer, struct qx_error *err)
{
    const struct qx_overlay *o = qx_setting_overlay(setting_of(f, layer));
    struct qx_net_link link;
    if (!o || !o->in_scale) {
        return QX_OK;
    }
    enum qx_status st = qx_net_link(f->w->net, layer, &link, err);
    if (st != QX_OK) { /* divided out of its own weight instead */
        return st == QX_EUNSUPPORTED ? QX_OK : st;
    }
    bool *reads = qx_mem_zalloc((size_t)qx_net_n_layers(f->w->net) + 1);
    float *out = qx_mem_array((size_t)link.n_out + 1, sizeof *out);
    if (!reads || !out) {
        st = qx_fail_nomem(err, (size_t)link.n_out * sizeof *out);
    } else if (readers_agree(f, &link, o, reads) && factors_of(&link, o->in_scale, out)) {
        int first = 0;
        while (!reads[first]) {
            first++;
        }
        st = first == layer ? link_write(f, &link, o->in_scale, out, reads, err) : QX_OK;
    }
    qx_mem_free(reads);
    qx_mem_free(out);
    qx_net_link_release(&link);
    return st;
}

static enum qx_status bias_fold(struct fold *f, int layer, struct qx_error *err)
{
    const struct qx_overlay *o = qx_setting_overlay(setting_of(f, layer));
    if (!o || !o->bias) {
        return QX_OK;
    }
    enum qx_status st = qx_rewrite_bias(f->r, layer, o->bias, err);
    if (st == QX_EUNSUPPORTED) {
        const char *name = f->w->items->v[qx_net_layer(f->w->net, layer)->tensor].tensor->name;
        st = qx_fail_at(err, st, NULL, name, -1,
                        "the correction of '%s' cannot be written: the layer has no bias that "
                        "could take it; leave its bias correction out",
                        name);
    }
    return st;
}

enum qx_status qx_write_fold(const struct qx_write *w, struct qx_ctl *ctl, struct qx_rewrite **out,
                             struct qx_error *err)
{
    struct fold f = {.w = w, .ctl = ctl};
    *out = NULL;
    if (!w->net || w->trained) {
        return QX_OK;
    }
    enum qx_status st = qx_rewrite_new(w->net, &f.r, err);
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(w->net); i++) {
        st = bias_fold(&f, i, err); /* before the factors, which scale it too */
    }
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(w->net); i++) {
        st = layer_fold(&f, i, err);
    }
    if (st != QX_OK) {
        qx_rewrite_free(f.r);
        return st;
    }
    *out = f.r;
    return QX_OK;
}
