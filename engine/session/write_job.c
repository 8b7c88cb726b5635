/* A model folder from the recipe as it stands: in the caller's thread, or as a job. */
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "session/methods.h"
#include "session/session_impl.h"
#include "session/write_model.h"

#include <stdio.h>
#include <string.h>

enum qx_status qx_session_run_write(struct qx_session *s, const char *out_dir, struct qx_ctl *ctl,
                                    struct qx_error *err)
{
    struct qx_write w = {s->model, &s->items, &s->now, s->pool, NULL, .net = s->net};
    enum qx_status status = qx_session_run_resolve(s, ctl, err);
    return status == QX_OK ? qx_write_folder(&w, out_dir, ctl, err) : status;
}

/* ---- as a job ---- */

struct write_task {
    struct qx_task task;
    struct qx_session *s;  /* worker: immutable parts, and overlays under their lock */
    struct qx_write write; /* worker: immutable parts, and the recipe below */
    struct qx_recipe recipe;
    char *dir;
};

/* The calibrator of an item that was still open when the job was submitted chooses. */
static enum qx_status item_resolve(const struct write_task *t, int64_t item, struct qx_ctl *ctl,
                                   struct qx_error *err)
{
    struct qx_setting *set = &t->recipe.set[item];
    const struct qx_item *it = &t->write.items->v[item];
    struct qx_hist_spec spec = qx_setting_spec(set, it->channels);
    struct qx_ctl part = {.parent = ctl};
    struct qx_hist *hist;
    enum qx_status status = qx_hist_build(it->tensor, &spec, 0, t->write.pool, &part, &hist, err);
    if (status != QX_OK) {
        return status;
    }
    qx_setting_choose(set, hist);
    qx_hist_unref(hist);
    qx_model_dontneed(t->write.model, it->tensor);
    return QX_OK;
}

/* Methods that had not run when the job was submitted. */
static enum qx_status methods_resolve(const struct write_task *t, struct qx_ctl *ctl,
                                      struct qx_error *err)
{
    const struct qx_net *net = t->write.trained ? NULL : t->write.net;
    struct qx_setting *set = net ? qx_measure_settings(t->s, &t->recipe) : NULL;
    struct qx_ctl part = {.parent = ctl, .is_quiet = true};
    if (!net) {
        return QX_OK;
    }
    if (!set) {
        return qx_fail_nomem(err, (size_t)qx_net_n_layers(net) * sizeof *set);
    }
    const enum qx_status st = qx_methods_resolve(t->s, set, &part, err);
    for (int i = 0; st == QX_OK && i < qx_net_n_layers(net); i++) {
        t->recipe.set[qx_net_layer(net, i)->tensor].overlay = set[i].overlay;
    }
    qx_mem_free(set);
    return st;
}

static enum qx_status write_run(struct qx_task *task, struct qx_error *err)
{
    enum { PASSES = 3 }; /* over the values, for a histogram */
    struct write_task *t = (struct write_task *)task;
    int64_t total = 0;
    for (int64_t i = 0; i < t->recipe.n; i++) {
        total +=
            qx_setting_open(&t->recipe.set[i]) ? PASSES * t->write.items->v[i].tensor->numel : 0;
    }
    qx_ctl_total(&task->ctl, total);
    enum qx_status status = QX_OK;
    for (int64_t i = 0; i < t->recipe.n && status == QX_OK; i++) {
        if (qx_setting_open(&t->recipe.set[i])) {
            status = item_resolve(t, i, &task->ctl, err);
        }
    }
    status = status == QX_OK ? methods_resolve(t, &task->ctl, err) : status;
    return status == QX_OK ? qx_write_folder(&t->write, t->dir, &task->ctl, err) : status;
}

