#include "session/own_text.h"

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/session_impl.h"

#include <stdio.h>
#include <string.h>

enum { OWN_PRIORITY = 2 }; /* before calibrations, which may want these rows */

struct own_task {
    struct qx_task task;
    struct qx_session *s; /* worker: immutable parts */
    struct qx_dataset *data;
};

static enum qx_status own_run(struct qx_task *t, struct qx_error *err)
{
    struct own_task *o = (struct own_task *)t;
    struct qx_dataset_options options = o->s->data_options;
    options.ctl = &t->ctl;
    return qx_dataset_open_with(o->s->own.name, o->s->net, &options, &o->data, err);
}

static void own_drop(struct qx_task *t)
{
    qx_dataset_close(&((struct own_task *)t)->data);
    qx_mem_free(t);
}

/* What opening a session does where the data are a file. */
static void data_arrived(struct qx_session *s, struct own_task *o)
{
    struct qx_error why;
    pthread_mutex_lock(&s->ranges.lock); /* calibrations look at the pointer */
    s->data = o->data;
    pthread_mutex_unlock(&s->ranges.lock);
    o->data = NULL;
    s->data_error = (struct qx_error){0};
    qx_log(QX_LOG_INFO, "%s", qx_dataset_note(s->data));
    if (qx_predictor_begin(s, &why) != QX_OK) {
        qx_log(QX_LOG_ERROR, "%s", why.text);
    }
    if (s->save.results_path) {
        qx_results_load(s, s->save.results_path);
    }
    qx_measure_touched(s);
}

static void own_done(struct qx_session *s, struct qx_task *t)
{
    char text[128];
    s->own.task = NULL;
    if (t->status == QX_OK) {
        data_arrived(s, (struct own_task *)t);
        snprintf(text, sizeof text, "%lld documents", (long long)qx_dataset_n(s->data));
    } else if (t->status == QX_ECANCELLED) {
        qx_fail(&s->data_error, QX_EDATA,
                "Writing text of the model's own was cancelled: try it again on the Jobs screen, "
                "or name a file with --data FILE.");
    } else {
        s->data_error = t->err;
        qx_log(QX_LOG_ERROR, "%s", t->err.text);
    }
    qx_jobs_finish(&s->jobs, t, t->status == QX_OK ? text : NULL);
    s->news |= QX_NEWS_GAUGE | QX_NEWS_JOBS | QX_NEWS_RECIPE;
}

enum qx_status qx_own_text_want(struct qx_session *s, const char *name, struct qx_error *err)
{
    const enum qx_status st = qx_dataset_self_check(name, s->net, err);
    if (st != QX_OK) {
        return st;
    }
    s->own.name = qx_mem_strdup(name);
    return s->own.name ? QX_OK : qx_fail_nomem(err, strlen(name) + 1);
}

void qx_own_text_start(struct qx_session *s)
{
    if (!s->own.name || s->own.task || s->data) {
        return;
    }
    struct own_task *o = qx_mem_zalloc(sizeof *o);
    if (!o) {
        qx_fail_nomem(&s->data_error, sizeof *o);
        return;
    }
    o->task = (struct qx_task){
        .run = own_run, .done = own_done, .drop = own_drop, .priority = OWN_PRIORITY};
    o->s = s;
    struct qx_job *job = qx_jobs_add(&s->jobs, &o->task, QX_JOB_OWN_TEXT);
    if (job) {
        snprintf(job->info.title, sizeof job->info.title, "text of the model's own");
    }
    qx_fail(&s->data_error, QX_EDATA,
            "The model is writing text of its own to measure on: see the Jobs screen.");
    s->own.task = &o->task;
    s->news |= QX_NEWS_GAUGE | QX_NEWS_JOBS;
    qx_lane_submit(&s->queue, &o->task);
}

void qx_own_text_release(struct qx_own_text *t)
{
    qx_mem_free(t->name);
    *t = (struct qx_own_text){0};
}
