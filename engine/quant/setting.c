/* One layer's setting: defaults, text, checks, size. */
#include <float.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "quant/blocks.h"
#include "quant/scheme.h"
#include "qx/overlay.h"
#include "qx/quant.h"

struct qx_setting qx_setting_fp32(void)
{
    struct qx_setting s = qx_setting_int(8);

    s.format = qx_format_find("fp32");
    return s;
}

struct qx_setting qx_setting_of(const struct qx_format *format, int bits)
{
    struct qx_setting s = qx_setting_int(format->kind == QX_FORMAT_AFFINE  ? bits
                                         : format->kind == QX_FORMAT_TABLE ? format->max_bits
                                                                           : 8);

    s.format = format;
    return s;
}

struct qx_setting qx_setting_as(const struct qx_setting *s, const struct qx_format *format,
                                int bits)
{
    struct qx_setting to = qx_setting_of(format, bits);

    to.importance = s->importance;
    if (!qx_format_is_scaled(format) || !qx_format_is_scaled(s->format)) {
        return to;
    }
    to.sym = s->sym || format->kind == QX_FORMAT_TABLE;
    to.gran = s->gran;
    to.group = s->group;
    to.scale = s->scale;
    if (s->calib != qx_calib_find("manual")) {
        to.calib = s->calib;
        to.param = s->param;
    }
    return to;
}

bool qx_setting_is_int(const struct qx_setting *s)
{
    return s->format->kind == QX_FORMAT_AFFINE;
}

struct qx_setting qx_setting_int(int bits)
{
    struct qx_setting s = {0};

    s.format = qx_format_find("int");
    s.bits = bits;
    s.sym = true;
    s.gran = QX_GRAN_CHANNEL;
    s.group = 128;
    s.scale = QX_SCALE_F32;
    s.calib = qx_calib_find("mse");
    return s;
}

bool qx_setting_equal(const struct qx_setting *a, const struct qx_setting *b)
{
    return qx_setting_equal_weight(a, b) &&
           (!qx_format_is_scaled(a->format) || qx_act_equal(&a->act, &b->act));
}

uint64_t qx_importance_key(const struct qx_setting *s)
{
    return s->format->block && s->importance ? s->importance->key : 0;
}

/* Two overlays of one key are the same; 0 = none. */
static uint64_t key_of(const struct qx_setting *s)
{
    return s->overlay ? s->overlay->key : s->overlay_key;
}

bool qx_setting_equal_weight(const struct qx_setting *a, const struct qx_setting *b)
{
    if (a->format != b->format) {
        return false;
    }
    if (!qx_format_is_scaled(a->format)) {
        return qx_importance_key(a) == qx_importance_key(b);
    }
    if (a->bits != b->bits || a->sym != b->sym || a->gran != b->gran || a->scale != b->scale ||
        a->calib != b->calib || a->has_range != b->has_range) {
        return false;
    }
    if (a->gran == QX_GRAN_GROUP && a->group != b->group) {
        return false;
    }
    if (a->calib->takes_param && a->param != b->param) {
        return false;
    }
    if (strcmp(a->algo, b->algo) != 0 || key_of(a) != key_of(b)) {
        return false;
    }
    return !a->has_range || (a->range.lo == b->range.lo && a->range.hi == b->range.hi);
}

bool qx_setting_awaits(const struct qx_setting *s)
{
    return s->algo[0] && qx_format_is_scaled(s->format) && !qx_setting_overlay(s);
}

bool qx_setting_is_fp32(const struct qx_setting *s)
{
    return s->format == qx_format_find("fp32");
}

/* The calibrator as qx_calib_parse reads it: "mse", "percentile:99.9", "manual:0.7". */
static void calib_text(const struct qx_setting *s, char *buf, size_t cap)
{
    if (s->calib->takes_param) {
        snprintf(buf, cap, "%s:%.6g", s->calib->name, s->param);
    } else if (s->calib != qx_calib_find("manual") || !s->has_range) {
        snprintf(buf, cap, "%s", s->calib->name);
    } else if (s->range.lo == -s->range.hi) {
        snprintf(buf, cap, "%s:%.6g", s->calib->name, s->range.hi);
    } else {
        snprintf(buf, cap, "%s:%.6g,%.6g", s->calib->name, s->range.lo, s->range.hi);
    }
}

