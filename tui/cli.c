/* Errors, exit codes, sessions and JSON frames of the batch verbs. */
#include "cli.h"

#include "canvas.h"
#include "file.h"
#include "utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

int ui_exit_of(enum qx_status status)
{
    switch (status) {
    case QX_OK:
        return UI_EXIT_OK;
    case QX_ENOMEM:
    case QX_ENOSPC:
        return UI_EXIT_RESOURCES;
    case QX_EIO:
    case QX_EFORMAT:
    case QX_EDATA:
        return UI_EXIT_INPUT;
    case QX_ENAME:
    case QX_ERANGE:
        return UI_EXIT_USAGE;
    case QX_EUNSUPPORTED:
        return UI_EXIT_UNSUPPORTED;
    case QX_ECANCELLED:
        return ui_exit_interrupted();
    case QX_EBUG:
        break;
    }
    return UI_EXIT_FAILED;
}

static void place_key(struct qx_jw *w, const char *key, const char *text)
{
    if (text[0]) {
        qx_jw_key(w, key);
        qx_jw_str(w, text);
    }
}

static void report_json(int code, const struct qx_error *err)
{
    struct qx_jw *w = qx_jw_new(false);
    qx_jw_object(w);
    qx_jw_key(w, "schema");
    qx_jw_str(w, "qexplore.error/1");
    qx_jw_key(w, "code");
    qx_jw_int(w, code);
    qx_jw_key(w, "message");
    qx_jw_str(w, err->text);
    qx_jw_key(w, "where");
    qx_jw_object(w);
    place_key(w, "file", err->file);
    place_key(w, "tensor", err->tensor);
    if (err->offset >= 0) {
        qx_jw_key(w, "offset");
        qx_jw_int(w, err->offset);
    }
    if (err->line > 0) {
        qx_jw_key(w, "line");
        qx_jw_int(w, err->line);
    }
    qx_jw_end(w);
    qx_jw_end(w);
    char *text = qx_jw_take(w, NULL);
    fputs(text ? text : "{\"schema\":\"qexplore.error/1\",\"message\":\"out of memory\"}\n",
          stderr);
    qx_free_text(text);
}

static int report(const struct ui_args *args, int code, const struct qx_error *err)
{
    if (args->json) {
        report_json(code, err);
    } else {
        fprintf(stderr, "qexplore%s%s: %s\n", args->verb ? " " : "", args->verb ? args->verb : "",
                err->text);
    }
    return code;
}

int ui_report(const struct ui_args *args, const struct qx_error *err)
{
    return report(args, ui_exit_of(err->status), err);
}

int ui_usage_error(const struct ui_args *args, const char *fmt, ...)
{
    struct qx_error err = {.status = QX_ENAME, .offset = -1};
    va_list list;
    va_start(list, fmt);
    vsnprintf(err.text, sizeof err.text, fmt, list);
    va_end(list);
    return report(args, UI_EXIT_USAGE, &err);
}

struct qx_session_options ui_session_options(const struct ui_args *args)
{
    return (struct qx_session_options){
        .cache_dir = ui_path_cache(),
        .state_dir = ui_path_state(),
        .data_path = args->data,
        .data = {args->text_col, args->label_col, args->tokenizer},
        .context = args->context,
        .calib = args->calib,
        .imatrix = args->imatrix,
        .datasets_dir = args->no_installed_data ? NULL : ui_path_datasets(),
        .threads = args->threads,
        .mem_bytes = args->mem_bytes,
        .seed = args->seed,
        .fresh = args->fresh,
    };
}

struct qx_session *ui_open_batch(const struct ui_args *args, int *code)
{
    struct qx_error err = {.offset = -1};
    if (args->isa && qx_cpu_limit(args->isa, &err) != QX_OK) {
        *code = ui_report(args, &err);
        return NULL;
    }
    struct qx_session_options options = ui_session_options(args);
    options.batch = true;
    options.predict = args->predict || strcmp(args->verb, "sweep") == 0 ||
                      strcmp(args->verb, "pareto") == 0; /* speak of predictions in any case */
    struct qx_session *s = NULL;
    if (options.predict ||
        (args->data && qx_dataset_is_self(args->data))) { /* text may be written */
        options.data.ctl = ui_batch_ctl();
        ui_progress_begin(args, "own text");
    }
    const enum qx_status st = qx_session_open(args->positional[0], &options, &s, &err);
    ui_progress_end();
    if (st != QX_OK) {
        *code = ui_report(args, &err);
        return NULL;
    }
    const struct qx_dataset *data = qx_session_data(s);
    if (!args->data && !args->quiet && data && qx_dataset_is_self(qx_dataset_path(data))) {
        fprintf(stderr, "qexplore %s: no data, so this speaks of %s\n", args->verb,
                qx_dataset_note(data));
    }
    *code = UI_EXIT_OK;
    return s;
}

