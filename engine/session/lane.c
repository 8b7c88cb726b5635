#include "session/lane.h"

#include "base/fs.h"
#include "base/pool.h"

#include <time.h>

/* ---- bell ---- */

void qx_bell_init(struct qx_bell *b, void (*wake)(void *arg), void *arg)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->cond, &attr);
    pthread_condattr_destroy(&attr);
    b->is_rung = false;
    b->wake = wake;
    b->wake_arg = arg;
}

void qx_bell_release(struct qx_bell *b)
{
    pthread_cond_destroy(&b->cond);
    pthread_mutex_destroy(&b->lock);
}

void qx_bell_ring(struct qx_bell *b)
{
    pthread_mutex_lock(&b->lock);
    b->is_rung = true;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->lock);
    if (b->wake) {
        b->wake(b->wake_arg);
    }
}

void qx_bell_wait(struct qx_bell *b, int ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&b->lock);
    while (!b->is_rung && pthread_cond_timedwait(&b->cond, &b->lock, &until) == 0) {
    }
    b->is_rung = false;
    pthread_mutex_unlock(&b->lock);
}

/* ---- tasks ---- */

void qx_task_cancel(struct qx_task *t)
{
    atomic_store_explicit(&t->ctl.cancel, true, memory_order_relaxed);
}

enum qx_job_state qx_task_state(const struct qx_task *t)
{
    return atomic_load_explicit(&t->state, memory_order_acquire);
}

static void task_state_set(struct qx_task *t, enum qx_job_state state)
{
    atomic_store_explicit(&t->state, (int)state, memory_order_release);
}

static void task_work(struct qx_task *t)
{
    t->start_s = qx_clock_s();
    task_state_set(t, QX_JOB_RUNNING);
    t->err.offset = -1;
    t->status = qx_cancel_test(&t->ctl) ? QX_ECANCELLED : t->run(t, &t->err);
    t->end_s = qx_clock_s();
    task_state_set(t, t->status == QX_OK           ? QX_JOB_DONE
                      : t->status == QX_ECANCELLED ? QX_JOB_CANCELLED
                                                   : QX_JOB_FAILED);
}

/* ---- lane ---- */

/* Unlinks the task to run next; the queue is not empty. */
static struct qx_task *next_task(struct qx_lane *l)
{
    struct qx_task **best = &l->queue;
    for (struct qx_task **p = &l->queue; *p; p = &(*p)->next) {
        bool better =
            l->is_fifo ? (*p)->priority >= (*best)->priority : (*p)->priority > (*best)->priority;
        best = better ? p : best;
    }
    struct qx_task *t = *best;
    *best = t->next;
    return t;
}

static void *lane_main(void *arg)
{
    struct qx_lane *l = arg;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->queue && !l->is_ending) {
            pthread_cond_wait(&l->work, &l->lock);
        }
        if (l->is_ending) {
            break;
        }
        struct qx_task *t = l->running = next_task(l);
        pthread_mutex_unlock(&l->lock);
        task_work(t);
        pthread_mutex_lock(&l->lock);
        l->running = NULL;
        t->next = l->back;
        l->back = t;
        pthread_mutex_unlock(&l->lock);
        qx_bell_ring(l->bell);
        pthread_mutex_lock(&l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

enum qx_status qx_lane_start(struct qx_lane *l, const char *name, bool is_fifo,
                             struct qx_bell *bell, struct qx_error *err)
{
    *l = (struct qx_lane){.is_fifo = is_fifo, .bell = bell};
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    enum qx_status status = qx_thread_start(name, lane_main, l, &l->thread, err);
    l->is_started = status == QX_OK;
    if (!l->is_started) {
        pthread_cond_destroy(&l->work);
        pthread_mutex_destroy(&l->lock);
    }
    return status;
}

static void drop_all(struct qx_task *t)
{
    while (t) {
        struct qx_task *next = t->next;
        t->drop(t);
        t = next;
    }
}

void qx_lane_stop(struct qx_lane *l)
{
    if (!l->is_started) {
        return;
    }
    pthread_mutex_lock(&l->lock);
    l->is_ending = true;
    if (l->running) {
        qx_task_cancel(l->running);
    }
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    drop_all(l->queue);
    drop_all(l->back);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    *l = (struct qx_lane){0};
}

void qx_lane_submit(struct qx_lane *l, struct qx_task *t)
{
    atomic_init(&t->state, QX_JOB_QUEUED);
    pthread_mutex_lock(&l->lock);
    t->next = l->queue;
    l->queue = t;
    l->n_out++;
    pthread_cond_signal(&l->work);
    pthread_mutex_unlock(&l->lock);
}

void qx_lane_promote(struct qx_lane *l, struct qx_task *t)
{
    pthread_mutex_lock(&l->lock);
    for (struct qx_task **p = &l->queue; *p; p = &(*p)->next) {
        if (*p == t) {
            *p = t->next;
            t->next = l->queue;
            l->queue = t;
            break;
        }
    }
    pthread_mutex_unlock(&l->lock);
}

struct qx_task *qx_lane_take(struct qx_lane *l)
{
    if (!l->is_started) {
        return NULL;
    }
    pthread_mutex_lock(&l->lock);
    struct qx_task *t = l->back, *oldest_first = NULL;
    l->back = NULL;
    pthread_mutex_unlock(&l->lock);
    while (t) {
        struct qx_task *next = t->next;
        t->next = oldest_first;
        oldest_first = t;
        l->n_out--;
        t = next;
    }
    return oldest_first;
}
