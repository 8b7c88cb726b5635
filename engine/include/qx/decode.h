/* A language model that goes on: token by token, with the keys and values of what came before kept.
 *
 *   struct qx_decode *d;
 *   qx_decode_open(net, weights, 256, pool, &d, err);     room for 256 places
 *   qx_decode_feed(d, prompt, n_prompt, ctl, err);        the whole prompt at once
 *   for (...) {
 *       int32_t id = qx_sampler_next(&sampler, qx_decode_logits(d), n_classes);
 *       qx_decode_feed(d, &id, 1, ctl, err);              one step
 *   }
 *   qx_decode_close(&d);
 *
 * Runs on every engine; the logits are those of qx_net_run on the same ids as one row: the same bits where
 * products are exact or per row (integer and packed), in float32 equal but for the order of BLAS's sums
 * (1e-5 of the largest logit; tested). One exception: an input that is quantized over a whole row
 * (dynamic, not per token) is here quantized over the places that are fed together. */
#ifndef QX_DECODE_H
#define QX_DECODE_H

#include "qx/net.h"

struct qx_decode;

/* Can it go on? Every place has logits and sees only those before it. QX_EUNSUPPORTED with the reason. */
enum qx_status qx_decode_check(const struct qx_net *net, struct qx_error *err);

/* Places that the network takes at most (of the config's positions). */
int64_t qx_decode_context_max(const struct qx_net *net);

/* Memory that qx_decode_open takes for `context` places: keys, values and one workspace. O(nodes). */
enum qx_status qx_decode_bytes(const struct qx_net *net, const struct qx_weights *w,
                               int64_t context, uint64_t *out, struct qx_error *err);

/* Nothing fed yet. All memory is taken here, steps take none. w must be prepared (qx_weights_prepare),
 * and net, w and pool outlive the state and stay as they are.
 *   context 1 .. qx_decode_context_max
 *   pool    products and heads of one step are shared out on it; NULL: this thread alone. Results do not
 *           depend on it.
 * QX_EUNSUPPORTED (qx_decode_check), QX_ERANGE (context), QX_ENOMEM. */
enum qx_status qx_decode_open(const struct qx_net *net, const struct qx_weights *w, int64_t context,
                              struct qx_pool *pool, struct qx_decode **out, struct qx_error *err);
void qx_decode_close(struct qx_decode **d); /* NULL allowed */

/* Go on with n ids, n >= 1: a prompt (run in pieces of up to 256 places) or one step. After a failure
 * the state is as before. QX_ERANGE: beyond the context; QX_EDATA: an id outside the vocabulary, named;
 * QX_ECANCELLED (asked after every layer). One thread at a time. */
enum qx_status qx_decode_feed(struct qx_decode *d, const int32_t *ids, int64_t n,
                              struct qx_ctl *ctl, struct qx_error *err);
/* Logits [classes] of the last place fed, until the next feed; NULL before the first. */
const float *qx_decode_logits(const struct qx_decode *d);
int64_t qx_decode_n(const struct qx_decode *d); /* places fed */
/* Forget the places from n on, 0 <= n <= qx_decode_n; logits are gone. */
void qx_decode_rewind(struct qx_decode *d, int64_t n);

/* ---- choosing the next token ---- */

/* Draws from the soft maximum of logits / temperature, among the likeliest tokens whose shares sum up to
 * top_p ("nucleus", Holtzman et al. 2020); temperature 0: the largest logit, the lower id where equal. */
struct qx_sampling {
    float temperature; /* >= 0; 0 */
    float top_p;       /* 0 < top_p <= 1; 1 */
    uint64_t seed;
};
struct qx_sampler;
/* QX_ERANGE: a number outside its range. */
enum qx_status qx_sampler_new(const struct qx_sampling *s, int n_classes, struct qx_sampler **out,
                              struct qx_error *err);
void qx_sampler_free(struct qx_sampler *s); /* NULL allowed */
/* The next id. Same seed and logits, same ids. NaN counts as -infinity. O(n log n) with top_p, else O(n). */
int32_t qx_sampler_next(struct qx_sampler *s, const float *logits);

#endif
