#include "base/arena.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK_BYTES = 16384, ALIGN = 16 };

struct qx_arena_block {
    struct qx_arena_block *next;
    size_t used, cap;
    size_t pad; /* keeps data[] 16-byte aligned */
    unsigned char data[];
};

static struct qx_arena_block *block_new(size_t cap)
{
    size_t bytes;
    if (!qx_size_add(sizeof(struct qx_arena_block), cap, &bytes)) {
        return NULL;
    }
    struct qx_arena_block *b = qx_mem_zalloc(bytes);
    if (b) {
        b->cap = cap;
    }
    return b;
}

void *qx_arena_alloc(struct qx_arena *a, size_t bytes)
{
    size_t rounded;
    if (!qx_size_add(bytes ? bytes : 1, ALIGN - 1, &rounded)) {
        return NULL;
    }
    rounded &= ~(size_t)(ALIGN - 1);
    struct qx_arena_block *b = a->head;
    if (!b || b->cap - b->used < rounded) {
        bool is_big = rounded > BLOCK_BYTES / 4;
        b = block_new(is_big ? rounded : BLOCK_BYTES);
        if (!b) {
            return NULL;
        }
        if (is_big && a->head) { /* keep filling the small block in front */
            b->next = a->head->next;
            a->head->next = b;
        } else {
            b->next = a->head;
            a->head = b;
        }
    }
    void *p = b->data + b->used;
    b->used += rounded;
    return p;
}

void *qx_arena_array(struct qx_arena *a, size_t n, size_t size)
{
    size_t bytes;
    return qx_size_mul(n, size, &bytes) ? qx_arena_alloc(a, bytes) : NULL;
}

char *qx_arena_strndup(struct qx_arena *a, const char *s, size_t len)
{
    char *p = len < SIZE_MAX ? qx_arena_alloc(a, len + 1) : NULL;
    if (p) {
        memcpy(p, s, len);
    }
    return p;
}

char *qx_arena_strdup(struct qx_arena *a, const char *s)
{
    return qx_arena_strndup(a, s, strlen(s));
}

char *qx_arena_printf(struct qx_arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n >= 0 ? qx_arena_alloc(a, (size_t)n + 1) : NULL;
    if (p) {
        va_start(ap, fmt);
        vsnprintf(p, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    return p;
}

void qx_arena_release(struct qx_arena *a)
{
    struct qx_arena_block *b = a->head;
    while (b) {
        struct qx_arena_block *next = b->next;
        qx_mem_free(b);
        b = next;
    }
    a->head = NULL;
}
