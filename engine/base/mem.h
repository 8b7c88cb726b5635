/* Allocation: checked sizes, 64-byte alignment for kernels, and the hook of the fault tests. */
#ifndef QX_BASE_MEM_H
#define QX_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All return NULL on failure; qx_mem_free accepts NULL. Every engine allocation goes through these. */
void *qx_mem_alloc(size_t bytes);
void *qx_mem_zalloc(size_t bytes);
void *qx_mem_realloc(void *p, size_t bytes);
void qx_mem_free(void *p);
char *qx_mem_strdup(const char *s);
/* Give what has been freed back to the system, after work that took much more than it leaves. */
void qx_mem_trim(void);
/* n * size checked; NULL on overflow. */
void *qx_mem_array(size_t n, size_t size);
/* 64-byte aligned, for kernel buffers; free with qx_mem_free. */
void *qx_mem_aligned(size_t bytes);

/* *out = a * b; false on overflow. */
bool qx_size_mul(size_t a, size_t b, size_t *out);
bool qx_size_add(size_t a, size_t b, size_t *out);
bool qx_i64_mul(int64_t a, int64_t b, int64_t *out); /* a, b >= 0 */

/* Tests and benches only: make the n-th allocation from now fail (0 = never), and count allocations. */
void qx_mem_fail_at(int64_t n);
int64_t qx_mem_count(void);
/* Bytes held by all threads, as the allocator rounds them, and the most since qx_mem_peak_reset (0: this C
 * library does not tell sizes). Files that are mapped are not among them. */
int64_t qx_mem_bytes(void);
int64_t qx_mem_peak(void);
void qx_mem_peak_reset(void);

#endif
