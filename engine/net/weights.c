/* The float32 weights of one forward pass: the stored values in place where the file holds aligned
 * float32, widened or quantized copies otherwise. */
#include "weights.h"

#include "exec.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

/* Not worth a copy: float32 that lies aligned in the mapping. */
static bool is_in_place(const struct qx_tensor *t)
{
    return t->dtype == QX_DTYPE_F32 && (uintptr_t)t->data % sizeof(float) == 0;
}

static enum qx_status widen(const struct qx_tensor *t, float **out, struct qx_error *err)
{
    float *p = qx_mem_aligned((size_t)t->numel * sizeof *p);
    if (!p) {
        return qx_fail_nomem(err, (size_t)t->numel * sizeof *p);
    }
    enum qx_status st = qx_tensor_read(t, 0, t->numel, p, err);
    if (st != QX_OK) {
        qx_mem_free(p);
        return st;
    }
    *out = p;
    return QX_OK;
}

/* The stored values of an initializer. */
static enum qx_status load(struct qx_weights *w, const struct qx_value *v, struct qx_error *err)
{
    const struct qx_tensor *t = qx_model_tensor(w->net->model, v->tensor);
    struct qx_weight *weight = &w->values[v->index];
    if (is_in_place(t)) {
        weight->stored = (const float *)(const void *)t->data;
    } else {
        enum qx_status st = widen(t, &weight->widened, err);
        if (st != QX_OK) {
            return st;
        }
        weight->stored = weight->widened;
    }
    weight->data = weight->stored;
    return QX_OK;
}

enum qx_status qx_weights_new(const struct qx_net *net, struct qx_weights **out,
                              struct qx_error *err)
{
    struct qx_weights *w = qx_mem_zalloc(sizeof *w);
    if (!w) {
        return qx_fail_nomem(err, sizeof *w);
    }
    w->net = net;
    w->engine = QX_ENGINE_SIMULATED;
    w->values = qx_mem_zalloc((size_t)net->n_values * sizeof *w->values);
    enum qx_status st =
        w->values ? QX_OK : qx_fail_nomem(err, (size_t)net->n_values * sizeof *w->values);
    for (int i = 0; st == QX_OK && i < net->n_values; i++) {
        if (net->values[i]->tensor >= 0) {
            st = load(w, net->values[i], err);
        }
        w->values[i].setting = qx_setting_fp32();
    }
    if (st != QX_OK) {
        qx_weights_free(w);
        return st;
    }
    *out = w;
    return QX_OK;
}

void qx_weights_free(struct qx_weights *w)
{
    if (!w) {
        return;
    }
    for (int i = 0; w->values && i < w->net->n_values; i++) {
        qx_mem_free(w->values[i].widened);
        qx_mem_free(w->values[i].changed);
    }
    qx_exec_free(w->exec);
    qx_mem_free(w->values);
    qx_mem_free(w);
}

/* The integer form speaks of settings that no longer hold. */
static void exec_drop(struct qx_weights *w)
{
    qx_exec_free(w->exec);
    w->exec = NULL;
    w->engine = QX_ENGINE_SIMULATED;
}

static void setting_put(struct qx_weights *w, struct qx_weight *weight, const struct qx_setting *s)
{
    exec_drop(w);
    weight->setting = *s;
    w->has_act = qx_weights_has_act(w);
}

static enum qx_status requantize(struct qx_weights *w, const struct qx_layer *layer,
                                 struct qx_weight *weight, const struct qx_setting *s,
                                 struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    const struct qx_tensor *t = qx_model_tensor(w->net->model, layer->tensor);
    if (!weight->changed) {
        weight->changed = qx_mem_aligned((size_t)t->numel * sizeof *weight->changed);
        if (!weight->changed) {
            return qx_fail_nomem(err, (size_t)t->numel * sizeof *weight->changed);
        }
    }
    /* A cancelled pass leaves the copy torn: until it is whole, the layer is at its stored values. */
    const struct qx_setting fp32 = qx_setting_fp32();
    weight->data = weight->stored;
    setting_put(w, weight, &fp32);
    enum qx_status st =
        qx_fakequant(t, layer->channels, s, pool, ctl, weight->changed, NULL, NULL, err);
    if (st == QX_OK) {
        weight->data = weight->changed;
    }
    return st;
}

