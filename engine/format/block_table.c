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

/* The code whose level is nearest to x under half the scale; the first of equals. */
static int nearest(float x, float half)
{
    int best = 0;
    float least = fabsf((float)e2m1[0] * half - x);

    for (int i = 1; i < 16; i++) {
        float away = fabsf((float)e2m1[i] * half - x);

        if (away < least) {
            least = away;
            best = i;
        }
    }
    return best;
}

static void e2m1_put(const float *x, int half_n, float half, uint8_t *q)
{
    for (int j = 0; j < half_n; j++) {
        q[j] = (uint8_t)(nearest(x[j], half) | nearest(x[j + half_n], half) << 4);
    }
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
void qx_encode_mxfp4(const float *x, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++, x += 32, out += qx_block_mxfp4.bytes) {
        float most = largest(x, 32);
        int e = most > 0.0f ? ilogbf(most) - 2 + 127 : 0;

        out[0] = (uint8_t)(e < 0 ? 0 : e);
        e2m1_put(x, 16, half_power(out[0]), out + 1);
    }
}

void qx_encode_nvfp4(const float *x, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++, x += 64, out += qx_block_nvfp4.bytes) {
        for (int s = 0; s < 4; s++) {
            out[s] = qx_f32_to_f8e4m3(largest(x + 16 * s, 16) / 6.0f);
            e2m1_put(x + 16 * s, 8, half_e4m3(out[s]), out + 4 + 8 * s);
        }
    }
}

const struct qx_block qx_block_iq4_nl = {"IQ4_NL", 32, 18, 1, 0, 15, iq4, unpack_iq4_nl, NULL};
const struct qx_block qx_block_iq4_xs = {"IQ4_XS", 256, 136, 8, 0, 15, iq4, unpack_iq4_xs, NULL};
const struct qx_block qx_block_mxfp4 = {"MXFP4",        32, 17, 1, 0, 15, e2m1, unpack_mxfp4,
                                        qx_encode_mxfp4};
const struct qx_block qx_block_nvfp4 = {"NVFP4",        64, 36, 4, 0, 15, e2m1, unpack_nvfp4,
                                        qx_encode_nvfp4};
