/* bfloat16: the upper half of a float32. */
#include <math.h>

#include "base/fp16.h"
#include "format/format.h"

#define BF16_MAX 0x1.fep127f

static float round_bf16(float x)
{
    float y = qx_bf16_to_f32(qx_f32_to_bf16(x));

    return isinf(y) ? copysignf(BF16_MAX, x) : y;
}

const struct qx_format qx_fmt_bf16 = {
    .name = "bf16",
    .title = "BF16",
    .help = "16-bit brain floating point: the range of FP32 with 8 significant bits.",
    .key = 'b',
    .kind = QX_FORMAT_FLOAT,
    .min_bits = 16,
    .max_bits = 16,
    .tolerance = 0x1p-8,
    .max = BF16_MAX,
    .round = round_bf16,
};
