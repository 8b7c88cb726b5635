#include "eval/similarity.h"

#include "kernels/kernels.h"

#include <math.h>

static const float per_similarity = 20.0f; /* 1 / temperature */

bool qx_unit_make(float *v, int d)
{
    double squares = 0.0;
    for (int k = 0; k < d; k++) {
        squares += (double)v[k] * (double)v[k];
    }
    const float norm = (float)sqrt(squares);
    if (!(norm > 0.0f && isfinite(norm))) {
        return false;
    }
    for (int k = 0; k < d; k++) {
        v[k] /= norm;
    }
    return true;
}

void qx_similarity_logits(const float *v, int64_t n, int d, float *z)
{
    qxk_sgemm(0, 1, n, n, d, per_similarity, v, d, v, d, 0.0f, z, n);
    for (int64_t i = 0; i < n; i++, z += n) {
        float least = z[i];
        for (int64_t k = 0; k < n; k++) {
            least = z[k] < least ? z[k] : least;
        }
        z[i] = least;
    }
}
