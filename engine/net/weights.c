/* The float32 weights of one forward pass: the stored values in place where the file holds aligned
 * float32, widened or quantized copies otherwise. */
#include "weights.h"

#include "exec.h"
#include "packed.h"
#include "wide.h"

#include "base/error.h"
#include "base/mem.h"
#include "qx/overlay.h"

#include <string.h>

/* Float32 copies of lazy weights may take so much: beyond, they stay packed. */
#define COPIES_MOST (UINT64_C(1) << 30)

/* Not worth a copy: float32 that lies aligned in the mapping. */
static bool is_in_place(const struct qx_tensor *t)
{
    return t->dtype == QX_DTYPE_F32 && (uintptr_t)t->data % sizeof(float) == 0;
}

static bool is_layer(const struct qx_weights *w, const struct qx_value *v)
{
    return w->net->layer_of_tensor[v->tensor] >= 0;
}

bool qx_weight_may_stay(const struct qx_net *net, int value)
{
    const struct qx_value *v = net->values[value];
    bool ok = v->tensor >= 0 && net->layer_of_tensor[v->tensor] >= 0 && v != net->output &&
              !is_in_place(qx_model_tensor(net->model, v->tensor));
    for (int i = 0; ok && i < net->n_nodes; i++) {
        const struct qx_node *node = net->nodes[i];
        for (int k = 0; k < node->n_in; k++) {
            ok &= node->in[k] != v || (k == node->op->weight && !node->op->is_view);
        }
    }
    return ok;
}

/* Bytes that copies of the stored values take. */
static uint64_t wide_bytes(const struct qx_net *net)
{
    uint64_t bytes = 0;
    for (int i = 0; i < net->n_values; i++) {
        if (qx_weight_may_stay(net, i)) {
            bytes += (uint64_t)qx_model_tensor(net->model, net->values[i]->tensor)->numel *
                     sizeof(float);
        }
    }
    return bytes;
}

/* The stored values of an initializer, widened if need be. */
static enum qx_status stored_take(struct qx_weights *w, int i, struct qx_error *err)
{
    const struct qx_value *v = w->net->values[i];
    struct qx_weight *weight = &w->values[i];
    enum qx_status st = QX_OK;
    if (!weight->stored) {
        st = qx_wide_take(w->net, v, &weight->stored, err);
        weight->is_widened = st == QX_OK;
    }
    return st;
}

/* Nothing reads them: a widened copy is given back. */
static void stored_drop(struct qx_weights *w, int i)
{
    struct qx_weight *weight = &w->values[i];
    if (weight->is_widened) {
        qx_wide_drop(w->net, w->net->values[i]);
        weight->stored = NULL;
        weight->is_widened = false;
    }
}

/* The layer is at its stored values. */
static enum qx_status stored_put(struct qx_weights *w, int i, struct qx_error *err)
{
    struct qx_weight *weight = &w->values[i];
    enum qx_status st = QX_OK;
    weight->is_in_file = w->is_thin && !weight->stored && qx_weight_may_stay(w->net, i);
    if (!weight->is_in_file) {
        st = stored_take(w, i, err);
    }
    weight->data = st == QX_OK ? weight->stored : weight->data;
    return st;
}

static void changed_put(struct qx_weight *weight)
{
    weight->data = weight->changed;
    weight->is_in_file = false;
}

static bool is_missing(const struct qx_weight *weight)
{
    return !weight->data && !weight->is_in_file;
}

static enum qx_status load(struct qx_weights *w, int i, struct qx_error *err)
{
    const struct qx_value *v = w->net->values[i];
    const struct qx_tensor *t = qx_model_tensor(w->net->model, v->tensor);
    struct qx_weight *weight = &w->values[i];
    enum qx_status st = QX_OK;
    if (is_in_place(t)) {
        weight->stored = (const float *)(const void *)t->data;
    } else if (!w->is_lazy || !is_layer(w, v)) {
        return stored_put(w, i, err);
    }
    weight->data = weight->stored;
    w->is_slim |= !weight->data;
    return st;
}

