#include "session/exact.h"

#include "base/log.h"
#include "base/mem.h"
#include "session/session_impl.h"

#include <stdio.h>

enum { EXACT_PRIORITY = 1, LISTED_ELEMS = 1 << 24 };

const struct qx_metrics *qx_exact_find(struct qx_exact *x, int64_t item,
                                       const struct qx_setting *setting)
{
    for (int i = 0; i < QX_EXACT_KEPT; i++) {
        struct qx_exact_slot *slot = &x->slot[i];
        if (slot->is_used && slot->item == item && qx_setting_equal(&slot->setting, setting)) {
            slot->used = ++x->clock;
            return &slot->metrics;
        }
    }
    return NULL;
}

void qx_exact_put(struct qx_exact *x, int64_t item, const struct qx_setting *setting,
                  const struct qx_metrics *metrics)
{
    struct qx_exact_slot *slot = &x->slot[0];
    for (int i = 0; i < QX_EXACT_KEPT && slot->is_used; i++) {
        if (!x->slot[i].is_used || x->slot[i].used < slot->used) {
            slot = &x->slot[i];
        }
    }
    *slot = (struct qx_exact_slot){true, item, *setting, *metrics, ++x->clock};
}

struct exact_task {
    struct qx_task task;
    int64_t item;
    const struct qx_model *model;
    const struct qx_tensor *tensor;
    struct qx_channels channels;
    struct qx_setting setting;
    struct qx_pool *pool;
    struct qx_metrics metrics; /* result */
};

static enum qx_status exact_run(struct qx_task *t, struct qx_error *err)
{
    struct exact_task *x = (struct exact_task *)t;
    enum qx_status status =
        qx_metric_exact(x->tensor, x->channels, &x->setting, x->pool, &t->ctl, &x->metrics, err);
    qx_model_dontneed(x->model, x->tensor);
    return status;
}

static void exact_done(struct qx_session *s, struct qx_task *t)
{
    struct exact_task *x = (struct exact_task *)t;
    if (s->exact.task == t) {
        s->exact.task = NULL;
    } else if (t->status == QX_ECANCELLED) {
        qx_jobs_forget(&s->jobs, t); /* something newer took its place */
    }
    if (t->status == QX_OK) {
        qx_exact_put(&s->exact, x->item, &x->setting, &x->metrics);
        s->news |= QX_NEWS_METRICS;
    } else if (t->status != QX_ECANCELLED) {
        qx_log(QX_LOG_ERROR, "%s", t->err.text);
    }
    qx_jobs_finish(&s->jobs, t, t->status == QX_OK ? "done" : NULL);
    s->news |= t->job ? QX_NEWS_JOBS : 0;
}

void qx_exact_preempt(struct qx_session *s)
{
    struct qx_exact *x = &s->exact;
    if (x->task && qx_task_state(x->task) == QX_JOB_RUNNING) {
        qx_task_cancel(x->task);
        x->wanted = x->wanted < 0 ? ((struct exact_task *)x->task)->item : x->wanted;
        x->task = NULL;
    }
}

static void exact_drop(struct qx_task *t)
{
    qx_mem_free(t);
}

static void exact_submit(struct qx_session *s, int64_t item, const struct qx_setting *setting)
{
    struct exact_task *x = qx_mem_zalloc(sizeof *x);
    if (!x) {
        return;
    }
    const struct qx_item *it = &s->items.v[item];
    x->task = (struct qx_task){
        .run = exact_run, .done = exact_done, .drop = exact_drop, .priority = EXACT_PRIORITY};
    x->item = item;
    x->model = s->model;
    x->tensor = it->tensor;
    x->channels = it->channels;
    x->setting = *setting;
    x->pool = s->pool;
    if (it->tensor->numel >= LISTED_ELEMS) {
        struct qx_job *job = qx_jobs_add(&s->jobs, &x->task, QX_JOB_EXACT);
        if (job) {
            job->item = item;
            job->setting = *setting;
            snprintf(job->info.title, sizeof job->info.title, "exact error of %.100s",
                     it->tensor->name);
        }
        s->news |= QX_NEWS_JOBS;
    }
    s->exact.task = &x->task;
    qx_lane_submit(&s->preview, &x->task);
}

void qx_exact_work(struct qx_session *s)
{
    struct qx_exact *x = &s->exact;
    if (x->wanted < 0 || !s->preview.is_started) {
        return;
    }
    int64_t item = x->wanted;
    const struct qx_setting *setting = &s->now.set[item];
    if (s->pending.state[item] != QX_PENDING_NONE) {
        return; /* soon */
    }
    x->wanted = -1;
    if (qx_setting_open(setting) || qx_setting_awaits(setting) || qx_exact_find(x, item, setting)) {
        return;
    }
    if (x->task) {
        const struct exact_task *out = (const struct exact_task *)x->task;
        if (out->item == item && qx_setting_equal(&out->setting, setting)) {
            return;
        }
        qx_task_cancel(x->task);
    }
    exact_submit(s, item, setting);
}
