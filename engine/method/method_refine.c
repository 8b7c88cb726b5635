/* Behind whatever chose the codes: descent on the error of the outputs, one weight and one scale at a time. With e = w^ - w of a row and H the
 * second moments of its inputs, the error is e H e'; moving weight j by d adds 2 d (H e)_j + d^2 H_jj, and the
 * scale of a unit with steps q that leaves least is where the derivative along q is zero. A threshold set by
 * hand, and one for the whole tensor, stays. */
#include "method/method.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum { ROUNDS = 3, SWEEPS = 4 };

struct descent {
    struct qx_method_work *w;
    atomic_bool has_failed;
};

/* One row: errors and H e, both [k]; in the inputs' own units. */
struct row {
    struct qx_method_work *w;
    int64_t row;
    const float *h; /* [k][k] */
    float *e, *g, *q;
};

static void gradient_fill(struct row *r)
{
    const struct qx_method_work *w = r->w;
    for (int64_t j = 0; j < w->k; j++) {
        const struct qx_qparams *u = qx_work_unit(w, r->row, j);
        const bool is_kept = w->is_kept && w->is_kept[j];
        const float x = qx_work_aim(w, r->row, j);
        r->e[j] = is_kept ? 0.0f
                          : (qx_work_value(u, w->codes[r->row * w->k + j]) - x) /
                                qx_work_in(w, r->row, j);
    }
    qxk_sgemm(0, 0, 1, w->k, w->k, 1.0f, r->e, w->k, r->h, w->k, 0.0f, r->g, w->k);
}

static void move(struct row *r, int64_t j, float d)
{
    const float *h = r->h + j * r->w->k;
    r->e[j] += d;
    for (int64_t i = 0; i < r->w->k; i++) {
        r->g[i] += d * h[i];
    }
}

/* Is a neighbouring code better? */
static bool code_step(struct row *r, int64_t j)
{
    struct qx_method_work *w = r->w;
    const struct qx_qparams *u = qx_work_unit(w, r->row, j);
    int8_t *code = &w->codes[r->row * w->k + j];
    const int at = u->book ? (uint8_t)*code : *code, to = r->g[j] > 0.0f ? at - 1 : at + 1;
    if (to < u->qmin || to > u->qmax || (w->is_kept && w->is_kept[j])) {
        return false;
    }
    const float d =
        (qx_work_value(u, (int8_t)to) - qx_work_value(u, *code)) / qx_work_in(w, r->row, j);
    if (2.0f * d * r->g[j] + d * d * r->h[j * w->k + j] >= 0.0f) {
        return false;
    }
    *code = (int8_t)to;
    move(r, j, d);
    return true;
}

static void scale_step(struct row *r, int64_t u)
{
    struct qx_method_work *w = r->w;
    struct qx_qparams *p = &w->units[r->row * w->row_units + u];
    const int64_t first = u * w->unit_len;
    const int64_t n = w->unit_len < w->k - first ? w->unit_len : w->k - first;
    double along = 0.0, square = 0.0;
    for (int64_t i = 0; i < n; i++) { /* what one of the scale is worth */
        const int64_t j = first + i;
        const bool is_kept = w->is_kept && w->is_kept[j];
        r->q[i] = is_kept ? 0.0f
                          : qx_work_value(p, w->codes[r->row * w->k + j]) / p->scale /
                                qx_work_in(w, r->row, j);
        along += (double)r->q[i] * (double)r->g[j];
    }
    for (int64_t i = 0; i < n; i++) {
        const float *h = r->h + (first + i) * w->k + first;
        float dot = 0.0f;
        for (int64_t j = 0; j < n; j++) {
            dot += h[j] * r->q[j];
        }
        square += (double)r->q[i] * (double)dot;
    }
    if (!(square > 0.0)) {
        return;
    }
    float scale = (float)((double)p->scale - along / square);
    scale = w->set->scale == QX_SCALE_F16 ? qx_format_find("fp16")->round(scale) : scale;
    const float d = scale - p->scale;
    if (!(scale > 0.0f) || 2.0 * (double)d * along + (double)d * (double)d * square >= 0.0) {
        return;
    }
    p->scale = scale;
    for (int64_t i = 0; i < n; i++) {
        if (r->q[i] != 0.0f) {
            move(r, first + i, d * r->q[i]);
        }
    }
}

static void row_descend(void *arg, int64_t at, int worker)
{
    struct descent *p = arg;
    struct qx_method_work *w = p->w;
    struct row r = {.w = w, .row = at, .h = w->m->second + at / w->n * w->k * w->k};
    (void)worker;
    r.e = qx_mem_array((size_t)w->k, 3 * sizeof *r.e);
    if (!r.e || qx_cancel_test(w->ctl)) {
        atomic_store(&p->has_failed, true);
        qx_mem_free(r.e);
        return;
    }
    r.g = r.e + w->k;
    r.q = r.g + w->k;
    const bool has_scales = strcmp(w->set->calib->name, "manual") != 0;
    gradient_fill(&r);
    for (int round = 0; round < ROUNDS; round++) {
        for (int64_t u = 0; has_scales && u < w->row_units; u++) {
            scale_step(&r, u);
        }
        bool moves = true;
        for (int s = 0; s < SWEEPS && moves; s++) {
            moves = false;
            for (int64_t j = 0; j < w->k; j++) {
                moves |= code_step(&r, j);
            }
        }
    }
    qx_mem_free(r.e);
}

static enum qx_status run(struct qx_method_work *w, double param, struct qx_error *err)
{
    struct descent p = {.w = w};
    (void)param;
    atomic_init(&p.has_failed, false);
    qx_pool_for(w->pool, w->groups * w->n, row_descend, &p);
    if (qx_cancel_test(w->ctl)) {
        return qx_fail(err, QX_ECANCELLED, "the descent was cancelled");
    }
    if (atomic_load(&p.has_failed)) {
        return qx_fail_nomem(err, (size_t)w->k * 3 * sizeof(float));
    }
    qx_work_note(w, "refined");
    return QX_OK;
}

const struct qx_method qx_method_refine = {
    .name = "refine",
    .title = "refined",
    .help = "Moves codes and scales one at a time while the output's error falls.",
    .key = 'f',
    .stage = QX_STAGE_REFINE,
    .needs_inputs = true,
    .refuse = qx_refuse_no_inputs,
    .run = run,
};
