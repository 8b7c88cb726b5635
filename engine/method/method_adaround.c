/* Learned rounding of one layer, without labels: each weight may move by up to half a step before it is
 * rounded, and the moves follow the sign of the gradient of the output's squared error (Cheng et al. 2023,
 * arXiv 2309.05516, section 3.1; the question is that of Nagel et al. 2020, arXiv 2004.10568). The error is
 * a quadratic form of the second moments, so rows are independent, and each keeps the best it met. */
#include "method/method.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum { BAND = 32, STEPS = 200 };

struct learn {
    struct qx_method_work *w;
    int64_t bands; /* of a group */
    atomic_bool has_failed;
};

/* Buffers of a band: moves, errors and gradients [rows][k], least error [rows], best codes. */
struct band {
    int64_t first, rows, group;
    float *move, *e, *gradient;
    double least[BAND];
    int8_t *codes;
};

/* Codes of the moved weights, and the error they leave, of x / s. */
static void codes_move(const struct qx_method_work *w, struct band *b)
{
    for (int64_t r = 0; r < b->rows; r++) {
        for (int64_t j = 0; j < w->k; j++) {
            const int64_t i = r * w->k + j;
            const struct qx_qparams *u = qx_work_unit(w, b->first + r, j);
            const float x = qx_work_aim(w, b->first + r, j);
            const int8_t code = qx_work_code(u, x + b->move[i] * u->scale);
            b->codes[i] = code;
            b->e[i] = w->is_kept && w->is_kept[j] ? 0.0f : qx_work_value(u, code) - x;
            b->e[i] = w->in_scale ? b->e[i] / qx_work_in(w, b->first + r, j) : b->e[i];
        }
    }
}

/* Keep what is better than before; step against the sign of the gradient. */
static void band_step(struct qx_method_work *w, struct band *b, float rate)
{
    const float *h = w->m->second + b->group * w->k * w->k;
    codes_move(w, b);
    qxk_sgemm(0, 0, b->rows, w->k, w->k, 1.0f, b->e, w->k, h, w->k, 0.0f, b->gradient, w->k);
    for (int64_t r = 0; r < b->rows; r++) {
        double sum = 0.0;
        for (int64_t j = 0; j < w->k; j++) {
            sum += (double)b->e[r * w->k + j] * (double)b->gradient[r * w->k + j];
        }
        if (sum < b->least[r]) {
            b->least[r] = sum;
            memcpy(w->codes + (b->first + r) * w->k, b->codes + r * w->k, (size_t)w->k);
        }
    }
    for (int64_t i = 0; i < b->rows * w->k; i++) {
        const float g = b->gradient[i];
        const float v = b->move[i] - (g > 0.0f ? rate : g < 0.0f ? -rate : 0.0f);
        b->move[i] = v < -0.5f ? -0.5f : v > 0.5f ? 0.5f : v;
    }
}

static void band_learn(void *arg, int64_t at, int worker)
{
    struct learn *l = arg;
    struct qx_method_work *w = l->w;
    const int64_t o = at % l->bands * BAND;
    struct band b = {.group = at / l->bands, .rows = BAND < w->n - o ? BAND : w->n - o};
    const size_t n = (size_t)(b.rows * w->k);
    b.first = b.group * w->n + o;
    b.move = qx_mem_zalloc((3 * n + 1) * sizeof *b.move);
    b.codes = qx_mem_alloc(n + 1);
    (void)worker;
    if (b.move && b.codes) {
        b.e = b.move + n;
        b.gradient = b.e + n;
        for (int r = 0; r < BAND; r++) {
            b.least[r] = INFINITY;
        }
        for (int i = 0; i <= STEPS && !qx_cancel_test(w->ctl); i++) {
            band_step(w, &b, (1.0f - (float)i / STEPS) / STEPS);
        }
    } else {
        atomic_store(&l->has_failed, true);
    }
    qx_mem_free(b.move);
    qx_mem_free(b.codes);
}

static enum qx_status run(struct qx_method_work *w, double param, struct qx_error *err)
{
    struct learn l = {.w = w, .bands = (w->n + BAND - 1) / BAND};
    (void)param;
    atomic_init(&l.has_failed, false);
    qx_pool_for(w->pool, w->groups * l.bands, band_learn, &l);
    if (qx_cancel_test(w->ctl)) {
        return qx_fail(err, QX_ECANCELLED, "learning to round was cancelled");
    }
    return atomic_load(&l.has_failed) ? qx_fail_nomem(err, (size_t)(BAND * w->k) * sizeof(float))
                                      : QX_OK;
}

const struct qx_method qx_method_adaround = {
    .name = "adaround",
    .title = "learned",
    .help = "Learns by signed gradients which way each weight is rounded (2309.05516, 2004.10568).",
    .key = 'o',
    .stage = QX_STAGE_CODES,
    .claims = QX_CLAIM_CODES,
    .needs_inputs = true,
    .refuse = qx_refuse_no_inputs,
    .run = run,
};
