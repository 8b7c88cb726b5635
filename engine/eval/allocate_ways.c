/* Other ways to allocate: greedy with its steps, the closed form, and the purse. */
#include "eval/allocate.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

static double cost_of(const struct qx_groups *g, int group, int choice)
{
    return g->cost[group * g->n_choices + choice];
}

static double score_of(const struct qx_groups *g, int group, int choice)
{
    return g->score[group * g->n_choices + choice];
}

static double cost_sum(const struct qx_groups *g, const uint8_t *choice)
{
    double sum = 0.0;
    for (int i = 0; i < g->n; i++) {
        sum += cost_of(g, i, choice[i]);
    }
    return sum;
}

/* ---- greedy ---- */

static int least_harm(const struct qx_groups *g, int group)
{
    int best = -1;
    for (int c = 0; c < g->n_choices; c++) {
        const double score = score_of(g, group, c);
        if (isfinite(score) && (best < 0 || score < score_of(g, group, best) ||
                                (score == score_of(g, group, best) &&
                                 cost_of(g, group, c) < cost_of(g, group, best)))) {
            best = c;
        }
    }
    return best;
}

/* The step with the least harm for each unit of cost saved. False when nothing can be saved. */
static bool best_step(const struct qx_groups *g, const uint8_t *choice, struct qx_alloc_step *out)
{
    double least = (double)INFINITY;
    for (int i = 0; i < g->n; i++) {
        for (int c = 0; c < g->n_choices; c++) {
            const double saved = cost_of(g, i, choice[i]) - cost_of(g, i, c);
            const double harm = score_of(g, i, c) - score_of(g, i, choice[i]);
            if (saved > 0.0 && isfinite(harm) && harm / saved < least) {
                least = harm / saved;
                *out = (struct qx_alloc_step){i, choice[i], c, saved, harm};
            }
        }
    }
    return isfinite(least);
}

enum qx_status qx_alloc_greedy(const struct qx_alloc *a, double budget, uint8_t *choice,
                               struct qx_alloc_step *steps, int cap, int *n_steps,
                               struct qx_error *err)
{
    struct qx_groups g = {0};
    struct qx_alloc_step step;
    enum qx_status st = qx_groups_make(a, &g, err);
    uint8_t *now = st == QX_OK ? qx_mem_array((size_t)g.n, 1) : NULL;
    int n = 0;
    if (st == QX_OK && !now) {
        st = qx_fail_nomem(err, (size_t)g.n);
    }
    for (int i = 0; st == QX_OK && i < g.n; i++) {
        now[i] = (uint8_t)least_harm(&g, i);
    }
    while (st == QX_OK && cost_sum(&g, now) > budget) {
        if (!best_step(&g, now, &step)) {
            st = qx_fail(err, QX_EDATA, "the budget is %.6g, the least possible is %.6g", budget,
                         cost_sum(&g, now));
            break;
        }
        now[step.site] = (uint8_t)step.to;
        step.site = g.first[step.site];
        if (n < cap) {
            steps[n] = step;
        }
        n++;
    }
    if (st == QX_OK) {
        qx_groups_spread(&g, a->n_sites, now, choice);
        if (n_steps) {
            *n_steps = n;
        }
    }
    qx_mem_free(now);
    qx_groups_release(&g);
    return st;
}

/* ---- closed form ---- */

/* The choice whose bits are nearest to b; of two equally near the one with more. */
static int nearest(const struct qx_groups *g, int group, const double *bits, double b)
{
    int best = -1;
    for (int c = 0; c < g->n_choices; c++) {
        const double d = fabs(bits[c] - b);
        if (isfinite(score_of(g, group, c)) &&
            (best < 0 || d < fabs(bits[best] - b) ||
             (d == fabs(bits[best] - b) && bits[c] > bits[best]))) {
            best = c;
        }
    }
    return best;
}

static double closed_at(const struct qx_groups *g, const double *bits, const double *half_log,
                        double b, uint8_t *choice)
{
    for (int i = 0; i < g->n; i++) {
        choice[i] = (uint8_t)nearest(g, i, bits, b + half_log[i]);
    }
    return cost_sum(g, choice);
}

/* 1/2 log2(s v) of every group. A layer that does no harm takes the fewest bits. */
static void law_read(const struct qx_alloc *a, const struct qx_groups *g,
                     const struct qx_alloc_law *law, double *half_log)
{
    const double none = -1e3;
    for (int i = 0; i < g->n; i++) {
        double sum = 0.0;
        int n = 0;
        for (int k = 0; k < a->n_sites; k++) {
            if (g->of_site[k] == i) {
                const double sv = law->sensitivity[k] * law->variance[k];
                sum += sv > 0.0 ? 0.5 * log2(sv) : none;
                n++;
            }
        }
        half_log[i] = fmax(sum / n, none);
    }
}

/* Bisection: the cost does not fall when b grows, for choices with more bits do not cost less. */
static enum qx_status closed_find(const struct qx_groups *g, const double *bits,
                                  const double *half_log, double budget, uint8_t *choice,
                                  struct qx_error *err)
{
    double lo = -3e3, hi = 3e3;
    const double least = closed_at(g, bits, half_log, lo, choice);
    if (least > budget) {
        return qx_fail(err, QX_EDATA, "the budget is %.6g, the least possible is %.6g", budget,
                       least);
    }
    for (int k = 0; k < 100; k++) {
        const double b = 0.5 * (lo + hi);
        *(closed_at(g, bits, half_log, b, choice) <= budget ? &lo : &hi) = b;
    }
    closed_at(g, bits, half_log, lo, choice);
    return QX_OK;
}

