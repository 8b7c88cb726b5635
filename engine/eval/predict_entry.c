/* One measured site: its change of the logits, split into gain, class shift and residual
 * (prediction.md 3.1). */
#include "eval/predict_impl.h"

#include "base/error.h"
#include "base/mem.h"
#include "kernels/kernels.h"

#include <math.h>

enum qx_status qx_entry_alloc(int64_t n, int n_classes, struct qx_predict_entry **out,
                              struct qx_error *err)
{
    const size_t cells = (size_t)n * (size_t)n_classes;
    struct qx_predict_entry *e = qx_mem_zalloc(sizeof *e);
    if (!e) {
        return qx_fail_nomem(err, sizeof *e);
    }
    atomic_init(&e->refs, 1);
    e->n = n;
    e->n_classes = n_classes;
    e->b = qx_mem_zalloc((size_t)n_classes * sizeof *e->b);
    e->r = qx_mem_array(cells, sizeof *e->r);
    if (!e->b || !e->r) {
        qx_predict_entry_unref(e);
        return qx_fail_nomem(err, cells * sizeof *e->r);
    }
    *out = e;
    return QX_OK;
}

bool qx_entry_is_finite(const struct qx_predict_entry *e)
{
    for (int64_t i = 0; i < e->n * e->n_classes; i++) {
        if ((e->r[i] & 0x7c00) == 0x7c00) { /* infinity, NaN */
            return false;
        }
    }
    return true;
}

/* z1 centred; becomes the residual. */
static void split(const struct qx_predict_base *base, struct qx_predict_entry *e, float *z1)
{
    const int n_classes = base->n_classes;
    const int64_t n = base->n;
    double dot = 0.0, sq = 0.0;
    for (int c = 0; c < n_classes; c++) { /* m1 = mean_n z1, kept in b for now */
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++) {
            sum += (double)z1[i * n_classes + c];
        }
        e->b[c] = (float)(sum / (double)n);
    }
    for (int64_t i = 0; i < n * n_classes; i++) {
        const int c = (int)(i % n_classes);
        dot += (double)(z1[i] - e->b[c]) * (double)(base->z0[i] - base->mean[c]);
    }
    /* gamma = sum (z1 - m1) zt / sum zt^2 */
    e->gamma = base->sq_dev > 0.0 ? dot / base->sq_dev : 1.0;
    for (int c = 0; c < n_classes; c++) { /* b = m1 - gamma zbar */
        e->b[c] = (float)((double)e->b[c] - e->gamma * (double)base->mean[c]);
    }
    for (int64_t i = 0; i < n * n_classes; i++) { /* r = z1 - gamma z0 - b */
        const double r =
            (double)z1[i] - e->gamma * (double)base->z0[i] - (double)e->b[(int)(i % n_classes)];
        z1[i] = (float)fmin(fmax(r, -65504.0), 65504.0);
    }
    qxk_get()->f32_to_f16(z1, (size_t)(n * n_classes), (void *)e->r);
    qxk_get()->f16_to_f32((const void *)e->r, (size_t)(n * n_classes), z1);
    for (int64_t i = 0; i < n * n_classes; i++) {
        sq += (double)z1[i] * (double)z1[i];
    }
    e->norm = sqrt(sq);
}

enum qx_status qx_predict_entry_new(const struct qx_predict_base *base,
                                    const struct qx_predict_spec *spec, uint64_t key,
                                    struct qx_amplitude t, const float *z,
                                    struct qx_predict_entry **out, struct qx_error *err)
{
    const size_t cells = (size_t)base->n * (size_t)base->n_classes;
    struct qx_predict_entry *e = NULL;
    for (size_t i = 0; i < cells; i++) {
        if (!isfinite(z[i])) {
            return qx_fail(err, QX_EDATA,
                           "the network's answer is not finite once layer %d is quantized",
                           spec->layer);
        }
    }
    float *z1 = qx_mem_array(cells, sizeof *z1);
    enum qx_status st = z1 ? qx_entry_alloc(base->n, base->n_classes, &e, err)
                           : qx_fail_nomem(err, cells * sizeof *z1);
    if (st == QX_OK) {
        e->base_id = base->id;
        e->spec = *spec;
        e->key = key;
        e->t = t;
        qx_predict_compare(base, z, &e->truth);
        qx_centre(z, base->n, base->n_classes, z1);
        split(base, e, z1);
        *out = e;
    }
    qx_mem_free(z1);
    return st;
}

struct qx_predict_entry *qx_predict_entry_ref(const struct qx_predict_entry *entry)
{
    struct qx_predict_entry *e = (struct qx_predict_entry *)entry;
    atomic_fetch_add(&e->refs, 1);
    return e;
}

void qx_predict_entry_unref(struct qx_predict_entry *e)
{
    if (e && atomic_fetch_sub(&e->refs, 1) == 1) {
        qx_mem_free(e->b);
        qx_mem_free(e->r);
        qx_mem_free(e);
    }
}

void qx_predict_entry_look(const struct qx_predict_entry *e, struct qx_predict_entry_info *out)
{
    *out = (struct qx_predict_entry_info){.spec = e->spec,
                                          .key = e->key,
                                          .t = e->t,
                                          .gamma = e->gamma,
                                          .residual = e->norm,
                                          .truth = e->truth};
}