static enum qx_status weights_make(const struct qx_net *net, bool is_lazy, struct qx_weights **out,
                                   struct qx_error *err)
{
    struct qx_weights *w = qx_mem_zalloc(sizeof *w);
    if (!w) {
        return qx_fail_nomem(err, sizeof *w);
    }
    w->net = net;
    w->engine = QX_ENGINE_SIMULATED;
    w->is_lazy = is_lazy;
    w->is_thin = !is_lazy && wide_bytes(net) > COPIES_MOST;
    w->values = qx_mem_zalloc((size_t)net->n_values * sizeof *w->values);
    enum qx_status st =
        w->values ? QX_OK : qx_fail_nomem(err, (size_t)net->n_values * sizeof *w->values);
    for (int i = 0; st == QX_OK && i < net->n_values; i++) {
        if (net->values[i]->tensor >= 0) {
            st = load(w, i, err);
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

enum qx_status qx_weights_new(const struct qx_net *net, struct qx_weights **out,
                              struct qx_error *err)
{
    return weights_make(net, false, out, err);
}

enum qx_status qx_weights_new_lazy(const struct qx_net *net, struct qx_weights **out,
                                   struct qx_error *err)
{
    return weights_make(net, true, out, err);
}

void qx_weights_thin(struct qx_weights *w)
{
    w->is_thin = true;
    for (int i = 0; i < w->net->n_values; i++) {
        if (qx_weight_may_stay(w->net, i)) {
            stored_drop(w, i);
            stored_put(w, i, NULL); /* takes nothing */
        }
    }
}

void qx_weights_free(struct qx_weights *w)
{
    if (!w) {
        return;
    }
    for (int i = 0; w->values && i < w->net->n_values; i++) {
        stored_drop(w, i);
        qx_mem_free(w->values[i].changed);
    }
    qx_exec_free(w->exec);
    qx_exec_free(w->old);
    qx_mem_free(w->values);
    qx_mem_free(w);
}

const struct qx_exec *qx_weights_exec(const struct qx_weights *w)
{
    return w->engine == QX_ENGINE_SIMULATED ? NULL : w->exec;
}

/* The program speaks of settings that no longer hold. */
static void exec_drop(struct qx_weights *w)
{
    if (w->exec && w->engine == QX_ENGINE_INTEGER) {
        qx_exec_free(w->old);
        w->old = w->exec;
    } else {
        qx_exec_free(w->exec);
    }
    w->exec = NULL;
    w->engine = QX_ENGINE_SIMULATED;
}

/* What goes with a layer's weight: the overlay's values, which outlive the setting, or the stored ones. */
static void others_put(struct qx_weights *w, const struct qx_overlay *o, bool is_in)
{
    const struct qx_net *net = w->net;
    const float *at = o ? o->other_values : NULL;
    for (int64_t i = 0; o && i < o->n_others; at += o->others[i].n, i++) {
        const int64_t tensor = o->others[i].tensor;
        const int value =
            tensor < qx_model_n_tensors(net->model) ? net->value_of_tensor[tensor] : -1;
        if (value >= 0 && net->layer_of_tensor[tensor] < 0 &&
            qx_model_tensor(net->model, tensor)->numel == o->others[i].n) {
            w->values[value].data = is_in ? at : w->values[value].stored;
        }
    }
}

static void setting_put(struct qx_weights *w, struct qx_weight *weight, const struct qx_setting *s)
{
    exec_drop(w);
    others_put(w, qx_setting_overlay(&weight->setting), false);
    others_put(w, qx_setting_overlay(s), true);
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
    enum qx_status st =
        qx_fakequant(t, layer->channels, s, pool, ctl, weight->changed, NULL, NULL, err);
    if (st == QX_OK) {
        changed_put(weight);
    } else { /* a cancelled pass leaves the copy torn: the layer is at its stored values */
        const struct qx_setting fp32 = qx_setting_fp32();
        weight->data = NULL;
        stored_put(w, w->net->value_of_tensor[layer->tensor], NULL);
        w->is_slim |= is_missing(weight);
        setting_put(w, weight, &fp32);
    }
    return st;
}

/* Give up the copies that the program does not read. */
static void slim(struct qx_weights *w)
{
    for (int i = 0; i < w->net->n_values; i++) {
        struct qx_weight *weight = &w->values[i];
        const struct qx_value *v = w->net->values[i];
        const bool is_copy = weight->data && (weight->data == weight->changed ||
                                              (weight->is_widened && is_layer(w, v)));
        if (is_copy && !qx_exec_reads(w->exec, v)) {
            qx_mem_free(weight->changed);
            weight->changed = NULL;
            stored_drop(w, i);
            weight->data = NULL;
            w->is_slim = true;
        }
    }
}

static enum qx_status copy_make(struct qx_weights *w, int i, struct qx_pool *pool,
                                struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_weight *weight = &w->values[i];
    const int64_t tensor = w->net->values[i]->tensor;
    const struct qx_tensor *t = qx_model_tensor(w->net->model, tensor);
    const struct qx_layer *layer = &w->net->layers[w->net->layer_of_tensor[tensor]];
    if (qx_setting_is_fp32(&weight->setting)) {
        return stored_put(w, i, err);
    }
    float *p = qx_mem_aligned((size_t)t->numel * sizeof *p);
    const enum qx_status st =
        p ? qx_fakequant(t, layer->channels, &weight->setting, pool, ctl, p, NULL, NULL, err)
          : qx_fail_nomem(err, (size_t)t->numel * sizeof *p);
    if (st != QX_OK) {
        qx_mem_free(p);
        return st;
    }
    weight->changed = p;
    changed_put(weight);
    return QX_OK;
}

/* Make them again; with a program, only those that it reads. After a failure those that are missing
 * still are. */
static enum qx_status restore(struct qx_weights *w, const struct qx_exec *exec,
                              struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && w->is_slim && i < w->net->n_values; i++) {
        const struct qx_value *v = w->net->values[i];
        if (v->tensor >= 0 && is_missing(&w->values[i]) && (!exec || qx_exec_reads(exec, v))) {
            st = copy_make(w, i, pool, ctl, err);
        }
    }
    w->is_slim &= st != QX_OK || exec != NULL;
    return st;
}

static enum qx_status act_check(const struct qx_layer *layer, const struct qx_setting *s,
                                struct qx_error *err)
{
    return qx_setting_is_int(s) && qx_act_open(&s->act)
               ? qx_fail(err, QX_EDATA,
                         "the inputs of layer '%.100s' have no range yet: calibrate them first",
                         layer->name)
               : QX_OK;
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
    enum qx_status st = restore(w, NULL, pool, ctl, err);
    if (st != QX_OK) {
        return st;
    }
    st = act_check(layer, s, err);
    if (st != QX_OK) {
        return st;
    }
    if (qx_setting_is_fp32(s)) {
        st = stored_put(w, w->net->value_of_tensor[layer->tensor], err);
    } else if (!qx_setting_equal_weight(&weight->setting, s)) {
        st = requantize(w, layer, weight, s, pool, ctl, err);
    }
    if (st == QX_OK) {
        setting_put(w, weight, s);
    }
    return st;
}

enum qx_status qx_weights_set(struct qx_weights *w, int i, const struct qx_setting *s,
                              struct qx_error *err)
{
    const struct qx_layer *layer = qx_net_layer(w->net, i);
    enum qx_status st =
        layer ? act_check(layer, s, err) : qx_fail(err, QX_ERANGE, "there is no layer %d", i);
    if (st != QX_OK) {
        return st;
    }
    struct qx_weight *weight = &w->values[w->net->value_of_tensor[layer->tensor]];
    if (qx_setting_equal(&weight->setting, s)) {
        return QX_OK;
    }
    qx_mem_free(weight->changed);
    weight->changed = NULL;
    if (!qx_setting_is_fp32(s) && w->is_lazy) {
        stored_drop(w, w->net->value_of_tensor[layer->tensor]);
    }
    weight->data = qx_setting_is_fp32(s) ? weight->stored : NULL;
    weight->is_in_file = qx_setting_is_fp32(s) && !weight->stored && w->is_thin &&
                         qx_weight_may_stay(w->net, w->net->value_of_tensor[layer->tensor]);
    w->is_slim |= is_missing(weight);
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
    enum qx_status st = restore(w, NULL, NULL, NULL, err);
    if (st != QX_OK) {
        return st;
    }
    if (values && !weight->changed && !(weight->changed = qx_mem_aligned(n * sizeof *values))) {
        return qx_fail_nomem(err, n * sizeof *values);
    }
    if (!values && (st = stored_put(w, w->net->value_of_tensor[layer->tensor], err)) != QX_OK) {
        return st;
    }
    struct qx_setting s = qx_setting_int(0); /* no width: equal to no setting */
    if (act) {
        s.act = *act;
    }
    if (values) {
        memcpy(weight->changed, values, n * sizeof *values);
        changed_put(weight);
    }
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

static bool has_packed(const struct qx_weights *w)
{
    for (int i = 0; i < w->net->n_values; i++) {
        const struct qx_value *v = w->net->values[i];
        if (v->tensor >= 0 && is_layer(w, v) && qx_weight_is_packed(w, v)) {
            return true;
        }
    }
    return false;
}

/* Bytes of the float32 copies that a simulation reads. */
static uint64_t copies_bytes(const struct qx_weights *w)
{
    uint64_t bytes = 0;
    for (int i = 0; i < w->net->n_values; i++) {
        const struct qx_value *v = w->net->values[i];
        if (v->tensor >= 0 && is_layer(w, v)) {
            const struct qx_tensor *t = qx_model_tensor(w->net->model, v->tensor);
            const bool is_stored = is_in_place(t) && qx_setting_is_fp32(&w->values[i].setting);
            bytes += is_stored ? 0 : (uint64_t)t->numel * sizeof(float);
        }
    }
    return bytes;
}

static enum qx_engine engine_choose(const struct qx_weights *w)
{
    return w->has_act                                                     ? QX_ENGINE_INTEGER
           : w->is_lazy && has_packed(w) && copies_bytes(w) > COPIES_MOST ? QX_ENGINE_PACKED
                                                                          : QX_ENGINE_SIMULATED;
}

/* Does the engine's name fit what the settings ask for? */
static enum qx_status engine_check(const struct qx_weights *w, enum qx_engine engine,
                                   struct qx_error *err)
{
    if (has_put(w)) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "a layer holds values that no setting gives: they can only be simulated");
    }
    if (engine == QX_ENGINE_INTEGER && !w->has_act) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "no layer quantizes its input, so nothing would run on integers: add "
                       "--act-bits 8 or --dynamic, or use --engine packed or simulated");
    }
    if (engine == QX_ENGINE_PACKED && w->has_act) {
        return qx_fail(
            err, QX_EUNSUPPORTED,
            "inputs are quantized, so products are not float32: use --engine integer or simulated");
    }
    return engine != QX_ENGINE_PACKED || has_packed(w)
               ? QX_OK
               : qx_fail(err, QX_EUNSUPPORTED,
                         "every weight is float32: there is nothing to keep packed");
}

