/* The energy counters of the CPU packages, as Linux shows them (powercap, RAPL). */
#include "qx/bench.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool number_read(const char *folder, const char *name, double *out)
{
    char path[192], *text = NULL, *end;
    size_t len;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (qx_fs_read(path, 1 << 16, &text, &len, NULL) != QX_OK) {
        return false;
    }
    *out = strtod(text, &end);
    const bool ok = end != text && *out >= 0;
    qx_mem_free(text);
    return ok;
}

void qx_energy_start(struct qx_energy *e, const char *root)
{
    const char *top = root ? root : "/sys/class/powercap";
    bool is_there = false;
    *e = (struct qx_energy){0};
    for (int i = 0; i < QX_ENERGY_PACKAGES; i++) {
        char *path = e->path[e->n];
        snprintf(path, sizeof e->path[0], "%.90s/intel-rapl:%d", top, i);
        is_there = is_there || qx_fs_exists(path);
        double at, range;
        if (number_read(path, "energy_uj", &at) &&
            number_read(path, "max_energy_range_uj", &range)) {
            e->joules[e->n] = at * 1e-6;
            e->range[e->n++] = range * 1e-6;
        }
    }
    if (e->n == 0) {
        snprintf(e->reason, sizeof e->reason,
                 is_there ? "%.90s/intel-rapl:0/energy_uj may not be read by this user"
                          : "%.90s has no RAPL counter: none on this machine, or a virtual one",
                 top);
    }
}

double qx_energy_stop(const struct qx_energy *e)
{
    double sum = 0.0;
    for (int i = 0; i < e->n; i++) {
        double at;
        if (!number_read(e->path[i], "energy_uj", &at)) {
            return (double)NAN;
        }
        const double used = at * 1e-6 - e->joules[i];
        sum += used < 0 ? used + e->range[i] : used; /* the counter began again */
    }
    return e->n > 0 ? sum : (double)NAN;
}
