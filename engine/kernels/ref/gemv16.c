#include "kernels/rungs.h"
#include "base/fp16.h"

#include <math.h>
#include <string.h>

enum { SUMS = 32 };

typedef float widen_fn(uint16_t bits);

static float sum_of(const unsigned char *w, int64_t n, const float *x, widen_fn *widen)
{
    float sum[SUMS] = {0};
    for (int64_t k = 0; k < n; k++) {
        uint16_t bits;
        memcpy(&bits, w + 2 * k, sizeof bits);
        sum[k % SUMS] = fmaf(x[k], widen(bits), sum[k % SUMS]);
    }
    for (int step = SUMS / 2; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) {
            sum[i] += sum[i + step];
        }
    }
    return sum[0];
}

static void gemv16(const void *w, int64_t n, int64_t k, const float *x, float *y, widen_fn *widen)
{
    const unsigned char *at = w;
    for (int64_t o = 0; o < n; o++, at += 2 * k) {
        y[o] = 0.0f;
        for (int64_t first = 0; first < k; first += QXK_GEMV_PART) {
            const int64_t left = k - first, part = left < QXK_GEMV_PART ? left : QXK_GEMV_PART;
            y[o] += sum_of(at + 2 * first, part, x + first, widen);
        }
    }
}

void qxk_gemv_f16_ref(const void *w, int64_t n, int64_t k, const float *x, float *y)
{
    gemv16(w, n, k, x, y, qx_f16_to_f32);
}

void qxk_gemv_bf16_ref(const void *w, int64_t n, int64_t k, const float *x, float *y)
{
    gemv16(w, n, k, x, y, qx_bf16_to_f32);
}
