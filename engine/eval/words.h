/* Language models measured token by token, as classifiers of the next one. */
#ifndef QX_EVAL_WORDS_H
#define QX_EVAL_WORDS_H

#include "qx/eval.h"

/* qx_eval_run of documents. */
enum qx_status qx_words_run(const struct qx_net *net, const struct qx_dataset *data,
                            struct qx_weights *w, const struct qx_eval_options *options,
                            struct qx_pool *pool, struct qx_ctl *ctl, struct qx_eval_result **out,
                            struct qx_error *err);
/* A result of the first n_documents (0 = all) with rows and labels filled in and nothing else: what any
 * measurement of them shares. QX_EDATA (no token counts, ids outside the vocabulary). */
enum qx_status qx_words_new(const struct qx_net *net, const struct qx_dataset *data,
                            int64_t n_documents, struct qx_eval_result **out, struct qx_error *err);
/* Row `at` of r, whose label is there, from the logits of its place, z [n_classes]: class, margin, nll. kept
 * [n_classes], NULL allowed: where r has no kl, takes a copy of z; else what r->kl compares with. */
void qx_words_score(struct qx_eval_result *r, int64_t at, const float *z, int n_classes,
                    float *kept);
/* ce and perplexity from the rows' nll. QX_EDATA where one is NaN. */
enum qx_status qx_words_finish(struct qx_eval_result *r, struct qx_error *err);

#endif
