/* Surviving a file that shrinks while it is mapped. */
#ifndef QX_MAPFAULT_H
#define QX_MAPFAULT_H

#include <stdbool.h>

/* For the program's SIGBUS handler. When addr lies in a mapped model file, maps a zero page over
 * the torn page, marks the file torn, and returns true: the read then yields zeros and the tensors of
 * that file are flagged unreadable. False: not ours, restore the default action and re-raise.
 * Async-signal-safe. */
bool qx_map_fault(void *addr);

#endif
