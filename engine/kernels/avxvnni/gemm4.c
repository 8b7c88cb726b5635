/* 4 rows by 8 outputs: 4 integer and 4 float sums, 2 weights, 2 activations, mask; a single row takes
 * 16 outputs. QXK_EVEX: see gemm8.c. */
#ifndef QXK_SUFFIX
#define QXK_SUFFIX avxvnni
#endif
#define ROWS4         4
#define VECS4(n_rows) ((n_rows) == 1 ? 2 : 1)
#define SUMS_16       0

#include "kernels/tmpl/vec.h"

INLINE void dot4_ptr(vi *sum, vi w, vi a)
{
#ifdef QXK_EVEX
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(w), "v"(a));
#else
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(*sum) : "x"(w), "x"(a));
#endif
}
#define dot4(sum, w, a) dot4_ptr(&(sum), w, a)

#include "kernels/tmpl/gemm4.h"
