/* Allocation: answers found by trying everything (tests/golden/alloc), and what must hold of large
 * problems. */
#include "base/mem.h"
#include "base/rng.h"
#include "qx/allocate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SITES = 80, CHOICES = 8, CELLS = SITES * CHOICES };

/* cmocka compares in float32. */
static void assert_near(double a, double b, double tolerance)
{
    assert_true(fabs(a - b) <= tolerance);
}

struct problem {
    struct qx_alloc a;
    struct qx_alloc_law law;
    double cost[CELLS], score[CELLS], bits[CHOICES], sensitivity[SITES], variance[SITES];
    int tie[SITES], lock[SITES];
};

/* ---- the golden file ---- */

static FILE *golden;
static char word[64];

static bool word_read(void)
{
    return fscanf(golden, "%63s", word) == 1;
}

static void reals(const char *name, double *out, int n)
{
    assert_true(word_read());
    assert_string_equal(word, name);
    for (int i = 0; i < n; i++) {
        assert_true(word_read());
        out[i] = strtod(word, NULL);
    }
}

static void wholes(const char *name, int *out, int n)
{
    double v[SITES];
    reals(name, v, n);
    for (int i = 0; i < n; i++) {
        out[i] = (int)v[i];
    }
}

static void problem_link(struct problem *p, int n, int k)
{
    p->a = (struct qx_alloc){n, k, p->cost, p->score, p->tie, p->lock};
    p->law = (struct qx_alloc_law){p->bits, p->sensitivity, p->variance};
}

static bool problem_read(struct problem *p)
{
    int n, k;
    if (!word_read()) {
        return false;
    }
    assert_string_equal(word, "problem");
    assert_int_equal(fscanf(golden, "%d %d", &n, &k), 2);
    problem_link(p, n, k);
    for (int i = 0; i < n; i++) {
        reals("cost", p->cost + i * k, k);
        reals("score", p->score + i * k, k);
    }
    wholes("tie", p->tie, n);
    wholes("lock", p->lock, n);
    reals("bits", p->bits, k);
    reals("sensitivity", p->sensitivity, n);
    reals("variance", p->variance, n);
    return true;
}

static void front_check(const struct problem *p)
{
    struct qx_front *front = NULL;
    int n;
    wholes("front", &n, 1);
    assert_int_equal(qx_front_find(&p->a, (double)INFINITY, NULL, &front, NULL), QX_OK);
    assert_int_equal(qx_front_n(front), n);
    for (int i = 0; i < n; i++) {
        double want[2];
        const uint8_t *choice = qx_front_choice(front, i);
        reals("point", want, 2);
        assert_near(qx_front_cost(front, i), want[0], 1e-9 * want[0]);
        assert_true(fabs(qx_front_score(front, i) - want[1]) <= 1e-12 + 1e-9 * want[1]);
        assert_near(qx_alloc_cost(&p->a, choice), want[0], 1e-9 * want[0]);
        assert_true(fabs(qx_alloc_score(&p->a, choice) - want[1]) <= 1e-12 + 1e-9 * want[1]);
    }
    qx_front_free(front);
}

static void budget_check(const struct problem *p)
{
    double budget;
    int want[SITES];
    uint8_t choice[SITES];
    struct qx_front *front = NULL, *cut = NULL;
    const int n = p->a.n_sites;
    reals("budget", &budget, 1);
    wholes("greedy", want, n);
    assert_int_equal(qx_alloc_greedy(&p->a, budget, choice, NULL, 0, NULL, NULL), QX_OK);
    for (int i = 0; i < n; i++) {
        assert_int_equal(choice[i], want[i]);
    }
    wholes("closed", want, n);
    assert_int_equal(qx_alloc_closed(&p->a, &p->law, budget, choice, NULL), QX_OK);
    for (int i = 0; i < n; i++) {
        assert_int_equal(choice[i], want[i]);
    }
    assert_int_equal(qx_front_find(&p->a, (double)INFINITY, NULL, &front, NULL), QX_OK);
    assert_int_equal(qx_front_find(&p->a, budget, NULL, &cut, NULL), QX_OK);
    const int at = qx_front_at(front, budget);
    assert_int_equal(qx_front_n(cut), at + 1);
    assert_near(qx_front_score(cut, at), qx_front_score(front, at), 1e-12);
    qx_front_free(front);
    qx_front_free(cut);
}

