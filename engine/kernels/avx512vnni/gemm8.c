/* 6 rows by 64 outputs: 24 sums, 4 weights, 1 activation of the 32 registers. */
#define QXK_SUFFIX   avx512vnni
#define QXK_VEC_BITS 512
#define ROWS         6
#define COLS(n_rows) 64

#include "kernels/tmpl/vec.h"

/* One line of assembly: gcc 12 wraps the intrinsic in register copies and runs at half the speed. */
INLINE void dot_step_ptr(vi *sum, vi a, vi w)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(w));
}
#define dot_step(sum, a, w) dot_step_ptr(&(sum), a, w)

#include "kernels/tmpl/vnni8.h"
#include "kernels/tmpl/gemm8.h"
