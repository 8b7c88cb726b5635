/* 4 rows of 3 digits by 32 outputs: 24 sums, 4 weights, 2 digits, mask; one row takes the panel in one pass. */
#define QXK_SUFFIX         avx512vnni
#define QXK_VEC_BITS       512
#define ROWSF              4
#define VECSF(n_rows)      ((n_rows) == 1 ? 4 : 2)
#define VECS_TABLE(n_rows) 4
#define SUMS_16            0

#include "kernels/tmpl/vec.h"

INLINE void dp(vi *sum, vi w, vi a)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(w), "v"(a));
}
#define dot4(sum, w, a) dp(&(sum), w, a)

#include "kernels/tmpl/digits_vnni.h"
#include "kernels/tmpl/gemmf.h"
