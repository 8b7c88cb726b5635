/* One measured site: its change of the logits, split into gain, class shift and residual
 * (prediction.md 3.1). */
#include "eval/predict_impl.h"

#include "base/error.h"
#include "base/mem.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

enum qx_status qx_entry_alloc(int64_t n, int width, struct qx_predict_entry **out,
                              struct qx_error *err)
{
    const size_t cells = (size_t)n * (size_t)width;
    struct qx_predict_entry *e = qx_mem_zalloc(sizeof *e);
    if (!e) {
        return qx_fail_nomem(err, sizeof *e);
    }
    atomic_init(&e->refs, 1);
    e->n = n;
    e->width = width;
    e->b = qx_mem_zalloc((size_t)width * sizeof *e->b);
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
    for (int64_t i = 0; i < e->n * e->width; i++) {
        if ((e->r[i] & 0x7c00) == 0x7c00) { /* infinity, NaN */
            return false;
        }
    }
    return true;
}

/* v becomes the residual. */
static void split(const struct qx_predict_base *base, struct qx_predict_entry *e, float *v)
{
    const int width = base->width;
    const int64_t n = base->n;
    double dot = 0.0, sq = 0.0;
    for (int c = 0; c < width; c++) { /* m1 = mean_n v, kept in b for now */
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++) {
            sum += (double)v[i * width + c];
        }
        e->b[c] = (float)(sum / (double)n);
    }
    for (int64_t i = 0; i < n * width; i++) {
        const int c = (int)(i % width);
        dot += (double)(v[i] - e->b[c]) * (double)(base->v0[i] - base->mean[c]);
    }
    /* gamma = sum (v - m1) vt / sum vt^2, vt = v0 - vbar */
    e->gamma = base->sq_dev > 0.0 ? dot / base->sq_dev : 1.0;
    for (int c = 0; c < width; c++) { /* b = m1 - gamma vbar */
        e->b[c] = (float)((double)e->b[c] - e->gamma * (double)base->mean[c]);
    }
    for (int64_t i = 0; i < n * width; i++) { /* r = v - gamma v0 - b */
        const double r =
            (double)v[i] - e->gamma * (double)base->v0[i] - (double)e->b[(int)(i % width)];
        v[i] = (float)fmin(fmax(r, -65504.0), 65504.0);
    }
    qxk_get()->f32_to_f16(v, (size_t)(n * width), (void *)e->r);
    qxk_get()->f16_to_f32((const void *)e->r, (size_t)(n * width), v);
    for (int64_t i = 0; i < n * width; i++) {
        sq += (double)v[i] * (double)v[i];
    }
    e->norm = sqrt(sq);
}

enum qx_status qx_entry_make(const struct qx_predict_base *base, const struct qx_predict_spec *spec,
                             uint64_t key, struct qx_amplitude t, const float *z, const float *v,
                             struct qx_predict_entry **out, struct qx_error *err)
{
    const size_t cells = (size_t)base->n * (size_t)base->width;
    struct qx_predict_entry *e = NULL;
    for (size_t i = 0; i < (size_t)base->n * (size_t)base->n_classes; i++) {
        if (!isfinite(z[i])) {
            return qx_fail(err, QX_EDATA,
                           "the network's answer is not finite once layer %d is quantized",
                           spec->layer);
        }
    }
    float *v1 = qx_mem_array(cells, sizeof *v1);
    enum qx_status st =
        v1 ? qx_entry_alloc(base->n, base->width, &e, err) : qx_fail_nomem(err, cells * sizeof *v1);
    if (st == QX_OK) {
        e->base_id = base->id;
        e->spec = *spec;
        e->key = key;
        e->t = t;
        qx_predict_compare(base, z, &e->truth);
        if (v) {
            memcpy(v1, v, cells * sizeof *v1);
        } else {
            qx_centre(z, base->n, base->n_classes, v1);
        }
        split(base, e, v1);
        *out = e;
    }
    qx_mem_free(v1);
    return st;
}

enum qx_status qx_predict_entry_new(const struct qx_predict_base *base,
                                    const struct qx_predict_spec *spec, uint64_t key,
                                    struct qx_amplitude t, const float *z,
                                    struct qx_predict_entry **out, struct qx_error *err)
{
    if (qx_base_is_similarities(base)) {
        return qx_fail(err, QX_ERANGE,
                       "similarities alone do not say what their vectors are: a probe measures");
    }
    return qx_entry_make(base, spec, key, t, z, NULL, out, err);
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
