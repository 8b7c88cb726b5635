/* Multiple-choice knapsack by dynamic programming: the whole front at once. */
#include "eval/allocate.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

/* ---- ties and locks ---- */

static int find_tied(const struct qx_alloc *a, int site)
{
    for (int i = 0; a->tie && a->tie[site] >= 0 && i < site; i++) {
        if (a->tie[i] == a->tie[site]) {
            return i;
        }
    }
    return -1;
}

static enum qx_status site_add(const struct qx_alloc *a, struct qx_groups *g, int site,
                               struct qx_error *err)
{
    const int group = g->of_site[site], lock = a->lock ? a->lock[site] : -1;
    for (int c = 0; c < a->n_choices; c++) {
        const double cost = a->cost[site * a->n_choices + c];
        const double score = a->score[site * a->n_choices + c];
        const bool can = isfinite(score) && (lock < 0 || lock == c);
        if (!(cost >= 0.0) || isinf(cost)) {
            return qx_fail(err, QX_ERANGE, "the cost of choice %d of site %d is not a number >= 0",
                           c, site);
        }
        g->cost[group * a->n_choices + c] += cost;
        g->score[group * a->n_choices + c] += can ? score : (double)INFINITY;
    }
    return QX_OK;
}

static enum qx_status groups_check(const struct qx_groups *g, struct qx_error *err)
{
    for (int i = 0; i < g->n; i++) {
        bool any = false;
        for (int c = 0; c < g->n_choices; c++) {
            any = any || isfinite(g->score[i * g->n_choices + c]);
        }
        if (!any) {
            return qx_fail(err, QX_EDATA, "site %d has no choice left: locks or ties contradict",
                           g->first[i]);
        }
    }
    return QX_OK;
}

enum qx_status qx_groups_make(const struct qx_alloc *a, struct qx_groups *out, struct qx_error *err)
{
    struct qx_groups g = {.n_choices = a->n_choices};
    if (a->n_sites < 1 || a->n_choices < 1 || a->n_choices > QX_ALLOC_CHOICES) {
        return qx_fail(err, QX_ERANGE, "%d sites with %d choices: there must be sites, and 1 to %d",
                       a->n_sites, a->n_choices, QX_ALLOC_CHOICES);
    }
    const size_t n = (size_t)a->n_sites, cells = n * (size_t)a->n_choices;
    g.of_site = qx_mem_array(n, sizeof *g.of_site);
    g.first = qx_mem_array(n, sizeof *g.first);
    g.cost = qx_mem_zalloc(cells * sizeof *g.cost);
    g.score = qx_mem_zalloc(cells * sizeof *g.score);
    enum qx_status st = g.of_site && g.first && g.cost && g.score
                            ? QX_OK
                            : qx_fail_nomem(err, cells * sizeof *g.cost);
    for (int i = 0; st == QX_OK && i < a->n_sites; i++) {
        const int with = find_tied(a, i), lock = a->lock ? a->lock[i] : -1;
        if (lock >= a->n_choices) {
            st = qx_fail(err, QX_ERANGE, "site %d is locked at choice %d of %d", i, lock,
                         a->n_choices);
            break;
        }
        g.of_site[i] = with >= 0 ? g.of_site[with] : g.n;
        if (with < 0) {
            g.first[g.n++] = i;
        }
        st = site_add(a, &g, i, err);
    }
    st = st == QX_OK ? groups_check(&g, err) : st;
    if (st != QX_OK) {
        qx_groups_release(&g);
        return st;
    }
    *out = g;
    return QX_OK;
}

void qx_groups_release(struct qx_groups *g)
{
    qx_mem_free(g->of_site);
    qx_mem_free(g->first);
    qx_mem_free(g->cost);
    qx_mem_free(g->score);
    *g = (struct qx_groups){0};
}

/* Order of the steps: by cost, equal costs by score, then by place. */
static bool is_dearer(const struct qx_groups *g, int group, int c, int d)
{
    const double *cost = g->cost + group * g->n_choices, *score = g->score + group * g->n_choices;
    return cost[c] != cost[d]     ? cost[c] > cost[d]
           : score[c] != score[d] ? score[c] < score[d]
                                  : c > d;
}

int qx_group_step(const struct qx_groups *g, int group, int choice, int dir)
{
    int best = -1;
    for (int c = 0; c < g->n_choices; c++) {
        const bool is_beyond = dir > 0 ? is_dearer(g, group, c, choice)
                                       : c != choice && !is_dearer(g, group, c, choice);
        if (is_beyond && isfinite(g->score[group * g->n_choices + c]) &&
            (best < 0 || is_dearer(g, group, c, best) == (dir < 0))) {
            best = c;
        }
    }
    return best;
}

