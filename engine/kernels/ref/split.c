#include "kernels/rungs.h"

#include <math.h>
#include <string.h>

/* Field of the exponent: 2^(field - 127). */
static float power_of(uint32_t field)
{
    const uint32_t bits = field << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint32_t qxk_split_field(uint32_t largest_bits)
{
    const uint32_t field = largest_bits >> 23;
    return field < QXK_SPLIT_BITS + 1 ? 1 : field - QXK_SPLIT_BITS;
}

static uint32_t largest_bits(const float *x, int64_t n)
{
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

static void split_part(const float *x, int64_t n, int64_t ld, int8_t *digits,
                       struct qxk_split_part *part)
{
    const uint32_t largest = largest_bits(x, n), field = qxk_split_field(largest);
    if (largest >= 0x7F800000) {
        part->scale = NAN;
        return;
    }
    part->scale = power_of(field);
    for (int64_t i = 0; i < n; i++) {
        const int32_t v = (int32_t)rintf(x[i] * power_of(254 - field));
        const int8_t low = (int8_t)(uint8_t)(v & 255);
        const int32_t high = (v - low) / 256;
        const int8_t middle = (int8_t)(uint8_t)(high & 255);
        digits[i] = (int8_t)((high - middle) / 256);
        digits[ld + i] = middle;
        digits[2 * ld + i] = low;
        part->high += high;
        part->low += low;
    }
}

void qxk_split_row_ref(const float *x, int64_t k, int64_t part, int8_t *digits,
                       struct qxk_split_part *parts)
{
    const int64_t n = (k + part - 1) / part, ld = n * part;
    memset(digits, 0, (size_t)(QXK_DIGITS * ld));
    memset(parts, 0, (size_t)n * sizeof *parts);
    for (int64_t p = 0; p < n; p++) {
        const int64_t at = p * part, left = k - at;
        split_part(x + at, left < part ? left : part, ld, digits + at, &parts[p]);
    }
}
