/* What the whole network does with rows of the table of formats: one measurement after the other in the queue, or in
 * the caller's thread. */
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/formats.h"
#include "session/session_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PRIORITY = -1 }; /* a measurement of the recipe goes first */

struct measure_task {
    struct qx_task task;
    struct qx_session *s; /* worker: immutable parts, and weights under their lock */
    uint64_t key;
    struct qx_setting *setting; /* [layers] */
    struct qx_eval_result *result;
};

static enum qx_status task_run(struct qx_task *t, struct qx_error *err)
{
    struct measure_task *m = (struct measure_task *)t;
    return qx_measure_run(m->s, m->setting, NULL, &t->ctl, &m->result, err);
}

static void task_drop(struct qx_task *t)
{
    struct measure_task *m = (struct measure_task *)t;
    qx_eval_result_free(m->result);
    qx_mem_free(m->setting);
    qx_mem_free(m);
}

static void task_done(struct qx_session *s, struct qx_task *t)
{
    struct qx_formats *f = &s->formats;
    struct measure_task *m = (struct measure_task *)t;
    const bool is_stale = t->status == QX_ECANCELLED && f->measure_task != t;
    f->measure_task = f->measure_task == t ? NULL : f->measure_task;
    if (t->status == QX_OK) {
        f->measure_s = m->result->time_s;
        qx_measure_put(&s->measure, m->key, m->result);
        s->measure.has_new = true;
        m->result = NULL;
    } else if (!is_stale) {
        qx_formats_measure_forget(s);
        if (t->status != QX_ECANCELLED) {
            qx_str_copy(f->measure_reason, sizeof f->measure_reason, t->err.text);
            qx_log(QX_LOG_ERROR, "%s", t->err.text);
        }
    }
    if (is_stale || t->status == QX_OK) { /* the table shows it */
        qx_jobs_forget(&s->jobs, t);
    }
    qx_jobs_finish(&s->jobs, t, NULL);
    s->news |= QX_NEWS_METRICS | QX_NEWS_JOBS;
}

/* ---- which rows ---- */

/* Of the recipe with the row in its item's place. */
static uint64_t key_of(struct qx_session *s, int at)
{
    struct qx_formats *f = &s->formats;
    struct qx_setting *now = &s->now.set[f->item];
    const struct qx_setting was = *now;
    *now = qx_formats_put(&f->row[at], &was);
    const uint64_t key = qx_recipe_hash(&s->now, &s->items, s->measure.is_layer);
    *now = was;
    return key;
}

/* A row keeps its value when the result has made room for newer ones. */
static void row_follow(struct qx_session *s, int at, const struct qx_predict_scale *scale)
{
    struct qx_formats *f = &s->formats;
    const uint64_t key = key_of(s, at);
    const struct qx_eval_result *r = qx_measure_find(&s->measure, key);
    if (r && scale) {
        f->row[at].measured = qx_predict_value(scale, r);
        f->measured_key[at] = key;
    } else if (f->measured_key[at] != key) {
        f->row[at].measured = NAN;
    }
    f->is_wanted[at] = f->is_wanted[at] && isnan(f->row[at].measured);
}

/* Those of the front first; -1 = none. */
static int row_next(const struct qx_formats *f)
{
    int next = -1;
    for (int i = 0; i < f->n; i++) {
        const bool is_ready = f->is_wanted[i] && f->row[i].has_metrics;
        if (is_ready && (next < 0 || (f->row[i].is_front && !f->row[next].is_front))) {
            next = i;
        }
    }
    return next;
}

static void row_submit(struct qx_session *s, int at)
{
    struct qx_formats *f = &s->formats;
    struct measure_task *m = qx_mem_zalloc(sizeof *m);
    char name[64];
    int left = 0;
    for (int i = 0; i < f->n; i++) {
        left += f->is_wanted[i];
    }
    if (m) {
        m->setting = qx_formats_settings(s, f->item, &f->row[at]);
    }
    if (!m || !m->setting) {
        qx_mem_free(m);
        qx_formats_measure_forget(s);
        qx_str_copy(f->measure_reason, sizeof f->measure_reason, "out of memory");
        return;
    }
    m->task = (struct qx_task){
        .run = task_run, .done = task_done, .drop = task_drop, .priority = PRIORITY};
    m->s = s;
    m->key = key_of(s, at);
    struct qx_job *job = qx_jobs_add(&s->jobs, &m->task, QX_JOB_FORMATS);
    if (job) {
        job->item = f->item;
        job->setting = f->row[at].set;
        snprintf(job->info.title, sizeof job->info.title, "%s with %.60s as %s, %d to go",
                 qx_net_is_words(s->net) ? "perplexity" : "accuracy",
                 s->items.v[f->item].tensor->name,
                 qx_setting_text(&f->row[at].set, name, sizeof name), left);
    }
    f->measure_task = &m->task;
    f->measure_key = m->key;
    s->news |= QX_NEWS_JOBS;
    qx_lane_submit(&s->queue, &m->task);
}

static bool recipe_waits(const struct qx_session *s)
{
    return qx_pending_open(s) || qx_ranges_pending(s) || qx_methods_pending(s);
}

/* The recipe has changed under the row that is being measured, or nobody wants it any more. */
static bool is_stale(struct qx_session *s)
{
    const struct qx_formats *f = &s->formats;
    for (int i = 0; i < f->n; i++) {
        if (f->is_wanted[i] && key_of(s, i) == f->measure_key) {
            return false;
        }
    }
    return true;
}

