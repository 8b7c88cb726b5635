#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <string.h>

static atomic_int_least64_t n_calls;
static atomic_int_least64_t fail_call; /* value of n_calls that fails; 0 = none */
static atomic_int_least64_t n_bytes, peak_bytes;

/* Counts one allocation; true when the fault test wants it refused. */
static bool refused(void)
{
    int64_t call = atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed) + 1;
    return call == atomic_load_explicit(&fail_call, memory_order_relaxed);
}

static int64_t size_of(void *p)
{
#ifdef __GLIBC__
    return p ? (int64_t)malloc_usable_size(p) : 0;
#else
    (void)p;
    return 0;
#endif
}

static void held(int64_t more)
{
    const int64_t now = atomic_fetch_add_explicit(&n_bytes, more, memory_order_relaxed) + more;
    int64_t peak = atomic_load_explicit(&peak_bytes, memory_order_relaxed);
    while (now > peak && !atomic_compare_exchange_weak_explicit(
                             &peak_bytes, &peak, now, memory_order_relaxed, memory_order_relaxed)) {
    }
}

static void *taken(void *p)
{
    held(size_of(p));
    return p;
}

void *qx_mem_alloc(size_t bytes)
{
    return refused() ? NULL : taken(malloc(bytes ? bytes : 1));
}

void *qx_mem_zalloc(size_t bytes)
{
    return refused() ? NULL : taken(calloc(1, bytes ? bytes : 1));
}

void *qx_mem_realloc(void *p, size_t bytes)
{
    const int64_t before = size_of(p);
    void *moved = refused() ? NULL : realloc(p, bytes ? bytes : 1);
    if (moved) {
        held(size_of(moved) - before);
    }
    return moved;
}

void qx_mem_free(void *p)
{
    held(-size_of(p));
    free(p);
}

void qx_mem_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

char *qx_mem_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = qx_mem_alloc(n);
    return copy ? memcpy(copy, s, n) : NULL;
}

void *qx_mem_array(size_t n, size_t size)
{
    size_t bytes;
    return qx_size_mul(n, size, &bytes) ? qx_mem_alloc(bytes) : NULL;
}

void *qx_mem_aligned(size_t bytes)
{
    void *p = NULL;
    if (refused() || posix_memalign(&p, 64, bytes ? bytes : 1) != 0) {
        return NULL;
    }
    return taken(p);
}

bool qx_size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool qx_size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

bool qx_i64_mul(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

void qx_mem_fail_at(int64_t n)
{
    atomic_store(&fail_call, n > 0 ? atomic_load(&n_calls) + n : 0);
}

int64_t qx_mem_count(void)
{
    return atomic_load(&n_calls);
}

int64_t qx_mem_bytes(void)
{
    return atomic_load(&n_bytes);
}

int64_t qx_mem_peak(void)
{
    return atomic_load(&peak_bytes);
}

void qx_mem_peak_reset(void)
{
    atomic_store(&peak_bytes, atomic_load(&n_bytes));
}
