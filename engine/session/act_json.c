/* The key "act" of a recipe's layer: null, or how its input is quantized. */
#include "session/recipe_json.h"

#include "base/error.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

void qx_act_write(struct qx_jw *w, const struct qx_act *a)
{
    char method[64];
    if (a->bits == 0) {
        qx_jw_null(w);
        return;
    }
    qx_jw_object(w);
    qx_jw_key(w, "bits");
    qx_jw_int(w, a->bits);
    qx_jw_key(w, "sym");
    qx_jw_bool(w, a->sym);
    qx_jw_key(w, "gran");
    qx_jw_str(w, a->gran == QX_ACT_TOKEN ? "token" : "tensor");
    qx_jw_key(w, "dynamic");
    qx_jw_bool(w, a->dynamic);
    if (!a->dynamic) {
        qx_jw_key(w, "method");
        if (a->calib->takes_param) {
            snprintf(method, sizeof method, "%s:%.12g", a->calib->name, a->param);
        } else {
            snprintf(method, sizeof method, "%s", a->calib->name);
        }
        qx_jw_str(w, method);
    }
    if (!a->dynamic && a->has_range) {
        qx_jw_key(w, "lo");
        qx_jw_num(w, a->range.lo);
        qx_jw_key(w, "hi");
        qx_jw_num(w, a->range.hi);
    }
    qx_jw_end(w);
}

static enum qx_status keys_check(const struct qx_jval *v, struct qx_error *err)
{
    static const char *const known[] = {"bits", "sym", "gran", "dynamic", "method", "lo", "hi"};
    for (const struct qx_jval *k = qx_jfirst(v); k; k = qx_jnext(k)) {
        size_t i = 0, n = sizeof known / sizeof *known;
        while (i < n && strcmp(known[i], qx_jkey(k)) != 0) {
            i++;
        }
        if (i == n) {
            const char *near = qx_nearest(qx_jkey(k), known, n);
            return qx_fail(err, QX_EFORMAT, "unknown key '%s' in act%s%s%s", qx_jkey(k),
                           near ? ": did you mean '" : "", near ? near : "", near ? "'?" : "");
        }
    }
    return QX_OK;
}

static enum qx_status kind_read(const struct qx_jval *v, struct qx_act *a, struct qx_error *err)
{
    const struct qx_jval *bits = qx_jget(v, "bits"), *sym = qx_jget(v, "sym"),
                         *dynamic = qx_jget(v, "dynamic"), *gran = qx_jget(v, "gran");
    int64_t n;
    if (!qx_jint(bits, &n) || n < 2 || n > 8) {
        return qx_fail(err, QX_ERANGE, "bits of act must be a whole number from 2 to 8");
    }
    if ((sym && !qx_jis_bool(sym)) || (dynamic && !qx_jis_bool(dynamic))) {
        return qx_fail(err, QX_EFORMAT, "sym and dynamic of act must be true or false");
    }
    const bool is_dynamic = qx_jbool(dynamic, false);
    *a = is_dynamic ? qx_act_dynamic((int)n) : qx_act_static((int)n);
    a->sym = qx_jbool(sym, a->sym);
    const char *text = qx_jstr(gran, gran ? "?" : is_dynamic ? "token" : "tensor");
    if (strcmp(text, "tensor") != 0 && strcmp(text, "token") != 0) {
        return qx_fail(err, QX_EFORMAT, "gran of act must be \"tensor\" or \"token\"");
    }
    a->gran = strcmp(text, "token") == 0 ? QX_ACT_TOKEN : QX_ACT_TENSOR;
    return QX_OK;
}

static enum qx_status range_read(const struct qx_jval *v, struct qx_act *a, struct qx_error *err)
{
    const struct qx_jval *method = qx_jget(v, "method"), *lo = qx_jget(v, "lo"),
                         *hi = qx_jget(v, "hi");
    const bool has_range = lo || hi;
    if (a->dynamic) {
        return method || has_range ? qx_fail(err, QX_EFORMAT,
                                             "a dynamic act takes its range from the values at "
                                             "hand: leave out method, lo and hi")
                                   : QX_OK;
    }
    if (method && !qx_jis_string(method)) {
        return qx_fail(err, QX_EFORMAT, "method of act must be a string such as \"mse\"");
    }
    const char *text = qx_jstr(method, has_range ? "manual" : "percentile");
    if (strcmp(text, "manual") == 0) {
        a->calib = qx_calib_find(text);
        a->param = a->calib->param_default;
    } else {
        enum qx_status st = qx_act_method(a, text, err);
        if (st != QX_OK) {
            return st;
        }
        if (a->has_range) {
            return qx_fail(err, QX_EFORMAT, "write method \"manual\" of act with lo and hi beside");
        }
    }
    if (!has_range) {
        return strcmp(text, "manual") == 0
                   ? qx_fail(err, QX_EFORMAT, "method manual of act needs lo and hi beside it")
                   : QX_OK;
    }
    if (!qx_jis_number(lo) || !qx_jis_number(hi)) {
        return qx_fail(err, QX_EFORMAT, "lo and hi of act must be two numbers");
    }
    a->range = (struct qx_range){qx_jnum(lo, 0), qx_jnum(hi, 0)};
    a->has_range = true;
    if (a->sym && a->range.lo != -a->range.hi) {
        return qx_fail(err, QX_ERANGE, "a symmetric act needs lo = -hi");
    }
    return QX_OK;
}

enum qx_status qx_act_read(const struct qx_jval *v, bool is_affine, struct qx_act *out,
                           struct qx_error *err)
{
    struct qx_act a = {0};
    if (!v || qx_jis_null(v)) {
        *out = a;
        return QX_OK;
    }
    if (!qx_jis_object(v)) {
        return qx_fail(err, QX_EFORMAT, "act must be null or an object");
    }
    if (!is_affine) {
        return qx_fail(err, QX_EUNSUPPORTED,
                       "act needs a weight of 2 to 8 bits: make act null where the weight is a "
                       "floating-point number");
    }
    enum qx_status st = keys_check(v, err);
    if (st == QX_OK) {
        st = kind_read(v, &a, err);
    }
    if (st == QX_OK) {
        st = range_read(v, &a, err);
    }
    if (st == QX_OK) {
        st = qx_act_check(&a, err);
    }
    if (st == QX_OK) {
        *out = a;
    }
    return st;
}
