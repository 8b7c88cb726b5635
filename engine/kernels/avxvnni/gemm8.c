/* 6 rows by 16 outputs: 12 sums, 2 weights, 1 activation of the 16 registers. With QXK_EVEX the same
 * text is built in the AVX-512 encoding, so that CPUs without AVX-VNNI can test it. */
#ifndef QXK_SUFFIX
#define QXK_SUFFIX avxvnni
#endif
#define ROWS         6
#define COLS(n_rows) ((n_rows) == 1 ? 64 : (n_rows) == 2 ? 32 : 16)

#include "kernels/tmpl/vec.h"

INLINE void dot_step_ptr(vi *sum, vi a, vi w)
{
#ifdef QXK_EVEX
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(w));
#else
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(*sum) : "x"(a), "x"(w));
#endif
}
#define dot_step(sum, a, w) dot_step_ptr(&(sum), a, w)

#include "kernels/tmpl/vnni8.h"
#include "kernels/tmpl/gemm8.h"
