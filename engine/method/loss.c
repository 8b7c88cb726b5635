#include "method/loss.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

static double top_of(const float *x, int n)
{
    double top = (double)x[0];
    for (int c = 1; c < n; c++) {
        top = (double)x[c] > top ? (double)x[c] : top;
    }
    return top;
}

/* Sum of exp((x - top) / t), each of them into e (NULL: not). */
static double sum_exp(const float *x, int n, double top, double t, float *e)
{
    const float by = (float)(1.0 / t), shift = (float)top;
    double sum = 0.0;
    for (int c = 0; c < n; c++) {
        const float v = expf((x[c] - shift) * by);
        sum += (double)v;
        if (e) {
            e[c] = v;
        }
    }
    return sum;
}

double qx_loss_teacher(const float *logits, int classes, double temperature, float *q)
{
    const double top = top_of(logits, classes);
    const double log_z = log(sum_exp(logits, classes, top, temperature, NULL));
    double sum = 0.0;
    for (int c = 0; c < classes; c++) {
        const double log_q = ((double)logits[c] - top) / temperature - log_z, v = exp(log_q);
        sum += v * log_q;
        q[c] = (float)v;
    }
    return sum;
}

/* -log p of the label. d = p - 1 at the label, times scale. */
static double cross_entropy(const struct qx_loss *l, const float *x, double top, int32_t label,
                            double scale, float *d)
{
    const double sum = sum_exp(x, l->classes, top, 1.0, d);
    const float by = (float)(scale / sum);
    for (int c = 0; d && c < l->classes; c++) {
        d[c] *= by;
    }
    if (d) {
        d[label] -= (float)scale;
    }
    return log(sum) - ((double)x[label] - top);
}

/* t^2 KL of the softened rows. d += t (p - q), times scale. */
static double divergence(const struct qx_loss *l, const float *x, double top, const float *q,
                         double q_log_q, double scale, float *d)
{
    const double t = l->temperature, sum = sum_exp(x, l->classes, top, t, NULL);
    const float by = (float)(t * scale / sum), less = (float)(t * scale);
    const float inverse = (float)(1.0 / t), shift = (float)top;
    double cross = 0.0;
    for (int c = 0; c < l->classes; c++) {
        cross += (double)q[c] * ((double)x[c] - top);
        if (d) {
            d[c] += by * expf((x[c] - shift) * inverse) - less * q[c];
        }
    }
    return t * t * (q_log_q - cross / t + log(sum));
}

double qx_loss_row(const struct qx_loss *l, const float *logits, int32_t label, const float *q,
                   double q_log_q, float *d)
{
    const double top = top_of(logits, l->classes);
    double sum = 0.0;
    if (l->share < 1.0) {
        const double scale = l->scale * (1.0 - l->share);
        sum += scale * cross_entropy(l, logits, top, label, scale, d);
    } else {
        for (int c = 0; d && c < l->classes; c++) {
            d[c] = 0.0f;
        }
    }
    if (l->share > 0.0) {
        const double scale = l->scale * l->share;
        sum += scale * divergence(l, logits, top, q, q_log_q, scale, d);
    }
    return sum;
}
