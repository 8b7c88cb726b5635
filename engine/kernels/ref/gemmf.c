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

/* Exact sums of a part's codes, less their zero, times both kinds of digits: to what they stand for. */
struct sums {
    int32_t high, low;
};

static void sums_add(struct sums *s, int32_t code, const int8_t *digit, int64_t ld)
{
    s->high += code * (256 * digit[0] + digit[ld]);
    s->low += code * digit[2 * ld];
}

static float sums_value(struct sums s)
{
    return fmaf((float)s.high, 256.0f, (float)s.low);
}

static void row_w8(const struct qxk_gemmf *g, const struct qxk_epilogue *e, int64_t i, int64_t n0,
                   int64_t n_end)
{
    const struct qxk_w8 *w = g->w8;
    const int64_t ld = qxk_split_ld(g);
    const int8_t *digits = g->digits + i * QXK_DIGITS * ld;
    const struct qxk_split_part *parts = g->parts + i * (ld / QXK_F32_PART);
    for (int64_t n = n0; n < n_end && n < w->n; n++) {
        const int8_t *at = w->data + n / w->panel * w->k_steps * 4 * w->panel + n % w->panel * 4;
        const int32_t zero = e->w_zero ? e->w_zero[e->w_zero_step * n] : 0;
        float f = 0.0f;
        for (int64_t k0 = 0; k0 < w->k; k0 += QXK_F32_PART) {
            struct sums s = {0, 0};
            for (int64_t k = k0; k < k0 + QXK_F32_PART && k < w->k; k++) {
                sums_add(&s, at[k / 4 * 4 * w->panel + k % 4] - zero, digits + k, ld);
            }
            f = fmaf(sums_value(s), parts[k0 / QXK_F32_PART].scale, f);
        }
        emit_ref(f * e->w_scale[e->w_scale_step * n], e, g->y + i * g->ldy, n);
    }
}

void qxk_gemm_f32s8_ref(const struct qxk_gemmf *g, int64_t m0, int64_t m, int64_t p0,
                        int64_t n_panels)
{
    struct qxk_epilogue e = g->ep;
    e.out = QXK_OUT_F32;
    for (int64_t i = m0; i < m0 + m; i++) {
        row_w8(g, &e, i, p0 * g->w8->panel, (p0 + n_panels) * g->w8->panel);
    }
}

/* Group b of row i and output j of a panel. */
static float group_dot(const struct qxk_gemmf *g, const uint8_t *record, int64_t i, int64_t b,
                       int j)
{
    const struct qxk_w4 *w = g->w4;
    const int64_t ld = qxk_split_ld(g);
    const int32_t zero = w->has_zeros ? record[w->group_bytes - w->panel + j] : 8;
    struct sums s = {0, 0};
    for (int64_t k = 0; k < w->group; k++) {
        const int8_t *digit = g->digits + i * QXK_DIGITS * ld + b * w->group + k;
        sums_add(&s, code_of(w, record, k, j) - zero, digit, ld);
    }
    return sums_value(s) * g->parts[i * w->n_groups + b].scale;
}

static float group_table(const struct qxk_gemmf *g, const uint8_t *record, int64_t i, int64_t b,
                         int j)
{
    const struct qxk_w4 *w = g->w4;
    const int64_t k0 = b * w->group, size = w->k - k0 < w->group ? w->k - k0 : w->group;
    float s = 0.0f;
    for (int64_t k = 0; k < size; k++) {
        s = fmaf(g->x[i * g->ldx + k0 + k], g->table[code_of(w, record, k, j)], s);
    }
    return s;
}

static void row_w4(const struct qxk_gemmf *g, const struct qxk_epilogue *e, int64_t i, int64_t n0,
                   int64_t n_end)
{
    const struct qxk_w4 *w = g->w4;
    for (int64_t n = n0; n < n_end && n < w->n; n++) {
        const uint8_t *record = w->data + n / w->panel * w->n_groups * w->group_bytes;
        int j = (int)(n % w->panel);
        float f = 0.0f;
        for (int64_t b = 0; b < w->n_groups; b++, record += w->group_bytes) {
            const float v = (g->table ? group_table : group_dot)(g, record, i, b, j);
            f = fmaf(v, scale_of(w, record, j), f);
        }
        emit_ref(f, e, g->y + i * g->ldy, n);
    }
}

void qxk_gemm_f32s4_ref(const struct qxk_gemmf *g, int64_t m0, int64_t m, int64_t p0,
                        int64_t n_panels)
{
    struct qxk_epilogue e = g->ep;
    e.out = QXK_OUT_F32;
    for (int64_t i = m0; i < m0 + m; i++) {
        row_w4(g, &e, i, p0 * g->w4->panel, (p0 + n_panels) * g->w4->panel);
    }
}
