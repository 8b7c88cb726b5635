/* The block types of ggml that are written, and NVFP4 as NVIDIA defines it: one row each. Codes, scales and all
 * are those of the layout (format/block*.c), so nothing is left to choose but the format itself.
 *
 * Conventions: Q8_0 uses -127..127; Q4_0 and Q5_0 give the value that is largest in magnitude their lowest code,
 * -8 and -16; MXFP4's scale is the power of two that puts it between 4 and 8, so that up to a quarter of it may be
 * clipped; NVFP4 adds a float32 scale of the tensor, without which small weights would fall below E4M3. */
#include "format/block.h"
#include "format/format.h"

#define ROW(id, row_name, row_title, row_key, bits, error, text)   \
    const struct qx_format qx_fmt_##id = {.name = row_name,        \
                                          .title = row_title,      \
                                          .help = text,            \
                                          .key = row_key,          \
                                          .kind = QX_FORMAT_BLOCK, \
                                          .min_bits = bits,        \
                                          .max_bits = bits,        \
                                          .tolerance = error,      \
                                          .block = &qx_block_##id}

ROW(q8_0, "q8_0", "Q8_0", '8', 8, 0.002,
    "ggml's 8 bits: blocks of 32 with a scale in FP16, 8.5 bits a weight.");
ROW(q6_k, "q6_k", "Q6_K", '6', 6, 0.002,
    "ggml's 6 bits: blocks of 256, an 8-bit scale for every 16 weights, 6.56 bits a weight.");
ROW(q5_1, "q5_1", "Q5_1", 's', 5, 0.002,
    "ggml's 5 bits from the smallest to the largest of 32 weights, 6 bits a weight.");
ROW(q5_0, "q5_0", "Q5_0", '5', 5, 0.002,
    "ggml's 5 bits around zero: blocks of 32 with a scale in FP16, 5.5 bits a weight.");
ROW(q4_1, "q4_1", "Q4_1", 'a', 4, 0.002,
    "ggml's 4 bits from the smallest to the largest of 32 weights, 5 bits a weight.");
ROW(q4_k, "q4_k", "Q4_K", 'k', 4, 0.002,
    "ggml's 4 bits: blocks of 256, 6-bit scale and minimum for every 32 weights, 4.5 bits a "
    "weight.");
ROW(q4_0, "q4_0", "Q4_0", '4', 4, 0.002,
    "ggml's 4 bits around zero: blocks of 32 with a scale in FP16, 4.5 bits a weight.");
ROW(mxfp4, "mxfp4", "MXF4", 'm', 4, 0.003,
    "E2M1 in blocks of 32 whose scale is a power of two (OCP Microscaling), 4.25 bits a weight.");

const struct qx_format qx_fmt_nvfp4 = {
    .name = "nvfp4",
    .title = "NVF4",
    .help = "E2M1 with an E4M3 scale for every 16 weights and a float32 one for all, 4.5 bits a "
            "weight.",
    .key = 'v',
    .kind = QX_FORMAT_BLOCK,
    .min_bits = 4,
    .max_bits = 4,
    .tolerance = 0.003,
    .block = &qx_block_nvfp4,
    .tensor_top = 6.0f * 448.0f,
};