enum qx_status qx_alloc_closed(const struct qx_alloc *a, const struct qx_alloc_law *law,
                               double budget, uint8_t *choice, struct qx_error *err)
{
    struct qx_groups g = {0};
    enum qx_status st = qx_groups_make(a, &g, err);
    if (st != QX_OK) {
        return st;
    }
    uint8_t *now = qx_mem_array((size_t)g.n, 1);
    double *half_log = qx_mem_array((size_t)g.n, sizeof *half_log);
    st = now && half_log ? QX_OK : qx_fail_nomem(err, (size_t)g.n * sizeof *half_log);
    if (st == QX_OK) {
        law_read(a, &g, law, half_log);
        st = closed_find(&g, law->bits, half_log, budget, now, err);
    }
    if (st == QX_OK) {
        qx_groups_spread(&g, a->n_sites, now, choice);
    }
    qx_mem_free(now);
    qx_mem_free(half_log);
    qx_groups_release(&g);
    return st;
}

/* ---- the purse ---- */

/* What each site may take: the raised one its new choice, payers theirs or cheaper ones, others theirs. */
static void purse_scores(const struct qx_alloc *a, int site, int to, const bool *pays,
                         const uint8_t *choice, double *score)
{
    for (int i = 0; i < a->n_sites; i++) {
        const bool is_raised =
            i == site || (a->tie && a->tie[site] >= 0 && a->tie[i] == a->tie[site]);
        const double *cost = a->cost + i * a->n_choices;
        for (int c = 0; c < a->n_choices; c++) {
            const bool can = is_raised ? c == to
                             : pays[i] ? c == choice[i] || cost[c] < cost[choice[i]]
                                       : c == choice[i];
            const double s = a->score[i * a->n_choices + c];
            /* what stays as it is may do unknown harm */
            score[i * a->n_choices + c] = !can                             ? (double)INFINITY
                                          : c == choice[i] && !isfinite(s) ? 0.0
                                                                           : s;
        }
    }
}

enum qx_status qx_alloc_pay(const struct qx_alloc *a, int site, int to, const bool *pays,
                            double budget, uint8_t *choice, struct qx_error *err)
{
    const size_t cells = (size_t)a->n_sites * (size_t)a->n_choices;
    double *score = qx_mem_array(cells, sizeof *score);
    struct qx_front *front = NULL;
    if (!score) {
        return qx_fail_nomem(err, cells * sizeof *score);
    }
    purse_scores(a, site, to, pays, choice, score);
    struct qx_alloc purse = *a;
    purse.score = score;
    purse.lock = NULL;
    const enum qx_status st = qx_front_find(&purse, budget, NULL, &front, err);
    if (st == QX_OK) {
        memcpy(choice, qx_front_choice(front, qx_front_n(front) - 1), (size_t)a->n_sites);
    }
    qx_front_free(front);
    qx_mem_free(score);
    return st;
}

/* ---- the best trade ---- */

/* Group up a step dearer, group down (-1: nobody) at its cheaper choice pay. */
static void offer_try(const struct qx_groups *g, const uint8_t *now, double room, int up, int down,
                      int pay, struct qx_alloc_offer *best)
{
    const int to = qx_group_step(g, up, now[up], 1);
    if (to < 0) {
        return;
    }
    const double moved = cost_of(g, up, to) - cost_of(g, up, now[up]);
    const double paid = down < 0 ? 0.0 : cost_of(g, down, now[down]) - cost_of(g, down, pay);
    const double lost = down < 0 ? 0.0 : score_of(g, down, pay) - score_of(g, down, now[down]);
    const double gain = score_of(g, up, now[up]) - score_of(g, up, to) - lost;
    if (moved - paid > room || !(gain > 0.0) || !isfinite(gain) || !(moved > 0.0)) {
        return;
    }
    if (best->up < 0 || gain / moved > best->gain / best->moved) {
        *best = (struct qx_alloc_offer){g->first[up], to,   down < 0 ? -1 : g->first[down],
                                        pay,          gain, moved};
    }
}

static void offers_try(const struct qx_groups *g, const uint8_t *now, double room, int up,
                       struct qx_alloc_offer *best)
{
    offer_try(g, now, room, up, -1, -1, best);
    for (int down = 0; down < g->n; down++) {
        for (int c = down == up ? -1 : qx_group_step(g, down, now[down], -1); c >= 0;
             c = qx_group_step(g, down, c, -1)) {
            offer_try(g, now, room, up, down, c, best);
        }
    }
}

enum qx_status qx_alloc_trade(const struct qx_alloc *a, double budget, const uint8_t *choice,
                              struct qx_alloc_offer *out, struct qx_error *err)
{
    struct qx_groups g = {0};
    struct qx_alloc_offer best = {.up = -1, .down = -1};
    enum qx_status st = qx_groups_make(a, &g, err);
    uint8_t *now = st == QX_OK ? qx_mem_array((size_t)g.n, 1) : NULL;
    if (st == QX_OK && !now) {
        st = qx_fail_nomem(err, (size_t)g.n);
    }
    if (st == QX_OK) {
        qx_groups_gather(&g, choice, now);
        const double room = budget - cost_sum(&g, now);
        for (int up = 0; up < g.n; up++) {
            offers_try(&g, now, room, up, &best);
        }
        *out = best;
    }
    qx_mem_free(now);
    qx_groups_release(&g);
    return st;
}
