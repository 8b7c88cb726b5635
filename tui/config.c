#include "config.h"

#include "qx/json.h"
#include "qx/log.h"
#include "qx/text.h"
#include "style.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CONFIG_MAX_BYTES = 1 << 16 };

static const char *const keys[] = {"theme", "glyphs", "mouse", "animation"};
enum { N_KEYS = sizeof(keys) / sizeof(keys[0]) };

__attribute__((format(printf, 1, 2))) static void warn(const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    qx_log_put(QX_LOG_WARN, text);
}

static bool is_theme(const char *name)
{
    struct ui_theme theme;
    return strcmp(name, "auto") == 0 || ui_theme_load(&theme, name);
}

static bool is_glyphs(const char *name)
{
    return strcmp(name, "auto") == 0 || strcmp(name, "braille") == 0 ||
           strcmp(name, "block") == 0 || strcmp(name, "ascii") == 0;
}

/* A word, unless the command line has one. */
static void take_word(const struct qx_jval *v, bool (*is_known)(const char *), const char *path,
                      char *buf, size_t cap, const char **out)
{
    const char *word = qx_jstr(v, NULL);
    if (!word || !is_known(word)) {
        warn("%.200s: '%.40s' cannot be the %s", path, word ? word : "(no text)", qx_jkey(v));
    } else if (!*out) {
        snprintf(buf, cap, "%s", word);
        *out = buf;
    }
}

static void take_switch(const struct qx_jval *v, const char *path, bool *is_off)
{
    if (qx_jis_bool(v)) {
        *is_off = *is_off || !qx_jbool(v, true);
    } else {
        warn("%.200s: %s is true or false", path, qx_jkey(v));
    }
}

static void take(const struct qx_jval *v, const char *path, struct ui_args *args)
{
    static char theme[24], glyphs[24];
    const char *key = qx_jkey(v);
    if (strcmp(key, "theme") == 0) {
        take_word(v, is_theme, path, theme, sizeof(theme), &args->theme);
    } else if (strcmp(key, "glyphs") == 0) {
        take_word(v, is_glyphs, path, glyphs, sizeof(glyphs), &args->glyphs);
    } else if (strcmp(key, "mouse") == 0) {
        take_switch(v, path, &args->no_mouse);
    } else if (strcmp(key, "animation") == 0) {
        take_switch(v, path, &args->no_animation);
    } else {
        const char *near = qx_nearest(key, keys, N_KEYS);
        warn("%.200s: no setting '%.40s'%s%s%s", path, key, near ? "; did you mean '" : "",
             near ? near : "", near ? "'?" : "");
    }
}

void ui_config_load(const char *path, struct ui_args *args)
{
    struct qx_json *json = NULL;
    struct qx_error err;
    if (access(path, F_OK) != 0) {
        return;
    }
    if (qx_json_load(path, CONFIG_MAX_BYTES, &json, &err) != QX_OK) {
        warn("the settings are not read: %.300s", err.text);
        return;
    }
    const struct qx_jval *root = qx_json_root(json);
    if (!qx_jis_object(root)) {
        warn("%.200s: the settings are no JSON object", path);
    } else {
        for (const struct qx_jval *v = qx_jfirst(root); v; v = qx_jnext(v)) {
            take(v, path, args);
        }
    }
    qx_json_free(json);
}
