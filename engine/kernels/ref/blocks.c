#include "base/fp16.h"
#include "kernels/rungs.h"

#include <math.h>
#include <string.h>

enum { N = 32, HALF = N / 2 };

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static uint8_t *half_put(uint8_t *p, float x)
{
    uint16_t h = qx_f32_to_f16(x);
    h = (h & 0x7fff) == 0x7c00 ? (uint16_t)(h - 1) : h;
    p[0] = (uint8_t)(h & 255);
    p[1] = (uint8_t)(h >> 8);
    return p + 2;
}

static float inverse(float d)
{
    const float inv = d != 0.0f ? 1.0f / d : 0.0f;
    return isfinite(inv) ? inv : 0.0f;
}

static float extreme(const float *x)
{
    float most = 0.0f;
    for (int j = 0; j < N; j++) {
        most = fabsf(x[j]) > fabsf(most) ? x[j] : most;
    }
    return most;
}

/* Codes around `zero`. */
static uint8_t *code_signed(const float *x, int zero, uint8_t *p, uint8_t *code)
{
    const float d = extreme(x) / (float)-zero, inv = inverse(d);
    for (int j = 0; j < N; j++) {
        code[j] = (uint8_t)smaller(2 * zero - 1, (int)(x[j] * inv + ((float)zero + 0.5f)));
    }
    return half_put(p, d);
}

/* Codes from the smallest value up to `top`. */
static uint8_t *code_ranged(const float *x, int top, uint8_t *p, uint8_t *code)
{
    float lo = x[0], hi = x[0];
    for (int j = 1; j < N; j++) {
        lo = x[j] < lo ? x[j] : lo;
        hi = x[j] > hi ? x[j] : hi;
    }
    const float d = (hi - lo) / (float)top + 0.0f, inv = inverse(d); /* never -0 */
    for (int j = 0; j < N; j++) {
        code[j] = (uint8_t)smaller(top, (int)((x[j] - lo) * inv + 0.5f));
    }
    return half_put(half_put(p, d), lo + 0.0f);
}

static uint8_t *codes_put(const uint8_t *code, int bits, uint8_t *p)
{
    if (bits == 5) {
        memset(p, 0, 4);
        for (int j = 0; j < N; j++) {
            p[j / 8] |= (uint8_t)((code[j] >> 4) << j % 8);
        }
        p += 4;
    }
    for (int j = 0; j < HALF; j++) {
        p[j] = (uint8_t)((code[j] & 15) | (code[j + HALF] & 15) << 4);
    }
    return p + HALF;
}

static uint8_t *bytes_put(const float *x, uint8_t *p)
{
    const float d = fabsf(extreme(x)) / 127.0f, inv = inverse(d);
    p = half_put(p, d);
    for (int j = 0; j < N; j++) {
        p[j] = (uint8_t)(int8_t)roundf(x[j] * inv);
    }
    return p + N;
}

void qxk_plain_blocks_ref(const float *x, size_t n_blocks, int bits, bool is_ranged, uint8_t *out)
{
    uint8_t code[N];
    for (size_t i = 0; i < n_blocks; i++, x += N) {
        if (bits == 8) {
            out = bytes_put(x, out);
        } else {
            out = is_ranged ? code_ranged(x, (1 << bits) - 1, out, code)
                            : code_signed(x, 1 << (bits - 1), out, code);
            out = codes_put(code, bits, out);
        }
    }
}

/* ---- tries ---- */

static float code_of(const struct qxk_tries *t, int i, float x)
{
    const float magic = 0x1.8p23f; /* adding it rounds to a whole number, ties to even */
    float q = x * t->inv[i] + t->shift[i];
    q = q > t->lo ? q : t->lo;
    q = q < t->hi ? q : t->hi;
    return (q + magic) - magic;
}

void qxk_code_sums_ref(const float *x, const float *w, int64_t n, const struct qxk_tries *t,
                       struct qxk_code_sums *out)
{
    for (int i = 0; i < QXK_TRIES; i++) {
        float q1 = 0.0f, q2 = 0.0f, xq = 0.0f;
        for (int64_t j = 0; j < n; j++) {
            const float q = code_of(t, i, x[j]), weight = w ? w[j] : 1.0f, wq = weight * q;
            q1 += wq;
            q2 += wq * q;
            xq += (weight * x[j]) * q;
        }
        out->q1[i] = q1;
        out->q2[i] = q2;
        out->xq[i] = xq;
    }
}

void qxk_code_errors_ref(const float *x, const float *w, int64_t n, const struct qxk_tries *t,
                         const float scale[QXK_TRIES], const float min[QXK_TRIES],
                         float error[QXK_TRIES])
{
    for (int i = 0; i < QXK_TRIES; i++) {
        float sum = 0.0f;
        for (int64_t j = 0; j < n; j++) {
            const float e = x[j] - (scale[i] * code_of(t, i, x[j]) - min[i]);
            sum += ((w ? w[j] : 1.0f) * e) * e;
        }
        error[i] = sum;
    }
}
