/* What a network is asked in training, and what it should have answered: labels, and the float32 network's own
 * answers. */
#ifndef QX_METHOD_TEACH_H
#define QX_METHOD_TEACH_H

#include "qx/eval.h"
#include "qx/grad.h"

/* A batch of rows. Of a language model every place that counts is answered, by the token behind it. */
struct qx_batch {
    const struct qx_net *net;
    bool is_words;
    int classes;
    int64_t n, most, sample, n_answers; /* rows, at most; values of a row; answers that count */
    float *x;                           /* [most][sample] */
    int32_t *labels;                    /* [most], of words [most][sample] (-1: does not count) */
    float *next;                        /* words: [2][sample] */
    double share,
        temperature; /* of the loss; the share of the teacher is 0 where it is not asked */
    float *q;        /* the teacher's [most][classes], of words [most][sample][classes] */
    double *q_log_q; /* [most], of words [most][sample] */
    int64_t *right;  /* [most] answers of the row that are right, after a run without gradient */
};
/* For at most `most` rows. has_teacher: with room for its answers. QX_ENOMEM. */
enum qx_status qx_batch_new(struct qx_batch *b, const struct qx_net *net, int64_t most,
                            bool has_teacher, struct qx_error *err);
void qx_batch_release(struct qx_batch *b);
/* These rows of the data, and their labels. QX_EDATA without labels. */
enum qx_status qx_batch_read(struct qx_batch *b, const struct qx_dataset *data, const int64_t *rows,
                             int64_t n, struct qx_error *err);
/* The mean of qx_loss_row over the answers of the batch, as a tape takes it. */
struct qx_tape_loss qx_batch_loss(struct qx_batch *b);

/* The teacher: float32, asked once for all rows (qx_teacher_keep), or about each batch. */
struct qx_teacher {
    struct qx_weights *weights;
    int64_t n_kept;  /* rows */
    float *q;        /* [n_kept][classes] */
    double *q_log_q; /* [n_kept] */
};
enum qx_status qx_teacher_new(struct qx_teacher *t, const struct qx_net *net, struct qx_error *err);
void qx_teacher_release(struct qx_teacher *t);
/* Classifiers: its answers to these rows of the data, kept in this order. QX_ENOMEM, QX_ECANCELLED. */
enum qx_status qx_teacher_keep(struct qx_teacher *t, struct qx_batch *b,
                               const struct qx_dataset *data, const int64_t *rows, int64_t n,
                               struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err);
/* Its answers to the batch: kept[i] is the number of row i among those kept. */
enum qx_status qx_teacher_ask(const struct qx_teacher *t, struct qx_batch *b, const int64_t *kept,
                              struct qx_pool *pool, struct qx_ctl *ctl, struct qx_error *err);

#endif
