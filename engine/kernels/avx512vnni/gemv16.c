#define QXK_SUFFIX   avx512vnni
#define QXK_VEC_BITS 512
#define ROWS16       4

#include "kernels/tmpl/gemv16.h"
