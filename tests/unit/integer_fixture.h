/* Networks written on the spot, for the tests of the integer engine. Everything is asserted. */
#ifndef INTEGER_FIXTURE_H
#define INTEGER_FIXTURE_H

#include "net_fixture.h"

enum { ROWS = 37 }; /* more than a tile */

/* For cmocka groups: a fresh folder as the working directory, and away with it. */
int integer_enter(void **state);
int integer_leave(void **state);

/* Write graph.json beside model.safetensors here, and open both. input: the shape of x. */
void integer_open_written(struct folder *f, const char *nodes, const char *input,
                          const char *output);
void integer_apply(struct folder *f, int layer, const struct qx_setting *s);
void integer_prepare(struct folder *f, enum qx_engine engine);
/* Logits of n rows; free with free. */
float *integer_run(const struct folder *f, const float *x, int64_t n, struct qx_pool *pool);

#endif
