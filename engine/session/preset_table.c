/* The presets, in the order of the menu. */
#include "qx/preset.h"

#include <string.h>

static const char *ends_fp16(const struct qx_preset_layer *l)
{
    return l->at == 0 || l->at == l->n - 1 ? "fp16" : NULL;
}

/* Of tools that look at linear layers only, and leave the last one (the head) alone. */
static const char *no_conv_no_head(const struct qx_preset_layer *l)
{
    return l->is_conv || l->at == l->n - 1 ? "fp32" : NULL;
}

static const char *no_head(const struct qx_preset_layer *l)
{
    return l->at == l->n - 1 ? "fp32" : NULL;
}

static const char *no_conv(const struct qx_preset_layer *l)
{
    return l->is_conv ? "fp32" : NULL;
}

static bool is_any(const char *name, const char *const *parts)
{
    for (; *parts; parts++) {
        if (strstr(name, *parts)) {
            return true;
        }
    }
    return false;
}

/* The first and the last eighth of the blocks, and every third one between (llama.cpp's use_more_bits). */
static const char *q4_k_m(const struct qx_preset_layer *l)
{
    static const char *const sensitive[] = {"attn_v.", "v_proj.",       "ffn_down.", "down_proj.",
                                            ".value.", "output.dense.", NULL};
    static const char *const not_those[] = {"attention.output", NULL};
    const int64_t eighth = l->n_blocks / 8;
    const bool has_more =
        l->block < eighth || l->block >= 7 * l->n_blocks / 8 || (l->block - eighth) % 3 == 2;
    if (l->block < 0) {
        return l->at == l->n - 1 ? "q6_k" : NULL;
    }
    return has_more && is_any(l->name, sensitive) && !is_any(l->name, not_those) ? "q6_k" : NULL;
}

