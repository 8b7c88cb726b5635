/* One row per number format. */
#include <string.h>

#include "format/format.h"

static const struct qx_format *const rows[] = {
    &qx_fmt_fp32,    &qx_fmt_fp16,    &qx_fmt_bf16, &qx_fmt_int,   &qx_fmt_nf4,   &qx_fmt_fp4,
    &qx_fmt_fp8e4m3, &qx_fmt_fp8e5m2, &qx_fmt_q8_0, &qx_fmt_q6_k,  &qx_fmt_q5_1,  &qx_fmt_q5_0,
    &qx_fmt_q4_1,    &qx_fmt_q4_k,    &qx_fmt_q4_0, &qx_fmt_mxfp4, &qx_fmt_nvfp4,
};

int qx_format_count(void)
{
    return (int)(sizeof(rows) / sizeof(rows[0]));
}

const struct qx_format *qx_format_at(int i)
{
    return i >= 0 && i < qx_format_count() ? rows[i] : NULL;
}

const struct qx_format *qx_format_find(const char *name)
{
    for (int i = 0; i < qx_format_count(); i++) {
        if (strcmp(rows[i]->name, name) == 0) {
            return rows[i];
        }
    }
    return NULL;
}

bool qx_format_is_scaled(const struct qx_format *f)
{
    return f->kind == QX_FORMAT_AFFINE || f->kind == QX_FORMAT_TABLE;
}
