/* Clipping of one unit at a time: the share of its own range at which the output loses least, by the second
 * moments of its inputs (Lin et al. 2023, arXiv 2306.00978, section 4, "weight clipping"). */
#include "method/method.h"

#include "base/pool.h"

#include <math.h>
#include <string.h>

enum { CLIPS = 16, WHOLE = 256 };
static const float least_share = 0.4f;

/* Error of columns first .. first + n - 1 of a row under a unit: with all their moments if they are few, else
 * by the diagonal. */
static double unit_error(const struct qx_method_work *w, int64_t row, int64_t first, int64_t n,
                         const struct qx_qparams *u)
{
    const float *second = w->m->second + row / w->n * w->k * w->k;
    float e[WHOLE];
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = first + i;
        const float x = qx_work_aim(w, row, j);
        const bool is_kept = w->is_kept && w->is_kept[j];
        const float d =
            is_kept ? 0.0f : (x - qx_work_value(u, qx_work_code(u, x))) / qx_work_in(w, row, j);
        if (n > WHOLE) {
            sum += (double)second[j * w->k + j] * (double)d * (double)d;
        } else {
            e[i] = d;
        }
    }
    for (int64_t i = 0; n <= WHOLE && i < n; i++) {
        const float *h = second + (first + i) * w->k + first;
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
    const float whole = (float)(1.0 / w->calibrated.range.hi);
    (void)worker;
    for (int64_t u = 0; u < w->row_units; u++) {
        const int64_t first = u * w->unit_len;
        const int64_t n = w->unit_len < w->k - first ? w->unit_len : w->k - first;
        double least = INFINITY;
        struct qx_qparams best = w->units[row * w->row_units + u];
        for (int i = 0; i < CLIPS; i++) {
            const float share = 1.0f - (1.0f - least_share) / CLIPS * (float)i;
            const struct qx_qparams p = qx_work_fit(w, row, u, whole * share);
            const double e = unit_error(w, row, first, n, &p);
            if (e < least) {
                least = e;
                best = p;
            }
        }
        w->units[row * w->row_units + u] = best;
    }
}

void qx_work_clip(struct qx_method_work *w)
{
    if (w->row_units > 0 && strcmp(w->set->calib->name, "manual") != 0) {
        qx_pool_for(w->pool, w->groups * w->n, row_clip, w);
    }
}
