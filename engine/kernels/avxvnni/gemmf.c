/* One row of 3 digits by 24 outputs would fill the 16 registers; 16 are a divisor of a panel. QXK_EVEX: see gemm8.c. */
#ifndef QXK_SUFFIX
#define QXK_SUFFIX avxvnni
#endif
#define ROWSF              4
#define VECSF(n_rows)      ((n_rows) == 1 ? 2 : 1)
#define VECS_TABLE(n_rows) 2
#define SUMS_16            0

#include "kernels/tmpl/vec.h"

INLINE void dp(vi *sum, vi w, vi a)
{
#ifdef QXK_EVEX
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(w), "v"(a));
#else
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(*sum) : "x"(w), "x"(a));
#endif
}
#define dot4(sum, w, a) dp(&(sum), w, a)

#include "kernels/tmpl/digits_vnni.h"
#include "kernels/tmpl/gemmf.h"
