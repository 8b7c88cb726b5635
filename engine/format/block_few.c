/* Blocks of two or three levels. */
#include "format/block.h"

static void one_scale(const uint8_t *p, struct qx_block_parts *out)
{
    out->scale[0] = qx_block_half(p);
    out->min[0] = 0.0f;
}

/* Digit k, from the most significant on, of five to the byte in base 3: the byte is the ceiling of
 * digits * 256 / 243, so that multiplying brings each digit to the top in turn. */
static int8_t digit(uint8_t byte, int k)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    uint8_t q = (uint8_t)(byte * power[k]);

    return (int8_t)((q * 3 >> 8) - 1);
}

/* n bytes hold n digits of the first kind, then n of the second, and so on. */
static int8_t *digits(const uint8_t *p, int n, int n_digits, int8_t *level)
{
    for (int k = 0; k < n_digits; k++) {
        for (int j = 0; j < n; j++) {
            *level++ = digit(p[j], k);
        }
    }
    return level;
}

static void unpack_tq1_0(const uint8_t *p, struct qx_block_parts *out)
{
    int8_t *level = digits(p, 32, 5, out->level);

    level = digits(p + 32, 16, 5, level);
    digits(p + 48, 4, 4, level);
    one_scale(p + 52, out);
}

static void unpack_tq2_0(const uint8_t *p, struct qx_block_parts *out)
{
    for (int j = 0; j < 256; j++) {
        out->level[j] = (int8_t)((p[j / 128 * 32 + j % 32] >> j % 128 / 32 * 2 & 3) - 1);
    }
    one_scale(p + 64, out);
}

static void unpack_q1_0(const uint8_t *p, struct qx_block_parts *out)
{
    one_scale(p, out);
    for (int j = 0; j < 128; j++) {
        out->level[j] = (int8_t)((p[2 + j / 8] >> j % 8 & 1) * 2 - 1);
    }
}

const struct qx_block qx_block_tq1_0 = {"TQ1_0", 256, 54, 1, -1, 1, NULL, unpack_tq1_0, NULL};
const struct qx_block qx_block_tq2_0 = {"TQ2_0", 256, 66, 1, -1, 2, NULL, unpack_tq2_0, NULL};
const struct qx_block qx_block_q1_0 = {"Q1_0", 128, 18, 1, -1, 1, NULL, unpack_q1_0, NULL};