static const struct qx_preset rows[] = {
    {
        .name = "seed-004",
        .key = 's',
        .help = "INT8: weights per channel, inputs static; first and last layer FP16.",
        .tool = "The rule of thumb of the notes: weights per channel, inputs per tensor with "
                "percentile or KL ranges, first and last layer in FP16.",
        .ours = "Inputs take percentile 99.99; --act-method kl is the other choice.",
        .weight = {.bits = 8, .method = "minmax"},
        .act = {.bits = 8, .method = "percentile"},
        .other = ends_fp16,
    },
    {
        .name = "torch-dynamic",
        .key = 'd',
        .help = "INT8 linear layers, one scale a tensor; inputs quantized as they come.",
        .tool = "torch.ao quantize_dynamic: Linear only, weights per tensor by min-max, inputs "
                "asymmetric with the range of the batch at hand.",
        .ours = "The range is that of a sample, not of the batch; all 8 bits of the inputs are "
                "used, where its x86 back end keeps one in reserve.",
        .weight = {.bits = 8, .by_tensor = true, .method = "minmax"},
        .act = {.bits = 8, .dynamic = true},
        .other = no_conv,
    },
    {
        .name = "torch-static",
        .key = 't',
        .help = "INT8: weights per channel, inputs static by least squared error.",
        .tool = "torch.ao's default for x86: weights per channel by min-max, inputs asymmetric "
                "with a range that a histogram observer finds by squared error.",
        .ours = "Residual sums and pooling stay float32; all 8 bits of the inputs are used, where "
                "it keeps one in reserve.",
        .weight = {.bits = 8, .method = "minmax"},
        .act = {.bits = 8, .method = "mse"},
    },
    {
        .name = "autocast-bf16",
        .key = 'a',
        .help = "Weights of linear layers and convolutions in BF16.",
        .tool = "torch.autocast on a CPU: matrix products and convolutions take BF16 weights and "
                "inputs.",
        .ours = "Inputs stay float32.",
        .weight = {.format = "bf16"},
    },
    {
        .name = "ort-static",
        .key = 'o',
        .help = "INT8, one scale a tensor for weights, min-max ranges for inputs.",
        .tool = "ONNX Runtime's quantize_static with its defaults: weights INT8 symmetric per "
                "tensor, inputs UINT8 by min-max, every operation with an integer form.",
        .ours = "Inputs of layers with weights only: sums, pooling and embeddings stay float32.",
        .weight = {.bits = 8, .by_tensor = true, .method = "minmax"},
        .act = {.bits = 8, .method = "minmax"},
    },
    {
        .name = "tensorrt",
        .key = 'r',
        .help = "INT8 symmetric: weights per channel, inputs by the entropy calibrator.",
        .tool = "TensorRT with an entropy calibrator: weights per channel by min-max, inputs "
                "symmetric per tensor, the range by KL divergence.",
        .ours = "All layers run in INT8, where it times each layer and may choose FP16. Its second "
                "calibrator (IInt8EntropyCalibrator2) is not published: ours is the one of 2017, "
                "without the values of exactly 0.",
        .weight = {.bits = 8, .method = "minmax"},
        .act = {.bits = 8, .sym = true, .method = "kl"},
    },
    {
        .name = "tflite-int8",
        .key = 'l',
        .help = "INT8: weights per channel, inputs asymmetric by min-max.",
        .tool = "TensorFlow Lite's full integer form: weights -127..127 per channel, inputs INT8 "
                "asymmetric by min-max.",
        .ours = "Outputs between layers stay codes only where the next layer reads the same ones; "
                "softmax and sums are float32.",
        .weight = {.bits = 8, .method = "minmax"},
        .act = {.bits = 8, .method = "minmax"},
    },
    {
        .name = "w8a8-smoothquant",
        .key = 'q',
        .help = "INT8 weights and inputs after outliers moved into the weights.",
        .tool = "SmoothQuant with alpha 0.5: weights per channel, one static scale for inputs.",
        .ours = "The head stays as stored; layers behind a Gelu or a gate take factors too, which "
                "nothing before them can take up.",
        .weight = {.bits = 8, .method = "minmax", .algo = "smoothquant:0.5"},
        .act = {.bits = 8, .method = "minmax"},
        .other = no_conv_no_head,
    },
    {
        .name = "bnb-8bit",
        .key = '8',
        .help = "LLM.int8(): INT8 by rows and tokens, outlier inputs in FP16.",
        .tool = "bitsandbytes load_in_8bit: linear layers but the head, weights by rows, inputs by "
                "tokens, inputs beyond 6.0 kept in FP16.",
        .ours = "Outlier inputs are chosen once, on calibration rows, not for every batch.",
        .weight = {.bits = 8, .method = "minmax", .algo = "llm-int8:6"},
        .act = {.bits = 8, .sym = true, .dynamic = true, .by_token = true},
        .other = no_conv_no_head,
    },
    {
        .name = "bnb-nf4",
        .key = 'n',
        .help = "NF4 in blocks of 64, the head as stored.",
        .tool = "bitsandbytes load_in_4bit (NF4): linear layers but the head, a float32 scale by "
                "absmax for every 64 weights.",
        .ours = "Blocks lie along the inputs of an output; the scales are not quantized again.",
        .weight = {.format = "nf4", .group = 64, .scale = "f32", .method = "minmax"},
        .other = no_conv_no_head,
    },
    {
        .name = "bnb-nf4-dq",
        .key = 'u',
        .help = "NF4 in blocks of 64, scales quantized once more; the head as stored.",
        .tool = "bitsandbytes load_in_4bit (NF4) with bnb_4bit_use_double_quant: the scales, less "
                "their mean, become 8-bit floats in blocks of 256.",
        .ours = "Blocks lie along the inputs of an output; scales become E4M3, where it has an "
                "8-bit code of its own.",
        .weight = {.format = "nf4", .group = 64, .scale = "dq", .method = "minmax"},
        .other = no_conv_no_head,
    },
    {
        .name = "gptq-w4g128",
        .key = 'g',
        .help = "INT4 in groups of 128, codes by GPTQ; the head as stored.",
        .tool = "GPTQ's usual checkpoint: 4 bits symmetric, groups of 128, FP16 scales by min-max, "
                "linear layers of the blocks.",
        .ours = "Codes are -7..7 (it uses -8 too), columns come in order of their moments, with "
                "groups fixed beforehand; convolutions are taken too.",
        .weight = {.bits = 4, .group = 128, .method = "minmax", .algo = "gptq"},
        .other = no_head,
    },
    {
        .name = "awq-w4g128",
        .key = 'w',
        .help = "INT4 asymmetric in groups of 128 after AWQ's scaling and clipping.",
        .tool = "AutoAWQ's default: 4 bits with zero points, groups of 128, FP16 scales; inputs' "
                "scales and the clipping searched.",
        .ours = "The search looks at the moments of the inputs, one layer at a time.",
        .weight = {.bits = 4, .asym = true, .group = 128, .method = "minmax", .algo = "awq"},
        .other = no_conv_no_head,
    },
    {
        .name = "q4_k_m-like",
        .key = 'k',
        .help = "Q4_K, with Q6_K for the head and half of the values and down projections.",
        .tool = "llama.cpp's Q4_K_M: Q4_K; Q6_K for the output, and for attn_v and ffn_down in the "
                "first and last eighth of the blocks and every third one between.",
        .ours = "The embedding stays as stored unless it is the head too.",
        .weight = {.format = "q4_k"},
        .other = q4_k_m,
    },
};
enum { N_ROWS = sizeof rows / sizeof *rows };

int qx_preset_count(void)
{
    return N_ROWS;
}

const struct qx_preset *qx_preset_at(int i)
{
    return i >= 0 && i < N_ROWS ? &rows[i] : NULL;
}
