/* Weights only: float32 activations, split into digits that are multiplied as integers, times packed weights.
 * The including file defines ROWSF, the rows per block (4), VECSF(n_rows), the vectors of outputs per pass over a
 * panel of 64, what dot4.h and table4.h want, and for 8 bits
 *   SUMS8                   sums of 32 bits that make one output
 *   SHIFT8                  what dot8 adds to every code
 *   struct operands         digits of a part of ROWSF rows as dot8 takes them
 *   operands_make(o, n_rows, digits, ld, steps)
 *   dot8(s, w, o, i, step)  adds four inputs of row i, a vector of codes, to s[SUMS8]
 *   START8(high, low)       initial value of s
 *   high8(s), low8(s)       sums of codes times 256 d2 + d1, and times d0 */
#ifndef QXK_TMPL_GEMMF_H
#define QXK_TMPL_GEMMF_H

#include "kernels/rungs.h"
#include "kernels/tmpl/finish.h"
#include "kernels/tmpl/table4.h"

enum { PART_STEPS = QXK_F32_PART / QXK_K_ALIGN };

/* What sums of both kinds of digits stand for, in units of the part's scale. */
INLINE vf value_of(vi high, vi low)
{
    return vf_fma(vf_of(high), vf_set1(256.0f), vf_of(low));
}

/* Rows m.. of the activations. */
struct digits {
    const int8_t *digit;
    const struct qxk_split_part *part;
    int64_t ld, n_parts;
};

static struct digits digits_of(const struct qxk_gemmf *g, int64_t m)
{
    const int64_t ld = qxk_split_ld(g), n_parts = ld / qxk_split_part_of(g);
    return (struct digits){g->digits + m * QXK_DIGITS * ld, g->parts + m * n_parts, ld, n_parts};
}

/* Outputs n0 + c.. of a panel of int8 weights. */
INLINE void pass8(const int n_rows, const int n_vecs, const int width, const struct qxk_gemmf *g,
                  const int8_t *panel, int64_t n0, int c, struct digits d, float (*out)[QXK_PANEL])
{
    const struct qxk_epilogue *e = &g->ep;
    for (int64_t p = 0; p < d.n_parts; p++) {
        const int8_t *w = panel + p * QXK_F32_PART * width + 4 * c;
        const int64_t left = g->w8->k_steps - p * PART_STEPS;
        const int64_t steps = left < PART_STEPS ? left : PART_STEPS;
        vi s[ROWSF][VECS_MOST][SUMS8];
        struct operands o;
        operands_make(&o, n_rows, d.digit + p * QXK_F32_PART, d.ld, steps);
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            vi zero = vi_set1(SHIFT8);
            if (e->w_zero && n0 + c + VL * j < g->w8->n) {
                const int64_t at = n0 + c + VL * j;
                zero = vi_add(zero, epilogue_s32(e->w_zero, e->w_zero_step, at, g->w8->n - at));
            }
#pragma GCC unroll 4
            for (int i = 0; i < n_rows; i++) {
                const struct qxk_split_part *part = d.part + i * d.n_parts + p;
                const vi high = vi_set1(-part->high), low = vi_set1(-part->low);
                START8(s[i][j], vi_mul(zero, high), vi_mul(zero, low));
            }
        }
        for (int64_t step = 0; step < steps; step++, w += 4 * width) {
            vi codes[VECS_MOST];
#pragma GCC unroll 4
            for (int j = 0; j < n_vecs; j++) {
                codes[j] = code8(vi_load(w + 4 * VL * j));
            }
#pragma GCC unroll 4
            for (int i = 0; i < n_rows; i++) {
                dot8(s[i], codes, n_vecs, &o, i, step);
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < n_rows; i++) {
            const vf scale = vf_set1(d.part[i * d.n_parts + p].scale);
#pragma GCC unroll 4
            for (int j = 0; j < n_vecs; j++) {
                float *f = out[i] + c + VL * j;
                const vf v = value_of(high8(s[i][j]), low8(s[i][j]));
                vf_store(f, vf_fma(v, scale, vf_load(f)));
            }
        }
    }
}

