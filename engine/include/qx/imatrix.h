/* Importance of the inputs of weights, as llama.cpp gathers it on calibration texts: the mean square of every input.
 * Read is the older of its two kinds of file, imatrix.dat (little-endian; ggml-org/llama.cpp, tools/imatrix):
 *   int32 entries; each: int32 length, name, int32 calls, int32 n, float32[n] = mean x^2 * calls;
 *   and, in files of 2024 on, int32 last chunk, int32 length, name of the data. */
#ifndef QX_IMATRIX_H
#define QX_IMATRIX_H

#include "qx/status.h"

#include <stddef.h>
#include <stdint.h>

/* Of one tensor's inputs: what the squared error of a weight counts, in the mean over the inputs 1 (all 1 where
 * nothing was ever seen). */
struct qx_importance {
    uint64_t key; /* hash of the values, never 0 */
    int64_t n;
    const float *v; /* [n] finite, not below 0 */
};

struct qx_imatrix; /* immutable; any thread */

/* QX_EFORMAT: not such a file, or damaged; the newer GGUF kind is QX_EUNSUPPORTED (text: what to do). Memory: the
 * file's. QX_EIO, QX_ERANGE (larger than 1 GiB), QX_ENOMEM. */
enum qx_status qx_imatrix_open(const char *path, struct qx_imatrix **out, struct qx_error *err);
/* The same from memory, copied. file: for messages. */
enum qx_status qx_imatrix_parse(const void *data, size_t len, const char *file,
                                struct qx_imatrix **out, struct qx_error *err);
void qx_imatrix_free(struct qx_imatrix *m); /* NULL allowed */
int64_t qx_imatrix_n(const struct qx_imatrix *m);
const char *qx_imatrix_name(const struct qx_imatrix *m,
                            int64_t i); /* GGUF's: "blk.0.attn_q.weight" */
const struct qx_importance *qx_imatrix_at(const struct qx_imatrix *m, int64_t i);
/* NULL when there is none of that name. */
const struct qx_importance *qx_imatrix_find(const struct qx_imatrix *m, const char *name);
const char *
qx_imatrix_data(const struct qx_imatrix *m);         /* what it was gathered on; "" = not said */
uint64_t qx_imatrix_key(const struct qx_imatrix *m); /* hash of names and values, never 0 */

#endif
