/* A lane: one job thread with its queue of tasks. The host submits and takes back; in between a task
 * belongs to the thread, and the host may only set its cancel flag and read its progress. */
#ifndef QX_SESSION_LANE_H
#define QX_SESSION_LANE_H

#include "qx/session.h"

#include <pthread.h>

/* Rung when a task is back; waits end. Also calls the host's wake. */
struct qx_bell {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_rung;
    void (*wake)(void *arg);
    void *wake_arg;
};
void qx_bell_init(struct qx_bell *b, void (*wake)(void *arg), void *arg);
void qx_bell_release(struct qx_bell *b);
void qx_bell_ring(struct qx_bell *b);
/* Until rung or `ms` passed; the ring is taken. */
void qx_bell_wait(struct qx_bell *b, int ms);

struct qx_task;
/* Worker thread: reads the task's inputs, writes its result, returns the status (err on failure). */
typedef enum qx_status qx_task_run(struct qx_task *t, struct qx_error *err);
/* Host thread, from qx_session_poll: takes the result in. */
typedef void qx_task_done(struct qx_session *s, struct qx_task *t);
/* Frees inputs and what is left of the result, and the task. */
typedef void qx_task_drop(struct qx_task *t);

/* Head of every task; the kinds embed it first. */
struct qx_task {
    struct qx_task *next;
    qx_task_run *run;
    qx_task_done *done;
    qx_task_drop *drop;
    struct qx_ctl ctl;
    atomic_int state;      /* enum qx_job_state */
    int priority;          /* higher first; then newest first, or oldest in a FIFO lane */
    double start_s, end_s; /* written by the worker before the state that implies them */
    enum qx_status status; /* when done */
    struct qx_error err;
    int job; /* id in the job list, 0 = not listed */
};

struct qx_lane {
    pthread_t thread;
    bool is_started, is_fifo;
    pthread_mutex_t lock;
    pthread_cond_t work;
    bool is_ending;          /* under lock, as all below */
    struct qx_task *queue;   /* newest first */
    struct qx_task *running; /* NULL when idle */
    struct qx_task *back;    /* finished, newest first */
    struct qx_bell *bell;
    int n_out; /* host only: submitted and not yet taken back */
};

enum qx_status qx_lane_start(struct qx_lane *l, const char *name, bool is_fifo,
                             struct qx_bell *bell, struct qx_error *err);
/* Cancels everything, joins, drops all tasks. Zero struct allowed. */
void qx_lane_stop(struct qx_lane *l);
void qx_lane_submit(struct qx_lane *l, struct qx_task *t);
/* Put a queued task in front of the others of its priority. */
void qx_lane_promote(struct qx_lane *l, struct qx_task *t);
/* Finished tasks, oldest first; the caller owns them. NULL when none. */
struct qx_task *qx_lane_take(struct qx_lane *l);
/* Ask a task to stop; host thread, while it is out. */
void qx_task_cancel(struct qx_task *t);
enum qx_job_state qx_task_state(const struct qx_task *t);

#endif
