/* The state of a training, taken and put back. */
#include "method/train_impl.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

enum qx_status qx_train_kept_new(const struct qx_train *t, struct qx_train_kept *k,
                                 struct qx_error *err)
{
    k->values = qx_mem_array((size_t)t->n_values, sizeof *k->values);
    k->range = qx_mem_array((size_t)t->qat.n, sizeof *k->range);
    k->act = qx_mem_array((size_t)t->qat.n, sizeof *k->act);
    return k->values && k->range && k->act
               ? QX_OK
               : qx_fail_nomem(err, (size_t)t->n_values * sizeof *k->values);
}

void qx_train_kept_free(struct qx_train_kept *k)
{
    qx_mem_free(k->values);
    qx_mem_free(k->range);
    qx_mem_free(k->act);
}

/* Calls copy for every array that learns or follows, in a fixed order. */
static void each(const struct qx_train *t, float *values,
                 void (*copy)(float *kept, float *now, int64_t n))
{
    for (int i = 0; i < qx_tape_n_params(t->tape); i++) {
        struct qx_param *p = qx_tape_param(t->tape, i);
        copy(values, p->value, p->n);
        values += p->n;
    }
    for (int i = 0; i < t->qat.n; i++) {
        struct qx_qat_layer *l = &t->qat.v[i];
        copy(values, l->step, l->n_units);
        copy(values + l->n_units, &l->act_step, 1);
        values += l->n_units + 1;
    }
}

static void take(float *kept, float *now, int64_t n)
{
    memcpy(kept, now, (size_t)n * sizeof *now);
}

static void put(float *kept, float *now, int64_t n)
{
    memcpy(now, kept, (size_t)n * sizeof *now);
}

void qx_train_keep(const struct qx_train *t, struct qx_train_kept *k)
{
    each(t, k->values, take);
    for (int i = 0; i < t->qat.n; i++) {
        k->range[i] = t->qat.v[i].set.act.range;
        k->act[i] = t->qat.v[i].act;
    }
}

void qx_train_restore(struct qx_train *t, const struct qx_train_kept *k)
{
    each(t, k->values, put);
    for (int i = 0; i < t->qat.n; i++) {
        t->qat.v[i].set.act.range = k->range[i];
        t->qat.v[i].act = k->act[i];
    }
}
