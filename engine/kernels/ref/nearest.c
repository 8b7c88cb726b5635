#include "kernels/rungs.h"

#include <math.h>
#include <stdbool.h>

static int64_t nearest(const float *x, size_t n, const struct qxk_book *b, float *y, uint8_t *codes)
{
    int64_t n_nonfinite = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_finite = isfinite(x[i]);
        int k = is_finite ? qxk_book_code(b, x[i]) : b->zero;
        n_nonfinite += !is_finite;
        if (y) {
            y[i] = b->level[k] * b->scale;
        }
        if (codes) {
            codes[i] = (uint8_t)k;
        }
    }
    return n_nonfinite;
}

int64_t qxk_nearest4_ref(const float *x, size_t n, const struct qxk_book *b, float *y,
                         uint8_t *codes)
{
    return nearest(x, n, b, y, codes);
}

int64_t qxk_nearest8_ref(const float *x, size_t n, const struct qxk_book *b, float *y,
                         uint8_t *codes)
{
    return nearest(x, n, b, y, codes);
}
