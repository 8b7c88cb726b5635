#include "kernels/rungs.h"
#include "kernels/ref/finish.h"

void qxk_dwconv_u8s8_ref(const struct qxk_dwconv *d, int64_t row0, int64_t n_rows)
{
    int64_t elem = d->ep.out == QXK_OUT_S32 || d->ep.out == QXK_OUT_F32 ? 4 : 1;
    int64_t padded = (d->s.c + QXK_PANEL - 1) / QXK_PANEL * QXK_PANEL;
    const uint8_t *tap[QXK_DW_TAPS + 1];
    for (int64_t p = row0 * d->s.ow; p < (row0 + n_rows) * d->s.ow; p++) {
        int64_t n = qxk_dw_taps(d, p / d->s.ow, p % d->s.ow, tap);
        for (int64_t c = 0; c < d->s.c; c++) {
            int64_t sum = 0;
            for (int64_t t = 0; t < n; t++) {
                sum += tap[t][c] * d->w->data[(t / 2 * padded + c) * 2 + t % 2];
            }
            finish_ref(&d->w->sums, &d->ep, sum, 0, p, (char *)d->y + p * d->ldy * elem, c);
        }
    }
}
