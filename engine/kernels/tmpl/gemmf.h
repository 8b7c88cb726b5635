/* Weights only: float32 activations times packed weights. Codes are decoded in registers, once for all
 * rows of a block; a part of the inputs (or a group) is summed in registers, the whole in memory.
 * The including file defines ROWSF, the rows per block (4 or 6), and COLSF(n_rows), the outputs per pass
 * over a panel. */
#ifndef QXK_TMPL_GEMMF_H
#define QXK_TMPL_GEMMF_H

#include "kernels/rungs.h"
#include "kernels/tmpl/finish.h"
#include "kernels/tmpl/lanes.h"

enum { PANEL_VECS = QXK_PANEL / VL };

typedef vf sums[ROWSF][PANEL_VECS];

INLINE void clear(sums s, const int n_rows, const int n_vecs)
{
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            s[i][j] = vf_set1(0.0f);
        }
    }
}

/* Adds one input of each row times the decoded weights. */
INLINE void add(sums s, const int n_rows, const int n_vecs, const float *x, int64_t ldx,
                const vf *w)
{
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++) {
        vf v = vf_set1(x[i * ldx]);
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            s[i][j] = vf_fma(v, w[j], s[i][j]);
        }
    }
}

/* Byte k of each lane to its top, zeros below: as a number the signed byte times QXK_F32_UNIT. One move
 * instead of two shifts. */
#define TOP(k) 128, 128, 128, k, 128, 128, 128, k + 4, 128, 128, 128, k + 8, 128, 128, 128, k + 12
#define TOPS(k)                        \
    {                                  \
        TOP(k), TOP(k), TOP(k), TOP(k) \
    }
static const uint8_t to_top[4][64]
    __attribute__((aligned(64))) = {TOPS(0), TOPS(1), TOPS(2), TOPS(3)};

INLINE vf byte_of(vi v, const int k)
{
    return vf_of(vi_shuffle(v, vi_load(to_top[k])));
}

/* Four inputs of one row, whose weights are the bytes of `codes`: one vector after the other, so that few
 * registers are needed. */
INLINE void add_bytes(vf *s, const float *x, vi codes)
{
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        *s = vf_fma(vf_set1(x[k]), byte_of(codes, k), *s);
    }
}

/* Four inputs of int8 weights. */
INLINE void add_step8(sums s, const int n_rows, const int n_vecs, const float *x, int64_t ldx,
                      const int8_t *codes)
{
    if (n_rows == 1) {
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            add_bytes(&s[0][j], x, vi_load(codes + 4 * VL * j));
        }
        return;
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        vf w[PANEL_VECS];
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            w[j] = byte_of(vi_load(codes + 4 * VL * j), k);
        }
        add(s, n_rows, n_vecs, x + k, ldx, w);
    }
}

/* What codes stand for: entries of a table, 0..15, or -8..7. */
enum meaning { CODE_TABLE, CODE_PLAIN, CODE_LESS_8 };

/* Inputs 0..3 of each lane as bytes, or 4..7. */
INLINE vi half4(vi c, const bool is_high, const enum meaning meaning)
{
    const vi b = vi_and(is_high ? vi_shr4(c) : c, vi_set1(0x0F0F0F0F));
    return meaning == CODE_LESS_8 ? vi_sub8(b, vi_set1(0x08080808)) : b;
}

INLINE vf entry4(vi c, const int k, struct table16 t)
{
    return table_get(t, vi_shr(c, 4 * (k < 4 ? 2 * k : 2 * k - 7)));
}

/* Eight inputs of 4-bit codes. Input k is nibble 2k, or 2k - 7 from 4 on. */
INLINE void add_step4(sums s, const int n_rows, const int n_vecs, const float *x, int64_t ldx,
                      const uint8_t *codes, const enum meaning meaning, struct table16 t)
{
    vi half[PANEL_VECS];
    if (n_rows == 1 && meaning != CODE_TABLE) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
#pragma GCC unroll 8
            for (int j = 0; j < n_vecs; j++) {
                add_bytes(&s[0][j], x + 4 * h, half4(vi_load(codes + 4 * VL * j), h, meaning));
            }
        }
        return;
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
        vf w[PANEL_VECS];
#pragma GCC unroll 8
        for (int j = 0; j < n_vecs; j++) {
            const uint8_t *at = codes + 4 * VL * j;
            if (meaning == CODE_TABLE) {
                w[j] = entry4(vi_load(at), k, t);
                continue;
            }
            half[j] = k % 4 == 0 ? half4(vi_load(at), k == 4, meaning) : half[j];
            w[j] = byte_of(half[j], k % 4);
        }
        add(s, n_rows, n_vecs, x + k, ldx, w);
    }
}

/* The last inputs of a row, filled up with zeros, which add nothing. */
struct tail {
    float x[ROWSF][8];
};

static __attribute__((noinline)) void pad_tail(struct tail *t, int n_rows, const float *x,
                                               int64_t ldx, int64_t n)
{
    memset(t, 0, sizeof *t);
    for (int i = 0; i < n_rows; i++) {
        memcpy(t->x[i], x + i * ldx, (size_t)n * sizeof *x);
    }
}

