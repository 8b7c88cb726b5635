/* A front of recipes: chosen site by site, then judged as wholes. */
#include "session/mixed_impl.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 32, QUERIES = 400 };

/* ---- the plan ---- */

int qx_mixed_n(const struct qx_mixed *p)
{
    return p->n;
}

const struct qx_point *qx_mixed_point(const struct qx_mixed *p, int i)
{
    return i >= 0 && i < p->n ? &p->point[i] : NULL;
}

int qx_mixed_best(const struct qx_mixed *p)
{
    return p->best;
}

int qx_mixed_column(const struct qx_mixed *p, int i, int layer)
{
    return p->column[(size_t)i * (size_t)p->n_layers + (size_t)layer];
}

const char *qx_mixed_step(const struct qx_mixed *p, int i)
{
    return i < QX_MIXED_STEPS ? p->step[i] : NULL;
}

void qx_mixed_free(struct qx_mixed *p)
{
    if (p) {
        for (int i = 0; p->step && p->step[i]; i++) {
            qx_mem_free(p->step[i]);
        }
        qx_mem_free(p->step);
        qx_mem_free(p->point);
        qx_mem_free(p->column);
        qx_mem_free(p);
    }
}

static enum qx_status plan_new(int n_layers, struct qx_mixed **out, struct qx_error *err)
{
    struct qx_mixed *p = qx_mem_zalloc(sizeof *p);
    const size_t cells = (size_t)QX_MIXED_POINTS * ((size_t)n_layers + 1);
    if (p) {
        p->n_layers = n_layers;
        p->best = -1;
        p->point = qx_mem_zalloc(QX_MIXED_POINTS * sizeof *p->point);
        p->column = qx_mem_zalloc(cells);
        p->step = qx_mem_zalloc((QX_MIXED_STEPS + 1) * sizeof *p->step);
    }
    if (!p || !p->point || !p->column || !p->step) {
        qx_mixed_free(p);
        return qx_fail_nomem(err, cells);
    }
    *out = p;
    return QX_OK;
}

/* ---- judging wholes ---- */

static void judge_set(void *arg, int site, int choice)
{
    const struct qx_mixed_problem *p = arg;
    const struct qx_predict_layer change =
        qx_mixed_change(p->in, p->layer[site], p->column[choice]);
    qx_predict_mix_set(p->quick, p->layer[site], &change);
}

static double judge_score(void *arg)
{
    struct qx_predict_sum sum;
    qx_predict_mix_sum(((const struct qx_mixed_problem *)arg)->quick, &sum);
    return sum.kl;
}

void qx_mixed_value(const struct qx_prediction *p, struct qx_point *out)
{
    const double none = (double)NAN;
    out->basis = QX_SENS_PREDICTED;
    out->harm = p->kl;
    out->value = p->has_value ? p->value : none;
    out->lo = p->has_value ? p->lo : none;
    out->hi = p->has_value ? p->hi : none;
    out->is_within_noise = p->has_value && p->is_within_noise;
}

static void point_fill(const struct qx_mixed_problem *p, const uint8_t *choice,
                       struct qx_point *out)
{
    const struct qx_mixed_input *in = p->in;
    double bytes = in->rest_bytes, floats = in->rest_float_bytes, ms = in->rest_ms;
    *out = (struct qx_point){.basis = QX_SENS_RANK, .value = NAN, .lo = NAN, .hi = NAN};
    for (int i = 0; i < p->alloc.n_sites; i++) {
        const int at = i * p->alloc.n_choices + choice[i];
        bytes += p->bytes[at];
        floats += p->bytes[at];
        out->harm += p->score[at];
        ms += in->latency_ms
                  ? in->latency_ms[p->layer[i] * qx_sens_n_columns(in->map) + p->column[choice[i]]]
                  : 0.0;
    }
    out->bytes = (uint64_t)llround(bytes);
    out->bits_per_weight = in->n_float > 0 ? 8.0 * floats / in->n_float : 0.0;
    out->latency_ms = in->latency_ms ? ms : (double)NAN;
    if (p->full) {
        struct qx_prediction said;
        for (int i = 0; i < p->alloc.n_sites; i++) {
            const struct qx_predict_layer c =
                qx_mixed_change(in, p->layer[i], p->column[choice[i]]);
            qx_predict_mix_set(p->full, p->layer[i], &c);
        }
        qx_predict_anchors_ask(p->scale, p->full, &said);
        qx_mixed_value(&said, out);
    }
}

