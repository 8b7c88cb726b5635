#define QXK_SUFFIX   avx512vnni
#define QXK_VEC_BITS 512

#include "kernels/tmpl/quant_row.h"
#include "kernels/tmpl/rows.h"
#include "kernels/tmpl/split.h"
