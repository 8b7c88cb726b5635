/* What a network says of P, the rows of suffix replay: in float32, and under the weights of now. */
#ifndef QX_EVAL_ANSWERS_H
#define QX_EVAL_ANSWERS_H

#include "eval/places.h"

struct qx_answers {
    const struct qx_dataset *data;
    struct qx_places *p;
    int n_classes;
    struct qx_eval_result *before,
        *after;  /* of float32, of the last run; rows of language models: tokens */
    float *fp32; /* [n, classes] logits */
    float *now;  /* the same of the last run; NULL: a language model */
    bool has_run;
};

/* n rows (of language models tokens that count) by seed, all if there are fewer. Nothing is run yet.
 * QX_ENOMEM, QX_EDATA as qx_places_new. */
enum qx_status qx_answers_new(const struct qx_net *net, const struct qx_dataset *data, int64_t n,
                              uint64_t seed, struct qx_answers **out, struct qx_error *err);
void qx_answers_free(struct qx_answers *a); /* NULL allowed */
/* Run P under w, from `cut` of it (NULL: whole passes), and score it: the first time, which must be
 * float32's, into both, then into after. What qx_net_run and qx_net_run_from return; QX_EDATA where a
 * language model's logits are no numbers. */
enum qx_status qx_answers_run(struct qx_answers *a, const struct qx_weights *w,
                              const struct qx_net_cut *cut, struct qx_pool *pool,
                              struct qx_ctl *ctl, struct qx_error *err);
/* Mean over P of KL(softmax of float32's logits || softmax of the last run's), nats. */
double qx_answers_kl(const struct qx_answers *a);

#endif
