/* Measuring a network on labelled rows. */
#ifndef QX_EVAL_H
#define QX_EVAL_H

#include "qx/net.h"

/* ---- data ---- */

struct qx_dataset;

/* Open a data file (model-folder.md section 4, classification) for a network: x [N, ...], labels [N],
 * optional x.scale and x.offset. Shapes, dtypes and label range are checked against the net.
 * QX_EIO, QX_EFORMAT, QX_EDATA (does not fit the network), QX_ENOMEM. */
enum qx_status qx_dataset_open(const char *path, const struct qx_net *net, struct qx_dataset **out,
                               struct qx_error *err);
void qx_dataset_close(struct qx_dataset **data);
int64_t qx_dataset_n(const struct qx_dataset *data);
const char *qx_dataset_path(const struct qx_dataset *data);
/* 16 hex digits, of header and values (of tensors beyond 64 MiB: 64 samples of 1 MiB). */
const char *qx_dataset_hash(const struct qx_dataset *data);
int qx_dataset_label(const struct qx_dataset *data, int64_t row); /* -1 without labels */
/* Real values of rows first .. first+n-1 into x [n, sample_size]. */
enum qx_status qx_dataset_read(const struct qx_dataset *data, int64_t first, int64_t n, float *x,
                               struct qx_error *err);

/* ---- measuring ---- */

struct qx_eval_options {
    int64_t max_samples; /* 0 = all; else that many rows drawn by seed, in row order */
    uint64_t seed;
};

/* Owned; free with qx_eval_result_free. Immutable once made. */
struct qx_eval_result {
    int64_t n, correct;
    double accuracy;     /* 0..1 */
    double ci_lo, ci_hi; /* Wilson interval at 95 % */
    double macro_f1;     /* mean over the classes that occur as label or as prediction */
    double time_s;
    int64_t *rows;      /* [n] row numbers in the data set */
    int32_t *predicted; /* [n] class of the largest logit, lowest index on a tie; NaN loses */
    float *margin;      /* [n] logit of the label minus the largest other logit */
    int32_t *label;     /* [n] */
};
/* options NULL = all rows. Progress in rows. QX_EDATA without labels; what qx_net_forward returns. */
enum qx_status qx_eval_run(const struct qx_net *net, const struct qx_dataset *data,
                           const struct qx_weights *w, const struct qx_eval_options *options,
                           struct qx_pool *pool, struct qx_ctl *ctl, struct qx_eval_result **out,
                           struct qx_error *err);
void qx_eval_result_free(struct qx_eval_result *r); /* NULL allowed */

/* Two measurements of the same rows. */
struct qx_eval_pair {
    int64_t n;
    int64_t flips;    /* rows whose predicted class differs */
    int64_t lost;     /* right in a, wrong in b */
    int64_t gained;   /* wrong in a, right in b */
    double agreement; /* 1 - flips / n */
    double delta;     /* accuracy of b minus accuracy of a */
    double mcnemar_p; /* exact two-sided binomial test of lost against gained (McNemar 1947) */
};
/* QX_EDATA when the rows differ. */
enum qx_status qx_eval_compare(const struct qx_eval_result *a, const struct qx_eval_result *b,
                               struct qx_eval_pair *out, struct qx_error *err);
/* Wilson score interval (Wilson 1927), z = 1.96. */
void qx_wilson(int64_t correct, int64_t n, double *lo, double *hi);

#endif
