/* What a patch does to the activations of a setting. */
#include "session/recipe.h"

#include "base/error.h"

#include <math.h>

enum { PARTS = QX_PATCH_ACT_SYM | QX_PATCH_ACT_GRAN | QX_PATCH_ACT_CALIB | QX_PATCH_ACT_RANGE };

bool qx_act_patch_needs_bits(const struct qx_patch *patch, const struct qx_setting *now)
{
    if (now->format->kind == QX_FORMAT_TABLE) { /* its products run in float32 */
        return (patch->fields & (PARTS | QX_PATCH_ACT_BITS)) &&
               !(patch->fields & (QX_PATCH_FORMAT | QX_PATCH_BITS));
    }
    return (patch->fields & PARTS) && !(patch->fields & (QX_PATCH_ACT | QX_PATCH_ACT_BITS)) &&
           now->act.bits == 0;
}

static bool is_by_hand(const struct qx_act *a)
{
    return a->calib == qx_calib_find("manual");
}

/* What calibrators choose depends on bits and symmetry. */
static void choose_anew(struct qx_act *a)
{
    a->has_range = a->has_range && is_by_hand(a);
}

static void make_static(struct qx_act *a)
{
    const struct qx_act fresh = qx_act_static(a->bits);
    if (!a->dynamic) {
        return;
    }
    a->dynamic = false;
    a->gran = fresh.gran;
    a->has_range = false;
    if (!a->calib || is_by_hand(a)) {
        a->calib = fresh.calib;
        a->param = fresh.param;
    }
}

static struct qx_range range_of(const struct qx_act *a, struct qx_range r)
{
    const double t = fmax(fabs(r.lo), fabs(r.hi));
    return a->sym ? (struct qx_range){-t, t} : (struct qx_range){fmin(r.lo, 0), fmax(r.hi, 0)};
}

enum qx_status qx_act_patch_check(const struct qx_patch *p, const char *name, struct qx_error *err)
{
    const struct qx_range r = p->value.act.range;
    if ((p->fields & QX_PATCH_ACT_RANGE) &&
        !(isfinite(r.lo) && isfinite(r.hi) && fmin(r.lo, 0) < fmax(r.hi, 0))) {
        return qx_fail_at(err, QX_ERANGE, NULL, name, -1,
                          "the inputs of '%s' need a range of two finite numbers that is not "
                          "empty, such as -0.5,4",
                          name);
    }
    return QX_OK;
}

void qx_act_patch_apply(const struct qx_patch *p, struct qx_act *a)
{
    const struct qx_act *v = &p->value.act;
    if (p->fields & QX_PATCH_ACT_BITS) {
        if (v->bits == 0) {
            *a = (struct qx_act){0};
        } else if (a->bits == 0) {
            *a = qx_act_static(v->bits);
        } else if (a->bits != v->bits) {
            a->bits = v->bits;
            choose_anew(a);
        }
    }
    if (a->bits == 0) {
        return;
    }
    if ((p->fields & QX_PATCH_ACT_SYM) && a->sym != v->sym) {
        a->sym = v->sym;
        choose_anew(a);
        a->range = range_of(a, a->range);
    }
    if (p->fields & QX_PATCH_ACT_GRAN) {
        if (v->dynamic) {
            a->dynamic = true;
            a->gran = v->gran;
        } else {
            make_static(a);
        }
    }
    if ((p->fields & QX_PATCH_ACT_CALIB) && !v->calib) {
        choose_anew(a);
    } else if (p->fields & QX_PATCH_ACT_CALIB) {
        make_static(a);
        a->calib = v->calib;
        a->param = v->param;
        a->has_range = false;
    }
    if (p->fields & QX_PATCH_ACT_RANGE) {
        make_static(a);
        a->calib = qx_calib_find("manual");
        a->param = a->calib->param_default;
        a->range = range_of(a, v->range);
        a->has_range = true;
    }
}