/* ---- collecting ---- */

static bool is_within(const struct qx_mixed_options *o, const struct qx_point *p)
{
    return (double)p->bytes <= o->max_bytes && p->bits_per_weight <= o->max_bpw &&
           (isnan(p->latency_ms) || p->latency_ms <= o->max_latency_ms);
}

static double cost_of(const struct qx_mixed_options *o, const struct qx_point *p)
{
    return o->by_latency ? p->latency_ms : (double)p->bytes;
}

static void point_remove(struct qx_mixed *plan, int i)
{
    const size_t n = (size_t)(plan->n - i - 1), row = (size_t)plan->n_layers;
    memmove(plan->point + i, plan->point + i + 1, n * sizeof *plan->point);
    memmove(plan->column + (size_t)i * row, plan->column + (size_t)(i + 1) * row, n * row);
    plan->n--;
}

/* Into its place by cost, unless another costs no more and does no more harm; those it beats go. */
static void point_add(const struct qx_mixed_problem *p, struct qx_mixed *plan,
                      const uint8_t *choice)
{
    const struct qx_mixed_options *o = p->in->options;
    const size_t row = (size_t)plan->n_layers;
    struct qx_point new;
    point_fill(p, choice, &new);
    if (!is_within(o, &new)) {
        return;
    }
    int at = 0;
    for (int i = 0; i < plan->n; i++) {
        const struct qx_point *old = &plan->point[i];
        if (cost_of(o, old) <= cost_of(o, &new) && old->harm <= new.harm) {
            return;
        }
    }
    for (int i = plan->n - 1; i >= 0; i--) {
        if (cost_of(o, &plan->point[i]) >= cost_of(o, &new) && plan->point[i].harm >= new.harm) {
            point_remove(plan, i);
        }
    }
    if (plan->n == QX_MIXED_POINTS) {
        return;
    }
    while (at < plan->n && cost_of(o, &plan->point[at]) < cost_of(o, &new)) {
        at++;
    }
    const size_t n = (size_t)(plan->n - at);
    memmove(plan->point + at + 1, plan->point + at, n * sizeof *plan->point);
    memmove(plan->column + (size_t)(at + 1) * row, plan->column + (size_t)at * row, n * row);
    plan->point[at] = new;
    memset(plan->column + (size_t)at * row, -1, row);
    for (int i = 0; i < p->alloc.n_sites; i++) {
        plan->column[(size_t)at * row + (size_t)p->layer[i]] = (int8_t)p->column[choice[i]];
    }
    plan->n++;
}

/* One width for all: what a search must not be worse than. */
static void uniform_add(const struct qx_mixed_problem *p, struct qx_mixed *plan, uint8_t *choice)
{
    for (int c = 0; c < p->alloc.n_choices; c++) {
        bool can = true;
        for (int i = 0; i < p->alloc.n_sites; i++) {
            choice[i] = (uint8_t)c;
            can = can && isfinite(p->score[i * p->alloc.n_choices + c]);
        }
        if (can) {
            point_add(p, plan, choice);
        }
    }
}

/* The least and the most that the free rows can cost. */
static void extremes(const struct qx_mixed_problem *p, double *least, double *most)
{
    *least = *most = 0.0;
    for (int i = 0; i < p->alloc.n_sites; i++) {
        double lo = (double)INFINITY, hi = 0.0;
        for (int c = 0; c < p->alloc.n_choices; c++) {
            lo = fmin(lo, p->cost[i * p->alloc.n_choices + c]);
            hi = fmax(hi, p->cost[i * p->alloc.n_choices + c]);
        }
        *least += lo;
        *most += hi;
    }
}

