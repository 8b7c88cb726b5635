/* The memory plan: where each value lies in a worker's workspace, and how many rows a tile has. */
#ifndef QX_NET_PLAN_H
#define QX_NET_PLAN_H

#include "net/shape.h"

struct qx_net;
struct qx_arena;

/* Rows run together, at most: fixed by the network alone, so that results do not depend on threads. Sequences
 * of a plain pass share tiles by their places instead (struct qx_tiles). */
#define QX_TILE_ROWS_MAX 16
/* Places that a tile of several rows should not exceed: their codes stay in the second-level cache. */
#define QX_TILE_PLACES 256
/* Workspace that a tile of more than one row should not exceed, and that one row must not. */
#define QX_WORKSPACE_GOAL INT64_C(8388608)    /* floats: 32 MiB */
#define QX_WORKSPACE_MAX  INT64_C(1073741824) /* floats: 4 GiB */

/* Workspace that a language model's longest row should not exceed when nobody asks for a context. */
#define QX_WORKSPACE_CONTEXT INT64_C(67108864) /* floats: 256 MiB */

/* Places that are run at a time behind the last node that looks at other places (qx_plan.tail): so many
 * logits are in memory. */
#define QX_TAIL_PLACES 64

/* Where values lie in one workspace. */
struct qx_layout {
    struct qx_room room;
    /* Nodes from `tail` on run for `tail_places` places at a time: what they compute has room for so
     * many, what they read lies there for all. n_nodes: there is none. */
    int tail;
    int64_t tail_places;
    int64_t floats;  /* of the workspace, scratch included */
    int64_t scratch; /* offset of the scratch area */
    int64_t *offset; /* [n_values] of roots that are computed; else -1 */
};

struct qx_plan {
    int64_t tile_rows;
    int *root;   /* [n_values] value whose memory holds this one (views, in-place results) */
    int *filler; /* [n_values] of computed roots: first node that writes there; else -1 */
    int *last;   /* [n_values] of roots: last node that reads them; n_nodes: the caller */
    int tail;    /* first node from which on every place is on its own; n_nodes: none */
    /* a tile of tile_rows full rows, without a tail but where that would be beyond QX_WORKSPACE_CONTEXT */
    struct qx_layout whole;
};

/* Values whose lifetimes do not meet share memory. QX_EUNSUPPORTED when one row needs more than
 * QX_WORKSPACE_MAX (but where the context is still to be chosen). Arrays live in the net's arena. */
enum qx_status qx_plan_make(struct qx_net *net, struct qx_error *err);

/* Another layout: `out` has room, tail and tail_places, and gets the rest. QX_EUNSUPPORTED as above. */
enum qx_status qx_layout_make(const struct qx_net *net, struct qx_layout *out,
                              struct qx_error *err);
void qx_layout_release(struct qx_layout *l);
/* Is the memory of this root filled for some places at a time? */
bool qx_layout_in_tail(const struct qx_net *net, const struct qx_layout *l, int root);

#endif
