/* exp, erf and GELU, one value at a time: the definition the vector rungs repeat bit for bit.
 * Bounds measured over floats of all sizes (test_kernels_int.c): exp 1e-7 relative in [-87, 88.3], erf
 * 3e-7 absolute, gelu 3e-7 |x|, gelu_tanh 2e-7 |x|. NaN in, NaN out. */
#ifndef QXK_REF_MATH_H
#define QXK_REF_MATH_H

#include "kernels/tmpl/coefs.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The second operand when either is NaN, as the vector instruction does. */
static inline float larger(float a, float b)
{
    return a > b ? a : b;
}

static inline float smaller(float a, float b)
{
    return a < b ? a : b;
}

static inline float poly5(const float *c, float x)
{
    float p = c[5];
    for (int i = 4; i >= 0; i--) {
        p = fmaf(p, x, c[i]);
    }
    return p;
}

static inline float exp_ref(float x)
{
    if (isnan(x)) {
        return x;
    }
    x = smaller(EXP_HI, larger(EXP_LO, x));
    float n = rintf(x * LOG2_E), two_n;
    float r = fmaf(-n, LN2_LO, fmaf(-n, LN2_HI, x));
    int32_t bits = ((int32_t)n + 127) << 23;
    memcpy(&two_n, &bits, 4);
    return fmaf(poly5(exp_coef, r), r, 1.0f) * two_n;
}

static inline float erf_ref(float z)
{
    z = smaller(ERF_END, larger(-ERF_END, z));
    float s = z * z;
    return z * poly5(erf_p, s) / poly5(erf_q, s);
}

static inline float gelu_ref(float x)
{
    float h = larger(GELU_LO, x) * 0.5f;
    return fmaf(h, erf_ref(x * 0.707106781f), h);
}

static inline float gelu_tanh_ref(float x)
{
    float u = x * fmaf(x * x, -0.0713548163f, -1.59576912f);
    return larger(-10.0f, x) / (1.0f + exp_ref(u));
}
#endif
