/* Floating point of 8 bits, E5M2 (OCP 8-bit Floating Point Specification 1.0; arXiv 2209.05433): the upper
 * half of a binary16, values up to 57,344. The patterns of infinity, NaN and -0 have no level of their
 * own. */
#include "format/format.h"

#define LOWER QX_EDGE_LOWER
#define UPPER QX_EDGE_UPPER

/* One binade in steps of u, and the edges behind each of its values. Ties go to the even mantissa. */
#define UP(u)         4 * (u), 5 * (u), 6 * (u), 7 * (u)
#define DOWN(u)       -7 * (u), -6 * (u), -5 * (u), -4 * (u)
#define EDGES_UP(u)   LOWER(4.5 * (u)), UPPER(5.5 * (u)), LOWER(6.5 * (u)), UPPER(7.5 * (u))
#define EDGES_DOWN(u) LOWER(-7.5 * (u)), UPPER(-6.5 * (u)), LOWER(-5.5 * (u)), UPPER(-4.5 * (u))

/* All binades but the top one, behind which nothing follows. */
#define ASCENDING(X)                                                                            \
    X(0x1p-16f), X(0x1p-15f), X(0x1p-14f), X(0x1p-13f), X(0x1p-12f), X(0x1p-11f), X(0x1p-10f),  \
        X(0x1p-9f), X(0x1p-8f), X(0x1p-7f), X(0x1p-6f), X(0x1p-5f), X(0x1p-4f), X(0x1p-3f),     \
        X(0x1p-2f), X(0x1p-1f), X(1.0f), X(0x1p1f), X(0x1p2f), X(0x1p3f), X(0x1p4f), X(0x1p5f), \
        X(0x1p6f), X(0x1p7f), X(0x1p8f), X(0x1p9f), X(0x1p10f), X(0x1p11f), X(0x1p12f)
#define DESCENDING(X)                                                                            \
    X(0x1p12f), X(0x1p11f), X(0x1p10f), X(0x1p9f), X(0x1p8f), X(0x1p7f), X(0x1p6f), X(0x1p5f),   \
        X(0x1p4f), X(0x1p3f), X(0x1p2f), X(0x1p1f), X(1.0f), X(0x1p-1f), X(0x1p-2f), X(0x1p-3f), \
        X(0x1p-4f), X(0x1p-5f), X(0x1p-6f), X(0x1p-7f), X(0x1p-8f), X(0x1p-9f), X(0x1p-10f),     \
        X(0x1p-11f), X(0x1p-12f), X(0x1p-13f), X(0x1p-14f), X(0x1p-15f), X(0x1p-16f)

#define S 0x1p-16f /* step of the subnormal values */
static const float level[256] = {
    -57344, -49152, -40960, -32768, DESCENDING(DOWN), -3 * S, -2 * S, -S,
    0,      S,      2 * S,  3 * S,  ASCENDING(UP),    32768,  40960,  49152,
    57344};

static const float edge[255] = {UPPER(-53248),
                                LOWER(-45056),
                                UPPER(-36864),
                                DESCENDING(EDGES_DOWN),
                                LOWER(-3.5 * S),
                                UPPER(-2.5 * S),
                                LOWER(-1.5 * S),
                                UPPER(-0.5 * S),
                                LOWER(0.5 * S),
                                UPPER(1.5 * S),
                                LOWER(2.5 * S),
                                UPPER(3.5 * S),
                                ASCENDING(EDGES_UP),
                                LOWER(36864),
                                UPPER(45056),
                                LOWER(53248),
                                INFINITY,
                                INFINITY,
                                INFINITY,
                                INFINITY,
                                INFINITY,
                                INFINITY,
                                INFINITY,
                                INFINITY,
                                INFINITY};

static const struct qx_book book = {8, 247, 123, 57344.0f, level, edge};

const struct qx_format qx_fmt_fp8e5m2 = {
    .name = "fp8-e5m2",
    .title = "E5M2",
    .help = "8-bit floating point with 3 significant bits, values up to 57,344: range for detail.",
    .key = 'E',
    .kind = QX_FORMAT_TABLE,
    .min_bits = 8,
    .max_bits = 8,
    .book = &book,
};
