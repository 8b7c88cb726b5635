/* Digits times int8 codes by vpdpbusd, codes with 128 added so that they are the unsigned operand. dp(sum, u8, s8). */
#ifndef QXK_TMPL_DIGITS_VNNI_H
#define QXK_TMPL_DIGITS_VNNI_H

#include "kernels/tmpl/dot4.h"

#define SUMS8  3
#define SHIFT8 128

struct operands {
    const int8_t *digits;
    int64_t ld;
};

INLINE void operands_make(struct operands *o, int n_rows, const int8_t *digits, int64_t ld,
                          int64_t steps)
{
    (void)n_rows;
    (void)steps;
    *o = (struct operands){digits, ld};
}

INLINE vi code8(vi w)
{
    return vi_xor(w, vi_set1((int32_t)0x80808080));
}

#define START8(s, high, low) (s)[0] = vi_set1(0), (s)[1] = high, (s)[2] = low

INLINE void dot8(vi (*s)[SUMS8], const vi *codes, const int n_vecs, const struct operands *o,
                 const int i, int64_t step)
{
    const int8_t *at = o->digits + i * QXK_DIGITS * o->ld + 4 * step;
#pragma GCC unroll 3
    for (int t = 0; t < QXK_DIGITS; t++, at += o->ld) {
        const vi x = vi_set1(load32(at));
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            dp(&s[j][t], codes[j], x);
        }
    }
}

INLINE vi high8(const vi *s)
{
    return vi_add(vi_shl(s[0], 8), s[1]);
}

INLINE vi low8(const vi *s)
{
    return s[2];
}
#endif
