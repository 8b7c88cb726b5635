/* Depthwise convolution: bytes of two taps are interleaved, widened to 16 bits and multiplied by pairs
 * of weights, so that a lane adds two taps of its channel. */
#ifndef QXK_TMPL_DWCONV_H
#define QXK_TMPL_DWCONV_H

#include "kernels/rungs.h"
#include "kernels/tmpl/finish.h"

enum { PLACES = 4, CHANNEL_VECS = QXK_PANEL / VL };

INLINE vi tap_pair(const uint8_t *a, const uint8_t *b)
{
#if VL == 16
    __m128i u = _mm_loadu_si128((const __m128i *)a), v = _mm_loadu_si128((const __m128i *)b);
    __m256i low = _mm256_castsi128_si256(_mm_unpacklo_epi8(u, v));
    return _mm512_cvtepu8_epi16(_mm256_inserti128_si256(low, _mm_unpackhi_epi8(u, v), 1));
#else
    __m128i u = _mm_loadl_epi64((const __m128i *)a), v = _mm_loadl_epi64((const __m128i *)b);
    return _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(u, v));
#endif
}

INLINE vi dot_pair(vi sum, vi x, vi w)
{
#if VL == 16
    return _mm512_add_epi32(sum, _mm512_madd_epi16(x, w));
#else
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w));
#endif
}

/* Sums of VL channels from c on, of which n exist. */
INLINE vi channels(const struct qxk_dw *w, const uint8_t *const *tap, int64_t padded, int64_t c,
                   int64_t n)
{
    vi sum = vi_set1(0);
    for (int64_t t = 0; t < w->tap_pairs; t++) {
        const uint8_t *a = tap[2 * t] + c, *b = tap[2 * t + 1] + c;
        uint8_t part[2][VL] = {{0}};
        if (n < VL) { /* do not read past the last channel */
            for (int64_t i = 0; i < n; i++) {
                part[0][i] = a[i];
                part[1][i] = b[i];
            }
            a = part[0];
            b = part[1];
        }
        sum = dot_pair(sum, tap_pair(a, b), vi_load(w->data + (t * padded + c) * 2));
    }
    return sum;
}

void QXK_FN(dwconv_u8s8)(const struct qxk_dwconv *d, int64_t row0, int64_t n_rows)
{
    const int64_t c = d->s.c, padded = (c + QXK_PANEL - 1) / QXK_PANEL * QXK_PANEL;
    const int64_t end = (row0 + n_rows) * d->s.ow;
    const uint8_t *tap[PLACES][QXK_DW_TAPS + 1];
    struct block_out o = {.e = &d->ep, .row_bytes = d->ldy * out_bytes(&d->ep)};
    for (o.m = row0 * d->s.ow; o.m < end; o.m += PLACES) {
        o.n_rows = end - o.m < PLACES ? (int)(end - o.m) : PLACES;
        o.y = (char *)d->y + o.m * o.row_bytes;
        for (int i = 0; i < o.n_rows; i++) {
            qxk_dw_taps(d, (o.m + i) / d->s.ow, (o.m + i) % d->s.ow, tap[i]);
        }
        for (o.n0 = 0; o.n0 < c; o.n0 += QXK_PANEL) {
            int64_t n = c - o.n0 < QXK_PANEL ? c - o.n0 : QXK_PANEL;
            int32_t acc[PLACES][QXK_PANEL] __attribute__((aligned(64)));
            for (int i = 0; i < o.n_rows; i++) {
                for (int64_t j = 0; j < n; j += VL) {
                    vi_store(acc[i] + j, channels(d->w, tap[i], padded, o.n0 + j, n - j));
                }
            }
            finish_block(&o, &d->w->sums, 0, n, acc);
        }
    }
}
#endif
