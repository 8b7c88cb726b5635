#include "kernels/rungs.h"

#include <immintrin.h>
#include <string.h>

/* Sixteen elements a turn: lane i % 16 of the reference is lane i % 4 of accumulator i / 4 % 4. */
struct state {
    __m256d sum[4], sumsq[4];
    __m256 min, max;
    __m256i n_zero; /* counts down from 0 */
};

static inline __m256 finite_mask(__m256 v)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), largest = _mm256_set1_ps(0x1.fffffep127f);
    return _mm256_cmp_ps(_mm256_andnot_ps(sign, v), largest, _CMP_LE_OQ);
}

static void count_nonfinite(const float *v, struct qxk_stats *s)
{
    for (int i = 0; i < 16; i++) {
        uint32_t bits;
        memcpy(&bits, v + i, 4);
        s->n_nan += (bits & 0x7FFFFFFF) > 0x7F800000;
        s->n_posinf += bits == 0x7F800000;
        s->n_neginf += bits == 0xFF800000;
    }
}

static inline void add_half(struct state *t, int half, __m256 v)
{
    __m256d lo = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    __m256d hi = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    t->sum[2 * half] = _mm256_add_pd(t->sum[2 * half], lo);
    t->sum[2 * half + 1] = _mm256_add_pd(t->sum[2 * half + 1], hi);
    /* The product of two converted floats is exact, so fusing changes no bit. */
    t->sumsq[2 * half] = _mm256_fmadd_pd(lo, lo, t->sumsq[2 * half]);
    t->sumsq[2 * half + 1] = _mm256_fmadd_pd(hi, hi, t->sumsq[2 * half + 1]);
}

static inline void add16(struct state *t, struct qxk_stats *s, __m256 v0, __m256 v1)
{
    const __m256 zero = _mm256_setzero_ps();
    __m256 f0 = finite_mask(v0), f1 = finite_mask(v1);
    __m256 lo0 = v0, lo1 = v1, hi0 = v0, hi1 = v1; /* what min and max see */
    if (_mm256_movemask_ps(_mm256_and_ps(f0, f1)) != 0xFF) {
        float v[16];
        const __m256 inf = _mm256_set1_ps(__builtin_inff());
        _mm256_storeu_ps(v, v0);
        _mm256_storeu_ps(v + 8, v1);
        count_nonfinite(v, s);
        lo0 = _mm256_blendv_ps(inf, v0, f0);
        lo1 = _mm256_blendv_ps(inf, v1, f1);
        hi0 = _mm256_blendv_ps(_mm256_sub_ps(zero, inf), v0, f0);
        hi1 = _mm256_blendv_ps(_mm256_sub_ps(zero, inf), v1, f1);
        v0 = _mm256_and_ps(v0, f0);
        v1 = _mm256_and_ps(v1, f1);
    }
    t->min = _mm256_min_ps(t->min, _mm256_min_ps(lo0, lo1));
    t->max = _mm256_max_ps(t->max, _mm256_max_ps(hi0, hi1));
    __m256 z0 = _mm256_cmp_ps(lo0, zero, _CMP_EQ_OQ), z1 = _mm256_cmp_ps(lo1, zero, _CMP_EQ_OQ);
    t->n_zero = _mm256_add_epi32(t->n_zero, _mm256_castps_si256(z0));
    t->n_zero = _mm256_add_epi32(t->n_zero, _mm256_castps_si256(z1));
    add_half(t, 0, v0);
    add_half(t, 1, v1);
}

/* The pairwise order of the reference: lanes i and i+8, then i+4, i+2, i+1. */
static double fold(const __m256d *v)
{
    __m256d four = _mm256_add_pd(_mm256_add_pd(v[0], v[2]), _mm256_add_pd(v[1], v[3]));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

static void finish(const struct state *t, struct qxk_stats *s, size_t n, size_t n_padding,
                   struct qxk_stats *out)
{
    float lo[8], hi[8];
    _mm256_storeu_ps(lo, t->min);
    _mm256_storeu_ps(hi, t->max);
    for (int i = 0; i < 8; i++) {
        s->min = lo[i] < s->min ? lo[i] : s->min;
        s->max = hi[i] > s->max ? hi[i] : s->max;
    }
    s->sum = fold(t->sum);
    s->sumsq = fold(t->sumsq);
    s->n_nan -= (int64_t)n_padding;
    s->n_finite = (int64_t)n - s->n_nan - s->n_posinf - s->n_neginf;
    if (s->n_finite > 0) {
        s->absmax = -s->min > s->max ? -s->min : s->max;
        s->absmax = s->absmax > 0.0f ? s->absmax : 0.0f;
    }
    *out = *s;
}

static void take_zeros(struct state *t, struct qxk_stats *s)
{
    int32_t z[8];
    _mm256_storeu_si256((__m256i *)z, t->n_zero);
    for (int i = 0; i < 8; i++) {
        s->n_zero -= z[i];
    }
    t->n_zero = _mm256_setzero_si256();
}

typedef __m256 load8_fn(const char *p, size_t i);

static inline __m256 load_f32(const char *p, size_t i)
{
    return _mm256_loadu_ps((const float *)(const void *)(p + 4 * i));
}

static inline __m256 load_f16(const char *p, size_t i)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 2 * i)));
}

static inline __m256 load_bf16(const char *p, size_t i)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + 2 * i));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

/* The tail is padded with `nan`, the element whose count can be taken back. */
static inline __attribute__((always_inline)) void stats(const void *x, size_t n, size_t elem_bytes,
                                                        load8_fn *load, uint32_t nan,
                                                        struct qxk_stats *out)
{
    const size_t flush = (size_t)1 << 24; /* 32-bit zero counters stay far from overflow */
    const char *p = x;
    struct state t = {.min = _mm256_set1_ps(__builtin_inff()),
                      .max = _mm256_set1_ps(-__builtin_inff())};
    struct qxk_stats s = {.min = __builtin_inff(), .max = -__builtin_inff()};
    size_t i = 0;
    while (n - i >= 16) {
        size_t stop = n - i > flush ? i + flush : n;
        for (; stop - i >= 16; i += 16) {
            add16(&t, &s, load(p, i), load(p, i + 8));
        }
        take_zeros(&t, &s);
    }
    size_t n_padding = 0;
    if (i < n) {
        char tail[64];
        n_padding = 16 - (n - i);
        for (size_t j = 0; j < 16; j++) {
            memcpy(tail + j * elem_bytes, &nan, elem_bytes);
        }
        memcpy(tail, p + i * elem_bytes, (n - i) * elem_bytes);
        add16(&t, &s, load(tail, 0), load(tail, 8));
        take_zeros(&t, &s);
    }
    finish(&t, &s, n, n_padding, out);
}

void qxk_stats_f32_avx2(const void *x, size_t n, struct qxk_stats *out)
{
    stats(x, n, 4, load_f32, 0x7FC00000, out);
}

void qxk_stats_f16_avx2(const void *x, size_t n, struct qxk_stats *out)
{
    stats(x, n, 2, load_f16, 0x7E00, out);
}

void qxk_stats_bf16_avx2(const void *x, size_t n, struct qxk_stats *out)
{
    stats(x, n, 2, load_bf16, 0x7FC0, out);
}
