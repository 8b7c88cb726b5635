/* Quantizers of Q4_K and Q6_K. The scale (and minimum) of a part is searched by codes: steps around the one
 * that reaches the part's ends give codes, and the codes their best scale by least squares. Then, for the
 * scales that the block can hold, the neighbours of each are tried with the codes they give. What is
 * minimized is the squared error itself. */
#include <math.h>
#include <string.h>

#include "format/block.h"

enum { N = 256, STEPS = 20, AROUND = 2 };

/* Codes of x under an inverse scale, from lo to hi; x is finite and x * inv + shift within 2^22. */
static inline float code_of(float x, float inv, float shift, float lo, float hi)
{
    const float magic = 0x1.8p23f; /* adding it rounds to a whole number, ties to even */
    float q = x * inv + shift;

    q = q < lo ? lo : q > hi ? hi : q;
    return (q + magic) - magic;
}

static float inverse(float scale)
{
    float inv = scale != 0.0f ? 1.0f / scale : 0.0f;

    return isfinite(inv) ? inv : 0.0f;
}

static int rounded(float x, int lo, int hi)
{
    float r = rintf(x);

    return r < (float)lo ? lo : r > (float)hi ? hi : (int)r;
}

/* ---- Q6_K: scale * code, codes -32..31, 16 parts of 16 ---- */

enum { PART6 = 16 };

/* The scale of one part, of either sign: the value that is largest in magnitude may take the code -32. */
static float search6(const float *x)
{
    float most = 0.0f, best = 0.0f, gain = 0.0f;

    for (int j = 0; j < PART6; j++) {
        most = fabsf(x[j]) > fabsf(most) ? x[j] : most;
    }
    for (int step = -STEPS / 2; step <= STEPS / 2; step++) {
        float inv = (32.0f + 0.1f * (float)step) * -inverse(most), xq = 0.0f, qq = 0.0f;

        for (int j = 0; j < PART6; j++) {
            float q = code_of(x[j], inv, 0.0f, -32.0f, 31.0f);

            xq += x[j] * q;
            qq += q * q;
        }
        if (qq > 0.0f && xq * xq > gain * qq) {
            gain = xq * xq / qq;
            best = xq / qq;
        }
    }
    return best;
}

static float error6(const float *x, float scale)
{
    float inv = inverse(scale), sum = 0.0f;

    for (int j = 0; j < PART6; j++) {
        float e = x[j] - scale * code_of(x[j], inv, 0.0f, -32.0f, 31.0f);

        sum += e * e;
    }
    return sum;
}

/* The whole multiple of d, -128..127, near `scale` that leaves the least error. */
static int choose6(const float *x, float scale, float d)
{
    int first = rounded(scale * inverse(d), -128, 127), best = first;
    float least = error6(x, d * (float)first);

    for (int s = first - AROUND; s <= first + AROUND; s++) {
        float e = s < -128 || s > 127 ? INFINITY : error6(x, d * (float)s);

        if (e < least) {
            least = e;
            best = s;
        }
    }
    return best;
}

static void put6(uint8_t *p, int j, int q)
{
    p[j / 128 * 64 + j % 64] |= (uint8_t)((q & 15) << j % 128 / 64 * 4);
    p[128 + j / 128 * 32 + j % 32] |= (uint8_t)(q >> 4 << j % 128 / 32 * 2);
}

static void block6(const float *x, uint8_t *p)
{
    float scale[N / PART6], most = 0.0f, d;

    for (int s = 0; s < N / PART6; s++) {
        scale[s] = search6(x + s * PART6);
        most = fabsf(scale[s]) > fabsf(most) ? scale[s] : most;
    }
    memset(p, 0, (size_t)qx_block_q6_k.bytes);
    qx_block_half_put(p + 208, most / -128.0f);
    d = qx_block_half(p + 208);
    for (int s = 0; s < N / PART6; s++) {
        int whole = choose6(x + s * PART6, scale[s], d);
        float inv = inverse(d * (float)whole);

        p[192 + s] = (uint8_t)(int8_t)whole;
        for (int j = s * PART6; j < (s + 1) * PART6; j++) {
            put6(p, j, (int)code_of(x[j], inv, 0.0f, -32.0f, 31.0f) + 32);
        }
    }
}

void qx_encode_q6_k(const float *x, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++) {
        block6(x + i * N, out + i * (size_t)qx_block_q6_k.bytes);
    }
}

/* ---- Q4_K: scale * code - min, codes 0..15, min >= 0, 8 parts of 32 ---- */

enum { PART4 = 32 };

