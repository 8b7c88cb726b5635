/* Bytes in another order, sums of groups of them, and codes to float32. Bytes are turned in blocks of 16
 * by 16 (or 8): four rounds of interleaving rows i and i + 8. */
#include "kernels/rungs.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE __m128i load_part(const uint8_t *p, const int n)
{
    return n == 16 ? _mm_loadu_si128((const __m128i *)(const void *)p)
                   : _mm_loadl_epi64((const __m128i *)(const void *)p);
}

INLINE void store_part(uint8_t *p, __m128i v, const int n)
{
    if (n == 16) {
        _mm_storeu_si128((__m128i *)(void *)p, v);
    } else {
        _mm_storel_epi64((__m128i *)(void *)p, v);
    }
}

/* After a round, row 2i + h holds bytes 8h.. of rows i and i + 8 in turn: four rounds turn the block. */
INLINE void interleave(const __m128i *in, __m128i *out)
{
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        out[2 * i] = _mm_unpacklo_epi8(in[i], in[i + 8]);
        out[2 * i + 1] = _mm_unpackhi_epi8(in[i], in[i + 8]);
    }
}

INLINE void turn_block(const int rows, const int columns, const uint8_t *x, int64_t ldx,
                       uint8_t *out, int64_t ldo)
{
    __m128i a[16], b[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        a[i] = i < rows ? load_part(x + i * ldx, columns) : _mm_setzero_si128();
    }
    interleave(a, b);
    interleave(b, a);
    interleave(a, b);
    interleave(b, a);
#pragma GCC unroll 16
    for (int j = 0; j < columns; j++) {
        store_part(out + j * ldo, a[j], rows);
    }
}

/* One block of rows under all columns, of which there are `columns` or more; the last block reaches back
 * over the one before. */
INLINE void turn_band(const int rows, const int columns, const uint8_t *x, int64_t n, int64_t ldx,
                      uint8_t *out, int64_t ldo)
{
    for (int64_t j = 0; j < n; j += columns) {
        const int64_t at = j + columns <= n ? j : n - columns;
        turn_block(rows, columns, x + at, ldx, out + at * ldo, ldo);
    }
}

INLINE void turn_all(const int rows, const int columns, const uint8_t *x, int64_t n_rows, int64_t n,
                     int64_t ldx, uint8_t *out, int64_t ldo)
{
    for (int64_t i = 0; i < n_rows; i += rows) {
        const int64_t at = i + rows <= n_rows ? i : n_rows - rows;
        turn_band(rows, columns, x + at * ldx, n, ldx, out + at, ldo);
    }
}

void qxk_turn_u8_avx2(const uint8_t *x, int64_t rows, int64_t columns, int64_t ldx, uint8_t *out,
                      int64_t ldo)
{
    if (rows < 8 || columns < 8) {
        qxk_turn_u8_ref(x, rows, columns, ldx, out, ldo);
    } else if (rows < 16) {
        turn_all(8, columns < 16 ? 8 : 16, x, rows, columns, ldx, out, ldo);
    } else if (columns < 16) {
        turn_all(16, 8, x, rows, columns, ldx, out, ldo);
    } else {
        turn_all(16, 16, x, rows, columns, ldx, out, ldo);
    }
}

/* Sums of 32 bytes in eight lanes. */
INLINE __m256i sum_lanes(const int8_t *x)
{
    const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)x);
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), v);
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

INLINE __m256i group_lanes(const int8_t *x, int64_t group)
{
    __m256i sum = sum_lanes(x);
    for (int64_t k = 32; k < group; k += 32) {
        sum = _mm256_add_epi32(sum, sum_lanes(x + k));
    }
    return sum;
}

INLINE __m128i four_sums(const int8_t *x, int64_t group, int32_t factor)
{
    const __m256i a = _mm256_hadd_epi32(group_lanes(x, group), group_lanes(x + group, group));
    x += 2 * group;
    const __m256i b = _mm256_hadd_epi32(group_lanes(x, group), group_lanes(x + group, group));
    const __m256i c = _mm256_hadd_epi32(a, b);
    const __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
    return _mm_mullo_epi32(sum, _mm_set1_epi32(factor));
}

void qxk_sums_s8_avx2(const int8_t *x, int64_t n, int64_t group, int32_t factor, int32_t *out)
{
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        _mm_storeu_si128((__m128i *)(void *)(out + i), four_sums(x + i * group, group, factor));
    }
    qxk_sums_s8_ref(x + i * group, n - i, group, factor, out + i);
}

void qxk_s8_to_f32_avx2(const int8_t *q, size_t n, int32_t zero, float scale, float *out)
{
    const __m256i z = _mm256_set1_epi32(zero);
    const __m256 s = _mm256_set1_ps(scale);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)(q + i));
        const __m256i v = _mm256_sub_epi32(_mm256_cvtepi8_epi32(bytes), z);
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_cvtepi32_ps(v), s));
    }
    qxk_s8_to_f32_ref(q + i, n - i, zero, scale, out + i);
}

/* Entries of eight codes, one in each lane. */
INLINE __m256 table_get(__m256 low, __m256 high, __m128i codes)
{
    const __m256i v = _mm256_cvtepu8_epi32(codes);
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, v), _mm256_permutevar8x32_ps(high, v),
                            _mm256_castsi256_ps(_mm256_slli_epi32(v, 28)));
}

void qxk_u4_to_f32_avx2(const uint8_t *q, size_t n, const float *table, float *out)
{
    const __m256 low = _mm256_loadu_ps(table), high = _mm256_loadu_ps(table + 8);
    const __m128i mask = _mm_set1_epi8(15);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m128i pairs = _mm_loadl_epi64((const __m128i *)(const void *)(q + i / 2));
        const __m128i codes = _mm_unpacklo_epi8(_mm_and_si128(pairs, mask),
                                                _mm_and_si128(_mm_srli_epi16(pairs, 4), mask));
        _mm256_storeu_ps(out + i, table_get(low, high, codes));
        _mm256_storeu_ps(out + i + 8, table_get(low, high, _mm_srli_si128(codes, 8)));
    }
    qxk_u4_to_f32_ref(q + i / 2, n - i, table, out + i);
}
