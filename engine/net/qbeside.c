/* Products with factors of inputs and with columns that stay floats, beside their codes. */
#include "net/qlinear.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "kernels/kernels.h"

#include <string.h>

static uint64_t hash_of(const struct qx_beside *b)
{
    uint64_t h = b->n_kept > 0 ? qx_hash64(b->kept, (size_t)b->n_kept * sizeof *b->kept, 1) : 0;
    h = b->sub ? qx_hash64(b->sub, (size_t)b->channels * sizeof *b->sub, h + 2) : h;
    return b->div ? qx_hash64(b->div, (size_t)b->channels * sizeof *b->div, h + 1) : h;
}

enum qx_status qx_qbeside_set(struct qx_qlinear *q, const struct qx_overlay *o,
                              struct qx_error *err)
{
    const int64_t n = o->n_kept;
    q->beside =
        (struct qx_beside){.sub = q->act.bits > 0 ? o->in_shift : NULL,
                           .div = o->in_scale,
                           .channels = o->groups * o->channels.outer * o->channels.inner / o->taps,
                           .inner = q->kind == QX_QMATRIX ? 1 : q->w.h * q->w.w,
                           .kept = o->kept,
                           .n_kept = n};
    q->beside_hash = hash_of(&q->beside);
    q->has_factors = o->in_scale || o->out_scale || n > 0;
    if (n == 0) {
        return QX_OK;
    }
    q->kept_values = qx_mem_array((size_t)q->oc, (size_t)n * sizeof *q->kept_values);
    if (!q->kept_values) {
        return qx_fail_nomem(err, (size_t)(q->oc * n) * sizeof *q->kept_values);
    }
    memcpy(q->kept_values, o->kept_values, (size_t)(q->oc * n) * sizeof *q->kept_values);
    return QX_OK;
}

void qx_qbeside_fold(struct qx_qlinear *q)
{
    q->beside.div = NULL;
    q->beside_hash = hash_of(&q->beside);
}

bool qx_qbeside_is(const struct qx_qlinear *q)
{
    return q->beside.sub || q->beside.div || q->beside.n_kept > 0;
}

/* What lies in front of a matrix product's own scratch. */
static void cut(const struct qx_qlinear *q, int64_t m, uint8_t *base, struct qx_qmatrix *out)
{
    struct qx_cut c = {base, 0};
    const bool has_kept = q->beside.n_kept > 0;
    out->x = qx_qbeside_is(q) ? qx_cut_take(&c, (size_t)(m * q->k) * sizeof(float)) : NULL;
    out->kept = has_kept ? qx_cut_take(&c, (size_t)(m * q->beside.n_kept) * sizeof(float)) : NULL;
    out->y = has_kept ? qx_cut_take(&c, (size_t)(m * q->oc) * sizeof(float)) : NULL;
    out->rest = base ? base + c.used : NULL;
    out->used = c.used;
}

size_t qx_qbeside_scratch(const struct qx_qlinear *q, int64_t m)
{
    struct qx_qmatrix all;
    cut(q, m, NULL, &all);
    return all.used;
}

void qx_qbeside_begin(const struct qx_qlinear *q, const float *x, int64_t m, uint8_t *scratch,
                      struct qx_qmatrix *out)
{
    const int64_t n = q->beside.n_kept;
    cut(q, m, scratch, out);
    for (int64_t i = 0; out->kept && i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            out->kept[i * n + j] = x[i * q->k + q->beside.kept[j]];
        }
    }
    if (out->x) {
        qx_beside_apply(&q->beside, x, m * q->k, out->x);
    }
}

void qx_qbeside_end(const struct qx_qlinear *q, const struct qx_qmatrix *at, int64_t m,
                    bool is_codes, void *y)
{
    const int64_t n = q->beside.n_kept;
    qxk_sgemm(0, 1, m, q->oc, n, 1.0f, at->kept, n, q->kept_values, n, 1.0f, at->y, q->oc);
    for (int64_t i = 0; i < m; i++) {
        qx_qact_row(q, q->behind, q->oc, at->y + i * q->oc);
    }
    qx_qfinish(q, at->y, m * q->oc, is_codes, y);
}
