/* 6 queries by 16 keys or values: 12 sums, 2 vectors, 1 factor of the 16 registers. */
#define QXK_SUFFIX avx2
#define VECS       2

#include "kernels/tmpl/attention.h"