struct line {
    float scale, min;
};

static float error4(const float *x, struct line l)
{
    float inv = inverse(l.scale), lane[8] = {0};

    for (int j = 0; j < PART4; j++) {
        float e = x[j] - (l.scale * code_of(x[j], inv, l.min * inv, 0.0f, 15.0f) - l.min);

        lane[j % 8] += e * e;
    }
    return ((lane[0] + lane[4]) + (lane[1] + lane[5])) +
           ((lane[2] + lane[6]) + (lane[3] + lane[7]));
}

/* Least squares of x on the codes that l gives. */
static struct line fit4(const float *x, struct line l)
{
    float inv = inverse(l.scale), q1 = 0.0f, q2 = 0.0f, x1 = 0.0f, xq = 0.0f, det;
    struct line fit = l;

    for (int j = 0; j < PART4; j++) {
        float q = code_of(x[j], inv, l.min * inv, 0.0f, 15.0f);

        q1 += q;
        q2 += q * q;
        x1 += x[j];
        xq += x[j] * q;
    }
    det = (float)PART4 * q2 - q1 * q1;
    if (det > 0.0f) {
        fit.scale = ((float)PART4 * xq - x1 * q1) / det;
        fit.min = (q1 * xq - q2 * x1) / det;
    }
    if (fit.min < 0.0f && q2 > 0.0f) { /* a minimum above 0 cannot be stored */
        fit = (struct line){xq / q2, 0.0f};
    }
    return fit.scale > 0.0f ? fit : l;
}

static struct line search4(const float *x)
{
    float lo = 0.0f, hi = x[0], least;
    struct line best;

    for (int j = 0; j < PART4; j++) {
        lo = x[j] < lo ? x[j] : lo;
        hi = x[j] > hi ? x[j] : hi;
    }
    best = (struct line){(hi - lo) / 15.0f, -lo};
    if (!(best.scale > 0.0f)) {
        return (struct line){0.0f, -lo};
    }
    least = error4(x, best);
    for (int step = -STEPS / 2; step <= STEPS / 2; step++) {
        struct line l = {(hi - lo) / (15.0f + 0.1f * (float)step), -lo};
        float e;

        l = fit4(x, l);
        e = error4(x, l);
        if (e < least) {
            least = e;
            best = l;
        }
    }
    return best;
}

/* Whole multiples of d and dmin, 0..63, near l that leave the least error. */
static void choose4(const float *x, struct line l, float d, float dmin, int *scale, int *min)
{
    int s0 = rounded(l.scale * inverse(d), 0, 63), m0 = rounded(l.min * inverse(dmin), 0, 63);
    float least = INFINITY;

    for (int s = s0 - AROUND; s <= s0 + AROUND; s++) {
        for (int m = m0 - AROUND; m <= m0 + AROUND; m++) {
            float e = s < 0 || s > 63 || m < 0 || m > 63
                          ? INFINITY
                          : error4(x, (struct line){d * (float)s, dmin * (float)m});

            if (e < least) {
                least = e;
                *scale = s;
                *min = m;
            }
        }
    }
}

static void block4(const float *x, uint8_t *p)
{
    struct line line[N / PART4];
    float scale = 0.0f, min = 0.0f, d, dmin;

    for (int s = 0; s < N / PART4; s++) {
        line[s] = search4(x + s * PART4);
        scale = fmaxf(scale, line[s].scale);
        min = fmaxf(min, line[s].min);
    }
    memset(p, 0, (size_t)qx_block_q4_k.bytes);
    qx_block_half_put(p, scale / 63.0f);
    qx_block_half_put(p + 2, min / 63.0f);
    d = qx_block_half(p);
    dmin = qx_block_half(p + 2);
    for (int s = 0; s < N / PART4; s++) {
        const float *part = x + s * PART4;
        int whole = 0, less = 0;
        float inv, up;

        choose4(part, line[s], d, dmin, &whole, &less);
        inv = inverse(d * (float)whole);
        up = dmin * (float)less * inv;
        qx_block_scale_min_put(p + 4, s, whole, less);
        for (int j = 0; j < PART4; j++) {
            int q = (int)code_of(part[j], inv, up, 0.0f, 15.0f);

            p[16 + s / 2 * 32 + j] |= (uint8_t)(q << s % 2 * 4);
        }
    }
}

void qx_encode_q4_k(const float *x, size_t n_blocks, uint8_t *out)
{
    for (size_t i = 0; i < n_blocks; i++) {
        block4(x + i * N, out + i * (size_t)qx_block_q4_k.bytes);
    }
}
