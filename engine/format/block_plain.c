/* Blocks of 32 with one scale in binary16, and a minimum in some: ggml's oldest types. Of a byte with two
 * codes the low half is element j, the high half element j + 16.
 *
 * The _0 types put the code of the value that is largest in magnitude at the end of the code range that
 * reaches farthest from zero, so the scale takes that value's sign; the _1 types spread their codes from the
 * smallest value to the largest. Codes come from the scale in float32, decoding from the one in binary16. */
#include <math.h>
#include <string.h>

#include "format/block.h"

enum { N = 32, HALF = N / 2 };

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

/* ---- reading ---- */

static void one_scale(const uint8_t *p, struct qx_block_parts *out)
{
    out->scale[0] = qx_block_half(p);
    out->min[0] = 0.0f;
}

/* m is added to the codes: it is kept as a minimum that is taken away. */
static void scale_and_min(const uint8_t *p, struct qx_block_parts *out)
{
    out->scale[0] = qx_block_half(p);
    out->min[0] = -qx_block_half(p + 2);
}

static void nibbles(const uint8_t *q, int zero, int8_t *level)
{
    for (int j = 0; j < HALF; j++) {
        level[j] = (int8_t)((q[j] & 15) - zero);
        level[j + HALF] = (int8_t)((q[j] >> 4) - zero);
    }
}

/* Five bits: the fifth of all elements stand together in front of the low ones. */
static void nibbles_and_bits(const uint8_t *p, int zero, int8_t *level)
{
    nibbles(p + 4, zero, level);
    for (int j = 0; j < N; j++) {
        level[j] = (int8_t)(level[j] + ((p[j / 8] >> j % 8 & 1) << 4));
    }
}

static void unpack_q4_0(const uint8_t *p, struct qx_block_parts *out)
{
    one_scale(p, out);
    nibbles(p + 2, 8, out->level);
}

static void unpack_q4_1(const uint8_t *p, struct qx_block_parts *out)
{
    scale_and_min(p, out);
    nibbles(p + 4, 0, out->level);
}

static void unpack_q5_0(const uint8_t *p, struct qx_block_parts *out)
{
    one_scale(p, out);
    nibbles_and_bits(p + 2, 16, out->level);
}

static void unpack_q5_1(const uint8_t *p, struct qx_block_parts *out)
{
    scale_and_min(p, out);
    nibbles_and_bits(p + 4, 0, out->level);
}

static void unpack_q8_0(const uint8_t *p, struct qx_block_parts *out)
{
    one_scale(p, out);
    memcpy(out->level, p + 2, N);
}

/* Behind the scale stands the sum of the values, which products use. */
static void unpack_q8_1(const uint8_t *p, struct qx_block_parts *out)
{
    one_scale(p, out);
    memcpy(out->level, p + 4, N);
}

/* ---- writing ---- */

static float extreme(const float *x)
{
    float most = 0.0f;

    for (int j = 0; j < N; j++) {
        most = fabsf(x[j]) > fabsf(most) ? x[j] : most;
    }
    return most;
}

/* 0 where there is none in float32. */
static float inverse(float scale)
{
    float inv = scale != 0.0f ? 1.0f / scale : 0.0f;

    return isfinite(inv) ? inv : 0.0f;
}

/* Codes 0..top of x * inv + shift, cut to whole numbers. */
static void codes_put(const float *x, float inv, float shift, int top, uint8_t *code)
{
    for (int j = 0; j < N; j++) {
        code[j] = (uint8_t)smaller(top, (int8_t)(x[j] * inv + shift));
    }
}

static void nibbles_put(const uint8_t *code, uint8_t *q)
{
    for (int j = 0; j < HALF; j++) {
        q[j] = (uint8_t)((code[j] & 15) | (code[j + HALF] & 15) << 4);
    }
}

static void bits_put(const uint8_t *code, uint8_t *p)
{
    memset(p, 0, 4);
    for (int j = 0; j < N; j++) {
        p[j / 8] |= (uint8_t)((code[j] >> 4 & 1) << j % 8);
    }
}

/* Codes around `zero`. */
static void encode_signed(const float *x, int zero, uint8_t *p, uint8_t *code)
{
    float d = extreme(x) / (float)-zero;

    codes_put(x, inverse(d), (float)zero + 0.5f, 2 * zero - 1, code);
    qx_block_half_put(p, d);
}

/* Codes from the smallest value up to `top`. */
static void encode_ranged(const float *x, int top, uint8_t *p, uint8_t *code)
{
    float lo = x[0], hi = x[0], d, inv;

    for (int j = 1; j < N; j++) {
        lo = x[j] < lo ? x[j] : lo;
        hi = x[j] > hi ? x[j] : hi;
    }
    d = (hi - lo) / (float)top;
    inv = inverse(d);
    for (int j = 0; j < N; j++) {
        code[j] = (uint8_t)smaller(top, (int8_t)((x[j] - lo) * inv + 0.5f));
    }
    qx_block_half_put(p, d);
    qx_block_half_put(p + 2, lo);
}

void qx_encode_q4_0(const float *x, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++, x += N, out += qx_block_q4_0.bytes) {
        uint8_t code[N];

        encode_signed(x, 8, out, code);
        nibbles_put(code, out + 2);
    }
}

void qx_encode_q4_1(const float *x, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++, x += N, out += qx_block_q4_1.bytes) {
        uint8_t code[N];

        encode_ranged(x, 15, out, code);
        nibbles_put(code, out + 4);
    }
}

void qx_encode_q5_0(const float *x, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++, x += N, out += qx_block_q5_0.bytes) {
        uint8_t code[N];

        encode_signed(x, 16, out, code);
        bits_put(code, out + 2);
        nibbles_put(code, out + 6);
    }
}

void qx_encode_q5_1(const float *x, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++, x += N, out += qx_block_q5_1.bytes) {
        uint8_t code[N];

        encode_ranged(x, 31, out, code);
        bits_put(code, out + 4);
        nibbles_put(code, out + 8);
    }
}

void qx_encode_q8_0(const float *x, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++, x += N, out += qx_block_q8_0.bytes) {
        float d = fabsf(extreme(x)) / 127.0f, inv = inverse(d);

        qx_block_half_put(out, d);
        for (int j = 0; j < N; j++) {
            out[2 + j] = (uint8_t)(int8_t)roundf(x[j] * inv);
        }
    }
}

const struct qx_block qx_block_q4_0 = {"Q4_0", N, 18, 1, -8, 7, NULL, unpack_q4_0, qx_encode_q4_0};
const struct qx_block qx_block_q4_1 = {"Q4_1", N, 20, 1, 0, 15, NULL, unpack_q4_1, qx_encode_q4_1};
const struct qx_block qx_block_q5_0 = {"Q5_0",        N, 22, 1, -16, 15, NULL, unpack_q5_0,
                                       qx_encode_q5_0};
const struct qx_block qx_block_q5_1 = {"Q5_1", N, 24, 1, 0, 31, NULL, unpack_q5_1, qx_encode_q5_1};
const struct qx_block qx_block_q8_0 = {"Q8_0",        N, 34, 1, -127, 127, NULL, unpack_q8_0,
                                       qx_encode_q8_0};
const struct qx_block qx_block_q8_1 = {"Q8_1", N, 36, 1, -128, 127, NULL, unpack_q8_1, NULL};
