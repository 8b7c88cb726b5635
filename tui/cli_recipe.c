/* From the recipe flags to the session's recipe. */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 3, 4))) static bool fail(struct qx_error *err, enum qx_status status,
                                                       const char *fmt, ...)
{
    *err = (struct qx_error){.status = status, .offset = -1};
    va_list list;
    va_start(list, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, list);
    va_end(list);
    return false;
}

/* Any of the flags that speak of activations. */
static const char *act_flag(const struct ui_args *a)
{
    return a->act_bits     ? "--act-bits"
           : a->dynamic    ? "--dynamic"
           : a->act_gran   ? "--act-gran"
           : a->act_method ? "--act-method"
           : a->act_sym    ? "--act-sym"
           : a->act_asym   ? "--act-asym"
                           : NULL;
}

bool ui_describes_setting(const struct ui_args *a)
{
    return a->bits || a->format || a->gran || a->method || a->sym || a->asym || a->scale || a->algo;
}

bool ui_has_recipe(const struct ui_args *a)
{
    return a->recipe || a->bits || a->format || a->gran || a->method || a->sym || a->asym ||
           a->scale || a->n_keep || act_flag(a) || a->algo || a->preset;
}

static bool gran_parse(const char *text, struct qx_setting *set, struct qx_error *err)
{
    if (strcmp(text, "tensor") == 0) {
        set->gran = QX_GRAN_TENSOR;
    } else if (strcmp(text, "channel") == 0) {
        set->gran = QX_GRAN_CHANNEL;
    } else if (strncmp(text, "group:", 6) == 0) {
        char *end;
        long n = strtol(text + 6, &end, 10);
        if (end == text + 6 || *end || n < 2 || n > 1 << 20) {
            return fail(err, QX_ERANGE, "--gran %s: the group size must be a number of at least 2",
                        text);
        }
        set->gran = QX_GRAN_GROUP;
        set->group = n;
        set->scale = QX_SCALE_F16;
    } else {
        return fail(err, QX_ENAME, "--gran %s: choose tensor, channel or group:N (group:32)", text);
    }
    return true;
}

static bool format_parse(const char *name, struct qx_setting *set, struct qx_error *err)
{
    const struct qx_format *format = qx_format_find(name);
    if (!format) {
        char list[160] = "";
        for (int i = 0; i < qx_format_count(); i++) {
            const char *sep = i == 0 ? "" : i + 1 < qx_format_count() ? ", " : " or ";
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", sep,
                     qx_format_at(i)->name);
        }
        return fail(err, QX_ENAME, "unknown format '%s': choose %s", name, list);
    }
    if (!qx_format_is_scaled(format)) {
        *set = qx_setting_of(format, 0);
    }
    set->format = format;
    return true;
}

/* --act-bits N is static, --dynamic and --act-gran token are not. */
static bool act_parse(const struct ui_args *a, struct qx_act *act, struct qx_error *err)
{
    const char *flag = act_flag(a);
    *act = (struct qx_act){0};
    if (!flag) {
        return true;
    }
    if (a->weights_only) {
        return fail(err, QX_ERANGE, "--weights-only and %s exclude each other", flag);
    }
    const bool by_token = a->act_gran && strcmp(a->act_gran, "token") == 0;
    if (!a->act_bits && !a->dynamic && !by_token) {
        return fail(err, QX_ERANGE, "%s needs --act-bits N or --dynamic", flag);
    }
    const int bits = a->act_bits ? a->act_bits : 8;
    *act = a->dynamic || by_token ? qx_act_dynamic(bits) : qx_act_static(bits);
    if (a->act_gran) {
        act->gran = by_token ? QX_ACT_TOKEN : QX_ACT_TENSOR;
    }
    if (a->act_sym || a->act_asym) {
        act->sym = a->act_sym;
    }
    if (a->act_method && act->dynamic) {
        return fail(err, QX_ERANGE,
                    "--act-method chooses static ranges, and --dynamic takes them as they come: "
                    "give one of the two");
    }
    if (a->act_method && qx_act_method(act, a->act_method, err) != QX_OK) {
        return false;
    }
    if (act->has_range && act->sym && act->range.lo != -act->range.hi) {
        return fail(err, QX_ERANGE, "--act-method %s: symmetric activations take manual:T",
                    a->act_method);
    }
    return qx_act_check(act, err) == QX_OK;
}

