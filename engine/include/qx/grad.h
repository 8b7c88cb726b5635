/* A network run forwards and backwards on batches of rows: gradients for training. */
#ifndef QX_GRAD_H
#define QX_GRAD_H

#include "qx/net.h"

/* A network's parameters, and memory for passes over one batch and back. One thread at a time; the work
 * inside runs on the pool, in tiles of fixed size whose sums are added in a fixed order, so that results do
 * not depend on the number of threads. */
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

/* A tape for batches of at most `rows` rows, of a network of sequences with at most `longest` places (0: as many as
 * it takes). The net must outlive it. QX_ENOMEM.
 *
 * Memory: qx_tape_bytes. Where no node looks at the whole batch, each of at most QX_TAPE_LANES lanes takes a
 * tile (QX_TAPE_ROWS rows at most) forwards and back before the next one, so that it does not grow with the
 * batch. If the values of all lanes' tiles and their gradients take more than max_bytes, a tile goes block by
 * block (activation checkpointing, Chen et al., arXiv 1604.06174): what one block hands to the next is kept,
 * what lies inside is computed a second time on the way back, to the same bits. Then a lane holds, for a tile of the longest rows,
 *   2 x 4 bytes x (values between blocks + values of the largest block + the largest input of a layer)
 * and scratch of one operation. A block ends where only one value is still needed, such as behind each
 * half of a transformer's layer. Beside that: the parameters, stored, in use and their gradients, and each
 * lane's own gradients (lanes are halved, down to 2, while these exceed QX_TAPE_GRAD_BYTES). A network with
 * statistics of the batch keeps the values of all its tiles. */
#define QX_TAPE_ROWS       8
#define QX_TAPE_GRAD_BYTES (UINT64_C(256) << 20)
enum qx_status qx_tape_new(const struct qx_net *net, int64_t rows, int64_t longest,
                           uint64_t max_bytes, struct qx_tape **out, struct qx_error *err);
void qx_tape_free(struct qx_tape *t); /* NULL allowed */
/* Bytes that it has allocated: all it ever takes, with those of qx_tape_split. */
uint64_t qx_tape_bytes(const struct qx_tape *t);
int qx_tape_n_blocks(const struct qx_tape *t); /* 1: nothing is computed twice */

bool qx_tape_has_statistics(const struct qx_tape *t); /* of batches: qx_tape_follow */
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
    /* d: the gradient by y becomes that by x; sums for the quantizer's own parameters are its own business */
    void (*backward)(void *arg, int lane, const float *x, int64_t n, float *d);
};
/* NULL: float32. Copied. */
void qx_tape_act(struct qx_tape *t, int layer, const struct qx_tape_act *act);

enum qx_tape_mode {
    QX_TAPE_EVAL,  /* as inference */
    QX_TAPE_TRAIN, /* normalizations use the statistics of the batch */
    QX_TAPE_FROZEN /* for training with the running statistics as constants */
};
/* What the answers cost. Called once for each tile, from several threads at once: rows first .. first+n-1
 * of the batch. logits [n, classes], or where every place has some [start[n], classes], places
 * start[i] .. start[i+1]-1 being those of row first + i (else start is NULL). Returns a cost, and sets
 * d_logits (the same shape; NULL: not wanted) to its gradient. */
struct qx_tape_loss {
    void *arg;
    double (*cost)(void *arg, int64_t first, int64_t n, const int64_t *start, const float *logits,
                   float *d_logits);
};
/* Run x [n, sample_size], n <= rows: *sum = the costs of all tiles. with_grad: and back, to the gradient of
 * the sum by every parameter. QX_EDATA (also for a row longer than the tape was made for), QX_ECANCELLED: *sum and
 * gradients are of no meaning then. */
enum qx_status qx_tape_run(struct qx_tape *t, const float *x, int64_t n, enum qx_tape_mode mode,
                           const struct qx_tape_loss *loss, bool with_grad, double *sum,
                           struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err);
/* Running statistics follow the last run in mode TRAIN: r += momentum (batch - r). */
void qx_tape_follow(struct qx_tape *t, double momentum);

#endif
