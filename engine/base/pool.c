#include "base/pool.h"
#include "base/error.h"
#include "base/mem.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORKER_NICE = 5, STACK_BYTES = 1 << 20 };

/* Looks at a flag before a thread goes to sleep: about 20 microseconds, so that loops that follow one
 * another closely need no wake-up, and a core taken by another program is hardly held. */
enum { SPINS = 1500 };

struct worker {
    struct qx_pool *pool;
    pthread_t thread;
    int index;
};

/* Items that one worker takes one after the other, so that it reads memory in one stream. */
struct share {
    _Alignas(64) atomic_int_least64_t next;
    int64_t end;
};

enum { SHARES = 16 }; /* at most: further workers help with those of others */

/* One call of qx_pool_for, on its caller's stack while it lasts. */
struct loop {
    qx_pool_fn *fn;
    void *arg;
    atomic_int n_active; /* workers inside; changed under the lock */
    struct loop *older;
    int n_shares;
    struct share share[SHARES];
};

struct qx_pool {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t start, done;
    atomic_uint_least64_t generation; /* counts loops; changed under the lock, as the next one */
    atomic_bool is_ending;
    struct loop *newest; /* the loops that workers may join */
    int n_threads;
    struct worker workers[];
};

struct starter {
    void *(*fn)(void *);
    void *arg;
    char name[16];
};

static void *thread_main(void *p)
{
    struct starter s = *(struct starter *)p;
    qx_mem_free(p);
    pthread_setname_np(pthread_self(), s.name);
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), WORKER_NICE); /* Linux: this thread only */
    return s.fn(s.arg);
}

enum qx_status qx_thread_start(const char *name, void *(*fn)(void *), void *arg, void *pthread_out,
                               struct qx_error *err)
{
    struct starter *s = qx_mem_zalloc(sizeof *s);
    if (!s) {
        return qx_fail_nomem(err, sizeof *s);
    }
    s->fn = fn;
    s->arg = arg;
    snprintf(s->name, sizeof s->name, "%s", name);
    sigset_t all, old;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 8 * (size_t)STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* the child inherits it from its first instruction */
    int rc = pthread_create(pthread_out, &attr, thread_main, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        qx_mem_free(s);
        return qx_fail(err, QX_ENOMEM, "cannot start thread '%s': %s; try --threads 1", name,
                       strerror(rc));
    }
    return QX_OK;
}

static void loop_init(struct loop *loop, qx_pool_fn *fn, void *arg, int64_t n, int n_threads)
{
    const int n_shares = n_threads < SHARES ? n_threads : SHARES;
    loop->fn = fn;
    loop->arg = arg;
    atomic_init(&loop->n_active, 0);
    loop->n_shares = n_shares;
    for (int s = 0; s < n_shares; s++) {
        atomic_init(&loop->share[s].next, n * s / n_shares);
        loop->share[s].end = n * (s + 1) / n_shares;
    }
}

/* The worker's own share, then what is left of the others', until no item is left. */
static void work(struct loop *loop, int worker)
{
    for (int k = 0; k < loop->n_shares; k++) {
        struct share *s = &loop->share[(worker + k) % loop->n_shares];
        int64_t i;
        while ((i = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed)) < s->end) {
            loop->fn(loop->arg, i, worker);
        }
    }
}

static bool has_items(struct loop *loop)
{
    for (int s = 0; s < loop->n_shares; s++) {
        if (atomic_load(&loop->share[s].next) < loop->share[s].end) {
            return true;
        }
    }
    return false;
}

/* The newest loop with items left: what the user asked for last is helped first, and a loop of few
 * long items does not hold up those that come after it. */
static struct loop *find_loop(const struct qx_pool *pool)
{
    struct loop *loop = pool->newest;
    while (loop && !has_items(loop)) {
        loop = loop->older;
    }
    return loop;
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void spin_for_loop(struct qx_pool *pool, uint64_t seen)
{
    for (int i = 0; i < SPINS && atomic_load(&pool->generation) == seen; i++) {
        if (atomic_load(&pool->is_ending)) {
            return;
        }
        pause_briefly();
    }
}

static void spin_for_workers(struct loop *loop)
{
    for (int i = 0; i < SPINS && atomic_load(&loop->n_active) > 0; i++) {
        pause_briefly();
    }
}

/* A worker that woke too late for a loop watches for the next one, too, before it sleeps again: it would come
 * late to every loop of a series else. */
static void *worker_main(void *p)
{
    struct worker *w = p;
    struct qx_pool *pool = w->pool;
    pthread_mutex_lock(&pool->lock);
    while (!pool->is_ending) {
        struct loop *loop = find_loop(pool);
        const uint64_t seen = pool->generation;
        if (loop) {
            loop->n_active++;
            pthread_mutex_unlock(&pool->lock);
            work(loop, w->index);
            pthread_mutex_lock(&pool->lock);
            if (--loop->n_active == 0) {
                pthread_cond_broadcast(&pool->done);
            }
            continue;
        }
        pthread_mutex_unlock(&pool->lock);
        spin_for_loop(pool, seen);
        pthread_mutex_lock(&pool->lock);
        if (!pool->is_ending && pool->generation == seen) {
            pthread_cond_wait(&pool->start, &pool->lock);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

enum qx_status qx_pool_new(int n_threads, struct qx_pool **out, struct qx_error *err)
{
    if (n_threads < 1 || n_threads > 1024) {
        return qx_fail(err, QX_ERANGE, "%d threads asked for: use 1 to 1024", n_threads);
    }
    size_t bytes = sizeof(struct qx_pool) + (size_t)n_threads * sizeof(struct worker);
    struct qx_pool *pool = qx_mem_zalloc(bytes);
    if (!pool) {
        return qx_fail_nomem(err, bytes);
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->start, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->n_threads = 1;
    for (int i = 1; i < n_threads; i++) {
        struct worker *w = &pool->workers[i];
        char name[16];
        w->pool = pool;
        w->index = i;
        snprintf(name, sizeof name, "qx-pool-%d", i);
        enum qx_status st = qx_thread_start(name, worker_main, w, &w->thread, err);
        if (st != QX_OK) {
            qx_pool_free(pool);
            return st;
        }
        pool->n_threads = i + 1;
    }
    *out = pool;
    return QX_OK;
}

void qx_pool_free(struct qx_pool *pool)
{
    if (!pool) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->is_ending = true;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 1; i < pool->n_threads; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->start);
    pthread_mutex_destroy(&pool->lock);
    qx_mem_free(pool);
}

int qx_pool_threads(const struct qx_pool *pool)
{
    return pool ? pool->n_threads : 1;
}

void qx_pool_for(struct qx_pool *pool, int64_t n, qx_pool_fn *fn, void *arg)
{
    if (!pool || pool->n_threads == 1 || n <= 1) {
        for (int64_t i = 0; i < n; i++) {
            fn(arg, i, 0);
        }
        return;
    }
    struct loop loop;
    loop_init(&loop, fn, arg, n, pool->n_threads);
    pthread_mutex_lock(&pool->lock);
    loop.older = pool->newest;
    pool->newest = &loop;
    pool->generation++;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->lock);
    work(&loop, 0);
    pthread_mutex_lock(&pool->lock);
    struct loop **at = &pool->newest;
    while (*at != &loop) {
        at = &(*at)->older;
    }
    *at = loop.older; /* workers that have not woken yet find it no more */
    pthread_mutex_unlock(&pool->lock);
    spin_for_workers(&loop);
    pthread_mutex_lock(&pool->lock);
    while (loop.n_active > 0) {
        pthread_cond_wait(&pool->done, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}
