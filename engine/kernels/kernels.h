/* The kernel ladder: every hot loop of the engine, once per instruction set, behind one table.
 *
 * Rules for all kernels: no allocation, no globals, any thread; inputs may be unaligned (const void *
 * where the element type would promise alignment); outputs are written only in [0, n). n may be 0.
 * Integer results are the same on every rung; float results too unless the comment says otherwise.
 * None of them depends on how the caller splits the work when the comment names the block size. */
#ifndef QXK_KERNELS_H
#define QXK_KERNELS_H

#include "kernels/attention.h"
#include "kernels/blocks.h"
#include "kernels/conv.h"
#include "kernels/gemm.h"
#include "kernels/rows.h"
#include "qx/cpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- statistics ---- */

/* Elements per call for results that do not depend on the thread count: callers cut a tensor into
 * blocks of this size, and merge the blocks in order. */
#define QXK_STATS_BLOCK 65536

/* Over finite elements, but for the counts. min = +inf and max = -inf while n_finite = 0; min and max
 * of zeros of both signs may be either zero. */
struct qxk_stats {
    double sum, sumsq; /* bit-exact on every rung: 16 interleaved double sums, added pairwise */
    float min, max;
    float absmax; /* 0 when nothing is finite */
    int64_t n_finite, n_zero, n_nan, n_posinf, n_neginf;
};

/* Overwrites *out. */
typedef void qxk_stats_f32_fn(const void *x, size_t n, struct qxk_stats *out);
typedef void qxk_stats_u16_fn(const void *x, size_t n, struct qxk_stats *out);

/* a += b, in this order. Start from qxk_stats_zero(). */
void qxk_stats_merge(struct qxk_stats *a, const struct qxk_stats *b);
struct qxk_stats qxk_stats_zero(void);

/* ---- half-key histogram ---- */

/* The bin of x is the FP16 pattern, rounded toward zero, of y = x * 2^k:
 *   index  0x0000..0x7BFF positive, 0x8000..0xFBFF negative; +-0 in 0x0000; magnitudes of 65536 and
 *          above in the last bin of their sign; the patterns of infinity and NaN stay empty.
 *          0x8000 holds negative values of magnitude below 2^-24.
 *   edge   the half at that pattern: the end of the bin nearest to zero
 *   width  w = 2^(max(e,1) - 25), e the exponent field of the pattern (see qxk_half_width)
 * Within a bin a value is an integer offset o = floor((|y| - edge) * 8192 / w), exact (no bits lost)
 * for float32 whose half is normal. So all sums are integers: they do not depend on the order.
 *   mean of |y| = edge + w/8192 * s1/n;  n*s2 == s1*s1 means that all values of the bin are equal
 *   moments relative to the centre (o = 4096): d1 = s1 - 4096 n, d2 = s2 - 8192 s1 + 4096^2 n,
 *   in units of w/8192 and its square. */
#define QXK_HALF_BINS 65536
#define QXK_LIN_BINS  2048

struct qxk_halfbin {
    uint64_t n, s1, s2; /* count, sum of offsets, sum of squared offsets */
};

/* Accumulated histogram, 1.5 MiB. Zero-initialise; adding two is adding their members. */
struct qxk_hist {
    struct qxk_halfbin half[QXK_HALF_BINS];
    uint64_t lin[QXK_LIN_BINS];
    uint64_t n_nonfinite; /* elements skipped */
};

/* Working set of one worker, 1.1 MiB, 64-byte aligned (qx_mem_aligned), zero before first use.
 * Private to the kernels but for its size. */
struct qxk_hist_work {
    struct {
        uint64_t n_s1; /* n << 40 | s1 */
        uint64_t s2;
    } half[QXK_HALF_BINS];
    uint32_t lin[2][QXK_LIN_BINS];
    uint64_t n_nonfinite;
    uint64_t n_pending; /* elements since the last flush, kept by the kernel */
};

