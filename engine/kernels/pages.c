#include "kernels/pages.h"
#include "base/mem.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 1 << 21, HUGE_FROM = 1 << 20 };

void *qxk_pages_alloc(size_t bytes, void **owner)
{
    size_t whole = 0;
    bool is_huge = bytes >= HUGE_FROM;
    if (is_huge && !qx_size_add(bytes, 2 * (size_t)HUGE_PAGE, &whole)) {
        return NULL;
    }
    char *memory = qx_mem_aligned(is_huge ? whole : bytes), *p = memory;
    if (!memory) {
        return NULL;
    }
    if (is_huge) {
        size_t length = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        p += (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
        madvise(p, length, MADV_HUGEPAGE); /* a wish: without it the weights are merely slower */
    }
    memset(p, 0, bytes);
    *owner = memory;
    return p;
}

void qxk_pages_free(void *owner)
{
    qx_mem_free(owner);
}
