/* Calibration in the background, and the ranges of the recipe that wait for it. */
#include "session/ranges.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CALIB_PRIORITY = 1 }; /* before measurements, which wait for its ranges */

/* The host alone replaces the pointer, so it needs no lock to look. */
static const struct qx_calibration *calibration_of(const struct qx_session *s)
{
    struct qx_ranges *r = (struct qx_ranges *)(uintptr_t)&s->ranges;
    pthread_mutex_lock(&r->lock);
    const struct qx_calibration *c = r->calibration;
    pthread_mutex_unlock(&r->lock);
    return c;
}

static int layer_of(const struct qx_session *s, int64_t item)
{
    return s->net ? qx_net_layer_of_tensor(s->net, item) : -1;
}

/* ---- the job ---- */

struct calib_task {
    struct qx_task task;
    struct qx_session *s; /* worker: immutable parts, and ranges under their lock */
    int64_t generation;
};

static enum qx_status calib_run(struct qx_task *t, struct qx_error *err)
{
    struct qx_calibration *c = NULL;
    enum qx_status st = qx_ranges_get(((struct calib_task *)t)->s, &t->ctl, &c, err);
    qx_calibration_unref(c);
    return st;
}

static void calib_drop(struct qx_task *t)
{
    qx_mem_free(t);
}

static void calib_done(struct qx_session *s, struct qx_task *t)
{
    struct qx_ranges *r = &s->ranges;
    const bool is_current = ((struct calib_task *)t)->generation == r->generation;
    char text[128];
    r->task = r->task == t ? NULL : r->task;
    if (t->status == QX_OK) {
        snprintf(text, sizeof text, "%lld rows%s", (long long)r->info.n,
                 r->info.is_kept ? ", as kept from before" : "");
    } else if (is_current) {
        r->end = t->status == QX_ECANCELLED ? QX_CALIB_CANCELLED : QX_CALIB_FAILED;
        qx_str_copy(r->reason, sizeof r->reason, t->err.text);
        if (t->status != QX_ECANCELLED) {
            qx_log(QX_LOG_ERROR, "%s", t->err.text);
        }
    }
    qx_jobs_finish(&s->jobs, t, t->status == QX_OK ? text : NULL);
    s->news |= QX_NEWS_CALIB | QX_NEWS_JOBS | QX_NEWS_GAUGE;
    qx_ranges_work(s, 0.002);
    qx_measure_touched(s);
}

void qx_ranges_start(struct qx_session *s)
{
    struct qx_ranges *r = &s->ranges;
    if (r->task || r->end != QX_CALIB_NONE || calibration_of(s) || !s->net ||
        !s->queue.is_started || (!r->source && qx_own_text_waits(&s->own))) {
        return;
    }
    struct calib_task *c = qx_mem_zalloc(sizeof *c);
    if (!c) {
        r->end = QX_CALIB_FAILED;
        qx_str_copy(r->reason, sizeof r->reason, "out of memory");
        return;
    }
    c->task = (struct qx_task){
        .run = calib_run, .done = calib_done, .drop = calib_drop, .priority = CALIB_PRIORITY};
    c->s = s;
    c->generation = r->generation;
    struct qx_job *job = qx_jobs_add(&s->jobs, &c->task, QX_JOB_CALIB);
    if (job) {
        snprintf(job->info.title, sizeof job->info.title, "calibrate activations on %.80s",
                 r->source ? r->source : "the folder's data");
    }
    r->task = &c->task;
    s->news |= QX_NEWS_CALIB | QX_NEWS_JOBS;
    qx_lane_submit(&s->queue, &c->task);
}

/* ---- ranges of the recipe ---- */

void qx_ranges_touched(struct qx_session *s)
{
    s->ranges.n_open = 0;
    for (int i = 0; s->net && i < qx_net_n_layers(s->net); i++) {
        s->ranges.n_open += qx_ranges_is_open(&s->now.set[qx_net_layer(s->net, i)->tensor]);
    }
}

bool qx_ranges_pending(const struct qx_session *s)
{
    return s->ranges.n_open > 0 && s->ranges.end == QX_CALIB_NONE && s->queue.is_started;
}

bool qx_ranges_refused(const struct qx_session *s)
{
    return s->ranges.n_open > 0 && s->ranges.end == QX_CALIB_CANCELLED;
}