/* A group's sums on their way out. Of 32 inputs the exact sum fits in 32 bits (32 * 2^22 * 15), so that it is
 * rounded once, as value_of does. */
INLINE vf value4(const bool is_short, vi highest, vi middle, vi low)
{
    const vi high = vi_add(vi_shl(highest, 8), middle);
    return is_short ? vf_of(vi_add(vi_shl(high, 8), low)) : value_of(high, low);
}

/* The zeros of outputs at.. (8 without zeros) times the sum of the digits, taken off beforehand. */
INLINE vi start4(const uint8_t *zeros, int at, int32_t sum)
{
    return zeros ? vi_mul(vi_of_u8(zeros + at), vi_set1(-sum)) : vi_set1(-8 * sum);
}

/* Outputs c.. of a panel of 4-bit weights: digits are as rows of activations. is_short: groups of 32. */
INLINE void pass4(const int n_rows, const int n_vecs, const int width, const bool is_short,
                  const struct qxk_w4 *w, const uint8_t *record, int c, struct digits d,
                  float (*out)[QXK_PANEL])
{
    const int group = is_short ? GROUP4 : w->group;
    vf f[ROWSF][VECS_MOST];
#pragma GCC unroll 4
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            f[i][j] = vf_set1(0.0f);
        }
    }
    for (int64_t b = 0; b < d.n_parts; b++, record += w->group_bytes, d.digit += group) {
        const uint8_t *zeros = w->has_zeros ? record + w->group_bytes - width + c : NULL;
        vi s[ROWSF * QXK_DIGITS][VECS_MOST];
#pragma GCC unroll 4
        for (int i = 0; i < n_rows; i++) {
            const struct qxk_split_part *part = d.part + i * d.n_parts + b;
            const int32_t high = is_short ? 0 : part->high;
            const int32_t low = is_short ? 256 * part->high + part->low : part->low;
#pragma GCC unroll 4
            for (int j = 0; j < n_vecs; j++) {
                s[3 * i][j] = vi_set1(0);
                s[3 * i + 1][j] = start4(zeros, VL * j, high);
                s[3 * i + 2][j] = start4(zeros, VL * j, low);
            }
        }
        dot_inputs(QXK_DIGITS * n_rows, n_vecs, width, group, record + 4 * c, d.digit, d.ld, s);
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            vf scale = load_scale(record + group * (width / 2), w->is_f16, c + VL * j);
#pragma GCC unroll 4
            for (int i = 0; i < n_rows; i++) {
                const vf unit = vf_set1(d.part[i * d.n_parts + b].scale);
                const vf v = value4(is_short, s[3 * i][j], s[3 * i + 1][j], s[3 * i + 2][j]);
                f[i][j] = vf_fma(vf_mul(v, unit), scale, f[i][j]);
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            vf_store(out[i] + c + VL * j, f[i][j]);
        }
    }
}

/* Scales, bias and activation of one row. */
static __attribute__((noinline)) void finish_vector(const struct qxk_gemmf *g, const float *f,
                                                    int64_t n0, int64_t n, float *y)
{
    const struct qxk_epilogue *e = &g->ep;
    for (int64_t j = 0; j < n; j += VL) {
        int64_t at = n0 + j, left = n - j;
        vf v = vf_load(f + j);
        v = g->w8 ? vf_mul(v, epilogue_f32(e->w_scale, e->w_scale_step, at, left)) : v;
        v = e->bias ? vf_add(v, vf_load_n(e->bias + at, left)) : v;
        vf_store_n(y + at, activate(v, e->act, e), left);
    }
}

