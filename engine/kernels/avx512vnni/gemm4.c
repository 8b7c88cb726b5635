/* 6 rows by 32 outputs: 12 integer and 12 float sums, 4 weights, 2 activations, mask. Up to 3 rows take
 * the panel in one pass. */
#define QXK_SUFFIX    avx512vnni
#define QXK_VEC_BITS  512
#define ROWS4         6
#define VECS4(n_rows) ((n_rows) <= 2 ? 4 : 2)
#define SUMS_16       0

#include "kernels/tmpl/vec.h"

INLINE void dot4_ptr(vi *sum, vi w, vi a)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(w), "v"(a));
}
#define dot4(sum, w, a) dot4_ptr(&(sum), w, a)

#include "kernels/tmpl/gemm4.h"
