/* AWQ (Lin et al. 2023, arXiv 2306.00978): inputs that are large on average get a finer grid. Their weights
 * are multiplied by s = rms(x)^alpha / mean|w|^(1 - alpha) before rounding (the paper's s has no weights in it), and what was rounded is divided by it (eq. 4, 5);
 * alpha is searched, then the clipping of each unit. Both look at the error of the layer's output, by the
 * second moments of its inputs. */
#include "method/method.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"

#include <math.h>
#include <string.h>

enum { ALPHAS = 20, CLIPPED = 1 << 20 };

/* The mean magnitude of each input's weights. */
static void weights_mean(const struct qx_method_work *w, float *out)
{
    for (int64_t j = 0; j < w->k; j++) {
        double sum = 0.0;
        for (int64_t r = 0; r < w->n; r++) {
            sum += fabs((double)w->w[r * w->k + j]);
        }
        out[j] = (float)(sum / (double)w->n);
    }
}

/* alpha 0: ones, whatever the weights are. */
static void factors_fill(struct qx_method_work *w, const float *mean, double alpha)
{
    for (int64_t j = 0; alpha == 0.0 && j < w->k; j++) {
        w->in_scale[j] = 1.0f;
    }
    if (alpha == 0.0) {
        return;
    }
    float most = 0.0f, least = INFINITY;
    for (int64_t j = 0; j < w->k; j++) {
        const double x = sqrt((double)w->m->second[j * w->k + j]), v = (double)mean[j];
        const float s = (float)(pow(fmax(x, 1e-8), alpha) / pow(fmax(v, 1e-8), 1.0 - alpha));
        w->in_scale[j] = s;
        most = s > most ? s : most;
        least = s < least ? s : least;
    }
    const float middle = sqrtf(most * least);
    for (int64_t j = 0; j < w->k; j++) {
        w->in_scale[j] = fmaxf(w->in_scale[j] / middle, 1e-4f);
    }
}

static enum qx_status try_alpha(struct qx_method_work *w, const float *mean, double alpha,
                                double *out, struct qx_error *err)
{
    factors_fill(w, mean, alpha);
    qx_work_units(w);
    if (w->n * w->k <= CLIPPED) { /* else the clipping comes once, behind the search */
        qx_work_clip(w);
    }
    qx_work_round(w);
    return qx_work_error(w, out, err);
}

static enum qx_status alpha_search(struct qx_method_work *w, const float *mean, double *best,
                                   struct qx_error *err)
{
    double least = INFINITY;
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < ALPHAS; i++) {
        const double alpha = (double)i / ALPHAS;
        double e = INFINITY;
        st = qx_cancel_test(w->ctl) ? qx_fail(err, QX_ECANCELLED, "AWQ was cancelled")
                                    : try_alpha(w, mean, alpha, &e, err);
        if (e < least) {
            least = e;
            *best = alpha;
        }
    }
    return st;
}

static enum qx_status run(struct qx_method_work *w, double param, struct qx_error *err)
{
    double alpha = param;
    float *mean = qx_mem_array((size_t)w->k + 1, sizeof *mean);
    w->in_scale = qx_mem_array((size_t)w->k + 1, sizeof *w->in_scale);
    enum qx_status st =
        w->in_scale && mean ? QX_OK : qx_fail_nomem(err, (size_t)w->k * sizeof *mean);
    if (st == QX_OK) {
        weights_mean(w, mean);
    }
    if (st == QX_OK && isnan(alpha)) {
        alpha = 0.0;
        st = alpha_search(w, mean, &alpha, err);
    }
    if (st == QX_OK) {
        factors_fill(w, mean, alpha);
    }
    qx_mem_free(mean);
    if (st != QX_OK) {
        return st;
    }
    if (alpha == 0.0) { /* nothing to keep beside the layer */
        qx_mem_free(w->in_scale);
        w->in_scale = NULL;
    }
    qx_work_units(w);
    qx_work_clip(w);
    qx_work_round(w);
    qx_work_note(w, "AWQ alpha %.2f", alpha);
    return QX_OK;
}

const struct qx_method qx_method_awq = {
    .name = "awq",
    .title = "AWQ",
    .help = "A finer grid for the weights of large inputs, and a searched clipping (2306.00978).",
    .key = 'a',
    .stage = QX_STAGE_SCALE,
    .claims = QX_CLAIM_INPUTS,
    .needs_inputs = true,
    .param = "alpha",
    .param_default = (double)NAN,
    .param_lo = 0.0,
    .param_hi = 1.0,
    .refuse = qx_refuse_undivided,
    .run = run,
};
