/* SmoothQuant (Xiao et al. 2022, arXiv 2211.10438): inputs with outliers are divided by a factor, their
 * weights multiplied by it, s_j = max|x_j|^alpha / max|w_j|^(1 - alpha) (eq. 4): in float32 the product
 * stays what it was. Without a number alpha is searched: the error of the rounded weights, by the moments,
 * plus that of the rounded inputs, whose step^2 / 12 meets the squares of the weights. */
#include "method/method.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { STEPS = 20 };

static float input_most(const struct qx_method_work *w, int64_t j)
{
    return fmaxf(-w->m->lo[j], w->m->hi[j]);
}

static void factors_fill(struct qx_method_work *w, const float *weight_most, double alpha)
{
    for (int64_t j = 0; j < w->k; j++) {
        const double x = (double)input_most(w, j), v = (double)weight_most[j];
        const double s = x > 0.0 && v > 0.0 ? pow(x, alpha) / pow(v, 1.0 - alpha) : 1.0;
        w->in_scale[j] = (float)fmin(fmax(s, 1e-5), 1e5);
    }
}

/* Squared error that rounding the divided inputs adds to the outputs, as a share of the outputs. */
static double inputs_error(const struct qx_method_work *w, double outputs)
{
    const struct qx_range r = qx_work_input_range(w);
    const struct qx_act *a = &w->set->act;
    const double span = a->sym ? 2.0 * fmax(-r.lo, r.hi) : r.hi - r.lo;
    const double step = span / (double)((1 << a->bits) - 1);
    double sum = 0.0;
    for (int64_t i = 0; i < w->n * w->k; i++) {
        const double v = (double)w->w[i] * (double)w->in_scale[i % w->k];
        sum += v * v;
    }
    return outputs > 0.0 ? step * step / 12.0 * sum / outputs : 0.0;
}

static double outputs_of(const struct qx_method_work *w)
{
    double sum = 0.0;
    for (int64_t o = 0; o < w->n; o++) {
        const float *v = w->w + o * w->k;
        for (int64_t i = 0; i < w->k; i++) {
            double dot = 0.0;
            for (int64_t j = 0; j < w->k; j++) {
                dot += (double)w->m->second[i * w->k + j] * (double)v[j];
            }
            sum += dot * (double)v[i];
        }
    }
    return sum;
}

static enum qx_status try_alpha(struct qx_method_work *w, const float *weight_most, double alpha,
                                double outputs, double *out, struct qx_error *err)
{
    factors_fill(w, weight_most, alpha);
    qx_work_units(w);
    qx_work_round(w);
    enum qx_status st = qx_work_error(w, out, err);
    *out += inputs_error(w, outputs);
    return st;
}

static enum qx_status search(struct qx_method_work *w, const float *weight_most, double *best,
                             struct qx_error *err)
{
    const double outputs = outputs_of(w);
    double least = INFINITY;
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i <= STEPS; i++) {
        double e = INFINITY;
        st = qx_cancel_test(w->ctl)
                 ? qx_fail(err, QX_ECANCELLED, "SmoothQuant was cancelled")
                 : try_alpha(w, weight_most, (double)i / STEPS, outputs, &e, err);
        if (e < least) {
            least = e;
            *best = (double)i / STEPS;
        }
    }
    return st;
}

static enum qx_status run(struct qx_method_work *w, double param, struct qx_error *err)
{
    double alpha = param;
    float *weight_most = qx_mem_zalloc(((size_t)w->k + 1) * sizeof *weight_most);
    w->in_scale = qx_mem_array((size_t)w->k + 1, sizeof *w->in_scale);
    enum qx_status st =
        weight_most && w->in_scale ? QX_OK : qx_fail_nomem(err, (size_t)w->k * sizeof *w->in_scale);
    for (int64_t i = 0; st == QX_OK && i < w->n * w->k; i++) {
        weight_most[i % w->k] = fmaxf(weight_most[i % w->k], fabsf(w->w[i]));
    }
    if (st == QX_OK && isnan(alpha)) {
        alpha = 0.5;
        st = search(w, weight_most, &alpha, err);
    }
    if (st == QX_OK) {
        factors_fill(w, weight_most, alpha);
        qx_work_units(w);
        qx_work_round(w);
        qx_work_note(w, "SmoothQuant alpha %.2f", alpha);
    }
    qx_mem_free(weight_most);
    return st;
}

static const char *refuse(const struct qx_method_target *t)
{
    const char *why = qx_refuse_undivided(t);
    return why ? why
           : t->set->act.bits == 0
               ? "its inputs stay float32: quantize them too (--act-bits 8 or --dynamic)"
               : NULL;
}

const struct qx_method qx_method_smoothquant = {
    .name = "smoothquant",
    .title = "SmoothQuant",
    .help =
        "Moves outliers of the inputs into the weights, so that both can be rounded (2211.10438).",
    .key = 's',
    .stage = QX_STAGE_SCALE,
    .claims = QX_CLAIM_INPUTS,
    .needs_inputs = true,
    .param = "alpha",
    .param_default = (double)NAN,
    .param_lo = 0.0,
    .param_hi = 1.0,
    .refuse = refuse,
    .run = run,
};