/* What finish_vector reads of a panel comes from memory too: fetched beforehand, it does not hold up the stream. */
INLINE void prefetch_finish(const struct qxk_gemmf *g, int64_t n0)
{
    const struct qxk_epilogue *e = &g->ep;
    for (int j = 0; j < QXK_PANEL; j += 16) {
        if (e->bias) {
            _mm_prefetch((const char *)(e->bias + n0 + j), _MM_HINT_T0);
        }
        if (g->w8 && e->w_scale_step) {
            _mm_prefetch((const char *)(e->w_scale + n0 + j), _MM_HINT_T0);
        }
    }
}

/* A constant where `width` is one, or where no panel is narrower. */
INLINE int vecs_of(const int vecs, const int width)
{
    return vecs * VL <= 16 || vecs * VL < width ? vecs : width / VL;
}

#define PASSES(rows, vecs, CALL)                                     \
    case rows:                                                       \
        for (int c = 0; c < width; c += vecs_of(vecs, width) * VL) { \
            CALL(rows, vecs_of(vecs, width));                        \
        }                                                            \
        break;
#define ALL_PASSES(VECS, CALL) \
    PASSES(1, VECS(1), CALL)   \
    PASSES(2, VECS(2), CALL) PASSES(3, VECS(3), CALL) PASSES(4, VECS(4), CALL)
#define PASS8(rows, vecs)      pass8(rows, vecs, width, g, panel, n0, c, digits_of(g, m), out)
#define PASS4(rows, vecs)      pass4(rows, vecs, width, false, g->w4, record, c, digits_of(g, m), out)
#define PASS_TABLE(rows, vecs) pass_table(rows, vecs, width, g->w4, record, t, c, x, g->ldx, out)

INLINE void block8(const struct qxk_gemmf *g, const int width, int n_rows, const int8_t *panel,
                   int64_t n0, int64_t m, float (*out)[QXK_PANEL])
{
    switch (n_rows) {
        ALL_PASSES(VECSF, PASS8)
    }
}

INLINE void block4(const struct qxk_gemmf *g, const int width, int n_rows, const uint8_t *record,
                   int64_t m, float (*out)[QXK_PANEL])
{
    if (n_rows == 1 && g->w4->group == GROUP4) { /* what one token waits for */
        for (int c = 0; c < width; c += vecs_of(VECSF(1), width) * VL) {
            pass4(1, vecs_of(VECSF(1), width), width, true, g->w4, record, c, digits_of(g, m), out);
        }
        return;
    }
    switch (n_rows) {
        ALL_PASSES(VECSF, PASS4)
    }
}

INLINE void block_table(const struct qxk_gemmf *g, const int width, struct table16 t, int n_rows,
                        const uint8_t *record, int64_t m, float (*out)[QXK_PANEL])
{
    const float *x = g->x + m * g->ldx;
    switch (n_rows) {
        ALL_PASSES(VECS_TABLE, PASS_TABLE)
    }
}

INLINE void rows_finish(const struct qxk_gemmf *g, int64_t m, int n_rows, int64_t n0, int64_t n,
                        float (*out)[QXK_PANEL])
{
    for (int r = 0; r < n_rows; r++) {
        finish_vector(g, out[r], n0, n, g->y + (m + r) * g->ldy);
    }
}

/* Short vectors take two at a time at most, which every panel holds: one body for all widths. */
#if VL == 8
INLINE void block8_any(const struct qxk_gemmf *g, int n_rows, const int8_t *panel, int64_t n0,
                       int64_t m, float (*out)[QXK_PANEL])
{
    block8(g, g->w8->panel, n_rows, panel, n0, m, out);
}

