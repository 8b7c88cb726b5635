/* Quantizers of Q4_K and Q6_K. The scale (and minimum) of a part comes from qx_fit_line and qx_fit_scale; then, for
 * the scales that the block can hold, the neighbours of each are tried with the codes they give. What is minimized is
 * the squared error itself, weighted where weights are given. */
#include <math.h>
#include <string.h>

#include "format/block.h"
#include "kernels/kernels.h"

enum { N = 256 };

/* The try with the least error, the first of equals; 0 when none is a number. */
static int least(const float error[QXK_TRIES])
{
    int best = 0;

    for (int i = 1; i < QXK_TRIES; i++) {
        best = error[i] < error[best] ? i : best;
    }
    return best;
}

static const float *part_of(const float *weight, int at)
{
    return weight ? weight + at : NULL;
}

/* ---- Q6_K: scale * code, codes -32..31, 16 parts of 16 ---- */

enum { PART6 = 16, ZERO6 = 32, FIRST6 = -QXK_TRIES / 2 };

/* The whole multiple of d, -128..127, near `scale` that leaves the least error. */
static int choose6(const float *x, const float *w, float scale, float d)
{
    const int first = qx_fit_code(scale * qx_fit_inverse(d), -128 - FIRST6, 128 + FIRST6) + FIRST6;
    struct qxk_tries t = {.lo = -ZERO6, .hi = ZERO6 - 1};
    float s[QXK_TRIES], min[QXK_TRIES] = {0}, error[QXK_TRIES];

    for (int i = 0; i < QXK_TRIES; i++) {
        s[i] = d * (float)(first + i);
        t.inv[i] = qx_fit_inverse(s[i]);
        t.shift[i] = 0.0f;
    }
    qxk_get()->code_errors(x, w, PART6, &t, s, min, error);
    return first + least(error);
}

static void put6(uint8_t *p, int j, int q)
{
    p[j / 128 * 64 + j % 64] |= (uint8_t)((q & 15) << j % 128 / 64 * 4);
    p[128 + j / 128 * 32 + j % 32] |= (uint8_t)(q >> 4 << j % 128 / 32 * 2);
}

static void block6(const float *x, const float *weight, uint8_t *p)
{
    float scale[N / PART6], most = 0.0f;

    for (int s = 0; s < N / PART6; s++) {
        scale[s] = qx_fit_scale(x + s * PART6, part_of(weight, s * PART6), PART6, ZERO6);
        most = fabsf(scale[s]) > fabsf(most) ? scale[s] : most;
    }
    memset(p, 0, (size_t)qx_block_q6_k.bytes);
    qx_block_half_put(p + 208, most / -128.0f);
    const float d = qx_block_half(p + 208);
    for (int s = 0; s < N / PART6; s++) {
        const int at = s * PART6;
        const int whole = choose6(x + at, part_of(weight, at), scale[s], d);
        const float inv = qx_fit_inverse(d * (float)whole);

        p[192 + s] = (uint8_t)(int8_t)whole;
        for (int j = at; j < at + PART6; j++) {
            put6(p, j, qx_fit_code(x[j] * inv, -ZERO6, ZERO6 - 1) + ZERO6);
        }
    }
}

void qx_encode_q6_k(const float *x, const float *weight, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++) {
        block6(x + i * N, weight ? weight + i * N : NULL, out + i * (size_t)qx_block_q6_k.bytes);
    }
}

/* ---- Q4_K: scale * code - min, codes 0..15, min >= 0, 8 parts of 32 ---- */

enum { PART4 = 32, TOP4 = 15, SIDE4 = 4, BEFORE4 = 2 };

/* Whole multiples of d and dmin, 0..63, near the fit that leave the least error. */
static void choose4(const float *x, const float *w, struct qx_fit fit, float d, float dmin,
                    int *scale, int *min)
{
    const int most = 64 - SIDE4;
    int s0 = qx_fit_code(fit.scale * qx_fit_inverse(d), 0, 63) - BEFORE4;
    int m0 = qx_fit_code(fit.min * qx_fit_inverse(dmin), 0, 63) - BEFORE4;
    struct qxk_tries t = {.lo = 0.0f, .hi = TOP4};
    float s[QXK_TRIES], m[QXK_TRIES], error[QXK_TRIES], inv[SIDE4];

    s0 = s0 < 0 ? 0 : s0 > most ? most : s0;
    m0 = m0 < 0 ? 0 : m0 > most ? most : m0;
    for (int i = 0; i < SIDE4; i++) {
        inv[i] = qx_fit_inverse(d * (float)(s0 + i));
    }
    for (int i = 0; i < QXK_TRIES; i++) {
        s[i] = d * (float)(s0 + i / SIDE4);
        m[i] = dmin * (float)(m0 + i % SIDE4);
        t.inv[i] = inv[i / SIDE4];
        t.shift[i] = m[i] * t.inv[i];
    }
    qxk_get()->code_errors(x, w, PART4, &t, s, m, error);
    const int at = least(error);
    *scale = s0 + at / SIDE4;
    *min = m0 + at % SIDE4;
}

static void block4(const float *x, const float *weight, uint8_t *p)
{
    struct qx_fit fit[N / PART4];
    float scale = 0.0f, min = 0.0f;

    for (int s = 0; s < N / PART4; s++) {
        qx_fit_line(x + s * PART4, part_of(weight, s * PART4), PART4, TOP4, true, &fit[s]);
        scale = fit[s].scale > scale ? fit[s].scale : scale;
        min = fit[s].min > min ? fit[s].min : min;
    }
    memset(p, 0, (size_t)qx_block_q4_k.bytes);
    qx_block_half_put(p, scale / 63.0f);
    qx_block_half_put(p + 2, min / 63.0f);
    const float d = qx_block_half(p), dmin = qx_block_half(p + 2);
    for (int s = 0; s < N / PART4; s++) {
        const float *part = x + s * PART4;
        int whole, less;

        choose4(part, part_of(weight, s * PART4), fit[s], d, dmin, &whole, &less);
        const float inv = qx_fit_inverse(d * (float)whole), up = dmin * (float)less * inv;
        qx_block_scale_min_put(p + 4, s, whole, less);
        for (int j = 0; j < PART4; j++) {
            p[16 + s / 2 * 32 + j] |=
                (uint8_t)(qx_fit_code(part[j] * inv + up, 0, TOP4) << s % 2 * 4);
        }
    }
}

void qx_encode_q4_k(const float *x, const float *weight, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++) {
        block4(x + i * N, weight ? weight + i * N : NULL, out + i * (size_t)qx_block_q4_k.bytes);
    }
}