static void answers_of_every_combination(void **state)
{
    (void)state;
    static struct problem p;
    int n = 0;
    golden = fopen(QX_SOURCE_ROOT "/tests/golden/alloc/problems.txt", "r");
    assert_non_null(golden);
    for (; problem_read(&p); n++) {
        front_check(&p);
        for (int i = 0; i < 3; i++) {
            budget_check(&p);
        }
    }
    fclose(golden);
    assert_int_equal(n, 24);
}

/* ---- larger problems ---- */

static double real(struct qx_rng *rng)
{
    return (double)qx_rng_below(rng, 1u << 30) / (1u << 30);
}

/* Costs like layers of 2 to 8 bits, harm that falls by about four for each. */
static void problem_draw(struct problem *p, int n, int k, uint64_t seed)
{
    struct qx_rng rng;
    qx_rng_init(&rng, seed);
    memset(p, 0, sizeof *p);
    problem_link(p, n, k);
    for (int i = 0; i < n; i++) {
        const double size = 100 + 9900 * real(&rng), harm = pow(10, -4 + 3 * real(&rng));
        p->tie[i] = p->lock[i] = -1;
        p->sensitivity[i] = harm / size;
        p->variance[i] = 1;
        for (int c = 0; c < k; c++) {
            p->bits[c] = c + 2;
            p->cost[i * k + c] = size * (c + 2) + real(&rng);
            p->score[i * k + c] = harm * pow(4, -c) * (0.8 + 0.4 * real(&rng));
        }
    }
}

/* Beyond the units: a point costs at most as many units more as there are sites. Lower bound of the best
 * score within a budget: the Lagrangian's dual. */
static double dual_bound(const struct problem *p, double budget)
{
    double best = 0;
    for (double lambda = 1e-12; lambda < 1; lambda *= 1.1) {
        double sum = -lambda * budget;
        for (int i = 0; i < p->a.n_sites; i++) {
            double least = (double)INFINITY;
            for (int c = 0; c < p->a.n_choices; c++) {
                const int at = i * p->a.n_choices + c;
                least = fmin(least, p->score[at] + lambda * p->cost[at]);
            }
            sum += least;
        }
        best = fmax(best, sum);
    }
    return best;
}

static void many_sites_stay_near_the_best(void **state)
{
    (void)state;
    static struct problem p;
    uint8_t choice[SITES];
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct qx_front *f = NULL;
        problem_draw(&p, 74, 7, seed);
        assert_int_equal(qx_front_find(&p.a, (double)INFINITY, NULL, &f, NULL), QX_OK);
        const int n = qx_front_n(f);
        assert_true(n > 500 && n <= QX_ALLOC_UNITS + 1);
        for (int i = 1; i < n; i++) {
            assert_true(qx_front_cost(f, i) > qx_front_cost(f, i - 1));
            assert_true(qx_front_score(f, i) < qx_front_score(f, i - 1));
        }
        for (double share = 0.1; share < 1; share += 0.2) {
            const double budget =
                qx_front_cost(f, 0) + share * (qx_front_cost(f, n - 1) - qx_front_cost(f, 0));
            const int at = qx_front_at(f, budget);
            assert_true(qx_front_score(f, at) <= 1.03 * dual_bound(&p, budget));
            assert_int_equal(qx_alloc_greedy(&p.a, budget, choice, NULL, 0, NULL, NULL), QX_OK);
            assert_true(qx_alloc_cost(&p.a, choice) <= budget);
            assert_true(qx_front_score(f, at) <= 1.01 * qx_alloc_score(&p.a, choice));
            assert_int_equal(qx_alloc_closed(&p.a, &p.law, budget, choice, NULL), QX_OK);
            assert_true(qx_alloc_cost(&p.a, choice) <= budget);
            assert_true(qx_front_score(f, at) <= 1.01 * qx_alloc_score(&p.a, choice));
        }
        qx_front_free(f);
    }
}