void qx_groups_spread(const struct qx_groups *g, int n_sites, const uint8_t *of_group,
                      uint8_t *of_site)
{
    for (int i = 0; i < n_sites; i++) {
        of_site[i] = of_group[g->of_site[i]];
    }
}

void qx_groups_gather(const struct qx_groups *g, const uint8_t *of_site, uint8_t *of_group)
{
    for (int i = 0; i < g->n; i++) {
        of_group[i] = of_site[g->first[i]];
    }
}

double qx_alloc_cost(const struct qx_alloc *a, const uint8_t *choice)
{
    double sum = 0.0;
    for (int i = 0; i < a->n_sites; i++) {
        sum += a->cost[i * a->n_choices + choice[i]];
    }
    return sum;
}

double qx_alloc_score(const struct qx_alloc *a, const uint8_t *choice)
{
    double sum = 0.0;
    for (int i = 0; i < a->n_sites; i++) {
        sum += a->score[i * a->n_choices + choice[i]];
    }
    return sum;
}

/* ---- the front ---- */

struct sum {
    double cost, score;
};

struct qx_front {
    int n, n_sites;
    struct sum *sum;
    uint8_t *choice; /* [n, n_sites] */
};

/* How a sum came about: the sum of the groups before, and this group's choice. */
struct from {
    uint16_t before;
    uint8_t choice;
};

struct search {
    const struct qx_groups *g;
    double budget;
    double *rest;           /* [n + 1] the least that groups i .. n-1 cost */
    struct sum *now, *next; /* [QX_ALLOC_UNITS + 1], [that * n_choices] */
    struct from *wide;      /* beside next */
    struct from *from;      /* [n, QX_ALLOC_UNITS + 1] */
    int n_now;
};

/* Merge the sums of all choices of a group by cost; what costs more without less harm is dropped. */
static int merge(struct search *s, int group)
{
    const struct qx_groups *g = s->g;
    const double *cost = g->cost + group * g->n_choices, *score = g->score + group * g->n_choices;
    int at[QX_ALLOC_CHOICES] = {0}, n = 0;
    for (;;) {
        int best = -1;
        struct sum least = {0};
        for (int c = 0; c < g->n_choices; c++) {
            if (!isfinite(score[c]) || at[c] == s->n_now) {
                continue;
            }
            const struct sum t = {s->now[at[c]].cost + cost[c], s->now[at[c]].score + score[c]};
            if (best < 0 || t.cost < least.cost ||
                (t.cost == least.cost && t.score < least.score)) {
                best = c;
                least = t;
            }
        }
        if (best < 0 || least.cost + s->rest[group + 1] > s->budget) {
            return n; /* all that follow cost as much or more */
        }
        if (n == 0 || least.score < s->next[n - 1].score) {
            s->next[n] = least;
            s->wide[n++] = (struct from){(uint16_t)at[best], (uint8_t)best};
        }
        at[best]++;
    }
}

/* Of each unit of cost the last sum stays: it has the least score. The cheapest stays too. */
static int thin(struct search *s, int n)
{
    if (n <= QX_ALLOC_UNITS) {
        return n;
    }
    const double lo = s->next[0].cost, unit = (s->next[n - 1].cost - lo) / (QX_ALLOC_UNITS - 1);
    int kept = 1;
    for (int i = 1; i < n; i++) {
        const double step = ceil((s->next[i].cost - lo) / unit);
        if (i + 1 == n || ceil((s->next[i + 1].cost - lo) / unit) > step) {
            s->next[kept] = s->next[i];
            s->wide[kept++] = s->wide[i];
        }
    }
    return kept;
}

static void search_release(struct search *s)
{
    qx_mem_free(s->rest);
    qx_mem_free(s->now);
    qx_mem_free(s->next);
    qx_mem_free(s->wide);
    qx_mem_free(s->from);
}

