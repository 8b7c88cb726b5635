/* Results row by row, for all that measures. */
#ifndef QX_EVAL_SCORE_H
#define QX_EVAL_SCORE_H

#include "qx/eval.h"

/* Of n rows, none drawn or scored yet. */
enum qx_status qx_score_new(int64_t n, struct qx_eval_result **out, struct qx_error *err);
/* The chosen rows first .. first+n-1 into x [n, sample]: neighbours in one read. */
enum qx_status qx_score_read(const struct qx_dataset *data, const struct qx_eval_result *r,
                             int64_t first, int64_t n, int64_t sample, float *x,
                             struct qx_error *err);
/* Label, class and margin of rows first .. first+n-1 from their logits [n, n_classes]. */
void qx_score_rows(const struct qx_dataset *data, struct qx_eval_result *r, int64_t first,
                   int64_t n, const float *logits, int n_classes);
/* Class of the largest logit, the lowest on a tie; NaN is never the largest. */
int32_t qx_score_class(const float *logits, int n_classes);
/* Logit of the label minus the largest other one. */
float qx_score_margin(const float *logits, int n_classes, int32_t label);

#endif
