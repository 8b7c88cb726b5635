/* Suffix replay: the layers behind an edit are run again on P from kept values. */
#include "qx/eval.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "eval/rows.h"
#include "eval/score.h"

#include <math.h>
#include <string.h>

struct qx_replay {
    const struct qx_net *net;
    const struct qx_dataset *data;
    uint64_t max_bytes;
    int64_t n;
    float *x, *fp32, *logits; /* [n, sample], [n, classes], the same */
    struct qx_eval_result *before, *after;
    struct qx_weights *weights;
    struct qx_setting *set; /* [layers] of the last run that ended well; float32 at first */
    struct qx_replay_result last;
    struct qx_net_cut *cut;     /* NULL = none */
    int cut_layer;              /* values alive before this one ... */
    struct qx_setting *cut_set; /* ... under these settings [cut_layer] of those before it */
};

void qx_replay_free(struct qx_replay *r)
{
    if (r) {
        qx_mem_free(r->x);
        qx_mem_free(r->fp32);
        qx_mem_free(r->logits);
        qx_eval_result_free(r->before);
        qx_eval_result_free(r->after);
        qx_weights_free(r->weights);
        qx_mem_free(r->set);
        qx_mem_free(r->cut_set);
        qx_net_cut_free(r->cut);
        qx_mem_free(r);
    }
}

int64_t qx_replay_rows(const struct qx_replay *r)
{
    return r->n;
}

/* Logit of class c minus the largest other one. */
static float lead_of(const float *logits, int n_classes, int c)
{
    float other = -INFINITY;
    for (int i = 0; i < n_classes; i++) {
        other = i != c && logits[i] > other ? logits[i] : other;
    }
    return logits[c] - other;
}

void qx_replay_leads(const struct qx_replay *r, struct qx_lead *out)
{
    const int n_classes = qx_net_n_classes(r->net);
    for (int64_t i = 0; i < r->n; i++) {
        const float *fp32 = r->fp32 + i * n_classes, *now = r->logits + i * n_classes;
        const int32_t top0 = r->before->predicted[i];
        out[i] = (struct qx_lead){.row = r->before->rows[i],
                                  .label = r->before->label[i],
                                  .top0 = top0,
                                  .top = r->after->predicted[i],
                                  .before = lead_of(fp32, n_classes, top0),
                                  .now = lead_of(now, n_classes, top0)};
    }
}

static void score(const struct qx_replay *r, struct qx_eval_result *result, const float *logits)
{
    result->correct = 0;
    qx_score_rows(r->data, result, 0, r->n, logits, qx_net_n_classes(r->net));
    result->accuracy = (double)result->correct / (double)r->n;
}

/* The rows, and what float32 says about them. */
static enum qx_status begin(struct qx_replay *r, uint64_t seed, struct qx_pool *pool,
                            struct qx_ctl *ctl, struct qx_error *err)
{
    const int64_t sample = qx_net_sample_size(r->net);
    const int n_layers = qx_net_n_layers(r->net), n_classes = qx_net_n_classes(r->net);
    const size_t n = (size_t)r->n, row = (size_t)n_classes * sizeof(float);
    r->x = qx_mem_array(n, (size_t)sample * sizeof *r->x);
    r->fp32 = qx_mem_array(n, row);
    r->logits = qx_mem_array(n, row);
    r->set = qx_mem_array((size_t)n_layers + 1, sizeof *r->set);
    r->cut_set = qx_mem_array((size_t)n_layers + 1, sizeof *r->cut_set);
    for (int i = 0; r->set && i < n_layers; i++) {
        r->set[i] = qx_setting_fp32();
    }
    if (!r->x || !r->fp32 || !r->logits || !r->set || !r->cut_set) {
        return qx_fail_nomem(err, n * (size_t)sample * sizeof *r->x);
    }
    enum qx_status st = qx_score_new(r->n, &r->before, err);
    if (st == QX_OK) {
        st = qx_score_new(r->n, &r->after, err);
    }
    if (st == QX_OK) {
        qx_rows_draw(qx_dataset_n(r->data), r->n, seed, r->before->rows);
        memcpy(r->after->rows, r->before->rows, n * sizeof *r->after->rows);
        st = qx_score_read(r->data, r->before, 0, r->n, sample, r->x, err);
    }
    if (st == QX_OK) {
        st = qx_weights_new(r->net, &r->weights, err);
    }
    if (st == QX_OK) {
        st = qx_net_run(r->net, r->weights, r->x, r->n, r->fp32, NULL, pool, ctl, err);
    }
    if (st == QX_OK) {
        memcpy(r->logits, r->fp32, n * row);
        score(r, r->after, r->logits);
        score(r, r->before, r->fp32);
        r->last.correct = r->last.fp32_correct = r->before->correct;
        r->last.engine = qx_weights_engine(r->weights);
        st = qx_eval_compare(r->before, r->before, &r->last.pair, err);
    }
    return st;
}

enum qx_status qx_replay_new(const struct qx_net *net, const struct qx_dataset *data,
                             int64_t n_rows, uint64_t seed, uint64_t max_bytes,
                             struct qx_pool *pool, struct qx_ctl *ctl, struct qx_replay **out,
                             struct qx_error *err)
{
    const int64_t all = qx_dataset_n(data), want = n_rows > 0 ? n_rows : QX_REPLAY_ROWS;
    if (qx_dataset_label(data, 0) < 0) {
        return qx_fail(err, QX_EDATA, "%s has no 'labels', so there is no accuracy to measure",
                       qx_dataset_path(data));
    }
    struct qx_replay *r = qx_mem_zalloc(sizeof *r);
    if (!r) {
        return qx_fail_nomem(err, sizeof *r);
    }
    r->net = net;
    r->data = data;
    r->max_bytes = max_bytes;
    r->n = want < all ? want : all;
    r->last.n = r->n;
    qx_ctl_total(ctl, r->n);
    enum qx_status st = begin(r, seed, pool, ctl, err);
    if (st != QX_OK) {
        qx_replay_free(r);
        return st;
    }
    *out = r;
    return QX_OK;
}

