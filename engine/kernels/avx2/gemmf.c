#define QXK_SUFFIX    avx2
#define ROWSF         4
#define COLSF(n_rows) ((n_rows) == 1 ? 64 : 16)

#include "kernels/tmpl/gemmf.h"