static enum qx_status search_init(struct search *s, struct qx_error *err)
{
    const struct qx_groups *g = s->g;
    const size_t units = QX_ALLOC_UNITS + 1, wide = units * (size_t)g->n_choices;
    s->rest = qx_mem_zalloc(((size_t)g->n + 1) * sizeof *s->rest);
    s->now = qx_mem_array(units, sizeof *s->now);
    s->next = qx_mem_array(wide, sizeof *s->next);
    s->wide = qx_mem_array(wide, sizeof *s->wide);
    s->from = qx_mem_array((size_t)g->n * units, sizeof *s->from);
    if (!s->rest || !s->now || !s->next || !s->wide || !s->from) {
        return qx_fail_nomem(err, (size_t)g->n * units * sizeof *s->from);
    }
    for (int i = g->n - 1; i >= 0; i--) {
        double least = (double)INFINITY;
        for (int c = 0; c < g->n_choices; c++) {
            if (isfinite(g->score[i * g->n_choices + c])) {
                least = fmin(least, g->cost[i * g->n_choices + c]);
            }
        }
        s->rest[i] = s->rest[i + 1] + least;
    }
    /* costs are summed from the left here and from the right there: a hair of room */
    s->budget += 1e-12 * s->rest[0];
    s->now[0] = (struct sum){0};
    s->n_now = 1;
    return s->rest[0] <= s->budget
               ? QX_OK
               : qx_fail(err, QX_EDATA, "the budget is %.6g, the least possible is %.6g", s->budget,
                         s->rest[0]);
}

static enum qx_status search_run(struct search *s, struct qx_ctl *ctl, struct qx_error *err)
{
    qx_ctl_total(ctl, s->g->n);
    for (int i = 0; i < s->g->n; i++) {
        if (qx_cancel_test(ctl)) {
            return qx_fail(err, QX_ECANCELLED, "the search was cancelled");
        }
        s->n_now = thin(s, merge(s, i));
        memcpy(s->now, s->next, (size_t)s->n_now * sizeof *s->now);
        memcpy(s->from + (size_t)i * (QX_ALLOC_UNITS + 1), s->wide,
               (size_t)s->n_now * sizeof *s->from);
        qx_ctl_add(ctl, 1);
    }
    return QX_OK;
}

/* Follow each final sum back to its choices. */
static enum qx_status front_make(const struct search *s, int n_sites, struct qx_front **out,
                                 struct qx_error *err)
{
    const size_t cells = (size_t)s->n_now * (size_t)n_sites;
    struct qx_front *f = qx_mem_zalloc(sizeof *f);
    uint8_t *of_group = qx_mem_array((size_t)s->g->n, 1);
    if (f) {
        f->sum = qx_mem_array((size_t)s->n_now, sizeof *f->sum);
        f->choice = qx_mem_array(cells, 1);
    }
    if (!f || !of_group || !f->sum || !f->choice) {
        qx_mem_free(of_group);
        qx_front_free(f);
        return qx_fail_nomem(err, cells);
    }
    f->n = s->n_now;
    f->n_sites = n_sites;
    memcpy(f->sum, s->now, (size_t)f->n * sizeof *f->sum);
    for (int i = 0; i < f->n; i++) {
        for (int k = s->g->n - 1, at = i; k >= 0; k--) {
            const struct from *from = s->from + (size_t)k * (QX_ALLOC_UNITS + 1) + at;
            of_group[k] = from->choice;
            at = from->before;
        }
        qx_groups_spread(s->g, n_sites, of_group, f->choice + (size_t)i * (size_t)n_sites);
    }
    qx_mem_free(of_group);
    *out = f;
    return QX_OK;
}

enum qx_status qx_front_find(const struct qx_alloc *a, double budget, struct qx_ctl *ctl,
                             struct qx_front **out, struct qx_error *err)
{
    struct qx_groups g = {0};
    struct search s = {.g = &g, .budget = budget};
    enum qx_status st = qx_groups_make(a, &g, err);
    if (st == QX_OK) {
        st = search_init(&s, err);
    }
    if (st == QX_OK) {
        st = search_run(&s, ctl, err);
    }
    if (st == QX_OK) {
        st = front_make(&s, a->n_sites, out, err);
    }
    search_release(&s);
    qx_groups_release(&g);
    return st;
}

void qx_front_free(struct qx_front *f)
{
    if (f) {
        qx_mem_free(f->sum);
        qx_mem_free(f->choice);
        qx_mem_free(f);
    }
}

int qx_front_n(const struct qx_front *f)
{
    return f->n;
}

double qx_front_cost(const struct qx_front *f, int i)
{
    return f->sum[i].cost;
}

double qx_front_score(const struct qx_front *f, int i)
{
    return f->sum[i].score;
}

const uint8_t *qx_front_choice(const struct qx_front *f, int i)
{
    return f->choice + (size_t)i * (size_t)f->n_sites;
}

int qx_front_at(const struct qx_front *f, double budget)
{
    int at = -1;
    while (at + 1 < f->n && f->sum[at + 1].cost <= budget) {
        at++;
    }
    return at;
}
