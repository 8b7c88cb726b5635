/* Scales that are quantized themselves. */
#include <float.h>

#include "base/error.h"
#include "base/mem.h"
#include "quant/scheme.h"
#include "qx/hist.h"

/* One block of deviations from the mean, as E4M3. */
static void block_nest(float *scale, int64_t n, float mean)
{
    struct qx_qparams p = {.book = qx_format_find("fp8-e4m3")->book};
    float most = 0.0f;

    for (int64_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(scale[i] - mean));
    }
    p.scale = most / p.book->top;
    for (int64_t i = 0; i < n; i++) {
        float back = p.scale > 0.0f ? qx_value_of(&p, scale[i] - mean) + mean : mean;

        scale[i] = back > FLT_MIN ? back : FLT_MIN;
    }
}

void qx_scales_nest(float *scale, int64_t n)
{
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++) {
        sum += (double)scale[i];
    }
    for (int64_t i = 0; i < n; i += QX_NESTED_UNITS) {
        block_nest(scale + i, n - i < QX_NESTED_UNITS ? n - i : QX_NESTED_UNITS,
                   (float)(sum / (double)n));
    }
}

enum qx_status qx_scales_of_hist(const struct qx_setting *s, const struct qx_hist *hist,
                                 float **out, struct qx_error *err)
{
    const struct qx_units *u = qx_hist_units(hist);
    float *scale = qx_mem_array((size_t)u->n + 1, sizeof(*scale));

    if (!scale) {
        return qx_fail_nomem(err, (size_t)u->n * sizeof(*scale));
    }
    for (int64_t i = 0; i < u->n; i++) {
        scale[i] = qx_qparams_of(s, u->lo[i], u->hi[i]).scale;
    }
    qx_scales_nest(scale, u->n);
    *out = scale;
    return QX_OK;
}
