#include "session/jobs.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

static int count_live(const struct qx_jobs *j)
{
    int n = 0;
    for (int i = 0; i < j->n; i++) {
        n += j->v[i].task != NULL;
    }
    return n;
}

static void remove_at(struct qx_jobs *j, int i)
{
    qx_mem_free(j->v[i].path);
    memmove(&j->v[i], &j->v[i + 1], (size_t)(j->n - i - 1) * sizeof *j->v);
    j->n--;
}

static void forget_oldest(struct qx_jobs *j)
{
    int finished = j->n - count_live(j);
    for (int i = j->n - 1; i >= 0 && finished > QX_JOBS_KEPT - 1; i--) {
        if (!j->v[i].task) {
            remove_at(j, i);
            finished--;
        }
    }
}

struct qx_job *qx_jobs_add(struct qx_jobs *j, struct qx_task *t, enum qx_job_kind kind)
{
    if (count_live(j) >= QX_JOBS_LIVE) {
        return NULL;
    }
    forget_oldest(j);
    memmove(&j->v[1], &j->v[0], (size_t)j->n * sizeof *j->v);
    j->n++;
    j->v[0] = (struct qx_job){.task = t, .kind = kind};
    j->v[0].info.id = t->job = ++j->last_id;
    return &j->v[0];
}

static void times_set(const struct qx_task *t, enum qx_job_state state, double now_s,
                      struct qx_job_info *info)
{
    info->state = state;
    info->done = atomic_load_explicit(&t->ctl.done, memory_order_relaxed);
    info->total = atomic_load_explicit(&t->ctl.total, memory_order_relaxed);
    info->elapsed_s = state == QX_JOB_QUEUED ? 0 : now_s - t->start_s;
    info->eta_s = -1;
    if (state == QX_JOB_RUNNING && info->total > 0 && info->done > 0 && info->elapsed_s > 0) {
        double left = (double)(info->total - info->done) / (double)info->done;
        info->eta_s = left > 0 ? left * info->elapsed_s : 0;
    }
}

void qx_jobs_finish(struct qx_jobs *j, struct qx_task *t, const char *message)
{
    for (int i = 0; i < j->n; i++) {
        if (j->v[i].task == t) {
            struct qx_job_info *info = &j->v[i].info;
            times_set(t, qx_task_state(t), t->end_s, info);
            qx_str_copy(info->message, sizeof info->message,
                        info->state == QX_JOB_CANCELLED ? "cancelled"
                        : message                       ? message
                                                        : t->err.text);
            j->v[i].task = NULL;
            return;
        }
    }
}

void qx_jobs_forget(struct qx_jobs *j, const struct qx_task *t)
{
    for (int i = 0; i < j->n; i++) {
        if (j->v[i].task == t) {
            remove_at(j, i);
            return;
        }
    }
}

struct qx_job *qx_jobs_find(struct qx_jobs *j, int id)
{
    for (int i = 0; i < j->n; i++) {
        if (j->v[i].info.id == id) {
            return &j->v[i];
        }
    }
    return NULL;
}

void qx_job_look(const struct qx_job *job, struct qx_job_info *out)
{
    *out = job->info;
    if (job->task) {
        enum qx_job_state state = qx_task_state(job->task);
        /* finished, but not yet taken in by qx_session_poll: still running to the host */
        state = state == QX_JOB_QUEUED ? QX_JOB_QUEUED : QX_JOB_RUNNING;
        times_set(job->task, state, qx_clock_s(), out);
        if (job->kind == QX_JOB_WRITE && out->total > 0) {
            snprintf(out->message, sizeof out->message, "%.1f of %.1f MB", (double)out->done / 1e6,
                     (double)out->total / 1e6);
        }
    }
}

bool qx_jobs_any_live(const struct qx_jobs *j)
{
    return count_live(j) > 0;
}

void qx_jobs_clear(struct qx_jobs *j)
{
    for (int i = j->n - 1; i >= 0; i--) {
        if (!j->v[i].task) {
            remove_at(j, i);
        }
    }
}

void qx_jobs_release(struct qx_jobs *j)
{
    while (j->n > 0) {
        remove_at(j, j->n - 1);
    }
}
