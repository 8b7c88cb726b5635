/* PACT, parameterized clipping of inputs (Choi et al., arXiv 1805.06085, eq. 2 and 3): y = clamp(x, 0, a),
 * and d y / d a = 1 where x >= a, else 0. The range's upper end is a = (qmax - z) s, so the gradient by s is
 * that by a times qmax - z; a lower end below 0 learns in the same way. Weights follow their largest values. */
#include "method/quantizer.h"

static double back(const float *x, const float *d_y, int64_t n, const struct qxk_affine *q,
                   float *d_x)
{
    enum { BLOCK = 4096 }; /* sums of one block in float32 */
    const float lo = (q->qmin - q->zero) * q->scale, hi = (q->qmax - q->zero) * q->scale;
    double below = 0.0, above = 0.0;
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int64_t end = n - first < BLOCK ? n : first + BLOCK;
        float low = 0.0f, high = 0.0f;
        for (int64_t i = first; i < end; i++) {
            low += x[i] < lo ? d_y[i] : 0.0f;
            high += x[i] >= hi ? d_y[i] : 0.0f;
            d_x[i] = x[i] >= lo && x[i] < hi ? d_y[i] : 0.0f;
        }
        below += (double)low;
        above += (double)high;
    }
    return below * (double)(q->qmin - q->zero) + above * (double)(q->qmax - q->zero);
}

static const struct qx_quantizer_fn fn = {.weights = qx_quantizer_through, .inputs = back};

const struct qx_quantizer qx_quantizer_pact = {
    .name = "pact",
    .title = "PACT",
    .help = "Learned clipping of inputs (arXiv 1805.06085); scales of weights follow their largest "
            "values.",
    .learns_inputs = true,
    .fn = &fn,
};
