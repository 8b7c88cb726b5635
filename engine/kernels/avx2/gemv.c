#define QXK_SUFFIX avx2

#include "kernels/tmpl/gemv.h"
