#include "kernels/rungs.h"
#include "kernels/ref/finish.h"

/* Adds one step of four inputs to the sums of a panel. */
static void step(const int32_t *a, const int8_t *w, int panel, int64_t *sum)
{
    for (int n = 0; n < panel; n++, w += 4) {
        sum[n] += a[0] * w[0] + a[1] * w[1] + a[2] * w[2] + a[3] * w[3];
    }
}

static void gemm(const struct qxk_gemm8 *g, bool is_signed, int64_t m0, int64_t m, int64_t p0,
                 int64_t n_panels)
{
    const struct qxk_w8 *w = g->w;
    int64_t elem = g->ep.out == QXK_OUT_S32 || g->ep.out == QXK_OUT_F32 ? 4 : 1;
    for (int64_t p = p0; p < p0 + n_panels; p++) {
        int64_t n0 = p * w->panel, n = w->n - n0 < w->panel ? w->n - n0 : w->panel;
        for (int64_t i = m0; i < m0 + m; i++) {
            const uint8_t *a = (const uint8_t *)g->a + i * g->lda;
            const int8_t *panel = w->data + p * w->k_steps * 4 * w->panel;
            int64_t sum[QXK_PANEL] = {0};
            for (int64_t k = 0; k < w->k_steps; k++) {
                int32_t x[4];
                for (int j = 0; j < 4; j++) {
                    x[j] = is_signed ? (int8_t)a[4 * k + j] : a[4 * k + j];
                }
                step(x, panel + k * 4 * w->panel, w->panel, sum);
            }
            for (int64_t j = 0; j < n; j++) {
                finish_ref(w, &g->ep, sum[j], 0, i, (char *)g->y + i * g->ldy * elem, n0 + j);
            }
        }
    }
}

void qxk_gemm_u8s8_ref(const struct qxk_gemm8 *g, int64_t m0, int64_t m, int64_t p0,
                       int64_t n_panels)
{
    gemm(g, false, m0, m, p0, n_panels);
}

void qxk_gemm_s8s8_ref(const struct qxk_gemm8 *g, int64_t m0, int64_t m, int64_t p0,
                       int64_t n_panels)
{
    gemm(g, true, m0, m, p0, n_panels);
}

void qxk_finish_long(const struct qxk_w8 *w, const struct qxk_epilogue *e, const int64_t *sum,
                     int32_t a_shift, int64_t m, void *y, int64_t n0, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        finish_ref(w, e, sum[j], a_shift, m, y, n0 + j);
    }
}
