/* A growing pool of memory freed as a whole. Pointers stay valid until release. */
#ifndef QX_BASE_ARENA_H
#define QX_BASE_ARENA_H

#include <stddef.h>

struct qx_arena_block;
struct qx_arena {
    struct qx_arena_block *head;
};

/* Zero-initialised struct is an empty arena. Memory is 16-byte aligned and zeroed; NULL when out of
 * memory. One thread at a time. */
void *qx_arena_alloc(struct qx_arena *a, size_t bytes);
void *qx_arena_array(struct qx_arena *a, size_t n, size_t size); /* checked */
char *qx_arena_strdup(struct qx_arena *a, const char *s);
char *qx_arena_strndup(struct qx_arena *a, const char *s, size_t len);
char *qx_arena_printf(struct qx_arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void qx_arena_release(struct qx_arena *a); /* frees all; the struct is empty again */

#endif
