/* Rows of the Bench screen: one per variant and one for the recipe, filled by tasks of the queue. Host thread only. */
#ifndef QX_SESSION_BENCH_H
#define QX_SESSION_BENCH_H

#include "session/lane.h"

enum { QX_BENCH_ROWS = 17 }; /* room for the table of variants and the recipe */

struct qx_bench {
    struct qx_bench_row row[QX_BENCH_ROWS];
    struct qx_task *task[QX_BENCH_ROWS]; /* out with the queue lane; NULL = none */
    uint64_t key;                        /* of the recipe that was measured */
};

#endif
