/* Uniform integers with a scale (and zero point) per tensor, channel or group: quant/scheme.c. */
#include "format/format.h"

const struct qx_format qx_fmt_int = {
    .name = "int",
    .title = "INT",
    .help = "Integers of 2 to 8 bits on a uniform grid, with a scale per tensor, channel or group.",
    .key = 'i',
    .kind = QX_FORMAT_AFFINE,
    .min_bits = 2,
    .max_bits = 8,
};
