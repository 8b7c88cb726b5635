/* Blocks of 32 values: four vectors of eight, one body for every kind, unrolled by its constants. */
#define QXK_SUFFIX avx2

#include "kernels/tmpl/tries.h"

enum { N = 32, V = 4, AHEAD = 16384 };

static inline uint8_t *half_put(uint8_t *p, float x)
{
    uint16_t h = (uint16_t)_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT);
    h = (h & 0x7fff) == 0x7c00 ? (uint16_t)(h - 1) : h;
    memcpy(p, &h, sizeof h);
    return p + 2;
}

/* 1 / d where that is finite. */
static inline float inverse(float d)
{
    const float inv = d != 0.0f ? 1.0f / d : 0.0f;
    return inv - inv == 0.0f ? inv : 0.0f;
}

static inline float largest(vf v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static inline float largest_magnitude(const vf v[V])
{
    return largest(vf_max(vf_max(vf_abs(v[0]), vf_abs(v[1])), vf_max(vf_abs(v[2]), vf_abs(v[3]))));
}

/* The first value of that magnitude. */
static inline float first_of(const float *x, const vf v[V], float magnitude)
{
    const vf m = vf_set1(magnitude);
    uint32_t at = 0;
    for (int k = 0; k < V; k++) {
        at |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(vf_abs(v[k]), m, _CMP_EQ_OQ)) << 8 * k;
    }
    return x[__builtin_ctz(at | 1u << 31)];
}

/* 32 whole numbers of 32 bits as bytes in order. */
static inline __m256i bytes_of(const __m256i q[V])
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i low = _mm256_packs_epi32(q[0], q[1]), high = _mm256_packs_epi32(q[2], q[3]);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
}

static inline uint8_t *codes_put(__m256i code, int bits, uint8_t *p)
{
    if (bits == 5) {
        const int32_t fifth = _mm256_movemask_epi8(_mm256_slli_epi16(code, 3));
        memcpy(p, &fifth, sizeof fifth);
        p += sizeof fifth;
    }
    const __m128i four = _mm_set1_epi8(15), low = _mm256_castsi256_si128(code);
    const __m128i high = _mm256_extracti128_si256(code, 1);
    _mm_storeu_si128((__m128i *)p, _mm_or_si128(_mm_and_si128(low, four),
                                                _mm_slli_epi16(_mm_and_si128(high, four), 4)));
    return p + 16;
}

static inline uint8_t *narrow_put(const float *x, const vf v[V], int bits, bool is_ranged,
                                  uint8_t *p)
{
    const int zero = 1 << (bits - 1), top = 2 * zero - 1;
    float d, m = 0.0f, shift = (float)zero + 0.5f;
    __m256i q[V];
    if (is_ranged) {
        const vf least = vf_min(vf_min(v[0], v[1]), vf_min(v[2], v[3]));
        m = -largest(_mm256_xor_ps(least, vf_set1(-0.0f))) + 0.0f;
        d = (largest(vf_max(vf_max(v[0], v[1]), vf_max(v[2], v[3]))) - m) / (float)top + 0.0f;
        shift = 0.5f;
        p = half_put(half_put(p, d), m);
    } else {
        const float most = largest_magnitude(v);
        d = (most > 0.0f ? first_of(x, v, most) : 0.0f) / (float)-zero;
        p = half_put(p, d);
    }
    const vf inv = vf_set1(inverse(d)), less = vf_set1(m), up = vf_set1(shift);
    for (int k = 0; k < V; k++) {
        const vf y = is_ranged ? vf_sub(v[k], less) : v[k];
        q[k] = _mm256_min_epi32(_mm256_cvttps_epi32(vf_add(vf_mul(y, inv), up)),
                                _mm256_set1_epi32(top));
    }
    return codes_put(bytes_of(q), bits, p);
}

/* Whole numbers, halves away from zero. */
static inline __m256i away(vf y)
{
    const vf sign = vf_set1(-0.0f);
    const vf whole = _mm256_round_ps(y, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
    const vf rest = vf_abs(vf_sub(y, whole));
    const vf more = _mm256_and_ps(_mm256_cmp_ps(rest, vf_set1(0.5f), _CMP_GE_OQ), vf_set1(1.0f));
    return _mm256_cvttps_epi32(vf_add(whole, _mm256_or_ps(more, _mm256_and_ps(y, sign))));
}

static inline uint8_t *wide_put(const vf v[V], uint8_t *p)
{
    const float d = largest_magnitude(v) / 127.0f;
    const vf inv = vf_set1(inverse(d));
    __m256i q[V];
    for (int k = 0; k < V; k++) {
        q[k] = away(vf_mul(v[k], inv));
    }
    p = half_put(p, d);
    _mm256_storeu_si256((__m256i *)p, bytes_of(q));
    return p + N;
}

INLINE void blocks(const float *x, size_t n_blocks, int bits, bool is_ranged, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++, x += N) {
        _mm_prefetch((const char *)x + AHEAD, _MM_HINT_T0);
        _mm_prefetch((const char *)x + AHEAD + 64, _MM_HINT_T0);
        const vf v[V] = {vf_load(x), vf_load(x + 8), vf_load(x + 16), vf_load(x + 24)};
        out = bits == 8 ? wide_put(v, out) : narrow_put(x, v, bits, is_ranged, out);
    }
}

void qxk_plain_blocks_avx2(const float *x, size_t n_blocks, int bits, bool is_ranged, uint8_t *out)
{
    if (bits == 8) {
        blocks(x, n_blocks, 8, false, out);
    } else if (bits == 4) {
        is_ranged ? blocks(x, n_blocks, 4, true, out) : blocks(x, n_blocks, 4, false, out);
    } else {
        is_ranged ? blocks(x, n_blocks, 5, true, out) : blocks(x, n_blocks, 5, false, out);
    }
}
