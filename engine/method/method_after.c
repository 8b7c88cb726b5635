/* Corrections once the codes are known: bias correction (Nagel et al. 2019, arXiv 1906.04721, section 4.2) with
 * means of the inputs as calibration saw them, or as batch normalization says they are; and the scale that keeps
 * the variance of the weights (arXiv 2411.06084). */
#include "method/method.h"

#include "qx/links.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>

enum qx_status qx_work_correct(struct qx_method_work *w, const float *mean, int64_t taps,
                               struct qx_error *err)
{
    qx_mem_free(w->bias);
    w->bias = qx_mem_zalloc(((size_t)(w->groups * w->n) + 1) * sizeof *w->bias);
    if (!w->bias) {
        return qx_fail_nomem(err, (size_t)(w->groups * w->n) * sizeof *w->bias);
    }
    for (int64_t r = 0; r < w->groups * w->n; r++) {
        const float *m = mean + r / w->n * (w->k / taps);
        double sum = 0.0;
        for (int64_t j = 0; j < w->k; j++) {
            sum += ((double)w->w[r * w->k + j] - (double)qx_work_weight(w, r, j)) *
                   (double)m[j / taps];
        }
        w->bias[r] = (float)sum;
    }
    return QX_OK;
}

static enum qx_status empirical_run(struct qx_method_work *w, double param, struct qx_error *err)
{
    (void)param;
    const enum qx_status st = qx_work_correct(w, w->m->mean, 1, err);
    if (st == QX_OK) {
        qx_work_note(w, "bias corrected");
    }
    return st;
}

static enum qx_status analytic_run(struct qx_method_work *w, double param, struct qx_error *err)
{
    const int64_t n = w->groups * w->k / w->taps;
    float *mean = qx_mem_array((size_t)n + 1, sizeof *mean);
    (void)param;
    enum qx_status st = mean ? qx_net_layer_expected(w->target->net, w->target->layer, mean, err)
                             : qx_fail_nomem(err, (size_t)n * sizeof *mean);
    if (st == QX_OK) {
        st = qx_work_correct(w, mean, w->taps, err);
        qx_work_note(w, "bias corrected by batch norm");
    } else if (st == QX_EUNSUPPORTED) {
        st = QX_OK;
        qx_work_note(w, "bias: no batch norm in front");
    }
    qx_mem_free(mean);
    return st;
}

const struct qx_method qx_method_biascorr = {
    .name = "bias-correction",
    .title = "bias corr.",
    .help = "Takes the mean of the error off every output (1906.04721, 4.2).",
    .key = 'b',
    .stage = QX_STAGE_AFTER,
    .claims = QX_CLAIM_BIASES,
    .needs_inputs = true,
    .refuse = qx_refuse_no_inputs,
    .run = empirical_run,
};
const struct qx_method qx_method_biasbn = {
    .name = "bias-analytic",
    .title = "bias by BN",
    .help =
        "The mean of the error by batch normalization's figures, without data (1906.04721, 4.2).",
    .key = 'n',
    .stage = QX_STAGE_AFTER,
    .claims = QX_CLAIM_BIASES,
    .refuse = qx_refuse_no_inputs,
    .run = analytic_run,
};

/* One factor a unit: its standard deviation over that of what it became. */
struct spread {
    double n, x, xx, y, yy;
};

static double factor_of(const struct spread *s)
{
    const double vx = s->xx / s->n - s->x / s->n * s->x / s->n;
    const double vy = s->yy / s->n - s->y / s->n * s->y / s->n;
    return vx > 0.0 && vy > 0.0 ? sqrt(vx / vy) : 1.0;
}

static enum qx_status gamma_run(struct qx_method_work *w, double param, struct qx_error *err)
{
    const int64_t rows = w->groups * w->n, n_units = w->row_units ? rows * w->row_units : 1;
    struct spread *spread = qx_mem_zalloc(((size_t)n_units + 1) * sizeof *spread);
    (void)param;
    if (!spread) {
        return qx_fail_nomem(err, (size_t)n_units * sizeof *spread);
    }
    for (int64_t i = 0; i < rows * w->k; i++) {
        const int64_t r = i / w->k, j = i % w->k;
        struct spread *s = &spread[w->row_units ? r * w->row_units + j / w->unit_len : 0];
        const double x = (double)w->w[i], y = (double)qx_work_weight(w, r, j);
        s->n += 1.0;
        s->x += x;
        s->xx += x * x;
        s->y += y;
        s->yy += y * y;
    }
    for (int64_t u = 0; u < n_units; u++) {
        const float scale = (float)((double)w->units[u].scale * factor_of(&spread[u]));
        w->units[u].scale =
            w->set->scale == QX_SCALE_F16 ? qx_format_find("fp16")->round(scale) : scale;
    }
    qx_mem_free(spread);
    return QX_OK;
}

const struct qx_method qx_method_gamma = {
    .name = "gamma",
    .title = "gamma",
    .help = "Scales what was rounded so that the variance of the weights stays (2411.06084).",
    .key = 'v',
    .stage = QX_STAGE_AFTER,
    .run = gamma_run,
};
