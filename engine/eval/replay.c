/* Suffix replay: the layers behind an edit are run again on P from kept values. */
#include "qx/eval.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "eval/answers.h"
#include "eval/score.h"

#include <math.h>
#include <string.h>

/* Multiply-adds of one pass of a language model's P: about 50 ms on one core. */
static const double pass_macs = 1.2e9;

struct qx_replay {
    const struct qx_net *net;
    uint64_t max_bytes;
    struct qx_answers *p;
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
        qx_answers_free(r->p);
        qx_weights_free(r->weights);
        qx_mem_free(r->set);
        qx_mem_free(r->cut_set);
        qx_net_cut_free(r->cut);
        qx_mem_free(r);
    }
}

int64_t qx_replay_rows_usual(const struct qx_net *net)
{
    const bool is_words = qx_net_is_words(net);
    const int64_t most = is_words ? QX_REPLAY_TOKENS : QX_REPLAY_ROWS, least = most / 4;
    if (!is_words) {
        return most;
    }
    const double macs = (double)qx_net_macs(net) / (double)qx_net_sample_size(net);
    const double fits = macs > 0 ? pass_macs / macs : (double)most;
    return fits < (double)least ? least : fits < (double)most ? (int64_t)fits : most;
}

int64_t qx_replay_rows(const struct qx_replay *r)
{
    return r->p->p->n;
}

const struct qx_eval_result *qx_replay_scored(const struct qx_replay *r, bool is_fp32)
{
    return is_fp32 ? r->p->before : r->p->after;
}

void qx_replay_leads(const struct qx_replay *r, struct qx_lead *out)
{
    const struct qx_answers *p = r->p;
    const int n_classes = qx_net_n_classes(r->net);
    for (int64_t i = 0; i < p->p->n; i++) {
        const int32_t top0 = p->before->predicted[i];
        out[i] =
            (struct qx_lead){.row = p->before->rows[i],
                             .label = p->before->label[i],
                             .top0 = top0,
                             .top = p->after->predicted[i],
                             .before = qx_score_margin(p->fp32 + i * n_classes, n_classes, top0),
                             .now = qx_score_margin(p->now + i * n_classes, n_classes, top0)};
    }
}

/* The rows, and what float32 says about them. */
static enum qx_status begin(struct qx_replay *r, struct qx_pool *pool, struct qx_ctl *ctl,
                            struct qx_error *err)
{
    const size_t n = (size_t)qx_net_n_layers(r->net) + 1;
    r->set = qx_mem_array(n, sizeof *r->set);
    r->cut_set = qx_mem_array(n, sizeof *r->cut_set);
    if (!r->set || !r->cut_set) {
        return qx_fail_nomem(err, n * sizeof *r->set);
    }
    for (size_t i = 0; i < n; i++) {
        r->set[i] = qx_setting_fp32();
    }
    enum qx_status st = qx_weights_new(r->net, &r->weights, err);
    if (st == QX_OK) {
        st = qx_answers_run(r->p, r->weights, NULL, pool, ctl, err);
    }
    if (st == QX_OK) {
        r->last = (struct qx_replay_result){.n = r->p->p->n,
                                            .correct = r->p->before->correct,
                                            .fp32_correct = r->p->before->correct,
                                            .engine = qx_weights_engine(r->weights)};
        st = qx_eval_compare(r->p->before, r->p->after, &r->last.pair, err);
    }
    return st;
}

enum qx_status qx_replay_new(const struct qx_net *net, const struct qx_dataset *data,
                             int64_t n_rows, uint64_t seed, uint64_t max_bytes,
                             struct qx_pool *pool, struct qx_ctl *ctl, struct qx_replay **out,
                             struct qx_error *err)
{
    const int64_t want = n_rows > 0 ? n_rows : qx_replay_rows_usual(net);
    enum qx_status st = qx_net_is_words(net) ? QX_OK : qx_dataset_need_labels(data, err);
    if (st != QX_OK) {
        return st;
    }
    struct qx_replay *r = qx_mem_zalloc(sizeof *r);
    if (!r) {
        return qx_fail_nomem(err, sizeof *r);
    }
    r->net = net;
    r->max_bytes = max_bytes;
    st = qx_answers_new(net, data, want, seed, &r->p, err);
    if (st == QX_OK) {
        qx_ctl_total(ctl, r->p->p->n_inputs * QX_ROW_STEPS);
        st = begin(r, pool, ctl, err);
    }
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
    enum qx_status st = qx_net_cut_bytes(r->net, r->weights, layer, r->p->p->n_inputs, &bytes, err);
    if (st != QX_OK || bytes > r->max_bytes) {
        return st;
    }
    if (cut_holds(r, set)) {
        st = qx_net_cut_new(r->net, r->weights, layer, NULL, 0, r->cut, &cut, pool, ctl, err);
    }
    if (!cut && (st == QX_OK || st == QX_EDATA)) { /* EDATA: as in pass() */
        cut_drop(r);
        st = qx_net_cut_new(r->net, r->weights, layer, r->p->p->x, r->p->p->n_inputs, NULL, &cut,
                            pool, ctl, err);
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
        st = qx_answers_run(r->p, r->weights, r->cut, pool, ctl, err);
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
    return qx_answers_run(r->p, r->weights, cut_holds(r, set) ? r->cut : NULL, pool, ctl, err);
}

enum qx_status qx_replay_run(struct qx_replay *r, const struct qx_setting *set,
                             struct qx_pool *pool, struct qx_ctl *ctl, struct qx_replay_result *out,
                             struct qx_error *err)
{
    const int n_layers = qx_net_n_layers(r->net);
    const int layer = first_change(r->set, set, n_layers);
    const double start = qx_clock_s();
    struct qx_replay_result now = {.n = r->p->p->n, .from = layer};
    enum qx_status st = QX_OK;
    if (layer == n_layers) {
        *out = r->last;
        return QX_OK;
    }
    qx_ctl_total(ctl, r->p->p->n_inputs * QX_ROW_STEPS);
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
    now.correct = r->p->after->correct;
    now.fp32_correct = r->p->before->correct;
    now.engine = qx_weights_engine(r->weights);
    st = qx_eval_compare(r->p->before, r->p->after, &now.pair, err);
    if (st != QX_OK) {
        return st;
    }
    now.kl = qx_answers_kl(r->p);
    now.kl = isfinite(now.kl) ? now.kl : NAN;
    now.time_s = qx_clock_s() - start;
    memcpy(r->set, set, (size_t)n_layers * sizeof *set);
    r->last = now;
    *out = now;
    return QX_OK;
}
