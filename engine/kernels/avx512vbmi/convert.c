/* E4M3 to float32 by look-up: of a value with 3 bits of mantissa only the upper two bytes are not 0, and
 * each byte is one vpermi2b over the 128 codes without their sign. (E5M2 is a half, which has an
 * instruction of its own.) */
#include "kernels/rungs.h"

#include <immintrin.h>
#include <stdint.h>

struct bytes {
    __m512i low[2], high[2]; /* bytes 2 and 3 of the float32 of codes 0..63, 64..127 */
};

/* Sixteen codes from `first` on, one in each 32-bit lane. */
static inline __m512i codes16(int first)
{
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_add_epi32(lane, _mm512_set1_epi32(first));
}

static inline void store16(uint8_t *out, __m512i v)
{
    _mm_storeu_si128((__m128i *)(void *)out, _mm512_cvtepi32_epi8(v));
}

/* The bits, moved up, are a float 2^120 times too small; 127 is NaN. */
static inline struct bytes e4m3_bytes(void)
{
    uint8_t low[128], high[128];
    for (int i = 0; i < 128; i += 16) {
        __m512 f = _mm512_castsi512_ps(_mm512_slli_epi32(codes16(i), 20));
        __m512i u = _mm512_castps_si512(_mm512_mul_ps(f, _mm512_set1_ps(0x1p120f)));
        store16(low + i, _mm512_srli_epi32(u, 16));
        store16(high + i, _mm512_srli_epi32(u, 24));
    }
    high[127] = 0x7F;
    low[127] = 0xC0;
    return (struct bytes){{_mm512_loadu_si512(low), _mm512_loadu_si512(low + 64)},
                          {_mm512_loadu_si512(high), _mm512_loadu_si512(high + 64)}};
}

/* Sixty-four codes. Their dwords are dealt out first, so that interleaving within 128 bits leaves the
 * floats in order. */
static inline void decode64(const char *x, const struct bytes *b, float *out)
{
    const __m512i deal = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const __m512i sign = _mm512_set1_epi8((char)0x80), zero = _mm512_setzero_si512();
    __m512i v = _mm512_permutexvar_epi32(deal, _mm512_loadu_si512(x));
    __m512i low = _mm512_permutex2var_epi8(b->low[0], v, b->low[1]);
    __m512i high = _mm512_permutex2var_epi8(b->high[0], v, b->high[1]);
    high = _mm512_or_si512(high, _mm512_and_si512(v, sign));
    __m512i a = _mm512_unpacklo_epi8(low, high), c = _mm512_unpackhi_epi8(low, high);
    _mm512_storeu_si512(out, _mm512_unpacklo_epi16(zero, a));
    _mm512_storeu_si512(out + 16, _mm512_unpackhi_epi16(zero, a));
    _mm512_storeu_si512(out + 32, _mm512_unpacklo_epi16(zero, c));
    _mm512_storeu_si512(out + 48, _mm512_unpackhi_epi16(zero, c));
}

void qxk_f8e4m3_to_f32_avx512vbmi(const void *x, size_t n, float *out)
{
    const char *p = x;
    size_t i = 0;
    if (n >= 256) { /* or the table would cost more than it saves */
        const struct bytes b = e4m3_bytes();
        for (; i + 64 <= n; i += 64) {
            decode64(p + i, &b, out + i);
        }
    }
    qxk_f8e4m3_to_f32_ref(p + i, n - i, out + i);
}
