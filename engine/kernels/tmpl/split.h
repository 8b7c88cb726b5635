/* A row as integers in parts (gemm.h). */
#ifndef QXK_TMPL_SPLIT_H
#define QXK_TMPL_SPLIT_H

#include "kernels/tmpl/quant_row.h"

INLINE vi low_byte(vi a) /* with its sign */
{
    return vi_sar(vi_shl(a, 24), 24);
}

INLINE void split_part(const float *x, int64_t n, int64_t size, int64_t ld, int8_t *digits,
                       struct qxk_split_part *part)
{
    const uint32_t largest = largest_bits(x, n);
    const bool is_finite = largest < 0x7F800000;
    const uint32_t field = is_finite ? qxk_split_field(largest) : 1;
    const vf inverse = vf_bits(vi_set1((int32_t)((254 - field) << 23)));
    const uint32_t scale = is_finite ? field << 23 : 0x7FC00000;
    vi highs = vi_set1(0), lows = highs;
    for (int64_t i = 0; i < size; i += VL) {
        vf v = is_finite && i < n ? vf_load_n(x + i, n - i) : vf_set1(0.0f);
        vi whole = vi_of(vf_mul(v, inverse)), low = low_byte(whole);
        vi high = vi_sar(vi_sub(whole, low), 8), middle = low_byte(high);
        store_bytes(digits + i, vi_sar(vi_sub(high, middle), 8), VL);
        store_bytes(digits + ld + i, middle, VL);
        store_bytes(digits + 2 * ld + i, low, VL);
        highs = vi_add(highs, high);
        lows = vi_add(lows, low);
    }
    memcpy(&part->scale, &scale, 4);
    part->high = vi_total(highs);
    part->low = vi_total(lows);
}

void QXK_FN(split_row)(const float *x, int64_t k, int64_t part, int8_t *digits,
                       struct qxk_split_part *parts)
{
    const int64_t n = (k + part - 1) / part;
    for (int64_t p = 0; p < n; p++) {
        const int64_t at = p * part, left = k - at;
        split_part(x + at, left < part ? left : part, part, n * part, digits + at, &parts[p]);
    }
}
#endif
