#include "kernels/rungs.h"
#include "base/fp16.h"
#include "kernels/ref/finish.h"

static float scale_of(const struct qxk_w4 *w, const uint8_t *record, int j)
{
    const uint8_t *scales = record + w->group * (w->panel / 2);
    float scale;
    uint16_t half;
    if (w->is_f16) {
        memcpy(&half, scales + 2 * j, 2);
        return qx_f16_to_f32(half);
    }
    memcpy(&scale, scales + 4 * j, 4);
    return scale;
}

static int code_of(const struct qxk_w4 *w, const uint8_t *record, int64_t k, int j)
{
    uint8_t pair = record[k / 8 * 4 * w->panel + 4 * j + k % 4];
    return k / 4 % 2 ? pair >> 4 : pair & 15;
}

/* Sixteen interleaved sums, as of all rows (rows.c). */
static float sum_of(const float *x, int64_t n)
{
    return (float)qxk_row_sum(x, n);
}

static void row_w8(const struct qxk_gemmf *g, const struct qxk_epilogue *e, const float *x,
                   float *y, int64_t n0, int64_t n_end)
{
    const struct qxk_w8 *w = g->w8;
    float x_sum = e->w_zero ? sum_of(x, w->k) : 0.0f;
    for (int64_t n = n0; n < n_end && n < w->n; n++) {
        const int8_t *at = w->data + n / w->panel * w->k_steps * 4 * w->panel + n % w->panel * 4;
        float f = 0.0f;
        for (int64_t k0 = 0; k0 < w->k; k0 += QXK_F32_PART) {
            float s = 0.0f;
            for (int64_t k = k0; k < k0 + QXK_F32_PART && k < w->k; k++) {
                s = fmaf(x[k], QXK_F32_UNIT * (float)at[k / 4 * 4 * w->panel + k % 4], s);
            }
            f += s / QXK_F32_UNIT;
        }
        f = e->w_zero ? fmaf((float)-e->w_zero[e->w_zero_step * n], x_sum, f) : f;
        emit_ref(f * e->w_scale[e->w_scale_step * n], e, y, n);
    }
}

void qxk_gemm_f32s8_ref(const struct qxk_gemmf *g, int64_t m0, int64_t m, int64_t p0,
                        int64_t n_panels)
{
    struct qxk_epilogue e = g->ep;
    e.out = QXK_OUT_F32;
    for (int64_t i = m0; i < m0 + m; i++) {
        row_w8(g, &e, g->x + i * g->ldx, g->y + i * g->ldy, p0 * g->w8->panel,
               (p0 + n_panels) * g->w8->panel);
    }
}

/* x: the inputs of the group. */
static float group_dot(const struct qxk_gemmf *g, const uint8_t *record, const float *x,
                       int64_t size, int j)
{
    const struct qxk_w4 *w = g->w4;
    float s = 0.0f;
    for (int64_t k = 0; k < size; k++) {
        int code = code_of(w, record, k, j);
        float v = QXK_F32_UNIT * (float)(w->has_zeros ? code : code - 8);
        s = fmaf(x[k], g->table ? g->table[code] : v, s);
    }
    s = g->table ? s : s / QXK_F32_UNIT;
    if (w->has_zeros) {
        float zero = (float)record[w->group_bytes - w->panel + j];
        s = fmaf(-zero, sum_of(x, size), s);
    }
    return s;
}

static void row_w4(const struct qxk_gemmf *g, const struct qxk_epilogue *e, const float *x,
                   float *y, int64_t n0, int64_t n_end)
{
    const struct qxk_w4 *w = g->w4;
    for (int64_t n = n0; n < n_end && n < w->n; n++) {
        const uint8_t *record = w->data + n / w->panel * w->n_groups * w->group_bytes;
        int j = (int)(n % w->panel);
        float f = 0.0f;
        for (int64_t b = 0; b < w->n_groups; b++, record += w->group_bytes) {
            int64_t k0 = b * w->group, size = w->k - k0 < w->group ? w->k - k0 : w->group;
            f = fmaf(group_dot(g, record, x + k0, size, j), scale_of(w, record, j), f);
        }
        emit_ref(f, e, y, n);
    }
}

void qxk_gemm_f32s4_ref(const struct qxk_gemmf *g, int64_t m0, int64_t m, int64_t p0,
                        int64_t n_panels)
{
    struct qxk_epilogue e = g->ep;
    e.out = QXK_OUT_F32;
    for (int64_t i = m0; i < m0 + m; i++) {
        row_w4(g, &e, g->x + i * g->ldx, g->y + i * g->ldy, p0 * g->w4->panel,
               (p0 + n_panels) * g->w4->panel);
    }
}