/* Outputs c.. of a panel for n_rows rows; out[i][c..] gets the sums, not yet scaled. */
INLINE void pass8(const int n_rows, const int n_vecs, const int width, const struct qxk_w8 *w,
                  const int8_t *panel, int c, const float *x, int64_t ldx, float (*out)[QXK_PANEL])
{
    for (int64_t k0 = 0; k0 < w->k; k0 += QXK_F32_PART) {
        int64_t end = w->k - k0 < QXK_F32_PART ? w->k : k0 + QXK_F32_PART, k = k0;
        const int8_t *codes = panel + k0 * width + 4 * c;
        sums s;
        clear(s, n_rows, n_vecs);
        for (; k + 4 <= end; k += 4, codes += 4 * width) {
            add_step8(s, n_rows, n_vecs, x + k, ldx, codes);
        }
        if (k < end) {
            struct tail t;
            pad_tail(&t, n_rows, x + k, ldx, end - k);
            add_step8(s, n_rows, n_vecs, t.x[0], 8, codes);
        }
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++) {
#pragma GCC unroll 8
            for (int j = 0; j < n_vecs; j++) {
                float *f = out[i] + c + VL * j;
                vf_store(f, vf_add(vf_load(f), vf_mul(s[i][j], vf_set1(1.0f / QXK_F32_UNIT))));
            }
        }
    }
}

INLINE vf scale4(const uint8_t *scales, bool is_f16, int at)
{
    return is_f16 ? vf_load_f16(scales + 2 * at)
                  : vf_load((const float *)(const void *)scales + at);
}

/* As pass8 for 4-bit weights, scaled. */
INLINE void pass4(const int n_rows, const int n_vecs, const int width, const struct qxk_w4 *w,
                  const uint8_t *record, const enum meaning meaning, struct table16 t, int c,
                  const float unit, const float *x, int64_t ldx, float (*out)[QXK_PANEL])
{
    for (int64_t left = w->k; left > 0; left -= w->group, record += w->group_bytes, x += w->group) {
        int64_t size = left < w->group ? left : w->group, k = 0;
        const uint8_t *codes = record + 4 * c;
        sums s;
        clear(s, n_rows, n_vecs);
        for (; k + 8 <= size; k += 8, codes += 4 * width) {
            add_step4(s, n_rows, n_vecs, x + k, ldx, codes, meaning, t);
        }
        if (k < size) {
            struct tail rest;
            pad_tail(&rest, n_rows, x + k, ldx, size - k);
            add_step4(s, n_rows, n_vecs, rest.x[0], 8, codes, meaning, t);
        }
#pragma GCC unroll 8
        for (int i = 0; i < n_rows; i++) {
            vf x_sum =
                vf_set1(w->has_zeros ? (float)sum_rows(x + i * ldx, size, false, 0.0f) : 0.0f);
#pragma GCC unroll 8
            for (int j = 0; j < n_vecs; j++) {
                float *f = out[i] + c + VL * j;
                vf v = vf_mul(s[i][j], vf_set1(unit));
                if (w->has_zeros) {
                    const uint8_t *zeros = record + w->group_bytes - width + c;
                    v = vf_fnma(vf_of(vi_of_u8(zeros + VL * j)), x_sum, v);
                }
                vf scale = scale4(record + w->group * (width / 2), w->is_f16, c + VL * j);
                vf_store(f, vf_fma(v, scale, vf_load(f)));
            }
        }
    }
}

/* Scales, bias and activation of one row; x_sum: of its inputs, for zeros of int8 weights. */
static __attribute__((noinline)) void finish_vector(const struct qxk_gemmf *g, float x_sum,
                                                    const float *f, int64_t n0, int64_t n, float *y)
{
    const struct qxk_epilogue *e = &g->ep;
    for (int64_t j = 0; j < n; j += VL) {
        int64_t at = n0 + j, left = n - j;
        vf v = vf_load(f + j);
        if (g->w8 && e->w_zero) {
            vf zero = vf_of(epilogue_s32(e->w_zero, e->w_zero_step, at, left));
            v = vf_fnma(zero, vf_set1(x_sum), v);
        }
        v = g->w8 ? vf_mul(v, epilogue_f32(e->w_scale, e->w_scale_step, at, left)) : v;
        v = e->bias ? vf_add(v, vf_load_n(e->bias + at, left)) : v;
        vf_store_n(y + at, activate(v, e->act, e), left);
    }
}

INLINE int vecs_of(const int cols, const int width)
{
    return (cols < width ? cols : width) / VL;
}

#define PASSES(rows, CALL)                                                  \
    case rows:                                                              \
        for (int c = 0; c < width; c += vecs_of(COLSF(rows), width) * VL) { \
            CALL(rows, vecs_of(COLSF(rows), width));                        \
        }                                                                   \
        break;
