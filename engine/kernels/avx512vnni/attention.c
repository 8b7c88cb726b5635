/* 6 queries by 64 keys or values: 24 sums, 4 vectors, 1 factor of the 32 registers. */
#define QXK_SUFFIX   avx512vnni
#define QXK_VEC_BITS 512
#define VECS         4

#include "kernels/tmpl/attention.h"
