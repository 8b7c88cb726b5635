/* P, the rows that effects are measured on again and again.
 *
 * Of most networks they are rows of the data. Of language models they are places: the first
 * QX_PREDICT_PREFIX tokens of some documents are run, and of their places (for the table a quarter, drawn by
 * seed) the logits are kept of the 64 tokens that float32
 * finds likeliest there, of the token that follows in the data, and of all others together (log of the sum
 * of their exponentials). Softmax of these is softmax of all logits, summed over the others: the token's
 * probability is exact, and the KL divergence a lower bound of the whole one. Where the vocabulary has no
 * more than 66 entries, all are kept.
 *
 * Of encoders without a classifier the answers are similarities: row i has those of its embedding with all rows'
 * (eval/similarity.h), so that float32's class is its most similar other row. */
#ifndef QX_EVAL_PLACES_H
#define QX_EVAL_PLACES_H

#include "qx/eval.h"

enum { QX_PLACES_LIKELIEST = 64, QX_PLACES_SLOTS = QX_PLACES_LIKELIEST + 2 };

struct qx_places {
    const struct qx_net *net;
    int64_t n;        /* answers */
    int n_classes;    /* of an answer: classes, slots, or rows */
    int n_tops;       /* the first ones that can be the answer: the rest of a vocabulary cannot */
    int64_t n_inputs; /* rows of x */
    float *x;         /* [n_inputs, sample_size] */
    int64_t *rows;    /* [n] ascending: rows of the data; of language models indices in input_ids */
    int32_t *labels;  /* [n]; NULL without labels */
    bool is_words;
    float *embeddings; /* [n, width] scratch of encoders without a classifier; else NULL */
    /* language models */
    int64_t *documents; /* [n_inputs] rows of the data */
    int64_t *end;       /* [n_inputs] places that are run */
    int64_t *first;     /* [n_inputs + 1] answers of each input */
    int64_t *place;     /* [n] of an answer in its input */
    int32_t *ids;       /* [n, QX_PLACES_SLOTS - 1] token of each slot; chosen by the first run */
    bool has_ids;
    int n_vocabulary;
};

/* rows: those of an earlier time, [n]; NULL: n by seed (all, if fewer). Of language models `rows` is not
 * looked at, and documents are drawn that have at least `spread` times as many tokens, where the data do.
 * QX_ENOMEM, QX_EDATA (ids outside the vocabulary, no token counts). */
enum qx_status qx_places_new(const struct qx_net *net, const struct qx_dataset *data,
                             const int64_t *rows, int64_t n, int64_t spread, uint64_t seed,
                             struct qx_places **out, struct qx_error *err);
void qx_places_free(struct qx_places *p); /* NULL allowed */
/* z [n, n_classes] under these weights, going on from `cut` of x (NULL: whole passes). The first run must
 * be float32's: it chooses the tokens. What qx_net_run and qx_net_run_from return. */
enum qx_status qx_places_run(struct qx_places *p, const struct qx_weights *w,
                             const struct qx_net_cut *cut, float *z, struct qx_pool *pool,
                             struct qx_ctl *ctl, struct qx_error *err);

#endif
