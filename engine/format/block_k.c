/* Blocks of 256 whose parts of 16 or 32 have small integer scales (and minima) under one binary16 scale: the
 * K types. Their quantizers are in block_k_encode.c. */
#include <string.h>

#include "base/fp16.h"
#include "format/block.h"

enum { N = 256 };

void qx_block_scale_min(const uint8_t *s, int i, int *scale, int *min)
{
    if (i < 4) {
        *scale = s[i] & 63;
        *min = s[i + 4] & 63;
    } else {
        *scale = (s[i + 4] & 15) | s[i - 4] >> 6 << 4;
        *min = s[i + 4] >> 4 | s[i] >> 6 << 4;
    }
}

void qx_block_scale_min_put(uint8_t *s, int i, int scale, int min)
{
    if (i < 4) {
        s[i] = (uint8_t)((s[i] & 0xc0) | scale);
        s[i + 4] = (uint8_t)((s[i + 4] & 0xc0) | min);
    } else {
        s[i + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
        s[i - 4] = (uint8_t)((s[i - 4] & 63) | scale >> 4 << 6);
        s[i] = (uint8_t)((s[i] & 63) | min >> 4 << 6);
    }
}

/* The two bits of element j: of each half of the block, 32 bytes hold four runs of 32. */
static int two_bits(const uint8_t *q, int j)
{
    return q[j / 128 * 32 + j % 32] >> j % 128 / 32 * 2 & 3;
}

/* The four bits of element j: of each quarter, 32 bytes hold two runs of 32. */
static int four_bits(const uint8_t *q, int j)
{
    return q[j / 64 * 32 + j % 32] >> j % 64 / 32 * 4 & 15;
}

static void unpack_q2_k(const uint8_t *p, struct qx_block_parts *out)
{
    float d = qx_block_half(p + 80), min = qx_block_half(p + 82);

    for (int s = 0; s < 16; s++) {
        out->scale[s] = d * (float)(p[s] & 15);
        out->min[s] = min * (float)(p[s] >> 4);
    }
    for (int j = 0; j < N; j++) {
        out->level[j] = (int8_t)two_bits(p + 16, j);
    }
}

/* Scales of six bits: the low four stand in 8 bytes, the high two of s, s + 4, s + 8, s + 12 in one. */
static int scale_q3_k(const uint8_t *s, int i)
{
    return (i < 8 ? s[i] & 15 : s[i - 8] >> 4) | (s[8 + i % 4] >> i / 4 * 2 & 3) << 4;
}

static void unpack_q3_k(const uint8_t *p, struct qx_block_parts *out)
{
    float d = qx_block_half(p + 108);

    for (int s = 0; s < 16; s++) {
        out->scale[s] = d * (float)(scale_q3_k(p + 96, s) - 32);
        out->min[s] = 0.0f;
    }
    for (int j = 0; j < N; j++) { /* the third bit of element j is bit j / 32 of byte j % 32 */
        out->level[j] = (int8_t)(two_bits(p + 32, j) + (p[j % 32] >> j / 32 & 1) * 4 - 4);
    }
}

static void scales_k(const uint8_t *p, struct qx_block_parts *out)
{
    float d = qx_block_half(p), min = qx_block_half(p + 2);

    for (int s = 0; s < 8; s++) {
        int scale, m;

        qx_block_scale_min(p + 4, s, &scale, &m);
        out->scale[s] = d * (float)scale;
        out->min[s] = min * (float)m;
    }
}

static void unpack_q4_k(const uint8_t *p, struct qx_block_parts *out)
{
    scales_k(p, out);
    for (int j = 0; j < N; j++) {
        out->level[j] = (int8_t)four_bits(p + 16, j);
    }
}

static void unpack_q5_k(const uint8_t *p, struct qx_block_parts *out)
{
    scales_k(p, out);
    for (int j = 0; j < N; j++) { /* the fifth bit of element j is bit j / 32 of byte j % 32 */
        out->level[j] = (int8_t)(four_bits(p + 48, j) + (p[16 + j % 32] >> j / 32 & 1) * 16);
    }
}

static void unpack_q6_k(const uint8_t *p, struct qx_block_parts *out)
{
    const uint8_t *low = p, *high = p + 128;
    float d = qx_block_half(p + 208);

    for (int s = 0; s < 16; s++) {
        out->scale[s] = d * (float)(int8_t)p[192 + s];
        out->min[s] = 0.0f;
    }
    for (int j = 0; j < N; j++) { /* low bits: 64 bytes hold two runs of 64; high: as two_bits */
        int q = low[j / 128 * 64 + j % 64] >> j % 128 / 64 * 4 & 15;

        out->level[j] = (int8_t)((q | two_bits(high, j) << 4) - 32);
    }
}

static void unpack_q8_k(const uint8_t *p, struct qx_block_parts *out)
{
    memcpy(&out->scale[0], p, sizeof(float));
    out->min[0] = 0.0f;
    memcpy(out->level, p + 4, N);
}

const struct qx_block qx_block_q2_k = {"Q2_K", N, 84, 16, 0, 3, NULL, unpack_q2_k, NULL};
const struct qx_block qx_block_q3_k = {"Q3_K", N, 110, 16, -4, 3, NULL, unpack_q3_k, NULL};
const struct qx_block qx_block_q4_k = {"Q4_K", N, 144, 8, 0, 15, NULL, unpack_q4_k, qx_encode_q4_k};
const struct qx_block qx_block_q5_k = {"Q5_K", N, 176, 8, 0, 31, NULL, unpack_q5_k, NULL};
const struct qx_block qx_block_q6_k = {"Q6_K", N,           210,           16, -32, 31,
                                       NULL,   unpack_q6_k, qx_encode_q6_k};
const struct qx_block qx_block_q8_k = {"Q8_K", N, 292, 1, -128, 127, NULL, unpack_q8_k, NULL};
