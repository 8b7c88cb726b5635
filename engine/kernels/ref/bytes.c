#include "kernels/rungs.h"

void qxk_turn_u8_ref(const uint8_t *x, int64_t rows, int64_t columns, int64_t ldx, uint8_t *out,
                     int64_t ldo)
{
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            out[j * ldo + i] = x[i * ldx + j];
        }
    }
}

void qxk_sums_s8_ref(const int8_t *x, int64_t n, int64_t group, int32_t factor, int32_t *out)
{
    for (int64_t i = 0; i < n; i++, x += group) {
        int32_t sum = 0;
        for (int64_t k = 0; k < group; k++) {
            sum += x[k];
        }
        out[i] = factor * sum;
    }
}

void qxk_s8_to_f32_ref(const int8_t *q, size_t n, int32_t zero, float scale, float *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = (float)(q[i] - zero) * scale;
    }
}

void qxk_u4_to_f32_ref(const uint8_t *q, size_t n, const float *table, float *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = table[q[i / 2] >> i % 2 * 4 & 15];
    }
}
