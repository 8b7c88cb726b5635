/* From sums to figures. */
#include "quant/formulas.h"

#include <math.h>
#include <string.h>

/* A histogram splits bins, so a code may hold a fraction of a value: below COUNT_NOISE it is rounding
 * noise of prefix differences, from COUNT_USED on the code counts as used. */
#define COUNT_NOISE 1e-6
#define COUNT_USED  0.5

void qx_error_sums_add(struct qx_error_sums *dst, const struct qx_error_sums *src)
{
    dst->n += src->n;
    dst->sq_x += src->sq_x;
    dst->sq_y += src->sq_y;
    dst->xy += src->xy;
    dst->sq_err += src->sq_err;
    dst->abs_err += src->abs_err;
    dst->bias += src->bias;
    dst->clipped_low += src->clipped_low;
    dst->clipped_high += src->clipped_high;
    dst->sq_clip += src->sq_clip;
    dst->sq_round += src->sq_round;
    for (int q = 0; q < QX_CODES_MAX; q++) {
        dst->codes[q] += src->codes[q];
    }
}

static void entropy_finish(const struct qx_error_sums *sums, int n_codes, struct qx_metrics *out)
{
    double bits = 0.0;

    out->levels = n_codes;
    out->entropy_bits = NAN;
    for (int q = 0; q < n_codes; q++) {
        if (sums->codes[q] > COUNT_NOISE) {
            double share = sums->codes[q] / sums->n;

            bits -= share * log2(share);
            out->levels_used += sums->codes[q] >= COUNT_USED;
        }
    }
    if (n_codes > 0) {
        out->entropy_bits = fmax(bits, 0.0);
    }
}

void qx_error_sums_finish(const struct qx_error_sums *sums, int n_codes, struct qx_metrics *out)
{
    double n = sums->n, norm = sqrt(sums->sq_x * sums->sq_y);

    memset(out, 0, sizeof(*out));
    out->scale_min = out->scale_max = NAN;
    out->sqnr_db = out->cosine = out->entropy_bits = NAN;
    out->levels = n_codes;
    if (!(n > 0.0)) {
        return;
    }
    out->n = (int64_t)(n + 0.5);
    out->clipped_low = sums->clipped_low;
    out->clipped_high = sums->clipped_high;
    out->mse = sums->sq_err / n;
    out->mae = sums->abs_err / n;
    out->sum_sq = sums->sq_x;
    if (sums->sq_err > 0.0) {
        out->sqnr_db = 10.0 * log10(sums->sq_x / sums->sq_err);
    }
    if (norm > 0.0) {
        out->cosine = fmin(sums->xy / norm, 1.0);
    }
    out->mse_clip = sums->sq_clip / n;
    out->mse_round = sums->sq_round / n;
    out->bias = sums->bias / n;
    entropy_finish(sums, n_codes, out);
}

void qx_metrics_size(const struct qx_setting *s, struct qx_channels channels,
                     struct qx_metrics *out)
{
    int64_t numel = channels.outer * channels.count * channels.inner;

    out->bytes = qx_setting_bytes(s, numel, qx_setting_units(s, channels));
    out->bits_per_weight = numel > 0 ? 8.0 * (double)out->bytes / (double)numel : 0.0;
}