bool ui_setting_parse(const struct ui_args *a, struct qx_setting *set, struct qx_error *err)
{
    *set = qx_setting_int(a->bits >= 2 && a->bits <= 8 ? a->bits : 8);
    if (a->gran && !gran_parse(a->gran, set, err)) {
        return false;
    }
    set->sym = !a->asym;
    if (a->scale) {
        qx_scale_find(a->scale, &set->scale); /* one of the flag's choices */
    }
    if (a->method && qx_calib_parse(a->method, &set->calib, &set->param, &set->range,
                                    &set->has_range, err) != QX_OK) {
        return false;
    }
    const char *format = a->format;
    if (!format && a->bits > 8) {
        format = a->bits == 16 ? "fp16" : "fp32";
    }
    if (format && !format_parse(format, set, err)) {
        return false;
    }
    if (a->format && qx_setting_is_int(set) && !a->bits) {
        return fail(err, QX_ERANGE, "--format %s needs --bits 2 to 8", a->format);
    }
    if (set->format->kind == QX_FORMAT_TABLE && !a->bits) {
        set->bits = set->format->max_bits;
    }
    struct qx_algo algo;
    if (a->algo && !qx_format_is_scaled(set->format)) {
        return fail(
            err, QX_EUNSUPPORTED,
            "--algo chooses codes of integers, nf4, fp4 or fp8: %s has none to choose, leave "
            "--algo out",
            set->format->name);
    }
    if (a->algo && qx_algo_parse(a->algo, &algo, set->algo, err) != QX_OK) {
        return false;
    }
    if (!act_parse(a, &set->act, err)) {
        return false;
    }
    if (set->act.bits && !qx_setting_is_int(set)) {
        return fail(err, QX_EUNSUPPORTED,
                    "%s needs integer weights of 2 to 8 bits: weights in other formats keep "
                    "float32 activations",
                    act_flag(a));
    }
    return qx_setting_check(set, err) == QX_OK;
}

/* "GLOB=FORMAT": is this an item of it? */
static bool keep_is(const char *spec, const struct qx_session *s, int64_t item)
{
    char glob[512];
    snprintf(glob, sizeof glob, "%.*s", (int)(strrchr(spec, '=') - spec), spec);
    return qx_session_item(s, item)->can_quantize && qx_session_match(s, item, glob);
}

static bool keeps_any(const struct ui_args *a, const struct qx_session *s, int64_t item)
{
    for (int i = 0; i < a->n_keep; i++) {
        if (keep_is(a->keep[i], s, item)) {
            return true;
        }
    }
    return false;
}

/* Items whose name or alias matches "GLOB" get FORMAT. */
static bool keep_apply(const char *spec, struct qx_session *s, int64_t *items, struct qx_error *err)
{
    struct qx_patch patch = {.fields = QX_PATCH_ALL, .value = qx_setting_fp32()};
    if (!format_parse(strrchr(spec, '=') + 1, &patch.value, err)) {
        return false;
    }
    if (qx_format_is_scaled(patch.value.format)) {
        return fail(err, QX_EUNSUPPORTED,
                    "--keep %s: keep takes fp32, fp16, bf16 or a format of blocks (q6_k)", spec);
    }
    int64_t n = 0;
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        if (keep_is(spec, s, i)) {
            items[n++] = i;
        }
    }
    if (n == 0) {
        return fail(err, QX_ENAME, "--keep %s matches no tensor: see qexplore info", spec);
    }
    return qx_session_edit(s, items, n, &patch, false, err) == QX_OK;
}

