#include "names.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

/* Place of the name, or the free place where it belongs. cap is a power of two, never full. */
static size_t place_of(const struct qx_names *s, const char *name)
{
    size_t i = (size_t)qx_hash64(name, strlen(name), 0) & (s->cap - 1);
    while (s->name[i] && strcmp(s->name[i], name) != 0) {
        i = (i + 1) & (s->cap - 1);
    }
    return i;
}

int qx_names_find(const struct qx_names *s, const char *name)
{
    if (s->cap == 0) {
        return -1;
    }
    size_t i = place_of(s, name);
    return s->name[i] ? s->index[i] : -1;
}

static bool grow(struct qx_names *s)
{
    struct qx_names t = {.cap = s->cap ? 2 * s->cap : 64, .n = s->n};
    t.name = qx_mem_zalloc(t.cap * sizeof *t.name);
    t.index = qx_mem_zalloc(t.cap * sizeof *t.index);
    if (!t.name || !t.index) {
        qx_names_release(&t);
        return false;
    }
    for (size_t i = 0; i < s->cap; i++) {
        if (s->name[i]) {
            size_t k = place_of(&t, s->name[i]);
            t.name[k] = s->name[i];
            t.index[k] = s->index[i];
        }
    }
    qx_names_release(s);
    *s = t;
    return true;
}

bool qx_names_add(struct qx_names *s, const char *name, int index)
{
    if (2 * (s->n + 1) > s->cap && !grow(s)) {
        return false;
    }
    size_t i = place_of(s, name);
    s->name[i] = name;
    s->index[i] = index;
    s->n++;
    return true;
}

void qx_names_release(struct qx_names *s)
{
    qx_mem_free(s->name);
    qx_mem_free(s->index);
    memset(s, 0, sizeof *s);
}
