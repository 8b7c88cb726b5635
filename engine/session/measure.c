#include "session/measure.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double rest_s = 0.3;     /* after the last edit */
static const double said_s = 0.8;     /* the same, while the prediction is being made exact */
static const double auto_limit_s = 5; /* longer measurements wait for `e` */

bool qx_measure_can(const struct qx_session *s)
{
    return s->net && s->data && !s->is_batch;
}

enum qx_status qx_measure_ready(const struct qx_session *s, struct qx_error *err)
{
    if (s->net && s->data) {
        return QX_OK;
    }
    const struct qx_error *why = s->net ? &s->data_error : &s->net_error;
    if (err) {
        *err = *why;
    }
    return why->status;
}

enum qx_status qx_measure_init(struct qx_session *s, struct qx_error *err)
{
    struct qx_measure *m = &s->measure;
    m->is_auto = true;
    m->is_layer = qx_mem_zalloc((size_t)s->items.n + 1);
    if (!m->is_layer) {
        return qx_fail_nomem(err, (size_t)s->items.n + 1);
    }
    for (int64_t i = 0; i < s->items.n; i++) {
        m->is_layer[i] = s->items.v[i].layer != NULL;
    }
    m->key_fp32 = m->key_b = qx_recipe_hash(&s->now, &s->items, m->is_layer);
    return QX_OK;
}

void qx_measure_release(struct qx_session *s)
{
    qx_beside_close(s);
    for (int i = 0; i < QX_RESULTS_KEPT; i++) {
        qx_eval_result_free(s->measure.slot[i].result);
    }
    qx_weights_free(s->measure.weights);
    qx_mem_free(s->measure.is_layer);
}

/* ---- results ---- */

static struct qx_result_slot *slot_find(struct qx_measure *m, uint64_t key)
{
    for (int i = 0; i < QX_RESULTS_KEPT; i++) {
        if (m->slot[i].result && m->slot[i].key == key) {
            return &m->slot[i];
        }
    }
    return NULL;
}

const struct qx_eval_result *qx_measure_find(struct qx_measure *m, uint64_t key)
{
    struct qx_result_slot *slot = slot_find(m, key);
    if (!slot) {
        return NULL;
    }
    slot->used = ++m->clock;
    return slot->result;
}

static bool is_pinned(const struct qx_measure *m, uint64_t key)
{
    return key == m->key_fp32 || key == m->key_a || key == m->key_b || key == m->last_key;
}

void qx_measure_put(struct qx_measure *m, uint64_t key, struct qx_eval_result *result)
{
    struct qx_result_slot *at = slot_find(m, key);
    for (int i = 0; i < QX_RESULTS_KEPT && (!at || (at->result && at->key != key)); i++) {
        struct qx_result_slot *slot = &m->slot[i];
        if (!slot->result || (!is_pinned(m, slot->key) && (!at || slot->used < at->used))) {
            at = slot;
        }
    }
    qx_eval_result_free(at->result);
    *at = (struct qx_result_slot){key, result, ++m->clock};
}

/* B's result is there: it is what the gauge speaks of from now on. */
static void adopt(struct qx_session *s)
{
    struct qx_measure *m = &s->measure;
    const struct qx_eval_result *b = qx_measure_find(m, m->key_b);
    const struct qx_eval_result *fp32 = qx_measure_find(m, m->key_fp32);
    if (!b || qx_pending_open(s) || qx_ranges_pending(s) || qx_methods_pending(s)) {
        return;
    }
    m->last_key = m->key_b;
    m->last_revision = s->revision;
    m->last_moves = s->n_moves;
    m->has_pair = fp32 && qx_eval_compare(fp32, b, &m->pair, NULL) == QX_OK;
    m->is_wanted = false;
    s->news |= QX_NEWS_GAUGE;
}

/* ---- the task ---- */

struct eval_task {
    struct qx_task task;
    struct qx_session *s; /* worker: immutable parts, and weights under their lock */
    enum qx_which which;
    uint64_t key;
    int n_layers;
    struct qx_setting *setting; /* [n_layers] copied at submit */
    struct qx_eval_result *result;
};

static void eval_drop(struct qx_task *t)
{
    struct eval_task *e = (struct eval_task *)t;
    qx_eval_result_free(e->result);
    qx_mem_free(e->setting);
    qx_mem_free(e);
}

