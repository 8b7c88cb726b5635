#include "flags_text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A word for the shell: quoted when it holds more than plain characters. */
void ui_word_add(char *out, size_t cap, const char *word)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,-+=%@";
    size_t n = strlen(out);
    bool quote = word[0] == 0 || word[strspn(word, plain)] != 0;
    n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? " " : "", quote ? "'" : "");
    for (; *word && n + 6 < cap; word++) {
        if (quote && *word == '\'') {
            n += (size_t)snprintf(out + n, cap - n, "'\\''");
        } else {
            out[n++] = *word;
            out[n] = 0;
        }
    }
    if (quote) {
        snprintf(out + n, cap - n, "'");
    }
}

void ui_flag_add(char *out, size_t cap, const char *flag, const char *value)
{
    ui_word_add(out, cap, flag);
    if (value) {
        ui_word_add(out, cap, value);
    }
}

/* --method of a setting: the calibrator, or its range by hand. */
static void add_method(char *out, size_t cap, const struct qx_setting *s)
{
    char text[96];
    bool by_hand = strcmp(s->calib->name, "manual") == 0;
    if (by_hand && (s->sym || s->gran != QX_GRAN_TENSOR)) {
        snprintf(text, sizeof(text), "manual:%.9g", s->range.hi);
    } else if (by_hand) {
        snprintf(text, sizeof(text), "manual:%.9g,%.9g", s->range.lo, s->range.hi);
    } else if (s->calib->takes_param) {
        snprintf(text, sizeof(text), "%s:%.9g", s->calib->name, s->param);
    } else {
        snprintf(text, sizeof(text), "%s", s->calib->name);
    }
    ui_flag_add(out, cap, "--method", text);
}

static void add_act(char *out, size_t cap, const struct qx_act *a)
{
    char text[96];
    if (a->bits == 0) {
        return;
    }
    snprintf(text, sizeof(text), "%d", a->bits);
    ui_flag_add(out, cap, "--act-bits", text);
    if (a->dynamic) {
        ui_flag_add(out, cap, "--dynamic", NULL);
        ui_flag_add(out, cap, "--act-gran", a->gran == QX_ACT_TOKEN ? "token" : "tensor");
    } else {
        if (strcmp(a->calib->name, "manual") == 0 && a->sym) {
            snprintf(text, sizeof(text), "manual:%.9g", a->range.hi);
        } else if (strcmp(a->calib->name, "manual") == 0) {
            snprintf(text, sizeof(text), "manual:%.9g,%.9g", a->range.lo, a->range.hi);
        } else if (a->calib->takes_param) {
            snprintf(text, sizeof(text), "%s:%.9g", a->calib->name, a->param);
        } else {
            snprintf(text, sizeof(text), "%s", a->calib->name);
        }
        ui_flag_add(out, cap, "--act-method", text);
    }
    ui_flag_add(out, cap, a->sym ? "--act-sym" : "--act-asym", NULL);
}

static void add_gran(char *out, size_t cap, const struct qx_setting *s)
{
    char text[48];
    if (s->gran == QX_GRAN_GROUP) {
        snprintf(text, sizeof(text), "group:%lld", (long long)s->group);
    } else {
        snprintf(text, sizeof(text), "%s", s->gran == QX_GRAN_TENSOR ? "tensor" : "channel");
    }
    ui_flag_add(out, cap, "--gran", text);
    if (s->scale != (s->gran == QX_GRAN_GROUP ? QX_SCALE_F16 : QX_SCALE_F32)) {
        ui_flag_add(out, cap, "--scale", qx_scale_name(s->scale));
    }
}

void ui_flags_of_setting(char *out, size_t cap, const struct qx_setting *s)
{
    char text[24];
    if (!qx_setting_is_int(s)) {
        ui_flag_add(out, cap, "--format", s->format->name);
    }
    if (!qx_format_is_scaled(s->format)) {
        return;
    }
    if (qx_setting_is_int(s)) {
        snprintf(text, sizeof(text), "%d", s->bits);
        ui_flag_add(out, cap, "--bits", text);
    }
    add_gran(out, cap, s);
    if (qx_setting_is_int(s)) {
        ui_flag_add(out, cap, s->sym ? "--sym" : "--asym", NULL);
    }
    add_method(out, cap, s);
    if (s->algo[0]) {
        ui_flag_add(out, cap, "--algo", s->algo);
    }
    add_act(out, cap, &s->act);
}

void ui_flags_of_preset(char *out, size_t cap, const struct qx_preset *p,
                        const struct qx_session *s)
{
    const struct qx_setting usual = qx_preset_setting(p);
    char text[600];
    ui_flags_of_setting(out, cap, &usual);
    for (int64_t i = 0; s && i < qx_session_n_items(s); i++) {
        const struct qx_item *item = qx_session_item(s, i);
        const struct qx_setting *set = qx_session_setting(s, i);
        if (item->can_quantize && item->role == QX_ROLE_LINEAR && set->format != usual.format) {
            snprintf(text, sizeof(text), "%.512s=%s", item->tensor->name, set->format->name);
            ui_flag_add(out, cap, "--keep", text);
        }
    }
}
