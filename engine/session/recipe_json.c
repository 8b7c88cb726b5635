#include "session/recipe_json.h"

#include "qx/method.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const origin_names[] = {"manual", "method", "import", "search"};
enum { N_ORIGINS = sizeof origin_names / sizeof *origin_names };

/* ---- writing ---- */

static void method_write(struct qx_jw *w, const struct qx_setting *s)
{
    char text[64];
    qx_jw_key(w, "method");
    if (s->calib->takes_param) {
        snprintf(text, sizeof text, "%s:%.12g", s->calib->name, s->param);
        qx_jw_str(w, text);
    } else {
        qx_jw_str(w, s->calib->name);
    }
}

/* Bits and symmetry of a table are its own: they are written for readers, and must be right if given. */
static void scaled_write(struct qx_jw *w, const struct qx_setting *s)
{
    char gran[40];
    qx_jw_key(w, "bits");
    qx_jw_int(w, s->bits);
    qx_jw_key(w, "gran");
    if (s->gran == QX_GRAN_GROUP) {
        snprintf(gran, sizeof gran, "group:%lld", (long long)s->group);
        qx_jw_str(w, gran);
    } else {
        qx_jw_str(w, s->gran == QX_GRAN_CHANNEL ? "channel" : "tensor");
    }
    qx_jw_key(w, "sym");
    qx_jw_bool(w, s->sym);
    qx_jw_key(w, "scale");
    qx_jw_str(w, qx_scale_name(s->scale));
    method_write(w, s);
    if (!s->has_range) {
        return;
    }
    if (s->gran == QX_GRAN_TENSOR) {
        qx_jw_key(w, "lo");
        qx_jw_num(w, s->range.lo);
        qx_jw_key(w, "hi");
        qx_jw_num(w, s->range.hi);
    } else {
        qx_jw_key(w, "ratio");
        qx_jw_num(w, s->range.hi);
    }
}

/* Names of methods, and of what they chose. */
static void algo_write(struct qx_jw *w, const struct qx_setting *s)
{
    char name[QX_ALGO_MOST];
    const bool is_scaled = qx_format_is_scaled(s->format);
    qx_jw_key(w, "algo");
    qx_jw_array(w);
    for (const char *p = is_scaled ? s->algo : ""; *p;) {
        const size_t n = strcspn(p, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, p);
        qx_jw_str(w, name);
        p += n + (p[n] == ',');
    }
    qx_jw_end(w);
    const uint64_t key = s->overlay ? s->overlay->key : s->overlay_key;
    if (is_scaled && s->algo[0] && key != 0) {
        snprintf(name, sizeof name, "%016" PRIx64, key);
        qx_jw_key(w, "overlay");
        qx_jw_str(w, name);
    }
}

void qx_setting_write(struct qx_jw *w, const struct qx_setting *s, enum qx_origin origin)
{
    qx_jw_object(w);
    qx_jw_key(w, "format");
    qx_jw_str(w, s->format->name);
    if (qx_format_is_scaled(s->format)) {
        scaled_write(w, s);
    }
    algo_write(w, s);
    qx_jw_key(w, "act");
    qx_act_write(w, qx_setting_is_int(s) ? &s->act : &(struct qx_act){0});
    qx_jw_key(w, "origin");
    qx_jw_str(w, origin_names[origin]);
    qx_jw_end(w);
}

void qx_layers_write(struct qx_jw *w, const struct qx_recipe *r, const struct qx_items *items,
                     const uint8_t *open)
{
    qx_jw_object(w);
    for (int64_t i = 0; i < r->n; i++) {
        if (qx_setting_is_fp32(&r->set[i])) {
            continue;
        }
        struct qx_setting s = r->set[i];
        s.has_range = s.has_range && !(open && open[i]);
        qx_jw_key(w, items->v[i].tensor->name);
        qx_setting_write(w, &s, r->origin[i]);
    }
    qx_jw_end(w);
}

/* Does a layer's format search its scales by the importance of its inputs? */
static bool heeds_any(const struct qx_recipe *r, const struct qx_items *items)
{
    for (int64_t i = 0; i < r->n; i++) {
        if (r->set[i].format->block && items->v[i].importance) {
            return true;
        }
    }
    return false;
}