/* The weights that are applied alone, or beside float32 when that is asked for. */
static enum qx_status measure_applied(struct qx_session *s, const struct qx_eval_options *options,
                                      struct qx_ctl *ctl, struct qx_beside *beside,
                                      struct qx_eval_result **out, struct qx_error *err)
{
    struct qx_weights *w = s->measure.weights, *plain = NULL;
    if (!beside) {
        return qx_eval_run(s->net, s->data, w, options, s->pool, ctl, out, err);
    }
    enum qx_status status = qx_weights_new_lazy(s->net, &plain, err);
    if (status == QX_OK && qx_net_is_words(s->net)) {
        status = qx_eval_run_pair(s->net, s->data, plain, w, options, s->pool, ctl, &beside->fp32,
                                  &beside->recipe, err);
    } else if (status == QX_OK) {
        status = qx_agreement_run(s->net, s->data, plain, w, options, s->pool, ctl,
                                  &beside->agreement, err);
    }
    qx_weights_free(plain);
    if (status == QX_OK && beside->recipe) {
        status = qx_eval_divergence(beside->fp32, beside->recipe, &beside->divergence, err);
    }
    return status;
}

static enum qx_status measure_with(struct qx_session *s, const struct qx_setting *setting,
                                   const struct qx_eval_options *options, struct qx_ctl *ctl,
                                   struct qx_beside *beside, struct qx_eval_result **out,
                                   struct qx_error *err)
{
    struct qx_measure *m = &s->measure;
    const int n = qx_net_n_layers(s->net);
    struct qx_setting *set = qx_mem_array((size_t)n + 1, sizeof *set);
    if (!set) {
        return qx_fail_nomem(err, ((size_t)n + 1) * sizeof *set);
    }
    memcpy(set, setting, (size_t)n * sizeof *set);
    pthread_mutex_lock(&m->weights_lock);
    enum qx_status status = qx_settings_resolve(s, set, ctl, err);
    if (status == QX_OK && !m->weights) {
        status = qx_weights_new_lazy(s->net, &m->weights, err);
    }
    for (int i = 0; i < n && status == QX_OK; i++) {
        status = qx_cancel_test(ctl) ? qx_fail(err, QX_ECANCELLED, "the measurement was cancelled")
                                     : qx_weights_set(m->weights, i, &set[i], err);
    }
    if (status == QX_OK && ctl) { /* from here on rows are counted */
        atomic_store(&ctl->total, 0);
        atomic_store(&ctl->done, 0);
    }
    if (status == QX_OK) {
        status = measure_applied(s, options, ctl, beside, out, err);
    }
    pthread_mutex_unlock(&m->weights_lock);
    qx_mem_free(set);
    return status;
}

enum qx_status qx_measure_run(struct qx_session *s, const struct qx_setting *setting,
                              const struct qx_eval_options *options, struct qx_ctl *ctl,
                              struct qx_eval_result **out, struct qx_error *err)
{
    return measure_with(s, setting, options, ctl, NULL, out, err);
}

enum qx_status qx_measure_beside(struct qx_session *s, const struct qx_setting *setting,
                                 const struct qx_eval_options *options, struct qx_ctl *ctl,
                                 struct qx_beside *out, struct qx_error *err)
{
    *out = (struct qx_beside){0};
    const enum qx_status status = measure_with(s, setting, options, ctl, out, NULL, err);
    if (status != QX_OK) {
        qx_beside_release(out);
    }
    return status;
}

void qx_beside_release(struct qx_beside *b)
{
    qx_eval_result_free(b->fp32);
    qx_eval_result_free(b->recipe);
    *b = (struct qx_beside){0};
}

static enum qx_status eval_run(struct qx_task *t, struct qx_error *err)
{
    struct eval_task *e = (struct eval_task *)t;
    const struct qx_eval_options all = {0};
    return qx_measure_run(e->s, e->setting, &all, &t->ctl, &e->result, err);
}

static void forget_task(struct qx_measure *m, const struct qx_task *t)
{
    m->task_fp32 = m->task_fp32 == t ? NULL : m->task_fp32;
    m->task_b = m->task_b == t ? NULL : m->task_b;
    m->task_a = m->task_a == t ? NULL : m->task_a;
}

static void result_message(const struct qx_eval_result *r, char *text, size_t cap)
{
    if (r->nll) {
        snprintf(text, cap, "perplexity %.4f over %lld tokens, %.2f s", r->perplexity,
                 (long long)r->n, r->time_s);
        return;
    }
    snprintf(text, cap, "%lld of %lld right, %.2f %%, %.2f s", (long long)r->correct,
             (long long)r->n, 100 * r->accuracy, r->time_s);
}

