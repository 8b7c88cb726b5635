#include "method/loss.h"

#include <math.h>
#include <stddef.h>

/* log of the sum of exp(x / t); *top the largest x. */
static double log_sum(const float *x, int n, double t, double *top)
{
    double sum = 0.0;
    *top = (double)x[0];
    for (int c = 1; c < n; c++) {
        *top = (double)x[c] > *top ? (double)x[c] : *top;
    }
    for (int c = 0; c < n; c++) {
        sum += exp(((double)x[c] - *top) / t);
    }
    return log(sum);
}

/* -log p of the label. d += (p - 1 at the label) * scale. */
static double cross_entropy(const float *x, int n, int32_t label, double scale, float *d)
{
    double top;
    const double log_z = log_sum(x, n, 1.0, &top);
    for (int c = 0; d && c < n; c++) {
        const double p = exp((double)x[c] - top - log_z);
        d[c] += (float)((p - (c == label ? 1.0 : 0.0)) * scale);
    }
    return log_z - ((double)x[label] - top);
}

/* t^2 KL of the softened rows; its gradient by x is t (p - q). */
static double divergence(const float *x, const float *teacher, int n, double t, double scale,
                         float *d)
{
    double top_x, top_q, sum = 0.0;
    const double log_x = log_sum(x, n, t, &top_x), log_q = log_sum(teacher, n, t, &top_q);
    for (int c = 0; c < n; c++) {
        const double lp = ((double)x[c] - top_x) / t - log_x;
        const double lq = ((double)teacher[c] - top_q) / t - log_q, q = exp(lq);
        sum += q * (lq - lp);
        if (d) {
            d[c] += (float)(t * (exp(lp) - q) * scale);
        }
    }
    return t * t * sum;
}

double qx_loss(const struct qx_loss *l, float *d_logits)
{
    double sum = 0.0;
    for (int64_t i = 0; i < l->n; i++) {
        const float *x = l->logits + i * l->classes;
        float *d = d_logits ? d_logits + i * l->classes : NULL;
        for (int c = 0; d && c < l->classes; c++) {
            d[c] = 0.0f;
        }
        if (l->share < 1.0) {
            const double part = 1.0 - l->share;
            sum += part * cross_entropy(x, l->classes, l->labels[i], part / (double)l->n, d);
        }
        if (l->share > 0.0) {
            sum += l->share * divergence(x, l->teacher + i * l->classes, l->classes, l->temperature,
                                         l->share / (double)l->n, d);
        }
    }
    return sum / (double)l->n;
}
