/* Attention of one head over one sequence, float32. */
#ifndef QXK_ATTENTION_H
#define QXK_ATTENTION_H

#include <stdint.h>

/* out[i] = sum over keys j of p[j] v[j], p = softmax over j of scale * (q[i] . k[j]). Both sums run by fma
 * in order from 0, the soft maximum is qxk_softmax_fn's: the same bits on every rung for finite values.
 * A value that a query does not see counts as 0 times itself. n_q, n_k, d >= 1; out overlaps nothing. */
struct qxk_attention {
    const float *q, *k, *v; /* [n_q][ld_q], [n_k][ld_kv], [n_k][ld_kv]; d values of each row */
    float *out;             /* [n_q][ld_q] */
    int64_t n_q, n_k, d, ld_q, ld_kv;
    int64_t seen; /* keys that the first query sees, the next one more, and so on; 0: all see all */
    float scale;
    float *scratch; /* qxk_attention_scratch floats, 64-byte aligned */
};
typedef void qxk_attention_fn(const struct qxk_attention *a);

/* Keys lie in panels of 64, transposed; the scores of up to 6 queries behind them. */
#define QXK_ATTENTION_PANEL   64
#define QXK_ATTENTION_QUERIES 6
int64_t qxk_attention_scratch(int64_t n_k, int64_t d);

#endif
