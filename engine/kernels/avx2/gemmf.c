/* Exact without VNNI. 8 bits: codes and digits as 16-bit values, inputs 0 and 2 of a step, then 1 and 3, by vpmaddwd;
 * the two upper digits are one value. 4 bits: as gemm4.c. */
#define QXK_SUFFIX         avx2
#define ROWSF              4
#define VECSF(n_rows)      ((n_rows) == 1 ? 2 : 1)
#define VECS_TABLE(n_rows) 2
#define SUMS_16            1

#include "kernels/tmpl/vec.h"

INLINE void dot4_ptr(vi *sum, vi w, vi a)
{
    vi p = _mm256_maddubs_epi16(w, a);
    __asm__("vpaddw %1, %0, %0" : "+x"(*sum) : "x"(p));
}
#define dot4(sum, w, a) dot4_ptr(&(sum), w, a)
#define widen(sum)      _mm256_madd_epi16(sum, _mm256_set1_epi16(1))

#include "kernels/tmpl/dot4.h"

#define SUMS8  2
#define SHIFT8 0

/* For each step inputs 0 2 1 3. */
struct operands {
    int16_t high[ROWSF][QXK_F32_PART], low[ROWSF][QXK_F32_PART];
};

/* Sixteen bytes to 16 bits in that order. */
INLINE vi words_of(const int8_t *p)
{
    vi v = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(v, 0xD8), 0xD8);
}

/* Digits lie in whole parts, so steps beyond the last are read too. */
static void operands_make(struct operands *o, int n_rows, const int8_t *digits, int64_t ld,
                          int64_t steps)
{
    for (int i = 0; i < n_rows; i++, digits += QXK_DIGITS * ld) {
        for (int64_t k = 0; k < 4 * steps; k += 16) {
            const vi top = words_of(digits + k), middle = words_of(digits + ld + k);
            vi_store(o->high[i] + k, _mm256_add_epi16(_mm256_slli_epi16(top, 8), middle));
            vi_store(o->low[i] + k, words_of(digits + 2 * ld + k));
        }
    }
}

INLINE vi code8(vi w)
{
    return w;
}

#define START8(s, high, low) (s)[0] = high, (s)[1] = low

/* The addition as assembly: gcc 12 would copy the sum around. */
INLINE void madd(vi *sum, vi w, vi a)
{
    __asm__("vpaddd %1, %0, %0" : "+x"(*sum) : "x"(_mm256_madd_epi16(w, a)));
}

INLINE void dot8(vi (*s)[SUMS8], const vi *codes, const int n_vecs, const struct operands *o,
                 const int i, int64_t step)
{
    const int16_t *high = o->high[i] + 4 * step, *low = o->low[i] + 4 * step;
#pragma GCC unroll 2
    for (int j = 0; j < n_vecs; j++) {
        const vi even = _mm256_srai_epi16(_mm256_slli_epi16(codes[j], 8), 8);
        const vi odd = _mm256_srai_epi16(codes[j], 8);
        madd(&s[j][0], even, vi_set1(load32(high)));
        madd(&s[j][1], even, vi_set1(load32(low)));
        madd(&s[j][0], odd, vi_set1(load32(high + 2)));
        madd(&s[j][1], odd, vi_set1(load32(low + 2)));
    }
}

INLINE vi high8(const vi *s)
{
    return s[0];
}

INLINE vi low8(const vi *s)
{
    return s[1];
}

#include "kernels/tmpl/gemmf.h"
