#define QXK_SUFFIX    avx512vnni
#define QXK_VEC_BITS  512
#define ROWSF         4
#define COLSF(n_rows) 64

#include "kernels/tmpl/gemmf.h"
