#include "kernels/rungs.h"

#include <immintrin.h>

/* Bins and offsets of eight values (see kernels.h). */
static inline __m256i half_keys(__m256 y, __m256i *offset)
{
    const __m256i bits = _mm256_castps_si256(y);
    const __m256i mag = _mm256_and_si256(bits, _mm256_set1_epi32(0x7FFFFFFF));
    const __m256i is_normal = _mm256_cmpgt_epi32(mag, _mm256_set1_epi32(0x387FFFFF));
    __m256i normal = _mm256_sub_epi32(mag, _mm256_set1_epi32(0x38000000));
    normal = _mm256_min_epi32(normal, _mm256_set1_epi32((0x7C00 << 13) - 1));
    __m256 tiny = _mm256_mul_ps(_mm256_castsi256_ps(mag), _mm256_set1_ps(0x1p37f));
    __m256i v = _mm256_blendv_epi8(_mm256_cvttps_epi32(tiny), normal, is_normal);
    __m256i is_zero = _mm256_cmpeq_epi32(mag, _mm256_setzero_si256());
    __m256i sign = _mm256_andnot_si256(is_zero, _mm256_srli_epi32(_mm256_xor_si256(bits, mag), 16));
    *offset = _mm256_and_si256(v, _mm256_set1_epi32(0x1FFF));
    return _mm256_or_si256(_mm256_srli_epi32(v, 13), sign);
}

static inline __m256 load(const void *x, size_t i)
{
    return _mm256_loadu_ps((const float *)(const void *)((const char *)x + 4 * i));
}

/* Bit i set when element i is finite. */
static inline unsigned finite_bits(__m256 v)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), largest = _mm256_set1_ps(0x1.fffffep127f);
    __m256 ok = _mm256_cmp_ps(_mm256_andnot_ps(sign, v), largest, _CMP_LE_OQ);
    return (unsigned)_mm256_movemask_ps(ok);
}

/* n << 40 | s1 and s2 of one value, as two 64-bit integers, added to its bin. */
static inline void bump(struct qxk_hist_work *work, uint32_t key, __m128i add)
{
    __m128i *bin = (__m128i *)(void *)&work->half[key];
    _mm_store_si128(bin, _mm_add_epi64(_mm_load_si128(bin), add));
}

static inline void bump4(struct qxk_hist_work *work, const uint32_t *key, __m128i offsets)
{
    __m256i o = _mm256_cvtepu32_epi64(offsets);
    __m256i n_s1 = _mm256_or_si256(o, _mm256_set1_epi64x((int64_t)1 << 40));
    __m256i s2 = _mm256_mul_epu32(o, o);
    __m256i even = _mm256_unpacklo_epi64(n_s1, s2), odd = _mm256_unpackhi_epi64(n_s1, s2);
    bump(work, key[0], _mm256_castsi256_si128(even));
    bump(work, key[1], _mm256_castsi256_si128(odd));
    bump(work, key[2], _mm256_extracti128_si256(even, 1));
    bump(work, key[3], _mm256_extracti128_si256(odd, 1));
}

void qxk_hist_f32_avx2(struct qxk_hist_work *work, const void *x, size_t n, float scale,
                       float lin_scale)
{
    const __m256 scales = _mm256_set1_ps(scale), lin_scales = _mm256_set1_ps(lin_scale);
    const __m256 sign = _mm256_set1_ps(-0.0f);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint32_t key[8] __attribute__((aligned(32))), lin[8] __attribute__((aligned(32)));
        __m256 v = load(x, i);
        if (finite_bits(v) != 0xFF) {
            qxk_hist_f32_ref(work, (const char *)x + 4 * i, 8, scale, lin_scale);
            work->n_pending -= 8;
            continue;
        }
        __m256i offset, keys = half_keys(_mm256_mul_ps(v, scales), &offset);
        __m256 t = _mm256_mul_ps(_mm256_andnot_ps(sign, v), lin_scales);
        t = _mm256_min_ps(t, _mm256_set1_ps(QXK_LIN_BINS - 1));
        _mm256_store_si256((__m256i *)(void *)key, keys);
        _mm256_store_si256((__m256i *)(void *)lin, _mm256_cvttps_epi32(t));
        bump4(work, key, _mm256_castsi256_si128(offset));
        bump4(work, key + 4, _mm256_extracti128_si256(offset, 1));
        for (int j = 0; j < 8; j++) {
            work->lin[j & 1][lin[j]]++;
        }
    }
    work->n_pending += i;
    qxk_hist_f32_ref(work, (const char *)x + 4 * i, n - i, scale, lin_scale);
}

void qxk_hist_weighted_avx2(struct qxk_wbin *bins, const void *x, size_t n, float inv_a,
                            float scale, double a)
{
    /* A bin is {n, a0, a1, a2} and {m0, m1, -, -}; with o the offset it grows by
     * {1, aa, aa o, aa o^2} = {1, aa, aa, aa} * {1, 1, o, o^2} and {a, a o}. */
    const double aa = a * a;
    const __m256d weight = _mm256_setr_pd(1.0, aa, aa, aa);
    const __m128d weight_abs = _mm_set1_pd(a);
    const __m256 inv = _mm256_set1_ps(inv_a), scales = _mm256_set1_ps(scale);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint32_t key[8] __attribute__((aligned(32))), off[8] __attribute__((aligned(32)));
        __m256 v = load(x, i);
        if (finite_bits(v) != 0xFF) {
            qxk_hist_weighted_ref(bins, (const char *)x + 4 * i, 8, inv_a, scale, a);
            continue;
        }
        __m256i offset, keys = half_keys(_mm256_mul_ps(_mm256_mul_ps(v, inv), scales), &offset);
        _mm256_store_si256((__m256i *)(void *)key, keys);
        _mm256_store_si256((__m256i *)(void *)off, offset);
        for (int j = 0; j < 8; j++) {
            double *bin = &bins[key[j]].n;
            double o = (double)(int32_t)off[j];
            __m256d term = _mm256_mul_pd(weight, _mm256_setr_pd(1.0, 1.0, o, o * o));
            __m128d term_abs = _mm_mul_pd(weight_abs, _mm_setr_pd(1.0, o));
            _mm256_store_pd(bin, _mm256_add_pd(_mm256_load_pd(bin), term));
            _mm_store_pd(bin + 4, _mm_add_pd(_mm_load_pd(bin + 4), term_abs));
        }
    }
    qxk_hist_weighted_ref(bins, (const char *)x + 4 * i, n - i, inv_a, scale, a);
}
