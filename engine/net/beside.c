#include "net/beside.h"

void qx_beside_apply(const struct qx_beside *b, const float *x, int64_t n, float *y)
{
    const int64_t row = b->channels * b->inner;
    for (int64_t at = 0; at < n; at += row) {
        for (int64_t c = 0, i = at; c < b->channels; c++) {
            const float s = b->sub ? b->sub[c] : 0.0f, d = b->div ? b->div[c] : 1.0f;
            for (const int64_t end = i + b->inner; i < end; i++) {
                y[i] = (x[i] - s) / d;
            }
        }
        for (int64_t k = 0; k < b->n_kept; k++) {
            y[at + b->kept[k]] = 0.0f;
        }
    }
}

void qx_beside_restore(const struct qx_beside *b, const float *x, int64_t n, float *y)
{
    const int64_t row = b->channels * b->inner;
    for (int64_t at = 0; at < n; at += row) {
        for (int64_t c = 0, i = at; (b->div || b->sub) && c < b->channels; c++) {
            const float s = b->sub ? b->sub[c] : 0.0f, d = b->div ? b->div[c] : 1.0f;
            for (const int64_t end = i + b->inner; i < end; i++) {
                y[i] = y[i] * d + s;
            }
        }
        for (int64_t k = 0; k < b->n_kept; k++) {
            y[at + b->kept[k]] = x[at + b->kept[k]];
        }
    }
}