char *qx_setting_text(const struct qx_setting *s, char *buf, size_t cap)
{
    char gran[32] = "tensor", calib[64];

    if (!qx_format_is_scaled(s->format)) {
        snprintf(buf, cap, "%s", s->format->title);
        return buf;
    }
    if (s->gran == QX_GRAN_CHANNEL) {
        snprintf(gran, sizeof(gran), "channel");
    } else if (s->gran == QX_GRAN_GROUP) {
        snprintf(gran, sizeof(gran), "group:%lld", (long long)s->group);
    }
    calib_text(s, calib, sizeof(calib));
    const char *plus = s->algo[0] ? " + " : "";
    if (!qx_setting_is_int(s)) {
        snprintf(buf, cap, "%s %s %s%s%s", s->format->title, gran, calib, plus, s->algo);
        return buf;
    }
    int len = snprintf(buf, cap, "%s%d %s %s %s%s%s", s->format->title, s->bits,
                       s->sym ? "sym" : "asym", gran, calib, plus, s->algo);
    if (s->act.bits > 0 && len > 0 && (size_t)len < cap) {
        char act[96];
        snprintf(buf + len, cap - (size_t)len, ", inputs %s",
                 qx_act_text(&s->act, act, sizeof(act)));
    }
    return buf;
}

struct qx_hist_spec qx_setting_spec(const struct qx_setting *s, struct qx_channels channels)
{
    struct qx_hist_spec spec = {.gran = QX_GRAN_TENSOR, .sym = true, .channels = channels};

    if (qx_format_is_scaled(s->format) && s->gran != QX_GRAN_TENSOR) {
        spec.gran = s->gran;
        spec.sym = s->sym;
        spec.group = s->gran == QX_GRAN_GROUP ? s->group : 0;
    }
    return spec;
}

static enum qx_status range_check(const struct qx_setting *s, struct qx_error *err)
{
    double lo = s->range.lo, hi = s->range.hi;

    if (!(lo >= -FLT_MAX && hi <= FLT_MAX)) {
        return qx_fail(err, QX_ERANGE,
                       "the clipping range %g to %g is wider than float32; give finite ends", lo,
                       hi);
    }
    if (!(lo <= 0.0 && hi >= 0.0)) {
        return qx_fail(err, QX_ERANGE,
                       "the clipping range %g to %g does not contain 0; give a low end of at most "
                       "0 and a high end of at least 0",
                       lo, hi);
    }
    if (s->gran != QX_GRAN_TENSOR && !(hi > 0.0 && hi <= 1.0 && lo == -hi)) {
        return qx_fail(err, QX_ERANGE,
                       "with a scale per channel or group the threshold is a ratio of each one's "
                       "own range, above 0 and at most 1, but it is %g",
                       hi);
    }
    return QX_OK;
}

/* What only integers leave open. */
static enum qx_status table_check(const struct qx_setting *s, struct qx_error *err)
{
    if (s->bits != s->format->max_bits) {
        return qx_fail(err, QX_ERANGE, "%s has %d bits, not %d; choose int for other widths",
                       s->format->title, s->format->max_bits, s->bits);
    }
    if (!s->sym) {
        return qx_fail(err, QX_ERANGE,
                       "the levels of %s lie around 0, so its range is symmetric; choose int for "
                       "an asymmetric one",
                       s->format->title);
    }
    if (s->act.bits > 0) {
        return qx_fail(
            err, QX_EUNSUPPORTED,
            "weights in %s multiply float32 inputs; choose int to quantize the inputs too",
            s->format->title);
    }
    return QX_OK;
}

enum qx_status qx_setting_check(const struct qx_setting *s, struct qx_error *err)
{
    enum qx_status st;

