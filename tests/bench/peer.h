/* Another library in the same run, when the build asks for it (-Dbench_peers=enabled). */
#ifndef PEER_H
#define PEER_H

#include "qx/bench.h"

/* NULL without one. */
extern const struct qx_kernel_peer *const peer;

#endif
