/* The number formats one would ship a network in: one row each, FP32 first. */
#include "qx/bench.h"

#include "base/error.h"
#include "base/str.h"

#include <string.h>

static const struct qx_variant variants[] = {
    {.name = "fp32",
     .title = "FP32",
     .help = "Weights and activations in float32: what the others are compared with.",
     .format = "fp32"},
    {.name = "fp16",
     .title = "FP16",
     .help =
         "Weights kept in 16 bits and widened layer by layer as they are used; float32 arithmetic.",
     .format = "fp16"},
    {.name = "fp16-convert",
     .title = "FP16 convert",
     .help = "Weights kept in 16 bits, all of them widened before every pass; float32 arithmetic.",
     .format = "fp16",
     .converts = true},
    {.name = "bf16",
     .title = "BF16",
     .help = "Weights kept in bfloat16 and widened layer by layer; float32 arithmetic.",
     .format = "bf16"},
    {.name = "int8",
     .title = "INT8 static",
     .help = "8-bit weights a channel, 8-bit activations with calibrated ranges.",
     .format = "int",
     .bits = 8,
     .is_static = true},
    {.name = "int8-dynamic",
     .title = "INT8 dynamic",
     .help = "8-bit weights a channel, 8-bit activations with the range of each token.",
     .format = "int",
     .bits = 8},
    {.name = "int4-g32",
     .title = "INT4 g32",
     .help = "4-bit weights in groups of 32, 8-bit activations with the range of each token.",
     .format = "int",
     .bits = 4,
     .group = 32},
    {.name = "int4-g128",
     .title = "INT4 g128",
     .help = "4-bit weights in groups of 128, 8-bit activations with the range of each token.",
     .format = "int",
     .bits = 4,
     .group = 128},
    {.name = "int8-weights",
     .title = "INT8 weights",
     .help =
         "8-bit weights a channel, decoded as they are used; activations and arithmetic float32.",
     .format = "int",
     .bits = 8,
     .is_weights = true},
    {.name = "int4-weights",
     .title = "INT4 weights",
     .help = "4-bit weights in groups of 32, decoded as they are used; activations and arithmetic "
             "float32.",
     .format = "int",
     .bits = 4,
     .group = 32,
     .is_weights = true},
};

const struct qx_variant qx_variant_recipe = {
    .name = "recipe",
    .title = "your recipe",
    .help = "Your recipe as it stands, layer by layer.",
    .format = "int",
};

enum { N_VARIANTS = sizeof variants / sizeof *variants };

int qx_variant_count(void)
{
    return N_VARIANTS;
}

const struct qx_variant *qx_variant_at(int i)
{
    return i >= 0 && i < N_VARIANTS ? &variants[i] : NULL;
}

enum qx_status qx_variant_find(const char *name, size_t len, const struct qx_variant **out,
                               struct qx_error *err)
{
    const char *names[N_VARIANTS];
    for (int i = 0; i < N_VARIANTS; i++) {
        names[i] = variants[i].name;
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0) {
            *out = &variants[i];
            return QX_OK;
        }
    }
    if (strlen(qx_variant_recipe.name) == len && memcmp(qx_variant_recipe.name, name, len) == 0) {
        *out = &qx_variant_recipe;
        return QX_OK;
    }
    char text[48];
    const size_t n = len < sizeof text ? len : sizeof text - 1;
    memcpy(text, name, n);
    text[n] = 0;
    const char *near = qx_nearest(text, names, N_VARIANTS);
    return near ? qx_fail(err, QX_ENAME, "unknown variant '%s': did you mean '%s'?", text, near)
                : qx_fail(err, QX_ENAME,
                          "unknown variant '%s': choose fp32, fp16, fp16-convert, bf16, int8, "
                          "int8-dynamic, int4-g32, int4-g128, int8-weights, int4-weights or recipe",
                          text);
}

struct qx_setting qx_variant_setting(const struct qx_variant *v)
{
    struct qx_setting s = v->bits ? qx_setting_int(v->bits) : qx_setting_fp32();
    s.format = qx_format_find(v->format);
    if (v->group) {
        s.gran = QX_GRAN_GROUP;
        s.group = v->group;
        s.scale = QX_SCALE_F16;
    }
    if (v->bits && !v->is_weights) {
        s.act = v->is_static ? qx_act_static(8) : qx_act_dynamic(8);
    }
    return s;
}

enum qx_engine qx_variant_engine(const struct qx_variant *v)
{
    const bool is_float = v->bits == 0 && (v->converts || strcmp(v->format, "fp32") == 0);
    return is_float                        ? QX_ENGINE_SIMULATED
           : v->bits > 0 && !v->is_weights ? QX_ENGINE_INTEGER
                                           : QX_ENGINE_PACKED;
}
