/* What the figures of a benchmark say, in words: for the Bench screen and the verb. */
#ifndef UI_BENCH_TEXT_H
#define UI_BENCH_TEXT_H

#include "qx/session.h"

enum { UI_BENCH_TEXT = 400 };

/* Row of this variant that is done, NULL when there is none. */
const struct qx_bench_row *ui_bench_done(const struct qx_bench_row *rows, int n, const char *name);
/* Which arithmetic was measured: "integer", "float32", or "simulated" (a recipe in float32 on rounded
 * values). */
const char *ui_bench_engine(const struct qx_bench_row *r);
/* Whether 16 bits are slower or faster here and why, from the rows; false without FP32 and one of the
 * 16-bit rows. */
bool ui_bench_half_text(char buf[UI_BENCH_TEXT], const struct qx_bench_row *rows, int n);

#endif
