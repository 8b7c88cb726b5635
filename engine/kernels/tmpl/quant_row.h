/* Dynamic quantization of a row. x / scale is a product with the reciprocal and one correction step
 * (r = x - q scale exactly, q + r / scale), which rounds as the division does as long as nothing leaves
 * the normal range; other rows go to the portable code. */
#ifndef QXK_TMPL_QUANT_ROW_H
#define QXK_TMPL_QUANT_ROW_H

#include "kernels/rungs.h"
#include "kernels/tmpl/vec.h"

#include <stdbool.h>

/* Bits of the largest magnitude; infinities and NaN are larger than all finite ones. */
INLINE uint32_t largest_bits(const float *x, int64_t k)
{
    const vi mask = vi_set1(0x7FFFFFFF);
    vi m0 = vi_set1(0), m1 = m0;
    int64_t i = 0;
    for (; i + 2 * VL <= k; i += 2 * VL) {
        m0 = vi_max_u32(m0, vi_and(vi_load(x + i), mask));
        m1 = vi_max_u32(m1, vi_and(vi_load(x + i + VL), mask));
    }
    for (; i < k; i += VL) {
        m0 = vi_max_u32(m0, vi_and(vi_bits(vf_load_n(x + i, k - i)), mask));
    }
    return vi_largest_u32(vi_max_u32(m0, m1));
}

INLINE vf quotient(vf x, vf scale, vf inverse)
{
    vf q = vf_mul(x, inverse);
    return vf_fma(vf_fnma(q, scale, x), inverse, q);
}

static bool can_divide(float scale)
{
    return scale > 0x1p-90f && scale < 0x1p90f;
}

/* Sum of n bytes taken as u8 after flipping bits by `flip`. */
INLINE int32_t sum_bytes(const uint8_t *q, int64_t n, uint8_t flip)
{
    const __m256i zero = _mm256_setzero_si256(), f = _mm256_set1_epi8((char)flip);
    __m256i s = zero;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i v = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(q + i)), f);
        s = _mm256_add_epi64(s, _mm256_sad_epu8(v, zero));
    }
    __m128i t = _mm_add_epi64(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    t = _mm_add_epi64(t, _mm_unpackhi_epi64(t, t));
    int32_t sum = _mm_cvtsi128_si32(t);
    for (; i < n; i++) {
        sum += (uint8_t)(q[i] ^ flip);
    }
    return sum;
}

/* flip makes the stored codes u8, bias is what that added to each. */
INLINE void sum_groups(const uint8_t *q, int64_t k, uint8_t flip, int32_t bias,
                       struct qxk_row_codes *out)
{
    int64_t group = out->group > 0 ? out->group : k;
    for (int64_t g = 0; out->sums && g * group < k; g++) {
        int64_t n = k - g * group < group ? k - g * group : group;
        int32_t sum = sum_bytes(q + g * group, n, flip) - bias * (int32_t)n;
        out->sums[g] = sum * out->sum_factor;
    }
}

int64_t QXK_FN(quant_row)(const float *x, int64_t k, int bits, bool is_u8,
                          struct qxk_row_codes *out)
{
    uint32_t bits_max = largest_bits(x, k);
    float absmax;
    memcpy(&absmax, &bits_max, 4);
    float scale = qxk_row_scale(absmax, (float)((1 << (bits - 1)) - 1));
    if (bits_max >= 0x7F800000 || !can_divide(scale)) {
        return qxk_quant_row_ref(x, k, bits, is_u8, out);
    }
    const vf s = vf_set1(scale), inverse = vf_set1(1.0f / scale);
    const vi shift = vi_set1(is_u8 ? 128 : 0);
    uint8_t *q = out->q;
    for (int64_t i = 0; i < k; i += VL) {
        vf v = quotient(vf_load_n(x + i, k - i), s, inverse);
        store_bytes(q + i, vi_add(vi_of(v), shift), k - i);
    }
    out->scale = scale;
    out->zero = is_u8 ? 128 : 0;
    sum_groups(q, k, is_u8 ? 0 : 0x80, 128, out);
    return 0;
}

int64_t QXK_FN(quant_row_asym)(const float *x, int64_t k, int bits, struct qxk_row_codes *out)
{
    float top = (float)((1 << bits) - 1);
    vf lo = vf_set1(0.0f), hi = lo;
    for (int64_t i = 0; i < k; i += VL) {
        vf v = vf_load_n(x + i, k - i);
        lo = vf_min(v, lo);
        hi = vf_max(v, hi);
    }
    float low[VL], high[VL];
    vf_store(low, lo);
    vf_store(high, hi);
    for (int i = 1; i < VL; i++) {
        low[0] = low[i] < low[0] ? low[i] : low[0];
        high[0] = high[i] > high[0] ? high[i] : high[0];
    }
    float scale = qxk_row_scale(high[0] / 2 - low[0] / 2, top / 2);
    if (largest_bits(x, k) >= 0x7F800000 || !can_divide(scale)) {
        return qxk_quant_row_asym_ref(x, k, bits, out);
    }
    float zero = __builtin_rintf(-low[0] / scale);
    zero = zero < top ? zero : top;
    const vf s = vf_set1(scale), inverse = vf_set1(1.0f / scale), z = vf_set1(zero);
    uint8_t *q = out->q;
    for (int64_t i = 0; i < k; i += VL) {
        vf v = vf_add(vf_rint(quotient(vf_load_n(x + i, k - i), s, inverse)), z);
        v = vf_min(vf_max(v, vf_set1(0.0f)), vf_set1(top));
        store_bytes(q + i, vi_of(v), k - i);
    }
    out->scale = scale;
    out->zero = (int32_t)zero;
    sum_groups(q, k, 0, 0, out);
    return 0;
}
#endif
