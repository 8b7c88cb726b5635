/* Exact without VNNI. The 8-bit vpmaddubsw would saturate (255 * 127 * 2 > 32,767), so products are made
 * of 16-bit values: the even bytes of a step shifted up and the odd ones masked are weights times 256,
 * and vpmaddwd adds two products per lane in 32 bits. Sums times 256 hold 64 steps: 64 * 4 * 255 * 128 *
 * 256 < 2^31. */
#define QXK_SUFFIX avx2
#define ROWS       3
#define PART       64
#define A_SHIFT_U8 0
#define A_SHIFT_S8 0

#include "kernels/kernels.h"
#include "kernels/tmpl/vec.h"

/* Activations of a block in 16 bits, of each step inputs 0 2 1 3, made once for a panel. */
struct rows {
    int16_t a[ROWS][4 * PART];
};

INLINE void widen_step(int16_t *out, bool is_signed, const uint8_t *a)
{
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    __m128i x = _mm_cvtsi32_si128(load32(a));
    x = is_signed ? _mm_cvtepi8_epi16(x) : _mm_cvtepu8_epi16(x);
    _mm_storel_epi64((__m128i *)(void *)out, _mm_shuffle_epi8(x, order));
}

static void widen_rows(struct rows *r, int n_rows, bool is_signed, const uint8_t *a, int64_t lda,
                       int64_t steps)
{
    for (int i = 0; i < n_rows; i++, a += lda) {
        int64_t k = 0;
        for (; k + 16 <= 4 * steps; k += 16) {
            __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(a + k));
            __m256i v = is_signed ? _mm256_cvtepi8_epi16(x) : _mm256_cvtepu8_epi16(x);
            v = _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(v, 0xD8), 0xD8);
            vi_store(r->a[i] + k, v);
        }
        for (; k < 4 * steps; k += 4) {
            widen_step(r->a[i] + k, is_signed, a + k);
        }
    }
}

/* As assembly, so that gcc 12 keeps the sum in its register instead of copying it around. */
INLINE void add_to(__m256i *sum, __m256i v)
{
    __asm__("vpaddd %1, %0, %0" : "+x"(*sum) : "x"(v));
}

/* Adds to acc[i][0..8 n_vecs) the sums over `steps` steps; w points at the first of these outputs in a
 * panel of `width`. */
INLINE void add_rows(const int n_rows, const int n_vecs, const int width, const struct rows *r,
                     const int8_t *w, int64_t steps, int32_t (*acc)[QXK_PANEL])
{
    const __m256i odd = _mm256_set1_epi16((int16_t)0xFF00);
    __m256i s[ROWS][8];
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            s[i][j] = vi_set1(0);
        }
    }
    for (int64_t k = 0; k < 4 * steps; k += 4, w += 4 * width) {
        const int at_once = n_rows == 1 ? 1 : n_vecs; /* vectors whose weights are in registers */
#pragma GCC unroll 8
        for (int j0 = 0; j0 < n_vecs; j0 += at_once) {
            __m256i b0[8], b1[8];
#pragma GCC unroll 8
            for (int j = j0; j < j0 + at_once; j++) {
                __m256i b = vi_load(w + 32 * j);
                b0[j] = _mm256_slli_epi16(b, 8);
                b1[j] = _mm256_and_si256(b, odd);
            }
#pragma GCC unroll 8
            for (int i = 0; i < n_rows; i++) {
                __m256i a0 = vi_set1(load32(r->a[i] + k)), a1 = vi_set1(load32(r->a[i] + k + 2));
#pragma GCC unroll 8
                for (int j = j0; j < j0 + at_once; j++) {
                    add_to(&s[i][j], _mm256_madd_epi16(a0, b0[j]));
                    add_to(&s[i][j], _mm256_madd_epi16(a1, b1[j]));
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            int32_t *out = acc[i] + 8 * j;
            vi_store(out, vi_add(vi_load(out), _mm256_srai_epi32(s[i][j], 8)));
        }
    }
}

#define ADD_ROWS(rows, most)                                                         \
    case rows:                                                                       \
        for (int c = 0, vecs = vecs_of(most, width); c < width; c += 8 * vecs) {     \
            int32_t(*at)[QXK_PANEL] = (int32_t(*)[QXK_PANEL])(acc[0] + c);           \
            add_rows(rows, vecs_of(most, width), width, r, part + 4 * c, steps, at); \
        }                                                                            \
        break;

INLINE int vecs_of(const int most, const int width)
{
    return 8 * most < width ? most : width / 8;
}

INLINE void add_part(int n_rows, const int width, const struct rows *r, const int8_t *part,
                     int64_t steps, int32_t (*acc)[QXK_PANEL])
{
    switch (n_rows) {
        ADD_ROWS(1, 8)
        ADD_ROWS(2, 4)
        ADD_ROWS(3, 2)
    }
}

static void block8_any(int n_rows, int width, bool is_signed, const uint8_t *a, int64_t lda,
                       const int8_t *panel, int64_t k_steps, int32_t (*acc)[QXK_PANEL])
{
    struct rows r;
    memset(acc, 0, (size_t)n_rows * sizeof *acc);
    for (int64_t k = 0; k < k_steps; k += PART) {
        int64_t steps = k_steps - k < PART ? k_steps - k : PART;
        const int8_t *part = panel + 4 * width * k;
        widen_rows(&r, n_rows, is_signed, a + 4 * k, lda, steps);
        switch (width) {
        case 16:
            add_part(n_rows, 16, &r, part, steps, acc);
            break;
        case 32:
            add_part(n_rows, 32, &r, part, steps, acc);
            break;
        default:
            add_part(n_rows, QXK_PANEL, &r, part, steps, acc);
        }
    }
}

#include "kernels/tmpl/gemm8.h"
