/* The job list that the Jobs screen shows. Host thread only. */
#ifndef QX_SESSION_JOBS_H
#define QX_SESSION_JOBS_H

#include "session/lane.h"

enum qx_job_kind {
    QX_JOB_EVAL,
    QX_JOB_BESIDE,
    QX_JOB_HIST,
    QX_JOB_EXACT,
    QX_JOB_WRITE,
    QX_JOB_BENCH,
    QX_JOB_CALIB,
    QX_JOB_METHOD,
    QX_JOB_INPUTS,
    QX_JOB_FORMATS,
    QX_JOB_SEARCH,
    QX_JOB_TRY,
    QX_JOB_TRAIN,
    QX_JOB_OWN_TEXT
};

struct qx_job {
    struct qx_job_info info; /* final once task is NULL */
    struct qx_task *task;    /* NULL when finished */
    enum qx_job_kind kind;
    /* for a retry */
    enum qx_which which;
    int64_t item; /* BENCH: index of the variant */
    struct qx_setting setting;
    char *path; /* owned; NULL = none */
};

enum { QX_JOBS_LIVE = 64, QX_JOBS_KEPT = 64 };

/* v[0] is the newest. */
struct qx_jobs {
    int n, last_id;
    struct qx_job v[QX_JOBS_LIVE + QX_JOBS_KEPT];
};

/* Lists a task (before it is submitted). Silently leaves it out when too many are live. The entry may
 * move with the next add: fill it at once. NULL when left out. */
struct qx_job *qx_jobs_add(struct qx_jobs *j, struct qx_task *t, enum qx_job_kind kind);
/* A task is back: its entry becomes final. message: result, or NULL for the task's error. */
void qx_jobs_finish(struct qx_jobs *j, struct qx_task *t, const char *message);
/* A task is back that something newer made pointless: no trace of it is left. */
void qx_jobs_forget(struct qx_jobs *j, const struct qx_task *t);
struct qx_job *qx_jobs_find(struct qx_jobs *j, int id);
/* Fills info with progress and times of now. */
void qx_job_look(const struct qx_job *job, struct qx_job_info *out);
bool qx_jobs_any_live(const struct qx_jobs *j);
void qx_jobs_clear(struct qx_jobs *j);   /* finished ones */
void qx_jobs_release(struct qx_jobs *j); /* all; their tasks are gone */

#endif
