/* Vectors of 32-bit lanes, 16 (AVX-512) or 8 (AVX2 with FMA), so that a body is written once. The file
 * that includes it defines QXK_SUFFIX, the rung's name; QXK_VEC_BITS defaults to 256. */
#ifndef QXK_TMPL_VEC_H
#define QXK_TMPL_VEC_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#ifndef QXK_VEC_BITS
#define QXK_VEC_BITS 256
#endif
#define QXK_PASTE2(a, b) a##_##b
#define QXK_PASTE(a, b)  QXK_PASTE2(a, b)
#define QXK_FN(name)     QXK_PASTE(qxk_##name, QXK_SUFFIX)
#define INLINE           static inline __attribute__((always_inline))

INLINE int32_t load32(const void *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* The start of what is read next: without it the stream from memory stops while a panel is finished. */
INLINE void prefetch_next(const void *p)
{
#pragma GCC unroll 4
    for (int i = 0; i < 32; i++) {
        _mm_prefetch((const char *)p + 64 * i, _MM_HINT_T0);
    }
}

#if QXK_VEC_BITS == 512
#define VL 16
typedef __m512 vf;
typedef __m512i vi;

INLINE __mmask16 first(int64_t n)
{
    return n >= 16 ? 0xFFFF : (__mmask16)((1u << n) - 1);
}
INLINE vf vf_set1(float x)
{
    return _mm512_set1_ps(x);
}
INLINE vi vi_set1(int32_t x)
{
    return _mm512_set1_epi32(x);
}
INLINE vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
INLINE vi vi_load(const void *p)
{
    return _mm512_loadu_si512(p);
}
INLINE void vf_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}
INLINE void vi_store(void *p, vi v)
{
    _mm512_storeu_si512(p, v);
}
/* The first n lanes, 1 <= n; the others are 0 and touch no memory. */
INLINE vf vf_load_n(const float *p, int64_t n)
{
    return n >= VL ? vf_load(p) : _mm512_maskz_loadu_ps(first(n), p);
}
INLINE vi vi_load_n(const int32_t *p, int64_t n)
{
    return n >= VL ? vi_load(p) : _mm512_maskz_loadu_epi32(first(n), p);
}
INLINE void vf_store_n(float *p, vf v, int64_t n)
{
    if (n >= VL) {
        vf_store(p, v);
    } else {
        _mm512_mask_storeu_ps(p, first(n), v);
    }
}
INLINE void vi_store_n(int32_t *p, vi v, int64_t n)
{
    if (n >= VL) {
        vi_store(p, v);
    } else {
        _mm512_mask_storeu_epi32(p, first(n), v);
    }
}
INLINE vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
INLINE vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
INLINE vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
INLINE vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
INLINE vf vf_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}
INLINE vf vf_fma(vf a, vf b, vf c) /* a b + c */
{
    return _mm512_fmadd_ps(a, b, c);
}
INLINE vf vf_fnma(vf a, vf b, vf c) /* c - a b */
{
    return _mm512_fnmadd_ps(a, b, c);
}
INLINE vf vf_max(vf a, vf b) /* a > b ? a : b */
{
    return _mm512_max_ps(a, b);
}
INLINE vf vf_min(vf a, vf b) /* a < b ? a : b */
{
    return _mm512_min_ps(a, b);
}
INLINE vf vf_rint(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}
INLINE vf vf_of(vi a)
{
    return _mm512_cvtepi32_ps(a);
}
INLINE vi vi_of(vf a) /* nearest, ties to even */
{
    return _mm512_cvtps_epi32(a);
}
INLINE vi vi_bits(vf a)
{
    return _mm512_castps_si512(a);
}
INLINE vf vf_bits(vi a)
{
    return _mm512_castsi512_ps(a);
}
INLINE vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}
INLINE vi vi_sub(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}
INLINE vi vi_mul(vi a, vi b)
{
    return _mm512_mullo_epi32(a, b);
}
INLINE vi vi_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}
INLINE vi vi_xor(vi a, vi b)
{
    return _mm512_xor_si512(a, b);
}
INLINE vi vi_max_u32(vi a, vi b)
{
    return _mm512_max_epu32(a, b);
}
INLINE vi vi_shr4(vi a) /* bits cross bytes, not 16-bit words */
{
    return _mm512_srli_epi16(a, 4);
}
INLINE uint32_t vi_largest_u32(vi a)
{
    return _mm512_reduce_max_epu32(a);
}
INLINE int32_t vi_total(vi a)
{
    return _mm512_reduce_add_epi32(a);
}
/* Lanes hold -128..255: the low byte of each of the first n. */
INLINE void store_bytes(void *p, vi v, int64_t n)
{
    __m128i b = _mm512_cvtepi32_epi8(v);
    if (n >= VL) {
        _mm_storeu_si128((__m128i *)p, b);
    } else {
        _mm_mask_storeu_epi8(p, first(n), b);
    }
}
INLINE vi vi_of_u8(const void *p) /* VL bytes */
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
INLINE vi vi_shr(vi a, int bits)
{
    return _mm512_srli_epi32(a, (unsigned)bits);
}
INLINE vi vi_shl(vi a, int bits)
{
    return _mm512_slli_epi32(a, (unsigned)bits);
}
INLINE vi vi_sar(vi a, int bits)
{
    return _mm512_srai_epi32(a, (unsigned)bits);
}
INLINE vi vi_shuffle(vi a, vi index) /* bytes within each 128 bits; 0x80 gives 0 */
{
    return _mm512_shuffle_epi8(a, index);
}
INLINE vi vi_sub8(vi a, vi b)
{
    return _mm512_sub_epi8(a, b);
}
struct table16 {
    vf v;
};
INLINE struct table16 table_load(const float *p)
{
    return (struct table16){vf_load(p)};
}
/* Entries by the low 4 bits of each lane. */
INLINE vf table_get(struct table16 t, vi index)
{
    return _mm512_permutexvar_ps(index, t.v);
}
INLINE vf vf_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE vf vf_load_bf16(const void *p)
{
    return vf_bits(vi_shl(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
#else
#define VL 8
typedef __m256 vf;
typedef __m256i vi;

INLINE vi first(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > 8 ? 8 : (int)n),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vf vf_set1(float x)
{
    return _mm256_set1_ps(x);
}
INLINE vi vi_set1(int32_t x)
{
    return _mm256_set1_epi32(x);
}
INLINE vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
INLINE vi vi_load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}
INLINE void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}
INLINE void vi_store(void *p, vi v)
{
    _mm256_storeu_si256((__m256i *)p, v);
}
INLINE vf vf_load_n(const float *p, int64_t n)
{
    return n >= VL ? vf_load(p) : _mm256_maskload_ps(p, first(n));
}
INLINE vi vi_load_n(const int32_t *p, int64_t n)
{
    return n >= VL ? vi_load(p) : _mm256_maskload_epi32(p, first(n));
}
INLINE void vf_store_n(float *p, vf v, int64_t n)
{
    if (n >= VL) {
        vf_store(p, v);
    } else {
        _mm256_maskstore_ps(p, first(n), v);
    }
}
INLINE void vi_store_n(int32_t *p, vi v, int64_t n)
{
    if (n >= VL) {
        vi_store(p, v);
    } else {
        _mm256_maskstore_epi32(p, first(n), v);
    }
}
INLINE vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
INLINE vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
INLINE vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
INLINE vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
INLINE vf vf_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}
INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
INLINE vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
INLINE vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
INLINE vf vf_rint(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
INLINE vf vf_of(vi a)
{
    return _mm256_cvtepi32_ps(a);
}
INLINE vi vi_of(vf a)
{
    return _mm256_cvtps_epi32(a);
}
INLINE vi vi_bits(vf a)
{
    return _mm256_castps_si256(a);
}
INLINE vf vf_bits(vi a)
{
    return _mm256_castsi256_ps(a);
}
INLINE vi vi_add(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}
INLINE vi vi_sub(vi a, vi b)
{
    return _mm256_sub_epi32(a, b);
}
INLINE vi vi_mul(vi a, vi b)
{
    return _mm256_mullo_epi32(a, b);
}
INLINE vi vi_and(vi a, vi b)
{
    return _mm256_and_si256(a, b);
}
INLINE vi vi_xor(vi a, vi b)
{
    return _mm256_xor_si256(a, b);
}
INLINE vi vi_max_u32(vi a, vi b)
{
    return _mm256_max_epu32(a, b);
}
INLINE vi vi_shr4(vi a)
{
    return _mm256_srli_epi16(a, 4);
}
INLINE uint32_t vi_largest_u32(vi a)
{
    __m128i v = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    v = _mm_max_epu32(v, _mm_shuffle_epi32(v, 0x4E));
    v = _mm_max_epu32(v, _mm_shuffle_epi32(v, 0xB1));
    return (uint32_t)_mm_cvtsi128_si32(v);
}
INLINE int32_t vi_total(vi a)
{
    __m128i v = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4E));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xB1));
    return _mm_cvtsi128_si32(v);
}
INLINE void store_bytes(void *p, vi v, int64_t n)
{
    const __m256i low =
        _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12,
                         -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256i b = _mm256_shuffle_epi8(v, low);
    int64_t bytes = _mm_cvtsi128_si64(
        _mm_unpacklo_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1)));
    memcpy(p, &bytes, n >= 8 ? 8 : (size_t)n);
}
INLINE vi vi_of_u8(const void *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
}
INLINE vi vi_shr(vi a, int bits)
{
    return _mm256_srli_epi32(a, bits);
}
INLINE vi vi_shl(vi a, int bits)
{
    return _mm256_slli_epi32(a, bits);
}
INLINE vi vi_sar(vi a, int bits)
{
    return _mm256_srai_epi32(a, bits);
}
INLINE vi vi_shuffle(vi a, vi index)
{
    return _mm256_shuffle_epi8(a, index);
}
INLINE vi vi_sub8(vi a, vi b)
{
    return _mm256_sub_epi8(a, b);
}
struct table16 {
    vf low, high;
};
INLINE struct table16 table_load(const float *p)
{
    return (struct table16){vf_load(p), vf_load(p + 8)};
}
INLINE vf table_get(struct table16 t, vi index)
{
    vf low = _mm256_permutevar8x32_ps(t.low, index), high = _mm256_permutevar8x32_ps(t.high, index);
    return _mm256_blendv_ps(low, high, vf_bits(vi_shl(index, 28)));
}
INLINE vf vf_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
INLINE vf vf_load_bf16(const void *p)
{
    return vf_bits(vi_shl(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
#endif
#endif