enum qx_status qx_weights_prepare(struct qx_weights *w, enum qx_engine engine, struct qx_pool *pool,
                                  struct qx_ctl *ctl, struct qx_error *err)
{
    const bool is_auto = engine == QX_ENGINE_AUTO;
    struct qx_exec *exec = w->exec;
    struct qx_error why = {0};
    engine = is_auto ? engine_choose(w) : engine;
    enum qx_status st = QX_OK;
    if (engine != QX_ENGINE_SIMULATED) {
        st = engine_check(w, engine, &why);
    }
    if (st == QX_OK && engine != QX_ENGINE_SIMULATED && !exec) {
        st = qx_exec_new(w, engine == QX_ENGINE_INTEGER ? w->old : NULL, pool, ctl, &exec, &why);
    }
    qx_exec_free(w->old);
    w->old = NULL;
    if (st == QX_EUNSUPPORTED && is_auto) {
        engine = QX_ENGINE_SIMULATED;
        st = QX_OK;
    }
    if (st == QX_OK) {
        st = restore(w, engine == QX_ENGINE_PACKED ? exec : NULL, pool, ctl, &why);
    }
    if (st != QX_OK) {
        if (exec != w->exec) {
            qx_exec_free(exec);
        }
        if (err) {
            *err = why;
        }
        return st;
    }
    w->exec = exec;
    w->engine = engine;
    if (engine == QX_ENGINE_PACKED) {
        slim(w);
        qx_mem_trim();
    }
    return QX_OK;
}

