/* Floating point of 8 and 4 bits: E4M3 and E5M2 (OCP 8-bit Floating Point Specification 1.0; arXiv 2209.05433), E2M1
 * (OCP Microscaling Formats 1.0, table 5). Infinities, NaN and -0 have no level of their own: E4M3 ends at 448, E5M2,
 * the upper half of a binary16, at 57,344, E2M1 has neither. Ties go to the even mantissa. */
#include "format/format.h"

/* The magnitude of a code without its sign, in steps of the subnormal values; m: bits of mantissa. The mask is for
 * codes that are not evaluated, of whose shifts compilers warn. */
#define STEPS(code, m)                                                                             \
    ((code) >> (m) ? (double)((1 << (m)) + (code) % (1 << (m))) * (1u << ((code) >> (m)&31)) / 2.0 \
                   : (double)(code))
/* Level k of a book whose level `zero` is 0, and the edge behind it. */
#define LEVEL(k, zero, m, step) \
    ((step) * ((k) < (zero) ? -STEPS((zero) - (k), m) : STEPS((k) - (zero), m)))
#define MIDDLE(k, zero, m, step) ((LEVEL(k, zero, m, step) + LEVEL((k) + 1, zero, m, step)) / 2)
#define EDGE(k, zero, m, step)                                           \
    ((k) >= 2 * (zero)         ? INFINITY                                \
     : ((k) + (zero)) % 2 == 0 ? QX_EDGE_LOWER(MIDDLE(k, zero, m, step)) \
                               : QX_EDGE_UPPER(MIDDLE(k, zero, m, step)))

/* X of k .. k + 7, k + 63, 255 */
#define EIGHT(X, k) \
    X((k)), X((k) + 1), X((k) + 2), X((k) + 3), X((k) + 4), X((k) + 5), X((k) + 6), X((k) + 7)
#define MANY(X, k)                                                                              \
    EIGHT(X, k), EIGHT(X, (k) + 8), EIGHT(X, (k) + 16), EIGHT(X, (k) + 24), EIGHT(X, (k) + 32), \
        EIGHT(X, (k) + 40), EIGHT(X, (k) + 48), EIGHT(X, (k) + 56)
#define ALL(X) MANY(X, 0), MANY(X, 64), MANY(X, 128), MANY(X, 192)

/* Codes beyond the last level repeat it. */
#define WITHIN(k, zero) ((k) > 2 * (zero) ? 2 * (zero) : (k))

enum { ZERO_E4M3 = 126, ZERO_E5M2 = 123, ZERO_E2M1 = 7 };
#define LEVEL_E4M3(k) (float)LEVEL(WITHIN(k, ZERO_E4M3), ZERO_E4M3, 3, 0x1p-9)
#define LEVEL_E5M2(k) (float)LEVEL(WITHIN(k, ZERO_E5M2), ZERO_E5M2, 2, 0x1p-16)
#define LEVEL_E2M1(k) (float)LEVEL(WITHIN(k, ZERO_E2M1), ZERO_E2M1, 1, 0.5)
#define EDGE_E4M3(k)  EDGE(k, ZERO_E4M3, 3, 0x1p-9)
#define EDGE_E5M2(k)  EDGE(k, ZERO_E5M2, 2, 0x1p-16)
#define EDGE_E2M1(k)  EDGE(k, ZERO_E2M1, 1, 0.5)

static const float level_e4m3[256] = {ALL(LEVEL_E4M3)}, edge_e4m3[256] = {ALL(EDGE_E4M3)};
static const float level_e5m2[256] = {ALL(LEVEL_E5M2)}, edge_e5m2[256] = {ALL(EDGE_E5M2)};
static const float level_e2m1[16] = {EIGHT(LEVEL_E2M1, 0), EIGHT(LEVEL_E2M1, 8)};
static const float edge_e2m1[16] = {EIGHT(EDGE_E2M1, 0), EIGHT(EDGE_E2M1, 8)};

static const struct qx_book book_e4m3 = {8,      2 * ZERO_E4M3 + 1, ZERO_E4M3,
                                         448.0f, level_e4m3,        edge_e4m3};
static const struct qx_book book_e5m2 = {8,        2 * ZERO_E5M2 + 1, ZERO_E5M2,
                                         57344.0f, level_e5m2,        edge_e5m2};
static const struct qx_book book_e2m1 = {4,    2 * ZERO_E2M1 + 1, ZERO_E2M1,
                                         6.0f, level_e2m1,        edge_e2m1};

#define ROW(id, row_name, row_title, row_key, bits, row_book, text) \
    const struct qx_format qx_fmt_##id = {.name = row_name,         \
                                          .title = row_title,       \
                                          .help = text,             \
                                          .key = row_key,           \
                                          .kind = QX_FORMAT_TABLE,  \
                                          .min_bits = bits,         \
                                          .max_bits = bits,         \
                                          .book = &row_book}

ROW(fp8e4m3, "fp8-e4m3", "E4M3", 'e', 8, book_e4m3,
    "8-bit floating point with 4 significant bits, values up to 448, which a scale lays on T.");
ROW(fp8e5m2, "fp8-e5m2", "E5M2", 'E', 8, book_e5m2,
    "8-bit floating point with 3 significant bits, values up to 57,344: range for detail.");
ROW(fp4, "fp4", "FP4", 'p', 4, book_e2m1,
    "4-bit floating point E2M1 of the OCP standard: 0, .5, 1, 1.5, 2, 3, 4, 6, T at 6.");
