#include "kernels/rungs.h"

#include <immintrin.h>

static inline __m128i load16(const void *x, size_t byte)
{
    return _mm_loadu_si128((const __m128i *)(const void *)((const char *)x + byte));
}

void qxk_f16_to_f32_avx2(const void *x, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(load16(x, 2 * i)));
    }
    qxk_f16_to_f32_ref((const char *)x + 2 * i, n - i, out + i);
}

void qxk_bf16_to_f32_avx2(const void *x, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i v = _mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(x, 2 * i)), 16);
        _mm256_storeu_ps(out + i, _mm256_castsi256_ps(v));
    }
    qxk_bf16_to_f32_ref((const char *)x + 2 * i, n - i, out + i);
}

/* Eight E4M3 codes, one in each 32-bit lane. The bits, moved up, are a float 2^120 times too small;
 * the product is exact, subnormals included. */
static inline __m256 e4m3(__m256i v)
{
    const __m256i mag = _mm256_and_si256(v, _mm256_set1_epi32(0x7F));
    const __m256i sign = _mm256_slli_epi32(_mm256_xor_si256(v, mag), 24);
    const __m256i is_nan = _mm256_cmpeq_epi32(mag, _mm256_set1_epi32(0x7F));
    __m256 f = _mm256_castsi256_ps(_mm256_slli_epi32(mag, 20));
    f = _mm256_mul_ps(f, _mm256_set1_ps(0x1p120f));
    f = _mm256_blendv_ps(f, _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000)),
                         _mm256_castsi256_ps(is_nan));
    return _mm256_or_ps(f, _mm256_castsi256_ps(sign));
}

void qxk_f8e4m3_to_f32_avx2(const void *x, size_t n, float *out)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m128i v = load16(x, i);
        _mm256_storeu_ps(out + i, e4m3(_mm256_cvtepu8_epi32(v)));
        _mm256_storeu_ps(out + i + 8, e4m3(_mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))));
    }
    qxk_f8e4m3_to_f32_ref((const char *)x + i, n - i, out + i);
}

/* An E5M2 code is the upper byte of a half. */
void qxk_f8e5m2_to_f32_avx2(const void *x, size_t n, float *out)
{
    const __m128i zero = _mm_setzero_si128();
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m128i v = load16(x, i);
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_unpacklo_epi8(zero, v)));
        _mm256_storeu_ps(out + i + 8, _mm256_cvtph_ps(_mm_unpackhi_epi8(zero, v)));
    }
    qxk_f8e5m2_to_f32_ref((const char *)x + i, n - i, out + i);
}

void qxk_f32_to_f16_avx2(const float *x, size_t n, void *out)
{
    char *p = out;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i h = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(void *)(p + 2 * i), h);
    }
    qxk_f32_to_f16_ref(x + i, n - i, p + 2 * i);
}

void qxk_f32_to_bf16_avx2(const float *x, size_t n, void *out)
{
    char *p = out;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        __m256i u = _mm256_castps_si256(v), high = _mm256_srli_epi32(u, 16);
        __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
        __m256i up = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7FFF)), odd);
        __m256i nan = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
        __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
        __m256i r = _mm256_blendv_epi8(_mm256_srli_epi32(up, 16), nan, is_nan);
        r = _mm256_permute4x64_epi64(_mm256_packus_epi32(r, r), 0x08);
        _mm_storeu_si128((__m128i *)(void *)(p + 2 * i), _mm256_castsi256_si128(r));
    }
    qxk_f32_to_bf16_ref(x + i, n - i, p + 2 * i);
}
