/* Floating point of 8 bits, E4M3 (OCP 8-bit Floating Point Specification 1.0; arXiv 2209.05433): four
 * exponent bits, three of mantissa, values up to 448, no infinity. The patterns of NaN and -0 have no
 * level of their own. */
#include "format/format.h"

#define LOWER QX_EDGE_LOWER
#define UPPER QX_EDGE_UPPER

/* One binade in steps of u, and the edges behind each of its values. Ties go to the even mantissa. */
#define UP(u)   8 * (u), 9 * (u), 10 * (u), 11 * (u), 12 * (u), 13 * (u), 14 * (u), 15 * (u)
#define DOWN(u) -15 * (u), -14 * (u), -13 * (u), -12 * (u), -11 * (u), -10 * (u), -9 * (u), -8 * (u)
#define EDGES_UP(u)                                                                              \
    LOWER(8.5 * (u)), UPPER(9.5 * (u)), LOWER(10.5 * (u)), UPPER(11.5 * (u)), LOWER(12.5 * (u)), \
        UPPER(13.5 * (u)), LOWER(14.5 * (u)), UPPER(15.5 * (u))
#define EDGES_DOWN(u)                                                               \
    LOWER(-15.5 * (u)), UPPER(-14.5 * (u)), LOWER(-13.5 * (u)), UPPER(-12.5 * (u)), \
        LOWER(-11.5 * (u)), UPPER(-10.5 * (u)), LOWER(-9.5 * (u)), UPPER(-8.5 * (u))

/* All binades but the top one, of which 480 is NaN. */
#define ASCENDING(X)                                                                    \
    X(0x1p-9f), X(0x1p-8f), X(0x1p-7f), X(0x1p-6f), X(0x1p-5f), X(0x1p-4f), X(0x1p-3f), \
        X(0x1p-2f), X(0x1p-1f), X(1.0f), X(0x1p1f), X(0x1p2f), X(0x1p3f), X(0x1p4f)
#define DESCENDING(X)                                                                        \
    X(0x1p4f), X(0x1p3f), X(0x1p2f), X(0x1p1f), X(1.0f), X(0x1p-1f), X(0x1p-2f), X(0x1p-3f), \
        X(0x1p-4f), X(0x1p-5f), X(0x1p-6f), X(0x1p-7f), X(0x1p-8f), X(0x1p-9f)

#define S 0x1p-9f /* step of the subnormal values */
static const float level[256] = {
    -448,   -416,   -384,   -352,   -320,   -288,   -256,  DESCENDING(DOWN),
    -7 * S, -6 * S, -5 * S, -4 * S, -3 * S, -2 * S, -S,    0,
    S,      2 * S,  3 * S,  4 * S,  5 * S,  6 * S,  7 * S, ASCENDING(UP),
    256,    288,    320,    352,    384,    416,    448};

static const float edge[255] = {LOWER(-432),
                                UPPER(-400),
                                LOWER(-368),
                                UPPER(-336),
                                LOWER(-304),
                                UPPER(-272),
                                DESCENDING(EDGES_DOWN),
                                LOWER(-7.5 * S),
                                UPPER(-6.5 * S),
                                LOWER(-5.5 * S),
                                UPPER(-4.5 * S),
                                LOWER(-3.5 * S),
                                UPPER(-2.5 * S),
                                LOWER(-1.5 * S),
                                UPPER(-0.5 * S),
                                LOWER(0.5 * S),
                                UPPER(1.5 * S),
                                LOWER(2.5 * S),
                                UPPER(3.5 * S),
                                LOWER(4.5 * S),
                                UPPER(5.5 * S),
                                LOWER(6.5 * S),
                                UPPER(7.5 * S),
                                ASCENDING(EDGES_UP),
                                LOWER(272),
                                UPPER(304),
                                LOWER(336),
                                UPPER(368),
                                LOWER(400),
                                UPPER(432),
                                INFINITY,
                                INFINITY,
                                INFINITY};

static const struct qx_book book = {8, 253, 126, 448.0f, level, edge};

const struct qx_format qx_fmt_fp8e4m3 = {
    .name = "fp8-e4m3",
    .title = "E4M3",
    .help =
        "8-bit floating point with 4 significant bits, values up to 448, which a scale lays on T.",
    .key = 'e',
    .kind = QX_FORMAT_TABLE,
    .min_bits = 8,
    .max_bits = 8,
    .book = &book,
};
