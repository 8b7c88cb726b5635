#include "kernels/pages.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 1 << 21, OWN_FROM = 1 << 20, SHARED_FROM = 1 << 17, LINE = 64 };

/* Memory of one owner, or one large page of several. */
struct block {
    void *memory;
    char *at; /* in `memory`, where the large pages begin */
    size_t used;
    int n_owners;
};

/* The page that the next small one goes to: a weight of some 100 KiB is not worth a large page of its own, but
 * half as fast without one. */
static struct {
    pthread_mutex_t lock;
    struct block *open;
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct block *block_new(size_t bytes, bool is_huge)
{
    size_t whole = 0;
    struct block *b = qx_mem_zalloc(sizeof *b);
    if (!b || !qx_size_add(bytes, is_huge ? 2 * (size_t)HUGE_PAGE : 0, &whole)) {
        qx_mem_free(b);
        return NULL;
    }
    b->memory = qx_mem_aligned(whole);
    if (!b->memory) {
        qx_mem_free(b);
        return NULL;
    }
    b->at = b->memory;
    b->n_owners = 1;
    if (is_huge) {
        const size_t length = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        b->at += (HUGE_PAGE - (uintptr_t)b->at % HUGE_PAGE) % HUGE_PAGE;
        /* Memory that was freed before has small pages: they go back, and come again as a large one. Both are
         * wishes: without them the weights are merely slower. */
        madvise(b->at, length, MADV_DONTNEED);
        madvise(b->at, length, MADV_HUGEPAGE);
    }
    return b;
}

static char *share(size_t bytes, void **owner)
{
    char *p = NULL;
    pthread_mutex_lock(&shared.lock);
    struct block *b = shared.open;
    if (b && bytes <= HUGE_PAGE - b->used) {
        b->n_owners++;
    } else {
        b = block_new(HUGE_PAGE, true);
        shared.open = b ? b : shared.open;
    }
    if (b) {
        p = b->at + b->used;
        b->used += (bytes + LINE - 1) / LINE * LINE;
        *owner = b;
    }
    pthread_mutex_unlock(&shared.lock);
    return p;
}

void *qxk_pages_alloc(size_t bytes, void **owner)
{
    char *p = NULL;
    if (bytes >= SHARED_FROM && bytes < OWN_FROM) {
        p = share(bytes, owner);
    } else {
        struct block *b = block_new(bytes, bytes >= OWN_FROM);
        p = b ? b->at : NULL;
        *owner = b;
    }
    return p ? memset(p, 0, bytes) : NULL;
}

void qxk_pages_free(void *owner)
{
    struct block *b = owner;
    if (!b) {
        return;
    }
    pthread_mutex_lock(&shared.lock);
    const bool is_last = --b->n_owners == 0;
    shared.open = is_last && b == shared.open ? NULL : shared.open;
    pthread_mutex_unlock(&shared.lock);
    if (is_last) {
        qx_mem_free(b->memory);
        qx_mem_free(b);
    }
}
