/* What came of a training. */
#include "method/train_impl.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"

#include <string.h>

enum qx_status qx_train_result(struct qx_train *t, const struct qx_setting *set,
                               struct qx_trained *out, struct qx_error *err)
{
    const int n_layers = qx_net_n_layers(t->net);
    const size_t n_tensors = (size_t)qx_model_n_tensors(qx_net_model(t->net));
    qx_train_restore(t, &t->best);
    qx_qat_quantize(&t->qat, t->pool);
    out->set = qx_mem_array((size_t)n_layers + 1, sizeof *out->set);
    out->values = qx_mem_zalloc((n_tensors + 1) * sizeof *out->values);
    if (!out->set || !out->values) {
        return qx_fail_nomem(err, n_tensors * sizeof *out->values);
    }
    out->n_tensors = (int64_t)n_tensors;
    memcpy(out->set, set, (size_t)n_layers * sizeof *set);
    for (int i = 0; i < t->qat.n; i++) {
        out->set[t->qat.v[i].layer] = qx_qat_setting(&t->qat.v[i]);
    }
    for (int i = 0; i < qx_tape_n_params(t->tape); i++) {
        const struct qx_param *p = qx_tape_param(t->tape, i);
        float *v = qx_mem_array((size_t)p->n, sizeof *v);
        if (!v) {
            return qx_fail_nomem(err, (size_t)p->n * sizeof *v);
        }
        memcpy(v, p->used, (size_t)p->n * sizeof *v);
        out->values[p->tensor] = v;
    }
    out->best = t->best_epoch;
    out->best_accuracy = t->best_accuracy;
    out->best_perplexity = t->best_perplexity;
    out->time_s = qx_clock_s() - t->start_s;
    out->steps_s = t->steps_s;
    out->n_data = qx_dataset_n(t->data);
    out->n_rows = t->n_train;
    out->epoch_rows = t->n_epoch;
    out->n_held_out = t->n_held_out;
    out->n_steps = t->step;
    return QX_OK;
}

void qx_trained_free(struct qx_trained *t)
{
    if (!t) {
        return;
    }
    for (int64_t i = 0; t->values && i < t->n_tensors; i++) {
        qx_mem_free(t->values[i]);
    }
    qx_mem_free(t->values);
    qx_mem_free(t->set);
    qx_mem_free(t);
}
