/* 2 outputs: 8 sums, 4 activations. */
#define QXK_SUFFIX avx2
#define ROWS16     2

#include "kernels/tmpl/gemv16.h"
