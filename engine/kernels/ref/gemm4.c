#include "kernels/rungs.h"
#include "base/fp16.h"
#include "kernels/ref/finish.h"

/* Sum over group g of a row times output j of a panel, on codes 0..15. */
static int32_t group_sum(const struct qxk_w4 *w, const uint8_t *record, const int8_t *a, int j)
{
    int32_t sum = 0;
    for (int k = 0; k < w->group; k++) {
        uint8_t pair = record[k / 8 * 4 * w->panel + 4 * j + k % 4];
        sum += a[k] * (k / 4 % 2 ? pair >> 4 : pair & 15);
    }
    return sum;
}

static float group_scale(const struct qxk_w4 *w, const uint8_t *record, int j)
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

void qxk_gemm_s8s4_ref(const struct qxk_gemm4 *g, int64_t m0, int64_t m, int64_t p0,
                       int64_t n_panels)
{
    const struct qxk_w4 *w = g->w;
    int64_t elem = g->ep.out == QXK_OUT_F32 ? 4 : 1;
    for (int64_t p = p0; p < p0 + n_panels; p++) {
        const uint8_t *panel = w->data + p * w->n_groups * w->group_bytes;
        for (int64_t i = m0; i < m0 + m; i++) {
            for (int j = 0; j < w->panel && p * w->panel + j < w->n; j++) {
                float f = 0.0f;
                for (int64_t b = 0; b < w->n_groups; b++) {
                    const uint8_t *record = panel + b * w->group_bytes;
                    int32_t sum = group_sum(w, record, g->a + i * g->lda + b * w->group, j);
                    int32_t shift = g->group_sum[i * w->n_groups + b]; /* -8 times the sum of a */
                    sum += w->has_zeros ? shift / 8 * record[w->group_bytes - w->panel + j] : shift;
                    f = fmaf((float)sum, group_scale(w, record, j), f);
                }
                f *= g->ep.a_scale[g->ep.a_scale_step * i];
                emit_ref(f, &g->ep, (char *)g->y + i * g->ldy * elem, p * w->panel + j);
            }
        }
    }
}
