#include "eval/answers.h"

#include "base/error.h"
#include "base/mem.h"
#include "eval/score.h"
#include "eval/words.h"

#include <math.h>
#include <string.h>

void qx_answers_free(struct qx_answers *a)
{
    if (a) {
        qx_places_free(a->p);
        qx_eval_result_free(a->before);
        qx_eval_result_free(a->after);
        qx_mem_free(a->fp32);
        qx_mem_free(a->now);
        qx_mem_free(a);
    }
}

/* A result of P with its rows and labels. */
static enum qx_status result_new(const struct qx_answers *a, bool has_kl,
                                 struct qx_eval_result **out, struct qx_error *err)
{
    const struct qx_places *p = a->p;
    const size_t n = (size_t)p->n;
    enum qx_status st = qx_score_new(p->n, out, err);
    if (st != QX_OK) {
        return st;
    }
    struct qx_eval_result *r = *out;
    memcpy(r->rows, p->rows, n * sizeof *r->rows);
    memcpy(r->label, p->labels, n * sizeof *r->label);
    if (!p->is_words) {
        return QX_OK;
    }
    r->n_documents = p->n_inputs;
    r->macro_f1 = NAN;
    r->nll = qx_mem_array(n, sizeof *r->nll);
    r->kl = has_kl ? qx_mem_array(n, sizeof *r->kl) : NULL;
    return r->nll && (!has_kl || r->kl) ? QX_OK : qx_fail_nomem(err, n * sizeof *r->nll);
}

static enum qx_status answers_fill(struct qx_answers *a, struct qx_error *err)
{
    const size_t n = (size_t)a->p->n, row = (size_t)a->n_classes * sizeof(float);
    enum qx_status st = result_new(a, false, &a->before, err);
    if (st == QX_OK) {
        st = result_new(a, true, &a->after, err);
    }
    a->fp32 = qx_mem_array(n, row);
    a->now = a->p->is_words ? NULL : qx_mem_array(n, row);
    if (st == QX_OK && (!a->fp32 || (!a->p->is_words && !a->now))) {
        st = qx_fail_nomem(err, n * row);
    }
    return st;
}

enum qx_status qx_answers_new(const struct qx_net *net, const struct qx_dataset *data, int64_t n,
                              uint64_t seed, struct qx_answers **out, struct qx_error *err)
{
    struct qx_answers *a = qx_mem_zalloc(sizeof *a);
    if (!a) {
        return qx_fail_nomem(err, sizeof *a);
    }
    a->data = data;
    a->n_classes = qx_net_n_classes(net);
    enum qx_status st = qx_places_new(net, data, NULL, n, 1, seed, &a->p, err);
    if (st == QX_OK) {
        st = answers_fill(a, err);
    }
    if (st != QX_OK) {
        qx_answers_free(a);
        return st;
    }
    *out = a;
    return QX_OK;
}

/* ---- language models: places are scored as they come ---- */

struct scoring {
    struct qx_answers *a;
    struct qx_eval_result *r;
};

static void score_places(void *arg, int64_t row, int64_t first, int64_t n, float *logits)
{
    const struct scoring *s = arg;
    const struct qx_places *p = s->a->p;
    for (int64_t i = p->first[row]; i < p->first[row + 1]; i++) {
        const int64_t at = p->place[i] - first;
        if (at >= 0 && at < n) {
            qx_words_score(s->r, i, logits + at * s->a->n_classes, s->a->n_classes,
                           s->a->fp32 + i * s->a->n_classes);
        }
    }
}

static enum qx_status run_words(struct qx_answers *a, const struct qx_weights *w,
                                const struct qx_net_cut *cut, struct qx_eval_result *r,
                                struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_places *p = a->p;
    struct scoring s = {a, r};
    return cut ? qx_net_run_places_from(p->net, w, cut, score_places, &s, NULL, pool, ctl, err)
               : qx_net_run_places(p->net, w, p->x, p->n_inputs, score_places, &s, NULL, pool, ctl,
                                   err);
}

/* Nothing else has run yet. */
static void after_is_before(struct qx_answers *a)
{
    const size_t n = (size_t)a->p->n;
    const struct qx_eval_result *b = a->before;
    struct qx_eval_result *r = a->after;
    memcpy(r->predicted, b->predicted, n * sizeof *r->predicted);
    memcpy(r->margin, b->margin, n * sizeof *r->margin);
    if (a->now) {
        memcpy(a->now, a->fp32, n * (size_t)a->n_classes * sizeof *a->now);
    } else {
        memcpy(r->nll, b->nll, n * sizeof *r->nll);
        memset(r->kl, 0, n * sizeof *r->kl);
    }
}

enum qx_status qx_answers_run(struct qx_answers *a, const struct qx_weights *w,
                              const struct qx_net_cut *cut, struct qx_pool *pool,
                              struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_places *p = a->p;
    struct qx_eval_result *r = a->has_run ? a->after : a->before;
    float *z = a->has_run ? a->now : a->fp32;
    enum qx_status st = p->is_words ? run_words(a, w, cut, r, pool, ctl, err)
                                    : qx_places_run(p, w, cut, z, pool, ctl, err);
    if (st == QX_OK && !p->is_words) {
        qx_score_rows(a->data, r, 0, r->n, z, a->n_classes);
    }
    if (st == QX_OK) {
        st = qx_eval_result_finish(r, err);
    }
    if (st == QX_OK && !a->has_run) {
        after_is_before(a);
        st = qx_eval_result_finish(a->after, err);
    }
    a->has_run |= st == QX_OK;
    return st;
}

/* ---- divergence ---- */

/* log of the sum of exp(v), and nothing overflows. In words.c exponentials are floats: over a vocabulary they are
 * most of the work, and figures on disk are theirs to the last bit. Here classes are few, and rows that hardly change
 * have a KL (1e-8) below what floats can tell. */
static double log_sum(const float *v, int n)
{
    double top = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++) {
        top = (double)v[i] > top ? (double)v[i] : top;
    }
    for (int i = 0; i < n; i++) {
        sum += exp((double)v[i] - top);
    }
    return top + log(sum);
}

/* sum_c p_c (log p_c - log q_c) */
static double kl_row(const float *p, const float *q, int n_classes)
{
    const double lp = log_sum(p, n_classes), lq = log_sum(q, n_classes);
    double kl = 0;
    for (int c = 0; c < n_classes; c++) {
        const double a = (double)p[c] - lp;
        kl += exp(a) * (a - ((double)q[c] - lq));
    }
    return kl;
}

double qx_answers_kl(const struct qx_answers *a)
{
    double total = 0;
    for (int64_t i = 0; i < a->p->n; i++) {
        total += a->now
                     ? kl_row(a->fp32 + i * a->n_classes, a->now + i * a->n_classes, a->n_classes)
                     : (double)a->after->kl[i];
    }
    return total / (double)a->p->n;
}
