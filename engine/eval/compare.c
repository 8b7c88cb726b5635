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
    struct qx_eval_change c = {.row = b->rows[i],
                               .label = b->label[i],
                               .top_a = a->predicted[i],
                               .top_b = b->predicted[i],
                               .before = a->margin[i],
                               .after = b->margin[i],
                               .kl_a = a->kl ? a->kl[i] : NAN,
                               .kl_b = b->kl ? b->kl[i] : NAN,
                               .at = i};
    if (a->nll && b->nll) {
        c.before = expf(-a->nll[i]);
        c.after = expf(-b->nll[i]);
    }
    return c;
}

struct order {
    enum qx_change_order by;
    bool flips_first;
};

static float size_of(const struct qx_eval_change *c, const struct order *order)
{
    return order->by == QX_CHANGES_KL ? fmaxf(c->kl_a, c->kl_b) : fabsf(c->after - c->before);
}

static bool is_flip(const struct qx_eval_change *c)
{
    return c->top_a != c->top_b;
}

static bool is_more(const struct qx_eval_change *x, const struct qx_eval_change *y,
                    const struct order *order)
{
    return order->flips_first && is_flip(x) != is_flip(y) ? is_flip(x)
                                                          : size_of(x, order) > size_of(y, order);
}

enum qx_status qx_eval_changes(const struct qx_eval_result *a, const struct qx_eval_result *b,
                               enum qx_change_order by, int64_t most, struct qx_eval_change *out,
                               int64_t *n, struct qx_error *err)
{
    const struct order order = {by, by == QX_CHANGES_ANSWERS && !(a->nll && b->nll)};
    if (by == QX_CHANGES_KL && !a->kl && !b->kl) {
        return qx_fail(err, QX_EDATA,
                       "neither measurement was made beside float32, so there is no KL divergence "
                       "to order by");
    }
    const enum qx_status st = same_rows(a, b, err);
    int64_t n_out = 0;
    for (int64_t i = 0; st == QX_OK && i < b->n; i++) {
        const struct qx_eval_change c = change_of(a, b, i);
        int64_t at = n_out;
        if (!(size_of(&c, &order) > 0.0f || (by == QX_CHANGES_ANSWERS && is_flip(&c)))) {
            continue;
        }
        while (at > 0 && is_more(&c, &out[at - 1], &order)) {
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