enum qx_status ui_open_trained(const struct ui_args *args, const char *folder,
                               struct qx_session **out, struct qx_error *err)
{
    char recipe[PATH_MAX];
    struct qx_session_options options = ui_session_options(args);
    options.batch = true;
    snprintf(recipe, sizeof recipe, "%s/recipe.json", folder);
    enum qx_status st = qx_session_open(folder, &options, out, err);
    if (st == QX_OK) {
        st = qx_session_load_recipe(*out, recipe, err);
    }
    return st;
}

struct qx_jw *ui_json_begin(const struct ui_args *args, const char *verb)
{
    const struct qx_cpu *cpu = qx_cpu_get();
    char schema[64];
    snprintf(schema, sizeof schema, "qexplore.%s/1", verb);
    struct qx_jw *w = qx_jw_new(true);
    qx_jw_object(w);
    qx_jw_key(w, "schema");
    qx_jw_str(w, schema);
    qx_jw_key(w, "program");
    qx_jw_object(w);
    qx_jw_key(w, "version");
    qx_jw_str(w, QX_VERSION);
    qx_jw_key(w, "cpu");
    qx_jw_str(w, cpu->name);
    qx_jw_key(w, "isa");
    qx_jw_str(w, qx_isa_name(cpu->isa));
    qx_jw_key(w, "threads");
    qx_jw_int(w, args->threads > 0 ? args->threads : cpu->n_cores);
    qx_jw_end(w);
    return w;
}

int ui_json_print(struct qx_jw *w)
{
    qx_jw_end(w);
    size_t len = 0;
    char *text = qx_jw_take(w, &len);
    if (!text) {
        fprintf(stderr, "qexplore: out of memory while writing JSON\n");
        return UI_EXIT_RESOURCES;
    }
    fwrite(text, 1, len, stdout); /* ui_stdout_done says how that went */
    qx_free_text(text);
    return UI_EXIT_OK;
}

int ui_stdout_done(const struct ui_args *args, int code)
{
    bool failed = ferror(stdout) != 0;
    int error = failed ? errno : 0;
    if (fflush(stdout) != 0) {
        failed = true;
        error = errno;
    }
    if (!failed || code != UI_EXIT_OK) {
        return code;
    }
    struct qx_error err = {.offset = -1};
    snprintf(err.text, sizeof err.text, "cannot write to standard output: %s",
             strerror(error ? error : EIO));
    const bool is_full = ui_file_status(error) == QX_ENOSPC;
    return report(args, is_full ? UI_EXIT_RESOURCES : UI_EXIT_FAILED, &err);
}

char *ui_safe_text(const char *text, char *buf, size_t cap)
{
    size_t at = 0, len = strlen(text);
    while (len > 0 && at + 5 < cap) {
        int cp;
        int n = ui_utf8_decode(text, len, &cp);
        if (cp >= 0 && ui_utf8_width(cp) > 0) {
            memcpy(buf + at, text, (size_t)n);
            at += (size_t)n;
        } else {
            buf[at++] = '?'; /* controls, bidi controls, combining marks, invalid bytes */
        }
        text += n;
        len -= (size_t)n;
    }
    buf[at] = 0;
    return buf;
}

void ui_print_name(const char *name, int w)
{
    char text[256];
    ui_safe_text(name, text, sizeof text);
    int used = ui_text_width(text);
    printf("%s%*s", text, used < w ? w - used : 0, "");
}

int ui_names_width(const struct qx_session *s)
{
    int w = 16;
    for (int64_t i = 0; i < qx_session_n_items(s); i++) {
        const struct qx_item *item = qx_session_item(s, i);
        if (item->role == QX_ROLE_LINEAR || !qx_setting_is_fp32(qx_session_setting(s, i))) {
            const int used = ui_text_width(item->tensor->name);
            w = used > w && used <= 60 ? used : w;
        }
    }
    return w;
}
