/* A random subset of rows. */
#include "eval/rows.h"

#include "base/rng.h"

void qx_rows_draw(int64_t n, int64_t k, uint64_t seed, int64_t *rows)
{
    struct qx_rng rng;
    qx_rng_init(&rng, seed);
    for (int64_t row = 0, taken = 0; taken < k; row++) { /* Knuth, TAOCP 2, algorithm 3.4.2 S */
        if (k == n || qx_rng_below(&rng, (uint64_t)(n - row)) < (uint64_t)(k - taken)) {
            rows[taken++] = row;
        }
    }
}
