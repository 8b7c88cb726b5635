/* Shared by the parts of checkkern: guarded buffers, inputs, and one row per operation. */
#ifndef CHECKKERN_H
#define CHECKKERN_H

#include "base/rng.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory between two unmapped pages. */
struct guard {
    unsigned char *start;
    size_t bytes;
};

void guard_new(struct guard *g, size_t bytes);
void guard_free(struct guard *g);
/* A place for n bytes: against the front page plus `offset`, or so that it ends at the back page. */
void *guard_place(const struct guard *g, size_t n, size_t offset, bool at_end);

enum fill {
    FILL_ZERO,
    FILL_TINY,
    FILL_EXTREME,
    FILL_ALTERNATE,
    FILL_NORMAL,
    FILL_TIES,
    FILL_ONE_HOT,
    FILL_SPECIAL,
    FILL_BITS,
    FILL_COUNT
};

extern const char *const fill_names[FILL_COUNT];
/* n elements of the kind into p (unaligned): 'f' float32, 'h' 16-bit patterns, 'b' bytes. */
void fill_input(struct qx_rng *r, enum fill fill, char kind, void *p, size_t n);

/* One call under test. x and y are inputs of n elements each, out has room for 4 n bytes. */
struct kcall {
    const void *x, *y;
    void *out, *out_ref;
    size_t n;
    struct qx_rng *rng;
};

struct shape_test;

struct op_row {
    enum qxk_op op;
    char kind;        /* of the input, as fill_input */
    bool is_aligned;  /* the contract asks for float alignment of the input */
    bool is_slow;     /* touches megabytes a call: fewer cases */
    size_t out_bytes; /* written per element, 0 when the result is a struct */
    /* Runs the operation from both tables; true when they agree, else says why. */
    bool (*check)(const struct qxk_table *ref, const struct qxk_table *rung, const struct kcall *c,
                  char why[200]);
    void (*bench)(const struct qxk_table *t, const struct kcall *c);
    /* Operations with shapes: all cases in one go, instead of the members above (shapes.h). */
    void (*shapes)(struct shape_test *t);
};

/* fn(arg, why) with crashes caught: false, and why says so. */
bool run_guarded(bool (*fn)(void *arg, char why[200]), void *arg, char why[200]);
/* The avxvnni files built in the AVX-512 encoding, over the AVX2 table; NULL when the build lacks it. */
const struct qxk_table *evex256_table(void);

extern const struct op_row op_rows[QXK_OP_COUNT];

#endif
