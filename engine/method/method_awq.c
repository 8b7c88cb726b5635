/* AWQ (Lin et al. 2023, arXiv 2306.00978): inputs that are large on average get a finer grid. Their weights
 * are multiplied by s = mean|x|^alpha before rounding, and what was rounded is divided by it (eq. 4, 5);
 * alpha is searched, then the clipping of each unit. Both look at the error of the layer's output, by the
 * second moments of its inputs. */
#include "method/method.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"

#include <math.h>
#include <string.h>

enum { ALPHAS = 20, CLIPS = 10 };

static void factors_fill(struct qx_method_work *w, double alpha)
{
    float most = 0.0f, least = INFINITY;
    for (int64_t j = 0; j < w->k; j++) {
        const float s = (float)pow(fmax((double)w->m->mean_abs[j], 1e-8), alpha);
        w->in_scale[j] = s;
        most = s > most ? s : most;
        least = s < least ? s : least;
    }
    const float middle = sqrtf(most * least);
    for (int64_t j = 0; j < w->k; j++) {
        w->in_scale[j] = fmaxf(w->in_scale[j] / middle, 1e-4f);
    }
}

static enum qx_status try_alpha(struct qx_method_work *w, double alpha, double *out,
                                struct qx_error *err)
{
    factors_fill(w, alpha);
    qx_work_units(w);
    qx_work_round(w);
    return qx_work_error(w, out, err);
}

static enum qx_status alpha_search(struct qx_method_work *w, double *best, struct qx_error *err)
{
    double least = INFINITY;
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < ALPHAS; i++) {
        const double alpha = (double)i / ALPHAS;
        double e = INFINITY;
        st = qx_cancel_test(w->ctl) ? qx_fail(err, QX_ECANCELLED, "AWQ was cancelled")
                                    : try_alpha(w, alpha, &e, err);
        if (e < least) {
            least = e;
            *best = alpha;
        }
    }
    return st;
}

/* Clipping: of a unit at a time, with all columns of the unit if they are few, else by the diagonal. */
enum { WHOLE = 256 };

static double unit_error(const struct qx_method_work *w, int64_t row, int64_t first, int64_t n,
                         const struct qx_qparams *u)
{
    float e[WHOLE];
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = first + i;
        const float s = w->in_scale ? w->in_scale[j] : 1.0f;
        const float x = w->w[row * w->k + j];
        const float d = x - qx_work_value(u, qx_work_code(u, x * s)) / s;
        if (n > WHOLE) {
            sum += (double)w->m->second[j * w->k + j] * (double)d * (double)d;
        } else {
            e[i] = d;
        }
    }
    for (int64_t i = 0; n <= WHOLE && i < n; i++) {
        const float *h = w->m->second + (first + i) * w->k + first;
        float dot = 0.0f;
        for (int64_t j = 0; j < n; j++) {
            dot += h[j] * e[j];
        }
        sum += (double)e[i] * (double)dot;
    }
    return sum;
}

static void row_clip(void *arg, int64_t row, int worker)
{
    struct qx_method_work *w = arg;
    (void)worker;
    for (int64_t u = 0; u < w->row_units; u++) {
        const int64_t first = u * w->unit_len;
        const int64_t n = w->unit_len < w->k - first ? w->unit_len : w->k - first;
        double least = INFINITY;
        struct qx_qparams best = w->units[row * w->row_units + u];
        for (int i = 0; i < CLIPS; i++) {
            const struct qx_qparams p = qx_work_fit(w, row, u, 1.0f - 0.05f * (float)i);
            const double e = unit_error(w, row, first, n, &p);
            if (e < least) {
                least = e;
                best = p;
            }
        }
        w->units[row * w->row_units + u] = best;
    }
}

static enum qx_status run(struct qx_method_work *w, double param, struct qx_error *err)
{
    double alpha = param;
    w->in_scale = qx_mem_array((size_t)w->k + 1, sizeof *w->in_scale);
    enum qx_status st =
        w->in_scale ? QX_OK : qx_fail_nomem(err, (size_t)w->k * sizeof *w->in_scale);
    if (st == QX_OK && isnan(alpha)) {
        alpha = 0.0;
        st = alpha_search(w, &alpha, err);
    }
    if (st != QX_OK) {
        return st;
    }
    factors_fill(w, alpha);
    if (alpha == 0.0) { /* nothing to keep beside the layer */
        qx_mem_free(w->in_scale);
        w->in_scale = NULL;
    }
    qx_work_units(w);
    if (w->row_units > 0) {
        qx_pool_for(w->pool, w->n, row_clip, w);
    }
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
