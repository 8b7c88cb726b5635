#include "method/quantizer.h"

#include "base/error.h"
#include "qx/text.h"

#include <string.h>

static const struct qx_quantizer *const rows[] = {&qx_quantizer_lsq, &qx_quantizer_pact,
                                                  &qx_quantizer_ema, &qx_quantizer_ste};

int qx_quantizer_count(void)
{
    return (int)(sizeof rows / sizeof *rows);
}

const struct qx_quantizer *qx_quantizer_at(int i)
{
    return rows[i];
}

enum qx_status qx_quantizer_find(const char *name, const struct qx_quantizer **out,
                                 struct qx_error *err)
{
    const char *names[sizeof rows / sizeof *rows];
    for (int i = 0; i < qx_quantizer_count(); i++) {
        names[i] = rows[i]->name;
        if (strcmp(rows[i]->name, name) == 0) {
            *out = rows[i];
            return QX_OK;
        }
    }
    const char *near = qx_nearest(name, names, sizeof rows / sizeof *rows);
    return qx_fail(err, QX_ENAME, "unknown quantizer '%.40s': did you mean %s?", name,
                   near ? near : names[0]);
}