INLINE void block4_any(const struct qxk_gemmf *g, struct table16 t, int n_rows,
                       const uint8_t *record, int64_t m, float (*out)[QXK_PANEL])
{
    if (g->table) {
        block_table(g, g->w4->panel, t, n_rows, record, m, out);
    } else {
        block4(g, g->w4->panel, n_rows, record, m, out);
    }
}
#else
INLINE void block8_any(const struct qxk_gemmf *g, int n_rows, const int8_t *panel, int64_t n0,
                       int64_t m, float (*out)[QXK_PANEL])
{
    switch (g->w8->panel) {
    case 16:
        block8(g, 16, n_rows, panel, n0, m, out);
        break;
    case 32:
        block8(g, 32, n_rows, panel, n0, m, out);
        break;
    default:
        block8(g, QXK_PANEL, n_rows, panel, n0, m, out);
    }
}

INLINE void block4_width(const struct qxk_gemmf *g, const int width, struct table16 t, int n_rows,
                         const uint8_t *record, int64_t m, float (*out)[QXK_PANEL])
{
    if (g->table) {
        block_table(g, width, t, n_rows, record, m, out);
    } else {
        block4(g, width, n_rows, record, m, out);
    }
}

INLINE void block4_any(const struct qxk_gemmf *g, struct table16 t, int n_rows,
                       const uint8_t *record, int64_t m, float (*out)[QXK_PANEL])
{
    switch (g->w4->panel) {
    case 16:
        block4_width(g, 16, t, n_rows, record, m, out);
        break;
    case 32:
        block4_width(g, 32, t, n_rows, record, m, out);
        break;
    default:
        block4_width(g, QXK_PANEL, t, n_rows, record, m, out);
    }
}
#endif

void QXK_FN(gemm_f32s8)(const struct qxk_gemmf *g, int64_t m0, int64_t m, int64_t p0,
                        int64_t n_panels)
{
    const struct qxk_w8 *w = g->w8;
    const int64_t n_blocks = (m + ROWSF - 1) / ROWSF;
    for (int64_t p = p0; p < p0 + n_panels; p++) {
        const int8_t *panel = w->data + p * w->k_steps * 4 * w->panel;
        const int64_t n0 = p * w->panel, n = w->n - n0 < w->panel ? w->n - n0 : w->panel;
        prefetch_finish(g, n0);
        for (int64_t b = 0; b < n_blocks; b++) {
            float out[ROWSF][QXK_PANEL] __attribute__((aligned(64)));
            const int64_t i = m0 + b * m / n_blocks;
            const int n_rows = (int)(m0 + (b + 1) * m / n_blocks - i);
            memset(out, 0, (size_t)n_rows * sizeof out[0]);
            block8_any(g, n_rows, panel, n0, i, out);
            if (b == n_blocks - 1) {
                prefetch_next(panel + w->k_steps * 4 * w->panel);
            }
            rows_finish(g, i, n_rows, n0, n, out);
        }
    }
}

void QXK_FN(gemm_f32s4)(const struct qxk_gemmf *g, int64_t m0, int64_t m, int64_t p0,
                        int64_t n_panels)
{
    static const float nothing[16];
    const struct qxk_w4 *w = g->w4;
    const int64_t n_blocks = (m + ROWSF - 1) / ROWSF;
    const struct table16 t = table_load(g->table ? g->table : nothing);
    for (int64_t p = p0; p < p0 + n_panels; p++) {
        const uint8_t *record = w->data + p * w->n_groups * w->group_bytes;
        const int64_t n0 = p * w->panel, n = w->n - n0 < w->panel ? w->n - n0 : w->panel;
        prefetch_finish(g, n0);
        for (int64_t b = 0; b < n_blocks; b++) {
            float out[ROWSF][QXK_PANEL] __attribute__((aligned(64)));
            const int64_t i = m0 + b * m / n_blocks;
            const int n_rows = (int)(m0 + (b + 1) * m / n_blocks - i);
            memset(out, 0, (size_t)n_rows * sizeof out[0]);
            block4_any(g, t, n_rows, record, i, out);
            if (b == n_blocks - 1) {
                prefetch_next(record + w->n_groups * w->group_bytes);
            }
            rows_finish(g, i, n_rows, n0, n, out);
        }
    }
}
#endif
