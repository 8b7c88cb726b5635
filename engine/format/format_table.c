/* One row per number format. */
#include <string.h>

#include "format/format.h"

static const struct qx_format *const rows[] = {&qx_fmt_fp32, &qx_fmt_fp16, &qx_fmt_bf16,
                                               &qx_fmt_int};

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
