/* A set of names with an index each: values and nodes of a graph, found in O(1). */
#ifndef QX_NET_NAMES_H
#define QX_NET_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Zero-initialised is empty. Names are borrowed. */
struct qx_names {
    const char **name; /* [cap], NULL = free place */
    int *index;
    size_t n, cap;
};

int qx_names_find(const struct qx_names *s, const char *name); /* -1 when absent */
/* The name must be new. False when out of memory. */
bool qx_names_add(struct qx_names *s, const char *name, int index);
void qx_names_release(struct qx_names *s);

#endif
