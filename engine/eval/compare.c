/* Two measurements of the same rows. */
#include "qx/eval.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

static double log_choose(int64_t n, int64_t k)
{
    int sign; /* the plain lgamma writes a global */
    return lgamma_r((double)n + 1.0, &sign) - lgamma_r((double)k + 1.0, &sign) -
           lgamma_r((double)(n - k) + 1.0, &sign);
}

/* Exact two-sided test of `few` against `many` under a fair coin: twice the smaller tail. */
static double mcnemar(int64_t few, int64_t many)
{
    const int64_t n = few + many;
    if (few == many) {
        return 1.0;
    }
    double tail = 0.0;
    for (int64_t k = 0; k <= few; k++) {
        tail += exp(log_choose(n, k) - (double)n * 0.69314718055994530942);
    }
    return 2.0 * tail < 1.0 ? 2.0 * tail : 1.0;
}

/* The same tokens, so what they have in common cancels. */
static void compare_nll(const struct qx_eval_result *a, const struct qx_eval_result *b,
                        struct qx_eval_pair *p)
{
    const double n = (double)a->n;
    double sum = 0.0, squares = 0.0;
    p->nll_delta = p->nll_error = p->increase = p->increase_error = NAN;
    if (!a->nll || !b->nll || a->n == 0) {
        return;
    }
    for (int64_t i = 0; i < a->n; i++) {
        sum += (double)b->nll[i] - (double)a->nll[i];
    }
    p->nll_delta = sum / n;
    for (int64_t i = 0; i < a->n; i++) {
        const double off = (double)b->nll[i] - (double)a->nll[i] - p->nll_delta;
        squares += off * off;
    }
    p->nll_error = sqrt(squares) / n;
    p->increase = expm1(p->nll_delta);
    p->increase_error = exp(p->nll_delta) * p->nll_error;
}

static enum qx_status same_rows(const struct qx_eval_result *a, const struct qx_eval_result *b,
                                struct qx_error *err)
{
    if (a->n != b->n || memcmp(a->rows, b->rows, (size_t)a->n * sizeof *a->rows) != 0 ||
        memcmp(a->label, b->label, (size_t)a->n * sizeof *a->label) != 0) {
        return qx_fail(err, QX_EDATA,
                       "the two measurements are over different rows; measure both on the same");
    }
    return QX_OK;
}

enum qx_status qx_eval_compare(const struct qx_eval_result *a, const struct qx_eval_result *b,
                               struct qx_eval_pair *out, struct qx_error *err)
{
    const enum qx_status st = same_rows(a, b, err);
    if (st != QX_OK) {
        return st;
    }
    struct qx_eval_pair p = {.n = a->n};
    for (int64_t i = 0; i < a->n; i++) {
        const bool right_a = a->predicted[i] == a->label[i];
        const bool right_b = b->predicted[i] == b->label[i];
        p.flips += a->predicted[i] != b->predicted[i];
        p.lost += right_a && !right_b;
        p.gained += !right_a && right_b;
    }
    const double n = a->n > 0 ? (double)a->n : 1.0;
    p.agreement = 1.0 - (double)p.flips / n;
    p.delta = b->accuracy - a->accuracy;
    p.mcnemar_p = p.lost < p.gained ? mcnemar(p.lost, p.gained) : mcnemar(p.gained, p.lost);
    compare_nll(a, b, &p);
    *out = p;
    return QX_OK;
}

/* ---- the rows that change most ---- */

static struct qx_eval_change change_of(const struct qx_eval_result *a,
                                       const struct qx_eval_result *b, int64_t i)
{
    struct qx_eval_change c = {b->rows[i],   b->label[i],  a->predicted[i],       b->predicted[i],
                               a->margin[i], b->margin[i], b->kl ? b->kl[i] : NAN};
    if (a->nll && b->nll) {
        c.before = expf(-a->nll[i]);
        c.after = expf(-b->nll[i]);
    }
    return c;
}

static bool is_more(const struct qx_eval_change *x, const struct qx_eval_change *y, bool is_words)
{
    const bool flips_x = x->top_a != x->top_b, flips_y = y->top_a != y->top_b;
    return !is_words && flips_x != flips_y
               ? flips_x
               : fabsf(x->after - x->before) > fabsf(y->after - y->before);
}

enum qx_status qx_eval_changes(const struct qx_eval_result *a, const struct qx_eval_result *b,
                               int64_t most, struct qx_eval_change *out, int64_t *n,
                               struct qx_error *err)
{
    const enum qx_status st = same_rows(a, b, err);
    const bool is_words = a->nll && b->nll;
    int64_t n_out = 0;
    for (int64_t i = 0; st == QX_OK && i < b->n; i++) {
        const struct qx_eval_change c = change_of(a, b, i);
        int64_t at = n_out;
        if (c.after == c.before && c.top_a == c.top_b) {
            continue;
        }
        while (at > 0 && is_more(&c, &out[at - 1], is_words)) {
            at--;
        }
        if (at < most) {
            n_out += n_out < most;
            memmove(&out[at + 1], &out[at], (size_t)(n_out - at - 1) * sizeof *out);
            out[at] = c;
        }
    }
    *n = n_out;
    return st;
}
