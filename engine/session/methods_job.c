/* The recipe's methods in the background: run once the hand rests, taken in where the recipe still asks
 * for what they chose. */
#include "session/methods.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/session_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PRIORITY = 1 }; /* before measurements, which wait for it */
static const double rest_s = 0.2;

static struct qx_setting *setting_of(struct qx_session *s, int layer)
{
    return &s->now.set[qx_net_layer(s->net, layer)->tensor];
}

/* Of the weights of all layers. */
static uint64_t key_now(const struct qx_session *s)
{
    uint64_t h = 1;
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        struct qx_setting plain = s->now.set[qx_net_layer(s->net, i)->tensor];
        const int act[3] = {plain.act.bits, plain.act.sym, plain.act.dynamic};
        plain.act = (struct qx_act){0}; /* its range is no matter of methods */
        h = qx_setting_hash(&plain, h);
        h = qx_setting_awaits(&plain) ? qx_hash64(act, sizeof act, h) : h;
    }
    return h ? h : 1;
}

struct method_task {
    struct qx_task task;
    struct qx_session *s;     /* worker: immutable parts, and overlays under their lock */
    struct qx_setting *asked; /* [layers] as the recipe had them */
    struct qx_setting *set;   /* [layers] with overlays */
};

static enum qx_status task_run(struct qx_task *t, struct qx_error *err)
{
    struct method_task *m = (struct method_task *)t;
    return qx_methods_resolve(m->s, m->set, &t->ctl, err);
}

static void task_drop(struct qx_task *t)
{
    struct method_task *m = (struct method_task *)t;
    qx_mem_free(m->asked);
    qx_mem_free(m->set);
    qx_mem_free(m);
}

/* No edit, but part of the one that asked for it. A cancelled run leaves what it had. */
static int results_take(struct qx_session *s, const struct method_task *m)
{
    int n = 0;
    for (int i = 0; i < qx_net_n_layers(s->net); i++) {
        struct qx_setting *now = setting_of(s, i);
        if (qx_setting_awaits(now) && m->set[i].overlay &&
            qx_setting_equal_weight(now, &m->asked[i]) &&
            qx_overlay_serves(m->set[i].overlay, &now->act)) {
            now->overlay = m->set[i].overlay;
            now->overlay_key = 0;
            qx_undo_resolve(&s->undo, qx_net_layer(s->net, i)->tensor, now);
            n++;
        }
    }
    return n;
}

static void task_done(struct qx_session *s, struct qx_task *t)
{
    struct qx_methods *m = &s->methods;
    const bool is_current = m->task == t;
    const int n = results_take(s, (struct method_task *)t);
    char text[64];
    m->task = is_current ? NULL : m->task;
    snprintf(text, sizeof text, "%d layer%s", n, n == 1 ? "" : "s");
    if (t->status != QX_OK && (is_current || t->status != QX_ECANCELLED)) {
        m->ended_key = m->task_key;
        m->was_cancelled = t->status == QX_ECANCELLED;
        qx_str_copy(m->reason, sizeof m->reason, t->err.text);
        if (t->status != QX_ECANCELLED) {
            qx_log(QX_LOG_ERROR, "%s", t->err.text);
        }
    } else if (t->status == QX_ECANCELLED) {
        qx_jobs_forget(&s->jobs, t); /* of a recipe that has changed since */
    }
    qx_jobs_finish(&s->jobs, t, t->status == QX_OK ? text : NULL);
    s->news |= QX_NEWS_JOBS | QX_NEWS_METRICS | QX_NEWS_RECIPE | QX_NEWS_GAUGE;
    if (n > 0) {
        qx_recipe_touched(s, false);
    } else {
        qx_methods_touched(s);
        qx_measure_touched(s);
    }
}

void qx_methods_touched(struct qx_session *s)
{
    struct qx_methods *m = &s->methods;
    m->n_open = 0;
    for (int i = 0; s->net && i < qx_net_n_layers(s->net); i++) {
        m->n_open += qx_setting_awaits(setting_of(s, i));
    }
    if (m->task && m->task_key != key_now(s)) {
        qx_task_cancel(m->task);
        m->task = NULL;
    }
}

bool qx_methods_pending(const struct qx_session *s)
{
    const struct qx_methods *m = &s->methods;
    return m->n_open > 0 && s->queue.is_started &&
           (m->ended_key == 0 || m->ended_key != key_now(s));
}

double qx_methods_due(const struct qx_session *s, double now_s)
{
    if (!qx_methods_pending(s) || s->methods.task || qx_pending_open(s) ||
        qx_own_text_waits(&s->own)) {
        return -1; /* nothing, or what it waits for will wake the host */
    }
    return fmax(s->last_edit_s + rest_s - now_s, 0.0);
}

static void submit(struct qx_session *s)
{
    struct qx_methods *m = &s->methods;
    struct method_task *t = qx_mem_zalloc(sizeof *t);
    if (t) {
        t->asked = qx_measure_settings(s, &s->now);
        t->set = qx_measure_settings(s, &s->now);
    }
    if (!t || !t->asked || !t->set) {
        if (t) {
            task_drop(&t->task);
        }
        m->ended_key = key_now(s);
        qx_str_copy(m->reason, sizeof m->reason, "out of memory");
        return;
    }
    t->task = (struct qx_task){
        .run = task_run, .done = task_done, .drop = task_drop, .priority = PRIORITY};
    t->s = s;
    struct qx_job *job = qx_jobs_add(&s->jobs, &t->task, QX_JOB_METHOD);
    const char *what = "";
    for (int i = 0; job && i < qx_net_n_layers(s->net); i++) {
        what = qx_setting_awaits(&t->asked[i]) ? t->asked[i].algo : what;
    }
    if (job) {
        snprintf(job->info.title, sizeof job->info.title, "%s on %d layer%s", what, m->n_open,
                 m->n_open == 1 ? "" : "s");
    }
    m->task = &t->task;
    m->task_key = key_now(s);
    s->news |= QX_NEWS_JOBS;
    qx_lane_submit(&s->queue, &t->task);
}

void qx_methods_work(struct qx_session *s, double now_s)
{
    if (qx_methods_due(s, now_s) == 0) {
        submit(s);
    }
}

void qx_methods_retry(struct qx_session *s)
{
    s->methods.ended_key = 0;
    s->methods.reason[0] = '\0';
}