/* Elements a work may take between two flushes: all may fall into one bin, whose count has 24 bits and
 * whose sum of offsets (at most 8191 each) has 40. */
#define QXK_HIST_MAX (((size_t)1 << 24) - 1)

/* Adds n elements: half-key bins of x * scale (scale = 2^k, k in -126..127) and linear bins of |x|,
 * index min((int)(|x| * lin_scale), QXK_LIN_BINS - 1) in float32 (lin_scale = QXK_LIN_BINS / absmax,
 * finite). work->n_pending + n <= QXK_HIST_MAX. */
typedef void qxk_hist_f32_fn(struct qxk_hist_work *work, const void *x, size_t n, float scale,
                             float lin_scale);
/* Adds the work into acc and zeroes it. */
void qxk_hist_flush(struct qxk_hist_work *work, struct qxk_hist *acc);
/* The same in parts: n half-key bins from `first` on into acc[n], false when the work had nothing there; then,
 * once, the linear bins into lin[QXK_LIN_BINS]. Returns the elements skipped. */
bool qxk_hist_flush_half(struct qxk_hist_work *work, int first, int n, struct qxk_halfbin *acc);
uint64_t qxk_hist_flush_rest(struct qxk_hist_work *work, uint64_t *lin);

/* Edge and width of a half-key bin in units of y (see above), pattern with sign; edge is signed. */
float qxk_half_edge(uint32_t index);
float qxk_half_width(uint32_t index);

/* Counts of all 65,536 patterns of a 16-bit type, raw (-0, infinities and NaN in their own place):
 * values are implied, so moments and linear bins follow exactly from the counts. */
struct qxk_hist_u16_work {
    uint32_t n[2][QXK_HALF_BINS];
};
typedef void qxk_hist_u16_fn(struct qxk_hist_u16_work *work, const void *x, size_t n);
/* Adds to acc[QXK_HALF_BINS] and zeroes the work. At most 2^32 - 1 elements between flushes. */
void qxk_hist_u16_flush(struct qxk_hist_u16_work *work, uint64_t *acc);

/* Normalised histogram (ux.md 4.3): a row of one channel or group is scaled by inv_a = 1/a_c; the bin
 * of u = x * inv_a * scale carries weights a^2 (error energies), a (absolute errors) and 1 (clip
 * counts). Offsets o as above; sums in double, so the order of rows matters: give each fixed tile of
 * rows to one worker, and merge tiles in order. Non-finite elements skipped. */
struct qxk_wbin {
    double n, a0, a1, a2, m0, m1; /* sum 1, a^2, a^2 o, a^2 o^2, a, a o */
    double pad[2];                /* one cache line per bin */
};
typedef void qxk_hist_weighted_fn(struct qxk_wbin *bins /* [QXK_HALF_BINS], 64-byte aligned */,
                                  const void *x, size_t n, float inv_a, float scale, double a);

/* ---- conversions (bit-exact on every rung) ---- */

typedef void qxk_to_f32_fn(const void *x, size_t n, float *out);
typedef void qxk_from_f32_fn(const float *x, size_t n, void *out); /* round to nearest even; to 8
                                                                      bits saturating (base/fp16.h) */

/* ---- affine quantization ---- */

/* float32 throughout: q = clamp(rint(x / scale) + zero, qmin, qmax), ties to even, and
 * x^ = (q - zero) * scale. scale > 0 finite; zero, qmin, qmax integers of magnitude < 2^23. */
struct qxk_affine {
    float scale, zero, qmin, qmax;
};

/* out[i] = x^ of x[i]; in place allowed. Non-finite give 0; their number is returned. */
typedef int64_t qxk_fakequant_fn(const float *x, size_t n, const struct qxk_affine *q, float *out);
/* Codes instead of values: int8 when qmin < 0, else uint8 (the low byte of q), with
 * -128 <= qmin, qmax <= 255. Non-finite give the code of 0; their number is returned. */