static void eval_failed(struct qx_session *s, const struct eval_task *e)
{
    struct qx_measure *m = &s->measure;
    const struct qx_task *t = &e->task;
    m->failed_key = e->key;
    if (e->which == QX_WHICH_FP32) {
        m->failed_fp32 = e->key;
    }
    qx_str_copy(m->reason, sizeof m->reason, t->err.text);
    qx_log(QX_LOG_ERROR, "%s", t->err.text);
}

static void eval_done(struct qx_session *s, struct qx_task *t)
{
    struct eval_task *e = (struct eval_task *)t;
    struct qx_measure *m = &s->measure;
    char text[128];
    forget_task(m, t);
    if (t->status == QX_OK) {
        result_message(e->result, text, sizeof text);
        m->eval_time_s = e->result->time_s;
        if (e->which == QX_WHICH_B) {
            qx_predictor_measured(s, e->key, e->result);
        }
        qx_measure_put(m, e->key, e->result);
        m->has_new = true;
        e->result = NULL;
        if (e->key == m->key_b || e->key == m->key_fp32) {
            adopt(s);
        }
    } else if (t->status != QX_ECANCELLED) {
        eval_failed(s, e);
    } else if (e->key != m->refused_key) {
        qx_jobs_forget(&s->jobs, t); /* of a recipe that has changed since */
    }
    qx_jobs_finish(&s->jobs, t, t->status == QX_OK ? text : NULL);
    s->news |= QX_NEWS_GAUGE | QX_NEWS_JOBS;
}

struct qx_setting *qx_measure_settings(const struct qx_session *s, const struct qx_recipe *r)
{
    int n = qx_net_n_layers(s->net);
    struct qx_setting *v = qx_mem_array((size_t)n + 1, sizeof *v);
    for (int i = 0; v && i < n; i++) {
        v[i] = r ? r->set[qx_net_layer(s->net, i)->tensor] : qx_setting_fp32();
    }
    return v;
}

static struct qx_task *submit(struct qx_session *s, enum qx_which which, const struct qx_recipe *r,
                              uint64_t key)
{
    static const char *const titles[] = {"FP32", "snapshot A", "the recipe"};
    struct eval_task *e = qx_mem_zalloc(sizeof *e);
    if (!e) {
        return NULL;
    }
    e->setting = qx_measure_settings(s, r);
    if (!e->setting) {
        qx_mem_free(e);
        return NULL;
    }
    e->task = (struct qx_task){.run = eval_run, .done = eval_done, .drop = eval_drop};
    e->s = s;
    e->which = which;
    e->key = key;
    struct qx_job *job = qx_jobs_add(&s->jobs, &e->task, QX_JOB_EVAL);
    if (job) {
        job->which = which;
        snprintf(job->info.title, sizeof job->info.title, "%s of %s",
                 qx_net_is_words(s->net) ? "perplexity" : "accuracy", titles[which]);
    }
    s->news |= QX_NEWS_JOBS | QX_NEWS_GAUGE;
    qx_lane_submit(&s->queue, &e->task);
    return &e->task;
}

static double progress_of(const struct qx_task *t)
{
    double total = (double)atomic_load_explicit(&t->ctl.total, memory_order_relaxed);
    double done = (double)atomic_load_explicit(&t->ctl.done, memory_order_relaxed);
    return total > 0 ? (done < total ? done / total : 1) : 0;
}

/* ---- what is due ---- */

void qx_measure_touched(struct qx_session *s)
{
    struct qx_measure *m = &s->measure;
    qx_predictor_touched(s);
    if (!qx_measure_can(s)) {
        return;
    }
    m->key_b = qx_recipe_hash(&s->now, &s->items, m->is_layer);
    if (m->task_b && m->task_b_key != m->key_b) {
        qx_task_cancel(m->task_b);
    }
    if (m->task_fp32 && progress_of(m->task_fp32) < 0.5 &&
        qx_predictor_goes_first(s, qx_clock_s())) {
        qx_task_cancel(m->task_fp32); /* begins anew behind the first prediction */
    }
    adopt(s);
    qx_replayer_work(s);
    s->news |= QX_NEWS_GAUGE;
}

void qx_measure_a_touched(struct qx_session *s)
{
    struct qx_measure *m = &s->measure;
    if (!qx_measure_can(s)) {
        return;
    }
    m->key_a = qx_recipe_hash(&s->a, &s->items, m->is_layer);
    if (m->task_a && m->task_a_key != m->key_a) {
        qx_task_cancel(m->task_a);
    }
}

/* Is there a reason to measure B, now or after a rest? */
static bool b_is_missing(const struct qx_session *s)
{
    const struct qx_measure *m = &s->measure;
    if (!qx_measure_can(s) || m->last_key == m->key_b || m->key_b == m->failed_key ||
        m->key_b == m->key_fp32 || (m->task_b && m->task_b_key == m->key_b)) {
        return false;
    }
    return m->is_wanted || (m->is_auto && !qx_ranges_refused(s) && m->key_b != m->refused_key &&
                            m->eval_time_s < auto_limit_s);
}

