/* A network run forwards and backwards on batches of rows: gradients for training. */
#ifndef QX_GRAD_H
#define QX_GRAD_H

#include "qx/net.h"

/* Everything that a pass over one batch leaves for the way back. One thread at a time; the work inside
 * runs on the pool, in tiles of fixed size whose sums are added in a fixed order, so that results do not
 * depend on the number of threads. */
struct qx_tape;

enum qx_param_kind {
    QX_PARAM_WEIGHT,   /* of a layer */
    QX_PARAM_OTHER,    /* biases, scales and shifts of norms */
    QX_PARAM_STATISTIC /* running mean or variance: no gradient */
};

/* One initializer that training changes. Arrays are the tape's. */
struct qx_param {
    const char *name; /* the tensor's */
    int64_t tensor;
    int layer; /* that it is the weight of, else -1 */
    enum qx_param_kind kind;
    int64_t n;
    float *value; /* [n] starts at the stored values */
    float *used;  /* [n] what passes read: value itself, until qx_tape_split */
    float *grad;  /* [n] of the loss by `used`, from the last backward; NULL for statistics */
};

/* A tape for batches of at most `rows` rows. The net must outlive it. Memory: qx_tape_bytes.
 * QX_EUNSUPPORTED names the operation that cannot be trained through; QX_ENOMEM. */
enum qx_status qx_tape_new(const struct qx_net *net, int64_t rows, struct qx_tape **out,
                           struct qx_error *err);
void qx_tape_free(struct qx_tape *t); /* NULL allowed */
/* Bytes of values and gradients of a batch, and of parameters with their partial gradients. */
uint64_t qx_tape_bytes(const struct qx_tape *t);
/* The operation that keeps the network from being trained, NULL when there is none. O(nodes). */
const char *qx_net_untrainable(const struct qx_net *net);

int qx_tape_n_params(const struct qx_tape *t);
struct qx_param *qx_tape_param(struct qx_tape *t, int i);
struct qx_param *qx_tape_weight(struct qx_tape *t, int layer); /* of a layer */
/* Give a parameter a `used` of its own, a copy of value. QX_ENOMEM. */
enum qx_status qx_tape_split(struct qx_tape *t, struct qx_param *p, struct qx_error *err);

/* How the input of a layer is quantized on the way, and its gradient. Called for tiles, from several
 * threads at once; lane 0..QX_TAPE_LANES-1 names the part of the batch that the tile belongs to: tiles of
 * one lane come in order, from one thread at a time. */
enum { QX_TAPE_LANES = 8 };
struct qx_tape_act {
    void *arg;
    void (*forward)(void *arg, int lane, const float *x, int64_t n, float *y);
    /* d_x[i] += what d_y[i] brings; sums for the quantizer's own parameters are its own business */
    void (*backward)(void *arg, int lane, const float *x, const float *d_y, int64_t n, float *d_x);
};
/* NULL: float32. Copied. */
void qx_tape_act(struct qx_tape *t, int layer, const struct qx_tape_act *act);

enum qx_tape_mode {
    QX_TAPE_EVAL,  /* as inference */
    QX_TAPE_TRAIN, /* normalizations use the statistics of the batch */
    QX_TAPE_FROZEN /* for training with the running statistics as constants */
};
/* x [n, sample_size], n <= rows. logits [n, classes]. The values stay for qx_tape_backward.
 * QX_EDATA, QX_ECANCELLED. */
enum qx_status qx_tape_forward(struct qx_tape *t, const float *x, int64_t n, enum qx_tape_mode mode,
                               float *logits, struct qx_pool *pool, struct qx_ctl *ctl,
                               struct qx_error *err);
/* From the gradient by the logits of the last forward (whose x is still there) to that by every
 * parameter. QX_ECANCELLED. */
enum qx_status qx_tape_backward(struct qx_tape *t, const float *d_logits, struct qx_pool *pool,
                                struct qx_ctl *ctl, struct qx_error *err);
/* Running statistics follow the last forward in mode TRAIN: r += momentum (batch - r). */
void qx_tape_follow(struct qx_tape *t, double momentum);

#endif
