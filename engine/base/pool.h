/* The worker threads on which every parallel loop runs. */
#ifndef QX_BASE_POOL_H
#define QX_BASE_POOL_H

#include "qx/status.h"

#include <stdint.h>

struct qx_pool;

/* n_threads >= 1 counts the calling thread: 1 starts none. Workers run at nice 5, block all signals
 * but SIGBUS and SIGSEGV, and set FTZ/DAZ nowhere (results must not depend on the thread). */
enum qx_status qx_pool_new(int n_threads, struct qx_pool **out, struct qx_error *err);
void qx_pool_free(struct qx_pool *pool); /* NULL allowed; joins */
int qx_pool_threads(const struct qx_pool *pool);

/* fn(arg, i, worker) for every i in 0..n-1, at most 2^58, handed out dynamically: each worker goes through a
 * share of consecutive ones, then through what others have left of theirs. worker in 0..threads-1 lets fn
 * keep private sums (0 is the caller, so two loops at once may both have one). Returns when all are
 * done. pool NULL runs serially. May be called from several threads at once: none waits for another,
 * each works on its own loop, and the workers help the newest one with items left. fn must not call
 * qx_pool_for on the same pool. */
typedef void qx_pool_fn(void *arg, int64_t i, int worker);
void qx_pool_for(struct qx_pool *pool, int64_t n, qx_pool_fn *fn, void *arg);

/* Start a named thread with the workers' signal mask and nice level (the job threads use it). */
enum qx_status qx_thread_start(const char *name, void *(*fn)(void *), void *arg, void *pthread_out,
                               struct qx_error *err);

#endif