static void write_done(struct qx_session *s, struct qx_task *task)
{
    const struct write_task *t = (const struct write_task *)task;
    struct qx_job_info *info = &s->written;
    char text[128];
    snprintf(text, sizeof text, "%.1f MB written", (double)atomic_load(&task->ctl.done) / 1e6);
    qx_jobs_finish(&s->jobs, task, task->status == QX_OK ? text : NULL);
    *info = (struct qx_job_info){.id = task->job, .state = qx_task_state(task), .eta_s = -1};
    if (task->status == QX_OK) {
        snprintf(info->message, sizeof info->message, "model folder written: %s", t->dir);
        qx_log(QX_LOG_INFO, "model folder written: %s", t->dir);
    } else if (task->status == QX_ECANCELLED) {
        snprintf(info->message, sizeof info->message,
                 "writing %.120s was cancelled: nothing is left of it", t->dir);
        qx_log(QX_LOG_WARN, "writing %s was cancelled, nothing was changed", t->dir);
    } else {
        qx_str_copy(info->message, sizeof info->message, task->err.text);
        qx_log(QX_LOG_ERROR, "%s", task->err.text);
    }
    s->n_writing--;
    s->has_written = true;
    s->news |= QX_NEWS_JOBS | QX_NEWS_WRITTEN;
}

static void write_drop(struct qx_task *task)
{
    struct write_task *t = (struct write_task *)task;
    qx_recipe_release(&t->recipe);
    qx_mem_free(t->dir);
    qx_mem_free(t);
}

/* The recipe as it stands; what a sample chose is open again. */
static enum qx_status recipe_take(const struct qx_session *s, struct qx_recipe *out,
                                  struct qx_error *err)
{
    enum qx_status status = qx_recipe_init(out, s->now.n, err);
    if (status != QX_OK) {
        return status;
    }
    qx_recipe_copy(out, &s->now);
    for (int64_t i = 0; i < out->n; i++) {
        if (s->pending.state[i] != QX_PENDING_NONE) {
            out->set[i].has_range = false;
        }
    }
    out->notes = s->now.notes ? qx_mem_strdup(s->now.notes) : NULL;
    return s->now.notes && !out->notes ? qx_fail_nomem(err, strlen(s->now.notes)) : QX_OK;
}

enum qx_status qx_session_write(struct qx_session *s, const char *out_dir, struct qx_error *err)
{
    return qx_write_submit(s, out_dir, NULL, err);
}

enum qx_status qx_write_submit(struct qx_session *s, const char *out_dir,
                               const struct qx_trained *trained, struct qx_error *err)
{
    if (!s->queue.is_started) {
        return qx_fail(err, QX_EUNSUPPORTED, "this session runs no background jobs");
    }
    struct qx_write check = {s->model, &s->items, &s->now, s->pool, NULL};
    enum qx_status status = qx_write_check(&check, out_dir, err);
    if (status != QX_OK) {
        return status;
    }
    struct write_task *t = qx_mem_zalloc(sizeof *t);
    if (!t) {
        return qx_fail_nomem(err, sizeof *t);
    }
    t->task = (struct qx_task){.run = write_run, .done = write_done, .drop = write_drop};
    t->dir = qx_mem_strdup(out_dir);
    status = !t->dir   ? qx_fail_nomem(err, strlen(out_dir))
             : trained ? qx_training_recipe(s, trained, &t->recipe, err)
                       : recipe_take(s, &t->recipe, err);
    if (status != QX_OK) {
        write_drop(&t->task);
        return status;
    }
    t->write = (struct qx_write){s->model, &s->items, &t->recipe, s->pool, trained, .net = s->net};
    t->s = s;
    struct qx_job *job = qx_jobs_add(&s->jobs, &t->task, QX_JOB_WRITE);
    if (job) {
        snprintf(job->info.title, sizeof job->info.title, "writing %.110s", out_dir);
        job->path = qx_mem_strdup(out_dir); /* NULL: cannot be tried again */
    }
    s->n_writing++;
    s->news |= QX_NEWS_JOBS;
    qx_lane_submit(&s->queue, &t->task);
    return QX_OK;
}

bool qx_session_writing(const struct qx_session *s)
{
    return s->n_writing > 0;
}

bool qx_session_written(struct qx_session *s, struct qx_job_info *out)
{
    if (!s->has_written) {
        return false;
    }
    s->has_written = false;
    *out = s->written;
    return true;
}
