/* What a training chose, as overlays of its layers. */
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/overlay.h"
#include "qx/train.h"

#include <stdio.h>
#include <string.h>

static bool is_quantized(const struct qx_trained *t, int layer)
{
    return layer >= 0 && qx_format_is_scaled(t->set[layer].format);
}

enum qx_status qx_trained_check(const struct qx_net *net, const struct qx_trained *t,
                                struct qx_error *err)
{
    for (int i = 0; i < qx_net_n_layers(net); i++) {
        const struct qx_layer *layer = qx_net_layer(net, i);
        if (t->values[layer->tensor] && !is_quantized(t, i)) {
            return qx_fail(err, QX_EUNSUPPORTED,
                           "'%.100s' was trained, too, and stays in float32, which a recipe cannot "
                           "hold: write a model folder, or give it bits (8, say) and train again",
                           qx_model_tensor(qx_net_model(net), layer->tensor)->name);
        }
    }
    for (int64_t i = 0; i < t->n_tensors; i++) {
        if (t->values[i] && qx_net_layer_of_tensor(net, i) < 0 &&
            !is_quantized(t, qx_net_layer_beside(net, i))) {
            return qx_fail(err, QX_EUNSUPPORTED,
                           "'%.100s' was trained, too, and goes with no quantized layer, which a "
                           "recipe cannot hold: write a model folder",
                           qx_model_tensor(qx_net_model(net), i)->name);
        }
    }
    return QX_OK;
}

/* Norms and biases that go with the layer. */
static enum qx_status others_take(const struct qx_net *net, const struct qx_trained *t, int layer,
                                  struct qx_overlay *o, struct qx_error *err)
{
    for (int pass = 0; pass < 2; pass++) {
        int64_t n = 0, n_values = 0;
        for (int64_t i = 0; i < t->n_tensors; i++) {
            const int64_t numel = qx_model_tensor(qx_net_model(net), i)->numel;
            if (!t->values[i] || qx_net_layer_of_tensor(net, i) >= 0 ||
                qx_net_layer_beside(net, i) != layer) {
                continue;
            }
            if (pass == 1) {
                o->others[n] = (struct qx_overlay_other){i, numel};
                memcpy(o->other_values + n_values, t->values[i],
                       (size_t)numel * sizeof *o->other_values);
            }
            n++;
            n_values += numel;
        }
        if (pass == 0) {
            o->n_others = n;
            o->n_other_values = n_values;
            o->others = qx_mem_array((size_t)n + 1, sizeof *o->others);
            o->other_values = qx_mem_array((size_t)n_values + 1, sizeof *o->other_values);
            if (!o->others || !o->other_values) {
                return qx_fail_nomem(err, (size_t)n_values * sizeof *o->other_values);
            }
        }
    }
    return QX_OK;
}

/* Its name: a hash of all that it holds. */
static uint64_t key_of(const struct qx_overlay *o, const struct qx_tensor *stored)
{
    uint64_t h = qx_setting_hash(&o->setting, qx_hash64(stored->name, strlen(stored->name), 1));
    h = qx_hash64(o->codes, (size_t)stored->numel, h);
    h = qx_hash64(o->scale, (size_t)o->n_units * sizeof *o->scale, h);
    h = qx_hash64(o->zero, (size_t)o->n_units * sizeof *o->zero, h);
    h = qx_hash64(o->other_values, (size_t)o->n_other_values * sizeof *o->other_values, h);
    return h ? h : 1;
}

enum qx_status qx_trained_overlay(const struct qx_net *net, const struct qx_trained *t, int layer,
                                  struct qx_pool *pool, struct qx_overlay **out,
                                  struct qx_error *err)
{
    const struct qx_layer *info = qx_net_layer(net, layer);
    const struct qx_tensor *stored = qx_model_tensor(qx_net_model(net), info->tensor);
    const struct qx_setting plain = t->set[layer];
    struct qx_setting named = plain;
    struct qx_tensor trained = *stored;
    struct qx_overlay *o = NULL;
    snprintf(named.algo, sizeof named.algo, "qat");
    trained.dtype = QX_DTYPE_F32;
    trained.data = (const void *)t->values[info->tensor];
    trained.bytes = (uint64_t)stored->numel * sizeof(float);
    enum qx_status st = qx_overlay_new(info->channels, &named, &o, err);
    if (st == QX_OK) {
        o->groups = o->taps = 1;
        st = qx_quantize_tensor(&trained, info->channels, &plain, pool, NULL, o->codes, o->scale,
                                o->zero, err);
    }
    if (st == QX_OK) {
        st = others_take(net, t, layer, o, err);
    }
    if (st == QX_OK) {
        snprintf(o->note, sizeof o->note, "trained, best of %d epochs", t->epochs);
        st = qx_overlay_finish(o, stored, err);
    }
    if (st != QX_OK) {
        qx_overlay_free(o);
        return st;
    }
    o->key = key_of(o, stored);
    *out = o;
    return QX_OK;
}
