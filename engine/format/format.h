/* The rows of the number format table; one file each. */
#ifndef QX_FORMAT_FORMAT_H
#define QX_FORMAT_FORMAT_H

#include "qx/format.h"

extern const struct qx_format qx_fmt_fp32, qx_fmt_fp16, qx_fmt_bf16, qx_fmt_int;

#endif
