#include "kernels/rungs.h"
#include "base/fp16.h"
#include "kernels/ref/finish.h"

static float scale_of(const struct qxk_w4 *w, const uint8_t *record, int j)
{
    const uint8_t *scales = record + w->group * (QXK_PANEL / 2);
    float scale;
    uint16_t half;
    if (w->is_f16) {
        memcpy(&half, scales + 2 * j, 2);
        return qx_f16_to_f32(half);
    }
    memcpy(&scale, scales + 4 * j, 4);
    return scale;
}

static int code_of(const uint8_t *record, int64_t k, int j)
{
    uint8_t pair = record[k / 8 * 4 * QXK_PANEL + 4 * j + k % 4];
    return k / 4 % 2 ? pair >> 4 : pair & 15;
}

/* Sixteen interleaved sums, as of all rows (rows.c). */
static float sum_of(const float *x, int64_t n)
{
    return (float)qxk_row_sum(x, n);
}

void qxk_gemv_f32w8_ref(const struct qxk_gemv *g, int64_t p0, int64_t n_panels)
{
    const struct qxk_w8 *w = g->w8;
    struct qxk_epilogue e = g->ep;
    float x_sum = e.w_zero ? sum_of(g->x, w->k) : 0.0f;
    e.out = QXK_OUT_F32;
    for (int64_t n = p0 * QXK_PANEL; n < (p0 + n_panels) * QXK_PANEL && n < w->n; n++) {
        const int8_t *at = w->data + n / QXK_PANEL * w->k_steps * 4 * QXK_PANEL + n % QXK_PANEL * 4;
        float f = 0.0f;
        for (int64_t k0 = 0; k0 < w->k; k0 += QXK_F32_PART) {
            float s = 0.0f;
            for (int64_t k = k0; k < k0 + QXK_F32_PART && k < w->k; k++) {
                s = fmaf(g->x[k], (float)at[k / 4 * 4 * QXK_PANEL + k % 4], s);
            }
            f += s;
        }
        f = e.w_zero ? fmaf((float)-e.w_zero[e.w_zero_step * n], x_sum, f) : f;
        emit_ref(f * e.w_scale[e.w_scale_step * n], &e, g->y, n);
    }
}

static float group_dot(const struct qxk_gemv *g, const uint8_t *record, int64_t k0, int64_t size,
                       int j)
{
    const struct qxk_w4 *w = g->w4;
    float s = 0.0f;
    for (int64_t k = 0; k < size; k++) {
        int code = code_of(record, k, j);
        float v = g->table ? g->table[code] : (float)(w->has_zeros ? code : code - 8);
        s = fmaf(g->x[k0 + k], v, s);
    }
    if (w->has_zeros) {
        float zero = (float)record[w->group_bytes - QXK_PANEL + j];
        s = fmaf(-zero, sum_of(g->x + k0, size), s);
    }
    return s;
}

void qxk_gemv_f32w4_ref(const struct qxk_gemv *g, int64_t p0, int64_t n_panels)
{
    const struct qxk_w4 *w = g->w4;
    struct qxk_epilogue e = g->ep;
    e.out = QXK_OUT_F32;
    for (int64_t n = p0 * QXK_PANEL; n < (p0 + n_panels) * QXK_PANEL && n < w->n; n++) {
        const uint8_t *record = w->data + n / QXK_PANEL * w->n_groups * w->group_bytes;
        int j = (int)(n % QXK_PANEL);
        float f = 0.0f;
        for (int64_t b = 0; b < w->n_groups; b++, record += w->group_bytes) {
            int64_t k0 = b * w->group, size = w->k - k0 < w->group ? w->k - k0 : w->group;
            f = fmaf(group_dot(g, record, k0, size, j), scale_of(w, record, j), f);
        }
        emit_ref(f, &e, g->y, n);
    }
}

void qxk_w8_unpack(const struct qxk_w8 *w, const struct qxk_epilogue *ep, int64_t n0, int64_t n,
                   float *out)
{
    for (int64_t i = n0; i < n0 + n; i++) {
        const int8_t *at = w->data + i / QXK_PANEL * w->k_steps * 4 * QXK_PANEL + i % QXK_PANEL * 4;
        float scale = ep->w_scale[ep->w_scale_step * i];
        int32_t zero = ep->w_zero ? ep->w_zero[ep->w_zero_step * i] : 0;
        for (int64_t k = 0; k < w->k; k++) {
            *out++ = (float)(at[k / 4 * 4 * QXK_PANEL + k % 4] - zero) * scale;
        }
    }
}

void qxk_w4_unpack(const struct qxk_w4 *w, const float *table, int64_t n0, int64_t n, float *out)
{
    for (int64_t i = n0; i < n0 + n; i++) {
        const uint8_t *record = w->data + i / QXK_PANEL * w->n_groups * w->group_bytes;
        int j = (int)(i % QXK_PANEL);
        for (int64_t k = 0; k < w->k; k++) {
            const uint8_t *r = record + k / w->group * w->group_bytes;
            int code = code_of(r, k % w->group, j);
            int zero = w->has_zeros ? r[w->group_bytes - QXK_PANEL + j] : 8;
            *out++ = (table ? table[code] : (float)(code - zero)) * scale_of(w, r, j);
        }
    }
}