static enum qx_status limit_check(const struct qx_mixed_problem *p, struct qx_error *err)
{
    const struct qx_mixed_input *in = p->in;
    double least, most;
    extremes(p, &least, &most);
    if (least <= p->limit) {
        return QX_OK;
    }
    return in->options->by_latency
               ? qx_fail(err, QX_EDATA,
                         "no recipe is that fast: the fastest takes %.4g ms a sample",
                         least + in->rest_ms)
               : qx_fail(err, QX_ERANGE,
                         "no recipe is that small: the smallest has %.0f bytes, %.3f bits a weight",
                         least + in->rest_bytes,
                         8.0 * (least + in->rest_float_bytes) / in->n_float);
}

/* ---- the modes ---- */

/* The whole is judged with its neighbours, and what is better stays beside what the sum preferred. */
static enum qx_status improve_add(const struct qx_mixed_problem *p, struct qx_mixed *plan,
                                  uint8_t *choice, struct qx_ctl *ctl, struct qx_error *err)
{
    const struct qx_alloc_judge judge = {judge_set, judge_score, (void *)(uintptr_t)p};
    point_add(p, plan, choice);
    if (!p->quick) {
        return QX_OK;
    }
    const enum qx_status st = qx_alloc_improve(&p->alloc, &judge, qx_alloc_cost(&p->alloc, choice),
                                               0, QUERIES, ctl, choice, NULL, err);
    if (st == QX_OK) {
        point_add(p, plan, choice);
    }
    return st;
}

static int n_wanted(const struct qx_mixed_options *o)
{
    return o->n_points > 0 && o->n_points < QX_MIXED_POINTS / 2 ? o->n_points : POINTS;
}

/* Sizes in a geometric row from the least to the most. */
static double budget_at(double least, double most, int i, int n)
{
    return n < 2 || i == n - 1 ? most : least * pow(most / least, (double)i / (n - 1));
}

static enum qx_status front_add(const struct qx_mixed_problem *p, struct qx_mixed *plan,
                                uint8_t *choice, struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_front *f = NULL;
    struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
    enum qx_status st = qx_front_find(&p->alloc, p->limit, &quiet, &f, err);
    const int n = n_wanted(p->in->options);
    qx_ctl_total(ctl, n);
    int last = -1;
    for (int i = 0; st == QX_OK && i < n; i++) {
        const int at = qx_front_at(
            f, budget_at(qx_front_cost(f, 0), qx_front_cost(f, qx_front_n(f) - 1), i, n));
        if (at > last) {
            memcpy(choice, qx_front_choice(f, at), (size_t)p->alloc.n_sites);
            st = improve_add(p, plan, choice, &quiet, err);
            last = at;
        }
        qx_ctl_add(ctl, 1);
    }
    qx_front_free(f);
    return st;
}

static enum qx_status steps_write(const struct qx_mixed_problem *p, struct qx_mixed *plan,
                                  const struct qx_alloc_step *steps, int n, struct qx_error *err)
{
    for (int i = 0; i < n && i < QX_MIXED_STEPS; i++) {
        char a[16], b[16], text[256];
        const struct qx_alloc_step *s = &steps[i];
        snprintf(
            text, sizeof text, "%s: %s -> %s saves %.6g %s, adds %.3g %s",
            p->in->names[p->layer[s->site]],
            qx_sens_column_text(qx_sens_column_at(p->in->map, p->column[s->from]), a, sizeof a),
            qx_sens_column_text(qx_sens_column_at(p->in->map, p->column[s->to]), b, sizeof b),
            s->saved, p->in->options->by_latency ? "ms" : "bytes", s->harm,
            p->is_rank ? "relative error" : "nats");
        plan->step[i] = qx_mem_strdup(text);
        if (!plan->step[i]) {
            return qx_fail_nomem(err, strlen(text));
        }
    }
    return QX_OK;
}

