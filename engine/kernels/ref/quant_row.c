#include "kernels/rungs.h"
#include "kernels/ref/math.h"

static void sum_groups(const uint8_t *q, int64_t k, int sign_bit, struct qxk_row_codes *out)
{
    int64_t group = out->group > 0 ? out->group : k;
    for (int64_t g = 0; out->sums && g * group < k; g++) {
        int64_t end = (g + 1) * group < k ? (g + 1) * group : k;
        int32_t sum = 0;
        for (int64_t i = g * group; i < end; i++) {
            sum += sign_bit < 0 ? q[i] : (int8_t)(q[i] ^ sign_bit);
        }
        out->sums[g] = sum * out->sum_factor;
    }
}

int64_t qxk_quant_row_ref(const float *x, int64_t k, int bits, bool is_u8,
                          struct qxk_row_codes *out)
{
    float top = (float)((1 << (bits - 1)) - 1), absmax = 0.0f;
    uint8_t *q = out->q, flip = is_u8 ? 0x80 : 0;
    int64_t n_nonfinite = 0;
    for (int64_t i = 0; i < k; i++) {
        absmax = isfinite(x[i]) ? larger(fabsf(x[i]), absmax) : absmax;
    }
    float scale = qxk_row_scale(absmax, top);
    for (int64_t i = 0; i < k; i++) {
        bool ok = isfinite(x[i]);
        float v = ok ? smaller(larger(rintf(x[i] / scale), -top), top) : 0.0f;
        n_nonfinite += !ok;
        q[i] = (uint8_t)((uint8_t)(int8_t)v ^ flip);
    }
    out->scale = scale;
    out->zero = is_u8 ? 128 : 0;
    sum_groups(q, k, flip, out);
    return n_nonfinite;
}

float qxk_row_scale(float size, float top)
{
    float scale = size / top;
    return scale > 0.0f ? scale : 1.0f;
}

int64_t qxk_quant_row_asym_ref(const float *x, int64_t k, int bits, struct qxk_row_codes *out)
{
    float top = (float)((1 << bits) - 1), lo = 0.0f, hi = 0.0f;
    uint8_t *q = out->q;
    int64_t n_nonfinite = 0;
    for (int64_t i = 0; i < k; i++) {
        bool ok = isfinite(x[i]);
        lo = ok && x[i] < lo ? x[i] : lo;
        hi = ok && x[i] > hi ? x[i] : hi;
        n_nonfinite += !ok;
    }
    float scale = qxk_row_scale(hi / 2 - lo / 2, top / 2); /* halves: hi - lo may overflow */
    float zero = smaller(larger(rintf(-lo / scale), 0.0f), top);
    for (int64_t i = 0; i < k; i++) {
        float v = isfinite(x[i]) ? rintf(x[i] / scale) : 0.0f;
        q[i] = (uint8_t)smaller(larger(v + zero, 0.0f), top);
    }
    out->scale = scale;
    out->zero = (int32_t)zero;
    sum_groups(q, k, -1, out);
    return n_nonfinite;
}
