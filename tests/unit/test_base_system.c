/* pool, log, cpu. */
#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "qx/cpu.h"
#include "test_base.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_ITEMS = 5000, N_WORKERS = 4 };

struct tally {
    atomic_int hits[N_ITEMS];
    atomic_int n_bad_worker;
    double value[N_ITEMS];
};

static void visit(void *arg, int64_t i, int worker)
{
    struct tally *t = arg;
    atomic_fetch_add(&t->hits[i], 1);
    if (worker < 0 || worker >= N_WORKERS) {
        atomic_fetch_add(&t->n_bad_worker, 1);
    }
    t->value[i] = 1.0 / (double)(i + 1);
}

static double sum_after(struct qx_pool *pool)
{
    static struct tally t;
    memset(&t, 0, sizeof t);
    qx_pool_for(pool, N_ITEMS, visit, &t);
    double sum = 0;
    for (int i = 0; i < N_ITEMS; i++) {
        assert_int_equal(t.hits[i], 1);
        sum += t.value[i];
    }
    assert_int_equal(t.n_bad_worker, 0);
    return sum;
}

static void every_item_is_done_once_on_any_number_of_threads(void **state)
{
    (void)state;
    double serial = sum_after(NULL);
    for (int n = 1; n <= N_WORKERS; n++) {
        struct qx_pool *pool = NULL;
        assert_int_equal(qx_pool_new(n, &pool, NULL), QX_OK);
        assert_int_equal(qx_pool_threads(pool), n);
        for (int round = 0; round < 20; round++) {
            assert_true(sum_after(pool) == serial);
        }
        qx_pool_for(pool, 0, visit, NULL);
        qx_pool_free(pool);
    }
    qx_pool_free(NULL);
    assert_int_equal(qx_pool_threads(NULL), 1);
    struct qx_pool *pool;
    assert_int_equal(qx_pool_new(0, &pool, NULL), QX_ERANGE);
}

struct caller {
    struct qx_pool *pool;
    int64_t total;
};

static void add_one(void *arg, int64_t i, int worker)
{
    (void)i;
    (void)worker;
    atomic_fetch_add((atomic_int_least64_t *)arg, 1);
}

static void *call_often(void *p)
{
    struct caller *c = p;
    for (int i = 0; i < 200; i++) {
        atomic_int_least64_t n = 0;
        qx_pool_for(c->pool, 50, add_one, &n);
        c->total += n;
    }
    return NULL;
}

static void several_threads_may_call_at_once(void **state)
{
    (void)state;
    struct qx_pool *pool;
    struct caller callers[3];
    pthread_t threads[3];
    assert_int_equal(qx_pool_new(3, &pool, NULL), QX_OK);
    for (int i = 0; i < 3; i++) {
        callers[i] = (struct caller){pool, 0};
        assert_int_equal(qx_thread_start("test", call_often, &callers[i], &threads[i], NULL),
                         QX_OK);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].total, 200 * 50);
    }
    qx_pool_free(pool);
}

struct gate {
    struct qx_pool *pool;
    atomic_bool is_open;
    atomic_int n_inside;
};

static void wait_for_gate(void *arg, int64_t i, int worker)
{
    struct gate *g = arg;
    (void)i;
    (void)worker;
    atomic_fetch_add(&g->n_inside, 1);
    while (!atomic_load(&g->is_open)) {
        usleep(100);
    }
}

static void *call_long(void *p)
{
    struct gate *g = p;
    qx_pool_for(g->pool, 2, wait_for_gate, g);
    return NULL;
}

