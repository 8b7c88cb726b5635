/* Local search: exchanges of single steps, judged by the harm of the whole recipe. */
#include "eval/allocate.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 32 };

/* Groups up and down (-1: none) and what they are thought to take away. */
struct move {
    int up, down;
    double gain;
};

struct local {
    const struct qx_alloc *a;
    const struct qx_groups *g;
    const struct qx_alloc_judge *judge;
    struct qx_ctl *ctl;
    double budget, cost, harm;
    int width;
    int64_t left;       /* questions; negative = no limit */
    uint8_t *now;       /* [groups] */
    double *up, *down;  /* [groups] gain of the step alone; NaN: no such step */
    struct move *moves; /* [width] best first */
};

static double cost_of(const struct local *l, int group, int choice)
{
    return l->g->cost[group * l->g->n_choices + choice];
}

static void put(struct local *l, int group, int choice)
{
    l->cost += cost_of(l, group, choice) - cost_of(l, group, l->now[group]);
    l->now[group] = (uint8_t)choice;
    for (int i = 0; l->judge && i < l->a->n_sites; i++) {
        if (l->g->of_site[i] == group) {
            l->judge->set(l->judge->arg, i, choice);
        }
    }
}

static double ask(struct local *l)
{
    double sum = 0.0;
    l->left -= l->left > 0;
    if (l->judge) {
        return l->judge->score(l->judge->arg);
    }
    for (int i = 0; i < l->g->n; i++) {
        sum += l->g->score[i * l->g->n_choices + l->now[i]];
    }
    return sum;
}

/* What a step of one group alone takes away; the recipe is left as it was. */
static double alone(struct local *l, int group, int dir)
{
    const int was = l->now[group], to = qx_group_step(l->g, group, was, dir);
    if (to < 0 || l->left == 0) {
        return (double)NAN;
    }
    put(l, group, to);
    const double gain = l->harm - ask(l);
    put(l, group, was);
    return gain;
}

/* Into the best `width` moves. */
static void keep(struct local *l, int *n, struct move m)
{
    int at = *n;
    while (at > 0 && l->moves[at - 1].gain < m.gain) {
        at--;
    }
    if (at == l->width) {
        return;
    }
    const int last = *n < l->width ? *n : l->width - 1;
    memmove(l->moves + at + 1, l->moves + at, (size_t)(last - at) * sizeof *l->moves);
    l->moves[at] = m;
    *n += *n < l->width;
}

static double step_cost(const struct local *l, int group, int dir)
{
    const int to = qx_group_step(l->g, group, l->now[group], dir);
    return cost_of(l, group, to) - cost_of(l, group, l->now[group]);
}

/* Exchanges within the budget, ranked by the sum of what their steps do alone: even a sum that is a
 * little below zero may do good together. */
static int moves_find(struct local *l)
{
    int n = 0;
    for (int i = 0; i < l->g->n; i++) {
        if (isnan(l->up[i])) {
            continue;
        }
        const double dearer = step_cost(l, i, 1);
        if (l->cost + dearer <= l->budget) {
            keep(l, &n, (struct move){i, -1, l->up[i]});
        }
        for (int k = 0; k < l->g->n; k++) {
            if (k != i && !isnan(l->down[k]) &&
                l->cost + dearer + step_cost(l, k, -1) <= l->budget) {
                keep(l, &n, (struct move){i, k, l->up[i] + l->down[k]});
            }
        }
    }
    return n;
}

/* Try a move for real; it stays when it does good. */
static bool move_try(struct local *l, const struct move *m)
{
    const int was_up = l->now[m->up], was_down = m->down >= 0 ? l->now[m->down] : 0;
    const double cost = l->cost;
    if (m->down >= 0) {
        put(l, m->down, qx_group_step(l->g, m->down, was_down, -1));
    }
    put(l, m->up, qx_group_step(l->g, m->up, was_up, 1));
    const double harm = ask(l);
    if (harm < l->harm - 1e-9 * fabs(l->harm)) {
        l->harm = harm;
        return true;
    }
    put(l, m->up, was_up);
    if (m->down >= 0) {
        put(l, m->down, was_down);
    }
    l->cost = cost;
    return false;
}

static enum qx_status rounds(struct local *l, struct qx_error *err)
{
    bool is_better = true;
    while (is_better && l->left != 0) {
        is_better = false;
        for (int i = 0; i < l->g->n; i++) {
            if (qx_cancel_test(l->ctl)) {
                return qx_fail(err, QX_ECANCELLED, "the search was cancelled");
            }
            l->up[i] = alone(l, i, 1);
            l->down[i] = alone(l, i, -1);
        }
        const int n = moves_find(l);
        for (int i = 0; i < n && !is_better && l->left != 0; i++) {
            is_better = move_try(l, &l->moves[i]);
        }
    }
    return QX_OK;
}

static enum qx_status local_run(struct local *l, uint8_t *choice, struct qx_error *err)
{
    qx_groups_gather(l->g, choice, l->now);
    for (int i = 0; i < l->g->n; i++) {
        l->cost += cost_of(l, i, l->now[i]);
        put(l, i, l->now[i]);
    }
    l->harm = ask(l);
    return rounds(l, err);
}

enum qx_status qx_alloc_improve(const struct qx_alloc *a, const struct qx_alloc_judge *judge,
                                double budget, int width, int64_t max_queries, struct qx_ctl *ctl,
                                uint8_t *choice, double *harm, struct qx_error *err)
{
    struct qx_groups g = {0};
    enum qx_status st = qx_groups_make(a, &g, err);
    if (st != QX_OK) {
        return st;
    }
    struct local l = {.a = a, .g = &g, .judge = judge, .ctl = ctl, .budget = budget};
    l.width = width > 0 ? width : WIDTH;
    l.left = max_queries > 0 ? max_queries : -1;
    l.now = qx_mem_array((size_t)g.n, 1);
    l.up = qx_mem_array((size_t)g.n, sizeof *l.up);
    l.down = qx_mem_array((size_t)g.n, sizeof *l.down);
    l.moves = qx_mem_array((size_t)l.width, sizeof *l.moves);
    st = l.now && l.up && l.down && l.moves ? local_run(&l, choice, err)
                                            : qx_fail_nomem(err, (size_t)g.n * sizeof *l.up);
    if (st == QX_OK) {
        qx_groups_spread(&g, a->n_sites, l.now, choice);
        if (harm) {
            *harm = l.harm;
        }
    }
    qx_mem_free(l.now);
    qx_mem_free(l.up);
    qx_mem_free(l.down);
    qx_mem_free(l.moves);
    qx_groups_release(&g);
    return st;
}