void qx_recipe_put(struct qx_jw *w, const struct qx_recipe *r, const struct qx_items *items,
                   const struct qx_model *model, const uint8_t *open)
{
    qx_jw_object(w);
    qx_jw_key(w, "schema");
    qx_jw_str(w, "qexplore.recipe/1");
    qx_jw_key(w, "model");
    qx_jw_object(w);
    qx_jw_key(w, "id");
    qx_jw_str(w, qx_model_id(model));
    qx_jw_key(w, "path");
    qx_jw_str(w, qx_model_path(model));
    qx_jw_end(w);
    qx_jw_key(w, "layers");
    qx_layers_write(w, r, items, open);
    if (heeds_any(r, items)) {
        char hex[20];
        snprintf(hex, sizeof hex, "%016" PRIx64, items->imatrix_key);
        qx_jw_key(w, "imatrix");
        qx_jw_str(w, hex);
    }
    qx_jw_key(w, "notes");
    qx_jw_str(w, r->notes ? r->notes : "");
    qx_jw_end(w);
}

char *qx_recipe_write(const struct qx_recipe *r, const struct qx_items *items,
                      const struct qx_model *model, const uint8_t *open, size_t *len)
{
    struct qx_jw *w = qx_jw_new(true);
    qx_recipe_put(w, r, items, model, open);
    return qx_jw_take(w, len);
}

/* ---- reading ---- */

/* Where a value stands, and the record for what is wrong with it. */
struct place {
    const char *file, *tensor;
    struct qx_error *err;
};

