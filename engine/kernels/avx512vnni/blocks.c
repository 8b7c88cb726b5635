/* Blocks of 32 values, sixteen at a time: scales of all of them in one vector, then the codes of each. */
#define QXK_SUFFIX   avx512vnni
#define QXK_VEC_BITS 512

#include "kernels/tmpl/tries.h"

enum { N = 32, LOT = VL, AHEAD = 16384 };

/* What the blocks of a lot reach to, and what becomes of it. */
struct lot {
    float lo[LOT], hi[LOT]; /* ranged; else hi: the largest magnitude, with its sign for few bits */
    float less[LOT], inv[LOT];
    uint16_t d[LOT], m[LOT]; /* binary16 */
} __attribute__((aligned(64)));

INLINE float largest(vf v)
{
    const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

INLINE vf opposite(vf v)
{
    return vf_bits(vi_xor(vi_bits(v), vi_set1((int32_t)0x80000000)));
}

/* The first value of that magnitude. */
INLINE float first_of(const float *x, vf a, vf b, float magnitude)
{
    const vf m = vf_set1(magnitude);
    const uint32_t at =
        _mm512_cmp_ps_mask(a, m, _CMP_EQ_OQ) | (uint32_t)_mm512_cmp_ps_mask(b, m, _CMP_EQ_OQ) << 16;
    return x[__builtin_ctz(at | 1u << 31)];
}

INLINE void lot_reach(struct lot *lot, const float *x, int n, const int bits, const bool is_ranged)
{
    for (int i = 0; i < n; i++, x += N) {
        _mm_prefetch((const char *)x + AHEAD, _MM_HINT_T0);
        _mm_prefetch((const char *)x + AHEAD + 64, _MM_HINT_T0);
        const vf a = vf_load(x), b = vf_load(x + VL);
        if (is_ranged) {
            lot->lo[i] = -largest(opposite(vf_min(a, b)));
            lot->hi[i] = largest(vf_max(a, b));
        } else {
            const float most = largest(vf_max(vf_abs(a), vf_abs(b)));
            const bool has_sign = bits < 8 && most > 0.0f;
            lot->hi[i] = has_sign ? first_of(x, vf_abs(a), vf_abs(b), most) : most;
        }
    }
}

/* The nearest, at most 65504 in size. */
INLINE void halves_put(uint16_t *out, vf v)
{
    const __m256i h = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256i size = _mm256_and_si256(h, _mm256_set1_epi16(0x7FFF));
    const __mmask16 is_over = _mm256_cmpeq_epi16_mask(size, _mm256_set1_epi16(0x7C00));
    const __m256i less = _mm256_mask_sub_epi16(h, is_over, h, _mm256_set1_epi16(1));
    _mm256_store_si256((__m256i *)(void *)out, less);
}

INLINE void lot_scale(struct lot *lot, const int bits, const bool is_ranged)
{
    const float most = bits == 8 ? 127.0f : (float)-(1 << (bits - 1));
    const vf zero = vf_set1(0.0f), one = vf_set1(1.0f), hi = vf_load(lot->hi);
    vf d = vf_div(hi, vf_set1(most));
    if (is_ranged) {
        const vf lo = vf_load(lot->lo);
        d = vf_add(vf_div(vf_sub(hi, lo), vf_set1((float)((1 << bits) - 1))), zero);
        vf_store(lot->less, lo);
        halves_put(lot->m, vf_add(lo, zero));
    }
    halves_put(lot->d, d);
    const vf inv = _mm512_maskz_div_ps(_mm512_cmp_ps_mask(d, zero, _CMP_NEQ_OQ), one, d);
    const __mmask16 is_finite = _mm512_cmp_ps_mask(vf_sub(inv, inv), zero, _CMP_EQ_OQ);
    vf_store(lot->inv, _mm512_maskz_mov_ps(is_finite, inv));
}

INLINE uint8_t *half_put(uint8_t *p, uint16_t h)
{
    memcpy(p, &h, sizeof h);
    return p + sizeof h;
}

/* Whole numbers, halves away from zero: what is added is the largest float below a half, so that nothing that lies
 * under a half reaches the next number. */
INLINE vi away(vf y)
{
    const vi sign = vi_and(vi_bits(y), vi_set1((int32_t)0x80000000));
    const vf half = vf_bits(_mm512_or_si512(sign, vi_bits(vf_set1(0x1.fffffep-2f))));
    return _mm512_cvttps_epi32(vf_add(y, half));
}

INLINE uint8_t *wide_put(uint8_t *p, const float *x, vf inv)
{
    for (int k = 0; k < N; k += VL) {
        store_bytes(p + k, away(vf_mul(vf_load(x + k), inv)), VL);
    }
    return p + N;
}

INLINE uint8_t *narrow_put(uint8_t *p, const float *x, vf inv, vf less, const int bits,
                           const bool is_ranged)
{
    const vf up = vf_set1(is_ranged ? 0.5f : (float)(1 << (bits - 1)) + 0.5f);
    const vi top = vi_set1((1 << bits) - 1), fifth = vi_set1(16), four = vi_set1(15);
    vi q[2];
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        const vf v = vf_load(x + VL * k), y = is_ranged ? vf_sub(v, less) : v;
        q[k] = _mm512_min_epi32(_mm512_cvttps_epi32(vf_add(vf_mul(y, inv), up)), top);
    }
    if (bits == 5) {
        const uint32_t above = _mm512_test_epi32_mask(q[0], fifth) |
                               (uint32_t)_mm512_test_epi32_mask(q[1], fifth) << 16;
        memcpy(p, &above, sizeof above);
        p += sizeof above;
    }
    store_bytes(p, _mm512_or_si512(vi_and(q[0], four), vi_shl(vi_and(q[1], four), 4)), VL);
    return p + VL;
}

INLINE void blocks(const float *x, size_t n_blocks, const int bits, const bool is_ranged,
                   uint8_t *out)
{
    struct lot lot = {{0}, {0}, {0}, {0}, {0}, {0}};
    for (size_t at = 0; at < n_blocks; at += LOT) {
        const int n = n_blocks - at < LOT ? (int)(n_blocks - at) : LOT;
        lot_reach(&lot, x, n, bits, is_ranged);
        lot_scale(&lot, bits, is_ranged);
        for (int i = 0; i < n; i++, x += N) {
            const vf inv = vf_set1(lot.inv[i]);
            out = half_put(out, lot.d[i]);
            out = is_ranged ? half_put(out, lot.m[i]) : out;
            out = bits == 8 ? wide_put(out, x, inv)
                            : narrow_put(out, x, inv, vf_set1(lot.less[i]), bits, is_ranged);
        }
    }
}

void qxk_plain_blocks_avx512vnni(const float *x, size_t n_blocks, int bits, bool is_ranged,
                                 uint8_t *out)
{
    if (bits == 8) {
        blocks(x, n_blocks, 8, false, out);
    } else if (bits == 4) {
        is_ranged ? blocks(x, n_blocks, 4, true, out) : blocks(x, n_blocks, 4, false, out);
    } else {
        is_ranged ? blocks(x, n_blocks, 5, true, out) : blocks(x, n_blocks, 5, false, out);
    }
}
