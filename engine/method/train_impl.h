/* One training: what train.c runs and train_state.c keeps. */
#ifndef QX_METHOD_TRAIN_IMPL_H
#define QX_METHOD_TRAIN_IMPL_H

#include "method/qat.h"
#include "method/teach.h"

#include "base/rng.h"

/* Everything that learns, as it was at some step. */
struct qx_train_kept {
    float *values;          /* [n_values] all parameters, then scales of weights, then of inputs */
    struct qx_range *range; /* [quantized layers] of inputs */
    struct qxk_affine *act;
};

struct qx_train {
    const struct qx_net *net;
    const struct qx_dataset *data, *eval;
    struct qx_train_options o;
    const struct qx_train_watch *watch;
    struct qx_pool *pool;
    struct qx_ctl *ctl;

    struct qx_tape *tape;
    struct qx_qat qat;
    struct qx_slot *slots;
    int n_slots;
    float *moments; /* [n_moments] */
    int64_t n_moments;
    uint64_t key; /* qx_train_key before the first step */

    int64_t n_train, n_held_out, n_epoch; /* rows: to train on, held out, of one epoch */
    int64_t n_steps, step;                /* all, done */
    int64_t *order;                       /* [n_train + n_held_out] rows; held out ones last */
    int64_t *deck;     /* [n_train] places in order, as the time over all rows has them */
    int64_t *shuffled; /* [n_epoch] of the epoch: places in order */
    int64_t *rows;     /* of a batch */
    int64_t *count;    /* 0, 1, 2, ... */
    float *units;      /* of the largest quantized layer: qx_qat_units */
    struct qx_batch batch;
    struct qx_teacher teacher;

    struct qx_train_kept best;
    int64_t n_values;
    int best_epoch;
    double best_loss, best_accuracy, best_perplexity, start_s, steps_s;
};

/* ---- train_rows.c ---- */

/* Before all: rows and numbers of steps. QX_EDATA, QX_EUNSUPPORTED, QX_ENOMEM. */
enum qx_status qx_train_rows_draw(struct qx_train *t, struct qx_error *err);
/* Places of the longest row that is trained on or measured; 0 for a network without sequences. Uses t->batch.x. */
enum qx_status qx_train_rows_longest(struct qx_train *t, int64_t *longest, struct qx_error *err);
void qx_train_rows_epoch(struct qx_train *t, int epoch); /* t->shuffled of an epoch, 1.. */
/* t->batch: rows first .. first+batch-1 of the epoch, augmented. */
enum qx_status qx_train_rows_read(struct qx_train *t, int64_t first, struct qx_error *err);

/* ---- train_state.c ---- */

enum qx_status qx_train_kept_new(const struct qx_train *t, struct qx_train_kept *k,
                                 struct qx_error *err);
void qx_train_kept_free(struct qx_train_kept *k);
void qx_train_keep(const struct qx_train *t, struct qx_train_kept *k);    /* *k = now */
void qx_train_restore(struct qx_train *t, const struct qx_train_kept *k); /* now = *k */

/* train_result.c: the best state, settled; set: as they were given. */
enum qx_status qx_train_result(struct qx_train *t, const struct qx_setting *set,
                               struct qx_trained *out, struct qx_error *err);

/* ---- train_file.c ---- */
uint64_t qx_train_key(const struct qx_train *t);
/* Write the checkpoint after out->epochs epochs; a failure is logged. */
void qx_train_save(struct qx_train *t, const struct qx_trained *out);
/* Go on behind them: epochs and figures before training are set. QX_EIO, QX_EFORMAT, QX_EDATA (of another
 * training); nothing changed then. */
enum qx_status qx_train_load(struct qx_train *t, struct qx_trained *out, struct qx_error *err);

#endif