/* A whole that is not the sum of its parts: the product of gains. */
struct whole {
    const struct problem *p;
    int at[SITES];
    int n_asked;
};

static void whole_set(void *arg, int site, int choice)
{
    ((struct whole *)arg)->at[site] = choice;
}

static double whole_score(void *arg)
{
    struct whole *w = arg;
    double product = 1;
    w->n_asked++;
    for (int i = 0; i < w->p->a.n_sites; i++) {
        product *= 1 + 3 * w->p->score[i * w->p->a.n_choices + w->at[i]] * (i % 3 ? 1 : 4);
    }
    return product - 1;
}

static void local_search_serves_the_judge(void **state)
{
    (void)state;
    static struct problem p;
    static struct whole w;
    const struct qx_alloc_judge judge = {whole_set, whole_score, &w};
    for (uint64_t seed = 1; seed <= 10; seed++) {
        uint8_t choice[SITES], start[SITES];
        double harm, budget = 0;
        problem_draw(&p, 12, 6, seed);
        p.tie[3] = p.tie[5] = 1;
        p.lock[0] = 5;
        w.p = &p;
        for (int i = 0; i < 12; i++) {
            budget += 0.4 * p.cost[i * 6 + 5];
        }
        budget += 0.6 * p.cost[5];
        assert_int_equal(qx_alloc_greedy(&p.a, budget, start, NULL, 0, NULL, NULL), QX_OK);
        memcpy(choice, start, sizeof choice);
        for (int i = 0; i < 12; i++) {
            whole_set(&w, i, start[i]);
        }
        const double before = whole_score(&w);
        assert_int_equal(qx_alloc_improve(&p.a, &judge, budget, 0, 0, NULL, choice, &harm, NULL),
                         QX_OK);
        assert_true(harm <= before);
        assert_true(qx_alloc_cost(&p.a, choice) <= budget);
        assert_int_equal(choice[3], choice[5]);
        assert_int_equal(choice[0], 5);
        for (int i = 0; i < 12; i++) {
            assert_int_equal(w.at[i], choice[i]);
        }
        assert_near(whole_score(&w), harm, 1e-15);
        w.n_asked = 0;
        assert_int_equal(qx_alloc_improve(&p.a, &judge, budget, 0, 7, NULL, start, NULL, NULL),
                         QX_OK);
        assert_true(w.n_asked <= 7);
    }
}

/* ---- the purse ---- */

static void payers_pay_and_nobody_else(void **state)
{
    (void)state;
    static struct problem p;
    uint8_t choice[SITES] = {2, 2, 2, 2}, before[SITES];
    const bool pays[SITES] = {false, true, false, true};
    struct qx_error err;
    problem_draw(&p, 4, 6, 3);
    for (int c = 0; c < 6; c++) { /* equal sizes */
        for (int i = 0; i < 4; i++) {
            p.cost[i * 6 + c] = 100 * (c + 2);
        }
    }
    memcpy(before, choice, sizeof before);
    const double budget = qx_alloc_cost(&p.a, choice);
    assert_int_equal(qx_alloc_pay(&p.a, 0, 4, pays, budget, choice, NULL), QX_OK);
    assert_int_equal(choice[0], 4);
    assert_int_equal(choice[2], 2);
    assert_true(choice[1] <= 2 && choice[3] <= 2);
    assert_near(qx_alloc_cost(&p.a, choice), budget, 0);
    memcpy(choice, before, sizeof before); /* two bits each is all they have */
    assert_int_equal(qx_alloc_pay(&p.a, 2, 5, pays, budget - 200, choice, &err), QX_EDATA);
    assert_memory_equal(choice, before, 4);
}

