#include "session/recipe.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "qx/overlay.h"

#include <math.h>
#include <string.h>

enum qx_status qx_recipe_init(struct qx_recipe *r, int64_t n, struct qx_error *err)
{
    *r = (struct qx_recipe){.n = n};
    r->set = qx_mem_array((size_t)n + 1, sizeof *r->set);
    r->origin = qx_mem_array((size_t)n + 1, sizeof *r->origin);
    if (!r->set || !r->origin) {
        qx_recipe_release(r);
        return qx_fail_nomem(err, ((size_t)n + 1) * sizeof *r->set);
    }
    const struct qx_setting fp32 = qx_setting_fp32();
    for (int64_t i = 0; i < n; i++) {
        r->set[i] = fp32;
        r->origin[i] = QX_ORIGIN_MANUAL;
    }
    return QX_OK;
}

void qx_recipe_release(struct qx_recipe *r)
{
    qx_mem_free(r->set);
    qx_mem_free(r->origin);
    qx_mem_free(r->notes);
    *r = (struct qx_recipe){0};
}

void qx_recipe_copy(struct qx_recipe *dst, const struct qx_recipe *src)
{
    memcpy(dst->set, src->set, (size_t)src->n * sizeof *src->set);
    memcpy(dst->origin, src->origin, (size_t)src->n * sizeof *src->origin);
}

static uint64_t hash_str(uint64_t h, const char *s)
{
    return qx_hash64(s, strlen(s) + 1, h);
}

uint64_t qx_recipe_hash(const struct qx_recipe *r, const struct qx_items *items, const bool *of)
{
    uint64_t h = 0x51e8;
    for (int64_t i = 0; i < r->n; i++) {
        if ((!of || of[i]) && !qx_setting_is_fp32(&r->set[i])) {
            h = hash_str(h, items->v[i].tensor->name);
            h = qx_setting_hash(&r->set[i], h);
        }
    }
    return h;
}

bool qx_setting_is_manual(const struct qx_setting *s)
{
    return s->calib && strcmp(s->calib->name, "manual") == 0;
}

bool qx_setting_open(const struct qx_setting *s)
{
    return qx_format_is_scaled(s->format) && !s->has_range;
}

void qx_setting_choose(struct qx_setting *s, const struct qx_hist *hist)
{
    s->has_range = false;
    if (qx_setting_resolve(s, hist, NULL) != QX_OK) {
        double any = s->gran == QX_GRAN_TENSOR ? 0 : 1;
        s->range = (struct qx_range){-any, any};
        s->has_range = true;
    }
}

bool qx_setting_resolves_to(const struct qx_setting *a, const struct qx_setting *b)
{
    struct qx_setting open = *b;
    if (qx_setting_open(a) && b->has_range) {
        open.has_range = false;
        open.range = a->range;
    }
    if (qx_act_open(&a->act)) {
        open.act.has_range = false;
    }
    if (a->algo[0] && !a->overlay) {
        open.overlay = NULL;
        open.overlay_key = a->overlay_key;
    }
    return qx_setting_equal(a, &open);
}

/* ---- patches ---- */

static bool is_float(const struct qx_setting *s)
{
    return !qx_format_is_scaled(s->format);
}

static bool turns_act_on(const struct qx_patch *p)
{
    return (p->fields & QX_PATCH_ACT_BITS) && p->value.act.bits > 0;
}

/* The format the patch asks for: bits alone mean integers; NULL: none. */
static const struct qx_format *asked_format(const struct qx_patch *p)
{
    return p->fields & QX_PATCH_FORMAT ? p->value.format
           : p->fields & QX_PATCH_BITS ? qx_format_find("int")
                                       : NULL;
}

/* What a table leaves no choice of, unless the patch asks for something else and is to be refused. */
static void take_format(const struct qx_patch *p, const struct qx_format *format,
                        struct qx_setting *s)
{
    bool is_table = format->kind == QX_FORMAT_TABLE;
    s->format = format;
    s->bits = is_table && !(p->fields & QX_PATCH_BITS) ? format->max_bits : s->bits;
    s->sym = s->sym || (is_table && !(p->fields & QX_PATCH_SYM));
    if (is_table) {
        s->act = (struct qx_act){0};
    }
}

