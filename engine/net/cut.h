/* The values alive between two nodes, kept for many rows, so that a pass can go on from there. */
#ifndef QX_NET_CUT_H
#define QX_NET_CUT_H

#include "net/exec.h"

/* One root of the memory plan. Tiles lie one after the other, as the workspace had them: of sequences place
 * behind place, with room for full ones. */
struct qx_cut_slot {
    int root;
    struct qx_exec_value form; /* of the value that fills it; zero in a float32 pass */
    size_t unit_bytes;         /* of a row, of sequences of a place */
    size_t offset;
};

struct qx_net_cut {
    const struct qx_net *net;
    int node;  /* the first that has not run */
    int64_t n; /* rows */
    bool is_integer;
    uint64_t folded;           /* of the program's values (qx_exec_folded) */
    struct qx_cut_slot *slots; /* [n_slots] */
    int n_slots;
    uint8_t *data;
    size_t bytes;
};

/* First node that reads the tensor of a layer. */
int qx_cut_node(const struct qx_net *net, int layer);
/* What is alive before `node` when the weights are as they are: everything but `data`. */
enum qx_status qx_cut_layout(const struct qx_net *net, const struct qx_weights *w, int node,
                             int64_t n, struct qx_net_cut *out, struct qx_error *err);
void qx_cut_release(struct qx_net_cut *c);
/* Would a pass under these weights find what it needs? QX_EDATA when it would not. */
enum qx_status qx_cut_check(const struct qx_net_cut *c, const struct qx_weights *w,
                            struct qx_error *err);

/* Between a worker's workspace and a cut, for the tile of rows first .. end-1. start: places before each
 * row of all (NULL: no sequences); x: all rows of the input. */
void qx_cut_store(struct qx_net_cut *c, int64_t first, int64_t end, const int64_t *start,
                  const float *x, const struct qx_layout *l, const float *space);
void qx_cut_load(const struct qx_net_cut *c, int64_t first, int64_t end, const int64_t *start,
                 const struct qx_layout *l, float *space);
/* All rows of the input; NULL when nothing behind reads it. */
const float *qx_cut_input(const struct qx_net_cut *c);

#endif