static enum qx_status ways_add(const struct qx_mixed_problem *p, struct qx_mixed *plan,
                               uint8_t *choice, struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_alloc_step *steps = qx_mem_array(QX_MIXED_STEPS, sizeof *steps);
    const int n = n_wanted(p->in->options);
    double least, most;
    int n_steps = 0;
    enum qx_status st = steps ? QX_OK : qx_fail_nomem(err, QX_MIXED_STEPS * sizeof *steps);
    extremes(p, &least, &most);
    most = fmin(most, p->limit);
    qx_ctl_total(ctl, n);
    for (int i = n - 1; st == QX_OK && i >= 0; i--) {
        st = qx_cancel_test(ctl) ? qx_fail(err, QX_ECANCELLED, "the search was cancelled")
                                 : qx_mixed_choose(p, budget_at(least, most, i, n), choice, steps,
                                                   QX_MIXED_STEPS, &n_steps, err);
        if (st == QX_EDATA && plan->n > 0) { /* smaller ones fit no more */
            st = QX_OK;
            break;
        }
        if (st == QX_OK) {
            point_add(p, plan, choice);
            qx_ctl_add(ctl, 1);
        }
    }
    if (st == QX_OK) {
        st = steps_write(p, plan, steps, n_steps < QX_MIXED_STEPS ? n_steps : QX_MIXED_STEPS, err);
    }
    qx_mem_free(steps);
    return st;
}

static int best_of(const struct qx_mixed *plan, const struct qx_mixed_options *o)
{
    const bool is_free =
        isinf(o->max_bytes) && isinf(o->max_bpw) && isinf(o->max_latency_ms) && !o->by_latency;
    for (int i = 0; is_free && i < plan->n; i++) {
        if (plan->point[i].is_within_noise) {
            return i;
        }
    }
    return plan->n - 1;
}

enum qx_status qx_mixed_make(const struct qx_mixed_input *in, struct qx_ctl *ctl,
                             struct qx_mixed **out, struct qx_error *err)
{
    struct qx_mixed_problem p = {0};
    struct qx_mixed *plan = NULL;
    enum qx_status st = qx_mixed_problem_make(in, &p, err);
    if (st != QX_OK) {
        return st;
    }
    uint8_t *choice = qx_mem_zalloc((size_t)p.alloc.n_sites);
    st = choice ? limit_check(&p, err) : qx_fail_nomem(err, (size_t)p.alloc.n_sites);
    if (st == QX_OK) {
        st = plan_new(qx_sens_n_layers(in->map), &plan, err);
    }
    if (st == QX_OK && in->options->mode == QX_MIXED_DP) {
        st = front_add(&p, plan, choice, ctl, err);
        if (st == QX_OK) {
            uniform_add(&p, plan, choice);
        }
    } else if (st == QX_OK) {
        st = ways_add(&p, plan, choice, ctl, err);
    }
    if (st == QX_OK && plan->n == 0) {
        st = qx_fail(err, QX_EDATA, "no recipe lies within all limits");
    }
    qx_mem_free(choice);
    qx_mixed_problem_release(&p);
    if (st != QX_OK) {
        qx_mixed_free(plan);
        return st;
    }
    plan->best = best_of(plan, in->options);
    *out = plan;
    return QX_OK;
}

void qx_mixed_measured(struct qx_mixed *p, int i, double accuracy, double flip, int64_t n)
{
    const double half = 1.64 * sqrt(flip / (double)n);
    struct qx_point *at = &p->point[i];
    at->basis = QX_SENS_MEASURED;
    at->value = accuracy;
    at->lo = fmax(accuracy - half, 0.0);
    at->hi = fmin(accuracy + half, 1.0);
    at->n_rows = n;
}
