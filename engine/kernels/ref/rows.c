#include "kernels/rungs.h"
#include "kernels/ref/math.h"

enum { LANES = 16 };

/* Lanes i and i+8, then i+4, i+2, i+1. */
static float fold(float *lane)
{
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            lane[i] += lane[i + half];
        }
    }
    return lane[0];
}

double qxk_row_sum(const float *v, int64_t n)
{
    double total = 0.0;
    for (int64_t i = 0; i < n; i += QXK_ROW_PART) {
        float lane[LANES] = {0};
        for (int64_t j = i; j < n && j < i + QXK_ROW_PART; j++) {
            lane[j % LANES] += v[j];
        }
        total += (double)fold(lane);
    }
    return total;
}

static double sum_squares(const float *v, int64_t n, float mean)
{
    double total = 0.0;
    for (int64_t i = 0; i < n; i += QXK_ROW_PART) {
        float lane[LANES] = {0};
        for (int64_t j = i; j < n && j < i + QXK_ROW_PART; j++) {
            float d = v[j] - mean;
            lane[j % LANES] = fmaf(d, d, lane[j % LANES]);
        }
        total += (double)fold(lane);
    }
    return total;
}

void qxk_layer_norm_ref(const float *x, int64_t n, const struct qxk_norm *norm, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = norm->add ? x[i] + norm->add[i] : x[i];
    }
    float mean = (float)(qxk_row_sum(y, n) / (double)n);
    double var = sum_squares(y, n, mean) / (double)n;
    float inverse = (float)(1.0 / sqrt(var + (double)norm->eps));
    for (int64_t i = 0; i < n; i++) {
        float v = (y[i] - mean) * inverse;
        y[i] = fmaf(v, norm->gamma ? norm->gamma[i] : 1.0f, norm->beta ? norm->beta[i] : -0.0f);
    }
}

void qxk_softmax_ref(const float *x, int64_t n, float scale, const float *mask, float *y)
{
    float top = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        y[i] = mask ? x[i] * scale + mask[i] : x[i] * scale;
        top = larger(y[i], top);
    }
    for (int64_t i = 0; i < n; i++) {
        y[i] = exp_ref(y[i] - top);
    }
    float inverse = (float)(1.0 / qxk_row_sum(y, n));
    for (int64_t i = 0; i < n; i++) {
        y[i] *= inverse;
    }
}

void qxk_gelu_ref(const float *x, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = gelu_ref(x[i]);
    }
}

void qxk_gelu_tanh_ref(const float *x, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = gelu_tanh_ref(x[i]);
    }
}
