/* exp, erf and GELU on vectors, step for step the scalar ones of ref/math.h. */
#ifndef QXK_TMPL_VMATH_H
#define QXK_TMPL_VMATH_H

#include "kernels/tmpl/coefs.h"
#include "kernels/tmpl/vec.h"

/* c[0] + c[1] x + .. + c[5] x^5 */
INLINE vf v_poly5(const float *c, vf x)
{
    vf p = vf_set1(c[5]);
#pragma GCC unroll 5
    for (int i = 4; i >= 0; i--) {
        p = vf_fma(p, x, vf_set1(c[i]));
    }
    return p;
}

INLINE vf v_exp(vf x)
{
    x = vf_min(vf_set1(EXP_HI), vf_max(vf_set1(EXP_LO), x)); /* in this order NaN survives */
    vf n = vf_rint(vf_mul(x, vf_set1(LOG2_E)));
    vf r = vf_fnma(n, vf_set1(LN2_LO), vf_fnma(n, vf_set1(LN2_HI), x));
    vf p = vf_fma(v_poly5(exp_coef, r), r, vf_set1(1.0f));
    return vf_mul(p, vf_bits(vi_shl(vi_add(vi_of(n), vi_set1(127)), 23)));
}

INLINE vf v_erf(vf z)
{
    z = vf_min(vf_set1(ERF_END), vf_max(vf_set1(-ERF_END), z));
    vf s = vf_mul(z, z);
    return vf_div(vf_mul(z, v_poly5(erf_p, s)), v_poly5(erf_q, s));
}

INLINE vf v_gelu(vf x)
{
    vf h = vf_mul(vf_max(vf_set1(GELU_LO), x), vf_set1(0.5f));
    return vf_fma(h, v_erf(vf_mul(x, vf_set1(0.707106781f))), h);
}

INLINE vf v_gelu_tanh(vf x)
{
    vf u = vf_mul(x, vf_fma(vf_mul(x, x), vf_set1(-0.0713548163f), vf_set1(-1.59576912f)));
    return vf_div(vf_max(vf_set1(-10.0f), x), vf_add(vf_set1(1.0f), v_exp(u)));
}
#endif