double qx_measure_due(const struct qx_session *s, double now_s)
{
    if (!b_is_missing(s) || s->measure.task_fp32 || qx_pending_open(s) || qx_ranges_pending(s) ||
        qx_methods_pending(s)) {
        return -1; /* nothing, or what it waits for will wake the host */
    }
    const bool is_better_said = !s->measure.is_wanted && qx_predictor_exact_waits(s);
    double left = s->last_edit_s + (is_better_said ? said_s : rest_s) - now_s;
    return left > 0 ? left : 0;
}

void qx_measure_work(struct qx_session *s, double now_s)
{
    struct qx_measure *m = &s->measure;
    if (!qx_measure_can(s)) {
        return;
    }
    const bool is_held = qx_predictor_goes_first(s, now_s);
    if (!m->task_fp32 && !slot_find(m, m->key_fp32) && m->failed_fp32 != m->key_fp32 &&
        m->refused_key != m->key_fp32 && !is_held) {
        m->task_fp32 = submit(s, QX_WHICH_FP32, NULL, m->key_fp32);
        if (!m->task_fp32) {
            m->failed_fp32 = m->key_fp32;
            qx_str_copy(m->reason, sizeof m->reason, "out of memory");
        }
    }
    if (!is_held && qx_measure_due(s, now_s) == 0) {
        qx_predictor_asked(s, m->key_b);
        m->task_b = submit(s, QX_WHICH_B, &s->now, m->key_b);
        m->task_b_key = m->key_b;
        m->is_wanted = false;
        if (!m->task_b) {
            m->failed_key = m->key_b;
            qx_str_copy(m->reason, sizeof m->reason, "out of memory");
        }
    }
}

void qx_measure_retry(struct qx_session *s, enum qx_which which)
{
    struct qx_measure *m = &s->measure;
    m->refused_key = m->failed_key = m->failed_fp32 = 0;
    if (which == QX_WHICH_A) {
        qx_session_result(s, QX_WHICH_A);
    } else {
        qx_session_measure(s);
    }
}

void qx_measure_cancelled(struct qx_session *s, const struct qx_task *t)
{
    const struct eval_task *e = (const struct eval_task *)t;
    s->measure.refused_key = e->key;
    s->measure.is_wanted = false;
}

/* ---- for predictions ---- */

bool qx_measure_has_truth(const struct qx_session *s)
{
    return qx_net_is_words(s->net) || qx_dataset_label(s->data, 0) >= 0;
}

struct qx_predict_scale qx_measure_scale(const struct qx_session *s,
                                         const struct qx_eval_result *fp32)
{
    struct qx_predict_scale scale = {NAN, qx_dataset_n(s->data), qx_net_is_words(s->net), NAN,
                                     false};
    scale = fp32 ? qx_predict_scale_measured(fp32) : scale;
    scale.holds_p = scale.n == qx_dataset_n(s->data);
    return scale;
}

double qx_measure_value(const struct qx_gauge *g)
{
    return g->is_words ? g->fp32_perplexity / g->perplexity : (double)g->correct / (double)g->n;
}

double qx_measure_flip(const struct qx_eval_pair *pair)
{
    return isnan(pair->nll_error) ? 1.0 - pair->agreement
                                  : (double)pair->n * pair->nll_error * pair->nll_error;
}

/* ---- the host's questions ---- */

void qx_session_measure(struct qx_session *s)
{
    struct qx_measure *m = &s->measure;
    m->is_wanted = true;
    m->refused_key = m->failed_key = m->failed_fp32 = 0;
    s->last_edit_s = qx_clock_s() - rest_s;
    if (s->ranges.n_open > 0) {
        qx_ranges_retry(s);
    }
    qx_measure_touched(s);
    qx_measure_work(s, qx_clock_s());
}

void qx_session_set_auto_measure(struct qx_session *s, bool on)
{
    s->measure.is_auto = on;
}

bool qx_session_auto_measure(const struct qx_session *s)
{
    return s->measure.is_auto;
}

