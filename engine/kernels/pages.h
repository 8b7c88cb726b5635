/* Memory of packed weights. */
#ifndef QXK_PAGES_H
#define QXK_PAGES_H

#include <stddef.h>

/* Zeroed, 64-byte aligned; *owner is what qxk_pages_free takes. From 128 KiB on in 2-MiB pages where the system
 * grants them, below 1 MiB in one that several share: a single row of activations reads weights 1.5 times
 * faster from those. NULL without memory. Any thread. */
void *qxk_pages_alloc(size_t bytes, void **owner);
void qxk_pages_free(void *owner); /* NULL allowed */

#endif
