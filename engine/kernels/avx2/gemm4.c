/* Codes of 4 bits leave room: the 16-bit sums of vpmaddubsw can be added eight times before they are
 * widened, which makes 4-bit products cheaper than 8-bit ones. */
#define QXK_SUFFIX    avx2
#define ROWS4         4
#define VECS4(n_rows) ((n_rows) == 1 ? 2 : 1)
#define SUMS_16       1

#include "kernels/tmpl/vec.h"

/* The addition as assembly: gcc 12 would copy the sum around. */
INLINE void dot4_ptr(vi *sum, vi w, vi a)
{
    vi p = _mm256_maddubs_epi16(w, a);
    __asm__("vpaddw %1, %0, %0" : "+x"(*sum) : "x"(p));
}
#define dot4(sum, w, a) dot4_ptr(&(sum), w, a)
#define widen(sum)      _mm256_madd_epi16(sum, _mm256_set1_epi16(1))

#include "kernels/tmpl/gemm4.h"
