/* qexplore presets: recipes by the names of tools, and the flags that say the same. */
#include "verb.h"

#include "flags_text.h"

#include <stdio.h>

enum { FLAGS = 8192 };

static void put(struct qx_jw *w, const char *key, const char *text)
{
    qx_jw_key(w, key);
    qx_jw_str(w, text);
}

/* s: a session under the preset, for its exceptions; NULL = only what holds for every model. */
static void preset_json(struct qx_jw *w, const struct qx_preset *p, const struct qx_session *s)
{
    char flags[FLAGS] = "";
    ui_flags_of_preset(flags, sizeof flags, p, s);
    qx_jw_object(w);
    put(w, "name", p->name);
    put(w, "help", p->help);
    put(w, "flags", flags);
    put(w, "tool", p->tool);
    put(w, "differs", p->ours);
    qx_jw_end(w);
}

static void preset_print(const struct qx_preset *p, const struct qx_session *s)
{
    char flags[FLAGS] = "";
    ui_flags_of_preset(flags, sizeof flags, p, s);
    printf("%s: %s\n\nthe tool  %s\nhere      %s\nflags     %s%s\n", p->name, p->help, p->tool,
           p->ours, flags,
           !s && p->other ? "\n          and --keep for exceptions: name a model" : "");
}

static int report(const struct ui_args *args, const struct qx_preset *only,
                  const struct qx_session *s)
{
    struct qx_jw *w = args->json ? ui_json_begin(args, "presets") : NULL;
    if (w) {
        qx_jw_key(w, "presets");
        qx_jw_array(w);
    }
    for (int i = 0; i < qx_preset_count(); i++) {
        const struct qx_preset *p = qx_preset_at(i);
        if (only && p != only) {
            continue;
        }
        if (w) {
            preset_json(w, p, s);
        } else if (only) {
            preset_print(p, s);
        } else {
            printf("%-18s %s\n", p->name, p->help);
        }
    }
    if (w) {
        qx_jw_end(w);
        return ui_json_print(w);
    }
    return UI_EXIT_OK;
}

static int presets_run(const struct ui_args *args)
{
    struct qx_error err = {.offset = -1};
    const struct qx_preset *only = NULL;
    struct ui_args of_model = *args;
    struct qx_session *s = NULL;
    int code = UI_EXIT_OK;
    if (args->n_positional > 0 && qx_preset_find(args->positional[0], &only, &err) != QX_OK) {
        return ui_report(args, &err);
    }
    if (args->n_positional > 1) {
        of_model.positional[0] = args->positional[1];
        s = ui_open_batch(&of_model, &code);
        if (!s) {
            return code;
        }
        if (qx_session_preset(s, only, NULL, &err) != QX_OK) {
            code = ui_report(args, &err);
        }
    }
    code = code == UI_EXIT_OK ? report(args, only, s) : code;
    qx_session_close(&s);
    return code;
}

const struct ui_verb ui_verb_presets = {
    .name = "presets",
    .usage = "[NAME [MODEL]] [--json]",
    .help = "List recipes by the names of tools: what each does, and its flags.",
    .example = "qexplore presets bnb-8bit samples/llama-tiny",
    .groups = UI_FLAGS_COMMON,
    .min_positional = 0,
    .max_positional = 2,
    .run = presets_run,
};