void qx_formats_measure_work(struct qx_session *s)
{
    struct qx_formats *f = &s->formats;
    if (!qx_measure_can(s) || qx_net_layer_of_tensor(s->net, f->item) < 0) {
        return;
    }
    const struct qx_eval_result *fp32 = qx_measure_find(&s->measure, s->measure.key_fp32);
    const struct qx_predict_scale scale = qx_measure_scale(s, fp32);
    for (int i = 0; i < f->n; i++) {
        row_follow(s, i, fp32 ? &scale : NULL);
    }
    if (f->measure_task && is_stale(s)) {
        qx_task_cancel(f->measure_task);
        f->measure_task = NULL;
    }
    const int next = row_next(f);
    if (next >= 0 && fp32 && !f->measure_task && !recipe_waits(s)) {
        row_submit(s, next);
    }
}

void qx_formats_measure_forget(struct qx_session *s)
{
    memset(s->formats.is_wanted, 0, sizeof s->formats.is_wanted);
}

bool qx_formats_measure_retry(struct qx_session *s, int64_t item, const struct qx_setting *set)
{
    struct qx_formats *f = &s->formats;
    for (int i = 0; f->item == item && i < f->n; i++) {
        if (qx_setting_equal_weight(&f->row[i].set, set)) {
            return qx_session_formats_measure(s, i, NULL) == QX_OK;
        }
    }
    return false;
}

/* ---- host ---- */

enum qx_status qx_session_formats_measure(struct qx_session *s, int at, struct qx_error *err)
{
    struct qx_formats *f = &s->formats;
    struct qx_formats_state state;
    f->measure_reason[0] = '\0';
    qx_session_formats_state(s, &state);
    if (state.measure_reason[0]) {
        return qx_fail(err, s->net ? QX_EDATA : QX_EUNSUPPORTED, "%s", state.measure_reason);
    }
    for (int i = 0; i < f->n; i++) {
        f->is_wanted[i] = f->is_wanted[i] || at < 0 || i == at;
    }
    if (!qx_measure_find(&s->measure, s->measure.key_fp32)) {
        qx_session_measure(s); /* float32 first, though it was refused */
    }
    qx_formats_measure_work(s);
    return QX_OK;
}

void qx_session_formats_stop(struct qx_session *s)
{
    qx_formats_measure_forget(s);
    qx_formats_measure_work(s);
}

/* ---- in the caller's thread ---- */

static enum qx_status row_measure(struct qx_session *s, int64_t item,
                                  const struct qx_eval_result *fp32, struct qx_ctl *ctl,
                                  struct qx_formats_row *row, struct qx_error *err)
{
    struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
    struct qx_setting *setting = qx_formats_settings(s, item, row);
    struct qx_eval_result *r = NULL;
    enum qx_status st = setting
                            ? qx_measure_run(s, setting, NULL, &quiet, &r, err)
                            : qx_fail_nomem(err, (size_t)qx_net_n_layers(s->net) * sizeof *setting);
    if (st == QX_OK) {
        const struct qx_predict_scale scale = qx_measure_scale(s, fp32);
        row->measured = qx_predict_value(&scale, r);
        qx_ctl_add(ctl, 1);
    }
    qx_eval_result_free(r);
    qx_mem_free(setting);
    return st;
}

static enum qx_status fp32_measure(struct qx_session *s, struct qx_ctl *ctl,
                                   struct qx_eval_result **out, struct qx_error *err)
{
    struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
    struct qx_setting *setting = qx_measure_settings(s, NULL);
    const enum qx_status st =
        setting ? qx_measure_run(s, setting, NULL, &quiet, out, err)
                : qx_fail_nomem(err, (size_t)qx_net_n_layers(s->net) * sizeof *setting);
    qx_mem_free(setting);
    return st;
}

static bool is_in_net(const struct qx_session *s, int64_t item)
{
    return qx_net_layer_of_tensor(s->net, item) >= 0;
}

enum qx_status qx_session_run_formats_measure(struct qx_session *s, const int64_t *items, int64_t n,
                                              int n_rows, struct qx_ctl *ctl,
                                              struct qx_formats_row *rows,
                                              struct qx_eval_result **fp32, bool *is_cut,
                                              struct qx_error *err)
{
    int64_t total = 1;
    for (int64_t i = 0; s->net && i < n; i++) {
        total += is_in_net(s, items[i]) ? n_rows : 0;
    }
    *is_cut = false;
    enum qx_status st = qx_measure_ready(s, err);
    st = st == QX_OK ? qx_session_run_resolve(s, ctl, err) : st;
    if (st == QX_OK && ctl) {
        atomic_store(&ctl->done, 0);
        qx_ctl_total(ctl, total);
    }
    st = st == QX_OK ? fp32_measure(s, ctl, fp32, err) : st;
    for (int64_t i = 0; st == QX_OK && i < n; i++) {
        for (int k = 0; st == QX_OK && k < n_rows && is_in_net(s, items[i]); k++) {
            st = row_measure(s, items[i], *fp32, ctl, &rows[i * QX_FORMATS_MOST + k], err);
        }
    }
    if (st == QX_ECANCELLED && *fp32) {
        *is_cut = true;
        return QX_OK;
    }
    return st;
}