enum qx_status qx_weights_apply(struct qx_weights *w, int i, const struct qx_setting *s,
                                struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    const struct qx_layer *layer = qx_net_layer(w->net, i);
    if (!layer) {
        return qx_fail(err, QX_ERANGE, "there is no layer %d", i);
    }
    struct qx_weight *weight = &w->values[w->net->value_of_tensor[layer->tensor]];
    if (qx_setting_equal(&weight->setting, s)) {
        return QX_OK;
    }
    if (qx_setting_is_int(s) && qx_act_open(&s->act)) {
        return qx_fail(err, QX_EDATA,
                       "the inputs of layer '%.100s' have no range yet: calibrate them first",
                       layer->name);
    }
    if (qx_setting_is_fp32(s)) {
        weight->data = weight->stored;
    } else if (!qx_setting_equal_weight(&weight->setting, s)) {
        enum qx_status st = requantize(w, layer, weight, s, pool, ctl, err);
        if (st != QX_OK) {
            return st;
        }
    }
    setting_put(w, weight, s);
    return QX_OK;
}

enum qx_status qx_weights_put(struct qx_weights *w, int i, const float *values,
                              const struct qx_act *act, struct qx_error *err)
{
    const struct qx_layer *layer = qx_net_layer(w->net, i);
    if (!layer) {
        return qx_fail(err, QX_ERANGE, "there is no layer %d", i);
    }
    struct qx_weight *weight = &w->values[w->net->value_of_tensor[layer->tensor]];
    const size_t n = (size_t)qx_model_tensor(w->net->model, layer->tensor)->numel;
    if (values && !weight->changed && !(weight->changed = qx_mem_aligned(n * sizeof *values))) {
        return qx_fail_nomem(err, n * sizeof *values);
    }
    struct qx_setting s = qx_setting_int(0); /* no width: equal to no setting */
    if (act) {
        s.act = *act;
    }
    if (values) {
        memcpy(weight->changed, values, n * sizeof *values);
    }
    weight->data = values ? weight->changed : weight->stored;
    setting_put(w, weight, &s);
    return QX_OK;
}

/* Some layer has values of the caller's. */
static bool has_put(const struct qx_weights *w)
{
    for (int i = 0; i < w->net->n_values; i++) {
        if (w->values[i].setting.bits == 0) {
            return true;
        }
    }
    return false;
}

enum qx_status qx_weights_prepare(struct qx_weights *w, enum qx_engine engine, struct qx_pool *pool,
                                  struct qx_ctl *ctl, struct qx_error *err)
{
    if (engine == QX_ENGINE_SIMULATED || (engine == QX_ENGINE_AUTO && !w->has_act)) {
        w->engine = QX_ENGINE_SIMULATED;
        return QX_OK;
    }
    struct qx_exec *exec = w->exec;
    struct qx_error why = {0};
    enum qx_status st = QX_OK;
    if (!exec && has_put(w)) {
        st = qx_fail(&why, QX_EUNSUPPORTED,
                     "a layer holds values that no setting gives: they cannot run on integers");
    } else if (!exec) {
        st = qx_exec_new(w, pool, ctl, &exec, &why);
    }
    if (st == QX_OK) {
        w->exec = exec;
        w->engine = QX_ENGINE_INTEGER;
    } else if (st == QX_EUNSUPPORTED && engine == QX_ENGINE_AUTO) {
        w->engine = QX_ENGINE_SIMULATED;
        st = QX_OK;
    } else if (err) {
        *err = why;
    }
    return st;
}

enum qx_engine qx_weights_engine(const struct qx_weights *w)
{
    return w->engine;
}
