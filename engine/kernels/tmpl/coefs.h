/* Coefficients shared by the portable and the vector functions, which give the same bits.
 *
 * exp(r) = 1 + r (E0 + E1 r + .. + E5 r^5), |r| <= ln(2)/2: interpolation of (exp(r) - 1)/r at Chebyshev
 * nodes, relative error 5.1e-9 before rounding.
 * erf(z) = z P(z^2) / Q(z^2), |z| <= 3.95: weighted least squares iterated towards equal ripples,
 * relative error 2.1e-8 before rounding (tests/golden/kernels/fit.py made both). */
#ifndef QXK_TMPL_COEFS_H
#define QXK_TMPL_COEFS_H

#define EXP_LO  -87.0f /* below: exp(-87), 1.6e-38 */
#define EXP_HI  88.3f
#define LOG2_E  1.44269504f
#define LN2_HI  0.693145752f /* 15 bits: n * LN2_HI is exact */
#define LN2_LO  1.42860682e-6f
#define ERF_END 3.95f
#define GELU_LO -5.6f /* gelu is below 7e-8 in size from here down */

static const float exp_coef[6] = {1.000000011f,   0.5000000013f,   0.166665052f,
                                  0.04166646493f, 0.008369155668f, 0.001393365f};
static const float erf_p[6] = {1.12837914381f,    0.191549257486f,    0.0528752778508f,
                               0.00380810017937f, 0.000284683492286f, 2.025883338e-6f};
static const float erf_q[6] = {
    1.0f, 0.503088786647f, 0.114559158253f, 0.0150549804628f, 0.00117070489769f, 3.78313138873e-5f};
#endif
