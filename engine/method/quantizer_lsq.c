/* LSQ, the learned step size (Esser et al., arXiv 1902.08153). With v = x / s, eq. 3 with a zero point:
 *   dx^/ds = rint(v) - v inside the range, qmin - z below, qmax - z above; dx^/dx = 1 inside, 0 outside. */
#include "method/quantizer.h"

/* Added to a float of magnitude below 2^22 and taken away again, it leaves the nearest whole number. */
#define ROUND 12582912.0f

static double back(const float *x, const float *d_y, int64_t n, const struct qxk_affine *q,
                   float *d_x)
{
    enum { BLOCK = 4096 }; /* sums of one block in float32 */
    const float inverse = 1.0f / q->scale, lo = q->qmin - q->zero, hi = q->qmax - q->zero;
    double sum = 0.0;
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int64_t end = n - first < BLOCK ? n : first + BLOCK;
        float part[4] = {0};
        for (int64_t i = first; i < end; i++) {
            const float v = x[i] * inverse;
            const float c = v < lo ? lo : v > hi ? hi : v;
            const bool is_inside = v > lo && v < hi;
            const float slope = is_inside ? ((c + ROUND) - ROUND) - v : c;
            part[i & 3] += d_y[i] * slope;
            d_x[i] += is_inside ? d_y[i] : 0.0f;
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
