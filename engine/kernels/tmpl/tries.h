/* Codes under several scales at once: a lane is a try. */
#ifndef QXK_TMPL_TRIES_H
#define QXK_TMPL_TRIES_H

#include "kernels/rungs.h"
#include "kernels/tmpl/vec.h"

enum { PARTS = QXK_TRIES / VL };

struct try_lanes {
    vf inv[PARTS], shift[PARTS], lo, hi;
};

INLINE struct try_lanes lanes_of(const struct qxk_tries *t)
{
    struct try_lanes l = {.lo = vf_set1(t->lo), .hi = vf_set1(t->hi)};
#pragma GCC unroll 2
    for (int p = 0; p < PARTS; p++) {
        l.inv[p] = vf_load(t->inv + p * VL);
        l.shift[p] = vf_load(t->shift + p * VL);
    }
    return l;
}

INLINE vf lanes_code(const struct try_lanes *l, int p, vf x)
{
    const vf magic = vf_set1(0x1.8p23f);
    const vf q = vf_min(vf_max(vf_add(vf_mul(x, l->inv[p]), l->shift[p]), l->lo), l->hi);
    return vf_sub(vf_add(q, magic), magic);
}

INLINE void code_sums(const float *x, const float *w, int64_t n, const struct qxk_tries *t,
                      struct qxk_code_sums *out)
{
    const struct try_lanes l = lanes_of(t);
    vf q1[PARTS], q2[PARTS], xq[PARTS];
#pragma GCC unroll 2
    for (int p = 0; p < PARTS; p++) {
        q1[p] = q2[p] = xq[p] = vf_set1(0.0f);
    }
    for (int64_t j = 0; j < n; j++) {
        const vf xj = vf_set1(x[j]), wx = w ? vf_set1(w[j] * x[j]) : xj;
#pragma GCC unroll 2
        for (int p = 0; p < PARTS; p++) {
            const vf q = lanes_code(&l, p, xj), wq = w ? vf_mul(vf_set1(w[j]), q) : q;
            q1[p] = vf_add(q1[p], wq);
            q2[p] = vf_add(q2[p], vf_mul(wq, q));
            xq[p] = vf_add(xq[p], vf_mul(wx, q));
        }
    }
#pragma GCC unroll 2
    for (int p = 0; p < PARTS; p++) {
        vf_store(out->q1 + p * VL, q1[p]);
        vf_store(out->q2 + p * VL, q2[p]);
        vf_store(out->xq + p * VL, xq[p]);
    }
}

void QXK_FN(code_sums)(const float *x, const float *w, int64_t n, const struct qxk_tries *t,
                       struct qxk_code_sums *out)
{
    if (w) {
        code_sums(x, w, n, t, out);
    } else {
        code_sums(x, NULL, n, t, out);
    }
}

INLINE void code_errors(const float *x, const float *w, int64_t n, const struct qxk_tries *t,
                        const float *scale, const float *min, float *error)
{
    const struct try_lanes l = lanes_of(t);
    vf s[PARTS], m[PARTS], sum[PARTS];
#pragma GCC unroll 2
    for (int p = 0; p < PARTS; p++) {
        s[p] = vf_load(scale + p * VL);
        m[p] = vf_load(min + p * VL);
        sum[p] = vf_set1(0.0f);
    }
    for (int64_t j = 0; j < n; j++) {
        const vf xj = vf_set1(x[j]);
#pragma GCC unroll 2
        for (int p = 0; p < PARTS; p++) {
            const vf y = vf_sub(vf_mul(s[p], lanes_code(&l, p, xj)), m[p]), e = vf_sub(xj, y);
            sum[p] = vf_add(sum[p], vf_mul(w ? vf_mul(vf_set1(w[j]), e) : e, e));
        }
    }
#pragma GCC unroll 2
    for (int p = 0; p < PARTS; p++) {
        vf_store(error + p * VL, sum[p]);
    }
}

void QXK_FN(code_errors)(const float *x, const float *w, int64_t n, const struct qxk_tries *t,
                         const float scale[QXK_TRIES], const float min[QXK_TRIES],
                         float error[QXK_TRIES])
{
    if (w) {
        code_errors(x, w, n, t, scale, min, error);
    } else {
        code_errors(x, NULL, n, t, scale, min, error);
    }
}

#endif
