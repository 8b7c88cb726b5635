/* The rows of the number format table; one file each. */
#ifndef QX_FORMAT_FORMAT_H
#define QX_FORMAT_FORMAT_H

#include "qx/format.h"

#include <math.h>

extern const struct qx_format qx_fmt_fp32, qx_fmt_fp16, qx_fmt_bf16, qx_fmt_int, qx_fmt_nf4,
    qx_fmt_fp4, qx_fmt_fp8e4m3, qx_fmt_fp8e5m2, qx_fmt_q8_0, qx_fmt_q6_k, qx_fmt_q5_1, qx_fmt_q5_0,
    qx_fmt_q4_1, qx_fmt_q4_k, qx_fmt_q4_0, qx_fmt_mxfp4, qx_fmt_nvfp4;

/* Edges of a code book at m, half-way between two levels. A value of exactly m goes to the lower or to
 * the upper one; for the latter the edge is the float32 before m. */
#define QX_EDGE_LOWER(m) (float)(m)
#define QX_EDGE_UPPER(m) (float)((m) - ((m) < 0 ? -(m) : (m)) * 0x1.02p-24)

#endif
