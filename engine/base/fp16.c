#include "base/fp16.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float qx_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    uint32_t exp = (h >> 10) & 31, man = h & 0x3FF;
    if (exp == 31) { /* a signalling NaN becomes quiet, as the hardware conversion does */
        return float_of(sign | 0x7F800000 | man << 13 | (man ? 0x400000u : 0));
    }
    if (exp == 0) {
        float tiny = (float)man * 0x1p-24f;
        return float_of(sign | bits_of(tiny));
    }
    return float_of(sign | (exp + 112) << 23 | man << 13);
}

/* Finite or infinite magnitude bits to half, round toward zero, with the bits cut off reported as
 * the fraction rest / 2^32 of the last place. */
static uint32_t half_cut(uint32_t mag, uint32_t *rest)
{
    if (mag >= 0x38800000) { /* normal half */
        *rest = mag << 19;
        return (mag - 0x38000000) >> 13;
    }
    if (mag < 0x32800000) { /* below half of the smallest subnormal */
        *rest = mag != 0;
        return 0;
    }
    uint32_t man = (mag & 0x7FFFFF) | 0x800000;
    int shift = 126 - (int)(mag >> 23); /* 14 .. 25 */
    uint64_t wide = (uint64_t)man << 32 >> shift;
    *rest = (uint32_t)wide;
    return (uint32_t)(wide >> 32);
}

uint16_t qx_f32_to_f16(float f)
{
    uint32_t u = bits_of(f), mag = u & 0x7FFFFFFF;
    uint32_t sign = (u >> 16) & 0x8000;
    if (mag > 0x7F800000) {
        return (uint16_t)(sign | 0x7E00 | (mag >> 13 & 0x3FF));
    }
    if (mag >= 0x477FF000) { /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7C00);
    }
    uint32_t rest, h = half_cut(mag, &rest);
    if (rest > 0x80000000u || (rest == 0x80000000u && (h & 1))) {
        h++;
    }
    return (uint16_t)(sign | h);
}

uint16_t qx_f32_to_f16_rz(float f)
{
    uint32_t u = bits_of(f), mag = u & 0x7FFFFFFF;
    uint32_t sign = (u >> 16) & 0x8000;
    if (mag > 0x7F800000) {
        return (uint16_t)(sign | 0x7E00 | (mag >> 13 & 0x3FF));
    }
    if (mag == 0x7F800000) {
        return (uint16_t)(sign | 0x7C00);
    }
    uint32_t rest;
    return (uint16_t)(sign | (mag >= 0x47800000 ? 0x7BFF : half_cut(mag, &rest)));
}

float qx_bf16_to_f32(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}

uint16_t qx_f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);
    if ((u & 0x7FFFFFFF) > 0x7F800000) {
        return (uint16_t)(u >> 16 | 0x40);
    }
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

float qx_f8e4m3_to_f32(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80) << 24;
    uint32_t exp = (b >> 3) & 15, man = b & 7;
    if (exp == 15 && man == 7) {
        return float_of(sign | 0x7FC00000);
    }
    if (exp == 0) {
        return float_of(sign | bits_of((float)man * 0x1p-9f));
    }
    return float_of(sign | (exp + 120) << 23 | man << 20);
}

float qx_f8e5m2_to_f32(uint8_t b)
{
    return qx_f16_to_f32((uint16_t)((uint32_t)b << 8)); /* the upper byte of a half */
}

/* Magnitude bits to a float of m bits of mantissa whose normal values start at 2^e_min: those are the
 * upper bits of the float32 moved to the smaller bias, the others multiples of 2^(e_min - m). */
static uint8_t small_of(float f, int m, int e_min, uint8_t largest)
{
    uint32_t u = bits_of(f), mag = u & 0x7FFFFFFF, code;
    uint8_t sign = (uint8_t)(u >> 24 & 0x80);
    int cut = 23 - m;
    if (mag > 0x7F800000) {
        return sign | 0x7F;
    }
    if (mag < (uint32_t)(127 + e_min) << 23) {
        code = (uint32_t)lrintf(float_of(mag) * float_of((uint32_t)(127 + m - e_min) << 23));
    } else {
        code = (mag + ((1u << cut) / 2 - 1) + (mag >> cut & 1)) >> cut;
        code -= (uint32_t)(126 + e_min) << m;
    }
    return sign | (uint8_t)(code < largest ? code : largest);
}

uint8_t qx_f32_to_f8e4m3(float f)
{
    return small_of(f, 3, -6, 0x7E);
}

uint8_t qx_f32_to_f8e5m2(float f)
{
    return small_of(f, 2, -14, 0x7B);
}
