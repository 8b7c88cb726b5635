/* LSQ, the learned step size (Esser et al., arXiv 1902.08153). With v = x / s, eq. 3 with a zero point:
 *   dx^/ds = rint(v) - v inside the range, qmin - z below, qmax - z above; dx^/dx = 1 inside, 0 outside. */
#include "method/quantizer.h"

#include "base/vec.h"

/* Added to a float of magnitude below 2^22 and taken away again, it leaves the nearest whole number. */
#define ROUND 12582912.0f

/* One value; returns dx^/ds d_y. */
static float one(float x, float d_y, float inverse, float lo, float hi, float *d_x)
{
    const float v = x * inverse, c = v < lo ? lo : v > hi ? hi : v;
    const bool is_inside = v > lo && v < hi;
    *d_x = is_inside ? d_y : 0.0f;
    return d_y * (is_inside ? ((c + ROUND) - ROUND) - v : c);
}

static double back(const float *x, const float *d_y, int64_t n, const struct qxk_affine *q,
                   float *d_x)
{
    enum { BLOCK = 4096 }; /* sums of one block in float32 */
    const float inverse = 1.0f / q->scale, lo = q->qmin - q->zero, hi = q->qmax - q->zero;
    const qx_vec vlo = qx_vec_all(lo), vhi = qx_vec_all(hi), round = qx_vec_all(ROUND);
    double sum = 0.0;
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int64_t end = n - first < BLOCK ? n : first + BLOCK;
        qx_vec part = qx_vec_all(0.0f);
        int64_t i = first;
        for (; i + QX_VEC <= end; i += QX_VEC) {
            const qx_vec v = qx_vec_load(x + i) * qx_vec_all(inverse), d = qx_vec_load(d_y + i);
            const qx_vec c = qx_vec_select(v < vlo, vlo, qx_vec_select(v > vhi, vhi, v));
            const qx_vec_mask is_inside = (v > vlo) & (v < vhi);
            part += d * qx_vec_select(is_inside, ((c + round) - round) - v, c);
            qx_vec_store(d_x + i, (qx_vec)((qx_vec_mask)d & is_inside));
        }
        for (; i < end; i++) {
            sum += (double)one(x[i], d_y[i], inverse, lo, hi, d_x + i);
        }
        sum += ((double)part[0] + (double)part[1]) + ((double)part[2] + (double)part[3]);
    }
    return sum;
}

static const struct qx_quantizer_fn fn = {.weights = back, .inputs = back};

const struct qx_quantizer qx_quantizer_lsq = {
    .name = "lsq",
    .title = "LSQ",
    .help = "Learned step size: scales of weights and inputs are trained with the weights (arXiv "
            "1902.08153).",
    .learns_weights = true,
    .learns_inputs = true,
    .dampen = 3.0, /* fashion-cnn: held-out losses as without, within what the seed makes of them */
    .fn = &fn,
};