enum qx_engine qx_weights_engine(const struct qx_weights *w)
{
    return w->engine;
}

uint64_t qx_weights_bytes(const struct qx_weights *w)
{
    const struct qx_exec *e = qx_weights_exec(w);
    uint64_t bytes = 0;
    for (int i = 0; i < w->net->n_values; i++) {
        const struct qx_value *v = w->net->values[i];
        if (v->tensor >= 0 && w->net->layer_of_tensor[v->tensor] >= 0) {
            const size_t packed = e ? qx_exec_bytes(e, v) : 0;
            const bool is_float = packed == 0 || qx_exec_reads(e, v);
            const struct qx_tensor *t = qx_model_tensor(w->net->model, v->tensor);
            const uint64_t floats =
                w->values[i].is_in_file ? t->bytes : (uint64_t)t->numel * sizeof(float);
            bytes += packed + (is_float ? floats : 0);
        }
    }
    return bytes;
}

static const char *const engine_names[] = {[QX_ENGINE_AUTO] = "auto",
                                           [QX_ENGINE_SIMULATED] = "simulated",
                                           [QX_ENGINE_INTEGER] = "integer",
                                           [QX_ENGINE_PACKED] = "packed"};

const char *qx_engine_name(enum qx_engine engine)
{
    return engine_names[engine];
}

enum qx_status qx_engine_parse(const char *name, enum qx_engine *out, struct qx_error *err)
{
    for (int i = QX_ENGINE_SIMULATED; i <= QX_ENGINE_PACKED; i++) {
        if (strcmp(name, engine_names[i]) == 0) {
            *out = (enum qx_engine)i;
            return QX_OK;
        }
    }
    return qx_fail(err, QX_ENAME, "unknown engine '%.40s': choose simulated, integer or packed",
                   name);
}
