/* The search for the cell: four steps on edges held in registers, four more (8 bits) by gathers, which
 * some CPUs do slowly: those have a veto for nearest8 in table.c. */
#include "kernels/rungs.h"

#include <immintrin.h>

/* Edges that the first steps meet: entry k of step d is that of the codes whose upper d bits are k. */
struct steps {
    __m256 edge[4];
};

static inline struct steps steps_of(const struct qxk_book *b, int bits)
{
    struct steps s;
    for (int d = 0; d < 4; d++) {
        float v[8] = {0};
        int width = 1 << (bits - d);
        for (int k = 0; k < 1 << d; k++) {
            v[k] = b->edge[k * width + width / 2 - 1];
        }
        s.edge[d] = _mm256_loadu_ps(v);
    }
    return s;
}

/* 2k, plus one where u is above the edge. */
static inline __m256i go_on(__m256i k, __m256 u, __m256 edge)
{
    __m256i above = _mm256_castps_si256(_mm256_cmp_ps(u, edge, _CMP_GT_OQ));
    return _mm256_sub_epi32(_mm256_add_epi32(k, k), above);
}

static inline __m256i codes8(__m256 u, const struct steps *s, const struct qxk_book *b, int bits)
{
    __m256i k = _mm256_setzero_si256();
    for (int d = 0; d < 4; d++) {
        k = go_on(k, u, _mm256_permutevar8x32_ps(s->edge[d], k));
    }
    for (int left = bits - 4; left > 0; left--) {
        __m256i at = _mm256_slli_epi32(k, left);
        k = go_on(k, u, _mm256_i32gather_ps(b->edge + (1 << left >> 1) - 1, at, 4));
    }
    return k;
}

static inline __m256 levels8(__m256i k, const struct qxk_book *b, int bits)
{
    if (bits > 4) {
        return _mm256_i32gather_ps(b->level, k, 4);
    }
    __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(b->level), k);
    __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(b->level + 8), k);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(k, 28)));
}

static inline void store_codes(uint8_t *out, __m256i k)
{
    __m128i w = _mm_packus_epi32(_mm256_castsi256_si128(k), _mm256_extracti128_si256(k, 1));
    _mm_storel_epi64((__m128i *)(void *)out, _mm_packus_epi16(w, w));
}

static inline int64_t nearest(const float *x, size_t n, const struct qxk_book *b, int bits,
                              float *y, uint8_t *codes)
{
    const struct steps steps = steps_of(b, bits);
    const __m256 scale = _mm256_set1_ps(b->scale), sign = _mm256_set1_ps(-0.0f);
    const __m256 largest = _mm256_set1_ps(0x1.fffffep127f);
    const __m256i zero = _mm256_set1_epi32(b->zero);
    int64_t n_nonfinite = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        __m256 ok = _mm256_cmp_ps(_mm256_andnot_ps(sign, v), largest, _CMP_LE_OQ);
        __m256i k = codes8(_mm256_div_ps(v, scale), &steps, b, bits);
        k = _mm256_blendv_epi8(zero, k, _mm256_castps_si256(ok));
        n_nonfinite += 8 - __builtin_popcount((unsigned)_mm256_movemask_ps(ok));
        if (y) {
            _mm256_storeu_ps(y + i, _mm256_mul_ps(levels8(k, b, bits), scale));
        }
        if (codes) {
            store_codes(codes + i, k);
        }
    }
    y = y ? y + i : NULL;
    codes = codes ? codes + i : NULL;
    return n_nonfinite +
           (bits > 4 ? qxk_nearest8_ref : qxk_nearest4_ref)(x + i, n - i, b, y, codes);
}

int64_t qxk_nearest4_avx2(const float *x, size_t n, const struct qxk_book *b, float *y,
                          uint8_t *codes)
{
    return nearest(x, n, b, 4, y, codes);
}

int64_t qxk_nearest8_avx2(const float *x, size_t n, const struct qxk_book *b, float *y,
                          uint8_t *codes)
{
    return nearest(x, n, b, 8, y, codes);
}