    if (!s->format) {
        return qx_fail(err, QX_ERANGE, "the setting names no number format; choose fp32 or int");
    }
    if (!qx_format_is_scaled(s->format)) {
        return QX_OK;
    }
    if (!qx_setting_is_int(s) && (st = table_check(s, err)) != QX_OK) {
        return st;
    }
    if (s->bits < s->format->min_bits || s->bits > s->format->max_bits) {
        return qx_fail(err, QX_ERANGE, "%s takes %d to %d bits, not %d", s->format->title,
                       s->format->min_bits, s->format->max_bits, s->bits);
    }
    if (s->gran != QX_GRAN_TENSOR && s->gran != QX_GRAN_CHANNEL && s->gran != QX_GRAN_GROUP) {
        return qx_fail(err, QX_ERANGE, "the granularity is neither tensor, channel nor group");
    }
    if (s->gran == QX_GRAN_GROUP && s->group < 1) {
        return qx_fail(err, QX_ERANGE,
                       "a group needs at least 1 value, not %lld; use 32, 64 or 128",
                       (long long)s->group);
    }
    if ((unsigned)s->scale >= QX_SCALE_TYPES) {
        return qx_fail(err, QX_ERANGE, "the scale is stored as f32, f16 or dq, nothing else");
    }
    if (s->scale == QX_SCALE_NESTED && (s->gran != QX_GRAN_GROUP || s->algo[0])) {
        return qx_fail(err, QX_ERANGE,
                       "scales that are quantized together (dq) are those of groups, rounded to "
                       "nearest: choose group:64, and no method");
    }
    if (!s->calib) {
        return qx_fail(err, QX_ERANGE, "the setting names no calibrator; choose mse or minmax");
    }
    if (s->calib->takes_param && !(s->param > 0.0 && s->param <= 100.0)) {
        return qx_fail(err, QX_ERANGE, "%s takes a number above 0 and at most 100, not %g",
                       s->calib->name, s->param);
    }
    st = qx_act_check(&s->act, err);
    return st == QX_OK && s->has_range ? range_check(s, err) : st;
}

enum qx_status qx_setting_resolve(struct qx_setting *s, const struct qx_hist *hist,
                                  struct qx_error *err)
{
    struct qx_scheme scheme = {s->bits, s->sym, s->format};
    struct qx_range range;
    enum qx_status st = qx_setting_check(s, err);

    if (st != QX_OK || !qx_format_is_scaled(s->format) || s->has_range) {
        return st;
    }
    st = qx_calib_range(hist, &scheme, s->calib, s->param, &range, err);
    if (st == QX_OK) {
        s->range = range;
        s->has_range = true;
    }
    return st;
}

static const struct {
    const char *name;
    int bytes, per_block, extra; /* of a unit's scale; of every QX_NESTED_UNITS of them; of all */
} scales[QX_SCALE_TYPES] = {[QX_SCALE_F32] = {"f32", 4, 0, 0},
                            [QX_SCALE_F16] = {"f16", 2, 0, 0},
                            [QX_SCALE_NESTED] = {"dq", 1, 4, 4}};

const char *qx_scale_name(enum qx_scale_type type)
{
    return scales[type].name;
}

bool qx_scale_find(const char *name, enum qx_scale_type *out)
{
    for (int i = 0; i < QX_SCALE_TYPES; i++) {
        if (strcmp(name, scales[i].name) == 0) {
            *out = (enum qx_scale_type)i;
            return true;
        }
    }
    return false;
}

static uint64_t scale_bytes(enum qx_scale_type type, uint64_t units)
{
    const uint64_t blocks = (units + QX_NESTED_UNITS - 1) / QX_NESTED_UNITS;

    return units * (uint64_t)scales[type].bytes + blocks * (uint64_t)scales[type].per_block +
           (uint64_t)scales[type].extra;
}

uint64_t qx_setting_bytes(const struct qx_setting *s, int64_t n, int64_t n_units)
{
    uint64_t values = (uint64_t)n, units = (uint64_t)n_units, bytes;

    if (s->format->block) {
        return units * (uint64_t)s->format->block->bytes + (s->format->tensor_top > 0.0f ? 4 : 0);
    }
    if (!qx_format_is_scaled(s->format)) {
        return values * (uint64_t)s->format->max_bits / 8;
    }
    bytes = (values * (uint64_t)s->bits + 7) / 8;
    bytes += scale_bytes(s->scale, units);
    return s->sym ? bytes : bytes + (units * (uint64_t)s->bits + 7) / 8;
}

uint64_t qx_setting_tensor_bytes(const struct qx_setting *s, const struct qx_tensor *t,
                                 struct qx_channels channels)
{
    return qx_setting_is_fp32(s) ? t->bytes
                                 : qx_setting_bytes(s, t->numel, qx_setting_units(s, channels));
}

int64_t qx_setting_units(const struct qx_setting *s, struct qx_channels channels)
{
    int64_t per_channel = channels.outer * channels.inner;

    if (s->format->block) {
        return qx_block_count(s->format->block, channels);
    }
    if (!qx_format_is_scaled(s->format) || s->gran == QX_GRAN_TENSOR) {
        return 1;
    }
    if (s->gran == QX_GRAN_CHANNEL) {
        return channels.count;
    }
    return channels.count * ((per_channel + s->group - 1) / s->group);
}
