#include "kernels/rungs.h"

#include <math.h>

int64_t qxk_attention_scratch(int64_t n_k, int64_t d)
{
    const int64_t panels = (n_k + QXK_ATTENTION_PANEL - 1) / QXK_ATTENTION_PANEL;
    return panels * QXK_ATTENTION_PANEL * (d + QXK_ATTENTION_QUERIES);
}

void qxk_attention_ref(const struct qxk_attention *a)
{
    float *p = a->scratch;
    for (int64_t i = 0; i < a->n_q; i++) {
        const float *q = a->q + i * a->ld_q;
        const int64_t n = a->seen && a->seen + i < a->n_k ? a->seen + i : a->n_k;
        for (int64_t j = 0; j < n; j++) {
            p[j] = 0.0f;
            for (int64_t c = 0; c < a->d; c++) {
                p[j] = fmaf(q[c], a->k[j * a->ld_kv + c], p[j]);
            }
        }
        qxk_softmax_ref(p, n, a->scale, NULL, p);
        for (int64_t c = 0; c < a->d; c++) {
            float sum = 0.0f;
            for (int64_t j = 0; j < n; j++) {
                sum = fmaf(p[j], a->v[j * a->ld_kv + c], sum);
            }
            a->out[i * a->ld_q + c] = sum;
        }
    }
}
