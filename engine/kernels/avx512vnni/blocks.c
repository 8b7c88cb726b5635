#define QXK_SUFFIX   avx512vnni
#define QXK_VEC_BITS 512

#include "kernels/tmpl/tries.h"
