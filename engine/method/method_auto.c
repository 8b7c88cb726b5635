/* Best of the ladder: every list that the layer can take is tried on most of the rows, judged by the error of the
 * outputs on the others, and the best one run on all of them. With too few rows they are judged by what they were
 * made from. */
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

/* What the work has becomes a copy of a state. */
static enum qx_status state_restore(struct qx_method_work *w, const struct state *from,
                                    struct qx_error *err)
{
    struct qx_method_work as = *w;
    struct state copy = {0}, was = {w->codes, w->units, w->in_scale};
    as.codes = from->codes;
    as.units = from->units;
    as.in_scale = from->in_scale;
    const enum qx_status st = state_copy(&as, &copy, err);
    if (st != QX_OK) {
        state_free(&copy);
        return st;
    }
    w->codes = copy.codes;
    w->units = copy.units;
    w->in_scale = copy.in_scale;
    state_free(&was);
    return QX_OK;
}

/* A list from the state of rounding to nearest, on the rows of fit; *out: its error on those of judge. */
static enum qx_status list_run(struct qx_method_work *w, const struct state *nearest,
                               const char *list, const struct qx_moments *fit,
                               const struct qx_moments *judge, double *out, struct qx_error *err)
{
    const struct qx_moments *all = w->m;
    struct qx_algo a;
    enum qx_status st = qx_algo_parse(list, &a, NULL, err);
    st = st == QX_OK ? state_restore(w, nearest, err) : st;
    w->m = fit;
    for (int i = 0; st == QX_OK && i < a.n; i++) {
        st = a.v[i].method->run(w, a.v[i].param, err);
    }
    w->m = judge;
    st = st == QX_OK ? qx_work_error(w, out, err) : st;
    w->m = all;
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
    const struct qx_moments *fit = w->held ? w->fit : w->m, *judge = w->held ? w->held : w->m;
    char note[sizeof w->note];
    memcpy(note, w->note, sizeof note);
    enum qx_status st = state_copy(w, &nearest, err);
    (void)param;
    for (size_t i = 0; st == QX_OK && i < sizeof lists / sizeof *lists; i++) {
        struct qx_algo a;
        double e = INFINITY;
        st = qx_algo_parse(lists[i], &a, NULL, err);
        if (st == QX_OK && may_run(w, &a, has_factors)) {
            st = list_run(w, &nearest, lists[i], fit, judge, &e, err);
        }
        first = i == 0 ? e : first;
        best = e < least ? lists[i] : best;
        least = fmin(e, least);
    }
    if (st == QX_OK) {
        double e;
        st = list_run(w, &nearest, best, w->m, w->m, &e, err);
    }
    memcpy(w->note, note, sizeof note);
    if (st == QX_OK) {
        qx_work_note(w, "auto: %s, %.0f %% of rounding's error", best[0] ? best : "rounding",
                     first > 0.0 ? 100.0 * least / first : 100.0);
    }
    if (st == QX_OK && w->held) {
        qx_work_note(w, "on %lld rows held out", (long long)w->n_held);
    }
    state_free(&nearest);
    return st;
}

const struct qx_method qx_method_auto = {
    .name = "auto",
    .title = "auto",
    .help = "Tries what the layer can take and keeps what serves rows held out from it best.",
    .key = 't',
    .stage = QX_STAGE_CODES,
    .claims = QX_CLAIM_CODES,
    .needs_inputs = true,
    .refuse = qx_refuse_no_inputs,
    .run = run,
};
