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

/* A float of m bits of mantissa whose normal values start at 2^e_min, in the low byte of each lane
 * (base/fp16.c). */
static inline __m256i small8(__m256 v, int m, int e_min, int largest)
{
    const int cut = 23 - m;
    const __m256i u = _mm256_castps_si256(v);
    const __m256i mag = _mm256_and_si256(u, _mm256_set1_epi32(0x7FFFFFFF));
    const __m256i sign = _mm256_and_si256(_mm256_srli_epi32(u, 24), _mm256_set1_epi32(0x80));
    const __m256 to_steps = _mm256_castsi256_ps(_mm256_set1_epi32((127 + m - e_min) << 23));
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(mag, cut), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(odd, _mm256_set1_epi32((1 << cut) / 2 - 1));
    __m256i code = _mm256_srli_epi32(_mm256_add_epi32(mag, up), cut);
    code = _mm256_sub_epi32(code, _mm256_set1_epi32((126 + e_min) << m));
    __m256i steps = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_castsi256_ps(mag), to_steps));
    __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32((127 + e_min) << 23), mag);
    __m256i is_nan = _mm256_cmpgt_epi32(mag, _mm256_set1_epi32(0x7F800000));
    code = _mm256_blendv_epi8(code, steps, is_small);
    code = _mm256_min_epi32(code, _mm256_set1_epi32(largest));
    code = _mm256_blendv_epi8(code, _mm256_set1_epi32(0x7F), is_nan);
    return _mm256_or_si256(code, sign);
}

static inline void store32(char *out, __m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i w = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_permutevar8x32_epi32(w, order));
}

void qxk_f32_to_f8e4m3_avx2(const float *x, size_t n, void *out)
{
    char *p = out;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        store32(p + i, small8(_mm256_loadu_ps(x + i), 3, -6, 0x7E),
                small8(_mm256_loadu_ps(x + i + 8), 3, -6, 0x7E),
                small8(_mm256_loadu_ps(x + i + 16), 3, -6, 0x7E),
                small8(_mm256_loadu_ps(x + i + 24), 3, -6, 0x7E));
    }
    qxk_f32_to_f8e4m3_ref(x + i, n - i, p + i);
}

void qxk_f32_to_f8e5m2_avx2(const float *x, size_t n, void *out)
{
    char *p = out;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        store32(p + i, small8(_mm256_loadu_ps(x + i), 2, -14, 0x7B),
                small8(_mm256_loadu_ps(x + i + 8), 2, -14, 0x7B),
                small8(_mm256_loadu_ps(x + i + 16), 2, -14, 0x7B),
                small8(_mm256_loadu_ps(x + i + 24), 2, -14, 0x7B));
    }
    qxk_f32_to_f8e5m2_ref(x + i, n - i, p + i);
}
