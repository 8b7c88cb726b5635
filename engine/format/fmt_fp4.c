/* Floating point of 4 bits, E2M1 (OCP Microscaling Formats 1.0, table 5): two exponent bits, one of
 * mantissa, no infinity. The pattern of -0 has no level of its own. */
#include "format/format.h"

#define LOWER QX_EDGE_LOWER
#define UPPER QX_EDGE_UPPER

static const float level[16] = {-6, -4, -3, -2, -1.5f, -1, -0.5f, 0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 6};

/* Ties go to the even mantissa: 0, 1, 2, 4. */
static const float edge[15] = {
    UPPER(-5),    LOWER(-3.5),  UPPER(-2.5), LOWER(-1.75), UPPER(-1.25),
    LOWER(-0.75), UPPER(-0.25), LOWER(0.25), UPPER(0.75),  LOWER(1.25),
    UPPER(1.75),  LOWER(2.5),   UPPER(3.5),  LOWER(5),     INFINITY,
};

static const struct qx_book book = {4, 15, 7, 6.0f, level, edge};

const struct qx_format qx_fmt_fp4 = {
    .name = "fp4",
    .title = "FP4",
    .help = "4-bit floating point E2M1 of the OCP standard: 0, .5, 1, 1.5, 2, 3, 4, 6, T at 6.",
    .key = 'p',
    .kind = QX_FORMAT_TABLE,
    .min_bits = 4,
    .max_bits = 4,
    .book = &book,
};
