/* Exact without VNNI: |a| times w with the sign of a. vpmaddubsw adds two such products in 16 bits,
 * at most 2 * 128 * 127 = 32,512, so it never saturates while w > -128; unsigned activations become
 * signed by taking 128 off. Weights of -128 take products of 16-bit values instead. */
#define QXK_SUFFIX avx2
#define ROWS       4
#define PART       256 /* steps of k whose activations are prepared at a time */
#define A_SHIFT_U8 (-128)
#define A_SHIFT_S8 0

#include "kernels/kernels.h"
#include "kernels/tmpl/vec.h"

/* Activations of a block, made ready once and used by the 64 outputs of a panel. */
struct rows {
    int8_t a[ROWS][4 * PART];
    uint8_t size[ROWS][4 * PART]; /* |a| */
};

static void prepare(struct rows *r, int n_rows, bool is_signed, const uint8_t *a, int64_t lda,
                    int64_t steps)
{
    const __m256i flip = _mm256_set1_epi8(is_signed ? 0 : (char)0x80);
    for (int i = 0; i < n_rows; i++, a += lda) {
        int64_t k = 0;
        for (; k + 32 <= 4 * steps; k += 32) {
            __m256i x = _mm256_xor_si256(vi_load(a + k), flip);
            vi_store(r->a[i] + k, x);
            vi_store(r->size[i] + k, _mm256_abs_epi8(x));
        }
        for (; k < 4 * steps; k += 4) {
            __m128i x =
                _mm_xor_si128(_mm_cvtsi32_si128(load32(a + k)), _mm256_castsi256_si128(flip));
            int32_t v = _mm_cvtsi128_si32(x), size = _mm_cvtsi128_si32(_mm_abs_epi8(x));
            memcpy(r->a[i] + k, &v, 4);
            memcpy(r->size[i] + k, &size, 4);
        }
    }
}

/* Adds to acc[i][0..8 n_vecs) the sums over `steps` steps; w points at the first of these outputs. */
INLINE void add_rows(const int n_rows, const int n_vecs, const struct rows *r, const int8_t *w,
                     int64_t steps, int32_t (*acc)[QXK_PANEL])
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i s[ROWS][8];
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            s[i][j] = vi_load(acc[i] + 8 * j);
        }
    }
    for (int64_t k = 0; k < 4 * steps; k += 4, w += 4 * QXK_PANEL) {
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++) {
            __m256i a = vi_set1(load32(r->a[i] + k)), size = vi_set1(load32(r->size[i] + k));
#pragma GCC unroll 8
            for (int j = 0; j < n_vecs; j++) {
                __m256i p = _mm256_maddubs_epi16(size, _mm256_sign_epi8(vi_load(w + 32 * j), a));
                s[i][j] = vi_add(s[i][j], _mm256_madd_epi16(p, ones));
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            vi_store(acc[i] + 8 * j, s[i][j]);
        }
    }
}

/* As add_rows for one row and 8 outputs, for any weights. */
static void add_wide(const int8_t *a, const int8_t *w, int64_t steps, int32_t *acc)
{
    __m256i low = vi_set1(0), high = low; /* pairs of sums of outputs 0-3 and 4-7 */
    for (int64_t k = 0; k < 4 * steps; k += 4, w += 4 * QXK_PANEL) {
        __m256i x = _mm256_cvtepi8_epi16(_mm_set1_epi32(load32(a + k)));
        __m256i v = vi_load(w);
        __m256i v0 = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(v));
        __m256i v1 = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(v, 1));
        low = vi_add(low, _mm256_madd_epi16(x, v0));
        high = vi_add(high, _mm256_madd_epi16(x, v1));
    }
    __m256i s = _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0xD8);
    vi_store(acc, vi_add(vi_load(acc), s));
}

static void add_part(int n_rows, const struct rows *r, const int8_t *panel, int64_t steps,
                     int32_t (*acc)[QXK_PANEL])
{
    if (n_rows == 1) {
        add_rows(1, 8, r, panel, steps, acc);
        return;
    }
    for (int c = 0; c < QXK_PANEL; c += 16) {
        int32_t(*at)[QXK_PANEL] = (int32_t(*)[QXK_PANEL])(acc[0] + c);
        const int8_t *w = panel + 4 * c;
        if (n_rows == 2) {
            add_rows(2, 2, r, w, steps, at);
        } else if (n_rows == 3) {
            add_rows(3, 2, r, w, steps, at);
        } else {
            add_rows(4, 2, r, w, steps, at);
        }
    }
}

static void block8_any(int n_rows, bool is_signed, const uint8_t *a, int64_t lda,
                       const struct qxk_w8 *w, const int8_t *panel, int64_t k_steps,
                       int32_t (*acc)[QXK_PANEL])
{
    struct rows r;
    memset(acc, 0, (size_t)n_rows * sizeof *acc);
    for (int64_t k = 0; k < k_steps; k += PART) {
        int64_t steps = k_steps - k < PART ? k_steps - k : PART;
        const int8_t *at = panel + 4 * QXK_PANEL * k;
        prepare(&r, n_rows, is_signed, a + 4 * k, lda, steps);
        if (!w->has_min) {
            add_part(n_rows, &r, at, steps, acc);
            continue;
        }
        for (int i = 0; i < n_rows; i++) {
            for (int c = 0; c < QXK_PANEL; c += 8) {
                add_wide(r.a[i], at + 4 * c, steps, acc[i] + c);
            }
        }
    }
}

#include "kernels/tmpl/gemm8.h"