/* ---- what has to run ---- */

static int first_change(const struct qx_setting *a, const struct qx_setting *b, int n)
{
    int i = 0;
    while (i < n && qx_setting_equal(&a[i], &b[i])) {
        i++;
    }
    return i;
}

static bool cut_holds(const struct qx_replay *r, const struct qx_setting *set)
{
    return r->cut && first_change(r->cut_set, set, r->cut_layer) == r->cut_layer;
}

static void cut_drop(struct qx_replay *r)
{
    qx_net_cut_free(r->cut);
    r->cut = NULL;
}

/* Keep the values alive before `layer`, going on from those kept already where they hold. Nothing is
 * kept when there is no room. */
static enum qx_status cut_make(struct qx_replay *r, const struct qx_setting *set, int layer,
                               struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err)
{
    struct qx_net_cut *cut = NULL;
    uint64_t bytes = 0;
    enum qx_status st = qx_net_cut_bytes(r->net, r->weights, layer, r->n, &bytes, err);
    if (st != QX_OK || bytes > r->max_bytes) {
        return st;
    }
    if (cut_holds(r, set)) {
        st = qx_net_cut_new(r->net, r->weights, layer, NULL, 0, r->cut, &cut, pool, ctl, err);
    }
    if (!cut && (st == QX_OK || st == QX_EDATA)) { /* EDATA: as in pass() */
        cut_drop(r);
        st = qx_net_cut_new(r->net, r->weights, layer, r->x, r->n, NULL, &cut, pool, ctl, err);
    }
    if (st == QX_OK) {
        cut_drop(r);
        r->cut = cut;
        r->cut_layer = layer;
        memcpy(r->cut_set, set, (size_t)layer * sizeof *set);
    }
    return st;
}

static enum qx_status pass(struct qx_replay *r, const struct qx_setting *set, int layer,
                           struct qx_replay_result *out, struct qx_pool *pool, struct qx_ctl *ctl,
                           struct qx_error *err)
{
    enum qx_status st = QX_EDATA;
    out->is_suffix = cut_holds(r, set) && r->cut_layer >= layer;
    if (out->is_suffix) {
        st = qx_net_run_from(r->net, r->weights, r->cut, r->logits, NULL, pool, ctl, err);
    }
    if (st != QX_EDATA) {
        return st;
    }
    if (out->is_suffix) { /* kept, but in another form than what lies behind takes by now */
        out->is_suffix = false;
        cut_drop(r);
    }
    st = cut_make(r, set, layer, pool, ctl, err);
    if (st != QX_OK) {
        return st;
    }
    return cut_holds(r, set)
               ? qx_net_run_from(r->net, r->weights, r->cut, r->logits, NULL, pool, ctl, err)
               : qx_net_run(r->net, r->weights, r->x, r->n, r->logits, NULL, pool, ctl, err);
}

/* ---- what it says ---- */

/* log of the sum of exp(v), and nothing overflows. */
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

/* Mean over the rows of sum_c p_c (log p_c - log q_c). */
static double mean_kl(const float *p, const float *q, int64_t n, int n_classes)
{
    double total = 0;
    for (int64_t i = 0; i < n; i++, p += n_classes, q += n_classes) {
        const double lp = log_sum(p, n_classes), lq = log_sum(q, n_classes);
        for (int c = 0; c < n_classes; c++) {
            const double a = (double)p[c] - lp;
            total += exp(a) * (a - ((double)q[c] - lq));
        }
    }
    return total / (double)n;
}

enum qx_status qx_replay_run(struct qx_replay *r, const struct qx_setting *set,
                             struct qx_pool *pool, struct qx_ctl *ctl, struct qx_replay_result *out,
                             struct qx_error *err)
{
    const int n_layers = qx_net_n_layers(r->net), n_classes = qx_net_n_classes(r->net);
    const int layer = first_change(r->set, set, n_layers);
    const double start = qx_clock_s();
    struct qx_replay_result now = {.n = r->n, .from = layer};
    enum qx_status st = QX_OK;
    if (layer == n_layers) {
        *out = r->last;
        return QX_OK;
    }
    qx_ctl_total(ctl, r->n);
    for (int i = 0; st == QX_OK && i < n_layers; i++) {
        st = qx_cancel_test(ctl) ? qx_fail(err, QX_ECANCELLED, "the replay was cancelled")
                                 : qx_weights_apply(r->weights, i, &set[i], pool, ctl, err);
    }
    if (st == QX_OK) {
        st = qx_weights_prepare(r->weights, QX_ENGINE_AUTO, pool, ctl, err);
    }
    if (st == QX_OK) {
        st = pass(r, set, layer, &now, pool, ctl, err);
    }
    if (st != QX_OK) {
        return st;
    }
    score(r, r->after, r->logits);
    now.correct = r->after->correct;
    now.fp32_correct = r->before->correct;
    now.engine = qx_weights_engine(r->weights);
    st = qx_eval_compare(r->before, r->after, &now.pair, err);
    if (st != QX_OK) {
        return st;
    }
    now.kl = mean_kl(r->fp32, r->logits, r->n, n_classes);
    now.kl = isfinite(now.kl) ? now.kl : NAN;
    now.time_s = qx_clock_s() - start;
    memcpy(r->set, set, (size_t)n_layers * sizeof *set);
    r->last = now;
    *out = now;
    return QX_OK;
}