bool qx_patch_needs_bits(const struct qx_patch *patch, const struct qx_setting *now)
{
    if (is_float(now)) {
        return !(patch->fields & (QX_PATCH_FORMAT | QX_PATCH_BITS)) && !turns_act_on(patch);
    }
    return qx_act_patch_needs_bits(patch, now);
}

static bool takes_range(const struct qx_patch *p)
{
    if (!(p->fields & QX_PATCH_RANGE)) {
        return false;
    }
    return p->value.has_range || !(p->fields & QX_PATCH_CALIB);
}

static enum qx_scale_type default_scale(enum qx_gran gran)
{
    return gran == QX_GRAN_GROUP ? QX_SCALE_F16 : QX_SCALE_F32;
}

static void apply_fields(const struct qx_patch *p, struct qx_setting *s)
{
    const struct qx_setting *v = &p->value;
    if (asked_format(p)) {
        take_format(p, asked_format(p), s);
    }
    if (p->fields & QX_PATCH_BITS) {
        s->bits = v->bits;
    }
    if (p->fields & QX_PATCH_SYM) {
        s->sym = v->sym;
    }
    if (p->fields & QX_PATCH_GRAN) {
        if ((s->gran == QX_GRAN_GROUP) != (v->gran == QX_GRAN_GROUP)) {
            s->scale = default_scale(v->gran);
        }
        s->gran = v->gran;
        s->group = v->gran == QX_GRAN_GROUP ? v->group : s->group;
    }
    if (p->fields & QX_PATCH_SCALE) {
        s->scale = v->scale;
    }
    if (p->fields & QX_PATCH_CALIB) {
        s->calib = v->calib;
        s->param = v->param;
    }
    if (p->fields & QX_PATCH_ACT) {
        s->act = v->act;
    }
    if (p->fields & QX_PATCH_ALGO) {
        memcpy(s->algo, v->algo, sizeof s->algo);
    }
    qx_act_patch_apply(p, &s->act);
}

static double ratio_of(double part, double whole)
{
    return whole != 0 ? part / whole : 0;
}

/* A threshold by hand keeps its place when granularity or symmetry change. */
static enum qx_status carry_range(const struct qx_setting *from, const struct qx_bounds *b,
                                  const char *name, struct qx_setting *to, struct qx_error *err)
{
    bool was_tensor = from->gran == QX_GRAN_TENSOR, is_tensor = to->gran == QX_GRAN_TENSOR;
    struct qx_range r = from->range;
    if (was_tensor != is_tensor) {
        if (!b || !b->is_known) {
            return qx_fail_at(err, QX_EDATA, NULL, name, -1,
                              "the values of '%s' are still being read: try again in a moment",
                              name);
        }
        if (is_tensor) {
            double t = r.hi * b->absmax;
            r = to->sym ? (struct qx_range){-t, t}
                        : (struct qx_range){r.hi * fmin(b->min, 0), r.hi * fmax(b->max, 0)};
        } else {
            double ratio =
                from->sym ? ratio_of(r.hi, b->absmax)
                          : fmax(ratio_of(r.lo, fmin(b->min, 0)), ratio_of(r.hi, fmax(b->max, 0)));
            ratio = ratio > 0 && ratio < 1 ? ratio : 1;
            r = (struct qx_range){-ratio, ratio};
        }
    } else if (is_tensor && to->sym && !from->sym) {
        double t = fmax(fabs(r.lo), fabs(r.hi));
        r = (struct qx_range){-t, t};
    }
    to->range = r;
    to->has_range = true;
    return QX_OK;
}

/* The range of a patch, in the form that struct qx_range asks for. */
static enum qx_status hand_range(struct qx_setting *s, struct qx_range r, const char *name,
                                 struct qx_error *err)
{
    if (!isfinite(r.lo) || !isfinite(r.hi)) {
        return qx_fail_at(err, QX_ERANGE, NULL, name, -1,
                          "the range of '%s' must be two finite numbers", name);
    }
    if (s->gran != QX_GRAN_TENSOR) {
        if (!(r.hi > 0 && r.hi <= 1)) {
            return qx_fail_at(err, QX_ERANGE, NULL, name, -1,
                              "the clip ratio %g of '%s' must lie above 0 and not above 1: it is a "
                              "share of every channel's own range",
                              r.hi, name);
        }
        r.lo = -r.hi;
    } else if (s->sym) {
        double t = fmax(fabs(r.lo), fabs(r.hi));
        if (!(t > 0)) {
            return qx_fail_at(err, QX_ERANGE, NULL, name, -1,
                              "the threshold of '%s' must be above 0", name);
        }
        r = (struct qx_range){-t, t};
    } else {
        r = (struct qx_range){fmin(r.lo, 0), fmax(r.hi, 0)};
        if (!(r.lo < r.hi)) {
            return qx_fail_at(err, QX_ERANGE, NULL, name, -1, "the range of '%s' must not be empty",
                              name);
        }
    }
    s->range = r;
    s->has_range = true;
    return QX_OK;
}

