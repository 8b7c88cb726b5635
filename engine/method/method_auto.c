/* Best of the ladder: every list that the layer can take is tried, and the one with the least error of the
 * outputs is kept. */
#include "method/method.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

static const char *const lists[] = {"",    "gptq",       "gptq,refine",    "adaround,refine",
                                    "awq", "awq,refine", "awq,gptq,refine"};

/* What methods change of a work; everything else is shared. */
struct state {
    int8_t *codes;
    struct qx_qparams *units;
    float *in_scale;
};

static enum qx_status state_copy(const struct qx_method_work *w, struct state *s,
                                 struct qx_error *err)
{
    const size_t n = (size_t)(w->groups * w->n * w->k);
    const size_t n_units = (size_t)(w->row_units ? w->groups * w->n * w->row_units : 1);
    const size_t n_in = (size_t)(w->groups * w->k / w->taps);
    s->codes = qx_mem_alloc(n + 1);
    s->units = qx_mem_array(n_units + 1, sizeof *s->units);
    s->in_scale = w->in_scale ? qx_mem_array(n_in + 1, sizeof *s->in_scale) : NULL;
    if (!s->codes || !s->units || (w->in_scale && !s->in_scale)) {
        return qx_fail_nomem(err, n);
    }
    memcpy(s->codes, w->codes, n);
    memcpy(s->units, w->units, n_units * sizeof *s->units);
    if (s->in_scale) {
        memcpy(s->in_scale, w->in_scale, n_in * sizeof *s->in_scale);
    }
    return QX_OK;
}

static void state_free(struct state *s)
{
    qx_mem_free(s->codes);
    qx_mem_free(s->units);
    qx_mem_free(s->in_scale);
    *s = (struct state){0};
}

static void state_swap(struct qx_method_work *w, struct state *s)
{
    const struct state was = {w->codes, w->units, w->in_scale};
    w->codes = s->codes;
    w->units = s->units;
    w->in_scale = s->in_scale;
    *s = was;
}

static enum qx_status list_run(struct qx_method_work *w, const struct qx_algo *a, double *out,
                               struct qx_error *err)
{
    enum qx_status st = QX_OK;
    for (int i = 0; st == QX_OK && i < a->n; i++) {
        st = a->v[i].method->run(w, a->v[i].param, err);
    }
    w->note[0] = '\0';
    return st == QX_OK ? qx_work_error(w, out, err) : st;
}

/* A list from the state of rounding to nearest; swapped in when it is the best so far. */
static enum qx_status list_try(struct qx_method_work *w, const struct state *nearest,
                               const struct qx_algo *a, double *least, bool *is_best,
                               struct qx_error *err)
{
    struct state best = {0};
    double e = INFINITY;
    struct qx_method_work from = *w;
    from.codes = nearest->codes;
    from.units = nearest->units;
    from.in_scale = nearest->in_scale;
    enum qx_status st = state_copy(&from, &best, err);
    state_swap(w, &best); /* best is what was there */
    if (st == QX_OK) {
        st = list_run(w, a, &e, err);
    }
    *is_best = st == QX_OK && e < *least;
    if (*is_best) {
        *least = e;
    } else {
        state_swap(w, &best);
    }
    state_free(&best);
    return st;
}

/* has_factors: inputs have some already. */
static bool may_run(const struct qx_method_work *w, const struct qx_algo *a, bool has_factors)
{
    for (int i = 0; i < a->n; i++) {
        const struct qx_method *m = a->v[i].method;
        if (((m->claims & QX_CLAIM_INPUTS) && has_factors) || (m->refuse && m->refuse(w->target))) {
            return false;
        }
    }
    return true;
}

static enum qx_status run(struct qx_method_work *w, double param, struct qx_error *err)
{
    struct state nearest = {0};
    double least = INFINITY, first = 0.0;
    const char *best = "";
    const bool has_factors = w->in_scale || w->out_scale;
    enum qx_status st = state_copy(w, &nearest, err);
    (void)param;
    for (size_t i = 0; st == QX_OK && i < sizeof lists / sizeof *lists; i++) {
        struct qx_algo a;
        bool is_best = false;
        st = qx_algo_parse(lists[i], &a, NULL, err);
        if (st == QX_OK && may_run(w, &a, has_factors)) {
            st = list_try(w, &nearest, &a, &least, &is_best, err);
            best = is_best ? lists[i] : best;
        }
        first = i == 0 ? least : first;
    }
    if (st == QX_OK) {
        qx_work_note(w, "auto: %s, %.0f %% of rounding's error", best[0] ? best : "rounding",
                     first > 0.0 ? 100.0 * least / first : 100.0);
    }
    state_free(&nearest);
    return st;
}

const struct qx_method qx_method_auto = {
    .name = "auto",
    .title = "auto",
    .help = "Tries what the layer can take and keeps what changes its output least.",
    .key = 't',
    .stage = QX_STAGE_CODES,
    .claims = QX_CLAIM_CODES,
    .needs_inputs = true,
    .refuse = qx_refuse_no_inputs,
    .run = run,
};
