/* What a tape holds. */
#ifndef QX_NET_TAPE_H
#define QX_NET_TAPE_H

#include "qx/grad.h"
#include "weights.h"

/* A part of a batch: its tiles are run one after the other. */
struct qx_lane_work {
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
    int n_lanes;

    /* by value */
    int *root;            /* value whose memory this one is (views) */
    int *last;            /* of roots: last node that reads it; n_nodes for the output */
    bool *needs_grad;     /* of roots */
    int64_t *tile_floats; /* of computed roots */
    float **value, **grad;

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
};

#endif
