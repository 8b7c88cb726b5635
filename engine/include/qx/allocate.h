/* Choosing one of several settings for every site under a budget: automatic mixed precision.
 *
 * A problem is a table: what each choice costs (bytes, or milliseconds) and how much harm it does
 * alone (the score: measured KL of the single site, prediction.md 3.7). Nothing here knows networks.
 *
 *   qx_front_find      best sum of scores for every budget at once: multiple-choice knapsack
 *   qx_alloc_improve   local search by the harm of the whole, from a callback
 *   qx_alloc_greedy    the cheapest loss per byte first, step by step: explains itself
 *   qx_alloc_closed    bits by sensitivity and variance, in closed form
 *   qx_alloc_pay       one site is raised: who pays
 *   qx_alloc_trade     the best exchange: one site dearer, one cheaper
 *
 * Pure functions, any thread; results depend on nothing but the arguments. */
#ifndef QX_ALLOCATE_H
#define QX_ALLOCATE_H

#include "qx/job.h"
#include "qx/status.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    QX_ALLOC_CHOICES = 32, /* most choices of a site */
    QX_ALLOC_UNITS = 2000  /* most sums of cost kept apart */
};

/* Arrays are borrowed. Choices are columns: the same ones for all sites, in any order. */
struct qx_alloc {
    int n_sites, n_choices;
    const double *cost;  /* [n_sites, n_choices] finite, >= 0 */
    const double *score; /* [n_sites, n_choices] harm; NaN or infinite: not to be had */
    const int *tie;      /* [n_sites] sites of one number >= 0 take the same choice; NULL = none */
    const int *lock;     /* [n_sites] the choice it keeps, -1 = free; NULL = all free */
};

/* Sums over the sites. choice [n_sites]. */
double qx_alloc_cost(const struct qx_alloc *a, const uint8_t *choice);
double qx_alloc_score(const struct qx_alloc *a, const uint8_t *choice);

/* ---- the front ---- */

/* All best trade-offs: cost ascending, score strictly descending. Immutable. */
struct qx_front;
/* Dynamic programming over the sites. Sums of cost up to `budget` (infinity: all) are kept exactly while
 * there are at most QX_ALLOC_UNITS; beyond that they are rounded up to as many units of the range, and
 * of each unit the least score stays: then a point costs at most (sites) units more than the best one of
 * its score. O(sites * choices^2 * units). QX_ERANGE (a cost out of range, a lock or tie that
 * contradicts), QX_EDATA (a site without any choice, nothing within the budget), QX_ENOMEM,
 * QX_ECANCELLED. */
enum qx_status qx_front_find(const struct qx_alloc *a, double budget, struct qx_ctl *ctl,
                             struct qx_front **out, struct qx_error *err);
void qx_front_free(struct qx_front *f); /* NULL allowed */
int qx_front_n(const struct qx_front *f);
double qx_front_cost(const struct qx_front *f, int i);
double qx_front_score(const struct qx_front *f, int i);
/* The choices of point i, [n_sites]; borrowed. */
const uint8_t *qx_front_choice(const struct qx_front *f, int i);
/* The dearest point within a budget, -1 when even the cheapest costs more. */
int qx_front_at(const struct qx_front *f, double budget);

/* ---- local search ---- */

/* Who says what harm a whole recipe does: set changes one site of the recipe being judged, score returns
 * its harm. */
struct qx_alloc_judge {
    void (*set)(void *arg, int site, int choice);
    double (*score)(void *arg);
    void *arg;
};
/* Improve choice [n_sites] within the budget: a site a step dearer, or one dearer and another one
 * cheaper, as long as the judge finds less harm. Sites are judged alone first, and the most promising
 * `width` exchanges of each round (0 = 32) together. judge NULL: the sum of scores. The judge is brought
 * to `choice` at first and left at the answer. Stops early, with the best so far and QX_OK, after
 * max_queries questions (0 = no limit). QX_ECANCELLED leaves choice as it was. *harm (NULL allowed): of
 * the answer. */
enum qx_status qx_alloc_improve(const struct qx_alloc *a, const struct qx_alloc_judge *judge,
                                double budget, int width, int64_t max_queries, struct qx_ctl *ctl,
                                uint8_t *choice, double *harm, struct qx_error *err);

/* ---- greedy ---- */

struct qx_alloc_step {
    int site; /* the first of its tie */
    int from, to;
    double saved; /* cost */
    double harm;  /* score added; may be negative */
};
/* From the least harm everywhere, again and again the step that adds the least score for each unit of
 * cost saved, until the cost is within the budget. steps [cap]: the first ones, *n_steps: how many there
 * were; NULL allowed. QX_EDATA when no step is left above the budget. */
enum qx_status qx_alloc_greedy(const struct qx_alloc *a, double budget, uint8_t *choice,
                               struct qx_alloc_step *steps, int cap, int *n_steps,
                               struct qx_error *err);

/* ---- closed form ---- */

/* Bits from the sensitivity and the variance of each layer's weights: b_l = b + 1/2 log2(s_l v_l), the
 * minimum of sum n_l s_l v_l 2^-2b_l at a given sum n_l b_l (Lagrange; Huang and Schultheiss 1963;
 * for networks: arXiv 2411.06084). */
struct qx_alloc_law {
    const double *bits; /* [n_choices] of the choices, > 0 */
    const double
        *sensitivity;       /* [n_sites] s: harm for each unit of squared error of a weight, >= 0 */
    const double *variance; /* [n_sites] v: of the weights, >= 0 */
};
/* b is the largest for which the choices nearest to b_l fit the budget; ties take the mean of their
 * log2(s v). QX_EDATA when nothing fits. */
enum qx_status qx_alloc_closed(const struct qx_alloc *a, const struct qx_alloc_law *law,
                               double budget, uint8_t *choice, struct qx_error *err);

/* ---- the purse ---- */

/* Site `site` takes choice `to`; the sites with pays[i] true may become cheaper so that the sum does not
 * exceed budget, and none dearer; all others stay. choice [n_sites] becomes the least harm that does so.
 * QX_EDATA when the payers cannot pay: choice is as it was. */
enum qx_status qx_alloc_pay(const struct qx_alloc *a, int site, int to, const bool *pays,
                            double budget, uint8_t *choice, struct qx_error *err);

struct qx_alloc_offer {
    int up, up_to;     /* site (first of its tie) and its new choice; -1 = no trade is worth it */
    int down, down_to; /* the same; down -1 = nobody has to pay */
    double gain;       /* harm that goes away, > 0 */
    double moved;      /* cost that the raised site takes */
};
/* One site a step dearer, at most one other cheaper by as much as it takes: the exchange within the budget
 * that takes away the most harm for each unit of cost moved. */
enum qx_status qx_alloc_trade(const struct qx_alloc *a, double budget, const uint8_t *choice,
                              struct qx_alloc_offer *out, struct qx_error *err);

#endif