bool qx_measure_a_resolved(struct qx_session *s)
{
    bool all = true, changed = false;
    for (int64_t i = 0; i < s->items.n; i++) {
        struct qx_setting *set = &s->a.set[i];
        if (!s->measure.is_layer[i] || !qx_setting_open(set)) {
            continue;
        }
        struct qx_hist_spec spec = qx_setting_spec(set, s->items.v[i].channels);
        const struct qx_cache_entry *e = qx_cache_want(s, i, &spec);
        bool done =
            e && (e->state == QX_HIST_FAILED || /* measuring will say why */
                  (e->state == QX_HIST_READY && qx_setting_resolve(set, e->hist, NULL) == QX_OK));
        all = all && done;
        changed = changed || done;
    }
    if (changed) {
        qx_measure_a_touched(s);
    }
    return all;
}

const struct qx_eval_result *qx_session_result(struct qx_session *s, enum qx_which which)
{
    struct qx_measure *m = &s->measure;
    if (!qx_measure_can(s) || (which == QX_WHICH_A && (!s->has_a || !qx_measure_a_resolved(s)))) {
        return NULL;
    }
    uint64_t key = which == QX_WHICH_FP32 ? m->key_fp32 : which == QX_WHICH_A ? m->key_a : m->key_b;
    const struct qx_eval_result *r = qx_measure_find(m, key);
    if (r || key == m->failed_key || key == m->refused_key) {
        return r;
    }
    if (which == QX_WHICH_B) {
        m->is_wanted = true; /* after the rest */
    } else if (which == QX_WHICH_A && !(m->task_a && m->task_a_key == key)) {
        m->task_a = submit(s, QX_WHICH_A, &s->a, key);
        m->task_a_key = key;
        m->failed_key = m->task_a ? m->failed_key : key;
    }
    return NULL;
}

static void gauge_reason(const struct qx_session *s, char *out, size_t cap)
{
    qx_str_copy(out, cap,
                !s->net    ? s->net_error.text
                : !s->data ? s->data_error.text
                           : "This session runs no background jobs.");
}

static enum qx_gauge_state gauge_state(const struct qx_session *s, struct qx_gauge *g)
{
    const struct qx_measure *m = &s->measure;
    if (!qx_measure_can(s)) {
        gauge_reason(s, g->reason, sizeof g->reason);
        g->progress = s->own.task ? progress_of(s->own.task) : 0;
        return s->own.task ? QX_GAUGE_DATA : QX_GAUGE_NONE;
    }
    bool all_fp32 = m->key_b == m->key_fp32;
    if (m->failed_fp32 == m->key_fp32 || (!all_fp32 && m->failed_key == m->key_b)) {
        qx_str_copy(g->reason, sizeof g->reason, m->reason);
        return QX_GAUGE_FAILED;
    }
    if (m->task_fp32) {
        g->progress = progress_of(m->task_fp32);
        return QX_GAUGE_BASELINE;
    }
    if (m->last_key == m->key_b) {
        return QX_GAUGE_MEASURED;
    }
    if (m->task_b && m->task_b_key == m->key_b) {
        g->progress = progress_of(m->task_b);
        return QX_GAUGE_RUNNING;
    }
    return QX_GAUGE_WAITING;
}

void qx_session_gauge(const struct qx_session *cs, struct qx_gauge *out)
{
    struct qx_session *s = (struct qx_session *)cs; /* look-ups move results to the front */
    struct qx_measure *m = &s->measure;
    *out = (struct qx_gauge){.fp32_correct = -1,
                             .correct = -1,
                             .fp32_perplexity = NAN,
                             .perplexity = NAN,
                             .eval_time_s = m->eval_time_s};
    out->state = gauge_state(s, out);
    out->is_words = s->net && qx_net_is_words(s->net);
    out->is_own_text = s->data && qx_dataset_is_self(qx_dataset_path(s->data));
    out->n = s->data && !out->is_words ? qx_dataset_n(s->data) : 0;
    const struct qx_eval_result *fp32 = m->key_fp32 ? qx_measure_find(m, m->key_fp32) : NULL;
    /* float32 says nothing of an edit */
    const bool is_edit = m->last_key && (m->last_key != m->key_fp32 || m->key_b == m->key_fp32);
    const struct qx_eval_result *last = is_edit ? qx_measure_find(m, m->last_key) : NULL;
    if (fp32) {
        out->fp32_correct = fp32->correct;
        out->fp32_perplexity = fp32->perplexity;
        out->n = fp32->n;
    }
    if (last) {
        out->correct = last->correct;
        out->perplexity = last->perplexity;
        out->engine = last->engine;
        out->revision = m->last_revision;
        int64_t moves = s->n_moves - m->last_moves;
        out->edits_since = m->last_key == m->key_b ? 0 : moves > 0 ? (int)moves : 1;
    }
    if (m->has_pair && is_edit) {
        out->pair = m->pair;
    }
    qx_predictor_answer(s, out);
}