/* No edit, but part of the one that asked for it. */
static void item_resolve(struct qx_session *s, const struct qx_calibration *c, int layer)
{
    const int64_t item = qx_net_layer(s->net, layer)->tensor;
    struct qx_setting set = s->now.set[item];
    if (qx_act_resolve(&set.act, qx_calibration_layer(c, layer), NULL) != QX_OK) {
        set.act.has_range = true; /* nothing but zeros serves as well */
        set.act.range = (struct qx_range){0, 0};
    }
    s->now.set[item] = set;
    qx_undo_resolve(&s->undo, item, &set);
    s->ranges.n_open--;
    s->news |= QX_NEWS_RECIPE;
}

void qx_ranges_work(struct qx_session *s, double budget_s)
{
    const double end = qx_clock_s() + budget_s;
    const struct qx_calibration *c = s->ranges.n_open > 0 ? calibration_of(s) : NULL;
    bool any = false;
    if (s->ranges.n_open > 0 && !c) {
        qx_ranges_start(s);
    }
    for (int i = 0; c && i < qx_net_n_layers(s->net) && (!any || qx_clock_s() < end); i++) {
        if (qx_ranges_is_open(&s->now.set[qx_net_layer(s->net, i)->tensor])) {
            item_resolve(s, c, i);
            any = true;
        }
    }
    if (any) {
        qx_recipe_touched(s, false);
    }
}

void qx_ranges_retry(struct qx_session *s)
{
    s->ranges.end = QX_CALIB_NONE;
    s->ranges.reason[0] = '\0';
}

/* ---- the host's questions ---- */

enum qx_status qx_session_calibrate(struct qx_session *s, const char *source, struct qx_error *err)
{
    struct qx_ranges *r = &s->ranges;
    char *copy = source && *source ? qx_mem_strdup(source) : NULL;
    if (!s->net) {
        qx_mem_free(copy);
        return qx_fail(err, QX_EUNSUPPORTED, "%s", s->net_error.text);
    }
    if (source && *source && !copy) {
        return qx_fail_nomem(err, strlen(source) + 1);
    }
    if (r->task) {
        qx_task_cancel(r->task);
        r->task = NULL;
    }
    for (int i = 0; i < QX_ACT_ADVICE_KEPT; i++) {
        r->slot[i].is_used = false;
    }
    pthread_mutex_lock(&r->lock);
    qx_calibration_unref(r->calibration);
    r->calibration = NULL;
    r->generation++;
    qx_mem_free(r->source);
    r->source = copy;
    pthread_mutex_unlock(&r->lock);
    qx_ranges_retry(s);
    qx_ranges_start(s);
    return QX_OK;
}

bool qx_session_calib(const struct qx_session *s, struct qx_session_calib *out)
{
    if (!calibration_of(s)) {
        return false;
    }
    *out = s->ranges.info;
    return true;
}

void qx_session_calib_status(const struct qx_session *s, struct qx_calib_status *out)
{
    const struct qx_ranges *r = &s->ranges;
    *out = (struct qx_calib_status){.state = r->end};
    qx_str_copy(out->reason, sizeof out->reason, r->reason);
    if (!s->net) {
        out->state = QX_CALIB_FAILED;
        qx_str_copy(out->reason, sizeof out->reason, s->net_error.text);
    } else if (calibration_of(s)) {
        out->state = QX_CALIB_READY;
    } else if (r->task) {
        const double total =
            (double)atomic_load_explicit(&r->task->ctl.total, memory_order_relaxed);
        const double done = (double)atomic_load_explicit(&r->task->ctl.done, memory_order_relaxed);
        out->state = qx_task_state(r->task) == QX_JOB_QUEUED ? QX_CALIB_QUEUED : QX_CALIB_RUNNING;
        out->job = r->task->job;
        out->progress = total > 0 ? done / total : 0;
    }
}

const struct qx_observed *qx_session_observed(struct qx_session *s, int64_t item)
{
    const int layer = layer_of(s, item);
    const struct qx_calibration *c = calibration_of(s);
    if (layer >= 0 && !c) {
        qx_ranges_start(s);
    }
    return layer >= 0 && c ? qx_calibration_layer(c, layer) : NULL;
}

static bool metrics_of(const struct qx_hist *hist, const struct qx_act *act, struct qx_metrics *out)
{
    struct qx_setting set = qx_setting_int(act->bits);
    set.sym = act->sym;
    set.gran = QX_GRAN_TENSOR;
    set.range = act->range;
    set.has_range = true;
    return qx_metric_hist(hist, &set, out, NULL) == QX_OK;
}

bool qx_session_act_metrics(struct qx_session *s, int64_t item, const struct qx_act *act,
                            struct qx_metrics *out)
{
    const struct qx_observed *o = qx_session_observed(s, item);
    if (!o || act->bits == 0 || act->dynamic || !act->has_range || qx_observed_stats(o)->n == 0) {
        return false;
    }
    struct qx_hist *h = NULL;
    const bool ok = qx_observed_hist(o, &h, NULL) == QX_OK && metrics_of(h, act, out);
    qx_hist_unref(h);
    return ok;
}

