/* Blocks whose codes stand for uneven levels: E2M1 under scales of powers of two (MXFP4: OCP Microscaling
 * Formats 1.0) or of E4M3 without a sign (NVFP4), and the IQ4 types. Levels of E2M1 are doubled, so that they
 * are whole, and the scales halved. */
#include <math.h>

#include "base/fp16.h"
#include "format/block.h"

static const int8_t e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
static const int8_t iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};

static void look_up(const uint8_t *q, int half, const int8_t *table, int8_t *level)
{
    for (int j = 0; j < half; j++) {
        level[j] = table[q[j] & 15];
        level[j + half] = table[q[j] >> 4];
    }
}

/* Half the scale of MXFP4's exponent byte. */
static float half_power(uint8_t e)
{
    return ldexpf(1.0f, e - 128);
}

/* Half the scale of NVFP4's byte: E4M3 whose sign is not looked at; NaN counts as 0. */
static float half_e4m3(uint8_t e)
{
    return (e & 127) == 127 ? 0.0f : qx_f8e4m3_to_f32(e & 127) * 0.5f;
}

static void unpack_mxfp4(const uint8_t *p, struct qx_block_parts *out)
{
    out->scale[0] = half_power(p[0]);
    out->min[0] = 0.0f;
    look_up(p + 1, 16, e2m1, out->level);
}

static void unpack_nvfp4(const uint8_t *p, struct qx_block_parts *out)
{
    for (int s = 0; s < 4; s++) {
        out->scale[s] = half_e4m3(p[s]);
        out->min[s] = 0.0f;
        look_up(p + 4 + 8 * s, 8, e2m1, out->level + 16 * s);
    }
}

static void unpack_iq4_nl(const uint8_t *p, struct qx_block_parts *out)
{
    out->scale[0] = qx_block_half(p);
    out->min[0] = 0.0f;
    look_up(p + 2, 16, iq4, out->level);
}

static void unpack_iq4_xs(const uint8_t *p, struct qx_block_parts *out)
{
    float d = qx_block_half(p);
    int high = p[2] | p[3] << 8;

    for (int s = 0; s < 8; s++) { /* six bits of scale: four here, two there */
        int scale = (p[4 + s / 2] >> s % 2 * 4 & 15) | (high >> 2 * s & 3) << 4;

        out->scale[s] = d * (float)(scale - 32);
        out->min[s] = 0.0f;
        look_up(p + 8 + 16 * s, 16, iq4, out->level + 32 * s);
    }
}

/* ---- writing ---- */

/* Half-way between the magnitudes of E2M1, doubled: at them the smaller one is nearest enough. */
static const float between[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5.0f, 7.0f, 10.0f};

/* The code whose level is nearest to x under half the scale; the first of equals. */
static int nearest(float x, const float edge[7])
{
    const float a = fabsf(x);
    int q = 0;

    for (int i = 0; i < 7; i++) {
        q += a > edge[i];
    }
    return q + (x < 0.0f && q > 0 ? 8 : 0);
}

static void e2m1_put(const float *x, int half_n, float half, uint8_t *q)
{
    float edge[7];

    for (int i = 0; i < 7; i++) {
        edge[i] = between[i] * half;
    }
    for (int j = 0; j < half_n; j++) {
        q[j] = (uint8_t)(nearest(x[j], edge) | nearest(x[j + half_n], edge) << 4);
    }
}

/* The weighted squared error of 2 half_n values under half the scale. */
static float error_of(const float *x, const float *weight, int half_n, float half)
{
    uint8_t q[16];
    float sum = 0.0f;

    e2m1_put(x, half_n, half, q);
    for (int j = 0; j < 2 * half_n; j++) {
        const int code = j < half_n ? q[j] & 15 : q[j - half_n] >> 4;
        const float e = x[j] - (float)e2m1[code] * half;

        sum += weight[j] * e * e;
    }
    return sum;
}

/* Among the scales next to one that the largest value leads to, the one with the least weighted error. */
static uint8_t scale_choose(const float *x, const float *weight, int half_n, uint8_t first,
                            int most, float (*half_of)(uint8_t))
{
    enum { AROUND = 2 };
    uint8_t best = first;
    float least = error_of(x, weight, half_n, half_of(first));

    for (int code = first - AROUND; code <= first + AROUND; code++) {
        const float e = code < 0 || code > most
                            ? INFINITY
                            : error_of(x, weight, half_n, half_of((uint8_t)code));

        if (e < least) {
            least = e;
            best = (uint8_t)code;
        }
    }
    return best;
}

static float largest(const float *x, int n)
{
    float most = 0.0f;

    for (int j = 0; j < n; j++) {
        most = fabsf(x[j]) > most ? fabsf(x[j]) : most;
    }
    return most;
}

/* The scale is the power of two that puts the largest value into E2M1's top binade, 4 to 8; what lies
 * beyond 6 is clipped. */
void qx_encode_mxfp4(const float *x, const float *weight, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++, x += 32, out += qx_block_mxfp4.bytes) {
        float most = largest(x, 32);
        int e = most > 0.0f ? ilogbf(most) - 2 + 127 : 0;

        out[0] = (uint8_t)(e < 0 ? 0 : e);
        if (weight) {
            out[0] = scale_choose(x, weight + 32 * i, 16, out[0], 254, half_power);
        }
        e2m1_put(x, 16, half_power(out[0]), out + 1);
    }
}

void qx_encode_nvfp4(const float *x, const float *weight, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++, x += 64, out += qx_block_nvfp4.bytes) {
        for (int s = 0; s < 4; s++) {
            const float *part = x + 16 * s;

            out[s] = qx_f32_to_f8e4m3(largest(part, 16) / 6.0f);
            if (weight) {
                out[s] =
                    scale_choose(part, weight + 64 * i + 16 * (size_t)s, 8, out[s], 126, half_e4m3);
            }
            e2m1_put(part, 8, half_e4m3(out[s]), out + 4 + 8 * s);
        }
    }
}

const struct qx_block qx_block_iq4_nl = {"IQ4_NL", 32, 18, 1, 0, 15, iq4, unpack_iq4_nl, NULL};
const struct qx_block qx_block_iq4_xs = {"IQ4_XS", 256, 136, 8, 0, 15, iq4, unpack_iq4_xs, NULL};
const struct qx_block qx_block_mxfp4 = {"MXFP4",        32, 17, 1, 0, 15, e2m1, unpack_mxfp4,
                                        qx_encode_mxfp4};
const struct qx_block qx_block_nvfp4 = {"NVFP4",        64, 36, 4, 0, 15, e2m1, unpack_nvfp4,
                                        qx_encode_nvfp4};
