#include "kernels/rungs.h"

#include <immintrin.h>

struct affine8 {
    __m256 scale, zero, qmin, qmax;
};

static inline struct affine8 spread(const struct qxk_affine *q)
{
    return (struct affine8){_mm256_set1_ps(q->scale), _mm256_set1_ps(q->zero),
                            _mm256_set1_ps(q->qmin), _mm256_set1_ps(q->qmax)};
}

static inline __m256 finite_mask(__m256 v)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), largest = _mm256_set1_ps(0x1.fffffep127f);
    return _mm256_cmp_ps(_mm256_andnot_ps(sign, v), largest, _CMP_LE_OQ);
}

/* The code before clamping. */
static inline __m256 code_of(__m256 v, const struct affine8 *q)
{
    __m256 r =
        _mm256_round_ps(_mm256_div_ps(v, q->scale), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm256_add_ps(r, q->zero);
}

static inline __m256 clamp(__m256 v, const struct affine8 *q)
{
    return _mm256_min_ps(_mm256_max_ps(v, q->qmin), q->qmax);
}

static inline __m256 value_of(__m256 code, const struct affine8 *q)
{
    return _mm256_mul_ps(_mm256_sub_ps(code, q->zero), q->scale);
}

static inline int n_missing(__m256 mask)
{
    return 8 - __builtin_popcount((unsigned)_mm256_movemask_ps(mask));
}

int64_t qxk_fakequant_avx2(const float *x, size_t n, const struct qxk_affine *q, float *out)
{
    const struct affine8 q8 = spread(q);
    int64_t n_nonfinite = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i), ok = finite_mask(v);
        n_nonfinite += n_missing(ok);
        v = value_of(clamp(code_of(v, &q8), &q8), &q8);
        _mm256_storeu_ps(out + i, _mm256_and_ps(v, ok));
    }
    return n_nonfinite + qxk_fakequant_ref(x + i, n - i, q, out + i);
}

/* Eight codes as 32-bit integers; non-finite elements become the code of 0. */
static inline __m256i codes8(const float *x, const struct affine8 *q, int64_t *n_nonfinite)
{
    __m256 v = _mm256_loadu_ps(x), ok = finite_mask(v);
    *n_nonfinite += n_missing(ok);
    v = _mm256_blendv_ps(q->zero, code_of(v, q), ok);
    return _mm256_cvtps_epi32(clamp(v, q));
}

int64_t qxk_quantize_avx2(const float *x, size_t n, const struct qxk_affine *q, void *out)
{
    const struct affine8 q8 = spread(q);
    const __m256i low_byte = _mm256_set1_epi16(0xFF);
    uint8_t *codes = out;
    int64_t n_nonfinite = 0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i a = codes8(x + i, &q8, &n_nonfinite), b = codes8(x + i + 8, &q8, &n_nonfinite);
        __m256i w = _mm256_and_si256(_mm256_packs_epi32(a, b), low_byte);
        w = _mm256_permute4x64_epi64(w, 0xD8);
        __m128i r = _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
        _mm_storeu_si128((__m128i *)(void *)(codes + i), r);
    }
    return n_nonfinite + qxk_quantize_ref(x + i, n - i, q, codes + i);
}

/* Lane i % 8 of the reference is lane i % 4 of accumulator i / 4 % 2. */
struct lanes {
    __m256d sse[2], sae[2], se[2], sxx[2], sxy[2], syy[2], max_abs;
};

static inline void add4(struct lanes *l, int half, __m256d x, __m256d y)
{
    __m256d e = _mm256_sub_pd(y, x), size = _mm256_andnot_pd(_mm256_set1_pd(-0.0), e);
    l->sse[half] = _mm256_add_pd(l->sse[half], _mm256_mul_pd(e, e));
    l->sae[half] = _mm256_add_pd(l->sae[half], size);
    l->se[half] = _mm256_add_pd(l->se[half], e);
    l->sxx[half] = _mm256_add_pd(l->sxx[half], _mm256_mul_pd(x, x));
    l->sxy[half] = _mm256_add_pd(l->sxy[half], _mm256_mul_pd(x, y));
    l->syy[half] = _mm256_add_pd(l->syy[half], _mm256_mul_pd(y, y));
    l->max_abs = _mm256_max_pd(l->max_abs, size);
}