/* A histogram asked for while a whole network is measured: it would wait for minutes. */
static void a_loop_does_not_wait_for_one_with_long_items(void **state)
{
    (void)state;
    struct gate g = {.pool = NULL};
    pthread_t thread;
    atomic_int_least64_t n = 0;
    assert_int_equal(qx_pool_new(2, &g.pool, NULL), QX_OK);
    assert_int_equal(qx_thread_start("test", call_long, &g, &thread, NULL), QX_OK);
    while (atomic_load(&g.n_inside) < 2) { /* the caller and the only worker */
        usleep(100);
    }
    qx_pool_for(g.pool, 50, add_one, &n);
    assert_int_equal(n, 50);
    atomic_store(&g.is_open, true);
    pthread_join(thread, NULL);
    qx_pool_free(g.pool);
}

static void *read_mask(void *p)
{
    pthread_sigmask(SIG_BLOCK, NULL, p);
    return NULL;
}

static void threads_block_all_but_faults(void **state)
{
    (void)state;
    sigset_t mask;
    pthread_t thread;
    assert_int_equal(qx_thread_start("mask", read_mask, &mask, &thread, NULL), QX_OK);
    pthread_join(thread, NULL);
    assert_true(sigismember(&mask, SIGINT) && sigismember(&mask, SIGWINCH));
    assert_false(sigismember(&mask, SIGBUS) || sigismember(&mask, SIGSEGV));
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    assert_false(sigismember(&mask, SIGINT)); /* the caller's own mask is back */
}

static void a_pool_that_cannot_start_is_gone(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= 3; n++) {
        struct qx_pool *pool = NULL;
        struct qx_error err;
        qx_mem_fail_at(n);
        enum qx_status st = qx_pool_new(3, &pool, &err);
        qx_mem_fail_at(0);
        assert_int_equal(st, QX_ENOMEM);
        assert_null(pool);
    }
}

static void the_log_keeps_the_last_messages(void **state)
{
    (void)state;
    struct qx_log_entry e;
    int64_t first = qx_log_next_seq();
    qx_log(QX_LOG_WARN, "n = %d", 5);
    assert_int_equal(qx_log_next_seq(), first + 1);
    assert_true(qx_log_get(first, &e));
    assert_string_equal(e.text, "n = 5");
    assert_int_equal(e.level, QX_LOG_WARN);
    assert_int_equal(e.seq, first);
    assert_false(qx_log_get(first + 1, &e));
    assert_false(qx_log_get(-1, &e));
    for (int i = 0; i < 2000; i++) {
        qx_log_put(QX_LOG_INFO, "more");
    }
    assert_false(qx_log_get(first, &e));
    assert_true(qx_log_get(first + 2000, &e));
}

static void the_rung_can_be_lowered_by_name(void **state)
{
    (void)state;
    struct qx_error err;
    const struct qx_cpu *cpu = qx_cpu_get();
    enum qx_isa before = cpu->isa;
    assert_true(cpu->n_cores >= 1 && cpu->name[0]);
    assert_int_equal(qx_cpu_limit("ref", &err), QX_OK);
    assert_int_equal(cpu->isa, QX_ISA_REF);
    assert_int_equal(qx_cpu_limit("sse9", &err), QX_ENAME);
    assert_non_null(strstr(err.text, "sse9"));
    for (int i = 0; i < QX_ISA_COUNT; i++) {
        enum qx_status st = qx_cpu_limit(qx_isa_name((enum qx_isa)i), &err);
        assert_true(st == QX_OK || st == QX_EUNSUPPORTED);
    }
    assert_int_equal(qx_cpu_limit(qx_isa_name(before), &err), QX_OK);
    assert_int_equal(cpu->isa, before);
}

int test_base_system(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_done_once_on_any_number_of_threads),
        cmocka_unit_test(several_threads_may_call_at_once),
        cmocka_unit_test(a_loop_does_not_wait_for_one_with_long_items),
        cmocka_unit_test(threads_block_all_but_faults),
        cmocka_unit_test(a_pool_that_cannot_start_is_gone),
        cmocka_unit_test(the_log_keeps_the_last_messages),
        cmocka_unit_test(the_rung_can_be_lowered_by_name),
    };
    return cmocka_run_group_tests_name("system", tests, NULL, NULL);
}
