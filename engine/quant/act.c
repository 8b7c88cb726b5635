/* Settings of activations: defaults, text, checks, scale and zero point. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "qx/quant.h"

static const double percentile_default = 99.99;

struct qx_act qx_act_static(int bits)
{
    return (struct qx_act){.bits = bits,
                           .gran = QX_ACT_TENSOR,
                           .calib = qx_calib_find("percentile"),
                           .param = percentile_default};
}

struct qx_act qx_act_dynamic(int bits)
{
    return (struct qx_act){.bits = bits, .sym = true, .gran = QX_ACT_TOKEN, .dynamic = true};
}

bool qx_act_equal(const struct qx_act *a, const struct qx_act *b)
{
    if (a->bits == 0 || b->bits == 0) {
        return a->bits == b->bits;
    }
    if (a->bits != b->bits || a->sym != b->sym || a->gran != b->gran || a->dynamic != b->dynamic) {
        return false;
    }
    if (a->dynamic) {
        return true;
    }
    if (a->calib != b->calib || a->has_range != b->has_range ||
        (a->calib && a->calib->takes_param && a->param != b->param)) {
        return false;
    }
    return !a->has_range || (a->range.lo == b->range.lo && a->range.hi == b->range.hi);
}

bool qx_act_open(const struct qx_act *a)
{
    return a->bits > 0 && !a->dynamic && !a->has_range;
}

char *qx_act_text(const struct qx_act *a, char *buf, size_t cap)
{
    if (a->bits == 0) {
        snprintf(buf, cap, "float32");
        return buf;
    }
    const char *sym = a->sym ? "sym" : "asym";
    if (a->dynamic) {
        snprintf(buf, cap, "%d bits %s dynamic %s", a->bits, sym,
                 a->gran == QX_ACT_TOKEN ? "token" : "tensor");
    } else if (a->calib == qx_calib_find("manual") && a->has_range) {
        snprintf(buf, cap, "%d bits %s %.4g..%.4g", a->bits, sym, a->range.lo, a->range.hi);
    } else if (a->calib->takes_param) {
        snprintf(buf, cap, "%d bits %s %s:%.6g", a->bits, sym, a->calib->name, a->param);
    } else {
        snprintf(buf, cap, "%d bits %s %s", a->bits, sym, a->calib->name);
    }
    return buf;
}

/* "ema" and "ema:0.05"; the others are the calibrators' own. */
static enum qx_status ema_parse(struct qx_act *a, const char *rest, struct qx_error *err)
{
    double rate = qx_calib_ema.param_default;
    char *end = NULL;
    if (*rest == ':') {
        rate = strtod(rest + 1, &end);
    }
    if (end && (end == rest + 1 || *end != '\0' || !(rate > 0.0 && rate <= 1.0))) {
        return qx_fail(
            err, QX_ERANGE,
            "ema takes the weight of a new batch, above 0 and at most 1, such as ema:0.1, not '%s'",
            rest + 1);
    }
    a->calib = &qx_calib_ema;
    a->param = rate;
    a->has_range = false;
    return QX_OK;
}

enum qx_status qx_act_method(struct qx_act *a, const char *text, struct qx_error *err)
{
    if (strncmp(text, "ema", 3) == 0 && (text[3] == '\0' || text[3] == ':')) {
        return ema_parse(a, text + 3, err);
    }
    struct qx_act r = *a;
    enum qx_status st = qx_calib_parse(text, &r.calib, &r.param, &r.range, &r.has_range, err);
    if (st == QX_OK) {
        *a = r;
    }
    return st;
}

static enum qx_status check_static(const struct qx_act *a, struct qx_error *err)
{
    const double lo = a->range.lo, hi = a->range.hi;
    if (a->gran == QX_ACT_TOKEN) {
        return qx_fail(err, QX_ERANGE,
                       "a scale per token exists only at run time: make the activations dynamic, "
                       "or use one scale for the tensor");
    }
    if (!a->calib) {
        return qx_fail(err, QX_ERANGE,
                       "the activations name no calibrator; choose percentile:99.99 or mse");
    }
    const double most = a->calib == &qx_calib_ema ? 1.0 : 100.0;
    if (a->calib->takes_param && !(a->param > 0.0 && a->param <= most)) {
        return qx_fail(err, QX_ERANGE, "%s takes a number above 0 and at most %g, not %g",
                       a->calib->name, most, a->param);
    }
    if (a->has_range && !(lo >= -(double)FLT_MAX && hi <= (double)FLT_MAX)) {
        return qx_fail(err, QX_ERANGE,
                       "the range %g to %g of the activations is wider than float32; give finite "
                       "ends",
                       lo, hi);
    }
    if (a->has_range && !(lo <= 0.0 && hi >= 0.0)) {
        return qx_fail(err, QX_ERANGE,
                       "the range %g to %g of the activations does not contain 0; give a low end "
                       "of at most 0 and a high end of at least 0",
                       lo, hi);
    }
    return QX_OK;
}

enum qx_status qx_act_check(const struct qx_act *a, struct qx_error *err)
{
    if (a->bits == 0) {
        return QX_OK;
    }
    if (a->bits < 2 || a->bits > 8) {
        return qx_fail(err, QX_ERANGE, "activations take 2 to 8 bits, not %d", a->bits);
    }
    return a->dynamic ? QX_OK : check_static(a, err);
}

struct qx_qparams qx_act_qparams(const struct qx_act *a, float lo, float hi)
{
    struct qx_setting s = {.bits = a->bits, .sym = a->sym, .gran = QX_GRAN_TENSOR};
    if (!a->dynamic) {
        s.range = a->range;
    } else if (lo <= hi) {
        s.range = (struct qx_range){fmin((double)lo, 0.0), fmax((double)hi, 0.0)};
    }
    return qx_qparams_of(&s, 0.0f, 0.0f);
}
