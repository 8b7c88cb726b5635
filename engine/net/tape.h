/* What a tape holds. */
#ifndef QX_NET_TAPE_H
#define QX_NET_TAPE_H

#include "qx/grad.h"
#include "weights.h"

/* A part of a batch: its tiles are run one after the other. */
struct qx_lane_work {
    double cost;
    float *scratch;
    float *fake, *d_fake; /* a quantized input, and its gradient */
    float *grads;         /* [n_grads] of all parameters */
    double *sums;         /* [most_sums] of a batch operation */
    const float **in;     /* [QX_NODE_INPUTS] */
    float **d_in;
    struct qx_shape *shape;
    int64_t *start; /* [tile_rows + 1] */
    enum qx_status status;
    struct qx_error error;
};

struct qx_tape {
    const struct qx_net *net;
    struct qx_weights *stored; /* values of initializers that are no parameters */
    int64_t rows, tile_rows;   /* of a batch at most, of a tile */
    struct qx_room room;       /* of a tile */
    int n_lanes;

    /* by value */
    int *root;                    /* value whose memory this one is (views) */
    int *last;                    /* of roots: last node that reads it; n_nodes for the output */
    int *last_back;               /* of roots: last node that sends a gradient; -1: none */
    bool *needs_grad;             /* of roots */
    int64_t *tile_floats;         /* of computed roots */
    int64_t *value_at, *slope_at; /* of computed roots: value and gradient in a room; -1: none */

    /* Where the values of a tile lie: a room for each tile, or (no stops) for each lane. */
    float *rooms; /* [n_rooms][room_floats] */
    int64_t n_rooms, room_floats;
    int *block; /* [n_blocks + 1] first node of each, then n_nodes */
    int n_blocks;

    struct qx_param *params;
    int n_params;
    int *param_of;    /* [n_values] -1 */
    int64_t *grad_at; /* [n_params] in a lane's grads */
    int64_t n_grads, scratch_floats, input_floats, most_sums;
    struct qx_lane_work *lanes;

    int *stop; /* [n_stops] nodes that look at the whole batch */
    int n_stops;
    double **sums, **back_sums; /* [n_stops] */
    struct qx_tape_act *acts;   /* [n_layers] forward NULL: float32 */
    uint64_t bytes;

    /* the batch at hand */
    const float *x;
    int64_t n;
    enum qx_tape_mode mode;
    const struct qx_tape_loss *loss;
    bool with_grad;
};

/* Does a gradient come to what the node gives, and go on to what it reads? */
bool qx_tape_sends(const struct qx_tape *t, const struct qx_node *node);

/* tape_plan.c: blocks, and where values lie in a room. Needs root, last, last_back, needs_grad. QX_ENOMEM. */
enum qx_status qx_tape_plan(struct qx_tape *t, uint64_t max_bytes, struct qx_error *err);

#endif
