/* The memory plan: where each value lies in a worker's workspace, and how many rows a tile has. */
#ifndef QX_NET_PLAN_H
#define QX_NET_PLAN_H

#include "qx/status.h"

#include <stdint.h>

struct qx_net;
struct qx_arena;

/* Rows run together: fixed by the network alone, so that results do not depend on threads. */
#define QX_TILE_ROWS_MAX 16
/* Places of full sequences that a tile should not exceed: their codes stay in the second-level cache. */
#define QX_TILE_PLACES 256
/* Workspace that a tile of more than one row should not exceed, and that one row must not. */
#define QX_WORKSPACE_GOAL INT64_C(8388608)    /* floats: 32 MiB */
#define QX_WORKSPACE_MAX  INT64_C(1073741824) /* floats: 4 GiB */

struct qx_plan {
    int64_t tile_rows;
    int64_t floats;  /* of one workspace, scratch included */
    int64_t scratch; /* offset of the scratch area */
    int *root;       /* [n_values] value whose memory holds this one (views, in-place results) */
    int64_t *offset; /* [n_values] of roots that are computed; else -1 */
};

/* Values whose lifetimes do not meet share memory. QX_EUNSUPPORTED when one row needs more than
 * QX_WORKSPACE_MAX. Arrays live in the net's arena. */
enum qx_status qx_plan_make(struct qx_net *net, struct qx_error *err);

#endif