static enum qx_status choose_range(const struct qx_patch *p, const struct qx_setting *base,
                                   const struct qx_bounds *bounds, const char *name,
                                   struct qx_setting *s, struct qx_error *err)
{
    if (takes_range(p)) {
        if (!(p->fields & QX_PATCH_CALIB)) {
            s->calib = qx_calib_find("manual");
            s->param = s->calib->param_default;
        }
        return hand_range(s, p->value.range, name, err);
    }
    bool is_manual = qx_setting_is_manual(s);
    bool reshaped = s->sym != base->sym || s->gran != base->gran;
    bool reformed = s->format != base->format || s->bits != base->bits;
    if (is_manual) {
        if (!base->has_range) {
            return qx_fail_at(
                err, QX_ERANGE, NULL, name, -1,
                "'%s' has no range yet that could be kept by hand: give one, such as manual:0.1",
                name);
        }
        return reshaped ? carry_range(base, bounds, name, s, err) : QX_OK;
    }
    bool regrouped = s->gran == QX_GRAN_GROUP && s->group != base->group;
    if ((p->fields & QX_PATCH_CALIB) || reshaped || regrouped || reformed) {
        s->has_range = false;
        s->range = (struct qx_range){0, 0};
    }
    return QX_OK;
}

enum qx_status qx_patch_apply(const struct qx_patch *patch, const struct qx_setting *now,
                              const struct qx_bounds *bounds, const char *name,
                              struct qx_setting *out, struct qx_error *err)
{
    if (!is_float(now) && qx_act_patch_needs_bits(patch, now)) {
        if (!qx_setting_is_int(now)) {
            return qx_fail_at(err, QX_ERANGE, NULL, name, -1,
                              "the weights of '%s' are %s, whose products run in float32: give it "
                              "integers of 2 to 8 bits first",
                              name, now->format->title);
        }
        return qx_fail_at(err, QX_ERANGE, NULL, name, -1,
                          "the inputs of '%s' stay float32: give them 2 to 8 bits first", name);
    }
    if (qx_patch_needs_bits(patch, now)) {
        return qx_fail_at(err, QX_ERANGE, NULL, name, -1,
                          "'%s' is %s, which has no range: give it 2 to 8 bits first", name,
                          now->format->title);
    }
    const struct qx_format *format = asked_format(patch);
    struct qx_setting base = *now;
    if (format && !qx_format_is_scaled(format)) {
        *out = qx_setting_of(format, 0);
        return QX_OK;
    }
    enum qx_status status = qx_act_patch_check(patch, name, err);
    if (status != QX_OK) {
        return status;
    }
    if (is_float(now)) { /* without a format: quantized inputs ask for integer weights */
        base = qx_setting_of(format ? format : qx_format_find("int"),
                             patch->fields & QX_PATCH_BITS ? patch->value.bits : 8);
    }
    struct qx_setting s = base;
    apply_fields(patch, &s);
    struct qx_setting fields = s; /* the range comes after */
    fields.has_range = false;
    struct qx_error why;
    status = qx_setting_check(&fields, &why);
    if (status != QX_OK) {
        return qx_fail_at(err, status, NULL, name, -1, "'%s': %s", name, why.text);
    }
    status = choose_range(patch, &base, bounds, name, &s, err);
    if (status == QX_OK) { /* what methods chose holds for one setting only */
        struct qx_setting was = *now, is = s;
        was.overlay = is.overlay = NULL;
        was.overlay_key = is.overlay_key = 0;
        const bool is_anew = !qx_setting_equal_weight(&was, &is) ||
                             (s.overlay && !qx_overlay_serves(s.overlay, &s.act));
        s.overlay = is_anew ? NULL : s.overlay;
        s.overlay_key = is_anew ? 0 : s.overlay_key;
        *out = s;
    }
    return status;
}