static inline void add8(struct lanes *l, __m256 x, __m256 y)
{
    add4(l, 0, _mm256_cvtps_pd(_mm256_castps256_ps128(x)),
         _mm256_cvtps_pd(_mm256_castps256_ps128(y)));
    add4(l, 1, _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)),
         _mm256_cvtps_pd(_mm256_extractf128_ps(y, 1)));
}

/* Lanes i and i+4, then i+2, i+1, as the reference. */
static double fold(const __m256d *v)
{
    __m256d four = _mm256_add_pd(v[0], v[1]);
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

static void finish(const struct lanes *l, struct qxk_error *r)
{
    double m[4];
    r->sse = fold(l->sse);
    r->sae = fold(l->sae);
    r->se = fold(l->se);
    r->sxx = fold(l->sxx);
    r->sxy = fold(l->sxy);
    r->syy = fold(l->syy);
    _mm256_storeu_pd(m, l->max_abs);
    for (int i = 0; i < 4; i++) {
        r->max_abs = m[i] > r->max_abs ? m[i] : r->max_abs;
    }
}

/* Loads of the last n < 8 elements; the rest is 0 and its pair is taken off the count. */
static inline __m256 load_tail(const float *p, size_t n)
{
    float v[8] = {0};
    __builtin_memcpy(v, p, n * sizeof *v);
    return _mm256_loadu_ps(v);
}

void qxk_error_f32_avx2(const float *x, const float *y, size_t n, struct qxk_error *out)
{
    struct lanes l = {0};
    struct qxk_error r = {0};
    for (size_t i = 0; i < n; i += 8) {
        size_t left = n - i;
        __m256 u = left >= 8 ? _mm256_loadu_ps(x + i) : load_tail(x + i, left);
        __m256 v = left >= 8 ? _mm256_loadu_ps(y + i) : load_tail(y + i, left);
        __m256 ok = _mm256_and_ps(finite_mask(u), finite_mask(v));
        r.n_nonfinite += n_missing(ok);
        add8(&l, _mm256_and_ps(u, ok), _mm256_and_ps(v, ok));
    }
    r.n = (int64_t)n - r.n_nonfinite;
    finish(&l, &r);
    *out = r;
}

void qxk_error_affine_avx2(const float *x, size_t n, const struct qxk_affine *q,
                           struct qxk_error *out)
{
    const struct affine8 q8 = spread(q);
    struct lanes l = {0};
    struct qxk_error r = {0};
    for (size_t i = 0; i < n; i += 8) {
        size_t left = n - i;
        __m256 v = left >= 8 ? _mm256_loadu_ps(x + i) : load_tail(x + i, left);
        unsigned inside = left >= 8 ? 0xFF : (1u << left) - 1;
        __m256 ok = finite_mask(v), code = code_of(v, &q8);
        unsigned counted = inside & (unsigned)_mm256_movemask_ps(ok);
        __m256 low = _mm256_cmp_ps(code, q8.qmin, _CMP_LT_OQ);
        __m256 high = _mm256_cmp_ps(code, q8.qmax, _CMP_GT_OQ);
        r.n_nonfinite += n_missing(ok);
        r.n_low += __builtin_popcount(counted & (unsigned)_mm256_movemask_ps(low));
        r.n_high += __builtin_popcount(counted & (unsigned)_mm256_movemask_ps(high));
        __m256 y = value_of(clamp(code, &q8), &q8);
        if (left < 8) { /* padding must not add its own rounding error */
            static const int32_t window[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
            ok = _mm256_and_ps(ok,
                               _mm256_loadu_ps((const float *)(const void *)(window + 8 - left)));
        }
        add8(&l, _mm256_and_ps(v, ok), _mm256_and_ps(y, ok));
    }
    r.n = (int64_t)n - r.n_nonfinite;
    finish(&l, &r);
    *out = r;
}