#if ROWSF > 4
#define ALL_PASSES(CALL) \
    PASSES(1, CALL) PASSES(2, CALL) PASSES(3, CALL) PASSES(4, CALL) PASSES(5, CALL) PASSES(6, CALL)
#else
#define ALL_PASSES(CALL) PASSES(1, CALL) PASSES(2, CALL) PASSES(3, CALL) PASSES(4, CALL)
#endif
#define PASS8(rows, vecs) pass8(rows, vecs, width, g->w8, panel, c, x, g->ldx, out)
#define PASS4(rows, vecs) \
    pass4(rows, vecs, width, g->w4, record, meaning, t, c, unit, x, g->ldx, out)

INLINE void block8(const struct qxk_gemmf *g, const int width, int n_rows, const int8_t *panel,
                   const float *x, float (*out)[QXK_PANEL])
{
    switch (n_rows) {
        ALL_PASSES(PASS8)
    }
}

INLINE void block4(const struct qxk_gemmf *g, const int width, const enum meaning meaning,
                   struct table16 t, int n_rows, const uint8_t *record, const float *x,
                   float (*out)[QXK_PANEL])
{
    const float unit = g->table ? 1.0f : 1.0f / QXK_F32_UNIT;
    switch (n_rows) {
        ALL_PASSES(PASS4)
    }
}

void QXK_FN(gemm_f32s8)(const struct qxk_gemmf *g, int64_t m0, int64_t m, int64_t p0,
                        int64_t n_panels)
{
    const struct qxk_w8 *w = g->w8;
    const int64_t n_blocks = (m + ROWSF - 1) / ROWSF;
    for (int64_t p = p0; p < p0 + n_panels; p++) {
        const int8_t *panel = w->data + p * w->k_steps * 4 * w->panel;
        int64_t n0 = p * w->panel, n = w->n - n0 < w->panel ? w->n - n0 : w->panel;
        for (int64_t b = 0; b < n_blocks; b++) {
            float out[ROWSF][QXK_PANEL] __attribute__((aligned(64))) = {{0}};
            int64_t i = m0 + b * m / n_blocks;
            int n_rows = (int)(m0 + (b + 1) * m / n_blocks - i);
            const float *x = g->x + i * g->ldx;
            switch (w->panel) {
            case 16:
                block8(g, 16, n_rows, panel, x, out);
                break;
            case 32:
                block8(g, 32, n_rows, panel, x, out);
                break;
            default:
                block8(g, QXK_PANEL, n_rows, panel, x, out);
            }
            for (int r = 0; r < n_rows; r++) {
                const float *row = x + r * g->ldx;
                float x_sum = g->ep.w_zero ? (float)sum_rows(row, w->k, false, 0.0f) : 0.0f;
                finish_vector(g, x_sum, out[r], n0, n, g->y + (i + r) * g->ldy);
            }
        }
    }
}

INLINE void gemm_f32s4(const struct qxk_gemmf *g, const enum meaning meaning, int64_t m0, int64_t m,
                       int64_t p0, int64_t n_panels)
{
    const struct qxk_w4 *w = g->w4;
    const int64_t n_blocks = (m + ROWSF - 1) / ROWSF;
    float values[16];
    for (int i = 0; i < 16; i++) {
        values[i] = g->table ? g->table[i] : QXK_F32_UNIT * (float)(w->has_zeros ? i : i - 8);
    }
    const struct table16 t = table_load(values);
    for (int64_t p = p0; p < p0 + n_panels; p++) {
        const uint8_t *record = w->data + p * w->n_groups * w->group_bytes;
        int64_t n0 = p * w->panel, n = w->n - n0 < w->panel ? w->n - n0 : w->panel;
        for (int64_t b = 0; b < n_blocks; b++) {
            float out[ROWSF][QXK_PANEL] __attribute__((aligned(64))) = {{0}};
            int64_t i = m0 + b * m / n_blocks;
            int n_rows = (int)(m0 + (b + 1) * m / n_blocks - i);
            const float *x = g->x + i * g->ldx;
            switch (w->panel) {
            case 16:
                block4(g, 16, meaning, t, n_rows, record, x, out);
                break;
            case 32:
                block4(g, 32, meaning, t, n_rows, record, x, out);
                break;
            default:
                block4(g, QXK_PANEL, meaning, t, n_rows, record, x, out);
            }
            for (int r = 0; r < n_rows; r++) {
                finish_vector(g, 0.0f, out[r], n0, n, g->y + (i + r) * g->ldy);
            }
        }
    }
}

void QXK_FN(gemm_f32s4)(const struct qxk_gemmf *g, int64_t m0, int64_t m, int64_t p0,
                        int64_t n_panels)
{
    if (g->table || VL == 16) { /* one permutation beats any arithmetic */
        gemm_f32s4(g, CODE_TABLE, m0, m, p0, n_panels);
    } else if (g->w4->has_zeros) {
        gemm_f32s4(g, CODE_PLAIN, m0, m, p0, n_panels);
    } else {
        gemm_f32s4(g, CODE_LESS_8, m0, m, p0, n_panels);
    }
}
#endif
