/* Blocks of 32 with one scale in binary16, and a minimum in some: ggml's oldest types. Of a byte with two
 * codes the low half is element j, the high half element j + 16.
 *
 * The _0 types put the code of the value that is largest in magnitude at the end of the code range that
 * reaches farthest from zero, so the scale takes that value's sign; the _1 types spread their codes from the
 * smallest value to the largest. Codes come from the scale in float32, decoding from the one in binary16. */
#include <math.h>
#include <string.h>

#include "format/block.h"
#include "kernels/kernels.h"

enum { N = 32, HALF = N / 2 };

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

static void codes_put(const float *x, float inv, float shift, int top, uint8_t *code)
{
    for (int j = 0; j < N; j++) {
        code[j] = (uint8_t)qx_fit_code(x[j] * inv + shift, 0.0f, (float)top);
    }
}

/* One block whose values count differently: the scale (and minimum) is searched. */
static uint8_t *weighted(const float *x, const float *weight, int bits, bool is_ranged, uint8_t *p)
{
    const int zero = 1 << (bits - 1), top = 2 * zero - 1;
    uint8_t code[N];

    if (is_ranged) {
        struct qx_fit fit;

        qx_fit_line(x, weight, N, top, false, &fit);
        qx_block_half_put(p, fit.scale);
        qx_block_half_put(p + 2, 0.0f - fit.min);
        const float inv = qx_fit_inverse(qx_block_half(p));
        codes_put(x, inv, -qx_block_half(p + 2) * inv, top, code);
        p += 4;
    } else {
        qx_block_half_put(p, qx_fit_scale(x, weight, N, zero));
        codes_put(x, qx_fit_inverse(qx_block_half(p)), (float)zero, top, code);
        p += 2;
    }
    if (bits == 5) {
        bits_put(code, p);
        p += 4;
    }
    nibbles_put(code, p);
    return p + HALF;
}

static void encode(const float *x, const float *weight, size_t n_blocks, int bits, bool is_ranged,
                   uint8_t *out)
{
    if (!weight) {
        qxk_get()->plain_blocks(x, n_blocks, bits, is_ranged, out);
        return;
    }
    for (size_t i = 0; i < n_blocks; i++) {
        out = weighted(x + i * N, weight + i * N, bits, is_ranged, out);
    }
}

void qx_encode_q4_0(const float *x, const float *weight, size_t n_blocks, uint8_t *out)
{
    encode(x, weight, n_blocks, 4, false, out);
}

void qx_encode_q4_1(const float *x, const float *weight, size_t n_blocks, uint8_t *out)
{
    encode(x, weight, n_blocks, 4, true, out);
}

void qx_encode_q5_0(const float *x, const float *weight, size_t n_blocks, uint8_t *out)
{
    encode(x, weight, n_blocks, 5, false, out);
}

void qx_encode_q5_1(const float *x, const float *weight, size_t n_blocks, uint8_t *out)
{
    encode(x, weight, n_blocks, 5, true, out);
}

void qx_encode_q8_0(const float *x, const float *weight, size_t n_blocks, uint8_t *out)
{
    (void)weight;
    encode(x, NULL, n_blocks, 8, false, out);
}

const struct qx_block qx_block_q4_0 = {"Q4_0", N, 18, 1, -8, 7, NULL, unpack_q4_0, qx_encode_q4_0};
const struct qx_block qx_block_q4_1 = {"Q4_1", N, 20, 1, 0, 15, NULL, unpack_q4_1, qx_encode_q4_1};
const struct qx_block qx_block_q5_0 = {"Q5_0",        N, 22, 1, -16, 15, NULL, unpack_q5_0,
                                       qx_encode_q5_0};
const struct qx_block qx_block_q5_1 = {"Q5_1", N, 24, 1, 0, 31, NULL, unpack_q5_1, qx_encode_q5_1};
const struct qx_block qx_block_q8_0 = {"Q8_0",        N, 34, 1, -127, 127, NULL, unpack_q8_0,
                                       qx_encode_q8_0};
const struct qx_block qx_block_q8_1 = {"Q8_1", N, 36, 1, -128, 127, NULL, unpack_q8_1, NULL};
