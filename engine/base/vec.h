/* Four floats at a time, for the loops that every row passes through: the compiler needs no option to
 * see them, and builds with sanitizers check one access instead of four. */
#ifndef QX_BASE_VEC_H
#define QX_BASE_VEC_H

#include <stdint.h>
#include <string.h>

#define QX_VEC 4
typedef float qx_vec __attribute__((vector_size(QX_VEC * sizeof(float))));
typedef int32_t qx_vec_mask __attribute__((vector_size(QX_VEC * sizeof(int32_t))));

static inline qx_vec qx_vec_load(const float *p)
{
    qx_vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void qx_vec_store(float *p, qx_vec v)
{
    memcpy(p, &v, sizeof v);
}

static inline qx_vec qx_vec_all(float x)
{
    return (qx_vec){x, x, x, x};
}

/* a where the mask is set, else b */
static inline qx_vec qx_vec_select(qx_vec_mask mask, qx_vec a, qx_vec b)
{
    return (qx_vec)(((qx_vec_mask)a & mask) | ((qx_vec_mask)b & ~mask));
}

/* out[i] = x[i] * scale + shift; in place allowed. */
static inline void qx_vec_affine(const float *x, int64_t n, float scale, float shift, float *out)
{
    const qx_vec s = qx_vec_all(scale), t = qx_vec_all(shift);
    int64_t i = 0;
    for (; i + QX_VEC <= n; i += QX_VEC) {
        qx_vec_store(out + i, qx_vec_load(x + i) * s + t);
    }
    for (; i < n; i++) {
        out[i] = x[i] * scale + shift;
    }
}

#endif