typedef int64_t qxk_quantize_fn(const float *x, size_t n, const struct qxk_affine *q, void *out);

/* ---- code books ---- */

/* Uneven levels: code k where edge[k - 1] < x / scale <= edge[k] in float32, x^ = level[k] * scale. Both
 * arrays ascend and have room for every code of `bits` (4 or 8): beyond the last level, edges are
 * infinite. level[zero] = 0. scale > 0 finite. */
struct qxk_book {
    float scale;
    int bits, zero;
    const float *level; /* [2^bits] */
    const float *edge;  /* [2^bits - 1] */
};

static inline int qxk_book_code(const struct qxk_book *b, float x)
{
    float u = x / b->scale;
    int k = 0;
    for (int step = 1 << b->bits >> 1; step > 0; step >>= 1) {
        k += u > b->edge[k + step - 1] ? step : 0;
    }
    return k;
}

/* y[i] = x^ of x[i] (in place allowed), codes[i] its code; either may be NULL. Non-finite give 0 and
 * the code of 0; their number is returned. nearest4 and nearest8: for books of 4 and 8 bits. */
typedef int64_t qxk_nearest_fn(const float *x, size_t n, const struct qxk_book *b, float *y,
                               uint8_t *codes);

/* ---- errors ---- */

/* Sums over pairs (x, y), both finite; e = y - x in double. Sums: 8 interleaved doubles, added
 * pairwise: bit-exact on every rung. Split into QXK_STATS_BLOCK for thread-independent results. */
struct qxk_error {
    double sse, sae, se;   /* sum e^2, |e|, e */
    double sxx, sxy, syy;  /* sums of products */
    double max_abs;        /* largest |e| */
    int64_t n;             /* finite pairs */
    int64_t n_low, n_high; /* codes below qmin, above qmax before clamping (0 for error_f32) */
    int64_t n_nonfinite;
};

/* Overwrite *out. error_f32 compares two arrays; error_affine compares x with its own x^, unstored. */
typedef void qxk_error_f32_fn(const float *x, const float *y, size_t n, struct qxk_error *out);
typedef void qxk_error_affine_fn(const float *x, size_t n, const struct qxk_affine *q,
                                 struct qxk_error *out);
void qxk_error_merge(struct qxk_error *a, const struct qxk_error *b); /* a += b; start from zero */

/* ---- the table ---- */

/* One row per operation: member name and function type. Those with vectors, all of which the avx2 rung has: */
#define QXK_AVX2_OPS(X)                      \
    X(stats_f32, qxk_stats_f32_fn)           \
    X(stats_f16, qxk_stats_u16_fn)           \
    X(stats_bf16, qxk_stats_u16_fn)          \
    X(hist_f32, qxk_hist_f32_fn)             \
    X(hist_weighted, qxk_hist_weighted_fn)   \
    X(f16_to_f32, qxk_to_f32_fn)             \
    X(bf16_to_f32, qxk_to_f32_fn)            \
    X(f8e4m3_to_f32, qxk_to_f32_fn)          \
    X(f8e5m2_to_f32, qxk_to_f32_fn)          \
    X(f32_to_f16, qxk_from_f32_fn)           \
    X(f32_to_bf16, qxk_from_f32_fn)          \
    X(f32_to_f8e4m3, qxk_from_f32_fn)        \
    X(f32_to_f8e5m2, qxk_from_f32_fn)        \
    X(fakequant, qxk_fakequant_fn)           \
    X(quantize, qxk_quantize_fn)             \
    X(nearest4, qxk_nearest_fn)              \
    X(nearest8, qxk_nearest_fn)              \
    X(error_f32, qxk_error_f32_fn)           \
    X(error_affine, qxk_error_affine_fn)     \
    X(gemm_u8s8, qxk_gemm8_fn)               \
    X(gemm_s8s8, qxk_gemm8_fn)               \
    X(gemm_s8s4, qxk_gemm4_fn)               \
    X(quant_row, qxk_quant_row_fn)           \
    X(quant_row_asym, qxk_quant_row_asym_fn) \
    X(layer_norm, qxk_layer_norm_fn)         \
    X(softmax, qxk_softmax_fn)               \
    X(gelu, qxk_gelu_fn)                     \
    X(gelu_tanh, qxk_gelu_fn)                \
    X(attention, qxk_attention_fn)           \
    X(split_row, qxk_split_row_fn)           \
    X(gemm_f32s8, qxk_gemmf_fn)              \
    X(gemm_f32s4, qxk_gemmf_fn)              \
    X(gemv_f16, qxk_gemv16_fn)               \
    X(gemv_bf16, qxk_gemv16_fn)              \
    X(dwconv_u8s8, qxk_dwconv_fn)            \
    X(turn_u8, qxk_turn_u8_fn)               \
    X(sums_s8, qxk_sums_s8_fn)               \
    X(s8_to_f32, qxk_s8_to_f32_fn)           \
    X(u4_to_f32, qxk_u4_to_f32_fn)           \
    X(plain_blocks, qxk_plain_blocks_fn)     \
    X(code_sums, qxk_code_sums_fn)           \
    X(code_errors, qxk_code_errors_fn)
