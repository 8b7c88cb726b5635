#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <string.h>

static atomic_int_least64_t n_calls;
static atomic_int_least64_t fail_call; /* value of n_calls that fails; 0 = none */

/* Counts one allocation; true when the fault test wants it refused. */
static bool refused(void)
{
    int64_t call = atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed) + 1;
    return call == atomic_load_explicit(&fail_call, memory_order_relaxed);
}

void *qx_mem_alloc(size_t bytes)
{
    return refused() ? NULL : malloc(bytes ? bytes : 1);
}

void *qx_mem_zalloc(size_t bytes)
{
    return refused() ? NULL : calloc(1, bytes ? bytes : 1);
}

void *qx_mem_realloc(void *p, size_t bytes)
{
    return refused() ? NULL : realloc(p, bytes ? bytes : 1);
}

void qx_mem_free(void *p)
{
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
    return p;
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
