/* Blocks of 32 values with one scale, as ggml stores them, and what searches for the scales of blocks try. */
#ifndef QXK_BLOCKS_H
#define QXK_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- whole blocks ---- */

/* Q4_0, Q5_0, Q8_0 (bits 4, 5, 8), and ranged: Q4_1, Q5_1. A block is: f16 d; ranged: f16 m; 5 bits: the fifth bits
 * of all 32 codes, 4 bytes; 4 and 5 bits: 16 bytes whose low halves are codes 0..15, high halves 16..31; 8 bits: 32
 * signed codes.
 *   4, 5 bits   z = 2^(bits - 1), d = (the value of largest magnitude, the first of equals) / -z,
 *               code = min(2z - 1, trunc(x * inv + (z + 0.5)))
 *   8 bits      d = the largest magnitude / 127, code = x * inv, halves away from zero
 *   ranged      d = (max - min) / (2^bits - 1), m = min, code = min(2^bits - 1, trunc((x - m) * inv + 0.5))
 * with inv = 1 / d, 0 where that is not finite. d and m are stored as the nearest binary16, at most 65504 in size.
 * x [32 * n_blocks] finite; out [n_blocks blocks]. */
typedef void qxk_plain_blocks_fn(const float *x, size_t n_blocks, int bits, bool is_ranged,
                                 uint8_t *out);

/* ---- tries ---- */

/* What is tried at once: codes q = rint(clamp(x * inv + shift, lo, hi)), ties to even, for QXK_TRIES pairs of inv and
 * shift. NaN counts as lo; |lo|, |hi| < 2^22. w [n]: weights, NULL = 1 each. Sums run over the values one after the
 * other in float32, without fma: the same bits on every rung. */
enum { QXK_TRIES = 16 };
struct qxk_tries {
    float inv[QXK_TRIES], shift[QXK_TRIES];
    float lo, hi;
};
struct qxk_code_sums {
    float q1[QXK_TRIES], q2[QXK_TRIES], xq[QXK_TRIES]; /* of w q, (w q) q, (w x) q */
};
typedef void qxk_code_sums_fn(const float *x, const float *w, int64_t n, const struct qxk_tries *t,
                              struct qxk_code_sums *out);
/* error[i] = sum of (w e) e, e = x - (scale q - min). */
typedef void qxk_code_errors_fn(const float *x, const float *w, int64_t n,
                                const struct qxk_tries *t, const float scale[QXK_TRIES],
                                const float min[QXK_TRIES], float error[QXK_TRIES]);

#endif
