/* IEEE binary16. */
#include <math.h>

#include "base/fp16.h"
#include "format/format.h"

enum { FP16_MAX = 65504 };

/* Saturates where the conversion gives infinity: one large weight must not poison a whole network. */
static float round_fp16(float x)
{
    float y = qx_f16_to_f32(qx_f32_to_f16(x));

    return isinf(y) ? copysignf(FP16_MAX, x) : y;
}

const struct qx_format qx_fmt_fp16 = {
    .name = "fp16",
    .title = "FP16",
    .help = "16-bit IEEE floating point: 11 significant bits, values up to 65,504.",
    .key = 'f',
    .kind = QX_FORMAT_FLOAT,
    .min_bits = 16,
    .max_bits = 16,
    .tolerance = 0x1p-11,
    .max = FP16_MAX,
    .round = round_fp16,
};
