/* IEEE binary32: the value as it is computed with. */
#include <float.h>

#include "format/format.h"

static float round_fp32(float x)
{
    return x;
}

const struct qx_format qx_fmt_fp32 = {
    .name = "fp32",
    .title = "FP32",
    .help = "32-bit floating point: the layer is left as it is.",
    .key = 'F',
    .kind = QX_FORMAT_FLOAT,
    .min_bits = 32,
    .max_bits = 32,
    .tolerance = 0.0,
    .max = FLT_MAX,
    .round = round_fp32,
};
