/* One row per calibrator, and the text form "name:parameter". */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "quant/calib.h"

static const struct qx_calibrator *const rows[] = {
    &qx_calib_minmax, &qx_calib_percentile, &qx_calib_mse,    &qx_calib_mae,
    &qx_calib_kl,     &qx_calib_kl_full,    &qx_calib_manual,
};

int qx_calib_count(void)
{
    return (int)(sizeof(rows) / sizeof(rows[0]));
}

const struct qx_calibrator *qx_calib_at(int i)
{
    return i >= 0 && i < qx_calib_count() ? rows[i] : NULL;
}

const struct qx_calibrator *qx_calib_find(const char *name)
{
    for (int i = 0; i < qx_calib_count(); i++) {
        if (strcmp(rows[i]->name, name) == 0) {
            return rows[i];
        }
    }
    return NULL;
}

static enum qx_status name_unknown(const char *name, struct qx_error *err)
{
    enum { FAR = 6 };
    const char *nearest = NULL;
    int least = FAR;

    for (int i = 0; i < qx_calib_count(); i++) {
        int d = qx_str_distance(name, rows[i]->name, FAR);

        if (d < least) {
            least = d;
            nearest = rows[i]->name;
        }
    }
    if (nearest) {
        return qx_fail(err, QX_ENAME, "no calibrator is called '%s'; did you mean '%s'?", name,
                       nearest);
    }
    return qx_fail(
        err, QX_ENAME,
        "no calibrator is called '%s'; choose minmax, percentile, mse, mae, kl, kl-full or manual",
        name);
}

/* One finite number, then `end`. NULL when the text is something else. */
static const char *number_read(const char *text, double *out)
{
    char *end;

    *out = strtod(text, &end);
    return end == text || !isfinite(*out) ? NULL : end;
}

static enum qx_status manual_read(const char *text, struct qx_range *range, struct qx_error *err)
{
    struct qx_range r;
    const char *p = text ? number_read(text, &r.lo) : NULL;

    if (p && *p == ',') {
        p = number_read(p + 1, &r.hi);
    } else if (p) {
        r.hi = r.lo;
        r.lo = -r.hi;
    }
    if (!p || *p != '\0' || !(r.lo <= 0.0 && r.hi >= 0.0 && r.lo < r.hi)) {
        return qx_fail(err, QX_ERANGE,
                       "'manual:%s' is no threshold; write manual:0.13 or manual:-0.1,0.2 (a low "
                       "end of at most 0, a high end of at least 0)",
                       text ? text : "");
    }
    *range = r;
    return QX_OK;
}

static enum qx_status param_read(const struct qx_calibrator *row, const char *text, double *param,
                                 struct qx_error *err)
{
    const char *p;
    double v = row->param_default;

    if (text && !row->takes_param) {
        return qx_fail(err, QX_ERANGE, "%s takes no parameter, but ':%s' follows it", row->name,
                       text);
    }
    if (text) {
        p = number_read(text, &v);
        if (!p || *p != '\0' || !(v > 0.0 && v <= 100.0)) {
            return qx_fail(err, QX_ERANGE,
                           "%s takes a number above 0 and at most 100, such as %s:%g, not '%s'",
                           row->name, row->name, row->param_default, text);
        }
    }
    *param = v;
    return QX_OK;
}

enum qx_status qx_calib_parse(const char *text, const struct qx_calibrator **out, double *param,
                              struct qx_range *range, bool *has_range, struct qx_error *err)
{
    const char *colon = strchr(text, ':');
    const char *rest = colon ? colon + 1 : NULL;
    const struct qx_calibrator *row;
    enum qx_status st;
    char name[32];

    qx_str_copy(name, sizeof(name), text);
    name[strcspn(name, ":")] = '\0';
    row = qx_calib_find(name);
    if (!row) {
        return name_unknown(name, err);
    }
    if (row == &qx_calib_manual) {
        st = manual_read(rest, range, err);
    } else {
        st = param_read(row, rest, param, err);
    }
    if (st == QX_OK) {
        *out = row;
        *has_range = row == &qx_calib_manual;
    }
    return st;
}

enum qx_status qx_calib_range(const struct qx_hist *hist, const struct qx_scheme *scheme,
                              const struct qx_calibrator *calib, double param, struct qx_range *out,
                              struct qx_error *err)
{
    if (qx_hist_stats(hist)->n < 1) {
        return qx_fail(
            err, QX_EDATA,
            "the tensor has no finite value to choose a clipping range from; keep it in fp32");
    }
    if (scheme->bits < 2 || scheme->bits > 8) {
        return qx_fail(err, QX_ERANGE, "a calibrator serves 2 to 8 bits, not %d", scheme->bits);
    }
    return calib->range(hist, scheme, param, out, err);
}
