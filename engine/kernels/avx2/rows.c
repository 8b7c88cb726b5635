#define QXK_SUFFIX avx2

#include "kernels/tmpl/quant_row.h"
#include "kernels/tmpl/rows.h"
#include "kernels/tmpl/split.h"
