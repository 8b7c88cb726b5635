#define QXK_SUFFIX avx2

#include "kernels/tmpl/dwconv.h"