static void a_trade_does_good(void **state)
{
    (void)state;
    static struct problem p;
    int n_all = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint8_t choice[SITES];
        struct qx_alloc_offer offer;
        int n = 0;
        problem_draw(&p, 6, 5, seed);
        memset(choice, 2, sizeof choice);
        const double budget = qx_alloc_cost(&p.a, choice);
        double harm = qx_alloc_score(&p.a, choice);
        for (; n < 50; n++) {
            assert_int_equal(qx_alloc_trade(&p.a, budget, choice, &offer, NULL), QX_OK);
            if (offer.up < 0) {
                break;
            }
            choice[offer.up] = (uint8_t)offer.up_to;
            if (offer.down >= 0) {
                choice[offer.down] = (uint8_t)offer.down_to;
            }
            const double now = qx_alloc_score(&p.a, choice);
            assert_near(harm - now, offer.gain, 1e-12);
            assert_true(offer.gain > 0 && qx_alloc_cost(&p.a, choice) <= budget);
            harm = now;
        }
        assert_true(n < 50);
        n_all += n;
    }
    assert_true(n_all >= 40);
}

/* ---- what cannot be ---- */

static void contradictions_are_named(void **state)
{
    (void)state;
    static struct problem p;
    struct qx_front *f = NULL;
    struct qx_error err;
    struct qx_ctl ctl = {0};
    uint8_t choice[SITES] = {7, 7, 7};
    problem_draw(&p, 3, 4, 1);
    assert_int_equal(qx_front_find(&p.a, 1, NULL, &f, &err), QX_EDATA);
    assert_non_null(strstr(err.text, "the least possible"));
    assert_int_equal(qx_alloc_greedy(&p.a, 1, choice, NULL, 0, NULL, &err), QX_EDATA);
    assert_int_equal(qx_alloc_closed(&p.a, &p.law, 1, choice, &err), QX_EDATA);
    assert_int_equal(choice[0], 7);
    p.tie[0] = p.tie[1] = 4;
    p.lock[0] = 1;
    p.lock[1] = 2;
    assert_int_equal(qx_front_find(&p.a, 1e9, NULL, &f, &err), QX_EDATA);
    p.lock[1] = 4;
    assert_int_equal(qx_front_find(&p.a, 1e9, NULL, &f, &err), QX_ERANGE);
    p.lock[1] = p.lock[0] = -1;
    p.cost[2] = -1;
    assert_int_equal(qx_front_find(&p.a, 1e9, NULL, &f, &err), QX_ERANGE);
    p.cost[2] = 1;
    p.a.n_choices = QX_ALLOC_CHOICES + 1;
    assert_int_equal(qx_front_find(&p.a, 1e9, NULL, &f, &err), QX_ERANGE);
    p.a.n_choices = 4;
    atomic_store(&ctl.cancel, true);
    assert_int_equal(qx_front_find(&p.a, 1e9, &ctl, &f, &err), QX_ECANCELLED);
    assert_int_equal(qx_alloc_improve(&p.a, NULL, 1e9, 0, 0, &ctl, choice, NULL, &err),
                     QX_ECANCELLED);
    assert_null(f);
}

static void memory_that_fails_leaves_nothing(void **state)
{
    (void)state;
    static struct problem p;
    problem_draw(&p, 5, 4, 2);
    for (int64_t n = 1;; n++) {
        struct qx_front *f = NULL;
        uint8_t choice[SITES] = {1, 1, 1, 1, 1};
        qx_mem_fail_at(n);
        const enum qx_status front = qx_front_find(&p.a, (double)INFINITY, NULL, &f, NULL);
        const enum qx_status local =
            qx_alloc_improve(&p.a, NULL, 1e9, 0, 0, NULL, choice, NULL, NULL);
        const enum qx_status closed = qx_alloc_closed(&p.a, &p.law, 1e9, choice, NULL);
        qx_mem_fail_at(0);
        qx_front_free(f);
        assert_true(front == QX_OK || front == QX_ENOMEM);
        if (front == QX_OK && local == QX_OK && closed == QX_OK) {
            assert_true(n > 15);
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_of_every_combination),
        cmocka_unit_test(many_sites_stay_near_the_best),
        cmocka_unit_test(local_search_serves_the_judge),
        cmocka_unit_test(payers_pay_and_nobody_else),
        cmocka_unit_test(a_trade_does_good),
        cmocka_unit_test(contradictions_are_named),
        cmocka_unit_test(memory_that_fails_leaves_nothing),
    };
    return cmocka_run_group_tests_name("eval: allocation", tests, NULL, NULL);
}