/* ---- what the calibrators would choose ---- */

struct advice_task {
    struct qx_task task;
    struct qx_calibration *calibration; /* own reference */
    int slot, layer, bits;
    bool sym;
    struct qx_act_advice advice;
};

static enum qx_status advice_run(struct qx_task *t, struct qx_error *err)
{
    struct advice_task *a = (struct advice_task *)t;
    const struct qx_observed *o = qx_calibration_layer(a->calibration, a->layer);
    struct qx_hist *h = NULL; /* so that each finds it unpacked */
    enum qx_status st = qx_observed_hist(o, &h, err);
    for (int i = 0; st == QX_OK && i <= qx_calib_count() && a->advice.n < QX_ADVICE_CALIBS; i++) {
        const struct qx_calibrator *calib =
            i < qx_calib_count() ? qx_calib_at(i) : &qx_calib_ema; /* not in the table */
        if (strcmp(calib->name, "manual") == 0 || qx_observed_stats(o)->n == 0) {
            continue;
        }
        struct qx_act act = {
            .bits = a->bits, .sym = a->sym, .calib = calib, .param = calib->param_default};
        st = qx_cancel_test(&t->ctl) ? QX_ECANCELLED : qx_act_resolve(&act, o, err);
        if (st == QX_OK) {
            struct qx_metrics m = {.sqnr_db = (double)NAN, .basis = QX_BASIS_UNKNOWN};
            metrics_of(h, &act, &m);
            a->advice.choice[a->advice.n++] =
                (struct qx_act_choice){calib, act.param, act.range, m.sqnr_db, m.basis};
        }
    }
    qx_hist_unref(h);
    return st;
}

static void advice_drop(struct qx_task *t)
{
    qx_calibration_unref(((struct advice_task *)t)->calibration);
    qx_mem_free(t);
}

static void advice_done(struct qx_session *s, struct qx_task *t)
{
    const struct advice_task *a = (const struct advice_task *)t;
    struct qx_act_slot *slot = &s->ranges.slot[a->slot];
    slot->task = NULL;
    if (slot->is_used && t->status == QX_OK) {
        slot->advice = a->advice;
        slot->advice.is_complete = true;
        s->news |= QX_NEWS_METRICS;
    }
}

static void advice_submit(struct qx_session *s, int at)
{
    struct qx_act_slot *slot = &s->ranges.slot[at];
    struct advice_task *a = s->preview.is_started ? qx_mem_zalloc(sizeof *a) : NULL;
    if (!a) {
        return;
    }
    a->task = (struct qx_task){
        .run = advice_run, .done = advice_done, .drop = advice_drop, .priority = 1};
    a->calibration = qx_calibration_ref(s->ranges.calibration);
    a->slot = at;
    a->layer = slot->layer;
    a->bits = slot->bits;
    a->sym = slot->sym;
    slot->task = &a->task;
    qx_lane_submit(&s->preview, &a->task);
}

/* The slot of this question, a new one otherwise; -1 when tasks hold all. */
static int slot_find(struct qx_ranges *r, int layer, int bits, bool sym)
{
    int oldest = -1;
    for (int i = 0; i < QX_ACT_ADVICE_KEPT; i++) {
        const struct qx_act_slot *slot = &r->slot[i];
        if (slot->is_used && slot->layer == layer && slot->bits == bits && slot->sym == sym) {
            return i;
        }
        if (!slot->task && (oldest < 0 || slot->used < r->slot[oldest].used)) {
            oldest = i;
        }
    }
    if (oldest >= 0) {
        r->slot[oldest] =
            (struct qx_act_slot){.is_used = true, .layer = layer, .bits = bits, .sym = sym};
    }
    return oldest;
}

bool qx_session_act_advice(struct qx_session *s, int64_t item, int bits, bool sym,
                           struct qx_act_advice *out)
{
    const int layer = layer_of(s, item);
    if (!qx_session_observed(s, item)) {
        return false;
    }
    const int at = slot_find(&s->ranges, layer, bits, sym);
    if (at < 0) {
        return false;
    }
    struct qx_act_slot *slot = &s->ranges.slot[at];
    slot->used = ++s->ranges.clock;
    if (!slot->advice.is_complete && !slot->task) {
        advice_submit(s, at);
    }
    *out = slot->advice;
    return slot->advice.is_complete;
}
