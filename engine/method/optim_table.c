#include "method/optim.h"

#include "base/error.h"
#include "qx/text.h"

#include <string.h>

static const struct qx_optimizer *const rows[] = {&qx_optimizer_adamw, &qx_optimizer_sgd};

int qx_optimizer_count(void)
{
    return (int)(sizeof rows / sizeof *rows);
}

const struct qx_optimizer *qx_optimizer_at(int i)
{
    return rows[i];
}

enum qx_status qx_optimizer_find(const char *name, const struct qx_optimizer **out,
                                 struct qx_error *err)
{
    const char *names[sizeof rows / sizeof *rows];
    for (int i = 0; i < qx_optimizer_count(); i++) {
        names[i] = rows[i]->name;
        if (strcmp(rows[i]->name, name) == 0) {
            *out = rows[i];
            return QX_OK;
        }
    }
    const char *near = qx_nearest(name, names, sizeof rows / sizeof *rows);
    return qx_fail(err, QX_ENAME, "unknown optimizer '%.40s': did you mean %s?", name,
                   near ? near : names[0]);
}

double qx_scale_rate(const struct qx_optimizer *o, float scale)
{
    return o->fn->scale_share * (double)scale;
}