static bool flags_apply(const struct ui_args *a, struct qx_session *s, bool *selected,
                        int64_t *items, struct qx_error *err)
{
    struct qx_patch patch = {.fields = QX_PATCH_ALL};
    if (!ui_setting_parse(a, &patch.value, err)) {
        return false;
    }
    bool all = a->scope && strcmp(a->scope, "all") == 0;
    qx_session_select(s, all ? QX_SCOPE_ALL : QX_SCOPE_LINEAR, a->layers, selected);
    int64_t n = 0, n_selected = 0;
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        n_selected += selected[i];
        if (selected[i] && !keeps_any(a, s, i)) {
            items[n++] = i;
        }
    }
    if (n_selected == 0) {
        return a->layers
                   ? fail(err, QX_ENAME,
                          "--layers %s matches no tensor that can be quantized: see qexplore info",
                          a->layers)
                   : fail(err, QX_ENAME,
                          "the model has no tensor in scope '%s': try --scope all or --layers",
                          all ? "all" : "linear");
    }
    return qx_session_edit(s, items, n, &patch, false, err) == QX_OK;
}

/* The whole recipe by name: what else would describe it is refused. */
static bool preset_apply(const struct ui_args *a, struct qx_session *s, bool has_others,
                         struct qx_error *err)
{
    const struct qx_preset *p;
    if (has_others || a->recipe || a->layers || a->scope) {
        return fail(err, QX_ERANGE,
                    "--preset %s says all of it: leave out --recipe, --bits, --layers and the like "
                    "(--keep may follow)",
                    a->preset);
    }
    return qx_preset_find(a->preset, &p, err) == QX_OK &&
           qx_session_preset(s, p, NULL, err) == QX_OK;
}

static bool keeps_apply(const struct ui_args *a, struct qx_session *s, struct qx_error *err)
{
    int64_t *items = calloc((size_t)qx_session_n_items(s) + 1, sizeof *items);
    bool ok = items || fail(err, QX_ENOMEM, "out of memory for the list of tensors");
    for (int i = 0; ok && i < a->n_keep; i++) {
        ok = keep_apply(a->keep[i], s, items, err);
    }
    free(items);
    return ok;
}

bool ui_apply_recipe(const struct ui_args *a, struct qx_session *s, struct qx_error *err)
{
    bool describes = ui_describes_setting(a);
    if (a->preset) {
        return preset_apply(a, s, describes || act_flag(a), err) && keeps_apply(a, s, err);
    }
    if (a->recipe && qx_session_load_recipe(s, a->recipe, err) != QX_OK) {
        /* a name that the recipe, not the command line, got wrong is invalid input */
        if (err->status == QX_ENAME || err->status == QX_ERANGE) {
            err->status = QX_EFORMAT;
        }
        return false;
    }
    if (!describes && act_flag(a)) {
        return fail(err, QX_ERANGE, "%s needs --bits N: activations are quantized with the weights",
                    act_flag(a));
    }
    if (describes && !a->bits && !a->format) {
        return fail(err, QX_ERANGE, "%s needs --bits N or --format NAME",
                    a->gran     ? "--gran"
                    : a->method ? "--method"
                    : a->scale  ? "--scale"
                    : a->algo   ? "--algo"
                                : "--sym/--asym");
    }
    size_t n_items = (size_t)qx_session_n_items(s);
    bool *selected = calloc(n_items + 1, sizeof *selected);
    int64_t *items = calloc(n_items + 1, sizeof *items);
    bool ok = selected && items;
    if (!ok) {
        fail(err, QX_ENOMEM, "out of memory for the list of tensors");
    }
    if (ok && describes) {
        ok = flags_apply(a, s, selected, items, err);
    }
    free(selected);
    free(items);
    return ok && keeps_apply(a, s, err);
}