/* All; what the portable rung alone has stands before them. */
#define QXK_OPS(X) X(hist_u16, qxk_hist_u16_fn) QXK_AVX2_OPS(X)

enum qxk_op {
#define QXK_OP_ENUM(name, type) QXK_OP_##name,
    QXK_OPS(QXK_OP_ENUM)
#undef QXK_OP_ENUM
        QXK_OP_COUNT
};

struct qxk_table {
#define QXK_OP_MEMBER(name, type) type *name;
    QXK_OPS(QXK_OP_MEMBER)
#undef QXK_OP_MEMBER
    enum qx_isa isa[QXK_OP_COUNT]; /* rung each member comes from, for reports */
};

/* The table of the rung in use (qx_cpu_get()->isa) without what is vetoed on this CPU. Never NULL. Any
 * thread. */
const struct qxk_table *qxk_get(void);
/* The best of each operation up to `isa`, vetoed or not, whether or not this CPU can run it (checkkern
 * asks first). */
const struct qxk_table *qxk_get_isa(enum qx_isa isa);
/* The table that a CPU of this microarchitecture (struct qx_cpu, NULL: any without vetoes) gets. */
void qxk_table_fill(struct qxk_table *t, enum qx_isa isa, const char *uarch);
/* Why the row of this rung is left out on a microarchitecture, NULL when it is not. */
const char *qxk_veto(enum qxk_op op, enum qx_isa isa, const char *uarch);
const char *qxk_op_name(enum qxk_op op); /* "stats_f32" */

/* ---- BLAS (one thread; call from several threads at will) ---- */

/* Row-major C[m,n] = alpha op(A)[m,k] op(B)[k,n] + beta C. trans_x: X is stored transposed. ld: elements
 * between rows as stored. beta 0 overwrites C without reading it. One row or column goes through
 * gemv (memory speed; gemm is 10x slower there). Float32: equal to a reference within rounding. */
void qxk_sgemm(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, float alpha,
               const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
               int64_t ldc);
/* y[m] = alpha op(A) x + beta y; A stored rows x cols row-major. */
void qxk_sgemv(int trans, int64_t rows, int64_t cols, float alpha, const float *a, int64_t lda,
               const float *x, float beta, float *y);
/* A = R' R -> R: row-major upper triangles, in place; what lies below the diagonal is neither read nor
 * written. Blocks are shared out on the pool (NULL: this thread), with the same bits for any number of
 * threads. False when A is not positive definite (A is then torn). */
bool qxk_cholesky(struct qx_pool *pool, int64_t n, float *a);

#endif
