#ifndef QX_EVAL_ROWS_H
#define QX_EVAL_ROWS_H

#include <stdint.h>

/* k of n rows by seed, ascending, each set of k equally likely. rows[k]. */
void qx_rows_draw(int64_t n, int64_t k, uint64_t seed, int64_t *rows);

#endif