static enum qx_status unknown_key(const struct place *at, const char *key, const char *where,
                                  const char *const *known, size_t n)
{
    const char *near = qx_nearest(key, known, n);
    return qx_fail_at(at->err, QX_EFORMAT, at->file, at->tensor, -1,
                      "%s: unknown key '%s' in %s%s%s%s", at->file, key, where,
                      near ? ": did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static enum qx_status keys_check(const struct place *at, const struct qx_jval *object,
                                 const char *where, const char *const *known, size_t n)
{
    for (const struct qx_jval *v = qx_jfirst(object); v; v = qx_jnext(v)) {
        size_t i = 0;
        while (i < n && strcmp(known[i], qx_jkey(v)) != 0) {
            i++;
        }
        if (i == n) {
            return unknown_key(at, qx_jkey(v), where, known, n);
        }
    }
    return QX_OK;
}

__attribute__((format(printf, 3, 4))) static enum qx_status
bad(const struct place *at, enum qx_status status, const char *fmt, ...)
{
    char text[320];
    va_list list;
    va_start(list, fmt);
    vsnprintf(text, sizeof text, fmt, list);
    va_end(list);
    return qx_fail_at(at->err, status, at->file, at->tensor, -1, "%s: '%s': %s", at->file,
                      at->tensor, text);
}

static enum qx_status format_read(const struct place *at, const struct qx_jval *v,
                                  struct qx_setting *s)
{
    const struct qx_jval *name = qx_jget(v, "format"), *bits = qx_jget(v, "bits");
    if (name && !qx_jis_string(name)) {
        return bad(at, QX_EFORMAT, "format must be a string such as \"int\"");
    }
    const char *text = qx_jstr(name, "int");
    const struct qx_format *format = qx_format_find(text);
    if (!format) {
        const char *names[64];
        size_t n = 0;
        for (int i = 0; i < qx_format_count() && n < 64; i++) {
            names[n++] = qx_format_at(i)->name;
        }
        const char *near = qx_nearest(text, names, n);
        return bad(at, QX_ENAME, "unknown format '%s'%s%s%s", text, near ? ": did you mean '" : "",
                   near ? near : "", near ? "'?" : "");
    }
    int64_t n_bits = format->max_bits;
    if (bits &&
        (!qx_jint(bits, &n_bits) || n_bits < format->min_bits || n_bits > format->max_bits)) {
        return bad(at, QX_ERANGE, "bits of format %s must be a whole number from %d to %d", text,
                   format->min_bits, format->max_bits);
    }
    if (!bits && format->kind == QX_FORMAT_AFFINE) {
        return bad(at, QX_EFORMAT, "bits is missing: give it %d to %d", format->min_bits,
                   format->max_bits);
    }
    *s = qx_setting_of(format, (int)n_bits);
    return QX_OK;
}

static enum qx_status gran_read(const struct place *at, const struct qx_jval *v,
                                struct qx_setting *s)
{
    const char *text = qx_jstr(v, v ? "?" : "channel");
    long long group;
    char rest;
    if (strcmp(text, "tensor") == 0) {
        s->gran = QX_GRAN_TENSOR;
    } else if (strcmp(text, "channel") == 0) {
        s->gran = QX_GRAN_CHANNEL;
    } else if (sscanf(text, "group:%9lld%c", &group, &rest) == 1 && group > 0) {
        s->gran = QX_GRAN_GROUP;
        s->group = group;
    } else {
        return bad(at, QX_EFORMAT, "gran must be \"tensor\", \"channel\" or \"group:N\"");
    }
    s->scale = s->gran == QX_GRAN_GROUP ? QX_SCALE_F16 : QX_SCALE_F32;
    return QX_OK;
}

static enum qx_status scale_read(const struct place *at, const struct qx_jval *v,
                                 struct qx_setting *s)
{
    if (!v) {
        return QX_OK;
    }
    return qx_scale_find(qx_jstr(v, "?"), &s->scale)
               ? QX_OK
               : bad(at, QX_EFORMAT, "scale must be \"f32\", \"f16\" or \"dq\"");
}

static enum qx_status method_read(const struct place *at, const struct qx_jval *v, bool has_range,
                                  struct qx_setting *s)
{
    if (v && !qx_jis_string(v)) {
        return bad(at, QX_EFORMAT, "method must be a string such as \"mse\"");
    }
    const char *text = qx_jstr(v, has_range ? "manual" : "mse");
    if (strcmp(text, "manual") == 0) { /* its numbers stand in lo, hi or ratio */
        s->calib = qx_calib_find(text);
        s->param = s->calib->param_default;
        return has_range ? QX_OK
                         : bad(at, QX_EFORMAT, "method manual needs lo and hi, or ratio beside it");
    }
    struct qx_range range;
    bool by_hand;
    struct qx_error why;
    enum qx_status status = qx_calib_parse(text, &s->calib, &s->param, &range, &by_hand, &why);
    if (status != QX_OK) {
        return bad(at, status, "%s", why.text);
    }
    if (by_hand) {
        return bad(at, QX_EFORMAT, "write method \"manual\" with lo and hi, or ratio beside it");
    }
    return QX_OK;
}

static enum qx_status range_read(const struct place *at, const struct qx_jval *v,
                                 struct qx_setting *s)
{
    const struct qx_jval *lo = qx_jget(v, "lo"), *hi = qx_jget(v, "hi"),
                         *ratio = qx_jget(v, "ratio");
    if (!lo && !hi && !ratio) {
        return QX_OK;
    }
    if (s->gran == QX_GRAN_TENSOR) {
        if (ratio || !qx_jis_number(lo) || !qx_jis_number(hi)) {
            return bad(at, QX_EFORMAT,
                       "granularity tensor takes its range as two numbers, lo and hi");
        }
        s->range = (struct qx_range){qx_jnum(lo, 0), qx_jnum(hi, 0)};
        bool fits = s->sym ? s->range.lo == -s->range.hi : s->range.lo <= 0 && s->range.hi >= 0;
        bool empty = s->range.lo == 0 && s->range.hi == 0;
        if (!fits || (empty && qx_setting_is_manual(s))) {
            return bad(at, QX_ERANGE,
                       s->sym ? "a symmetric range needs lo = -hi and hi above 0"
                              : "a range needs lo <= 0 <= hi and must not be empty");
        }
    } else {
        if (lo || hi || !qx_jis_number(ratio)) {
            return bad(at, QX_EFORMAT,
                       "granularity channel and group take their range as one number, ratio");
        }
        double r = qx_jnum(ratio, 0);
        if (!(r > 0 && r <= 1)) {
            return bad(at, QX_ERANGE, "ratio must lie above 0 and not above 1");
        }
        s->range = (struct qx_range){-r, r};
    }
    s->has_range = true;
    return QX_OK;
}

static enum qx_status origin_read(const struct place *at, const struct qx_jval *v,
                                  enum qx_origin *origin)
{
    *origin = QX_ORIGIN_IMPORT;
    if (!v) {
        return QX_OK;
    }
    for (int i = 0; i < N_ORIGINS; i++) {
        if (strcmp(qx_jstr(v, "?"), origin_names[i]) == 0) {
            *origin = i;
            return QX_OK;
        }
    }
    return bad(at, QX_EFORMAT, "origin must be manual, method, import or search");
}

static enum qx_status overlay_read(const struct place *at, const struct qx_jval *v,
                                   struct qx_setting *s)
{
    const char *text = qx_jstr(v, v && !qx_jis_null(v) ? "?" : "0");
    char *end;
    s->overlay_key = strtoull(text, &end, 16);
    return end != text && !*end
               ? QX_OK
               : bad(at, QX_EFORMAT, "overlay must be a string of at most 16 hex digits");
}

static enum qx_status algo_read(const struct place *at, const struct qx_jval *v,
                                struct qx_setting *s)
{
    const struct qx_jval *list = qx_jget(v, "algo");
    char text[4 * QX_ALGO_MOST] = "";
    struct qx_algo algo;
    struct qx_error why;
    if (list && !qx_jis_null(list) && !qx_jis_array(list)) {
        return bad(at, QX_EFORMAT, "algo must be a list of methods such as [\"gptq\"]");
    }
    for (const struct qx_jval *name = list ? qx_jfirst(list) : NULL; name; name = qx_jnext(name)) {
        const size_t len = strlen(text);
        if (!qx_jis_string(name) || len + strlen(qx_jstr(name, "")) + 2 > sizeof text) {
            return bad(at, QX_EFORMAT, "algo must be a short list of names such as [\"gptq\"]");
        }
        snprintf(text + len, sizeof text - len, "%s%s", len ? "," : "", qx_jstr(name, ""));
    }
    enum qx_status status = qx_algo_parse(text, &algo, s->algo, &why);
    if (status != QX_OK) {
        return bad(at, status, "%s", why.text);
    }
    return s->algo[0] ? overlay_read(at, qx_jget(v, "overlay"), s) : QX_OK;
}

static enum qx_status act_read(const struct place *at, const struct qx_jval *v,
                               struct qx_setting *s)
{
    struct qx_error why;
    enum qx_status status = qx_act_read(v, qx_setting_is_int(s), &s->act, &why);
    return status == QX_OK ? QX_OK : bad(at, status, "%s", why.text);
}

enum qx_status qx_setting_read(const struct qx_jval *v, const char *file, const char *tensor,
                               struct qx_setting *out, enum qx_origin *origin, struct qx_error *err)
{
    static const char *const known[] = {"format", "bits",  "gran", "sym", "scale",  "method", "lo",
                                        "hi",     "ratio", "algo", "act", "origin", "overlay"};
    struct place at = {file, tensor, err};
    char where[256];
    snprintf(where, sizeof where, "'%s'", tensor);
    if (!qx_jis_object(v)) {
        return bad(&at, QX_EFORMAT, "must be an object");
    }
    struct qx_setting s;
    const struct qx_jval *sym = qx_jget(v, "sym");
    bool has_range = qx_jget(v, "lo") || qx_jget(v, "hi") || qx_jget(v, "ratio");
    enum qx_status status = keys_check(&at, v, where, known, sizeof known / sizeof *known);
    if (status == QX_OK) {
        status = format_read(&at, v, &s);
    }
    if (status == QX_OK) {
        status = origin_read(&at, qx_jget(v, "origin"), origin);
    }
    if (status == QX_OK) {
        status = act_read(&at, qx_jget(v, "act"), &s);
    }
    if (status == QX_OK && !qx_format_is_scaled(s.format)) {
        *out = s; /* the other keys mean nothing to it */
        return QX_OK;
    }
    if (status == QX_OK && sym && !qx_jis_bool(sym)) {
        status = bad(&at, QX_EFORMAT, "sym must be true or false");
    }
    if (status == QX_OK) {
        s.sym = qx_jbool(sym, true);
        status = gran_read(&at, qx_jget(v, "gran"), &s);
    }
    if (status == QX_OK) {
        status = scale_read(&at, qx_jget(v, "scale"), &s);
    }
    if (status == QX_OK) {
        status = method_read(&at, qx_jget(v, "method"), has_range, &s);
    }
    if (status == QX_OK) {
        status = range_read(&at, v, &s);
    }
    if (status == QX_OK) {
        status = algo_read(&at, v, &s);
    }
    if (status == QX_OK) {
        struct qx_error why;
        status = qx_setting_check(&s, &why);
        status = status == QX_OK ? QX_OK : bad(&at, status, "%s", why.text);
    }
    if (status == QX_OK) {
        *out = s;
    }
    return status;
}

static enum qx_status layer_read(const struct qx_jval *v, const char *file,
                                 const struct qx_items *items, bool *seen, struct qx_recipe *out,
                                 struct qx_error *err)
{
    struct place at = {file, qx_jkey(v), err};
    struct qx_error why;
    int64_t i = qx_items_find(items, qx_jkey(v), &why);
    if (i < 0) {
        return qx_fail_at(err, why.status, file, qx_jkey(v), -1, "%s: %s", file, why.text);
    }
    if (seen[i]) {
        return bad(&at, QX_EFORMAT, "names a tensor that the recipe has already");
    }
    seen[i] = true;
    enum qx_origin origin;
    enum qx_status status = qx_setting_read(v, file, qx_jkey(v), &out->set[i], &origin, err);
    if (status == QX_OK && !items->v[i].can_quantize && !qx_setting_is_fp32(&out->set[i])) {
        return bad(&at, QX_EUNSUPPORTED, "cannot be quantized. %s", items->v[i].reason);
    }
    if (status == QX_OK) {
        out->origin[i] = origin;
    }
    return status;
}

enum qx_status qx_layers_read(const struct qx_jval *layers, const char *file,
                              const struct qx_items *items, struct qx_recipe *out,
                              struct qx_error *err)
{
    if (!qx_jis_object(layers)) {
        return qx_fail_at(err, QX_EFORMAT, file, NULL, -1,
                          "%s: layers must be an object of tensor names", file);
    }
    bool *seen = qx_mem_zalloc((size_t)items->n + 1);
    if (!seen) {
        return qx_fail_nomem(err, (size_t)items->n + 1);
    }
    enum qx_status status = QX_OK;
    for (const struct qx_jval *v = qx_jfirst(layers); v && status == QX_OK; v = qx_jnext(v)) {
        status = layer_read(v, file, items, seen, out, err);
    }
    qx_mem_free(seen);
    return status;
}

static enum qx_status head_read(const struct qx_jval *root, const char *file, struct qx_error *err)
{
    static const char *const known[] = {"schema", "model", "layers", "imatrix", "notes"};
    static const char *const in_model[] = {"id", "path"};
    struct place at = {file, NULL, err};
    const char *schema = qx_jstr(qx_jget(root, "schema"), NULL);
    const struct qx_jval *model = qx_jget(root, "model"), *notes = qx_jget(root, "notes");
    if (!schema || strcmp(schema, "qexplore.recipe/1") != 0) {
        return qx_fail_at(err, QX_EFORMAT, file, NULL, -1,
                          "%s is not a recipe: its schema is %s%s%s, not \"qexplore.recipe/1\"",
                          file, schema ? "\"" : "", schema ? schema : "missing",
                          schema ? "\"" : "");
    }
    enum qx_status status =
        keys_check(&at, root, "the recipe", known, sizeof known / sizeof *known);
    if (status == QX_OK && model && !qx_jis_object(model)) {
        return qx_fail_at(err, QX_EFORMAT, file, NULL, -1, "%s: model must be an object", file);
    }
    if (status == QX_OK && model) {
        status = keys_check(&at, model, "model", in_model, sizeof in_model / sizeof *in_model);
    }
    if (status == QX_OK && notes && !qx_jis_string(notes) && !qx_jis_null(notes)) {
        return qx_fail_at(err, QX_EFORMAT, file, NULL, -1, "%s: notes must be a string", file);
    }
    return status;
}

enum qx_status qx_recipe_read(const struct qx_json *json, const char *file,
                              const struct qx_items *items, struct qx_recipe *out,
                              struct qx_error *err)
{
    const struct qx_jval *root = qx_json_root(json);
    struct qx_recipe r = {0};
    enum qx_status status = head_read(root, file, err);
    if (status == QX_OK) {
        status = qx_recipe_init(&r, items->n, err);
    }
    if (status == QX_OK) {
        status = qx_layers_read(qx_jget(root, "layers"), file, items, &r, err);
    }
    r.imatrix_key = strtoull(qx_jstr(qx_jget(root, "imatrix"), "0"), NULL, 16);
    const char *notes = qx_jstr(qx_jget(root, "notes"), "");
    if (status == QX_OK && notes[0]) {
        r.notes = qx_mem_strdup(notes);
        status = r.notes ? QX_OK : qx_fail_nomem(err, strlen(notes) + 1);
    }
    if (status != QX_OK) {
        qx_recipe_release(&r);
        return status;
    }
    *out = r;
    return QX_OK;
}
